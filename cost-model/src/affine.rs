//! Time as a start and a pace: the line `t = start + slope x` through measured times.

/// Time as an affine function of density, of bytes, of whatever a call takes more of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Affine {
    /// Seconds at 0.
    pub start: f64,
    /// Seconds per unit of the abscissa.
    pub slope: f64,
}

impl Affine {
    /// The line of least squared relative error through `(x, seconds)`: seconds grow twentyfold between the ends of a
    /// sweep over densities, and absolute errors would leave the sparse end to chance. `None` with fewer than two
    /// different `x`.
    pub fn fit(points: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for (x, y) in points {
            let weight = 1.0 / (y * y);
            w += weight;
            wx += weight * x;
            wy += weight * y;
            wxx += weight * x * x;
            wxy += weight * x * y;
        }
        let spread = w * wxx - wx * wx;
        // One x alone leaves nothing but rounding.
        if spread.is_nan() || spread <= 1e-9 * w * wxx {
            return None;
        }
        let slope = (w * wxy - wx * wy) / spread;
        Some(Self { start: (wy - slope * wx) / w, slope })
    }

    /// Seconds at `x`.
    pub fn at(&self, x: f64) -> f64 {
        self.start + x * self.slope
    }

    /// By how much the line misses the worst of those points: the largest `|line / seconds - 1|`, 0 without points.
    pub fn largest_residual(&self, points: impl IntoIterator<Item = (f64, f64)>) -> f64 {
        points.into_iter().map(|(x, y)| (self.at(x) / y - 1.0).abs()).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Start and pace come back at the scale of bytes and microseconds, and nothing is left over.
        #[test]
        fn affine_times_are_found(start in 1e-6..1e-3_f64, bytes_per_s in 1e9..1e12_f64) {
            let points = [1.4e9, 7e8, 3.5e8, 1.4e8, 7e7].map(|bytes| (bytes, start + bytes / bytes_per_s));
            let line = Affine::fit(points).unwrap();
            prop_assert!((line.slope * bytes_per_s - 1.0).abs() < 1e-6);
            prop_assert!((line.start - start).abs() < 1e-6 * points[0].1);
            prop_assert!(line.largest_residual(points) < 1e-6);
        }
    }

    #[test]
    fn the_worst_point_is_the_residual() {
        let line = Affine { start: 1.0, slope: 1.0 };
        assert!((line.largest_residual([(1.0, 2.0), (2.0, 4.0), (3.0, 3.2)]) - 0.25).abs() < 1e-12);
        assert_eq!(line.largest_residual([]), 0.0);
    }

    #[test]
    fn one_abscissa_has_no_line() {
        assert_eq!(Affine::fit([]), None);
        assert_eq!(Affine::fit([(2.0, 1.0), (2.0, 3.0)]), None);
    }
}
