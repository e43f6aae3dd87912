//! AVX-512 F, BW and VL: sixteen f32 lanes, masked tails.

pub(crate) mod accumulate_float;
pub(crate) mod accumulate_q8_0;
pub(crate) mod dot_float;
pub(crate) mod dot_q8_0;
mod float;
mod q8_0;
pub(crate) mod stream;

pub(crate) use float::{F16, F32};
