//! Where rows lie changes nothing, and what lies elsewhere is never used.

#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Activation, Ffn, Gating, Matrix};
use proptest::prelude::*;
use support::{
    bits,
    cases::{Case, Layer, cases, gatings},
    kernels::{Tested, runnable_kernels},
    oracle::{Counts, Neuron},
    some,
    weights::Weights,
};

/// Every operator's results on these three matrices.
fn results(
    tested: &Tested,
    threads: usize,
    [gate, up, down]: [Matrix<'_>; 3],
    layer: &Layer,
    gating: Gating,
) -> [Vec<u32>; 4] {
    let (cpu, active) = (tested.cpu(threads), &layer.active);
    let (mut out, mut h) = (vec![f32::NAN; active.len()], vec![f32::NAN; active.len()]);
    cpu.gemv(&gate, &layer.x, active, &mut out).unwrap();
    cpu.gate_up(&gate, &up, Activation::Silu, &layer.x, active, &mut h).unwrap();
    let mut y = vec![0.0; layer.x.len()];
    cpu.down(&down, &h, active, &mut y).unwrap();
    let ffn = Ffn::new(gate, up, down, Activation::Silu, gating).unwrap();
    let mut ffn_y = vec![f32::NAN; layer.x.len()];
    cpu.ffn(&ffn, &layer.x, active, &mut ffn_y).unwrap();
    [&out, &h, &y, &ffn_y].map(|values| bits(values))
}

fn views(layer: &Layer) -> [Matrix<'_>; 3] {
    [layer.gate.view(), layer.up.view(), layer.down.view()]
}

/// The same rows `gap` bytes of ones apart: NaN to every format.
fn strided(w: &Weights, gap: usize) -> (usize, Vec<u8>) {
    let stride = w.row_bytes() + gap;
    let mut bytes = Vec::new();
    for row in 0..w.view().rows() {
        bytes.resize(row * stride, 0xff);
        bytes.extend(w.view().row(row).unwrap());
    }
    (stride, bytes)
}

proptest! {
    #![proptest_config(some(256))]

    #[test]
    fn strided_rows_give_the_same_bits(
        case in cases(),
        gaps in prop::array::uniform3(0..200_usize),
        gating in gatings(),
    ) {
        for tested in runnable_kernels() {
            let layer = case.layer(tested.format());
            let plain = views(&layer);
            let weights = [&layer.gate, &layer.up, &layer.down];
            let copies = [0, 1, 2].map(|i| strided(weights[i], gaps[i]));
            let apart: [Matrix<'_>; 3] = std::array::from_fn(|i| {
                let (stride, bytes) = &copies[i];
                Matrix::strided(tested.format(), case.rows, plain[i].cols(), *stride, bytes).unwrap()
            });
            prop_assert_eq!(
                results(tested, case.threads, apart, &layer, gating),
                results(tested, case.threads, plain, &layer, gating),
                "{}", tested
            );
        }
    }

    #[test]
    fn bundled_neurons_give_the_same_bits(case in cases(), gating in gatings()) {
        for tested in runnable_kernels() {
            let layer = case.layer(tested.format());
            let plain = views(&layer);
            let mut bytes = Vec::new();
            for row in 0..case.rows {
                plain.iter().for_each(|w| bytes.extend(w.row(row).unwrap()));
            }
            let bundle = Matrix::bundle(tested.format(), case.rows, plain[0].cols(), &bytes).unwrap();
            prop_assert_eq!(
                results(tested, case.threads, bundle, &layer, gating),
                results(tested, case.threads, plain, &layer, gating),
                "{}", tested
            );
        }
    }

    #[test]
    fn rows_that_are_not_active_are_never_used(case in cases(), gating in gatings()) {
        for tested in runnable_kernels() {
            let clean = case.layer(tested.format());
            let [gate, up, down] = [&clean.gate, &clean.up, &clean.down].map(|w| w.spoiled_except(&clean.active));
            let spoiled = Layer { gate, up, down, ..clean.clone() };
            prop_assert_eq!(
                results(tested, case.threads, views(&spoiled), &spoiled, gating),
                results(tested, case.threads, views(&clean), &clean, gating),
                "{}", tested
            );
        }
    }

    #[test]
    fn up_and_down_rows_that_the_gate_drops_are_never_used(case in cases(), threshold in 0.0..0.5_f32) {
        let case = Case { density: case.density.max(0.5), ..case };
        for tested in runnable_kernels() {
            let clean = case.layer(tested.format());
            let counts = |&row: &u32| {
                let (gate, up) = (clean.gate.row(row), clean.up.row(row));
                Neuron::new(&gate, &up, Activation::Silu, &clean.x, tested.kernel.input_rounding()).counts(threshold)
            };
            let kept: Vec<u32> = clean.active.iter().copied().filter(|row| counts(row) != Counts::No).collect();
            let [up, down] = [&clean.up, &clean.down].map(|w| w.spoiled_except(&kept));
            let spoiled = Layer { up, down, ..clean.clone() };
            let result = |layer: &Layer| {
                let mut y = vec![f32::NAN; layer.x.len()];
                let ffn = layer.ffn(Activation::Silu, Gating::First { threshold });
                let counted = tested.cpu(case.threads).ffn(&ffn, &layer.x, &layer.active, &mut y).unwrap();
                (counted, bits(&y))
            };
            prop_assert_eq!(result(&spoiled), result(&clean), "{}", tested);
        }
    }
}
