//! Sixteen weights of a plain float format as f32 lanes.

use std::arch::x86_64::*;

pub(crate) trait Float {
    /// Bytes of one weight.
    const BYTES: usize;

    /// Sixteen weights.
    ///
    /// # Safety
    /// Sixteen weights are readable at `p`; any alignment.
    unsafe fn load(p: *const u8) -> __m512;

    /// The weights whose bit is set in `mask`, zero elsewhere.
    ///
    /// # Safety
    /// The masked weights are readable at `p`; any alignment. Masked-off lanes are not touched.
    unsafe fn load_masked(mask: __mmask16, p: *const u8) -> __m512;
}

pub(crate) enum F32 {}

impl Float for F32 {
    const BYTES: usize = 4;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        unsafe { _mm512_loadu_ps(p.cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load_masked(mask: __mmask16, p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; faults are suppressed for lanes that are masked off.
        unsafe { _mm512_maskz_loadu_ps(mask, p.cast()) }
    }
}

pub(crate) enum F16 {}

impl Float for F16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_masked(mask: __mmask16, p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; faults are suppressed for lanes that are masked off.
        _mm512_cvtph_ps(unsafe { _mm256_maskz_loadu_epi16(mask, p.cast()) })
    }
}

pub(crate) enum Bf16 {}

impl Float for Bf16 {
    const BYTES: usize = 2;

    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn load(p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; the load is unaligned.
        upper_halves(unsafe { _mm256_loadu_si256(p.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn load_masked(mask: __mmask16, p: *const u8) -> __m512 {
        // SAFETY: by the contract of the trait; faults are suppressed for lanes that are masked off.
        upper_halves(unsafe { _mm256_maskz_loadu_epi16(mask, p.cast()) })
    }
}

/// A bf16 is the upper half of an f32.
#[inline]
#[target_feature(enable = "avx512f")]
fn upper_halves(bits: __m256i) -> __m512 {
    _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(bits)))
}
