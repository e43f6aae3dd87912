//! No operator touches a byte outside of what it was given: every slice ends, then starts, at a page without access.
//! Nor does any read a row that it was not told to. Whoever does ends this program with a segmentation fault.

#![cfg(all(unix, not(miri)))]
#![allow(clippy::unwrap_used)]

mod support;

use kernels_cpu::{Activation, Ffn, FfnToken, Gating, Matrix};
use proptest::prelude::*;
use support::{
    bits,
    cases::{Case, cases, gatings},
    guarded::{Edge, Guarded, PAGE},
    kernels::{Tested, runnable_kernels},
    oracle::{Counts, Neuron},
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

/// The rows of `w`, each on pages of its own; those that are not in `readable` without access.
fn on_pages(w: &Weights, readable: &[u32]) -> (usize, Guarded<u8>) {
    let stride = w.row_bytes().next_multiple_of(PAGE);
    let mut bytes = Vec::new();
    for row in 0..w.view().rows() {
        bytes.resize(row * stride, 0xff);
        bytes.extend(w.view().row(row).unwrap());
    }
    let mut guarded = Guarded::new(Edge::Start, &bytes);
    for row in (0..w.view().rows()).filter(|&row| readable.binary_search(&(row as u32)).is_err()) {
        guarded.forbid(row * stride..row * stride + w.row_bytes());
    }
    (stride, guarded)
}

proptest! {
    #![proptest_config(some(64))]

    /// Not even to throw the result away. Where the gate comes first that goes for the up and down rows of all neurons
    /// whose activation surely does not count.
    #[test]
    fn rows_that_are_not_active_are_never_read(case in cases(), gating in gatings()) {
        let case = Case { blocks: case.blocks + 1, ..case };
        for tested in runnable_kernels() {
            let layer = case.layer(tested.format());
            let counts = |&row: &u32| match gating {
                Gating::Together => true,
                Gating::First { threshold } => {
                    let (gate, up, rounding) = (layer.gate.row(row), layer.up.row(row), tested.kernel.input_rounding());
                    Neuron::new(&gate, &up, Activation::Relu, &layer.x, rounding).counts(threshold) != Counts::No
                }
            };
            let kept: Vec<u32> = layer.active.iter().copied().filter(counts).collect();
            let pages =
                [(&layer.gate, &layer.active), (&layer.up, &kept), (&layer.down, &kept)].map(|(w, rows)| on_pages(w, rows));
            let [gate, up, down] = pages.each_ref().map(|(stride, bytes)| {
                Matrix::strided(tested.format(), case.rows, layer.x.len(), *stride, bytes).unwrap()
            });
            let run = |ffn: &Ffn<'_>| {
                let mut y = vec![f32::NAN; layer.x.len()];
                tested.cpu(case.threads).ffn(ffn, &layer.x, &layer.active, &mut y).unwrap();
                bits(&y)
            };
            let ffn = Ffn::new(gate, up, down, Activation::Relu, gating).unwrap();
            prop_assert_eq!(run(&ffn), run(&layer.ffn(Activation::Relu, gating)), "{}", tested);
        }
    }
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
