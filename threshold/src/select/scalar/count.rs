//! How many scores reach a pivot.

pub(in crate::select) fn count(scores: &[f32], pivot: f32) -> usize {
    scores.iter().filter(|&&score| score >= pivot).count()
}
