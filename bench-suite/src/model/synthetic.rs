//! Models of seeded random weights at any size, in both layouts: for tests, and to time decode at shapes that nobody
//! hands out weights for.

use std::path::Path;

use kernels_cpu::{Activation, Format, synthetic::Random};
use rayon::prelude::*;

use crate::gguf::{Error, Magic, Value, Writer};

use super::Layout;

/// What a random model is like. Two that differ in layout and format alone have the same weights before rounding.
#[derive(Debug, Clone, PartialEq)]
pub struct SyntheticModel {
    /// Layers.
    pub layers: usize,
    /// Elements of the hidden state.
    pub hidden: usize,
    /// Neurons of an FFN.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Tokens; 259 and more come with a byte-level vocabulary.
    pub vocabulary: usize,
    /// Format of the matrices.
    pub format: Format,
    /// Whose conventions.
    pub layout: Layout,
    /// Non-linearity, written into the metadata.
    pub activation: Activation,
    /// Predictors in PowerInfer's layout.
    pub predictor: Predictor,
    /// Whether `output.weight` is left out.
    pub tied: bool,
    /// Linear scaling and frequency factors of rope.
    pub scaled_rope: bool,
    /// Seed of the weights.
    pub seed: u64,
}

/// Predictors of a random model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// None at all.
    None,
    /// Random weights of this rank: as costly as a real one, and as blind as can be.
    Random(usize),
    /// Right about the sign of every gate, in f32 and of rank 2 · hidden: `fc1` passes the residual on as its positive and
    /// its negative part, `fc2` is the gate with the norm's weights multiplied in.
    Exact,
}

impl Default for SyntheticModel {
    /// Small, in the proportions of the 70B: 3.5 neurons per hidden element, 8 query heads per KV head.
    fn default() -> Self {
        Self {
            layers: 2,
            hidden: 64,
            intermediate: 224,
            heads: 8,
            kv_heads: 1,
            vocabulary: 300,
            format: Format::F32,
            layout: Layout::LlamaCpp,
            activation: Activation::Relu,
            predictor: Predictor::None,
            tied: false,
            scaled_rope: false,
            seed: 1,
        }
    }
}

/// A matrix by its place in the model, so that its weights are the same in every layout.
#[derive(Clone, Copy)]
struct Weights {
    seed: u64,
    /// Outputs and inputs of the matrix as the model applies it.
    outputs: usize,
    inputs: usize,
    /// Whether rows of the file are inputs.
    by_input: bool,
}

impl Weights {
    fn new(seed: u64, layer: usize, part: u64, outputs: usize, inputs: usize) -> Self {
        let seed = Random::new(seed ^ (layer as u64 * 100 + part) << 40).bits();
        Self { seed, outputs, inputs, by_input: false }
    }

    /// Uniform, with the variance that keeps the size of a vector.
    fn at(&self, output: usize, input: usize) -> f32 {
        let index = (output * self.inputs + input) as u64;
        Random::new(self.seed ^ index).signed() * (3.0 / self.inputs as f32).sqrt()
    }

    fn rows(&self) -> usize {
        if self.by_input { self.inputs } else { self.outputs }
    }

    fn cols(&self) -> usize {
        if self.by_input { self.outputs } else { self.inputs }
    }

    fn row(&self, row: usize) -> Vec<f32> {
        let weight = |col| if self.by_input { self.at(col, row) } else { self.at(row, col) };
        (0..self.cols()).map(weight).collect()
    }
}

