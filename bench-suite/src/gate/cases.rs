//! What gates time, and how: one call at a time on one thread, after a read of memory that leaves nothing of its weights
//! in the caches.
//!
//! Time is that for which the thread had a processor. Where others want the processors too, the clock on the wall says who
//! was made to wait, longer calls more often than short ones, whatever the kernels do.

use kernels_cpu::{Cpu, Isa};
use rustix::time::{ClockId, clock_gettime};

use crate::{
    Result,
    measure::Roof,
    workload::{Case, Work},
};

/// Where most of the kernels' work is done.
pub const DENSITY: f64 = 0.1;

/// The operators of a kernel that are timed, by density.
pub const OPERATORS: [fn(f64) -> Work; 2] = [Work::GateUp, Work::Down];

/// Each instruction set of this processor from `plainest` on, on one thread.
///
/// # Errors
/// Threads cannot be started.
pub fn own_kernels(plainest: Isa) -> Result<Vec<Cpu>> {
    let isas = Isa::ALL.into_iter().filter(|isa| *isa >= plainest && isa.is_available());
    isas.map(|isa| Ok(Cpu::with(isa, 1)?)).collect()
}

/// One call's time, and that in which its bytes could be read just before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Timing {
    /// Seconds of the call.
    pub seconds: f64,
    /// Seconds in which the machine read as many bytes.
    pub roof_seconds: f64,
}

impl Timing {
    /// Time over the limit of memory.
    pub fn ratio(self) -> f64 {
        self.seconds / self.roof_seconds
    }
}

/// Times calls.
pub struct Bench {
    roof: Roof,
}

impl Bench {
    /// Memory to read in between, filled by the threads of `cpu`.
    ///
    /// # Errors
    /// The system refuses the memory.
    pub fn new(cpu: &Cpu) -> Result<Self> {
        Ok(Self { roof: Roof::new(cpu)? })
    }

    /// One call, after a read of other memory.
    ///
    /// # Errors
    /// The call's.
    pub fn seconds_and_roof(&mut self, cpu: &Cpu, case: &mut Case<'_>) -> Result<Timing> {
        let run = &mut case.timed.run;
        let ((window_seconds, window_bytes), (seconds, result)) =
            cpu.install(|| (processor_time(|| self.roof.read(cpu)), processor_time(run)));
        result?;
        Ok(Timing { seconds, roof_seconds: window_seconds * case.timed.bytes as f64 / window_bytes? as f64 })
    }

    /// Seconds a byte of one call.
    ///
    /// # Errors
    /// The call's.
    pub fn seconds_a_byte(&mut self, cpu: &Cpu, case: &mut Case<'_>) -> Result<f64> {
        Ok(self.seconds_and_roof(cpu, case)?.seconds / case.timed.bytes as f64)
    }
}

/// Seconds for which this thread had a processor during `f`.
fn processor_time<R>(f: impl FnOnce() -> R) -> (f64, R) {
    let now = || {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
    };
    let start = now();
    let result = f();
    (now() - start, result)
}
