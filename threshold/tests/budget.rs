//! The guarantee of `budget`, as its documentation states it, and what it is for.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::select::Kernels;
use threshold::{
    Budget, Calibration, Density, Feedback, Inputs, Knobs, Policy, PolicySpec, QuantileTable, ScoreStream, Shape,
};

/// Scores of one selection; a stream may look at the mean density so far.
fn scores(kind: usize, turn: u64, above_target: bool, bits: &mut u64, scores: &mut [f32]) {
    let mut uniform = || {
        *bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*bits >> 40) as f32 / (1 << 24) as f32
    };
    for (i, score) in scores.iter_mut().enumerate() {
        *score = match kind {
            0 => (4.0 * uniform()).exp(),
            1 => 0.0,
            2 => 1.0,
            3 => -uniform(),
            // Flat, then one that holds all: as many rows as can be, then as few.
            4 if (turn / 40).is_multiple_of(2) => 1.0,
            4 => {
                if i == 0 {
                    1.0
                } else {
                    1e-9
                }
            }
            // Away from the target.
            5 if above_target => 1.0,
            5 => {
                if i == 0 {
                    1.0
                } else {
                    0.0
                }
            }
            6 if uniform() < 0.1 => f32::INFINITY,
            _ => uniform() * 10f32.powi((turn / 29 % 7) as i32 - 3),
        };
    }
}

proptest! {
    #[test]
    fn the_bound_holds_on_any_stream(
        kind in 0usize..8,
        neurons in 1usize..200,
        density in 0.001f64..=1.0,
        turns in 1u64..800,
        seed: u64,
    ) {
        prop_assume!(density * neurons as f64 >= 1.0);
        let shape = Shape::new(3, neurons)?;
        let mut policy = Budget::new(Kernels::from_env()?, shape, Density::new(density)?);
        let (mut given, mut active) = (vec![0.0; neurons], Vec::new());
        let (mut sum, mut bits) = (0.0, seed);
        for turn in 0..turns {
            scores(kind, turn, sum > density * turn as f64, &mut bits, &mut given);
            let layer = turn as usize % 3;
            policy.select(layer, &given, &mut active)?;
            policy.observe(layer, &Feedback { computed: active.len(), useful: None, audit: None })?;
            sum += active.len() as f64 / neurons as f64;
            let off = (sum / (turn + 1) as f64 - density).abs();
            let stated = (1.0 + 0.02) / (0.02 * (turn + 1) as f64) + 0.5 / neurons as f64;
            prop_assert!(off <= stated + 1e-9, "stream {kind}, turn {turn}: {off} > {stated}");
            prop_assert!((policy.bound(turn + 1) - stated).abs() < 1e-12);
        }
    }
}

/// A bound that nothing comes near would show nothing: all mass in one row for ever, and p climbs to the top.
#[test]
fn a_stream_uses_most_of_the_bound() {
    let mut policy = Budget::new(Kernels::best(), Shape::new(1, 1000).unwrap(), Density::new(0.5).unwrap());
    let flat = vec![1.0; 1000];
    let mut spike = vec![1e-9; 1000];
    spike[0] = 1.0;
    let mut active = Vec::new();
    policy.select(0, &flat, &mut active).unwrap();
    let (mut sum, mut used) = (0.5, 0.0f64);
    for turn in 2..200u64 {
        policy.select(0, if turn < 60 { &spike } else { &flat }, &mut active).unwrap();
        sum += active.len() as f64 / 1000.0;
        used = used.max((sum / turn as f64 - 0.5).abs() / policy.bound(turn));
    }
    assert!(used > 0.4, "used {used} of the bound");
}

/// The stream of the comparison, twice as wild: 16 layers whose scale walks and jumps.
#[test]
fn density_is_held_where_a_fixed_threshold_swings() {
    let values: Vec<f32> = (1..=16u8).flat_map(|layer| [0.1, 0.4, 0.6].map(|v| v * f32::from(layer))).collect();
    let table = QuantileTable::new(&[0.5, 0.9, 0.95], &values).unwrap();
    let knobs = Knobs { prompt_jump: 0.4, ..Knobs::default() };
    let calibration = Calibration::from_quantiles(&table);
    let (neurons, tokens, target) = (2048, 512, 0.10);
    let threshold = calibration.global_threshold(Density::new(target).unwrap()).unwrap();
    let densities = |spec: &str| -> Vec<f64> {
        let mut stream = ScoreStream::new(&table, neurons, knobs).unwrap();
        let inputs = Inputs { model_threshold: Some(threshold), calibration: Some(&calibration), ..Inputs::default() };
        let mut policy = spec.parse::<PolicySpec>().unwrap().build(stream.shape(), &inputs).unwrap();
        let (mut scores, mut active) = (vec![0.0; neurons], Vec::new());
        let mut token = || {
            let mut computed = 0;
            for layer in 0..16 {
                stream.next_token(layer, &mut scores).unwrap();
                policy.select(layer, &scores, &mut active).unwrap();
                policy.observe(layer, &Feedback { computed: active.len(), useful: None, audit: None }).unwrap();
                computed += active.len();
            }
            computed as f64 / (16 * neurons) as f64
        };
        (0..tokens).map(|_| token()).collect()
    };
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let p95_over_mean = |mut values: Vec<f64>| {
        values.sort_by(f64::total_cmp);
        values[values.len() * 95 / 100] - mean(&values)
    };
    let (fixed, budget) = (densities("fixed"), densities("budget:density=0.10"));
    let swing = fixed.iter().copied().fold(0.0, f64::max) / fixed.iter().copied().fold(1.0, f64::min);
    assert!(swing > 1.5, "fixed swings by {swing}");
    assert!((mean(&budget) / target - 1.0).abs() < 0.01, "{}", mean(&budget));
    let (fixed, budget) = (p95_over_mean(fixed), p95_over_mean(budget));
    assert!(budget < 0.5 * fixed, "p95 is {budget} above the mean, with a fixed threshold {fixed}");
}
