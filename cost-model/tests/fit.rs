//! Start and pace of operators, over synthetic records whose times are affine in bytes.

#![allow(clippy::unwrap_used, reason = "a test")]

mod synthetic;

use cost_model::fit::fits;
use cost_model::operator::Operator;

#[test]
fn affine_times_give_back_start_and_pace() {
    let record = synthetic::record(synthetic::machine("A", 8, 64 << 30), 50e9);
    let fits = fits(&record);
    // Gate and up, down, and the whole, in two formats and two instruction sets.
    assert_eq!(fits.len(), 3 * 2 * 2);
    for fit in &fits {
        assert_eq!(fit.densities, synthetic::DENSITIES.len());
        assert!((fit.start_us / (synthetic::START_S * 1e6) - 1.0).abs() < 1e-6, "{fit:?}");
        let slower = if fit.isa == "avx2" { 1.2 } else { 1.0 };
        let ratio = synthetic::OVERHEAD * slower;
        assert!((fit.ratio.unwrap() / ratio - 1.0).abs() < 1e-6 && fit.largest_residual < 1e-6, "{fit:?}");
        assert!((fit.gb_per_s * ratio / 50.0 - 1.0).abs() < 1e-6, "{fit:?}");
    }
    let first: Vec<Operator> = fits.iter().take(3).map(|fit| fit.operator).collect();
    assert_eq!(first, [Operator::GateUp, Operator::Down, Operator::Ffn]);
}

#[test]
fn two_densities_or_falling_times_make_no_line() {
    let mut record = synthetic::record(synthetic::machine("A", 8, 64 << 30), 50e9);
    record.measurements.retain(|m| m.density == 1.0 || m.density == 0.1);
    assert!(fits(&record).is_empty());
    let mut record = synthetic::record(synthetic::machine("A", 8, 64 << 30), 50e9);
    record.measurements.iter_mut().for_each(|m| m.seconds.median = 1.0 / m.bytes as f64);
    assert!(fits(&record).is_empty());
}
