//! `thresher roof`: every operator against the time in which this machine could at best read its bytes.

use std::cmp::Ordering;

use clap::Args;
use cost_model::{
    fit::{Fit, fits},
    operator::Operator,
    record::Measurement,
};
use kernels_cpu::{Format, Isa};
use serde::Serialize;

use crate::{
    Result,
    machine::{this_build, this_machine},
    measure::{DENSITIES, Measured, Plan, RANKS, measure},
    output::{TableFormat, print, print_csv, print_json, table},
    start::{NEURONS, Start},
};

use super::{
    comparisons,
    measure::{check_threads, every_format, timed_policies},
};

/// Arguments of `thresher roof`.
#[derive(Debug, Args)]
pub struct RoofArguments {
    /// Instruction sets: scalar, avx2, avx512, avx512vnni [default: the best that runs here]
    #[arg(long, value_delimiter = ',')]
    isa: Vec<Isa>,
    /// Weight formats: f32, f16, bf16, q8_0, q4_0 [default: all]
    #[arg(long, value_delimiter = ',')]
    format: Vec<Format>,
    /// Thread counts [default: 1 and all cores]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Vec<u16>,
    /// Densities [default: 1, 0.5, 0.25, 0.1, 0.05]
    #[arg(long, value_delimiter = ',', value_parser = density)]
    density: Vec<f64>,
    /// Times that each case is run
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: u32,
    /// Time the FFN over 1, 2, 4 and 8 tokens at once instead, on all cores or the most threads named [densities: 0.25,
    /// 0.1]
    #[arg(long)]
    batch: bool,
    /// Time the FFN over three matrices and over neurons in one piece instead, on all cores or the most threads named
    /// [densities: 1, 0.1, 0.05]
    #[arg(long, conflicts_with = "batch")]
    layout: bool,
    #[command(flatten)]
    table: TableFormat,
}

const BATCH_DENSITIES: [f64; 2] = [0.25, 0.1];
const LAYOUT_DENSITIES: [f64; 3] = [1.0, 0.1, 0.05];

const ROOF_OPERATORS: [Operator; 6] =
    [Operator::GateUp, Operator::Down, Operator::Ffn, Operator::FfnGateFirst, Operator::Predictor, Operator::Select];

/// A line of the table.
#[derive(Debug, Serialize)]
struct RoofRow {
    operator: Operator,
    isa: String,
    format: String,
    rows: usize,
    cols: usize,
    density: f64,
    threads: usize,
    seconds: f64,
    bytes: u64,
    roof_seconds: Option<f64>,
    ratio: Option<f64>,
}

/// Everything that `--json` prints.
#[derive(Debug, Serialize)]
struct Answer {
    rows: Vec<RoofRow>,
    fits: Vec<Fit>,
    starts: Vec<Start>,
    huge_page_share: Option<f64>,
}

/// Runs the command.
///
/// # Errors
/// An instruction set that this machine lacks; not enough memory.
pub fn run(arguments: &RoofArguments) -> Result<()> {
    let machine = this_machine();
    let mut plan = Plan::standard(&machine, arguments.rounds as usize);
    plan.operators = ROOF_OPERATORS.to_vec();
    plan.policies = timed_policies()?;
    plan.ranks = vec![RANKS[1]];
    plan.starts = !arguments.table.csv;
    plan.formats = or_default(&arguments.format, &every_format());
    let usual: &[f64] = match (arguments.batch, arguments.layout) {
        (true, _) => &BATCH_DENSITIES,
        (_, true) => &LAYOUT_DENSITIES,
        _ => &DENSITIES,
    };
    plan.densities = or_default(&arguments.density, usual);
    if !arguments.isa.is_empty() {
        plan.isas.clone_from(&arguments.isa);
    }
    plan.threads = if arguments.threads.is_empty() {
        vec![1, machine.logical_cores]
    } else {
        arguments.threads.iter().map(|&t| usize::from(t)).collect()
    };
    plan.threads.iter().try_for_each(|&threads| check_threads(threads, &machine))?;
    sort(&mut plan.threads, usize::cmp);
    sort(&mut plan.isas, Isa::cmp);
    sort(&mut plan.formats, Format::cmp);
    sort(&mut plan.densities, |a, b| b.total_cmp(a));
    if arguments.batch || arguments.layout {
        let show = if arguments.batch { comparisons::batched } else { comparisons::laid_out };
        return show(&plan, arguments.table);
    }
    let Measured { record, starts } = measure(&plan, machine, this_build())?;
    // Selection runs on one thread out of caches; one thread's main memory is the only roof there is for it.
    let one = record.bandwidth.iter().find(|b| b.threads == 1).map(|b| b.bytes_per_s.median);
    let rows: Vec<RoofRow> = record.measurements.iter().map(|m| row(m, one)).collect();
    if arguments.table.csv {
        print_csv(&rows)
    } else if arguments.table.json {
        print_json(&Answer { rows, fits: fits(&record), starts, huge_page_share: record.huge_page_share })
    } else {
        print(&for_people(&rows, &record.measurements))?;
        print(&fits_for_people(&fits(&record)))?;
        print(&starts_for_people(&starts))?;
        print(
            &record
                .huge_page_share
                .map_or_else(String::new, |share| format!("{:.0} % of the weights lie on huge pages\n", 100.0 * share)),
        )
    }
}

