//! Every operator at the shape of a 70B layer: 28672 neurons, hidden size 8192.
//!
//! Weights are hundreds of megabytes and active sets rotate through all rows, so each sample reads memory, not the
//! cache. Throughput is in bytes touched: set it beside `read`, the machine's read bandwidth in the same run.
//!
//! Ids are `operator/isa-format-rowsxcols-tthreads/density`; measurement records are made from them.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly

use std::{hint::black_box, time::Duration};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kernels_cpu::{
    Activation, Cpu, KERNELS,
    synthetic::{OwnedMatrix, Random, Rotation},
};

const NEURONS: usize = 28672;
const HIDDEN: usize = 8192;
const DENSITIES: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.05];

fn operators(c: &mut Criterion) {
    let cpu = Cpu::new().expect("the instruction set that THRESHER_ISA names");
    let x = Random::new(1).vector(HIDDEN);
    for kernel in KERNELS.iter().filter(|kernel| kernel.isa() == cpu.isa()) {
        let format = kernel.format();
        let weights = |seed| OwnedMatrix::random(format, NEURONS, HIDDEN, seed).expect("memory for one layer");
        let [gate, up, down] = [2, 3, 4].map(weights);
        let [gate, up, down] = [&gate, &up, &down].map(|w| w.view().expect("a shape checked above"));
        let function = format!("{}-{format}-{NEURONS}x{HIDDEN}-t{}", cpu.isa(), cpu.threads());

        let mut group = c.benchmark_group("read");
        group.sampling_mode(SamplingMode::Flat).sample_size(10).measurement_time(Duration::from_secs(1));
        group.throughput(Throughput::Bytes(gate.bytes().len() as u64));
        group.bench_function(BenchmarkId::new(&function, 1), |b| b.iter(|| black_box(cpu.read_all(gate.bytes()))));
        group.finish();

        for density in DENSITIES {
            let mut sets = Rotation::new(NEURONS, density, 5);
            let mut h = vec![0.0; sets.set_len()];
            let mut y = vec![0.0; HIDDEN];
            let touched = (sets.set_len() * gate.row_bytes()) as u64;
            let mut bench = |operator: &str, matrices: u64, run: &mut dyn FnMut(&[u32])| {
                let mut group = c.benchmark_group(operator);
                group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(2));
                group.warm_up_time(Duration::from_millis(500)).throughput(Throughput::Bytes(matrices * touched));
                group.bench_function(BenchmarkId::new(&function, density), |b| b.iter(|| run(sets.next_set())));
                group.finish();
            };
            bench("gate_up", 2, &mut |active| {
                cpu.gate_up(&gate, &up, Activation::Relu, &x, active, &mut h).expect("shapes that fit");
            });
            bench("down", 1, &mut |active| cpu.down(&down, &h, active, &mut y).expect("shapes that fit"));
        }
    }
}

criterion_group!(benches, operators);
criterion_main!(benches);
