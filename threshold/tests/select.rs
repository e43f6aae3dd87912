//! The kernels against sorting and filtering.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::select::{Fault, Ranking, all, at_least};

/// Scores with many ties, both zeros, infinities, subnormals and both signs, in lengths around the block size.
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
        prop::collection::vec(score.clone(), 0..10),
        prop::collection::vec(score.clone(), 60..70),
        prop::collection::vec(score, 0..1000),
        (prop::sample::select(vec![0.0f32, -0.0, -3.5, f32::INFINITY]), 1usize..300)
            .prop_map(|(score, n)| vec![score; n]),
    ]
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

proptest! {
    #[test]
    fn at_least_keeps_what_is_not_below(scores in scores(), threshold: f32) {
        for threshold in scores.first().copied().into_iter().chain([threshold, 0.0, f32::NEG_INFINITY]) {
            let wanted: Vec<u32> =
                (0..scores.len() as u32).filter(|&i| scores[i as usize] >= threshold).collect();
            let mut active = poisoned();
            at_least(&scores, threshold, &mut active)?;
            prop_assert_eq!(&active, &wanted);
        }
    }

    #[test]
    fn top_k_is_what_sorting_gives(scores in scores(), share in 0.0f64..=1.0) {
        let mut ranking = Ranking::with_capacity(1);
        for k in [(share * scores.len() as f64) as usize, scores.len(), scores.len().min(1), 0] {
            let wanted = top_k_by_sorting(&scores, k);
            let mut active = poisoned();
            let lowest = ranking.top_k(&scores, k, &mut active)?;
            prop_assert_eq!(&active, &wanted);
            prop_assert_eq!(lowest, wanted.iter().map(|&i| scores[i as usize]).reduce(f32::min));
        }
    }

    #[test]
    fn the_cut_counts_its_ties(scores in scores(), share in 0.0f64..1.0) {
        prop_assume!(!scores.is_empty());
        let rank = 1 + (share * scores.len() as f64) as usize;
        let cut = Ranking::with_capacity(scores.len()).kth_largest(&scores, rank)?;
        let above = scores.iter().filter(|&&score| score > cut.score).count();
        prop_assert_eq!(cut.ties, scores.iter().filter(|&&score| score == cut.score).count());
        prop_assert_eq!(above + cut.ties_within, rank);
        prop_assert!((1..=cut.ties).contains(&cut.ties_within));
    }

    #[test]
    fn the_first_nan_is_named_and_nothing_is_selected(
        mut scores in prop::collection::vec(-1.0f32..1.0, 1..300),
        places in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
        negative: bool,
    ) {
        for place in &places {
            *place.get_mut(&mut scores) = if negative { -f32::NAN } else { f32::NAN };
        }
        let index = scores.iter().position(|score| score.is_nan()).unwrap();
        let fault = Fault::Nan { index };
        let mut ranking = Ranking::with_capacity(300);
        for k in [0, 1, scores.len()] {
            let mut active = poisoned();
            prop_assert_eq!(ranking.top_k(&scores, k, &mut active), Err(fault));
            prop_assert!(active.is_empty());
        }
        let mut active = poisoned();
        prop_assert_eq!(at_least(&scores, 0.0, &mut active), Err(fault));
        prop_assert!(active.is_empty());
        let mut active = poisoned();
        prop_assert_eq!(all(&scores, &mut active), Err(fault));
        prop_assert!(active.is_empty());
    }
}

#[test]
fn a_rank_that_does_not_exist_is_refused() {
    let mut ranking = Ranking::with_capacity(3);
    let mut active = poisoned();
    let fault = Err(Fault::Rank { rank: 4, scores: 3 });
    assert_eq!(ranking.top_k(&[1.0, 2.0, 3.0], 4, &mut active), fault);
    assert!(active.is_empty());
    assert!(ranking.kth_largest(&[1.0], 0).is_err());
    assert!(ranking.kth_largest(&[], 1).is_err());
}

#[test]
fn all_selects_all() {
    let mut active = poisoned();
    all(&[f32::NEG_INFINITY, 0.0, -1.0], &mut active).unwrap();
    assert_eq!(active, [0, 1, 2]);
}
