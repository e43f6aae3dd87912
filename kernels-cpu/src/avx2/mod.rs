//! AVX2 with FMA and F16C: eight f32 lanes, tails through a zero-padded copy.

pub(crate) mod accumulate_blocks;
pub(crate) mod accumulate_float;
pub(crate) mod attention;
mod blocks;
pub(crate) mod dot_blocks;
pub(crate) mod dot_float;
mod float;
pub(crate) mod prepare;
pub(crate) mod stream;

pub(crate) use blocks::{Q4_0, Q8_0};
pub(crate) use float::{Bf16, F16, F32};
