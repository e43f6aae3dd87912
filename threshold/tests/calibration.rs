//! Calibrated thresholds against the sample they were calibrated on.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use proptest::prelude::*;
use threshold::dynamic::Level;
use threshold::select::Kernels;
use threshold::{
    Allocation, Calibration, CalibrationBuilder, Density, Dynamic, Error, Miss, PerLayer, Policy, QuantileTable, Shape,
};

fn calibrate(scores: &[f32]) -> Calibration {
    let mut builder = CalibrationBuilder::new(Shape::new(1, scores.len().max(1)).unwrap());
    builder.add_scores(0, scores).unwrap();
    builder.finish()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Within a bucket the scores are taken as evenly spread, so the density errs by part of what one bucket
    /// holds: 1/32 of an octave of a bell over several octaves, or of a symmetric one over all of them.
    #[test]
    fn the_sample_itself_has_the_density(
        seed: u64,
        mean in -3.0f64..3.0,
        density in 0.01f64..=1.0,
        exponential: bool,
    ) {
        let mut state = seed;
        let scores: Vec<f32> = (0..20_000)
            .map(|_| {
                let mut sum = 0.0;
                for _ in 0..6 {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    sum += (state >> 11) as f64 / (1u64 << 53) as f64;
                }
                let normal = (sum - 3.0) * 2f64.sqrt() + mean;
                (if exponential { normal.exp() } else { normal }) as f32
            })
            .collect();
        let threshold = calibrate(&scores).threshold(0, Density::new(density)?)?;
        let met = scores.iter().filter(|&&score| score >= threshold).count() as f64 / scores.len() as f64;
        prop_assert!((met - density).abs() < 0.004, "{met} for {density}");
        prop_assert!((calibrate(&scores).density(0, threshold)? - density).abs() < 0.001);
    }

    #[test]
    fn equal_scores_pass_together(scores in prop::collection::vec(-4i8..4, 1..100), density in 0.01f64..1.0) {
        let scores: Vec<f32> = scores.into_iter().map(f32::from).collect();
        let threshold = calibrate(&scores).threshold(0, Density::new(density)?)?;
        let met = scores.iter().filter(|&&score| score >= threshold).count() as f64;
        prop_assert!(met >= density * scores.len() as f64 - 1e-9);
        // No higher score among them would do.
        let above = scores.iter().filter(|&&score| score > threshold).count() as f64;
        prop_assert!(above < density * scores.len() as f64 + 1e-9);
    }

    #[test]
    fn order_and_batching_do_not_matter(scores in prop::collection::vec(-1e3f32..1e3, 1..200), cut: prop::sample::Index) {
        let cut = cut.index(scores.len());
        let shape = Shape::new(1, 1)?;
        let (mut forth, mut back) = (CalibrationBuilder::new(shape), CalibrationBuilder::new(shape));
        forth.add_scores(0, &scores)?;
        back.add_scores(0, &scores[cut..])?;
        back.add_scores(0, &scores[..cut])?;
        let (forth, back) = (forth.finish(), back.finish());
        for percent in 1..100 {
            let density = Density::new(f64::from(percent) / 100.0)?;
            prop_assert_eq!(forth.threshold(0, density)?, back.threshold(0, density)?);
        }
    }
}

/// Skipping the lowest scores of an exponential law, mass = score: with share u skipped,
/// miss = u + (1 − u) ln(1 − u).
#[test]
fn the_start_of_dynamic_misses_the_target_on_the_sample() {
    let n = 100_000;
    let scores: Vec<f32> = (0..n).map(|i| -(1.0 - (i as f32 + 0.5) / n as f32).ln()).collect();
    let mut builder = CalibrationBuilder::new(Shape::new(1, n).unwrap());
    builder.add(0, &scores, &scores).unwrap();
    let calibration = builder.finish();
    for miss in [0.01, 0.1, 0.5, 0.9] {
        let u = calibration.skip_at_miss(0, Miss::new(miss).unwrap()).unwrap();
        let missed = u + (1.0 - u) * (1.0 - u).ln();
        assert!((missed - miss).abs() < 1e-3, "skipping {u} misses {missed}, wanted {miss}");
        let threshold = -(1.0 - u).ln() as f32;
        let told = calibration.miss(0, threshold).unwrap().unwrap();
        assert!((told - miss).abs() < 1e-3, "told {told}, wanted {miss}");
    }
}

