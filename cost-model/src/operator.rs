//! The operators that are measured, under their one spelling.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::format::WeightFormat;

/// Bytes of one predictor score.
const SCORE_BYTES: u64 = 4;

/// An operator of one decode step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Operator {
    /// `act(gate.x) * (up.x)` over active rows.
    GateUp,
    /// Sum of active neuron-major rows of the down matrix.
    Down,
    /// gate, up and down over active rows.
    Ffn,
    /// gate over all rows; up and down over those that survive.
    FfnGateFirst,
    /// A low-rank predictor, a threshold on its scores, and gate, up and down over the rows that reach it, as one step: the FFN
    /// waits for scores, and no row can be asked for before they are there.
    FfnPredicted,
    /// gate, up and down of several tokens, each over active rows of its own; rows that several name are read once.
    FfnBatch,
    /// Dense projection: attention q, k, v, o and the LM head.
    Gemv,
    /// Low-rank activation predictor.
    Predictor,
    /// Scores to active indices.
    Select,
    /// Attention over a KV cache: as many rows as it holds positions, as wide as a key of all heads.
    Attention,
}

impl Operator {
    /// Every operator.
    pub const ALL: [Self; 10] = [
        Self::GateUp,
        Self::Down,
        Self::Ffn,
        Self::FfnGateFirst,
        Self::FfnPredicted,
        Self::FfnBatch,
        Self::Gemv,
        Self::Predictor,
        Self::Select,
        Self::Attention,
    ];

    /// Its one spelling.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GateUp => "gate_up",
            Self::Down => "down",
            Self::Ffn => "ffn",
            Self::FfnGateFirst => "ffn_gate_first",
            Self::FfnPredicted => "ffn_predicted",
            Self::FfnBatch => "ffn_batch",
            Self::Gemv => "gemv",
            Self::Predictor => "predictor",
            Self::Select => "select",
            Self::Attention => "attention",
        }
    }

    /// Whether a predictor is in it, and so a rank in its measurements.
    pub fn has_rank(self) -> bool {
        matches!(self, Self::Predictor | Self::FfnPredicted)
    }

    /// Bytes of weights (for select: of scores; for attention: of keys and values) that one call reads.
    ///
    /// `rows` are neurons or outputs, `cols` is the vector that each row meets; the down matrix is
    /// neuron-major, so it too has a row per neuron. `rank` counts where there is a predictor. Of a batch, whose tokens may name
    /// the same rows or others, those of one token: the least that it can read.
    pub fn weight_bytes(self, format: WeightFormat, (rows, cols): (usize, usize), density: f64, rank: usize) -> u64 {
        let active = (density * rows as f64).round() as u64;
        let row = format.row_bytes(cols);
        let predictor = || format.bytes(rank, cols) + format.bytes(rows, rank);
        match self {
            Self::GateUp => 2 * active * row,
            Self::Down | Self::Gemv => active * row,
            Self::Ffn | Self::FfnBatch => 3 * active * row,
            Self::FfnGateFirst => (rows as u64 + 2 * active) * row,
            Self::FfnPredicted => predictor() + 3 * active * row,
            Self::Predictor => predictor(),
            Self::Select => rows as u64 * SCORE_BYTES,
            Self::Attention => 2 * rows as u64 * row,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that is not one of [`Operator::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown operator `{0}`; known: {known}", known = Operator::ALL.map(Operator::as_str).join(", "))]
pub struct UnknownOperator(pub String);

impl FromStr for Operator {
    type Err = UnknownOperator;

    fn from_str(s: &str) -> Result<Self, UnknownOperator> {
        Self::ALL.into_iter().find(|o| o.as_str() == s).ok_or_else(|| UnknownOperator(s.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spelling_round_trips_and_matches_json() {
        for operator in Operator::ALL {
            assert_eq!(operator.to_string().parse(), Ok(operator));
            let json = serde_json::to_string(&operator).unwrap();
            assert_eq!(json, format!("\"{operator}\""));
        }
    }

    /// 8192 x 28672 in f16 is 469.8 MB; a rank-1919 predictor in f16 is 141.5 MB.
    #[test]
    fn bytes_at_the_70b_shape() {
        let bytes = |op: Operator, density, rank| op.weight_bytes(WeightFormat::F16, (28672, 8192), density, rank);
        assert_eq!(bytes(Operator::Ffn, 1.0, 0), 3 * 469_762_048);
        assert_eq!(bytes(Operator::GateUp, 0.25, 0) + bytes(Operator::Down, 0.25, 0), bytes(Operator::Ffn, 0.25, 0));
        assert_eq!(bytes(Operator::FfnGateFirst, 1.0, 0), bytes(Operator::Ffn, 1.0, 0));
        assert_eq!(bytes(Operator::Predictor, 1.0, 1919), 1919 * 73_728);
        let parts = bytes(Operator::Predictor, 1.0, 1024) + bytes(Operator::Ffn, 0.1, 0);
        assert_eq!(bytes(Operator::FfnPredicted, 0.1, 1024), parts);
        assert_eq!(bytes(Operator::Select, 0.1, 0), 28672 * 4);
        let cache = Operator::Attention.weight_bytes(WeightFormat::F32, (2048, 1024), 1.0, 0);
        assert_eq!(cache, 2 * 2048 * 4096);
    }
}
