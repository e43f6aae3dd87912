//! Bytes that must be resident to decode.

use serde::Serialize;

use crate::compose::{Configuration, DENSE, kv_cache_bytes};
use crate::operator::Operator;

/// Resident bytes, part by part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// All matrices in the configuration's format, norms in f32.
    pub weights: u64,
    /// Predictors of all layers.
    pub predictors: u64,
    /// Keys and values of the contexts of all users.
    pub kv_cache: u64,
    /// One score (f32) and one active index (u32) per neuron and user, shared by all layers.
    pub index_tables: u64,
}

impl Memory {
    /// The memory of a configuration.
    pub fn of(c: &Configuration) -> Self {
        let model = &c.model;
        let layers = model.layers as u64;
        let matrix = |(rows, cols)| c.format.bytes(rows, cols);
        let ffn = (model.intermediate, model.hidden);
        let layer = model.attention().map(matrix).iter().sum::<u64>() + 3 * matrix(ffn);
        let tables = 2 * matrix((model.vocab, model.hidden));
        let predictor = c.scorer.rank().map_or(0, |rank| Operator::Predictor.weight_bytes(c.format, ffn, 1.0, rank));
        let selects = c.policy != DENSE;
        Self {
            weights: layer * layers + tables + model.parameters().norms * 4,
            predictors: predictor * layers,
            kv_cache: kv_cache_bytes(c) * c.batch as u64,
            index_tables: if selects { 8 * (model.intermediate * c.batch) as u64 } else { 0 },
        }
    }

    /// All of it, bytes.
    pub fn total(&self) -> u64 {
        self.weights + self.predictors + self.kv_cache + self.index_tables
    }
}
