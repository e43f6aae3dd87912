//! Composition over the example record, whose times are affine in bytes by construction.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::compose::{ComposeError, Composer, Composition, Configuration, DENSE, Scorer, TermKind};
use cost_model::estimate::Estimate;
use cost_model::format::WeightFormat;
use cost_model::machine::CUDA;
use cost_model::model::ModelShape;
use cost_model::operator::Operator;
use cost_model::origin::{Origin, Sourced};
use cost_model::record::{Measurement, Record};
use proptest::prelude::*;

/// The example's law: 30 us + 1.2 x bytes / (20 GB/s).
const START_S: f64 = 30e-6;
const SECONDS_PER_BYTE: f64 = 1.2 / 2e10;
/// Six digits are kept in the file.
const TOLERANCE: f64 = 1e-4;

fn record() -> Record {
    Record::parse(include_str!("fixtures/example-record.json"), "example").unwrap()
}

fn configuration(policy: &str, density: f64) -> Configuration {
    let model = ModelShape::named("llama-2-70b").unwrap();
    Configuration {
        model,
        format: WeightFormat::Q8_0,
        policy: policy.into(),
        scorer: Scorer::Free,
        densities: Sourced::new(vec![density; model.layers], Origin::assumed("a test")),
        context_tokens: 1000,
        batch: 1,
        skew: model.skew().unwrap(),
        kv_format: WeightFormat::F16,
        threads: 2,
        isa: "avx2".into(),
    }
}

fn compose(c: &Configuration) -> Result<Composition, ComposeError> {
    Composer::new(&record()).unwrap().compose(c)
}

fn ms(composition: &Composition, kind: TermKind) -> f64 {
    let term = composition.terms.iter().find(|t| t.kind == kind).unwrap();
    term.ms.median
}

/// Time of `calls` kernels that read `bytes` together.
fn law_ms(calls: f64, bytes: f64) -> f64 {
    1e3 * (calls * START_S + bytes * SECONDS_PER_BYTE)
}

#[test]
fn dense_terms_are_the_law_summed_over_layers() {
    let c = configuration(DENSE, 1.0);
    let composed = compose(&c).unwrap();
    let p = c.model.parameters();
    let bytes = |parameters: u64| parameters as f64 * 34.0 / 32.0;
    let near = |kind, expected: f64| {
        let error = ms(&composed, kind) / expected - 1.0;
        assert!(error.abs() < TOLERANCE, "{kind}: {error}");
    };
    near(TermKind::AttentionProjections, law_ms(320.0, bytes(p.attention())));
    near(TermKind::FfnGateUp, law_ms(80.0, bytes(p.gate + p.up)));
    near(TermKind::FfnDown, law_ms(80.0, bytes(p.down)));
    near(TermKind::LmHead, law_ms(1.0, bytes(p.head)));
    // 80 layers x 1000 tokens x (key and value) x 8 heads x 128 x 2 bytes at 20 GB/s.
    near(TermKind::KvCache, 1e3 * 80.0 * 1000.0 * 4096.0 / 2e10);
    assert!(composed.terms.iter().all(|t| t.kind != TermKind::Selection && t.kind != TermKind::Predictor));
    assert!(!composed.extrapolated());
    let sum: f64 = composed.terms.iter().map(|t| t.ms.median).sum();
    assert!((composed.ms_per_token.median / sum - 1.0).abs() < 1e-12);
    assert!((composed.tok_s.median * composed.ms_per_token.median - 1e3).abs() < 1e-9);
}

#[test]
fn every_layer_has_its_own_density() {
    let mut c = configuration("top-k:density=0.10", 0.0);
    let active = |i: usize| 2867 + 100 * i;
    c.densities.value = (0..80).map(|i| active(i) as f64 / 28672.0).collect();
    let neurons: usize = (0..80).map(active).sum();
    let composed = compose(&c).unwrap();
    let expected = law_ms(80.0, (2 * neurons * 8704) as f64);
    let error = ms(&composed, TermKind::FfnGateUp) / expected - 1.0;
    assert!(error.abs() < TOLERANCE, "{error}");
    assert!((ms(&composed, TermKind::Selection) - 80.0 * 0.015).abs() < 1e-9);
}

