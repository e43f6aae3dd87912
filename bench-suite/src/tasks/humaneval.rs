//! HumanEval's own problems, run by the user's Python: off unless asked for.
//!
//! Python is not hermetic: a completion can read files and open connections. It runs in isolated mode, in an empty
//! folder of its own, without an environment, under limits of address space, processor time and wall time.

use std::{
    hash::BuildHasher,
    io::{Read, Write},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde::{Deserialize, Serialize};

use super::outcome::Outcome;
use crate::{Failure, Result};

/// A line of HumanEval's file; other fields are passed over (Chen et al. 2021, arXiv 2107.03374).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PythonProblem {
    /// `HumanEval/NUMBER`.
    pub task_id: String,
    /// Imports, signature and docstring.
    pub prompt: String,
    /// Name of the function.
    pub entry_point: String,
    /// The body.
    pub canonical_solution: String,
    /// `check(candidate)`.
    pub test: String,
}

/// A Python interpreter, and what completions may use up.
#[derive(Debug, Clone)]
pub struct Python {
    /// The program.
    pub program: PathBuf,
    /// Bytes of address space.
    pub process_bytes: u64,
    /// Seconds of processor time.
    pub processor_seconds: u64,
    /// Seconds altogether: a completion may sleep.
    pub wall_seconds: u64,
}

impl Python {
    /// `program` with limits as HumanEval's own harness has them, with room for slow machines.
    pub fn new(program: PathBuf) -> Self {
        Self { program, process_bytes: 4 << 30, processor_seconds: 10, wall_seconds: 30 }
    }

    /// Runs a completed problem and its tests.
    ///
    /// # Errors
    /// Python cannot be started.
    pub fn run(&self, problem: &PythonProblem, completion: &str) -> Result<Outcome> {
        // A marker of its own for each run: a completion that ends the process early does not pass.
        let marker = format!("passed {:016x}", std::collections::hash_map::RandomState::new().hash_one(completion));
        let program = format!(
            "{}{completion}\n\n{}\n\ncheck({})\nprint({marker:?})\n",
            problem.prompt, problem.test, problem.entry_point
        );
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(&self.program);
        command.args(["-I", "-S", "-B", "-c", "import sys; exec(compile(sys.stdin.read(), 'completion', 'exec'))"]);
        command.current_dir(folder.path()).env_clear();
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = command.spawn();
        let mut child = child.map_err(|e| Failure::input(format!("cannot start {}: {e}", self.program.display())))?;
        self.limit(&child)?;
        let input = child.stdin.take();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        std::thread::scope(|scope| {
            // A child that reads nothing or writes without end must not hold up the others.
            scope.spawn(move || input.map(|mut input| input.write_all(program.as_bytes())));
            let output = scope.spawn(move || tail(stdout));
            let error = scope.spawn(move || tail(stderr));
            let ended = self.wait(&mut child)?;
            let (output, error) = (output.join().unwrap_or_default(), error.join().unwrap_or_default());
            Ok(match ended {
                None => Outcome::OutOfSteps,
                Some(()) if output.lines().any(|line| line == marker) => Outcome::Passed,
                Some(()) => cause(&error),
            })
        })
    }

    fn limit(&self, child: &Child) -> Result<()> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        for (resource, most) in [
            (Resource::As, self.process_bytes),
            (Resource::Cpu, self.processor_seconds),
            (Resource::Core, 0),
            (Resource::Fsize, 1 << 20),
        ] {
            prlimit(pid, resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        Ok(())
    }

    /// `None` if it had to be ended.
    fn wait(&self, child: &mut Child) -> Result<Option<()>> {
        let deadline = Instant::now() + Duration::from_secs(self.wall_seconds);
        loop {
            if let Some(status) = child.try_wait()? {
                use std::os::unix::process::ExitStatusExt;
                let out_of_time = status.signal() == Some(rustix::process::Signal::XCPU.as_raw())
                    || status.signal() == Some(rustix::process::Signal::KILL.as_raw());
                return Ok((!out_of_time).then_some(()));
            }
            if Instant::now() > deadline {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// The last of what a stream says.
fn tail(stream: Option<impl Read>) -> String {
    const MOST: usize = 64 << 10;
    let Some(mut stream) = stream else { return String::new() };
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..read]);
        if kept.len() > 2 * MOST {
            kept.drain(..kept.len() - MOST);
        }
    }
    String::from_utf8_lossy(&kept).into_owned()
}

/// What Python's last line says.
fn cause(error: &str) -> Outcome {
    let last = error.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it ended before its tests did");
    match last.split(':').next().unwrap_or_default() {
        "AssertionError" => Outcome::FailedTest { test: None },
        "MemoryError" => Outcome::OutOfMemory,
        "RecursionError" => Outcome::OutOfStack,
        _ => Outcome::error(last),
    }
}
