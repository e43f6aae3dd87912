//! Weight formats and the bytes of their rows.

use std::{fmt, str::FromStr};

use half::{bf16, f16};

use crate::Error;

/// How one matrix row lies in memory. Rows follow each other without padding; numbers are little-endian.
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

/// Weights in a block of the quantised formats.
pub(crate) const BLOCK: usize = 32;
pub(crate) const Q8_0_BYTES: usize = Format::Q8_0.block_bytes();
pub(crate) const Q4_0_BYTES: usize = Format::Q4_0.block_bytes();

impl Format {
    /// Every format, widest first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    /// Weights per block: 1 for formats without blocks.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 => BLOCK,
        }
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 2 + BLOCK,
            Self::Q4_0 => 2 + BLOCK / 2,
        }
    }

    /// Bytes of one row of `cols` weights.
    ///
    /// # Errors
    /// A row that is not whole blocks, or too large for the address space.
    pub fn row_bytes(self, cols: usize) -> Result<usize, Error> {
        let block = self.block_len();
        if !cols.is_multiple_of(block) {
            let padded = cols.next_multiple_of(block);
            return Err(Error::PartialBlock { format: self, cols, block, padded });
        }
        (cols / block).checked_mul(self.block_bytes()).ok_or(Error::TooLarge { format: self, rows: 1, cols })
    }

    /// Appends `values` to `bytes` in this format, rounding to nearest. Scales are those of ggml's
    /// reference quantisers: `max|v| / 127` for q8_0; for q4_0 the value of largest magnitude over -8.
    ///
    /// # Errors
    /// Values that are not whole blocks.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.reserve(self.row_bytes(values.len())?);
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Self::F16 => bytes.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
            Self::Bf16 => bytes.extend(values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes())),
            Self::Q8_0 => values.as_chunks().0.iter().for_each(|block| encode_q8_0(block, bytes)),
            Self::Q4_0 => values.as_chunks().0.iter().for_each(|block| encode_q4_0(block, bytes)),
        }
        Ok(())
    }

    /// The weights of one row as f32, exactly for every format.
    pub fn decode_row(self, row: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => row.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Self::F16 => row.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::Bf16 => row.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
            Self::Q8_0 => row.as_chunks().0.iter().flat_map(q8_0_weights).collect(),
            Self::Q4_0 => row.as_chunks().0.iter().flat_map(q4_0_weights).collect(),
        }
    }
}

/// The weights of one q8_0 block.
pub(crate) fn q8_0_weights(block: &[u8; Q8_0_BYTES]) -> [f32; BLOCK] {
    let scale = block_scale(block);
    std::array::from_fn(|i| scale * f32::from(block[2 + i].cast_signed()))
}

/// The weights of one q4_0 block.
pub(crate) fn q4_0_weights(block: &[u8; Q4_0_BYTES]) -> [f32; BLOCK] {
    let scale = block_scale(block);
    std::array::from_fn(|i| {
        let pair = block[2 + i % 16];
        let nibble = if i < 16 { pair & 0x0f } else { pair >> 4 };
        scale * (f32::from(nibble) - 8.0)
    })
}

fn block_scale(block: &[u8]) -> f32 {
    f16::from_le_bytes([block[0], block[1]]).to_f32()
}

fn encode_q8_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let max = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = max / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    bytes.extend(block.iter().map(|v| ((v * inverse).round() as i8).cast_unsigned()));
}

fn encode_q4_0(block: &[f32; BLOCK], bytes: &mut Vec<u8>) {
    let largest = block.iter().fold(0.0_f32, |m, &v| if v.abs() > m.abs() { v } else { m });
    let scale = largest / -8.0;
    let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
    let nibble = |v: f32| ((v * inverse + 8.5) as u8).min(15);
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    bytes.extend((0..16).map(|i| nibble(block[i]) | nibble(block[i + 16]) << 4));
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|f| f.to_string() == s).ok_or_else(|| Error::UnknownFormat { given: s.to_owned() })
    }
}
