//! What a change must not make worse, and how that is found out without crying wolf.
//!
//! | what | exact or measured | module |
//! |---|---|---|
//! | instructions that scalar and AVX2 code executes | exact | [`counts`] |
//! | instructions between the labels of AVX-512 loops | exact | [`loops`] |
//! | recorded numbers, and what changed since | | [`baseline`] |
//! | results, against f64 | exact | [`correct`] |
//! | times of siblings in one run, against limits | measured | [`siblings`], [`limits`], [`cases`] |
//! | times before and after a change | measured | [`change`], [`worker`], [`merge_base`] |
//! | when a ratio of times is worse beyond noise | | [`decision`] |
//! | that all this catches what it should and nothing else | measured | [`proof`] |
//! | that tests catch faults planted in the sources | exact | [`mutants`] |

pub mod baseline;
pub mod cases;
pub mod change;
pub mod correct;
pub mod counts;
pub mod decision;
pub mod limits;
pub mod loops;
pub mod merge_base;
pub mod mutants;
pub mod proof;
pub mod siblings;
pub mod worker;
