//! What the tests of models share.

#![allow(dead_code, unreachable_pub)] // Each test file uses some of it.

pub mod oracle;
pub mod program;

use std::time::{SystemTime, UNIX_EPOCH};

/// A fresh seed, printed so that a failure can be brought back: `THRESHER_SEED=… cargo test …`.
pub fn seed() -> u64 {
    let given = std::env::var("THRESHER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64);
    println!("THRESHER_SEED={seed}");
    seed
}
