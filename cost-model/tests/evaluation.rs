//! Quality records: round trips, what follows from them, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use cost_model::{
    evaluation::{Evaluation, EvaluationError, SCHEMA},
    pass_rate::{mcnemar_exact, wilson_95},
    report::{Report, write_quality_csv},
    scenario::Scenario,
};
use proptest::prelude::*;
use serde_json::{Value, json};

fn json_of(evaluation: &Evaluation) -> Value {
    serde_json::to_value(evaluation).unwrap()
}

fn parse(value: &Value) -> Result<Evaluation, EvaluationError> {
    Evaluation::parse(&value.to_string(), "q.json")
}

#[test]
fn a_record_round_trips_through_a_file() {
    let evaluation = synthetic::evaluation();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("q.json");
    evaluation.write(&path).unwrap();
    assert_eq!(Evaluation::read(&path).unwrap(), evaluation);
    let missing = Evaluation::read(&folder.path().join("no.json")).unwrap_err().to_string();
    assert!(missing.contains("no.json"), "{missing}");
}

/// By hand: ten problems, the first six of a family that training saw.
#[test]
fn rates_and_tests_follow_from_outcomes() {
    let evaluation = synthetic::evaluation();
    let [dense, top_k] = [0, 1].map(|index| &evaluation.policies[index]);
    assert_eq!((dense.passes.as_str(), top_k.passes.as_str()), ("1111100100", "1110010000"));
    let rate = evaluation.pass_rate(dense).unwrap();
    assert_eq!((rate.passed, rate.total, rate.share, rate.interval_95), (6, 10, 0.6, wilson_95(0.6, 10).unwrap()));
    let of = |seen| evaluation.pass_rate_of(top_k, seen).map(|rate| (rate.passed, rate.total));
    assert_eq!((of(true), of(false)), (Some((4, 6)), Some((0, 4))));
    let paired = top_k.against(dense);
    assert_eq!((paired.gained, paired.lost, paired.p), (1, 3, mcnemar_exact(1, 3)));
    assert_eq!(evaluation.origin().kind(), "measured");
}

proptest! {
    #[test]
    fn pairing_is_symmetric(outcomes in prop::collection::vec(any::<(bool, bool)>(), 10)) {
        let mut evaluation = synthetic::evaluation();
        evaluation.policies[0].passes = Evaluation::passes(outcomes.iter().map(|pair| pair.0));
        evaluation.policies[1].passes = Evaluation::passes(outcomes.iter().map(|pair| pair.1));
        evaluation.check("q").unwrap();
        let [a, b] = [0, 1].map(|index| &evaluation.policies[index]);
        let (there, back) = (a.against(b), b.against(a));
        prop_assert_eq!((there.gained, there.lost, there.p), (back.lost, back.gained, back.p));
        let [first, second] = [a, b].map(|policy| evaluation.pass_rate(policy).unwrap().passed);
        prop_assert_eq!(first + there.lost, second + there.gained);
    }
}

