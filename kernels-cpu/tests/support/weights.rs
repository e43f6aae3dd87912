//! Random numbers and weights.

use half::f16;
use kernels_cpu::{Format, Matrix, synthetic::Random};

/// How far apart numbers lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// Within ±1, some of them zero.
    Even,
    /// As hidden states: one in sixteen is 1e8 times larger than the others, and so are some blocks.
    Outliers,
    /// Anything between the smallest denormal and one.
    Tiny,
}

/// `n` numbers.
pub fn numbers(n: usize, spread: Spread, random: &mut Random) -> Vec<f32> {
    let mut block = 1.0;
    let number = |i: usize| {
        let value = random.signed();
        match spread {
            Spread::Even if random.below(16) == 0 => 0.0,
            Spread::Even => value,
            Spread::Outliers => {
                if i.is_multiple_of(32) {
                    block = [1.0, 1e-4, 1e4][random.below(3)];
                }
                let outlier = random.below(16) == 0;
                value * block * if outlier { 1e8 } else { 1.0 }
            }
            Spread::Tiny => scaled(value, -(random.below(150) as i32)),
        }
    };
    (0..n).map(number).collect()
}

/// `value * 2^exponent`, denormals included.
pub fn scaled(value: f32, exponent: i32) -> f32 {
    (f64::from(value) * f64::from_bits(((1023 + exponent) as u64) << 52)) as f32
}

/// Weights in one format at an odd address, in exactly as much memory as they take.
#[derive(Debug, Clone)]
pub struct Weights {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Box<[u8]>,
    shift: usize,
}

impl Weights {
    pub fn random(format: Format, [rows, cols]: [usize; 2], shift: usize, spread: Spread, random: &mut Random) -> Self {
        let mut bytes = vec![0xa5; shift];
        bytes.reserve_exact(rows * format.row_bytes(cols).unwrap());
        for _ in 0..rows {
            match format {
                Format::Q8_0 | Format::Q4_0 => {
                    (0..cols / 32).for_each(|_| random_block(format, spread, random, &mut bytes));
                }
                Format::F32 | Format::F16 | Format::Bf16 => {
                    let row: Vec<f32> = (0..cols).map(|_| weight(format, spread, random)).collect();
                    format.encode(&row, &mut bytes).unwrap();
                }
            }
        }
        Self { format, rows, cols, bytes: bytes.into_boxed_slice(), shift }
    }

    pub fn view(&self) -> Matrix<'_> {
        Matrix::new(self.format, self.rows, self.cols, &self.bytes[self.shift..]).unwrap()
    }

    pub fn row_bytes(&self) -> usize {
        self.view().row_bytes()
    }

    /// The bytes of row `index`.
    pub fn row_mut(&mut self, index: u32) -> &mut [u8] {
        let len = self.row_bytes();
        &mut self.bytes[self.shift..][index as usize * len..][..len]
    }

    /// Row `index` as f32.
    pub fn row(&self, index: u32) -> Vec<f32> {
        self.format.decode_row(self.view().row(index as usize).unwrap())
    }

    /// Magnitudes of the scales of row `index`, block by block, and of its integers, weight by weight.
    pub fn scales_and_integers(&self, index: u32) -> (Vec<f64>, Vec<f64>) {
        let row = self.view().row(index as usize).unwrap();
        let blocks = row.chunks_exact(self.format.block_bytes());
        let scales = blocks.clone().map(|block| f64::from(f16::from_le_bytes([block[0], block[1]]).to_f32()).abs());
        let integers = blocks.flat_map(|block| {
            let unscaled = [&f16::ONE.to_le_bytes()[..], &block[2..]].concat();
            self.format.decode_row(&unscaled).into_iter().map(|q| f64::from(q.abs()))
        });
        (scales.collect(), integers.collect())
    }

    /// The same with every row but those of `kept` turned into NaN, bytes of ones in every format.
    pub fn spoiled_except(&self, kept: &[u32]) -> Self {
        let mut spoiled = self.clone();
        for row in (0..self.rows as u32).filter(|row| kept.binary_search(row).is_err()) {
            spoiled.row_mut(row).fill(0xff);
        }
        spoiled
    }
}

/// Any integers, -128 included, or nearly all zero, and any scale: negative, zero, for tiny weights denormal.
fn random_block(format: Format, spread: Spread, random: &mut Random, bytes: &mut Vec<u8>) {
    let scale = f16::from_f32(weight(Format::F16, spread, random) / 16.0);
    bytes.extend(scale.to_le_bytes());
    let words = (format.block_bytes() - 2) / 8;
    (0..words).for_each(|_| bytes.extend(random.bits().to_le_bytes()));
    if random.below(4) == 0 {
        let zero = if format == Format::Q8_0 { 0 } else { 0x88 };
        let start = bytes.len() - 8 * words;
        bytes[start..].iter_mut().filter(|_| random.below(16) > 0).for_each(|q| *q = zero);
    }
}

fn weight(format: Format, spread: Spread, random: &mut Random) -> f32 {
    let value = random.signed();
    // The exponent of the format's smallest denormal.
    let smallest = match format {
        Format::F16 => -24,
        Format::Bf16 => -133,
        _ => -149,
    };
    match spread {
        Spread::Tiny => scaled(value, smallest + random.below(24) as i32),
        _ if random.below(16) == 0 => 0.0,
        _ => value,
    }
}
