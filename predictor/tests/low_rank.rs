//! The predictor against f64, and its figures of merit against their definitions.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use kernels_cpu::{Cpu, Format, InputRounding, Matrix, synthetic::Random};
use predictor::{Cost, Error, LowRank, Quality};
use proptest::prelude::*;

fn encoded(format: Format, rows: usize, cols: usize, random: &mut Random) -> Vec<u8> {
    let mut bytes = Vec::new();
    (0..rows).for_each(|_| format.encode(&random.vector(cols), &mut bytes).unwrap());
    bytes
}

/// `W v` in f64 and, beside each value, how far [`Cpu::gemv`] may be from it, with twice its `gamma`.
fn product(w: &Matrix<'_>, v: &[f64], rounding: InputRounding) -> Vec<(f64, f64)> {
    let gamma = (w.cols() + 4) as f64 / f64::from(1 << 23);
    let block_largest = |c: usize| v[c / 32 * 32..].iter().take(32).fold(0.0, |m: f64, v| m.max(v.abs()));
    let lost: Vec<f64> = (0..v.len())
        .map(|c| (gamma + rounding.of_element) * v[c].abs() + rounding.of_block * block_largest(c))
        .collect();
    (0..w.rows()).map(|r| (dot(w, r, v, |w| w), dot(w, r, &lost, f64::abs))).collect()
}

fn dot(w: &Matrix<'_>, row: usize, v: &[f64], of: fn(f64) -> f64) -> f64 {
    w.format().decode_row(w.row(row).unwrap()).iter().zip(v).map(|(&w, v)| of(f64::from(w)) * v).sum()
}

/// Scores of a random predictor in every format; its hidden size is `blocks` blocks of 32.
fn check_scores(seed: u64, blocks: usize, rank: usize, neurons: usize) -> Result<(), TestCaseError> {
    for format in Format::ALL {
        let mut random = Random::new(seed);
        let hidden = blocks * 32;
        let rank = rank.next_multiple_of(format.block_len());
        let (fc1, fc2) = (encoded(format, rank, hidden, &mut random), encoded(format, neurons, rank, &mut random));
        let fc1 = Matrix::new(format, rank, hidden, &fc1).unwrap();
        let fc2 = Matrix::new(format, neurons, rank, &fc2).unwrap();
        let x = random.vector(hidden);
        let mut scores = vec![f32::NAN; neurons];
        let cpu = Cpu::with_threads(2).unwrap();
        LowRank::new(fc1, fc2).unwrap().scores(&cpu, &x, &mut scores).unwrap();

        let x: Vec<f64> = x.into_iter().map(f64::from).collect();
        let rounding = cpu.kernel(format).input_rounding();
        let (inner, slack): (Vec<f64>, Vec<f64>) = product(&fc1, &x, rounding).into_iter().unzip();
        let relu: Vec<f64> = inner.iter().map(|v| v.max(0.0)).collect();
        // What fc1 may be off by, carried through |fc2|, plus what fc2 loses of the largest that fc1 may give.
        let largest: Vec<f64> = relu.iter().zip(&slack).map(|(v, slack)| v + slack).collect();
        let lost = product(&fc2, &largest, rounding);
        for (row, (&got, (_, lost))) in scores.iter().zip(lost).enumerate() {
            let (want, carried) = (dot(&fc2, row, &relu, |w| w), dot(&fc2, row, &slack, f64::abs));
            let error = (f64::from(got) - want).abs();
            prop_assert!(error <= carried + lost + 1e-30, "{format} row {row}: {got} {want}, off by {error}");
        }
    }
    Ok(())
}

/// A block of 32 whose elements differ much in size loses more of the small ones than sums in f32 do.
#[test]
fn scores_of_unlike_inputs_agree_with_f64() {
    check_scores(7_402_728_629_751_727_727, 1, 1, 46).unwrap();
}

