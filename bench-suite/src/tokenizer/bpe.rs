//! Byte-level BPE (Sennrich et al. 2016; GPT-2): words by a splitter, each byte a visible character, pairs by rank.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
};

use super::{Error, split::Splitter, spm::Symbols};

/// Ranks of the merges, and how text falls into words.
#[derive(Debug)]
pub(crate) struct Bpe {
    splitter: Splitter,
    /// `left right`, as the file has it: lower merges first.
    ranks: HashMap<String, usize>,
    unknown: Option<u32>,
}

impl Bpe {
    pub(crate) fn new(pre: &str, merges: &[Cow<'_, str>], unknown: Option<u32>) -> Result<Self, Error> {
        let mut ranks = HashMap::with_capacity(merges.len());
        for (rank, merge) in merges.iter().enumerate() {
            ranks.entry(merge.to_string()).or_insert(rank);
        }
        Ok(Self { splitter: Splitter::new(pre)?, ranks, unknown })
    }

    pub(crate) fn pre(&self) -> &'static str {
        self.splitter.name()
    }

    pub(crate) fn adds_begin(&self) -> bool {
        self.splitter.adds_begin()
    }

    pub(crate) fn encode(&self, text: &str, ids: &HashMap<String, u32>, out: &mut Vec<u32>) -> Result<(), Error> {
        for word in self.splitter.words(text)? {
            let word: String = word.bytes().map(character_of).collect();
            match ids.get(&word) {
                Some(&id) if self.splitter.takes_whole_words() => out.push(id),
                _ => self.encode_word(&word, ids, out),
            }
        }
        Ok(())
    }

    fn encode_word(&self, word: &str, ids: &HashMap<String, u32>, out: &mut Vec<u32>) {
        let mut symbols = Symbols::of(word);
        // Lowest rank first, of equal ranks the leftmost.
        let mut pairs = BinaryHeap::new();
        let mut key = String::new();
        let mut consider =
            |symbols: &Symbols<'_>, left: Option<usize>, right: Option<usize>, pairs: &mut BinaryHeap<_>| {
                let (Some(left), Some(right)) = (left, right) else { return };
                key.clear();
                key.extend([symbols.text(left), " ", symbols.text(right)]);
                if let Some(&rank) = self.ranks.get(&key) {
                    pairs.push(Reverse((rank, left, right, key.len() - 1)));
                }
            };
        for right in 1..symbols.len() {
            consider(&symbols, Some(right - 1), Some(right), &mut pairs);
        }
        while let Some(Reverse((_, left, right, bytes))) = pairs.pop() {
            if symbols.merge(left, right, bytes) {
                consider(&symbols, symbols.previous(left), Some(left), &mut pairs);
                consider(&symbols, Some(left), symbols.next(left), &mut pairs);
            }
        }
        for symbol in symbols.texts() {
            match ids.get(symbol) {
                Some(&id) => out.push(id),
                // A merge that is no token, or a byte that the vocabulary lacks.
                None => out.extend(
                    symbol.chars().filter_map(|c| ids.get(c.encode_utf8(&mut [0; 4])).copied().or(self.unknown)),
                ),
            }
        }
    }
}

/// The character that GPT-2 writes for a byte: itself where that is visible, else one from U+0100 on.
fn character_of(byte: u8) -> char {
    let hidden = |byte: u8| matches!(byte, 0..=0x20 | 0x7f..=0xa0 | 0xad);
    if !hidden(byte) {
        return char::from(byte);
    }
    let rank = (0..byte).filter(|&b| hidden(b)).count() as u32;
    char::from_u32(0x100 + rank).unwrap_or_default()
}

/// The bytes of a token; characters that stand for no byte as they are.
pub(crate) fn bytes_of(token: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(token.len());
    for character in token.chars() {
        match (0..=u8::MAX).find(|&byte| character_of(byte) == character) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend(character.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
    bytes
}
