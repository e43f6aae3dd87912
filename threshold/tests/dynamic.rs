//! The guarantee of `dynamic`, as its documentation states it, over streams that try to break it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::dynamic::Level;
use threshold::select::Kernels;
use threshold::{
    Allocation, Audit, AuditedPolicy, Auditor, Calibration, Dynamic, Error, Feedback, Knobs, Miss, Picked, Policy,
    QuantileTable, ScoreStream, Shape,
};

#[derive(Clone, Copy, Debug)]
enum Stream {
    /// Log-normal masses, the same law for ever; scores are the masses.
    Stationary,
    /// Scores tell nothing of the masses.
    Blind,
    /// The scale grows a hundredfold over a hundred tokens, and a few neurons take over.
    Drifting,
    /// Every 37 tokens another scale, another shape, another sign of the scores.
    Jumping,
    /// Chosen after the selection: all mass among the skipped rows, where there are any.
    Hostile,
    /// Chosen after the selection: all mass among the computed rows, where there are any.
    Lulling,
    /// Hostile and lulling in turn, 50 tokens each.
    Alternating,
    /// Hostile where the mean miss is above the target and lulling where it is below: away from it.
    Pushing,
    /// All scores and masses equal.
    Constant,
    /// No mass at all.
    Zeros,
    /// No mass at every other token.
    HalfZeros,
    /// One neuron has all the mass and the lowest score, −∞.
    Hidden,
    /// Infinite scores.
    Infinite,
}

const STREAMS: [Stream; 13] = [
    Stream::Stationary,
    Stream::Blind,
    Stream::Drifting,
    Stream::Jumping,
    Stream::Hostile,
    Stream::Lulling,
    Stream::Alternating,
    Stream::Pushing,
    Stream::Constant,
    Stream::Zeros,
    Stream::HalfZeros,
    Stream::Hidden,
    Stream::Infinite,
];

/// Uniform numbers for tests, from any decent mixing.
struct Uniform(u64);

impl Uniform {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn log_normal(&mut self, sigma: f64) -> f32 {
        let sum: f64 = (0..12).map(|_| self.next()).sum();
        (sigma * (sum - 6.0)).exp() as f32
    }
}

impl Stream {
    fn scores(self, token: u64, uniform: &mut Uniform, scores: &mut [f32]) {
        for (i, score) in scores.iter_mut().enumerate() {
            *score = match self {
                Self::Constant | Self::Zeros => 0.0,
                Self::Hidden if i == 0 => f32::NEG_INFINITY,
                Self::Infinite if uniform.next() < 0.5 => f32::INFINITY,
                Self::Infinite => f32::NEG_INFINITY,
                Self::Drifting => {
                    let hot = if i % 7 == 0 { token as f64 / 100.0 } else { 0.0 };
                    uniform.log_normal(1.0) * (token.min(100) as f64 / 20.0 + hot.min(5.0)).exp() as f32
                }
                Self::Jumping => {
                    let epoch = token / 37;
                    let sign = if epoch.is_multiple_of(2) { 1.0 } else { -1.0 };
                    sign * uniform.log_normal((epoch % 4) as f64) * 10f32.powi((epoch * 7 % 11) as i32 - 5)
                }
                _ => uniform.log_normal(1.5),
            };
        }
    }

    fn masses(self, token: u64, above_target: bool, active: &[u32], scores: &[f32], uniform: &mut Uniform) -> Vec<f32> {
        let mut computed = vec![false; scores.len()];
        for &row in active {
            computed[row as usize] = true;
        }
        let all_in = |wanted: bool| -> Vec<f32> {
            let nowhere = computed.iter().all(|&c| c != wanted);
            computed.iter().map(|&c| f32::from(u8::from(c == wanted || nowhere))).collect()
        };
        match self {
            Self::Hostile => all_in(false),
            Self::Lulling => all_in(true),
            Self::Alternating => all_in(token / 50 % 2 == 1),
            Self::Pushing => all_in(!above_target),
            Self::Constant => vec![1.0; scores.len()],
            Self::Zeros => vec![0.0; scores.len()],
            Self::HalfZeros if token % 2 == 1 => vec![0.0; scores.len()],
            Self::Hidden => (0..scores.len()).map(|i| f32::from(u8::from(i == 0))).collect(),
            Self::Blind | Self::Infinite => scores.iter().map(|_| uniform.log_normal(1.5)).collect(),
            _ => scores.iter().map(|score| score.abs()).collect(),
        }
    }
}

