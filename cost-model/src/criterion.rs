//! Criterion's own output as measurements.
//!
//! Criterion keeps, per benchmark, a folder `new` with `benchmark.json`, `estimates.json` and
//! `sample.json`. The files are internal to criterion, stable in practice since 0.3.3, so this one
//! parser reads only what it needs and says which file disagrees. Our benches spell their ids:
//!
//! | part | holds |
//! |---|---|
//! | group | the operator: `gate_up`, `down`, ... |
//! | function | `<isa>-<format>-<rows>x<cols>-t<threads>`; a predictor adds `-r<rank>`, alone or with its FFN |
//! | value | the density, such as `0.1`; for `select` the policy |
//! | throughput | bytes touched |
//!
//! The group `read` is no operator but the roof: reading memory, spelt the same way.
//!
//! `select` may have `<isa>` alone as function and scores as element throughput: it is then one
//! thread over f32 scores. Predictor and select read all they are given: their density is 1, and a
//! predictor needs no value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::estimate::Estimate;
use crate::format::WeightFormat;
use crate::operator::Operator;
use crate::record::{Bandwidth, Measurement};

const SECONDS_PER_NANOSECOND: f64 = 1e-9;
const SCORE_BYTES: u64 = 4;

/// What a criterion folder held.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CriterionRun {
    /// Our operators, ordered by path.
    pub measurements: Vec<Measurement>,
    /// The best read bandwidth that the run saw at each thread count.
    pub bandwidth: Vec<Bandwidth>,
    /// Benchmarks of other groups, not read.
    pub skipped: usize,
    /// When the newest of our benchmarks was written.
    pub newest: Option<SystemTime>,
}

/// Why criterion's output is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CriterionError {
    /// No such folder, or no right to read it.
    #[error("{path}: {source}; run `cargo bench` first, or name its `target/criterion` folder")]
    Io {
        /// Folder or file.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// A file of a benchmark of ours does not hold what it should.
    #[error("{path}: {what}; delete that benchmark's folder and run it again")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
struct Group {
    group_id: String,
}

#[derive(Deserialize)]
struct Benchmark {
    function_id: Option<String>,
    value_str: Option<String>,
    throughput: Option<Throughput>,
}

#[derive(Clone, Copy, Deserialize)]
enum Throughput {
    Bytes(u64),
    BytesDecimal(u64),
    Elements(u64),
    ElementsAndBytes { elements: u64, bytes: u64 },
}

impl Throughput {
    fn bytes(self) -> Option<u64> {
        match self {
            Self::Bytes(n) | Self::BytesDecimal(n) => Some(n),
            Self::ElementsAndBytes { bytes, .. } => Some(bytes),
            Self::Elements(_) => None,
        }
    }

    fn elements(self) -> Option<u64> {
        match self {
            Self::Elements(n) => Some(n),
            Self::ElementsAndBytes { elements, .. } => Some(elements),
            Self::Bytes(_) | Self::BytesDecimal(_) => None,
        }
    }
}

#[derive(Deserialize)]
struct Estimates {
    median: Median,
}

#[derive(Deserialize)]
struct Median {
    point_estimate: f64,
    confidence_interval: Confidence,
}

#[derive(Deserialize)]
struct Confidence {
    confidence_level: f64,
    lower_bound: f64,
    upper_bound: f64,
}

#[derive(Deserialize)]
struct Sample {
    times: Vec<f64>,
}

/// Reads every `new` folder under `root`, which is usually `target/criterion`.
///
/// # Errors
/// [`CriterionError`] at the first file of ours that does not fit the layout.
pub fn read_criterion(root: &Path) -> Result<CriterionRun, CriterionError> {
    let mut run = CriterionRun::default();
    visit(root, &mut run)?;
    Ok(run)
}

fn visit(folder: &Path, run: &mut CriterionRun) -> Result<(), CriterionError> {
    let fail = |source| CriterionError::Io { path: folder.to_owned(), source };
    let entries = fs::read_dir(folder).map_err(fail)?;
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.map(|e| e.path())).collect::<Result<_, _>>().map_err(fail)?;
    paths.sort();
    for path in paths.into_iter().filter(|p| p.is_dir()) {
        if path.ends_with("new") && path.join("benchmark.json").is_file() {
            read_benchmark(&path, run)?;
        } else {
            visit(&path, run)?;
        }
    }
    Ok(())
}

/// Group of the benchmarks that read memory and do nothing else.
const READ: &str = "read";

fn read_benchmark(folder: &Path, run: &mut CriterionRun) -> Result<(), CriterionError> {
    let path = folder.join("benchmark.json");
    let group = read_json::<Group>(&path)?.group_id;
    let operator = group.parse::<Operator>();
    if group != READ && operator.is_err() {
        run.skipped += 1;
        return Ok(());
    }
    let benchmark: Benchmark = read_json(&path)?;
    let estimates: Estimates = read_json(&folder.join("estimates.json"))?;
    let sample: Sample = read_json(&folder.join("sample.json"))?;
    let seconds = seconds(&estimates.median, sample.times.len() as u64);
    run.newest = run.newest.max(fs::metadata(&path).and_then(|m| m.modified()).ok());
    let malformed = |what| CriterionError::Malformed { path, what };
    match operator {
        Ok(operator) => {
            let described = describe(operator, &benchmark).map_err(malformed)?;
            run.measurements.push(Measurement { seconds, ..described });
        }
        Err(_) => run.keep_best(read_bandwidth(&benchmark, &seconds).map_err(malformed)?),
    }
    Ok(())
}

