//! The passes that selection is made of, beside the time it takes to read the scores from L2 cache.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use threshold::select::{BUCKETS, Kernels, Ranking};
use threshold::{Knobs, ScoreStream};

use crate::setup::{NEURONS, Setup, isas};

/// Scores of 4 tokens: more than L1 holds, less than L2, with what is written.
const TOKENS: usize = 4;

pub(crate) fn passes(criterion: &mut Criterion, setup: &Setup) {
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::stationary(1)).expect("knobs in range");
    let mut scores = vec![vec![0.0; NEURONS]; TOKENS];
    for scores in &mut scores {
        stream.next_token(40, scores).expect("a layer of the table");
    }
    let mut active = Vec::with_capacity(NEURONS);
    let mut counts = [0; BUCKETS];

    let mut group = criterion.benchmark_group("pass");
    group.throughput(Throughput::Bytes(size_of_val(scores[0].as_slice()) as u64));
    let mut token = scores.iter().cycle();
    // The fastest loop of safe code: the compiler's, at the widest that the bench is compiled for.
    group.bench_function("read", |bencher| {
        bencher.iter(|| {
            let scores = black_box(token.next().expect("a cycle has no end"));
            scores.iter().fold(0, |bits, score| bits ^ score.to_bits())
        });
    });
    for kernels in isas().into_iter().map(|isa| Kernels::with(isa).expect("an instruction set that runs")) {
        let mut ranking = Ranking::with_capacity(kernels, NEURONS);
        let mut pass = |name: &str, pass: &mut dyn FnMut(&[f32]) -> usize| {
            let mut token = scores.iter().cycle();
            group.bench_function(BenchmarkId::new(kernels.isa().to_string(), name), |bencher| {
                bencher.iter(|| pass(black_box(token.next().expect("a cycle has no end"))));
            });
        };
        for density in [0.05, 0.10, 0.25, 0.50] {
            let rank = (density * NEURONS as f64) as usize;
            let cut = ranking.kth_largest(&scores[0], rank).expect("a rank that exists").score;
            pass(&format!("at_least density={density}"), &mut |scores| {
                kernels.at_least(scores, cut, &mut active).expect("finite scores");
                active.len()
            });
            pass(&format!("top_k density={density}"), &mut |scores| {
                ranking.top_k(scores, rank, &mut active).expect("finite scores");
                active.len()
            });
        }
        pass("top_p mass=0.5", &mut |scores| {
            ranking.top_p(scores, 0.5, &mut active).expect("finite scores");
            active.len()
        });
        pass("quantile 0.9", &mut |scores| ranking.quantile(scores, 0.9).expect("finite scores") as usize);
        pass("moments", &mut |scores| kernels.moments(scores).expect("finite scores").largest as usize);
        pass("histogram", &mut |scores| {
            kernels.histogram(scores, &mut counts).expect("finite scores");
            counts[0] as usize
        });
    }
    group.finish();
}
