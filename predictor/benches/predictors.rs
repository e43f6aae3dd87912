//! Every predictor for a 70B layer: hidden size 8192, 28672 neurons.
//!
//! Ranks 512 and 1024 are those of trained predictors in the field (Deja Vu 1000, DejaVu_predictor 1024), 1919 the
//! mean of PowerInfer's for LLaMA(ReGLU)-70B. Several predictors take turns, as the layers of a model do, so that each
//! reads memory and not the cache. Throughput is in bytes of weights.
//!
//! Ids are `predictor/isa-format-rowsxcols-tthreads-rrank/1`; measurement records are made from them. Sign bits and the gate
//! as its own predictor, in the groups `sign-bits` and `gate-first`, are what they are compared with.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly

use std::time::Duration;

use criterion::{
    BenchmarkGroup, BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use kernels_cpu::{
    Cpu, Format,
    synthetic::{OwnedMatrix, Random},
};
use predictor::{GateFirst, LowRank, SignBits};

const NEURONS: usize = 28672;
const HIDDEN: usize = 8192;
/// At least this much weight is walked before a predictor's turn comes again.
const ROTATED_BYTES: usize = 400 << 20;

fn random(format: Format, rows: usize, cols: usize, seed: u64) -> OwnedMatrix {
    OwnedMatrix::random(format, rows, cols, seed).expect("memory")
}

fn group<'c>(c: &'c mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'c, WallTime> {
    let mut group = c.benchmark_group(name);
    group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(2));
    group.warm_up_time(Duration::from_millis(500)).throughput(Throughput::Bytes(bytes as u64));
    group
}

fn low_rank(c: &mut Criterion) {
    let cpu = Cpu::new().expect("the instruction set that THRESHER_ISA names");
    let x = Random::new(1).vector(HIDDEN);
    let mut scores = vec![0.0; NEURONS];
    for format in [Format::F16, Format::Q8_0, Format::Q4_0] {
        for rank in [512_usize, 1024, 1919] {
            // Formats with blocks take the rank in whole blocks; the padding scores nothing and is counted as read.
            let padded = rank.next_multiple_of(format.block_len());
            let bytes = padded * format.row_bytes(HIDDEN).expect("whole blocks")
                + NEURONS * format.row_bytes(padded).expect("whole blocks");
            let weights: Vec<_> = (0..ROTATED_BYTES.div_ceil(bytes) as u64)
                .map(|i| [random(format, padded, HIDDEN, 2 * i), random(format, NEURONS, padded, 2 * i + 1)])
                .collect();
            let mut predictors: Vec<_> = weights
                .iter()
                .map(|w| w.each_ref().map(|w| w.view().expect("a shape checked when it was made")))
                .map(|[fc1, fc2]| LowRank::new(fc1, fc2).expect("equal ranks"))
                .collect();
            let function =
                format!("{}-{format}-{NEURONS}x{HIDDEN}-t{}-r{rank}", cpu.kernel(format).isa(), cpu.threads());
            let mut turn = 0;
            group(c, "predictor", bytes).bench_function(BenchmarkId::new(function, 1), |b| {
                b.iter(|| {
                    turn = (turn + 1) % predictors.len();
                    predictors[turn].scores(&cpu, &x, &mut scores).expect("shapes that fit");
                });
            });
        }
    }
}

fn sign_bits(c: &mut Criterion) {
    let cpu = Cpu::new().expect("the instruction set that THRESHER_ISA names");
    let x = Random::new(1).vector(HIDDEN);
    let mut scores = vec![0.0; NEURONS];
    let gate = random(Format::Q4_0, NEURONS, HIDDEN, 1);
    let one = SignBits::of(&gate.view().expect("a shape checked when it was made"));
    let bytes = one.cost().bytes;
    let mut predictors = vec![one; ROTATED_BYTES.div_ceil(bytes)];
    let mut turn = 0;
    let function = format!("{}-{NEURONS}x{HIDDEN}-t{}", cpu.isa(), cpu.threads());
    group(c, "sign-bits", bytes).bench_function(BenchmarkId::new(function, 1), |b| {
        b.iter(|| {
            turn = (turn + 1) % predictors.len();
            predictors[turn].scores(&cpu, &x, &mut scores).expect("shapes that fit");
        });
    });
}

fn gate_first(c: &mut Criterion) {
    let cpu = Cpu::new().expect("the instruction set that THRESHER_ISA names");
    let x = Random::new(1).vector(HIDDEN);
    let mut scores = vec![0.0; NEURONS];
    for format in [Format::F16, Format::Q8_0, Format::Q4_0] {
        let bytes = NEURONS * format.row_bytes(HIDDEN).expect("whole blocks");
        let gates: Vec<_> =
            (0..ROTATED_BYTES.div_ceil(bytes) as u64).map(|i| random(format, NEURONS, HIDDEN, i)).collect();
        let gates: Vec<_> = gates.iter().map(|gate| GateFirst::new(gate.view().expect("a checked shape"))).collect();
        let function = format!("{}-{format}-{NEURONS}x{HIDDEN}-t{}", cpu.kernel(format).isa(), cpu.threads());
        let mut turn = 0;
        group(c, "gate-first", bytes).bench_function(BenchmarkId::new(function, 1), |b| {
            b.iter(|| {
                turn = (turn + 1) % gates.len();
                gates[turn].scores(&cpu, &x, &mut scores).expect("shapes that fit");
            });
        });
    }
}

criterion_group!(benches, low_rank, sign_bits, gate_first);
criterion_main!(benches);