#[test]
fn errors_add_within_an_operator_and_in_quadrature_across() {
    let composed = compose(&configuration(DENSE, 1.0)).unwrap();
    // Every input is +-2 %, so every group is; KV divides by bandwidth: 1/0.98 above.
    let half = |kind: TermKind| {
        let term = composed.terms.iter().find(|t| t.kind == kind).unwrap();
        (term.ms.high - term.ms.median, term.ms.median - term.ms.low)
    };
    let gemv = half(TermKind::AttentionProjections).0 + half(TermKind::LmHead).0;
    let others = [TermKind::FfnGateUp, TermKind::FfnDown, TermKind::KvCache].map(|n| half(n).0);
    let expected = others.iter().fold(gemv * gemv, |s, h| s + h * h).sqrt();
    let total = composed.ms_per_token;
    assert!(((total.high - total.median) / expected - 1.0).abs() < 1e-9);
    let ffn = half(TermKind::FfnDown);
    let relative = ffn.0 / ms(&composed, TermKind::FfnDown);
    assert!((relative - 0.02).abs() < 1e-4 && (ffn.0 / ffn.1 - 1.0).abs() < 1e-3);
}

#[test]
fn less_density_is_never_slower_nor_more_bytes() {
    let record = record();
    let composer = Composer::new(&record).unwrap();
    let mut before: Option<Composition> = None;
    for step in (1..=200).rev() {
        let c = configuration("top-k:density=0.10", f64::from(step) / 200.0);
        let now = composer.compose(&c).unwrap();
        if let Some(before) = before {
            assert!(now.ms_per_token.median <= before.ms_per_token.median);
            assert!(now.bytes_per_step <= before.bytes_per_step);
        }
        before = Some(now);
    }
}

#[test]
fn predictors_are_timed_between_ranks_and_counted_in_memory() {
    let mut c = configuration("top-k:density=0.10", 0.1);
    let without = compose(&c).unwrap();
    c.scorer = Scorer::LowRank(768);
    let with = compose(&c).unwrap();
    let bytes = 768.0 * (8192.0 + 28672.0) * 34.0 / 32.0;
    let error = ms(&with, TermKind::Predictor) / law_ms(80.0, 80.0 * bytes) - 1.0;
    assert!(error.abs() < TOLERANCE, "{error}");
    assert_eq!(with.memory.predictors, 80 * bytes as u64);
    assert_eq!(with.memory.total() - without.memory.total(), with.memory.predictors);
    assert!(!with.extrapolated());
    assert!(without.assumptions.iter().any(|a| a.contains("no predictor")));
    assert!(with.assumptions.iter().all(|a| !a.contains("no predictor")));

    c.scorer = Scorer::LowRank(1919);
    let beyond = compose(&c).unwrap();
    assert!(beyond.terms.iter().all(|t| t.extrapolated == (t.kind == TermKind::Predictor)));
}

/// Where the gate scores, it is read whole, and only up and down by density: one term over the whole FFN.
#[test]
fn a_gate_that_scores_is_read_whole() {
    let mut record = record();
    let gate_up: Vec<_> = record.measurements.iter().filter(|m| m.operator == Operator::GateUp).cloned().collect();
    record.measurements.extend(gate_up.into_iter().map(|mut m| {
        m.operator = Operator::FfnGateFirst;
        m.bytes = m.operator.weight_bytes(m.format, (m.rows, m.cols), m.density, 0);
        let seconds = 1e-3 * law_ms(1.0, m.bytes as f64);
        m.seconds = Estimate { median: seconds, low: 0.99 * seconds, high: 1.01 * seconds, ..m.seconds };
        m
    }));
    let mut c = configuration("top-k:density=0.10", 0.1);
    c.scorer = Scorer::Gate;
    let composed = Composer::new(&record).unwrap().compose(&c).unwrap();
    let rows = 80.0 * (28672.0 + 2.0 * 2867.0);
    let error = ms(&composed, TermKind::FfnGateFirst) / law_ms(80.0, rows * 8704.0) - 1.0;
    assert!(error.abs() < TOLERANCE, "{error}");
    assert!(composed.terms.iter().all(|t| t.kind != TermKind::FfnDown && t.kind != TermKind::Predictor));
    assert!(composed.assumptions.iter().all(|a| !a.contains("no predictor")));
    assert_eq!(composed.memory.predictors, 0);
}

/// Seconds of predictor, selection and FFN as one step, over those of the law: so that a term tells where it was read.
const STEP: f64 = 1.25;
const STEP_RANK: usize = 1024;