#[test]
fn dynamic_starts_dense_where_masses_are_unknown() {
    let scores: Vec<f32> = (0..100u8).map(f32::from).collect();
    let (shape, miss) = (Shape::new(1, 100).unwrap(), Miss::new(0.5).unwrap());
    let mut active = Vec::new();
    let known = {
        let mut builder = CalibrationBuilder::new(shape);
        builder.add(0, &scores, &scores).unwrap();
        builder.finish()
    };
    Dynamic::calibrated(Kernels::best(), shape, miss, Allocation::Even, Level::Rank, &known)
        .unwrap()
        .select(0, &scores, &mut active)
        .unwrap();
    // 0 … 70 sum to half of 0 … 99.
    assert!((28..=31).contains(&active.len()), "{}", active.len());
    Dynamic::calibrated(Kernels::best(), shape, miss, Allocation::Even, Level::Rank, &calibrate(&scores))
        .unwrap()
        .select(0, &scores, &mut active)
        .unwrap();
    assert_eq!(active.len(), 100);
    // Some masses do not stand for all.
    let mut builder = CalibrationBuilder::new(shape);
    builder.add(0, &scores, &scores).unwrap();
    builder.add_scores(0, &scores).unwrap();
    assert_eq!(builder.finish().skip_at_miss(0, miss), None);
}

#[test]
fn one_global_threshold_gives_the_mean_density_but_not_each_layers() {
    let mut builder = CalibrationBuilder::new(Shape::new(2, 1000).unwrap());
    let scores: Vec<f32> = (0..1000u16).map(f32::from).collect();
    let tenfold: Vec<f32> = scores.iter().map(|score| score * 10.0).collect();
    builder.add_scores(0, &scores).unwrap();
    builder.add_scores(1, &tenfold).unwrap();
    let calibration = builder.finish();
    let density = Density::new(0.3).unwrap();
    let threshold = calibration.global_threshold(density).unwrap();
    // Layer 0 lies below 1000 altogether: layer 1 makes up the whole density.
    let (low, high) = (calibration.density(0, threshold).unwrap(), calibration.density(1, threshold).unwrap());
    assert!((low + high - 0.6).abs() < 1e-6, "{low} {high}");
    assert!(low == 0.0 && (threshold - 4000.0).abs() < 10.0, "{threshold}");
}

#[test]
fn published_quantiles_are_met_at_their_levels() {
    let (levels, values) = ([0.25, 0.5, 0.9, 0.95], [0.1, 0.3, 1.5, 2.0, 0.0, 0.0, 0.4, 0.5]);
    let calibration = Calibration::from_quantiles(&QuantileTable::new(&levels, &values).unwrap());
    assert_eq!(calibration.layers(), 2);
    for (level, wanted) in levels.into_iter().zip(&values[..4]) {
        let threshold = calibration.threshold(0, Density::new(1.0 - level).unwrap()).unwrap();
        assert!((threshold / wanted - 1.0).abs() < 1e-3, "level {level}: {threshold}, wanted {wanted}");
    }
    // Half of layer 1 is exactly 0: any higher density takes all of it.
    assert_eq!(calibration.threshold(1, Density::new(0.6).unwrap()).unwrap(), 0.0);
    let threshold = calibration.threshold(1, Density::new(0.1).unwrap()).unwrap();
    assert!((threshold / 0.4 - 1.0).abs() < 1e-3);
}

