//! What each policy computes and misses on drifting streams, all at the same mean density.

use std::time::Instant;

use threshold::Error;
use threshold::comparison::{Goal, Kind, bootstrap, compare};

use crate::setup::Setup;
use crate::table::{self, Row};

/// Mean density that every policy is set to.
const DENSITY: f64 = 0.10;

/// Predictor noise, and how it differs from layer to layer: a perfect predictor, a bad one, and one that is good in
/// some layers and bad in others.
const PREDICTORS: [(f64, f64); 3] = [(0.0, 0.0), (0.7, 0.0), (0.5, 0.7)];

const RESAMPLES: usize = 1000;

pub(crate) fn run() -> Result<(), Error> {
    let mut rows = Vec::new();
    let begin = Instant::now();
    for (noise, spread) in PREDICTORS {
        let Setup { mut source, calibration, .. } = Setup::new(noise, spread)?;
        let mut passes = 0;
        let pass = &mut || {
            passes += 1;
            eprint!("\rpredictor noise {noise}, spread {spread}: pass {passes}");
        };
        let outcomes =
            compare(&mut source, &Kind::ALL, Goal::Density(DENSITY), &calibration, &|| begin.elapsed(), pass)?;
        eprintln!();
        let intervals = bootstrap(&outcomes, 0, RESAMPLES, 1);
        rows.extend(outcomes.iter().zip(intervals).map(|(outcome, (intervals, _))| Row {
            policy: outcome.spec().map(|spec| spec.to_string()).unwrap_or_default(),
            noise,
            spread,
            figures: outcome.figures(),
            intervals,
            microseconds: outcome.selection_time().as_secs_f64() * 1e6,
        }));
    }
    table::print(&rows);
    table::write(&rows);
    Ok(())
}

/// Nearest rank; sorts `values`.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[(share * values.len() as f64).ceil() as usize - 1]
}
