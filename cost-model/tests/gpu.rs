//! A GPU's record is composed, priced and held to its roof as a processor's is.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use cost_model::compose::{Composer, Configuration, DENSE, Scorer, TermKind};
use cost_model::fit::fits;
use cost_model::format::WeightFormat;
use cost_model::machine::CUDA;
use cost_model::model::ModelShape;
use cost_model::operator::Operator;
use cost_model::origin::{Origin, Sourced};
use cost_model::page;
use cost_model::record::{Record, RecordError};
use cost_model::report::Report;
use cost_model::scenario::Scenario;

const MODEL: &str = "llama-2-70b";

fn report(records: &[Record]) -> Report {
    let scenario = Scenario::parse("models = [\"llama-2-70b\"]", "s.toml").unwrap();
    let outcomes = synthetic::outcomes(MODEL);
    Report::build(records, &scenario, &outcomes, "2026-02-03T04:05:06Z".parse().unwrap(), Vec::new()).unwrap()
}

#[test]
fn a_gpu_stands_beside_a_processor() {
    let gpu = synthetic::gpu();
    let report = report(&[synthetic::large(), gpu.clone()]);
    let own = || report.rows.iter().filter(|r| r.configuration.machine == gpu.machine.fingerprint);
    let dense: Vec<_> = own().filter(|r| r.is_dense()).collect();
    assert_eq!(dense.len(), 2);
    for row in &dense {
        assert_eq!((row.configuration.isa.as_str(), row.configuration.threads), ("cuda", 1));
        // 137 GB of f16 and 71 of q8_0 in 141 GB.
        assert!(row.fits);
        assert_eq!((row.usd_per_hour.value, row.usd_per_hour.origin.kind()), (2.6, "published"));
        let ffn = row.terms.iter().find(|t| t.kind == TermKind::Ffn).unwrap();
        let bytes = ffn.bytes as f64;
        let law = 1e3 * (80.0 * synthetic::START_S + synthetic::OVERHEAD * bytes / 4.4e12);
        assert!((ffn.ms.median / law - 1.0).abs() < 1e-9);
    }
    // What it selects by is composed, and a policy that moves thresholds by the kernel that compares with them.
    let policies: Vec<&str> = own().map(|r| r.configuration.policy.as_str()).collect();
    assert!(policies.contains(&"top-k:density=0.10") && policies.contains(&"fixed:0.02"));
    let dynamic = own().find(|r| r.configuration.policy == "dynamic:miss=0.05").unwrap();
    let selection = dynamic.terms.iter().find(|t| t.kind == TermKind::Selection).unwrap();
    assert!(selection.extrapolated && selection.origin.to_string().contains("what moves its thresholds"));
    let kernels = report.kernels.iter().filter(|k| k.machine == gpu.machine.fingerprint);
    for kernel in kernels.filter(|k| k.measurement.operator == Operator::Ffn) {
        assert!(kernel.composed && kernel.roof_ratio.is_some());
    }
    let html = page::html(&report);
    assert!(
        html.contains("NVIDIA H200") && html.contains("132 multiprocessors") && html.contains("GB/s read and written")
    );
}

#[test]
fn a_gpu_alone_makes_a_report() {
    let report = report(&[synthetic::gpu()]);
    assert!(report.headline[0].contains("measured on NVIDIA H200"), "{:?}", report.headline);
    assert!(report.headline[1].starts_with("At a published price"), "{:?}", report.headline);
    assert!(report.rows.iter().any(|r| r.configuration.policy != DENSE));
}

#[test]
fn records_of_a_host_and_of_its_gpu_stay_two() {
    let gpu = synthetic::gpu();
    assert_eq!(Record::merge([gpu.clone(), synthetic::small()]).unwrap().len(), 2);
    let mut other = gpu.clone();
    other.measurements.clear();
    other.copy_bandwidth = Some(synthetic::estimate(4.3e12));
    let merged = Record::merge([gpu, other]).unwrap();
    assert_eq!(merged.len(), 1);
    assert_eq!(merged[0].copy_bandwidth, Some(synthetic::estimate(4.3e12)));
}

#[test]
fn nothing_beats_the_roof_of_a_gpu() {
    let mut record = synthetic::gpu();
    let m = record.measurements.iter_mut().find(|m| m.operator == Operator::Ffn && m.density == 1.0).unwrap();
    m.seconds = synthetic::estimate(m.bytes as f64 / 4.4e12 / 1.2);
    assert!(matches!(record.check("gpu.json").unwrap_err(), RecordError::BeatsRoof { .. }));
    record.copy_bandwidth = Some(synthetic::estimate(f64::NAN));
    assert!(record.check("gpu.json").unwrap_err().to_string().contains("copy_bandwidth"));
}

#[test]
fn a_gpus_lines_have_ratios() {
    let fits = fits(&synthetic::gpu());
    assert!(!fits.is_empty());
    assert!(fits.iter().all(|f| f.isa == "cuda" && (f.ratio.unwrap() - synthetic::OVERHEAD).abs() < 1e-6));
}

/// A step that was measured whole stands in rows, bars and kernels under its own name.
#[test]
fn a_step_measured_whole_is_reported() {
    let gpu = synthetic::gpu_with_steps(&[1919, 1920]);
    let report = report(std::slice::from_ref(&gpu));
    let row = |policy: &str| report.rows.iter().find(|r| r.configuration.policy == policy).unwrap();
    let has = |policy: &str, kind| row(policy).terms.iter().any(|t| t.kind == kind);
    assert!(has("fixed:0.02", TermKind::FfnPredicted) && !has("fixed:0.02", TermKind::Predictor));
    assert!(has("top-k:density=0.10", TermKind::Predictor) && !has("top-k:density=0.10", TermKind::FfnPredicted));
    assert!(report.kernels.iter().any(|k| k.measurement.operator == Operator::FfnPredicted && k.composed));
    let html = page::html(&report);
    for name in ["FFN, predicted", "ffn_predicted", "part-ffn-predicted"] {
        assert!(html.contains(name), "{name}");
    }
}

/// A GPU's gate-first FFN cuts at the threshold itself: only what no threshold stands for is selected by a kernel of its own.
#[test]
fn a_gate_that_cuts_needs_no_selection() {
    let mut record = synthetic::gpu();
    let whole: Vec<_> = record.measurements.iter().filter(|m| m.operator == Operator::Ffn).cloned().collect();
    record.measurements.extend(whole.into_iter().map(|mut m| {
        m.operator = Operator::FfnGateFirst;
        m.bytes = m.operator.weight_bytes(m.format, (m.rows, m.cols), m.density, 0);
        m
    }));
    let composer = Composer::new(&record).unwrap();
    let model = ModelShape::LLAMA_2_70B;
    let selects = |policy: &str| {
        let c = Configuration {
            model,
            format: WeightFormat::Q8_0,
            policy: policy.into(),
            scorer: Scorer::Gate,
            densities: Sourced::new(vec![0.1; model.layers], Origin::assumed("a test")),
            context_tokens: 0,
            batch: 1,
            skew: model.skew().unwrap(),
            kv_format: WeightFormat::F32,
            threads: 1,
            isa: CUDA.into(),
        };
        composer.compose(&c).unwrap().terms.iter().any(|t| t.kind == TermKind::Selection)
    };
    assert!(!selects("fixed:0.05") && !selects("per-layer:density=0.10") && !selects("dynamic:miss=0.05"));
    assert!(selects("top-k:density=0.10"));
}
