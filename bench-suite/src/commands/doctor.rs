//! `thresher doctor`: what this machine has, what will run on it, and what will not and why.

use std::path::Path;

use clap::Args;
use cost_model::{
    estimate::Estimate,
    machine::Machine,
    record::{Bandwidth, Provenance},
};
use kernels_cpu::{Cpu, Format, Isa};
use kernels_cuda::{Probe, probe};
use serde::Serialize;

use crate::{
    Failure, Result,
    gpu::{self, board::Board, cublas},
    machine::{available_memory_bytes, this_build, this_machine},
    measure,
    output::{TableFormat, print, print_csv, print_json, table},
    power::{
        PowerError,
        powercap::{self, Packages},
    },
    workload::Layer,
};

/// Arguments of `thresher doctor`.
#[derive(Debug, Args)]
pub struct DoctorArguments {
    #[command(flatten)]
    format: TableFormat,
}

const ROUNDS: usize = 15;
const BYTES_PER_GB: f64 = 1e9;

/// Whether something runs here.
#[derive(Serialize)]
struct Finding {
    what: String,
    runs: bool,
    detail: String,
}

#[derive(Serialize)]
struct GpuBandwidth {
    read_bytes_per_s: Option<Estimate>,
    /// Bytes read plus bytes written.
    copy_bytes_per_s: Option<Estimate>,
}

#[derive(Serialize)]
struct Diagnosis {
    machine: Machine,
    build: Provenance,
    bandwidth: Vec<Bandwidth>,
    /// Of the memory that was read for the bandwidth.
    huge_page_share: Option<f64>,
    /// The GPU's memory, where there is a GPU.
    gpu_bandwidth: Option<GpuBandwidth>,
    findings: Vec<Finding>,
}

/// Runs the command.
///
/// # Errors
/// `THRESHER_ISA` names an instruction set that is unknown or missing here, or `THRESHER_REQUIRE_ISA=1` and one is
/// missing; not enough memory.
pub fn run(arguments: &DoctorArguments) -> Result<()> {
    let machine = this_machine();
    let mut threads = vec![1, machine.logical_cores];
    threads.dedup();
    let cpus = threads.iter().map(|&t| Ok(Cpu::with_threads(t)?)).collect::<Result<Vec<_>>>()?;
    let (bandwidth, huge_page_share) = measure::bandwidth(&cpus, ROUNDS)?;
    let (gpu_bandwidth, gpu_finding) = gpu_bandwidth();
    let mut findings = findings(measure::widest(&cpus)?)?;
    findings.extend(gpu_finding);
    let diagnosis = Diagnosis { findings, gpu_bandwidth, machine, build: this_build(), bandwidth, huge_page_share };
    if arguments.format.json {
        print_json(&diagnosis)?;
    } else if arguments.format.csv {
        print_csv(&diagnosis.findings)?;
    } else {
        print(&for_people(&diagnosis))?;
    }
    required_isa_is_there()
}

fn required_isa_is_there() -> Result<()> {
    let missing: Vec<String> =
        Isa::ALL.into_iter().filter(|isa| !isa.is_available()).map(|isa| isa.to_string()).collect();
    let forced = std::env::var("THRESHER_ISA").is_ok_and(|name| !name.is_empty());
    let required = std::env::var("THRESHER_REQUIRE_ISA").is_ok_and(|v| v == "1");
    if required && !forced && !missing.is_empty() {
        return Err(Failure::short(format!("THRESHER_REQUIRE_ISA=1, but this processor lacks {}", missing.join(", "))));
    }
    Ok(())
}

fn findings(cpu: &Cpu) -> Result<Vec<Finding>> {
    let mut all = Vec::new();
    for isa in Isa::ALL {
        let runs = isa.is_available();
        let used: Vec<_> = Format::ALL.into_iter().filter(|&format| cpu.kernel(format).isa() == isa).collect();
        let detail = match (runs, used.is_empty()) {
            (true, false) => format!("runs, and is used for {}", measure::list(&used)),
            (true, true) => "runs; THRESHER_ISA selects it".to_owned(),
            (false, _) => "skipped: this processor lacks it".to_owned(),
        };
        all.push(Finding { what: format!("{isa} kernels"), runs, detail });
    }
    let free = available_memory_bytes();
    for format in Format::ALL {
        let wanted = Layer::bytes(format)? as u64;
        let runs = free == 0 || wanted <= free;
        let gigabytes = wanted as f64 / BYTES_PER_GB;
        let detail = if runs {
            format!("runs: a 70B layer takes {gigabytes:.1} GB")
        } else {
            format!("skipped: a 70B layer takes {gigabytes:.1} GB, {:.1} GB is free", free as f64 / BYTES_PER_GB)
        };
        all.push(Finding { what: format!("{format} layer"), runs, detail });
    }
    all.push(power("power of the processor", Packages::open(Path::new(powercap::FOLDER)).err()));
    let probe = probe();
    let runs = matches!(probe, Probe::Device(_));
    let detail = if runs { probe.to_string() } else { format!("skipped: {probe}") };
    all.push(Finding { what: "CUDA kernels".to_owned(), runs, detail });
    Ok(all)
}

