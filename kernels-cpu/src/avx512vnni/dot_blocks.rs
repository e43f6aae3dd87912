//! Dot products of active rows with `x` for q8_0 and q4_0, eight rows at a time, in bytes.
//!
//! ```text
//!            two blocks of q8_0 or four of q4_0 a step
//!   row j    [d|q..q][d|q..q]-->  . . . pf    weights as unsigned bytes u = q + 128 or q + 8
//!   row j+1  [d|q..q][d|q..q]-->  . . . pf    x = scale * (128 * high + low), two signed bytes
//!     ...                                     four products a lane (vpdpbusd): u * high, shifted, + u * low, exactly;
//!   row j+7  [d|q..q][d|q..q]-->  . . . pf    then once a step to f32 and times d and the scale of x
//!   x        [ high  | low  ]-->              loaded once for eight rows, 2 bytes a column: stays in L1
//! ```
//! Prefetches (`pf`) are as in `avx512/dot_float.rs`.

use std::arch::x86_64::*;

use super::blocks::{Blocks, Digits};
use crate::{
    format::BLOCK,
    input::{Input, Quantised},
    rows::{Group, prefetch_each, row_operators},
};

const ROWS: usize = 8;
const AHEAD: usize = 2048;
/// Bytes of the longest step.
const STEP_BYTES: usize = 72;

row_operators!("avx512f,avx512bw,avx512vl,avx512vnni,f16c", <B: Blocks>, ROWS, AHEAD, dot_rows::<B, ROWS>);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn dot_rows<B: Blocks, const R: usize>(group: &Group<R>, input: &Input<'_>) -> [f32; R] {
    let mut sum = [_mm512_setzero_ps(); R];
    let blocks = input.x.len() / BLOCK;
    let steps = blocks / B::STEP;
    let step_bytes = B::STEP * B::BYTES;
    let ahead = (AHEAD / step_bytes).min(steps);
    // SAFETY: each row holds `blocks` blocks, and the input was prepared in this format's form: whole steps.
    unsafe {
        for step in 0..steps - ahead {
            let x = digits::<B>(&input.quantised, step);
            prefetch_each(&group.row, (step + ahead) * step_bytes);
            for (sum, row) in sum.iter_mut().zip(group.row) {
                add_step::<B>(row.add(step * step_bytes), &x, sum);
            }
        }
        for step in 0..ahead {
            prefetch_each(&group.next, step * step_bytes);
            let step = steps - ahead + step;
            let x = digits::<B>(&input.quantised, step);
            for (sum, row) in sum.iter_mut().zip(group.row) {
                add_step::<B>(row.add(step * step_bytes), &x, sum);
            }
        }
        let left = blocks % B::STEP * B::BYTES;
        if left > 0 {
            let x = digits::<B>(&input.quantised, steps);
            for (sum, row) in sum.iter_mut().zip(group.row) {
                // The blocks that are left, and behind them blocks of scale zero.
                let mut padded = [0; STEP_BYTES];
                row.add(steps * step_bytes).copy_to_nonoverlapping(padded.as_mut_ptr(), left);
                add_step::<B>(padded.as_ptr(), &x, sum);
            }
        }
    }
    sum.map(|sum| _mm512_reduce_add_ps(sum))
}

/// What step `step` of the weights meets.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn digits<B: Blocks>(x: &Quantised, step: usize) -> Digits {
    // SAFETY: the caller gives a step of the input, whose parts are padded to whole steps.
    unsafe {
        let vectors = x.digits.as_ptr().add(step * 2 * B::PARTS);
        let vector = |i: usize| _mm512_loadu_si512(vectors.add(i).cast());
        let last = B::PARTS - 1;
        let scales = _mm_maskz_loadu_ps((1 << B::STEP) - 1, x.scale.as_ptr().add(step * B::STEP));
        let offset = _mm512_set1_epi8(B::OFFSET as i8);
        let mut added = [_mm512_setzero_si512(); 2];
        for part in 0..B::PARTS {
            added[0] = _mm512_dpbusd_epi32(added[0], offset, vector(part));
            added[1] = _mm512_dpbusd_epi32(added[1], offset, vector(B::PARTS + part));
        }
        let added = _mm512_add_epi32(_mm512_slli_epi32::<7>(added[0]), added[1]);
        Digits {
            high: [vector(0), vector(last)],
            low: [vector(B::PARTS), vector(B::PARTS + last)],
            correction: _mm512_sub_epi32(_mm512_setzero_si512(), added),
            scale: _mm512_permutexvar_ps(
                _mm512_loadu_si512(B::BLOCK_OF_LANE.as_ptr().cast()),
                _mm512_castps128_ps512(scales),
            ),
        }
    }
}

/// Adds `row . x` over the step at `blocks`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,f16c")]
unsafe fn add_step<B: Blocks>(blocks: *const u8, x: &Digits, sum: &mut __m512) {
    // SAFETY: the caller gives a whole step.
    unsafe {
        let scale = _mm512_mul_ps(B::scales(blocks), x.scale);
        *sum = _mm512_fmadd_ps(scale, _mm512_cvtepi32_ps(B::products(blocks, x)), *sum);
    }
}
