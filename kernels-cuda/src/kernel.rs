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

    /// The PTX of its kernels, one for each format.
    pub const fn ptx(self) -> &'static str {
        match self {
            Self::Gemv => include_str!("../ptx/gemv.ptx"),
            Self::GateUp => include_str!("../ptx/gate_up.ptx"),
            Self::Down => include_str!("../ptx/down.ptx"),
        }
    }
}

/// One operator for one weight format. Displays as `gate_up/cuda/f16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    operator: Operator,
    format: Format,
}

/// Every kernel: each operator in each format.
pub static KERNELS: [Kernel; 9] = all_kernels();

const fn all_kernels() -> [Kernel; 9] {
    let mut kernels = [Kernel { operator: Operator::Gemv, format: Format::F32 }; 9];
    let mut i = 0;
    while i < kernels.len() {
        kernels[i] = Kernel { operator: Operator::ALL[i / 3], format: Format::ALL[i % 3] };
        i += 1;
    }
    kernels
}

impl Kernel {
    /// The kernel of `operator` for `format`.
    pub const fn of(operator: Operator, format: Format) -> Self {
        Self { operator, format }
    }

    /// The kernel that displays as `name`.
    pub fn named(name: &str) -> Option<Self> {
        KERNELS.into_iter().find(|k| k.to_string() == name)
    }

    /// What it computes.
    pub const fn operator(self) -> Operator {
        self.operator
    }

    /// Weight format it reads.
    pub const fn format(self) -> Format {
        self.format
    }

    /// Its name in the PTX, such as `gate_up_f16`.
    pub fn entry(self) -> String {
        format!("{}_{}", self.operator.name(), self.format)
    }

    /// Where it stands in [`KERNELS`].
    pub(crate) const fn index(self) -> usize {
        self.operator as usize * Format::ALL.len() + self.format as usize
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/cuda/{}", self.operator.name(), self.format))
    }
}