/// Whether a power can be measured while kernels run.
fn power(what: &str, fault: Option<PowerError>) -> Finding {
    let runs = fault.is_none();
    let detail = fault.map_or_else(|| "is measured".to_owned(), |why| format!("skipped: {why}"));
    Finding { what: what.to_owned(), runs, detail }
}

/// How fast the GPU's memory is. A GPU that cannot be measured, because others use it, is a finding.
fn gpu_bandwidth() -> (Option<GpuBandwidth>, Vec<Finding>) {
    if !gpu::is_there() {
        return (None, Vec::new());
    }
    let peer = cublas::is_there();
    let detail = if peer { "runs, as a peer on the GPU" } else { "skipped: the library is not where the loader looks" };
    let mut findings = vec![
        Finding { what: "cuBLAS".to_owned(), runs: peer, detail: detail.to_owned() },
        power("power of the GPU's board", Board::open(0).err()),
    ];
    match gpu::open().and_then(|gpu| gpu::measure::bandwidth(&gpu, ROUNDS)) {
        Ok((read, copy_bytes_per_s)) => {
            let read_bytes_per_s = read.first().map(|b| b.bytes_per_s);
            (Some(GpuBandwidth { read_bytes_per_s, copy_bytes_per_s }), findings)
        }
        Err(failure) => {
            let what = "bandwidth of the GPU".to_owned();
            findings.push(Finding { what, runs: false, detail: format!("skipped: {}", failure.message) });
            (None, findings)
        }
    }
}

/// How much of the memory in use lay on huge pages.
fn huge_pages(share: Option<f64>) -> String {
    share
        .map_or_else(|| "the system does not say what is granted".to_owned(), |s| format!("{:.0} % granted", 100.0 * s))
}

fn for_people(diagnosis: &Diagnosis) -> String {
    let m = &diagnosis.machine;
    let mebibytes = |bytes: u64| match bytes {
        0 => "unknown".to_owned(),
        bytes => format!("{:.0} MiB", bytes as f64 / f64::from(1 << 20)),
    };
    let mut rows = vec![
        vec!["processor".to_owned(), format!("{} ({})", m.cpu_model, m.cpu_vendor)],
        vec!["cores".to_owned(), m.logical_cores.to_string()],
        vec!["L2 of a core, L3".to_owned(), format!("{}, {}", mebibytes(m.l2_bytes), mebibytes(m.l3_bytes))],
        vec!["memory".to_owned(), format!("{:.1} GB", m.memory_bytes as f64 / BYTES_PER_GB)],
        vec!["kernel".to_owned(), m.os_kernel.clone()],
        vec!["huge pages".to_owned(), format!("{}; {}", m.huge_pages, huge_pages(diagnosis.huge_page_share))],
        vec!["fingerprint".to_owned(), m.fingerprint.clone()],
    ];
    let measured = |e: &Estimate| {
        let gb = |v: f64| v / BYTES_PER_GB;
        format!("{:.1} GB/s measured ({:.1} to {:.1}, {} rounds)", gb(e.median), gb(e.low), gb(e.high), e.samples)
    };
    for b in &diagnosis.bandwidth {
        let threads = if b.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", b.threads) };
        rows.push(vec![format!("read bandwidth, {threads}"), measured(&b.bytes_per_s)]);
    }
    if let Some(gpu) = &diagnosis.gpu_bandwidth {
        let both = [("read bandwidth, GPU", &gpu.read_bytes_per_s), ("copy bandwidth, GPU", &gpu.copy_bytes_per_s)];
        rows.extend(both.iter().filter_map(|(what, e)| Some(vec![(*what).to_owned(), measured(e.as_ref()?)])));
    }
    rows.extend(diagnosis.findings.iter().map(|f| vec![f.what.clone(), f.detail.clone()]));
    table(&["this machine", ""], 2, rows)
}
