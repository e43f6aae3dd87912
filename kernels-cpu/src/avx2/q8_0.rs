//! The parts of a q8_0 block as f32 lanes.

use std::arch::x86_64::*;

use half::f16;

/// Eight signed bytes.
///
/// # Safety
/// Eight bytes are readable at `q`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn lanes(q: *const u8) -> __m256 {
    // SAFETY: by the contract of this function; the load is unaligned.
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(unsafe { _mm_loadl_epi64(q.cast()) }))
}

/// The scale of the block at `block`, in every lane.
///
/// # Safety
/// Two bytes are readable at `block`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
pub(super) unsafe fn scale(block: *const u8) -> __m256 {
    // SAFETY: by the contract of this function; the read is unaligned.
    let bits = unsafe { block.cast::<f16>().read_unaligned() }.to_bits();
    // Spread as f16, then converted: one instruction less than converting one and spreading the f32.
    _mm256_cvtph_ps(_mm_set1_epi16(bits.cast_signed()))
}
