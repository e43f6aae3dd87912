//! Every kernel of the crate, in one list: dispatch, tests, benches and reports walk it.

use std::{fmt, ops::Range};

use crate::{
    Activation, Format, Isa, Matrix,
    input::{Form, Input, ROUNDING},
    scalar,
};
#[cfg(target_arch = "x86_64")]
use crate::{avx2, avx512, avx512vnni};

/// `out[j] = W[active[j]] . x`. Contract: the processor has the kernel's instruction set, `w` its format, `active`
/// is in range, the input has `w.cols()` elements in the kernel's form, `out` as many as `active`.
pub(crate) type Gemv = unsafe fn(w: &Matrix<'_>, active: &[u32], input: &Input<'_>, out: &mut [f32]);

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`. Contract as for [`Gemv`], for gate and up of one shape.
pub(crate) type GateUp =
    unsafe fn(gate_up: [&Matrix<'_>; 2], activation: Activation, active: &[u32], input: &Input<'_>, h: &mut [f32]);

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
    /// What the processor needs beside the instruction set.
    extra: Extra,
    pub(crate) form: Form,
    hidden_rounding: f64,
    pub(crate) gemv: Gemv,
    pub(crate) gate_up: GateUp,
    pub(crate) accumulate: Accumulate,
}

/// A feature that some processors of an instruction set have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Extra {
    Nothing,
    #[cfg(target_arch = "x86_64")]
    Bf16,
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

    /// Whether this processor runs it.
    pub fn is_available(&self) -> bool {
        let extra = match self.extra {
            Extra::Nothing => true,
            #[cfg(target_arch = "x86_64")]
            Extra::Bf16 => is_x86_feature_detected!("avx512bf16"),
        };
        extra && self.isa.is_available()
    }

    /// How far an element of the input may be from what the dot products see of it, as a share of its own magnitude
    /// and as a share of the largest magnitude in its block of 32.
    pub fn input_rounding(&self) -> InputRounding {
        match self.form {
            Form::Plain => InputRounding { of_element: 0.0, of_block: 0.0 },
            Form::Wide | Form::Digits { .. } => InputRounding { of_element: 0.0, of_block: ROUNDING },
            Form::TwoBf16 => InputRounding { of_element: 2.0_f64.powi(-17), of_block: 0.0 },
        }
    }

    /// What accumulation loses of `h`: with `c = h * d` for a neuron and a block of scale `d`, a column may be off by this
    /// times the largest `|c|` of eight neurons that follow each other in the active list, times the sum of their `|q|`.
    pub fn hidden_rounding(&self) -> f64 {
        self.hidden_rounding
    }

    /// Its name as the executor of `operator`, such as `gate_up/avx512/f16`.
    pub fn name(&self, operator: Operator) -> String {
        format!("{}/{}/{}", operator.name(), self.isa, self.format)
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.isa, self.format)
    }
}

/// What a kernel loses of its input: see [`Kernel::input_rounding`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct InputRounding {
    /// As a share of the element.
    pub of_element: f64,
    /// As a share of the largest element of its block of 32.
    pub of_block: f64,
}

const fn scalar_kernel(format: Format) -> Kernel {
    use scalar::{
        accumulate::accumulate,
        dot::{gate_up, gemv},
    };
    Kernel {
        isa: Isa::Scalar,
        format,
        extra: Extra::Nothing,
        form: Form::Plain,
        hidden_rounding: 0.0,
        gemv,
        gate_up,
        accumulate,
    }
}

/// A kernel whose dot products and accumulation take the format as a type.
#[cfg(target_arch = "x86_64")]
macro_rules! kernel {
    ($isa:ident, $format:ident, $form:expr, $dot:ident::$dot_file:ident, $accumulate:ident::$accumulate_file:ident) => {
        Kernel {
            isa: Isa::$isa,
            format: Format::$format,
            extra: Extra::Nothing,
            form: $form,
            hidden_rounding: 0.0,
            gemv: $dot::$dot_file::gemv::<$dot::$format>,
            gate_up: $dot::$dot_file::gate_up::<$dot::$format>,
            accumulate: $accumulate::$accumulate_file::accumulate::<$accumulate::$format>,
        }
    };
}

/// A kernel that multiplies bytes: x in its dot products, h in its accumulation, both in two digits.
#[cfg(target_arch = "x86_64")]
macro_rules! vnni_kernel {
    ($format:ident) => {
        Kernel {
            isa: Isa::Avx512Vnni,
            format: Format::$format,
            extra: Extra::Nothing,
            form: <avx512vnni::$format as avx512vnni::Blocks>::FORM,
            hidden_rounding: ROUNDING,
            gemv: avx512vnni::dot_blocks::gemv::<avx512vnni::$format>,
            gate_up: avx512vnni::dot_blocks::gate_up::<avx512vnni::$format>,
            accumulate: avx512vnni::accumulate_blocks::accumulate::<avx512vnni::$format>,
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
    kernel!(Avx2, F32, Form::Plain, avx2::dot_float, avx2::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx2, F16, Form::Plain, avx2::dot_float, avx2::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx2, Bf16, Form::Plain, avx2::dot_float, avx2::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx2, Q8_0, Form::Wide, avx2::dot_blocks, avx2::accumulate_blocks),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx2, Q4_0, Form::Wide, avx2::dot_blocks, avx2::accumulate_blocks),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx512, F32, Form::Plain, avx512::dot_float, avx512::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx512, F16, Form::Plain, avx512::dot_float, avx512::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx512, Bf16, Form::Plain, avx512::dot_float, avx512::accumulate_float),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx512, Q8_0, Form::Wide, avx512::dot_blocks, avx512::accumulate_blocks),
    #[cfg(target_arch = "x86_64")]
    kernel!(Avx512, Q4_0, Form::Wide, avx512::dot_blocks, avx512::accumulate_blocks),
    #[cfg(target_arch = "x86_64")]
    Kernel {
        isa: Isa::Avx512Vnni,
        format: Format::Bf16,
        extra: Extra::Bf16,
        form: Form::TwoBf16,
        hidden_rounding: 0.0,
        gemv: avx512vnni::dot_bf16::gemv,
        gate_up: avx512vnni::dot_bf16::gate_up,
        accumulate: avx512::accumulate_float::accumulate::<avx512::Bf16>,
    },
    #[cfg(target_arch = "x86_64")]
    vnni_kernel!(Q8_0),
    #[cfg(target_arch = "x86_64")]
    vnni_kernel!(Q4_0),
];

/// The best kernel for `format` among those of `isa` and plainer ones; the last resort is scalar.
pub(crate) fn kernel(isa: Isa, format: Format) -> &'static Kernel {
    let fits = |k: &&Kernel| k.format == format && k.isa <= isa && k.is_available();
    KERNELS.iter().filter(fits).max_by_key(|k| k.isa).unwrap_or(&KERNELS[0])
}

/// The kernel that runs `format` fastest on this processor: that of the best instruction set, except where another was
/// measured to be ahead (`PERFORMANCE.md`, "Quantised weights").
pub(crate) fn fastest(format: Format) -> &'static Kernel {
    #[cfg(target_arch = "x86_64")]
    if format == Format::Q8_0 && Isa::halves_512_bits() {
        return kernel(Isa::Avx2, format);
    }
    kernel(Isa::best(), format)
}
