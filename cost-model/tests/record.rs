//! Records: round trip, refusals, merging.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::estimate::Estimate;
use cost_model::record::{Covers, Power, Record, RecordError};

const EXAMPLE: &str = include_str!("fixtures/example-record.json");

fn example() -> Record {
    Record::parse(EXAMPLE, "example").unwrap()
}

/// Within a tenth either way.
fn power(watts: f64, covers: Covers) -> Option<Power> {
    let low = watts - 0.1 * watts.abs();
    let watts = Estimate { median: watts, low, high: watts + 0.1 * watts.abs(), confidence: 0.95, samples: 8 };
    Some(Power { watts, covers })
}

/// The example with one change, as another program might have written it.
fn parse_with(from: &str, to: &str) -> Result<Record, RecordError> {
    assert!(EXAMPLE.contains(from), "{from}");
    Record::parse(&EXAMPLE.replacen(from, to, 1), "r.json")
}

fn assert_one_line(error: &RecordError, says: &str) {
    let text = error.to_string();
    assert!(text.starts_with("r.json: ") && text.contains(says), "{text}");
    assert!(!text.contains('\n') && text.contains(';'), "no remedy: {text}");
}

#[test]
fn what_is_written_is_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.json");
    let mut record = example();
    record.measurements[0].seconds.median *= 1.0 + f64::EPSILON;
    record.measurements[0].ratio = Some(record.measurements[0].seconds);
    record.huge_page_share = Some(0.25);
    record.power = power(87.5, Covers::Package);
    record.write(&path).unwrap();
    assert_eq!(Record::read(&path).unwrap(), record);
}

#[test]
fn an_invalid_record_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("record.json");
    let mut record = example();
    record.measurements[0].seconds.high = f64::NAN;
    assert!(matches!(record.write(&path), Err(RecordError::Invalid { .. })));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    let nowhere = dir.path().join("no/such/folder/r.json");
    assert!(matches!(example().write(&nowhere), Err(RecordError::Io { .. })));
}

#[test]
fn missing_and_truncated_files() {
    let missing = Record::read("no/such/record.json".as_ref()).unwrap_err();
    assert!(missing.to_string().contains("no/such/record.json"), "{missing}");
    assert!(matches!(missing, RecordError::Missing { .. }));
    let end = EXAMPLE.trim_end().len();
    for cut in (0..end).step_by(97) {
        let error = Record::parse(&EXAMPLE[..cut], "r.json").unwrap_err();
        assert_one_line(&error, "truncated");
    }
}

