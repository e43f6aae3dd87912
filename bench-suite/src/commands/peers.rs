//! `thresher peers`: our sparse FFN against the dense FFNs of others.

use std::path::PathBuf;

use clap::Args;
use cost_model::{
    page,
    peers::{Comparison, PeerRow},
};
use kernels_cpu::Format;

use crate::{
    Failure, Result,
    contest::{Plan, compare},
    gpu::{self, Device, cublas::Cublas},
    machine::{this_build, this_machine},
    output::{TableFormat, print, print_csv, print_json, table},
    peers,
};

use super::{
    measure::{check_threads, every_format},
    report::{out_folder, write_together},
};

/// Arguments of `thresher peers`.
#[derive(Debug, Args)]
pub struct PeersArguments {
    /// On which device: on the GPU, the peer is cuBLAS
    #[arg(long, value_enum, default_value_t = Device::Cpu)]
    device: Device,
    /// Weight formats: f32, f16, bf16, q8_0, q4_0 [default: all; on a GPU f16 and bf16, which cuBLAS has]
    #[arg(long, value_delimiter = ',')]
    format: Vec<Format>,
    /// Threads of everybody [default: all cores]
    #[arg(long, conflicts_with = "device", value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
    /// Times that each FFN is run
    #[arg(long, default_value_t = 21, value_parser = clap::value_parser!(u32).range(6..=100_000))]
    rounds: u32,
    /// Folder for peers.html and peers.svg
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    #[command(flatten)]
    table: TableFormat,
}

const PAGE: &str = "peers.html";
const PLOT: &str = "peers.svg";
const BYTES_PER_GB: f64 = 1e9;

/// Runs the command.
///
/// # Errors
/// A build without peers; a peer that is held back or computes something else; not enough memory; the folder cannot be
/// written.
pub fn run(arguments: &PeersArguments) -> Result<()> {
    let out = arguments.out.as_ref().map(|path| out_folder(path, &[PAGE, PLOT])).transpose()?;
    let comparison = match arguments.device {
        Device::Cpu => on_cpu(arguments)?,
        Device::Gpu => {
            let formats = formats_or(arguments, Cublas::FORMATS.to_vec());
            gpu::contest::compare(&gpu::open()?, &formats, arguments.rounds as usize, &this_machine(), this_build())?
        }
    };
    if let Some(out) = &out {
        let files = [(PAGE, page::peers_html(&comparison)), (PLOT, page::peers_svg(&comparison))];
        write_together(out, files.iter().map(|(name, text)| (*name, text.as_bytes())))?;
    }
    if arguments.table.csv {
        return print_csv(&comparison.rows());
    }
    if arguments.table.json {
        return print_json(&comparison);
    }
    print(&for_people(&comparison))?;
    out.map_or(Ok(()), |out| print(&format!("{}\n", out.path().join(PAGE).display())))
}

fn formats_or(arguments: &PeersArguments, usual: Vec<Format>) -> Vec<Format> {
    let mut formats = if arguments.format.is_empty() { usual } else { arguments.format.clone() };
    formats.sort_unstable();
    formats.dedup();
    formats
}

fn on_cpu(arguments: &PeersArguments) -> Result<Comparison> {
    let peers = peers::all();
    if peers.is_empty() {
        return Err(Failure::input(
            "this build has no peers to compare with: run ci/peers, which builds them, or build with --features peers",
        ));
    }
    let machine = this_machine();
    let threads = arguments.threads.map_or(machine.logical_cores, usize::from);
    check_threads(threads, &machine)?;
    let plan = Plan { formats: formats_or(arguments, every_format()), threads, rounds: arguments.rounds as usize };
    compare(&plan, &peers, machine, this_build())
}

fn for_people(comparison: &Comparison) -> String {
    let header = ["format", "who", "density", "ms", "GB/s", "ratio", "speed-up", "95 %"];
    let mut text = table(&header, 3, comparison.rows().iter().map(cells));
    text += "ratio: time over bytes / read bandwidth, both taken in the same round; 1 is the limit of memory.\n\
             speed-up: over the fastest dense peer of the format, round by round.\n";
    for contest in &comparison.contests {
        if let (Some(crossover), Some(best)) = (&contest.crossover, contest.best_peer()) {
            text += &format!("{}: {crossover}, against dense {}\n", contest.format, best.who);
        }
    }
    for contestant in &comparison.contestants {
        text += &format!("{} {}\n", contestant.name, contestant.version);
    }
    let gpu = comparison.measured.machine.measured_gpu().is_some();
    if gpu && comparison.contestants.len() == 1 {
        text += "cublas: skipped, the library is not where the loader looks; name its folder in LD_LIBRARY_PATH\n";
    }
    for b in &comparison.measured.bandwidth {
        let [median, low, high] =
            [b.bytes_per_s.median, b.bytes_per_s.low, b.bytes_per_s.high].map(|v| v / BYTES_PER_GB);
        let threads = if gpu { String::new() } else { format!(", {} threads", b.threads) };
        text += &format!(
            "read bandwidth of {}{threads}: {median:.1} GB/s measured ({low:.1} to {high:.1})\n",
            comparison.measured.machine.name(),
        );
    }
    if let Some(copy) = &comparison.measured.copy_bandwidth {
        text += &format!("copy bandwidth: {:.1} GB/s read and written\n", copy.median / BYTES_PER_GB);
    }
    text
}

fn cells(row: &PeerRow) -> Vec<String> {
    let speedup = row.speedup.map_or_else(String::new, |s| format!("{s:.2}"));
    let interval = match (row.speedup_low, row.speedup_high) {
        (Some(low), Some(high)) => format!("{low:.2} to {high:.2}"),
        _ => String::new(),
    };
    vec![
        row.format.clone(),
        row.who.clone(),
        row.density.to_string(),
        format!("{:.3}", row.seconds * 1e3),
        format!("{:.1}", row.gb_per_s),
        row.ratio.map_or_else(String::new, |r| format!("{r:.2}")),
        speedup,
        interval,
    ]
}
