//! Layers of LLaMA-70B's shape with random weights, as many as memory holds: a real decode where nobody has the model.
//!
//! ```text
//!   a layer   | query | key | value | output |   | gate | up | down |   | fc1 | fc2 |      on huge pages, filled by
//!   once      | embedding, which is the LM head too |                                    the threads that read them
//! ```
//! The FFN is SiLU's: all active neurons count, so a policy's density is what is computed, whatever random weights do.

use std::sync::Arc;

use cost_model::{model::ModelShape, operator::Operator};
use kernels_cpu::{Activation, Cpu, Format, Matrix, synthetic::OwnedMatrix};

use crate::{
    Result,
    model::{Config, Down, Layer, Layout, Model, Rope},
    workload::{self, SHAPE, record_format},
};

/// The weights.
#[derive(Debug)]
pub struct Stack {
    format: Format,
    layers: Vec<Weights>,
    table: Arc<OwnedMatrix>,
}

#[derive(Debug)]
struct Weights {
    /// Query, key, value, output.
    attention: [Arc<OwnedMatrix>; 4],
    /// Gate, up and down, a row per neuron each.
    ffn: Arc<OwnedMatrix>,
    predictor: [Arc<OwnedMatrix>; 2],
}

impl Stack {
    /// The 70B with that many layers.
    pub fn shape(layers: usize) -> ModelShape {
        ModelShape { layers, ..SHAPE }
    }

    /// Bytes of a layer with a predictor of that rank, and of what there is once.
    pub fn bytes(format: Format, rank: usize) -> (u64, u64) {
        let format = record_format(format);
        let ffn = (SHAPE.intermediate, SHAPE.hidden);
        let attention: u64 = SHAPE.attention().iter().map(|&(rows, cols)| format.bytes(rows, cols)).sum();
        let predictor = Operator::Predictor.weight_bytes(format, ffn, 1.0, rank);
        (attention + 3 * format.bytes(ffn.0, ffn.1) + predictor, format.bytes(SHAPE.vocab, SHAPE.hidden))
    }

    /// `layers` layers with predictors of `rank`, filled by the threads of `cpu`, which should be those that read them
    /// or as many. `filled` is called after each layer.
    ///
    /// # Errors
    /// A rank that is not whole blocks; the system refuses the memory.
    pub fn new(cpu: &Cpu, format: Format, layers: usize, rank: usize, mut filled: impl FnMut()) -> Result<Self> {
        let mut seed = 0;
        let mut random = |rows, cols| -> Result<Arc<OwnedMatrix>> {
            seed += 1;
            Ok(Arc::new(cpu.install(|| OwnedMatrix::random(format, rows, cols, seed))?))
        };
        let mut layer = |index| {
            let [q, k, v, o] = SHAPE.attention().map(|(rows, cols)| random(rows, cols));
            let predictor = [random(rank, SHAPE.hidden)?, random(SHAPE.intermediate, rank)?];
            let ffn = cpu.install(|| OwnedMatrix::layer(format, SHAPE.intermediate, SHAPE.hidden, index))?;
            filled();
            Ok(Weights { attention: [q?, k?, v?, o?], ffn: Arc::new(ffn), predictor })
        };
        let weights = (0..layers as u64).map(&mut layer).collect::<Result<_>>()?;
        Ok(Self { format, layers: weights, table: random(SHAPE.vocab, SHAPE.hidden)? })
    }

    /// The same weights, to time operators over: a token's projections, predictors and FFNs, and its head.
    pub fn operators(&self) -> Vec<workload::Layer> {
        let over = |layer: &Weights| {
            let projections = layer.attention.iter().chain([&self.table]).map(Arc::clone).collect();
            let predictor = layer.predictor.each_ref().map(Arc::clone);
            workload::Layer::over(self.format, Arc::clone(&layer.ffn), projections, Some(predictor))
        };
        self.layers.iter().map(over).collect()
    }

    /// The stack as a model, whose neurons are scored by its predictors or by their gates.
    ///
    /// # Errors
    /// None in practice.
    pub fn model(&self, predictors: bool) -> Result<Model<'_>> {
        let table = self.table.view()?;
        let layers = self.layers.iter().map(|weights| weights.layer(self.format, predictors)).collect::<Result<_>>()?;
        let config = Config {
            layers: self.layers.len(),
            hidden: SHAPE.hidden,
            intermediate: SHAPE.intermediate,
            heads: SHAPE.heads,
            kv_heads: SHAPE.kv_heads,
            head_size: SHAPE.head_dim,
            context: usize::MAX,
            norm_epsilon: 1e-5,
            activation: Activation::Silu,
            rope: Rope { base: 1e4, scale: 1.0, factors: None },
            sparse_threshold: None,
        };
        let layout = if predictors { Layout::PowerInfer } else { Layout::LlamaCpp };
        Ok(Model { config, layout, embedding: table, output_norm: vec![1.0; SHAPE.hidden], output: table, layers })
    }
}

impl Weights {
    fn layer(&self, format: Format, predictors: bool) -> Result<Layer<'_>> {
        let [query, key, value, output] = &self.attention;
        let ffn = self.ffn.view()?.bytes();
        let len = ffn.len() / 3;
        let part = |i: usize| Matrix::new(format, SHAPE.intermediate, SHAPE.hidden, &ffn[i * len..(i + 1) * len]);
        let [fc1, fc2] = &self.predictor;
        Ok(Layer {
            attention_norm: vec![1.0; SHAPE.hidden],
            query: query.view()?,
            key: key.view()?,
            value: value.view()?,
            attention_output: output.view()?,
            ffn_norm: vec![1.0; SHAPE.hidden],
            gate: part(0)?,
            up: part(1)?,
            down: Down::ByNeuron(part(2)?),
            predictor: if predictors { Some([fc1.view()?, fc2.view()?]) } else { None },
        })
    }
}
