//! Random problems.

use half::{bf16, f16};
use kernels_cuda::Format;
use proptest::prelude::*;

/// One matrix: bytes as a model file holds them, and the same weights in f64.
#[derive(Debug, Clone)]
pub(crate) struct Weights {
    pub(crate) format: Format,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    pub(crate) bytes: Vec<u8>,
    pub(crate) exact: Vec<f64>,
}

impl Weights {
    pub(crate) fn row(&self, row: u32) -> &[f64] {
        let start = row as usize * self.cols;
        &self.exact[start..start + self.cols]
    }

    /// Makes the last block of a row NaN.
    pub(crate) fn poison(&mut self, row: u32) {
        let nan: &[u8] = match self.format {
            Format::F32 => &f32::NAN.to_le_bytes(),
            Format::F16 | Format::Q8_0 | Format::Q4_0 => &f16::NAN.to_le_bytes(),
            Format::Bf16 => &bf16::NAN.to_le_bytes(),
        };
        let row_end = (row as usize + 1) * self.bytes.len() / self.rows;
        let block = row_end - self.format.block_bytes();
        self.bytes[block..block + nan.len()].copy_from_slice(nan);
        let values_end = (row as usize + 1) * self.cols;
        self.exact[values_end - self.format.block_len()..values_end].fill(f64::NAN);
    }

    /// Makes a row zeros.
    pub(crate) fn silence(&mut self, row: u32) {
        let row_bytes = self.bytes.len() / self.rows;
        self.bytes[row as usize * row_bytes..][..row_bytes].fill(0);
        self.exact[row as usize * self.cols..][..self.cols].fill(0.0);
    }

    #[cfg(emulated)]
    pub(crate) fn shape(&self) -> (Format, usize, usize) {
        (self.format, self.rows, self.cols)
    }
}

/// A problem for every operator: two matrices, a vector for their columns, rows to compute, and a
/// value for each of those.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(crate) gate: Weights,
    pub(crate) up: Weights,
    pub(crate) x: Vec<f32>,
    pub(crate) active: Vec<u32>,
    pub(crate) h: Vec<f32>,
    pub(crate) y: Vec<f32>,
}

/// Problems in every format, of sizes around every edge of the kernels: 1 row or column, one short of
/// and one past a chunk, a span, a step and a column range.
pub(crate) fn problem() -> impl Strategy<Value = Problem> {
    let format = prop::sample::select(Format::ALL.to_vec());
    let size = prop_oneof![
        1_usize..80,
        prop::sample::select(vec![96, 127, 128, 129, 255, 256, 257, 511, 1023, 1024, 1031, 1100]),
    ];
    (format, 1_usize..24, size)
        .prop_flat_map(|(format, rows, cols)| problem_of(format, rows, cols.next_multiple_of(format.block_len())))
}

pub(crate) fn problem_of(format: Format, rows: usize, cols: usize) -> impl Strategy<Value = Problem> {
    let chosen = prop_oneof![
        1 => Just(vec![false; rows]),
        1 => Just(vec![true; rows]),
        6 => prop::collection::vec(any::<bool>(), rows),
    ];
    (any::<u64>(), chosen).prop_map(move |(seed, chosen)| {
        let mut random = Random(seed);
        let active: Vec<u32> = (0..rows as u32).filter(|&row| chosen[row as usize]).collect();
        Problem {
            gate: random.weights(format, rows, cols),
            up: random.weights(format, rows, cols),
            x: random.values(cols),
            h: random.values(active.len()),
            y: random.values(cols),
            active,
        }
    })
}

/// SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1), and one in eight exactly zero, as activations are.
    fn value(&mut self) -> f32 {
        let bits = self.next();
        if bits.is_multiple_of(8) {
            return 0.0;
        }
        (bits >> 40) as f32 / (1 << 23) as f32 - 1.0
    }

    pub(crate) fn values(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.value()).collect()
    }

    /// One in eight subnormal: the emulation and the GPU must decode those too. The others times 2^-`shift`.
    fn f16(&mut self, shift: i32) -> f16 {
        let bits = self.next();
        if bits.is_multiple_of(8) {
            return f16::from_bits((bits >> 32) as u16 & 0x83ff);
        }
        f16::from_f32(self.value() * 2_f32.powi(-shift))
    }

    pub(crate) fn weights(&mut self, format: Format, rows: usize, cols: usize) -> Weights {
        self.small_weights(format, rows, cols, 0)
    }

    /// Weights times 2^-`shift`, so that layers after layers of them stay finite.
    pub(crate) fn small_weights(&mut self, format: Format, rows: usize, cols: usize, shift: i32) -> Weights {
        let mut bytes = Vec::new();
        let mut exact = Vec::new();
        for _ in 0..rows * cols / format.block_len() {
            match format {
                Format::F32 => {
                    let value = self.value() * 2_f32.powi(-shift);
                    bytes.extend(value.to_le_bytes());
                    exact.push(f64::from(value));
                }
                Format::F16 => {
                    let value = self.f16(shift);
                    bytes.extend(value.to_le_bytes());
                    exact.push(value.to_f64());
                }
                Format::Bf16 => {
                    let value = bf16::from_f32(self.value() * 2_f32.powi(-shift));
                    bytes.extend(value.to_le_bytes());
                    exact.push(value.to_f64());
                }
                Format::Q8_0 => {
                    let scale = self.f16(shift);
                    bytes.extend(scale.to_le_bytes());
                    for _ in 0..32 {
                        let quant = self.next() as i8;
                        bytes.extend(quant.to_le_bytes());
                        exact.push(scale.to_f64() * f64::from(quant));
                    }
                }
                Format::Q4_0 => {
                    let scale = self.f16(shift);
                    bytes.extend(scale.to_le_bytes());
                    let pairs: [u8; 16] = std::array::from_fn(|_| self.next() as u8);
                    bytes.extend(pairs);
                    let low = pairs.iter().map(|pair| pair & 0x0f);
                    let quants = low.chain(pairs.iter().map(|pair| pair >> 4));
                    exact.extend(quants.map(|quant| scale.to_f64() * (f64::from(quant) - 8.0)));
                }
            }
        }
        Weights { format, rows, cols, bytes, exact }
    }
}
