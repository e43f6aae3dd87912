//! Dot products of active rows with `x` for q8_0, four rows at a time.
//!
//! ```text
//!            one block of 32 a step
//!   row j    [d|q..q|q..q|q..q|q..q]-->  . . . pf    34 bytes: scale d (f16), 32 signed bytes q
//!   row j+1  [d|q..q|q..q|q..q|q..q]-->  . . . pf    8 q -> i32 -> f32 lanes, times x, four parts added,
//!   row j+2  [d|q..q|q..q|q..q|q..q]-->  . . . pf    then times d: one scale multiply a block
//!   row j+3  [d|q..q|q..q|q..q|q..q]-->  . . . pf
//!   x        [  8 |  8  |  8  |  8 ]-->              loaded once for four rows
//! ```
//! Prefetches (`pf`) and the turns of gate and up are as in `dot_float.rs`.

use std::arch::x86_64::*;

use super::{
    float::lane_sum,
    q8_0::{lanes, scale},
};
use crate::{
    Activation, Matrix,
    format::{Q8_0_BYTES, Q8_0_LEN},
    rows::{ActiveRows, Group},
};

const ROWS: usize = 4;
const AHEAD_BLOCKS: usize = 60;

/// `out[j] = W[active[j]] . x`
///
/// # Safety
/// The processor has AVX2, FMA and F16C; `active` is in range, `x` has `w.cols()` elements, `out` as
/// many as `active`; `w` is q8_0.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn gemv(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]) {
    // SAFETY: `active` is in range, so each pointer of a group is the start of a row of `x.len()` weights.
    unsafe {
        let rows = ActiveRows::new(w, active);
        rows.prefetch_first::<ROWS>(0, AHEAD_BLOCKS * Q8_0_BYTES);
        for group in rows.groups::<ROWS>(0) {
            out[group.position..][..ROWS].copy_from_slice(&dot_rows::<ROWS>(&group, x));
        }
        for group in rows.groups::<1>(rows.whole_groups::<ROWS>()) {
            [out[group.position]] = dot_rows::<1>(&group, x);
        }
    }
}

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: a group's gate rows, then its up rows.
///
/// # Safety
/// As for [`gemv`]; both matrices are q8_0 and one shape.
#[target_feature(enable = "avx2,fma,f16c")]
pub(crate) unsafe fn gate_up(
    [gate, up]: [&Matrix<'_>; 2],
    activation: Activation,
    active: &[u32],
    x: &[f32],
    h: &mut [f32],
) {
    // SAFETY: as in `gemv`.
    unsafe {
        let (gate, up) = (ActiveRows::new(gate, active), ActiveRows::new(up, active));
        gate.prefetch_first::<ROWS>(0, AHEAD_BLOCKS * Q8_0_BYTES);
        for [gate, up] in ActiveRows::gate_up_groups::<ROWS>(gate, up, 0) {
            let h = &mut h[gate.position..][..ROWS];
            activation.gate(&dot_rows::<ROWS>(&gate, x), &dot_rows::<ROWS>(&up, x), h);
        }
        for [gate, up] in ActiveRows::gate_up_groups::<1>(gate, up, gate.whole_groups::<ROWS>()) {
            let h = &mut h[gate.position..][..1];
            activation.gate(&dot_rows::<1>(&gate, x), &dot_rows::<1>(&up, x), h);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot_rows<const R: usize>(group: &Group<R>, x: &[f32]) -> [f32; R] {
    let mut sum = [_mm256_setzero_ps(); R];
    let blocks = x.as_chunks::<Q8_0_LEN>().0;
    let ahead = AHEAD_BLOCKS.min(blocks.len());
    let (own, last) = blocks.split_at(blocks.len() - ahead);
    let row = group.row;
    // SAFETY: each row holds `blocks.len()` blocks. Over the `own` blocks the prefetches stay in the row, over the
    // last ones in the first `ahead` blocks of the next row.
    unsafe {
        let end = row.map(|p| p.add(own.len() * Q8_0_BYTES));
        run(&row, &row.map(|p| p.add(ahead * Q8_0_BYTES)), own, &mut sum);
        run(&end, &group.next, last, &mut sum);
    }
    sum.map(|sum| lane_sum(sum))
}

/// Adds `row . x` over the blocks of `x`, touching the same blocks of `coming`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run<const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    x: &[[f32; Q8_0_LEN]],
    sum: &mut [__m256; R],
) {
    // SAFETY: the caller gives rows that hold all blocks of `x`.
    unsafe {
        for (b, x) in x.iter().enumerate() {
            let x: [__m256; 4] = std::array::from_fn(|i| _mm256_loadu_ps(x[8 * i..].as_ptr()));
            let at = b * Q8_0_BYTES;
            for r in 0..R {
                _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at).cast());
                let block = row[r].add(at);
                let mut all = _mm256_mul_ps(lanes(block.add(2)), x[0]);
                for (i, &x) in x.iter().enumerate().skip(1) {
                    all = _mm256_fmadd_ps(lanes(block.add(2 + 8 * i)), x, all);
                }
                sum[r] = _mm256_fmadd_ps(scale(block), all, sum[r]);
            }
        }
    }
}
