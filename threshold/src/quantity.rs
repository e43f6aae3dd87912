//! Numbers that carry their range in their type.

use std::fmt;

use crate::Error;

/// A share of rows computed, in (0, 1]. Sparsity is one minus it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Density(f64);

impl Density {
    /// # Errors
    /// [`Error::OutOfRange`] outside (0, 1], NaN included.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value > 0.0 && value <= 1.0 {
            Ok(Self(value))
        } else {
            Err(Error::out_of_range("density", &value, "in (0, 1]"))
        }
    }

    /// The share itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }

    /// The nearest whole number of `neurons` rows, and never none: `max(1, round(density · neurons))`.
    #[must_use]
    pub fn rows(self, neurons: usize) -> usize {
        ((self.0 * neurons as f64).round() as usize).clamp(1, neurons.max(1))
    }
}

/// A target for the share of output mass missed, in (0, 1).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Miss(f64);

impl Miss {
    /// # Errors
    /// [`Error::OutOfRange`] outside (0, 1), NaN included.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value > 0.0 && value < 1.0 { Ok(Self(value)) } else { Err(Error::out_of_range("miss", &value, "in (0, 1)")) }
    }

    /// The share itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A share of score mass to hold, in (0, 1).
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Mass(f64);

impl Mass {
    /// # Errors
    /// [`Error::OutOfRange`] outside (0, 1), NaN included.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value > 0.0 && value < 1.0 { Ok(Self(value)) } else { Err(Error::out_of_range("mass", &value, "in (0, 1)")) }
    }

    /// What is held where `miss` is missed.
    #[must_use]
    pub fn without(miss: Miss) -> Self {
        Self(1.0 - miss.get())
    }

    /// The share itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A fraction of the largest score, in (0, 1].
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Fraction(f64);

impl Fraction {
    /// # Errors
    /// [`Error::OutOfRange`] outside (0, 1], NaN included.
    pub fn new(value: f64) -> Result<Self, Error> {
        if value > 0.0 && value <= 1.0 {
            Ok(Self(value))
        } else {
            Err(Error::out_of_range("fraction", &value, "in (0, 1]"))
        }
    }

    /// The fraction itself.
    #[must_use]
    pub fn get(self) -> f64 {
        self.0
    }
}

/// A finite score to compare with; negative zero becomes zero, so that equal thresholds are spelt alike.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Threshold(f32);

impl Threshold {
    /// # Errors
    /// [`Error::OutOfRange`] for NaN and the infinities.
    pub fn new(value: f32) -> Result<Self, Error> {
        if value.is_finite() {
            Ok(Self(value + 0.0))
        } else {
            Err(Error::out_of_range("threshold", &value, "a finite number"))
        }
    }

    /// The score itself.
    #[must_use]
    pub fn get(self) -> f32 {
        self.0
    }
}

impl fmt::Display for Density {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_share(self.0, out)
    }
}

impl fmt::Display for Miss {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_share(self.0, out)
    }
}

impl fmt::Display for Mass {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_share(self.0, out)
    }
}

impl fmt::Display for Fraction {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_share(self.0, out)
    }
}

impl fmt::Display for Threshold {
    /// The shortest digits that read back as the same number, with at least one decimal.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:?}", self.0)
    }
}

/// The shortest digits that read back as the same number, with at least two decimals: `0.10`, `0.125`, `1.00`.
fn write_share(share: f64, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    let shortest = share.to_string();
    let decimals = shortest.split_once('.').map_or(0, |(_, d)| d.len());
    if decimals < 2 { write!(out, "{share:.2}") } else { out.write_str(&shortest) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_at_their_ends() {
        for bad in [0.0, -0.0, -0.1, 1.000_000_1, f64::NAN, f64::INFINITY] {
            assert!(Density::new(bad).is_err(), "density {bad}");
            assert!(Fraction::new(bad).is_err(), "fraction {bad}");
        }
        for bad in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            assert!(Miss::new(bad).is_err(), "miss {bad}");
            assert!(Mass::new(bad).is_err(), "mass {bad}");
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(Threshold::new(bad).is_err(), "threshold {bad}");
        }
        assert!(Density::new(1.0).is_ok());
        assert!(Density::new(f64::MIN_POSITIVE).is_ok());
    }

    #[test]
    fn a_positive_density_never_means_no_rows() {
        let tiny = Density::new(1e-9).unwrap();
        assert_eq!(tiny.rows(28672), 1);
        assert_eq!(Density::new(0.1).unwrap().rows(28672), 2867);
        assert_eq!(Density::new(1.0).unwrap().rows(28672), 28672);
    }

    #[test]
    fn spelling_is_short_and_padded() {
        let spelt = |share| Density::new(share).unwrap().to_string();
        assert_eq!(spelt(0.1), "0.10");
        assert_eq!(spelt(1.0), "1.00");
        assert_eq!(spelt(0.125), "0.125");
        assert_eq!(Threshold::new(-0.0).unwrap().to_string(), "0.0");
        assert_eq!(Threshold::new(1e-7).unwrap().to_string(), "1e-7");
    }
}
