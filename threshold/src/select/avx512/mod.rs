//! AVX-512 F, BW and VL: sixteen f32 lanes, masked tails. Each file has a twin in the other folders; the
//! histogram is that of AVX2.
//!
//! Lanes are compressed in a register and stored whole: `vpcompressd` to memory is microcode on Zen 4 and takes over a
//! hundred cycles there.

mod bracket;
mod compact;
mod count;
mod mass;
mod moments;

use std::arch::x86_64::*;

use super::{Kernels, avx2};
use crate::Isa;

pub(super) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx512,
    compact: compact::compact,
    bracket: bracket::bracket,
    count: count::count,
    mass: mass::mass,
    moments: moments::moments,
    // Counters wait for each other, lanes do not: sixteen of them were four times slower than eight.
    histogram: avx2::histogram,
};

const LANES: usize = 16;

#[inline]
#[target_feature(enable = "avx512f")]
fn load(lanes: &[f32; LANES]) -> __m512 {
    // SAFETY: 16 scores.
    unsafe { _mm512_loadu_ps(lanes.as_ptr()) }
}

/// Up to 16 scores, and the mask of their lanes; the other lanes are 0.
#[inline]
#[target_feature(enable = "avx512f")]
fn load_masked(lanes: &[f32]) -> (__mmask16, __m512) {
    let mask = mask(lanes.len());
    // SAFETY: lanes whose bit is clear are not read.
    (mask, unsafe { _mm512_maskz_loadu_ps(mask, lanes.as_ptr()) })
}

/// The lowest `lanes` bits, of 16.
#[inline]
fn mask(lanes: usize) -> __mmask16 {
    ((1_u32 << lanes.min(LANES)) - 1) as u16
}

/// 0, 1, … 15.
#[inline]
#[target_feature(enable = "avx512f")]
fn lane_numbers() -> __m512i {
    _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15)
}
