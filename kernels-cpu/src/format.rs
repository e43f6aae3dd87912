//! Weight formats and the bytes of their rows.

use std::{fmt, str::FromStr};

use half::f16;

use crate::Error;

/// How one matrix row lies in memory. Rows follow each other without padding; numbers are little-endian.
///
/// | format | row |
/// |---|---|
/// | `f32`, `f16` | `cols` IEEE numbers |
/// | `q8_0` | `cols / 32` blocks of 34 bytes: scale `d` as f16, then 32 signed bytes `q`; a weight is `d * q` (ggml's `block_q8_0`) |
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// Blocks of 32 signed bytes with one f16 scale.
    Q8_0,
}

/// Bytes of one q8_0 block.
pub const Q8_0_BYTES: usize = 34;
/// Weights in one q8_0 block.
pub const Q8_0_LEN: usize = 32;

impl Format {
    /// Every format, widest first.
    pub const ALL: [Self; 3] = [Self::F32, Self::F16, Self::Q8_0];

    /// Weights per block: 1 for formats without blocks.
    pub const fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 => 1,
            Self::Q8_0 => Q8_0_LEN,
        }
    }

    /// Bytes per block.
    pub const fn block_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 => 2,
            Self::Q8_0 => Q8_0_BYTES,
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

    /// Appends `values` to `bytes` in this format, rounding to nearest. For q8_0 the scale is `max|v| / 127`
    /// and a block of zeros has scale zero, as in ggml's reference quantiser.
    ///
    /// # Errors
    /// Values that are not whole blocks.
    pub fn encode(self, values: &[f32], bytes: &mut Vec<u8>) -> Result<(), Error> {
        bytes.reserve(self.row_bytes(values.len())?);
        match self {
            Self::F32 => bytes.extend(values.iter().flat_map(|v| v.to_le_bytes())),
            Self::F16 => bytes.extend(values.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes())),
            Self::Q8_0 => values.chunks_exact(Q8_0_LEN).for_each(|block| encode_q8_0(block, bytes)),
        }
        Ok(())
    }

    /// The weights of one row as f32, exactly for every format.
    pub fn decode_row(self, row: &[u8]) -> Vec<f32> {
        match self {
            Self::F32 => row.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
            Self::F16 => row.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
            Self::Q8_0 => row
                .as_chunks::<Q8_0_BYTES>()
                .0
                .iter()
                .flat_map(|block| {
                    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
                    block[2..].iter().map(move |&q| scale * f32::from(q.cast_signed()))
                })
                .collect(),
        }
    }
}

fn encode_q8_0(block: &[f32], bytes: &mut Vec<u8>) {
    let max = block.iter().fold(0.0_f32, |m, v| m.max(v.abs()));
    let scale = max / 127.0;
    let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    bytes.extend(f16::from_f32(scale).to_le_bytes());
    bytes.extend(block.iter().map(|v| ((v * inverse).round() as i8).cast_unsigned()));
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Q8_0 => "q8_0",
        })
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|f| f.to_string() == s).ok_or_else(|| Error::UnknownFormat { given: s.to_owned() })
    }
}
