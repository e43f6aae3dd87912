//! AVX2: eight f32 lanes; lanes are compressed by a table of shuffles. Each file has a twin in the other folders.

mod bracket;
mod compact;
mod count;
mod histogram;
mod mass;
mod moments;

use std::arch::x86_64::*;

pub(super) use histogram::histogram;

use super::Kernels;
use crate::Isa;

pub(super) const KERNELS: Kernels = Kernels {
    isa: Isa::Avx2,
    compact: compact::compact,
    bracket: bracket::bracket,
    count: count::count,
    mass: mass::mass,
    moments: moments::moments,
    histogram,
};

const LANES: usize = 8;

/// For each mask, the numbers of its lanes, ascending, then zeros: 2 KiB, a byte each.
static SHUFFLES: [[u8; LANES]; 256] = {
    let mut table = [[0; LANES]; 256];
    let mut mask = 0;
    while mask < 256 {
        let (mut lane, mut len) = (0, 0);
        while lane < LANES {
            if mask >> lane & 1 == 1 {
                table[mask][len] = lane as u8;
                len += 1;
            }
            lane += 1;
        }
        mask += 1;
    }
    table
};

#[inline]
#[target_feature(enable = "avx2")]
fn load(lanes: &[f32; LANES]) -> __m256 {
    // SAFETY: 8 scores.
    unsafe { _mm256_loadu_ps(lanes.as_ptr()) }
}

/// One bit a lane.
#[inline]
#[target_feature(enable = "avx2")]
fn mask(lanes: __m256) -> usize {
    _mm256_movemask_ps(lanes) as u8 as usize
}

/// Which lane goes where, so that those of `mask` come first.
#[inline]
#[target_feature(enable = "avx2")]
fn shuffle(mask: usize) -> __m256i {
    // SAFETY: 8 bytes.
    _mm256_cvtepu8_epi32(unsafe { _mm_loadl_epi64(SHUFFLES[mask % 256].as_ptr().cast()) })
}
