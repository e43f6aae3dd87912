//! Bytes of four rows turned, so that a lane of four bytes holds one column.
//!
//! ```text
//!   row 0   [ 0  1 .. 15 ]          lane 0   [ row 0  row 1  row 2  row 3 ]   byte 0 of each
//!     ..                      ->      ..
//!   row 3   [ 0  1 .. 15 ]          lane 15  [ row 0  row 1  row 2  row 3 ]   byte 15
//! ```

use std::arch::x86_64::*;

/// How sixteen bytes of each of four rows become sixteen lanes of four.
#[derive(Clone, Copy)]
pub(crate) struct Turn {
    /// Four bytes of each row side by side.
    pieces: __m512i,
    /// The 4 x 4 bytes of such a piece turned.
    within: __m512i,
}

static PIECES: [i32; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];
static WITHIN: [u8; 16] = [0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15];

impl Turn {
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn new() -> Self {
        // Volatile, so that the compiler does not know the order and keeps the two shuffles: knowing it, it made
        // thirteen instructions of them.
        // SAFETY: both are arrays of the length that is read; the loads are unaligned.
        unsafe {
            let (pieces, within) = ((&raw const PIECES).read_volatile(), (&raw const WITHIN).read_volatile());
            Self {
                pieces: _mm512_loadu_si512(pieces.as_ptr().cast()),
                within: _mm512_broadcast_i32x4(_mm_loadu_si128(within.as_ptr().cast())),
            }
        }
    }

    /// Lane `c` holds byte `c` of sixteen, `at` bytes into each of the rows.
    ///
    /// # Safety
    /// Sixteen bytes are readable there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) unsafe fn of(self, rows: [*const u8; 4], at: usize) -> __m512i {
        // SAFETY: by the contract of this function; the loads are unaligned.
        let rows = unsafe {
            let row = |row: usize| _mm_loadu_si128(rows[row].add(at).cast());
            let first = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(0)), row(1));
            let last = _mm256_inserti128_si256::<1>(_mm256_castsi128_si256(row(2)), row(3));
            _mm512_inserti64x4::<1>(_mm512_castsi256_si512(first), last)
        };
        self.within(_mm512_permutexvar_epi32(self.pieces, rows))
    }

    /// The 4 x 4 bytes of each quarter of a quarter turned.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    pub(super) fn within(self, bytes: __m512i) -> __m512i {
        _mm512_shuffle_epi8(bytes, self.within)
    }
}
