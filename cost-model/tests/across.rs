//! A GPU composed from another's record is what its own record composes to, for one user within a tenth.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use cost_model::{across::across, record::Record, scenario::Scenario};

fn record(name: &str) -> Record {
    Record::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../ci/records").join(name)).unwrap()
}

#[test]
fn two_hoppers_tell_each_other_s_times() {
    let scenario = Scenario::defaults().unwrap();
    let records = [record("h200.json"), record("h100.json"), record("epyc-zen4-2core.json")];
    let rows = across(&records, &scenario).unwrap();
    let from = |name: &str| rows.iter().filter(|row| row.from.contains(name)).count();
    assert!(from("H200") > 20 && from("H200") == from("H100") && from("EPYC") == 0);
    assert!(rows.iter().all(|row| row.from != row.to && !row.errors.is_empty()));
    for row in rows.iter().filter(|row| row.users == 1) {
        let worst = row.errors.iter().fold(0.0_f64, |worst, error| worst.max(error.abs()));
        assert!(worst < 0.1, "{} from {}, {} by {}: {worst}", row.to, row.from, row.format, row.scorer);
    }
    assert!(across(&records[..1], &scenario).unwrap().is_empty(), "one GPU tells nothing of itself");
}
