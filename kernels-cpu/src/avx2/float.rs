//! Eight weights of a plain float format as f32 lanes.

use std::arch::x86_64::*;

pub(crate) trait Float {
    /// Bytes of one weight.
    const BYTES: usize;

    /// Eight weights.
    ///
    /// # Safety
    /// Eight weights are readable at `p`; any alignment.
    unsafe fn load(p: *const u8) -> __m256;

    /// The first `n < 8` weights, zero in the other lanes.
    ///
    /// # Safety
    /// `n` weights are readable at `p`; nothing past them is touched.
    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load_first(n: usize, p: *const u8) -> __m256 {
        let mut padded = [0_u8; 32];
        // SAFETY: `n` weights are readable at `p`; eight of at most four bytes fit in `padded`.
        unsafe {
            p.copy_to_nonoverlapping(padded.as_mut_ptr(), n.min(8) * Self::BYTES);
            Self::load(padded.as_ptr())
        }
    }
}

pub(crate) enum F32 {}

impl Float for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        unsafe { _mm256_loadu_ps(p.cast()) }
    }
}

pub(crate) enum F16 {}

impl Float for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        _mm256_cvtph_ps(unsafe { _mm_loadu_si128(p.cast()) })
    }
}

pub(crate) enum Bf16 {}

impl Float for Bf16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx2,f16c")]
    unsafe fn load(p: *const u8) -> __m256 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        let bits = _mm256_cvtepu16_epi32(unsafe { _mm_loadu_si128(p.cast()) });
        // A bf16 is the upper half of an f32.
        _mm256_castsi256_ps(_mm256_slli_epi32::<16>(bits))
    }
}

/// The first `n < 8` elements of `x`, zero in the other lanes.
#[inline]
#[target_feature(enable = "avx2,f16c")]
pub(super) fn first(x: &[f32]) -> __m256 {
    let mut padded = [0.0; 8];
    padded[..x.len()].copy_from_slice(x);
    // SAFETY: eight elements.
    unsafe { _mm256_loadu_ps(padded.as_ptr()) }
}

/// The sum of the eight lanes.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn lane_sum(v: __m256) -> f32 {
    let four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps::<1>(v));
    let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
}
