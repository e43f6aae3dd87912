//! `y[c] += sum over j of h[j] * W[active[j]][c]` for f32, f16 and bf16, four neurons at a time.
//!
//! ```text
//!                 columns of this task
//!   row j     |   [==|==]-->  . . . pf   |     four forward streams; `pf` enters the segment four places
//!   row j+1   |   [==|==]-->  . . . pf   |     further in the list near the end of this one
//!   row j+2   |   [==|==]-->  . . . pf   |
//!   row j+3   |   [==|==]-->  . . . pf   |
//!   y         |   [++|++]-->             |     loaded and stored once for four neurons, stays in L1
//! ```
//! Each column is one chain of FMAs over the neurons in ascending order, whatever the grouping and whoever owns
//! the column: the result does not depend on threads.

use std::{arch::x86_64::*, ops::Range};

use super::float::Float;
use crate::{
    Matrix,
    rows::{ActiveRows, Group},
};

const ROWS: usize = 4;
const STEP: usize = 32;
const AHEAD: usize = 2048;

/// # Safety
/// The processor has AVX-512 F, BW and VL, and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row, `y` has `columns.len()` elements; `w` has the format `F`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn accumulate<F: Float>(
    w: &Matrix<'_>,
    active: &[u32],
    h: &[f32],
    columns: Range<usize>,
    y: &mut [f32],
) {
    let offset = columns.start * F::BYTES;
    // SAFETY: `active` is in range and `columns` within the row, so `y.len()` weights lie `offset` bytes into each row.
    unsafe {
        let rows = ActiveRows::new(w, active);
        rows.prefetch_first::<ROWS>(offset, AHEAD);
        for group in rows.groups::<ROWS>(0) {
            let h = std::array::from_fn(|r| h[group.position + r]);
            add_rows::<F, ROWS>(&group, offset, h, y);
        }
        for group in rows.groups::<1>(rows.whole_groups::<ROWS>()) {
            add_rows::<F, 1>(&group, offset, [h[group.position]], y);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_rows<F: Float, const R: usize>(group: &Group<R>, offset: usize, h: [f32; R], y: &mut [f32]) {
    let h = h.map(|h| _mm512_set1_ps(h));
    let (steps, tail) = y.as_chunks_mut::<STEP>();
    let count = steps.len();
    let ahead = (AHEAD / (STEP * F::BYTES)).min(count);
    let (own, last) = steps.split_at_mut(count - ahead);
    // SAFETY: `y.len()` weights lie `offset` bytes into each row. Over the `own` steps the prefetches stay in them,
    // over the last ones in the first `ahead` steps of the next row's.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        let end = row.map(|p| p.add(own.len() * STEP * F::BYTES));
        run::<F, R>(&row, &row.map(|p| p.add(ahead * STEP * F::BYTES)), &h, own);
        run::<F, R>(&end, &group.next.map(|p| p.add(offset)), &h, last);
        for (half, y) in tail.chunks_mut(16).enumerate() {
            let mask = 0xffff_u16 >> (16 - y.len());
            let at = (count * STEP + 16 * half) * F::BYTES;
            let mut sum = _mm512_maskz_loadu_ps(mask, y.as_ptr());
            for r in 0..R {
                sum = _mm512_fmadd_ps(F::load_masked(mask, row[r].add(at)), h[r], sum);
            }
            _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, sum);
        }
    }
}

/// Adds `h * row` to the steps of `y`, touching the same steps of `coming`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn run<F: Float, const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    h: &[__m512; R],
    y: &mut [[f32; STEP]],
) {
    // SAFETY: the caller gives rows that hold all steps of `y`.
    unsafe {
        for (s, y) in y.iter_mut().enumerate() {
            let mut sum = [_mm512_loadu_ps(y.as_ptr()), _mm512_loadu_ps(y[16..].as_ptr())];
            let at = s * STEP * F::BYTES;
            for r in 0..R {
                for line in (0..STEP * F::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at + line).cast());
                }
                sum[0] = _mm512_fmadd_ps(F::load(row[r].add(at)), h[r], sum[0]);
                sum[1] = _mm512_fmadd_ps(F::load(row[r].add(at + 16 * F::BYTES)), h[r], sum[1]);
            }
            _mm512_storeu_ps(y.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(y[16..].as_mut_ptr(), sum[1]);
        }
    }
}
