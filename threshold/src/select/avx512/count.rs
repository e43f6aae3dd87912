//! How many scores reach a pivot: one compare for 16, four counters.

use std::arch::x86_64::*;

use super::{LANES, load, load_masked};

const COUNTERS: usize = 4;

pub(super) fn count(scores: &[f32], pivot: f32) -> usize {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores, pivot) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn run(scores: &[f32], pivot: f32) -> usize {
    let pivot = _mm512_set1_ps(pivot);
    let mut counts = [0_usize; COUNTERS];
    let (blocks, rest) = scores.as_chunks::<{ COUNTERS * LANES }>();
    for block in blocks {
        let (parts, _) = block.as_chunks::<LANES>();
        for (count, part) in counts.iter_mut().zip(parts) {
            *count += _mm512_cmp_ps_mask::<_CMP_GE_OQ>(load(part), pivot).count_ones() as usize;
        }
    }
    for part in rest.chunks(LANES) {
        let (there, lanes) = load_masked(part);
        counts[0] += _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, lanes, pivot).count_ones() as usize;
    }
    counts.iter().sum()
}
