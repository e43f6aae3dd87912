//! Selection: the lists of every machine are exactly those of the plainest code.

use std::fmt;

use kernels_cuda::Error;
use proptest::{prelude::*, test_runner::TestRunner};

use crate::machine::{Machine, gpu};

/// Scores, a threshold for them and a number of them.
#[derive(Clone)]
struct Selection {
    scores: Vec<f32>,
    threshold: f32,
    k: usize,
}

/// The first scores: all of them are too long to read.
impl fmt::Debug for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scores, threshold, k } = self;
        let some = &scores[..scores.len().min(64)];
        write!(f, "threshold {threshold}, k {k}, {} scores: {some:?} ..", scores.len())
    }
}

fn plain_threshold(scores: &[f32], threshold: f32) -> Vec<u32> {
    (0..scores.len()).filter(|&i| scores[i] >= threshold).map(|i| i as u32).collect()
}

/// Sorted by score, then index; NaN below all else.
fn plain_top_k(scores: &[f32], k: usize) -> Vec<u32> {
    let rank = |i: u32| if scores[i as usize].is_nan() { f32::NEG_INFINITY } else { scores[i as usize] };
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    // Stable, so of equal scores the lowest index comes first.
    order.sort_by(|&a, &b| {
        let nan_last = scores[a as usize].is_nan().cmp(&scores[b as usize].is_nan());
        nan_last.then(rank(b).partial_cmp(&rank(a)).unwrap())
    });
    order.truncate(k);
    order.sort_unstable();
    order
}

fn selects_exactly(machine: &dyn Machine, s: &Selection) -> Result<(), TestCaseError> {
    let list = machine.select_threshold(&s.scores, s.threshold).map_err(TestCaseError::fail)?;
    prop_assert!(list == plain_threshold(&s.scores, s.threshold), "threshold {}: {} rows", s.threshold, list.len());
    let list = machine.select_top_k(&s.scores, s.k).map_err(TestCaseError::fail)?;
    prop_assert!(list == plain_top_k(&s.scores, s.k), "k {}: {} rows", s.k, list.len());
    Ok(())
}

/// Scores of every kind: spread wide, close together, nearly all tied, tied, and every bit pattern.
fn score() -> BoxedStrategy<BoxedStrategy<f32>> {
    let special = prop::sample::select(vec![
        0.0,
        -0.0,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE,
        f32::from_bits(1),
        -f32::from_bits(1),
        f32::MAX,
        f32::MIN,
        f32::NAN,
        -f32::NAN,
    ]);
    prop_oneof![
        Just((-4.0_f32..4.0).boxed()),
        Just((1.0_f32..1.000_1).boxed()),
        Just((0_u8..3).prop_map(f32::from).boxed()),
        Just(prop_oneof![4 => -1.0_f32..1.0, 1 => special.clone()].boxed()),
        Just(special.boxed()),
        Just(any::<u32>().prop_map(f32::from_bits).boxed()),
        (-2.0_f32..2.0).prop_map(|all| Just(all).boxed()),
    ]
    .boxed()
}

fn selection(sizes: impl Strategy<Value = usize> + 'static) -> impl Strategy<Value = Selection> {
    (sizes, score()).prop_flat_map(|(count, score)| {
        let k = prop_oneof![2 => Just(0), 2 => Just(count), 2 => Just(count.min(1)), 10 => 0..=count];
        // One of the scores, so that some equal it, or out of their reach.
        let threshold = prop_oneof![
            6 => score.clone(),
            1 => Just(f32::INFINITY),
            1 => Just(f32::NEG_INFINITY),
            1 => Just(f32::NAN),
            1 => Just(-0.0_f32),
        ];
        (prop::collection::vec(score, count), threshold, k).prop_map(|(scores, threshold, k)| Selection {
            scores,
            threshold,
            k,
        })
    })
}

fn small() -> impl Strategy<Value = usize> {
    prop_oneof![
        0_usize..=70,
        prop::sample::select(vec![127, 128, 129, 508, 511, 512, 513, 516, 1023, 1024, 1025, 4096, 5000])
    ]
}

/// Around the ends of a layer of a 70B model, of a tile of one block, and of what the warps of a cluster
/// hold in registers.
fn large() -> impl Strategy<Value = usize> {
    prop::sample::select(vec![28671_usize, 28672, 28673, 32764, 32768, 32769, 40000, 65536, 100_003])
}

fn check(machine: &dyn Machine, cases: u32, selections: &impl Strategy<Value = Selection>) {
    let config = ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 64, ..ProptestConfig::default() };
    TestRunner::new(config).run(selections, |s| selects_exactly(machine, &s)).unwrap();
}

