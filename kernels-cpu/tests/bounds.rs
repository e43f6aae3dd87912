//! No operator touches a byte outside of what it was given: every slice ends, then starts, at a page without access.
//! Whoever does touch one ends this program with a segmentation fault.

#![cfg(all(unix, not(miri)))]
#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Activation, Ffn, FfnToken, Gating, Matrix};
use proptest::prelude::*;
use support::{
    bits,
    cases::{Case, cases, gatings},
    guarded::{Edge, Guarded},
    kernels::{Tested, runnable_kernels},
    some,
    weights::Weights,
};

/// All operators on one layer, everything at the guards; the bits must be those of the layer in ordinary memory.
fn stays_inside(tested: &Tested, case: &Case, edge: Edge, gating: Gating) {
    let layer = {
        let mut layer = case.layer(tested.format());
        // The rows beside the guards.
        for row in [0, case.rows as u32 - 1] {
            if let Err(at) = layer.active.binary_search(&row) {
                layer.active.insert(at, row);
            }
        }
        layer
    };
    let weights = [&layer.gate, &layer.up, &layer.down].map(|w| Guarded::new(edge, w.view().bytes()));
    let cols = layer.x.len();
    let matrix = |w: &Weights, bytes| Matrix::new(tested.format(), w.view().rows(), cols, bytes).unwrap();
    let [gate, up, down] = [&layer.gate, &layer.up, &layer.down];
    let inside = [matrix(gate, &weights[0]), matrix(up, &weights[1]), matrix(down, &weights[2])];
    let (x, active) = (Guarded::new(edge, &layer.x), Guarded::new(edge, &layer.active));
    let nan = |len: usize| Guarded::new(edge, &vec![f32::NAN; len]);

    let run = |[gate, up, down]: [Matrix<'_>; 3], x: &[f32], active: &[u32]| {
        let cpu = tested.cpu(case.threads);
        let (mut out, mut h, mut y, mut ffn_y) = (nan(active.len()), nan(active.len()), nan(cols), nan(cols));
        y.fill(0.0);
        cpu.gemv(&gate, x, active, &mut out).unwrap();
        cpu.gate_up(&gate, &up, Activation::Silu, x, active, &mut h).unwrap();
        cpu.down(&down, &h, active, &mut y).unwrap();
        let ffn = Ffn::new(gate, up, down, Activation::Silu, gating).unwrap();
        cpu.ffn(&ffn, x, active, &mut ffn_y).unwrap();
        let [mut first, mut second] = [nan(cols), nan(cols)];
        let mut tokens = [
            FfnToken { x, active, y: &mut first },
            FfnToken { x, active: &active[active.len() / 2..], y: &mut second },
        ];
        cpu.ffn_batch(&ffn, &mut tokens).unwrap();
        [&out, &h, &y, &ffn_y, &first, &second].map(|values| bits(values))
    };
    let wanted = run([gate, up, down].map(Weights::view), &layer.x, &layer.active);
    assert_eq!(run(inside, &x, &active), wanted, "{tested}");
    assert_eq!(tested.cpu(1).read_all(&weights[0]), tested.cpu(1).read_all(gate.view().bytes()), "{tested}");
}

proptest! {
    #![proptest_config(some(192))]

    #[test]
    fn nothing_is_touched_past_the_end(case in cases(), gating in gatings()) {
        let case = Case { rows: case.rows + 1, ..case };
        runnable_kernels().iter().for_each(|tested| stays_inside(tested, &case, Edge::End, gating));
    }

    #[test]
    fn nothing_is_touched_before_the_start(case in cases(), gating in gatings()) {
        let case = Case { rows: case.rows + 1, ..case };
        runnable_kernels().iter().for_each(|tested| stays_inside(tested, &case, Edge::Start, gating));
    }
}
