//! `thresher roof`: every operator against the time in which this machine could at best read its bytes.

use std::{cmp::Ordering, path::PathBuf};

use clap::Args;
use cost_model::{
    fit::{Fit, fits},
    machine::Machine,
    operator::Operator,
    record::{Measurement, Record},
};
use kernels_cpu::{Format, Isa};
use serde::Serialize;

use crate::{
    Failure, Result,
    gpu::{
        self, Device,
        measure::{LaunchRow, LayerRow},
    },
    machine::{this_build, this_machine},
    measure::{DENSITIES, Plan, RANKS, measure},
    output::{TableFormat, print, print_csv, print_json, table},
    start::{NEURONS, Start},
};

use super::{
    comparisons,
    measure::{check_threads, every_format, timed_policies, writable_beside, written},
    or_default,
};

/// Arguments of `thresher roof`.
#[derive(Debug, Args)]
pub struct RoofArguments {
    /// Only the processor, or only the GPU [default: both, where there is a GPU and nothing is asked of the processor]
    #[arg(long, value_enum)]
    device: Option<Device>,
    /// Instruction sets: scalar, avx2, avx512, avx512vnni [default: the best that runs here]
    #[arg(long, value_delimiter = ',')]
    isa: Vec<Isa>,
    /// Weight formats: f32, f16, bf16, q8_0, q4_0 [default: all]
    #[arg(long, value_delimiter = ',')]
    format: Vec<Format>,
    /// Thread counts [default: 1 and all cores]
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Vec<u16>,
    /// Densities [default: 1, 0.5, 0.25, 0.1, 0.05, and on a GPU 0.18 and 0.02]
    #[arg(long, value_delimiter = ',', value_parser = density)]
    density: Vec<f64>,
    /// Times that each case is run [default: 21, on a GPU 15]
    #[arg(long, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: Option<u32>,
    /// Measure every operator, and write the record that `thresher measure` would; of one device
    #[arg(long, value_name = "FILE", requires = "device", conflicts_with_all = ["batch", "layout"])]
    record: Option<PathBuf>,
    /// Time the FFN over 1, 2, 4 and 8 tokens at once instead, on all cores or the most threads named [densities: 0.25,
    /// 0.1; on a GPU 0.1, formats bf16 and q8_0]
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

const ROOF_OPERATORS: [Operator; 7] = [
    Operator::GateUp,
    Operator::Down,
    Operator::Ffn,
    Operator::FfnGateFirst,
    Operator::FfnPredicted,
    Operator::Predictor,
    Operator::Select,
];

const ROUNDS: usize = 21;

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
    /// Whole layers on the GPU: predictor, selection and FFN.
    layers: Vec<LayerRow>,
    /// FFNs on the GPU with a launch of their own.
    launches: Vec<LaunchRow>,
}

