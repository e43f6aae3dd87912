//! Results are the same, bit for bit, for any number of threads, inside and outside of a session, and run after run.

#![allow(clippy::unwrap_used)]

mod support;

use half::f16;
use kernels_cpu::{Activation, Cpu, Format, Gating, Matrix, synthetic::Random};
use proptest::prelude::*;
use support::{
    bits,
    cases::{Case, Layer, cases},
    kernels::runnable_kernels,
    some,
    weights::{Spread, numbers},
};

/// Every operator's results, and how many neurons the gate let through.
fn results(cpu: &Cpu, layer: &Layer) -> (usize, [Vec<u32>; 5]) {
    let [gate, up, down]: [Matrix<'_>; 3] = [layer.gate.view(), layer.up.view(), layer.down.view()];
    let (x, active) = (&layer.x, &layer.active);
    let [mut out, mut h] = [0; 2].map(|_| vec![f32::NAN; active.len()]);
    let [mut y, mut together, mut first] = [0.0, f32::NAN, f32::NAN].map(|before| vec![before; x.len()]);
    cpu.gemv(&gate, x, active, &mut out).unwrap();
    cpu.gate_up(&gate, &up, Activation::Silu, x, active, &mut h).unwrap();
    cpu.down(&down, &h, active, &mut y).unwrap();
    cpu.ffn(&layer.ffn(Activation::Silu, Gating::Together), x, active, &mut together).unwrap();
    let gating = Gating::First { threshold: 0.1 };
    let counted = cpu.ffn(&layer.ffn(Activation::Silu, gating), x, active, &mut first).unwrap();
    (counted, [&out, &h, &y, &together, &first].map(|values| bits(values)))
}

proptest! {
    #![proptest_config(some(16))]

    #[test]
    fn results_do_not_depend_on_threads(
        case in cases(),
        more_rows in 0..if cfg!(miri) { 4 } else { 100_usize },
        at: prop::sample::Index,
        extreme in prop_oneof![Just(None), Just(Some(f16::INFINITY)), Just(Some(f16::NAN))],
    ) {
        // Enough rows and columns for several tasks.
        let case = Case { rows: case.rows + more_rows, blocks: case.blocks + if cfg!(miri) { 2 } else { 4 }, ..case };
        for tested in runnable_kernels() {
            let mut layer = case.layer(tested.format());
            if let Some(extreme) = extreme.filter(|_| case.rows > 0) {
                // A weight, a scale or half a weight: kernels may go another way, but only beside it.
                let row = layer.down.row_mut(at.index(case.rows) as u32);
                let block = at.index(row.len() / tested.format().block_bytes()) * tested.format().block_bytes();
                row[block..][..2].copy_from_slice(&extreme.to_le_bytes());
            }
            let one = results(tested.cpu(1), &layer);
            for threads in [1, 2, 3, 5] {
                let cpu = tested.cpu(threads);
                prop_assert_eq!(&results(cpu, &layer), &one, "{} on {} threads", tested, threads);
                prop_assert_eq!(&cpu.install(|| results(cpu, &layer)), &one, "{} in a session of {}", tested, threads);
            }
        }
    }

    /// Lists that fall into as many pieces as any: pieces that met in one sum would meet in another order now and then.
    /// How a list falls does not depend on the format.
    #[test]
    fn pieces_of_long_lists_meet_in_one_order(
        case in cases(),
        (rows, blocks) in if cfg!(miri) { (8..12_usize, 1..2_usize) } else { (1000..1500_usize, 4..9_usize) },
    ) {
        let case = Case { rows, blocks, density: 1.0, x: Spread::Even, weights: Spread::Even, ..case };
        for tested in runnable_kernels().iter().filter(|tested| tested.format() == Format::F32) {
            let layer = case.layer(tested.format());
            let h = numbers(layer.active.len(), Spread::Even, &mut Random::new(case.seed));
            let sum = |cpu: &Cpu| {
                let mut y = vec![0.0; layer.x.len()];
                cpu.down(&layer.down.view(), &h, &layer.active, &mut y).map(|()| bits(&y))
            };
            let one = sum(tested.cpu(1)).unwrap();
            for threads in [2, 3, 5] {
                let cpu = tested.cpu(threads);
                for _ in 0..8 {
                    let again = cpu.install(|| sum(cpu)).unwrap();
                    prop_assert_eq!(&again, &one, "{} on {} threads", tested, threads);
                }
            }
        }
    }
}
