//! Rank correlation.

/// Fewest pairs of which a rank correlation says anything.
const FEWEST: usize = 3;

/// Why there is no correlation.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CorrelationError {
    /// The lists do not pair up.
    #[error("{x} values against {y}; give as many of each")]
    Lengths {
        /// How many on one side.
        x: usize,
        /// How many on the other.
        y: usize,
    },
    /// Two points always agree or disagree.
    #[error("rank correlation needs at least 3 pairs, got {0}; add configurations")]
    TooFew(usize),
    /// NaN has no rank; an infinity hides an error upstream.
    #[error("value {0} has no rank; wanted finite numbers")]
    NotFinite(f64),
    /// Ranks that do not vary correlate with nothing.
    #[error("all values on one side are {0}; vary them")]
    Constant(f64),
}

/// Spearman's rank correlation: Pearson's over ranks, ties at their middle rank. From -1 to 1.
///
/// Spearman, "The proof and measurement of association between two things", American Journal of
/// Psychology 15, 72 (1904).
///
/// # Errors
/// [`CorrelationError`]
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, CorrelationError> {
    if x.len() != y.len() {
        return Err(CorrelationError::Lengths { x: x.len(), y: y.len() });
    }
    if x.len() < FEWEST {
        return Err(CorrelationError::TooFew(x.len()));
    }
    if let Some(bad) = x.iter().chain(y).find(|v| !v.is_finite()) {
        return Err(CorrelationError::NotFinite(*bad));
    }
    if let Some(side) = [x, y].into_iter().find(|side| side.iter().all(|v| *v == side[0])) {
        return Err(CorrelationError::Constant(side[0]));
    }
    Ok(pearson(&middle_ranks(x), &middle_ranks(y)))
}

/// Ranks from 1; equal values share the mean of the ranks they occupy.
fn middle_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 1;
    // By `==`, so that 0.0 and -0.0 tie.
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let last = first + tied.len() - 1;
        for &index in tied {
            ranks[index] = 0.5 * (first + last) as f64;
        }
        first = last + 1;
    }
    ranks
}

/// Of ranks, neither side constant.
fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = (x.len() + 1) as f64 / 2.0;
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().map(|v| v - mean).zip(y.iter().map(|v| v - mean)) {
        xy += a * b;
        xx += a * a;
        yy += b * b;
    }
    (xy / (xx * yy).sqrt()).clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Small integers, so that ties are common.
    fn tied_pairs() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        let value = || (0_u8..8).prop_map(f64::from);
        let pairs = prop::collection::vec((value(), value()), 3..40);
        let sides = pairs.prop_map(|p| p.into_iter().unzip::<f64, f64, Vec<f64>, Vec<f64>>());
        sides.prop_filter("one side is constant", |(x, y)| spearman(x, y).is_ok())
    }

    proptest! {
        #[test]
        fn symmetric_within_bounds_and_blind_to_rising_maps((x, y) in tied_pairs()) {
            let rho = spearman(&x, &y).unwrap();
            prop_assert!((-1.0..=1.0).contains(&rho));
            prop_assert_eq!(rho, spearman(&y, &x).unwrap());
            let risen: Vec<f64> = x.iter().map(|v| v.exp()).collect();
            prop_assert_eq!(rho, spearman(&risen, &y).unwrap());
            let fallen: Vec<f64> = x.iter().map(|v| -v).collect();
            prop_assert!((rho + spearman(&fallen, &y).unwrap()).abs() < 1e-12);
            prop_assert_eq!(spearman(&x, &x).unwrap(), 1.0);
        }

        /// Without ties: `1 - 6 sum d^2 / (n (n^2 - 1))`.
        #[test]
        fn agrees_with_the_formula_for_distinct_values(y in Just((0..25).collect::<Vec<i32>>()).prop_shuffle()) {
            let x: Vec<f64> = (0..25).map(f64::from).collect();
            let y: Vec<f64> = y.into_iter().map(f64::from).collect();
            let squares: f64 = x.iter().zip(&y).map(|(a, b)| (a - b).powi(2)).sum();
            let expected = 1.0 - 6.0 * squares / (25.0 * 624.0);
            prop_assert!((spearman(&x, &y).unwrap() - expected).abs() < 1e-12);
        }
    }

    /// Ranks by hand: x 1, 2.5, 2.5, 4 and y 1, 2, 3, 4 give 4.5 / sqrt(4.5 x 5).
    #[test]
    fn ties_take_the_middle_rank() {
        assert_eq!(middle_ranks(&[10.0, 20.0, 20.0, 30.0]), [1.0, 2.5, 2.5, 4.0]);
        let rho = spearman(&[10.0, 20.0, 20.0, 30.0], &[1.0, 2.0, 3.0, 4.0]).unwrap();
        assert!((rho - 4.5 / 22.5_f64.sqrt()).abs() < 1e-15);
    }

    #[test]
    fn refusals() {
        let x = [1.0, 2.0, 3.0];
        assert_eq!(spearman(&x, &x[..2]), Err(CorrelationError::Lengths { x: 3, y: 2 }));
        assert_eq!(spearman(&x[..2], &x[..2]), Err(CorrelationError::TooFew(2)));
        assert_eq!(spearman(&x, &[4.0; 3]), Err(CorrelationError::Constant(4.0)));
        assert!(matches!(spearman(&[1.0, f64::NAN, 2.0], &x), Err(CorrelationError::NotFinite(_))));
    }
}
