//! Results over time: each kernel's share of its machine's roof, over the commits that were measured there.
//!
//! A share is bandwidth reached over read bandwidth of the same rounds, the inverse of a measurement's
//! [`ratio`](crate::record::Measurement::ratio): machines drift, shares hardly.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::estimate::Interval;
use crate::machine::Machine;
use crate::operator::Operator;
use crate::record::{Measurement, Provenance, Record};

/// All machines, in the order in which records of them were given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct History {
    /// One per machine.
    pub machines: Vec<MachineHistory>,
}

/// One machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MachineHistory {
    /// The machine.
    pub machine: Machine,
    /// What was measured there, earliest first.
    pub runs: Vec<Provenance>,
    /// Kernels that have a roof: by operator, format, threads and density.
    pub kernels: Vec<KernelHistory>,
}

/// One kernel on one machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelHistory {
    /// Operator, instruction set and format, shape, and what else tells it apart.
    pub name: String,
    /// Share of read bandwidth, 1 being the limit of memory, for each run; `None` where it was not measured.
    pub shares: Vec<Option<Interval>>,
}

impl KernelHistory {
    /// The first share and the last.
    pub fn ends(&self) -> Option<[Interval; 2]> {
        let mut known = self.shares.iter().flatten();
        let first = known.next()?;
        Some([*first, *known.next_back().unwrap_or(first)])
    }

    /// The last share over the first, where there are two, with ends as far apart as theirs allow.
    pub fn change(&self) -> Option<Interval> {
        let [first, last] = self.ends().filter(|_| self.shares.iter().flatten().count() > 1)?;
        Some(Interval { median: last.median / first.median, low: last.low / first.high, high: last.high / first.low })
    }
}

/// What makes two measurements of different commits ones of the same kernel. Densities that a gate leaves differ from run
/// to run: they are told apart to a hundredth.
type Same = (Operator, String, (usize, usize), usize, u64, Option<usize>);

fn same(m: &Measurement) -> Same {
    let percent = (100.0 * m.density).round() as u64;
    (m.operator, m.kernel.clone(), (m.rows, m.cols), m.threads, percent, m.rank)
}

fn name(m: &Measurement) -> String {
    let detail = m.rank.map_or_else(|| format!("density {:.2}", m.density), |rank| format!("rank {rank}"));
    let threads = if m.threads == 1 { String::new() } else { format!(" on {} threads", m.threads) };
    format!("{} {}x{} {detail}{threads}", m.kernel, m.rows, m.cols)
}

impl History {
    /// Of any number of records of any machines.
    pub fn of(records: &[Record]) -> Self {
        let mut machines: Vec<(&Machine, Vec<&Record>)> = Vec::new();
        for record in records {
            match machines.iter_mut().find(|(machine, _)| machine.fingerprint == record.machine.fingerprint) {
                Some((_, runs)) => runs.push(record),
                None => machines.push((&record.machine, vec![record])),
            }
        }
        Self { machines: machines.into_iter().map(|(machine, runs)| MachineHistory::of(machine, runs)).collect() }
    }
}

impl MachineHistory {
    fn of(machine: &Machine, mut records: Vec<&Record>) -> Self {
        records.sort_by_key(|record| record.provenance.date);
        let mut kernels: BTreeMap<Same, KernelHistory> = BTreeMap::new();
        for (run, record) in records.iter().enumerate() {
            for m in &record.measurements {
                // What lies in a cache has no roof.
                let Some(ratio) = m.ratio.filter(|_| m.operator != Operator::Select) else { continue };
                let none = || KernelHistory { name: name(m), shares: vec![None; records.len()] };
                let share = Interval { median: 1.0 / ratio.median, low: 1.0 / ratio.high, high: 1.0 / ratio.low };
                kernels.entry(same(m)).or_insert_with(none).shares[run] = Some(share);
            }
        }
        Self {
            machine: machine.clone(),
            runs: records.into_iter().map(|record| record.provenance.clone()).collect(),
            kernels: kernels.into_values().collect(),
        }
    }
}
