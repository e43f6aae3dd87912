//! Seeded weights and active sets for tests and benches, at any size.
//!
//! Weights are uniform in ±1/16 with full mantissas: no denormals, no zeros to skip. Active sets come as a
//! [`Rotation`], so that a row is not read again before all others were: what is timed is memory, not the cache.

use rayon::prelude::*;

use crate::{
    Error, Format, Matrix, WeightBuffer,
    stretches::{parts, stretches},
};

/// A sequence of pseudo-random numbers: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform below `n`, which must not be zero.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.bits()) * n as u128) >> 64) as usize
    }

    /// Uniform in [-1, 1).
    pub fn signed(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    /// `n` values uniform in [-1, 1).
    pub fn vector(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.signed()).collect()
    }
}

/// A matrix of seeded weights that owns its memory.
#[derive(Debug)]
pub struct OwnedMatrix {
    format: Format,
    rows: usize,
    cols: usize,
    buffer: WeightBuffer,
}

impl OwnedMatrix {
    /// `rows` x `cols` weights drawn from `seed`, filled by rayon's current pool.
    ///
    /// A page lies nearest to the core that fills it. So fill within [`Cpu::install`](crate::Cpu::install) of the `Cpu`
    /// that will read: rows are dealt out to its threads in the same stretches as by the row operators over all rows, to
    /// whichever thread is free, then as later.
    ///
    /// # Errors
    /// A shape that is not whole blocks or does not fit in memory.
    pub fn random(format: Format, rows: usize, cols: usize, seed: u64) -> Result<Self, Error> {
        Self::stacked(format, 1, rows, cols, seed)
    }

    /// Gate, up and down of a layer, one after the other: a matrix of 3 x `neurons` rows, each matrix of it filled as
    /// [`random`](Self::random) fills a matrix.
    ///
    /// # Errors
    /// As for [`random`](Self::random).
    pub fn layer(format: Format, neurons: usize, cols: usize, seed: u64) -> Result<Self, Error> {
        Self::stacked(format, 3, neurons, cols, seed)
    }

    fn stacked(format: Format, matrices: usize, rows_each: usize, cols: usize, seed: u64) -> Result<Self, Error> {
        let too_large = Error::TooLarge { format, rows: rows_each, cols };
        let rows = rows_each.checked_mul(matrices).ok_or_else(|| too_large.clone())?;
        let row_bytes = format.row_bytes(cols)?;
        let len = row_bytes.checked_mul(rows).ok_or(too_large)?;
        let mut buffer = WeightBuffer::zeroed(len)?;
        for matrix in 0..matrices {
            let bytes = &mut buffer.bytes_mut()[matrix * (len / matrices)..][..len / matrices];
            if bytes.is_empty() {
                break;
            }
            let stretches = stretches(rows_each, rayon::current_num_threads());
            let bytes = parts(bytes, stretches.clone().map(|rows| rows.start * row_bytes..rows.end * row_bytes));
            let stretches: Vec<_> = stretches.zip(bytes).collect();
            stretches.into_par_iter().with_max_len(1).for_each(|(rows, bytes)| {
                for (row, bytes) in rows.zip(bytes.chunks_mut(row_bytes)) {
                    fill_row(format, seed ^ ((matrix * rows_each + row) as u64) << 20, bytes);
                }
            });
        }
        Ok(Self { format, rows, cols, buffer })
    }

    /// Share of the weights that lie on huge pages now; `None` where the system does not tell.
    pub fn huge_page_share(&self) -> Option<f64> {
        let len = self.buffer.bytes().len().max(1);
        Some(self.buffer.huge_page_bytes()? as f64 / len as f64)
    }

    /// The matrix, to be read.
    ///
    /// # Errors
    /// None in practice: the shape was checked when the matrix was made.
    pub fn view(&self) -> Result<Matrix<'_>, Error> {
        let len = self.format.row_bytes(self.cols)? * self.rows;
        Matrix::new(self.format, self.rows, self.cols, &self.buffer.bytes()[..len])
    }
}

/// Weights are made bit by bit, without a conversion: filling gigabytes is part of every bench's start.
fn fill_row(format: Format, seed: u64, bytes: &mut [u8]) {
    let mut random = Random::new(seed);
    match format {
        // Sign and mantissa are random, the exponent that of 1/32 or of 1/16 less one bit.
        Format::F32 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|pair| {
            let bits = random.bits() & 0x80ff_ffff_80ff_ffff | 0x3d00_0000_3d00_0000;
            *pair = bits.to_le_bytes();
        }),
        Format::F16 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|quad| {
            let bits = random.bits() & 0x87ff_87ff_87ff_87ff | 0x2800_2800_2800_2800;
            *quad = bits.to_le_bytes();
        }),
        Format::Bf16 => bytes.as_chunks_mut::<8>().0.iter_mut().for_each(|quad| {
            let bits = random.bits() & 0x80ff_80ff_80ff_80ff | 0x3d00_3d00_3d00_3d00;
            *quad = bits.to_le_bytes();
        }),
        Format::Q8_0 | Format::Q4_0 => bytes.chunks_exact_mut(format.block_bytes()).for_each(|block| {
            let scale = if format == Format::Q8_0 { 1.0 / 2048.0 } else { 1.0 / 128.0 };
            block[..2].copy_from_slice(&half::f16::from_f32(scale).to_le_bytes());
            block[2..].as_chunks_mut::<8>().0.iter_mut().for_each(|q| *q = random.bits().to_le_bytes());
        }),
    }
}

/// Active sets of one density, each disjoint from the ones before it until every row has been used, then over again.
#[derive(Debug)]
pub struct Rotation {
    sets: Vec<Vec<u32>>,
    next: usize,
}

impl Rotation {
    /// `round(rows * density)` rows a set (at least one), dealt from a seeded shuffle of all `rows`.
    pub fn new(rows: usize, density: f64, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut deck: Vec<u32> = (0..rows as u32).collect();
        for i in (1..deck.len()).rev() {
            deck.swap(i, random.below(i + 1));
        }
        let size = ((rows as f64 * density).round() as usize).clamp(1, rows.max(1));
        let sets = deck.chunks_exact(size.min(deck.len().max(1))).map(sorted).collect();
        Self { sets, next: 0 }
    }

    /// The next active set, strictly ascending.
    pub fn next_set(&mut self) -> &[u32] {
        let set = &self.sets[self.next];
        self.next = (self.next + 1) % self.sets.len();
        set
    }

    /// Rows in each set.
    pub fn set_len(&self) -> usize {
        self.sets[0].len()
    }
}

fn sorted(rows: &[u32]) -> Vec<u32> {
    let mut rows = rows.to_vec();
    rows.sort_unstable();
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However many threads fill it: figures of different machines are over the same weights.
    #[test]
    fn weights_depend_on_the_seed_alone() {
        for format in Format::ALL {
            let one = OwnedMatrix::random(format, 21, 64, 3).unwrap();
            let three = crate::Cpu::with(crate::Isa::Scalar, 3).unwrap();
            let other = three.install(|| OwnedMatrix::layer(format, 7, 64, 3).unwrap());
            assert_eq!(one.view().unwrap().bytes(), other.view().unwrap().bytes());
        }
    }

    #[test]
    fn shapes_without_weights_are_filled_too() {
        for (rows, cols) in [(0, 64), (3, 0)] {
            assert_eq!(OwnedMatrix::layer(Format::F32, rows, cols, 1).unwrap().view().unwrap().bytes(), []);
        }
    }
}
