//! The kernels that this processor runs.

use std::{
    collections::BTreeMap,
    env, fmt,
    io::{Write, stderr},
    sync::{Mutex, OnceLock},
};

use kernels_cpu::{Cpu, Format, Isa, KERNELS, Kernel};

use super::oracle::HiddenRounding;

/// A kernel, and the instruction set that leads to it.
pub struct Tested {
    pub isa: Isa,
    pub kernel: &'static Kernel,
}

impl Tested {
    pub fn format(&self) -> Format {
        self.kernel.format()
    }

    pub fn cpu(&self, threads: usize) -> &'static Cpu {
        cpu(self.isa, threads)
    }

    /// What the down of weights in this `format` loses of `h`.
    pub fn hidden_rounding(&self, format: Format) -> HiddenRounding {
        HiddenRounding { of_largest: kernel(self.isa, format).hidden_rounding(), group: 8 }
    }
}

impl fmt::Display for Tested {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.isa, self.format())
    }
}

/// One `Cpu` for all tests that want the same: threads cost more than most cases.
pub fn cpu(isa: Isa, threads: usize) -> &'static Cpu {
    static CPUS: Mutex<BTreeMap<(Isa, usize), &'static Cpu>> = Mutex::new(BTreeMap::new());
    let mut cpus = CPUS.lock().unwrap();
    cpus.entry((isa, threads)).or_insert_with(|| Box::leak(Box::new(Cpu::with(isa, threads).unwrap())))
}

/// Each kernel of the registry that this processor runs; where `THRESHER_ISA` forces an instruction set, what runs
/// under its name, for every format, and fails where nothing of its own does. What this processor lacks is named on
/// standard error; where `THRESHER_REQUIRE_ISA=1` its absence fails the test instead.
pub fn runnable_kernels() -> &'static [Tested] {
    static KERNELS: OnceLock<Vec<Tested>> = OnceLock::new();
    KERNELS.get_or_init(find)
}

fn find() -> Vec<Tested> {
    let forced = env::var("THRESHER_ISA").ok().filter(|name| !name.is_empty()).map(|name| name.parse::<Isa>().unwrap());
    let required = env::var("THRESHER_REQUIRE_ISA").is_ok_and(|v| v == "1");
    let wanted = || Isa::ALL.into_iter().filter(|isa| forced.is_none_or(|forced| forced == *isa));
    for isa in wanted().filter(|isa| !isa.is_available()) {
        assert!(!required, "THRESHER_REQUIRE_ISA=1, but this processor lacks {isa}");
        skipped(&format!("{isa} kernels, this processor lacks {isa}"));
    }
    let runs = || wanted().filter(|isa| isa.is_available());
    for kernel in KERNELS.iter().filter(|k| runs().any(|isa| isa == k.isa()) && !k.is_available()) {
        skipped(&format!("{} {} kernel, this processor lacks what it needs", kernel.isa(), kernel.format()));
    }
    let all = runs().flat_map(|isa| Format::ALL.map(|format| Tested { isa, kernel: kernel(isa, format) }));
    // An instruction set borrows what it lacks from a plainer one, under whose name it is tested already.
    let found: Vec<_> = all.filter(|tested| forced.is_some() || tested.kernel.isa() == tested.isa).collect();
    if let Some(isa) = forced.filter(|isa| isa.is_available()) {
        assert!(found.iter().any(|tested| tested.kernel.isa() == isa), "THRESHER_ISA={isa}, which has no kernel");
    }
    found
}

fn kernel(isa: Isa, format: Format) -> &'static Kernel {
    cpu(isa, 1).kernel(format)
}

fn skipped(what: &str) {
    // Not `eprintln!`, which the test harness swallows where the test passes.
    let _ = writeln!(stderr(), "skipped: {what}");
}
