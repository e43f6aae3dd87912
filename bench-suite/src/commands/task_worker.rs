//! The child process in which completions run: started by the program itself, not by people.

use clap::Args;

use crate::{Result, tasks::worker};

/// Arguments of the child process.
#[derive(Debug, Args)]
pub struct TaskWorkerArguments {
    /// Limits as JSON
    limits: String,
}

/// Runs the command.
///
/// # Errors
/// The limits are not understood or cannot be set; a job is malformed.
pub fn run(arguments: &TaskWorkerArguments) -> Result<()> {
    worker::serve(&serde_json::from_str(&arguments.limits)?)
}
