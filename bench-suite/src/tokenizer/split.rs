//! How text falls into words before BPE merges within them.
//!
//! Each `tokenizer.ggml.pre` is a list of regular expressions; each splits what the ones before have left, into its
//! matches and what lies between them. They belong to the tokenizers they were trained with (GPT-2, Llama 3, …);
//! llama.cpp writes them in the same way (`llama-vocab.cpp`). It takes U+3000 for a space only, where deepseek-coder's
//! expressions take it for a letter first; here they are taken at their word.

use fancy_regex::Regex;

use super::Error;

/// What `tokenizer.ggml.pre` may be.
pub(crate) const NAMES: [&str; 12] = [
    "default",
    "gpt-2",
    "llama-bpe",
    "llama3",
    "llama-v3",
    "starcoder",
    "refact",
    "smollm",
    "codeshell",
    "command-r",
    "qwen2",
    "deepseek-coder",
];

const GPT_2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA_3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN_2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A list of regular expressions.
#[derive(Debug)]
pub(crate) struct Splitter {
    name: &'static str,
    expressions: Vec<Regex>,
}

impl Splitter {
    pub(crate) fn new(given: &str) -> Result<Self, Error> {
        let unknown = || Error::Pre { given: given.to_owned() };
        let name = NAMES.into_iter().find(|&name| name == given).ok_or_else(unknown)?;
        let expressions: &[&str] = match name {
            "gpt-2" => &[GPT_2],
            "llama-bpe" | "llama3" | "llama-v3" => &[LLAMA_3],
            "starcoder" | "refact" | "smollm" | "codeshell" | "command-r" => &[r"\p{N}", GPT_2],
            "qwen2" => &[QWEN_2],
            "deepseek-coder" => &[
                r"[\r\n]",
                r"\s?\p{L}+",
                r"\s?\p{P}+",
                r"[\x{4e00}-\x{9fa5}\x{800}-\x{4e00}\x{ac00}-\x{d7ff}]+",
                r"\p{N}",
            ],
            _ => &[r"[\p{P}\$\+<=>\^~\|]+", GPT_2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        };
        let failed = |e: fancy_regex::Error| Error::Split { reason: e.to_string() };
        let expressions = expressions.iter().map(|expression| Regex::new(expression).map_err(failed));
        Ok(Self { name, expressions: expressions.collect::<Result<_, _>>()? })
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Llama 3's tokenizer takes a word that is a token as it is, whatever the merges say, and puts a begin before texts.
    pub(crate) fn takes_whole_words(&self) -> bool {
        matches!(self.name, "llama-bpe" | "llama3" | "llama-v3")
    }

    pub(crate) fn adds_begin(&self) -> bool {
        self.takes_whole_words()
    }

    pub(crate) fn words<'t>(&self, text: &'t str) -> Result<Vec<&'t str>, Error> {
        let mut words = vec![text];
        for expression in &self.expressions {
            let mut next = Vec::new();
            for word in words {
                let mut end = 0;
                for found in expression.find_iter(word) {
                    let found = found.map_err(|e| Error::Split { reason: e.to_string() })?;
                    next.extend([&word[end..found.start()], found.as_str()]);
                    end = found.end();
                }
                next.push(&word[end..]);
            }
            next.retain(|word| !word.is_empty());
            words = next;
        }
        Ok(words)
    }
}
