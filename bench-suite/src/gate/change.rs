//! Two builds of the program, each kernel of the one timed in turn with the same kernel of the other.

use std::path::Path;

use cost_model::estimate::Estimate;
use kernels_cpu::Format;

use super::{
    decision::{Decision, Rounds, decide, in_turn},
    worker::Worker,
};
use crate::{Result, measure::progress_bar, timing};

/// A build of the program, and what to tell it beside what is to be timed.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The program.
    pub program: &'a Path,
    /// Share of rows that it should compute more than it says: a planted slowdown.
    pub more_rows: f64,
}

/// One kernel, before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was timed.
    pub id: String,
    /// Seconds before.
    pub before: Estimate,
    /// Seconds after.
    pub after: Estimate,
    /// Time after over time before, and what came of that.
    pub decision: Decision,
    /// After: the limit of memory over the time taken; of selection, which reads caches, it says little.
    pub share_of_roof: Estimate,
}

/// What to time.
#[derive(Debug, Clone)]
pub struct Contest {
    /// Kernels in these formats.
    pub formats: Vec<Format>,
    /// Selection too.
    pub selection: bool,
    /// Only what has this in its id.
    pub only: Option<String>,
    /// Most that the time after may be over the time before.
    pub limit: f64,
    /// Rounds of an attempt.
    pub rounds: Rounds,
}

impl Contest {
    /// Times everything that both builds have, one row after the other to `seen`, until that says stop.
    ///
    /// # Errors
    /// A build that cannot be started or is none of this gate; not enough memory for two layers.
    pub fn run(&self, before: Build<'_>, after: Build<'_>, mut seen: impl FnMut(Row) -> bool) -> Result<()> {
        let groups = self.formats.iter().map(|&format| Some(format)).chain(self.selection.then_some(None));
        let progress = progress_bar((self.formats.len() + usize::from(self.selection)) as u64);
        for group in groups {
            progress.set_message(group.map_or_else(|| "selection".to_owned(), |format| format!("kernels in {format}")));
            let mut workers = [start(before, group)?, start(after, group)?];
            let [offered, wanted] = workers.each_ref().map(|worker| worker.offers().to_vec());
            let both = wanted.iter().enumerate().filter_map(|(index, offer)| {
                Some((offered.iter().position(|other| other.id == offer.id)?, index, &offer.id))
            });
            for (before, after, id) in both.filter(|(.., id)| self.only.as_ref().is_none_or(|only| id.contains(only))) {
                if let Some(row) = self.row(&mut workers, [before, after], id)?
                    && !seen(row)
                {
                    return Ok(());
                }
            }
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn row(&self, [before, after]: &mut [Worker; 2], indices: [usize; 2], id: &str) -> Result<Option<Row>> {
        let (mut seconds, mut shares) = ([Vec::new(), Vec::new()], Vec::new());
        let decision = decide(self.limit, self.rounds, |rounds| {
            in_turn(rounds, &mut |is_after| {
                let (worker, side) = if is_after { (&mut *after, 1) } else { (&mut *before, 0) };
                let timing = worker.time(indices[side])?;
                seconds[side].push(timing.seconds);
                if is_after {
                    shares.push(1.0 / timing.ratio());
                }
                Ok(timing.seconds)
            })
        })?;
        let [before, after] = seconds.each_ref().map(|seconds| timing::median(seconds));
        Ok(before.zip(after).zip(timing::median(&shares)).map(|((before, after), share_of_roof)| Row {
            id: id.to_owned(),
            before,
            after,
            decision,
            share_of_roof,
        }))
    }
}

fn start(build: Build<'_>, group: Option<Format>) -> Result<Worker> {
    let mut arguments = vec!["gate".to_owned(), "worker".to_owned()];
    if let Some(format) = group {
        arguments.extend(["--format".to_owned(), format.to_string()]);
    }
    if build.more_rows > 0.0 {
        arguments.extend(["--more-rows".to_owned(), build.more_rows.to_string()]);
    }
    Worker::start(build.program, &arguments)
}
