//! The operators: arguments checked once, work shared between threads, kernels called.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    thread::available_parallelism,
};

use rayon::{ThreadPool, ThreadPoolBuilder, prelude::*};

use crate::{
    Activation, Error, Isa, Matrix, Operator,
    active::check_active,
    registry::{Kernel, kernel},
    scalar,
};

/// A processor's worth of operators: an instruction set and a pool of threads.
///
/// Results are the same, bit for bit, for any number of threads: no sum is ever split between two of them.
#[derive(Debug)]
pub struct Cpu {
    isa: Isa,
    pool: ThreadPool,
}

/// Tasks per thread when rows are dealt out: enough that a slow core does not hold the others up, few enough that
/// a task is still hundreds of kilobytes of weights.
const TASKS_PER_THREAD: usize = 8;
/// Rows of a task are a multiple of this: whole groups of every row kernel.
const MIN_ROWS: usize = 8;
/// Columns of y that one task owns are a multiple of this: whole blocks, whole cache lines.
const COLUMN_STEP: usize = 64;

impl Cpu {
    /// All cores, with the instruction set of [`Isa::from_env`].
    ///
    /// # Errors
    /// `THRESHER_ISA` names an instruction set that is unknown or missing here; threads cannot be started.
    pub fn new() -> Result<Self, Error> {
        let threads = available_parallelism().map_or(1, usize::from);
        Self::with(Isa::from_env()?, threads)
    }

    /// `threads` threads (at least one) that run `isa`.
    ///
    /// # Errors
    /// This processor lacks `isa`; threads cannot be started.
    pub fn with(isa: Isa, threads: usize) -> Result<Self, Error> {
        let isa = isa.require()?;
        let pool = ThreadPoolBuilder::new()
            .num_threads(threads.max(1))
            .thread_name(|i| format!("thresher-{i}"))
            .build()
            .map_err(|e| Error::System { what: "starting threads", reason: e.to_string() })?;
        Ok(Self { isa, pool })
    }

    /// The instruction set that runs.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads of the pool.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// The name of the kernel that runs `operator` on weights like `w`, such as `down/avx2/q8_0`.
    pub fn kernel_name(&self, operator: Operator, w: &Matrix<'_>) -> String {
        self.kernel(w).name(operator)
    }

    fn kernel(&self, w: &Matrix<'_>) -> &'static Kernel {
        kernel(self.isa, w.format())
    }

    /// Runs `f` on the pool. Operators called inside start without the hand-over from a foreign thread, so a decode
    /// loop belongs in here.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.pool.install(f)
    }

    /// Row-sparse GEMV: `out[j] = W[active[j]] . x`.
    ///
    /// `x` has one element per column, `out` one per active row; `active` is strictly ascending. Reads only the rows
    /// named. As long as nothing overflows, a sum is at most `gamma(cols + 3) * sum |w||x|` away from the exact one,
    /// where `gamma(k) = k u / (1 - k u)` and `u = 2^-24` (Higham, Accuracy and Stability of Numerical Algorithms,
    /// lemma 3.1).
    ///
    /// # Errors
    /// Slices of another length; indices out of range or not ascending.
    pub fn gemv(&self, w: &Matrix<'_>, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), Error> {
        check_length("x", x, w.cols())?;
        check_length("out", out, active.len())?;
        check_active(active, w.rows())?;
        let kernel = self.kernel(w);
        let rows = self.rows_per_task(active.len());
        self.run(active.chunks(rows).zip(out.chunks_mut(rows)), |(active, out)| {
            // SAFETY: lengths and indices were checked above, the instruction set in `with`.
            unsafe { (kernel.gemv)(w, active, x, out) };
        });
        Ok(())
    }

