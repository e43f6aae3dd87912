//! How many scores fall into each bucket.
//!
//! ```text
//!   scores   [....|....]    8 lanes, to buckets by shifts and an exclusive or
//!   counts   left[b] += 1, right[b] += 1 in turn: two equal buckets in a row need not wait for each other's store
//! ```

use std::arch::x86_64::*;

use super::{LANES, load, mask};
use crate::select::{BUCKET_SHIFT, BUCKETS, scalar};

pub(in crate::select) fn histogram(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool {
    // SAFETY: whoever has these kernels runs on a processor with AVX2 (`Kernels::with`).
    unsafe { run(scores, counts) }
}

#[target_feature(enable = "avx2")]
fn run(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool {
    let mut right = [0; BUCKETS];
    let mut nan = _mm256_setzero_ps();
    let (parts, rest) = scores.as_chunks::<LANES>();
    for part in parts {
        let lanes = load(part);
        nan = _mm256_or_ps(nan, _mm256_cmp_ps::<_CMP_UNORD_Q>(lanes, lanes));
        let mut buckets = [0_u32; LANES];
        // SAFETY: 8 numbers.
        unsafe { _mm256_storeu_si256(buckets.as_mut_ptr().cast(), buckets_of(lanes)) };
        for pair in buckets.chunks_exact(2) {
            counts[pair[0] as usize % BUCKETS] += 1;
            right[pair[1] as usize % BUCKETS] += 1;
        }
    }
    for (count, right) in counts.iter_mut().zip(right) {
        *count += right;
    }
    scalar::histogram(rest, counts) | (mask(nan) != 0)
}

/// `bucket` of 8 scores.
#[inline]
#[target_feature(enable = "avx2")]
fn buckets_of(scores: __m256) -> __m256i {
    let bits = _mm256_castps_si256(_mm256_add_ps(scores, _mm256_setzero_ps()));
    let flip = _mm256_or_si256(_mm256_srai_epi32::<31>(bits), _mm256_set1_epi32(i32::MIN));
    _mm256_srli_epi32::<{ BUCKET_SHIFT as i32 }>(_mm256_xor_si256(bits, flip))
}
