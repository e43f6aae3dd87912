//! What a change must not make worse, and how that is found out without crying wolf.
//!
//! | what | exact or measured | module |
//! |---|---|---|
//! | instructions that scalar and AVX2 code executes | exact | [`counts`] |
//! | instructions between the labels of AVX-512 loops | exact | [`loops`] |
//! | recorded numbers, and what changed since | | [`baseline`] |

pub mod baseline;
pub mod counts;
pub mod loops;