/// The record with predictor, selection and FFN measured as one step too, of one rank, under fixed and top-k policies.
fn record_with_steps() -> Record {
    let mut record = record();
    let gate_up: Vec<_> = record.measurements.iter().filter(|m| m.operator == Operator::GateUp).cloned().collect();
    record.measurements.extend(gate_up.into_iter().map(|mut m| {
        m.operator = Operator::FfnPredicted;
        m.kernel = "ffn_predicted/avx2/q8_0".into();
        m.rank = Some(STEP_RANK);
        m.bytes = m.operator.weight_bytes(m.format, (m.rows, m.cols), m.density, STEP_RANK);
        let seconds = STEP * 1e-3 * law_ms(1.0, m.bytes as f64);
        m.seconds = Estimate { median: seconds, low: 0.99 * seconds, high: 1.01 * seconds, ..m.seconds };
        m.ratio = None;
        m
    }));
    let mut select = record.measurements.iter().find(|m| m.operator == Operator::Select).unwrap().clone();
    select.policy = Some("fixed:0.02".into());
    select.kernel = "select/cuda/fixed:0.02".into();
    record.measurements.push(select);
    record.check("with steps").unwrap();
    record
}

fn record_without_steps() -> Record {
    let mut record = record_with_steps();
    record.measurements.retain(|m| m.operator != Operator::FfnPredicted);
    record
}

/// One term instead of three, off the curve of that rank: every byte of the three, and another time.
#[test]
fn a_step_measured_whole_is_one_term() {
    let (with, without) = (record_with_steps(), record_without_steps());
    for density in [0.05, 0.1, 0.18, 1.0] {
        let mut c = configuration("fixed:0.02", density);
        c.scorer = Scorer::LowRank(STEP_RANK);
        let whole = Composer::new(&with).unwrap().compose(&c).unwrap();
        let parts = Composer::new(&without).unwrap().compose(&c).unwrap();
        let active = (density * 28672.0).round();
        let bytes = (1024.0 * (8192.0 + 28672.0) + 3.0 * active * 8192.0) * 34.0 / 32.0;
        let error = ms(&whole, TermKind::FfnPredicted) / (STEP * law_ms(80.0, 80.0 * bytes)) - 1.0;
        assert!(error.abs() < TOLERANCE, "{error} at {density}");
        let kinds = |composed: &Composition| composed.terms.iter().map(|t| t.kind).collect::<Vec<_>>();
        let [.., head, small] = kinds(&whole)[..] else { unreachable!() };
        assert_eq!((whole.terms.len(), head, small), (5, TermKind::LmHead, TermKind::Small));
        assert!(kinds(&parts).contains(&TermKind::Predictor) && !kinds(&parts).contains(&TermKind::FfnPredicted));
        // Scores are no weights: they never leave the step.
        let scores = parts.terms.iter().find(|t| t.kind == TermKind::Selection).unwrap().bytes;
        assert_eq!(whole.bytes_per_step, parts.bytes_per_step - scores);
        assert_eq!(whole.memory, parts.memory);
        assert!(whole.terms.iter().all(|t| !t.extrapolated));
    }
}

/// Of another rank, of a batch, by a policy that no threshold stands for: the parts, as if nothing had been measured whole.
#[test]
fn what_no_step_was_measured_of_is_composed_of_parts() {
    let (with, without) = (record_with_steps(), record_without_steps());
    let [with, without] = [&with, &without].map(|record| Composer::new(record).unwrap());
    let fixed = Configuration { scorer: Scorer::LowRank(STEP_RANK), ..configuration("fixed:0.02", 0.1) };
    let same = |c: Configuration| assert_eq!(with.compose(&c), without.compose(&c), "{c:?}");
    same(Configuration { scorer: Scorer::LowRank(512), ..fixed.clone() });
    same(Configuration { scorer: Scorer::Free, ..fixed.clone() });
    same(Configuration { batch: 2, ..fixed.clone() });
    same(Configuration { policy: "top-k:density=0.10".into(), ..fixed.clone() });
    same(configuration(DENSE, 1.0));
    assert_ne!(with.compose(&fixed), without.compose(&fixed));
    // A policy that moves its thresholds says what is not counted.
    let says = |policy: &str| {
        let c = Configuration { policy: policy.into(), ..fixed.clone() };
        with.compose(&c).unwrap().assumptions.iter().any(|a| a.contains("moves thresholds"))
    };
    assert!(says("dynamic:miss=0.05") && says("budget:density=0.10"));
    assert!(!says("fixed:0.02") && !says("per-layer:density=0.10"));
    let mut bad = fixed;
    bad.densities.value[3] = f64::NAN;
    assert!(matches!(with.compose(&bad), Err(ComposeError::Density { layer: 3, .. })));
}

