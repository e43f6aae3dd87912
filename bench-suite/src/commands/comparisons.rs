//! `thresher roof --batch` and `--layout`: the FFN against itself, over several tokens at once and over another layout.

use cost_model::estimate::Estimate;
use kernels_cpu::{Cpu, Format};
use kernels_cuda::Gpu;
use serde::Serialize;

use crate::{
    Result,
    batches::{BatchRow, batches},
    gpu,
    layouts::{LayoutRow, layouts},
    measure::Plan,
    output::{TableFormat, print, print_csv, print_json, table},
};

/// One to eight tokens at once, on the most threads of the plan.
///
/// # Errors
/// An instruction set that this machine lacks; not enough memory.
pub(super) fn batched(plan: &Plan, format: TableFormat) -> Result<()> {
    let mut rows = Vec::new();
    for cpu in &widest_of_each_isa(plan)? {
        rows.extend(batches(cpu, &plan.formats, &plan.densities, plan.rounds)?);
    }
    show(format, &rows, flat_batch, batches_for_people)
}

/// One to eight tokens at once on the GPU.
///
/// # Errors
/// Not enough device memory; a kernel that computes no numbers.
pub(super) fn batched_on_gpu(
    gpu: &Gpu,
    formats: &[Format],
    densities: &[f64],
    rounds: usize,
    format: TableFormat,
) -> Result<()> {
    let rows = gpu::batches::batches(gpu, formats, densities, rounds)?;
    show(format, &rows, flat_batch, batches_for_people)
}

/// Three matrices and a bundle, on the most threads of the plan.
///
/// # Errors
/// As for [`batched`].
pub(super) fn laid_out(plan: &Plan, format: TableFormat) -> Result<()> {
    let mut rows = Vec::new();
    for cpu in &widest_of_each_isa(plan)? {
        rows.extend(layouts(cpu, &plan.formats, &plan.densities, plan.rounds)?);
    }
    show(format, &rows, flat_layout, layouts_for_people)
}

fn widest_of_each_isa(plan: &Plan) -> Result<Vec<Cpu>> {
    let threads = plan.threads.iter().copied().max().unwrap_or(1);
    plan.cpus(&[threads])
}

fn show<Row: Serialize, Flat: Serialize>(
    format: TableFormat,
    rows: &[Row],
    flat: impl Fn(&Row) -> Flat,
    for_people: impl Fn(&[Row]) -> String,
) -> Result<()> {
    if format.csv {
        print_csv(&rows.iter().map(flat).collect::<Vec<_>>())
    } else if format.json {
        print_json(&rows)
    } else {
        print(&for_people(rows))
    }
}

/// A line of `--batch --csv`.
#[derive(Debug, Serialize)]
struct FlatBatch {
    isa: String,
    format: String,
    density: f64,
    batch: usize,
    threads: usize,
    bytes: u64,
    seconds: f64,
    ratio: f64,
    ratio_low: f64,
    ratio_high: f64,
    per_token: f64,
    per_token_low: f64,
    per_token_high: f64,
}

fn flat_batch(row: &BatchRow) -> FlatBatch {
    FlatBatch {
        isa: row.isa.clone(),
        format: row.format.to_string(),
        density: row.density,
        batch: row.batch,
        threads: row.threads,
        bytes: row.bytes,
        seconds: row.seconds.median,
        ratio: row.ratio.median,
        ratio_low: row.ratio.low,
        ratio_high: row.ratio.high,
        per_token: row.per_token.median,
        per_token_low: row.per_token.low,
        per_token_high: row.per_token.high,
    }
}

/// A line of `--layout --csv`.
#[derive(Debug, Serialize)]
struct FlatLayout {
    isa: String,
    format: String,
    density: f64,
    threads: usize,
    bytes: u64,
    matrices_seconds: f64,
    matrices_ratio: f64,
    bundle_seconds: f64,
    bundle_ratio: f64,
    speedup: f64,
    speedup_low: f64,
    speedup_high: f64,
}

fn flat_layout(row: &LayoutRow) -> FlatLayout {
    FlatLayout {
        isa: row.isa.clone(),
        format: row.format.to_string(),
        density: row.density,
        threads: row.threads,
        bytes: row.bytes,
        matrices_seconds: row.matrices.median,
        matrices_ratio: row.matrices_ratio.median,
        bundle_seconds: row.bundle.median,
        bundle_ratio: row.bundle_ratio.median,
        speedup: row.speedup.median,
        speedup_low: row.speedup.low,
        speedup_high: row.speedup.high,
    }
}

fn batches_for_people(rows: &[BatchRow]) -> String {
    let lines = rows.iter().map(|row| {
        vec![
            row.isa.clone(),
            row.format.to_string(),
            row.density.to_string(),
            row.threads.to_string(),
            row.batch.to_string(),
            format!("{:.4}", row.seconds.median * 1e3),
            format!("{:.1}", row.bytes as f64 / 1e6),
            format!("{:.1}", row.bytes as f64 / row.seconds.median / 1e9),
            with_interval(&row.ratio),
            with_interval(&row.per_token),
        ]
    });
    let header =
        ["isa", "format", "density", "threads", "batch", "ms", "MB", "GB/s", "ratio (95 %)", "per token (95 %)"];
    table(&header, 3, lines)
        + "MB: rows that any token names. ratio: time over MB / read bandwidth. per token: time per token over that of a\n\
           token alone. Both are taken in the same round.\n"
}

fn layouts_for_people(rows: &[LayoutRow]) -> String {
    let lines = rows.iter().map(|row| {
        vec![
            row.isa.clone(),
            row.format.to_string(),
            row.density.to_string(),
            row.threads.to_string(),
            format!("{:.3}", row.matrices.median * 1e3),
            format!("{:.3}", row.bundle.median * 1e3),
            format!("{:.2}", row.matrices_ratio.median),
            format!("{:.2}", row.bundle_ratio.median),
            with_interval(&row.speedup),
        ]
    });
    let header =
        ["isa", "format", "density", "threads", "matrices ms", "bundle ms", "ratio", "bundle's", "speedup (95 %)"];
    table(&header, 3, lines)
        + "ratio: time over bytes / read bandwidth. speedup: time over three matrices by time over a bundle, both taken in\n\
           the same round; above 1 the bundle is faster.\n"
}

fn with_interval(e: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", e.median, e.low, e.high)
}
