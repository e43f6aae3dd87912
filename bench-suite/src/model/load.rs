//! The weights of a model, by the names that files give them.

use std::collections::HashSet;

use kernels_cpu::Matrix;

use crate::gguf::{Gguf, Magic, Tensor};

use super::{Config, Error, transpose::OwnedWeights};

/// Whose conventions a file follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// llama.cpp's: down as one row per output, no predictors.
    LlamaCpp,
    /// PowerInfer's: down neuron by neuron, predictors, ReLU.
    PowerInfer,
}

impl Layout {
    /// By magic, or by the presence of a predictor.
    pub fn of(file: &Gguf<'_>) -> Self {
        let predictor = |tensor: &Tensor<'_>| tensor.name.starts_with("blk.") && tensor.name.ends_with(".fc1.weight");
        if file.magic() == Magic::PowerInfer || file.tensors().iter().any(predictor) {
            Self::PowerInfer
        } else {
            Self::LlamaCpp
        }
    }
}

/// A LLaMA model over its mapped file.
#[derive(Debug)]
pub struct Model<'a> {
    /// Its sizes.
    pub config: Config,
    /// Whose conventions its file follows.
    pub layout: Layout,
    /// Token embeddings: vocabulary x hidden.
    pub embedding: Matrix<'a>,
    /// Weights of the last norm.
    pub output_norm: Vec<f32>,
    /// Logits from the hidden state: vocabulary x hidden. The embeddings, where the file has no `output.weight`.
    pub output: Matrix<'a>,
    /// The layers.
    pub layers: Vec<Layer<'a>>,
}

/// The weights of one layer.
#[derive(Debug)]
pub struct Layer<'a> {
    /// Weights of the norm before attention.
    pub attention_norm: Vec<f32>,
    /// heads · head size x hidden.
    pub query: Matrix<'a>,
    /// KV heads · head size x hidden.
    pub key: Matrix<'a>,
    /// KV heads · head size x hidden.
    pub value: Matrix<'a>,
    /// hidden x heads · head size.
    pub attention_output: Matrix<'a>,
    /// Weights of the norm before the FFN.
    pub ffn_norm: Vec<f32>,
    /// neurons x hidden.
    pub gate: Matrix<'a>,
    /// neurons x hidden, in the gate's format.
    pub up: Matrix<'a>,
    /// From neurons back to the hidden state.
    pub down: Down<'a>,
    /// `fc1` (rank x hidden) and `fc2` (neurons x rank), where the file has them.
    pub predictor: Option<[Matrix<'a>; 2]>,
}

/// The down matrix in one of two orders.
#[derive(Debug)]
pub enum Down<'a> {
    /// hidden x neurons: a row per output. Dense only.
    ByOutput(Matrix<'a>),
    /// neurons x hidden, in the file.
    ByNeuron(Matrix<'a>),
    /// neurons x hidden, copied out of the file's other order.
    Copied(OwnedWeights),
}

impl Down<'_> {
    /// neurons x hidden, where that order is at hand.
    pub fn by_neuron(&self) -> Option<Matrix<'_>> {
        match self {
            Self::ByOutput(_) => None,
            Self::ByNeuron(matrix) => Some(*matrix),
            Self::Copied(owned) => Some(owned.view()),
        }
    }
}

/// Tensors by name, and which of them were asked for.
struct Names<'g, 'a> {
    file: &'g Gguf<'a>,
    used: HashSet<String>,
}

impl<'a> Names<'_, 'a> {
    fn find(&mut self, name: &str) -> Option<Tensor<'a>> {
        let tensor = self.file.find(name)?;
        self.used.insert(name.to_owned());
        Some(tensor)
    }

    fn tensor(&mut self, name: &str) -> Result<Tensor<'a>, Error> {
        self.used.insert(name.to_owned());
        Ok(self.file.tensor(name)?)
    }

    fn matrix(&mut self, name: &str, rows: usize, cols: usize) -> Result<Matrix<'a>, Error> {
        Ok(self.tensor(name)?.matrix(Some(rows), Some(cols))?)
    }

    fn vector(&mut self, name: &str, len: usize) -> Result<Vec<f32>, Error> {
        Ok(self.tensor(name)?.vector(len)?)
    }
}

