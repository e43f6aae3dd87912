//! Blocks of 32 quantised weights as unsigned bytes, and their products with the digits of an input.

use std::arch::x86_64::*;

use half::f16;

use super::turn::Turn;
use crate::{Format, avx512, input::Form};

/// What a step of blocks meets: the digits of the input, loaded once for all rows.
pub(crate) struct Digits {
    /// One vector a part; of a format with one part the second repeats it and is not read.
    pub(crate) high: [__m512i; 2],
    pub(crate) low: [__m512i; 2],
    /// What takes back what the offset of the unsigned weights adds, lane by lane: were it one lane's affair, large
    /// sums would have to cancel in f32.
    pub(crate) correction: __m512i,
    /// Scale of the input, in every lane of its block.
    pub(crate) scale: __m512,
}

pub(crate) trait Blocks {
    /// The same format in f32 lanes.
    type Lanes: avx512::Blocks;
    /// Bytes of one block: a scale (f16) and the weights.
    const BYTES: usize;
    /// Blocks of one step: 64 weights a vector.
    const STEP: usize;
    /// Vectors of weights that a step gives.
    const PARTS: usize;
    /// An unsigned byte stands for the weight this much below it.
    const OFFSET: i32;
    /// For each lane, which block of the step it belongs to.
    const BLOCK_OF_LANE: [i32; 16] = {
        let mut blocks = [0; 16];
        let mut lane = 0;
        while lane < 16 {
            blocks[lane] = (lane * Self::STEP / 16) as i32;
            lane += 1;
        }
        blocks
    };
    /// The input that the kernels of this format want.
    const FORM: Form = Form::Digits { step: Self::STEP, parts: Self::PARTS };

    /// Sums of products of a step with the digits at `digits`, exactly: each lane adds four or eight products of its
    /// block and the correction.
    ///
    /// # Safety
    /// `STEP` blocks are readable at `blocks`.
    unsafe fn products(blocks: *const u8, x: &Digits) -> __m512i;

    /// The scales of a step's blocks, each in the lanes of its block.
    ///
    /// # Safety
    /// `STEP` blocks are readable at `blocks`.
    unsafe fn scales(blocks: *const u8) -> __m512;

    /// The scales of sixteen blocks as they lie there.
    ///
    /// # Safety
    /// Sixteen blocks are readable at `blocks`.
    unsafe fn sixteen_scales(blocks: *const u8) -> __m256i;

    /// Weights of a block of each of eight rows, unsigned: of columns 0 to 15, then 16 to 31, each of neurons 0 to 3 and 4
    /// to 7.
    ///
    /// # Safety
    /// A block is readable at each of `rows`.
    unsafe fn turned(turn: Turn, rows: &[*const u8; 8]) -> [[__m512i; 2]; 2];
}

pub(crate) enum Q8_0 {}

