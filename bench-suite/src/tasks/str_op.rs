//! What can be done to a string: its words, its code, its meaning.

use kernels_cpu::synthetic::Random;

use super::draw::{between, fragment, one_or_two, pick};

/// A function from string to string.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrOp {
    /// `s.upper()`
    Upper,
    /// `s.lower()`
    Lower,
    /// `s[::-1]`
    Reverse,
    /// `s[:k]`
    First(usize),
    /// `s[-k:]`
    Last(usize),
    /// `s[k:]`
    WithoutFirst(usize),
    /// `s[:-k]`
    WithoutLast(usize),
    /// `s + t`
    Append(String),
    /// `t + s`
    Prepend(String),
    /// `s * k`
    Repeat(usize),
    /// `s.replace(a, b)`
    Replace(String, String),
    /// The second after the first.
    Then(Box<StrOp>, Box<StrOp>),
}

const MARKS: [&str; 8] = ["!", "?", "-", "_", ".", "#", "*", ":"];

impl StrOp {
    /// One operation.
    pub fn draw(random: &mut Random) -> Self {
        match random.below(16) {
            0 => Self::Upper,
            1 => Self::Lower,
            2 => Self::Reverse,
            3 => Self::First(1 + random.below(5)),
            4 => Self::Last(1 + random.below(5)),
            5 => Self::WithoutFirst(1 + random.below(4)),
            6 => Self::WithoutLast(1 + random.below(4)),
            7..10 => Self::Append(affix(random)),
            10..13 => Self::Prepend(affix(random)),
            13 => Self::Repeat(between(random, 2, 5) as usize),
            _ => loop {
                let (a, b) = (fragment(random, 1), affix(random));
                if a != b {
                    break Self::Replace(a, b);
                }
            },
        }
    }

    /// One operation, or in `percent` of a hundred draws two.
    pub fn draw_chain(random: &mut Random, percent: usize) -> Self {
        match one_or_two(random, percent, Self::draw) {
            (first, None) => first,
            (first, Some(second)) => Self::Then(Box::new(first), Box::new(second)),
        }
    }

    /// As a participle: "followed by 'ab'".
    pub fn words(&self) -> String {
        let characters = |k: usize| if k == 1 { "character".to_owned() } else { format!("{k} characters") };
        match self {
            Self::Upper => "in upper case".to_owned(),
            Self::Lower => "in lower case".to_owned(),
            Self::Reverse => "reversed".to_owned(),
            Self::First(k) => format!("cut to the first {}", characters(*k)),
            Self::Last(k) => format!("cut to the last {}", characters(*k)),
            Self::WithoutFirst(k) => format!("without the first {}", characters(*k)),
            Self::WithoutLast(k) => format!("without the last {}", characters(*k)),
            Self::Append(t) => format!("followed by '{t}'"),
            Self::Prepend(t) => format!("preceded by '{t}'"),
            Self::Repeat(k) => format!("repeated {k} times"),
            Self::Replace(a, b) => format!("with '{a}' replaced by '{b}'"),
            Self::Then(first, second) => format!("{} and then {}", first.words(), second.words()),
        }
    }

    /// Code over the expression `s`, which must bind tighter than any operator.
    pub fn code(&self, s: &str) -> String {
        match self {
            Self::Upper => format!("{s}.upper()"),
            Self::Lower => format!("{s}.lower()"),
            Self::Reverse => format!("{s}[::-1]"),
            Self::First(k) => format!("{s}[:{k}]"),
            Self::Last(k) => format!("{s}[-{k}:]"),
            Self::WithoutFirst(k) => format!("{s}[{k}:]"),
            Self::WithoutLast(k) => format!("{s}[:-{k}]"),
            Self::Append(t) => format!("{s} + '{t}'"),
            Self::Prepend(t) => format!("'{t}' + {s}"),
            Self::Repeat(k) => format!("{s} * {k}"),
            Self::Replace(a, b) => format!("{s}.replace('{a}', '{b}')"),
            Self::Then(first, second) => {
                let inner = first.code(s);
                let sum = matches!(**second, Self::Append(_) | Self::Prepend(_));
                second.code(&if sum { inner } else { first.bracketed(inner) })
            }
        }
    }

    /// The code as an operand that binds tighter than any operator.
    pub fn operand(&self, s: &str) -> String {
        self.bracketed(self.code(s))
    }

    fn bracketed(&self, code: String) -> String {
        match self {
            Self::Append(_) | Self::Prepend(_) | Self::Repeat(_) => format!("({code})"),
            Self::Then(_, last) => last.bracketed(code),
            _ => code,
        }
    }

    /// Its meaning, for ASCII.
    pub fn apply(&self, s: &str) -> String {
        match self {
            Self::Upper => s.to_uppercase(),
            Self::Lower => s.to_lowercase(),
            Self::Reverse => s.chars().rev().collect(),
            Self::First(k) => s[..s.len().min(*k)].to_owned(),
            Self::Last(k) => s[s.len().saturating_sub(*k)..].to_owned(),
            Self::WithoutFirst(k) => s[s.len().min(*k)..].to_owned(),
            Self::WithoutLast(k) => s[..s.len().saturating_sub(*k)].to_owned(),
            Self::Append(t) => format!("{s}{t}"),
            Self::Prepend(t) => format!("{t}{s}"),
            Self::Repeat(k) => s.repeat(*k),
            Self::Replace(a, b) => s.replace(a.as_str(), b),
            Self::Then(first, second) => second.apply(&first.apply(s)),
        }
    }

    /// The strings it holds.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::Append(t) | Self::Prepend(t) => vec![t.clone()],
            Self::Replace(a, b) => vec![a.clone(), b.clone()],
            Self::Then(first, second) => [first.texts(), second.texts()].concat(),
            _ => Vec::new(),
        }
    }
}

/// What is put before or after: a mark, or a few letters.
pub fn affix(random: &mut Random) -> String {
    match random.below(3) {
        0 => (*pick(random, &MARKS)).to_owned(),
        1 => pick(random, &MARKS).repeat(2),
        _ => fragment(random, 3),
    }
}
