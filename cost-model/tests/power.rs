//! Joules per token: from measured power or from an owner's figure, and from nothing else.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use std::collections::BTreeMap;

use cost_model::answer::Answer;
use cost_model::grid::{Basis, Grid, GridKey, GridRow, write_grid_csv};
use cost_model::money::DrawnBy;
use cost_model::page;
use cost_model::record::{Covers, Power, Record};
use cost_model::report::Report;
use cost_model::scenario::Scenario;
use cost_model::table::write_configurations_csv;
use proptest::prelude::*;

const MODEL: &str = "llama-2-70b";
const TEXT: &str = "models = [\"llama-2-70b\"]\n[grid]\nranks = [512]\ncontexts = [2048]\nbatches = [1, 8]\n\
                    formats = [\"f16\", \"q8_0\"]";

fn scenario(tables: &str) -> Scenario {
    Scenario::parse(&format!("{TEXT}\n{tables}"), "s.toml").unwrap()
}

fn with_power(record: Record, watts: f64) -> Record {
    let covers = if record.machine.measured_gpu().is_some() { Covers::Gpu } else { Covers::Package };
    let record = Record { power: Some(Power { watts: synthetic::estimate(watts), covers }), ..record };
    record.check("r.json").unwrap();
    record
}

/// The same machine, as many times as fast.
fn faster(mut record: Record, times: f64) -> Record {
    let scale = |e: &mut cost_model::estimate::Estimate, by: f64| {
        (e.median, e.low, e.high) = (by * e.median, by * e.low, by * e.high);
    };
    record.bandwidth.iter_mut().for_each(|b| scale(&mut b.bytes_per_s, times));
    record.measurements.iter_mut().for_each(|m| scale(&mut m.seconds, 1.0 / times));
    record
}

fn report(records: &[Record], scenario: &Scenario) -> Report {
    let generated = "2026-02-03T04:05:06Z".parse().unwrap();
    Report::build(records, scenario, &synthetic::outcomes(MODEL), generated, Vec::new()).unwrap()
}

fn answer(records: &[Record], scenario: &Scenario) -> Answer {
    Answer::of(records, scenario, &synthetic::outcomes(MODEL)).unwrap()
}

fn grid_rows(answer: &Answer) -> Vec<GridRow> {
    answer.grid.rows(&answer.model(MODEL).unwrap().scores)
}

