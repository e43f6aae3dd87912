//! The report's arithmetic over synthetic records.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use cost_model::format::WeightFormat;
use cost_model::operator::Operator;
use cost_model::origin::{Origin, Sourced};
use cost_model::per::{paper, ratio};
use cost_model::record::Record;
use cost_model::report::{PerForm, PolicyOutcome, Report, ReportError};
use cost_model::scenario::Scenario;

const MODEL: &str = "llama-2-70b";

/// One model, unless the text names others.
fn scenario(text: &str) -> Scenario {
    let models = if text.contains("models") { "" } else { "models = [\"llama-2-70b\"]\n" };
    Scenario::parse(&format!("{models}{text}"), "s.toml").unwrap()
}

fn try_build(records: &[Record], text: &str, outcomes: &[PolicyOutcome]) -> Result<Report, ReportError> {
    Report::build(records, &scenario(text), outcomes, "2026-02-03T04:05:06Z".parse().unwrap(), Vec::new())
}

fn build(text: &str) -> Report {
    try_build(&[synthetic::small(), synthetic::large()], text, &synthetic::outcomes(MODEL)).unwrap()
}

fn find<'a>(report: &'a Report, policy: &str, format: &str, machine: usize) -> (usize, &'a cost_model::report::Row) {
    let fingerprint = &report.machines[machine].machine.fingerprint;
    let here = |r: &cost_model::report::Row| {
        let c = &r.configuration;
        c.policy == policy && c.format == format && c.machine == *fingerprint
    };
    let index = report.rows.iter().position(here).unwrap();
    (index, &report.rows[index])
}

#[test]
fn every_machine_format_and_policy_has_a_row_in_the_fastest_instruction_set() {
    let report = build("");
    assert_eq!(report.rows.len(), 2 * 2 * 13);
    for row in &report.rows {
        let c = &row.configuration;
        assert_eq!(c.isa, "avx512");
        assert_eq!(c.threads, report.machine(&c.machine).unwrap().logical_cores);
        let sum: f64 = row.terms.iter().map(|t| t.ms.median).sum();
        assert!((c.ms_per_token / sum - 1.0).abs() < 1e-12);
        assert!(c.ms_low <= c.ms_per_token && c.ms_per_token <= c.ms_high);
        // The published figure is not one of a quantised model.
        let accuracy = match (row.is_dense(), c.format.as_str()) {
            (false, _) => "unknown",
            (true, "f16") => "published",
            (true, _) => "assumed",
        };
        assert_eq!((row.accuracy.kind(), c.accuracy_origin), (accuracy, accuracy));
    }
    assert!(report.headline.len() >= 4, "{:?}", report.headline);
}

/// 1919 columns are no whole number of q8_0 blocks: the predictor is padded, and said to be.
#[test]
fn q8_0_predictors_have_whole_blocks() {
    let report = build("");
    let rank = |policy, format| find(&report, policy, format, 0).1.configuration.predictor_rank;
    assert_eq!(rank("fixed:0.02", "f16"), Some(1919));
    assert_eq!(rank("fixed:0.02", "q8_0"), Some(1920));
    assert_eq!(rank("dense", "q8_0"), None);
    assert!(report.notes.iter().any(|n| n.contains("rank 1920 for 1919")), "{:?}", report.notes);
    let (_, row) = find(&report, "fixed:0.02", "q8_0", 0);
    let bytes = Operator::Predictor.weight_bytes(WeightFormat::Q8_0, (28672, 8192), 1.0, 1920);
    assert_eq!(row.memory.predictors, 80 * bytes);
}

/// The small machine holds 24 of the 138 GB: it pays for the memory that the model needs.
#[test]
fn a_machine_too_small_for_the_model_is_not_cheaper_for_it() {
    let report = build("");
    let (_, small) = find(&report, "dense", "f16", 0);
    let (_, large) = find(&report, "dense", "f16", 1);
    assert!(!small.fits && large.fits);
    let gib = small.memory.total() as f64 / f64::from(1 << 30);
    let expected = 6.3504 * gib / 768.0;
    assert!((small.usd_per_hour.value / expected - 1.0).abs() < 1e-9);
    assert!(small.usd_per_hour.origin.to_string().contains("charged for"));
    assert!(report.notes.iter().any(|n| n.contains(&small.configuration.machine) && n.contains("with the memory")));
    // What sparse needs beyond dense costs too.
    assert!(find(&report, "fixed:0.02", "f16", 0).1.usd_per_hour.value > small.usd_per_hour.value);

    let given = build("usd_per_hour = 2.0");
    let (_, small) = find(&given, "dense", "f16", 0);
    let seconds = 1e6 * small.configuration.ms_per_token / 1e3;
    assert!((small.configuration.usd_per_mtok / (2.0 * seconds / 3600.0 / 0.5) - 1.0).abs() < 1e-12);
}

