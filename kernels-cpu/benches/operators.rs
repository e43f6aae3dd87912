//! Every operator at the shape of a 70B layer: 28672 neurons, hidden size 8192.
//!
//! Weights are hundreds of megabytes, active sets rotate through all rows and projections walk through all weights, so
//! each sample reads memory, not the cache. Throughput is in bytes touched: set it beside `read`, the machine's read
//! bandwidth in the same run.
//!
//! `ffn_gate_first` computes the gate of every neuron and lets its density through to up and down.
//!
//! Ids are `operator/isa-format-rowsxcols-tthreads/density`; measurement records are made from them. Everything runs
//! within `Cpu::install`, as a decode loop does: the threads are awake.

#![allow(clippy::expect_used)] // a bench that cannot be set up should stop loudly

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use kernels_cpu::{
    Activation, Cpu, Ffn, Format, Gating, Matrix,
    synthetic::{OwnedMatrix, Random, Rotation},
};

const NEURONS: usize = 28672;
const HIDDEN: usize = 8192;
const DENSITIES: [f64; 5] = [1.0, 0.5, 0.25, 0.1, 0.05];
/// Outputs of the dense projections: keys or values, queries, the LM head of Llama-2.
const PROJECTIONS: [usize; 3] = [1024, 8192, 32000];

fn operators(c: &mut Criterion) {
    let cpu = Cpu::new().expect("the instruction set that THRESHER_ISA names");
    // Every format, also where its best kernel is that of a plainer instruction set.
    for format in Format::ALL {
        // By the threads that will read it.
        let block = cpu.install(|| OwnedMatrix::layer(format, NEURONS, HIDDEN, 1)).expect("memory for one layer");
        layer(c, &cpu, format, block.view().expect("a shape checked when it was made").bytes());
    }
}

fn layer(c: &mut Criterion, cpu: &Cpu, format: Format, weights: &[u8]) {
    let x = Random::new(2).vector(HIDDEN);
    let row_bytes = format.row_bytes(HIDDEN).expect("whole blocks");
    let part = |rows: usize, place: usize| {
        let len = rows * row_bytes;
        let start = place % (weights.len() / len) * len;
        Matrix::new(format, rows, HIDDEN, &weights[start..start + len]).expect("a part of the weights")
    };
    let mut timed = |operator: &str, rows: usize, density: f64, touched: usize, run: &mut (dyn FnMut() + Send)| {
        let function = format!("{}-{format}-{rows}x{HIDDEN}-t{}", cpu.kernel(format).isa(), cpu.threads());
        let mut group = c.benchmark_group(operator);
        group.sampling_mode(SamplingMode::Flat).sample_size(20).measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(500)).throughput(Throughput::Bytes((touched * row_bytes) as u64));
        group.bench_function(BenchmarkId::new(function, density), |b| {
            b.iter_custom(|iterations| {
                cpu.install(|| {
                    let start = Instant::now();
                    (0..iterations).for_each(|_| run());
                    start.elapsed()
                })
            });
        });
        group.finish();
    };

    for rows in PROJECTIONS {
        let all: Vec<u32> = (0..rows as u32).collect();
        let mut out = vec![0.0; rows];
        let mut place = 0;
        timed("gemv", rows, 1.0, rows, &mut || {
            place += 1;
            cpu.gemv(&part(rows, place), &x, &all, &mut out).expect("shapes that fit");
        });
    }

    let [gate, up, down] = [0, 1, 2].map(|place| part(NEURONS, place));
    let ffn = Ffn::new(gate, up, down, Activation::Relu, Gating::Together).expect("matrices of one layer");
    let everyone: Vec<u32> = (0..NEURONS as u32).collect();
    let mut gates = vec![0.0; NEURONS];
    cpu.gemv(&gate, &x, &everyone, &mut gates).expect("shapes that fit");
    for density in DENSITIES {
        let mut sets = Rotation::new(NEURONS, density, 3);
        let mut h = vec![0.0; sets.set_len()];
        let mut y = vec![0.0; HIDDEN];
        // Beside each density, for machines that drift; the best one is the roof.
        timed("read", NEURONS, density, NEURONS, &mut || {
            black_box(cpu.read_all(gate.bytes()));
        });
        timed("gate_up", NEURONS, density, 2 * sets.set_len(), &mut || {
            cpu.gate_up(&gate, &up, Activation::Relu, &x, sets.next_set(), &mut h).expect("shapes that fit");
        });
        timed("down", NEURONS, density, sets.set_len(), &mut || {
            cpu.down(&down, &h, sets.next_set(), &mut y).expect("shapes that fit");
        });
        timed("ffn", NEURONS, density, 3 * sets.set_len(), &mut || {
            cpu.ffn(&ffn, &x, sets.next_set(), &mut y).expect("shapes that fit");
        });
        // The same neurons come through every time; between two times all of gate passes through the caches.
        // ReLU leaves half of random weights, SiLU all of them; the threshold does the rest.
        let activation = if density < 0.5 { Activation::Relu } else { Activation::Silu };
        let mut magnitudes: Vec<f32> = gates.iter().map(|&gate| activation.apply(gate).abs()).collect();
        magnitudes.sort_by(|a, b| b.total_cmp(a));
        let threshold = magnitudes.get(sets.set_len()).copied().unwrap_or(0.0);
        let gating = Gating::First { threshold };
        let gate_first = Ffn::new(gate, up, down, activation, gating).expect("matrices of one layer");
        let through = cpu.ffn(&gate_first, &x, &everyone, &mut y).expect("shapes that fit");
        timed("ffn_gate_first", NEURONS, density, NEURONS + 2 * through, &mut || {
            cpu.ffn(&gate_first, &x, &everyone, &mut y).expect("shapes that fit");
        });
    }
}

criterion_group!(benches, operators);
criterion_main!(benches);
