//! Dot products of active rows with `x`, one row after the other.
//!
//! ```text
//!   W  row active[0]  ################   read left to right, once
//!      row ...        ................   never touched
//!      row active[1]  ################
//!   x                 ################   read once per row, stays in L1
//! ```

use half::{bf16, f16};

use crate::{
    Activation, Format, Matrix,
    format::{BLOCK, q4_0_weights, q8_0_weights},
    input::Input,
};

/// `out[j] = W[active[j]] . x`
///
/// # Safety
/// `active` is in range, `x` has `w.cols()` elements, `out` as many as `active`.
pub(crate) unsafe fn gemv(w: &Matrix<'_>, active: &[u32], input: &Input<'_>, out: &mut [f32]) {
    for (out, &index) in out.iter_mut().zip(active) {
        *out = row_dot(w, index, input.x);
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
    input: &Input<'_>,
    h: &mut [f32],
) {
    for (h, &index) in h.iter_mut().zip(active) {
        *h = activation.apply(row_dot(gate, index, input.x)) * row_dot(up, index, input.x);
    }
}

fn row_dot(w: &Matrix<'_>, index: u32, x: &[f32]) -> f32 {
    let row = &w.bytes()[index as usize * w.stride_bytes()..][..w.row_bytes()];
    match w.format() {
        Format::F32 => row.as_chunks().0.iter().zip(x).map(|(&w, x)| f32::from_le_bytes(w) * x).sum(),
        Format::F16 => row.as_chunks().0.iter().zip(x).map(|(&w, x)| f16::from_le_bytes(w).to_f32() * x).sum(),
        Format::Bf16 => row.as_chunks().0.iter().zip(x).map(|(&w, x)| bf16::from_le_bytes(w).to_f32() * x).sum(),
        Format::Q8_0 => blocks_dot(row.as_chunks().0.iter().map(q8_0_weights), x),
        Format::Q4_0 => blocks_dot(row.as_chunks().0.iter().map(q4_0_weights), x),
    }
}

fn blocks_dot(blocks: impl Iterator<Item = [f32; BLOCK]>, x: &[f32]) -> f32 {
    let block_dot = |(w, x): ([f32; BLOCK], &[f32; BLOCK])| w.iter().zip(x).map(|(w, x)| w * x).sum::<f32>();
    blocks.zip(x.as_chunks().0).map(block_dot).sum()
}