/// Ranks have curves of their own, and each is told from the others by its name.
#[test]
fn every_rank_of_a_step_has_its_curve() {
    let mut record = record_with_steps();
    let steps: Vec<_> = record.measurements.iter().filter(|m| m.operator == Operator::FfnPredicted).cloned().collect();
    record.measurements.extend(steps.into_iter().map(|m| Measurement { rank: Some(512), ..m }));
    record.check("two ranks").unwrap();
    let composer = Composer::new(&record).unwrap();
    let names: Vec<String> = composer.curves().map(|(name, _)| name).filter(|n| n.contains("predicted")).collect();
    for rank in [512, 1024] {
        assert!(names.contains(&format!("ffn_predicted avx2 q8_0 t2 rank {rank} 28672x8192")), "{names:?}");
    }
    record.measurements.iter_mut().for_each(|m| m.rank = m.rank.filter(|_| m.operator != Operator::FfnPredicted));
    assert!(record.check("no rank").unwrap_err().to_string().contains("ffn_predicted"));
}

/// Query, key and value are one projection where one of as many rows was measured.
#[test]
fn projections_measured_as_one_are_composed_as_one() {
    let mut record = record();
    let mut one = record.measurements.iter().find(|m| m.operator == Operator::Gemv).unwrap().clone();
    one.rows = 8192 + 2 * 1024;
    one.bytes = one.operator.weight_bytes(one.format, (one.rows, one.cols), 1.0, 0);
    let seconds = 1e-3 * law_ms(1.0, one.bytes as f64);
    one.seconds = Estimate { median: seconds, low: seconds, high: seconds, ..one.seconds };
    one.ratio = None;
    record.measurements.push(one);
    let c = configuration(DENSE, 1.0);
    let (apart, as_one) = (compose(&c).unwrap(), Composer::new(&record).unwrap().compose(&c).unwrap());
    let saved = ms(&apart, TermKind::AttentionProjections) - ms(&as_one, TermKind::AttentionProjections);
    assert!((saved / law_ms(160.0, 0.0) - 1.0).abs() < 1e-3, "{saved}");
    assert_eq!(as_one.bytes_per_step, apart.bytes_per_step);
}

/// A cache of wider numbers takes as much more to keep and to read.
#[test]
fn the_cache_is_as_wide_as_its_format() {
    let mut c = configuration(DENSE, 1.0);
    let narrow = compose(&c).unwrap();
    c.kv_format = WeightFormat::F32;
    let wide = compose(&c).unwrap();
    assert_eq!(wide.memory.kv_cache, 2 * narrow.memory.kv_cache);
    assert!((ms(&wide, TermKind::KvCache) / ms(&narrow, TermKind::KvCache) - 2.0).abs() < 1e-9);
}

#[test]
fn memory_is_every_parameter_in_its_format() {
    let dense = compose(&configuration(DENSE, 1.0)).unwrap();
    let p = ModelShape::named("llama-2-70b").unwrap().parameters();
    let expected = (p.total() - p.norms) * 34 / 32 + 4 * p.norms;
    assert_eq!(dense.memory.weights, expected);
    assert_eq!(dense.memory.kv_cache, 80 * 1000 * 4096);
    assert_eq!(dense.memory.index_tables, 0);
    // Everything but the embedding table (one row of it) is read once per token.
    let read = expected - 32000 * 8704 + 8704 + dense.memory.kv_cache;
    assert_eq!(dense.bytes_per_step, read);
}

#[test]
fn another_threshold_of_a_measured_kind_is_flagged() {
    let composed = compose(&configuration("top-k:density=0.20", 0.2)).unwrap();
    let term = composed.terms.iter().find(|t| t.kind == TermKind::Selection).unwrap();
    assert!(term.extrapolated);
    assert!(term.origin.to_string().contains("top-k:density=0.10"), "{}", term.origin);
}

