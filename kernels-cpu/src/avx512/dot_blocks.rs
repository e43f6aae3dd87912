//! Dot products of active rows with `x` for q8_0 and q4_0, eight rows at a time.
//!
//! ```text
//!            one block of 32 a step
//!   row j    [d|q..q|q..q]-->  . . . pf    34 bytes: scale d (f16), 32 signed bytes q
//!   row j+1  [d|q..q|q..q]-->  . . . pf    16 q -> i32 -> f32 lanes, times x, both halves added,
//!     ...                                  then times d: one scale multiply a block
//!   row j+7  [d|q..q|q..q]-->  . . . pf
//!   x        [  16 |  16 ]-->              loaded once for eight rows
//! ```
//! Prefetches (`pf`) and the turns of gate and up are as in `dot_float.rs`.

use std::arch::x86_64::*;

use super::blocks::{Blocks, scale};
use crate::{
    Activation, Matrix,
    format::BLOCK,
    rows::{ActiveRows, Group},
};

const ROWS: usize = 8;
const AHEAD: usize = 2048;

/// `out[j] = W[active[j]] . x`
///
/// # Safety
/// The processor has AVX-512 F, BW and VL, and F16C; `active` is in range, `x` has `w.cols()` elements, `out` as
/// many as `active`; `w` has the format `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn gemv<B: Blocks>(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]) {
    // SAFETY: `active` is in range, so each pointer of a group is the start of a row of `x.len()` weights.
    unsafe {
        let rows = ActiveRows::new(w, active);
        rows.prefetch_first::<ROWS>(0, AHEAD);
        for group in rows.groups::<ROWS>(0) {
            out[group.position..][..ROWS].copy_from_slice(&dot_rows::<B, ROWS>(&group, x));
        }
        for group in rows.groups::<1>(rows.whole_groups::<ROWS>()) {
            [out[group.position]] = dot_rows::<B, 1>(&group, x);
        }
    }
}

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: a group's gate rows, then its up rows.
///
/// # Safety
/// As for [`gemv`]; both matrices have the format `B` and one shape.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn gate_up<B: Blocks>(
    [gate, up]: [&Matrix<'_>; 2],
    activation: Activation,
    active: &[u32],
    x: &[f32],
    h: &mut [f32],
) {
    // SAFETY: as in `gemv`.
    unsafe {
        let (gate, up) = (ActiveRows::new(gate, active), ActiveRows::new(up, active));
        gate.prefetch_first::<ROWS>(0, AHEAD);
        for [gate, up] in ActiveRows::gate_up_groups::<ROWS>(gate, up, 0) {
            let h = &mut h[gate.position..][..ROWS];
            activation.gate(&dot_rows::<B, ROWS>(&gate, x), &dot_rows::<B, ROWS>(&up, x), h);
        }
        for [gate, up] in ActiveRows::gate_up_groups::<1>(gate, up, gate.whole_groups::<ROWS>()) {
            let h = &mut h[gate.position..][..1];
            activation.gate(&dot_rows::<B, 1>(&gate, x), &dot_rows::<B, 1>(&up, x), h);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn dot_rows<B: Blocks, const R: usize>(group: &Group<R>, x: &[f32]) -> [f32; R] {
    let mut sum = [_mm512_setzero_ps(); R];
    let blocks = x.as_chunks::<BLOCK>().0;
    let ahead = (AHEAD / B::BYTES).min(blocks.len());
    let (own, last) = blocks.split_at(blocks.len() - ahead);
    let row = group.row;
    // SAFETY: each row holds `blocks.len()` blocks. Over the `own` blocks the prefetches stay in the row, over the
    // last ones in the first `ahead` blocks of the next row.
    unsafe {
        let end = row.map(|p| p.add(own.len() * B::BYTES));
        run::<B, R>(&row, &row.map(|p| p.add(ahead * B::BYTES)), own, &mut sum);
        run::<B, R>(&end, &group.next, last, &mut sum);
    }
    sum.map(|sum| _mm512_reduce_add_ps(sum))
}

/// Adds `row . x` over the blocks of `x`, touching the same blocks of `coming`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn run<B: Blocks, const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    x: &[[f32; BLOCK]],
    sum: &mut [__m512; R],
) {
    // SAFETY: the caller gives rows that hold all blocks of `x`.
    unsafe {
        for (b, x) in x.iter().enumerate() {
            let x = [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x[16..].as_ptr())];
            let at = b * B::BYTES;
            for r in 0..R {
                _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at).cast());
                let block = row[r].add(at);
                let [low, high] = B::lanes(block);
                let both = _mm512_fmadd_ps(high, x[1], _mm512_mul_ps(low, x[0]));
                sum[r] = _mm512_fmadd_ps(scale(block), both, sum[r]);
            }
        }
    }
}
