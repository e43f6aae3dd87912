//! Instruction counts of every selection kernel, scalar and AVX2, over a fixed layer of scores: the same on any machine
//! and under any load. `ci/instructions` compares them with those it recorded.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly
#![allow(unused_qualifications, unused_mut, missing_docs)] // in code that the macros write

use std::hint::black_box;

use gungraun::prelude::*;
use threshold::{
    Isa,
    select::{BUCKETS, Kernels, Ranking},
};

const NEURONS: usize = 4096;
const KEPT: usize = NEURONS / 10;

/// Scores, the score of rank [`KEPT`] among them, and memory for what is found.
struct Setup {
    kernels: &'static Kernels,
    scores: Vec<f32>,
    cut: f32,
    ranking: Ranking,
    active: Vec<u32>,
    counts: Box<[u32; BUCKETS]>,
}

fn setup(isa: Isa) -> Setup {
    let kernels = Kernels::with(isa).expect("an instruction set that valgrind executes");
    // Fourth powers of the steps of a golden-ratio sequence: spread and skewed as activations are, without a generator.
    let scores =
        (0..NEURONS as u32).map(|i| (f64::from(i.wrapping_mul(2_654_435_769)) / 2.0_f64.powi(32)).powi(4) as f32);
    let scores: Vec<f32> = scores.collect();
    let mut ranking = Ranking::with_capacity(kernels, NEURONS);
    let cut = ranking.kth_largest(&scores, KEPT).expect("a rank that exists").score;
    Setup { kernels, scores, cut, ranking, active: Vec::with_capacity(NEURONS), counts: Box::new([0; BUCKETS]) }
}

macro_rules! on_every_isa {
    ($name:ident, |$setup:ident| $run:expr) => {
        #[library_benchmark(setup = setup)]
        #[bench::scalar(Isa::Scalar)]
        #[bench::avx2(Isa::Avx2)]
        fn $name(mut $setup: Setup) -> Setup {
            $run.expect("finite scores");
            black_box($setup)
        }
    };
}

on_every_isa!(at_least, |s| s.kernels.at_least(&s.scores, s.cut, &mut s.active));
on_every_isa!(top_k, |s| s.ranking.top_k(&s.scores, KEPT, &mut s.active));
on_every_isa!(top_p, |s| s.ranking.top_p(&s.scores, 0.5, &mut s.active));
on_every_isa!(quantile, |s| s.ranking.quantile(&s.scores, 0.9).map(black_box));
on_every_isa!(moments, |s| s.kernels.moments(&s.scores).map(black_box));
on_every_isa!(histogram, |s| s.kernels.histogram(&s.scores, &mut s.counts));

library_benchmark_group!(name = selection, benchmarks = [at_least, top_k, top_p, quantile, moments, histogram]);
main!(library_benchmark_groups = selection);
