//! Indices of the scores that reach a threshold.
//!
//! ```text
//!   scores   [....|....|....|....]   16 lanes, four times
//!   kept      0110 0001 1000 0010    one compare
//!   indices  [1 2 7 8 14 ........]   compressed in a register, stored whole; the next 16 overwrite what is too much
//! ```
//! One more compare looks for NaN in 32 scores. After i scores at most i indices are written, so a whole store of 16
//! stays within room for all scores.
//!
//! A store that crosses cache lines costs Zen 4 more than anything else here. Where few were kept of late, eight lanes
//! are stored, and the other eight only if they hold something, which they rarely do.

use std::arch::x86_64::*;

use super::{LANES, lane_numbers, load, load_masked, mask};

/// Scores between two looks at how many were kept.
const BLOCK: usize = 1024;
const UNROLL: usize = 4;

pub(super) fn compact(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool {
    // SAFETY: whoever has these kernels runs on a processor with AVX-512 (`Kernels::with`).
    unsafe { run(scores, threshold, first, active) }
}

/// Where the next index goes, and what was seen so far.
#[derive(Clone, Copy)]
struct State {
    to: *mut u32,
    len: usize,
    threshold: __m512,
    indices: __m512i,
    nan: __mmask16,
}

#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
fn run(scores: &[f32], threshold: f32, first: u32, active: &mut Vec<u32>) -> bool {
    active.reserve(scores.len());
    let mut state = State {
        to: active.spare_capacity_mut().as_mut_ptr().cast(),
        len: 0,
        threshold: _mm512_set1_ps(threshold),
        indices: _mm512_add_epi32(_mm512_set1_epi32(first as i32), lane_numbers()),
        nan: 0,
    };
    let mut few = true;
    for block in scores.chunks(BLOCK) {
        let before = state.len;
        // SAFETY: there is room for all scores, this block's among them.
        state = unsafe { if few { add::<true>(state, block) } else { add::<false>(state, block) } };
        few = (state.len - before) * 4 < block.len();
    }
    // SAFETY: `len` indices are written, within the capacity.
    unsafe { active.set_len(active.len() + state.len) };
    state.nan != 0
}

/// # Safety
/// There is room for as many indices as there are scores, after the `len` that are written.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,popcnt")]
unsafe fn add<const FEW: bool>(mut state: State, scores: &[f32]) -> State {
    let (groups, rest) = scores.as_chunks::<{ UNROLL * LANES }>();
    for group in groups {
        let (parts, _) = group.as_chunks::<LANES>();
        let mut kept = [0; UNROLL];
        for pair in [0, 2] {
            let [left, right] = [load(&parts[pair]), load(&parts[pair + 1])];
            state.nan |= _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(left, right);
            kept[pair] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(left, state.threshold);
            kept[pair + 1] = _mm512_cmp_ps_mask::<_CMP_GE_OQ>(right, state.threshold);
        }
        for (kept, ahead) in kept.into_iter().zip([0, 16, 32, 48]) {
            let indices = _mm512_add_epi32(state.indices, _mm512_set1_epi32(ahead));
            let indices = _mm512_maskz_compress_epi32(kept, indices);
            // SAFETY: as many indices as there were scores may be written, and these are 16 scores.
            unsafe {
                let to = state.to.add(state.len);
                if FEW {
                    _mm256_storeu_si256(to.cast(), _mm512_castsi512_si256(indices));
                    if kept.count_ones() > 8 {
                        _mm256_storeu_si256(to.add(8).cast(), _mm512_extracti64x4_epi64::<1>(indices));
                    }
                } else {
                    _mm512_storeu_si512(to.cast(), indices);
                }
            }
            state.len += kept.count_ones() as usize;
        }
        state.indices = _mm512_add_epi32(state.indices, _mm512_set1_epi32((UNROLL * LANES) as i32));
    }
    for part in rest.chunks(LANES) {
        let (there, lanes) = load_masked(part);
        state.nan |= _mm512_mask_cmp_ps_mask::<_CMP_UNORD_Q>(there, lanes, lanes);
        let kept = _mm512_mask_cmp_ps_mask::<_CMP_GE_OQ>(there, lanes, state.threshold);
        let some = kept.count_ones() as usize;
        let indices = _mm512_maskz_compress_epi32(kept, state.indices);
        // SAFETY: as many lanes as are kept, for which there is room.
        unsafe { _mm512_mask_storeu_epi32(state.to.add(state.len).cast(), mask(some), indices) };
        state.len += some;
        state.indices = _mm512_add_epi32(state.indices, _mm512_set1_epi32(LANES as i32));
    }
    state
}