/// What random scores seldom are: in order, either way, and one apart from all others.
fn selects_from_patterns(machine: &dyn Machine) {
    let patterns: [fn(usize) -> f32; 4] = [
        |i| i as f32,
        |i| -(i as f32),
        |i| if i == 28_671 { 1.0 } else { 0.0 },
        |i| if i == 0 { f32::NAN } else { -1.0 },
    ];
    for pattern in patterns {
        let scores: Vec<f32> = (0..28_672).map(pattern).collect();
        for k in [1, 2867, 28_672] {
            let s = Selection { threshold: scores[k - 1], scores: scores.clone(), k };
            selects_exactly(machine, &s).unwrap();
        }
    }
}

/// Of equal scores the first are taken, wherever the last of them lies among lanes, warps and blocks:
/// each warp of a cluster has 32 of these, each block 512.
fn cuts_ties_anywhere(machine: &dyn Machine) {
    const COUNT: usize = 4096;
    for tie in [0.5_f32, -0.5, -0.0, f32::NAN] {
        let scores: Vec<f32> = (0..COUNT)
            .map(|i| match i % 7 {
                0 => 1.0,
                1 if !tie.is_nan() => f32::NEG_INFINITY,
                2 if tie == 0.0 => 0.0,
                _ => tie,
            })
            .collect();
        let above = scores.iter().filter(|&&score| score == 1.0).count();
        for edge in [32, 512, 1024, 2048, 3584, COUNT - 1] {
            let ties_to_edge = (0..edge).filter(|i| i % 7 > 1).count();
            for k in [above + ties_to_edge - 1, above + ties_to_edge, above + ties_to_edge + 1] {
                let list = machine.select_top_k(&scores, k).unwrap();
                assert!(list == plain_top_k(&scores, k), "ties of {tie}, k {k}");
            }
        }
    }
}

#[cfg(emulated)]
mod emulated {
    use super::*;
    use kernels_cuda::emulated::{Emulator, Failure};

    const CLUSTER: Emulator = Emulator { multiprocessors: 1, order: 0, misaligned: false, hopper: true };
    /// Both kinds of kernels.
    const ASCENDING: [Emulator; 2] = [CLUSTER, Emulator { hopper: false, ..CLUSTER }];

    fn shuffled(order: u64) -> [Emulator; 2] {
        ASCENDING.map(|emulator| Emulator { order, ..emulator })
    }

    #[test]
    fn selection_is_exact() {
        for machine in ASCENDING {
            check(&machine, 48, &selection(small()));
            check(&machine, 8, &selection(large()));
        }
    }

    #[test]
    fn selection_is_exact_in_another_order_of_threads() {
        for machine in shuffled(0x5eed) {
            check(&machine, 24, &selection(small()));
            check(&machine, 4, &selection(large()));
        }
    }

    /// Warps and blocks that are late may be any.
    #[test]
    fn selection_is_exact_in_many_orders_of_threads() {
        let config = ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() };
        let cases = (1_u64.., selection(prop::sample::select(vec![300_usize, 4096, 28672, 33000])));
        let run = |(order, s)| shuffled(order).iter().try_for_each(|machine| selects_exactly(machine, &s));
        TestRunner::new(config).run(&cases, run).unwrap();
    }

    #[test]
    fn selection_is_exact_on_misaligned_memory() {
        for machine in ASCENDING.map(|emulator| Emulator { misaligned: true, ..emulator }) {
            check(&machine, 16, &selection(small()));
            check(&machine, 4, &selection(large()));
        }
    }

    #[test]
    fn selection_is_exact_on_patterns() {
        for machine in ASCENDING {
            selects_from_patterns(&machine);
            cuts_ties_anywhere(&machine);
        }
    }

    #[test]
    fn selection_is_exact_of_as_many_scores_as_may_be() {
        for machine in ASCENDING {
            check(&machine, 1, &selection(Just(1 << 20)));
        }
    }

    #[test]
    fn too_many_scores_are_refused() {
        let scores = vec![0.0; (1 << 20) + 1];
        let refused = Error::TooManyScores { given: (1 << 20) + 1, most: 1 << 20 };
        assert_eq!(CLUSTER.select_threshold(&scores, 0.0), Err(Failure::Refused(refused.clone())));
        assert_eq!(CLUSTER.select_top_k(&scores, 1), Err(Failure::Refused(refused)));
    }

    #[test]
    fn a_rank_beyond_the_scores_is_refused() {
        let refused = Error::Rank { k: 3, scores: 2 };
        assert_eq!(CLUSTER.select_top_k(&[1.0, 2.0], 3), Err(Failure::Refused(refused)));
    }
}

mod native {
    use super::*;
    use kernels_cuda::{Activation, Format};

