//! The steps of attention, sixteen lanes at a time.
//!
//! ```text
//!   scores   a block of keys   |k0 ... k15| of element 0, of element 1, ...          eight queries meet it at a time:
//!                              one load, one multiple of it a query                   eight sums in registers
//!   mix      four rows of values, four queries: |v0|v1|v2|v3| x sixteen weights in registers, sums stay in L1
//! ```

use std::arch::x86_64::*;

use crate::{
    attention::{BLOCK, Kernel},
    rows::prefetch,
};

pub(crate) static KERNEL: Kernel = Kernel { scores, softmax, mix };

const LANES: usize = 16;
const QUERIES: usize = 8;
/// Blocks of keys, and rows of values, that are asked for ahead.
const BLOCKS_AHEAD: usize = 1;
const ROWS_AHEAD: usize = 16;

/// # Safety
/// The processor has AVX-512F; `keys` are whole blocks; `scores` has as many elements a query as they have positions.
#[target_feature(enable = "avx512f")]
unsafe fn scores(keys: &[u8], head_size: usize, queries: &[f32], scores: &mut [f32]) {
    let blocks = keys.len() / (BLOCK * head_size * size_of::<f32>());
    let stride = blocks * BLOCK;
    for block in 0..blocks {
        let keys = keys[block * BLOCK * head_size * size_of::<f32>()..].as_ptr().cast::<f32>();
        let parts = queries.chunks(QUERIES * head_size).zip(scores.chunks_mut(QUERIES * stride));
        for (queries, scores) in parts {
            let scores = &mut scores[block * BLOCK..];
            // SAFETY: a whole block lies at `keys`; `scores` reaches to the end of the last query's block.
            unsafe {
                if queries.len() == QUERIES * head_size {
                    block_scores::<QUERIES>(keys, head_size, queries, stride, scores);
                    continue;
                }
                for (query, queries) in queries.chunks_exact(head_size).enumerate() {
                    block_scores::<1>(keys, head_size, queries, stride, &mut scores[query * stride..]);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn block_scores<const Q: usize>(
    keys: *const f32,
    head_size: usize,
    queries: &[f32],
    stride: usize,
    scores: &mut [f32],
) {
    let mut sums = [_mm512_setzero_ps(); Q];
    let queries: [*const f32; Q] = std::array::from_fn(|q| queries[q * head_size..][..head_size].as_ptr());
    for element in 0..head_size {
        // SAFETY: the block has `BLOCK` keys of each element, and each query has the element.
        let keys = unsafe {
            let keys = keys.add(element * BLOCK);
            if Q == QUERIES {
                prefetch(keys.wrapping_add(BLOCKS_AHEAD * head_size * BLOCK).cast());
            }
            _mm512_loadu_ps(keys)
        };
        for q in 0..Q {
            // SAFETY: as above.
            let query = unsafe { _mm512_set1_ps(*queries[q].add(element)) };
            sums[q] = _mm512_fmadd_ps(query, keys, sums[q]);
        }
    }
    for q in 0..Q {
        let out = &mut scores[q * stride..][..BLOCK];
        // SAFETY: `out` is one vector long.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), sums[q]) };
    }
}

/// # Safety
/// The processor has AVX-512F; `scores` are whole vectors.
#[target_feature(enable = "avx512f")]
unsafe fn softmax(scores: &mut [f32]) -> (f32, f32) {
    let vectors = scores.as_chunks_mut::<LANES>().0;
    let mut max = _mm512_set1_ps(f32::NEG_INFINITY);
    for vector in &*vectors {
        // SAFETY: a vector is sixteen elements. `max` keeps its second operand where the first is NaN.
        max = _mm512_max_ps(unsafe { _mm512_loadu_ps(vector.as_ptr()) }, max);
    }
    let max = _mm512_reduce_max_ps(max);
    let from = _mm512_set1_ps(if max == f32::NEG_INFINITY { 0.0 } else { max });
    let mut sum = _mm512_setzero_ps();
    for vector in vectors {
        // SAFETY: as above.
        unsafe {
            let weight = exp(_mm512_sub_ps(_mm512_loadu_ps(vector.as_ptr()), from));
            sum = _mm512_add_ps(sum, weight);
            _mm512_storeu_ps(vector.as_mut_ptr(), weight);
        }
    }
    (max, _mm512_reduce_add_ps(sum))
}

/// `e^x` for `x` up to 0, to within 2^-22; 0 below -87, where it would be denormal. Cody and Waite's reduction to half of
/// ln 2, then the series.
#[inline]
#[target_feature(enable = "avx512f")]
fn exp(x: __m512) -> __m512 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let least = _mm512_set1_ps(-87.0);
    let counts = _mm512_cmp_ps_mask::<_CMP_NLT_UQ>(x, least);
    // The second operand comes back where either is NaN.
    let x = _mm512_max_ps(least, x);
    let n = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm512_mul_ps(
        x,
        _mm512_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2_HIGH), x);
    let r = _mm512_fnmadd_ps(n, _mm512_set1_ps(LN_2_LOW), r);
    let mut sum = _mm512_set1_ps(1.0 / 5040.0);
    for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = _mm512_fmadd_ps(sum, r, _mm512_set1_ps(inverse_factorial));
    }
    _mm512_maskz_scalef_ps(counts, sum, n)
}

/// # Safety
/// The processor has AVX-512F; `row` is whole vectors; `weights` has `stride` elements a query, no fewer than `values` has
/// rows; `sums` has `row` elements a query.
#[target_feature(enable = "avx512f")]
unsafe fn mix(values: &[u8], row: usize, weights: &[f32], stride: usize, sums: &mut [f32]) {
    let row_bytes = row * size_of::<f32>();
    for (four, values) in values.chunks(4 * row_bytes).enumerate() {
        let parts = weights.chunks(4 * stride).zip(sums.chunks_mut(4 * row));
        for (weights, sums) in parts {
            let weights = &weights[4 * four..];
            // SAFETY: `values` are whole rows, and there is a weight for each.
            unsafe {
                match (values.len() / row_bytes, sums.len() / row) {
                    (4, 4) => add_rows::<4, 4>(values, row, weights, stride, sums),
                    (positions, queries) => {
                        for (position, query) in (0..positions).flat_map(|p| (0..queries).map(move |q| (p, q))) {
                            let values = &values[position * row_bytes..];
                            let weights = &weights[query * stride + position..];
                            add_rows::<1, 1>(values, row, weights, stride, &mut sums[query * row..][..row]);
                        }
                    }
                }
            }
        }
    }
}

/// Adds `P` rows of values to the sums of `Q` queries.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn add_rows<const P: usize, const Q: usize>(
    values: &[u8],
    row: usize,
    weights: &[f32],
    stride: usize,
    sums: &mut [f32],
) {
    let values = values.as_ptr().cast::<f32>();
    let sums = sums.as_mut_ptr();
    let weights: [[__m512; P]; Q] =
        std::array::from_fn(|q| std::array::from_fn(|p| _mm512_set1_ps(weights[q * stride + p])));
    for at in (0..row).step_by(LANES) {
        // SAFETY: `P` rows lie at `values` and `Q` at `sums`.
        unsafe {
            let value: [__m512; P] = std::array::from_fn(|p| {
                let value = values.add(p * row + at);
                if P * Q > 1 {
                    prefetch(value.wrapping_add(ROWS_AHEAD * row).cast());
                }
                _mm512_loadu_ps(value)
            });
            for (q, weights) in weights.iter().enumerate() {
                let out = sums.add(q * row + at);
                let mut sum = _mm512_loadu_ps(out);
                for p in 0..P {
                    sum = _mm512_fmadd_ps(weights[p], value[p], sum);
                }
                _mm512_storeu_ps(out, sum);
            }
        }
    }
}
