//! Published decode speeds against predictions: what a user of `thresher validate FILE.csv` relies on.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::fmt::Write as _;

use cost_model::catalogue::Catalogue;
use cost_model::published::{ADDED, COLUMNS, DENSE_GOALS, HOT_COLD_GOAL, Prediction, Table, Validation, validate};
use proptest::prelude::*;

fn own() -> (Table, Catalogue) {
    (Table::own().unwrap(), Catalogue::own().unwrap())
}

fn table(rows: &str) -> Table {
    Table::read(format!("{}\n{rows}", COLUMNS.join(",")).as_bytes(), "test").unwrap()
}

fn validated(rows: &str) -> Validation {
    let (known, catalogue) = own();
    validate(&table(rows), &known, &catalogue)
}

fn only(rows: &str) -> Prediction {
    let mut validation = validated(rows);
    assert_eq!(validation.rows.len(), 1);
    validation.rows.remove(0)
}

fn csv_of(validation: &Validation) -> String {
    let mut bytes = Vec::new();
    validation.write_csv(&mut bytes).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_goals_are_met_on_the_carried_table() {
    let (known, catalogue) = own();
    let validation = validate(&known, &known, &catalogue);
    let (dense, hot_cold) = (validation.dense.clone().unwrap(), validation.hot_cold.clone().unwrap());
    let [median, p90] = DENSE_GOALS;
    assert!(dense.rows > 350 && dense.devices > 40, "{dense:?}");
    assert!(dense.median <= median && dense.p90 <= p90, "{dense:?}");
    assert!(hot_cold.rows >= 30 && hot_cold.median <= HOT_COLD_GOAL, "{hot_cold:?}");
    assert!(validation.meets_goals());
    // Every parameter is something that could be.
    for parameter in &validation.parameters {
        let moved = (parameter.value / parameter.prior).ln().abs();
        assert!(moved < 1.2 && (parameter.rows > 0 || moved < 1e-9), "{parameter:?}");
    }
    // Nothing that is flagged is counted.
    let counted: usize = validation.groups.iter().map(|group| group.rows).sum();
    assert_eq!(counted, validation.rows.iter().filter(|row| row.flags.is_empty()).count());
}

#[test]
fn the_columns_come_out_as_they_went_in() {
    let text = "tag,engine,extra,model,quant,hardware,tok_s,source\n\
                S,llama.cpp,\"x, \"\"y\"\"\",LLaMA-3-8B,F16,4090 24GB,54.84,somebody\n";
    let (known, catalogue) = own();
    let read = Table::read(text.as_bytes(), "t").unwrap();
    let first = csv_of(&validate(&read, &known, &catalogue));
    assert!(first.starts_with("tag,engine,extra,model,quant,hardware,tok_s,source,predicted_tok_s,ape,flag\n"));
    let line = first.lines().nth(1).unwrap();
    assert!(line.starts_with("S,llama.cpp,\"x, \"\"y\"\"\",LLaMA-3-8B,F16,4090 24GB,54.84,somebody,"), "{line}");
    // What came out goes in again and comes out the same.
    let again = Table::read(first.as_bytes(), "t").unwrap();
    assert_eq!(again, read);
    assert_eq!(csv_of(&validate(&again, &known, &catalogue)), first);
}

#[test]
fn what_the_bandwidth_does_not_allow_is_impossible() {
    let row = only("page,somebody's vLLM,Llama-2-70B,FP16,H200,1,,1,,155,S-weak\n");
    assert_eq!(row.flags, ["impossible"]);
    assert!(row.predicted_tok_s.unwrap() < 35.0 && row.assumed.iter().any(|a| a.contains("34.9")), "{row:?}");
    // The same speed over 32 sequences is possible, and over tensor parallel devices that read enough.
    assert!(only("page,vLLM,Llama-2-70B,FP16,H200,1,,32,,155,S\n").flags.is_empty());
    assert!(only("page,vLLM,Llama-2-70B,FP16,H200,8,,1,,155,S\n").flags.is_empty());
    // Of 32 sequences each at 155 it is not.
    assert_eq!(only("page,vLLM,Llama-2-70B,FP16,H200,1,,32,per user,155,S\n").flags, ["impossible"]);
}

/// A device's own numbers, in the file and in what is known, do not reach its predictions; they reach those of others.
#[test]
fn a_prediction_has_not_seen_its_own_device() {
    let (known, catalogue) = own();
    let faked = |times: f64| {
        let mut fake = known.clone();
        for row in fake.rows.iter_mut().filter(|row| row.hardware.contains("A6000")) {
            row.tok_s = (times * row.tok_s.parse::<f64>().unwrap()).to_string();
            let at = fake.columns.iter().position(|c| c == "tok_s").unwrap();
            row.cells[at] = row.tok_s.clone();
        }
        validate(&fake, &fake, &catalogue)
    };
    let (slow, fast) = (faked(0.5), faked(0.8));
    let mut others_moved = false;
    for (a, b) in slow.rows.iter().zip(&fast.rows) {
        if a.cells[4].contains("RTX A6000") {
            assert_eq!(a.predicted_tok_s, b.predicted_tok_s, "{:?}", a.cells);
        } else {
            others_moved |= a.predicted_tok_s != b.predicted_tok_s;
        }
    }
    assert!(others_moved);
    // A machine of two parts has not seen either of them: the RTX 2080 Ti alone, the RTX 2080 Ti beside another processor.
    let low = |v: &Validation| -> Vec<Option<f64>> {
        v.rows.iter().filter(|r| r.cells[4].starts_with("PC-Low")).map(|r| r.predicted_tok_s).collect()
    };
    let slower = |times: f64| {
        let mut fake = known.clone();
        for row in
            fake.rows.iter_mut().filter(|row| row.hardware.contains("2080Ti") || row.hardware.contains("2080 Ti"))
        {
            row.tok_s = (times * row.tok_s.parse::<f64>().unwrap()).to_string();
        }
        validate(&known, &fake, &catalogue)
    };
    assert_eq!(low(&slower(0.5)), low(&slower(0.9)));
}

#[test]
fn what_is_unknown_is_said_and_not_guessed_silently() {
    for (row, flag, predicted) in [
        ("s,Frob,Llama-2-70B,F16,H100,2,,1,,20,S\n", "unknown engine: Frob", true),
        ("s,vLLM,Frob-9B,F16,H100,1,,1,,20,S\n", "unknown model: Frob-9B", true),
        ("s,vLLM,Frob,F16,H100,1,,1,,20,S\n", "unknown model: Frob", false),
        ("s,vLLM,Llama-2-70B,Frob,H100,2,,1,,20,S\n", "unknown quant: Frob", false),
        ("s,vLLM,Llama-2-70B,F16,Frob 9000,2,,1,,20,S\n", "unknown hardware: Frob 9000", false),
        ("s,vLLM,Llama-2-70B,F16,Frob 9000,2,2000,1,,20,S\n", "unknown hardware: Frob 9000", true),
        ("s,llama.cpp,Llama-2-70B,Q4_0,Xeon Frob,1,,1,,2,S\n", "no bandwidth: Xeon Frob", false),
        ("s,vLLM,Llama-2-70B,F16,H100,two,,1,,20,S\n", "unreadable n_devices: two", false),
        ("s,vLLM,Llama-2-70B,F16,H100,2,x,1,,20,S\n", "unreadable bw_GBps_per_device_spec: x", true),
        ("s,vLLM,Llama-2-70B,F16,H100,2,,0,,20,S\n", "unreadable batch_or_concurrency: 0", false),
        ("s,vLLM,Llama-2-70B,F16,H100,2,,1,,fast,S\n", "unreadable tok_s: fast", true),
        ("s,vLLM with draft model,Llama-2-70B,F16,H100,2,,1,,20,S\n", "speculative", true),
        ("s,llama.cpp,Llama-2-70B,F16,RTX 4090,1,,1,,2,S\n", "does not fit", true),
    ] {
        let row = only(row);
        assert_eq!(row.flags, [flag]);
        assert_eq!(row.predicted_tok_s.is_some(), predicted, "{flag}");
    }
    let validation = validated("s,vLLM,Frob-9B,F16,H100,1,,1,,20,S\n");
    assert_eq!((validation.dense, validation.groups.len()), (None, 0));
}

/// Rows of memory are predicted, and nothing is learned from them.
#[test]
fn rows_from_memory_teach_nothing() {
    let rows = |tok_s: f64, tag: &str| {
        format!(
            "s,llama.cpp,LLaMA-3-70B,Q4_K_M,RTX A6000,1,768,1,,14.7,S\ns,llama.cpp,LLaMA-3-70B,Q4_K_M,RTX PRO 6000,1,1792,1,,{tok_s},{tag}\n"
        )
    };
    let first = |tok_s: f64, tag: &str| validated(&rows(tok_s, tag)).rows[0].predicted_tok_s;
    assert_eq!(first(20.0, "M"), first(35.0, "M"));
    assert_ne!(first(20.0, "S"), first(35.0, "S"));
}

/// Speeds made by known efficiencies, whatever they are, are predicted on a device that was not among them.
#[test]
fn known_efficiencies_are_found() {
    let catalogue = Catalogue::own().unwrap();
    // Time per token as the bytes over 70 % of the bandwidth and 60 us for each of 80 layers.
    let tok_s = |gb_per_s: f64| 1.0 / (137.43e9 / (0.7e9 * gb_per_s) + 80.0 * 60e-6);
    let mut rows = String::new();
    for i in 0..12 {
        let gb_per_s = 2000.0 + 300.0 * f64::from(i);
        writeln!(rows, "s,gpt-fast,Llama-2-70B,bf16,Card {i},1,{gb_per_s},1,,{},S", tok_s(gb_per_s)).unwrap();
    }
    let mut devices = String::new();
    for i in 0..12 {
        let device =
            format!("name = \"Card {i}\", match = [\"card {i}\"], kind = \"gpu\", memory = \"hbm\", gb_per_s = 1");
        writeln!(devices, "  {{ {device}, tag = \"S\", source = \"\" }},").unwrap();
    }
    let catalogue = catalogue.extended(&format!("hardware = [\n{devices}]\n"), "cards").unwrap();
    let made = table(&rows);
    let validation = validate(&made, &made, &catalogue);
    for row in &validation.rows {
        assert!(row.flags.is_empty() && row.ape.unwrap() < 0.02, "{row:?}");
        assert!(row.learned_from == 11);
    }
    let reach = validation.parameters.iter().find(|p| p.name == "reach of HBM").unwrap();
    assert!((reach.value - 0.7).abs() < 0.03 && reach.rows == 12, "{reach:?}");
}

/// More bandwidth, fewer bits, a smaller model: never slower.
#[test]
fn predictions_go_the_way_of_the_bytes() {
    let speed = |model: &str, quant: &str, gb_per_s: f64| {
        only(&format!("s,vLLM,{model},{quant},Frob,1,{gb_per_s},1,,1,S\n")).predicted_tok_s.unwrap()
    };
    assert!(speed("Llama-3-70B", "F16", 2000.0) < speed("Llama-3-70B", "F16", 4000.0));
    assert!(speed("Llama-3-70B", "F16", 2000.0) < speed("Llama-3-70B", "FP8", 2000.0));
    assert!(speed("Llama-3-70B", "F16", 2000.0) < speed("Llama-3-8B", "F16", 2000.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever the cells hold: every row comes out, its cells as they were, with a number or a flag.
    #[test]
    fn garbage_gives_flags(cells in proptest::collection::vec(
        proptest::collection::vec(prop_oneof![
            "\\PC{0,12}", "[0-9.eE+-]{0,6}", Just("1".to_owned()), Just("llama.cpp".to_owned()), Just("PowerInfer".to_owned()),
            Just("Llama-2-70B".to_owned()), Just("Q4_0".to_owned()), Just("RTX 4090 + i9-13900K".to_owned()), Just(String::new()),
        ], COLUMNS.len()), 1..4)
    ) {
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.write_record(COLUMNS).unwrap();
        for row in &cells {
            writer.write_record(row).unwrap();
        }
        let bytes = writer.into_inner().unwrap();
        let Ok(read) = Table::read(&bytes[..], "t") else { return Ok(()) };
        let few = table("s,llama.cpp,LLaMA-3-70B,Q4_K_M,RTX A6000,1,768,1,,14.7,S\n");
        let validation = validate(&read, &few, &Catalogue::own().unwrap());
        prop_assert_eq!(validation.rows.len(), read.rows.len());
        for (row, input) in validation.rows.iter().zip(&read.rows) {
            prop_assert_eq!(&row.cells, &input.cells);
            prop_assert!(row.predicted_tok_s.is_some_and(|v| v.is_finite() && v > 0.0) || !row.flags.is_empty(), "{:?}", row);
        }
        prop_assert_eq!(csv_of(&validation).lines().next().unwrap().split(',').count(), COLUMNS.len() + ADDED.len());
    }
}
