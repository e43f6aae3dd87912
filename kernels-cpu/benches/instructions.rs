//! Instruction counts of every kernel that valgrind can execute (scalar and AVX2), at a small fixed size: the same
//! on any machine and under any load. Needs valgrind and a `gungraun-runner` of the same version as the crate:
//! `cargo bench -p kernels-cpu --features instruction-counts --bench instructions`.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly
#![allow(unused_qualifications, missing_docs)] // in code that the macros write

use std::hint::black_box;

use gungraun::prelude::*;
use kernels_cpu::{
    Activation, Cpu, Ffn, Format, Gating, Isa,
    synthetic::{OwnedMatrix, Random, Rotation},
};

const NEURONS: usize = 512;
const HIDDEN: usize = 1024;

/// A layer at density 0.25 on one thread, ready to run.
struct Layer {
    cpu: Cpu,
    weights: [OwnedMatrix; 3],
    x: Vec<f32>,
    active: Vec<u32>,
    h: Vec<f32>,
    y: Vec<f32>,
}

fn layer(isa: Isa, format: Format) -> Layer {
    let mut sets = Rotation::new(NEURONS, 0.25, 1);
    let active = sets.next_set().to_vec();
    let h = Random::new(2).vector(active.len());
    Layer {
        cpu: Cpu::with(isa, 1).expect("an instruction set that valgrind executes"),
        weights: [3, 4, 5].map(|seed| OwnedMatrix::random(format, NEURONS, HIDDEN, seed).expect("a small layer")),
        x: Random::new(6).vector(HIDDEN),
        active,
        h,
        y: vec![0.0; HIDDEN],
    }
}

#[library_benchmark(setup = layer)]
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
fn gate_up(mut layer: Layer) -> Layer {
    let Layer { cpu, weights, x, active, h, .. } = &mut layer;
    let [gate, up, _] = weights.each_ref().map(|w| w.view().expect("a shape checked when it was made"));
    cpu.gate_up(&gate, &up, Activation::Relu, x, active, h).expect("shapes that fit");
    black_box(layer)
}

#[library_benchmark(setup = layer)]
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
fn down(mut layer: Layer) -> Layer {
    let Layer { cpu, weights, active, h, y, .. } = &mut layer;
    let w = weights[2].view().expect("a shape checked when it was made");
    cpu.down(&w, h, active, y).expect("shapes that fit");
    black_box(layer)
}

#[library_benchmark(setup = layer)]
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
fn ffn(mut layer: Layer) -> Layer {
    let Layer { cpu, weights, x, active, y, .. } = &mut layer;
    let [gate, up, down] = weights.each_ref().map(|w| w.view().expect("a shape checked when it was made"));
    let ffn = Ffn::new(gate, up, down, Activation::Relu, Gating::Together).expect("matrices of one layer");
    cpu.ffn(&ffn, x, active, y).expect("shapes that fit");
    black_box(layer)
}

// Half of the active neurons come through the gate.
#[library_benchmark(setup = layer)]
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
fn ffn_gate_first(mut layer: Layer) -> Layer {
    let Layer { cpu, weights, x, active, y, .. } = &mut layer;
    let [gate, up, down] = weights.each_ref().map(|w| w.view().expect("a shape checked when it was made"));
    let gating = Gating::First { threshold: 0.0 };
    let ffn = Ffn::new(gate, up, down, Activation::Relu, gating).expect("matrices of one layer");
    cpu.ffn(&ffn, x, active, y).expect("shapes that fit");
    black_box(layer)
}

library_benchmark_group!(name = operators, benchmarks = [gate_up, down, ffn, ffn_gate_first]);
main!(library_benchmark_groups = operators);
