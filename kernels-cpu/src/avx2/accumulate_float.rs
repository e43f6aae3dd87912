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

use super::float::{Float, first};
use crate::{
    Matrix,
    rows::{ActiveRows, Group},
};

const ROWS: usize = 4;
const STEP: usize = 32;
const AHEAD: usize = 2048;

/// # Safety
/// The processor has AVX2, FMA and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row, `y` has `columns.len()` elements; `w` has the format `F`.
#[target_feature(enable = "avx2,fma,f16c")]
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
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_rows<F: Float, const R: usize>(group: &Group<R>, offset: usize, h: [f32; R], y: &mut [f32]) {
    let h = h.map(|h| _mm256_set1_ps(h));
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
        for (eighth, y) in tail.chunks_mut(8).enumerate() {
            let at = (count * STEP + 8 * eighth) * F::BYTES;
            let mut sum = first(y);
            for r in 0..R {
                sum = _mm256_fmadd_ps(F::load_first(y.len(), row[r].add(at)), h[r], sum);
            }
            let mut padded = [0.0; 8];
            _mm256_storeu_ps(padded.as_mut_ptr(), sum);
            y.copy_from_slice(&padded[..y.len()]);
        }
    }
}

/// Adds `h * row` to the steps of `y`, touching the same steps of `coming`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn run<F: Float, const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    h: &[__m256; R],
    y: &mut [[f32; STEP]],
) {
    // SAFETY: the caller gives rows that hold all steps of `y`.
    unsafe {
        for (s, y) in y.iter_mut().enumerate() {
            let mut sum: [__m256; 4] = std::array::from_fn(|i| _mm256_loadu_ps(y[8 * i..].as_ptr()));
            let at = s * STEP * F::BYTES;
            for r in 0..R {
                for line in (0..STEP * F::BYTES).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at + line).cast());
                }
                for (i, sum) in sum.iter_mut().enumerate() {
                    *sum = _mm256_fmadd_ps(F::load(row[r].add(at + 8 * i * F::BYTES)), h[r], *sum);
                }
            }
            for (i, sum) in sum.into_iter().enumerate() {
                _mm256_storeu_ps(y[8 * i..].as_mut_ptr(), sum);
            }
        }
    }
}
