//! Where the time of a token goes.

use std::time::{Duration, Instant};

use serde::Serialize;

/// A part of a token's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Query, key, value and output of attention.
    Projections,
    /// Attention over the KV cache.
    Cache,
    /// Scores by predictors.
    Predictor,
    /// Active neurons out of scores, and what the policy learns afterwards.
    Selection,
    /// Gate, up and down.
    Ffn,
    /// The logits.
    Head,
    /// Embedding, norms, RoPE, sums.
    Rest,
}

impl Part {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Projections, Self::Cache, Self::Predictor, Self::Selection, Self::Ffn, Self::Head, Self::Rest];

    /// As tables have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Projections => "projections",
            Self::Cache => "KV cache",
            Self::Predictor => "predictor",
            Self::Selection => "selection",
            Self::Ffn => "FFN",
            Self::Head => "LM head",
            Self::Rest => "rest",
        }
    }
}

/// Laps: what has passed since the last one goes to the part that is named.
#[derive(Debug, Clone)]
pub struct Clock {
    last: Instant,
    spent: [Duration; Part::ALL.len()],
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { last: Instant::now(), spent: [Duration::ZERO; Part::ALL.len()] }
    }

    /// From here on. What has passed before belongs to nobody.
    pub(crate) fn start(&mut self) {
        self.last = Instant::now();
    }

    /// What has passed since the last lap was spent on `part`.
    pub(crate) fn lap(&mut self, part: Part) {
        let now = Instant::now();
        self.spent[part as usize] += now - self.last;
        self.last = now;
    }

    /// Time of each part since the clock was new, in the order of [`Part::ALL`].
    pub fn spent(&self) -> [Duration; Part::ALL.len()] {
        self.spent
    }
}
