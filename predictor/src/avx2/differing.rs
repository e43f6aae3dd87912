//! In how many bits rows differ from an input: four words a step, counted by a table of nibbles.
//!
//! ```text
//!   row xor x ─▶ low nibbles, high nibbles ─▶ `vpshufb` in a table of bit counts ─▶ `vpsadbw`: four sums of eight bytes
//! ```
//! Mula, Kurz, Lemire 2018, "Faster population counts using AVX2 instructions", section 3.

use std::arch::x86_64::*;

use crate::scalar;

const WORDS: usize = 4;

/// As the scalar one.
///
/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn differing(rows: &[u64], x: &[u64], out: &mut [f32]) {
    let (x_blocks, x_rest) = x.as_chunks::<WORDS>();
    for (row, out) in rows.chunks_exact(x.len()).zip(out) {
        let (blocks, rest) = row.as_chunks::<WORDS>();
        let mut sums = _mm256_setzero_si256();
        for (w, x) in blocks.iter().zip(x_blocks) {
            sums = _mm256_add_epi64(sums, count(_mm256_xor_si256(load(w), load(x))));
        }
        let mut words = [0_u64; WORDS];
        // SAFETY: four words.
        unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), sums) };
        let mut last = [0.0];
        if !rest.is_empty() {
            scalar::differing::differing(rest, x_rest, &mut last);
        }
        *out = words.iter().sum::<u64>() as f32 + last[0];
    }
}

/// Bits of each word.
#[inline]
#[target_feature(enable = "avx2")]
fn count(bits: __m256i) -> __m256i {
    let table = _mm256_setr_epi8(
        0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4,
    );
    let low = _mm256_set1_epi8(0x0f);
    let lows = _mm256_shuffle_epi8(table, _mm256_and_si256(bits, low));
    let highs = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16::<4>(bits), low));
    _mm256_sad_epu8(_mm256_add_epi8(lows, highs), _mm256_setzero_si256())
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(words: &[u64; WORDS]) -> __m256i {
    // SAFETY: four words.
    unsafe { _mm256_loadu_si256(words.as_ptr().cast()) }
}
