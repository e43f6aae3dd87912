//! NaN, infinities, huge values and every quantised value, wherever they may stand.
//!
//! Denormals and outliers are among the random cases of `operators.rs` and `ffn.rs`.

#![allow(clippy::unwrap_used)]

mod support;

use half::{bf16, f16};
use kernels_cpu::{Activation, Cpu, Format, Gating, Isa, synthetic::Random};
use proptest::prelude::*;
use support::{
    cases::{Case, Layer, cases, gatings},
    kernels::{cpu, runnable_kernels},
    oracle::{self, dot, exact},
    some,
    weights::Spread,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Nan,
    Infinite { negative: bool },
    Finite,
}

fn classes(values: &[f32]) -> Vec<Class> {
    let class = |value: &f32| match value {
        value if value.is_nan() => Class::Nan,
        value if value.is_infinite() => Class::Infinite { negative: value.is_sign_negative() },
        _ => Class::Finite,
    };
    values.iter().map(class).collect()
}

/// What kind of number each operator gives, and how many activations counted.
struct Results {
    counted: usize,
    classes: [Vec<Class>; 4],
}

impl Results {
    /// Where the first difference lies.
    fn difference(&self, wanted: &Self) -> Option<String> {
        if self.counted != wanted.counted {
            return Some(format!("{} count, wanted {}", self.counted, wanted.counted));
        }
        let operators = ["gemv", "gate_up", "down", "ffn"].into_iter().zip(self.classes.iter().zip(&wanted.classes));
        operators.into_iter().find_map(|(operator, (got, wanted))| {
            let at = got.iter().zip(wanted).position(|(got, wanted)| got != wanted)?;
            Some(format!("{operator}[{at}] is {:?}, wanted {:?}", got[at], wanted[at]))
        })
    }
}

fn results(cpu: &Cpu, layer: &Layer, h: &[f32], activation: Activation, gating: Gating) -> Results {
    let (x, active) = (&layer.x, &layer.active);
    let (mut out, mut gated) = (vec![0.0; active.len()], vec![0.0; active.len()]);
    let (mut y, mut ffn_y) = (vec![0.0; x.len()], vec![0.0; x.len()]);
    cpu.gemv(&layer.gate.view(), x, active, &mut out).unwrap();
    cpu.gate_up(&layer.gate.view(), &layer.up.view(), activation, x, active, &mut gated).unwrap();
    cpu.down(&layer.down.view(), h, active, &mut y).unwrap();
    let counted = cpu.ffn(&layer.ffn(activation, gating), x, active, &mut ffn_y).unwrap();
    Results { counted, classes: [&out, &gated, &y, &ffn_y].map(|values| classes(values)) }
}

/// A case with something in it, of ordinary numbers: what is extreme is put there by hand.
fn plain_cases() -> impl Strategy<Value = Case> {
    let ordinary = |case: Case| Case {
        rows: case.rows + 1,
        blocks: case.blocks + 1,
        density: case.density.max(0.5),
        x: Spread::Even,
        weights: Spread::Even,
        ..case
    };
    cases().prop_map(ordinary)
}

fn poisons() -> impl Strategy<Value = f32> {
    prop_oneof![Just(f32::NAN), Just(f32::INFINITY), Just(f32::NEG_INFINITY)]
}

fn activations() -> impl Strategy<Value = Activation> {
    prop_oneof![Just(Activation::Relu), Just(Activation::Silu)]
}

