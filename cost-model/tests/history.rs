//! Results over time.

#![allow(clippy::unwrap_used, reason = "a test")]

use cost_model::{
    history::{History, KernelHistory},
    operator::Operator,
    page::history_html,
    record::Record,
};

const EXAMPLE: &str = include_str!("fixtures/example-record.json");

/// The example as measured on a day of 2026, each kernel at that share of the roof.
fn measured(day: i64, commit: &str, share: f64) -> Record {
    let mut record = Record::parse(EXAMPLE, "example").unwrap();
    record.provenance.date = "2026-01-01T00:00:00Z".parse().unwrap();
    record.provenance.date += jiff::SignedDuration::from_hours(24 * day);
    record.provenance.commit = commit.to_owned();
    for m in &mut record.measurements {
        let mut ratio = m.seconds;
        (ratio.low, ratio.median, ratio.high) = (0.9 / share, 1.0 / share, 1.1 / share);
        m.ratio = Some(ratio);
    }
    record
}

fn medians(kernel: &KernelHistory) -> Vec<Option<f64>> {
    kernel.shares.iter().map(|share| share.map(|s| (1e6 * s.median).round() / 1e6)).collect()
}

#[test]
fn runs_of_one_machine_stand_in_the_order_of_their_dates() {
    let mut gone = measured(2, "ccc", 0.75);
    gone.measurements.truncate(1);
    let history = History::of(&[measured(1, "bbb", 0.8), gone, measured(0, "aaa", 0.5)]);
    assert_eq!(history.machines.len(), 1);
    let machine = &history.machines[0];
    assert_eq!(machine.runs.iter().map(|run| run.commit.as_str()).collect::<Vec<_>>(), ["aaa", "bbb", "ccc"]);

    let example = Record::parse(EXAMPLE, "example").unwrap();
    let kernels = example.measurements.iter().filter(|m| m.operator != Operator::Select).count();
    assert_eq!(machine.kernels.len(), kernels, "what lies in a cache has no roof");
    let left = machine.kernels.iter().filter(|k| k.shares[2].is_some()).count();
    assert_eq!(left, 1);
    for kernel in &machine.kernels {
        let last = if kernel.shares[2].is_some() { Some(0.75) } else { None };
        assert_eq!(medians(kernel), [Some(0.5), Some(0.8), last], "{}", kernel.name);
        let change = kernel.change().unwrap();
        let wanted = last.unwrap_or(0.8) / 0.5;
        assert!((change.median - wanted).abs() < 1e-12, "{}", kernel.name);
        assert!((change.low - wanted * 0.9 / 1.1).abs() < 1e-12 && (change.high - wanted * 1.1 / 0.9).abs() < 1e-12);
    }
}

#[test]
fn machines_stay_apart_and_one_run_has_no_change() {
    let mut other = measured(0, "aaa", 0.5);
    other.machine.logical_cores += 1;
    other.machine = other.machine.with_fingerprint();
    let history = History::of(&[measured(0, "aaa", 0.5), other]);
    assert_eq!(history.machines.len(), 2);
    assert!(history.machines.iter().flat_map(|m| &m.kernels).all(|k| k.change().is_none() && k.ends().is_some()));
    assert_eq!(History::of(&[]).machines, []);
}

/// A gate that lets a share of neurons through lets another share through in the next run.
#[test]
fn densities_are_one_kernel_to_a_hundredth() {
    let [mut first, mut second] = [measured(0, "aaa", 0.5), measured(1, "bbb", 0.6)];
    for (record, density) in [(&mut first, 0.2504), (&mut second, 0.2496)] {
        record.measurements.truncate(1);
        record.measurements[0].density = density;
    }
    let kernels = &History::of(&[first, second]).machines[0].kernels;
    assert_eq!(kernels.iter().map(medians).collect::<Vec<_>>(), [[Some(0.5), Some(0.6)]]);
}

#[test]
fn the_page_has_a_line_for_each_kernel_and_escapes_what_records_say() {
    let mut record = measured(0, "aaa", 0.5);
    record.provenance.command = "<script>alert(1)</script>".to_owned();
    let history = History::of(&[record, measured(1, "bbb", 2.0)]);
    let page = history_html(&history);
    assert!(!page.contains("<script>alert"), "not escaped");
    assert_eq!(page.matches("<polyline").count(), history.machines[0].kernels.len());
    assert_eq!(page.matches("<circle").count(), 2 * history.machines[0].kernels.len());
    assert!(!page.contains(">NaN") && !page.contains("not finite"));
}