/// Runs a stream through layer 1 of 2 and checks the bound after every audit.
/// Returns the largest share of the bound that was used up.
fn run(
    mut policy: Dynamic,
    (target, gain, start): (f64, f64, f64),
    stream: Stream,
    tokens: u64,
    audit_rows: Option<usize>,
    seed: u64,
) -> Result<f64, Error> {
    let neurons = policy.shape().neurons();
    let mut uniform = Uniform(seed);
    let mut scores = vec![0.0; neurons];
    let (mut active, mut picked) = (Vec::new(), Picked::default());
    let mut auditor = Auditor::new(seed, audit_rows.unwrap_or(neurons), neurons)?;
    let (mut sum, mut audits, mut used) = (0.0, 0u64, 0.0f64);
    for token in 0..tokens {
        stream.scores(token, &mut uniform, &mut scores);
        policy.select(1, &scores, &mut active)?;
        let masses = stream.masses(token, sum > target * audits as f64, &active, &scores, &mut uniform);
        let kept = active.iter().map(|&row| f64::from(masses[row as usize])).sum();
        auditor.pick(&scores, &active, &mut picked)?;
        let sampled: Vec<f32> = picked.rows().iter().map(|&row| masses[row as usize]).collect();
        let audit = Audit::from_sample(kept, &picked, &sampled)?;
        policy.observe(1, &Feedback { computed: active.len(), useful: None, audit: Some(audit) })?;
        let Some(miss) = audit.miss() else { continue };
        sum += miss;
        audits += 1;

        let t = audits as f64;
        let off = (sum / t - target).abs();
        let stated = (start.max(1.0 - start) + gain * target.max(1.0 - target)) / (gain * t);
        assert!(off <= stated + 1e-9, "{stream:?}, token {token}: {off} > {stated}");
        assert!(stated <= (1.0 + gain) / (gain * t));
        assert!((policy.mean_miss(1).unwrap() - sum / t).abs() < 1e-9);
        assert!((policy.bound(1).unwrap() - stated).abs() < 1e-12);
        used = used.max(off / stated);
    }
    assert_eq!(policy.audits(1), Some(audits));
    assert_eq!(policy.audits(0), Some(0), "a layer that was not observed moved");
    Ok(used)
}

fn build(neurons: usize, level: Level, (target, gain, start): (f64, f64, f64)) -> Result<Dynamic, Error> {
    Dynamic::new(Kernels::from_env()?, Shape::new(2, neurons)?, Miss::new(target)?, level)
        .with_gain(gain)?
        .with_start(&[0.5, start])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_bound_holds_on_any_stream(
        stream in prop::sample::select(STREAMS.as_slice()),
        level in prop::sample::select(vec![Level::Mass, Level::Rank]),
        neurons in 1usize..130,
        target in prop_oneof![0.001f64..0.1, 0.1f64..0.999],
        gain in prop_oneof![0.01f64..0.5, 0.5f64..20.0],
        start in prop_oneof![Just(0.0), Just(1.0), 0.0f64..1.0],
        tokens in 1u64..600,
        audit_rows in prop::option::of(1usize..20),
        seed: u64,
    ) {
        let setting = (target, gain, start);
        let rows = audit_rows.map(|rows| rows.min(neurons));
        run(build(neurons, level, setting)?, setting, stream, tokens, rows, seed)?;
    }

    /// No stream at all: any misses that the audits could report, in any order.
    #[test]
    fn the_bound_holds_for_any_sequence_of_misses(
        misses in prop::collection::vec(prop_oneof![Just(0.0), Just(1.0), 0.0f64..1.0], 1..500),
        level in prop::sample::select(vec![Level::Mass, Level::Rank]),
        neurons in 1usize..50,
        target in 0.001f64..0.999,
        gain in 0.01f64..10.0,
        start in 0.0f64..=1.0,
    ) {
        let mut policy = build(neurons, level, (target, gain, start))?;
        let scores = vec![1.0; neurons];
        let mut active = Vec::new();
        let mut sum = 0.0;
        for (t, miss) in (1..).map(f64::from).zip(misses) {
            policy.select(1, &scores, &mut active)?;
            let miss = match active.len() {
                0 => 1.0,
                computed if computed == neurons => 0.0,
                _ => miss,
            };
            let audit = Some(Audit::new(1.0 - miss, miss)?);
            policy.observe(1, &Feedback { computed: active.len(), useful: None, audit })?;
            sum += miss;
            let bound = (start.max(1.0 - start) + gain * target.max(1.0 - target)) / (gain * t);
            prop_assert!((sum / t - target).abs() <= bound + 1e-9);
        }
    }
}

