//! What every policy owes its caller.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::select::Kernels;
use threshold::{
    Calibration, CalibrationBuilder, Density, Error, Feedback, Inputs, PerLayer, Policy, PolicySpec, Shape, TopK,
};

const SPECS: [&str; 14] = [
    "dense",
    "fixed",
    "fixed:0.5",
    "per-layer:density=0.30",
    "per-layer:density=0.30,allocation=greedy",
    "top-k:density=0.30",
    "statistical-top-k:density=0.30",
    "top-p:mass=0.70",
    "relative:fraction=0.50",
    "budget:density=0.30",
    "oracle:miss=0.30",
    "dynamic:miss=0.10,level=rank",
    "dynamic:miss=0.10",
    "dynamic:miss=0.90",
];

fn calibration(shape: Shape) -> Calibration {
    let mut builder = CalibrationBuilder::new(shape);
    let sample: Vec<f32> = (0..1000u16).map(|i| f32::from(i) / 1000.0).collect();
    for layer in 0..shape.layers() {
        builder.add(layer, &sample, &sample).unwrap();
    }
    builder.finish()
}

fn every_policy(shape: Shape) -> Vec<Box<dyn Policy>> {
    let calibration = calibration(shape);
    let inputs = Inputs { model_threshold: Some(0.0), calibration: Some(&calibration), ..Inputs::default() };
    let build = |spec: &&str| spec.parse::<PolicySpec>().unwrap().build(shape, &inputs).unwrap();
    SPECS.iter().map(build).collect()
}

proptest! {
    #[test]
    fn a_selection_is_ascending_and_no_skipped_score_beats_a_computed_one(
        scores in prop::collection::vec(prop_oneof![-1.0f32..1.0, Just(0.5), Just(f32::INFINITY)], 1..300),
    ) {
        for mut policy in every_policy(Shape::new(3, scores.len())?) {
            let mut active = vec![u32::MAX; 3];
            policy.select(2, &scores, &mut active)?;
            prop_assert!(active.is_sorted_by(|a, b| a < b));
            prop_assert!(active.last().is_none_or(|&row| (row as usize) < scores.len()));
            let lowest = active.iter().map(|&row| scores[row as usize]).fold(f32::INFINITY, f32::min);
            let skipped = (0..scores.len()).filter(|row| !active.contains(&(*row as u32)));
            for row in skipped {
                prop_assert!(scores[row] <= lowest, "{policy:?}");
            }
            let threshold = policy.threshold(2).unwrap();
            prop_assert!(lowest >= threshold, "{policy:?}");
        }
    }

    #[test]
    fn top_k_takes_k(scores in prop::collection::vec(-1.0f32..1.0, 1..300), density in 0.001f64..=1.0) {
        let shape = Shape::new(1, scores.len())?;
        let mut policy = TopK::new(Kernels::from_env()?, shape, Density::new(density)?);
        let mut active = Vec::new();
        policy.select(0, &scores, &mut active)?;
        let k = ((density * scores.len() as f64).round() as usize).max(1);
        prop_assert_eq!(active.len(), k);
    }
}

#[test]
fn bad_scores_are_refused_by_name_and_leave_nothing_active() {
    for mut policy in every_policy(Shape::new(2, 4).unwrap()) {
        let mut refused = |layer, scores: &[f32]| {
            let mut active = vec![0, 1];
            let error = policy.select(layer, scores, &mut active).unwrap_err();
            assert!(active.is_empty(), "{policy:?}");
            error
        };
        let nan = Error::NanScore { layer: 1, index: 2 };
        assert_eq!(refused(1, &[0.0, 1.0, f32::NAN, f32::NAN]), nan);
        assert_eq!(refused(2, &[0.0; 4]), Error::LayerOutOfRange { layer: 2, layers: 2 });
        for length in [0, 3, 5] {
            let error = refused(0, &vec![0.0; length]);
            assert_eq!(error, Error::WrongLength { what: "scores", given: length, wanted: 4 });
        }
        assert_eq!(policy.threshold(2), None);
    }
}

#[test]
fn bad_feedback_is_refused() {
    for mut policy in every_policy(Shape::new(2, 4).unwrap()) {
        let mut active = Vec::new();
        policy.select(0, &[0.9, 0.8, 0.1, 0.2], &mut active).unwrap();
        let good = Feedback { computed: active.len(), useful: Some(active.len()), audit: None };
        assert!(matches!(policy.observe(2, &good), Err(Error::LayerOutOfRange { .. })));
        let bad = Feedback { computed: 5, ..good };
        assert!(matches!(policy.observe(0, &bad), Err(Error::Feedback { layer: 0, .. })));
        let bad = Feedback { useful: Some(active.len() + 1), ..good };
        assert!(matches!(policy.observe(0, &bad), Err(Error::Feedback { layer: 0, .. })));
        policy.observe(0, &good).unwrap();
    }
}

#[test]
fn a_score_equal_to_the_threshold_is_active() {
    let mut active = Vec::new();
    let shape = Shape::new(1, 3).unwrap();
    let mut fixed = "fixed:0.5".parse::<PolicySpec>().unwrap().build(shape, &Inputs::default()).unwrap();
    fixed.select(0, &[0.5, 0.499_999_97, f32::NEG_INFINITY], &mut active).unwrap();
    assert_eq!(active, [0]);
    let mut per_layer = PerLayer::new(Kernels::best(), shape, vec![0.5]).unwrap();
    per_layer.select(0, &[0.499_999_97, 0.5, f32::INFINITY], &mut active).unwrap();
    assert_eq!(active, [1, 2]);
}

#[test]
fn layers_have_their_own_thresholds() {
    let shape = Shape::new(2, 3).unwrap();
    let mut policy = PerLayer::new(Kernels::best(), shape, vec![f32::NEG_INFINITY, 2.0]).unwrap();
    let mut active = Vec::new();
    policy.select(0, &[1.0, 2.0, f32::NEG_INFINITY], &mut active).unwrap();
    assert_eq!(active, [0, 1, 2]);
    policy.select(1, &[1.0, 2.0, 3.0], &mut active).unwrap();
    assert_eq!(active, [1, 2]);

    assert!(matches!(PerLayer::new(Kernels::best(), shape, vec![0.0]), Err(Error::WrongLength { .. })));
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(matches!(PerLayer::new(Kernels::best(), shape, vec![0.0, bad]), Err(Error::OutOfRange { .. })));
    }
}

#[test]
fn only_the_closed_loop_asks_for_audits() {
    for (spec, policy) in SPECS.iter().zip(every_policy(Shape::new(1, 1).unwrap())) {
        assert_eq!(policy.needs_audit(), spec.starts_with("dynamic"), "{spec}");
        assert_eq!(policy.needs_truth(), spec.starts_with("oracle"), "{spec}");
    }
}

#[test]
fn a_shape_has_layers_and_neurons() {
    for (layers, neurons) in [(0, 1), (1, 0), (1, 1 << 32)] {
        assert!(matches!(Shape::new(layers, neurons), Err(Error::OutOfRange { .. })));
    }
}
