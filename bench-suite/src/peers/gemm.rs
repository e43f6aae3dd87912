//! The `gemm` crate: Rust's fastest dense kernels, here as a GEMV.
//!
//! Its GEMV runs on one thread whatever it is told, so rows are dealt to the threads of rayon's pool as ours are.

use gemm::{Parallelism, f16};
use kernels_cpu::{Format, Matrix};
use rayon::prelude::*;

use super::{DenseFfn, Peer, Run, numbers};
use crate::Result;

const TASKS_PER_THREAD: usize = 8;

/// The crate, in whatever version it was built.
pub(super) struct Gemm;

impl Peer for Gemm {
    fn name(&self) -> &'static str {
        "gemm"
    }

    fn version(&self) -> String {
        let locked = include_str!("../../../Cargo.lock").split_once("name = \"gemm\"\nversion = \"");
        let version = locked.and_then(|(_, rest)| rest.split('"').next()).unwrap_or("unknown");
        #[cfg(target_arch = "x86_64")]
        let isa = if is_x86_feature_detected!("avx512f") { "avx512" } else { "avx2" };
        #[cfg(not(target_arch = "x86_64"))]
        let isa = std::env::consts::ARCH;
        format!("{version} ({isa})")
    }

    fn brings_threads(&self) -> bool {
        false
    }

    fn formats(&self) -> &'static [Format] {
        &[Format::F32, Format::F16]
    }

    fn ffn<'a>(&self, ffn: DenseFfn<'a>, threads: usize) -> Result<Run<'a>> {
        ffn.require(self)?;
        let tasks = threads * TASKS_PER_THREAD;
        if ffn.gate.format() == Format::F16 {
            return Ok(ffn.by_gemv(half_gemv(tasks)));
        }
        Ok(ffn.by_gemv(move |w, x, y| {
            // SAFETY: every bit pattern is an f32, which the weights are where they are not f16.
            let w = unsafe { numbers::<f32>(w)? };
            deal(w, x, y, tasks, 1.0, 0.0);
            Ok(())
        }))
    }
}

/// gemm's operands are all of one type: x is rounded to f16 and y comes back from it.
fn half_gemv(tasks: usize) -> impl FnMut(&Matrix<'_>, &[f32], &mut [f32]) -> Result<()> + Send {
    let (mut half_x, mut half_y) = (Vec::new(), Vec::new());
    move |w, x, y| {
        half_x.clear();
        half_x.extend(x.iter().map(|&v| f16::from_f32(v)));
        half_y.resize(y.len(), f16::ZERO);
        // SAFETY: every bit pattern is an f16, which the caller made sure that the weights are.
        let w = unsafe { numbers::<f16>(w)? };
        deal(w, &half_x, &mut half_y, tasks, f16::ONE, f16::ZERO);
        y.iter_mut().zip(&half_y).for_each(|(y, half)| *y = half.to_f32());
        Ok(())
    }
}

/// `y = w x` with a share of the rows for each task.
fn deal<T: Copy + Send + Sync + 'static>(w: &[T], x: &[T], y: &mut [T], tasks: usize, one: T, zero: T) {
    let rows = y.len().div_ceil(tasks).max(1);
    w.par_chunks(rows * x.len()).zip(y.par_chunks_mut(rows)).for_each(|(w, y)| {
        let (rows, cols) = (y.len(), x.len());
        let (w, x, y) = (w.as_ptr(), x.as_ptr(), y.as_mut_ptr());
        let step = cols as isize;
        // SAFETY: w has rows x cols elements, x has cols and y has rows; y is not read.
        unsafe {
            gemm::gemm(
                rows,
                1,
                cols,
                y,
                1,
                1,
                false,
                w,
                1,
                step,
                x,
                step,
                1,
                zero,
                one,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    });
}
