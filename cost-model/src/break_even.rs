//! The density below which a predictor followed by its layer's gates beats the gates alone.
//!
//! ```text
//!   gate first alone          all gates                          ─▶ up, down of those that fire
//!   predictor, then gate      predictor, gates of the share d     ─▶ up, down of those that fire
//! ```
//! What fires is computed either way, so the predictor wins while `predictor + d · gates < gates`: d < 1 − predictor / gates,
//! in bytes, and in time as far as a sparse gate takes its share of a dense one. d is what the predictor lets through, false
//! positives included.

use serde::Serialize;

use crate::estimate::{Estimate, Interval};
use crate::format::WeightFormat;
use crate::machine::Machine;
use crate::operator::Operator;
use crate::record::{Measurement, Record};

/// One machine's predictors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakEven {
    /// The machine.
    pub machine: Machine,
    /// Threads that everything was timed on.
    pub threads: usize,
    /// By format of predictor and gates, then by rank; sign bits last.
    pub rows: Vec<BreakEvenRow>,
}

/// A predictor against the gates of its layer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakEvenRow {
    /// Format of the gates, and of a low-rank predictor.
    pub format: WeightFormat,
    /// Rank of a low-rank predictor; `None` for sign bits, a bit for each weight of the gates.
    pub rank: Option<usize>,
    /// Bytes that the predictor reads for a token.
    pub predictor_bytes: u64,
    /// Bytes of all gates.
    pub gate_bytes: u64,
    /// The density by bytes.
    pub by_bytes: f64,
    /// Time of the predictor, where it was measured.
    pub predictor_seconds: Option<Interval>,
    /// Time of all gates, between those of a GEMV with fewer rows and one with more.
    pub gate_seconds: Option<Interval>,
    /// The density by time, its ends as far apart as theirs allow. Below zero the predictor never wins.
    pub by_time: Option<Interval>,
}

impl BreakEven {
    /// Of what a record holds at its largest number of threads; `None` where it timed no predictor.
    pub fn of(record: &Record) -> Option<Self> {
        let timed = |operator: Operator| record.measurements.iter().filter(move |m| m.operator == operator);
        let threads = timed(Operator::Predictor).map(|m| m.threads).max()?;
        let mut rows = Vec::new();
        for format in WeightFormat::ALL {
            let mut predictors: Vec<&Measurement> =
                timed(Operator::Predictor).filter(|m| m.format == format && m.threads == threads).collect();
            predictors.sort_by_key(|m| m.rank);
            let Some(&&Measurement { rows: neurons, cols: hidden, .. }) = predictors.first() else { continue };
            let gate_bytes = format.bytes(neurons, hidden);
            let gemvs: Vec<&Measurement> = timed(Operator::Gemv)
                .filter(|m| m.format == format && m.threads == threads && m.cols == hidden && m.density == 1.0)
                .collect();
            let gate_seconds = between(&gemvs, neurons);
            for predictor in predictors {
                let predictor_seconds = predictor.seconds.interval();
                rows.push(BreakEvenRow {
                    format,
                    rank: predictor.rank,
                    predictor_bytes: predictor.bytes,
                    gate_bytes,
                    by_bytes: left(predictor.bytes as f64, gate_bytes as f64),
                    predictor_seconds: Some(predictor_seconds),
                    gate_seconds,
                    by_time: gate_seconds.map(|gate| Interval {
                        median: left(predictor_seconds.median, gate.median),
                        low: left(predictor_seconds.high, gate.low),
                        high: left(predictor_seconds.low, gate.high),
                    }),
                });
            }
            let sign_bits = (neurons * hidden.div_ceil(8)) as u64;
            rows.push(BreakEvenRow {
                format,
                rank: None,
                predictor_bytes: sign_bits,
                gate_bytes,
                by_bytes: left(sign_bits as f64, gate_bytes as f64),
                predictor_seconds: None,
                gate_seconds,
                by_time: None,
            });
        }
        Some(Self { machine: record.machine.clone(), threads, rows })
    }
}

fn left(predictor: f64, gates: f64) -> f64 {
    1.0 - predictor / gates
}

/// The time of `rows` rows, on the line between the nearest GEMVs with no more and no fewer.
fn between(gemvs: &[&Measurement], rows: usize) -> Option<Interval> {
    let below = gemvs.iter().filter(|m| m.rows <= rows).max_by_key(|m| m.rows)?;
    let above = gemvs.iter().filter(|m| m.rows >= rows).min_by_key(|m| m.rows)?;
    let way =
        if above.rows == below.rows { 0.0 } else { (rows - below.rows) as f64 / (above.rows - below.rows) as f64 };
    let at = |end: fn(&Estimate) -> f64| end(&below.seconds) + way * (end(&above.seconds) - end(&below.seconds));
    Some(Interval { median: at(|e| e.median), low: at(|e| e.low), high: at(|e| e.high) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By hand: 2 layers' worth of figures of the example record are not needed, only two GEMVs and the arithmetic.
    #[test]
    fn break_even_is_what_the_gates_leave() {
        let estimate = |seconds: f64| Estimate {
            median: seconds,
            low: 0.9 * seconds,
            high: 1.1 * seconds,
            confidence: 0.95,
            samples: 9,
        };
        let measurement = |operator, rows, rank, bytes, seconds| Measurement {
            operator,
            kernel: "k".into(),
            isa: "scalar".into(),
            format: WeightFormat::F16,
            rows,
            cols: 64,
            density: 1.0,
            threads: 2,
            bytes,
            seconds: estimate(seconds),
            ratio: None,
            policy: None,
            rank,
            tokens: None,
        };
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
        let mut record = Record::read(&folder.join("example-record.json")).unwrap();
        record.measurements = vec![
            measurement(Operator::Gemv, 100, None, 12_800, 1.0),
            measurement(Operator::Gemv, 300, None, 38_400, 3.0),
            measurement(Operator::Predictor, 200, Some(16), 8_448, 0.5),
        ];
        let found = BreakEven::of(&record).unwrap();
        assert_eq!((found.threads, found.rows.len()), (2, 2));
        let low_rank = &found.rows[0];
        assert_eq!((low_rank.rank, low_rank.gate_bytes), (Some(16), 25_600));
        assert!((low_rank.by_bytes - 0.67).abs() < 1e-12);
        // 200 rows take 2 s; the ends are the slowest predictor with the fastest gates, and the reverse.
        let by_time = low_rank.by_time.unwrap();
        for (found, wanted) in
            [(by_time.median, 0.75), (by_time.low, 1.0 - 0.55 / 1.8), (by_time.high, 1.0 - 0.45 / 2.2)]
        {
            assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
        }
        let sign_bits = &found.rows[1];
        assert_eq!((sign_bits.rank, sign_bits.predictor_bytes, sign_bits.by_time), (None, 1_600, None));
        // A GEMV with as many rows is missing above: nothing is said of time.
        record.measurements.remove(1);
        assert_eq!(BreakEven::of(&record).unwrap().rows[0].by_time, None);
        record.measurements.pop();
        assert_eq!(BreakEven::of(&record), None);
    }
}