#[test]
fn whatever_rests_on_an_assumption_is_assumed() {
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes[0].densities.origin = Origin::assumed("a guess");
    let report = try_build(&[synthetic::small()], "", &outcomes).unwrap();
    let (_, guessed) = find(&report, &outcomes[0].policy, "f16", 0);
    assert_eq!(guessed.ms_per_token.origin.kind(), "assumed");
    let (_, known) = find(&report, &outcomes[1].policy, "f16", 0);
    assert_eq!(known.ms_per_token.origin.kind(), "derived");
    for row in &report.rows {
        assert_eq!(row.usd_per_mtok.origin.kind(), "assumed");
    }
}

#[test]
fn per_forms_are_those_of_the_per_module_under_the_declared_loss() {
    let report = build("kappa = 1.5");
    let accuracy = |r: &cost_model::report::Row| 0.305 * (1.0 - 1.5 * r.configuration.missed_mass.unwrap());
    let set: Vec<_> = report.rows.iter().map(|r| r.configuration.candidate(accuracy(r))).collect();
    let expected = paper(&set).unwrap();
    for (index, row) in report.rows.iter().enumerate() {
        let c = &row.configuration;
        assert!((row.per_accuracy.as_ref().unwrap().value - accuracy(row)).abs() < 1e-12);
        // The fourth root turns a rounding error e near 0 into e^(1/4).
        assert!((c.per_paper.unwrap().powi(4) - expected.values[index].powi(4)).abs() < 1e-9);
        let reference = row.reference.unwrap();
        let base = &report.rows[reference].configuration;
        assert_eq!((base.policy.as_str(), base.format.as_str(), &base.machine), ("dense", "f16", &c.machine));
        let against = ratio(&set[index], &set[reference]).unwrap();
        assert!((c.per_ratio.unwrap() - against).abs() < 1e-12);
        assert_eq!(c.per_set_hash, report.rows[0].configuration.per_set_hash);
    }
}

/// The paper form cannot see kappa; the ratio form falls with it; dense does not move.
#[test]
fn sensitivity_follows_the_forms() {
    let report = build("");
    let kappa = &report.sensitivity.kappa;
    assert_eq!((kappa[0], kappa[16]), (0.0, 4.0));
    assert_eq!(report.sensitivity.series.len(), report.rows.len());
    for series in &report.sensitivity.series {
        let dense = report.rows[series.row].is_dense();
        let ratio: Vec<f64> = series.ratio.iter().map(|r| r.unwrap()).collect();
        assert!(ratio.windows(2).all(|w| if dense { w[0] == w[1] } else { w[0] >= w[1] }), "{ratio:?}");
        // Min-max of equal accuracies is undefined at kappa 0.
        assert_eq!(series.paper[0], None);
        let (one, two) = (series.paper[4].unwrap(), series.paper[8].unwrap());
        assert!((one.powi(4) - two.powi(4)).abs() < 1e-9);
    }
}

/// At the break-even accuracy the ratio PERs are equal, and so are dollars per solved problem.
#[test]
fn break_even_is_where_sparse_equals_dense() {
    let report = build("");
    assert_eq!(report.break_even.len(), 2 * 2 * 12);
    for even in &report.break_even {
        let (own, base) = (&report.rows[even.row].configuration, &report.rows[even.dense].configuration);
        assert_eq!((&own.format, &own.machine), (&base.format, &base.machine));
        let dense = base.candidate(0.305);
        let equal = ratio(&own.candidate(0.305 * even.per_share.value), &dense).unwrap();
        assert!((equal - 1.0).abs() < 1e-12);
        let usd = even.usd_share.as_ref().unwrap();
        // One price cancels; two assumed prices do not.
        assert_eq!(usd.origin.kind(), if own.usd_per_hour == base.usd_per_hour { "derived" } else { "assumed" });
        assert_eq!(even.per_share.origin.kind(), "derived");
        assert!((own.usd_per_mtok / usd.value / base.usd_per_mtok - 1.0).abs() < 1e-12);
        let missed = own.missed_mass.unwrap();
        if let Some(kappa) = even.per_kappa {
            assert!((1.0 - kappa * missed - even.per_share.value).abs() < 1e-12);
        } else {
            assert!(even.per_share.value > 1.0 || missed == 0.0);
        }
    }
}