#[test]
fn selection_with_the_same_instruction_set_comes_first() {
    let mut record = record();
    let mut own = record.measurements.last().unwrap().clone();
    own.isa = "avx2".into();
    own.kernel = "select/avx2/f32".into();
    own.seconds.median /= 2.0;
    own.seconds.low /= 2.0;
    own.seconds.high /= 2.0;
    record.measurements.push(own);
    let composer = Composer::new(&record).unwrap();
    let composed = composer.compose(&configuration("top-k:density=0.10", 0.1)).unwrap();
    assert!((ms(&composed, TermKind::Selection) - 80.0 * 0.0075).abs() < 1e-9);
}

#[test]
fn what_was_not_measured_is_refused_with_what_was() {
    let refuse = |change: fn(&mut Configuration), says: &[&str]| {
        let mut c = configuration("top-k:density=0.10", 0.1);
        change(&mut c);
        let error = compose(&c).unwrap_err().to_string();
        assert!(says.iter().all(|s| error.contains(s)), "{error}");
        assert!(!error.contains('\n'));
    };
    refuse(|c| c.isa = "avx512".into(), &["gemv avx512 q8_0 t2", "gemv avx2 q8_0 t2"]);
    refuse(|c| c.format = WeightFormat::F16, &["gemv avx2 f16 t2"]);
    refuse(|c| c.threads = 8, &["gemv avx2 q8_0 t8"]);
    refuse(|c| c.policy = "fixed:0.0".into(), &["fixed:0.0", "top-k:density=0.10"]);
    refuse(|c| c.context_tokens = usize::MAX, &["context_tokens"]);
    refuse(|c| c.scorer = Scorer::LowRank(usize::MAX), &["predictor_rank"]);
    refuse(|c| c.densities.value.truncate(3), &["3 densities", "80 layers"]);
    refuse(|c| c.densities.value[7] = f64::NAN, &["NaN of layer 7"]);
    refuse(|c| c.densities.value[7] = 1.1, &["1.1 of layer 7"]);
    refuse(|c| c.policy = DENSE.into(), &["`dense` with density 0.1"]);
    let dense_by_gate = |c: &mut Configuration| (c.policy, c.scorer) = (DENSE.into(), Scorer::Gate);
    refuse(dense_by_gate, &["`dense` with scores by the gate"]);

    let mut record = record();
    record.bandwidth.clear();
    let error = Composer::new(&record).unwrap().compose(&configuration(DENSE, 1.0));
    assert!(matches!(error, Err(ComposeError::Unmeasured { .. })));
}

/// The measured law is affine, so every curve predicts each of its points from the others.
#[test]
fn leave_one_out_finds_nothing_to_blame_in_affine_times() {
    let record = record();
    let composer = Composer::new(&record).unwrap();
    let errors: Vec<f64> =
        composer.curves().flat_map(|(_, curve)| curve.leave_one_out()).map(|left| left.error()).collect();
    assert!(errors.len() >= 20);
    assert!(errors.iter().all(|e| *e < 1e-3), "{errors:?}");
}

/// The same record with a batch of `tokens` at `density`, of which `union` rows are named, taking `factor` of what that many
/// rows take one token.
fn with_batch(tokens: usize, density: f64, union: f64, factor: f64) -> Record {
    let mut record = record();
    let gate_up = |m: &&Measurement| m.operator == Operator::GateUp && m.format == WeightFormat::Q8_0 && m.threads == 2;
    let ffn = record.measurements.iter().find(gate_up).unwrap().clone();
    let bytes = Operator::Ffn.weight_bytes(ffn.format, (ffn.rows, ffn.cols), union, 0);
    let seconds = factor * (2.0 * START_S + bytes as f64 * SECONDS_PER_BYTE);
    let seconds = Estimate { median: seconds, low: seconds, high: seconds, ..ffn.seconds };
    record.measurements.push(Measurement {
        operator: Operator::FfnBatch,
        kernel: "ffn_batch/avx2/q8_0".into(),
        density,
        bytes,
        seconds,
        ratio: None,
        tokens: Some(tokens),
        ..ffn
    });
    record.check("with a batch").unwrap();
    record
}

