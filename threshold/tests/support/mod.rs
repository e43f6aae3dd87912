//! What the tests share: the kernels that this processor runs.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use std::env;
use std::io::{Write, stderr};

use threshold::Isa;
use threshold::select::Kernels;

/// The kernels of each instruction set that this processor runs; of one where `THRESHER_ISA` forces it. What this
/// processor lacks is named on standard error; where `THRESHER_REQUIRE_ISA=1` its absence fails the test instead.
pub fn runnable_kernels() -> Vec<&'static Kernels> {
    let forced = env::var("THRESHER_ISA").ok().filter(|name| !name.is_empty()).map(|name| name.parse::<Isa>().unwrap());
    let required = env::var("THRESHER_REQUIRE_ISA").is_ok_and(|value| value == "1");
    let wanted = Isa::ALL.into_iter().filter(|isa| forced.is_none_or(|forced| forced == *isa));
    let runs = |isa: &Isa| {
        let available = isa.is_available();
        assert!(available || !required, "THRESHER_REQUIRE_ISA=1, but this processor lacks {isa}");
        if !available {
            // Not `eprintln!`, which the test harness swallows where the test passes.
            let _ = writeln!(stderr(), "skipped: {isa} selection, this processor lacks {isa}");
        }
        available
    };
    wanted.filter(runs).map(|isa| Kernels::with(isa).unwrap()).collect()
}
