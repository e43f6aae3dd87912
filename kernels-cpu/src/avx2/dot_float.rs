//! Dot products of active rows with `x` for f32, f16 and bf16, eight rows at a time.
//!
//! ```text
//!            128 bytes a step
//!   row j    [==|==|==|==]-->  . . . pf    each row is one forward stream; `pf` runs AHEAD bytes in front of it, into
//!   row j+1  [==|==|==|==]-->  . . . pf    L2, and near the row's end enters the rows that come next in the list:
//!     ...                                  nothing outside the named rows is fetched
//!   row j+7  [==|==|==|==]-->  . . . pf
//!   x        [==|==|==|==]-->              loaded once for eight rows
//! ```
//! One accumulator a row, eight in all: enough for the FMA latency (4 or 5 cycles, 2 a cycle). A row's sum does not
//! depend on its neighbours, so results are the same however the list is cut into tasks.

use std::arch::x86_64::*;

use super::float::{Float, first, lane_sum};
use crate::{
    input::Input,
    rows::{Group, PAIR, row_operators},
};

const ROWS: usize = 8;
const STEP: usize = PAIR;
const AHEAD: usize = 2048;

row_operators!("avx2,fma,f16c", <F: Float>, ROWS, AHEAD, dot_rows::<F, ROWS>);

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn dot_rows<F: Float, const R: usize>(group: &Group<R>, input: &Input<'_>) -> [f32; R] {
    let mut sum = [_mm256_setzero_ps(); R];
    let columns = STEP / F::BYTES;
    let steps = input.x.len() / columns;
    let ahead = (AHEAD / STEP).min(steps);
    let (body, tail) = input.x.split_at(steps * columns);
    // SAFETY: each row holds `x.len()` weights, `steps` steps among them.
    unsafe {
        for step in 0..steps - ahead {
            group.prefetch_pair(&group.row, (step + ahead) * STEP);
            add_step::<F, R>(&group.row, step * STEP, body, &mut sum);
        }
        for step in 0..ahead {
            group.prefetch_pair(&group.next, step * STEP);
            add_step::<F, R>(&group.row, (steps - ahead + step) * STEP, body, &mut sum);
        }
        for (part, x) in tail.chunks(8).enumerate() {
            let at = steps * STEP + 8 * part * F::BYTES;
            for (sum, row) in sum.iter_mut().zip(group.row) {
                *sum = _mm256_fmadd_ps(F::load_first(x.len(), row.add(at)), first(x), *sum);
            }
        }
    }
    sum.map(|sum| lane_sum(sum))
}

/// Adds `row . x` over the step that lies `at` bytes into each row.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
unsafe fn add_step<F: Float, const R: usize>(row: &[*const u8; R], at: usize, x: &[f32], sum: &mut [__m256; R]) {
    // SAFETY: the caller gives a step that lies within the rows and `x`.
    unsafe {
        let x = x.as_ptr().add(at / F::BYTES);
        for part in 0..STEP / F::BYTES / 8 {
            let x = _mm256_loadu_ps(x.add(8 * part));
            for r in 0..R {
                let w = F::load(row[r].add(at + 8 * part * F::BYTES));
                sum[r] = _mm256_fmadd_ps(w, x, sum[r]);
            }
        }
    }
}
