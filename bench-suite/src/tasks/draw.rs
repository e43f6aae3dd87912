//! Random choices: numbers, words and inputs, all from one seeded sequence.

use std::mem::discriminant;

use kernels_cpu::synthetic::Random;

use super::value::Value;

/// What a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A list of integers, maybe empty.
    Ints,
    /// An integer, maybe negative.
    Int,
    /// An integer from 0 to 7.
    Count,
    /// An integer from 0 to 20.
    Limit,
    /// A word, maybe empty.
    Word,
    /// Words with single spaces between them.
    Sentence,
    /// A list of words, maybe empty.
    Words,
    /// From words to integers.
    Dict,
}

/// Values that sit on the boundaries of a problem: its constants. Half of all inputs come from near them.
#[derive(Debug, Clone, Default)]
pub struct Hints {
    /// Integers that the solution holds.
    pub ints: Vec<i64>,
    /// Strings that the solution holds.
    pub texts: Vec<String>,
}

const WORDS: [&str; 48] = [
    "apple", "river", "stone", "cloud", "green", "light", "paper", "tiger", "moon", "bread", "chair", "dance", "eagle",
    "flame", "grass", "house", "ink", "jar", "kite", "lemon", "mouse", "night", "ocean", "plum", "queen", "rain",
    "sand", "tree", "unit", "vase", "wind", "yarn", "zebra", "cat", "dog", "sun", "sea", "oak", "level", "noon",
    "data", "code", "banana", "letter", "summer", "window", "garden", "silver",
];

/// One of `choices`, which must not be empty.
pub fn pick<'a, T>(random: &mut Random, choices: &'a [T]) -> &'a T {
    &choices[random.below(choices.len())]
}

/// Uniform from `low` to `high`, both included.
pub fn between(random: &mut Random, low: i64, high: i64) -> i64 {
    low + random.below((high - low + 1) as usize) as i64
}

/// True in `percent` of a hundred draws.
pub fn chance(random: &mut Random, percent: usize) -> bool {
    random.below(100) < percent
}

/// One draw, or in `percent` of a hundred two: never two of a kind, which would be one.
pub fn one_or_two<T>(random: &mut Random, percent: usize, draw: impl Fn(&mut Random) -> T) -> (T, Option<T>) {
    let first = draw(random);
    if !chance(random, percent) {
        return (first, None);
    }
    loop {
        let second = draw(random);
        if discriminant(&first) != discriminant(&second) {
            return (first, Some(second));
        }
    }
}

/// A word of lower-case letters.
pub fn word(random: &mut Random) -> String {
    (*pick(random, &WORDS)).to_owned()
}

/// One to three lower-case letters that begin, end or sit within a common word.
pub fn fragment(random: &mut Random, most: usize) -> String {
    let word = word(random);
    let length = 1 + random.below(most.min(word.len()));
    let at = match random.below(3) {
        0 => 0,
        1 => word.len() - length,
        _ => random.below(word.len() - length + 1),
    };
    word[at..at + length].to_owned()
}

/// An input of that kind with at most `longest` elements.
pub fn input(random: &mut Random, kind: Kind, hints: &Hints, longest: usize) -> Value {
    match kind {
        Kind::Int => int(random, hints).into(),
        Kind::Count => between(random, 0, 7).into(),
        Kind::Limit => between(random, 0, 20).into(),
        Kind::Ints => {
            let mut list: Vec<i64> = (0..random.below(longest + 1)).map(|_| int(random, hints)).collect();
            repeat_one(random, &mut list);
            list.into()
        }
        Kind::Word => text(random, hints).into(),
        Kind::Sentence => {
            let words: Vec<String> = (0..1 + random.below(longest)).map(|_| word_near(random, hints)).collect();
            words.join(" ").into()
        }
        Kind::Words => {
            let mut list: Vec<String> = (0..random.below(longest + 1)).map(|_| text(random, hints)).collect();
            repeat_one(random, &mut list);
            list.into()
        }
        Kind::Dict => {
            let mut entries: Vec<(String, i64)> = Vec::new();
            for _ in 0..random.below(longest + 1) {
                let key = word_near(random, hints);
                if entries.iter().all(|(known, _)| *known != key) {
                    entries.push((key, int(random, hints)));
                }
            }
            Value::Dict(entries)
        }
    }
}

/// Lists with an element twice tell more solutions apart.
fn repeat_one<T: Clone>(random: &mut Random, list: &mut [T]) {
    if list.len() > 1 && chance(random, 30) {
        let (from, to) = (random.below(list.len()), random.below(list.len()));
        list[to] = list[from].clone();
    }
}

fn int(random: &mut Random, hints: &Hints) -> i64 {
    if !hints.ints.is_empty() && chance(random, 50) {
        let near = *pick(random, &hints.ints);
        return match random.below(8) {
            0 | 1 => near,
            2 | 3 => near + 1,
            4 => near - 1,
            5 => -near,
            6 => 2 * near,
            _ => 3 * near,
        };
    }
    match random.below(8) {
        0 => 0,
        1 | 2 => between(random, -12, -1),
        _ => between(random, 1, 30),
    }
}

/// Not empty, without spaces.
fn word_near(random: &mut Random, hints: &Hints) -> String {
    let mut word = word(random);
    if !hints.texts.is_empty() && chance(random, 50) {
        let near = pick(random, &hints.texts).trim();
        match random.below(6) {
            0 => word.insert_str(0, near),
            1 => word.push_str(near),
            2 => word.insert_str(random.below(word.len()), near),
            _ if !near.is_empty() => near.clone_into(&mut word),
            _ => {}
        }
    }
    word
}

fn text(random: &mut Random, hints: &Hints) -> String {
    let word = word_near(random, hints);
    match random.below(12) {
        0 => String::new(),
        1 => word.to_uppercase(),
        2 => word[..1].to_uppercase() + &word[1..],
        3 => word[..1 + random.below(word.len())].to_owned(),
        4 => word.chars().rev().collect(),
        5 => word + &self::word(random),
        _ => word,
    }
}
