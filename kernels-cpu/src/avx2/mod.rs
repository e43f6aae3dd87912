//! AVX2 with FMA and F16C: eight f32 lanes, tails through a zero-padded copy.

pub(crate) mod accumulate_float;
pub(crate) mod accumulate_q8_0;
pub(crate) mod dot_float;
pub(crate) mod dot_q8_0;
mod float;
mod q8_0;
pub(crate) mod stream;

pub(crate) use float::{F16, F32};
