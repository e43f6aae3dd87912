//! What this machine is, as far as it decides how fast a kernel runs.

use std::{env, fs, path::Path, thread::available_parallelism};

use cost_model::{
    machine::{Gpu, Machine},
    record::Provenance,
};
use jiff::Timestamp;
use kernels_cpu::{Isa, huge_pages_setting};
use kernels_cuda::{Probe, probe};

const UNKNOWN: &str = "unknown";

/// This machine. What the system does not tell is `unknown` or 0.
pub fn this_machine() -> Machine {
    let cpuinfo = read("/proc/cpuinfo").unwrap_or_default();
    Machine {
        cpu_model: field(&cpuinfo, "model name").unwrap_or(UNKNOWN).to_owned(),
        cpu_vendor: field(&cpuinfo, "vendor_id").unwrap_or(UNKNOWN).to_owned(),
        logical_cores: available_parallelism().map_or(1, usize::from),
        isa: Isa::ALL.into_iter().filter(|isa| isa.is_available()).map(|isa| isa.to_string()).collect(),
        l2_bytes: cache_bytes(2),
        l3_bytes: cache_bytes(3),
        memory_bytes: memory_bytes(),
        os_kernel: format!("{} {}", env::consts::OS, read("/proc/sys/kernel/osrelease").as_deref().unwrap_or(UNKNOWN)),
        huge_pages: huge_pages_setting().unwrap_or_else(|| UNKNOWN.to_owned()),
        gpu: gpu(&probe()),
        fingerprint: String::new(),
    }
    .with_fingerprint()
}

/// The build that runs, now.
pub fn this_build() -> Provenance {
    let arguments: Vec<String> = env::args().skip(1).collect();
    Provenance {
        thresher: env!("CARGO_PKG_VERSION").to_owned(),
        commit: env!("THRESHER_COMMIT").to_owned(),
        dirty: env!("THRESHER_DIRTY") == "true",
        date: Timestamp::now(),
        command: format!("thresher {}", arguments.join(" ")).trim_end().to_owned(),
    }
}

/// Memory that is free for use now, in bytes; 0 if unknown.
pub fn available_memory_bytes() -> u64 {
    meminfo("MemAvailable")
}

/// The last-level cache that a core sees, in bytes; 0 if unknown.
pub fn last_cache_bytes() -> u64 {
    cache_bytes(3).max(cache_bytes(2))
}

fn gpu(probe: &Probe) -> Option<Gpu> {
    let Probe::Device(device) = probe else { return None };
    let (major, minor) = device.compute_capability;
    Some(Gpu {
        name: device.name.clone(),
        compute_capability: format!("{major}.{minor}"),
        memory_bytes: device.memory_bytes,
        l2_bytes: device.l2_bytes,
        multiprocessors: device.multiprocessors.into(),
        driver: Some(driver(device.driver_cuda, read("/proc/driver/nvidia/version").as_deref())),
    })
}

/// The CUDA release that the driver supports, and its own version where the system tells.
fn driver((major, minor): (i32, i32), version: Option<&str>) -> String {
    let dotted = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    let own = version.and_then(|text| text.lines().next()?.split_whitespace().find(dotted));
    let own = own.map_or_else(String::new, |own| format!("{own}, "));
    format!("{own}CUDA {major}.{minor}")
}

fn memory_bytes() -> u64 {
    meminfo("MemTotal")
}

fn meminfo(key: &str) -> u64 {
    let text = read("/proc/meminfo").unwrap_or_default();
    let kibibytes = field(&text, key).and_then(|v| v.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.map_or(0, |k| k << 10)
}

/// The unified or data cache of the first core at that level.
fn cache_bytes(level: u32) -> u64 {
    let folder = |index: u32| format!("/sys/devices/system/cpu/cpu0/cache/index{index}");
    let size = |index: u32| {
        let of = |name: &str| read(Path::new(&folder(index)).join(name));
        (of("level")? == level.to_string() && of("type")? != "Instruction").then(|| parse_size(&of("size")?))?
    };
    (0..8).find_map(size).unwrap_or(0)
}

/// `32K`, `1024K`, `32M` as the kernel writes cache sizes.
fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => 0,
    };
    digits.parse::<u64>().ok().map(|n| n << shift)
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines().filter_map(|line| line.split_once(':')).find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// A record of a GPU with that read bandwidth, and nothing measured yet.
#[cfg(test)]
pub(crate) fn example_gpu_record(read_bytes_per_s: f64) -> cost_model::record::Record {
    use cost_model::{
        estimate::Estimate,
        record::{Bandwidth, Record},
    };
    let gpu = Gpu {
        name: "Example GPU".into(),
        compute_capability: "9.0".into(),
        memory_bytes: 141_000_000_000,
        l2_bytes: 60 << 20,
        multiprocessors: 132,
        driver: None,
    };
    let host = Machine { gpu: Some(gpu), ..this_machine() };
    let mut record = Record::new(host.as_gpu().unwrap(), this_build());
    let bytes_per_s = Estimate {
        median: read_bytes_per_s,
        low: read_bytes_per_s,
        high: read_bytes_per_s,
        confidence: 0.95,
        samples: 15,
    };
    record.bandwidth = vec![Bandwidth { threads: 1, bytes_per_s }];
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_fields_parse_as_the_kernel_writes_them() {
        assert_eq!(parse_size("48K"), Some(48 << 10));
        assert_eq!(parse_size("32M"), Some(32 << 20));
        assert_eq!(parse_size("512"), Some(512));
        assert_eq!(parse_size("much"), None);
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\nmodel name\t: other";
        assert_eq!(field(text, "model name"), Some("Some CPU: fast"));
        assert_eq!(field(text, "model"), None);
        let nvidia =
            "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.65.06  Sun Jul 27 2025\nGCC version: gcc 12.3.0";
        assert_eq!(driver((13, 0), Some(nvidia)), "580.65.06, CUDA 13.0");
        assert_eq!(driver((13, 0), None), "CUDA 13.0");
    }

    #[test]
    fn this_machine_has_what_every_machine_has() {
        let machine = this_machine();
        assert!(machine.logical_cores >= 1);
        assert_eq!(machine.isa[0], "scalar");
        assert_eq!(machine.fingerprint, machine.compute_fingerprint());
    }
}
