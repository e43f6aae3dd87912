//! Sum of the scores that reach a pivot, in f64: four at a time, four sums.

use std::arch::x86_64::*;

use crate::select::scalar;

const LANES: usize = 4;
const SUMS: usize = 4;

pub(super) fn mass(scores: &[f32], pivot: f32) -> f64 {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 (`Kernels::with`).
    unsafe { run(scores, pivot) }
}

#[target_feature(enable = "avx2")]
fn run(scores: &[f32], pivot: f32) -> f64 {
    let least = _mm_set1_ps(pivot);
    let mut sums = [_mm256_setzero_pd(); SUMS];
    let (blocks, rest) = scores.as_chunks::<{ SUMS * LANES }>();
    for block in blocks {
        let (parts, _) = block.as_chunks::<LANES>();
        for (sum, part) in sums.iter_mut().zip(parts) {
            // SAFETY: 4 scores.
            let lanes = unsafe { _mm_loadu_ps(part.as_ptr()) };
            let reached = _mm_and_ps(_mm_cmp_ps::<_CMP_GE_OQ>(lanes, least), lanes);
            *sum = _mm256_add_pd(*sum, _mm256_cvtps_pd(reached));
        }
    }
    let sum = sums.into_iter().fold(_mm256_setzero_pd(), |a, b| _mm256_add_pd(a, b));
    let mut lanes = [0.0; LANES];
    // SAFETY: 4 numbers.
    unsafe { _mm256_storeu_pd(lanes.as_mut_ptr(), sum) };
    lanes.iter().sum::<f64>() + scalar::mass(rest, pivot)
}
