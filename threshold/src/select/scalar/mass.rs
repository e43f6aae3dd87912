//! Sum of the scores that reach a pivot, in f64.

pub(in crate::select) fn mass(scores: &[f32], pivot: f32) -> f64 {
    scores.iter().map(|&score| if score >= pivot { f64::from(score) } else { 0.0 }).sum()
}
