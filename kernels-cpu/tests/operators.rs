//! Every kernel of this processor against the f64 oracle, at odd sizes, addresses and thread counts.

mod support;

use kernels_cpu::{Activation, Cpu, Matrix, Operator, synthetic::Random};
use proptest::prelude::*;
use support::{Weights, dot, down, gate_up, random_active, runnable_kernels};

// Largest layer. Small for Miri, which takes a second over what a processor does in a microsecond.
const ROWS: usize = if cfg!(miri) { 12 } else { 67 };
const BLOCKS: usize = if cfg!(miri) { 3 } else { 40 };

/// What a layer can look like.
#[derive(Debug, Clone)]
struct Case {
    seed: u64,
    rows: usize,
    blocks: usize,
    odd: usize,
    density: f32,
    shift: usize,
    threads: usize,
}

impl Case {
    /// Columns: any number for plain formats, whole blocks for the others.
    fn cols(&self, block: usize) -> usize {
        self.blocks * 32 + if block == 1 { self.odd } else { 0 }
    }
}

fn cases() -> impl Strategy<Value = Case> {
    let density = prop_oneof![Just(0.0_f32), Just(1.0), 0.0..1.0_f32];
    (any::<u64>(), 0..ROWS, 0..BLOCKS, 0..32_usize, density, 0..64_usize, 1..4_usize).prop_map(
        |(seed, rows, blocks, odd, density, shift, threads)| Case { seed, rows, blocks, odd, density, shift, threads },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn gemv_agrees_with_the_oracle(case in cases()) {
        for kernel in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let cols = case.cols(kernel.format().block_len());
            let w = Weights::random(kernel.format(), case.rows, cols, case.shift, &mut random);
            let x = random.vector(cols);
            let active = random_active(case.rows, case.density, &mut random);
            let mut out = vec![f32::NAN; active.len()];
            Cpu::with(kernel.isa(), case.threads).unwrap().gemv(&w.view(), &x, &active, &mut out).unwrap();
            for (&index, &got) in active.iter().zip(&out) {
                let want = dot(&w.row(index), &x, kernel.input_rounding());
                prop_assert!(want.admits(got), "{} row {index}: {got}, wanted {want:?}", kernel.name(Operator::Gemv));
            }
        }
    }

    #[test]
    fn gate_up_agrees_with_the_oracle(case in cases(), relu: bool) {
        let activation = if relu { Activation::Relu } else { Activation::Silu };
        for kernel in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let cols = case.cols(kernel.format().block_len());
            let gate = Weights::random(kernel.format(), case.rows, cols, case.shift, &mut random);
            let up = Weights::random(kernel.format(), case.rows, cols, case.shift / 2, &mut random);
            let x = random.vector(cols);
            let active = random_active(case.rows, case.density, &mut random);
            let mut h = vec![f32::NAN; active.len()];
            let cpu = Cpu::with(kernel.isa(), case.threads).unwrap();
            cpu.gate_up(&gate.view(), &up.view(), activation, &x, &active, &mut h).unwrap();
            for (&index, &got) in active.iter().zip(&h) {
                let want = gate_up(&gate.row(index), &up.row(index), activation, &x, kernel.input_rounding());
                prop_assert!(want.admits(got), "{}/{} row {index}: {got}, wanted {want:?}", kernel.isa(), kernel.format());
            }
        }
    }

    #[test]
    fn down_agrees_with_the_oracle(case in cases()) {
        for kernel in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let cols = case.cols(kernel.format().block_len());
            let w = Weights::random(kernel.format(), case.rows, cols, case.shift, &mut random);
            let active = random_active(case.rows, case.density, &mut random);
            let h = random.vector(active.len());
            let before = random.vector(cols);
            let mut y = before.clone();
            Cpu::with(kernel.isa(), case.threads).unwrap().down(&w.view(), &h, &active, &mut y).unwrap();
            let rows: Vec<_> = active.iter().map(|&index| w.row(index)).collect();
            for (c, &got) in y.iter().enumerate() {
                let column: Vec<_> = h.iter().zip(&rows).map(|(&h, row)| (h, row[c])).collect();
                let want = down(before[c], &column);
                prop_assert!(want.admits(got), "{}/{} column {c}: {got}, wanted {want:?}", kernel.isa(), kernel.format());
            }
        }
    }

    #[test]
    fn results_do_not_depend_on_threads(case in cases()) {
        for kernel in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let cols = case.cols(kernel.format().block_len());
            let [gate, up, w_down] = [0; 3].map(|_| Weights::random(kernel.format(), case.rows, cols, case.shift, &mut random));
            let x = random.vector(cols);
            let active = random_active(case.rows, case.density, &mut random);
            let layer = |threads| {
                let cpu = Cpu::with(kernel.isa(), threads).unwrap();
                let (mut h, mut y) = (vec![f32::NAN; active.len()], vec![0.0; cols]);
                cpu.gate_up(&gate.view(), &up.view(), Activation::Silu, &x, &active, &mut h).unwrap();
                cpu.down(&w_down.view(), &h, &active, &mut y).unwrap();
                (bits(&h), bits(&y))
            };
            let one = layer(1);
            for threads in [2, 3, 7] {
                prop_assert_eq!(&layer(threads), &one, "{} threads of {}/{}", threads, kernel.isa(), kernel.format());
            }
        }
    }

    #[test]
    fn read_all_reads_every_byte(bytes in prop::collection::vec(any::<u8>(), 0..3000), at: prop::sample::Index, threads in 1..4_usize) {
        for isa in runnable_kernels().map(|k| k.isa()) {
            let cpu = Cpu::with(isa, threads).unwrap();
            let mut changed = bytes.clone();
            if let Some(byte) = (!changed.is_empty()).then(|| at.index(changed.len())) {
                changed[byte] ^= 0x40;
                prop_assert_ne!(cpu.read_all(&bytes), cpu.read_all(&changed), "{} misses byte {}", isa, byte);
            }
        }
    }
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn nothing_to_do_is_fine() {
    for kernel in runnable_kernels() {
        let empty = Matrix::new(kernel.format(), 0, 0, &[]).unwrap();
        let cpu = Cpu::with(kernel.isa(), 2).unwrap();
        cpu.gemv(&empty, &[], &[], &mut []).unwrap();
        cpu.gate_up(&empty, &empty, Activation::Relu, &[], &[], &mut []).unwrap();
        cpu.down(&empty, &[], &[], &mut []).unwrap();
        assert_eq!(cpu.read_all(&[]), 0);
    }
}

#[test]
fn infinities_and_nans_propagate() {
    for kernel in runnable_kernels() {
        let mut random = Random::new(3);
        let w = Weights::random(kernel.format(), 9, 64, 1, &mut random);
        let cpu = Cpu::with(kernel.isa(), 1).unwrap();
        let active: Vec<u32> = (0..9).collect();
        for poison in [f32::NAN, f32::INFINITY] {
            let mut x = random.vector(64);
            x[37] = poison;
            let mut h = vec![0.0; 9];
            cpu.gate_up(&w.view(), &w.view(), Activation::Relu, &x, &active, &mut h).unwrap();
            // With x infinite a gate may be minus infinity, and ReLU makes a rightful zero (times minus infinity: NaN).
            assert!(h.iter().all(|h| !h.is_finite()), "{}: {h:?}", kernel.isa());

            let mut coefficients = random.vector(9);
            coefficients[4] = poison;
            let mut y = vec![0.0; 64];
            cpu.down(&w.view(), &coefficients, &active, &mut y).unwrap();
            assert!(y.iter().all(|y| !y.is_finite()), "{}: {y:?}", kernel.isa());
        }
    }
}
