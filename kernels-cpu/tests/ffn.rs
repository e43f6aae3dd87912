//! The whole FFN against the f64 oracle, what its gate drops, and that a token in a batch is as if it were alone.

#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Activation, Ffn, FfnToken, Format, Gating, MAX_BATCH, synthetic::Random};
use proptest::prelude::*;
use support::{
    bits,
    cases::{Case, Layer, activation, cases, gatings, random_active},
    kernels::{Tested, runnable_kernels},
    oracle::{self, Counts, HiddenRounding, Neuron},
    some,
    weights::{Spread, Weights, numbers},
};

impl Layer {
    fn neurons(&self, activation: Activation, tested: &Tested) -> Vec<Neuron> {
        let rounding = tested.kernel.input_rounding();
        let neuron = |&row: &u32| Neuron::new(&self.gate.row(row), &self.up.row(row), activation, &self.x, rounding);
        self.active.iter().map(neuron).collect()
    }
}

/// One token by itself: how many neurons counted, and the output.
fn alone(tested: &Tested, threads: usize, ffn: &Ffn<'_>, x: &[f32], active: &[u32]) -> (usize, Vec<f32>) {
    let mut y = vec![f32::NAN; x.len()];
    let counted = tested.cpu(threads).ffn(ffn, x, active, &mut y).unwrap();
    (counted, y)
}

fn layer(case: &Case, tested: &Tested) -> Layer {
    case.layer(tested.format())
}

proptest! {
    #![proptest_config(some(384))]

    #[test]
    fn ffn_agrees_with_the_oracle(case in cases(), relu: bool) {
        let activation = activation(relu);
        for tested in runnable_kernels() {
            let layer = layer(&case, tested);
            let ffn = layer.ffn(activation, Gating::Together);
            let (counted, y) = alone(tested, case.threads, &ffn, &layer.x, &layer.active);
            prop_assert_eq!(counted, layer.active.len());
            let h: Vec<_> = layer.neurons(activation, tested).iter().map(|neuron| neuron.h).collect();
            let rounding = tested.hidden_rounding(tested.format());
            let wanted = oracle::down(&vec![0.0; y.len()], &h, &layer.active, &layer.down, rounding);
            for (c, (want, &got)) in wanted.iter().zip(&y).enumerate() {
                prop_assert!(want.admits(got), "{tested} column {c}: {got}, wanted {want:?}");
            }
        }
    }

    // `near` picks a neuron whose activation the threshold is near, so that some lie on either side of it.
    #[test]
    fn gate_first_ffn_agrees_with_the_oracle(
        case in cases(),
        relu: bool,
        near: prop::sample::Index,
        factor in prop_oneof![Just(0.0_f32), Just(1.0), 0.5..1.5_f32],
    ) {
        let activation = activation(relu);
        for tested in runnable_kernels() {
            let layer = layer(&case, tested);
            let neurons = layer.neurons(activation, tested);
            let act = if neurons.is_empty() { 1.0 } else { near.get(&neurons).act.value };
            let threshold = act.abs() as f32 * factor;
            let ffn = layer.ffn(activation, Gating::First { threshold });
            let (counted, y) = alone(tested, case.threads, &ffn, &layer.x, &layer.active);

            let number = |what| neurons.iter().filter(|neuron| neuron.counts(threshold) == what).count();
            let (surely, perhaps) = (number(Counts::Yes), number(Counts::Unclear));
            prop_assert!(
                (surely..=surely + perhaps).contains(&counted),
                "{tested}, threshold {threshold}: {counted} count, wanted {surely} and up to {perhaps} more"
            );
            let h: Vec<_> = neurons.iter().map(|neuron| neuron.gated(threshold)).collect();
            // Which neurons meet in a group depends on which of them count.
            let rounding = HiddenRounding { group: usize::MAX, ..tested.hidden_rounding(tested.format()) };
            let wanted = oracle::down(&vec![0.0; y.len()], &h, &layer.active, &layer.down, rounding);
            for (c, (want, &got)) in wanted.iter().zip(&y).enumerate() {
                prop_assert!(want.admits(got), "{tested} column {c}: {got}, wanted {want:?}");
            }
        }
    }

    #[test]
    fn with_relu_all_and_only_positive_gates_count(case in cases()) {
        for tested in runnable_kernels() {
            let layer = layer(&Case { x: Spread::Even, weights: Spread::Even, ..case.clone() }, tested);
            let neurons = layer.neurons(Activation::Relu, tested);
            let ffn = layer.ffn(Activation::Relu, Gating::First { threshold: 0.0 });
            let (counted, _) = alone(tested, case.threads, &ffn, &layer.x, &layer.active);
            let unclear = neurons.iter().filter(|neuron| neuron.counts(0.0) == Counts::Unclear).count();
            let positive = neurons.iter().filter(|neuron| neuron.act.value > 0.0).count();
            prop_assert!(counted.abs_diff(positive) <= unclear, "{tested}: {counted} of {positive}, {unclear} unclear");
        }
    }

    #[test]
    fn nan_counts(case in cases(), relu: bool, threshold in prop_oneof![Just(0.0_f32), Just(f32::INFINITY)]) {
        let gating = Gating::First { threshold };
        for tested in runnable_kernels() {
            let mut layer = layer(&case, tested);
            layer.x.fill(f32::NAN);
            let ffn = layer.ffn(activation(relu), gating);
            let (counted, y) = alone(tested, case.threads, &ffn, &layer.x, &layer.active);
            // Without columns a gate is a sum of nothing: zero.
            let wanted = if y.is_empty() { 0 } else { layer.active.len() };
            prop_assert_eq!(counted, wanted, "{}", tested);
            prop_assert!(wanted == 0 || y.iter().all(|y| y.is_nan()), "{tested}: {y:?}");
        }
    }

    #[test]
    fn down_may_have_a_format_of_its_own(case in cases(), other in 0..5_usize, gating in gatings()) {
        let case = Case { odd: 0, x: Spread::Even, ..case };
        for tested in runnable_kernels() {
            let mut layer = layer(&case, tested);
            layer.down = case.weights(Format::ALL[other], &mut Random::new(case.seed));
            let (_, y) = alone(tested, case.threads, &layer.ffn(Activation::Silu, gating), &layer.x, &layer.active);
            let neuron = |neuron: &Neuron| match gating {
                Gating::Together => neuron.h,
                Gating::First { threshold } => neuron.gated(threshold),
            };
            let h: Vec<_> = layer.neurons(Activation::Silu, tested).iter().map(neuron).collect();
            let rounding = HiddenRounding { group: usize::MAX, ..tested.hidden_rounding(layer.down.view().format()) };
            let wanted = oracle::down(&vec![0.0; y.len()], &h, &layer.active, &layer.down, rounding);
            for (c, (want, &got)) in wanted.iter().zip(&y).enumerate() {
                prop_assert!(want.admits(got), "{tested} column {c}: {got}, wanted {want:?}");
            }
        }
    }
}

