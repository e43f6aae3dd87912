//! Instruction counts of every operator that valgrind can execute (scalar and AVX2), at a small fixed size and on one
//! thread: the same on any machine and under any load. `ci/instructions` compares them with those it recorded.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly
#![allow(unused_qualifications, missing_docs)] // in code that the macros write

use std::hint::black_box;

use gungraun::prelude::*;
use kernels_cpu::{
    Activation, Cpu, Ffn, FfnToken, Format, Gating, Isa, KvCache, Matrix,
    synthetic::{OwnedMatrix, Random, Rotation},
};

const NEURONS: usize = 512;
const HIDDEN: usize = 1024;
const POSITIONS: usize = 200;
const HEADS: usize = 2;
const HEAD_SIZE: usize = 128;
const QUERIES_PER_HEAD: usize = 8;

fn cpu(isa: Isa) -> Cpu {
    Cpu::with(isa, 1).expect("an instruction set that valgrind executes")
}

/// A layer at density 0.25, ready to run.
struct Layer {
    cpu: Cpu,
    weights: [OwnedMatrix; 3],
    x: Vec<f32>,
    active: Vec<u32>,
    h: Vec<f32>,
    y: Vec<f32>,
}

impl Layer {
    fn new(isa: Isa, format: Format) -> Self {
        let active = Rotation::new(NEURONS, 0.25, 1).next_set().to_vec();
        Self {
            cpu: cpu(isa),
            weights: [3, 4, 5].map(|seed| OwnedMatrix::random(format, NEURONS, HIDDEN, seed).expect("a small layer")),
            x: Random::new(6).vector(HIDDEN),
            h: Random::new(2).vector(active.len()),
            active,
            y: vec![0.0; HIDDEN],
        }
    }
}

// Out of the benches: callgrind counts from their names on, and stops where a name within has theirs in it, as that of a
// function that is given a closure of theirs does.
fn views(weights: &[OwnedMatrix; 3]) -> [Matrix<'_>; 3] {
    weights.each_ref().map(|w| w.view().expect("a shape checked when it was made"))
}

fn run_ffn(layer: &mut Layer, gating: Gating) {
    let [gate, up, down] = views(&layer.weights);
    let ffn = Ffn::new(gate, up, down, Activation::Relu, gating).expect("matrices of one layer");
    layer.cpu.ffn(&ffn, &layer.x, &layer.active, &mut layer.y).expect("shapes that fit");
}

/// A bench of `$name` for each instruction set and format. What is set up is returned: dropping it is not counted.
macro_rules! in_every_format {
    ($name:ident, |$layer:ident| $run:expr) => {
        #[library_benchmark(setup = Layer::new)]
        #[bench::scalar_f32(Isa::Scalar, Format::F32)]
        #[bench::scalar_f16(Isa::Scalar, Format::F16)]
        #[bench::scalar_bf16(Isa::Scalar, Format::Bf16)]
        #[bench::scalar_q8_0(Isa::Scalar, Format::Q8_0)]
        #[bench::scalar_q4_0(Isa::Scalar, Format::Q4_0)]
        #[bench::avx2_f32(Isa::Avx2, Format::F32)]
        #[bench::avx2_f16(Isa::Avx2, Format::F16)]
        #[bench::avx2_bf16(Isa::Avx2, Format::Bf16)]
        #[bench::avx2_q8_0(Isa::Avx2, Format::Q8_0)]
        #[bench::avx2_q4_0(Isa::Avx2, Format::Q4_0)]
        fn $name(mut $layer: Layer) -> Layer {
            $run;
            black_box($layer)
        }
    };
}

in_every_format!(gemv, |layer| {
    let [w, ..] = views(&layer.weights);
    layer.cpu.gemv(&w, &layer.x, &layer.active, &mut layer.h).expect("shapes that fit");
});
in_every_format!(gate_up, |layer| {
    let Layer { cpu, weights, x, active, h, .. } = &mut layer;
    let [gate, up, _] = views(weights);
    cpu.gate_up(&gate, &up, Activation::Relu, x, active, h).expect("shapes that fit");
});
in_every_format!(down, |layer| {
    let [.., down] = views(&layer.weights);
    layer.cpu.down(&down, &layer.h, &layer.active, &mut layer.y).expect("shapes that fit");
});
in_every_format!(ffn, |layer| run_ffn(&mut layer, Gating::Together));
// Half of the active neurons come through the gate.
in_every_format!(ffn_gate_first, |layer| run_ffn(&mut layer, Gating::First { threshold: 0.0 }));
// Two tokens that share half of their neurons.
in_every_format!(ffn_batch, |layer| {
    let Layer { cpu, weights, x, active, y, .. } = &mut layer;
    let [gate, up, down] = views(weights);
    let ffn = Ffn::new(gate, up, down, Activation::Relu, Gating::Together).expect("matrices of one layer");
    let (first, last) = (&active[..active.len() * 2 / 3], &active[active.len() / 3..]);
    let mut other = vec![0.0; HIDDEN];
    let mut tokens = [FfnToken { x, active: first, y }, FfnToken { x, active: last, y: &mut other }];
    cpu.ffn_batch(&ffn, &mut tokens).expect("shapes that fit");
});

/// Attention over a full cache.
struct Attention {
    cpu: Cpu,
    cache: KvCache,
    queries: Vec<f32>,
    out: Vec<f32>,
}

fn filled_cache(isa: Isa) -> Attention {
    let mut random = Random::new(7);
    let mut cache = KvCache::new(HEADS, HEAD_SIZE, POSITIONS).expect("a small cache");
    for position in 0..POSITIONS {
        let [key, value] = [0; 2].map(|_| random.vector(HEADS * HEAD_SIZE));
        cache.store(position, &key, &value).expect("a position within the cache");
    }
    let queries = random.vector(HEADS * QUERIES_PER_HEAD * HEAD_SIZE);
    Attention { cpu: cpu(isa), cache, out: vec![0.0; queries.len()], queries }
}

#[library_benchmark(setup = filled_cache)]
#[bench::scalar(Isa::Scalar)]
#[bench::avx2(Isa::Avx2)]
fn attention(mut attention: Attention) -> Attention {
    let Attention { cpu, cache, queries, out } = &mut attention;
    cpu.attend(cache, POSITIONS, queries, out).expect("shapes that fit");
    black_box(attention)
}

fn bytes(isa: Isa) -> (Cpu, OwnedMatrix) {
    (cpu(isa), OwnedMatrix::random(Format::F32, NEURONS, HIDDEN, 8).expect("a small matrix"))
}

#[library_benchmark(setup = bytes)]
#[bench::scalar(Isa::Scalar)]
#[bench::avx2(Isa::Avx2)]
fn read((cpu, bytes): (Cpu, OwnedMatrix)) -> (Cpu, OwnedMatrix) {
    black_box(cpu.read_all(bytes.view().expect("a shape checked when it was made").bytes()));
    (cpu, bytes)
}

library_benchmark_group!(
    name = operators,
    benchmarks = [gemv, gate_up, down, ffn, ffn_gate_first, ffn_batch, attention, read]
);
main!(library_benchmark_groups = operators);