proptest! {
    #[test]
    fn scores_agree_with_f64_at_any_rank(seed: u64, blocks in 1..5_usize, rank in 1..80_usize, neurons in 1..60_usize) {
        check_scores(seed, blocks, rank, neurons)?;
    }

    #[test]
    fn quality_is_its_definition(
        mass in prop::collection::vec(0.0..9.0_f32, 1..50),
        predicted in prop::collection::btree_set(0..50_u32, 0..50),
        active in prop::collection::btree_set(0..50_u32, 0..50),
    ) {
        let below = |set: BTreeSet<u32>| set.into_iter().filter(|&i| (i as usize) < mass.len()).collect::<Vec<u32>>();
        let (predicted, active) = (below(predicted), below(active));
        let quality = Quality::of(&predicted, &active, &mass).unwrap();
        let hits = predicted.iter().filter(|i| active.contains(i)).count() as f64;
        let expect = |part: f64, whole: usize| if whole == 0 { 1.0 } else { part / whole as f64 };
        prop_assert_eq!(quality.recall(), expect(hits, active.len()));
        prop_assert_eq!(quality.precision(), expect(hits, predicted.len()));
        prop_assert_eq!(quality.density(), predicted.len() as f64 / mass.len() as f64);
        let total: f64 = mass.iter().map(|&m| f64::from(m)).sum();
        let skipped: f64 = (0..mass.len()).filter(|&i| !predicted.contains(&(i as u32))).map(|i| f64::from(mass[i])).sum();
        let want = if total > 0.0 { skipped / total } else { 0.0 };
        prop_assert!((quality.missed_mass() - want).abs() < 1e-12);

        // Adding a layer to itself changes no ratio.
        let mut twice = quality;
        twice.add(&quality);
        prop_assert_eq!((twice.recall(), twice.precision(), twice.density()), (quality.recall(), quality.precision(), quality.density()));
    }
}

#[test]
fn cost_at_powerinfers_mean_rank_is_a_tenth_of_the_ffn() {
    // PowerInfer's predictors for LLaMA(ReGLU)-70B hold 5.66 B parameters (SOSP 2024, table 6): rank 1919 a layer.
    let (hidden, rank, neurons) = (8192, 1919, 28672);
    let (fc1, fc2) = (vec![0; rank * hidden * 2], vec![0; neurons * rank * 2]);
    let fc1 = Matrix::new(Format::F16, rank, hidden, &fc1).unwrap();
    let predictor = LowRank::new(fc1, Matrix::new(Format::F16, neurons, rank, &fc2).unwrap()).unwrap();
    assert_eq!(predictor.cost(), Cost { parameters: 70_742_016, bytes: 141_484_032 });
    assert!((80.0 * predictor.cost().parameters as f64 / 5.66e9 - 1.0).abs() < 1e-3);
    assert!((predictor.cost().parameters as f64 / (3 * hidden * neurons) as f64 - 0.1).abs() < 0.001);
}

#[test]
fn a_broken_hidden_state_shows() {
    let ones = |rows: usize, cols: usize| {
        let mut bytes = Vec::new();
        Format::F32.encode(&vec![1.0; rows * cols], &mut bytes).unwrap();
        bytes
    };
    let (fc1, fc2) = (ones(3, 2), ones(4, 3));
    let fc1 = Matrix::new(Format::F32, 3, 2, &fc1).unwrap();
    let mut predictor = LowRank::new(fc1, Matrix::new(Format::F32, 4, 3, &fc2).unwrap()).unwrap();
    let mut scores = [0.0; 4];
    predictor.scores(&Cpu::with_threads(1).unwrap(), &[f32::NAN, 1.0], &mut scores).unwrap();
    assert!(scores.iter().all(|s| s.is_nan()));
}

#[test]
fn what_does_not_fit_is_refused() {
    let bytes = [0; 48];
    let m = |rows, cols| Matrix::new(Format::F32, rows, cols, &bytes[..rows * cols * 4]).unwrap();
    assert_eq!(
        LowRank::new(m(3, 4), m(6, 2)).unwrap_err().to_string(),
        "fc1 gives 3 values but fc2 takes 2: fc2 must have one column per row of fc1"
    );
    let cpu = Cpu::with_threads(1).unwrap();
    assert!(matches!(
        LowRank::new(m(2, 4), m(6, 2)).unwrap().scores(&cpu, &[0.0; 3], &mut [0.0; 6]),
        Err(Error::Kernel(_))
    ));
    let neurons = |list, position, index| Err(Error::Neurons { list, position, index, neurons: 3 });
    assert_eq!(Quality::of(&[0, 3], &[], &[1.0; 3]), neurons("predicted", 1, 3));
    assert_eq!(Quality::of(&[], &[2, 1], &[1.0; 3]), neurons("active", 1, 1));
    assert_eq!(Quality::of(&[], &[1, 1], &[1.0; 3]), neurons("active", 1, 1));
    for bad in [f32::NAN, f32::INFINITY, -1.0] {
        assert_eq!(Quality::of(&[], &[], &[0.0, bad]), Err(Error::Mass { index: 1, value: bad.to_string() }));
    }
}