/// Runs the command.
///
/// # Errors
/// An instruction set that this machine lacks; not enough memory.
pub fn run(arguments: &RoofArguments) -> Result<()> {
    let machine = this_machine();
    if let Some(out) = &arguments.record {
        writable_beside(out)?;
    }
    let asks_cpu = arguments.layout || !arguments.isa.is_empty() || !arguments.threads.is_empty();
    let (cpu, gpu) = match arguments.device {
        Some(device) => (device == Device::Cpu, device == Device::Gpu),
        None => (true, !asks_cpu && !arguments.batch && gpu::is_there()),
    };
    if gpu && asks_cpu {
        return Err(Failure::input("--isa, --threads and --layout are of the processor: drop --device gpu"));
    }
    let opened = if gpu { Some(gpu::open()?) } else { None };
    if let Some(opened) = opened.as_ref().filter(|_| arguments.batch) {
        let formats = or_default(&arguments.format, &gpu::batches::FORMATS);
        let densities = or_default(&arguments.density, &gpu::batches::DENSITIES);
        let rounds = arguments.rounds.map_or(gpu::measure::ROUNDS, |r| r as usize);
        return comparisons::batched_on_gpu(opened, &formats, &densities, rounds, arguments.table);
    }
    let plan = cpu_plan(arguments, &machine)?;
    if arguments.batch || arguments.layout {
        let show = if arguments.batch { comparisons::batched } else { comparisons::laid_out };
        return show(&plan, arguments.table);
    }
    let mut records = Vec::new();
    let mut starts = Vec::new();
    if cpu {
        let measured = measure(&plan, machine.clone(), this_build())?;
        records.push(measured.record);
        starts = measured.starts;
    }
    let (mut layers, mut launches) = (Vec::new(), Vec::new());
    if let Some(opened) = opened {
        let measured = gpu::measure::measure(&gpu_plan(arguments)?, &opened, &machine, this_build())?;
        records.push(measured.record);
        (layers, launches) = (measured.layers, measured.launches);
    }
    let all = || records.iter().flat_map(|record| record.measurements.iter().map(move |m| (record, m)));
    let rows: Vec<RoofRow> = all().map(|(record, m)| row(m, one_thread(record))).collect();
    let fits: Vec<Fit> = records.iter().flat_map(fits).collect();
    let huge_page_share = records.iter().find_map(|record| record.huge_page_share);
    if arguments.table.csv {
        print_csv(&rows)?;
    } else if arguments.table.json {
        print_json(&Answer { rows, fits, starts, huge_page_share, layers, launches })?;
    } else {
        print(&for_people(&rows, &all().collect::<Vec<_>>()))?;
        print(&fits_for_people(&fits))?;
        print(&starts_for_people(&starts))?;
        print(&beside_for_people(&layers, &launches))?;
        print(
            &huge_page_share
                .map_or_else(String::new, |share| format!("{:.0} % of the weights lie on huge pages\n", 100.0 * share)),
        )?;
        print(&bandwidth_for_people(&records))?;
    }
    match (&arguments.record, records.as_slice()) {
        (Some(out), [record]) if arguments.table == TableFormat::default() => written(record, out),
        // Standard output is the table alone.
        (Some(out), [record]) => Ok(record.write(out)?),
        _ => Ok(()),
    }
}

/// One thread's main memory is the only roof that there is for selection out of a cache; a GPU counts as one thread.
fn one_thread(record: &Record) -> Option<f64> {
    record.bandwidth.iter().find(|b| b.threads == 1).map(|b| b.bytes_per_s.median)
}

fn gpu_plan(arguments: &RoofArguments) -> Result<gpu::measure::Plan> {
    let mut plan = gpu::measure::Plan::standard(arguments.rounds.map_or(gpu::measure::ROUNDS, |r| r as usize));
    plan.formats = or_default(&arguments.format, &every_format());
    plan.densities = or_default(&arguments.density, &gpu::measure::DENSITIES);
    plan.policies = timed_policies()?;
    sort(&mut plan.formats, Format::cmp);
    sort(&mut plan.densities, |a, b| b.total_cmp(a));
    plan.power = arguments.record.is_some();
    if arguments.record.is_none() {
        plan.operators = ROOF_OPERATORS.to_vec();
        plan.ranks = vec![RANKS[1]];
    }
    Ok(plan)
}

