//! What can be asked of a string: its words, its code, its meaning.

use kernels_cpu::synthetic::Random;

use super::draw::{between, chance, fragment};

/// A predicate on strings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrTest {
    /// `s.startswith(t)`
    StartsWith(String),
    /// `s.endswith(t)`
    EndsWith(String),
    /// `t in s`
    Contains(String),
    /// `t not in s`
    Lacks(String),
    /// `len(s) > k`
    LongerThan(usize),
    /// `len(s) < k`
    ShorterThan(usize),
    /// `len(s) == k`
    HasLength(usize),
    /// Both.
    And(Box<StrTest>, Box<StrTest>),
}

impl StrTest {
    /// One predicate.
    pub fn draw(random: &mut Random) -> Self {
        match random.below(10) {
            0 | 1 => Self::StartsWith(fragment(random, 2)),
            2 | 3 => Self::EndsWith(fragment(random, 2)),
            4 | 5 => Self::Contains(fragment(random, 2)),
            6 => Self::Lacks(fragment(random, 1)),
            7 => Self::LongerThan(between(random, 1, 9) as usize),
            8 => Self::ShorterThan(between(random, 2, 9) as usize),
            _ => Self::HasLength(between(random, 1, 8) as usize),
        }
    }

    /// One predicate, or in `percent` of a hundred draws two joined.
    pub fn draw_joined(random: &mut Random, percent: usize) -> Self {
        if !chance(random, percent) {
            return Self::draw(random);
        }
        let content = match random.below(3) {
            0 => Self::StartsWith(fragment(random, 1)),
            1 => Self::EndsWith(fragment(random, 1)),
            _ => Self::Contains(fragment(random, 1)),
        };
        let length = match random.below(2) {
            0 => Self::LongerThan(between(random, 2, 7) as usize),
            _ => Self::ShorterThan(between(random, 4, 9) as usize),
        };
        Self::And(Box::new(content), Box::new(length))
    }

    /// What follows one string: "starts with 'ab'".
    pub fn words(&self) -> String {
        match self {
            Self::StartsWith(t) => format!("starts with '{t}'"),
            Self::EndsWith(t) => format!("ends with '{t}'"),
            Self::Contains(t) => format!("contains '{t}'"),
            Self::Lacks(t) => format!("does not contain '{t}'"),
            Self::LongerThan(k) => format!("is longer than {k}"),
            Self::ShorterThan(k) => format!("is shorter than {k}"),
            Self::HasLength(k) => format!("has length {k}"),
            Self::And(a, b) => format!("{} and {}", a.words(), b.words()),
        }
    }

    /// What follows several strings: "start with 'ab'".
    pub fn plural(&self) -> String {
        match self {
            Self::StartsWith(t) => format!("start with '{t}'"),
            Self::EndsWith(t) => format!("end with '{t}'"),
            Self::Contains(t) => format!("contain '{t}'"),
            Self::Lacks(t) => format!("do not contain '{t}'"),
            Self::LongerThan(k) => format!("are longer than {k}"),
            Self::ShorterThan(k) => format!("are shorter than {k}"),
            Self::HasLength(k) => format!("have length {k}"),
            Self::And(a, b) => format!("{} and {}", a.plural(), b.plural()),
        }
    }

    /// Code over the expression `s`, which must bind tighter than any operator.
    pub fn code(&self, s: &str) -> String {
        match self {
            Self::StartsWith(t) => format!("{s}.startswith('{t}')"),
            Self::EndsWith(t) => format!("{s}.endswith('{t}')"),
            Self::Contains(t) => format!("'{t}' in {s}"),
            Self::Lacks(t) => format!("'{t}' not in {s}"),
            Self::LongerThan(k) => format!("len({s}) > {k}"),
            Self::ShorterThan(k) => format!("len({s}) < {k}"),
            Self::HasLength(k) => format!("len({s}) == {k}"),
            Self::And(a, b) => format!("{} and {}", a.code(s), b.code(s)),
        }
    }

    /// Its meaning, for ASCII.
    pub fn holds(&self, s: &str) -> bool {
        match self {
            Self::StartsWith(t) => s.starts_with(t.as_str()),
            Self::EndsWith(t) => s.ends_with(t.as_str()),
            Self::Contains(t) => s.contains(t.as_str()),
            Self::Lacks(t) => !s.contains(t.as_str()),
            Self::LongerThan(k) => s.len() > *k,
            Self::ShorterThan(k) => s.len() < *k,
            Self::HasLength(k) => s.len() == *k,
            Self::And(a, b) => a.holds(s) && b.holds(s),
        }
    }

    /// The strings it holds; of lengths, strings on both sides of them.
    pub fn texts(&self) -> Vec<String> {
        match self {
            Self::StartsWith(t) | Self::EndsWith(t) | Self::Contains(t) | Self::Lacks(t) => vec![t.clone()],
            Self::LongerThan(k) | Self::ShorterThan(k) | Self::HasLength(k) => {
                [k - 1, *k, k + 1].map(|length| "abcdefghijkl"[..length.min(12)].to_owned()).to_vec()
            }
            // Strings for which the first decides, at the lengths where the second does.
            Self::And(a, b) => {
                let (held, lengths) = (a.texts(), b.texts());
                let mixed = held.iter().flat_map(|t| lengths.iter().map(move |l| (t, l.get(t.len()..).unwrap_or(""))));
                let joined = mixed.flat_map(|(t, rest)| [format!("{t}{rest}"), format!("{rest}{t}")]);
                joined.chain(held.clone()).collect()
            }
        }
    }
}
