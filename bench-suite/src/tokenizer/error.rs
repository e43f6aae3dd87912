//! What can be wrong with a vocabulary, or with text for it.

use crate::gguf;

use super::split::NAMES;

/// Why a tokenizer cannot be made, or cannot split a text.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A key of the file.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// Another kind of tokenizer.
    #[error("`tokenizer.ggml.model` is {given:?}, wanted \"llama\" or \"gpt2\"")]
    Model {
        /// What was found.
        given: String,
    },
    /// Another way to split text into words.
    #[error("`tokenizer.ggml.pre` is {given:?}, wanted one of {}", NAMES.join(", "))]
    Pre {
        /// What was found.
        given: String,
    },
    /// A token that occurs twice.
    #[error("token {id} of `tokenizer.ggml.tokens` is {token:?}, which occurs before")]
    Duplicate {
        /// Its text.
        token: String,
        /// Where it occurs again.
        id: usize,
    },
    /// The regular expressions give up.
    #[error("splitting the text into words: {reason}: use a shorter text")]
    Split {
        /// What they said.
        reason: String,
    },
}