/// The roof of a case is what its own ratio says: both were taken in the same rounds.
fn row(m: &Measurement, one_thread_bytes_per_s: Option<f64>) -> RoofRow {
    let seconds = m.seconds.median;
    let roof_seconds = match &m.ratio {
        Some(ratio) => Some(seconds / ratio.median),
        None => one_thread_bytes_per_s.map(|bandwidth| m.bytes as f64 / bandwidth),
    };
    RoofRow {
        operator: m.operator,
        isa: m.isa.clone(),
        format: m.format.to_string(),
        rows: m.rows,
        cols: m.cols,
        density: m.density,
        threads: m.threads,
        seconds,
        bytes: m.bytes,
        roof_seconds,
        ratio: roof_seconds.map(|roof| seconds / roof),
    }
}

fn for_people(rows: &[RoofRow], measurements: &[Measurement]) -> String {
    let lines = rows.iter().zip(measurements).map(|(row, m)| {
        let detail = match (&m.policy, m.rank) {
            (Some(policy), _) => policy.clone(),
            (None, Some(rank)) => format!("rank {rank}"),
            (None, None) => row.density.to_string(),
        };
        let interval = m.ratio.map_or_else(String::new, |r| format!("{:.2} to {:.2}", r.low, r.high));
        vec![
            row.operator.to_string(),
            row.isa.clone(),
            row.format.clone(),
            detail,
            row.threads.to_string(),
            format!("{:.3}", row.seconds * 1e3),
            format!("{:.1}", row.bytes as f64 / 1e6),
            row.roof_seconds.map_or_else(String::new, |s| format!("{:.3}", s * 1e3)),
            row.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
            interval,
        ]
    });
    let header = ["operator", "isa", "format", "density", "threads", "ms", "MB", "roof ms", "ratio", "95 %"];
    table(&header, 4, lines)
        + "ratio: time over bytes / read bandwidth, both taken in the same round; 1 is the limit of memory.\n\
           select reads scores out of a cache, so its ratio to memory may be below 1.\n"
}

fn fits_for_people(fits: &[Fit]) -> String {
    if fits.is_empty() {
        return String::new();
    }
    let lines = fits.iter().map(|fit| {
        vec![
            fit.operator.to_string(),
            fit.isa.clone(),
            fit.format.to_string(),
            fit.threads.to_string(),
            format!("{:.1}", fit.start_us),
            format!("{:.1}", fit.gb_per_s),
            fit.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
            format!("{:.1} %", 100.0 * fit.largest_residual),
        ]
    });
    let header = ["operator", "isa", "format", "threads", "t0 us", "GB/s", "ratio", "largest residual"];
    format!(
        "\n{}time = t0 + bytes / bandwidth over the densities, by least relative error; ratio: read bandwidth over that.\n\
         t0 is below 0 where the rows that more density adds are read slower than those that are always read.\n",
        table(&header, 3, lines)
    )
}

fn starts_for_people(starts: &[Start]) -> String {
    let line = |s: &Start| {
        let (awake, asleep) = (s.awake.median * 1e6, s.asleep.median * 1e6);
        format!(
            "one FFN of {NEURONS} neurons, {} {} on {} threads: awake {awake:.1} us, asleep {asleep:.1} us\n",
            s.isa, s.format, s.threads
        )
    };
    starts.iter().map(line).collect()
}

fn density(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(d) if (0.0001..=1.0).contains(&d) => Ok(d),
        _ => Err("a density is at least 0.0001 and at most 1".to_owned()),
    }
}

fn sort<T: PartialEq>(list: &mut Vec<T>, order: impl FnMut(&T, &T) -> Ordering) {
    list.sort_by(order);
    list.dedup();
}

fn or_default<T: Clone>(given: &[T], default: &[T]) -> Vec<T> {
    if given.is_empty() { default.to_vec() } else { given.to_vec() }
}
