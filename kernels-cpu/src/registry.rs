//! Every kernel of the crate, in one list: dispatch, tests, benches and reports walk it.

use std::ops::Range;

use crate::{Activation, Format, Isa, Matrix, scalar};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512};

/// `out[j] = W[active[j]] . x`. Contract: the processor has the kernel's instruction set, `w` its format, `active`
/// is in range, `x` has `w.cols()` elements, `out` as many as `active`.
pub(crate) type Gemv = unsafe fn(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]);

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`. Contract as for [`Gemv`], for gate and up of one shape.
pub(crate) type GateUp =
    unsafe fn(gate_up: [&Matrix<'_>; 2], activation: Activation, active: &[u32], x: &[f32], h: &mut [f32]);

/// `y[c] += sum over j of h[j] * W[active[j]][c]`. Contract as for [`Gemv`], with as many `h` as `active` and
/// `columns` within the row, on whole blocks, `y` as long.
pub(crate) type Accumulate = unsafe fn(w: &Matrix<'_>, active: &[u32], h: &[f32], columns: Range<usize>, y: &mut [f32]);

/// What a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `out[j] = W[active[j]] . x`: one matrix, row-sparse.
    Gemv,
    /// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: both input matrices of a gated FFN.
    GateUp,
    /// `y[c] += sum over j of h[j] * down[active[j]][c]`: the output matrix, stored neuron-major.
    Down,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 3] = [Self::Gemv, Self::GateUp, Self::Down];

    /// Its name in benches and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemv => "gemv",
            Self::GateUp => "gate_up",
            Self::Down => "down",
        }
    }
}

/// The hand-written loops of one instruction set for one weight format.
pub struct Kernel {
    isa: Isa,
    format: Format,
    pub(crate) gemv: Gemv,
    pub(crate) gate_up: GateUp,
    pub(crate) accumulate: Accumulate,
}

impl Kernel {
    /// Instruction set it is written for.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Weight format it reads.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Its name as the executor of `operator`, such as `gate_up/avx512/f16`.
    pub fn name(&self, operator: Operator) -> String {
        format!("{}/{}/{}", operator.name(), self.isa, self.format)
    }
}

const fn scalar_kernel(format: Format) -> Kernel {
    use scalar::{
        accumulate::accumulate,
        dot::{gate_up, gemv},
    };
    Kernel { isa: Isa::Scalar, format, gemv, gate_up, accumulate }
}

/// The kernel of an instruction set's modules for one format; the format's type there has the format's name.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($isa:ident, $name:ident, $dot:ident, $accumulate:ident, $format:ident) => {
        Kernel {
            isa: Isa::$name,
            format: Format::$format,
            gemv: $isa::$dot::gemv::<$isa::$format>,
            gate_up: $isa::$dot::gate_up::<$isa::$format>,
            accumulate: $isa::$accumulate::accumulate::<$isa::$format>,
        }
    };
}

/// Every kernel of this build. On processors other than x86-64 only the scalar ones exist.
pub static KERNELS: &[Kernel] = &[
    scalar_kernel(Format::F32),
    scalar_kernel(Format::F16),
    scalar_kernel(Format::Bf16),
    scalar_kernel(Format::Q8_0),
    scalar_kernel(Format::Q4_0),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx2, Avx2, dot_float, accumulate_float, F32),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx2, Avx2, dot_float, accumulate_float, F16),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx2, Avx2, dot_float, accumulate_float, Bf16),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx2, Avx2, dot_blocks, accumulate_blocks, Q8_0),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx2, Avx2, dot_blocks, accumulate_blocks, Q4_0),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx512, Avx512, dot_float, accumulate_float, F32),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx512, Avx512, dot_float, accumulate_float, F16),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx512, Avx512, dot_float, accumulate_float, Bf16),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx512, Avx512, dot_blocks, accumulate_blocks, Q8_0),
    #[cfg(target_arch = "x86_64")]
    kernel!(avx512, Avx512, dot_blocks, accumulate_blocks, Q4_0),
];

/// The kernel of `isa` for `format`; the scalar one where this build has no other.
pub(crate) fn kernel(isa: Isa, format: Format) -> &'static Kernel {
    let find = |isa| KERNELS.iter().find(move |k| k.isa == isa && k.format == format);
    find(isa).or_else(|| find(Isa::Scalar)).unwrap_or(&KERNELS[0])
}
