//! The passes that selection is made of, beside the time it takes to read the scores from L2 cache.

use std::hint::black_box;
use std::time::Instant;

use criterion::{BenchmarkId, Criterion, Throughput};
use threshold::select::{BUCKETS, Kernels, Ranking};
use threshold::{Isa, Knobs, ScoreStream};

use crate::comparison::percentile;
use crate::setup::{NEURONS, Setup, isas};

/// Scores of 4 tokens: more than L1 holds, less than L2, with what is written.
const TOKENS: usize = 4;

/// Rounds of the table, each pass once a round and token.
const ROUNDS: usize = 201;

/// Of the scores of one token.
type Run = Box<dyn FnMut(&[f32]) -> usize>;

/// What is timed.
struct Pass {
    name: String,
    isa: Isa,
    run: Run,
}

/// What the compiler makes of the plainest loop: at the bench's baseline already as fast as L2.
fn read(scores: &[f32]) -> usize {
    scores.iter().fold(0, |bits, score| bits ^ score.to_bits()) as usize
}

fn tokens(setup: &Setup) -> Vec<Vec<f32>> {
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::stationary(1)).expect("knobs in range");
    let mut scores = vec![vec![0.0; NEURONS]; TOKENS];
    for scores in &mut scores {
        stream.next_token(40, scores).expect("a layer of the table");
    }
    scores
}

fn passes(scores: &[f32]) -> Vec<Pass> {
    let mut passes = Vec::new();
    for isa in isas() {
        let kernels = Kernels::with(isa).expect("an instruction set that runs");
        let ranking = || Ranking::with_capacity(kernels, NEURONS);
        let mut add = |name: String, run: Run| passes.push(Pass { name, isa, run });
        for density in [0.05, 0.10, 0.25, 0.50] {
            let rank = (density * NEURONS as f64) as usize;
            let cut = ranking().kth_largest(scores, rank).expect("a rank that exists").score;
            let mut active = Vec::with_capacity(NEURONS);
            let at_least = move |scores: &[f32]| {
                kernels.at_least(scores, cut, &mut active).expect("finite scores");
                active.len()
            };
            add(format!("at_least density={density}"), Box::new(at_least));
            let (mut ranking, mut active) = (ranking(), Vec::with_capacity(NEURONS));
            let top_k = move |scores: &[f32]| {
                ranking.top_k(scores, rank, &mut active).expect("finite scores");
                active.len()
            };
            add(format!("top_k density={density}"), Box::new(top_k));
        }
        let (mut ranker, mut active) = (ranking(), Vec::with_capacity(NEURONS));
        let top_p = move |scores: &[f32]| {
            ranker.top_p(scores, 0.5, &mut active).expect("finite scores");
            active.len()
        };
        add("top_p mass=0.5".to_owned(), Box::new(top_p));
        let mut ranker = ranking();
        let quantile = move |scores: &[f32]| ranker.quantile(scores, 0.9).expect("finite scores").to_bits() as usize;
        add("quantile share=0.9".to_owned(), Box::new(quantile));
        let moments = |scores: &[f32]| kernels.moments(scores).expect("finite scores").largest.to_bits() as usize;
        add("moments".to_owned(), Box::new(moments));
        let mut counts = [0; BUCKETS];
        let histogram = move |scores: &[f32]| {
            kernels.histogram(scores, &mut counts).expect("finite scores");
            counts[0] as usize
        };
        add("histogram".to_owned(), Box::new(histogram));
    }
    passes
}

pub(crate) fn bench(criterion: &mut Criterion, setup: &Setup) {
    let scores = tokens(setup);
    let mut group = criterion.benchmark_group("pass");
    group.throughput(Throughput::Bytes(size_of_val(scores[0].as_slice()) as u64));
    let mut token = scores.iter().cycle();
    group.bench_function("read", |bencher| {
        bencher.iter(|| read(black_box(token.next().expect("a cycle has no end"))));
    });
    for mut pass in passes(&scores[0]) {
        group.bench_function(BenchmarkId::new(pass.isa.to_string(), pass.name), |bencher| {
            bencher.iter(|| (pass.run)(black_box(token.next().expect("a cycle has no end"))));
        });
    }
    group.finish();
}

/// All passes in turn, round after round: the medians of their times, and of their times over that of the read beside
/// them.
pub(crate) fn print_table(setup: &Setup) {
    let scores = tokens(setup);
    let mut passes = passes(&scores[0]);
    let mut reads = Vec::new();
    let mut times = vec![(Vec::new(), Vec::new()); passes.len()];
    let time = |run: &mut dyn FnMut(&[f32]) -> usize| {
        let start = Instant::now();
        for scores in &scores {
            black_box(run(black_box(scores)));
        }
        start.elapsed().as_secs_f64() * 1e6 / TOKENS as f64
    };
    for _ in 0..ROUNDS {
        for (pass, (times, ratios)) in passes.iter_mut().zip(&mut times) {
            // Its output and scratch memory into the caches, in place of those of the pass before.
            time(&mut *pass.run);
            let read = time(&mut read);
            let taken = time(&mut *pass.run);
            reads.push(read);
            times.push(taken);
            ratios.push(taken / read);
        }
    }
    println!("\nA pass over {NEURONS} scores in L2 cache, and its time over that of reading them:");
    println!("{:<24} {:<8} {:>8} {:>8}", "pass", "isa", "us", "x read");
    println!("{:<24} {:<8} {:>8.2} {:>8.2}", "read", "", percentile(&mut reads, 0.5), 1.0);
    for (pass, (mut times, mut ratios)) in passes.into_iter().zip(times) {
        let (us, ratio) = (percentile(&mut times, 0.5), percentile(&mut ratios, 0.5));
        println!("{:<24} {:<8} {us:>8.2} {ratio:>8.2}", pass.name, pass.isa.to_string());
    }
}
