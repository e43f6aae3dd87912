//! What can be done to an integer: its words, its code, its meaning.

use kernels_cpu::synthetic::Random;

use super::draw::{between, chance, one_or_two};

/// A function from integer to integer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntOp {
    /// `x + k`
    Add(i64),
    /// `x - k`
    Subtract(i64),
    /// `x * k`
    Multiply(i64),
    /// `x // k`, rounded down
    Divide(i64),
    /// `x % k`, never negative
    Modulo(i64),
    /// `x * x`
    Square,
    /// `-x`
    Negate,
    /// `abs(x)`
    Absolute,
    /// `min(x, k)`
    AtMost(i64),
    /// `max(x, k)`
    AtLeast(i64),
    /// The second after the first.
    Then(Box<IntOp>, Box<IntOp>),
}

impl IntOp {
    /// One operation.
    pub fn draw(random: &mut Random) -> Self {
        match random.below(20) {
            0..4 => Self::Add(between(random, 1, 20)),
            4..7 => Self::Subtract(between(random, 1, 20)),
            7..11 => Self::Multiply(between(random, 2, 12)),
            11 | 12 => Self::Divide(between(random, 2, 9)),
            13 | 14 => Self::Modulo(between(random, 2, 12)),
            15 => Self::Square,
            16 => Self::Negate,
            17 => Self::Absolute,
            18 => Self::AtMost(between(random, 2, 25)),
            _ => Self::AtLeast(between(random, 1, 15)),
        }
    }

    /// One operation, or in `percent` of a hundred draws two.
    pub fn draw_chain(random: &mut Random, percent: usize) -> Self {
        match one_or_two(random, percent, Self::draw) {
            (first, None) => first,
            (first, Some(second)) => Self::Then(Box::new(first), Box::new(second)),
        }
    }

    /// As a participle: "increased by 3".
    pub fn words(&self, random: &mut Random) -> String {
        let either = |random: &mut Random, a: String, b: String| if chance(random, 60) { a } else { b };
        match self {
            Self::Add(k) => either(random, format!("increased by {k}"), format!("plus {k}")),
            Self::Subtract(k) => either(random, format!("decreased by {k}"), format!("minus {k}")),
            Self::Multiply(k) => either(random, format!("multiplied by {k}"), format!("times {k}")),
            Self::Divide(k) => format!("divided by {k} and rounded down"),
            Self::Modulo(k) => either(random, format!("modulo {k}"), format!("reduced to its remainder by {k}")),
            Self::Square => "squared".to_owned(),
            Self::Negate => "negated".to_owned(),
            Self::Absolute => "made non-negative".to_owned(),
            Self::AtMost(k) => format!("limited to at most {k}"),
            Self::AtLeast(k) => format!("raised to at least {k}"),
            Self::Then(first, second) => format!("{} and then {}", first.words(random), second.words(random)),
        }
    }

    /// Code over the expression `x`, which must bind tighter than any operator.
    pub fn code(&self, x: &str) -> String {
        match self {
            Self::Add(k) => format!("{x} + {k}"),
            Self::Subtract(k) => format!("{x} - {k}"),
            Self::Multiply(k) => format!("{x} * {k}"),
            Self::Divide(k) => format!("{x} // {k}"),
            Self::Modulo(k) => format!("{x} % {k}"),
            Self::Square => format!("{x} * {x}"),
            Self::Negate => format!("-{x}"),
            Self::Absolute => format!("abs({x})"),
            Self::AtMost(k) => format!("min({x}, {k})"),
            Self::AtLeast(k) => format!("max({x}, {k})"),
            Self::Then(first, second) => second.code(&if second.is_call() { first.code(x) } else { first.operand(x) }),
        }
    }

    /// The code as an operand that binds tighter than any operator.
    pub fn operand(&self, x: &str) -> String {
        let code = self.code(x);
        if self.is_call() { code } else { format!("({code})") }
    }

    fn is_call(&self) -> bool {
        match self {
            Self::Absolute | Self::AtMost(_) | Self::AtLeast(_) => true,
            Self::Then(_, last) => last.is_call(),
            _ => false,
        }
    }

    /// Its meaning; `None` where 64 bits do not hold it.
    pub fn apply(&self, x: i64) -> Option<i64> {
        match self {
            Self::Add(k) => x.checked_add(*k),
            Self::Subtract(k) => x.checked_sub(*k),
            Self::Multiply(k) => x.checked_mul(*k),
            Self::Divide(k) => x.checked_div_euclid(*k),
            Self::Modulo(k) => x.checked_rem_euclid(*k),
            Self::Square => x.checked_mul(x),
            Self::Negate => x.checked_neg(),
            Self::Absolute => x.checked_abs(),
            Self::AtMost(k) => Some(x.min(*k)),
            Self::AtLeast(k) => Some(x.max(*k)),
            Self::Then(first, second) => second.apply(first.apply(x)?),
        }
    }

    /// `apply` to all.
    pub fn apply_all(&self, list: &[i64]) -> Option<Vec<i64>> {
        list.iter().map(|x| self.apply(*x)).collect()
    }

    /// The constants it holds.
    pub fn constants(&self) -> Vec<i64> {
        match self {
            Self::Add(k)
            | Self::Subtract(k)
            | Self::Multiply(k)
            | Self::Divide(k)
            | Self::Modulo(k)
            | Self::AtMost(k)
            | Self::AtLeast(k) => vec![*k],
            Self::Square | Self::Negate | Self::Absolute => Vec::new(),
            Self::Then(first, second) => [first.constants(), second.constants()].concat(),
        }
    }
}