    #[test]
    fn selection_is_exact() {
        let Some(gpu) = gpu() else { return };
        check(&*gpu, 256, &selection(small()));
        check(&*gpu, 64, &selection(large()));
        check(&*gpu, 4, &selection(Just(1 << 20)));
        selects_from_patterns(&*gpu);
        cuts_ties_anywhere(&*gpu);
    }

    /// Launch after launch, with nothing in between.
    #[test]
    fn selection_repeats_to_the_bit() {
        let Some(gpu) = gpu() else { return };
        let values: Vec<f32> =
            (0..28_672_u32).map(|i| f32::from_bits(i.wrapping_mul(0x9e37_79b9) & 0xbfff_ffff)).collect();
        let scores = gpu.upload_vector(&values).unwrap();
        let (k, threshold) = (gpu.upload_count(2867).unwrap(), gpu.upload_vector(&[0.5]).unwrap());
        let lists = || -> Vec<_> { (0..64).map(|_| gpu.active_set(values.len()).unwrap()).collect() };
        let (mut largest, mut reaching) = (lists(), lists());
        for (largest, reaching) in largest.iter_mut().zip(&mut reaching) {
            gpu.select_top_k_on_device(&scores, &k, largest).unwrap();
            gpu.select_threshold_on_device(&scores, &threshold, reaching).unwrap();
        }
        let (top, over) = (plain_top_k(&values, 2867), plain_threshold(&values, 0.5));
        for (largest, reaching) in largest.iter().zip(&reaching) {
            assert!(gpu.download_active(largest).unwrap() == top);
            assert!(gpu.download_active(reaching).unwrap() == over);
        }
    }

    /// The operators take a list that no host has seen.
    #[test]
    fn operators_take_a_selected_list() {
        let Some(gpu) = gpu() else { return };
        let weights: Vec<u8> = (0..4 * 4).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let w = gpu.upload(Format::F32, 4, 4, &weights).unwrap();
        let scores = gpu.upload_vector(&[0.5, -1.0, 2.0, 0.0]).unwrap();
        let mut active = gpu.active_set(4).unwrap();
        assert_eq!(gpu.download_active(&active).unwrap(), []);
        gpu.select_top_k_on_device(&scores, &gpu.upload_count(9).unwrap(), &mut active).unwrap();
        assert_eq!(gpu.download_active(&active).unwrap(), [0, 1, 2, 3]);
        gpu.select_threshold_on_device(&scores, &gpu.upload_vector(&[0.5]).unwrap(), &mut active).unwrap();
        assert_eq!(gpu.download_active(&active).unwrap(), [0, 2]);

        let x = gpu.upload_vector(&[1.0, -2.0, 3.0, 0.5]).unwrap();
        let mut h = gpu.zeros(active.len()).unwrap();
        gpu.gate_up_on_device(&w, &w, Activation::Relu, &x, &active, &mut h).unwrap();
        let mut y = gpu.zeros(4).unwrap();
        gpu.down_on_device(&w, &h, &active, &mut y).unwrap();

        let mut wanted_h = [0.0; 2];
        gpu.gate_up(&w, &w, Activation::Relu, &[1.0, -2.0, 3.0, 0.5], &[0, 2], &mut wanted_h).unwrap();
        let mut wanted_y = [0.0; 4];
        gpu.down(&w, &wanted_h, &[0, 2], &mut wanted_y).unwrap();
        let (mut got_h, mut got_y) = ([0.0; 4], [0.0; 4]);
        gpu.download(&h, &mut got_h).unwrap();
        gpu.download(&y, &mut got_y).unwrap();
        assert_eq!((got_h, got_y), ([wanted_h[0], wanted_h[1], 0.0, 0.0], wanted_y));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        let Some(gpu) = gpu() else { return };
        let scores = gpu.zeros(4).unwrap();
        let (one, two) = (gpu.zeros(1).unwrap(), gpu.zeros(2).unwrap());
        let mut active = gpu.active_set(4).unwrap();
        let length = |operand, given, wanted| Err(Error::Length { operand, given, wanted });
        assert_eq!(gpu.select_threshold_on_device(&scores, &two, &mut active), length("threshold", 2, 1));
        assert_eq!(
            gpu.select_threshold_on_device(&scores, &one, &mut gpu.active_set(3).unwrap()),
            length("active", 3, 4)
        );

        let w = gpu.upload(Format::F32, 3, 4, &[0; 48]).unwrap();
        let mut out = gpu.zeros(4).unwrap();
        let few = gpu.gemv_on_device(&w, &scores, &active, &mut out);
        assert_eq!(few, Err(Error::TooFewRows { neurons: 4, rows: 3 }));
    }
}