proptest! {
    #![proptest_config(some(256))]

    #[test]
    fn one_extreme_input_does_what_it_does_to_the_specification(
        case in plain_cases(),
        activation in activations(),
        gating in gatings(),
        poison in poisons(),
        at: prop::sample::Index,
    ) {
        for tested in runnable_kernels() {
            let mut layer = case.layer(tested.format());
            let mut h = Random::new(!case.seed).vector(layer.active.len());
            let column = at.index(layer.x.len());
            layer.x[column] = poison;
            if !h.is_empty() {
                let neuron = at.index(h.len());
                h[neuron] = poison;
            }
            let wanted = results(cpu(Isa::Scalar, 1), &layer, &h, activation, gating);
            let got = results(tested.cpu(case.threads), &layer, &h, activation, gating);
            prop_assert_eq!(got.difference(&wanted), None, "{}: x[{}] = {}", tested, column, poison);
        }
    }

    // In quantised formats the weight is a block's scale, and with it the block; its weights and what they meet are
    // made positive, so that no two infinities of one sum differ in sign.
    #[test]
    fn one_extreme_weight_does_what_it_does_to_the_specification(
        case in plain_cases(),
        activation in activations(),
        poison in poisons(),
        row: prop::sample::Index,
        at: prop::sample::Index,
        which in 0..3_usize,
    ) {
        for tested in runnable_kernels() {
            let format = tested.format();
            let mut layer = case.layer(format);
            let h = Random::new(!case.seed).vector(layer.active.len());
            let block = at.index(layer.x.len() / format.block_len());
            let matrix = [&mut layer.gate, &mut layer.up, &mut layer.down].into_iter().nth(which).unwrap();
            let bytes = &mut matrix.row_mut(row.index(case.rows) as u32)[block * format.block_bytes()..];
            match format {
                Format::F32 => bytes[..4].copy_from_slice(&poison.to_le_bytes()),
                Format::Bf16 => bytes[..2].copy_from_slice(&bf16::from_f32(poison).to_le_bytes()),
                // A weight, or a block's scale.
                _ => bytes[..2].copy_from_slice(&f16::from_f32(poison).to_le_bytes()),
            }
            match format {
                // 1 to 127, and nibbles 9 to 15.
                Format::Q8_0 => bytes[2..34].iter_mut().for_each(|q| *q = (*q & 0x7f).max(1)),
                Format::Q4_0 => bytes[2..18].iter_mut().for_each(|pair| *pair |= 0x99),
                _ => {}
            }
            if format.block_len() > 1 {
                layer.x[block * 32..][..32].iter_mut().for_each(|x| *x = x.abs() + 0.25);
            }
            // Together: where the gate comes first, a finite gate near zero may fall on either side.
            let wanted = results(cpu(Isa::Scalar, 1), &layer, &h, activation, Gating::Together);
            let got = results(tested.cpu(case.threads), &layer, &h, activation, Gating::Together);
            prop_assert_eq!(got.difference(&wanted), None, "{}: {} in matrix {}", tested, poison, which);
        }
    }

    // Of a block that is infinite as a whole, some terms are plus, some minus infinity, some NaN: kernels may add them
    // up in any order, but never to a number.
    #[test]
    fn a_block_without_finite_scale_is_never_lost(case in plain_cases(), poison in poisons(), at: prop::sample::Index) {
        for tested in runnable_kernels().iter().filter(|tested| tested.format().block_len() > 1) {
            let mut layer = case.layer(tested.format());
            layer.active = (0..case.rows as u32).collect();
            let block = at.index(layer.x.len() / 32) * tested.format().block_bytes();
            layer.gate.row_mut(0)[block..][..2].copy_from_slice(&f16::from_f32(poison).to_le_bytes());
            let mut out = vec![0.0; case.rows];
            tested.cpu(case.threads).gemv(&layer.gate.view(), &layer.x, &layer.active, &mut out).unwrap();
            prop_assert!(!out[0].is_finite(), "{tested}: {}", out[0]);
            prop_assert!(!poison.is_nan() || out[0].is_nan(), "{tested}: {}", out[0]);
            prop_assert!(out[1..].iter().all(|out| out.is_finite()), "{tested}: {out:?}");
        }
    }

    // Sums of magnitudes reach half of the largest f32, or where weights are tiny an input is the largest: nothing on
    // the way may overflow.
    #[test]
    fn nothing_overflows_before_the_result_does(case in plain_cases(), tiny: bool) {
        let case = Case { weights: if tiny { Spread::Tiny } else { Spread::Even }, ..case };
        for tested in runnable_kernels() {
            let mut layer = case.layer(tested.format());
            let rows: Vec<_> = layer.active.iter().map(|&row| layer.gate.row(row)).collect();
            let terms = |row: &Vec<f32>| row.iter().zip(&layer.x).map(|(w, x)| f64::from((w * x).abs())).sum::<f64>();
            let sums = rows.iter().map(|row| 2.0 * terms(row));
            let largest = layer.x.iter().map(|x| f64::from(x.abs())).chain(sums).fold(1e-3, f64::max);
            let scale = f64::from(f32::MAX) / largest;
            layer.x.iter_mut().for_each(|x| *x = (f64::from(*x) * scale) as f32);
            let mut out = vec![f32::NAN; rows.len()];
            let cpu = tested.cpu(case.threads);
            cpu.gemv(&layer.gate.view(), &layer.x, &layer.active, &mut out).unwrap();
            for (row, &got) in rows.iter().zip(&out) {
                let want = dot(row, &layer.x, tested.kernel.input_rounding());
                prop_assert!(want.admits(got), "{tested}: {got}, wanted {want:?}");
            }

            // No weight is larger than 8.
            let h = vec![f32::MAX / 16.0 / rows.len().max(1) as f32; rows.len()];
            let zeros = vec![0.0; layer.x.len()];
            let mut y = zeros.clone();
            cpu.down(&layer.gate.view(), &h, &layer.active, &mut y).unwrap();
            let rounding = tested.hidden_rounding(tested.format());
            for (want, &got) in oracle::down(&zeros, &exact(&h), &layer.active, &layer.gate, rounding).iter().zip(&y) {
                prop_assert!(want.admits(got), "{tested}: {got}, wanted {want:?}");
            }
        }
    }
}

