//! How weights lie in memory, as far as their size goes.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Storage format of a weight matrix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum WeightFormat {
    /// 4 bytes per weight.
    #[serde(rename = "f32")]
    F32,
    /// 2 bytes per weight.
    #[serde(rename = "f16")]
    F16,
    /// The upper half of an f32: 2 bytes per weight.
    #[serde(rename = "bf16")]
    Bf16,
    /// ggml's q8_0: 34 bytes per 32 weights.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// ggml's q4_0: 18 bytes per 32 weights.
    #[serde(rename = "q4_0")]
    Q4_0,
}

impl WeightFormat {
    /// Every format, widest first.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0];

    /// Its one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// Values per block: rows hold whole blocks.
    pub fn block_len(self) -> usize {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q4_0 => 32,
        }
    }

    /// Bytes per block.
    fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q4_0 => 18,
        }
    }

    /// Whether weights were rounded to a few levels, so that accuracy is no longer that of the model as released.
    pub fn is_quantised(self) -> bool {
        self.block_len() > 1
    }

    /// Bytes of one row of `cols` weights, padded to whole blocks; saturates.
    pub fn row_bytes(self, cols: usize) -> u64 {
        (cols.div_ceil(self.block_len()) as u64).saturating_mul(self.block_bytes())
    }

    /// Bytes of a `rows` x `cols` matrix; saturates.
    pub fn bytes(self, rows: usize, cols: usize) -> u64 {
        (rows as u64).saturating_mul(self.row_bytes(cols))
    }
}

impl fmt::Display for WeightFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A format name that is not one of [`WeightFormat::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown weight format `{0}`; known: f32, f16, bf16, q8_0, q4_0")]
pub struct UnknownFormat(pub String);

impl FromStr for WeightFormat {
    type Err = UnknownFormat;

    fn from_str(s: &str) -> Result<Self, UnknownFormat> {
        Self::ALL.into_iter().find(|f| f.as_str() == s).ok_or_else(|| UnknownFormat(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_round_trips_and_matches_json() {
        for format in WeightFormat::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
            assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{format}\""));
        }
        assert!("F16".parse::<WeightFormat>().is_err());
    }

    #[test]
    fn q8_0_rows_hold_whole_blocks() {
        assert_eq!(WeightFormat::Q8_0.bytes(3, 64), 3 * 68);
        assert_eq!(WeightFormat::Q8_0.bytes(3, 65), 3 * 102);
        assert_eq!(WeightFormat::Q8_0.bytes(3, 0), 0);
        assert_eq!(WeightFormat::F16.bytes(28672, 8192), 469_762_048);
    }
}
