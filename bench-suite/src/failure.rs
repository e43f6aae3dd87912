//! How a command ends when it does not end well.

use std::{error::Error, fmt::Write};

/// One line for standard error and the exit code that goes with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What was wrong, and what to do.
    pub message: String,
    /// 1: a check fell short. 2: bad input or bad use.
    pub code: u8,
}

/// What commands return.
pub type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    /// Bad input or bad use.
    pub fn input(message: impl Into<String>) -> Self {
        Self { message: one_line(&message.into()), code: 2 }
    }

    /// A check that fell short.
    pub fn short(message: impl Into<String>) -> Self {
        Self { message: one_line(&message.into()), code: 1 }
    }
}

/// Whatever a crate below refuses is bad input; its causes are told in the same line.
impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut message = error.to_string();
        let mut cause = error.source();
        while let Some(source) = cause {
            let text = source.to_string();
            if !message.contains(&text) {
                let _ = write!(message, ": {text}");
            }
            cause = source.source();
        }
        Self::input(message)
    }
}

fn one_line(message: &str) -> String {
    message.split('\n').map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}
