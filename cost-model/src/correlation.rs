//! How closely two quantities go together: by rank, by pairs, and in proportion.

use crate::number::{ordinal, paired};

/// Fewest pairs of which a correlation says anything.
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
    /// Zero and less have no logarithm.
    #[error("value {0} has no logarithm; leave it out, or correlate ranks")]
    NotPositive(f64),
}

/// Spearman's rank correlation: Pearson's over ranks, ties at their middle rank. From -1 to 1.
///
/// Spearman, "The proof and measurement of association between two things", American Journal of
/// Psychology 15, 72 (1904).
///
/// # Errors
/// [`CorrelationError`]
pub fn spearman(x: &[f64], y: &[f64]) -> Result<f64, CorrelationError> {
    check(x, y)?;
    Ok(pearson(&middle_ranks(x), &middle_ranks(y)))
}

/// Kendall's tau-b: pairs that x and y order alike less those that they order contrary, over all pairs that neither
/// ties, in the geometric mean. From -1 to 1.
///
/// Kendall, "The treatment of ties in ranking problems", Biometrika 33, 239 (1945), in `n log n` by the exchanges of a merge
/// sort: Knight, "A computer method for calculating Kendall's tau with ungrouped data", Journal of the American Statistical
/// Association 61, 436 (1966).
///
/// # Errors
/// [`CorrelationError`]
pub fn kendall(x: &[f64], y: &[f64]) -> Result<f64, CorrelationError> {
    check(x, y)?;
    // Of a pair, x in the upper half: whole numbers sort several times as fast.
    let pair = |(x, y): (&f64, &f64)| paired(rank_key(*x), rank_key(*y));
    let mut pairs: Vec<u128> = x.iter().zip(y).map(pair).collect();
    pairs.sort_unstable();
    let tied_x = tied_pairs(&pairs, |pair| pair >> u64::BITS);
    let tied_both = tied_pairs(&pairs, |pair| *pair);
    let mut ys: Vec<u64> = pairs.into_iter().map(|pair| pair as u64).collect();
    // Where x ties, y ascends: such pairs are no exchange.
    let contrary = sort_counting_exchanges(&mut ys);
    let tied_y = tied_pairs(&ys, |y| *y);
    let all = pairs_of(ys.len());
    let alike = all + tied_both - tied_x - tied_y - contrary;
    let untied = ((all - tied_x) as f64 * (all - tied_y) as f64).sqrt();
    Ok(((alike as f64 - contrary as f64) / untied).clamp(-1.0, 1.0))
}

/// Pearson's correlation of the logarithms: 1 where y is proportional to a power of x. From -1 to 1.
///
/// # Errors
/// [`CorrelationError`]; a value that is not positive.
pub fn pearson_log(x: &[f64], y: &[f64]) -> Result<f64, CorrelationError> {
    check(x, y)?;
    if let Some(bad) = x.iter().chain(y).find(|v| **v <= 0.0) {
        return Err(CorrelationError::NotPositive(*bad));
    }
    let ln = |side: &[f64]| side.iter().map(|v| v.ln()).collect::<Vec<_>>();
    Ok(pearson(&ln(x), &ln(y)))
}

fn check(x: &[f64], y: &[f64]) -> Result<(), CorrelationError> {
    if x.len() != y.len() {
        return Err(CorrelationError::Lengths { x: x.len(), y: y.len() });
    }
    if x.len() < FEWEST {
        return Err(CorrelationError::TooFew(x.len()));
    }
    if let Some(bad) = x.iter().chain(y).find(|v| !v.is_finite()) {
        return Err(CorrelationError::NotFinite(*bad));
    }
    match [x, y].into_iter().find(|side| side.iter().all(|v| *v == side[0])) {
        Some(side) => Err(CorrelationError::Constant(side[0])),
        None => Ok(()),
    }
}

/// Of finite values, in their order; 0.0 and -0.0 tie.
fn rank_key(value: f64) -> u64 {
    ordinal(value + 0.0)
}

/// How many pairs `n` things make.
fn pairs_of(n: usize) -> u64 {
    let n = n as u64;
    n * n.saturating_sub(1) / 2
}