impl Blocks for Q8_0 {
    type Lanes = avx512::Q8_0;
    const BYTES: usize = Format::Q8_0.block_bytes();
    const STEP: usize = 2;
    const PARTS: usize = 1;
    const OFFSET: i32 = 128;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn products(blocks: *const u8, x: &Digits) -> __m512i {
        // SAFETY: 32 bytes follow each scale; the loads are unaligned.
        let signed = unsafe {
            let first = _mm512_castsi256_si512(_mm256_loadu_si256(blocks.add(2).cast()));
            _mm512_inserti64x4::<1>(first, _mm256_loadu_si256(blocks.add(Self::BYTES + 2).cast()))
        };
        let w = _mm512_xor_si512(signed, _mm512_set1_epi8(-128));
        let high = _mm512_slli_epi32::<7>(_mm512_dpbusd_epi32(_mm512_setzero_si512(), w, x.high[0]));
        _mm512_dpbusd_epi32(_mm512_add_epi32(high, x.correction), w, x.low[0])
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn scales(blocks: *const u8) -> __m512 {
        // SAFETY: each block starts with its scale.
        let scales = unsafe { _mm256_mask_set1_epi16(spread(blocks), 0xff00, scale_bits(blocks.add(Self::BYTES))) };
        _mm512_cvtph_ps(scales)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn sixteen_scales(blocks: *const u8) -> __m256i {
        let starts = _mm512_mullo_epi32(
            _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),
            _mm512_set1_epi32(Self::BYTES as i32),
        );
        // SAFETY: each block starts with its scale, and two bytes of its weights follow.
        _mm512_cvtepi32_epi16(unsafe { _mm512_i32gather_epi32::<1>(starts, blocks.cast()) })
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn turned(turn: Turn, &[a, b, c, d, e, f, g, h]: &[*const u8; 8]) -> [[__m512i; 2]; 2] {
        let sign = _mm512_set1_epi8(-128);
        // SAFETY: 32 bytes follow each scale.
        [2, 18].map(|at| unsafe {
            [turn.of([a, b, c, d], at), turn.of([e, f, g, h], at)].map(|signed| _mm512_xor_si512(signed, sign))
        })
    }
}

pub(crate) enum Q4_0 {}

impl Q4_0 {
    /// Where the weights of four blocks are, a pair of bytes each: in the first 32 pairs that lie there, or, from 32 on, in
    /// those from the fifth pair on. The first pair of a block's nine is its scale.
    const WEIGHTS: [u16; 32] = {
        let mut pairs = [0; 32];
        let mut i = 0;
        while i < 32 {
            let pair = i / 8 * 9 + 1 + i % 8;
            pairs[i as usize] = if pair < 32 { pair } else { 32 + pair - 4 };
            i += 1;
        }
        pairs
    };
}

impl Blocks for Q4_0 {
    type Lanes = avx512::Q4_0;
    const BYTES: usize = Format::Q4_0.block_bytes();
    const STEP: usize = 4;
    const PARTS: usize = 2;
    const OFFSET: i32 = 8;

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn products(blocks: *const u8, x: &Digits) -> __m512i {
        // SAFETY: the blocks are 72 bytes; the loads are unaligned.
        let pairs = unsafe {
            let [first, last] = [blocks, blocks.add(8)].map(|p| _mm512_loadu_si512(p.cast()));
            _mm512_permutex2var_epi16(first, _mm512_loadu_si512(Self::WEIGHTS.as_ptr().cast()), last)
        };
        let nibble = _mm512_set1_epi8(0x0f);
        let w = [_mm512_and_si512(pairs, nibble), _mm512_and_si512(_mm512_srli_epi16::<4>(pairs), nibble)];
        let high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), w[0], x.high[0]);
        let high = _mm512_slli_epi32::<7>(_mm512_dpbusd_epi32(high, w[1], x.high[1]));
        let low = _mm512_dpbusd_epi32(x.correction, w[0], x.low[0]);
        _mm512_add_epi32(high, _mm512_dpbusd_epi32(low, w[1], x.low[1]))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn scales(blocks: *const u8) -> __m512 {
        // SAFETY: as above.
        let words = unsafe { _mm512_loadu_si512(blocks.cast()) };
        let first = _mm256_setr_epi16(0, 0, 0, 0, 9, 9, 9, 9, 18, 18, 18, 18, 27, 27, 27, 27);
        let scales = _mm512_castsi512_si256(_mm512_permutexvar_epi16(_mm512_castsi256_si512(first), words));
        _mm512_cvtph_ps(scales)
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn sixteen_scales(blocks: *const u8) -> __m256i {
        // Eight scales are 18 bytes apart within 128.
        let nine_words = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
        let eight = |b: usize| {
            // SAFETY: sixteen blocks are 288 bytes; the loads are unaligned.
            let [first, last] =
                [0, 64].map(|at| unsafe { _mm512_loadu_si512(blocks.add(b * Self::BYTES + at).cast()) });
            _mm512_castsi512_si128(_mm512_permutex2var_epi16(first, nine_words, last))
        };
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(eight(0)), eight(8))
    }

    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
    unsafe fn turned(turn: Turn, &[a, b, c, d, e, f, g, h]: &[*const u8; 8]) -> [[__m512i; 2]; 2] {
        // SAFETY: 16 bytes follow each scale.
        let bytes = unsafe { [turn.of([a, b, c, d], 2), turn.of([e, f, g, h], 2)] };
        let nibble = _mm512_set1_epi8(0x0f);
        [
            bytes.map(|bytes| _mm512_and_si512(bytes, nibble)),
            bytes.map(|bytes| _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble)),
        ]
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn spread(block: *const u8) -> __m256i {
    // SAFETY: by the contract of the callers.
    _mm256_set1_epi16(unsafe { scale_bits(block) })
}

/// The scale of a block as it lies there.
///
/// # Safety
/// Two bytes are readable at `block`.
#[inline]
pub(super) unsafe fn scale_bits(block: *const u8) -> i16 {
    // SAFETY: by the contract of this function; the read is unaligned.
    unsafe { block.cast::<f16>().read_unaligned() }.to_bits().cast_signed()
}
