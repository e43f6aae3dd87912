//! Time as a function of bytes (or of density) through measured points.
//!
//! Between points: the monotone cubic of Steffen, "A simple method for monotonic interpolation in
//! one dimension", Astronomy and Astrophysics 239, 443 (1990). It passes through every point, has
//! its extrema only at points, and never leaves the band between two neighbours, so noise in one
//! point cannot make a bump elsewhere. Beyond the ends: the straight line through the last two
//! points, flagged.

use crate::estimate::{Estimate, Interval};

/// Why points make no curve.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CurveError {
    /// Nothing to draw through.
    #[error("a curve needs at least one point")]
    Empty,
    /// Two measurements of one thing.
    #[error("two points at {0}; keep one")]
    Duplicate(f64),
    /// An abscissa or an estimate that is NaN, infinite, negative or out of order.
    #[error("the point at {x} {fault}; measure it again")]
    Invalid {
        /// Where.
        x: f64,
        /// What is wrong.
        fault: String,
    },
}

/// A value read off a [`Curve`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// The value with its interval.
    pub value: Interval,
    /// Whether it lies beyond the measured points.
    pub extrapolated: bool,
}

/// How well a point is predicted by the others; see [`Curve::leave_one_out`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LeftOut {
    /// Abscissa of the point.
    pub x: f64,
    /// Its measured median.
    pub measured: f64,
    /// What the curve through the other points says.
    pub predicted: f64,
    /// Whether the point is at an end, so that the prediction is an extrapolation.
    pub extrapolated: bool,
}

impl LeftOut {
    /// Absolute relative error.
    pub fn error(&self) -> f64 {
        (self.predicted / self.measured - 1.0).abs()
    }
}

/// A monotone interpolant with intervals.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    x: Vec<f64>,
    /// Low, median and high: each is its own spline.
    lines: [Spline; 3],
    samples: u64,
}

impl Curve {
    /// A curve through `(x, y)` points in any order; one point is enough.
    ///
    /// # Errors
    /// [`CurveError`] for no points, a repeated `x`, an `x` that is negative or not finite, or an
    /// estimate that is not positive, finite and in order.
    pub fn new(points: &[(f64, Estimate)]) -> Result<Self, CurveError> {
        let mut sorted = points.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        for (x, y) in &sorted {
            let bad_x = !x.is_finite() || *x < 0.0;
            let fault = bad_x.then(|| "is not a finite abscissa of at least 0".to_owned());
            if let Some(fault) = fault.or_else(|| y.fault()) {
                return Err(CurveError::Invalid { x: *x, fault });
            }
        }
        if let Some(pair) = sorted.windows(2).find(|p| p[0].0 == p[1].0) {
            return Err(CurveError::Duplicate(pair[0].0));
        }
        if sorted.is_empty() {
            return Err(CurveError::Empty);
        }
        let x: Vec<f64> = sorted.iter().map(|p| p.0).collect();
        let line = |pick: fn(&Estimate) -> f64| Spline::new(&x, sorted.iter().map(|(_, y)| pick(y)).collect());
        Ok(Self {
            lines: [line(|y| y.low), line(|y| y.median), line(|y| y.high)],
            samples: sorted.iter().map(|(_, y)| y.samples).sum(),
            x,
        })
    }

    /// Number of points.
    pub fn points(&self) -> usize {
        self.x.len()
    }

    /// Samples behind all points together.
    pub fn samples(&self) -> u64 {
        self.samples
    }

    /// The value at `x`.
    ///
    /// Beyond the ends the median follows the line through the last two points, kept between flat
    /// and (towards zero) proportional; with a single point it is proportional. The interval keeps
    /// the relative width of the nearest point.
    pub fn at(&self, x: f64) -> Reading {
        let (first, last) = (self.x[0], self.x[self.x.len() - 1]);
        if (first..=last).contains(&x) {
            let [low, median, high] = self.lines.each_ref().map(|l| l.at(&self.x, x));
            // Three splines through ordered points may still cross between points.
            let value = Interval { median, low: low.min(median), high: high.max(median) };
            return Reading { value, extrapolated: false };
        }
        let end = if x < first { 0 } else { self.x.len() - 1 };
        let [low, median, high] = self.lines.each_ref().map(|l| l.y[end]);
        let at_end = Interval { median, low, high };
        Reading { value: at_end.scale(self.beyond(x, end) / median), extrapolated: true }
    }