impl CriterionRun {
    fn keep_best(&mut self, new: Bandwidth) {
        match self.bandwidth.iter_mut().find(|b| b.threads == new.threads) {
            Some(best) if best.bytes_per_s.median >= new.bytes_per_s.median => {}
            Some(best) => *best = new,
            None => self.bandwidth.push(new),
        }
    }
}

fn read_bandwidth(benchmark: &Benchmark, seconds: &Estimate) -> Result<Bandwidth, String> {
    let id = benchmark.function_id.as_deref().unwrap_or_default();
    let threads = parse_function(id).ok_or_else(|| wanted_function(id))?.threads;
    let bytes = benchmark.throughput.and_then(Throughput::bytes).ok_or("no throughput in bytes")? as f64;
    let (median, low, high) = (bytes / seconds.median, bytes / seconds.high, bytes / seconds.low);
    Ok(Bandwidth { threads, bytes_per_s: Estimate { median, low, high, ..*seconds } })
}

fn wanted_function(id: &str) -> String {
    format!("function id `{id}`, wanted `<isa>-<format>-<rows>x<cols>-t<threads>`")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CriterionError> {
    let text = fs::read_to_string(path).map_err(|source| CriterionError::Io { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|e| CriterionError::Malformed { path: path.to_owned(), what: e.to_string() })
}

fn seconds(median: &Median, samples: u64) -> Estimate {
    let interval = &median.confidence_interval;
    Estimate {
        median: median.point_estimate * SECONDS_PER_NANOSECOND,
        low: interval.lower_bound * SECONDS_PER_NANOSECOND,
        high: interval.upper_bound * SECONDS_PER_NANOSECOND,
        confidence: interval.confidence_level,
        samples,
    }
}

/// The parts of `<isa>-<format>-<rows>x<cols>-t<threads>[-r<rank>]`.
struct Function {
    isa: String,
    format: WeightFormat,
    rows: usize,
    cols: usize,
    threads: usize,
    rank: Option<usize>,
}

fn parse_function(id: &str) -> Option<Function> {
    let mut parts = id.split('-');
    let isa = parts.next()?.to_owned();
    let format = parts.next()?.parse().ok()?;
    let (rows, cols) = parts.next()?.split_once('x')?;
    let threads = parts.next()?.strip_prefix('t')?.parse().ok()?;
    let rank = match parts.next() {
        Some(part) => Some(part.strip_prefix('r')?.parse().ok()?),
        None => None,
    };
    let function = Function { isa, format, rows: rows.parse().ok()?, cols: cols.parse().ok()?, threads, rank };
    parts.next().is_none().then_some(function)
}

/// Everything but the time, which is left at zero samples.
fn describe(operator: Operator, benchmark: &Benchmark) -> Result<Measurement, String> {
    let id = benchmark.function_id.as_deref().unwrap_or_default();
    let throughput = benchmark.throughput;
    let function =
        parse_function(id).or_else(|| bare_select(operator, id, throughput)).ok_or_else(|| wanted_function(id))?;
    let bytes = throughput
        .and_then(Throughput::bytes)
        .or_else(|| (operator == Operator::Select).then(|| (function.rows as u64).saturating_mul(SCORE_BYTES)))
        .ok_or("no throughput in bytes")?;
    if function.rank.is_some() != operator.has_rank() {
        return Err(format!("function id `{id}`: `-r<rank>` belongs to predictor and ffn_predicted, and there only"));
    }
    let (density, policy) = parse_value(operator, benchmark.value_str.as_deref())?;
    Ok(Measurement {
        operator,
        kernel: format!("{operator}/{}/{}", function.isa, function.format),
        isa: function.isa,
        format: function.format,
        rows: function.rows,
        cols: function.cols,
        density,
        threads: function.threads,
        bytes,
        seconds: Estimate { median: 0.0, low: 0.0, high: 0.0, confidence: 0.0, samples: 0 },
        ratio: None,
        policy,
        rank: function.rank,
        tokens: None,
    })
}

fn bare_select(operator: Operator, id: &str, throughput: Option<Throughput>) -> Option<Function> {
    let rows = throughput.and_then(Throughput::elements)?;
    let bare = operator == Operator::Select && !id.is_empty() && !id.contains('-');
    bare.then_some(Function {
        isa: id.to_owned(),
        format: WeightFormat::F32,
        rows: usize::try_from(rows).ok()?,
        cols: 1,
        threads: 1,
        rank: None,
    })
}

fn parse_value(operator: Operator, value: Option<&str>) -> Result<(f64, Option<String>), String> {
    match (operator, value) {
        (Operator::Select, Some(policy)) => Ok((1.0, Some(policy.to_owned()))),
        (Operator::Select, None) => Err("select without a policy as its value".to_owned()),
        (Operator::Predictor, _) | (Operator::Gemv | Operator::Attention, None) => Ok((1.0, None)),
        (_, None) => Err(format!("{operator} without a density as its value")),
        (_, Some(text)) => match text.parse::<f64>() {
            Ok(density) if (0.0..=1.0).contains(&density) => Ok((density, None)),
            _ => Err(format!("value `{text}`, wanted a density from 0 to 1")),
        },
    }
}
