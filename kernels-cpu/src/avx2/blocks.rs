//! Blocks of 32 quantised weights as f32 lanes: eight a vector.

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
    unsafe fn lanes(block: *const u8) -> [__m256; 4];

    /// The 32 weights of the block at `block` as 16-bit integers, not yet scaled.
    ///
    /// # Safety
    /// `BYTES` bytes are readable at `block`.
    unsafe fn wide(block: *const u8) -> [__m256i; 2];
}

pub(crate) enum Q8_0 {}

impl Blocks for Q8_0 {
    const BYTES: usize = Format::Q8_0.block_bytes();

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lanes(block: *const u8) -> [__m256; 4] {
        // SAFETY: 32 bytes follow the scale; the loads are unaligned.
        unsafe {
            [
                widened(_mm_loadl_epi64(block.add(2).cast())),
                widened(_mm_loadl_epi64(block.add(10).cast())),
                widened(_mm_loadl_epi64(block.add(18).cast())),
                widened(_mm_loadl_epi64(block.add(26).cast())),
            ]
        }
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide(block: *const u8) -> [__m256i; 2] {
        // SAFETY: 32 bytes follow the scale; the loads are unaligned.
        unsafe {
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(block.add(2).cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(block.add(18).cast())),
            ]
        }
    }
}

pub(crate) enum Q4_0 {}

impl Blocks for Q4_0 {
    const BYTES: usize = Format::Q4_0.block_bytes();

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn lanes(block: *const u8) -> [__m256; 4] {
        // SAFETY: by the contract of the trait.
        let [low, high] = unsafe { nibbles(block) };
        [widened(low), widened(_mm_srli_si128::<8>(low)), widened(high), widened(_mm_srli_si128::<8>(high))]
    }

    #[inline]
    #[target_feature(enable = "avx2,fma,f16c")]
    unsafe fn wide(block: *const u8) -> [__m256i; 2] {
        // SAFETY: by the contract of the trait.
        let [low, high] = unsafe { nibbles(block) };
        [_mm256_cvtepi8_epi16(low), _mm256_cvtepi8_epi16(high)]
    }
}

/// The weights 0 to 15 and 16 to 31 of a q4_0 block as signed bytes.
///
/// # Safety
/// The block's 18 bytes are readable.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn nibbles(block: *const u8) -> [__m128i; 2] {
    // SAFETY: 16 bytes follow the scale; the load is unaligned.
    let pairs = unsafe { _mm_loadu_si128(block.add(2).cast()) };
    let (nibble, eight) = (_mm_set1_epi8(0x0f), _mm_set1_epi8(8));
    let low = _mm_sub_epi8(_mm_and_si128(pairs, nibble), eight);
    let high = _mm_sub_epi8(_mm_and_si128(_mm_srli_epi16::<4>(pairs), nibble), eight);
    [low, high]
}

/// The lower eight signed bytes as f32. A function, not a closure for `map`: those were called, not inlined, at seven
/// times the cost.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn widened(q: __m128i) -> __m256 {
    _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q))
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
