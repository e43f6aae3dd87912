//! The published JSON Schema of records: made from the types, fitted by every record, and no laxer than the reader
//! where a schema can be as strict.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::Path;

use cost_model::record::Record;
use serde_json::{Value, json};

const PUBLISHED: &str = include_str!("../data/record.schema.json");
const EXAMPLE: &str = include_str!("fixtures/example-record.json");

fn fits(record: &Value) -> bool {
    jsonschema::validator_for(&serde_json::from_str(PUBLISHED).unwrap()).unwrap().is_valid(record)
}

fn example() -> Value {
    serde_json::from_str(EXAMPLE).unwrap()
}

/// With `THRESHER_BLESS=1` the published file is written anew.
#[test]
fn the_published_schema_is_that_of_the_types() {
    let made = Record::json_schema().unwrap();
    if std::env::var_os("THRESHER_BLESS").is_some_and(|value| value == "1") {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/record.schema.json");
        std::fs::write(path, &made).unwrap();
        return;
    }
    assert_eq!(PUBLISHED, made, "run this test with THRESHER_BLESS=1");
}

#[test]
fn every_kept_record_fits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records");
    let mut records = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let text = std::fs::read_to_string(&path).unwrap();
            Record::parse(&text, "kept").unwrap();
            assert!(fits(&serde_json::from_str(&text).unwrap()), "{}", path.display());
            records += 1;
        }
    }
    assert!(records >= 5, "{records} records");
    assert!(fits(&example()));
}

/// What neither the schema nor the reader takes.
#[test]
fn what_is_wrong_in_itself_is_refused_by_both() {
    let changes: [(&str, Value); 13] = [
        ("/schema", json!("thresher-record/0")),
        ("/schema", Value::Null),
        ("/measurements/0/operator", json!("gate_and_up")),
        ("/measurements/0/format", json!("q5_1")),
        ("/measurements/0/density", json!(1.5)),
        ("/measurements/0/density", json!("0.1")),
        ("/measurements/0/rows", json!(-1)),
        ("/measurements/0/rows", json!(1.5)),
        ("/measurements/0/seconds/low", json!(0.0)),
        ("/measurements/0/seconds/confidence", json!(95)),
        ("/measurements/0/seconds/samples", json!(0)),
        ("/provenance/date", json!("yesterday")),
        ("/bandwidth/0/threads", json!("all")),
    ];
    for (at, value) in changes {
        let mut record = example();
        *record.pointer_mut(at).unwrap() = value.clone();
        assert!(Record::parse(&record.to_string(), "r.json").is_err(), "{at} = {value}: read");
        // Formats of strings are annotations unless a validator is asked to check them.
        assert!(!fits(&record) || at == "/provenance/date", "{at} = {value}: fits");
    }
    for at in ["", "/machine", "/provenance", "/measurements/0", "/measurements/0/seconds"] {
        let mut record = example();
        let object = record.pointer_mut(at).unwrap().as_object_mut().unwrap();
        object.insert("milliseconds".to_owned(), json!(1.0));
        assert!(Record::parse(&record.to_string(), "r.json").is_err(), "a field more in `{at}`: read");
        assert!(!fits(&record), "a field more in `{at}`: fits");

        let mut record = example();
        let object = record.pointer_mut(at).unwrap().as_object_mut().unwrap();
        let first = object.keys().next().unwrap().clone();
        object.remove(&first);
        assert!(Record::parse(&record.to_string(), "r.json").is_err(), "without `{at}/{first}`: read");
        assert!(!fits(&record), "without `{at}/{first}`: fits");
    }
}

/// A record from before power was measured fits and is read (`every_kept_record_fits`); so does one that has it.
#[test]
fn power_is_there_whole_or_not_at_all() {
    let with = |power: Value| {
        let mut record = example();
        record.as_object_mut().unwrap().insert("power".to_owned(), power);
        record
    };
    let watts = json!({ "median": 87.5, "low": 85.0, "high": 91.0, "confidence": 0.95, "samples": 8 });
    let good = with(json!({ "watts": watts, "covers": "package" }));
    assert!(fits(&good) && Record::parse(&good.to_string(), "r.json").unwrap().power.is_some());
    for bad in [
        json!(87.5),
        json!({ "watts": 87.5, "covers": "package" }),
        json!({ "watts": watts, "covers": "wall" }),
        json!({ "watts": watts }),
        json!({ "covers": "package" }),
        json!({ "watts": watts, "covers": "package", "volts": 12 }),
        json!({ "watts": { "median": 0.0, "low": 0.0, "high": 0.0, "confidence": 0.95, "samples": 8 }, "covers": "package" }),
    ] {
        assert!(Record::parse(&with(bad.clone()).to_string(), "r.json").is_err(), "{bad}: read");
        assert!(!fits(&with(bad.clone())), "{bad}: fits");
    }
}
