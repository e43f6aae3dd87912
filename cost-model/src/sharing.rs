//! What it costs that tokens of a batch share rows: a row that several of them name is read once, and computed as often as
//! it is named.
//!
//! Over `u` rows that `b` tokens name `b·d` times, a call takes what `u` rows take one token, times a factor of the
//! multiplicity `b·d / u`. That factor is 1 at multiplicity 1, and is a curve through batches that were measured.

use std::collections::BTreeMap;

use crate::compose::ComposeError;
use crate::curve::Curve;
use crate::estimate::{Estimate, Interval};
use crate::family::{Family, FamilyCurves};
use crate::operator::Operator;
use crate::record::{Measurement, Record};

/// Coverage of the intervals of measurements, which a curve carries along.
const LIKE_ALL: f64 = 0.95;

/// What tokens of a batch cost beyond the reading of their rows.
#[derive(Clone, Debug)]
pub(crate) enum Sharing {
    /// As measured, up to so many tokens a call.
    Measured { factor: Curve, most: usize },
    /// Nothing: what the bytes allow.
    Reads,
    /// Everything: one after the other.
    Alone,
}

/// A call over rows that several tokens name.
pub(crate) struct Call {
    /// Time over that of one token that names each row once.
    pub(crate) time: Interval,
    /// How often each row is read.
    pub(crate) reads: f64,
    /// Whether it lies beyond what was measured.
    pub(crate) extrapolated: bool,
}

impl Sharing {
    /// Of a family of batches. Where none was measured a GPU is taken to be bound by what it reads, and a processor to decode
    /// one token after the other.
    ///
    /// `families` are the curves of single tokens.
    pub(crate) fn of(
        record: &Record,
        family: &Family,
        families: &BTreeMap<Family, FamilyCurves>,
    ) -> Result<Self, ComposeError> {
        let same = |m: &&Measurement| {
            m.operator == Operator::FfnBatch
                && (m.isa.as_str(), m.format, m.threads) == (family.isa.as_str(), family.format, family.threads)
        };
        let batches: Vec<&Measurement> = record.measurements.iter().filter(same).collect();
        let Some(most) = batches.iter().filter_map(|m| m.tokens).max() else {
            return Ok(if record.machine.measured_gpu().is_some() { Self::Reads } else { Self::Alone });
        };
        let single = Estimate { median: 1.0, low: 1.0, high: 1.0, confidence: LIKE_ALL, samples: 1 };
        let mut points = vec![(1.0, single)];
        for m in &batches {
            let Some((multiplicity, factor)) = point(m, family, families) else { continue };
            // Two batches of one multiplicity say the same.
            if points.iter().all(|(x, _)| (x - multiplicity).abs() > 1e-6) {
                points.push((multiplicity, factor));
            }
        }
        let factor = Curve::new(&points)
            .map_err(|source| ComposeError::Curve { of: format!("{} of {family}", Operator::FfnBatch), source })?;
        Ok(Self::Measured { factor, most })
    }

    /// Calls, and tokens in each, that a batch of so many tokens takes.
    pub(crate) fn calls(&self, tokens: usize) -> (usize, usize) {
        let most = match self {
            Self::Measured { most, .. } => *most,
            Self::Reads => tokens,
            Self::Alone => 1,
        };
        let calls = tokens.div_ceil(most.max(1)).max(1);
        (calls, tokens.div_ceil(calls))
    }

    /// A call of which each row is named so often in the mean: in one, or one token after the other where that is sooner done.
    pub(crate) fn call(&self, multiplicity: f64) -> Call {
        match self {
            Self::Measured { factor, .. } => {
                let reading = factor.at(multiplicity);
                let Interval { median, low, high } = reading.value;
                let capped = |factor: f64| factor.min(multiplicity);
                let time = Interval { median: capped(median), low: capped(low), high: capped(high) };
                let reads = if median < multiplicity { 1.0 } else { multiplicity };
                Call { time, reads, extrapolated: reading.extrapolated }
            }
            Self::Reads | Self::Alone => Call { time: Interval::exact(1.0), reads: 1.0, extrapolated: false },
        }
    }

    /// What is taken for granted of a batch, if anything.
    pub(crate) fn assumption(&self) -> Option<&'static str> {
        match self {
            Self::Measured { .. } => Some("projections and predictors share rows between tokens as the FFN does"),
            Self::Reads => Some(
                "no batch was measured on this machine: a row is read once for all tokens that name it, and to compute \
                 it for more of them takes no time",
            ),
            Self::Alone => Some(
                "no batch was measured on this machine: its tokens are decoded one after the other, reading all again",
            ),
        }
    }
}

/// How often rows are named in a measured batch, and its time over that of one token that names as many rows: of the FFN as a
/// whole, or else of its parts. None where neither was measured.
fn point(m: &Measurement, family: &Family, families: &BTreeMap<Family, FamilyCurves>) -> Option<(f64, Estimate)> {
    let named = m.tokens.unwrap_or(1) as f64 * m.weight_bytes() as f64;
    let union = m.density * m.bytes as f64 / m.weight_bytes().max(1) as f64;
    let alone = |operator: Operator, thirds: u64| {
        let curves = families.get(&Family { operator, ..family.clone() })?;
        Some(curves.at((m.rows, m.cols), union.min(1.0), thirds * m.bytes / 3).value)
    };
    let parts = || Some(Interval::sum_correlated([alone(Operator::GateUp, 2)?, alone(Operator::Down, 1)?]));
    let single = alone(Operator::Ffn, 3).or_else(parts)?;
    let over = |seconds: f64, single: f64| seconds / single;
    let factor = Estimate {
        median: over(m.seconds.median, single.median),
        low: over(m.seconds.low, single.high),
        high: over(m.seconds.high, single.low),
        confidence: LIKE_ALL,
        samples: m.seconds.samples.max(1),
    };
    Some((named / m.bytes as f64, factor))
}
