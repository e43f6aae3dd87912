//! Energy of processors' packages, as Linux's powercap shows it.
//!
//! ```text
//!   /sys/class/powercap/
//!     intel-rapl:0/         name  package-0    energy_uj  262143328850 max: starts again at 0
//!     intel-rapl:0:0/       name  core         a part of the package: not counted again
//!     intel-rapl:0:1/       name  dram         not of the package
//!     intel-rapl-mmio:0/    name  package-0    the same package by another way: not counted again
//! ```
//! AMD's processors are shown under the same names.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use cost_model::record::Covers;

use super::{EnergyCounter, PowerError};

/// Where Linux shows it.
pub const FOLDER: &str = "/sys/class/powercap";
const UJ_PER_J: f64 = 1e6;

/// The packages of this machine.
#[derive(Debug)]
pub struct Packages(Vec<Package>);

#[derive(Debug)]
struct Package {
    name: String,
    energy: PathBuf,
    /// What the counter reaches before it starts again at 0.
    range_uj: u64,
    last_uj: u64,
}

impl Packages {
    /// Those under `folder`, each once, counted from now on.
    ///
    /// # Errors
    /// There is none, or one that may not be read: the energy of some is not that of the machine.
    pub fn open(folder: &Path) -> Result<Self, PowerError> {
        let entries = fs::read_dir(folder).map_err(|_| PowerError::NoPackage(folder.to_owned()))?;
        let mut domains: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        // The processor's own registers before other ways to them.
        domains.sort_by_key(|domain| (domain.as_os_str().len(), domain.clone()));
        let mut packages: Vec<Package> = Vec::new();
        for domain in domains {
            let Ok(name) = fs::read_to_string(domain.join("name")) else { continue };
            let name = name.trim();
            if name.starts_with("package") && packages.iter().all(|known| known.name != name) {
                packages.push(Package::open(name, &domain)?);
            }
        }
        if packages.is_empty() { Err(PowerError::NoPackage(folder.to_owned())) } else { Ok(Self(packages)) }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}

impl EnergyCounter for Packages {
    fn spent_j(&mut self) -> Result<f64, PowerError> {
        self.0.iter_mut().map(Package::spent_uj).sum::<Result<u64, _>>().map(|uj| uj as f64 / UJ_PER_J)
    }

    fn covers(&self) -> Covers {
        Covers::Package
    }
}

impl Package {
    fn open(name: &str, domain: &Path) -> Result<Self, PowerError> {
        let energy = domain.join("energy_uj");
        let (range_uj, last_uj) = (read(&domain.join("max_energy_range_uj"))?, read(&energy)?);
        Ok(Self { name: name.to_owned(), energy, range_uj, last_uj })
    }

    fn spent_uj(&mut self) -> Result<u64, PowerError> {
        let now = read(&self.energy)?;
        let before = std::mem::replace(&mut self.last_uj, now);
        // Less than before: it has started again. Twice between two readings would take a minute of thousands of watts.
        Ok(now.checked_sub(before).unwrap_or_else(|| self.range_uj.saturating_sub(before) + now))
    }
}

fn read(path: &Path) -> Result<u64, PowerError> {
    let unreadable = |source| PowerError::Unreadable { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(unreadable)?;
    text.trim().parse().map_err(|_| unreadable(io::Error::new(io::ErrorKind::InvalidData, "holds no count")))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE_UJ: u64 = 262_143_328_850;

    fn write(folder: &Path, domain: &str, file: &str, text: &str) {
        fs::create_dir_all(folder.join(domain)).unwrap();
        fs::write(folder.join(domain).join(file), format!("{text}\n")).unwrap();
    }

    fn domain(folder: &Path, domain: &str, name: &str, uj: u64) {
        write(folder, domain, "name", name);
        write(folder, domain, "max_energy_range_uj", &RANGE_UJ.to_string());
        write(folder, domain, "energy_uj", &uj.to_string());
    }

    proptest! {
        /// Whatever two packages spend between readings is what is read, across the end of their range too; what is part of
        /// a package, beside it, or the same one again, is not counted.
        #[test]
        fn what_packages_spend_is_read(
            starts in [0..RANGE_UJ, 0..RANGE_UJ], spent in prop::collection::vec([0..RANGE_UJ, 0..RANGE_UJ], 1..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let set = |at: [u64; 2]| {
                domain(folder.path(), "intel-rapl:0", "package-0", at[0]);
                domain(folder.path(), "intel-rapl:1", "package-1", at[1]);
                domain(folder.path(), "intel-rapl-mmio:0", "package-0", at[0]);
                domain(folder.path(), "intel-rapl:0:0", "core", at[0] / 2);
                domain(folder.path(), "intel-rapl:0:1", "dram", at[1] / 3);
                domain(folder.path(), "intel-rapl:2", "psys", at[1]);
                write(folder.path(), "intel-rapl", "enabled", "1");
            };
            set(starts);
            let mut packages = Packages::open(folder.path()).unwrap();
            prop_assert_eq!((packages.count(), packages.covers()), (2, Covers::Package));
            let mut at = starts;
            for [a, b] in spent {
                at = [(at[0] + a) % RANGE_UJ, (at[1] + b) % RANGE_UJ];
                set(at);
                prop_assert_eq!(packages.spent_j().unwrap(), (a + b) as f64 / 1e6);
                prop_assert_eq!(packages.spent_j().unwrap(), 0.0);
            }
        }
    }

    #[test]
    fn where_there_is_none_or_one_that_cannot_be_read_the_reason_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |folder: &Path, says: &str| {
            let why = Packages::open(folder).unwrap_err().to_string();
            assert!(why.contains(says) && why.contains(folder.to_str().unwrap()) && !why.contains('\n'), "{why}");
        };
        refused(&folder.path().join("nothing"), "no counter");
        refused(folder.path(), "no counter");
        domain(folder.path(), "intel-rapl:0:0", "core", 5);
        refused(folder.path(), "no counter");
        domain(folder.path(), "intel-rapl:0", "package-0", 5);
        assert_eq!(Packages::open(folder.path()).unwrap().count(), 1);
        write(folder.path(), "intel-rapl:0", "energy_uj", "much");
        refused(folder.path(), "holds no count");
        fs::remove_file(folder.path().join("intel-rapl:0/energy_uj")).unwrap();
        refused(folder.path(), "energy_uj");
    }

    /// A counter that goes away while it is read ends the measurement with its name.
    #[test]
    fn a_counter_that_goes_away_is_named() {
        let folder = tempfile::tempdir().unwrap();
        domain(folder.path(), "intel-rapl:0", "package-0", 5);
        let mut packages = Packages::open(folder.path()).unwrap();
        fs::remove_dir_all(folder.path().join("intel-rapl:0")).unwrap();
        assert!(packages.spent_j().unwrap_err().to_string().contains("energy_uj"));
    }
}
