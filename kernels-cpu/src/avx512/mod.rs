//! AVX-512 F, BW and VL: sixteen f32 lanes, masked tails.

pub(crate) mod accumulate_blocks;
pub(crate) mod accumulate_float;
pub(crate) mod attention;
mod blocks;
pub(crate) mod dot_blocks;
pub(crate) mod dot_float;
mod float;
pub(crate) mod stream;

pub(crate) use blocks::{Blocks, Q4_0, Q8_0};
pub(crate) use float::{Bf16, F16, F32};
