//! `y[c] += sum over j of h[j] * W[active[j]][c]` for f32, f16 and bf16, eight neurons at a time.
//!
//! ```text
//!                 columns of this task, 128 bytes a step
//!   row j     |   [==|==|==|==]-->  . . . pf   |     eight forward streams; `pf` enters the segment eight places
//!   row j+1   |   [==|==|==|==]-->  . . . pf   |     further in the list near the end of this one
//!     ...     |                                |
//!   row j+7   |   [==|==|==|==]-->  . . . pf   |
//!   y         |   [++|++|++|++]-->             |     loaded and stored once for eight neurons, stays in L1
//! ```
//! Each column is one chain of FMAs over the neurons in ascending order, whatever the grouping and whoever owns
//! the column: the result does not depend on threads.

use std::{arch::x86_64::*, ops::Range};

use super::float::Float;
use crate::{
    Matrix,
    rows::{ActiveRows, Group, PAIR, in_whole_groups},
};

const STEP: usize = PAIR;
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
        rows.prefetch_first::<8>(offset, AHEAD.min(y.len() * F::BYTES));
        in_whole_groups!(rows, |group| add_rows::<F, _>(&group, offset, h, y));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_rows<F: Float, const R: usize>(group: &Group<R>, offset: usize, h: &[f32], y: &mut [f32]) {
    let h: [__m512; R] = std::array::from_fn(|r| _mm512_set1_ps(h[group.position + r]));
    let columns = STEP / F::BYTES;
    let steps = y.len() / columns;
    let ahead = (AHEAD / STEP).min(steps);
    let (body, tail) = y.split_at_mut(steps * columns);
    // SAFETY: `y.len()` weights lie `offset` bytes into each row.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        for step in 0..steps - ahead {
            group.prefetch_pair(&row, (step + ahead) * STEP);
            add_step::<F, R>(&row, step * STEP, &h, body);
        }
        for step in 0..ahead {
            group.prefetch_pair(&group.next, offset + step * STEP);
            add_step::<F, R>(&row, (steps - ahead + step) * STEP, &h, body);
        }
        for (part, y) in tail.chunks_mut(16).enumerate() {
            let mask = 0xffff_u16 >> (16 - y.len());
            let at = steps * STEP + 16 * part * F::BYTES;
            let mut sum = _mm512_maskz_loadu_ps(mask, y.as_ptr());
            for r in 0..R {
                sum = _mm512_fmadd_ps(F::load_masked(mask, row[r].add(at)), h[r], sum);
            }
            _mm512_mask_storeu_ps(y.as_mut_ptr(), mask, sum);
        }
    }
}

/// Adds `h * row` over the step that lies `at` bytes into each row's segment.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_step<F: Float, const R: usize>(row: &[*const u8; R], at: usize, h: &[__m512; R], y: &mut [f32]) {
    // SAFETY: the caller gives a step that lies within the segments and `y`.
    unsafe {
        let y = y.as_mut_ptr().add(at / F::BYTES);
        for part in 0..STEP / F::BYTES / 16 {
            let y = y.add(16 * part);
            let mut sum = _mm512_loadu_ps(y);
            for r in 0..R {
                sum = _mm512_fmadd_ps(F::load(row[r].add(at + 16 * part * F::BYTES)), h[r], sum);
            }
            _mm512_storeu_ps(y, sum);
        }
    }
}
