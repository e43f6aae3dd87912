//! Layers of LLaMA-70B's shape with random weights in device memory, and one token through all of them as one step.
//!
//! ```text
//!   x ─▶ query, key, value                         10240 x 8192: read, not used
//!   x ─▶ output projection ─▶ a                     8192 x 8192
//!   a ─▶ FFN ─▶ + the first x ─▶ x of the next layer
//!        every row, rows that the host lists, rows that a predictor's scores select, or those that the gate lets through
//!   ...
//!   x ─▶ LM head                                   32000 x 8192
//! ```
//! The output projection takes the layer's input, where a decoder gives it what attention made. Attention over the KV
//! cache, norms, embedding and sampling are not in it.

use std::sync::Arc;

use kernels_cpu::Format;
use kernels_cuda::{Activation, Gpu, PackedMatrix, Rows, StepBuilder, Value};

use super::{
    chains::{Chain, Predictor, Sets, check_ffns, densities, ffn, gate_first_ffn, gates, input, rows, set_thresholds},
    gpu_format,
    layers::{Ffn, Host},
};
use crate::{
    Result,
    workload::{Gate, SHAPE, neurons_at},
};

/// Rows of query, key and value together.
pub const QKV_ROWS: usize = SHAPE.query_width() + 2 * SHAPE.kv_width();

/// Which neurons every layer of a token computes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Choice {
    /// All of them.
    Dense,
    /// A share of them, listed by the host before.
    Listed(f64),
    /// A share of them: those whose scores, by the layer's predictor, reach a threshold.
    Predicted(f64),
    /// About a share of them: those whose activation exceeds a threshold. The gate is read whole.
    GateFirst(f64),
}

/// All weights of a model, at addresses of their own.
pub struct Stack {
    format: Format,
    qkv: Vec<Arc<PackedMatrix>>,
    output: Vec<Arc<PackedMatrix>>,
    predictors: Vec<Predictor>,
    ffns: Vec<Ffn>,
    head: Vec<Arc<PackedMatrix>>,
}

/// A token to replay, and the share of neurons that each layer computes in it.
pub struct Token {
    /// One step.
    pub chain: Chain,
    /// Layer by layer.
    pub densities: Vec<f64>,
}

impl Stack {
    /// A model of as many layers as there are FFNs, with predictors of a rank, or without.
    ///
    /// # Errors
    /// Not enough device memory.
    pub fn upload(gpu: &Gpu, host: &Host, ffns: Vec<Ffn>, rank: Option<usize>) -> Result<Self> {
        let layers = ffns.len();
        let matrices = |rows, cols, copies| host.upload(gpu, (rows, cols), 0, copies);
        let mut predictors = Vec::new();
        if let Some(rank) = rank {
            let fc1 = matrices(rank, SHAPE.hidden, layers)?;
            let fc2 = matrices(SHAPE.intermediate, rank, layers)?;
            predictors.extend(fc1.into_iter().zip(fc2).map(|(fc1, fc2)| Predictor { fc1, fc2 }));
        }
        Ok(Self {
            format: host.format(),
            qkv: matrices(QKV_ROWS, SHAPE.hidden, layers)?,
            output: matrices(SHAPE.query_width(), SHAPE.hidden, layers)?,
            predictors,
            ffns,
            head: matrices(SHAPE.vocab, SHAPE.hidden, 1)?,
        })
    }

    /// A token, run once: every layer computed as many rows as was chosen, and all of it ends in numbers.
    ///
    /// # Errors
    /// Not enough device memory; a kernel computes something else than it was told.
    pub fn token(&self, gpu: &Gpu, choice: Choice) -> Result<Token> {
        let mut building = Building::new(self, gpu, choice)?;
        for layer in 0..self.ffns.len() {
            building.layer(layer)?;
        }
        building.finish()
    }
}

/// A token under way.
struct Building<'a> {
    stack: &'a Stack,
    choice: Choice,
    builder: StepBuilder<'a>,
    first: Value,
    /// What the layers so far give, and what each of them gave.
    x: Value,
    given: Vec<Value>,
    lists: Vec<kernels_cuda::List>,
    /// Scores, and the rows that they select.
    selections: Vec<(Value, Rows)>,
    /// That of all layers: their gates are copies of each other, and their hidden states hardly differ.
    gate: Option<Gate>,
}

impl<'a> Building<'a> {
    fn new(stack: &'a Stack, gpu: &'a Gpu, choice: Choice) -> Result<Self> {
        let format = gpu_format(stack.format);
        let gate = match (choice, stack.ffns.get(..1)) {
            (Choice::GateFirst(density), Some(layer)) => {
                let gates = gates(gpu, format, stack.output.first(), layer)?.concat();
                Some(Gate::keeping(neurons_at(density), &gates))
            }
            _ => None,
        };
        let mut builder = StepBuilder::new(gpu, format)?;
        let first = builder.input(SHAPE.hidden);
        Ok(Self {
            stack,
            choice,
            builder,
            first,
            x: first,
            given: Vec::new(),
            lists: Vec::new(),
            selections: Vec::new(),
            gate,
        })
    }

    fn layer(&mut self, layer: usize) -> Result<()> {
        let Stack { qkv, output, predictors, ffns, .. } = self.stack;
        let Self { builder, first, .. } = self;
        let (first, ffn_of) = (*first, &ffns[layer]);
        builder.project(&qkv[layer], self.x, Activation::Identity)?;
        let attended = builder.project(&output[layer], self.x, Activation::Identity)?;
        // The first x as residual: eighty layers of random weights on their own sums would leave f32's range.
        self.x = match (self.choice, predictors.get(layer), &self.gate) {
            (Choice::Predicted(_), Some(predictor), _) => {
                let scores = predictor.scores(builder, attended)?;
                let selected = builder.select(scores)?;
                self.selections.push((scores, selected));
                ffn(builder, ffn_of, attended, selected, first)?
            }
            (Choice::GateFirst(_), _, Some(gate)) => gate_first_ffn(builder, ffn_of, gate, attended, first)?,
            (Choice::Listed(density), ..) => {
                let listed = rows(builder, density, &mut self.lists)?;
                ffn(builder, ffn_of, attended, listed, first)?
            }
            _ => ffn(builder, ffn_of, attended, Rows::Every, first)?,
        };
        self.given.push(self.x);
        Ok(())
    }

    fn finish(mut self) -> Result<Token> {
        let mut read = vec![self.x];
        for head in &self.stack.head {
            read.push(self.builder.project(head, self.x, Activation::Identity)?);
        }
        read.extend(self.selections.iter().map(|(scores, _)| *scores));
        let step = self.builder.build(&read)?;
        step.write_input(self.first, &input())?;
        let layers = self.given.len();
        let wanted = match self.choice {
            Choice::Dense => Some(vec![SHAPE.intermediate; layers]),
            Choice::Listed(density) => {
                let mut sets = Sets::new(layers, density);
                for (layer, list) in self.lists.into_iter().enumerate() {
                    step.write_list(list, sets.next(layer))?;
                }
                Some(vec![sets.len(); layers])
            }
            Choice::Predicted(density) => Some(set_thresholds(&step, &self.selections, neurons_at(density))?),
            // What a gate lets through follows from hidden states: it is counted.
            Choice::GateFirst(_) => None,
        };
        check_ffns(&step, &self.given, wanted.as_deref())?;
        let densities = densities(&step, &self.given)?;
        Ok(Token { chain: Chain { steps: vec![step], count: 1 }, densities })
    }
}
