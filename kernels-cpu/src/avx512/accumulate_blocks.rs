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
        rows.prefetch_first::<8>(offset, AHEAD.min(y.len() / BLOCK * B::BYTES));
        in_whole_groups!(rows, |group| add_rows::<B, _>(&group, offset, h, y));
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_rows<B: Blocks, const R: usize>(group: &Group<R>, offset: usize, h: &[f32], y: &mut [f32]) {
    let h: [__m512; R] = std::array::from_fn(|r| _mm512_set1_ps(h[group.position + r]));
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

/// Adds `h * row` over all blocks of `y`, without looking ahead.
///
/// # Safety
/// The processor as above; each row holds as many blocks as `y`, `h` has at least `R` elements.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
pub(crate) unsafe fn add_blocks<B: Blocks, const R: usize>(row: &[*const u8; R], h: &[f32], y: &mut [[f32; BLOCK]]) {
    let h: [__m512; R] = std::array::from_fn(|r| _mm512_set1_ps(h[r]));
    for (b, y) in y.iter_mut().enumerate() {
        // SAFETY: by the contract of this function.
        unsafe { add_block::<B, R>(row, b, &h, y) };
    }
}

/// Adds `h * row` over block `b` of each row's segment.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,f16c")]
unsafe fn add_block<B: Blocks, const R: usize>(row: &[*const u8; R], b: usize, h: &[__m512; R], y: &mut [f32; BLOCK]) {
    // SAFETY: the caller gives a block that lies within the segments.
    unsafe {
        let mut sum = [_mm512_loadu_ps(y.as_ptr()), _mm512_loadu_ps(y[16..].as_ptr())];
        for r in 0..R {
            let block = row[r].add(b * B::BYTES);
            let h = _mm512_mul_ps(scale(block), h[r]);
            let [low, high] = B::lanes(block);
            sum = [_mm512_fmadd_ps(low, h, sum[0]), _mm512_fmadd_ps(high, h, sum[1])];
        }
        _mm512_storeu_ps(y.as_mut_ptr(), sum[0]);
        _mm512_storeu_ps(y[16..].as_mut_ptr(), sum[1]);
    }
}
