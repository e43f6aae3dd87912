//! A program that times its own kernels, one call each time it is asked: two of them, of two builds, are timed in turn.
//!
//! ```text
//!   asked on standard input      answered on standard output, a line each
//!   (started)                    thresher-gate-worker/1
//!                                [{"id": "gate_up/avx512/f16 28672x8192 density 0.1 t1", "bytes": 93956505}, ...]
//!   3                            {"seconds": 0.0041, "roof_seconds": 0.0035}
//! ```

use std::{
    io::{BufRead, BufReader, Write, stdin, stdout},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use kernels_cpu::{Cpu, Format, Isa};
use serde::{Deserialize, Serialize};

use super::cases::{Bench, DENSITY, OPERATORS, Timing, own_kernels};
use crate::{
    Failure, Result,
    measure::{Plan, RANKS, fitting_layer, selection_cases},
    workload::{Case, Layer, Work},
};

/// First line of a worker, with the version of what follows.
const HELLO: &str = "thresher-gate-worker/1";

/// What a worker can time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Offer {
    /// What it is, in the words of `--only`.
    pub id: String,
    /// Bytes that one call touches.
    pub bytes: u64,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    seconds: f64,
    roof_seconds: f64,
}

/// Times what it is asked for until nobody asks any more. Every kernel of `format`, or selection without one; with
/// `more_rows` above 0 each kernel is given that share of rows more than it says.
///
/// # Errors
/// Not enough memory; a request that is none.
pub fn serve(format: Option<Format>, plan: &Plan, more_rows: f64) -> Result<()> {
    let filling = Cpu::new()?;
    let mut bench = Bench::new(&filling)?;
    let (fastest, kernels) = (Cpu::with_threads(1)?, own_kernels(Isa::Avx2)?);
    let layer = format.map(|format| fitting_layer(&filling, format)).transpose()?;
    let mut cases = match &layer {
        Some(layer) => kernel_cases(layer, &fastest, &kernels, more_rows)?,
        None => selection_cases(plan)?.into_iter().map(|(_, case)| (&fastest, case)).collect(),
    };
    let offers: Vec<Offer> =
        cases.iter().map(|(_, case)| Offer { id: case.subject.id(), bytes: case.subject.bytes }).collect();
    say(HELLO)?;
    say(&serde_json::to_string(&offers)?)?;
    for line in stdin().lines() {
        let line = line?;
        let case = line.trim().parse::<usize>().ok().and_then(|index| cases.get_mut(index));
        let (cpu, case) = case.ok_or_else(|| Failure::input(format!("`{line}` is asked of {} cases", offers.len())))?;
        let Timing { seconds, roof_seconds } = bench.seconds_and_roof(cpu, case)?;
        say(&serde_json::to_string(&Answer { seconds, roof_seconds })?)?;
    }
    Ok(())
}

/// Gate-up and down of every kernel; the FFN of those that are fastest here, and what has no rows to be given more of:
/// the FFN gate first and a predictor.
fn kernel_cases<'a>(
    layer: &'a Layer,
    fastest: &'a Cpu,
    kernels: &'a [Cpu],
    more_rows: f64,
) -> Result<Vec<(&'a Cpu, Case<'a>)>> {
    let format = layer.format();
    let own = kernels.iter().filter(|cpu| cpu.kernel(format).isa() == cpu.isa());
    let own = own.flat_map(|cpu| OPERATORS.map(|of| (cpu, of)));
    let mut cases = Vec::new();
    for (cpu, of) in own.chain([(fastest, Work::Ffn as fn(f64) -> Work)]) {
        let mut case = layer.case(cpu, of(DENSITY * (1.0 + more_rows)))?;
        case.subject = of(DENSITY).subject(cpu, format)?;
        cases.push((cpu, case));
    }
    if more_rows == 0.0 {
        for work in [Work::FfnGateFirst(DENSITY), Work::Predictor(RANKS[1])] {
            cases.push((fastest, layer.case(fastest, work)?));
        }
    }
    Ok(cases)
}

fn say(line: &str) -> Result<()> {
    let mut out = stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

/// A worker that runs, as who asks sees it. It ends when it is dropped.
#[derive(Debug)]
pub struct Worker {
    program: String,
    child: Child,
    /// Taken away before the child is waited for, so that it sees the end of its input.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    offers: Vec<Offer>,
}

impl Worker {
    /// Starts `program` with `arguments`, which should make it [`serve`].
    ///
    /// # Errors
    /// It cannot be started, or is no worker of this version.
    pub fn start(program: &Path, arguments: &[String]) -> Result<Self> {
        let name = program.display().to_string();
        let piped = || Stdio::piped();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(piped())
            .stdout(piped())
            .spawn()
            .map_err(|e| Failure::input(format!("{name}: {e}")))?;
        let (requests, answers) = (child.stdin.take(), child.stdout.take());
        let answers = BufReader::new(answers.ok_or_else(|| Failure::input(format!("{name} has no output")))?);
        let mut worker = Self { program: name, child, requests, answers, offers: Vec::new() };
        let hello = worker.line()?;
        if hello != HELLO {
            return Err(worker.unlike(&format!("says `{hello}`, wanted `{HELLO}`")));
        }
        let offers = worker.line()?;
        worker.offers = serde_json::from_str(&offers).map_err(|e| worker.unlike(&e.to_string()))?;
        Ok(worker)
    }

    /// What it can time.
    pub fn offers(&self) -> &[Offer] {
        &self.offers
    }

    /// Has it time the case of that index.
    ///
    /// # Errors
    /// It has ended, or answers something else.
    pub fn time(&mut self, index: usize) -> Result<Timing> {
        let gone = |_| Failure::input(format!("{} has ended before its time", self.program));
        if let Some(requests) = &mut self.requests {
            writeln!(requests, "{index}").and_then(|()| requests.flush()).map_err(gone)?;
        }
        let answer = self.line()?;
        let answer: Answer = serde_json::from_str(&answer).map_err(|e| self.unlike(&e.to_string()))?;
        Ok(Timing { seconds: answer.seconds, roof_seconds: answer.roof_seconds })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(self.unlike("ends without an answer")),
        }
    }

    fn unlike(&self, what: &str) -> Failure {
        Failure::input(format!("{} is no worker of this gate: it {what}", self.program))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.requests = None;
        let _ = self.child.wait();
    }
}