    fn beyond(&self, x: f64, end: usize) -> f64 {
        let (x0, y) = (self.x[end], &self.lines[1].y);
        let y0 = y[end];
        let proportional = if x0 > 0.0 { y0 * x / x0 } else { y0 };
        if self.x.len() == 1 {
            return proportional;
        }
        let inner = if end == 0 { 1 } else { end - 1 };
        let slope = ((y[inner] - y0) / (self.x[inner] - x0)).max(0.0);
        let line = y0 + slope * (x - x0);
        if end == 0 { line.max(proportional) } else { line }
    }

    /// Predicts every point from the others. Empty with fewer than three points.
    pub fn leave_one_out(&self) -> Vec<LeftOut> {
        let n = self.x.len();
        if n < 3 {
            return Vec::new();
        }
        (0..n).map(|out| self.left_out(out)).collect()
    }

    fn left_out(&self, out: usize) -> LeftOut {
        let keep = |values: &[f64]| -> Vec<f64> {
            let others = values.iter().enumerate().filter(|(i, _)| *i != out);
            others.map(|(_, v)| *v).collect()
        };
        let x = keep(&self.x);
        let lines = self.lines.each_ref().map(|l| Spline::new(&x, keep(&l.y)));
        let rest = Self { x, lines, samples: self.samples };
        let reading = rest.at(self.x[out]);
        LeftOut {
            x: self.x[out],
            measured: self.lines[1].y[out],
            predicted: reading.value.median,
            extrapolated: reading.extrapolated,
        }
    }
}

/// Ordinates and Steffen slopes; the abscissae are the curve's.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Spline {
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Spline {
    pub(crate) fn new(x: &[f64], y: Vec<f64>) -> Self {
        let slope = steffen_slopes(x, &y);
        Self { y, slope }
    }

    /// The cubic Hermite piece that holds `at`, which lies within `x`.
    pub(crate) fn at(&self, x: &[f64], at: f64) -> f64 {
        let right = x.partition_point(|v| *v < at);
        if x.get(right) == Some(&at) || right == 0 || right == x.len() {
            return self.y[right.min(x.len() - 1)];
        }
        let left = right - 1;
        let h = x[right] - x[left];
        let t = (at - x[left]) / h;
        let (y0, y1) = (self.y[left], self.y[right]);
        let (m0, m1) = (self.slope[left] * h, self.slope[right] * h);
        let rise = y1 - y0;
        let value = y0 + t * (m0 + t * ((3.0 * rise - 2.0 * m0 - m1) + t * (m0 + m1 - 2.0 * rise)));
        // The piece is monotone; only rounding can leave the band.
        value.clamp(y0.min(y1), y0.max(y1))
    }
}

/// Slopes at the points: Steffen's equation 11 inside, his equations 24 to 26 at the ends.
fn steffen_slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    if n < 2 {
        return vec![0.0; n];
    }
    let h: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
    let s: Vec<f64> = (0..n - 1).map(|i| (y[i + 1] - y[i]) / h[i]).collect();
    if n == 2 {
        return vec![s[0]; 2];
    }
    let mut slopes = vec![end_slope(s[0], s[1], h[0], h[1])];
    for i in 1..n - 1 {
        slopes.push(inner_slope(s[i - 1], s[i], h[i - 1], h[i]));
    }
    slopes.push(end_slope(s[n - 2], s[n - 3], h[n - 2], h[n - 3]));
    slopes
}

fn inner_slope(s0: f64, s1: f64, h0: f64, h1: f64) -> f64 {
    if s0 * s1 <= 0.0 {
        return 0.0;
    }
    let parabola = (s0 * h1 + s1 * h0) / (h0 + h1);
    let least = s0.abs().min(s1.abs()).min(0.5 * parabola.abs());
    2.0 * s0.signum() * least
}

