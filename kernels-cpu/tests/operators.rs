//! Every kernel of this processor against the f64 oracle, at odd sizes, addresses and thread counts, for inputs and
//! weights from denormals to outliers.

#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Activation, Cpu, Format, Isa, Kernel, Matrix, Operator, synthetic::Random};
use proptest::prelude::*;
use support::{
    cases::{activation, cases},
    kernels::{cpu, runnable_kernels},
    oracle::{self, Neuron, dot, exact},
    some,
    weights::numbers,
};

proptest! {
    #![proptest_config(some(512))]

    #[test]
    fn gemv_agrees_with_the_oracle(case in cases()) {
        for tested in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let w = case.weights(tested.format(), &mut random);
            let (x, active) = (case.input(tested.format(), &mut random), case.active(&mut random));
            let mut out = vec![f32::NAN; active.len()];
            tested.cpu(case.threads).gemv(&w.view(), &x, &active, &mut out).unwrap();
            for (&index, &got) in active.iter().zip(&out) {
                let want = dot(&w.row(index), &x, tested.kernel.input_rounding());
                prop_assert!(want.admits(got), "{tested} row {index}: {got}, wanted {want:?}");
            }
        }
    }

    #[test]
    fn gate_up_agrees_with_the_oracle(case in cases(), relu: bool) {
        let activation = activation(relu);
        for tested in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let [gate, up] = [0; 2].map(|_| case.weights(tested.format(), &mut random));
            let (x, active) = (case.input(tested.format(), &mut random), case.active(&mut random));
            let mut h = vec![f32::NAN; active.len()];
            tested.cpu(case.threads).gate_up(&gate.view(), &up.view(), activation, &x, &active, &mut h).unwrap();
            for (&index, &got) in active.iter().zip(&h) {
                let (gate, up) = (gate.row(index), up.row(index));
                let want = Neuron::new(&gate, &up, activation, &x, tested.kernel.input_rounding()).h;
                prop_assert!(want.admits(got), "{tested} row {index}: {got}, wanted {want:?}");
            }
        }
    }

    #[test]
    fn down_agrees_with_the_oracle(case in cases()) {
        for tested in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let w = case.weights(tested.format(), &mut random);
            let active = case.active(&mut random);
            let h = numbers(active.len(), case.x, &mut random);
            let before = random.vector(case.cols(tested.format()));
            let mut y = before.clone();
            tested.cpu(case.threads).down(&w.view(), &h, &active, &mut y).unwrap();
            let rounding = tested.hidden_rounding(tested.format());
            let wanted = oracle::down(&before, &exact(&h), &active, &w, rounding);
            for (c, (want, &got)) in wanted.iter().zip(&y).enumerate() {
                prop_assert!(want.admits(got), "{tested} column {c}: {got}, wanted {want:?}");
            }
        }
    }

    // Follows from the oracle; said once in so many words.
    #[test]
    fn instruction_sets_agree_within_the_sum_of_their_bounds(case in cases()) {
        for tested in runnable_kernels() {
            let mut random = Random::new(case.seed);
            let w = case.weights(tested.format(), &mut random);
            let (x, active) = (case.input(tested.format(), &mut random), case.active(&mut random));
            let result = |cpu: &Cpu| {
                let mut out = vec![f32::NAN; active.len()];
                cpu.gemv(&w.view(), &x, &active, &mut out).unwrap();
                out
            };
            let mine = (tested.kernel, result(tested.cpu(1)));
            for other in runnable_kernels().iter().filter(|other| other.format() == tested.format()) {
                let theirs = (other.kernel, result(other.cpu(1)));
                for (j, &index) in active.iter().enumerate() {
                    let row = w.row(index);
                    let bound = |kernel: &Kernel| dot(&row, &x, kernel.input_rounding()).error;
                    let apart = f64::from(mine.1[j]) - f64::from(theirs.1[j]);
                    let most = bound(mine.0) + bound(theirs.0);
                    prop_assert!(apart.abs() <= most, "{tested} and {other}, row {index}: {apart}");
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(some(96))]

    #[test]
    fn read_all_reads_every_byte(
        bytes in prop::collection::vec(any::<u8>(), 0..3000),
        at: prop::sample::Index,
        threads in 1..4_usize,
    ) {
        for isa in runnable_kernels().iter().map(|tested| tested.isa) {
            let mut changed = bytes.clone();
            if let Some(byte) = (!changed.is_empty()).then(|| at.index(changed.len())) {
                changed[byte] ^= 0x40;
                let cpu = cpu(isa, threads);
                prop_assert_ne!(cpu.read_all(&bytes), cpu.read_all(&changed), "{} misses byte {}", isa, byte);
            }
        }
    }
}

#[test]
fn nothing_to_do_is_fine() {
    for tested in runnable_kernels() {
        let empty = Matrix::new(tested.format(), 0, 0, &[]).unwrap();
        let cpu = tested.cpu(2);
        cpu.gemv(&empty, &[], &[], &mut []).unwrap();
        cpu.gate_up(&empty, &empty, Activation::Relu, &[], &[], &mut []).unwrap();
        cpu.down(&empty, &[], &[], &mut []).unwrap();
        assert_eq!(cpu.read_all(&[]), 0);
    }
}

#[test]
fn kernels_have_names() {
    for tested in runnable_kernels() {
        let name = format!("down/{}/{}", tested.kernel.isa(), tested.format());
        assert_eq!(tested.cpu(1).kernel(tested.format()).name(Operator::Down), name);
    }
}

#[test]
fn what_is_fastest_is_a_kernel_of_this_processor() {
    let cpu = Cpu::new().unwrap();
    for format in Format::ALL {
        let kernel = cpu.kernel(format);
        assert_eq!(kernel.format(), format);
        assert!(kernel.is_available(), "{kernel:?}");
        assert!(kernel.isa() <= cpu.isa(), "{kernel:?} on {}", cpu.isa());
    }
    if let Some(isa) = Isa::forced().unwrap() {
        assert_eq!(cpu.isa(), isa);
    }
}