    /// Gate and up of a gated FFN: `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`.
    ///
    /// Shapes and bounds as for [`Cpu::gemv`], for two matrices of one shape and format.
    ///
    /// # Errors
    /// As for [`Cpu::gemv`]; matrices that differ in shape or format.
    pub fn gate_up(
        &self,
        gate: &Matrix<'_>,
        up: &Matrix<'_>,
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), Error> {
        up.require_like("up", gate)?;
        check_length("x", x, gate.cols())?;
        check_length("h", h, active.len())?;
        check_active(active, gate.rows())?;
        let kernel = self.kernel(gate);
        let rows = self.rows_per_task(active.len());
        self.run(active.chunks(rows).zip(h.chunks_mut(rows)), |(active, h)| {
            // SAFETY: lengths and indices were checked above, the instruction set in `with`.
            unsafe { (kernel.gate_up)([gate, up], activation, active, x, h) };
        });
        Ok(())
    }

    /// Neuron-major down: `y[c] += sum over j of h[j] * W[active[j]][c]`.
    ///
    /// `w` has one row per neuron. `h` has one element per active neuron, `y` one per column. Each thread owns a range
    /// of columns and walks the whole active list, so there are no atomics and each column is summed in ascending
    /// order of neurons whatever the number of threads. As long as nothing overflows, an element is at most
    /// `gamma(k + 3) * (|y| + sum |h||w|)` away from the exact one for `k` active neurons; `gamma` as for
    /// [`Cpu::gemv`].
    ///
    /// # Errors
    /// Slices of another length; indices out of range or not ascending.
    pub fn down(&self, w: &Matrix<'_>, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), Error> {
        check_length("h", h, active.len())?;
        check_length("y", y, w.cols())?;
        check_active(active, w.rows())?;
        let kernel = self.kernel(w);
        let width = y.len().div_ceil(self.threads()).next_multiple_of(COLUMN_STEP).max(COLUMN_STEP);
        self.run(y.chunks_mut(width).enumerate(), |(task, y)| {
            let columns = task * width..task * width + y.len();
            // SAFETY: lengths and indices were checked above, the instruction set in `with`; the range is within the
            // row and starts and ends on whole blocks because `width` and the row do.
            unsafe { (kernel.accumulate)(w, active, h, columns, y) };
        });
        Ok(())
    }

    /// Reads every byte once with all threads and returns a checksum (the exclusive-or of all 64-bit words of each
    /// task's share). Timed over a buffer far larger than the caches this is the machine's read bandwidth, the
    /// roof that every kernel is held against.
    pub fn read_all(&self, bytes: &[u8]) -> u64 {
        let share = bytes.len().div_ceil(self.threads() * TASKS_PER_THREAD).next_multiple_of(4096).max(4096);
        let sum = AtomicU64::new(0);
        self.run(bytes.chunks(share), |share| {
            sum.fetch_xor(self.checksum(share), Ordering::Relaxed);
        });
        sum.into_inner()
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        match self.isa {
            // SAFETY: `with` made sure of the instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => unsafe { crate::avx512::stream::checksum(bytes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { crate::avx2::stream::checksum(bytes) },
            _ => scalar::stream::checksum(bytes),
        }
    }

    /// Runs `task` on each of `parts`, shared between the threads; on the caller's thread where there is only one.
    fn run<T: Send>(&self, parts: impl Iterator<Item = T>, task: impl Fn(T) + Sync + Send) {
        if self.threads() == 1 {
            return parts.for_each(task);
        }
        let parts: Vec<T> = parts.collect();
        self.install(|| parts.into_par_iter().for_each(task));
    }

    fn rows_per_task(&self, active: usize) -> usize {
        active.div_ceil(self.threads() * TASKS_PER_THREAD).next_multiple_of(MIN_ROWS).max(MIN_ROWS)
    }
}

fn check_length(operand: &'static str, slice: &[f32], wanted: usize) -> Result<(), Error> {
    if slice.len() == wanted { Ok(()) } else { Err(Error::Length { operand, given: slice.len(), wanted }) }
}