/// `near` and `h_near` belong to the end interval, the others to its neighbour.
fn end_slope(near: f64, far: f64, h_near: f64, h_far: f64) -> f64 {
    let share = h_near / (h_near + h_far);
    let parabola = near * (1.0 + share) - far * share;
    if parabola * near <= 0.0 {
        0.0
    } else if parabola.abs() > 2.0 * near.abs() {
        2.0 * near
    } else {
        parabola
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn estimate(median: f64, spread: f64) -> Estimate {
        Estimate { median, low: median * (1.0 - spread), high: median * (1.0 + spread), confidence: 0.95, samples: 10 }
    }

    /// Any positive points with strictly ascending abscissae.
    fn any_points(fewest: usize) -> impl Strategy<Value = Vec<(f64, Estimate)>> {
        let point = (1e-3..10.0, 1e-6..10.0, 0.0..0.5);
        prop::collection::vec(point, fewest..12).prop_map(|steps| {
            let mut x = 0.0;
            let place = |(dx, y, spread): (f64, f64, f64)| {
                x += dx;
                (x, estimate(y, spread))
            };
            steps.into_iter().map(place).collect()
        })
    }

    fn rising(points: &[(f64, Estimate)]) -> Vec<(f64, Estimate)> {
        let mut y: Vec<f64> = points.iter().map(|p| p.1.median).collect();
        y.sort_by(f64::total_cmp);
        let xs = points.iter().map(|p| p.0);
        xs.zip(y).map(|(x, y)| (x, estimate(y, 0.1))).collect()
    }

    proptest! {
        #[test]
        fn passes_through_its_points(points in any_points(1)) {
            let curve = Curve::new(&points).unwrap();
            for (x, y) in &points {
                let reading = curve.at(*x);
                prop_assert_eq!(reading.value, y.interval());
                prop_assert!(!reading.extrapolated);
            }
        }

        #[test]
        fn stays_between_neighbours_with_ordered_ends(points in any_points(1), t in 0.0..1.0) {
            let curve = Curve::new(&points).unwrap();
            for pair in points.windows(2) {
                let (a, b) = (pair[0].1.median, pair[1].1.median);
                let value = curve.at(pair[0].0 + t * (pair[1].0 - pair[0].0)).value;
                prop_assert!(a.min(b) <= value.median && value.median <= a.max(b));
                prop_assert!(value.low <= value.median && value.median <= value.high);
                prop_assert!(value.low >= pair[0].1.low.min(pair[1].1.low));
            }
        }

        #[test]
        fn monotone_points_give_a_monotone_curve(points in any_points(1)) {
            let points = rising(&points);
            let curve = Curve::new(&points).unwrap();
            let last = points[points.len() - 1].0;
            let mut before = 0.0;
            // From left of the first point to right of the last: extrapolation included.
            for step in 0..=400 {
                let now = curve.at(1.2 * last * f64::from(step) / 400.0).value.median;
                prop_assert!(now >= before * (1.0 - 1e-12), "{now} after {before}");
                before = now;
            }
        }

        /// Affine time is reproduced everywhere, extrapolation and leave-one-out included.
        #[test]
        fn affine_times_are_exact(points in any_points(3), t0 in 0.01..1.0, rate in 0.01..1.0) {
            let line = |x: f64| t0 + rate * x;
            let points: Vec<_> = points.iter().map(|p| (p.0, estimate(line(p.0), 0.1))).collect();
            let curve = Curve::new(&points).unwrap();
            for x in [0.5 * points[0].0, 2.0 * points[points.len() - 1].0] {
                let reading = curve.at(x);
                prop_assert!(reading.extrapolated);
                prop_assert!((reading.value.median / line(x) - 1.0).abs() < 1e-6);
            }
            for left in curve.leave_one_out() {
                prop_assert!(left.error() < 1e-6, "{left:?}");
            }
        }
    }

    #[test]
    fn one_point_scales_in_proportion_and_says_so() {
        let curve = Curve::new(&[(4.0, estimate(2.0, 0.5))]).unwrap();
        let reading = curve.at(8.0);
        assert_eq!(reading.value, estimate(4.0, 0.5).interval());
        assert!(reading.extrapolated && !curve.at(4.0).extrapolated);
    }

    #[test]
    fn refusals() {
        let y = estimate(1.0, 0.1);
        assert_eq!(Curve::new(&[]), Err(CurveError::Empty));
        let twice = Curve::new(&[(1.0, y), (2.0, y), (1.0, y)]);
        assert_eq!(twice, Err(CurveError::Duplicate(1.0)));
        for x in [f64::NAN, f64::INFINITY, -1.0] {
            assert!(matches!(Curve::new(&[(x, y)]), Err(CurveError::Invalid { .. })));
        }
        for median in [f64::NAN, 0.0, -1.0, 2.0] {
            let bad = Estimate { median, ..y };
            assert!(matches!(Curve::new(&[(1.0, bad)]), Err(CurveError::Invalid { .. })));
        }
    }
}
