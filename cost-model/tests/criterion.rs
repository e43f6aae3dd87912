//! Criterion's layout, on small files written by hand after its documentation.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

use cost_model::criterion::{CriterionError, read_criterion};
use cost_model::format::WeightFormat;
use cost_model::operator::Operator;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/criterion")
}

#[test]
fn reads_our_groups_and_counts_the_others() {
    let run = read_criterion(&fixtures()).unwrap();
    assert_eq!(run.skipped, 1);
    let [gate_first, predicted, gate_up, predictor, select, bare] = &run.measurements[..] else {
        unreachable!("{run:?}")
    };

    assert_eq!((gate_first.operator, gate_first.isa.as_str()), (Operator::FfnGateFirst, "avx512vnni"));
    assert_eq!((gate_first.density, gate_first.bytes), (0.1, (28672 + 2 * 2867) * 8704));

    assert_eq!((predicted.operator, predicted.rank, predicted.density), (Operator::FfnPredicted, Some(1024), 0.1));
    assert_eq!(predicted.bytes, (1024 * (8192 + 28672) + 3 * 2867 * 8192) / 32 * 34);

    assert_eq!(gate_up.operator, Operator::GateUp);
    assert_eq!(gate_up.kernel, "gate_up/avx2/f16");
    assert_eq!(gate_up.format, WeightFormat::F16);
    let shape = (gate_up.rows, gate_up.cols, gate_up.threads);
    assert_eq!(shape, (28672, 8192, 2));
    assert_eq!(gate_up.density, 0.1);
    assert_eq!(gate_up.bytes, 2 * 2867 * 16384);
    let seconds = &gate_up.seconds;
    assert!((seconds.median - 6.5e-3).abs() < 1e-12);
    assert!((seconds.low - 6.435e-3).abs() < 1e-12 && (seconds.high - 6.565e-3).abs() < 1e-12);
    assert_eq!((seconds.confidence, seconds.samples), (0.95, 4));

    assert_eq!((predictor.rank, predictor.density), (Some(512), 1.0));
    assert_eq!(predictor.isa, "avx512");
    assert_eq!(select.policy.as_deref(), Some("fixed:0.0"));
    assert_eq!(select.bytes, 114_688);
    assert_eq!(bare.policy.as_deref(), Some("top-k:density=0.10"));
    assert_eq!((bare.rows, bare.cols, bare.bytes), (28672, 1, 114_688));
    assert_eq!(bare.threads, 1);
}

#[test]
fn reading_memory_is_the_roof_and_the_best_of_each_thread_count_stays() {
    let dir = tempfile::tempdir().unwrap();
    let bench = fixtures().join("gate_up/avx2-f16-28672x8192-t2/0.1/new");
    for (name, id, bytes) in
        [("a", "avx2-f16-28672x8192-t2", 100), ("b", "avx2-f16-28672x8192-t2", 300), ("c", "avx2-f32-1x1-t1", 200)]
    {
        let copy = dir.path().join(name).join("new");
        fs::create_dir_all(&copy).unwrap();
        for file in ["estimates.json", "sample.json"] {
            fs::copy(bench.join(file), copy.join(file)).unwrap();
        }
        let benchmark =
            format!(r#"{{"group_id":"read","function_id":"{id}","value_str":"1","throughput":{{"Bytes":{bytes}}}}}"#);
        fs::write(copy.join("benchmark.json"), benchmark).unwrap();
    }
    let run = read_criterion(dir.path()).unwrap();
    assert!(run.measurements.is_empty() && run.skipped == 0);
    let [two, one] = &run.bandwidth[..] else { unreachable!("{run:?}") };
    assert_eq!((two.threads, one.threads), (2, 1));
    let close = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-12, "{got} {want}");
    close(two.bytes_per_s.median, 300.0 / 6.5e-3);
    close(two.bytes_per_s.low, 300.0 / 6.565e-3);
    close(two.bytes_per_s.high, 300.0 / 6.435e-3);
    close(one.bytes_per_s.median, 200.0 / 6.5e-3);
}

/// Copies the gate_up benchmark, changes one file, and expects a refusal that names it.
fn refuse(file: &str, from: &str, to: &str, says: &str) {
    let dir = tempfile::tempdir().unwrap();
    let bench = fixtures().join("gate_up/avx2-f16-28672x8192-t2/0.1/new");
    let copy = dir.path().join("gate_up/x/0.1/new");
    fs::create_dir_all(&copy).unwrap();
    for name in ["benchmark.json", "estimates.json", "sample.json"] {
        let mut text = fs::read_to_string(bench.join(name)).unwrap();
        if name == file {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        fs::write(copy.join(name), text).unwrap();
    }
    let error = read_criterion(dir.path()).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, CriterionError::Malformed { .. }), "{text}");
    assert!(text.contains(file) && text.contains(says), "{text}");
    assert!(!text.contains('\n'), "{text}");
}

#[test]
fn malformed_benchmarks_of_ours_are_errors() {
    let benchmark = "benchmark.json";
    refuse(benchmark, "avx2-f16-28672x8192-t2", "avx2-f16", "avx2-f16");
    refuse(benchmark, "-t2\"", "-t2-x\"", "wanted `<isa>");
    refuse(benchmark, "-t2\"", "-t2-r512\"", "belongs to predictor");
    refuse(benchmark, "f16", "f17", "wanted `<isa>");
    refuse(benchmark, "\"0.1\"", "\"1.1\"", "value `1.1`");
    refuse(benchmark, "\"0.1\"", "null", "without a density");
    refuse(benchmark, "Bytes", "Elements", "no throughput in bytes");
    refuse("estimates.json", "median", "middle", "median");
    refuse("sample.json", "times", "durations", "times");
}

#[test]
fn a_missing_folder_is_named() {
    let error = read_criterion(Path::new("no/such/criterion")).unwrap_err();
    assert!(error.to_string().starts_with("no/such/criterion: "));
}
