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
            let mut pair = Pair::start([before, after], group)?;
            let [offered, wanted] = [0, 1].map(|side| pair.workers[side].offers().to_vec());
            let both = wanted.iter().enumerate().filter_map(|(index, offer)| {
                Some((offered.iter().position(|other| other.id == offer.id)?, index, &offer.id))
            });
            for (before, after, id) in both.filter(|(.., id)| self.only.as_ref().is_none_or(|only| id.contains(only))) {
                if let Some(row) = self.row(&mut pair, [before, after], id)?
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

    fn row(&self, pair: &mut Pair<'_>, indices: [usize; 2], id: &str) -> Result<Option<Row>> {
        let (mut seconds, mut shares) = ([Vec::new(), Vec::new()], Vec::new());
        let mut last = 0;
        let decision = decide(self.limit, self.rounds, |attempt, rounds| {
            if attempt != last {
                pair.start_again()?;
                last = attempt;
            }
            in_turn(rounds, &mut |is_after| {
                let side = usize::from(is_after);
                let timing = pair.workers[side].time(indices[side])?;
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

/// Both builds, each with a worker.
struct Pair<'a> {
    builds: [Build<'a>; 2],
    group: Option<Format>,
    /// Before, and after.
    workers: Vec<Worker>,
}

impl<'a> Pair<'a> {
    fn start(builds: [Build<'a>; 2], group: Option<Format>) -> Result<Self> {
        let workers = builds.into_iter().map(|build| start(build, group)).collect::<Result<_>>()?;
        Ok(Self { builds, group, workers })
    }

    /// Starts both anew, the other one first. Where in memory a process has its weights, and on which core its thread,
    /// stays as it is for as long as it runs: only another process tells whether that is what made the difference.
    fn start_again(&mut self) -> Result<()> {
        // There is memory for two.
        self.workers.clear();
        for build in self.builds.into_iter().rev() {
            self.workers.push(start(build, self.group)?);
        }
        self.workers.reverse();
        Ok(())
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