fn encoded(format: Format, rows: usize, row: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<u8> {
    let encode = |index: usize| {
        let mut bytes = Vec::new();
        // Whole blocks: the writer has checked the shape before it asks for weights.
        let _ = format.encode(&row(index), &mut bytes);
        bytes
    };
    (0..rows).into_par_iter().flat_map_iter(encode).collect()
}

impl SyntheticModel {
    /// Writes the model to `path`.
    ///
    /// # Errors
    /// Sizes that are not whole blocks; whatever the file system says.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        self.writer()?.write(self.magic(), path)
    }

    /// The model's file as bytes.
    ///
    /// # Errors
    /// Sizes that are not whole blocks.
    pub fn bytes(&self) -> Result<Vec<u8>, Error> {
        self.writer()?.into_bytes(self.magic())
    }

    /// The magic that goes with the layout.
    pub fn magic(&self) -> Magic {
        match self.layout {
            Layout::LlamaCpp => Magic::Gguf,
            Layout::PowerInfer => Magic::PowerInfer,
        }
    }

    /// Keys and tensors, to be added to before they are written.
    ///
    /// # Errors
    /// Sizes that are not whole blocks.
    pub fn writer(&self) -> Result<Writer<'static>, Error> {
        let mut out = Writer::default();
        self.keys(&mut out);
        let hidden = self.hidden;
        let head_size = hidden / self.heads.max(1);
        let keys = self.kv_heads * head_size;
        // Embeddings of size 1, so that norms have something to work with.
        let embedding = Weights::new(self.seed, 0, 90, self.vocabulary, hidden);
        self.matrix(&mut out, "token_embd", embedding)?;
        if !self.tied {
            self.matrix(&mut out, "output", Weights::new(self.seed, 0, 91, self.vocabulary, hidden))?;
        }
        self.norm(&mut out, "output_norm", 0, 92)?;
        if self.scaled_rope {
            let factors: Vec<f32> = (0..head_size / 2).map(|i| 1.0 + i as f32 / 2.0).collect();
            out.tensor("rope_freqs.weight", &[head_size / 2], Format::F32, move || floats(&factors).into())?;
        }
        for layer in 0..self.layers {
            let weights = |part, outputs, inputs| Weights::new(self.seed, layer, part, outputs, inputs);
            let name = |part: &str| format!("blk.{layer}.{part}");
            self.norm(&mut out, &name("attn_norm"), layer, 0)?;
            self.matrix(&mut out, &name("attn_q"), weights(1, hidden, hidden))?;
            self.matrix(&mut out, &name("attn_k"), weights(2, keys, hidden))?;
            self.matrix(&mut out, &name("attn_v"), weights(3, keys, hidden))?;
            self.matrix(&mut out, &name("attn_output"), weights(4, hidden, hidden))?;
            self.norm(&mut out, &name("ffn_norm"), layer, 5)?;
            let gate = weights(6, self.intermediate, hidden);
            self.matrix(&mut out, &name("ffn_gate"), gate)?;
            self.matrix(&mut out, &name("ffn_up"), weights(7, self.intermediate, hidden))?;
            let down = weights(8, hidden, self.intermediate);
            match self.layout {
                Layout::LlamaCpp => self.matrix(&mut out, &name("ffn_down"), down)?,
                Layout::PowerInfer => self.matrix(&mut out, &name("ffn_down_t"), Weights { by_input: true, ..down })?,
            }
            match self.predictor {
                Predictor::None => {}
                Predictor::Random(rank) => {
                    self.matrix(&mut out, &name("fc1"), weights(9, rank, hidden))?;
                    self.matrix(&mut out, &name("fc2"), weights(10, self.intermediate, rank))?;
                }
                Predictor::Exact => {
                    let norm = self.norm_weights(layer, 5);
                    let sign = move |row: usize| if row < hidden { 1.0 } else { -1.0 };
                    let pass = move |row: usize| {
                        (0..hidden).map(|col| if row % hidden == col { sign(row) } else { 0.0 }).collect()
                    };
                    let scores = move |neuron: usize| {
                        let folded = |col: usize| sign(col) * gate.at(neuron, col % hidden) * norm[col % hidden];
                        (0..2 * hidden).map(folded).collect()
                    };
                    let (fc1, fc2) = (name("fc1.weight"), name("fc2.weight"));
                    let neurons = self.intermediate;
                    let all = move || encoded(Format::F32, 2 * hidden, pass).into();
                    out.tensor(&fc1, &[hidden, 2 * hidden], Format::F32, all)?;
                    let all = move || encoded(Format::F32, neurons, scores).into();
                    out.tensor(&fc2, &[2 * hidden, neurons], Format::F32, all)?;
                }
            }
        }
        Ok(out)
    }

    fn keys(&self, out: &mut Writer<'static>) {
        let number = |value: usize| Value::U32(value as u32);
        let activation = if self.activation == Activation::Relu { "relu" } else { "silu" };
        out.key("general.architecture", Value::String("llama".into()))
            .key("general.name", Value::String("random weights".into()))
            .key("llama.block_count", number(self.layers))
            .key("llama.context_length", number(2048))
            .key("llama.embedding_length", number(self.hidden))
            .key("llama.feed_forward_length", number(self.intermediate))
            .key("llama.attention.head_count", number(self.heads))
            .key("llama.attention.head_count_kv", number(self.kv_heads))
            .key("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5))
            .key("llama.rope.dimension_count", number(self.hidden / self.heads.max(1)))
            .key("llama.hidden_activation", Value::String(activation.into()));
        if self.scaled_rope {
            out.key("llama.rope.freq_base", Value::F32(500_000.0))
                .key("llama.rope.scaling.type", Value::String("linear".into()))
                .key("llama.rope.scaling.factor", Value::F32(2.0));
        }
        if self.layout == Layout::PowerInfer {
            out.key("powerinfer.sparse_threshold", Value::F32(0.0));
        }
        if self.vocabulary >= 259 {
            self.byte_vocabulary(out);
        }
    }

    /// The three tokens that LLaMA starts with, a token for each byte, a space, and words that no text is split into.
    fn byte_vocabulary(&self, out: &mut Writer<'static>) {
        let bytes = (0..256).map(|byte| format!("<0x{byte:02X}>"));
        let words = (259..self.vocabulary).map(|id| if id == 259 { "▁".to_owned() } else { format!("▁word{id}") });
        let tokens = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter().chain(bytes).chain(words);
        // Types: 2 unknown, 3 control, 6 byte, 1 normal.
        let types = [2, 3, 3].into_iter().chain([6; 256]).chain(std::iter::repeat_n(1, self.vocabulary - 259));
        out.key("tokenizer.ggml.model", Value::String("llama".into()))
            .key("tokenizer.ggml.tokens", Value::strings(tokens))
            .key("tokenizer.ggml.scores", Value::f32s(&vec![0.0; self.vocabulary]))
            .key("tokenizer.ggml.token_type", Value::i32s(&types.collect::<Vec<i32>>()))
            .key("tokenizer.ggml.bos_token_id", Value::U32(1))
            .key("tokenizer.ggml.eos_token_id", Value::U32(2))
            .key("tokenizer.ggml.unknown_token_id", Value::U32(0));
    }

    fn matrix(&self, out: &mut Writer<'static>, name: &str, weights: Weights) -> Result<(), Error> {
        let (format, rows, cols) = (self.format, weights.rows(), weights.cols());
        let make = move || encoded(format, rows, |row| weights.row(row)).into();
        out.tensor(&format!("{name}.weight"), &[cols, rows], format, make)?;
        Ok(())
    }

    fn norm_weights(&self, layer: usize, part: u64) -> Vec<f32> {
        let weights = Weights::new(self.seed, layer, part, 1, self.hidden);
        (0..self.hidden).map(|col| 1.0 + weights.at(0, col)).collect()
    }

    fn norm(&self, out: &mut Writer<'static>, name: &str, layer: usize, part: u64) -> Result<(), Error> {
        let weights = self.norm_weights(layer, part);
        let bytes = floats(&weights);
        out.tensor(&format!("{name}.weight"), &[self.hidden], Format::F32, || bytes.into())?;
        Ok(())
    }
}

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|v| v.to_le_bytes()).collect()
}
