//! The numbers of a model, from its file's metadata.

use kernels_cpu::Activation;

use crate::gguf::{self, Gguf, Value};

use super::{Error, Layout};

/// More than any model has, far less than what could exhaust memory.
const MAX_SIZE: u64 = 1 << 24;

/// Sizes and constants of a LLaMA model.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Layers.
    pub layers: usize,
    /// Elements of the hidden state.
    pub hidden: usize,
    /// Neurons of an FFN.
    pub intermediate: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; each serves `heads / kv_heads` query heads.
    pub kv_heads: usize,
    /// Elements of a head.
    pub head_size: usize,
    /// Tokens that the model was made for at once.
    pub context: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_epsilon: f32,
    /// The gate's non-linearity.
    pub activation: Activation,
    /// Position embedding.
    pub rope: Rope,
    /// Threshold on predictor scores that the file gives.
    pub sparse_threshold: Option<f32>,
}

/// Rotary position embedding (Su et al. 2021) over pairs of neighbours, as llama.cpp lays LLaMA's heads out: pair `i` at
/// position `p` turns by `p / scale * base^(-2i / head_size) / factors[i]`.
#[derive(Debug, Clone, PartialEq)]
pub struct Rope {
    /// Base of the frequencies.
    pub base: f32,
    /// Positions are divided by this: linear scaling.
    pub scale: f32,
    /// `rope_freqs.weight`, one divisor per pair: Llama 3.1 and later.
    pub factors: Option<Vec<f32>>,
}

impl Config {
    /// Reads and checks the metadata.
    ///
    /// # Errors
    /// A key that is missing, of another type or out of range; an architecture or a feature that does not run here.
    pub fn read(file: &Gguf<'_>, layout: Layout) -> Result<Self, Error> {
        let architecture = file.required("general.architecture", "a string", |v| v.as_str())?;
        if architecture != "llama" {
            return Err(Error::Architecture { given: architecture.to_owned() });
        }
        let size = |key: &str, default: Option<usize>| size(file, key, default);
        if size("llama.expert_count", Some(0))? != 0 {
            return Err(refused(file, "llama.expert_count", "0: mixtures of experts do not run here"));
        }
        let hidden = size("llama.embedding_length", None)?;
        let heads = size("llama.attention.head_count", None)?;
        let kv_heads = size("llama.attention.head_count_kv", Some(heads))?;
        if !heads.is_multiple_of(kv_heads) {
            let wanted = format!("a divisor of the {heads} query heads");
            return Err(refused(file, "llama.attention.head_count_kv", &wanted));
        }
        let head_size = match file.get("llama.attention.key_length") {
            None if !hidden.is_multiple_of(heads) => {
                let wanted = format!("a divisor of the hidden size {hidden}");
                return Err(refused(file, "llama.attention.head_count", &wanted));
            }
            _ => size("llama.attention.key_length", Some(hidden / heads))?,
        };
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            if size(key, Some(head_size))? != head_size {
                return Err(refused(file, key, &format!("the head size {head_size}")));
            }
        }
        if !head_size.is_multiple_of(2) {
            return Err(refused(file, "llama.attention.key_length", "an even head size"));
        }
        let norm_epsilon = required_f32(file, "llama.attention.layer_norm_rms_epsilon")?;
        Ok(Self {
            layers: size("llama.block_count", None)?,
            hidden,
            intermediate: size("llama.feed_forward_length", None)?,
            heads,
            kv_heads,
            head_size,
            context: size("llama.context_length", None)?,
            norm_epsilon,
            activation: activation(file, layout)?,
            rope: Rope::read(file, head_size)?,
            sparse_threshold: optional_f32(file, "powerinfer.sparse_threshold", "a finite number", f32::is_finite)?,
        })
    }
}

impl Rope {
    fn read(file: &Gguf<'_>, head_size: usize) -> Result<Self, Error> {
        let positive = |key: &str| optional_f32(file, key, "a positive number", |v| v.is_finite() && v > 0.0);
        let base = positive("llama.rope.freq_base")?.unwrap_or(10_000.0);
        let scaling = file.optional("llama.rope.scaling.type", "a string", |v| v.as_str())?;
        // llama.cpp takes an absent type for linear, and a factor of 0 for none.
        let scale = match scaling {
            Some("none") => 1.0,
            None | Some("linear") => {
                let any = |key: &str| optional_f32(file, key, "zero or more", |v| v.is_finite() && v >= 0.0);
                let factor = any("llama.rope.scaling.factor")?
                    .map_or_else(|| any("llama.rope.scale_linear"), |v| Ok(Some(v)))?;
                factor.filter(|&factor| factor > 0.0).unwrap_or(1.0)
            }
            Some(_) => return Err(refused(file, "llama.rope.scaling.type", "\"none\" or \"linear\"")),
        };
        let factors = file.find("rope_freqs.weight").map(|tensor| tensor.vector(head_size / 2)).transpose()?;
        if let Some(factors) = &factors
            && !factors.iter().all(|&factor| factor.is_finite() && factor > 0.0)
        {
            return Err(Error::Unused { tensor: "rope_freqs.weight".to_owned(), why: "its factors are not positive" });
        }
        Ok(Self { base, scale, factors })
    }
}

fn activation(file: &Gguf<'_>, layout: Layout) -> Result<Activation, Error> {
    const KEY: &str = "llama.hidden_activation";
    Ok(match file.optional(KEY, "a string", |v| v.as_str())? {
        Some("relu" | "reglu") => Activation::Relu,
        Some("silu" | "swish" | "swiglu") => Activation::Silu,
        Some(_) => return Err(refused(file, KEY, "\"relu\" or \"silu\"")),
        None if layout == Layout::PowerInfer => Activation::Relu,
        None => Activation::Silu,
    })
}

fn size(file: &Gguf<'_>, key: &str, default: Option<usize>) -> Result<usize, Error> {
    let wanted = format!("a number in 1 ..= {MAX_SIZE}");
    // Experts alone may be none.
    let least = u64::from(key != "llama.expert_count");
    let read = |value: &Value<'_>| value.as_u64().filter(|v| (least..=MAX_SIZE).contains(v)).map(|v| v as usize);
    match (file.optional(key, &wanted, read)?, default) {
        (Some(size), _) | (None, Some(size)) => Ok(size),
        (None, None) => Err(gguf::Error::MissingKey { key: key.to_owned() }.into()),
    }
}

fn optional_f32(file: &Gguf<'_>, key: &str, wanted: &str, fits: impl Fn(f32) -> bool) -> Result<Option<f32>, Error> {
    Ok(file.optional(key, wanted, |value| value.as_f32().filter(|&v| fits(v)))?)
}

fn required_f32(file: &Gguf<'_>, key: &str) -> Result<f32, Error> {
    let value = optional_f32(file, key, "a number in [0, 1)", |v| (0.0..1.0).contains(&v))?;
    value.ok_or_else(|| gguf::Error::MissingKey { key: key.to_owned() }.into())
}

fn refused(file: &Gguf<'_>, key: &str, wanted: &str) -> Error {
    let given = file.get(key).map_or_else(|| "missing".to_owned(), Value::to_string);
    gguf::Error::KeyValue { key: key.to_owned(), given, wanted: wanted.to_owned() }.into()
}
