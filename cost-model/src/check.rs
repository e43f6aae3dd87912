//! What a record must satisfy before anything is computed from it.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use crate::estimate::Estimate;
use crate::machine::CUDA;
use crate::money::DrawnBy;
use crate::operator::Operator;
use crate::record::{Covers, Measurement, Power, Record, RecordError, SCHEMA};

/// A measurement counts as memory-resident above this many last-level caches.
const RESIDENT_CACHES: u64 = 4;

/// Largest dimension, thread count or rank: no byte count overflows below it.
pub(crate) const LARGEST: usize = 1 << 28;

/// How far a time may lie under the roof before it is refused. Bandwidth and kernel are medians
/// taken at different moments; on a shared machine those drift apart by a few per cent.
const ROOF_SLACK: f64 = 0.05;

/// Watts of what is neither asleep nor a room full of machines.
const PLAUSIBLE_W: RangeInclusive<f64> = 0.5..=10_000.0;

impl Power {
    /// What is wrong with it, if anything.
    pub fn fault(&self) -> Option<String> {
        let Estimate { low, high, .. } = self.watts;
        let (least, most) = (PLAUSIBLE_W.start(), PLAUSIBLE_W.end());
        let absurd = [low, high].into_iter().find(|watts| !PLAUSIBLE_W.contains(watts));
        self.watts.fault().or_else(|| absurd.map(|watts| format!("is {watts} W, wanted {least} to {most}")))
    }
}

impl Record {
    /// Checks everything that [`Record::parse`] checks after the JSON is read.
    ///
    /// # Errors
    /// [`RecordError::Schema`], [`RecordError::Invalid`], [`RecordError::Duplicate`] or
    /// [`RecordError::BeatsRoof`].
    pub fn check(&self, name: &str) -> Result<(), RecordError> {
        if self.schema != SCHEMA {
            return Err(RecordError::Schema { name: name.to_owned(), found: self.schema.clone() });
        }
        if let Some(fault) = self.machine.fingerprint_fault() {
            return Err(invalid(name, "machine.fingerprint", fault));
        }
        self.check_bandwidth(name)?;
        if let Some(copy) = &self.copy_bandwidth {
            check_estimate(copy, "copy_bandwidth", name)?;
        }
        if let Some(share) = self.huge_page_share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(invalid(name, "huge_page_share", format!("is {share}, wanted 0 to 1")));
        }
        if let Some(fault) = self.power.and_then(|power| self.power_fault(power)) {
            return Err(invalid(name, "power", fault));
        }
        let mut seen = BTreeSet::new();
        for measurement in &self.measurements {
            self.check_measurement(measurement, name)?;
            if !seen.insert(measurement.key()) {
                return Err(RecordError::Duplicate { name: name.to_owned(), thing: measurement.key().to_string() });
            }
        }
        Ok(())
    }

    fn power_fault(&self, power: Power) -> Option<String> {
        let own = if self.machine.measured_gpu().is_some() { Covers::Gpu } else { Covers::Package };
        let [wanted, given] = [own, power.covers].map(|covers| DrawnBy::from(covers).as_str());
        let other = || (wanted != given).then(|| format!("covers `{given}`, wanted `{wanted}` of this machine"));
        power.fault().or_else(other)
    }

    fn check_bandwidth(&self, name: &str) -> Result<(), RecordError> {
        let mut seen = BTreeSet::new();
        for bandwidth in &self.bandwidth {
            let thing = format!("bandwidth at {} threads", bandwidth.threads);
            if bandwidth.threads == 0 {
                return Err(invalid(name, &thing, "needs at least one thread".into()));
            }
            check_estimate(&bandwidth.bytes_per_s, &thing, name)?;
            if !seen.insert(bandwidth.threads) {
                return Err(RecordError::Duplicate { name: name.to_owned(), thing });
            }
        }
        Ok(())
    }

    fn check_measurement(&self, m: &Measurement, name: &str) -> Result<(), RecordError> {
        let thing = m.key().to_string();
        if let Some(fault) = self.fault(m) {
            return Err(invalid(name, &thing, fault));
        }
        check_estimate(&m.seconds, &format!("seconds of {thing}"), name)?;
        if let Some(ratio) = &m.ratio {
            check_estimate(ratio, &format!("ratio of {thing}"), name)?;
        }
        self.check_roof(m, name)
    }

    fn fault(&self, m: &Measurement) -> Option<String> {
        let cuda = m.isa == CUDA && self.machine.gpu.is_some();
        if !(self.machine.reads_own_memory(&m.isa) || cuda) {
            let own = self.machine.isa.join(", ");
            Some(format!("has isa `{}`, the machine has {own}", m.isa))
        } else if m.rows == 0 || m.cols == 0 || m.threads == 0 {
            Some("has zero rows, columns or threads".into())
        } else if !(0.0..=1.0).contains(&m.density) {
            Some(format!("has density {}, wanted 0 to 1", m.density))
        } else if [m.rows, m.cols, m.threads, m.rank.unwrap_or(0), m.tokens.unwrap_or(0)].iter().any(|n| *n > LARGEST) {
            Some(format!("has rows, columns, threads, rank or tokens above {LARGEST}"))
        } else if m.policy.is_some() != (m.operator == Operator::Select) {
            Some("must have a policy if it is select, and only then".into())
        } else if m.rank.is_some() != m.operator.has_rank() || m.rank == Some(0) {
            Some("must have a positive rank if it is predictor or ffn_predicted, and only then".into())
        } else if m.tokens.is_some() != (m.operator == Operator::FfnBatch) || m.tokens.is_some_and(|t| t < 2) {
            Some("must have two tokens or more if it is ffn_batch, and only then".into())
        } else {
            None
        }
    }

    /// The most bytes per second that `threads` can read: measured, or else bounded by what more
    /// threads read.
    fn roof(&self, threads: usize) -> Option<f64> {
        let own = self.bandwidth_at(threads).map(|b| b.high);
        let more = self.bandwidth.iter().filter(|b| b.threads > threads);
        own.or_else(|| more.map(|b| b.bytes_per_s.high).reduce(f64::max))
    }

    /// Memory cannot deliver bytes faster than the same machine measured.
    fn check_roof(&self, m: &Measurement, name: &str) -> Result<(), RecordError> {
        let cache = self.machine.last_cache_bytes();
        // By shape, not by what the record says: a record may not talk its way under the roof.
        let bytes = m.bytes.max(m.weight_bytes());
        let in_memory = bytes > RESIDENT_CACHES.saturating_mul(cache);
        let Some(roof) = self.roof(m.threads) else {
            return Ok(());
        };
        let floor = bytes as f64 / roof;
        let too_fast = m.seconds.high < floor * (1.0 - ROOF_SLACK);
        if in_memory && too_fast && self.machine.reads_own_memory(&m.isa) {
            return Err(RecordError::BeatsRoof {
                name: name.to_owned(),
                thing: m.key().to_string(),
                seconds: m.seconds.high,
                bytes,
                floor,
            });
        }
        Ok(())
    }
}

fn check_estimate(estimate: &Estimate, thing: &str, name: &str) -> Result<(), RecordError> {
    match estimate.fault() {
        Some(fault) => Err(invalid(name, thing, fault)),
        None => Ok(()),
    }
}

fn invalid(name: &str, thing: &str, fault: String) -> RecordError {
    RecordError::Invalid { name: name.to_owned(), thing: thing.to_owned(), fault }
}
