//! The gate on trial: this program against itself, which must pass, against itself with a tenth more to do, which must
//! not, and kernels with planted faults, all of which must be noticed.

use std::path::Path;

use kernels_cpu::{Cpu, Format, Isa};

use super::{
    cases::own_kernels,
    change::{Build, Contest, Row},
    correct::{check_kernels, plant_faults},
    decision::Rounds,
};
use crate::Result;

/// How much more a planted slowdown computes.
pub const SLOWDOWN: f64 = 0.1;

/// What the gate said.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Proof {
    /// Decisions between the program and itself.
    pub same: usize,
    /// Those that failed it.
    pub false_alarms: Vec<String>,
    /// Slowdowns planted.
    pub slower: usize,
    /// Those that it let pass.
    pub missed: Vec<String>,
    /// Decisions that took a second attempt.
    pub second_attempts: usize,
    /// Faults planted.
    pub faults: usize,
    /// Those that nobody noticed.
    pub unnoticed: Vec<String>,
}

/// One false alarm in a hundred decisions.
const ALLOWED_FALSE_ALARMS: f64 = 0.01;
/// Slowdowns that may be missed, on a machine whose noise hides them.
const ALLOWED_MISSES: f64 = 0.1;

impl Proof {
    /// Whether the gate may be relied on.
    pub fn holds(&self) -> bool {
        let within = |found: usize, of: usize, share: f64| found as f64 <= (of as f64 * share).max(1.0).floor();
        within(self.false_alarms.len(), self.same, ALLOWED_FALSE_ALARMS)
            && within(self.missed.len(), self.slower, ALLOWED_MISSES)
            && self.missed.len() < self.slower
            && self.unnoticed.is_empty()
            && self.faults > 0
    }
}

/// Puts the gate on trial.
///
/// # Errors
/// `program` is no build of this gate; not enough memory; a kernel that is wrong without a fault.
pub fn prove(
    program: &Path,
    formats: &[Format],
    limit: f64,
    rounds: Rounds,
    decisions: usize,
    slowdowns: usize,
) -> Result<Proof> {
    let mut proof = Proof::default();
    for cpu in &own_kernels(Isa::Scalar)? {
        check_all(cpu, &mut proof)?;
    }
    let contest = Contest { formats: formats.to_vec(), selection: false, only: None, limit, rounds };
    let (same, slower) = (Build { program, more_rows: 0.0 }, Build { program, more_rows: SLOWDOWN });
    while proof.same < decisions {
        contest.run(same, same, |row| {
            proof.same += 1;
            proof.second_attempts += usize::from(row.decision.attempts.len() > 1);
            if !row.decision.holds {
                proof.false_alarms.push(named(&row));
            }
            proof.same < decisions
        })?;
    }
    while proof.slower < slowdowns {
        contest.run(same, slower, |row| {
            proof.slower += 1;
            if row.decision.holds {
                proof.missed.push(named(&row));
            }
            proof.slower < slowdowns
        })?;
    }
    Ok(proof)
}

/// Any faults will do, and others each time.
fn check_all(cpu: &Cpu, proof: &mut Proof) -> Result<()> {
    let seed = jiff::Timestamp::now().as_nanosecond() as u64;
    check_kernels(cpu, seed)?;
    let (planted, unnoticed) = plant_faults(cpu, seed)?;
    proof.faults += planted;
    proof.unnoticed.extend(unnoticed);
    Ok(())
}

fn named(row: &Row) -> String {
    let ratio = row.decision.ratio().map(|r| format!("{:.3} ({:.3} to {:.3})", r.median, r.low, r.high));
    format!("{} {}", row.id, ratio.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(false_alarms: usize, missed: usize, unnoticed: usize) -> Proof {
        let names = |n: usize| vec!["x".to_owned(); n];
        Proof {
            same: 100,
            false_alarms: names(false_alarms),
            slower: 20,
            missed: names(missed),
            second_attempts: 0,
            faults: 60,
            unnoticed: names(unnoticed),
        }
    }

    #[test]
    fn a_gate_that_cries_wolf_or_sleeps_does_not_hold() {
        assert!(proof(0, 0, 0).holds() && proof(1, 2, 0).holds());
        assert!(!proof(2, 0, 0).holds() && !proof(0, 3, 0).holds() && !proof(0, 0, 1).holds());
        assert!(!Proof { slower: 1, ..proof(0, 1, 0) }.holds());
        assert!(!Proof { faults: 0, ..proof(0, 0, 0) }.holds());
    }
}
