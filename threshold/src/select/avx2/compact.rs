//! Indices of the scores that reach a threshold.
//!
//! ```text
//!   scores   [....|....]    8 lanes, four times
//!   kept      0110 0001     one compare
//!   shuffle  [1 2 7 0 ...]  from the table: with the index of the first lane added these are the indices
//! ```
//! Stored whole; the next 8 overwrite what is too much. After i scores at most i indices are written, so a whole store
//! of 8 stays within room for all scores.

use std::arch::x86_64::*;

use super::{LANES, load, mask, shuffle};
use crate::select::scalar;

const UNROLL: usize = 4;

pub(super) fn compact(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 (`Kernels::with`).
    unsafe { run(scores, threshold, first, active) }
}

#[target_feature(enable = "avx2,popcnt")]
fn run(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool {
    active.reserve(scores.len());
    let to = active.spare_capacity_mut().as_mut_ptr().cast::<u32>();
    let least = _mm256_set1_ps(threshold);
    let mut base = _mm256_set1_epi32(first as i32);
    let mut nan = _mm256_setzero_ps();
    let mut len = 0;
    let (groups, rest) = scores.as_chunks::<{ UNROLL * LANES }>();
    for group in groups {
        let (parts, _) = group.as_chunks::<LANES>();
        let mut kept = [0; UNROLL];
        for pair in [0, 2] {
            let [left, right] = [load(&parts[pair]), load(&parts[pair + 1])];
            nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(left, right));
            kept[pair] = mask(_mm256_cmp_ps::<_CMP_GE_OQ>(left, least));
            kept[pair + 1] = mask(_mm256_cmp_ps::<_CMP_GE_OQ>(right, least));
        }
        for (kept, ahead) in kept.into_iter().zip([0, 8, 16, 24]) {
            let indices = _mm256_add_epi32(_mm256_add_epi32(base, _mm256_set1_epi32(ahead)), shuffle(kept));
            // SAFETY: `len` is at most the number of scores before these 8, and there is room for all scores.
            unsafe { _mm256_storeu_si256(to.add(len).cast(), indices) };
            len += kept.count_ones() as usize;
        }
        base = _mm256_add_epi32(base, _mm256_set1_epi32((UNROLL * LANES) as i32));
    }
    // SAFETY: `len` indices are written, within the capacity.
    unsafe { active.set_len(active.len() + len) };
    let first = first.wrapping_add((scores.len() - rest.len()) as u32);
    scalar::compact(rest, threshold, first, active) | (mask(nan) != 0)
}
