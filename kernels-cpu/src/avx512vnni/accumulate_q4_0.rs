//! `y[c] += sum over j of h[j] * W[active[j]][c]` for q4_0, eight neurons at a time, in bytes.
//!
//! ```text
//!                 16 blocks of this task's columns a chunk
//!   row j    |   [d|n..n][d|n..n]-->  . . . pf   |   first the scales of the chunk: k = round(h * d / s), 15 bits, with
//!   row j+1  |   [d|n..n][d|n..n]-->  . . . pf   |   s a step fit for the largest |h * d| of the eight neurons;
//!     ...    |                                   |   then the weights, turned so that a lane holds one column:
//!   row j+7  |   [d|n..n][d|n..n]-->  . . . pf   |
//!                    |                               lane c   [n(j,c) n(j+1,c) n(j+2,c) n(j+3,c)]   nibbles as bytes
//!   y        |   [++++++][++++++]-->             |   times   [k(j)   k(j+1)   k(j+2)   k(j+3)  ]   in two digits
//! ```
//! Four products a lane (vpdpbusd), exactly, for two times four neurons; then to f32, times s, into y. The groups of
//! eight are formed over the whole list and s over whole blocks, so the result does not depend on threads.
//!
//! From cache a core of Zen 4 reads 18 GB/s this way and 10 in f32. What holds it is how many operations wait in the
//! processor at once, so the next block is turned while this one is multiplied. For q8_0 the same way was measured too:
//! faster from cache (25 against 21), not from memory (14 against 15). It stays in f32.

use std::{arch::x86_64::*, ops::Range, slice};

use super::blocks::scale_bits;
use crate::{
    Matrix, avx512,
    format::{BLOCK, Q4_0_BYTES},
    input::{LEVELS, SMALLEST},
    rows::{ActiveRows, Group, prefetch},
};

/// Neurons that share a step.
const ROWS: usize = 8;
/// Blocks whose coefficients are made at a time: one a lane.
const CHUNK: usize = 16;
const AHEAD: usize = 2048;
/// A nibble `n` stands for `n - 8`.
const OFFSET: i8 = 8;

/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI, and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row and starts and ends on whole blocks, `y` has `columns.len()` elements; `w` has the format q4_0.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub(crate) unsafe fn accumulate(w: &Matrix<'_>, active: &[u32], h: &[f32], columns: Range<usize>, y: &mut [f32]) {
    let offset = columns.start / BLOCK * Q4_0_BYTES;
    // SAFETY: `active` is in range and `columns` within the row, so the blocks of `y` lie `offset` bytes into each row.
    unsafe {
        let (rows, turn) = (ActiveRows::new(w, active), Turn::new());
        rows.prefetch_first::<ROWS>(offset, AHEAD);
        let whole = rows.whole_groups::<ROWS>();
        for position in (0..whole).step_by(ROWS) {
            add_rows(&rows.group(position), turn, offset, &h[position..], y);
        }
        // Up to seven neurons are left, each with its own scale a block.
        avx512::accumulate_blocks::accumulate::<avx512::Q4_0>(w, &active[whole..], &h[whole..], columns, y);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_rows(group: &Group<ROWS>, turn: Turn, offset: usize, h: &[f32], y: &mut [f32]) {
    let chunk_bytes = CHUNK * Q4_0_BYTES;
    let segment = y.len() / BLOCK * Q4_0_BYTES;
    let chunks = y.as_chunks_mut::<BLOCK>().0.chunks_mut(CHUNK);
    // SAFETY: the blocks of `y` lie `offset` bytes into each row.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        for (chunk, y) in chunks.enumerate() {
            let at = chunk * chunk_bytes;
            let row = row.map(|p| p.add(at));
            let coming = at + AHEAD.next_multiple_of(chunk_bytes);
            let coming = if coming < segment {
                row.map(|p| p.add(coming - at))
            } else {
                group.next.map(|p| p.wrapping_add(offset + coming - segment))
            };
            let coefficients = coefficients(&row, turn, h, y.len());
            if coefficients.unfit == 0 {
                add_chunk(&row, &coming, turn, &coefficients, y);
            } else {
                add_unfit_chunk(&row, turn, &coefficients, h, y);
            }
        }
    }
}

/// Adds a chunk's blocks, each turned one block early; each row's chunk to come is fetched in two strokes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_chunk(
    row: &[*const u8; ROWS],
    coming: &[*const u8; ROWS],
    turn: Turn,
    c: &Coefficients,
    y: &mut [[f32; BLOCK]],
) {
    const STROKE: usize = CHUNK * Q4_0_BYTES / 2;
    let last = y.len().saturating_sub(1);
    // SAFETY: the caller gives rows that hold as many blocks as `y`, which is not empty.
    let turned = |b: usize| unsafe { turn.block(&row.map(|p| p.add(b.min(last) * Q4_0_BYTES))) };
    let mut weights = turned(0);
    for (b, y) in (0..CHUNK).zip(y) {
        for line in (0..STROKE).step_by(64) {
            prefetch(coming[b % ROWS].wrapping_add(b / ROWS * STROKE + line));
        }
        let next = turned(b + 1);
        add_block(weights, c, b, y);
        weights = next;
    }
}

