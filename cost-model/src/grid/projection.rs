//! GPUs that nobody measured here, by one that was.
//!
//! ```text
//!   measured   |== reading: bytes / bandwidth ==|== the rest ==|
//!   there      |===== x bandwidth's ratio =====|= x units' and clocks' ratio =|
//! ```
//! The rest is what a launch, a barrier, arithmetic or an on-chip memory take. An H100 composed this way from the record of an
//! H200 and one measured itself: `ANSWER.md`, "A GPU by its data sheet".

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::catalogue::{Catalogue, Hardware};
use crate::compose::Composer;
use crate::estimate::Interval;
use crate::machine::Machine;
use crate::record::Record;

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

/// A GPU as the catalogue has it.
fn specified(name: &str) -> Option<&'static Hardware> {
    static CATALOGUE: OnceLock<Option<Catalogue>> = OnceLock::new();
    CATALOGUE.get_or_init(|| Catalogue::own().ok()).as_ref()?.gpu(name)
}

/// Clocks of all its units, 1e9/s: what anything but reading is taken to be as fast as.
fn clocks(hardware: &Hardware) -> Option<f64> {
    Some(hardware.units? * hardware.ghz?)
}

/// Times elsewhere, by those of a record.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pace {
    /// Milliseconds that reading a byte takes on the measured machine.
    ms_per_byte: f64,
    /// Times as long as there that reading takes, and the rest.
    reading: f64,
    rest: f64,
}

impl Pace {
    /// The measured machine's own.
    pub(super) const MEASURED: Self = Self { ms_per_byte: 0.0, reading: 1.0, rest: 1.0 };

    /// How many times as long as the measured `ms` that something takes which reads `bytes`.
    pub(super) fn times(&self, ms: f64, bytes: f64) -> f64 {
        if ms <= 0.0 {
            return 1.0;
        }
        let reading = (self.ms_per_byte * bytes / ms).min(1.0);
        self.reading * reading + self.rest * (1.0 - reading)
    }

    /// That interval there.
    pub(super) fn of(&self, ms: Interval, bytes: u64) -> Interval {
        ms.scale(self.times(ms.median, bytes as f64))
    }
}

impl Projection {
    /// Those that a scenario projects to unless it names its own.
    pub fn usual() -> Vec<Self> {
        USUAL.into_iter().filter_map(Self::of).collect()
    }

    /// The GPU of that name as the catalogue has it, if it has.
    pub fn of(name: &str) -> Option<Self> {
        let hardware = specified(name)?;
        let (bytes_per_s, memory_bytes) = (hardware.gb_per_s? * GB as f64, (hardware.memory_gb? * GB as f64) as u64);
        Some(Self { name: name.to_owned(), bytes_per_s, memory_bytes })
    }

    /// Of the measured machines the one whose GPU comes nearest to this one's bandwidth, and times here by its own; none where
    /// this GPU itself was measured, or no GPU that the catalogue knows.
    pub(super) fn nearest<'a, 'r>(&self, composers: &'a [Composer<'r>]) -> Option<(&'a Composer<'r>, Pace)> {
        let measured = |c: &Composer<'_>| c.record().machine.measured_gpu().is_some_and(|gpu| gpu.name == self.name);
        if composers.iter().any(measured) {
            return None;
        }
        let paces = composers.iter().filter_map(|composer| Some((composer, self.pace(composer.record())?)));
        paces.min_by(|(_, a), (_, b)| a.reading.ln().abs().total_cmp(&b.reading.ln().abs()))
    }

    /// Times here by those of `record`; none where the catalogue does not know its GPU. What the catalogue does not know of
    /// this one is taken to be as its bandwidth is.
    fn pace(&self, record: &Record) -> Option<Pace> {
        let hardware = specified(&record.machine.measured_gpu()?.name)?;
        let reading = hardware.gb_per_s? * GB as f64 / self.bytes_per_s;
        let rest = specified(&self.name).and_then(|own| Some(clocks(hardware)? / clocks(own)?)).unwrap_or(reading);
        let bandwidth = record.bandwidth.iter().map(|b| b.bytes_per_s.median).fold(0.0, f64::max);
        Some(Pace { ms_per_byte: 1e3 / bandwidth, reading, rest })
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
    fn reading_is_as_bandwidth_is_and_the_rest_is_not() {
        let pace = Pace { ms_per_byte: 1e-9, reading: 3.0, rest: 2.0 };
        assert_eq!([pace.times(1.0, 1e9), pace.times(1.0, 4e9), pace.times(1.0, 0.0)], [3.0, 3.0, 2.0]);
        assert!((pace.times(2.0, 1e9) - 2.5).abs() < 1e-12, "half of it is reading");
        assert_eq!([pace.times(0.0, 1e9), Pace::MEASURED.times(1.0, 1e9)], [1.0, 1.0]);
    }

    #[test]
    fn refusals() {
        let good = Projection { name: "G".into(), bytes_per_s: 1e12, memory_bytes: 24 * GB };
        assert_eq!(good.check(), Ok(()));
        assert!(Projection { bytes_per_s: f64::NAN, ..good.clone() }.check().is_err());
        assert!(Projection { memory_bytes: 1, ..good }.check().is_err());
    }
}
