//! The steps of attention, eight lanes at a time.
//!
//! ```text
//!   scores   a block of keys   |k0..k7|k8..k15| of element 0, of element 1, ...      four queries meet it at a time:
//!                              one load of either half, one multiple of it a query    eight sums in registers
//!   mix      four rows of values, two queries: |v0|v1|v2|v3| x eight weights in registers, sums stay in L1
//! ```

use std::arch::x86_64::*;

use crate::{
    attention::{BLOCK, Kernel},
    rows::prefetch,
};

pub(crate) static KERNEL: Kernel = Kernel { scores, softmax, mix };

const LANES: usize = 8;
const QUERIES: usize = 4;
/// Blocks of keys, and rows of values, that are asked for ahead.
const BLOCKS_AHEAD: usize = 1;
const ROWS_AHEAD: usize = 16;

/// # Safety
/// The processor has AVX2 and FMA; `keys` are whole blocks; `scores` has as many elements a query as they have positions.
#[target_feature(enable = "avx2,fma")]
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
                match queries.len() / head_size {
                    1 => block_scores::<1>(keys, head_size, queries, stride, scores),
                    2 => block_scores::<2>(keys, head_size, queries, stride, scores),
                    3 => block_scores::<3>(keys, head_size, queries, stride, scores),
                    _ => block_scores::<QUERIES>(keys, head_size, queries, stride, scores),
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
unsafe fn block_scores<const Q: usize>(
    keys: *const f32,
    head_size: usize,
    queries: &[f32],
    stride: usize,
    scores: &mut [f32],
) {
    let mut sums = [[_mm256_setzero_ps(); 2]; Q];
    let queries: [*const f32; Q] = std::array::from_fn(|q| queries[q * head_size..][..head_size].as_ptr());
    for element in 0..head_size {
        // SAFETY: the block has `BLOCK` keys of each element, and each query has the element.
        let halves = unsafe {
            let keys = keys.add(element * BLOCK);
            prefetch(keys.wrapping_add(BLOCKS_AHEAD * head_size * BLOCK).cast());
            [_mm256_loadu_ps(keys), _mm256_loadu_ps(keys.add(LANES))]
        };
        for q in 0..Q {
            // SAFETY: as above.
            let query = unsafe { _mm256_set1_ps(*queries[q].add(element)) };
            for half in 0..2 {
                sums[q][half] = _mm256_fmadd_ps(query, halves[half], sums[q][half]);
            }
        }
    }
    for q in 0..Q {
        let out = &mut scores[q * stride..][..BLOCK];
        // SAFETY: `out` is two vectors long.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), sums[q][0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(LANES), sums[q][1]);
        }
    }
}

/// # Safety
/// The processor has AVX2 and FMA; `scores` are whole vectors.
#[target_feature(enable = "avx2,fma")]
unsafe fn softmax(scores: &mut [f32]) -> (f32, f32) {
    let vectors = scores.as_chunks_mut::<LANES>().0;
    let mut max = _mm256_set1_ps(f32::NEG_INFINITY);
    for vector in &*vectors {
        // SAFETY: a vector is eight elements. `max` keeps its second operand where the first is NaN.
        max = _mm256_max_ps(unsafe { _mm256_loadu_ps(vector.as_ptr()) }, max);
    }
    let max = lanes(max).into_iter().fold(f32::NEG_INFINITY, f32::max);
    let from = _mm256_set1_ps(if max == f32::NEG_INFINITY { 0.0 } else { max });
    let mut sum = _mm256_setzero_ps();
    for vector in vectors {
        // SAFETY: as above.
        unsafe {
            let weight = exp(_mm256_sub_ps(_mm256_loadu_ps(vector.as_ptr()), from));
            sum = _mm256_add_ps(sum, weight);
            _mm256_storeu_ps(vector.as_mut_ptr(), weight);
        }
    }
    (max, lanes(sum).into_iter().sum())
}

fn lanes(v: __m256) -> [f32; LANES] {
    // SAFETY: both are 32 bytes without padding, and every pattern is a number.
    unsafe { std::mem::transmute(v) }
}

/// `e^x` for `x` up to 0, to within 2^-22; 0 below -87, where it would be denormal. Cody and Waite's reduction to half of
/// ln 2, then the series.
#[inline]
#[target_feature(enable = "avx2,fma")]
fn exp(x: __m256) -> __m256 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let least = _mm256_set1_ps(-87.0);
    let vanishes = _mm256_cmp_ps::<_CMP_LT_OQ>(x, least);
    // The second operand comes back where either is NaN.
    let x = _mm256_max_ps(least, x);
    let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(_mm256_mul_ps(
        x,
        _mm256_set1_ps(std::f32::consts::LOG2_E),
    ));
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2_HIGH), x);
    let r = _mm256_fnmadd_ps(n, _mm256_set1_ps(LN_2_LOW), r);
    let mut sum = _mm256_set1_ps(1.0 / 5040.0);
    for inverse_factorial in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        sum = _mm256_fmadd_ps(sum, r, _mm256_set1_ps(inverse_factorial));
    }
    let power = _mm256_slli_epi32::<23>(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)));
    _mm256_andnot_ps(vanishes, _mm256_mul_ps(sum, _mm256_castsi256_ps(power)))
}

/// # Safety
/// The processor has AVX2 and FMA; `row` is whole vectors; `weights` has `stride` elements a query, no fewer than `values`
/// has rows; `sums` has `row` elements a query.
#[target_feature(enable = "avx2,fma")]
unsafe fn mix(values: &[u8], row: usize, weights: &[f32], stride: usize, sums: &mut [f32]) {
    let row_bytes = row * size_of::<f32>();
    for (four, values) in values.chunks(4 * row_bytes).enumerate() {
        for line in (0..values.len()).step_by(64) {
            prefetch(values.as_ptr().wrapping_add(ROWS_AHEAD * row_bytes + line));
        }
        let parts = weights.chunks(2 * stride).zip(sums.chunks_mut(2 * row));
        for (weights, sums) in parts {
            let weights = &weights[4 * four..];
            // SAFETY: `values` are whole rows, and there is a weight for each.
            unsafe {
                match (values.len() / row_bytes, sums.len() / row) {
                    (4, 2) => add_rows::<4, 2>(values, row, weights, stride, sums),
                    (4, _) => add_rows::<4, 1>(values, row, weights, stride, sums),
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
#[target_feature(enable = "avx2,fma")]
unsafe fn add_rows<const P: usize, const Q: usize>(
    values: &[u8],
    row: usize,
    weights: &[f32],
    stride: usize,
    sums: &mut [f32],
) {
    let values = values.as_ptr().cast::<f32>();
    let sums = sums.as_mut_ptr();
    let weights: [[__m256; P]; Q] =
        std::array::from_fn(|q| std::array::from_fn(|p| _mm256_set1_ps(weights[q * stride + p])));
    for at in (0..row).step_by(LANES) {
        // SAFETY: `P` rows lie at `values` and `Q` at `sums`.
        unsafe {
            let value: [__m256; P] = std::array::from_fn(|p| _mm256_loadu_ps(values.add(p * row + at)));
            for (q, weights) in weights.iter().enumerate() {
                let out = sums.add(q * row + at);
                let mut sum = _mm256_loadu_ps(out);
                for p in 0..P {
                    sum = _mm256_fmadd_ps(weights[p], value[p], sum);
                }
                _mm256_storeu_ps(out, sum);
            }
        }
    }
}
