//! Reads every byte once and folds it into a checksum: the read-bandwidth roof.
//!
//! ```text
//!   bytes  [stream 0 -->   . . . pf          |stream 1 -->   . . . pf          ]
//! ```
//! Two forward streams: of one to eight streams, prefetched at distances from none to 8 KiB, the best on a Xeon (Emerald
//! Rapids, sixteen cores: 162 GB/s; four streams 138) and within 1 % of the best on Zen 4.

use std::arch::x86_64::*;

use crate::{rows::prefetch, scalar};

const STREAMS: usize = 2;
const AHEAD: usize = 2048;

/// # Safety
/// The processor has AVX2.
#[target_feature(enable = "avx2")]
pub(crate) unsafe fn checksum(bytes: &[u8]) -> u64 {
    let lines = bytes.len() / 64 / STREAMS;
    let (streams, rest) = bytes.split_at(lines * STREAMS * 64);
    let mut sum = [_mm256_setzero_si256(); 2 * STREAMS];
    for line in 0..lines {
        for s in 0..STREAMS {
            // SAFETY: line `line` of stream `s` lies within `streams`.
            let (low, high) = unsafe {
                let at = streams.as_ptr().add((s * lines + line) * 64);
                prefetch(at.wrapping_add(AHEAD));
                (_mm256_loadu_si256(at.cast()), _mm256_loadu_si256(at.add(32).cast()))
            };
            sum[2 * s] = _mm256_xor_si256(sum[2 * s], low);
            sum[2 * s + 1] = _mm256_xor_si256(sum[2 * s + 1], high);
        }
    }
    let sum = sum.into_iter().fold(_mm256_setzero_si256(), |a, b| _mm256_xor_si256(a, b));
    let mut words = [0_u64; 4];
    // SAFETY: `words` is 32 bytes.
    unsafe { _mm256_storeu_si256(words.as_mut_ptr().cast(), sum) };
    words.iter().fold(scalar::stream::checksum(rest), |a, b| a ^ b)
}