/// The same where integers cannot hold each block, block by block: where chunks begin depends on threads.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_unfit_chunk(row: &[*const u8; ROWS], turn: Turn, c: &Coefficients, h: &[f32], y: &mut [[f32; BLOCK]]) {
    for (b, y) in (0..CHUNK).zip(y) {
        // SAFETY: the caller gives rows that hold as many blocks as `y`.
        unsafe {
            let row = row.map(|p| p.add(b * Q4_0_BYTES));
            if c.unfit >> b & 1 == 0 {
                add_block(turn.block(&row), c, b, y);
            } else {
                avx512::accumulate_blocks::add_blocks::<avx512::Q4_0, ROWS>(&row, h, slice::from_mut(y));
            }
        }
    }
}

/// `h * d` of eight neurons for the blocks of a chunk, as integers. Aligned: each array is stored as one vector and read
/// four bytes at a time at once, which a processor forwards only within a cache line.
#[repr(align(64))]
struct Coefficients {
    /// Digits of neurons 0 to 3 and 4 to 7, a byte each: high, then low.
    digits: [[[u32; CHUNK]; 2]; 2],
    /// What the offset of the unsigned weights adds, to be taken back.
    correction: [i32; CHUNK],
    /// The step.
    scale: [f32; CHUNK],
    /// Blocks that integers cannot hold: a scale or an `h` that is infinite or NaN, or a largest magnitude so small
    /// that its step would not be a normal number.
    unfit: __mmask16,
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn coefficients(row: &[*const u8; ROWS], turn: Turn, h: &[f32], blocks: usize) -> Coefficients {
    let mut exact = [_mm512_setzero_ps(); ROWS];
    let mut largest = _mm512_setzero_ps();
    for r in 0..ROWS {
        // SAFETY: the caller gives rows that hold as many blocks.
        let scales = unsafe { scales(row[r], blocks) };
        exact[r] = _mm512_mul_ps(_mm512_cvtph_ps(scales), _mm512_set1_ps(h[r]));
        // As integers, magnitudes compare as the numbers do, and NaN is the largest.
        let magnitude = _mm512_castps_si512(_mm512_abs_ps(exact[r]));
        largest = _mm512_castsi512_ps(_mm512_max_epu32(_mm512_castps_si512(largest), magnitude));
    }
    let some = _mm512_cmp_ps_mask::<_CMP_NEQ_UQ>(largest, _mm512_setzero_ps());
    let small = _mm512_mask_cmp_ps_mask::<_CMP_LT_OQ>(some, largest, _mm512_set1_ps(SMALLEST));
    let large = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(largest, _mm512_set1_ps(f32::INFINITY));
    let inverse = _mm512_maskz_div_ps(some, _mm512_set1_ps(LEVELS), largest);
    let mut digits = [[_mm512_setzero_si512(); 2]; 2];
    for (digits, exact) in digits.iter_mut().zip(exact.as_chunks::<4>().0) {
        // Packed to 16 bits and then to bytes, a quarter of a vector holds four blocks of each of four neurons.
        let integer = |r: usize| _mm512_cvtps_epi32(_mm512_mul_ps(exact[r], inverse));
        let pairs = [_mm512_packs_epi32(integer(0), integer(1)), _mm512_packs_epi32(integer(2), integer(3))];
        let high = pairs.map(|k| _mm512_srai_epi16::<7>(_mm512_add_epi16(k, _mm512_set1_epi16(64))));
        let low = [0, 1].map(|i| _mm512_sub_epi16(pairs[i], _mm512_slli_epi16::<7>(high[i])));
        for (digit, [first, last]) in digits.iter_mut().zip([high, low]) {
            *digit = _mm512_shuffle_epi8(_mm512_packs_epi16(first, last), turn.within);
        }
    }
    // The offset times all eight.
    let offset = |place: usize| {
        let times = |sum, quad: usize| _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(OFFSET), digits[quad][place]);
        times(times(_mm512_setzero_si512(), 0), 1)
    };
    let added = _mm512_add_epi32(_mm512_slli_epi32::<7>(offset(0)), offset(1));
    let mut c = Coefficients {
        digits: [[[0; CHUNK]; 2]; 2],
        correction: [0; CHUNK],
        scale: [0.0; CHUNK],
        unfit: small | large,
    };
    // SAFETY: each array is 64 bytes.
    unsafe {
        for (array, vector) in c.digits.as_flattened_mut().iter_mut().zip(digits.as_flattened()) {
            _mm512_storeu_si512(array.as_mut_ptr().cast(), *vector);
        }
        let correction = _mm512_sub_epi32(_mm512_setzero_si512(), added);
        _mm512_storeu_si512(c.correction.as_mut_ptr().cast(), correction);
        _mm512_storeu_ps(c.scale.as_mut_ptr(), _mm512_mul_ps(largest, _mm512_set1_ps(1.0 / LEVELS)));
    }
    c
}

