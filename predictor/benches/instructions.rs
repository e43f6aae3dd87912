//! Instruction counts of every predictor, scalar and AVX2, at a small fixed size and on one thread: the same on any
//! machine and under any load. `ci/instructions` compares them with those it recorded.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly
#![allow(unused_qualifications, missing_docs)] // in code that the macros write

use std::hint::black_box;

use gungraun::prelude::*;
use kernels_cpu::{
    Cpu, Format, Isa,
    synthetic::{OwnedMatrix, Random},
};
use predictor::{GateFirst, LowRank, SignBits};

const NEURONS: usize = 512;
const HIDDEN: usize = 1024;
const RANK: usize = 64;

/// Weights of any predictor, its input and room for its scores.
struct Setup {
    cpu: Cpu,
    gate: OwnedMatrix,
    fc1: OwnedMatrix,
    fc2: OwnedMatrix,
    signs: SignBits,
    x: Vec<f32>,
    scores: Vec<f32>,
}

fn setup(isa: Isa, format: Format) -> Setup {
    let matrix = |rows, cols, seed| OwnedMatrix::random(format, rows, cols, seed).expect("a small matrix");
    let gate = matrix(NEURONS, HIDDEN, 1);
    Setup {
        cpu: Cpu::with(isa, 1).expect("an instruction set that valgrind executes"),
        signs: SignBits::of(&gate.view().expect("a shape checked when it was made")),
        gate,
        fc1: matrix(RANK, HIDDEN, 2),
        fc2: matrix(NEURONS, RANK, 3),
        x: Random::new(4).vector(HIDDEN),
        scores: vec![0.0; NEURONS],
    }
}

#[library_benchmark(setup = setup)]
#[bench::scalar_f16(Isa::Scalar, Format::F16)]
#[bench::scalar_q8_0(Isa::Scalar, Format::Q8_0)]
#[bench::scalar_q4_0(Isa::Scalar, Format::Q4_0)]
#[bench::avx2_f16(Isa::Avx2, Format::F16)]
#[bench::avx2_q8_0(Isa::Avx2, Format::Q8_0)]
#[bench::avx2_q4_0(Isa::Avx2, Format::Q4_0)]
fn low_rank(mut setup: Setup) -> Setup {
    let (fc1, fc2) = (setup.fc1.view().expect("a checked shape"), setup.fc2.view().expect("a checked shape"));
    let mut predictor = LowRank::new(fc1, fc2).expect("equal ranks");
    predictor.scores(&setup.cpu, &setup.x, &mut setup.scores).expect("shapes that fit");
    drop(predictor);
    black_box(setup)
}

#[library_benchmark(setup = setup)]
#[bench::scalar_q8_0(Isa::Scalar, Format::Q8_0)]
#[bench::avx2_q8_0(Isa::Avx2, Format::Q8_0)]
fn gate_first(mut setup: Setup) -> Setup {
    let gate = GateFirst::new(setup.gate.view().expect("a shape checked when it was made"));
    gate.scores(&setup.cpu, &setup.x, &mut setup.scores).expect("shapes that fit");
    drop(gate);
    black_box(setup)
}

#[library_benchmark(setup = setup)]
#[bench::scalar(Isa::Scalar, Format::Q8_0)]
#[bench::avx2(Isa::Avx2, Format::Q8_0)]
fn sign_bits(mut setup: Setup) -> Setup {
    setup.signs.scores(&setup.cpu, &setup.x, &mut setup.scores).expect("shapes that fit");
    black_box(setup)
}

library_benchmark_group!(name = predictors, benchmarks = [low_rank, gate_first, sign_bits]);
main!(library_benchmark_groups = predictors);
