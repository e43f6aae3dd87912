//! Measured kernels against the roof, and against each other.

use crate::compose::Composer;
use crate::curve::Curve;
use crate::estimate::{Estimate, Interval};
use crate::operator::Operator;
use crate::origin::{Origin, Sourced};
use crate::record::{Measurement, Record};

use super::{Kernel, ReportError, Row, SelfCheck};

pub(super) fn against_roof(records: &[Record], rows: &[Row]) -> Vec<Kernel> {
    let kernel = |record: &Record, m: &Measurement| Kernel {
        machine: record.machine.fingerprint.clone(),
        roof_ratio: roof_ratio(record, m),
        composed: rows.iter().any(|r| feeds(record, m, r)),
        measurement: m.clone(),
    };
    records.iter().flat_map(|r| r.measurements.iter().map(move |m| kernel(r, m))).collect()
}

fn feeds(record: &Record, m: &Measurement, row: &Row) -> bool {
    let c = &row.configuration;
    let here = c.machine == record.machine.fingerprint;
    let same = c.isa == m.isa && c.format == m.format.as_str();
    // Keys and values have a format of their own, and run on the best instruction set whatever the weights do.
    let same = same || m.operator == Operator::Attention;
    here && same && c.threads == m.threads && m.operator != Operator::Select
}

/// Selection works in cache, and a GPU's kernel in a processor's record in other memory: no ratio unless one was measured.
fn roof_ratio(record: &Record, m: &Measurement) -> Option<Sourced<Interval>> {
    if let Some(paired) = &m.ratio {
        return Some(Sourced::new(paired.interval(), record.origin(paired.samples)));
    }
    let from_memory = record.machine.reads_own_memory(&m.isa) && m.operator != Operator::Select && m.bytes > 0;
    let bandwidth = record.bandwidth_at(m.threads).filter(|_| from_memory)?;
    let bytes_per_s = bandwidth.median;
    let ratio = m.seconds.interval().scale(bytes_per_s / m.bytes as f64);
    let from = format!("seconds over {} bytes at {:.2} GB/s, timed apart", m.bytes, bytes_per_s / 1e9);
    Some(Sourced::new(ratio, Origin::derived(from)))
}

pub(super) fn self_check(records: &[Record]) -> Result<Vec<SelfCheck>, ReportError> {
    let mut checks = Vec::new();
    for record in records {
        let composer = Composer::new(record)?;
        let whole = record.measurements.iter().filter(|m| m.operator == Operator::Ffn);
        checks.extend(whole.filter_map(|m| compare(&composer, m)));
    }
    Ok(checks)
}

/// None where the parts were not measured at that shape, format, instruction set and thread count.
fn compare(composer: &Composer<'_>, ffn: &Measurement) -> Option<SelfCheck> {
    let parts = [Operator::GateUp, Operator::Down].map(|op| part(composer, op, ffn));
    let [gate_up, down] = parts;
    let readings = [gate_up?.at(ffn.density), down?.at(ffn.density)];
    let composed = Interval::sum_independent(readings.map(|r| r.value));
    let Estimate { median, .. } = ffn.seconds;
    Some(SelfCheck {
        machine: composer.record().machine.fingerprint.clone(),
        kernel: ffn.kernel.clone(),
        threads: ffn.threads,
        density: ffn.density,
        composed,
        extrapolated: readings.iter().any(|r| r.extrapolated),
        measured: ffn.seconds.interval(),
        error: composed.median / median - 1.0,
    })
}

fn part<'a>(composer: &'a Composer<'_>, operator: Operator, ffn: &Measurement) -> Option<&'a Curve> {
    let Measurement { isa, format, threads, rows, cols, .. } = ffn;
    let name = format!("{operator} {isa} {format} t{threads} {rows}x{cols}");
    composer.curves().find(|(own, _)| *own == name).map(|(_, curve)| curve)
}
