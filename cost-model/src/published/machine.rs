//! Devices out of what a row says of hardware: by name from the catalogue, with the row's own bandwidth and memory.

use std::collections::BTreeSet;

use crate::catalogue::spelling::{Text, gigabytes, number_before};
use crate::catalogue::{Catalogue, DeviceKind, EngineClass, Hardware, Memory};

use super::reading::Flag;
use super::table::Row;
use super::time::{Device, GPU_SHARE, Placement};

const BYTES_PER_GB: f64 = 1e9;
/// A specification that a row contradicts by more is worth a word.
const SAME_BANDWIDTH: f64 = 0.15;
/// What a bandwidth in GB/s may be.
const BANDWIDTHS: std::ops::RangeInclusive<f64> = 0.1..=1e6;
/// A device that no catalogue names and that reads faster than this has stacked memory.
const FASTEST_GDDR_GB_PER_S: f64 = 1900.0;
/// Cores of a processor that no catalogue counts.
const USUAL_CORES: f64 = 32.0;
/// Bits of a vector on which the cores of all processors are compared.
const VECTOR_BITS: f64 = 128.0;

/// The devices of a row.
#[derive(Clone, Debug)]
pub(super) struct Machine {
    gpu: Option<Hardware>,
    cpu: Option<Hardware>,
    /// Out of the catalogue of machines.
    cpu_gb_per_s: Option<f64>,
    /// Out of the column for it.
    given_gb_per_s: Option<f64>,
    /// Out of the hardware's name: bandwidth, memory.
    named_gb_per_s: Option<f64>,
    named_memory_gb: Option<f64>,
    /// Two processors that share one memory, by the name.
    sockets: f64,
    text: String,
}

/// Names of the row's devices, by which rows are left out, and the devices if there is anything to go by.
pub(super) fn machine(row: &Row, catalogue: &Catalogue, flags: &mut Vec<Flag>) -> (BTreeSet<String>, Option<Machine>) {
    let text = Text::new(&row.hardware);
    let given_gb_per_s = given_bandwidth(&row.gb_per_s, flags);
    let named_gb_per_s = number_before(&row.hardware, &["gb/s", "gbps"]).filter(|v| BANDWIDTHS.contains(v));
    let mut machine = Machine {
        gpu: catalogue.gpu(&row.hardware).cloned(),
        cpu: catalogue.cpu(&row.hardware).cloned(),
        cpu_gb_per_s: None,
        given_gb_per_s,
        named_gb_per_s,
        named_memory_gb: gigabytes(&row.hardware),
        sockets: if text.fit("dual").is_some() || text.runs().starts_with(&["2".into(), "x".into()]) {
            2.0
        } else {
            1.0
        },
        text: row.hardware.clone(),
    };
    if let Some(system) = catalogue.system(&row.hardware) {
        machine.gpu = catalogue.named(&system.gpu).cloned();
        machine.cpu = catalogue.named(&system.cpu).cloned();
        machine.cpu_gb_per_s = system.cpu_gb_per_s;
    }
    let key = |h: &Hardware| if h.gb_per_s.is_some() { h.name.clone() } else { text.key() };
    let mut keys: BTreeSet<String> = [&machine.gpu, &machine.cpu].into_iter().flatten().map(key).collect();
    if keys.is_empty() {
        flags.push(Flag::Unknown("hardware", row.hardware.clone()));
        keys.insert(text.key());
        return (keys, given_gb_per_s.or(named_gb_per_s).map(|_| machine));
    }
    (keys, Some(machine))
}

fn given_bandwidth(cell: &str, flags: &mut Vec<Flag>) -> Option<f64> {
    if cell.is_empty() {
        return None;
    }
    let number = cell.parse().ok().filter(|v| BANDWIDTHS.contains(v));
    if number.is_none() {
        flags.push(Flag::Unreadable("bw_GBps_per_device_spec", cell.to_owned()));
    }
    number
}

