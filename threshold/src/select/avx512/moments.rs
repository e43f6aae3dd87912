//! Sum, sum of squares and maximum, in one pass: eight scores at a time, two of each sum.

use std::arch::x86_64::*;

use crate::select::{Moments, scalar};

const LANES: usize = 8;

pub(super) fn moments(scores: &[f32]) -> (Moments, bool) {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma")]
fn run(scores: &[f32]) -> (Moments, bool) {
    let (mut sums, mut squares) = ([_mm512_setzero_pd(); 2], [_mm512_setzero_pd(); 2]);
    let mut largest = [_mm256_set1_ps(f32::NEG_INFINITY); 2];
    let mut nan = 0;
    let (pairs, rest) = scores.as_chunks::<{ 2 * LANES }>();
    for pair in pairs {
        let (parts, _) = pair.as_chunks::<LANES>();
        // SAFETY: 8 scores each.
        let lanes = unsafe { [_mm256_loadu_ps(parts[0].as_ptr()), _mm256_loadu_ps(parts[1].as_ptr())] };
        nan |= _mm256_cmp_ps_mask::<_CMP_UNORD_Q>(lanes[0], lanes[1]);
        for i in 0..2 {
            let wide = _mm512_cvtps_pd(lanes[i]);
            sums[i] = _mm512_add_pd(sums[i], wide);
            squares[i] = _mm512_fmadd_pd(wide, wide, squares[i]);
            largest[i] = _mm256_max_ps(largest[i], lanes[i]);
        }
    }
    let (tail, tail_nan) = scalar::moments(rest);
    let mut highest = [tail.largest; LANES];
    // SAFETY: 8 scores.
    unsafe { _mm256_storeu_ps(highest.as_mut_ptr(), _mm256_max_ps(largest[0], largest[1])) };
    let moments = Moments {
        sum: _mm512_reduce_add_pd(_mm512_add_pd(sums[0], sums[1])) + tail.sum,
        squares: _mm512_reduce_add_pd(_mm512_add_pd(squares[0], squares[1])) + tail.squares,
        largest: highest.into_iter().fold(tail.largest, f32::max),
    };
    (moments, nan != 0 || tail_nan)
}
