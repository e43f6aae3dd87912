//! The published PER column, and the table that `thresher per` reads and writes.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::anchors::Anchors;
use cost_model::per::{Axis, PerError, anchored, paper};
use cost_model::per_table::{PerOptions, PerTableError, Reference, per_table, read_per_csv};

/// GSM8K rows of arXiv 2603.21389v1, with the published PER beside them.
const TABLE: &str = include_str!("../data/per-paper-gsm8k.csv");
/// Its one misprint: Mistral-7B's throughput, where its own PER implies 389.4 tokens/s.
const MISPRINT: &str = "Mistral-7B";

fn published() -> Vec<f64> {
    let mut reader = csv::Reader::from_reader(TABLE.as_bytes());
    let column = |row: csv::StringRecord| row[7].parse().unwrap();
    reader.records().map(|row| column(row.unwrap())).collect()
}

#[test]
fn reproduces_the_published_column() {
    let input = read_per_csv(TABLE.as_bytes(), "table").unwrap();
    let rows = per_table(&input, &PerOptions::default()).unwrap().rows;
    assert_eq!(rows.len(), 16);
    for (row, published) in rows.iter().zip(published()) {
        let error = (row.per - published).abs();
        assert_eq!(error <= 0.0005, row.model != MISPRINT, "{row:?} {published}");
    }
}

#[test]
fn reproduces_the_misprinted_row_with_the_slip_mended() {
    let mut input = read_per_csv(TABLE.as_bytes(), "table").unwrap();
    for row in input.iter_mut().filter(|r| r.candidate.name == MISPRINT) {
        row.candidate.throughput = 389.4;
    }
    let rows = per_table(&input, &PerOptions::default()).unwrap().rows;
    for (row, published) in rows.iter().zip(published()) {
        assert!((row.per - published).abs() <= 0.0005, "{row:?} {published}");
    }
}

/// The GSM8K anchors are the paper's own extremes: the same values, and no row moves another.
#[test]
fn anchored_on_gsm8k_is_the_paper_column_for_any_subset() {
    let input = read_per_csv(TABLE.as_bytes(), "table").unwrap();
    let options = PerOptions { anchors: Some(Anchors::own().unwrap()), ratio: None };
    let whole = per_table(&input, &options).unwrap().rows;
    for row in &whole {
        assert!((row.anchored.unwrap() - row.per).abs() < 1e-12, "{row:?}");
    }
    let part = per_table(&input[3..9], &options).unwrap().rows;
    assert_ne!(part[0].per, whole[3].per);
    for (part, whole) in part.iter().zip(&whole[3..9]) {
        assert_eq!(part.anchored, whole.anchored);
    }
}

#[test]
fn anchors_clamp_and_say_which_axis() {
    let own = Anchors::own().unwrap();
    let bounds = own.for_task("GSM8K").unwrap();
    let mut best = read_per_csv(TABLE.as_bytes(), "table").unwrap()[0].candidate.clone();
    best.throughput = 1e6;
    best.memory_mb = 1.0;
    let per = anchored(&best, bounds).unwrap();
    assert_eq!(per.clamped, [Axis::Throughput, Axis::MemoryMb]);
    assert!(per.value <= 1.0);
}

#[test]
fn tasks_are_sets_of_their_own_and_rows_keep_their_order() {
    let text = "task,mem_mb,model,acc,thr_per_gpu,lat_ms,extra\n\
                b,1,m1,0.1,10,3,x\na,9,m1,0.5,1,9,\nb,2,m2,0.2,20,2,\na,8,m2,0.6,2,8,\n\
                b,3,m3,0.3,30,1,\na,7,m3,0.9,3,7,\n";
    let input = read_per_csv(text.as_bytes(), "t.csv").unwrap();
    let options = PerOptions { anchors: None, ratio: Some(Reference::Model("m2".into())) };
    let table = per_table(&input, &options).unwrap();
    let order: Vec<_> = table.rows.iter().map(|r| (&*r.task, &*r.model)).collect();
    assert_eq!(order, [("b", "m1"), ("a", "m1"), ("b", "m2"), ("a", "m2"), ("b", "m3"), ("a", "m3")]);
    let alone: Vec<_> = input.iter().filter(|r| r.task == "a").cloned().collect();
    let alone = per_table(&alone, &options).unwrap();
    assert_eq!(alone.sets[0], table.sets[0]);
    assert_eq!(alone.rows[2], table.rows[5]);
    assert_eq!(table.rows[2].ratio, Some(1.0));

    let mut csv = Vec::new();
    table.write_csv(&mut csv).unwrap();
    let csv = String::from_utf8(csv).unwrap();
    assert!(csv.starts_with("task,model,per,ratio\nb,m1,0.0,"), "{csv}");
    assert_eq!(csv.lines().count(), 7);
}

#[test]
fn bad_tables_are_refused_with_the_place() {
    let refuse = |from: &str, to: &str, says: &str| {
        assert!(TABLE.contains(from), "{from}");
        let text = TABLE.replace(from, to);
        let error = read_per_csv(text.as_bytes(), "t.csv").unwrap_err().to_string();
        assert!(error.starts_with("t.csv") && error.contains(says), "{error}");
        assert!(!error.contains('\n'), "{error}");
    };
    refuse("lat_ms", "latency", "no column `lat_ms`");
    refuse("7927", "fast", "line 2: thr_per_gpu is `fast`");
    refuse("7927", "NaN", "line 2: thr_per_gpu is `NaN`");
    refuse("7927", "7927,1", "line");
    assert!(read_per_csv(&b"model,task,acc,thr_per_gpu,lat_ms,mem_mb\n"[..], "t.csv").is_err());
    assert!(read_per_csv(&b""[..], "t.csv").is_err());

    let input = read_per_csv(TABLE.as_bytes(), "t.csv").unwrap();
    let two = per_table(&input[..2], &PerOptions::default()).unwrap_err();
    assert!(two.to_string().contains("task GSM8K") && two.to_string().contains("got 2"));
    let missing = PerOptions { anchors: None, ratio: Some(Reference::Model("GPT".into())) };
    assert!(matches!(per_table(&input, &missing), Err(PerTableError::Reference { matches: 0, .. })));
    let mut negative = input.clone();
    negative[4].candidate.memory_mb = -1.0;
    assert!(matches!(
        per_table(&negative, &PerOptions::default()),
        Err(PerTableError::Per { source: PerError::Invalid { .. }, .. })
    ));
}

/// The paper form of a subset is another number under another hash.
#[test]
fn a_per_belongs_to_its_set() {
    let input = read_per_csv(TABLE.as_bytes(), "table").unwrap();
    let set: Vec<_> = input.into_iter().map(|r| r.candidate).collect();
    let (whole, part) = (paper(&set).unwrap(), paper(&set[1..]).unwrap());
    assert_ne!(whole.set_hash, part.set_hash);
    // Qwen2.5-1.5B without Qwen2.5-0.5B.
    assert!((part.values[0] - 0.796).abs() < 0.001, "{}", part.values[0]);
}
