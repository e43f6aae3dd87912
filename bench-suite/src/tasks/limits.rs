//! What a completion may use up.

use serde::{Deserialize, Serialize};

/// What a completion may use up, its tests included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Calls and turns of loops; counted to the nearest thousand.
    pub steps: u64,
    /// Bytes on the interpreter's heap; looked at every thousand steps.
    pub heap_bytes: usize,
    /// Bytes of address space of the process: what holds where one step takes gigabytes.
    pub process_bytes: u64,
    /// Seconds of processor time of the process: what holds where one step takes minutes.
    pub processor_seconds: u64,
    /// Calls within calls.
    pub depth: usize,
    /// Bytes printed.
    pub output_bytes: usize,
    /// Bytes of prompt and completion.
    pub program_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 1_000_000,
            heap_bytes: 64 << 20,
            process_bytes: 512 << 20,
            processor_seconds: 5,
            depth: 100,
            output_bytes: 64 << 10,
            program_bytes: 64 << 10,
        }
    }
}
