//! Numbers with intervals, and how intervals add.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A measured median with the confidence interval of that median.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Estimate {
    /// Median.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub median: f64,
    /// Lower end of the interval.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub low: f64,
    /// Upper end of the interval.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub high: f64,
    /// Coverage of the interval, such as 0.95.
    #[schemars(extend("exclusiveMinimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub confidence: f64,
    /// Samples behind it.
    #[schemars(range(min = 1))]
    pub samples: u64,
}

impl Estimate {
    /// What is wrong with it as a positive quantity, if anything.
    pub(crate) fn fault(&self) -> Option<String> {
        let Self { median, low, high, .. } = *self;
        if ![median, low, high].iter().all(|v| v.is_finite()) {
            Some("is not finite".into())
        } else if low <= 0.0 {
            Some(format!("is not positive (low {low:e})"))
        } else if low > median || median > high {
            Some(format!("is out of order: low {low:e}, median {median:e}, high {high:e}"))
        } else if !(self.confidence > 0.0 && self.confidence < 1.0) {
            Some(format!("has confidence {}, wanted 0 < c < 1", self.confidence))
        } else if self.samples == 0 {
            Some("has no samples".into())
        } else {
            None
        }
    }

    /// Its median and ends.
    pub fn interval(&self) -> Interval {
        Interval { median: self.median, low: self.low, high: self.high }
    }
}

/// A computed value with its ends.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Interval {
    /// Middle.
    pub median: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Exactly zero.
    pub const ZERO: Self = Self::exact(0.0);

    /// A value without spread.
    pub const fn exact(value: f64) -> Self {
        Self { median: value, low: value, high: value }
    }

    /// `factor` times this; `factor` is not negative.
    #[must_use]
    pub fn scale(self, factor: f64) -> Self {
        Self { median: self.median * factor, low: self.low * factor, high: self.high * factor }
    }

    /// `numerator / self`: the ends change places. Self is positive.
    #[must_use]
    pub fn divide(self, numerator: f64) -> Self {
        Self { median: numerator / self.median, low: numerator / self.high, high: numerator / self.low }
    }

    /// Sum of fully correlated parts: the ends add.
    pub fn sum_correlated(parts: impl IntoIterator<Item = Self>) -> Self {
        parts.into_iter().fold(Self::ZERO, |a, b| Self {
            median: a.median + b.median,
            low: a.low + b.low,
            high: a.high + b.high,
        })
    }

    /// Sum of independent parts: the half-widths add in quadrature, each side on its own.
    pub fn sum_independent(parts: impl IntoIterator<Item = Self>) -> Self {
        let (mut median, mut below, mut above) = (0.0, 0.0, 0.0);
        for part in parts {
            median += part.median;
            below += (part.median - part.low).powi(2);
            above += (part.high - part.median).powi(2);
        }
        Self { median, low: median - f64::sqrt(below), high: median + f64::sqrt(above) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn part() -> impl Strategy<Value = Interval> {
        (1e-3..1e3, 0.0..1.0, 0.0..1.0).prop_map(|(median, below, above)| Interval {
            median,
            low: median * (1.0 - below),
            high: median * (1.0 + above),
        })
    }

    proptest! {
        /// Independence never widens: its sum lies inside the correlated sum.
        #[test]
        fn independent_sum_is_inside_correlated(parts in prop::collection::vec(part(), 1..20)) {
            let free = Interval::sum_independent(parts.iter().copied());
            let tied = Interval::sum_correlated(parts.iter().copied());
            let slack = 1e-9 * tied.high;
            prop_assert!((free.median - tied.median).abs() <= slack);
            prop_assert!(free.low >= tied.low - slack && free.low <= free.median);
            prop_assert!(free.high <= tied.high + slack && free.high >= free.median);
        }
    }

    #[test]
    fn quadrature_by_hand() {
        let part = |median, half| Interval { median, low: median - half, high: median + half };
        let sum = Interval::sum_independent([part(10.0, 3.0), part(20.0, 4.0)]);
        assert_eq!(sum, part(30.0, 5.0));
    }
}
