//! Sum, sum of squares and maximum, in one pass.

use super::any_nan;
use crate::select::Moments;

pub(in crate::select) fn moments(scores: &[f32]) -> (Moments, bool) {
    let mut moments = Moments { sum: 0.0, squares: 0.0, largest: f32::NEG_INFINITY };
    for &score in scores {
        moments.sum += f64::from(score);
        moments.squares += f64::from(score) * f64::from(score);
        moments.largest = moments.largest.max(score);
    }
    (moments, any_nan(scores))
}
