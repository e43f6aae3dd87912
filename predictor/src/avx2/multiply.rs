//! `c += a · b`: tiles of four rows by 16 columns in registers.
//!
//! ```text
//!   a  4 rows, one value of each, broadcast   x   b  16 columns of one row   +─▶   c  4 x 16 sums in 8 registers
//! ```

use std::arch::x86_64::*;

const LANES: usize = 8;
const COLUMNS: usize = 2 * LANES;
const ROWS: usize = 4;

/// As the scalar one.
///
/// # Safety
/// The processor has AVX2 and FMA. `a` is whole rows of `inner`, `b` is `inner` x `cols`, `c` has as many rows of `cols`
/// as `a` has.
#[target_feature(enable = "avx2,fma")]
pub(crate) unsafe fn multiply(a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize) {
    for (a, c) in a.chunks(ROWS * inner).zip(c.chunks_mut(ROWS * cols)) {
        for at in (0..cols).step_by(COLUMNS) {
            // SAFETY: by our contract, for as many rows as the chunk has; columns from `at` are within the row.
            unsafe {
                match a.len() / inner {
                    1 => tile::<1>(a, inner, b, c, cols, at),
                    2 => tile::<2>(a, inner, b, c, cols, at),
                    3 => tile::<3>(a, inner, b, c, cols, at),
                    _ => tile::<ROWS>(a, inner, b, c, cols, at),
                }
            }
        }
    }
}

/// # Safety
/// As for [`multiply`], with `R` rows in `a` and `c`, and `at < cols`.
#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize>(a: &[f32], inner: usize, b: &[f32], c: &mut [f32], cols: usize, at: usize) {
    let lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let mask =
        |first: usize| _mm256_cmpgt_epi32(_mm256_set1_epi32((cols - at).saturating_sub(first).min(LANES) as i32), lane);
    let masks = [mask(0), mask(LANES)];
    let mut sums = [[_mm256_setzero_ps(); 2]; R];
    // SAFETY: rows of `a`, `b` and `c` are within their slices by the contract; lanes past the row are masked off, and
    // addresses of such lanes are only computed.
    unsafe {
        for k in 0..inner {
            let row = b.as_ptr().add(k * cols + at);
            let b = [_mm256_maskload_ps(row, masks[0]), _mm256_maskload_ps(row.wrapping_add(LANES), masks[1])];
            for (r, sums) in sums.iter_mut().enumerate() {
                let a = _mm256_set1_ps(*a.get_unchecked(r * inner + k));
                *sums = [_mm256_fmadd_ps(a, b[0], sums[0]), _mm256_fmadd_ps(a, b[1], sums[1])];
            }
        }
        for (r, sums) in sums.iter().enumerate() {
            let row = c.as_mut_ptr().add(r * cols + at);
            for (part, (&mask, &sum)) in masks.iter().zip(sums).enumerate() {
                let row = row.wrapping_add(part * LANES);
                _mm256_maskstore_ps(row, mask, _mm256_add_ps(_mm256_maskload_ps(row, mask), sum));
            }
        }
    }
}