#[test]
fn a_measured_batch_composes_to_what_was_measured() {
    let record = with_batch(8, 1.0, 1.0, 3.0);
    let batch = |batch| Configuration { batch, ..configuration("dense", 1.0) };
    let composer = Composer::new(&record).unwrap();
    let [one, eight, twenty] = [1, 8, 20].map(|tokens| composer.compose(&batch(tokens)).unwrap());
    for part in [TermKind::FfnGateUp, TermKind::FfnDown, TermKind::AttentionProjections, TermKind::LmHead] {
        assert!((ms(&eight, part) / ms(&one, part) - 3.0).abs() < 1e-3, "{part}");
    }
    assert!((ms(&eight, TermKind::KvCache) / ms(&one, TermKind::KvCache) - 8.0).abs() < 1e-9);
    assert!((eight.tok_s.median * eight.ms_per_token.median - 8000.0).abs() < 1e-6);
    // Three calls of seven: each shares what a batch of seven does.
    let seven = 1.0 + 2.0 * 6.0 / 7.0;
    assert!((ms(&twenty, TermKind::LmHead) / ms(&one, TermKind::LmHead) / 3.0 - seven).abs() < 0.05);
    assert_eq!(twenty.memory.kv_cache, 20 * one.memory.kv_cache);
}

/// On a GPU a batch measures what sharing sparse rows costs; dense products are a library's, which reads weights once.
#[test]
fn a_measured_batch_of_a_gpu_says_nothing_of_dense_products() {
    let mut record = with_batch(8, 1.0, 1.0, 3.0);
    record.machine.isa = vec![CUDA.into()];
    record.measurements.iter_mut().for_each(|m| m.isa = CUDA.into());
    let composer = Composer::new(&record).unwrap();
    let composed = |policy: &str, density, batch| {
        let c = Configuration { isa: CUDA.into(), batch, ..configuration(policy, density) };
        composer.compose(&c).unwrap()
    };
    let (one, all) = (composed("dense", 1.0, 1), composed("dense", 1.0, 64));
    for part in [TermKind::FfnGateUp, TermKind::FfnDown, TermKind::AttentionProjections, TermKind::LmHead] {
        assert_eq!(ms(&all, part), ms(&one, part), "{part}");
    }
    let (one, eight) = (composed("top-k:density=0.10", 0.1, 1), composed("top-k:density=0.10", 0.1, 8));
    assert_eq!(ms(&eight, TermKind::LmHead), ms(&one, TermKind::LmHead));
    assert!(ms(&eight, TermKind::FfnDown) > 2.0 * ms(&one, TermKind::FfnDown));
    for batch in [&all, &eight] {
        assert_eq!(batch.assumptions.iter().filter(|a| a.contains("library") || a.contains("libraries")).count(), 1);
    }
}

#[test]
fn where_no_batch_was_measured_a_processor_takes_one_token_after_the_other() {
    let batch = |batch| compose(&Configuration { batch, ..configuration("top-k:density=0.10", 0.1) }).unwrap();
    let (one, four) = (batch(1), batch(4));
    let timed = |c: &Composition| c.ms_per_token.median;
    assert!((timed(&four) / timed(&one) - 4.0).abs() < 1e-9);
    assert!(four.assumptions.iter().any(|a| a.contains("one after the other")));
    assert!(one.assumptions.iter().all(|a| !a.contains("batch")));
    assert_eq!(compose(&Configuration { batch: 0, ..configuration("dense", 1.0) }), Err(ComposeError::NoTokens));
}

proptest! {
    /// Sharing never makes a batch slower than its tokens one after the other, nor a token of it faster than alone.
    #[test]
    fn a_batch_costs_no_less_than_one_token_and_no_more_than_all(
        tokens in 2_usize..65, density in 0.02..1.0, factor in 1.0..12.0,
    ) {
        let record = with_batch(8, 1.0, 1.0, factor);
        let composer = Composer::new(&record).unwrap();
        let batch = |batch| composer.compose(&Configuration { batch, ..configuration("top-k:density=0.10", density) });
        let (one, all) = (batch(1).unwrap(), batch(tokens).unwrap());
        let (alone, together) = (one.ms_per_token.median, all.ms_per_token.median);
        prop_assert!(together >= alone, "{together} {alone}");
        // Calls of eight round up.
        prop_assert!(together <= 1.001 * alone * (tokens + 8) as f64, "{together} {alone}");
        prop_assert!(all.bytes_per_step >= one.bytes_per_step);
    }
}
