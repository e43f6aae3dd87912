//! Dot products of active rows with `x` for bf16, eight rows at a time, two products a lane.
//!
//! ```text
//!            32 weights a step
//!   row j    [= = = = = = = =]-->  . . . pf    as they lie: no conversion
//!     ...                                      x = high + low, two bf16: 16 bits of mantissa
//!   row j+7  [= = = = = = = =]-->  . . . pf    vdpbf16ps: sum += w0 * x0 + w1 * x1, for high and for low
//!   x        [ high  |  low  ]-->              loaded once for eight rows
//! ```
//! Prefetches (`pf`) are as in `avx512/dot_float.rs`. The instruction reads denormals as zero.

use std::arch::x86_64::*;

use crate::{
    input::Input,
    rows::{Group, prefetch_each, row_operators},
};

const ROWS: usize = 8;
const STEP: usize = 64;
const AHEAD: usize = 2048;

row_operators!("avx512f,avx512bw,avx512vl,avx512bf16,f16c", <>, ROWS, AHEAD, dot_rows::<ROWS>);

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,f16c")]
unsafe fn dot_rows<const R: usize>(group: &Group<R>, input: &Input<'_>) -> [f32; R] {
    let mut sum = [[_mm512_setzero_ps(); 2]; R];
    let steps = input.x.len() / 32;
    let left = input.x.len() % 32;
    let ahead = (AHEAD / STEP).min(steps);
    // SAFETY: each row holds `x.len()` weights, and the input was prepared as pairs of bf16.
    unsafe {
        for step in 0..steps - ahead {
            prefetch_each(&group.row, (step + ahead) * STEP);
            add_step(&group.row, step, !0, input, &mut sum);
        }
        for step in 0..ahead {
            prefetch_each(&group.next, step * STEP);
            add_step(&group.row, steps - ahead + step, !0, input, &mut sum);
        }
        if left > 0 {
            add_step(&group.row, steps, (1 << left) - 1, input, &mut sum);
        }
    }
    sum.map(|[high, low]| {
        // Beside an infinity the low half says nothing: it may be zero, or of the other sign.
        let finite = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(_mm512_abs_ps(high), _mm512_set1_ps(f32::INFINITY));
        _mm512_reduce_add_ps(_mm512_mask_add_ps(high, finite, high, low))
    })
}

/// Adds `row . x` over those weights of a step whose bit is set in `mask`; no others are touched.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16,f16c")]
unsafe fn add_step<const R: usize>(
    row: &[*const u8; R],
    step: usize,
    mask: __mmask32,
    input: &Input<'_>,
    sum: &mut [[__m512; 2]; R],
) {
    // SAFETY: the caller gives a step of which the masked part lies within the rows and the input.
    unsafe {
        let halves = input.quantised.digits.as_ptr().add(2 * step);
        let [high, low] = [_mm512_loadu_si512(halves.cast()), _mm512_loadu_si512(halves.add(1).cast())];
        for r in 0..R {
            let w = bf16(_mm512_maskz_loadu_epi16(mask, row[r].add(step * STEP).cast()));
            sum[r][0] = _mm512_dpbf16_ps(sum[r][0], w, bf16(high));
            sum[r][1] = _mm512_dpbf16_ps(sum[r][1], w, bf16(low));
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn bf16(bits: __m512i) -> __m512bh {
    // SAFETY: two names of one 64-byte vector type.
    unsafe { std::mem::transmute(bits) }
}
