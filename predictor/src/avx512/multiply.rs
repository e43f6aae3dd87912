//! `c += a · b`: tiles of six rows by 32 columns in registers.
//!
//! ```text
//!   a  6 rows, one value of each, broadcast   x   b  32 columns of one row   +─▶   c  6 x 32 sums in 12 registers
//! ```
//! A step down the inner dimension takes two loads, six broadcasts and twelve FMAs.

use std::arch::x86_64::*;

const LANES: usize = 16;
const COLUMNS: usize = 2 * LANES;
const ROWS: usize = 6;

/// As the scalar one.
///
/// # Safety
/// The processor has AVX-512 F. `a` is whole rows of `inner`, `b` is `inner` x `cols`, `c` has as many rows of `cols` as
/// `a` has.
#[target_feature(enable = "avx512f")]
pub(crate) unsafe fn multiply(a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize) {
    for (a, c) in a.chunks(ROWS * inner).zip(c.chunks_mut(ROWS * cols)) {
        for at in (0..cols).step_by(COLUMNS) {
            // SAFETY: by our contract, for as many rows as the chunk has; columns from `at` are within the row.
            unsafe {
                match a.len() / inner {
                    1 => tile::<1>(a, inner, b, c, cols, at),
                    2 => tile::<2>(a, inner, b, c, cols, at),
                    3 => tile::<3>(a, inner, b, c, cols, at),
                    4 => tile::<4>(a, inner, b, c, cols, at),
                    5 => tile::<5>(a, inner, b, c, cols, at),
                    _ => tile::<ROWS>(a, inner, b, c, cols, at),
                }
            }
        }
    }
}

/// # Safety
/// As for [`multiply`], with `R` rows in `a` and `c`, and `at < cols`.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize>(a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize, at: usize) {
    let mask = |first: usize| ((1_u32 << (cols - at).saturating_sub(first).min(LANES)) - 1) as __mmask16;
    let masks = [mask(0), mask(LANES)];
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    // SAFETY: rows of `a`, `b` and `c` are within their slices by the contract; lanes past the row are masked off, and
    // addresses of such lanes are only computed.
    unsafe {
        for k in 0..inner {
            let row = b.as_ptr().add(k * cols + at);
            let b = [_mm512_maskz_loadu_ps(masks[0], row), _mm512_maskz_loadu_ps(masks[1], row.wrapping_add(LANES))];
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = _mm512_set1_ps(*a.get_unchecked(r * inner + k));
                *sums = [_mm512_fmadd_ps(a, b[0], sums[0]), _mm512_fmadd_ps(a, b[1], sums[1])];
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let row = c.as_mut_ptr().add(r * cols + at);
            for (part, (&mask, &sum)) in masks.iter().zip(sums).enumerate() {
                let row = row.wrapping_add(part * LANES);
                _mm512_mask_storeu_ps(row, mask, _mm512_add_ps(_mm512_maskz_loadu_ps(mask, row), sum));
            }
        }
    }
}
