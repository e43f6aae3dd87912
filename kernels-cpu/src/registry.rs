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

#[cfg(target_arch = "x86_64")]
mod avx2_kernels {
    use super::{Format, Isa, Kernel};
    use crate::avx2::*;

    pub(super) const fn float<F: Float>(format: Format) -> Kernel {
        Kernel {
            isa: Isa::Avx2,
            format,
            gemv: dot_float::gemv::<F>,
            gate_up: dot_float::gate_up::<F>,
            accumulate: accumulate_float::accumulate::<F>,
        }
    }

    pub(super) const fn blocks<B: Blocks>(format: Format) -> Kernel {
        Kernel {
            isa: Isa::Avx2,
            format,
            gemv: dot_blocks::gemv::<B>,
            gate_up: dot_blocks::gate_up::<B>,
            accumulate: accumulate_blocks::accumulate::<B>,
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512_kernels {
    use super::{Format, Isa, Kernel};
    use crate::avx512::*;

    pub(super) const fn float<F: Float>(format: Format) -> Kernel {
        Kernel {
            isa: Isa::Avx512,
            format,
            gemv: dot_float::gemv::<F>,
            gate_up: dot_float::gate_up::<F>,
            accumulate: accumulate_float::accumulate::<F>,
        }
    }

    pub(super) const fn blocks<B: Blocks>(format: Format) -> Kernel {
        Kernel {
            isa: Isa::Avx512,
            format,
            gemv: dot_blocks::gemv::<B>,
            gate_up: dot_blocks::gate_up::<B>,
            accumulate: accumulate_blocks::accumulate::<B>,
        }
    }
}

/// Every kernel of this build. On processors other than x86-64 only the scalar ones exist.
pub static KERNELS: &[Kernel] = &[
    scalar_kernel(Format::F32),
    scalar_kernel(Format::F16),
    scalar_kernel(Format::Bf16),
    scalar_kernel(Format::Q8_0),
    scalar_kernel(Format::Q4_0),
    #[cfg(target_arch = "x86_64")]
    avx2_kernels::float::<avx2::F32>(Format::F32),
    #[cfg(target_arch = "x86_64")]
    avx2_kernels::float::<avx2::F16>(Format::F16),
    #[cfg(target_arch = "x86_64")]
    avx2_kernels::float::<avx2::Bf16>(Format::Bf16),
    #[cfg(target_arch = "x86_64")]
    avx2_kernels::blocks::<avx2::Q8_0>(Format::Q8_0),
    #[cfg(target_arch = "x86_64")]
    avx2_kernels::blocks::<avx2::Q4_0>(Format::Q4_0),
    #[cfg(target_arch = "x86_64")]
    avx512_kernels::float::<avx512::F32>(Format::F32),
    #[cfg(target_arch = "x86_64")]
    avx512_kernels::float::<avx512::F16>(Format::F16),
    #[cfg(target_arch = "x86_64")]
    avx512_kernels::float::<avx512::Bf16>(Format::Bf16),
    #[cfg(target_arch = "x86_64")]
    avx512_kernels::blocks::<avx512::Q8_0>(Format::Q8_0),
    #[cfg(target_arch = "x86_64")]
    avx512_kernels::blocks::<avx512::Q4_0>(Format::Q4_0),
];

/// The kernel of `isa` for `format`; the scalar one where this build has no other.
pub(crate) fn kernel(isa: Isa, format: Format) -> &'static Kernel {
    let find = |isa| KERNELS.iter().find(move |k| k.isa == isa && k.format == format);
    find(isa).or_else(|| find(Isa::Scalar)).unwrap_or(&KERNELS[0])
}
