//! Every kernel of the crate, in one list: loading, tests and reports walk it.

use std::fmt;

use crate::{Device, Format};

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
    /// `active` = the rows that any of some tokens lists, ascending, and which tokens do.
    Unite,
    /// [`Operator::Gemv`] for some tokens, each over rows of its own.
    GemvBatch,
    /// [`Operator::GateUp`] for some tokens, each over rows of its own.
    GateUpBatch,
    /// [`Operator::Down`] for some tokens, each over rows of its own.
    DownBatch,
    /// Projections, selections and FFNs one after another, in one launch.
    Step,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 10] = [
        Self::Gemv,
        Self::GateUp,
        Self::Down,
        Self::SelectThreshold,
        Self::SelectTopK,
        Self::Unite,
        Self::GemvBatch,
        Self::GateUpBatch,
        Self::DownBatch,
        Self::Step,
    ];

    /// Whether it reads weights, and has a kernel for each format of them.
    const fn on_weights(self) -> bool {
        !matches!(self, Self::SelectThreshold | Self::SelectTopK | Self::Unite)
    }

    /// Whether its kernels are compiled for the GPU only when first wanted, which takes the driver long.
    pub(crate) const fn is_late(self) -> bool {
        matches!(self, Self::GemvBatch | Self::GateUpBatch | Self::DownBatch | Self::Step)
    }

    /// Its name in benches and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gemv => "gemv",
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::SelectThreshold => "select_threshold",
            Self::SelectTopK => "select_top_k",
            Self::Unite => "unite",
            Self::GemvBatch => "gemv_batch",
            Self::GateUpBatch => "gate_up_batch",
            Self::DownBatch => "down_batch",
            Self::Step => "step",
        }
    }

    /// The PTX that its kernels are in, for every GPU of compute capability 8.0 and newer.
    pub const fn ptx(self) -> &'static str {
        match self {
            Self::Gemv => include_str!("../ptx/gemv.ptx"),
            Self::GateUp => include_str!("../ptx/gate_up.ptx"),
            Self::Down => include_str!("../ptx/down.ptx"),
            Self::SelectThreshold | Self::SelectTopK => include_str!("../ptx/select.ptx"),
            Self::Unite => include_str!("../ptx/unite.ptx"),
            Self::GemvBatch => include_str!("../ptx/gemv_batch.ptx"),
            Self::GateUpBatch => include_str!("../ptx/gate_up_batch.ptx"),
            Self::DownBatch => include_str!("../ptx/down_batch.ptx"),
            Self::Step => include_str!("../ptx/step.ptx"),
        }
    }

    /// PTX of the same kernels that only GPUs of capability 9.0 and newer run, where there is some: steps
    /// copy with their bulk engine, selections run in a cluster of blocks.
    pub const fn ptx_for_hopper(self) -> Option<&'static str> {
        match self {
            Self::SelectThreshold | Self::SelectTopK => Some(include_str!("../ptx/select.sm_90.ptx")),
            Self::Step => Some(include_str!("../ptx/step.sm_90.ptx")),
            _ => None,
        }
    }

    /// The PTX to load on a GPU.
    pub(crate) fn ptx_on(self, device: &Device) -> &'static str {
        self.ptx_for_hopper().filter(|_| device.is_hopper_or_newer()).unwrap_or(self.ptx())
    }
}

/// One operator for one format of what it reads: weights, or scores, which are f32, or lists, which are
/// u32. Displays as `gate_up/cuda/f16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel {
    operator: Operator,
    format: Format,
}

const COUNT: usize = 7 * Format::ALL.len() + 3;

/// Every kernel, operator by operator: one for each format of weights, or one for scores or lists.
pub static KERNELS: [Kernel; COUNT] = all_kernels();

const fn all_kernels() -> [Kernel; COUNT] {
    let mut kernels = [Kernel::of(Operator::Gemv, Format::F32); COUNT];
    let mut at = 0;
    let mut operator = 0;
    while operator < Operator::ALL.len() {
        let formats = if Operator::ALL[operator].on_weights() { Format::ALL.len() } else { 1 };
        let mut format = 0;
        while format < formats {
            kernels[at] = Kernel::of(Operator::ALL[operator], Format::ALL[format]);
            at += 1;
            format += 1;
        }
        operator += 1;
    }
    kernels
}

impl Kernel {
    /// The kernel of `operator` for `format`. A selection has one kernel, for f32 scores, whatever the
    /// format, and so has [`Operator::Unite`], for lists.
    pub const fn of(operator: Operator, format: Format) -> Self {
        Self { operator, format: if operator.on_weights() { format } else { Format::F32 } }
    }

    /// The kernel that displays as `name`.
    pub fn named(name: &str) -> Option<Self> {
        KERNELS.into_iter().find(|k| k.to_string() == name)
    }

    /// What it computes.
    pub const fn operator(self) -> Operator {
        self.operator
    }

    /// Format it reads; f32 where it reads no weights.
    pub const fn format(self) -> Format {
        self.format
    }

    /// Its name in the PTX, such as `gate_up_f16`.
    pub fn entry(self) -> String {
        format!("{}_{}", self.operator.name(), self.element())
    }

    const fn element(self) -> &'static str {
        if matches!(self.operator, Operator::Unite) { "u32" } else { self.format.name() }
    }

    /// Where it stands in [`KERNELS`]; one of them if it is a kernel at all, as every `Self` is.
    pub(crate) fn index(self) -> usize {
        KERNELS.iter().position(|&kernel| kernel == self).unwrap_or(0)
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}/cuda/{}", self.operator.name(), self.element()))
    }
}