fn cpu_plan(arguments: &RoofArguments, machine: &Machine) -> Result<Plan> {
    let mut plan = Plan::standard(machine, arguments.rounds.map_or(ROUNDS, |r| r as usize));
    plan.policies = timed_policies()?;
    plan.power = arguments.record.is_some();
    if arguments.record.is_none() {
        plan.operators = ROOF_OPERATORS.to_vec();
        plan.ranks = vec![RANKS[1]];
    }
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
    plan.threads.iter().try_for_each(|&threads| check_threads(threads, machine))?;
    sort(&mut plan.threads, usize::cmp);
    sort(&mut plan.isas, Isa::cmp);
    sort(&mut plan.formats, Format::cmp);
    sort(&mut plan.densities, |a, b| b.total_cmp(a));
    Ok(plan)
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

fn for_people(rows: &[RoofRow], measurements: &[(&Record, &Measurement)]) -> String {
    let copies = measurements.iter().any(|(record, _)| record.copy_bandwidth.is_some());
    let lines = rows.iter().zip(measurements).map(|(row, (record, m))| {
        // Of a gate that lets a share through, as far as anyone wants to read it.
        let density = (row.density * 1e4).round() / 1e4;
        let detail = match (&m.policy, m.rank) {
            (Some(policy), _) => policy.clone(),
            (None, Some(rank)) if m.operator == Operator::Predictor => format!("rank {rank}"),
            (None, Some(rank)) => format!("{density}, rank {rank}"),
            (None, None) => density.to_string(),
        };
        let interval = m.ratio.map_or_else(String::new, |r| format!("{:.2} to {:.2}", r.low, r.high));
        // A share of it says nothing about what lies in a cache.
        let copy = record.copy_bandwidth.filter(|_| m.ratio.is_some());
        let share = copy.map(|copy| 100.0 * row.bytes as f64 / row.seconds / copy.median);
        let mut line = vec![
            row.operator.to_string(),
            row.isa.clone(),
            row.format.clone(),
            detail,
            row.threads.to_string(),
            ms(row.seconds),
            format!("{:.1}", row.bytes as f64 / 1e6),
            row.roof_seconds.map_or_else(String::new, ms),
            row.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
            interval,
        ];
        if copies {
            line.push(share.map_or_else(String::new, |s| format!("{s:.1}")));
        }
        line
    });
    let mut header = vec!["operator", "isa", "format", "density", "threads", "ms", "MB", "roof ms", "ratio", "95 %"];
    if copies {
        header.push("% of copy");
    }
    let copy = if copies { "% of copy: bytes over time, as a share of the bandwidth of a device copy.\n" } else { "" };
    table(&header, 4, lines)
        + "ratio: time over bytes / read bandwidth, both taken in the same round; 1 is the limit of memory.\n\
           select reads scores out of a cache, so its ratio to memory may be below 1.\n"
        + copy
}

/// Milliseconds, with the tens of nanoseconds where a GPU takes microseconds.
fn ms(seconds: f64) -> String {
    let digits = if seconds < 1e-4 { 5 } else { 3 };
    format!("{:.digits$}", 1e3 * seconds)
}

/// Whole layers and single launches on the GPU.
fn beside_for_people(layers: &[LayerRow], launches: &[LaunchRow]) -> String {
    if layers.is_empty() && launches.is_empty() {
        return String::new();
    }
    let us = |seconds: f64| format!("{:.1}", 1e6 * seconds);
    let layer = |l: &LayerRow| {
        vec![
            l.format.to_string(),
            l.density.to_string(),
            format!("{:.1}", l.bytes as f64 / 1e6),
            us(l.seconds.median),
            l.parts_seconds.map_or_else(String::new, us),
            format!("{:.2}", l.ratio.median),
        ]
    };
    let launch = |l: &LaunchRow| {
        vec![
            l.format.to_string(),
            l.neurons.to_string(),
            format!("{:.1}", l.bytes as f64 / 1e6),
            us(l.chained.median),
            us(l.launched.median),
        ]
    };
    format!(
        "\n{}a whole layer: predictor of rank {}, threshold on its scores, FFN over what is left, one of many in a \
         launch; parts: predictor and FFN each in a chain of its own.\n\n{}one FFN as a phase of many in a launch, and as \
         the only phase of a launch, one of many in a graph.\n",
        table(&["layer in", "density", "MB", "us", "parts us", "ratio"], 1, layers.iter().map(layer)),
        layers.first().map_or(0, |l| l.rank),
        table(&["FFN in", "neurons", "MB", "phase us", "launch us"], 1, launches.iter().map(launch)),
    )
}

/// The bandwidth of a GPU; a processor's is what its rows' roofs say.
fn bandwidth_for_people(records: &[Record]) -> String {
    let line = |record: &Record| {
        let gpu = record.machine.measured_gpu()?;
        let (read, copy) = (one_thread(record)?, record.copy_bandwidth?.median);
        Some(format!("{}: reads {:.1} GB/s, copies {:.1} GB/s read and written\n", gpu.name, read / 1e9, copy / 1e9))
    };
    records.iter().filter_map(line).collect()
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

/// A density of a command line.
///
/// # Errors
/// It is not one that a 70B layer can be computed at.
pub(super) fn density(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(d) if (0.0001..=1.0).contains(&d) => Ok(d),
        _ => Err("a density is at least 0.0001 and at most 1".to_owned()),
    }
}

fn sort<T: PartialEq>(list: &mut Vec<T>, order: impl FnMut(&T, &T) -> Ordering) {
    list.sort_by(order);
    list.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::example_gpu_record;
    use cost_model::{estimate::Estimate, format::WeightFormat, machine::CUDA};

    fn exact(median: f64) -> Estimate {
        Estimate { median, low: median, high: median, confidence: 0.95, samples: 15 }
    }

    /// Reads 4 TB/s, copies 3.2.
    fn record() -> Record {
        let mut record = example_gpu_record(4e12);
        record.copy_bandwidth = Some(exact(3.2e12));
        for density in [1.0, 0.5, 0.25] {
            let bytes = Operator::Ffn.weight_bytes(WeightFormat::Bf16, (28672, 8192), density, 0);
            let seconds = 1e-6 + bytes as f64 / 3e12;
            record.measurements.push(Measurement {
                operator: Operator::Ffn,
                kernel: "ffn/cuda/bf16".into(),
                isa: CUDA.into(),
                format: WeightFormat::Bf16,
                rows: 28672,
                cols: 8192,
                density,
                threads: 1,
                bytes,
                seconds: exact(seconds),
                ratio: Some(exact(seconds * 4e12 / bytes as f64)),
                policy: None,
                rank: None,
                tokens: None,
            });
        }
        record.check("example").unwrap();
        record
    }

    #[test]
    fn a_gpus_rows_say_their_share_of_a_copy() {
        let record = record();
        let rows: Vec<RoofRow> = record.measurements.iter().map(|m| row(m, one_thread(&record))).collect();
        let text = for_people(&rows, &record.measurements.iter().map(|m| (&record, m)).collect::<Vec<_>>());
        assert!(text.contains("% of copy") && text.contains("93.6") && text.contains("1.34"), "{text}");
        let fits = fits(&record);
        assert!((fits[0].start_us - 1.0).abs() < 1e-3 && (fits[0].gb_per_s - 3000.0).abs() < 0.1, "{fits:?}");
        let machine = bandwidth_for_people(std::slice::from_ref(&record));
        assert_eq!(machine, "Example GPU: reads 4000.0 GB/s, copies 3200.0 GB/s read and written\n");
        // A processor has no copy to compare with, and its table no such column.
        let cpu = Record { copy_bandwidth: None, ..record.clone() };
        let text = for_people(&rows, &record.measurements.iter().map(|m| (&cpu, m)).collect::<Vec<_>>());
        assert!(!text.contains("of copy"), "{text}");
    }

    #[test]
    fn whole_layers_and_launches_stand_below() {
        let layer = LayerRow {
            format: WeightFormat::Q8_0,
            rank: 1024,
            density: 0.1,
            bytes: 115_000_000,
            seconds: exact(40e-6),
            ratio: exact(1.2),
            parts_seconds: Some(35e-6),
        };
        let launch = LaunchRow {
            format: WeightFormat::Q8_0,
            density: 8.0 / 28672.0,
            neurons: 8,
            bytes: 208_896,
            chained: exact(6e-6),
            launched: exact(9e-6),
        };
        let text = beside_for_people(&[layer], &[launch]);
        for figure in ["115.0", "40.0", "35.0", "1.20", "rank 1024", "0.2", "6.0", "9.0"] {
            assert!(text.contains(figure), "{figure} is not in {text}");
        }
        assert_eq!(beside_for_people(&[], &[]), "");
    }
}
