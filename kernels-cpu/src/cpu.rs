//! The operators: arguments checked once, work shared between threads, kernels called.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
};

use crate::{
    Activation, Error, Format, Isa, Matrix,
    active::check_active,
    down::Hidden,
    ffn::Scratch,
    input::Input,
    registry::{Kernel, fastest, kernel},
    scalar,
    stretches::{parts, stretches},
    team::Team,
};

/// A processor's worth of operators: a kernel for each format and a team of threads.
///
/// Results are the same, bit for bit, for any number of threads: no sum is ever split between two of them.
#[derive(Debug)]
pub struct Cpu {
    isa: Isa,
    /// In the order of [`Format::ALL`].
    kernels: [&'static Kernel; Format::ALL.len()],
    team: Team,
    /// Memory of FFNs that ran, for those to come.
    scratch: Mutex<Vec<Scratch>>,
}

impl Cpu {
    /// As [`Cpu::with_threads`], on all cores.
    ///
    /// # Errors
    /// `THRESHER_ISA` names an instruction set that is unknown or missing here; threads cannot be started.
    pub fn new() -> Result<Self, Error> {
        Self::with_threads(available_parallelism().map_or(1, usize::from))
    }

    /// `threads` threads (at least one) that run each format by the kernel that is fastest on this processor, or by that
    /// of the instruction set that `THRESHER_ISA` names.
    ///
    /// # Errors
    /// As for [`Cpu::new`].
    pub fn with_threads(threads: usize) -> Result<Self, Error> {
        match Isa::forced()? {
            Some(isa) => Self::with(isa, threads),
            None => Self::of(Isa::best(), Format::ALL.map(fastest), threads),
        }
    }

    /// `threads` threads (at least one) that run `isa`, and plainer ones for formats in which it has nothing of its own.
    ///
    /// # Errors
    /// This processor lacks `isa`; threads cannot be started.
    pub fn with(isa: Isa, threads: usize) -> Result<Self, Error> {
        let isa = isa.require()?;
        Self::of(isa, Format::ALL.map(|format| kernel(isa, format)), threads)
    }

    fn of(isa: Isa, kernels: [&'static Kernel; Format::ALL.len()], threads: usize) -> Result<Self, Error> {
        Ok(Self { isa, kernels, team: Team::new(threads.max(1))?, scratch: Mutex::default() })
    }

    /// The best instruction set that runs. A kernel may be of a plainer one: [`Cpu::kernel`] tells.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Threads of the team.
    pub fn threads(&self) -> usize {
        self.team.threads()
    }

    /// The kernel that runs on weights in `format`.
    pub fn kernel(&self, format: Format) -> &'static Kernel {
        self.kernels[format as usize]
    }

    /// Runs `f` on the team, whose threads stay awake until it returns: operators called inside start within
    /// microseconds. A decode loop belongs in here. Two calls at once share the threads, and neither may wait for the
    /// other inside.
    pub fn install<R: Send>(&self, f: impl FnOnce() -> R + Send) -> R {
        self.team.install(f)
    }

