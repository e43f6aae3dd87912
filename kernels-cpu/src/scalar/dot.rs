//! `out[j] = W[active[j]] . x`, one row after the other.
//!
//! ```text
//!   W  row active[0]  ################   read left to right, once
//!      row ...        ................   never touched
//!      row active[1]  ################
//!   x                 ################   read once per row, stays in L1
//! ```

use half::f16;

use crate::{Format, Matrix, format::Q8_0_BYTES};

/// # Safety
/// `active` is in range, `x` has `w.cols()` elements, `out` as many as `active`.
pub(crate) unsafe fn dot(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]) {
    for (out, &index) in out.iter_mut().zip(active) {
        let start = index as usize * w.row_bytes();
        *out = row_dot(w.format(), &w.bytes()[start..start + w.row_bytes()], x);
    }
}

fn row_dot(format: Format, row: &[u8], x: &[f32]) -> f32 {
    match format {
        Format::F32 => row.as_chunks().0.iter().zip(x).map(|(&w, x)| f32::from_le_bytes(w) * x).sum(),
        Format::F16 => row.as_chunks().0.iter().zip(x).map(|(&w, x)| f16::from_le_bytes(w).to_f32() * x).sum(),
        Format::Q8_0 => {
            let blocks = row.as_chunks::<Q8_0_BYTES>().0;
            blocks.iter().zip(x.chunks_exact(32)).map(|(block, x)| block_dot(block, x)).sum()
        }
    }
}

fn block_dot(block: &[u8; Q8_0_BYTES], x: &[f32]) -> f32 {
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let sum: f32 = block[2..].iter().zip(x).map(|(&q, x)| f32::from(q.cast_signed()) * x).sum();
    scale * sum
}