/// The table's magnitudes of Llama-2-70B against what TEAL's full histograms gave (derived from
/// FasterDecoding/TEAL at 5baaec8): one threshold of 0.0204 for half of all magnitudes skips 21.5 % of layer 77's,
/// and one of 0.120 for nine tenths 67.8 % of layer 78's.
#[test]
fn one_threshold_for_llama_2_70b_is_as_uneven_as_its_histograms() {
    let text = include_str!("../data/llama-2-70b-h2-quantiles.csv");
    let mut lines = text.lines().filter(|line| !line.starts_with('#'));
    let levels = lines.next().unwrap().split(',').skip(1).map(|name| name[1..].parse().unwrap());
    let levels: Vec<f64> = levels.collect();
    let values: Vec<f32> = lines.flat_map(|line| line.split(',').skip(1)).map(|value| value.parse().unwrap()).collect();
    let calibration = Calibration::from_quantiles(&QuantileTable::new(&levels, &values).unwrap());
    assert_eq!(calibration.layers(), 80);
    for (density, threshold, layer, sparsity) in [(0.5, 0.0204, 77, 0.215), (0.1, 0.120, 78, 0.678)] {
        let found = calibration.global_threshold(Density::new(density).unwrap()).unwrap();
        assert!((found / threshold - 1.0).abs() < 0.04, "{found}, wanted {threshold}");
        let skipped = 1.0 - calibration.density(layer, found).unwrap();
        assert!((skipped - sparsity).abs() < 0.01, "layer {layer}: {skipped}, wanted {sparsity}");
    }
}

#[test]
fn what_a_calibration_lacks_is_named() {
    let shape = Shape::new(2, 3).unwrap();
    let mut builder = CalibrationBuilder::new(shape);
    let nan = builder.add_scores(1, &[0.0, f32::NAN]).unwrap_err();
    assert_eq!(nan, Error::NanScore { layer: 1, index: 1 });
    assert!(matches!(builder.add_scores(2, &[0.0]), Err(Error::LayerOutOfRange { .. })));
    assert!(matches!(builder.add(0, &[0.0], &[]), Err(Error::WrongLength { .. })));
    for bad in [-1.0, f32::NAN, f32::INFINITY] {
        assert!(matches!(builder.add(0, &[0.0], &[bad]), Err(Error::OutOfRange { .. })));
    }
    builder.add_scores(0, &[1.0, 2.0]).unwrap();
    let calibration = builder.finish();
    let density = Density::new(0.5).unwrap();
    let error = PerLayer::calibrated(Kernels::best(), shape, density, Allocation::Even, &calibration).unwrap_err();
    assert_eq!(error, Error::EmptyCalibration { layer: 1 });
    let other = Shape::new(3, 3).unwrap();
    assert!(matches!(
        PerLayer::calibrated(Kernels::best(), other, density, Allocation::Even, &calibration),
        Err(Error::WrongLength { .. })
    ));
    assert!(calibration.global_threshold(density).is_err());
}

#[test]
fn a_density_of_one_leaves_nothing_out() {
    let shape = Shape::new(1, 2).unwrap();
    let policy = PerLayer::calibrated(
        Kernels::best(),
        shape,
        Density::new(1.0).unwrap(),
        Allocation::Even,
        &calibrate(&[1.0, 2.0]),
    )
    .unwrap();
    assert_eq!(policy.threshold(0), Some(f32::NEG_INFINITY));
}

#[test]
fn impossible_quantile_tables_are_refused() {
    let table = |levels: &[f64], values: &[f32]| QuantileTable::new(levels, values);
    for levels in [&[0.5][..], &[0.5, 0.5], &[0.9, 0.5], &[0.0, 0.5], &[0.5, 1.0], &[0.5, f64::NAN]] {
        assert!(matches!(table(levels, &[1.0, 2.0]), Err(Error::OutOfRange { .. })), "{levels:?}");
    }
    for values in [&[2.0, 1.0][..], &[0.0, 0.0], &[-1.0, 1.0], &[1.0, f32::INFINITY], &[f32::NAN, 1.0]] {
        assert!(matches!(table(&[0.5, 0.9], values), Err(Error::OutOfRange { .. })), "{values:?}");
    }
    for values in [&[][..], &[1.0], &[1.0, 2.0, 3.0]] {
        assert!(matches!(table(&[0.5, 0.9], values), Err(Error::WrongLength { .. })), "{values:?}");
    }
}
