//! How many scores fall into each bucket.
//!
//! ```text
//!   scores   [....|....|....|....]    16 lanes, to buckets by shifts and an exclusive or
//!   counts   left[b] += 1, right[b] += 1 in turn: two equal buckets in a row need not wait for each other's store
//! ```

use std::arch::x86_64::*;

use super::{LANES, load};
use crate::select::{BUCKET_SHIFT, BUCKETS, scalar};

pub(super) fn histogram(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores, counts) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
fn run(scores: &[f32], counts: &mut [u32; BUCKETS]) -> bool {
    let mut right = [0; BUCKETS];
    let mut nan = 0;
    let (parts, rest) = scores.as_chunks::<LANES>();
    for part in parts {
        let lanes = load(part);
        nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(lanes, lanes);
        let mut buckets = [0_u32; LANES];
        let found = buckets_of(lanes);
        // SAFETY: 16 numbers, in halves: Zen 4 is slow to read parts of what was stored as a whole.
        unsafe {
            let to = buckets.as_mut_ptr();
            _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(found));
            _mm256_storeu_si256(to.add(LANES / 2).cast(), _mm512_extracti64x4_epi64::<1>(found));
        }
        for pair in buckets.chunks_exact(2) {
            counts[pair[0] as usize % BUCKETS] += 1;
            right[pair[1] as usize % BUCKETS] += 1;
        }
    }
    for (count, right) in counts.iter_mut().zip(right) {
        *count += right;
    }
    scalar::histogram(rest, counts) | (nan != 0)
}

/// `bucket` of 16 scores.
#[inline]
#[target_feature(enable = "avx512f")]
fn buckets_of(scores: __m512) -> __m512i {
    let bits = _mm512_castps_si512(_mm512_add_ps(scores, _mm512_setzero_ps()));
    let flip = _mm512_or_si512(_mm512_srai_epi32::<31>(bits), _mm512_set1_epi32(i32::MIN));
    _mm512_srli_epi32::<{ BUCKET_SHIFT }>(_mm512_xor_si512(bits, flip))
}
