//! Blocks of 32 quantised weights as f32 lanes: sixteen a vector.

use std::arch::x86_64::*;

use half::f16;

use crate::Format;

pub(crate) trait Blocks {
    /// Bytes of one block: a scale (f16) and the weights.
    const BYTES: usize;

    /// The 32 weights of the block at `block`, not yet scaled.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at `block`.
    unsafe fn lanes(block: *const u8) -> [__m512; 2];

    /// The 32 weights of the block at `block` as 16-bit integers, not yet scaled.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at `block`.
    unsafe fn wide(block: *const u8) -> __m512i;
}

pub(crate) enum Q8_0 {}

impl Blocks for Q8_0 {
    const BYTES: usize = Format::Q8_0.block_bytes();

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn lanes(block: *const u8) -> [__m512; 2] {
        // SAFETY: 32 bytes follow the scale; the loads are unaligned.
        let [low, high] = unsafe { [_mm_loadu_si128(block.add(2).cast()), _mm_loadu_si128(block.add(18).cast())] };
        [low, high].map(|q| _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn wide(block: *const u8) -> __m512i {
        // SAFETY: 32 bytes follow the scale; the load is unaligned.
        _mm512_cvtepi8_epi16(unsafe { _mm256_loadu_si256(block.add(2).cast()) })
    }
}

pub(crate) enum Q4_0 {}

impl Blocks for Q4_0 {
    const BYTES: usize = Format::Q4_0.block_bytes();

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn lanes(block: *const u8) -> [__m512; 2] {
        // A nibble n stands for n - 8: looked up, not computed.
        let values = _mm512_setr_ps(-8., -7., -6., -5., -4., -3., -2., -1., 0., 1., 2., 3., 4., 5., 6., 7.);
        // SAFETY: 16 bytes follow the scale; the load is unaligned.
        let pairs = unsafe { _mm_loadu_si128(block.add(2).cast()) };
        let nibble = _mm_set1_epi8(0x0f);
        let [low, high] = [_mm_and_si128(pairs, nibble), _mm_and_si128(_mm_srli_epi16::<4>(pairs), nibble)];
        [low, high].map(|n| _mm512_permutexvar_ps(_mm512_cvtepu8_epi32(n), values))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
    unsafe fn wide(block: *const u8) -> __m512i {
        // SAFETY: 16 bytes follow the scale; the load is unaligned.
        let pairs = unsafe { _mm_loadu_si128(block.add(2).cast()) };
        let both = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(pairs), _mm_srli_epi16::<4>(pairs));
        let nibbles = _mm256_and_si256(both, _mm256_set1_epi8(0x0f));
        _mm512_cvtepi8_epi16(_mm256_sub_epi8(nibbles, _mm256_set1_epi8(8)))
    }
}

/// The scale of the block at `block`, in every lane.
///
/// # Safety
/// Two bytes are readable at `block`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(super) unsafe fn scale(block: *const u8) -> __m512 {
    // SAFETY: by the contract of this function; the read is unaligned.
    let bits = unsafe { block.cast::<f16>().read_unaligned() }.to_bits();
    // Spread as f16, then converted: one instruction less than converting one and spreading the f32.
    _mm512_cvtph_ps(_mm256_set1_epi16(bits.cast_signed()))
}
