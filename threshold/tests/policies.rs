//! What every policy owes its caller.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::select::Kernels;
use threshold::{
    Allocation, Calibration, CalibrationBuilder, Density, Error, Feedback, Fraction, Inputs, Knobs, Mass, Miss,
    PerLayer, Policy, PolicySpec, QuantileTable, Relative, ScoreStream, Shape, StatisticalTopK, TopK,
};

const SPECS: [&str; 16] = [
    "dense",
    "fixed",
    "fixed:0.5",
    "per-layer:density=0.30",
    "per-layer:density=0.30,allocation=greedy",
    "per-layer:density=0.30,allocation=squares",
    "top-k:density=0.30",
    "statistical-top-k:density=0.30",
    "top-p:mass=0.70",
    "relative:fraction=0.50",
    "budget:density=0.30",
    "oracle:miss=0.30",
    "dynamic:miss=0.10,level=rank",
    "dynamic:miss=0.10",
    "dynamic:miss=0.10,allocation=squares",
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

    /// Whatever the scores, one that is sure of it computes something: no layer falls silent unasked.
    #[test]
    fn no_relative_rule_selects_nothing(
        scores in prop::collection::vec(prop_oneof![
            any::<f32>().prop_filter("NaN is refused", |score| !score.is_nan()),
            prop::sample::select(vec![0.0, -0.0, -1.0, 1.0, f32::INFINITY, f32::NEG_INFINITY]),
        ], 1..100),
        share in prop_oneof![f64::MIN_POSITIVE..1e-3, 0.0001f64..0.9999],
    ) {
        let shape = Shape::new(1, scores.len())?;
        for rule in [
            "top-k:density=", "statistical-top-k:density=", "top-p:mass=", "relative:fraction=", "budget:density=",
            "oracle:miss=",
        ] {
            let mut policy = format!("{rule}{share}").parse::<PolicySpec>()?.build(shape, &Inputs::default())?;
            let mut active = Vec::new();
            for _ in 0..3 {
                policy.select(0, &scores, &mut active)?;
                prop_assert!(!active.is_empty(), "{rule}{share}");
                policy.observe(0, &Feedback { computed: active.len(), useful: None, audit: None })?;
            }
        }
    }

    #[test]
    fn relative_keeps_what_reaches_its_fraction_of_the_largest(
        scores in prop::collection::vec(0.01f32..1.0, 1..300),
        fraction in 0.01f64..=1.0,
    ) {
        let shape = Shape::new(1, scores.len())?;
        let mut policy = Relative::new(Kernels::from_env()?, shape, Fraction::new(fraction)?);
        let mut active = Vec::new();
        policy.select(0, &scores, &mut active)?;
        let cut = scores.iter().copied().fold(0.0, f32::max) * fraction as f32;
        let wanted: Vec<u32> = (0..scores.len() as u32).filter(|&row| scores[row as usize] >= cut).collect();
        prop_assert_eq!(active, wanted);
    }

    /// Of masses it knows, `top-p` and the oracle miss no more than they may.
    #[test]
    fn the_miss_of_known_masses_is_bounded(
        masses in prop::collection::vec(prop_oneof![Just(0.0f32), 0.0f32..1.0], 1..300),
        miss in 0.001f64..0.999,
    ) {
        let total: f64 = masses.iter().map(|&mass| f64::from(mass)).sum();
        let shape = Shape::new(1, masses.len())?;
        for spec in [PolicySpec::Oracle(Miss::new(miss)?), PolicySpec::TopP(Mass::new(1.0 - miss)?)] {
            let mut active = Vec::new();
            spec.build(shape, &Inputs::default())?.select(0, &masses, &mut active)?;
            let kept: f64 = active.iter().map(|&row| f64::from(masses[row as usize])).sum();
            prop_assert!(total - kept <= (miss + 1e-12) * total, "{spec}");
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

/// The share of Gaussian scores above mean + z · deviation; n draws know a share p to √(p (1 − p) / n).
#[test]
fn statistical_top_k_has_its_density_on_gaussian_scores() {
    let neurons = 28_672;
    // Log-normal masses, whose logarithms are a bell.
    let table = QuantileTable::new(&[0.5, 0.841_344_746_068_543], &[1.0, 1f32.exp()]).unwrap();
    let knobs = Knobs { persistence: 0.0, ..Knobs::stationary(3) };
    let mut stream = ScoreStream::new(&table, neurons, knobs).unwrap();
    let mut scores = vec![0.0; neurons];
    stream.next_token(0, &mut scores).unwrap();
    scores.iter_mut().for_each(|score| *score = score.ln());
    for density in [0.02, 0.1, 0.5, 0.9] {
        let density = Density::new(density).unwrap();
        let mut policy = StatisticalTopK::new(Kernels::best(), stream.shape(), density);
        let mut active = Vec::new();
        policy.select(0, &scores, &mut active).unwrap();
        let found = active.len() as f64 / neurons as f64;
        let tolerance = 6.0 * (density.get() * (1.0 - density.get()) / neurons as f64).sqrt();
        assert!((found - density.get()).abs() < tolerance, "{found} for {density}");
    }
}

/// Two layers, one of them flat: an allocation tells them apart, keeps the mean density, and no other split of it costs
/// less of what it is to save: misses, or their squares.
#[test]
fn an_allocation_costs_least() {
    let table = QuantileTable::new(&[0.5, 0.9, 0.95], &[0.1, 0.4, 0.6, 1.0, 1.3, 1.4]).unwrap();
    let calibration = Calibration::from_quantiles(&table);
    let miss = |layer: usize, density: f64| {
        let threshold = calibration.threshold(layer, Density::new(density).unwrap()).unwrap();
        calibration.miss(layer, threshold).unwrap().unwrap()
    };
    for (allocation, power) in [(Allocation::Greedy, 1), (Allocation::Squares, 2)] {
        for density in [0.1, 0.3, 0.6] {
            let shared = calibration.densities(Density::new(density).unwrap(), allocation).unwrap();
            let [first, second] = [shared[0].get(), shared[1].get()];
            assert!((first + second - 2.0 * density).abs() < 1.0 / 2048.0, "{first} {second}");
            assert!((first - second).abs() > 0.02, "{allocation}: {first} {second}");
            let cost = |first: f64, second: f64| miss(0, first).powi(power) + miss(1, second).powi(power);
            let found = cost(first, second);
            for step in 1..100 {
                let other = 2.0 * density * f64::from(step) / 100.0;
                if other < 1.0 && 2.0 * density - other < 1.0 {
                    // A step of 1/4096, times the steepest mass over mean.
                    assert!(found <= cost(other, 2.0 * density - other) + 0.002, "{allocation} {density} {other}");
                }
            }
        }
    }
    let mut builder = CalibrationBuilder::new(Shape::new(1, 8).unwrap());
    builder.add_scores(0, &[1.0; 8]).unwrap();
    let unknown = builder.finish();
    let density = Density::new(0.5).unwrap();
    assert_eq!(unknown.densities(density, Allocation::Greedy).unwrap_err(), Error::NoMasses { layer: 0 });
    assert_eq!(unknown.densities(density, Allocation::Even).unwrap(), [density]);
}

proptest! {
    /// Whatever the layers, misses keep their mean, none is too small to learn from, and those of squares lie closer
    /// together than greedy ones.
    #[test]
    fn misses_are_shared_out_whole(
        layers in prop::collection::vec((0.01f32..1.0, 1.1f32..20.0), 1..8),
        miss in 0.001f64..0.9,
    ) {
        let values: Vec<f32> = layers.iter().flat_map(|(low, times)| [*low, low * times]).collect();
        let calibration = Calibration::from_quantiles(&QuantileTable::new(&[0.5, 0.9], &values)?);
        let shared = |allocation| -> Result<Vec<f64>, Error> {
            Ok(calibration.misses(Miss::new(miss)?, allocation)?.into_iter().map(Miss::get).collect())
        };
        let spread = |misses: &[f64]| misses.iter().map(|m| (m - miss).powi(2)).sum::<f64>();
        for allocation in [Allocation::Even, Allocation::Greedy, Allocation::Squares] {
            let misses = shared(allocation)?;
            let mean = misses.iter().sum::<f64>() / misses.len() as f64;
            prop_assert!((mean / miss - 1.0).abs() < 1e-9, "{} {:?}", allocation, misses);
            prop_assert!(misses.iter().all(|&m| m >= miss / 32.0 * (1.0 - 1e-9) && m < 1.0), "{} {:?}", allocation, misses);
        }
        let (greedy, squares) = (shared(Allocation::Greedy)?, shared(Allocation::Squares)?);
        prop_assert!(spread(&squares) <= spread(&greedy) + 0.01, "{:?} {:?}", squares, greedy);
    }
}

proptest! {
    /// NaN anywhere, a wrong length, a layer that is none: each is an error that says so, leaves nothing active, and does
    /// not stand in the way of the next token. Infinite scores are ordinary.
    #[test]
    fn bad_scores_are_refused_by_name_and_leave_nothing_active(
        mut scores in prop::collection::vec(
            prop_oneof![-1.0f32..1.0, prop::sample::select(vec![0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY])], 1..200),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        length in 0usize..250,
        before in 0usize..3,
    ) {
        let good = scores.clone();
        for place in &places {
            *place.get_mut(&mut scores) = f32::NAN;
        }
        let index = scores.iter().position(|score| score.is_nan()).unwrap();
        let neurons = good.len();
        for mut policy in every_policy(Shape::new(2, neurons)?) {
            let mut active = vec![u32::MAX; 2];
            // Policies that learn have a state to corrupt.
            for _ in 0..before {
                policy.select(1, &good, &mut active)?;
            }
            for (layer, given, wanted) in [
                (1, &scores[..], Some(Error::NanScore { layer: 1, index })),
                (2, &good[..], Some(Error::LayerOutOfRange { layer: 2, layers: 2 })),
                (1, &vec![0.5; length][..], (length != neurons)
                    .then_some(Error::WrongLength { what: "scores", given: length, wanted: neurons })),
            ] {
                let Some(wanted) = wanted else { continue };
                active = vec![0, 1];
                prop_assert_eq!(policy.select(layer, given, &mut active), Err(wanted), "{:?}", policy);
                prop_assert!(active.is_empty(), "{:?}", policy);
            }
            policy.select(1, &good, &mut active)?;
            prop_assert!(active.is_sorted_by(|a, b| a < b));
            prop_assert!(active.last().is_none_or(|&row| (row as usize) < neurons));
            prop_assert_eq!(policy.threshold(2), None);
        }
    }

    /// Targets and thresholds outside of their range are refused wherever they can be given, by number and by spelling.
    #[test]
    fn what_is_no_share_is_refused(share in prop_oneof![
        prop::sample::select(vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0 + f64::EPSILON]),
        -1e300f64..0.0,
        1.000_001f64..1e300,
    ]) {
        let refused = |error: Result<(), Error>| matches!(error, Err(Error::OutOfRange { .. }));
        prop_assert!(refused(Density::new(share).map(drop)));
        prop_assert!(refused(Fraction::new(share).map(drop)));
        prop_assert!(refused(Mass::new(share).map(drop)) && refused(Mass::new(1.0).map(drop)));
        prop_assert!(refused(Miss::new(share).map(drop)) && refused(Miss::new(1.0).map(drop)));
        for form in threshold::FORMS {
            let Some((name, number)) = form.split_once('=') else { continue };
            let option = number.split_once(',').map(|(_, option)| format!(",{option}")).unwrap_or_default();
            prop_assert!(refused(format!("{name}={share}{option}").parse::<PolicySpec>().map(drop)), "{} {}", form, share);
        }
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
