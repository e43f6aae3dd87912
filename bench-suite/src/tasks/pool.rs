//! Jobs over child processes: every job gets an outcome, whatever it does.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::process::ExitStatusExt,
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{interpreter::Job, limits::Limits, outcome::Outcome};
use crate::{Failure, Result};

/// The hidden command of the program that serves jobs: see [`worker::serve`](super::worker::serve).
pub const WORKER_COMMAND: &str = "task-worker";

/// What a child says that asked for too much at once: Rust's allocator, Starlark's arena, Starlark's largest value.
const OUT_OF_MEMORY: [&str; 3] = ["memory allocation of", "out of memory", "must not exceed u32::MAX"];

/// Runs jobs in child processes.
#[derive(Debug, Clone)]
pub struct Pool {
    /// The `thresher` program.
    pub program: PathBuf,
    /// Children at a time.
    pub workers: usize,
    /// For each job.
    pub limits: Limits,
}

impl Pool {
    /// One child for each core, running this very program.
    ///
    /// # Errors
    /// The system does not say which program this is.
    pub fn of_this_program() -> Result<Self> {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self { program: std::env::current_exe()?, workers, limits: Limits::default() })
    }

    /// The outcome of each job, in their order; `done` is told after each.
    ///
    /// # Errors
    /// Children cannot be started or do not speak.
    pub fn run(&self, jobs: &[Job], done: impl Fn() + Sync) -> Result<Vec<Outcome>> {
        let next = AtomicUsize::new(0);
        let outcomes: Vec<Mutex<Option<Outcome>>> = jobs.iter().map(|_| Mutex::new(None)).collect();
        let work = || -> Result<()> {
            let mut worker: Option<Worker> = None;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(index) else { return Ok(()) };
                let mut child = match worker.take() {
                    Some(child) => child,
                    None => Worker::start(self)?,
                };
                let outcome = match child.ask(job)? {
                    Some(outcome) => {
                        worker = Some(child);
                        outcome
                    }
                    None => child.cause_of_death()?,
                };
                if let Ok(mut slot) = outcomes[index].lock() {
                    *slot = Some(outcome);
                }
                done();
            }
        };
        std::thread::scope(|scope| -> Result<()> {
            let threads: Vec<_> = (0..self.workers.clamp(1, jobs.len().max(1))).map(|_| scope.spawn(work)).collect();
            threads.into_iter().try_for_each(|thread| {
                thread.join().unwrap_or_else(|_| Err(Failure::input("a thread that ran tasks panicked")))
            })
        })?;
        let outcomes = outcomes.into_iter().map(|slot| slot.into_inner().ok().flatten());
        outcomes.collect::<Option<_>>().ok_or_else(|| Failure::input("a task has no outcome"))
    }
}

struct Worker {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Worker {
    fn start(pool: &Pool) -> Result<Self> {
        let limits = serde_json::to_string(&pool.limits)?;
        let mut command = Command::new(&pool.program);
        command.args([WORKER_COMMAND, &limits]).env_clear();
        let spawned = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.map_err(|e| Failure::input(format!("cannot start {}: {e}", pool.program.display())))?;
        let output = child.stdout.take().ok_or_else(|| Failure::input("a task worker has no output"))?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// The outcome; `None` if the child died of the job.
    fn ask(&mut self, job: &Job) -> Result<Option<Outcome>> {
        let line = serde_json::to_string(job)? + "\n";
        let Some(input) = &mut self.child.stdin else { return Ok(None) };
        if input.write_all(line.as_bytes()).and_then(|()| input.flush()).is_err() {
            return Ok(None);
        }
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        Ok(if answer.ends_with('\n') { Some(serde_json::from_str(&answer)?) } else { None })
    }

    fn cause_of_death(mut self) -> Result<Outcome> {
        self.child.stdin = None;
        let mut said = String::new();
        if let Some(error) = self.child.stderr.take() {
            // What a dying process says is short; a longer text is none of ours.
            error.take(4096).read_to_string(&mut said)?;
        }
        let status = self.child.wait()?;
        let signal = status.signal().map(rustix::process::Signal::from_named_raw);
        Ok(match signal {
            Some(Some(rustix::process::Signal::XCPU)) => Outcome::OutOfSteps,
            _ if OUT_OF_MEMORY.iter().any(|words| said.contains(words)) => Outcome::OutOfMemory,
            _ if said.contains("overflowed its stack") => Outcome::OutOfStack,
            Some(_) => Outcome::error(&format!("the interpreter ended by {status}: {}", said.replace('\n', " "))),
            // The worker itself refused: a bug or a broken set-up, not the completion's doing.
            None => return Err(Failure::input(format!("a task worker ended early: {status}; {said}"))),
        })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Without input it ends by itself; the kernel's limits hold if it does not.
        self.child.stdin = None;
        let _ = self.child.wait();
    }
}