/// Pairs with the same value, among things sorted by it.
fn tied_pairs<T, V: PartialEq>(sorted: &[T], value: impl Fn(&T) -> V) -> u64 {
    sorted.chunk_by(|a, b| value(a) == value(b)).map(|run| pairs_of(run.len())).sum()
}

/// Sorts, and says how many pairs stood in the wrong order.
fn sort_counting_exchanges(values: &mut [u64]) -> u64 {
    let mut scratch = values.to_vec();
    let (mut exchanges, mut width) = (0, 1);
    while width < values.len() {
        for run in values.chunks_mut(2 * width).filter(|run| run.len() > width) {
            let whole = run.len();
            let (left, right) = run.split_at(width);
            let (mut l, mut r) = (0, 0);
            for slot in &mut scratch[..whole] {
                let from_left = l < left.len() && (r == right.len() || left[l] <= right[r]);
                *slot = if from_left { left[l] } else { right[r] };
                if from_left {
                    l += 1;
                } else {
                    r += 1;
                    exchanges += (left.len() - l) as u64;
                }
            }
            run.copy_from_slice(&scratch[..whole]);
        }
        width *= 2;
    }
    exchanges
}

/// Ranks from 1; equal values share the mean of the ranks they occupy.
pub(crate) fn middle_ranks(values: &[f64]) -> Vec<f64> {
    // Each with its index in the lower half.
    let indexed = |(index, value): (usize, &f64)| paired(rank_key(*value), index as u64);
    let mut order: Vec<u128> = values.iter().enumerate().map(indexed).collect();
    order.sort_unstable();
    let mut ranks = vec![0.0; values.len()];
    let mut first = 1;
    for tied in order.chunk_by(|a, b| a >> u64::BITS == b >> u64::BITS) {
        let last = first + tied.len() - 1;
        for index in tied {
            ranks[*index as u64 as usize] = 0.5 * (first + last) as f64;
        }
        first = last + 1;
    }
    ranks
}

/// Neither side constant.
pub(crate) fn pearson(x: &[f64], y: &[f64]) -> f64 {
    let mean = |side: &[f64]| side.iter().sum::<f64>() / side.len() as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().map(|v| v - mean_x).zip(y.iter().map(|v| v - mean_y)) {
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

        /// Pair by pair, as the definition says.
        #[test]
        fn kendall_agrees_with_counting_pairs((x, y) in tied_pairs()) {
            let (mut alike, mut contrary, mut untied_x, mut untied_y) = (0.0, 0.0, 0.0, 0.0);
            for i in 0..x.len() {
                for j in 0..i {
                    let (dx, dy) = (x[i] - x[j], y[i] - y[j]);
                    alike += f64::from(dx * dy > 0.0);
                    contrary += f64::from(dx * dy < 0.0);
                    untied_x += f64::from(dx != 0.0);
                    untied_y += f64::from(dy != 0.0);
                }
            }
            let expected = (alike - contrary) / f64::sqrt(untied_x * untied_y);
            let tau = kendall(&x, &y).unwrap();
            prop_assert!((tau - expected).abs() < 1e-12, "{tau} {expected}");
            prop_assert_eq!(tau, kendall(&y, &x).unwrap());
        }

        #[test]
        fn powers_of_each_other_correlate_in_logarithms(
            x in prop::collection::vec(1e-3..1e3_f64, 3..40), power in 0.1..3.0_f64, factor in 1e-3..1e3_f64,
        ) {
            prop_assume!(x.iter().any(|v: &f64| (v / x[0]).ln().abs() > 1e-3));
            let y: Vec<f64> = x.iter().map(|v| factor * v.powf(-power)).collect();
            prop_assert!((pearson_log(&x, &y).unwrap() + 1.0).abs() < 1e-9);
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
        assert_eq!(pearson_log(&[1.0, 0.0, 2.0], &x), Err(CorrelationError::NotPositive(0.0)));
        for correlation in [spearman, kendall, pearson_log] {
            assert_eq!(correlation(&x, &x[..2]), Err(CorrelationError::Lengths { x: 3, y: 2 }));
        }
    }
}
