//! Sign bits and gate first against their definitions, in every instruction set of this processor.

#![allow(clippy::unwrap_used)]

use kernels_cpu::{Cpu, Format, Isa, Matrix, synthetic::Random};
use predictor::{Cost, Error, GateFirst, SignBits};
use proptest::prelude::*;

fn encoded(format: Format, rows: usize, cols: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..rows).for_each(|_| format.encode(&random.vector(cols), &mut bytes).unwrap());
    bytes
}

/// Instruction sets to try: the one that is forced, or all there are.
fn isas() -> Vec<Isa> {
    match Isa::forced().unwrap() {
        Some(isa) => vec![isa],
        None => Isa::ALL.into_iter().filter(|isa| isa.is_available()).collect(),
    }
}

proptest! {
    #[test]
    fn sign_bits_count_signs(seed: u64, rows in 1..40_usize, cols in 1..1400_usize, threads in 1..4_usize) {
        let mut random = Random::new(seed);
        let bytes = encoded(Format::F32, rows, cols, &mut random);
        let gate = Matrix::new(Format::F32, rows, cols, &bytes).unwrap();
        let mut x = random.vector(cols);
        // Zeros of either sign are not negative.
        x[0] = -0.0;
        let wanted: Vec<f32> = (0..rows)
            .map(|row| {
                let weights = Format::F32.decode_row(gate.row(row).unwrap());
                let alike = |(w, x): (&f32, &f32)| if (*w < 0.0) == (*x < 0.0) { 1.0 } else { -1.0 };
                weights.iter().zip(&x).map(alike).sum()
            })
            .collect();
        for isa in isas() {
            let cpu = Cpu::with(isa, threads).unwrap();
            let mut scores = vec![f32::NAN; rows];
            SignBits::of(&gate).scores(&cpu, &x, &mut scores).unwrap();
            prop_assert_eq!(&scores, &wanted, "{}", isa);
        }
    }

    #[test]
    fn gate_first_is_the_gate(seed: u64, rows in 1..40_usize, blocks in 1..5_usize) {
        let mut random = Random::new(seed);
        for format in Format::ALL {
            let cols = 32 * blocks;
            let bytes = encoded(format, rows, cols, &mut random);
            let gate = Matrix::new(format, rows, cols, &bytes).unwrap();
            let x = random.vector(cols);
            let mut scores = vec![f32::NAN; rows];
            let cpu = Cpu::with(Isa::from_env().unwrap(), 1).unwrap();
            GateFirst::new(gate).scores(&cpu, &x, &mut scores).unwrap();
            for (row, &score) in scores.iter().enumerate() {
                let weights = format.decode_row(gate.row(row).unwrap());
                let products = weights.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x));
                let (sum, size) = products.fold((0.0, 0.0), |(s, m), p| (s + p, m + p.abs()));
                // bf16 kernels split x in two, which leaves 2^-16 of it; others are closer.
                prop_assert!((f64::from(score) - sum).abs() <= 1e-4 * size + 1e-30, "{}: {} {}", format, score, sum);
            }
        }
    }
}

#[test]
fn a_bit_a_weight_at_70b() {
    let (neurons, hidden) = (28672, 8192);
    let bytes = vec![0; neurons * hidden / 32 * 18];
    let gate = Matrix::new(Format::Q4_0, neurons, hidden, &bytes).unwrap();
    let cost = Cost { parameters: neurons * hidden, bytes: neurons * hidden / 8 };
    assert_eq!(SignBits::of(&gate).cost(), cost);
    assert_eq!(GateFirst::new(gate).cost(), Cost { bytes: bytes.len(), ..cost });
}

#[test]
fn what_does_not_fit_is_refused() {
    let bytes = [0; 24];
    let mut signs = SignBits::of(&Matrix::new(Format::F32, 2, 3, &bytes).unwrap());
    let cpu = Cpu::with_threads(1).unwrap();
    assert!(matches!(signs.scores(&cpu, &[0.0; 2], &mut [0.0; 2]), Err(Error::Kernel(_))));
    assert!(matches!(signs.scores(&cpu, &[0.0; 3], &mut [0.0; 3]), Err(Error::Kernel(_))));
    assert!(matches!(signs.scores(&cpu, &[0.0, f32::NAN, 0.0], &mut [0.0; 2]), Err(Error::Input { index: 1, .. })));
}
