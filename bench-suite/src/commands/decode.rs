//! `thresher decode`: tokens through layers of the 70B's shape on the GPU, one graph a token.

use clap::Args;
use kernels_cpu::Format;
use serde::Serialize;

use crate::{
    Result,
    gpu::{
        self,
        decode::{DecodeRow, Decoded, Plan, decode, required_bytes},
    },
    machine::{this_build, this_machine},
    output::{TableFormat, print, print_csv, print_json, table},
    workload::SHAPE,
};

use super::roof::density;

/// Arguments of `thresher decode`.
#[derive(Debug, Args)]
pub struct DecodeArguments {
    /// Format of the weights: f32, f16, bf16, q8_0, q4_0
    #[arg(long, default_value = "q8_0")]
    format: Format,
    /// Layers; all 80 take 73 GB in q8_0
    #[arg(long, default_value_t = SHAPE.layers as u16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    layers: u16,
    /// Densities of the FFN
    #[arg(long, value_delimiter = ',', value_parser = density, default_values_t = [1.0, 0.18])]
    density: Vec<f64>,
    /// Tokens that are timed at each density
    #[arg(long, default_value_t = gpu::measure::ROUNDS as u32, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: u32,
    /// Decode nothing: only say whether there is a GPU, and whether its memory holds the layers
    #[arg(long, conflicts_with_all = ["csv", "json"])]
    check: bool,
    #[command(flatten)]
    table: TableFormat,
}

/// A line of `--csv`.
#[derive(Debug, Serialize)]
struct Line {
    format: String,
    layers: usize,
    density: f64,
    bytes: u64,
    seconds: f64,
    tok_s: f64,
    tok_s_low: f64,
    tok_s_high: f64,
    ratio: f64,
}

const BYTES_PER_GB: f64 = 1e9;

/// Runs the command.
///
/// # Errors
/// No GPU, or not enough memory on it; a kernel computes something else than it was told.
pub fn run(arguments: &DecodeArguments) -> Result<()> {
    let plan = Plan {
        format: arguments.format,
        layers: arguments.layers.into(),
        densities: arguments.density.clone(),
        rounds: arguments.rounds as usize,
    };
    let opened = gpu::open()?;
    if arguments.check {
        let needed = required_bytes(&plan, &opened)? as f64 / BYTES_PER_GB;
        return print(&format!("{}; {} layers in {} take {needed:.1} GB\n", opened.device(), plan.layers, plan.format));
    }
    let decoded = decode(&plan, &opened, &this_machine(), this_build())?;
    if arguments.table.json {
        print_json(&decoded)
    } else if arguments.table.csv {
        print_csv(&decoded.rows.iter().map(line).collect::<Vec<_>>())
    } else {
        print(&for_people(&decoded))
    }
}

fn line(row: &DecodeRow) -> Line {
    Line {
        format: row.format.to_string(),
        layers: row.layers,
        density: row.density,
        bytes: row.bytes,
        seconds: row.seconds.median,
        tok_s: row.tok_s.median,
        tok_s_low: row.tok_s.low,
        tok_s_high: row.tok_s.high,
        ratio: row.ratio.median,
    }
}

fn for_people(decoded: &Decoded) -> String {
    let cells = |row: &DecodeRow| {
        let share = decoded.copy_bandwidth.map(|copy| 100.0 * row.bytes as f64 / row.seconds.median / copy.median);
        vec![
            row.format.to_string(),
            row.layers.to_string(),
            row.density.to_string(),
            format!("{:.2}", row.bytes as f64 / 1e9),
            format!("{:.3}", 1e3 * row.seconds.median),
            format!("{:.1}", row.tok_s.median),
            format!("{:.1} to {:.1}", row.tok_s.low, row.tok_s.high),
            format!("{:.2}", row.ratio.median),
            share.map_or_else(String::new, |share| format!("{share:.1}")),
        ]
    };
    let header = ["format", "layers", "density", "GB", "ms/token", "tok/s", "95 %", "ratio", "% of copy"];
    format!(
        "{}{}: random weights of {}'s shape, one graph a token: attention's projections, the FFN with a residual, the \
         LM head.\nNot in it: attention over the KV cache, norms, embedding, sampling, predictor and selection. The \
         output projection reads the layer's input.\n",
        table(&header, 1, decoded.rows.iter().map(cells)),
        decoded.machine.name(),
        SHAPE.name,
    )
}