impl<'a> Model<'a> {
    /// Finds and checks every weight of a model.
    ///
    /// # Errors
    /// A key or tensor that is missing, of another type or shape, or that has no place in a model that runs here.
    pub fn load(file: &Gguf<'a>) -> Result<Self, Error> {
        let layout = Layout::of(file);
        let config = Config::read(file, layout)?;
        let mut names = Names { file, used: HashSet::from(["rope_freqs.weight".to_owned()]) };
        let embedding = names.tensor("token_embd.weight")?.matrix(None, Some(config.hidden))?;
        let vocabulary = embedding.rows();
        let output = match names.find("output.weight") {
            Some(tensor) => tensor.matrix(Some(vocabulary), Some(config.hidden))?,
            None => embedding,
        };
        let output_norm = names.vector("output_norm.weight", config.hidden)?;
        let layers: Vec<Layer<'a>> = (0..config.layers)
            .map(|layer| Layer::load(&mut names, layer, &config, layout))
            .collect::<Result<_, Error>>()?;
        let lacking = layers.iter().position(|layer| layer.predictor.is_none());
        if let Some(layer) = lacking.filter(|_| layers.iter().any(|layer| layer.predictor.is_some())) {
            return Err(Error::SomePredictors { layer });
        }
        for tensor in file.tensors() {
            // Left over from old converters: the frequencies of rope, which follow from its base.
            if !names.used.contains(tensor.name) && !tensor.name.ends_with(".attn_rot_embd.weight") {
                return Err(Error::Unused { tensor: tensor.name.to_owned(), why: why(tensor.name) });
            }
        }
        Ok(Self { config, layout, embedding, output_norm, output, layers })
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.embedding.rows()
    }

    /// Whether each layer has a predictor. A model without any is scored by its gates.
    pub fn has_predictors(&self) -> bool {
        self.layers.iter().all(|layer| layer.predictor.is_some())
    }
}

impl<'a> Layer<'a> {
    fn load(names: &mut Names<'_, 'a>, layer: usize, config: &Config, layout: Layout) -> Result<Self, Error> {
        let name = |part: &str| format!("blk.{layer}.{part}.weight");
        let (hidden, neurons) = (config.hidden, config.intermediate);
        let (queries, keys) = (config.heads * config.head_size, config.kv_heads * config.head_size);
        let gate = names.matrix(&name("ffn_gate"), neurons, hidden)?;
        let up = names.matrix(&name("ffn_up"), neurons, hidden)?;
        if up.format() != gate.format() {
            return Err(Error::GateUp { tensor: name("ffn_up"), given: up.format(), wanted: gate.format() });
        }
        let (by_neuron, by_output) = (name("ffn_down_t"), name("ffn_down"));
        let has = |tensor: &str| names.file.find(tensor).is_some();
        let down = if has(&by_neuron) || (layout == Layout::PowerInfer && !has(&by_output)) {
            Down::ByNeuron(names.matrix(&by_neuron, neurons, hidden)?)
        } else {
            Down::ByOutput(names.matrix(&by_output, hidden, neurons)?)
        };
        let predictor = match names.find(&name("fc1")) {
            None => None,
            Some(tensor) => {
                let fc1 = tensor.matrix(None, Some(hidden))?;
                Some([fc1, names.matrix(&name("fc2"), neurons, fc1.rows())?])
            }
        };
        Ok(Self {
            attention_norm: names.vector(&name("attn_norm"), hidden)?,
            query: names.matrix(&name("attn_q"), queries, hidden)?,
            key: names.matrix(&name("attn_k"), keys, hidden)?,
            value: names.matrix(&name("attn_v"), keys, hidden)?,
            attention_output: names.matrix(&name("attn_output"), hidden, queries)?,
            ffn_norm: names.vector(&name("ffn_norm"), hidden)?,
            gate,
            up,
            down,
            predictor,
        })
    }

    /// Bytes of gate, up and down that a dense token reads.
    pub fn ffn_bytes(&self) -> usize {
        let down = match &self.down {
            Down::ByOutput(matrix) | Down::ByNeuron(matrix) => matrix.bytes().len(),
            Down::Copied(owned) => owned.view().bytes().len(),
        };
        self.gate.bytes().len() + self.up.bytes().len() + down
    }
}

fn why(tensor: &str) -> &'static str {
    if tensor.ends_with(".bias") {
        "biases do not run here"
    } else if tensor.ends_with("gpu_idx") || tensor.ends_with("gpu_bucket") {
        "it splits neurons between processors; use the model without its split"
    } else if tensor.contains("_exps") || tensor.contains("ffn_gate_inp") {
        "mixtures of experts do not run here"
    } else if tensor.ends_with("ffn_down.weight") {
        "its layer has `ffn_down_t` too"
    } else {
        "unknown name or layer"
    }
}
