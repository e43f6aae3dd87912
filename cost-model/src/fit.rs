//! What a call of each operator costs beside its bytes, and how fast it goes through them: `t = t0 + bytes / bandwidth`.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::affine::Affine;
use crate::family::Family;
use crate::format::WeightFormat;
use crate::operator::Operator;
use crate::record::{Measurement, Record};

/// Two points are a line whatever they are; from the third on there is something to see.
const FEWEST_DENSITIES: usize = 3;

/// An operator's time over bytes as a line through the densities that were measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fit {
    /// What was computed.
    pub operator: Operator,
    /// Instruction set.
    pub isa: String,
    /// Weight format.
    pub format: WeightFormat,
    /// Threads.
    pub threads: usize,
    /// Densities that the line goes through.
    pub densities: usize,
    /// t0: microseconds that a call would take without bytes; below 0 where large calls lose more than small ones.
    pub start_us: f64,
    /// Bytes over the time that they add, in 1e9 bytes per second.
    pub gb_per_s: f64,
    /// The machine's read bandwidth over that, both medians over the same rounds; 1 is the limit of memory.
    pub ratio: Option<f64>,
    /// By how much the line misses the worst density, as a share of its time.
    pub largest_residual: f64,
}

/// The lines of every operator, instruction set, format and thread count with three densities or more, in the order in
/// which the record has them. Operators whose time does not grow with their bytes have none.
pub fn fits(record: &Record) -> Vec<Fit> {
    let mut order = Vec::new();
    let mut families: BTreeMap<(Family, usize, usize), Vec<&Measurement>> = BTreeMap::new();
    for m in record.measurements.iter().filter(|m| m.policy.is_none() && m.rank.is_none()) {
        let key = (Family::of(m), m.rows, m.cols);
        if !families.contains_key(&key) {
            order.push(key.clone());
        }
        families.entry(key).or_default().push(m);
    }
    order.iter().filter_map(|key| line(record, &key.0, &families[key])).collect()
}

fn line(record: &Record, family: &Family, points: &[&Measurement]) -> Option<Fit> {
    let mut densities: Vec<f64> = points.iter().map(|m| m.density).collect();
    densities.sort_by(f64::total_cmp);
    densities.dedup();
    if densities.len() < FEWEST_DENSITIES {
        return None;
    }
    let points = || points.iter().map(|m| (m.bytes as f64, m.seconds.median));
    let line = Affine::fit(points()).filter(|line| line.slope > 0.0)?;
    let own = record.machine.reads_own_memory(&family.isa);
    let roof = record.bandwidth_at(family.threads).filter(|_| own);
    Some(Fit {
        operator: family.operator,
        isa: family.isa.clone(),
        format: family.format,
        threads: family.threads,
        densities: densities.len(),
        start_us: line.start * 1e6,
        gb_per_s: 1e-9 / line.slope,
        ratio: roof.map(|roof| roof.median * line.slope),
        largest_residual: line.largest_residual(points()),
    })
}
