//! `y[c] += sum over j of h[j] * W[active[j]][c]` for q8_0 and q4_0, eight neurons at a time, in bytes.
//!
//! ```text
//!                 16 blocks of this task's columns a chunk
//!   row j    |   [d|q..q][d|q..q]-->  . . . pf   |   first the scales of the chunk: k = round(h * d / s), 15 bits, with
//!   row j+1  |   [d|q..q][d|q..q]-->  . . . pf   |   s a step fit for the largest |h * d| of the eight neurons;
//!     ...    |                                   |   then the weights, turned so that a lane holds one column:
//!   row j+7  |   [d|q..q][d|q..q]-->  . . . pf   |
//!                    |                               lane c   [q(j,c) q(j+1,c) q(j+2,c) q(j+3,c)]   unsigned bytes
//!   y        |   [++++++][++++++]-->             |   times   [k(j)   k(j+1)   k(j+2)   k(j+3)  ]   in two digits
//! ```
//! Four products a lane (vpdpbusd), exactly, for two times four neurons; then to f32, times s, into y. The groups of
//! eight are formed over the whole list and s over whole blocks, so the result does not depend on threads.
//!
//! From cache a core of Zen 4 reads q4_0 at 18 GB/s this way and at 10 in f32. What holds it is how many operations wait in
//! the processor at once, so the next block is turned while this one is multiplied. q8_0 gains where 512-bit operations are
//! one pass; Zen 4 runs AVX2's.

use std::{arch::x86_64::*, ops::Range, slice};

use super::{
    blocks::{Blocks, scale_bits},
    turn::Turn,
};
use crate::{
    Matrix, avx512,
    format::BLOCK,
    input::{LEVELS, SMALLEST},
    rows::{ActiveRows, Group, prefetch},
};

/// Neurons that share a step.
const ROWS: usize = 8;
/// Blocks whose coefficients are made at a time: one a lane.
const CHUNK: usize = 16;
const AHEAD: usize = 2048;

/// # Safety
/// The processor has AVX-512 F, BW, VL and VNNI, and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row and starts and ends on whole blocks, `y` has `columns.len()` elements; `w` has the format `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
pub(crate) unsafe fn accumulate<B: Blocks>(
    w: &Matrix<'_>,
    active: &[u32],
    h: &[f32],
    columns: Range<usize>,
    y: &mut [f32],
) {
    let offset = columns.start / BLOCK * B::BYTES;
    // SAFETY: `active` is in range and `columns` within the row, so the blocks of `y` lie `offset` bytes into each row.
    unsafe {
        let (rows, turn) = (ActiveRows::new(w, active), Turn::new());
        rows.prefetch_first::<ROWS>(offset, AHEAD.min(y.len() / BLOCK * B::BYTES));
        let whole = rows.whole_groups::<ROWS>();
        for position in (0..whole).step_by(ROWS) {
            add_rows::<B>(&rows.group(position), turn, offset, &h[position..], y);
        }
        // Up to seven neurons are left, each with its own scale a block.
        avx512::accumulate_blocks::accumulate::<B::Lanes>(w, &active[whole..], &h[whole..], columns, y);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_rows<B: Blocks>(group: &Group<ROWS>, turn: Turn, offset: usize, h: &[f32], y: &mut [f32]) {
    let chunk_bytes = CHUNK * B::BYTES;
    let segment = y.len() / BLOCK * B::BYTES;
    let ahead = AHEAD.next_multiple_of(chunk_bytes).min(segment);
    let chunks = y.as_chunks_mut::<BLOCK>().0.chunks_mut(CHUNK);
    // SAFETY: the blocks of `y` lie `offset` bytes into each row.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        for (chunk, y) in chunks.enumerate() {
            let at = chunk * chunk_bytes;
            let row = row.map(|p| p.add(at));
            let coming = at + ahead;
            let coming = if coming < segment {
                row.map(|p| p.add(coming - at))
            } else {
                group.next.map(|p| p.wrapping_add(offset + coming - segment))
            };
            let coefficients = coefficients::<B>(&row, turn, h, y.len());
            if coefficients.unfit == 0 {
                add_chunk::<B>(&row, &coming, turn, &coefficients, y);
            } else {
                add_unfit_chunk::<B>(&row, turn, &coefficients, h, y);
            }
        }
    }
}

/// Adds a chunk's blocks, each turned one block early; each row's chunk to come is fetched in two strokes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_chunk<B: Blocks>(
    row: &[*const u8; ROWS],
    coming: &[*const u8; ROWS],
    turn: Turn,
    c: &Coefficients,
    y: &mut [[f32; BLOCK]],
) {
    let stroke = CHUNK * B::BYTES / 2;
    let last = y.len().saturating_sub(1);
    // SAFETY: the caller gives rows that hold as many blocks as `y`, which is not empty.
    let turned = |b: usize| unsafe { B::turned(turn, &row.map(|p| p.add(b.min(last) * B::BYTES))) };
    let mut weights = turned(0);
    for (b, y) in (0..CHUNK).zip(y) {
        for line in (0..stroke).step_by(64) {
            prefetch(coming[b % ROWS].wrapping_add(b / ROWS * stroke + line));
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
unsafe fn add_unfit_chunk<B: Blocks>(
    row: &[*const u8; ROWS],
    turn: Turn,
    c: &Coefficients,
    h: &[f32],
    y: &mut [[f32; BLOCK]],
) {
    for (b, y) in (0..CHUNK).zip(y) {
        // SAFETY: the caller gives rows that hold as many blocks as `y`.
        unsafe {
            let row = row.map(|p| p.add(b * B::BYTES));
            if c.unfit >> b & 1 == 0 {
                add_block(B::turned(turn, &row), c, b, y);
            } else {
                avx512::accumulate_blocks::add_blocks::<B::Lanes, ROWS>(&row, h, slice::from_mut(y));
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
unsafe fn coefficients<B: Blocks>(row: &[*const u8; ROWS], turn: Turn, h: &[f32], blocks: usize) -> Coefficients {
    let mut scales = [_mm256_setzero_si256(); ROWS];
    for (scales, row) in scales.iter_mut().zip(row) {
        // SAFETY: the caller gives rows that hold as many blocks.
        *scales = unsafe { if blocks == CHUNK { B::sixteen_scales(*row) } else { first_scales::<B>(*row, blocks) } };
    }
    let mut exact = [_mm512_setzero_ps(); ROWS];
    let mut largest = _mm512_setzero_ps();
    for r in 0..ROWS {
        exact[r] = _mm512_mul_ps(_mm512_cvtph_ps(scales[r]), _mm512_set1_ps(h[r]));
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
            *digit = turn.within(_mm512_packs_epi16(first, last));
        }
    }
    // The offset times all eight.
    let offset = |place: usize| {
        let times = |sum, quad: usize| _mm512_dpbusd_epi32(sum, _mm512_set1_epi8(B::OFFSET as i8), digits[quad][place]);
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

/// The scales of the blocks at `row`, fewer than a chunk's, as they lie there; zero past the last of them.
#[cold]
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn first_scales<B: Blocks>(row: *const u8, blocks: usize) -> __m256i {
    // SAFETY: the caller gives a row that holds as many blocks.
    unsafe {
        let bits: [i16; CHUNK] =
            std::array::from_fn(|b| if b < blocks { scale_bits(row.add(b * B::BYTES)) } else { 0 });
        _mm256_loadu_si256(bits.as_ptr().cast())
    }
}

/// Adds block `b` of a chunk, whose weights [`Blocks::turned`] has turned.
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
