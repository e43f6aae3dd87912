//! The child process in which completions run: under the kernel's limits, so that nothing they do reaches further.
//!
//! One job a line comes in on standard input, one outcome a line goes out on standard output, both JSON. A child that
//! dies within a job is the answer to that job; [`pool`](super::pool) reads the cause from how it died.

use std::io::{BufRead, Write};

use rustix::{
    process::{Resource, Rlimit, setrlimit},
    time::{ClockId, clock_gettime},
};

use super::{
    interpreter::{Job, run},
    limits::Limits,
};
use crate::Result;

/// Serves jobs until standard input ends. The limits hold for the rest of this process's life.
///
/// # Errors
/// A limit cannot be set, or a line cannot be read or written.
pub fn serve(limits: &Limits) -> Result<()> {
    let fixed = |resource, value| setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) });
    fixed(Resource::As, limits.process_bytes)?;
    fixed(Resource::Fsize, 0)?;
    fixed(Resource::Core, 0)?;
    // Standard input, output and error are open; nothing else can be.
    fixed(Resource::Nofile, 3)?;
    // An interpreter that panicked is not used again.
    std::panic::set_hook(Box::new(|panic| {
        eprintln!("{panic}");
        std::process::abort();
    }));
    let mut output = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let job: Job = serde_json::from_str(&line?)?;
        allow_processor_time(limits.processor_seconds)?;
        let outcome = run(&job, limits);
        output.write_all((serde_json::to_string(&outcome)? + "\n").as_bytes())?;
        output.flush()?;
    }
    Ok(())
}

/// From now on so many seconds, and at most one more: the kernel counts whole seconds over the process's life.
fn allow_processor_time(seconds: u64) -> Result<()> {
    let used = clock_gettime(ClockId::ProcessCPUTime).tv_sec.unsigned_abs();
    setrlimit(Resource::Cpu, Rlimit { current: Some(used + 1 + seconds), maximum: None })?;
    Ok(())
}
