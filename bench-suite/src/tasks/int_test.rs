//! What can be asked of an integer: its words, its code, its meaning.

use kernels_cpu::synthetic::Random;

use super::draw::{between, chance};

/// A predicate on integers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IntTest {
    /// `x % 2 == 0`
    Even,
    /// `x % 2 == 1`
    Odd,
    /// `x > 0`
    Positive,
    /// `x < 0`
    Negative,
    /// `x > k`
    Above(i64),
    /// `x < k`
    Below(i64),
    /// `x >= k`
    AtLeast(i64),
    /// `x <= k`
    AtMost(i64),
    /// `x % k == 0`
    Divisible(i64),
    /// `x % k != 0`
    NotDivisible(i64),
    /// `x % k == r`
    Remainder(i64, i64),
    /// `x != k`
    Not(i64),
    /// `x >= low and x <= high`
    Within(i64, i64),
    /// Both.
    And(Box<IntTest>, Box<IntTest>),
    /// Any of the two.
    Or(Box<IntTest>, Box<IntTest>),
}

impl IntTest {
    /// One predicate.
    pub fn draw(random: &mut Random) -> Self {
        match random.below(20) {
            0 | 1 => Self::Even,
            2 | 3 => Self::Odd,
            4 => Self::Positive,
            5 => Self::Negative,
            6..9 => Self::Above(between(random, 1, 25)),
            9..11 => Self::Below(between(random, 1, 25)),
            11 => Self::AtLeast(between(random, 1, 25)),
            12 => Self::AtMost(between(random, 1, 25)),
            13..15 => Self::Divisible(between(random, 3, 12)),
            15 => Self::NotDivisible(between(random, 3, 12)),
            16 => {
                let k = between(random, 3, 9);
                Self::Remainder(k, between(random, 1, k - 1))
            }
            17 => Self::Not(between(random, 0, 20)),
            _ => {
                let low = between(random, -5, 15);
                Self::Within(low, low + between(random, 3, 20))
            }
        }
    }

    /// One predicate, or in `percent` of a hundred draws two joined.
    pub fn draw_joined(random: &mut Random, percent: usize) -> Self {
        if !chance(random, percent) {
            return Self::draw(random);
        }
        let parity = match random.below(4) {
            0 => Self::Even,
            1 => Self::Odd,
            2 => Self::Divisible(between(random, 3, 9)),
            _ => Self::NotDivisible(between(random, 3, 9)),
        };
        let size = match random.below(4) {
            0 => Self::Positive,
            1 => Self::Negative,
            2 => Self::Above(between(random, 1, 20)),
            _ => Self::Below(between(random, 1, 20)),
        };
        if chance(random, 65) {
            Self::And(Box::new(parity), Box::new(size))
        } else {
            Self::Or(Box::new(parity), Box::new(size))
        }
    }

    /// What follows "is" or "are": "divisible by 3".
    pub fn words(&self) -> String {
        match self {
            Self::Even => "even".to_owned(),
            Self::Odd => "odd".to_owned(),
            Self::Positive => "positive".to_owned(),
            Self::Negative => "negative".to_owned(),
            Self::Above(k) => format!("greater than {k}"),
            Self::Below(k) => format!("less than {k}"),
            Self::AtLeast(k) => format!("at least {k}"),
            Self::AtMost(k) => format!("at most {k}"),
            Self::Divisible(k) => format!("divisible by {k}"),
            Self::NotDivisible(k) => format!("not divisible by {k}"),
            Self::Remainder(k, r) => format!("{r} modulo {k}"),
            Self::Not(k) => format!("not {k}"),
            Self::Within(low, high) => format!("from {low} to {high}"),
            Self::And(a, b) => format!("{} and {}", a.words(), b.words()),
            Self::Or(a, b) => format!("{} or {}", a.words(), b.words()),
        }
    }

    /// Code over the expression `x`, which must bind tighter than any operator.
    pub fn code(&self, x: &str) -> String {
        match self {
            Self::Even => format!("{x} % 2 == 0"),
            Self::Odd => format!("{x} % 2 == 1"),
            Self::Positive => format!("{x} > 0"),
            Self::Negative => format!("{x} < 0"),
            Self::Above(k) => format!("{x} > {k}"),
            Self::Below(k) => format!("{x} < {k}"),
            Self::AtLeast(k) => format!("{x} >= {k}"),
            Self::AtMost(k) => format!("{x} <= {k}"),
            Self::Divisible(k) => format!("{x} % {k} == 0"),
            Self::NotDivisible(k) => format!("{x} % {k} != 0"),
            Self::Remainder(k, r) => format!("{x} % {k} == {r}"),
            Self::Not(k) => format!("{x} != {k}"),
            Self::Within(low, high) => format!("{x} >= {low} and {x} <= {high}"),
            Self::And(a, b) => format!("{} and {}", a.code(x), b.code(x)),
            Self::Or(a, b) => format!("{} or {}", a.code(x), b.code(x)),
        }
    }

    /// Its meaning.
    pub fn holds(&self, x: i64) -> bool {
        match self {
            Self::Even => x % 2 == 0,
            Self::Odd => x % 2 != 0,
            Self::Positive => x > 0,
            Self::Negative => x < 0,
            Self::Above(k) => x > *k,
            Self::Below(k) => x < *k,
            Self::AtLeast(k) => x >= *k,
            Self::AtMost(k) => x <= *k,
            Self::Divisible(k) => x % k == 0,
            Self::NotDivisible(k) => x % k != 0,
            Self::Remainder(k, r) => x.rem_euclid(*k) == *r,
            Self::Not(k) => x != *k,
            Self::Within(low, high) => (*low..=*high).contains(&x),
            Self::And(a, b) => a.holds(x) && b.holds(x),
            Self::Or(a, b) => a.holds(x) || b.holds(x),
        }
    }

    /// Those of `list` it holds for.
    pub fn keep(&self, list: &[i64]) -> Vec<i64> {
        list.iter().copied().filter(|x| self.holds(*x)).collect()
    }

    /// The constants it holds.
    pub fn constants(&self) -> Vec<i64> {
        match self {
            Self::Even | Self::Odd | Self::Positive | Self::Negative => vec![0],
            Self::Above(k)
            | Self::Below(k)
            | Self::AtLeast(k)
            | Self::AtMost(k)
            | Self::Divisible(k)
            | Self::NotDivisible(k)
            | Self::Not(k) => vec![*k],
            Self::Remainder(k, r) => vec![*r, k + r],
            Self::Within(low, high) => vec![*low, *high],
            Self::And(a, b) | Self::Or(a, b) => [a.constants(), b.constants()].concat(),
        }
    }
}