impl Machine {
    /// Where a model's weights are: on one kind of device, or on a GPU and the processor beside it if the engine places them
    /// so or the GPU's memory does not hold them.
    ///
    /// # Errors
    /// The flag that says why not.
    pub(super) fn placement(
        &self,
        class: EngineClass,
        stored_bytes: f64,
        count: f64,
        assumed: &mut Vec<String>,
    ) -> Result<Placement, Flag> {
        let card = self.gpu.as_ref().filter(|gpu| gpu.kind == DeviceKind::Gpu);
        let holds = |gpu: &Hardware| {
            let memory = self.named_memory_gb.filter(|_| self.cpu.is_none()).or(gpu.memory_gb);
            memory.is_none_or(|gb| stored_bytes <= GPU_SHARE * gb * BYTES_PER_GB * count)
        };
        if let (Some(gpu), Some(cpu)) = (card, &self.cpu)
            && (class == EngineClass::HotCold || !holds(gpu))
        {
            let off = |spec: Option<f64>, given: f64| spec.map_or(f64::INFINITY, |spec| (given / spec).ln().abs());
            let of_gpu = self.given_gb_per_s.filter(|&given| off(gpu.gb_per_s, given) <= off(cpu.gb_per_s, given));
            let of_cpu = self.given_gb_per_s.filter(|_| of_gpu.is_none());
            let cpu_gb_per_s = self.cpu_gb_per_s.or(of_cpu).or(self.named_gb_per_s);
            let mut gpu = self.device(gpu, of_gpu, None, assumed)?;
            gpu.memory_bytes = gpu.memory_bytes.map(|bytes| bytes * count);
            let cpu = self.device(cpu, cpu_gb_per_s, None, assumed)?;
            return Ok(Placement::Shared { gpu: Some(gpu), cpu: Some(cpu) });
        }
        let nameless = self.nameless(assumed);
        let (hardware, sockets) = match (&self.gpu, &self.cpu) {
            (Some(gpu), _) => (gpu, 1.0),
            (None, Some(cpu)) => (cpu, if self.given_gb_per_s.is_some() { 1.0 } else { self.sockets }),
            (None, None) => (&nameless, 1.0),
        };
        let gb_per_s = self.given_gb_per_s.or(self.named_gb_per_s);
        // Beside a processor's name, GB are as likely those of main memory.
        let memory_gb = self.named_memory_gb.filter(|_| self.cpu.is_none());
        let mut device = self.device(hardware, gb_per_s, memory_gb, assumed)?;
        if sockets > 1.0 {
            assumed.push("the bandwidth of two sockets".into());
            device.bytes_per_s *= sockets;
        }
        if class == EngineClass::HotCold {
            let on_cpu = device.kind == DeviceKind::Cpu;
            let (gpu, cpu) = if on_cpu { (None, Some(device)) } else { (Some(device), None) };
            return Ok(Placement::Shared { gpu, cpu });
        }
        Ok(Placement::Resident { device, count })
    }

    /// A device of which only the bandwidth is known.
    fn nameless(&self, assumed: &mut Vec<String>) -> Hardware {
        let gb_per_s = self.given_gb_per_s.or(self.named_gb_per_s);
        let stacked = gb_per_s.is_some_and(|v| v > FASTEST_GDDR_GB_PER_S);
        if self.gpu.is_none() && self.cpu.is_none() {
            assumed.push(format!("a GPU with {}", if stacked { "HBM" } else { "GDDR" }));
        }
        Hardware::nameless(if stacked { Memory::Hbm } else { Memory::Gddr })
    }

    fn device(
        &self,
        hardware: &Hardware,
        gb_per_s: Option<f64>,
        memory_gb: Option<f64>,
        assumed: &mut Vec<String>,
    ) -> Result<Device, Flag> {
        let Some(own) = gb_per_s.or(hardware.gb_per_s) else { return Err(Flag::NoBandwidth(self.text.clone())) };
        match hardware.gb_per_s {
            Some(spec) if (own / spec - 1.0).abs() > SAME_BANDWIDTH => {
                assumed.push(format!("{own} GB/s as given, not the {spec} of {}", hardware.name));
            }
            Some(_) if gb_per_s.is_none() => assumed.push(format!("{}: {own} GB/s", hardware.name)),
            _ => {}
        }
        let vectors = hardware.simd_bits.map_or(1.0, |bits| bits / VECTOR_BITS);
        Ok(Device {
            kind: hardware.kind,
            memory: hardware.memory,
            bytes_per_s: own * BYTES_PER_GB,
            memory_bytes: memory_gb.or(hardware.memory_gb).map(|gb| gb * BYTES_PER_GB),
            clocks_per_s: hardware.units.zip(hardware.ghz).map(|(units, ghz)| units * ghz * 1e9 * vectors),
            cores: hardware.units.unwrap_or(USUAL_CORES),
            matrix_per_s: hardware.tflops.map(|tera| tera * 1e12),
            link: hardware.link,
            amd: hardware.is_amd_gpu(),
        })
    }
}
