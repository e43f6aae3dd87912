//! What the tests share.
//!
//! | file | |
//! |---|---|
//! | `kernels.rs` | the kernels that this processor runs |
//! | `cases.rs` | random layers of odd sizes, and active sets |
//! | `weights.rs` | random numbers and weights, exactly as many bytes as the shape takes |
//! | `oracle.rs` | the operators in f64, with the error that f32 arithmetic may add |
//! | `guarded.rs` | memory between two pages that nobody may touch |

#![allow(dead_code, unreachable_pub)] // each test file uses its part
#![allow(clippy::unwrap_used)]

pub mod cases;
#[cfg(all(unix, not(miri)))]
pub mod guarded;
pub mod kernels;
pub mod oracle;
pub mod weights;

/// The bits of results that must be equal to the last one, NaN included.
pub fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Random cases of each property in a plain test run; `PROPTEST_CASES` asks for another number.
pub fn some(cases: u32) -> proptest::prelude::ProptestConfig {
    proptest::prelude::ProptestConfig::with_cases(cases)
}