/// Targets that a calibration shared out are each held by their own layer, and their mean is the one asked for.
#[test]
fn each_layer_holds_its_own_target() {
    let table = QuantileTable::new(&[0.5, 0.9, 0.95], &[0.1, 0.4, 0.6, 1.0, 1.3, 1.4, 0.0, 0.0, 1.0]).unwrap();
    let calibration = Calibration::from_quantiles(&table);
    let miss = Miss::new(0.2).unwrap();
    for allocation in [Allocation::Even, Allocation::Greedy, Allocation::Squares] {
        for level in [Level::Mass, Level::Rank] {
            let shape = Shape::new(3, 1000).unwrap();
            let policy = Dynamic::calibrated(Kernels::best(), shape, miss, allocation, level, &calibration).unwrap();
            let targets: Vec<f64> = (0..3).map(|layer| policy.target(layer).unwrap()).collect();
            assert!((targets.iter().sum::<f64>() / 3.0 - 0.2).abs() < 1e-12, "{allocation}: {targets:?}");
            assert_eq!(allocation == Allocation::Even, targets == [0.2; 3], "{allocation}: {targets:?}");

            let mut policy = AuditedPolicy::with_audits(Box::new(policy), 16, 1).unwrap();
            let mut stream = ScoreStream::new(&table, 1000, Knobs::default()).unwrap();
            let (mut masses, mut missed) = (vec![0.0; 1000], [0.0; 3]);
            for _ in 0..600 {
                for (layer, missed) in missed.iter_mut().enumerate() {
                    stream.next_token(layer, &mut masses).unwrap();
                    policy.step(layer, &masses, &masses).unwrap();
                    *missed += 1.0 - policy.kept(&masses) / masses.iter().map(|&mass| f64::from(mass)).sum::<f64>();
                }
            }
            // The bound is (1 + η) / (η T) = 0.019 by mass and 0.009 by rank, on audited misses; scores are the masses, so
            // that these are the true ones but for their uniform half.
            for (target, missed) in targets.into_iter().zip(missed) {
                assert!((missed / 600.0 - target).abs() < 0.025, "{allocation}: {} for {target}", missed / 600.0);
            }
        }
    }
}

/// Few rows with mass among many without, as under `ReLU`: audits that look where scores are positive hold the true miss
/// itself at the target, not only the audited one.
#[test]
fn the_true_miss_is_held_where_few_rows_have_mass() {
    let (neurons, target) = (900, 0.2);
    let mut uniform = Uniform(9);
    let dynamic =
        Dynamic::new(Kernels::best(), Shape::new(1, neurons).unwrap(), Miss::new(target).unwrap(), Level::Mass);
    let mut policy = AuditedPolicy::with_audits(Box::new(dynamic), 16, 1).unwrap();
    let (mut sum, tokens) = (0.0, 4000);
    for _ in 0..tokens {
        let scores: Vec<f32> =
            (0..neurons).map(|_| if uniform.next() < 0.02 { uniform.log_normal(1.0) } else { -1.0 }).collect();
        // What the other matrix makes of it is not for scores to know.
        let masses: Vec<f32> = scores.iter().map(|score| score.max(0.0) * uniform.log_normal(0.5)).collect();
        policy.step(0, &scores, &masses).unwrap();
        let total: f64 = masses.iter().map(|&mass| f64::from(mass)).sum();
        sum += if total > 0.0 { 1.0 - policy.kept(&masses) / total } else { 0.0 };
    }
    let mean = sum / f64::from(tokens);
    assert!((mean - target).abs() < 0.02, "{mean}");
}

