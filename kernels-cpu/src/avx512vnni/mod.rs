//! AVX-512 with VNNI, sums of four byte products a lane; where present BF16, sums of two bf16 products. What is not
//! here runs as in `avx512`.

pub(crate) mod accumulate_blocks;
mod blocks;
pub(crate) mod dot_bf16;
pub(crate) mod dot_blocks;
mod turn;

pub(crate) use blocks::{Blocks, Q4_0, Q8_0};
