//! Text into tokens and back, by the vocabulary that a model's file carries.
//!
//! | `tokenizer.ggml.model` | kind | where |
//! |---|---|---|
//! | `llama` | SentencePiece: pairs merge by score, what is unknown becomes byte tokens | `spm.rs` |
//! | `gpt2` | byte-level BPE: words by `tokenizer.ggml.pre`, pairs merge by rank | `bpe.rs`, `split.rs` |
//!
//! The crate `tokenizers` makes neither from what a GGUF holds: its BPE wants the words' splitter from a
//! `tokenizer.json`, and it has no merging by score. Held against llama.cpp's on random text; see `docs/models.md`.

mod bpe;
mod error;
mod split;
mod spm;
mod stream;

use std::collections::HashMap;

pub use error::Error;
pub use stream::TextStream;

use crate::gguf::{self, Gguf, Value};
use bpe::Bpe;
use spm::Spm;

/// What SentencePiece writes for a space.
const SPACE: char = '▁';

/// A vocabulary and how text is split into it.
#[derive(Debug)]
pub struct Tokenizer {
    kind: Kind,
    /// The bytes that each token stands for; none for control tokens.
    pieces: Vec<Vec<u8>>,
    ids: HashMap<String, u32>,
    /// Tokens that are found in text before it is split, longest first.
    whole: Vec<Whole>,
    begin: Option<u32>,
    ends: Vec<u32>,
    add_begin: bool,
    add_end: bool,
    add_space_prefix: bool,
}

#[derive(Debug)]
enum Kind {
    Spm(Spm),
    Bpe(Bpe),
}

#[derive(Debug)]
struct Whole {
    text: String,
    id: u32,
    control: bool,
}

/// Types of tokens in `tokenizer.ggml.token_type`, from `llama.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenType {
    Normal,
    Unknown,
    Control,
    UserDefined,
    Byte,
    Other,
}

impl From<i32> for TokenType {
    fn from(number: i32) -> Self {
        match number {
            1 => Self::Normal,
            2 => Self::Unknown,
            3 => Self::Control,
            4 => Self::UserDefined,
            6 => Self::Byte,
            _ => Self::Other,
        }
    }
}

/// A part of a text: to be split, or a token already.
#[derive(Clone, Copy)]
enum Fragment<'t> {
    Text(&'t str),
    Token(u32),
}

impl Tokenizer {
    /// Reads the vocabulary of a file.
    ///
    /// # Errors
    /// A tokenizer that is not one of the two; keys that are missing, of another type, or contradict each other.
    pub fn load(file: &Gguf<'_>) -> Result<Self, Error> {
        let name = file.required("tokenizer.ggml.model", "a string", |v| v.as_str())?;
        let tokens = file.required("tokenizer.ggml.tokens", "strings", |v| v.as_strings())?;
        let count = tokens.len();
        let types: Vec<TokenType> =
            match file.optional("tokenizer.ggml.token_type", "32-bit integers", |v| v.as_i32s())? {
                Some(types) => types.map(TokenType::from).collect(),
                None => vec![TokenType::Normal; count],
            };
        same_length("tokenizer.ggml.token_type", types.len(), count)?;
        let mut ids = HashMap::with_capacity(count);
        for (id, token) in tokens.iter().enumerate() {
            // An empty one is a gap in the vocabulary.
            if !token.is_empty() && ids.insert(token.to_string(), id as u32).is_some() {
                return Err(Error::Duplicate { token: token.to_string(), id });
            }
        }
        let id = |key: &str| id_of(file, key, count);
        let (begin, end) = (id("tokenizer.ggml.bos_token_id")?, id("tokenizer.ggml.eos_token_id")?);
        let ends = [end, id("tokenizer.ggml.eot_token_id")?].into_iter().flatten().collect();
        let unknown = id("tokenizer.ggml.unknown_token_id")?;
        let (kind, add_begin, space_prefix) = match name {
            "llama" => {
                let scores: Vec<f32> =
                    file.required("tokenizer.ggml.scores", "32-bit floats", |v| v.as_f32s())?.collect();
                same_length("tokenizer.ggml.scores", scores.len(), count)?;
                (Kind::Spm(Spm::new(scores, &ids, unknown.unwrap_or(0))), true, true)
            }
            "gpt2" => {
                let pre = file.optional("tokenizer.ggml.pre", "a string", |v| v.as_str())?.unwrap_or("default");
                let merges = file.required("tokenizer.ggml.merges", "strings", |v| v.as_strings())?;
                let bpe = Bpe::new(pre, merges, unknown)?;
                let add_begin = bpe.adds_begin();
                (Kind::Bpe(bpe), add_begin, false)
            }
            given => return Err(Error::Model { given: given.to_owned() }),
        };
        let flag = |key: &str, default: bool| {
            Ok::<_, Error>(file.optional(key, "a boolean", Value::as_bool)?.unwrap_or(default))
        };
        let tokens_and_types = tokens.iter().zip(&types);
        let pieces = tokens_and_types.clone().map(|(token, &kind_of_token)| match (kind_of_token, &kind) {
            (TokenType::Unknown | TokenType::Control | TokenType::Other, _) => Vec::new(),
            (TokenType::UserDefined, _) => token.as_bytes().to_vec(),
            (TokenType::Byte, _) => spm::byte_of(token).map_or_else(Vec::new, |byte| vec![byte]),
            (TokenType::Normal, Kind::Spm(_)) => token.replace(SPACE, " ").into_bytes(),
            (TokenType::Normal, Kind::Bpe(_)) => bpe::bytes_of(token),
        });
        let special =
            |kind: TokenType| matches!(kind, TokenType::Unknown | TokenType::Control | TokenType::UserDefined);
        let whole = tokens_and_types.zip(0..).filter(|((token, kind), _)| special(**kind) && !token.is_empty());
        let whole = whole.map(|((token, &kind), id)| Whole {
            text: token.to_string(),
            id,
            control: kind != TokenType::UserDefined,
        });
        let mut whole: Vec<Whole> = whole.collect();
        whole.sort_by_key(|whole| std::cmp::Reverse(whole.text.len()));
        let add_begin = flag("tokenizer.ggml.add_bos_token", add_begin)? && begin.is_some();
        Ok(Self {
            pieces: pieces.collect(),
            whole,
            begin,
            ends,
            add_begin,
            add_end: flag("tokenizer.ggml.add_eos_token", false)? && end.is_some(),
            add_space_prefix: flag("tokenizer.ggml.add_space_prefix", space_prefix)? && matches!(kind, Kind::Spm(_)),
            kind,
            ids,
        })
    }

