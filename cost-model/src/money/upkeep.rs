//! What an hour of a machine costs that holds a configuration, and what it draws: one place for the rows of the report and those
//! of the grid.

use crate::estimate::Interval;
use crate::machine::Machine;
use crate::origin::{Origin, Sourced};
use crate::record::Record;

use super::energy::{Draw, DrawnBy, Energy};
use super::{MoneyError, Owned, Prices};

const SECONDS_PER_HOUR: f64 = 3600.0;
const TOKENS_PER_MTOK: f64 = 1e6;

/// A machine and who pays for it: its owner, whoever gave a price, or whoever rents it, the first that there is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Upkeep<'a> {
    pub(crate) prices: &'a Prices,
    pub(crate) machine: &'a Machine,
    pub(crate) owned: Option<&'a Owned>,
    /// The scenario's price of an hour.
    pub(crate) given: Option<&'a Sourced<f64>>,
    /// Where its power may have been measured.
    pub(crate) record: Option<&'a Record>,
}

/// USD per hour.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hour {
    /// The price that is taken: the owner's, the scenario's, or the cheapest to rent.
    pub usual: f64,
    /// The least that anybody asks.
    pub low: f64,
    /// The most.
    pub high: f64,
    /// What an hour of work costs beside that: the electricity of an owner.
    pub working: f64,
    /// Machines that it is of.
    pub devices: u32,
}

impl Hour {
    /// One machine at one price, whoever asks.
    pub(super) fn costing(usd_per_hour: f64) -> Self {
        let usual = usd_per_hour;
        Self { usual, low: usual, high: usual, working: 0.0, devices: 1 }
    }

    /// USD per million tokens at that price of an hour: standing hours are paid for too, the electricity of work is not.
    pub fn usd_per_mtok(&self, usd_per_hour: f64, utilisation: f64, tok_s: f64) -> f64 {
        (usd_per_hour / utilisation + self.working) / (tok_s * SECONDS_PER_HOUR) * TOKENS_PER_MTOK
    }

    /// The same at the usual price, with the ends that the pace has.
    ///
    /// # Errors
    /// [`MoneyError::Range`]
    pub fn usual_usd_per_mtok(&self, utilisation: f64, tok_s: Interval) -> Result<Interval, MoneyError> {
        let range = |what, value, wanted| MoneyError::Range { what, value, wanted };
        for (what, usd) in [("usd_per_hour", self.usual), ("USD per hour of work", self.working)] {
            if !(usd.is_finite() && usd >= 0.0) {
                return Err(range(what, usd, "at least 0"));
            }
        }
        if !(utilisation > 0.0 && utilisation <= 1.0) {
            return Err(range("utilisation", utilisation, "0 < u <= 1"));
        }
        if !(tok_s.low > 0.0 && tok_s.high.is_finite()) {
            return Err(range("tok_s", tok_s.low, "more than 0"));
        }
        let at = |tok_s| self.usd_per_mtok(self.usual, utilisation, tok_s);
        Ok(Interval { median: at(tok_s.median), low: at(tok_s.high), high: at(tok_s.low) })
    }
}

impl Upkeep<'_> {
    /// The usual price of as much of the machine, or as many GPUs, as hold `need` bytes; an owner's is for standing still.
    ///
    /// # Errors
    /// [`MoneyError::Unknown`] if the table lacks what unlisted machines are priced by.
    pub(crate) fn usd_per_hour(&self, need: u64) -> Result<Sourced<f64>, MoneyError> {
        match (self.owned, self.given) {
            (Some(own), _) => Ok(Sourced::new(own.standing_usd_per_hour(), Origin::assumed(own.to_string()))),
            (None, Some(given)) => Ok(given.clone()),
            (None, None) => self.prices.usd_per_hour(self.machine, need),
        }
    }

    /// All that is asked for it.
    ///
    /// # Errors
    /// As of [`Self::usd_per_hour`].
    pub(crate) fn hour(&self, need: u64) -> Result<Hour, MoneyError> {
        let usual = self.usd_per_hour(need)?.value;
        let gpu = self.machine.measured_gpu();
        let devices = gpu.map_or(1, |gpu| need.div_ceil(gpu.memory_bytes.max(1)).max(1) as u32);
        let hour = Hour { devices, ..Hour::costing(usual) };
        if let Some(own) = self.owned {
            return Ok(Hour { working: own.working_usd_per_hour(), ..hour });
        }
        if self.given.is_some() {
            return Ok(hour);
        }
        if let Some(gpu) = gpu {
            let range = self.prices.gpu_usd_per_hour_range(&gpu.name, gpu.memory_bytes, need);
            let (low, high) = range.unwrap_or((0.5 * usual, 2.0 * usual));
            return Ok(Hour { low, high, ..hour });
        }
        let charged = self.machine.memory_bytes.max(need);
        let low = self.prices.cheap_machine_usd_per_hour(self.machine.logical_cores, charged)?.value;
        Ok(Hour { low, high: 2.0 * usual, ..hour })
    }

    /// Power of so many machines at work: as their owner says, else as measured; none where neither is known.
    pub(crate) fn draw(&self, devices: u32) -> Option<Draw> {
        if let Some(watts) = self.owned.and_then(Owned::drawn_w) {
            return Some(Draw { watts: Interval::exact(watts), by: DrawnBy::Machine });
        }
        let power = self.record?.power?;
        Some(Draw { watts: power.watts.interval().scale(f64::from(devices)), by: power.covers.into() })
    }

    /// What so many of them take for a token at that pace, which comes from `pace`.
    pub(crate) fn energy(&self, devices: u32, tok_s: Interval, pace: &Origin) -> Option<Energy> {
        let draw = self.draw(devices)?;
        let what = format!("{:.1} W of {} over {:.4} tok/s", draw.watts.median, draw.by, tok_s.median);
        let measured =
            self.record.filter(|_| draw.by != DrawnBy::Machine).and_then(|r| Some(r.origin(r.power?.watts.samples)));
        let origin = match measured {
            None => Origin::assumed(format!("{what}; the power is its owner's figure")),
            Some(measured) if devices > 1 => {
                Origin::assumed(format!("{what}; each of {devices} GPUs taken to draw what one did, {measured}"))
            }
            Some(measured) => Origin::derived(format!("{what}; the power was {measured}")).resting_on(&[pace]),
        };
        let joules_per_token = Sourced::new(draw.joules_between(tok_s), origin);
        Some(Energy { joules_per_token, drawn_by: draw.by })
    }

    /// Who is charged, in words that end a sentence about a machine too small for the model.
    pub(crate) fn charged(&self) -> &'static str {
        match (self.owned, self.given) {
            (Some(_), _) => "the price is its owner's",
            (None, Some(_)) => "the price is the scenario's",
            (None, None) => "the price is for that much memory",
        }
    }
}
