//! SentencePiece's BPE (Kudo and Richardson 2018): of all neighbours whose join is a token, those of the highest score
//! merge first; of equal scores the leftmost.

use std::{
    cmp::{Ordering, Reverse},
    collections::{BinaryHeap, HashMap},
};

/// Scores of the tokens, and what stands for bytes that no token holds.
#[derive(Debug)]
pub(crate) struct Spm {
    scores: Vec<f32>,
    /// `<0x00>` … `<0xFF>`, or the unknown token.
    bytes: Vec<u32>,
}

/// Two neighbours that may merge.
struct Pair {
    score: f32,
    left: usize,
    right: usize,
    /// Bytes of both: when they differ, one of the two has merged otherwise.
    bytes: usize,
}

impl Spm {
    pub(crate) fn new(scores: Vec<f32>, ids: &HashMap<String, u32>, unknown: u32) -> Self {
        let byte = |byte: u8| ids.get(&format!("<0x{byte:02X}>")).copied().unwrap_or(unknown);
        Self { scores, bytes: (0..=u8::MAX).map(byte).collect() }
    }

    pub(crate) fn encode(&self, text: &str, ids: &HashMap<String, u32>, out: &mut Vec<u32>) {
        let mut symbols = Symbols::of(text);
        let mut pairs = BinaryHeap::new();
        let consider =
            |symbols: &Symbols<'_>, left: Option<usize>, right: Option<usize>, pairs: &mut BinaryHeap<Pair>| {
                let (Some(left), Some(right)) = (left, right) else { return };
                let joined = symbols.joined(left, right);
                if let Some(&id) = ids.get(joined) {
                    pairs.push(Pair { score: self.scores[id as usize], left, right, bytes: joined.len() });
                }
            };
        for right in 1..symbols.len() {
            consider(&symbols, Some(right - 1), Some(right), &mut pairs);
        }
        while let Some(Pair { left, right, bytes, .. }) = pairs.pop() {
            if symbols.merge(left, right, bytes) {
                consider(&symbols, symbols.previous(left), Some(left), &mut pairs);
                consider(&symbols, Some(left), symbols.next(left), &mut pairs);
            }
        }
        for symbol in symbols.texts() {
            match ids.get(symbol) {
                Some(&id) => out.push(id),
                None => out.extend(symbol.bytes().map(|byte| self.bytes[usize::from(byte)])),
            }
        }
    }
}

/// The byte that a byte token such as `<0x0A>` stands for.
pub(crate) fn byte_of(token: &str) -> Option<u8> {
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    (digits.len() == 2).then(|| u8::from_str_radix(digits, 16).ok())?
}

impl Ord for Pair {
    fn cmp(&self, other: &Self) -> Ordering {
        self.score.total_cmp(&other.score).then(Reverse(self.left).cmp(&Reverse(other.left)))
    }
}

impl PartialOrd for Pair {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Pair {}

/// A text in symbols, at first one a character, that merge with their neighbours.
pub(crate) struct Symbols<'t> {
    text: &'t str,
    symbols: Vec<Symbol>,
}

struct Symbol {
    start: usize,
    /// Zero once it has merged into another.
    len: usize,
    previous: Option<usize>,
    next: Option<usize>,
}

impl<'t> Symbols<'t> {
    pub(crate) fn of(text: &'t str) -> Self {
        let mut symbols: Vec<Symbol> = Vec::new();
        for (index, (start, character)) in text.char_indices().enumerate() {
            let next = Some(index + 1);
            symbols.push(Symbol { start, len: character.len_utf8(), previous: index.checked_sub(1), next });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = None;
        }
        Self { text, symbols }
    }

    pub(crate) fn len(&self) -> usize {
        self.symbols.len()
    }

    pub(crate) fn previous(&self, symbol: usize) -> Option<usize> {
        self.symbols[symbol].previous
    }

    pub(crate) fn next(&self, symbol: usize) -> Option<usize> {
        self.symbols[symbol].next
    }

    pub(crate) fn text(&self, symbol: usize) -> &'t str {
        let Symbol { start, len, .. } = self.symbols[symbol];
        &self.text[start..start + len]
    }

    /// The text of two neighbours.
    pub(crate) fn joined(&self, left: usize, right: usize) -> &'t str {
        let (left, right) = (&self.symbols[left], &self.symbols[right]);
        &self.text[left.start..right.start + right.len]
    }

    /// Merges two neighbours, if they are still `bytes` long together.
    pub(crate) fn merge(&mut self, left: usize, right: usize, bytes: usize) -> bool {
        let (left_len, right_len) = (self.symbols[left].len, self.symbols[right].len);
        if left_len == 0 || right_len == 0 || left_len + right_len != bytes {
            return false;
        }
        self.symbols[left].len = bytes;
        self.symbols[right].len = 0;
        let next = self.symbols[right].next;
        self.symbols[left].next = next;
        if let Some(next) = next {
            self.symbols[next].previous = Some(left);
        }
        true
    }

    /// What is left, in order.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &'t str> {
        (0..self.len()).filter(|&symbol| self.symbols[symbol].len > 0).map(|symbol| self.text(symbol))
    }
}
