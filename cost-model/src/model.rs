//! Shapes of the models whose decode is composed.
//!
//! Sources: the models' published configurations (Touvron et al., arXiv 2307.09288; Rozière et
//! al., arXiv 2308.12950; Grattafiori et al., arXiv 2407.21783) and the ReluLLaMA-70B model card.

use serde::Serialize;

use crate::skew::{STATEMENTS, Scope, Skew, SkewError, Statement};

/// Activation between gate and up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// `x * sigmoid(x)`; nothing is exactly zero.
    Silu,
    /// `max(x, 0)`; a row whose gate is negative contributes nothing.
    Relu,
}

/// Shape of a decoder with gated FFN, grouped-query attention and untied embeddings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ModelShape {
    /// Name used on the command line, in scenarios and in reports.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Neurons per FFN.
    pub intermediate: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of one head.
    pub head_dim: usize,
    /// Vocabulary.
    pub vocab: usize,
    /// FFN activation.
    pub activation: Activation,
    /// Whether activation predictors for it were published.
    pub predictor_published: bool,
}

impl ModelShape {
    /// Llama-2-70B: `SwiGLU`, sparse only by magnitude.
    pub const LLAMA_2_70B: Self = Self {
        name: "llama-2-70b",
        hidden: 8192,
        intermediate: 28672,
        layers: 80,
        heads: 64,
        kv_heads: 8,
        head_dim: 128,
        vocab: 32000,
        activation: Activation::Silu,
        predictor_published: false,
    };

    /// `ReluLLaMA`-70B: made sparse by ReLU, with predictors published for it.
    pub const RELU_LLAMA_70B: Self =
        Self { name: "relu-llama-70b", activation: Activation::Relu, predictor_published: true, ..Self::LLAMA_2_70B };

    /// Every known model.
    pub const ALL: [Self; 4] = [
        Self::LLAMA_2_70B,
        Self { name: "llama-3-70b", vocab: 128_256, ..Self::LLAMA_2_70B },
        Self { name: "code-llama-70b", vocab: 32016, ..Self::LLAMA_2_70B },
        Self::RELU_LLAMA_70B,
    ];

    /// The model of that name.
    ///
    /// # Errors
    /// [`UnknownModel`], which lists the known names.
    pub fn named(name: &str) -> Result<Self, UnknownModel> {
        Self::ALL.into_iter().find(|m| m.name == name).ok_or_else(|| UnknownModel(name.to_owned()))
    }

    /// How unevenly its neurons fire: as published of Llama-2-70B with the same activation.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn skew(&self) -> Result<Skew, SkewError> {
        let counted = match self.activation {
            Activation::Silu => "LLaMA2(SwiGLU)-70B",
            Activation::Relu => "LLaMA2(ReGLU)-70B",
        };
        let of_layers = |s: &&Statement| s.model == counted && s.scope == Scope::Layer;
        STATEMENTS.iter().find(of_layers).map_or(Err(SkewError::Density(f64::NAN)), Skew::published)
    }

    /// Rows of the query projection, columns of the output projection.
    pub const fn query_width(&self) -> usize {
        self.heads * self.head_dim
    }

    /// Rows of the key projection, and of the value projection.
    pub const fn kv_width(&self) -> usize {
        self.kv_heads * self.head_dim
    }

    /// The attention projections of one layer as (rows, columns): q, k, v, o.
    pub fn attention(&self) -> [(usize, usize); 4] {
        let (q, kv) = (self.query_width(), self.kv_width());
        [(q, self.hidden), (kv, self.hidden), (kv, self.hidden), (self.hidden, q)]
    }

    /// Parameter counts of the whole model, part by part.
    pub fn parameters(&self) -> Parameters {
        let count = |(rows, cols): (usize, usize)| rows as u64 * cols as u64;
        let all = |n: u64| n * self.layers as u64;
        let [q, k, v, o] = self.attention().map(|m| all(count(m)));
        let ffn = all(count((self.intermediate, self.hidden)));
        let table = count((self.vocab, self.hidden));
        Parameters {
            q,
            k,
            v,
            o,
            gate: ffn,
            up: ffn,
            down: ffn,
            norms: (2 * self.layers as u64 + 1) * self.hidden as u64,
            embeddings: table,
            head: table,
        }
    }
}

/// Parameters of a model, summed over its layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(missing_docs, reason = "each field is the matrix of that name")]
pub struct Parameters {
    pub q: u64,
    pub k: u64,
    pub v: u64,
    pub o: u64,
    pub gate: u64,
    pub up: u64,
    pub down: u64,
    pub norms: u64,
    pub embeddings: u64,
    pub head: u64,
}

impl Parameters {
    /// q, k, v and o.
    pub fn attention(&self) -> u64 {
        self.q + self.k + self.v + self.o
    }

    /// gate, up and down.
    pub fn ffn(&self) -> u64 {
        self.gate + self.up + self.down
    }

    /// Everything.
    pub fn total(&self) -> u64 {
        self.attention() + self.ffn() + self.norms + self.embeddings + self.head
    }
}

/// A model name that is not one of [`ModelShape::ALL`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown model `{0}`; known: {known}", known = ModelShape::ALL.map(|m| m.name).join(", "))]
pub struct UnknownModel(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    /// Counts the papers and files name: 68.98e9, 70.55e9; FFN 81.7 % and 79.9 %.
    #[test]
    fn totals_are_the_published_ones() {
        let near = |name: &str, total: f64, ffn: f64| {
            let p = ModelShape::named(name).unwrap().parameters();
            assert!((p.total() as f64 / total - 1.0).abs() < 1e-4, "{name}");
            let share = p.ffn() as f64 / p.total() as f64;
            assert!((share - ffn).abs() < 5e-4, "{name} {share}");
        };
        near("llama-2-70b", 68.98e9, 0.817);
        near("llama-3-70b", 70.55e9, 0.799);
        near("relu-llama-70b", 68.98e9, 0.817);
    }

    #[test]
    fn names_are_unique_and_an_unknown_one_lists_them() {
        for model in ModelShape::ALL {
            assert_eq!(ModelShape::named(model.name), Ok(model));
        }
        let error = ModelShape::named("llama-70b").unwrap_err().to_string();
        assert!(error.contains("llama-70b") && error.contains("code-llama-70b"));
    }
}
