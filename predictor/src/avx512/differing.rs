//! In how many bits rows differ from an input: eight words a step, counted by `vpopcntq`.
//!
//! ```text
//!   row   |w0 .. w7|w8 .. w15|...   xor   x   |x0 .. x7|...   ─▶ vpopcntq ─▶ eight sums ─▶ one
//! ```
//! Two sums, so that one addition need not wait for the other. Rows follow each other in memory, so the whole matrix is
//! one forward stream that the hardware prefetches.

use std::arch::x86_64::*;

const WORDS: usize = 8;

/// As the scalar one.
///
/// # Safety
/// The processor has AVX-512 F and VPOPCNTDQ.
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
pub(crate) unsafe fn differing(rows: &[u64], x: &[u64], out: &mut [f32]) {
    let (x_blocks, x_rest) = x.as_chunks::<WORDS>();
    let tail: __mmask8 = (1 << x_rest.len()) - 1;
    for (row, out) in rows.chunks_exact(x.len()).zip(out) {
        let (blocks, rest) = row.as_chunks::<WORDS>();
        let mut sums = [_mm512_setzero_si512(); 2];
        for (index, (w, x)) in blocks.iter().zip(x_blocks).enumerate() {
            let differ = _mm512_popcnt_epi64(_mm512_xor_si512(load(w), load(x)));
            sums[index % 2] = _mm512_add_epi64(sums[index % 2], differ);
        }
        // SAFETY: lanes beyond `rest` and `x_rest`, which are of one length, are masked off.
        let last = unsafe {
            let w = _mm512_maskz_loadu_epi64(tail, rest.as_ptr().cast());
            _mm512_xor_si512(w, _mm512_maskz_loadu_epi64(tail, x_rest.as_ptr().cast()))
        };
        let sum = _mm512_add_epi64(_mm512_add_epi64(sums[0], sums[1]), _mm512_popcnt_epi64(last));
        *out = _mm512_reduce_add_epi64(sum) as f32;
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(words: &[u64; WORDS]) -> __m512i {
    // SAFETY: eight words.
    unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
}
