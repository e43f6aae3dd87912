//! What an hour of a machine costs that holds a configuration.

use crate::machine::Machine;
use crate::money::{MoneyError, Owned, Prices};
use crate::origin::Sourced;

const SECONDS_PER_HOUR: f64 = 3600.0;
const TOKENS_PER_MTOK: f64 = 1e6;

/// Prices of one machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tag<'a> {
    pub(super) prices: &'a Prices,
    pub(super) machine: &'a Machine,
    pub(super) own: Option<&'a Owned>,
    pub(super) given: Option<&'a Sourced<f64>>,
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
    /// Whether the usual price is one that somebody published for this machine.
    pub published: bool,
}

impl Hour {
    /// USD per million tokens at that price of an hour: standing hours are paid for too, the electricity of work is not.
    pub fn usd_per_mtok(&self, usd_per_hour: f64, utilisation: f64, tok_s: f64) -> f64 {
        (usd_per_hour / utilisation + self.working) / (tok_s * SECONDS_PER_HOUR) * TOKENS_PER_MTOK
    }
}

impl Tag<'_> {
    /// The price of as much of the machine, or as many GPUs, as hold `need` bytes.
    pub(super) fn hour(&self, need: u64) -> Result<Hour, MoneyError> {
        let hour = self.rented(need)?;
        if let Some(own) = self.own {
            let standing = own.standing_usd_per_hour();
            let (usual, low, high, working) = (standing, standing, standing, own.working_usd_per_hour());
            return Ok(Hour { usual, low, high, working, published: false, ..hour });
        }
        Ok(match self.given {
            Some(given) => Hour { usual: given.value, low: given.value, high: given.value, published: false, ..hour },
            None => hour,
        })
    }

    fn rented(&self, need: u64) -> Result<Hour, MoneyError> {
        let machine = self.machine;
        let usual = self.prices.usd_per_hour(machine, need)?.value;
        if let Some(gpu) = machine.measured_gpu() {
            let range = self.prices.gpu_usd_per_hour_range(&gpu.name, gpu.memory_bytes, need);
            let (low, high) = range.unwrap_or((0.5 * usual, 2.0 * usual));
            let devices = need.div_ceil(gpu.memory_bytes.max(1)).max(1) as u32;
            return Ok(Hour { usual, low, high, working: 0.0, devices, published: range.is_some() });
        }
        let charged = machine.memory_bytes.max(need);
        let low = self.prices.cheap_machine_usd_per_hour(machine.logical_cores, charged)?.value;
        Ok(Hour { usual, low, high: 2.0 * usual, working: 0.0, devices: 1, published: false })
    }
}