/// A bound that nothing comes near would show nothing.
#[test]
fn an_adversary_comes_within_a_tenth_of_the_bound() {
    let cases = [(Stream::Lulling, 0.0), (Stream::Hostile, 1.0)];
    for ((stream, start), level) in cases.into_iter().flat_map(|case| [(case, Level::Mass), (case, Level::Rank)]) {
        let setting = (0.1, 0.05, start);
        let used = run(build(1000, level, setting).unwrap(), setting, stream, 2000, None, 5).unwrap();
        assert!(used > 0.9, "{stream:?} used {used} of the bound");
    }
}

#[test]
fn the_bound_holds_over_long_streams() {
    for (stream, level) in STREAMS.into_iter().flat_map(|stream| [(stream, Level::Mass), (stream, Level::Rank)]) {
        let setting = (0.05, level.gain(), 0.0);
        run(build(257, level, setting).unwrap(), setting, stream, 20_000, Some(16), 3).unwrap();
    }
}

fn feedback(computed: usize, kept: f64, missed: f64) -> Feedback {
    Feedback { computed, useful: None, audit: Some(Audit::new(kept, missed).unwrap()) }
}

/// By mass, what holds 0.7 of the score mass, however many rows, and one row where there is none; by rank, 0.7 of the
/// rows, rounded up.
#[test]
fn a_level_is_a_share_of_mass_or_of_rows() {
    let mut active = Vec::new();
    let mut computed = |level, scores: [f32; 4]| {
        let mut policy = build(4, level, (0.1, 0.2, 0.3)).unwrap();
        policy.select(1, &scores, &mut active).unwrap();
        active.clone()
    };
    assert_eq!(computed(Level::Mass, [1.0, 1.0, 5.0, 1.0]), [0, 2]);
    assert_eq!(computed(Level::Rank, [1.0, 1.0, 5.0, 1.0]), [0, 1, 2]);
    assert_eq!(computed(Level::Mass, [2.0, 0.0, -5.0, 5.0]), [3]);
    assert_eq!(computed(Level::Mass, [-3.0, -1.0, -2.0, -4.0]), [1]);
    assert_eq!(computed(Level::Rank, [-3.0, -1.0, -2.0, -4.0]), [0, 1, 2]);
}

#[test]
fn too_much_missed_computes_more_and_too_little_computes_less() {
    let scores: Vec<f32> = (0..100u8).map(f32::from).collect();
    let mut active = Vec::new();
    let mut next = |miss: f64| {
        let mut policy = build(100, Level::Rank, (0.1, 0.2, 0.5)).unwrap();
        policy.select(1, &scores, &mut active).unwrap();
        assert_eq!((active.len(), policy.threshold(1)), (50, Some(50.0)));
        policy.observe(1, &feedback(50, 1.0 - miss, miss)).unwrap();
        policy.select(1, &scores, &mut active).unwrap();
        (active.len(), policy.threshold(1).unwrap())
    };
    // u moves by 0.2 · (0.1 − miss).
    assert_eq!(next(0.6), (60, 40.0));
    assert_eq!(next(0.1), (50, 50.0));
    assert_eq!(next(0.0), (48, 52.0));
}

/// ⌈(1 − u) n⌉: something is computed as long as u < 1.
#[test]
fn rows_round_up() {
    let mut active = Vec::new();
    for (start, rows) in [(0.0, 10), (0.01, 10), (0.1, 9), (0.55, 5), (0.999, 1), (1.0, 0)] {
        let mut policy = build(10, Level::Rank, (0.1, 0.25, start)).unwrap();
        policy.select(1, &[1.0; 10], &mut active).unwrap();
        assert_eq!(active.len(), rows, "u = {start}");
        let threshold = [f32::NEG_INFINITY, 1.0, f32::INFINITY][usize::from(rows < 10) + usize::from(rows == 0)];
        assert_eq!(policy.threshold(1), Some(threshold), "u = {start}");
    }
}

