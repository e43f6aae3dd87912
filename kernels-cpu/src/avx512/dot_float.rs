//! Dot products of active rows with `x` for f32, f16 and bf16, four rows at a time.
//!
//! ```text
//!            32 columns a step
//!   row j    [==|==]-->  . . . pf       each row is one forward stream; `pf` runs AHEAD bytes in front of it
//!   row j+1  [==|==]-->  . . . pf       and, near the row's end, enters the row four places further in the
//!   row j+2  [==|==]-->  . . . pf       list: nothing outside the named rows is fetched
//!   row j+3  [==|==]-->  . . . pf
//!   x        [==|==]-->                 loaded once for four rows
//! ```
//! Two accumulators a row, eight in all: enough for the FMA latency (4 cycles, 2 a cycle). A row's sum does not
//! depend on its neighbours, so results are the same however the list is cut into tasks.
//!
//! Gate and up take turns, four rows of one and four of the other: the prefetches of each enter the other.

use std::arch::x86_64::*;

use super::float::Float;
use crate::{
    Activation, Matrix,
    rows::{ActiveRows, Group},
};

const ROWS: usize = 4;
const STEP: usize = 32;
const AHEAD: usize = 2048;

/// `out[j] = W[active[j]] . x`
///
/// # Safety
/// The processor has AVX-512 F, BW and VL, and F16C; `active` is in range, `x` has `w.cols()` elements, `out` as
/// many as `active`; `w` has the format `F`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn gemv<F: Float>(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]) {
    // SAFETY: `active` is in range, so each pointer of a group is the start of a row of `x.len()` weights.
    unsafe {
        let rows = ActiveRows::new(w, active);
        rows.prefetch_first::<ROWS>(0, AHEAD);
        for group in rows.groups::<ROWS>(0) {
            out[group.position..][..ROWS].copy_from_slice(&dot_rows::<F, ROWS>(&group, x));
        }
        for group in rows.groups::<1>(rows.whole_groups::<ROWS>()) {
            [out[group.position]] = dot_rows::<F, 1>(&group, x);
        }
    }
}

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`: a group's gate rows, then its up rows.
///
/// # Safety
/// As for [`gemv`]; both matrices have the format `F` and one shape.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn gate_up<F: Float>(
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
            activation.gate(&dot_rows::<F, ROWS>(&gate, x), &dot_rows::<F, ROWS>(&up, x), h);
        }
        for [gate, up] in ActiveRows::gate_up_groups::<1>(gate, up, gate.whole_groups::<ROWS>()) {
            let h = &mut h[gate.position..][..1];
            activation.gate(&dot_rows::<F, 1>(&gate, x), &dot_rows::<F, 1>(&up, x), h);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn dot_rows<F: Float, const R: usize>(group: &Group<R>, x: &[f32]) -> [f32; R] {
    let mut sum = [[_mm512_setzero_ps(); 2]; R];
    let (steps, tail) = x.as_chunks::<STEP>();
    let ahead = (AHEAD / (STEP * F::BYTES)).min(steps.len());
    let (own, last) = steps.split_at(steps.len() - ahead);
    let row = group.row;
    // SAFETY: each row holds `x.len()` weights. Over the `own` steps the prefetches stay in the row, over the last
    // ones in the first `ahead` steps of the next row.
    unsafe {
        let end = row.map(|p| p.add(own.len() * STEP * F::BYTES));
        run::<F, R>(&row, &row.map(|p| p.add(ahead * STEP * F::BYTES)), own, &mut sum);
        run::<F, R>(&end, &group.next, last, &mut sum);
        for (half, x) in tail.chunks(16).enumerate() {
            let mask = 0xffff_u16 >> (16 - x.len());
            let x = _mm512_maskz_loadu_ps(mask, x.as_ptr());
            let at = (steps.len() * STEP + 16 * half) * F::BYTES;
            for r in 0..R {
                sum[r][half] = _mm512_fmadd_ps(F::load_masked(mask, row[r].add(at)), x, sum[r][half]);
            }
        }
    }
    sum.map(|[a, b]| _mm512_reduce_add_ps(_mm512_add_ps(a, b)))
}

/// Adds `row . x` over the steps of `x`, touching the same steps of `coming`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn run<F: Float, const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    x: &[[f32; STEP]],
    sum: &mut [[__m512; 2]; R],
) {
    // SAFETY: the caller gives rows that hold all steps of `x`.
    unsafe {
        for (s, x) in x.iter().enumerate() {
            let x = [_mm512_loadu_ps(x.as_ptr()), _mm512_loadu_ps(x[16..].as_ptr())];
            let at = s * STEP * F::BYTES;
            for r in 0..R {
                for line in (0..STEP * F::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at + line).cast());
                }
                sum[r][0] = _mm512_fmadd_ps(F::load(row[r].add(at)), x[0], sum[r][0]);
                sum[r][1] = _mm512_fmadd_ps(F::load(row[r].add(at + 16 * F::BYTES)), x[1], sum[r][1]);
            }
        }
    }
}
