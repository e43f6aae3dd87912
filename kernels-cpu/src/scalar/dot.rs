//! Dot products of active rows with `x`, one row after the other.
//!
//! ```text
//!   W  row active[0]  ################   read left to right, once
//!      row ...        ................   never touched
//!      row active[1]  ################
//!   x                 ################   read once per row, stays in L1
//! ```

use half::f16;

use crate::{Activation, Format, Matrix, format::Q8_0_BYTES};

/// `out[j] = W[active[j]] . x`
///
/// # Safety
/// `active` is in range, `x` has `w.cols()` elements, `out` as many as `active`.
pub(crate) unsafe fn gemv(w: &Matrix<'_>, active: &[u32], x: &[f32], out: &mut [f32]) {
    for (out, &index) in out.iter_mut().zip(active) {
        *out = row_dot(w, index, x);
    }
}

/// `h[j] = act(gate[active[j]] . x) * (up[active[j]] . x)`
///
/// # Safety
/// As for [`gemv`], for two matrices of one format and shape.
pub(crate) unsafe fn gate_up(
    [gate, up]: [&Matrix<'_>; 2],
    activation: Activation,
    active: &[u32],
    x: &[f32],
    h: &mut [f32],
) {
    for (h, &index) in h.iter_mut().zip(active) {
        *h = activation.apply(row_dot(gate, index, x)) * row_dot(up, index, x);
    }
}

fn row_dot(w: &Matrix<'_>, index: u32, x: &[f32]) -> f32 {
    let start = index as usize * w.row_bytes();
    let row = &w.bytes()[start..start + w.row_bytes()];
    match w.format() {
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