    /// Tokens of `text`, with those around it that the file asks for. Names of control tokens in the text, such as `<s>`,
    /// become those tokens only where `control` says so: never for text from strangers.
    ///
    /// # Errors
    /// A text too long for the splitter's regular expressions.
    pub fn encode(&self, text: &str, control: bool) -> Result<Vec<u32>, Error> {
        let mut out: Vec<u32> = self.begin.filter(|_| self.add_begin).into_iter().collect();
        let mut after_token = true;
        for fragment in self.fragments(text, control) {
            match (fragment, &self.kind) {
                (Fragment::Token(id), _) => out.push(id),
                (Fragment::Text(text), Kind::Bpe(bpe)) => bpe.encode(text, &self.ids, &mut out)?,
                (Fragment::Text(text), Kind::Spm(spm)) => {
                    let prefix = if self.add_space_prefix && after_token { " " } else { "" };
                    let text = format!("{prefix}{text}").replace(' ', SPACE.encode_utf8(&mut [0; 4]));
                    spm.encode(&text, &self.ids, &mut out);
                }
            }
            after_token = matches!(fragment, Fragment::Token(_));
        }
        out.extend(self.ends.first().filter(|_| self.add_end));
        Ok(out)
    }

    fn fragments<'t>(&self, text: &'t str, control: bool) -> Vec<Fragment<'t>> {
        let mut fragments = vec![Fragment::Text(text)];
        for whole in self.whole.iter().filter(|whole| control || !whole.control) {
            let found = |f: &Fragment<'_>| matches!(f, Fragment::Text(text) if text.contains(&whole.text));
            if !fragments.iter().any(found) {
                continue;
            }
            let mut next = Vec::new();
            for fragment in fragments {
                let Fragment::Text(text) = fragment else {
                    next.push(fragment);
                    continue;
                };
                for (index, part) in text.split(&whole.text).enumerate() {
                    if index > 0 {
                        next.push(Fragment::Token(whole.id));
                    }
                    next.push(Fragment::Text(part));
                }
            }
            fragments = next;
        }
        fragments.retain(|fragment| !matches!(fragment, Fragment::Text("")));
        fragments
    }

    /// The bytes of a token; none for control tokens, and beyond the vocabulary. Text is UTF-8 only once put together:
    /// see [`TextStream`].
    pub fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }

    /// The bytes of all tokens, without the space that encoding puts before a text.
    pub fn decode(&self, tokens: &[u32]) -> Vec<u8> {
        let mut bytes: Vec<u8> = tokens.iter().flat_map(|&token| self.piece(token)).copied().collect();
        if self.add_space_prefix && bytes.first() == Some(&b' ') {
            bytes.remove(0);
        }
        bytes
    }

    /// Whether a model ends its text with this token.
    pub fn is_end(&self, token: u32) -> bool {
        self.ends.contains(&token)
    }

    /// Tokens of the vocabulary.
    pub fn vocabulary(&self) -> usize {
        self.pieces.len()
    }

    /// What kind of tokenizer it is, in a few words.
    pub fn kind(&self) -> String {
        match &self.kind {
            Kind::Spm(_) => "SentencePiece (llama)".to_owned(),
            Kind::Bpe(bpe) => format!("BPE (gpt2, {})", bpe.pre()),
        }
    }
}

fn same_length(key: &str, given: usize, tokens: usize) -> Result<(), Error> {
    if given == tokens {
        return Ok(());
    }
    let wanted = format!("{tokens} like `tokenizer.ggml.tokens`");
    Err(gguf::Error::KeyValue { key: key.to_owned(), given: format!("{given} values"), wanted }.into())
}

fn id_of(file: &Gguf<'_>, key: &str, tokens: usize) -> Result<Option<u32>, Error> {
    let wanted = format!("a token below {tokens}");
    // llama.cpp writes -1 as u32 for none.
    let read = |value: &Value<'_>| match value.as_u64() {
        Some(id) if id == u64::from(u32::MAX) => Some(None),
        Some(id) => (id < tokens as u64).then_some(Some(id as u32)),
        None => None,
    };
    Ok(file.optional(key, &wanted, read)?.flatten())
}
