//! What configurations of a grid may differ in, beside machine and model.

use serde::Serialize;

use crate::format::WeightFormat;
use crate::scenario::GRID_POLICIES;

/// The values on each axis.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Axes {
    /// Policies under their one spelling; dense is composed for every model whether or not it is named.
    pub policies: Vec<String>,
    /// Weight formats; one that a record does not have is left out there.
    pub formats: Vec<WeightFormat>,
    /// Ranks of predictors; the gate as its own predictor is always composed beside them.
    pub ranks: Vec<usize>,
    /// Tokens in each user's KV cache.
    pub contexts: Vec<usize>,
    /// Users whose tokens are decoded together.
    pub batches: Vec<usize>,
}

impl Axes {
    /// The context that is nearest to the one asked for.
    pub fn context_near(&self, asked: usize) -> usize {
        self.contexts.iter().copied().min_by_key(|context| context.abs_diff(asked)).unwrap_or(asked)
    }

    /// One context, and of the batches the smallest, one between and the largest: for machines that are not measured.
    pub(super) fn fewer(&self, context: usize) -> Self {
        let mut batches = self.batches.clone();
        batches.sort_unstable();
        let mut few: Vec<usize> = [0, batches.len() / 2, batches.len().saturating_sub(1)]
            .iter()
            .filter_map(|&at| batches.get(at).copied())
            .collect();
        few.dedup();
        Self { contexts: vec![self.context_near(context)], batches: few, ..self.clone() }
    }
}

impl Default for Axes {
    fn default() -> Self {
        Self {
            policies: GRID_POLICIES.map(str::to_owned).to_vec(),
            formats: vec![WeightFormat::F16, WeightFormat::Q8_0, WeightFormat::Q4_0],
            ranks: vec![512, 1024, 1919],
            contexts: vec![512, 2048, 8192, 32768],
            batches: vec![1, 2, 4, 8, 16, 32, 64],
        }
    }
}
