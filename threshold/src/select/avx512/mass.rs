//! Sum of the scores that reach a pivot, in f64: eight at a time, four sums.

use std::arch::x86_64::*;

use crate::select::scalar;

const LANES: usize = 8;
const SUMS: usize = 4;

pub(super) fn mass(scores: &[f32], pivot: f32) -> f64 {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores, pivot) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn run(scores: &[f32], pivot: f32) -> f64 {
    let least = _mm256_set1_ps(pivot);
    let mut sums = [_mm512_setzero_pd(); SUMS];
    let (blocks, rest) = scores.as_chunks::<{ SUMS * LANES }>();
    for block in blocks {
        let (parts, _) = block.as_chunks::<LANES>();
        for (sum, part) in sums.iter_mut().zip(parts) {
            // SAFETY: 8 scores.
            let lanes = unsafe { _mm256_loadu_ps(part.as_ptr()) };
            let reached = _mm256_cmp_ps_mask::<_CMP_GE_OQ>(lanes, least);
            *sum = _mm512_add_pd(*sum, _mm512_maskz_cvtps_pd(reached, lanes));
        }
    }
    let sum = sums.into_iter().fold(_mm512_setzero_pd(), |a, b| _mm512_add_pd(a, b));
    _mm512_reduce_add_pd(sum) + scalar::mass(rest, pivot)
}
