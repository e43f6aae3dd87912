//! The vector that rows meet, in the forms that kernels want it in.
//!
//! Quantised weights are integers with a scale a block; where the input is integers too, a block's products are summed
//! exactly and meet floating point once instead of 32 times. The input keeps 15 bits (ggml's kernels keep 8), so that
//! what is lost stays below what f32 sums lose anyway.

use crate::format::BLOCK;

/// The largest integer an element becomes: 127 * 128 + 63, the largest that splits into two signed 8-bit digits.
pub(crate) const LEVELS: f32 = 16319.0;

/// Largest error of an element, as a share of the largest magnitude in its block of 32: half a step.
pub(crate) const ROUNDING: f64 = 0.5 / LEVELS as f64;

/// Smallest magnitude of a block whose step is a normal number.
pub(crate) const SMALLEST: f32 = 1e-30;

/// The vector as given and, where the kernel reads it in another form, in that form.
pub(crate) struct Input<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) quantised: Quantised,
}

/// What a kernel wants beside the plain vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Nothing.
    Plain,
    /// 16-bit integers in their order.
    Wide,
    /// Two 8-bit digits, base 128, in the order in which `step` blocks of weights lie when their `parts` are taken one
    /// after the other: 16 weights of each block and then the other 16 for two parts.
    Digits {
        /// Blocks that a kernel takes at a time.
        step: usize,
        /// Parts that a block falls into.
        parts: usize,
    },
    /// Two bf16 that add up to the element, `high` then `low`, 32 of each at a time.
    TwoBf16,
}

/// Integers and one scale a block: element `i` is nearly `scale[i / 32] * wide[i]`.
#[derive(Debug, Default)]
pub(crate) struct Quantised {
    /// As 16-bit integers; [`Form::Wide`].
    pub(crate) wide: Vec<i16>,
    /// As digits, or the halves of [`Form::TwoBf16`]: for each step of blocks all high ones, then all low ones.
    pub(crate) digits: Vec<[u8; 64]>,
    /// Scale of each block, padded with zeros to a whole step.
    pub(crate) scale: Vec<f32>,
}

impl<'a> Input<'a> {
    /// The vector in the form that a kernel wants; `None` where that form cannot hold it: infinities, NaN, or a block
    /// so small that its step would not be a normal number.
    pub(crate) fn new(x: &'a [f32], form: Form) -> Option<Self> {
        if form == Form::Plain {
            return Some(Self::plain(x));
        }
        #[cfg(target_arch = "x86_64")]
        if crate::Isa::Avx2.is_available() {
            // SAFETY: the processor has AVX2.
            return unsafe { crate::avx2::prepare::quantised(x, form) }.map(|quantised| Self { x, quantised });
        }
        Quantised::new(x, form).map(|quantised| Self { x, quantised })
    }

    /// The vector alone.
    pub(crate) fn plain(x: &'a [f32]) -> Self {
        Self { x, quantised: Quantised::default() }
    }
}

impl Quantised {
    /// Inlined into callers that have vectors to do it with.
    #[inline(always)]
    pub(crate) fn new(x: &[f32], form: Form) -> Option<Self> {
        match form {
            Form::Plain => Some(Self::default()),
            Form::Wide => Self::wide(x),
            Form::Digits { step, parts } => Self::digits(x, step, parts),
            Form::TwoBf16 => Self::two_bf16(x),
        }
    }

    #[inline(always)]
    fn wide(x: &[f32]) -> Option<Self> {
        let mut wide = vec![0; x.len()];
        let mut scale = vec![0.0; x.len() / BLOCK];
        let blocks = x.as_chunks::<BLOCK>().0.iter().zip(wide.as_chunks_mut().0).zip(&mut scale);
        for ((x, integers), scale) in blocks {
            *scale = quantise(x, integers)?;
        }
        Some(Self { wide, scale, ..Self::default() })
    }

    #[inline(always)]
    fn digits(x: &[f32], step: usize, parts: usize) -> Option<Self> {
        let padded = (x.len() / BLOCK).next_multiple_of(step);
        let mut scale = vec![0.0; padded];
        let mut digits = vec![[0; 64]; padded / step * 2 * parts];
        let run = BLOCK / parts;
        let steps = x.chunks(step * BLOCK).zip(digits.chunks_exact_mut(2 * parts));
        for (s, (x, digits)) in steps.enumerate() {
            let (high, low) = digits.split_at_mut(parts);
            for (b, x) in x.as_chunks().0.iter().enumerate() {
                let (mut integers, mut digits) = ([0; BLOCK], [[0; BLOCK]; 2]);
                scale[s * step + b] = quantise(x, &mut integers)?;
                split(&integers, &mut digits);
                for part in 0..parts {
                    high[part][b * run..][..run].copy_from_slice(&digits[0][part * run..][..run]);
                    low[part][b * run..][..run].copy_from_slice(&digits[1][part * run..][..run]);
                }
            }
        }
        Some(Self { digits, scale, ..Self::default() })
    }