#[test]
fn correlations_count_their_rows_and_stay_in_range() {
    let report = build("models = [\"llama-2-70b\", \"code-llama-70b\"]");
    let overall: Vec<_> = report.correlations.iter().filter(|c| c.model.is_none()).collect();
    // One paper PER per set of candidates: no value over several models.
    assert!(overall.iter().all(|c| c.form != PerForm::Paper) && overall.len() == 2);
    let named = |model: &'static str| report.correlations.iter().filter(move |c| c.model.as_deref() == Some(model));
    for c in named(MODEL) {
        assert_eq!(c.rows, 52);
        assert!((-1.0..=1.0).contains(&c.spearman.unwrap()));
    }
    // Only dense was composed for Code Llama: two machines in two formats.
    assert!(named("code-llama-70b").all(|c| c.rows == if c.form == PerForm::Paper { 0 } else { 4 }));
    assert!(report.notes.iter().any(|n| n.starts_with("code-llama-70b: no paper PER: all candidates have accuracy")));
    assert!(report.notes.iter().any(|n| n.contains("no policy was run on code-llama-70b")));
}

#[test]
fn relative_forms_survive_an_unknown_dense_accuracy() {
    let known = build("");
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes.iter_mut().for_each(|o| o.model = "relu-llama-70b");
    let records = [synthetic::small(), synthetic::large()];
    let unknown = try_build(&records, "models = [\"relu-llama-70b\"]", &outcomes).unwrap();
    for (a, b) in known.rows.iter().zip(&unknown.rows) {
        assert_eq!(b.accuracy.kind(), "unknown");
        assert_eq!(b.configuration.per_anchored, None);
        let difference = a.configuration.per_ratio.unwrap() - b.configuration.per_ratio.unwrap();
        assert!(difference.abs() < 1e-12);
        let (a, b) = (a.configuration.per_paper.unwrap(), b.configuration.per_paper.unwrap());
        assert!((a.powi(4) - b.powi(4)).abs() < 1e-9);
    }
    assert!(unknown.notes.iter().any(|n| n.contains("no anchored PER")));
}

/// Affine parts cost one more start than the whole: the check finds exactly that.
#[test]
fn self_check_finds_the_second_start() {
    let report = build("");
    assert_eq!(report.self_check.len(), 2 * 2 * 2 * 5);
    for check in &report.self_check {
        assert!(!check.extrapolated);
        let surplus = check.composed.median - check.measured.median;
        assert!((surplus / synthetic::START_S - 1.0).abs() < 1e-6, "{check:?}");
        assert!((check.error - surplus / check.measured.median).abs() < 1e-12);
    }
}

#[test]
fn kernels_say_how_far_from_the_roof_they_are() {
    let report = build("");
    for kernel in &report.kernels {
        let m = &kernel.measurement;
        match (&kernel.roof_ratio, m.operator) {
            (None, operator) => assert_eq!(operator, Operator::Select),
            (Some(ratio), _) => {
                assert_eq!(ratio.origin.kind(), if m.ratio.is_some() { "measured" } else { "derived" });
                assert!(ratio.value.median > synthetic::OVERHEAD);
            }
        }
        assert_eq!(kernel.composed, m.isa == "avx512" && m.operator != Operator::Select);
    }
}

#[test]
fn a_slow_token_is_no_faster_than_the_mean() {
    for row in build("").rows {
        let Some(tail) = &row.p95 else { continue };
        assert!(tail.density >= row.configuration.density - 1e-12);
        assert!(tail.ms.median >= row.configuration.ms_per_token * (1.0 - 1e-12));
    }
}

#[test]
fn what_was_not_measured_is_left_out_with_a_note() {
    let outcomes = synthetic::outcomes(MODEL);
    let mut record = synthetic::small();
    record.measurements.retain(|m| m.operator != Operator::Predictor || m.format == WeightFormat::F16);
    let report = try_build(&[record.clone()], "formats = [\"f32\", \"f16\", \"q8_0\"]", &outcomes).unwrap();
    assert_eq!(report.rows.len(), 13 + 1);
    let note = |says: &[&str]| report.notes.iter().any(|n| says.iter().all(|s| n.contains(s)));
    assert!(note(&["in f32", "skipped"]), "{:?}", report.notes);
    assert!(note(&["in q8_0", "fixed:0.02, fixed:0.05", "predictor avx512 q8_0"]), "{:?}", report.notes);

    record.measurements.retain(|m| m.operator != Operator::Gemv);
    let nothing = try_build(&[record], "", &outcomes).unwrap_err().to_string();
    assert!(nothing.starts_with("no configuration can be composed: ") && !nothing.contains('\n'), "{nothing}");
}

