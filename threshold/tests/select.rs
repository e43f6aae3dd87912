//! The kernels of every instruction set against sorting, filtering and adding up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use proptest::prelude::*;
use support::runnable_kernels;
use threshold::select::{BUCKETS, Fault, Ranking, bucket, bucket_start};

/// Scores with many ties, both zeros, infinities, subnormals and both signs, in lengths around the widths of lanes,
/// blocks and samples.
fn scores() -> impl Strategy<Value = Vec<f32>> {
    let tied = prop::sample::select(vec![
        0.0,
        -0.0,
        1.0,
        -1.0,
        0.5,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE / 8.0,
        f32::MAX,
        f32::MIN,
    ]);
    let any = any::<f32>().prop_filter("NaN has its own test", |score| !score.is_nan());
    let score = prop_oneof![tied, any, -2.0f32..2.0];
    prop_oneof![
        prop::collection::vec(score.clone(), 0..70),
        prop::collection::vec(score, 0..1000),
        (prop::sample::select(vec![0.0f32, -0.0, -3.5, f32::INFINITY]), 1usize..300)
            .prop_map(|(score, n)| vec![score; n]),
        long_scores(),
    ]
}

/// Long enough to be sampled, and some that mislead a sample.
fn long_scores() -> impl Strategy<Value = Vec<f32>> {
    (1000usize..6000, 0usize..6, any::<u64>()).prop_map(|(n, kind, seed)| {
        let mut bits = seed | 1;
        let mut uniform = move || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (bits >> 40) as f32 / (1 << 24) as f32
        };
        let score = |i: usize| match kind {
            0 => (8.0 * uniform() - 4.0).exp(),
            // As of ReLU: more than half are equal.
            1 => (uniform() - 0.6).max(0.0),
            // Ascending: every piece of the sample is the lowest of its part.
            2 => i as f32 - 1000.0,
            // A period of the sample's stride.
            3 => (i % (n / 32)) as f32,
            4 => {
                if uniform() < 0.5 {
                    f32::INFINITY
                } else {
                    -1.0
                }
            }
            _ => (uniform() - 0.5) * 1e-40,
        };
        (0..n).map(score).collect()
    })
}

fn poisoned() -> Vec<u32> {
    vec![u32::MAX; 7]
}

/// The indices of the k largest, ties to the lowest index, by sorting. `partial_cmp` holds zeros equal.
fn top_k_by_sorting(scores: &[f32], k: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.sort_by(|&a, &b| scores[b as usize].partial_cmp(&scores[a as usize]).unwrap());
    order.truncate(k);
    order.sort_unstable();
    order
}

fn mass(score: f32) -> f64 {
    f64::from(score.max(0.0))
}