    #[inline(always)]
    fn two_bf16(x: &[f32]) -> Option<Self> {
        let mut digits = vec![[0; 64]; x.len().div_ceil(32) * 2];
        for (x, halves) in x.chunks(32).zip(digits.as_chunks_mut::<2>().0) {
            let mut padded = [0.0; 32];
            padded[..x.len()].copy_from_slice(x);
            // Below the first bound the second half would be a denormal, which the instruction reads as zero; above the
            // second the first half may be infinite.
            let fits = |x: &f32| *x == 0.0 || (SMALLEST..f32::MAX / 2.0).contains(&x.abs());
            if !padded.iter().fold(true, |all, x| all & fits(x)) {
                return None;
            }
            let mut bits = [[0_u16; 32]; 2];
            for (i, x) in padded.iter().enumerate() {
                bits[0][i] = bf16_bits(*x);
                bits[1][i] = bf16_bits(x - f32::from_bits(u32::from(bits[0][i]) << 16));
            }
            for (half, bits) in halves.iter_mut().zip(bits) {
                half.as_chunks_mut().0.iter_mut().zip(bits).for_each(|(half, bits)| *half = bits.to_le_bytes());
            }
        }
        Some(Self { digits, ..Self::default() })
    }
}

/// The nearest bf16 of a finite number, ties to even. Plain arithmetic, which the compiler turns into vectors.
#[inline(always)]
fn bf16_bits(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

/// Integers as high and low digits, base 128.
#[inline(always)]
fn split(integers: &[i16; BLOCK], [high, low]: &mut [[u8; BLOCK]; 2]) {
    for ((&v, high), low) in integers.iter().zip(high).zip(low) {
        let digit = (v + 64) >> 7;
        *high = digit as u8;
        *low = (v - (digit << 7)) as u8;
    }
}

/// Rounds a block to integers and returns their scale.
#[inline(always)]
fn quantise(x: &[f32; BLOCK], integers: &mut [i16; BLOCK]) -> Option<f32> {
    // Adding this leaves the nearest integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0; // 1.5 * 2^23
    // As integers, magnitudes compare as the numbers do, and NaN is the largest.
    let largest = f32::from_bits(x.iter().fold(0, |m, x| m.max(x.to_bits() & 0x7fff_ffff)));
    if largest == 0.0 {
        *integers = [0; BLOCK];
        return Some(0.0);
    }
    if !(SMALLEST..f32::INFINITY).contains(&largest) {
        return None;
    }
    let inverse = LEVELS / largest;
    for (integer, x) in integers.iter_mut().zip(x) {
        *integer = ((x * inverse + ROUND).to_bits() as i32 - ROUND.to_bits() as i32) as i16;
    }
    Some(largest / LEVELS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::synthetic::Random;

    fn vector(blocks: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::new(seed);
        // Blocks of very different size, as hidden states have.
        (0..blocks * BLOCK).map(|i| random.signed() * 10.0_f32.powi((i / BLOCK % 9) as i32 - 4)).collect()
    }

    fn largest(block: &[f32]) -> f64 {
        block.iter().fold(0.0, |m, x| x.abs().max(m)).into()
    }

    #[test]
    fn integers_stand_for_the_vector_within_half_a_step() {
        let x = vector(40, 1);
        let q = Input::new(&x, Form::Wide).unwrap().quantised;
        for (b, block) in x.chunks(BLOCK).enumerate() {
            for (x, &integer) in block.iter().zip(&q.wide[b * BLOCK..]) {
                let error = f64::from(q.scale[b]) * f64::from(integer) - f64::from(*x);
                assert!(error.abs() <= (ROUNDING + 1e-7) * largest(block), "{x}: {error}");
            }
        }
    }

    #[test]
    fn digits_are_the_integers_in_the_order_of_the_weights() {
        let x = vector(7, 2);
        let wide = Input::new(&x, Form::Wide).unwrap().quantised;
        for (step, parts) in [(2, 1), (4, 2)] {
            let q = Input::new(&x, Form::Digits { step, parts }).unwrap().quantised;
            let run = BLOCK / parts;
            for (i, &integer) in wide.wide.iter().enumerate() {
                let (block, part) = (i / BLOCK, i % BLOCK / run);
                let (vector, byte) = (block / step * 2 * parts + part, block % step * run + i % run);
                let digit = |vector: usize| i16::from(q.digits[vector][byte].cast_signed());
                assert_eq!(digit(vector) * 128 + digit(vector + parts), integer);
            }
            assert_eq!((q.scale.len(), q.scale[7]), (8, 0.0));
        }
    }

    #[test]
    #[inline(always)]
    fn two_bf16_add_up() {
        let x = vector(3, 3);
        let q = Input::new(&x[..75], Form::TwoBf16).unwrap().quantised;
        for (i, &x) in x[..75].iter().enumerate() {
            let half = |which: usize| {
                let bytes = &q.digits[i / 32 * 2 + which][i % 32 * 2..][..2];
                f64::from(half::bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32())
            };
            assert!((half(0) + half(1) - f64::from(x)).abs() <= f64::from(x.abs()) / f64::from(1 << 17));
        }
    }

    #[test]
    fn what_integers_cannot_hold_is_left_to_others() {
        for odd in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-38] {
            let mut x = vec![0.0; 64];
            x[40] = odd;
            for form in [Form::Wide, Form::Digits { step: 2, parts: 1 }, Form::TwoBf16] {
                assert!(Input::new(&x, form).is_none(), "{odd} in {form:?}");
            }
            assert!(Input::new(&x, Form::Plain).is_some());
        }
        assert!(Input::new(&[0.0; 64], Form::Wide).is_some());
    }
}
