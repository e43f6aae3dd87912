//! Scores between two bounds, and how many are above.
//!
//! ```text
//!   scores   [....|....]    8 lanes
//!   ≥ low     0110 0111     two compares
//!   > high    0010 0000     counted
//!   within   [* * * ....]   the first without the second, shuffled as in `compact`
//! ```

use std::arch::x86_64::*;

use super::{LANES, load, mask, shuffle};
use crate::select::scalar;

pub(super) fn bracket(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 (`Kernels::with`).
    unsafe { run(scores, low, high, within) }
}

#[target_feature(enable = "avx2,popcnt")]
fn run(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize {
    within.reserve(scores.len());
    let to = within.spare_capacity_mut().as_mut_ptr().cast::<f32>();
    let [least, most] = [_mm256_set1_ps(low), _mm256_set1_ps(high)];
    let (mut len, mut above) = (0, 0);
    let (parts, rest) = scores.as_chunks::<LANES>();
    for part in parts {
        let lanes = load(part);
        let over = mask(_mm256_cmp_ps::<_CMP_GT_OQ>(lanes, most));
        // What is above the bracket reaches its low end.
        let kept = mask(_mm256_cmp_ps::<_CMP_GE_OQ>(lanes, least)) ^ over;
        // SAFETY: `len` is at most the number of scores before these 8, and there is room for all scores.
        unsafe { _mm256_storeu_ps(to.add(len), _mm256_permutevar8x32_ps(lanes, shuffle(kept))) };
        len += kept.count_ones() as usize;
        above += over.count_ones() as usize;
    }
    // SAFETY: `len` scores are written, within the capacity.
    unsafe { within.set_len(within.len() + len) };
    above + scalar::bracket(rest, low, high, within)
}
