//! Comparisons: goals are met, figures are what they say, intervals hold what they should.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use threshold::comparison::{Goal, Kind, Source, Synthetic, bootstrap, compare, run};
use threshold::{AuditedPolicy, Error, Inputs, Knobs, PolicySpec, QuantileTable, Shape};

fn synthetic(seed: u64) -> Synthetic {
    let table = QuantileTable::new(&[0.5, 0.9, 0.95], &[0.1, 0.4, 0.6, 1.0, 1.3, 1.4, 0.2, 0.3, 2.0]).unwrap();
    let knobs = Knobs { seed, prompt_tokens: 8, predictor_noise: 0.3, ..Knobs::default() };
    Synthetic::new(table, 500, knobs, 12).unwrap()
}

fn all_at(goal: Goal) -> Vec<threshold::comparison::Outcome> {
    let mut source = synthetic(1);
    let calibration = source.calibration().unwrap();
    compare(&mut source, &Kind::ALL, goal, &calibration, &|| Duration::ZERO, &mut || ()).unwrap()
}

#[test]
fn every_kind_meets_a_density() {
    for (kind, outcome) in Kind::ALL.into_iter().zip(all_at(Goal::Density(0.2))) {
        let density = outcome.figures().density;
        assert!((density / 0.2 - 1.0).abs() < 0.01, "{kind}: {density}");
        assert_eq!(outcome.figures().audited > 0.0, kind.is_closed_loop() && kind != Kind::Budget, "{kind}");
        assert!(outcome.spec().unwrap().to_string().starts_with(kind.to_string().split(',').next().unwrap()), "{kind}");
    }
}

#[test]
fn every_kind_meets_a_miss() {
    for (kind, outcome) in Kind::ALL.into_iter().zip(all_at(Goal::Miss(0.2))) {
        let miss = outcome.figures().miss;
        // Shares are dealt out in steps.
        assert!((miss / 0.2 - 1.0).abs() < 0.02, "{kind}: {miss}");
    }
}

/// Of policies that see the same scores, none misses less than the true masses allow.
#[test]
fn no_worst_layer_is_better_than_the_oracles() {
    let outcomes = all_at(Goal::Density(0.2));
    let oracle = outcomes.last().unwrap().figures();
    for (kind, outcome) in Kind::ALL.into_iter().zip(&outcomes) {
        assert!(outcome.figures().worst_layer > 0.97 * oracle.worst_layer, "{kind}");
    }
}

/// Given tokens: one layer of four neurons each, a miss for each under `top-k:density=0.5`.
struct Given {
    prompts: Vec<usize>,
    misses: Vec<f32>,
    at: usize,
}

impl Source for Given {
    fn shape(&self) -> Shape {
        Shape::new(1, 4).unwrap()
    }

    fn prompts(&self) -> Vec<usize> {
        self.prompts.clone()
    }

    fn silent_cost(&self) -> f64 {
        1.0
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.at = 0;
        Ok(())
    }

    fn next(&mut self, _layer: usize, scores: &mut [f32], masses: &mut [f32]) -> Result<(), Error> {
        let miss = self.misses[self.at];
        self.at += 1;
        scores.copy_from_slice(&[4.0, 3.0, 2.0, 1.0]);
        masses.copy_from_slice(&[1.0 - miss, 0.0, miss, 0.0]);
        Ok(())
    }
}

fn half(source: &mut Given) -> threshold::comparison::Outcome {
    let spec: PolicySpec = "top-k:density=0.50".parse().unwrap();
    let policy = spec.build(source.shape(), &Inputs::default()).unwrap();
    let ticks = Cell::new(0);
    let clock = || {
        ticks.set(ticks.get() + 1);
        Duration::from_micros(ticks.get())
    };
    run(source, &mut [AuditedPolicy::new(policy).unwrap()], &clock).unwrap().remove(0)
}

proptest! {
    #[test]
    fn figures_are_means_and_nearest_ranks(
        prompts in prop::collection::vec(prop::collection::vec(0.0f32..=1.0, 1..40), 1..6),
    ) {
        let lengths = prompts.iter().map(Vec::len).collect();
        let mut misses = prompts.concat();
        let outcome = half(&mut Given { prompts: lengths, misses: misses.clone(), at: 0 });
        let figures = outcome.figures();
        misses.sort_by(f32::total_cmp);
        let mean = misses.iter().map(|&miss| f64::from(miss)).sum::<f64>() / misses.len() as f64;
        let rank = (0.99 * misses.len() as f64).ceil() as usize - 1;
        prop_assert!((figures.miss - mean).abs() < 1e-6);
        prop_assert!((figures.worst_layer - mean).abs() < 1e-6);
        prop_assert!((figures.p99_token - f64::from(misses[rank])).abs() < 1e-6);
        prop_assert_eq!((figures.density, figures.jitter, figures.audited), (0.5, 1.0, 0.0));
        prop_assert_eq!(outcome.selection_time(), Duration::from_micros(1));
        prop_assert_eq!(outcome.prompts(), prompts.len());
    }

    /// An outcome does not differ from itself, and one that misses a tenth more everywhere is sure to.
    #[test]
    fn differences_are_paired(prompts in prop::collection::vec(prop::collection::vec(0.0f32..=0.9, 3..9), 2..20), seed: u64) {
        let lengths: Vec<usize> = prompts.iter().map(Vec::len).collect();
        let misses = prompts.concat();
        let worse = misses.iter().map(|miss| miss + 0.1).collect();
        let outcomes = [misses, worse].map(|misses| half(&mut Given { prompts: lengths.clone(), misses, at: 0 }));
        let intervals = bootstrap(&outcomes, 0, 100, seed);
        let (own, against) = &intervals[0];
        prop_assert!(own.miss.low <= own.miss.high && own.p99_token.low <= own.p99_token.high);
        prop_assert_eq!((against.miss.low, against.miss.high), (0.0, 0.0));
        let (_, against) = &intervals[1];
        for interval in [against.miss, against.worst_layer, against.p99_token] {
            prop_assert!((interval.low - 0.1).abs() < 1e-6 && (interval.high - 0.1).abs() < 1e-6, "{:?}", interval);
        }
    }
}

/// The interval of a mean has the width that its prompts' deviation gives it.
#[test]
fn an_interval_is_as_wide_as_prompts_differ() {
    let misses: Vec<f32> = (0..400).map(|i| if i % 2 == 0 { 0.2 } else { 0.6 }).collect();
    let outcome = half(&mut Given { prompts: vec![1; 400], misses, at: 0 });
    let (own, _) = bootstrap(&[outcome], 0, 2000, 3)[0];
    // Standard error 0.2 / sqrt(400) = 0.01, so the interval is 0.4 ± 0.0196.
    assert!((own.miss.low - 0.3804).abs() < 0.003 && (own.miss.high - 0.4196).abs() < 0.003, "{own:?}");
}

#[test]
fn a_source_without_tokens_is_refused() {
    for prompts in [vec![], vec![0]] {
        let mut source = Given { prompts, misses: vec![], at: 0 };
        assert!(matches!(run(&mut source, &mut [], &|| Duration::ZERO), Err(Error::OutOfRange { .. })));
    }
}