/// The committed example record is enough for a report: q8_0, two policies, no PER of the paper's.
#[test]
fn the_example_record_gives_a_report() {
    let record = Record::parse(include_str!("fixtures/example-record.json"), "example").unwrap();
    let mut outcome = synthetic::outcomes(MODEL).swap_remove(7);
    outcome.policy = "top-k:density=0.10".into();
    let report = try_build(&[record], "", &[outcome]).unwrap();
    let names: Vec<_> = report.rows.iter().map(|r| &r.configuration.policy).collect();
    assert_eq!(names, ["dense", "top-k:density=0.10"]);
    assert!(report.notes.iter().any(|n| n.contains("no paper PER") && n.contains("at least 3")), "{:?}", report.notes);
    assert!(report.rows.iter().all(|r| r.configuration.per_paper.is_none() && r.configuration.per_ratio.is_some()));
    assert!(report.correlations.iter().all(|c| c.spearman.is_none()));
}

#[test]
fn what_is_missed_may_be_unknown() {
    let mut outcomes = synthetic::outcomes(MODEL);
    outcomes[3].missed_mass = None;
    let report = try_build(&[synthetic::small()], "", &outcomes).unwrap();
    let (index, row) = find(&report, &outcomes[3].policy, "f16", 0);
    let c = &row.configuration;
    assert_eq!((c.per_paper, c.per_anchored, c.per_ratio, &c.per_set_hash), (None, None, None, &None));
    assert!(report.sensitivity.series.iter().all(|s| s.row != index));
    let even = report.break_even.iter().find(|b| b.row == index).unwrap();
    assert!(even.usd_share.is_some() && even.usd_kappa.is_none());
}

#[test]
fn refusals_are_one_line() {
    let outcomes = synthetic::outcomes(MODEL);
    let refuse = |records: &[Record], outcomes: &[PolicyOutcome], says: &str| {
        let error = try_build(records, "", outcomes).unwrap_err().to_string();
        assert!(error.contains(says) && !error.contains('\n'), "{error}");
    };
    let small = synthetic::small;
    refuse(&[], &outcomes, "no record given");
    refuse(&[small(), small()], &outcomes, "merge them first");
    refuse(&[small()], &[outcomes[0].clone(), outcomes[0].clone()], "two outcomes of policy fixed:0.02");
    let with = |change: fn(&mut PolicyOutcome)| {
        let mut outcome = outcomes[0].clone();
        change(&mut outcome);
        [outcome]
    };
    refuse(&[small()], &with(|o| o.density_p95 = Some(f64::NAN)), "density_p95 of policy fixed:0.02");
    refuse(&[small()], &with(|o| o.missed_mass = Some(Sourced::new(1.5, Origin::assumed("x")))), "missed mass");
    refuse(&[small()], &with(|o| o.densities.value.truncate(3)), "3 densities");
    refuse(&[small()], &with(|o| o.densities.value[0] = f64::NAN), "density NaN");
}

/// Every number in report.json reads back to the bits that were written, and none is NaN or null by accident.
#[test]
fn json_keeps_every_bit() {
    let report = build("");
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["schema"], "thresher-report/1");
    assert_eq!(json["generated"], "2026-02-03T04:05:06Z");
    for (row, own) in json["rows"].as_array().unwrap().iter().zip(&report.rows) {
        let (flat, c) = (&row["configuration"], &own.configuration);
        let number = |v: &serde_json::Value| v.as_f64().unwrap().to_bits();
        assert_eq!(number(&flat["ms_per_token"]), c.ms_per_token.to_bits());
        assert_eq!(number(&flat["usd_per_mtok"]), c.usd_per_mtok.to_bits());
        assert_eq!(number(&flat["per_ratio"]), c.per_ratio.unwrap().to_bits());
        assert_eq!(number(&row["usd_per_hour"]["value"]), own.usd_per_hour.value.to_bits());
        for (term, own) in row["terms"].as_array().unwrap().iter().zip(&own.terms) {
            assert_eq!(number(&term["ms"]["high"]), own.ms.high.to_bits());
        }
    }
    let densities = &json["outcomes"][1]["densities"]["value"];
    assert_eq!(densities.as_array().unwrap().len(), 80);
    assert_eq!(densities[7].as_f64(), Some(report.outcomes[1].densities.value[7]));
    assert_eq!(report.configurations().len(), report.rows.len());
}