proptest! {
    #[test]
    fn at_least_keeps_what_is_not_below(scores in scores(), threshold: f32) {
        for threshold in scores.first().copied().into_iter().chain([threshold, 0.0, f32::NEG_INFINITY]) {
            let wanted: Vec<u32> =
                (0..scores.len() as u32).filter(|&i| scores[i as usize] >= threshold).collect();
            for kernels in runnable_kernels() {
                let mut active = poisoned();
                kernels.at_least(&scores, threshold, &mut active)?;
                prop_assert_eq!(&active, &wanted, "{:?}", kernels);
            }
        }
    }

    #[test]
    fn top_k_is_what_sorting_gives(scores in scores(), share in 0.0f64..=1.0) {
        for k in [(share * scores.len() as f64) as usize, scores.len(), scores.len().min(1), 0] {
            let wanted = top_k_by_sorting(&scores, k);
            for kernels in runnable_kernels() {
                let mut active = poisoned();
                let lowest = Ranking::with_capacity(kernels, 1).top_k(&scores, k, &mut active)?;
                prop_assert_eq!(&active, &wanted, "{:?}", kernels);
                prop_assert_eq!(lowest, wanted.iter().map(|&i| scores[i as usize]).reduce(f32::min), "{:?}", kernels);
            }
        }
    }

    #[test]
    fn the_cut_counts_its_ties(scores in scores(), share in 0.0f64..1.0) {
        prop_assume!(!scores.is_empty());
        let rank = 1 + (share * scores.len() as f64) as usize;
        for kernels in runnable_kernels() {
            let cut = Ranking::with_capacity(kernels, scores.len()).kth_largest(&scores, rank)?;
            let above = scores.iter().filter(|&&score| score > cut.score).count();
            prop_assert_eq!(cut.ties, scores.iter().filter(|&&score| score == cut.score).count(), "{:?} {:?} {}", kernels, cut, rank);
            prop_assert_eq!(above + cut.ties_within, rank);
            prop_assert!((1..=cut.ties).contains(&cut.ties_within));
            prop_assert!(cut.score.to_bits() != (-0.0f32).to_bits());
        }
    }

    /// The wanted mass is reached, and would not be without the lowest row; up to the rounding of f64 sums.
    #[test]
    fn top_p_takes_the_fewest_that_hold_the_mass(scores in scores(), share in 0.0f64..=1.0) {
        let total: f64 = scores.iter().copied().map(mass).sum();
        let rounding = scores.len() as f64 * f64::EPSILON * total;
        for kernels in runnable_kernels() {
            let mut active = poisoned();
            let lowest = Ranking::with_capacity(kernels, 1).top_p(&scores, share, &mut active)?;
            prop_assert_eq!(&active, &top_k_by_sorting(&scores, active.len()), "{:?}", kernels);
            let taken = |i: &u32| scores[*i as usize];
            let kept: f64 = active.iter().map(taken).map(mass).sum();
            if share == 0.0 || scores.is_empty() {
                prop_assert!(active.is_empty());
            } else if share == 1.0 || total == 0.0 {
                prop_assert_eq!((active.len(), lowest), (scores.len(), Some(f32::NEG_INFINITY)));
            } else if total == f64::INFINITY {
                prop_assert_eq!(active.len(), scores.iter().filter(|score| **score == f32::INFINITY).count());
            } else {
                let least = active.iter().map(taken).reduce(f32::min).unwrap();
                prop_assert_eq!(lowest, Some(least));
                prop_assert!(kept >= share * total - rounding, "{kernels:?}: {kept} of {total}");
                prop_assert!(kept - mass(least) < share * total + rounding, "{kernels:?}: {kept} of {total}");
            }
        }
    }

    #[test]
    fn a_quantile_is_not_exceeded_by_its_share(scores in scores(), share in 0.0f64..=1.0) {
        prop_assume!(!scores.is_empty());
        for kernels in runnable_kernels() {
            for share in [share, 0.0, 1.0] {
                let quantile = Ranking::with_capacity(kernels, 1).quantile(&scores, share)?;
                let n = scores.len() as f64;
                let up_to = scores.iter().filter(|&&score| score <= quantile).count() as f64;
                let below = scores.iter().filter(|&&score| score < quantile).count() as f64;
                prop_assert!(up_to >= (share * n).ceil() && below <= share * n, "{kernels:?} {share}");
            }
        }
    }

    #[test]
    fn moments_are_sums(scores in prop::collection::vec(-1e3f32..1e3, 0..300)) {
        let sum: f64 = scores.iter().map(|&score| f64::from(score)).sum();
        let squares: f64 = scores.iter().map(|&score| f64::from(score).powi(2)).sum();
        for kernels in runnable_kernels() {
            let found = kernels.moments(&scores)?;
            prop_assert!((found.sum - sum).abs() <= 1e-9 && (found.squares - squares).abs() <= 1e-6, "{kernels:?}");
            prop_assert_eq!(found.largest, scores.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        }
    }

    #[test]
    fn a_histogram_counts_each_score_in_its_bucket(scores in scores()) {
        let mut wanted = vec![1; BUCKETS];
        for &score in &scores {
            let bucket = bucket(score);
            wanted[bucket] += 1;
            prop_assert!(bucket_start(bucket) <= score);
            prop_assert!(bucket_start(bucket + 1) > score || score == f32::INFINITY);
        }
        for kernels in runnable_kernels() {
            let mut counts = [1; BUCKETS];
            kernels.histogram(&scores, &mut counts)?;
            prop_assert_eq!(counts.as_slice(), wanted.as_slice(), "{:?}", kernels);
        }
    }

    #[test]
    fn the_first_nan_is_named_and_nothing_is_selected(
        mut scores in prop_oneof![prop::collection::vec(-1.0f32..1.0, 1..300), long_scores()],
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        negative: bool,
        all: bool,
    ) {
        if all {
            scores.fill(f32::NAN);
        }
        for place in &places {
            *place.get_mut(&mut scores) = if negative { -f32::NAN } else { f32::NAN };
        }
        let index = scores.iter().position(|score| score.is_nan()).unwrap();
        let fault = Fault::Nan { index };
        for kernels in runnable_kernels() {
            let mut ranking = Ranking::with_capacity(kernels, 300);
            for k in [0, 1, scores.len()] {
                let mut active = poisoned();
                prop_assert_eq!(ranking.top_k(&scores, k, &mut active), Err(fault));
                prop_assert!(active.is_empty());
            }
            for share in [0.0, 0.5, 1.0] {
                let mut active = poisoned();
                prop_assert_eq!(ranking.top_p(&scores, share, &mut active), Err(fault));
                prop_assert!(active.is_empty());
            }
            prop_assert_eq!(ranking.kth_largest(&scores, 1), Err(fault));
            prop_assert_eq!(kernels.moments(&scores), Err(fault));
            prop_assert_eq!(kernels.histogram(&scores, &mut [0; BUCKETS]), Err(fault));
            for threshold in [0.0, f32::INFINITY] {
                let mut active = poisoned();
                prop_assert_eq!(kernels.at_least(&scores, threshold, &mut active), Err(fault));
                prop_assert!(active.is_empty());
            }
            let mut active = poisoned();
            prop_assert_eq!(kernels.all(&scores, &mut active), Err(fault));
            prop_assert!(active.is_empty());
        }
    }
}

#[test]
fn what_does_not_exist_is_refused() {
    for kernels in runnable_kernels() {
        let mut ranking = Ranking::with_capacity(kernels, 3);
        let mut active = poisoned();
        let fault = Err(Fault::Rank { rank: 4, scores: 3 });
        assert_eq!(ranking.top_k(&[1.0, 2.0, 3.0], 4, &mut active), fault);
        assert!(active.is_empty());
        assert!(ranking.kth_largest(&[1.0], 0).is_err());
        assert!(ranking.kth_largest(&[], 1).is_err());
        assert!(ranking.quantile(&[], 0.5).is_err());
        for share in [-0.1, 1.1, f64::NAN] {
            active = poisoned();
            assert!(matches!(ranking.top_p(&[1.0], share, &mut active), Err(Fault::Share { .. })));
            assert!(active.is_empty());
            assert!(matches!(ranking.quantile(&[1.0], share), Err(Fault::Share { .. })));
        }
    }
}

/// The middle of all keys is zero, which has two signs and one rank: a search that ends just below it must not take
/// its ties along.
#[test]
fn a_cut_just_below_zero_leaves_both_zeros_above() {
    for kernels in runnable_kernels() {
        for zeros in 0..20 {
            let score = |i: u8| if i >= zeros { -f32::from(i) } else { [0.0, -0.0][usize::from(i % 2)] };
            let scores: Vec<f32> = (0..40).map(score).collect();
            let mut active = poisoned();
            Ranking::with_capacity(kernels, 40).top_k(&scores, 20, &mut active).unwrap();
            assert_eq!(active, top_k_by_sorting(&scores, 20), "{kernels:?}, {zeros} zeros");
        }
    }
}

#[test]
fn all_selects_all() {
    for kernels in runnable_kernels() {
        let mut active = poisoned();
        kernels.all(&[f32::NEG_INFINITY, 0.0, -1.0], &mut active).unwrap();
        assert_eq!(active, [0, 1, 2]);
    }
}
