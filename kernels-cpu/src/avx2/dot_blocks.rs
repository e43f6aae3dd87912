//! Dot products of active rows with `x` for q8_0 and q4_0, eight rows at a time, in integers.
//!
//! ```text
//!            one block of 32 a step
//!   row j    [d|q..............q]-->  . . . pf    34 or 18 bytes: scale d (f16), 32 weights q -> 16 bits each
//!   row j+1  [d|q..............q]-->  . . . pf    times x in pairs (vpmaddwd), exactly;
//!     ...                                         then once a block to f32 and times d and the scale of x
//!   row j+7  [d|q..............q]-->  . . . pf
//!   x        [ 32 x 16 bits     ]-->              loaded once for eight rows
//! ```
//! Prefetches (`pf`) are as in `dot_float.rs`.

use std::arch::x86_64::*;

use super::{
    blocks::{Blocks, scale},
    float::lane_sum,
};
use crate::{
    format::BLOCK,
    input::Input,
    rows::{Group, prefetch_each, row_operators},
};

const ROWS: usize = 8;
const AHEAD: usize = 2048;

row_operators!("avx2,fma,f16c", <B: Blocks>, ROWS, AHEAD, dot_rows::<B, ROWS>);

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot_rows<B: Blocks, const R: usize>(group: &Group<R>, input: &Input<'_>) -> [f32; R] {
    let mut sum = [_mm256_setzero_ps(); R];
    let blocks = input.x.len() / BLOCK;
    let ahead = (AHEAD / B::BYTES).min(blocks);
    // SAFETY: each row holds `blocks` blocks.
    unsafe {
        for b in 0..blocks - ahead {
            prefetch_each(&group.row, (b + ahead) * B::BYTES);
            add_block::<B, R>(&group.row, b, input, &mut sum);
        }
        for b in 0..ahead {
            prefetch_each(&group.next, b * B::BYTES);
            add_block::<B, R>(&group.row, blocks - ahead + b, input, &mut sum);
        }
    }
    sum.map(|sum| lane_sum(sum))
}

/// Adds `row . x` over block `b`.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_block<B: Blocks, const R: usize>(
    row: &[*const u8; R],
    b: usize,
    input: &Input<'_>,
    sum: &mut [__m256; R],
) {
    // SAFETY: the caller gives a block that lies within the rows and the input, which was prepared in this form.
    unsafe {
        let x = input.quantised.wide.as_ptr().add(b * BLOCK);
        let x = [_mm256_loadu_si256(x.cast()), _mm256_loadu_si256(x.add(16).cast())];
        let x_scale = _mm256_set1_ps(*input.quantised.scale.as_ptr().add(b));
        for r in 0..R {
            let block = row[r].add(b * B::BYTES);
            let [low, high] = B::wide(block);
            let products = _mm256_add_epi32(_mm256_madd_epi16(low, x[0]), _mm256_madd_epi16(high, x[1]));
            let scale = _mm256_mul_ps(scale(block), x_scale);
            sum[r] = _mm256_fmadd_ps(scale, _mm256_cvtepi32_ps(products), sum[r]);
        }
    }
}