/// Tokens of one batch: each with its own input, of its own spread, one perhaps with a NaN; each with its own active
/// set, from none to all.
fn tokens(count: usize, rows: usize, cols: usize, random: &mut Random) -> Vec<(Vec<f32>, Vec<u32>)> {
    let token = |_| {
        let mut x = numbers(cols, [Spread::Even, Spread::Outliers, Spread::Tiny][random.below(3)], random);
        if cols > 0 && random.below(8) == 0 {
            x[random.below(cols)] = f32::NAN;
        }
        let density = [0.0, 0.1, 0.5, 1.0][random.below(4)];
        (x, random_active(rows, density, random))
    };
    (0..count).map(token).collect()
}

/// The batch's outputs and count are those of its tokens one by one.
fn batch_is_as_alone(tested: &Tested, threads: usize, ffn: &Ffn<'_>, tokens: &[(Vec<f32>, Vec<u32>)]) {
    let mut ys: Vec<_> = tokens.iter().map(|(x, _)| vec![f32::NAN; x.len()]).collect();
    let mut batch: Vec<_> = tokens.iter().zip(&mut ys).map(|((x, active), y)| FfnToken { x, active, y }).collect();
    let counted = tested.cpu(threads).ffn_batch(ffn, &mut batch).unwrap();
    let mut wanted = 0;
    for (t, ((x, active), y)) in tokens.iter().zip(&ys).enumerate() {
        let (count, alone) = alone(tested, threads, ffn, x, active);
        wanted += count;
        assert_eq!(bits(y), bits(&alone), "{tested}: token {t} of {}", tokens.len());
    }
    assert_eq!(counted, wanted, "{tested}");
}

proptest! {
    #![proptest_config(some(256))]

    #[test]
    fn a_token_in_a_batch_is_as_if_alone(
        case in cases(),
        rows in 0..if cfg!(miri) { 20 } else { 400_usize },
        relu: bool,
        gating in gatings(),
        count in 0..=MAX_BATCH,
    ) {
        let case = Case { rows, blocks: case.blocks % 4, ..case };
        for tested in runnable_kernels() {
            let layer = layer(&case, tested);
            let tokens = tokens(count, rows, case.cols(tested.format()), &mut Random::new(!case.seed));
            batch_is_as_alone(tested, case.threads, &layer.ffn(activation(relu), gating), &tokens);
        }
    }
}

/// Layers larger than the stretch that a batch's tokens take turns on, so that each operator is cut into several.
#[test]
#[cfg_attr(miri, ignore = "megabytes of weights")]
fn a_token_in_a_batch_is_as_if_alone_in_layers_larger_than_caches() {
    let mut random = Random::new(11);
    for tested in runnable_kernels() {
        let cols = 1024;
        let rows = (5 << 18) / tested.format().row_bytes(cols).unwrap();
        let [gate, up, down] =
            [0; 3].map(|_| Weights::random(tested.format(), [rows, cols], 3, Spread::Even, &mut random));
        let layer = Layer { gate, up, down, x: Vec::new(), active: Vec::new() };
        for (gating, threads) in [(Gating::Together, 1), (Gating::First { threshold: 0.1 }, 2)] {
            let mut tokens = tokens(3, rows, cols, &mut random);
            tokens[1].1 = (0..rows as u32).collect();
            batch_is_as_alone(tested, threads, &layer.ffn(Activation::Relu, gating), &tokens);
        }
    }
}
