//! `y[c] += sum over j of h[j] * W[active[j]][c]` for q8_0 and q4_0, eight neurons at a time.
//!
//! ```text
//!                 columns of this task, whole blocks
//!   row j     |   [d|q..q]-->  . . . pf   |   34 or 18 bytes a block; h * d once a block and row,
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
    rows::{ActiveRows, Group, in_whole_groups, prefetch_each},
};

const AHEAD: usize = 2048;

/// # Safety
/// The processor has AVX2, FMA and F16C; `active` is in range, `h` has as many elements, `columns`
/// lies within the row and starts and ends on whole blocks, `y` has `columns.len()` elements; `w` has the format `B`.
#[target_feature(enable = "avx2,fma,f16c")]
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
        rows.prefetch_first::<8>(offset, AHEAD.min(y.len() / BLOCK * B::BYTES));
        in_whole_groups!(rows, |group| add_rows::<B, _>(&group, offset, h, y));
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_rows<B: Blocks, const R: usize>(group: &Group<R>, offset: usize, h: &[f32], y: &mut [f32]) {
    let h: [__m256; R] = std::array::from_fn(|r| _mm256_set1_ps(h[group.position + r]));
    let blocks = y.as_chunks_mut::<BLOCK>().0;
    let ahead = (AHEAD / B::BYTES).min(blocks.len());
    let (own, last) = blocks.split_at_mut(blocks.len() - ahead);
    // SAFETY: the blocks of `y` lie `offset` bytes into each row.
    unsafe {
        let row = group.row.map(|p| p.add(offset));
        let end = row.map(|p| p.add(own.len() * B::BYTES));
        for (b, y) in own.iter_mut().enumerate() {
            prefetch_each(&row, (b + ahead) * B::BYTES);
            add_block::<B, R>(&row, b, &h, y);
        }
        for (b, y) in last.iter_mut().enumerate() {
            prefetch_each(&group.next, offset + b * B::BYTES);
            add_block::<B, R>(&end, b, &h, y);
        }
    }
}

/// Adds `h * row` over block `b` of each row's segment.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_block<B: Blocks, const R: usize>(row: &[*const u8; R], b: usize, h: &[__m256; R], y: &mut [f32; BLOCK]) {
    // SAFETY: the caller gives a block that lies within the segments.
    unsafe {
        let mut sum: [__m256; 4] = std::array::from_fn(|i| _mm256_loadu_ps(y[8 * i..].as_ptr()));
        for r in 0..R {
            let block = row[r].add(b * B::BYTES);
            let h = _mm256_mul_ps(scale(block), h[r]);
            let w = B::lanes(block);
            for i in 0..4 {
                sum[i] = _mm256_fmadd_ps(w[i], h, sum[i]);
            }
        }
        for i in 0..4 {
            _mm256_storeu_ps(y[8 * i..].as_mut_ptr(), sum[i]);
        }
    }
}