fn owned(record: &Record, watts: f64) -> String {
    let machine = &record.machine.fingerprint;
    format!(
        "[[owned]]\nmachine = \"{machine}\"\nprice_usd = 9000\nyears = 3\nwatts = {watts}\npue = 1.5\nusd_per_kwh = 0.1"
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn a_token_takes_its_time_in_watts(watts in 1.0..4000.0_f64, times in 0.5..4.0_f64) {
        let (slow, fast) = (with_power(synthetic::large(), watts), with_power(faster(synthetic::large(), times), watts));
        let [slow, fast] = [slow, fast].map(|record| report(&[record], &scenario("")));
        for (slow, fast) in slow.rows.iter().zip(&fast.rows) {
            let [own, other] = [slow, fast].map(|row| row.energy.as_ref().unwrap());
            prop_assert_eq!(own.drawn_by, DrawnBy::Package);
            let joules = own.joules_per_token.value;
            prop_assert!((joules.median / (watts * slow.configuration.ms_per_token / 1e3) - 1.0).abs() < 1e-12);
            prop_assert!((joules.median / other.joules_per_token.value.median / times - 1.0).abs() < 1e-9);
            // No end is nearer than that of the power alone or of the time alone.
            prop_assert!(joules.low < joules.median * 0.98 + 1e-9 && joules.high > joules.median * 1.02 - 1e-9);
        }
    }
}

#[test]
fn what_was_measured_says_of_what_and_where() {
    let record = with_power(synthetic::large(), 350.0);
    let report = report(std::slice::from_ref(&record), &scenario(""));
    for row in &report.rows {
        let origin = &row.energy.as_ref().unwrap().joules_per_token.origin;
        let says = origin.to_string();
        assert_eq!((origin.kind(), row.configuration.joules_per_token_origin), ("derived", "derived"));
        for part in
            ["350", "the processor's packages (not memory or the rest)", &record.machine.fingerprint, "20 samples"]
        {
            assert!(says.contains(part), "{says} lacks {part}");
        }
    }
    let html = page::html(&report);
    for part in ["J/token", "Power at work", "350 W", "packages (not memory or the rest)", ">package<"] {
        assert!(html.contains(part), "{part}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!(json["rows"][0]["energy"]["drawn_by"], "package");
    assert_eq!(json["machines"][0]["power"]["watts"]["median"], 350.0);
}

#[test]
fn without_a_counter_and_an_owner_there_are_none() {
    let records = [synthetic::large(), synthetic::gpu()];
    let (report, answer) = (report(&records, &scenario("")), answer(&records, &scenario("")));
    assert!(report.rows.iter().all(|row| row.energy.is_none() && row.configuration.joules_per_token.is_none()));
    let (mut configurations, mut grid) = (Vec::new(), Vec::new());
    write_configurations_csv(&report.configurations(), &mut configurations).unwrap();
    write_grid_csv(grid_rows(&answer), &mut grid).unwrap();
    for csv in [&configurations, &grid] {
        let mut rows = 0;
        for row in csv::Reader::from_reader(&csv[..]).deserialize::<BTreeMap<String, String>>() {
            let row = row.unwrap();
            assert_eq!((row["joules_per_token"].as_str(), row["joules_of"].as_str()), ("", ""));
            rows += 1;
        }
        assert!(rows > 20);
    }
    let html = page::html(&report);
    assert!(!html.contains("J/token") && !html.contains("Power at work"));
    assert!(!report.json().unwrap().contains("energy"));
    // An owner who does not know the power says 0: no token is free.
    let unknown = self::report(&records, &scenario(&owned(&records[0], 0.0)));
    assert!(unknown.rows.iter().all(|row| row.energy.is_none()));
}

#[test]
fn an_owners_figure_comes_first_and_is_assumed() {
    let record = with_power(synthetic::large(), 350.0);
    let both = report(std::slice::from_ref(&record), &scenario(&owned(&record, 800.0)));
    for row in &both.rows {
        let energy = row.energy.as_ref().unwrap();
        assert_eq!((energy.drawn_by, energy.joules_per_token.origin.kind()), (DrawnBy::Machine, "assumed"));
        let expected = 800.0 * 1.5 * row.configuration.ms_per_token / 1e3;
        assert!((energy.joules_per_token.value.median / expected - 1.0).abs() < 1e-12);
    }
    // One who does not know it leaves what was measured.
    let silent = report(std::slice::from_ref(&record), &scenario(&owned(&record, 0.0)));
    assert!(silent.rows.iter().all(|row| row.configuration.joules_of == Some(DrawnBy::Package)));
}

/// A counter of one board: as many boards as hold the model draw as much each, which is assumed; and nothing is known of
/// another GPU, nor of one beside a processor.
#[test]
fn a_gpus_power_is_of_that_gpu() {
    let (gpu, cpu) = (with_power(synthetic::gpu(), 600.0), with_power(synthetic::large(), 350.0));
    let records = [gpu.clone(), cpu];
    let answer = answer(&records, &scenario(""));
    let grid = &answer.grid;
    let mut devices = Vec::new();
    for (cell, row) in
        answer.model(MODEL).unwrap().scores.cells.iter().map(|&at| &grid.cells[at]).zip(grid_rows(&answer))
    {
        let machine = grid.machine(cell);
        if machine.basis != Basis::Measured {
            assert_eq!((row.joules_per_token, row.joules_of), (None, None));
        } else if machine.is_gpu {
            let expected = 600.0 * f64::from(row.devices) / row.tok_s;
            assert!((row.joules_per_token.unwrap() / expected - 1.0).abs() < 1e-12);
            assert_eq!(row.joules_of, Some(DrawnBy::Gpu));
            devices.push(row.devices);
        }
    }
    assert!(devices.contains(&1) && devices.iter().any(|d| *d > 1), "{devices:?}");
    let kind = |batch: usize| {
        let key: GridKey = format!("llama-2-70b/f16/dense/context=2048/batch={batch}").parse().unwrap();
        let parts = Grid::parts(&records[..1], &scenario(""), &[], &key).unwrap().remove(0).unwrap();
        (parts.hour.devices, parts.energy.unwrap().joules_per_token.origin.kind())
    };
    // 138 GB of weights and a cache a user, in 141 GB.
    assert_eq!((kind(1), kind(8)), ((1, "derived"), (2, "assumed")));
    // Who owns both knows what both draw.
    let machines = ["NVIDIA GeForce RTX 4090", &records[1].machine.fingerprint];
    let table = |machine: &str| {
        format!(
            "[[owned]]\nmachine = \"{machine}\"\nprice_usd = 2000\nyears = 3\nwatts = 400\npue = 1.0\nusd_per_kwh = 0.1\n"
        )
    };
    let answer = self::answer(&records, &scenario(&machines.map(table).concat()));
    let hybrid = |row: &&GridRow| row.hardware.starts_with("NVIDIA GeForce RTX 4090 and");
    let rows = grid_rows(&answer);
    let hybrids: Vec<_> = rows.iter().filter(hybrid).collect();
    assert!(!hybrids.is_empty());
    for row in hybrids {
        assert!((row.joules_per_token.unwrap() * row.tok_s / 800.0 - 1.0).abs() < 1e-12);
        assert_eq!(row.joules_of, Some(DrawnBy::Machine));
    }
}
