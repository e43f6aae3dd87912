//! `y[c] += sum over j of h[j] * W[active[j]][c]` for q8_0 and q4_0, eight neurons at a time.
//!
//! ```text
//!                 columns of this task, whole blocks
//!   row j     |   [d|q..q]-->  . . . pf   |   34 bytes a block; h * d once a block and row,
//!   row j+1   |   [d|q..q]-->  . . . pf   |   then 32 columns of y += (h * d) * q
//!     ...     |   ...                     |
//!   row j+7   |   [d|q..q]-->  . . . pf   |
//!   y         |   [++++++]-->             |   loaded and stored once for eight neurons, stays in L1
//! ```
//! Each column is one chain of FMAs over the neurons in ascending order: the result does not depend on threads.

use std::{arch::x86_64::*, ops::Range};

use super::blocks::{Blocks, scale};
use crate::{
    Matrix,
    format::BLOCK,
    rows::{ActiveRows, Group},
};

const ROWS: usize = 8;
const AHEAD: usize = 1024;

/// # Safety
/// The processor has AVX-512 F, BW and VL, and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row and starts and ends on whole blocks, `y` has `columns.len()` elements; `w` has the format `B`.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
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
        let rows = ActiveRows::new(w, active);
        rows.prefetch_first::<ROWS>(offset, AHEAD);
        for group in rows.groups::<ROWS>(0) {
            let h = std::array::from_fn(|r| h[group.position + r]);
            add_rows::<B, ROWS>(&group, offset, h, y);
        }
        for group in rows.groups::<1>(rows.whole_groups::<ROWS>()) {
            add_rows::<B, 1>(&group, offset, [h[group.position]], y);
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_rows<B: Blocks, const R: usize>(group: &Group<R>, offset: usize, h: [f32; R], y: &mut [f32]) {
    let h = h.map(|h| _mm512_set1_ps(h));
    let blocks = y.as_chunks_mut::<BLOCK>().0;
    let ahead = (AHEAD / B::BYTES).min(blocks.len());
    let (own, last) = blocks.split_at_mut(blocks.len() - ahead);
    // SAFETY: the blocks of `y` lie `offset` bytes into each row. Over the `own` blocks the prefetches stay in them,
    // over the last ones in the first `ahead` blocks of the next row's.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        let end = row.map(|p| p.add(own.len() * B::BYTES));
        run::<B, R>(&row, &row.map(|p| p.add(ahead * B::BYTES)), &h, own);
        run::<B, R>(&end, &group.next.map(|p| p.add(offset)), &h, last);
    }
}

/// Adds `h * row` to the blocks of `y`, touching the same blocks of `coming`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn run<B: Blocks, const R: usize>(
    row: &[*const u8; R],
    coming: &[*const u8; R],
    h: &[__m512; R],
    y: &mut [[f32; BLOCK]],
) {
    // SAFETY: the caller gives rows that hold all blocks of `y`.
    unsafe {
        for (b, y) in y.iter_mut().enumerate() {
            let mut sum = [_mm512_loadu_ps(y.as_ptr()), _mm512_loadu_ps(y[16..].as_ptr())];
            let at = b * B::BYTES;
            for r in 0..R {
                _mm_prefetch::<_MM_HINT_T0>(coming[r].add(at).cast());
                let block = row[r].add(at);
                let h = _mm512_mul_ps(scale(block), h[r]);
                let [low, high] = B::lanes(block);
                sum = [_mm512_fmadd_ps(low, h, sum[0]), _mm512_fmadd_ps(high, h, sum[1])];
            }
            _mm512_storeu_ps(y.as_mut_ptr(), sum[0]);
            _mm512_storeu_ps(y[16..].as_mut_ptr(), sum[1]);
        }
    }
}