#[test]
fn another_schema_version_is_named_before_anything_else() {
    let error = parse_with("thresher-record/1", "thresher-record/2").unwrap_err();
    assert_one_line(&error, "`thresher-record/2`");
    let unknown = Record::parse(r#"{"schema":"thresher-record/9","news":[1]}"#, "r.json");
    assert!(matches!(unknown, Err(RecordError::Schema { .. })));
    let none = Record::parse("{}", "r.json");
    assert!(matches!(none, Err(RecordError::Schema { .. })));
}

#[test]
fn unknown_fields_units_and_spellings_are_named() {
    for (from, to, says) in [
        ("\"seconds\"", "\"milliseconds\"", "milliseconds"),
        ("\"l3_bytes\"", "\"l3_kib\"", "l3_kib"),
        ("\"gate_up\"", "\"gate_and_up\"", "gate_and_up"),
        ("\"q8_0\"", "\"q9_0\"", "q9_0"),
        ("2026-01-01T00:00:00Z", "yesterday", "year"),
        ("\"samples\": 20", "\"samples\": NaN", "line"),
    ] {
        let error = parse_with(from, to).unwrap_err();
        assert!(matches!(error, RecordError::Malformed { .. }), "{error}");
        assert_one_line(&error, says);
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    type Change = fn(&mut Record);
    let changes: [(Change, &str); 25] = [
        (|r| r.machine.logical_cores = 64, "machine.fingerprint"),
        (|r| r.bandwidth[0].bytes_per_s.median = -1.0, "bandwidth at 1 threads"),
        (|r| r.huge_page_share = Some(1.5), "huge_page_share is 1.5"),
        (|r| r.huge_page_share = Some(f64::NAN), "huge_page_share is NaN"),
        (|r| r.bandwidth[1].threads = 0, "bandwidth at 0 threads"),
        (|r| r.bandwidth[1].threads = 1, "bandwidth at 1 threads appears twice"),
        (|r| r.measurements[0].seconds.low = f64::NAN, "not finite"),
        (|r| r.measurements[0].seconds.median = f64::INFINITY, "not finite"),
        (|r| r.measurements[0].seconds.low = 9.0, "out of order"),
        (|r| r.measurements[0].seconds.high = 1e-9, "out of order"),
        (|r| r.measurements[0].seconds.samples = 0, "no samples"),
        (|r| r.measurements[0].seconds.confidence = 95.0, "confidence 95"),
        (|r| r.measurements[0].density = 1.5, "density 1.5"),
        (|r| r.measurements[0].rows = 0, "zero rows"),
        (|r| r.measurements[0].cols = usize::MAX, "above"),
        (|r| r.measurements[0].seconds.low = 0.0, "not positive"),
        (|r| r.measurements[0].isa = "avx1024".into(), "avx1024"),
        (|r| r.measurements[0].policy = Some("dense".into()), "policy"),
        (|r| r.measurements[0].rank = Some(512), "rank"),
        (|r| r.power = power(f64::NAN, Covers::Package), "power is not finite"),
        (|r| r.power = power(0.0, Covers::Package), "power is not positive"),
        (|r| r.power = power(-40.0, Covers::Package), "power is not positive"),
        (|r| r.power = power(1e-3, Covers::Package), "wanted 0.5 to 10000"),
        (|r| r.power = power(2e5, Covers::Package), "wanted 0.5 to 10000"),
        (|r| r.power = power(90.0, Covers::Gpu), "covers `gpu`, wanted `package`"),
    ];
    for (change, says) in changes {
        let mut record = example();
        change(&mut record);
        assert_one_line(&record.check("r.json").unwrap_err(), says);
    }
}

#[test]
fn the_same_measurement_twice_is_refused() {
    let mut record = example();
    let twin = record.measurements[3].clone();
    record.measurements.push(twin);
    let error = record.check("r.json").unwrap_err();
    assert!(matches!(error, RecordError::Duplicate { .. }), "{error}");
    assert_one_line(&error, "down/avx2/q8_0 28672x8192 density 0.5 threads 2");
}

#[test]
fn nothing_beats_the_roof_unless_it_fits_in_cache() {
    let faster = |times: f64, bytes: u64| {
        let mut record = example();
        let roof = record.bandwidth[1].bytes_per_s.high;
        let m = &mut record.measurements[0];
        // Gate and up in q8_0, dense: as many rows as make about that many bytes.
        (m.density, m.rows) = (1.0, (bytes / (2 * m.format.row_bytes(m.cols))) as usize);
        m.bytes = m.operator.weight_bytes(m.format, (m.rows, m.cols), 1.0, 0);
        let seconds = m.bytes as f64 / roof / times;
        m.seconds.high = seconds;
        m.seconds.median = 0.99 * seconds;
        m.seconds.low = 0.98 * seconds;
        record.check("r.json")
    };
    let resident = 5 * example().machine.l3_bytes;
    assert!(faster(1.0, resident).is_ok());
    let error = faster(1.1, resident).unwrap_err();
    assert!(matches!(error, RecordError::BeatsRoof { .. }));
    assert_one_line(&error, "gate_up/avx2/q8_0");
    assert!(faster(3.0, example().machine.l3_bytes).is_ok());

    // What counts is the shape, whatever number of bytes the record names.
    let mut record = example();
    let m = &mut record.measurements[0];
    m.bytes = 0;
    (m.seconds.low, m.seconds.median, m.seconds.high) = (1e-6, 2e-6, 3e-6);
    assert!(matches!(record.check("r"), Err(RecordError::BeatsRoof { .. })));

    // Fewer threads than any measured bandwidth are bounded by what more threads read.
    let mut record = example();
    record.bandwidth.remove(0);
    record.measurements[0].threads = 1;
    let m = &mut record.measurements[0].seconds;
    (m.low, m.median, m.high) = (1e-6, 2e-6, 3e-6);
    assert!(matches!(record.check("r"), Err(RecordError::BeatsRoof { .. })));
}

#[test]
fn records_merge_by_machine() {
    let (mut first, mut second) = (example(), example());
    first.measurements.truncate(10);
    second.measurements.drain(..10);
    second.bandwidth[1].bytes_per_s.median *= 1.01;
    second.huge_page_share = Some(0.5);
    first.power = power(95.0, Covers::Package);
    second.power = power(90.0, Covers::Package);
    let mut other = example();
    other.machine.cpu_model = "Another".into();
    other.machine = other.machine.with_fingerprint();

    let merged = Record::merge([first.clone(), other.clone(), second.clone()]).unwrap();
    assert_eq!(merged.len(), 2);
    assert_eq!(merged[0].measurements, example().measurements);
    assert_eq!(merged[0].bandwidth[1], second.bandwidth[1]);
    assert_eq!(merged[0].bandwidth.len(), 2);
    assert_eq!(merged[0].huge_page_share, Some(0.5));
    assert_eq!((merged[0].power, merged[1].power), (first.power, None));
    let reversed = Record::merge([second.clone(), first.clone()]).unwrap();
    assert_eq!(reversed[0].power, first.power);
    assert_eq!(merged[1], other);

    let twice = Record::merge([first.clone(), first.clone()]).unwrap_err();
    assert!(matches!(twice, RecordError::Duplicate { .. }), "{twice}");
    second.provenance.commit = "1111111".into();
    let mixed = Record::merge([first, second]).unwrap_err();
    assert!(matches!(mixed, RecordError::MixedCommits { .. }), "{mixed}");
}
