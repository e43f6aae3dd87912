//! What can be wrong with a model, beyond its file.

use crate::gguf;

/// Why a file is not a model that runs here.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file itself, a key or a tensor.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Another architecture.
    #[error("`general.architecture` is {given:?}, wanted \"llama\": other architectures do not run here")]
    Architecture {
        /// What was found.
        given: String,
    },
    /// A tensor that would change what the model computes, if it were used.
    #[error("tensor `{tensor}` has no place in a LLaMA model as it runs here: {why}")]
    Unused {
        /// Which tensor.
        tensor: String,
        /// What it may be.
        why: &'static str,
    },
    /// Gate and up are read side by side.
    #[error("tensor `{tensor}` is {given}, wanted {wanted} like the gate: convert both alike")]
    GateUp {
        /// The up tensor.
        tensor: String,
        /// Its format.
        given: kernels_cpu::Format,
        /// The gate's.
        wanted: kernels_cpu::Format,
    },
    /// Some layers have predictors, others have none.
    #[error("layer {layer} has no predictor, others have: convert the file anew")]
    SomePredictors {
        /// The layer.
        layer: usize,
    },
    /// A kernel refuses its arguments, or the system its memory.
    #[error(transparent)]
    Kernel(#[from] kernels_cpu::Error),
}