#[test]
fn records_that_cannot_be_are_refused() {
    type Change = fn(&mut Value);
    let cases: [(&str, Change); 18] = [
        ("thresher-quality/2", |v| v["schema"] = json!("thresher-quality/2")),
        ("schema `none`", |v| drop(v.as_object_mut().unwrap().remove("schema"))),
        ("unknown field", |v| v["more"] = json!(1)),
        ("missing field", |v| drop(v.as_object_mut().unwrap().remove("model"))),
        ("density 1.5", |v| v["policies"][1]["density"] = json!(1.5)),
        ("missed_mass -0.1", |v| v["policies"][1]["missed_mass"] = json!(-0.1)),
        ("density 2", |v| v["policies"][1]["layers"][1]["density"] = json!(2.0)),
        ("fires", |v| v["policies"][1]["fired_density"] = json!(0.9)),
        ("layers", |v| drop(v["policies"][1]["layers"].as_array_mut().unwrap().pop())),
        ("9 outcomes of 10", |v| v["policies"][1]["passes"] = json!("111001000")),
        ("other than", |v| v["policies"][1]["passes"] = json!("111001000x")),
        ("top-k:density=0.10 appears twice", |v| v["policies"][2]["policy"] = json!("top-k:density=0.10")),
        ("lack `dense`", |v| v["policies"][0]["policy"] = json!("fixed:0.0")),
        ("family b appears twice", |v| v["families"][0]["name"] = json!("b")),
        ("has no problems", |v| v["families"][1]["problems"] = json!(0)),
        ("hexadecimal", |v| v["model"]["sha256"] = json!("ABC")),
        ("machine.fingerprint", |v| v["machine"]["logical_cores"] = json!(64)),
        ("year", |v| v["provenance"]["date"] = json!("yesterday")),
    ];
    let whole = json_of(&synthetic::evaluation());
    assert_eq!(whole["schema"], SCHEMA);
    parse(&whole).unwrap();
    for (words, change) in cases {
        let mut changed = whole.clone();
        change(&mut changed);
        let error = parse(&changed).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("q.json"), "`{words}` is not in: {error}");
    }
    for text in ["", "{", "[]", "{\"schema\": 1}"] {
        assert!(Evaluation::parse(text, "q.json").is_err());
    }
    // What would be refused is not written.
    let mut bad = synthetic::evaluation();
    bad.policies[0].density = f64::NAN;
    let folder = tempfile::tempdir().unwrap();
    assert!(bad.write(&folder.path().join("q.json")).is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

fn report(evaluations: &[Evaluation]) -> Report {
    let scenario = Scenario::parse("models = [\"llama-2-70b\"]", "s.toml").unwrap();
    let generated = "2026-02-03T04:05:06Z".parse().unwrap();
    let outcomes = synthetic::outcomes("llama-2-70b");
    let report = Report::build(&[synthetic::small()], &scenario, &outcomes, generated, Vec::new()).unwrap();
    report.with_quality(evaluations)
}

/// What a small model keeps says nothing in the rows of the 70B.
#[test]
fn nothing_is_carried_over_to_the_70b() {
    let (without, with) = (report(&[]), report(&[synthetic::evaluation()]));
    assert_eq!((&without.rows, &without.headline), (&with.rows, &with.headline));
    assert!(with.rows.iter().filter(|row| !row.is_dense()).all(|row| row.accuracy.value().is_none()));
}

#[test]
fn findings_name_what_holds_breaks_and_differs() {
    let problems = 400;
    let passes = |share: usize| Evaluation::passes((0..problems).map(|problem| problem % 10 < share));
    let mut evaluation = synthetic::evaluation();
    evaluation.families[0].problems = 300;
    evaluation.families[1].problems = 100;
    let [dense, lossless, broken] = &mut evaluation.policies[..] else { panic!("three policies") };
    dense.passes = passes(6);
    (lossless.passes, lossless.density) = (passes(6), 0.10);
    (broken.passes, broken.density) = (passes(2), 0.11);
    let report = report(&[evaluation]);
    let findings = report.quality[0].findings.join(" ");
    for words in [
        "solves 60\u{a0}% of 400",
        "60\u{a0}% in families that training saw",
        "sparsest policy whose loss cannot be told from chance is top-k:density=0.10",
        "solves least under dynamic:miss=0.30: 20\u{a0}%",
        "1 of 1 pairs",
        "from dynamic:miss=0.30",
    ] {
        assert!(findings.contains(words), "`{words}` is not in: {findings}");
    }
    let mut csv = Vec::new();
    write_quality_csv(&report.quality, &mut csv).unwrap();
    let mut rows = csv::Reader::from_reader(&csv[..]);
    assert_eq!(
        rows.headers().unwrap().iter().take(5).collect::<Vec<_>>(),
        ["model", "sha256", "benchmark", "policy", "density"]
    );
    assert_eq!(rows.records().map(Result::unwrap).count(), 3);
    assert!(report.json().unwrap().contains("\"contests\""));
}
