//! Every kernel beside what it is measured by: the machine's own reading of memory, itself at full density, and the
//! scalar kernel. Ratios of times of one run, so that the limits are of no machine.

use kernels_cpu::{Cpu, Format, Isa};

use super::{
    cases::{Bench, DENSITY, OPERATORS, own_kernels},
    correct::check_kernels,
    decision::{Decision, Rounds, decide, in_turn},
    limits::{Limits, limit},
};
use crate::{
    Result,
    measure::{fitting_layer, progress_bar},
    workload::{Case, record_format},
};

/// Scalar kernels take a hundred times as long: as few rows as make the time of the others.
const SCALAR_DENSITY: f64 = 0.002;

/// A kernel beside a sibling.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The kernel, such as `gate_up/avx512/f16`.
    pub kernel: String,
    /// What it was timed beside.
    pub beside: &'static str,
    /// Time a byte over that of what is beside it, and what came of that.
    pub decision: Decision,
}

/// What to time.
#[derive(Debug, Clone)]
pub struct Contest {
    /// Limits; what has none is not timed.
    pub limits: Limits,
    /// Kernels in these formats.
    pub formats: Vec<Format>,
    /// Only kernels that have this in their name.
    pub only: Option<String>,
    /// Rounds of an attempt.
    pub rounds: Rounds,
}

impl Contest {
    /// Checks the kernels of this processor on layers drawn from `seed`, then times them on one thread.
    ///
    /// # Errors
    /// A kernel that computes something else; not enough memory.
    pub fn run(&self, seed: u64) -> Result<Vec<Row>> {
        let (fastest, scalar, vectors) = (Cpu::with_threads(1)?, Cpu::with(Isa::Scalar, 1)?, own_kernels(Isa::Avx2)?);
        [&fastest, &scalar].into_iter().chain(&vectors).try_for_each(|cpu| check_kernels(cpu, seed))?;
        let filling = Cpu::new()?;
        let mut bench = Bench::new(&filling)?;
        let mut rows = Vec::new();
        let progress = progress_bar(self.formats.len() as u64);
        for &format in &self.formats {
            progress.set_message(format!("kernels in {format} beside their siblings"));
            let layer = fitting_layer(&filling, format)?;
            for operator in OPERATORS {
                let mut own = layer.case(&fastest, operator(DENSITY))?;
                let name = own.subject.operator.to_string();
                let limit = |table| limit(table, &name, record_format(format));
                rows.extend(self.beside_roof(&mut bench, limit(&self.limits.roof), (&fastest, &mut own))?);
                let mut dense = layer.case(&fastest, operator(1.0))?;
                let sides = [(&fastest, &mut own), (&fastest, &mut dense)];
                rows.extend(self.beside(&mut bench, "dense", limit(&self.limits.dense), sides)?);
                for cpu in vectors.iter().filter(|cpu| cpu.kernel(format).isa() == cpu.isa()) {
                    let mut own = layer.case(cpu, operator(DENSITY))?;
                    let mut plain = layer.case(&scalar, operator(SCALAR_DENSITY))?;
                    let sides = [(cpu, &mut own), (&scalar, &mut plain)];
                    rows.extend(self.beside(&mut bench, "scalar", limit(&self.limits.scalar), sides)?);
                }
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(rows)
    }

    fn beside_roof(&self, bench: &mut Bench, limit: Option<f64>, (cpu, own): Side<'_, '_>) -> Result<Option<Row>> {
        let Some(limit) = limit.filter(|_| self.wants(own)) else { return Ok(None) };
        let decision = decide(limit, self.rounds, |_, rounds| {
            (0..rounds).map(|_| Ok(bench.seconds_and_roof(cpu, own)?.ratio())).collect()
        })?;
        Ok(Some(Row { kernel: own.subject.kernel.clone(), beside: "roof", decision }))
    }

    fn beside(
        &self,
        bench: &mut Bench,
        beside: &'static str,
        limit: Option<f64>,
        [(cpu, own), (other_cpu, other)]: [Side<'_, '_>; 2],
    ) -> Result<Option<Row>> {
        let Some(limit) = limit.filter(|_| self.wants(own)) else { return Ok(None) };
        let decision = decide(limit, self.rounds, |_, rounds| {
            in_turn(rounds, &mut |is_own| {
                if is_own { bench.seconds_a_byte(cpu, own) } else { bench.seconds_a_byte(other_cpu, other) }
            })
        })?;
        Ok(Some(Row { kernel: own.subject.kernel.clone(), beside, decision }))
    }

    fn wants(&self, case: &Case<'_>) -> bool {
        self.only.as_ref().is_none_or(|only| case.subject.kernel.contains(only))
    }
}

/// A kernel and the thread that it runs on.
type Side<'c, 'a> = (&'c Cpu, &'c mut Case<'a>);