/// All 256 bytes of weights, so all q8_0 weights with -128 and all pairs of nibbles, each times one scale of every
/// kind, looked at one by one: an input that is zero but for one element shows a single weight.
#[test]
fn every_quantised_value_is_what_the_format_says() {
    let scales = [1.0, -0.375, 0.0, -0.0, 65504.0, -6.1e-5, 6e-8].map(f16::from_f32);
    for tested in runnable_kernels().iter().filter(|tested| tested.format().block_len() > 1) {
        let format = tested.format();
        let mut bytes = Vec::new();
        for scale in scales {
            for q in (0..=255).collect::<Vec<u8>>().chunks(format.block_bytes() - 2) {
                bytes.extend(scale.to_le_bytes());
                bytes.extend(q);
            }
        }
        let cols = bytes.len() / format.block_bytes() * 32;
        let row = format.decode_row(&bytes);
        let w = kernels_cpu::Matrix::new(format, 1, cols, &bytes).unwrap();
        let mut y = vec![0.0; cols];
        tested.cpu(1).down(&w, &[1.0], &[0], &mut y).unwrap();
        assert_eq!(y, row, "{tested}");
        // Miri takes minutes for all.
        for c in (0..cols).step_by(if cfg!(miri) { 997 } else { 1 }) {
            let mut x = vec![0.0; cols];
            x[c] = -2.0;
            let mut out = [f32::NAN];
            tested.cpu(1).gemv(&w, &x, &[0], &mut out).unwrap();
            let exactly = -2.0 * row[c];
            // The only element of its block that is not zero is the largest: it keeps all its bits but the last few.
            let close = (out[0] - exactly).abs() <= exactly.abs() * 1e-6;
            assert!(close, "{tested} column {c}: {}, wanted {exactly}", out[0]);
        }
    }
}

#[test]
fn activations_have_their_limits() {
    for activation in [Activation::Relu, Activation::Silu] {
        assert!(activation.apply(f32::NAN).is_nan());
        assert_eq!(activation.apply(f32::INFINITY), f32::INFINITY);
        assert_eq!([f32::NEG_INFINITY, -0.0, 0.0].map(|gate| activation.apply(gate)), [0.0; 3]);
        assert_eq!(activation.apply(f32::MAX), f32::MAX);
        assert!(activation.apply(f32::MIN).abs() < 1e-36 && activation.apply(-100.0).abs() < 1e-36);
    }
}
