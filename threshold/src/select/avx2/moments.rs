//! Sum, sum of squares and maximum, in one pass: four scores at a time, two of each sum.

use std::arch::x86_64::*;

use crate::select::{Moments, scalar};

const LANES: usize = 4;

pub(super) fn moments(scores: &[f32]) -> (Moments, bool) {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 and FMA (`Kernels::with`).
    unsafe { run(scores) }
}

#[target_feature(enable = "avx2,fma")]
fn run(scores: &[f32]) -> (Moments, bool) {
    let (mut sums, mut squares) = ([_mm256_setzero_pd(); 2], [_mm256_setzero_pd(); 2]);
    let mut largest = [_mm_set1_ps(f32::NEG_INFINITY); 2];
    let mut nan = _mm_setzero_ps();
    let (pairs, rest) = scores.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        let (parts, _) = pair.as_chunks::<LANES>();
        // SAFETY: 4 scores each.
        let lanes = unsafe { [_mm_loadu_ps(parts[0].as_ptr()), _mm_loadu_ps(parts[1].as_ptr())] };
        nan = _mm_or_ps(nan, _mm_cmp_ps::<_CMP_UNORD_Q>(lanes[0], lanes[1]));
        for i in 0..2 {
            let wide = _mm256_cvtps_pd(lanes[i]);
            sums[i] = _mm256_add_pd(sums[i], wide);
            squares[i] = _mm256_fmadd_pd(wide, wide, squares[i]);
            largest[i] = _mm_max_ps(largest[i], lanes[i]);
        }
    }
    let (tail, tail_nan) = scalar::moments(rest);
    let moments = Moments {
        sum: total(_mm256_add_pd(sums[0], sums[1])) + tail.sum,
        squares: total(_mm256_add_pd(squares[0], squares[1])) + tail.squares,
        largest: highest(_mm_max_ps(largest[0], largest[1])).max(tail.largest),
    };
    (moments, _mm_movemask_ps(nan) != 0 || tail_nan)
}

#[target_feature(enable = "avx2")]
fn total(lanes: __m256d) -> f64 {
    let mut numbers = [0.0; LANES];
    // SAFETY: 4 numbers.
    unsafe { _mm256_storeu_pd(numbers.as_mut_ptr(), lanes) };
    numbers.iter().sum()
}

#[target_feature(enable = "avx2")]
fn highest(lanes: __m128) -> f32 {
    let mut scores = [0.0; LANES];
    // SAFETY: 4 scores.
    unsafe { _mm_storeu_ps(scores.as_mut_ptr(), lanes) };
    scores.into_iter().fold(f32::NEG_INFINITY, f32::max)
}
