//! GPUs that nobody measured here, taken to come as close to their bandwidth as one that was.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::catalogue::Catalogue;
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

/// Names, as drivers have them, of GPUs with a price: from the newest to those that people own.
const USUAL: [&str; 5] = [
    "NVIDIA H200",
    "NVIDIA H100 80GB HBM3",
    "NVIDIA A100-SXM4-80GB",
    "NVIDIA RTX 6000 Ada Generation",
    "NVIDIA GeForce RTX 4090",
];

/// Bandwidth and memory of a GPU as the catalogue has them.
fn specified(name: &str) -> Option<(f64, u64)> {
    static CATALOGUE: OnceLock<Option<Catalogue>> = OnceLock::new();
    let hardware = CATALOGUE.get_or_init(|| Catalogue::own().ok()).as_ref()?.gpu(name)?;
    Some((hardware.gb_per_s? * GB as f64, (hardware.memory_gb? * GB as f64) as u64))
}

impl Projection {
    /// Those that a scenario projects to unless it names its own.
    pub fn usual() -> Vec<Self> {
        let own = |name: &str| {
            let (bytes_per_s, memory_bytes) = specified(name)?;
            Some(Self { name: name.to_owned(), bytes_per_s, memory_bytes })
        };
        USUAL.into_iter().filter_map(own).collect()
    }

    /// How many times as long anything takes there as on `measured`; none where the catalogue does not know that one, or where
    /// it is the same GPU.
    pub(super) fn slower(&self, measured: &Machine) -> Option<f64> {
        let name = &measured.measured_gpu()?.name;
        let (bytes_per_s, _) = specified(name)?;
        (self.name != *name).then_some(bytes_per_s / self.bytes_per_s)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_are_all_in_the_catalogue() {
        let usual = Projection::usual();
        let of =
            |name: &str| usual.iter().find(|p| p.name.contains(name)).map(|p| (p.bytes_per_s, p.memory_bytes / GB));
        assert_eq!(usual.len(), USUAL.len());
        assert_eq!(of("H200"), Some((4.8e12, 141)));
        assert_eq!(of("H100"), Some((3.35e12, 80)));
        assert_eq!(of("A100"), Some((2.039e12, 80)));
        assert_eq!(of("6000 Ada"), Some((0.96e12, 48)));
        assert_eq!(of("4090"), Some((1.008e12, 24)));
    }

    #[test]
    fn refusals() {
        let good = Projection { name: "G".into(), bytes_per_s: 1e12, memory_bytes: 24 * GB };
        assert_eq!(good.check(), Ok(()));
        assert!(Projection { bytes_per_s: f64::NAN, ..good.clone() }.check().is_err());
        assert!(Projection { memory_bytes: 1, ..good }.check().is_err());
    }
}