/// However long everything goes wrong, dense is as far as it gets, and a few dozen tokens lead out again.
#[test]
fn saturation_does_not_wind_up() {
    let mut policy = build(100, Level::Rank, (0.1, 0.25, 0.5)).unwrap();
    let scores: Vec<f32> = (0..100u8).map(f32::from).collect();
    let mut active = Vec::new();
    let mut dense = 0;
    for _ in 0..5000 {
        policy.select(1, &scores, &mut active).unwrap();
        let computed = active.len();
        dense += usize::from(computed == 100);
        let miss = if computed == 100 { 0.0 } else { 1.0 };
        policy.observe(1, &feedback(computed, 1.0 - miss, miss)).unwrap();
    }
    assert!(dense > 4000, "{dense} of 5000 tokens dense");
    let mut tokens = 0;
    while active.len() > 50 {
        policy.select(1, &scores, &mut active).unwrap();
        policy.observe(1, &feedback(active.len(), 1.0, 0.0)).unwrap();
        tokens += 1;
    }
    // From u = −η(1 − α) at worst to 0.5 in steps of ηα.
    assert!(tokens <= ((0.5 + 0.225) / 0.025) as usize + 2, "{tokens} tokens");
}

#[test]
fn a_token_without_mass_or_audit_moves_nothing() {
    let mut policy = build(10, Level::Rank, (0.1, 0.25, 0.5)).unwrap();
    let mut active = Vec::new();
    for audit in [None, Some(Audit::new(0.0, 0.0).unwrap())] {
        policy.select(1, &[1.0; 10], &mut active).unwrap();
        policy.observe(1, &Feedback { computed: 5, useful: None, audit }).unwrap();
        assert_eq!(policy.audits(1), Some(0));
    }
    policy.select(1, &[1.0; 10], &mut active).unwrap();
    assert_eq!(active, [0, 1, 2, 3, 4]);
}

/// What the proof takes for granted is checked.
#[test]
fn feedback_that_would_break_the_proof_is_refused() {
    let refused = |policy: &mut Dynamic, feedback: &Feedback, part: &str| {
        let message = policy.observe(1, feedback).unwrap_err().to_string();
        assert!(message.contains("layer 1") && message.contains(part), "{message}");
    };
    let mut active = Vec::new();

    let mut policy = build(10, Level::Rank, (0.1, 0.25, 0.5)).unwrap();
    refused(&mut policy, &feedback(5, 1.0, 1.0), "no selection");
    policy.select(1, &[1.0; 10], &mut active).unwrap();
    refused(&mut policy, &feedback(4, 1.0, 1.0), "5 were selected");
    policy.observe(1, &feedback(5, 1.0, 1.0)).unwrap();
    refused(&mut policy, &feedback(5, 1.0, 1.0), "no selection");
    assert_eq!(policy.audits(1), Some(1));

    let mut policy = build(10, Level::Rank, (0.1, 0.25, 0.0)).unwrap();
    policy.select(1, &[1.0; 10], &mut active).unwrap();
    refused(&mut policy, &feedback(10, 1.0, 1e-9), "every row was computed");

    let mut policy = build(10, Level::Rank, (0.1, 0.25, 1.0)).unwrap();
    policy.select(1, &[1.0; 10], &mut active).unwrap();
    assert!(active.is_empty());
    assert_eq!(policy.threshold(1), Some(f32::INFINITY));
    refused(&mut policy, &feedback(0, 1e-9, 1.0), "no row was computed");
}

#[test]
fn a_selection_that_failed_waits_for_no_feedback() {
    let mut policy = build(3, Level::Rank, (0.1, 0.25, 0.5)).unwrap();
    let mut active = Vec::new();
    policy.select(1, &[1.0; 3], &mut active).unwrap();
    policy.select(1, &[1.0, f32::NAN, 1.0], &mut active).unwrap_err();
    assert!(policy.observe(1, &feedback(2, 1.0, 0.0)).is_err());
}

#[test]
fn settings_out_of_range_are_refused() {
    let policy = || Dynamic::new(Kernels::best(), Shape::new(2, 3).unwrap(), Miss::new(0.1).unwrap(), Level::Mass);
    for gain in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(policy().with_gain(gain).is_err(), "{gain}");
    }
    for start in [-0.1, 1.1, f64::NAN] {
        assert!(policy().with_start(&[0.0, start]).is_err(), "{start}");
    }
    assert!(policy().with_start(&[0.0]).is_err());
}
