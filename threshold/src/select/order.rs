//! Scores as integers of the same order, so that a search can halve the distance between two of them.

/// An integer that orders as the score does. Adding zero makes negative zero positive: they are equal
/// scores, and must tie.
#[inline]
pub(crate) fn key(score: f32) -> u32 {
    let bits = (score + 0.0).to_bits();
    // Negative: all bits flip, so that larger magnitudes come first. Positive: above every negative.
    bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000)
}

/// The score of a key.
#[inline]
pub(crate) fn score(key: u32) -> f32 {
    f32::from_bits(key ^ (((!key as i32) >> 31) as u32 | 0x8000_0000))
}

/// Halves the keys from `low`, which `reaches`, up to and including `high`: the last that still does. What
/// reaches must not do so above one that does not.
#[inline]
pub(crate) fn last_reaching(low: f32, high: f32, mut reaches: impl FnMut(f32) -> bool) -> f32 {
    let (mut enough, mut too_far) = (key(low), key(high) + 1);
    while too_far - enough > 1 {
        let middle = enough.midpoint(too_far);
        if reaches(score(middle)) {
            enough = middle;
        } else {
            too_far = middle;
        }
    }
    score(enough)
}
