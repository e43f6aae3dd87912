//! How a completion fared.

use serde::{Deserialize, Serialize};

/// How a completion fared: only one of these is a pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// All tests hold.
    Passed,
    /// It ran to the end and gave a wrong result.
    FailedTest {
        /// The test that failed, from 0, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        test: Option<usize>,
    },
    /// It does not parse, or it stopped with an error.
    Error {
        /// What was said, in one line.
        message: String,
    },
    /// It looped for more steps, or computed for longer, than it was given.
    OutOfSteps,
    /// It wanted more memory than it was given.
    OutOfMemory,
    /// It called itself too deeply.
    OutOfStack,
    /// It printed more than it was given room for.
    OutOfOutput,
}

impl Outcome {
    /// Whether it counts.
    pub fn passed(&self) -> bool {
        *self == Self::Passed
    }

    /// An error, its message cut to one line of reasonable length.
    pub fn error(message: &str) -> Self {
        let line = message.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
        Self::Error { message: line.trim().chars().take(200).collect() }
    }
}
