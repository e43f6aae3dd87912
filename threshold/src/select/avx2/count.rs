//! How many scores reach a pivot: a compare is −1 in each lane that does, four counters.

use std::arch::x86_64::*;

use super::{LANES, load};
use crate::select::scalar;

const COUNTERS: usize = 4;

/// Scores that a lane may count before it could overflow.
const PART: usize = 1 << 30;

pub(super) fn count(scores: &[f32], pivot: f32) -> usize {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 (`Kernels::with`).
    scores.chunks(PART).map(|part| unsafe { run(part, pivot) }).sum()
}

#[target_feature(enable = "avx2")]
fn run(scores: &[f32], pivot: f32) -> usize {
    let least = _mm256_set1_ps(pivot);
    let mut counts = [_mm256_setzero_si256(); COUNTERS];
    let (blocks, rest) = scores.as_chunks::<{ COUNTERS * LANES }>();
    for block in blocks {
        let (parts, _) = block.as_chunks::<LANES>();
        for (count, part) in counts.iter_mut().zip(parts) {
            let reached = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_GE_OQ>(load(part), least));
            *count = _mm256_sub_epi32(*count, reached);
        }
    }
    let count = counts.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b));
    let mut lanes = [0_u32; LANES];
    // SAFETY: 8 numbers.
    unsafe { _mm256_storeu_si256(lanes.as_mut_ptr().cast(), count) };
    lanes.iter().map(|&lane| lane as usize).sum::<usize>() + scalar::count(rest, pivot)
}
