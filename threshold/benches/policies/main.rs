//! Every policy at the width of Llama-2-70B's FFN: time of one selection by instruction set, then what all of them
//! select on drifting streams, each set to the same mean density.
//!
//! `cargo bench -p threshold` runs both; the second part also lands in `target/threshold/policies.csv` and `.json`.

#![allow(clippy::expect_used, reason = "a bench that cannot run should stop")]

mod comparison;
mod kernels;
mod setup;
mod table;

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use setup::{NEURONS, Setup, isas};
use threshold::comparison::Kind;
use threshold::{Knobs, PolicySpec, ScoreStream};

fn main() {
    let setup = Setup::new(0.0, 0.0).expect("the tables of this file are sound");
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    kernels::bench(&mut criterion, &setup);
    selections(&mut criterion, &setup);
    criterion.final_summary();

    let arguments: Vec<String> = std::env::args().collect();
    let given = |flag: &str| arguments.iter().any(|argument| argument == flag);
    // Without `--bench` cargo runs this as a test.
    if given("--bench") && !["--test", "--list", "--profile-time"].into_iter().any(given) {
        kernels::print_table(&setup);
        comparison::run().expect("the streams make scores that every policy takes");
    }
}

/// One selection of each policy, near a density of 0.10, on each instruction set.
fn selections(criterion: &mut Criterion, setup: &Setup) {
    // Several tokens in turn: a branch predictor can learn one token's scores by heart.
    let (tokens, layer) = (8, 40);
    let mut stream = ScoreStream::new(&setup.table, NEURONS, Knobs::stationary(1)).expect("knobs in range");
    let mut scores = vec![vec![0.0; NEURONS]; tokens];
    for scores in &mut scores {
        stream.next_token(layer, scores).expect("a layer of the table");
    }
    let mut active = Vec::with_capacity(NEURONS);

    let mut group = criterion.benchmark_group("select");
    group.throughput(Throughput::Elements(NEURONS as u64));
    let kinds = Kind::ALL.into_iter().map(|kind| kind.at(kind.start()).expect("a knob in range"));
    for spec in [PolicySpec::Dense].into_iter().chain(kinds) {
        for isa in isas() {
            let mut policy = setup.build(&spec, stream.shape(), Some(isa)).expect("calibrated for this shape");
            let mut token = scores.iter().cycle();
            group.bench_function(BenchmarkId::new(isa.to_string(), spec), |bencher| {
                bencher.iter(|| {
                    let scores = token.next().expect("a cycle has no end");
                    policy.select(layer, black_box(scores), &mut active).expect("finite scores");
                    black_box(active.len())
                });
            });
        }
    }
    group.finish();
}