    /// Row-sparse GEMV: `out[j] = W[active[j]] . x`.
    ///
    /// `x` has one element per column, `out` one per active row; `active` is strictly ascending. Reads only the rows
    /// named.
    ///
    /// As long as nothing overflows, a sum is at most
    /// `gamma(cols + 3) * sum |w||x| + sum |w| (e |x| + b max|x|)` away from the exact one, where
    /// `gamma(k) = k u / (1 - k u)`, `u = 2^-24` (Higham, Accuracy and Stability of Numerical Algorithms, lemma 3.1),
    /// the maximum is that of the block of 32 columns, and `e` and `b` are the kernel's
    /// [input rounding](Kernel::input_rounding): zero for most, `b = 2^-15` where quantised weights meet integers.
    /// Denormal numbers on the way, as weights, products or scales, may add `2^-125 (2 cols + 32 + sum |x|)`.
    ///
    /// # Errors
    /// Slices of another length; indices out of range or not ascending.
    pub fn gemv(&self, w: &Matrix<'_>, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), Error> {
        check_length("x", x, w.cols())?;
        check_length("out", out, active.len())?;
        check_active(active, w.rows())?;
        let (kernel, input) = self.prepared(w, x);
        let bytes = active.len() * w.row_bytes();
        self.each_part(bytes, active, out, |active, out| {
            // SAFETY: lengths and indices were checked above, the instruction set in `with`; `prepared` made the input.
            unsafe { (kernel.gemv)(w, active, &input, out) };
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
        let (kernel, input) = self.prepared(gate, x);
        let bytes = 2 * active.len() * gate.row_bytes();
        self.each_part(bytes, active, h, |active, h| {
            // SAFETY: as in `gemv`.
            unsafe { (kernel.gate_up)([gate, up], activation, active, &input, h) };
        });
        Ok(())
    }

    /// Neuron-major down: `y[c] += sum over j of h[j] * W[active[j]][c]`.
    ///
    /// `w` has one row per neuron. `h` has one element per active neuron, `y` one per column. The active list is summed
    /// in up to eight pieces, each in ascending order, and then the pieces in theirs: without atomics, and in the same
    /// order of neurons whatever the number of threads. As long as nothing overflows, an element is at most
    /// `gamma(k + 3) * (|y| + sum |h||w|)` away from the exact one for `k` active neurons, `gamma` as for [`Cpu::gemv`];
    /// where the kernel rounds `h` for quantised weights, its [hidden rounding](Kernel::hidden_rounding) comes on top.
    /// Denormal numbers on the way may add `2^-141 (k + 1)`.
    ///
    /// # Errors
    /// Slices of another length; indices out of range or not ascending.
    pub fn down(&self, w: &Matrix<'_>, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), Error> {
        check_length("h", h, active.len())?;
        check_length("y", y, w.cols())?;
        check_active(active, w.rows())?;
        let mut scratch = self.take_scratch();
        self.accumulate(w, &mut [Hidden { rows: active, h, y, sums: &mut scratch.sums }]);
        self.keep_scratch(scratch);
        Ok(())
    }

    /// The kernel for `w` with the input in its form. An input that this form cannot hold (infinities, NaN, magnitudes
    /// under 1e-30) goes to the scalar kernel, which takes it as it is.
    pub(crate) fn prepared<'a>(&self, w: &Matrix<'_>, x: &'a [f32]) -> (&'static Kernel, Input<'a>) {
        let best = self.kernel(w.format());
        match Input::new(x, best.form) {
            Some(input) => (best, input),
            None => (kernel(Isa::Scalar, w.format()), Input::plain(x)),
        }
    }

    /// Reads every byte once with all threads and returns a checksum (the exclusive-or of all 64-bit words of each
    /// task's share). Timed over a buffer far larger than the caches this is the machine's read bandwidth, the
    /// roof that every kernel is held against.
    pub fn read_all(&self, bytes: &[u8]) -> u64 {
        const PAGE: usize = 4096;
        let sum = AtomicU64::new(0);
        self.each(bytes.len(), stretches(bytes.len().div_ceil(PAGE), self.threads()), |pages| {
            let share = &bytes[pages.start * PAGE..bytes.len().min(pages.end * PAGE)];
            sum.fetch_xor(self.checksum(share), Ordering::Relaxed);
        });
        sum.into_inner()
    }

    fn checksum(&self, bytes: &[u8]) -> u64 {
        match self.isa {
            // SAFETY: `with` made sure of the instruction set.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 | Isa::Avx512Vnni => unsafe { crate::avx512::stream::checksum(bytes) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => unsafe { crate::avx2::stream::checksum(bytes) },
            _ => scalar::stream::checksum(bytes),
        }
    }

    /// Runs `task` on each of `parts`, which read `bytes` together, shared between the threads where that is worth it.
    pub fn each<T: Send>(&self, bytes: usize, parts: impl Iterator<Item = T> + Send, task: impl Fn(T) + Sync + Send) {
        self.team.each(bytes, parts, task);
    }

    /// Runs `task` on each stretch of the active list and what it puts out, one number a row.
    fn each_part(
        &self,
        bytes: usize,
        active: &[u32],
        out: &mut [f32],
        task: impl Fn(&[u32], &mut [f32]) + Sync + Send,
    ) {
        let stretches = stretches(active.len(), self.threads());
        let parts = stretches.clone().zip(parts(out, stretches));
        self.each(bytes, parts, |(stretch, out)| task(&active[stretch], out));
    }

    /// Keeps the threads awake during `f`, except for work too small to wake them for.
    pub(crate) fn install_for<R: Send>(&self, bytes: usize, f: impl FnOnce() -> R + Send) -> R {
        if self.team.leaves_alone(bytes) { f() } else { self.team.install_at_once(f) }
    }

    pub(crate) fn take_scratch(&self) -> Scratch {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    pub(crate) fn keep_scratch(&self, scratch: Scratch) {
        self.scratch.lock().unwrap_or_else(PoisonError::into_inner).push(scratch);
    }
}

pub(crate) fn check_length(operand: &'static str, slice: &[f32], wanted: usize) -> Result<(), Error> {
    if slice.len() == wanted { Ok(()) } else { Err(Error::Length { operand, given: slice.len(), wanted }) }
}
