//! Peers compute what ours compute: a broken one would be fast.

#![allow(clippy::unwrap_used)]

use std::io::{Write, stderr};

use bench_suite::peers::{DenseFfn, Layout, all, check};
use kernels_cpu::{Cpu, Format, Isa, Matrix, synthetic::OwnedMatrix};

#[test]
fn every_peer_of_this_build_agrees_with_ours() {
    let peers = all();
    if peers.is_empty() {
        // Past the test harness, which keeps to itself what a passing test prints.
        let _ = writeln!(stderr(), "skipped: peers, none of which is in this build; --features peers builds them");
    }
    for peer in peers {
        for threads in [1, 3] {
            let cpu = Cpu::with(Isa::best(), threads).unwrap();
            for &format in peer.formats() {
                check(peer.as_ref(), format, &cpu).unwrap();
            }
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let weights = OwnedMatrix::random(Format::F32, 64, 32, 1).unwrap();
    let weights = weights.view().unwrap();
    let turned = Matrix::new(Format::F32, 32, 64, weights.bytes()).unwrap();
    let layouts = [Layout::RowPerOutput, Layout::RowPerInput];
    let error = DenseFfn::new(layouts[0], [weights; 3]).unwrap_err();
    assert!(error.message.contains("turned"), "{}", error.message);
    // An odd address, where no f32 may lie.
    let odd = Matrix::new(Format::F32, 16, 16, &weights.bytes()[1..][..4 * 16 * 16]).unwrap();
    for (peer, layout) in all().iter().flat_map(|peer| layouts.map(|layout| (peer, layout))) {
        let gate_and_down = if layout == Layout::RowPerOutput { [weights, turned] } else { [turned, weights] };
        let [gate, down] = gate_and_down;
        let ffn = DenseFfn::new(layout, [gate, gate, down]).unwrap();
        if !peer.formats().contains(&Format::F32) || peer.layout() != layout {
            assert!(peer.ffn(ffn, 1).is_err());
            continue;
        }
        let mut run = peer.ffn(ffn, 1).unwrap();
        assert!(run(&[0.0; 31], &mut [0.0; 32]).is_err());
        assert!(run(&[0.0; 32], &mut [0.0; 33]).is_err());
        run(&[0.0; 32], &mut [0.0; 32]).unwrap();

        let odd = DenseFfn::new(layout, [odd; 3]).unwrap();
        let refused = peer.ffn(odd, 1).and_then(|mut run| run(&[0.0; 16], &mut [0.0; 16]));
        assert!(refused.unwrap_err().message.contains("aligned"), "{}", peer.name());
    }
}
