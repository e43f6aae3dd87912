//! GPUs that nobody measured here, taken to come as close to their bandwidth as one that was.

use serde::{Deserialize, Serialize};

use crate::machine::Machine;

/// A GPU by its data sheet: a `[[gpu]]` table of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Projection {
    /// Its name as its driver has it: prices are found by it.
    pub name: String,
    /// Specified bandwidth of its memory.
    pub bytes_per_s: f64,
    /// Its memory, bytes.
    pub memory_bytes: u64,
}

const GB: u64 = 1_000_000_000;

/// Specified bandwidths, by names that drivers give: NVIDIA's data sheets, as the rows of published decode speeds repeat them.
const SPECIFIED: [(&str, f64, u64); 5] = [
    ("NVIDIA H200", 4.8e12, 141 * GB),
    ("NVIDIA H100 80GB HBM3", 3.35e12, 80 * GB),
    ("NVIDIA A100-SXM4-80GB", 2.039e12, 80 * GB),
    ("NVIDIA RTX 6000 Ada Generation", 0.96e12, 48 * GB),
    ("NVIDIA GeForce RTX 4090", 1.008e12, 24 * GB),
];

impl Projection {
    /// Those that a scenario projects to unless it names its own.
    pub fn usual() -> Vec<Self> {
        let own = |(name, bytes_per_s, memory_bytes): (&str, f64, u64)| Self {
            name: name.to_owned(),
            bytes_per_s,
            memory_bytes,
        };
        SPECIFIED.into_iter().map(own).collect()
    }

    /// How many times as long anything takes there as on `measured`; none where that one's bandwidth is not known, or where it
    /// is the same GPU.
    pub(super) fn slower(&self, measured: &Machine) -> Option<f64> {
        let name = &measured.measured_gpu()?.name;
        let (_, specified, _) = SPECIFIED.into_iter().find(|(known, ..)| known == name)?;
        (self.name != *name).then_some(specified / self.bytes_per_s)
    }

    /// A machine with this GPU in the place of the measured one, to be priced.
    pub(super) fn machine(&self, measured: &Machine) -> Machine {
        let gpu = measured.gpu.as_ref().map(|gpu| crate::machine::Gpu {
            name: self.name.clone(),
            memory_bytes: self.memory_bytes,
            ..gpu.clone()
        });
        Machine { gpu, ..measured.clone() }.with_fingerprint()
    }

    /// What is wrong with it, if anything.
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(1e9..=1e15).contains(&self.bytes_per_s) {
            return Err(format!("{}: bytes_per_s is {}; wanted 1e9 to 1e15", self.name, self.bytes_per_s));
        }
        if !(GB..=1000 * 1000 * GB).contains(&self.memory_bytes) {
            return Err(format!(
                "{}: memory_bytes is {}; wanted a gigabyte to a petabyte",
                self.name, self.memory_bytes
            ));
        }
        Ok(())
    }
}
