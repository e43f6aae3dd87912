//! Every kernel of the crate, in one list: loading, tests and reports walk it.

use std::fmt;

use crate::Format;

/// What a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// `out[j] = W[active[j]] . x`: one matrix, row-sparse.
    Gemv,
    /// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: both input matrices of a gated FFN.
    GateUp,
    /// `y[c] += sum over j of h[j] * W[active[j]][c]`: the output matrix, stored neuron-major.
    Down,
    /// `active` = the rows with `scores[i] >= threshold`, ascending.
    SelectThreshold,
    /// `active` = the k rows of the largest scores, ascending; of equal scores the lowest rows.
    SelectTopK,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 5] = [Self::Gemv, Self::GateUp, Self::Down, Self::SelectThreshold, Self::SelectTopK];

    /// The operators that read weights, each in every format.
    const ON_WEIGHTS: usize = 3;

    /// Its name in benches and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemv => "gemv",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::SelectThreshold => "select_threshold",
            Self::SelectTopK => "select_top_k",
        }
    }

    /// The PTX that its kernels are in.
    pub const fn ptx(self) -> &'static str {
        match self {
            Self::Gemv => include_str!("../ptx/gemv.ptx"),
            Self::GateUp => include_str!("../ptx/gate_up.ptx"),
            Self::Down => include_str!("../ptx/down.ptx"),
            Self::SelectThreshold | Self::SelectTopK => include_str!("../ptx/select.ptx"),
        }
    }
}

/// One operator for one format of what it reads: weights, or scores, which are f32. Displays as
/// `gate_up/cuda/f16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    operator: Operator,
    format: Format,
}

const COUNT: usize = Operator::ON_WEIGHTS * Format::ALL.len() + Operator::ALL.len() - Operator::ON_WEIGHTS;

/// Every kernel: each operator on weights in each format, then each selection.
pub static KERNELS: [Kernel; COUNT] = all_kernels();

const fn all_kernels() -> [Kernel; COUNT] {
    let mut kernels = [Kernel::of(Operator::Gemv, Format::F32); COUNT];
    let mut operator = 0;
    while operator < Operator::ALL.len() {
        let mut format = 0;
        while format < Format::ALL.len() {
            let kernel = Kernel::of(Operator::ALL[operator], Format::ALL[format]);
            kernels[kernel.index()] = kernel;
            format += 1;
        }
        operator += 1;
    }
    kernels
}

impl Kernel {
    /// The kernel of `operator` for `format`. A selection has one kernel, for f32 scores, whatever the
    /// format.
    pub const fn of(operator: Operator, format: Format) -> Self {
        let on_weights = (operator as usize) < Operator::ON_WEIGHTS;
        Self { operator, format: if on_weights { format } else { Format::F32 } }
    }

    /// The kernel that displays as `name`.
    pub fn named(name: &str) -> Option<Self> {
        KERNELS.into_iter().find(|k| k.to_string() == name)
    }

    /// What it computes.
    pub const fn operator(self) -> Operator {
        self.operator
    }

    /// Format it reads.
    pub const fn format(self) -> Format {
        self.format
    }

    /// Its name in the PTX, such as `gate_up_f16`.
    pub fn entry(self) -> String {
        format!("{}_{}", self.operator.name(), self.format)
    }

    /// Where it stands in [`KERNELS`].
    pub(crate) const fn index(self) -> usize {
        let operator = self.operator as usize;
        if operator < Operator::ON_WEIGHTS {
            return operator * Format::ALL.len() + self.format as usize;
        }
        Operator::ON_WEIGHTS * Format::ALL.len() + operator - Operator::ON_WEIGHTS
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/cuda/{}", self.operator.name(), self.format))
    }
}
