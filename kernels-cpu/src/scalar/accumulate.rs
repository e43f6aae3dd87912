//! `y[c] += sum over j of h[j] * W[active[j]][c]` for the columns `c` of one range, neurons in ascending order.
//!
//! ```text
//!                     |  columns  |
//!   W  row active[0]  |###########|      h[0]
//!      row active[1]  |###########|      h[1]   one row at a time, added to y
//!   y                 |+++++++++++|
//! ```

use std::ops::Range;

use half::{bf16, f16};

use crate::{
    Format, Matrix,
    format::{BLOCK, q4_0_weights, q8_0_weights},
};

/// # Safety
/// `active` is in range, `h` has as many elements, `columns` lies within the row and starts and ends on whole
/// blocks, `y` has `columns.len()` elements.
pub(crate) unsafe fn accumulate(w: &Matrix<'_>, active: &[u32], h: &[f32], columns: Range<usize>, y: &mut [f32]) {
    let bytes_of = |weights: usize| weights / w.format().block_len() * w.format().block_bytes();
    let (from, to) = (bytes_of(columns.start), bytes_of(columns.end));
    for (&index, &h) in active.iter().zip(h) {
        let start = index as usize * w.stride_bytes();
        add_row(w.format(), &w.bytes()[start + from..start + to], h, y);
    }
}

fn add_row(format: Format, row: &[u8], h: f32, y: &mut [f32]) {
    match format {
        Format::F32 => {
            y.iter_mut().zip(row.as_chunks().0).for_each(|(y, &w)| *y += h * f32::from_le_bytes(w));
        }
        Format::F16 => {
            y.iter_mut().zip(row.as_chunks().0).for_each(|(y, &w)| *y += h * f16::from_le_bytes(w).to_f32());
        }
        Format::Bf16 => {
            y.iter_mut().zip(row.as_chunks().0).for_each(|(y, &w)| *y += h * bf16::from_le_bytes(w).to_f32());
        }
        Format::Q8_0 => add_blocks(row.as_chunks().0.iter().map(q8_0_weights), h, y),
        Format::Q4_0 => add_blocks(row.as_chunks().0.iter().map(q4_0_weights), h, y),
    }
}

fn add_blocks(blocks: impl Iterator<Item = [f32; BLOCK]>, h: f32, y: &mut [f32]) {
    for (w, y) in blocks.zip(y.as_chunks_mut::<BLOCK>().0) {
        y.iter_mut().zip(w).for_each(|(y, w)| *y += h * w);
    }
}