/// The scales of a chunk's blocks at `row`, as they lie there; zero past the last of `blocks`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn scales(row: *const u8, blocks: usize) -> __m256i {
    // SAFETY: the caller gives a row that holds as many blocks.
    unsafe {
        if blocks < CHUNK {
            let bits: [i16; CHUNK] =
                std::array::from_fn(|b| if b < blocks { scale_bits(row.add(b * Q4_0_BYTES)) } else { 0 });
            return _mm256_loadu_si256(bits.as_ptr().cast());
        }
        // Eight scales are 18 bytes apart within 128.
        let nine_words = _mm512_castsi128_si512(_mm_setr_epi16(0, 9, 18, 27, 36, 45, 54, 63));
        let eight = |b: usize| {
            let row = row.add(b * Q4_0_BYTES);
            let [first, last] = [row, row.add(64)].map(|p| _mm512_loadu_si512(p.cast()));
            _mm512_castsi512_si128(_mm512_permutex2var_epi16(first, nine_words, last))
        };
        _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(eight(0)), eight(8))
    }
}

/// How sixteen bytes of each of four rows become sixteen lanes of four.
#[derive(Clone, Copy)]
struct Turn {
    /// Four bytes of each row side by side.
    pieces: __m512i,
    /// The 4 x 4 bytes of such a piece turned.
    within: __m512i,
}

static PIECES: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
static WITHIN: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

impl Turn {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    fn new() -> Self {
        // Volatile, so that the compiler does not know the order and keeps the two shuffles: knowing it, it made
        // thirteen instructions of them.
        // SAFETY: both are arrays of the length that is read; the loads are unaligned.
        unsafe {
            let (pieces, within) = ((&raw const PIECES).read_volatile(), (&raw const WITHIN).read_volatile());
            Self {
                pieces: _mm512_loadu_si512(pieces.as_ptr().cast()),
                within: _mm512_broadcast_i32x4(_mm_loadu_si128(within.as_ptr().cast())),
            }
        }
    }

    /// Lane `c` holds byte `c` of the four blocks' weights, that is columns `c` and `16 + c`.
    ///
    /// # Safety
    /// A block is readable at each of `rows`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn of(self, rows: [*const u8; 4]) -> __m512i {
        // SAFETY: by the contract of this function; the loads are unaligned.
        let rows = unsafe {
            let at = |row: usize| _mm_loadu_si128(rows[row].add(2).cast());
            let first = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(0)), at(1));
            let last = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(at(2)), at(3));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), last)
        };
        _mm512_shuffle_epi8(_mm512_permutexvar_epi32(self.pieces, rows), self.within)
    }

    /// Weights of a block of each of eight rows, from 0 to 15: of columns 0 to 15, then 16 to 31, each of neurons 0 to 3 and
    /// 4 to 7.
    ///
    /// # Safety
    /// A block is readable at each of `row`.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn block(self, row: &[*const u8; ROWS]) -> [[__m512i; 2]; 2] {
        // SAFETY: by the contract of this function.
        let bytes = unsafe { [self.of([row[0], row[1], row[2], row[3]]), self.of([row[4], row[5], row[6], row[7]])] };
        let nibble = _mm512_set1_epi8(0x0f);
        [
            bytes.map(|bytes| _mm512_and_si512(bytes, nibble)),
            bytes.map(|bytes| _mm512_and_si512(_mm512_srli_epi16::<4>(bytes), nibble)),
        ]
    }
}

/// Adds block `b` of a chunk, whose weights [`Turn::block`] has turned.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
fn add_block(weights: [[__m512i; 2]; 2], c: &Coefficients, b: usize, y: &mut [f32; BLOCK]) {
    let digit = |quad: usize, place: usize| _mm512_set1_epi32(c.digits[quad][place][b].cast_signed());
    let (correction, scale) = (_mm512_set1_epi32(c.correction[b]), _mm512_set1_ps(c.scale[b]));
    for ([first, last], y) in weights.into_iter().zip(y.as_chunks_mut::<16>().0) {
        let high = _mm512_dpbusd_epi32(_mm512_setzero_si512(), first, digit(0, 0));
        let high = _mm512_slli_epi32::<7>(_mm512_dpbusd_epi32(high, last, digit(1, 0)));
        let low = _mm512_dpbusd_epi32(correction, first, digit(0, 1));
        let sum = _mm512_cvtepi32_ps(_mm512_add_epi32(high, _mm512_dpbusd_epi32(low, last, digit(1, 1))));
        // SAFETY: sixteen columns are read and written; load and store are unaligned.
        unsafe { _mm512_storeu_ps(y.as_mut_ptr(), _mm512_fmadd_ps(sum, scale, _mm512_loadu_ps(y.as_ptr()))) };
    }
}
