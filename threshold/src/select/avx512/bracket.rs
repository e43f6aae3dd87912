//! Scores between two bounds, and how many are above.
//!
//! ```text
//!   scores   [....|....|....|....]   16 lanes, four times
//!   ≥ low     0110 0111 1000 0110    two compares
//!   > high    0010 0000 0000 0100    counted
//!   within   [* * * * * * ........]  the first without the second, compressed as in `compact`
//! ```
//! Brackets are narrow: eight lanes are stored, and the other eight only if they hold something.

use std::arch::x86_64::*;

use super::{LANES, load, load_masked, mask};

const UNROLL: usize = 4;

pub(super) fn bracket(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores, low, high, within) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn run(scores: &[f32], low: f32, high: f32, within: &mut Vec<f32>) -> usize {
    within.reserve(scores.len());
    let to = within.spare_capacity_mut().as_mut_ptr().cast::<f32>();
    let [low, high] = [_mm512_set1_ps(low), _mm512_set1_ps(high)];
    let (mut len, mut above) = (0, 0);
    let (groups, rest) = scores.as_chunks::<{ UNROLL * LANES }>();
    for group in groups {
        let (parts, _) = group.as_chunks::<LANES>();
        for part in parts {
            let lanes = load(part);
            let over = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(lanes, high);
            // What is above the bracket reaches its low end.
            let kept = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(lanes, low) ^ over;
            let scores = _mm512_maskz_compress_ps(kept, lanes);
            // SAFETY: as many scores as were read may be written, and these are 16.
            unsafe {
                _mm256_storeu_ps(to.add(len), _mm512_castps512_ps256(scores));
                if kept.count_ones() > 8 {
                    _mm512_storeu_ps(to.add(len), scores);
                }
            }
            len += kept.count_ones() as usize;
            above += over.count_ones() as usize;
        }
    }
    for part in rest.chunks(LANES) {
        let (there, lanes) = load_masked(part);
        let over = _mm512_mask_cmp_ps_mask::<_CMP_GT_OQ>(there, lanes, high);
        let kept = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, lanes, low) ^ over;
        let some = kept.count_ones() as usize;
        // SAFETY: as many lanes as are kept, for which there is room.
        unsafe { _mm512_mask_storeu_ps(to.add(len), mask(some), _mm512_maskz_compress_ps(kept, lanes)) };
        len += some;
        above += over.count_ones() as usize;
    }
    // SAFETY: `len` scores are written, within the capacity.
    unsafe { within.set_len(within.len() + len) };
    above
}
