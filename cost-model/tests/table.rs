//! A row of `configurations.csv`, from record to PER.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::anchors::Anchors;
use cost_model::compose::{Composer, Configuration, DENSE, Scorer};
use cost_model::format::WeightFormat;
use cost_model::model::ModelShape;
use cost_model::money::{Prices, usd_per_mtok};
use cost_model::origin::{Origin, Sourced};
use cost_model::per::{anchored, ratio};
use cost_model::quality::sparse_humaneval;
use cost_model::record::Record;
use cost_model::table::{ConfigurationRow, Worth, write_configurations_csv};

#[test]
fn rows_say_what_is_unknown_and_what_is_assumed() {
    let record = Record::parse(include_str!("fixtures/example-record.json"), "r").unwrap();
    let composer = Composer::new(&record).unwrap();
    let model = ModelShape::named("llama-2-70b").unwrap();
    let price = Prices::own().unwrap().machine_usd_per_hour(2, 24 << 30).unwrap();
    let row = |policy: &str, density: f64| {
        let c = Configuration {
            model,
            format: WeightFormat::Q8_0,
            policy: policy.into(),
            scorer: Scorer::Free,
            densities: Sourced::new(vec![density; 80], Origin::assumed("a test")),
            context_tokens: 2048,
            batch: 1,
            skew: model.skew().unwrap(),
            kv_format: WeightFormat::F16,
            threads: 2,
            isa: "avx2".into(),
        };
        let composed = composer.compose(&c).unwrap();
        let worth = Worth {
            usd_per_hour: price.clone(),
            usd_per_mtok: usd_per_mtok(price.value, composed.tok_s, 0.5).unwrap(),
            energy: None,
            missed_mass: None,
            accuracy: sparse_humaneval(),
        };
        ConfigurationRow::new(&record.machine.fingerprint, &c, &composed, &worth)
    };
    let (dense, mut sparse) = (row(DENSE, 1.0), row("top-k:density=0.10", 0.1));
    assert!(sparse.ms_low < sparse.ms_per_token && sparse.ms_per_token < sparse.ms_high);
    assert!(sparse.usd_per_mtok < dense.usd_per_mtok);
    assert_eq!(sparse.accuracy, None);

    // Equal accuracy, less time: better than the dense reference in both forms of our own.
    let (a, b) = (sparse.candidate(0.3), dense.candidate(0.3));
    assert!(ratio(&a, &b).unwrap() > 1.0);
    let anchors = Anchors::own().unwrap();
    let bounds = anchors.for_task("HumanEval").unwrap();
    let (a, b) = (anchored(&a, bounds).unwrap(), anchored(&b, bounds).unwrap());
    assert!(a.value > b.value && b.value > 0.0);
    assert!(a.clamped.is_empty() && b.clamped.is_empty());
    sparse.per_anchored = Some(a.value);

    let mut csv = Vec::new();
    write_configurations_csv(&[dense, sparse.clone()], &mut csv).unwrap();
    let mut reader = csv::Reader::from_reader(&csv[..]);
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let cell = |row: usize, column: &str| {
        let at = header.iter().position(|h| h == column).unwrap();
        rows[row].get(at).unwrap().to_owned()
    };
    assert_eq!(cell(1, "policy"), "top-k:density=0.10");
    assert_eq!(cell(1, "accuracy"), "");
    assert_eq!(cell(1, "accuracy_origin"), "unknown");
    assert_eq!(cell(1, "usd_per_hour_origin"), "assumed");
    assert_eq!((cell(1, "joules_per_token"), cell(1, "joules_per_token_origin")), (String::new(), "unknown".into()));
    assert_eq!(cell(1, "ms_per_token").parse(), Ok(sparse.ms_per_token));
    assert_eq!(cell(0, "per_anchored"), "");
}
