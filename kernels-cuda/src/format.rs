//! Weight formats, and the gate's activation.

use std::fmt;

use crate::Error;

/// How one matrix row lies in memory. Rows follow each other without padding; numbers are
/// little-endian.
///
/// | format | row |
/// |---|---|
/// | `f32`, `f16` | `cols` IEEE numbers |
/// | `bf16` | `cols` upper halves of f32 |
/// | `q8_0` | `cols / 32` blocks of 34 bytes: scale `d` as f16, then 32 signed bytes `q`; a weight is `d * q` (ggml's `block_q8_0`) |
/// | `q4_0` | `cols / 32` blocks of 18 bytes: scale `d` as f16, then 16 bytes: weight `i` is `d * (n - 8)` with `n` the low nibble of byte `i`, weight `i + 16` with `n` its high nibble (ggml's `block_q4_0`) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of IEEE single precision.
    Bf16,
    /// Blocks of 32 signed bytes with one f16 scale.
    Q8_0,
    /// Blocks of 32 nibbles with one f16 scale.
    Q4_0,
}

/// Bytes of one q8_0 block.
pub const Q8_0_BYTES: usize = 34;
/// Weights in one q8_0 block.
pub const Q8_0_LEN: usize = 32;
/// Bytes of one q4_0 block.
pub const Q4_0_BYTES: usize = 18;
/// Weights in one q4_0 block.
pub const Q4_0_LEN: usize = 32;

impl Format {
    /// Every format, widest first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    /// Its name in kernels, benches and records.
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Weights per block: 1 for formats without blocks.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 => Q8_0_LEN,
            Self::Q4_0 => Q4_0_LEN,
        }
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => Q8_0_BYTES,
            Self::Q4_0 => Q4_0_BYTES,
        }
    }

    /// Bytes of one row of `cols` weights.
    ///
    /// # Errors
    /// A row that is not whole blocks, or too large for the address space.
    pub fn row_bytes(self, cols: usize) -> Result<usize, Error> {
        let block = self.block_len();
        if !cols.is_multiple_of(block) {
            return Err(Error::PartialBlock { format: self, cols, block, padded: cols.next_multiple_of(block) });
        }
        (cols / block).checked_mul(self.block_bytes()).ok_or(Error::TooLarge { format: self, rows: 1, cols })
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The gate's non-linearity, or a projection's. NaN stays NaN in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `max(0, g)`: ReGLU, the sparse kind.
    Relu,
    /// `g / (1 + exp(-g))`: SwiGLU.
    Silu,
    /// `g` itself: a bilinear layer, or a projection as it is.
    Identity,
}
