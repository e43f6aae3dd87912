//! Whether this machine can run the kernels, and why not, as data.

use std::fmt;

use cudarc::driver::{
    DriverError,
    result::{self, device},
    sys::{self, CUdevice_attribute as Attribute, CUresult},
};

/// The oldest driver that reads the embedded PTX (ISA 9.0), as `cuDriverGetVersion` counts:
/// 1000 * major + 10 * minor of the CUDA release it supports.
const OLDEST_DRIVER: i32 = 13_000;
/// The same for people.
const OLDEST_DRIVER_NAME: &str = "CUDA 13.0 (driver 580)";
/// The PTX is for compute capability 8.0, Ampere.
const OLDEST_CAPABILITY: (i32, i32) = (8, 0);

/// What [`probe`] found. Displays as one line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Probe {
    /// The CUDA driver library is not installed.
    NoDriver,
    /// The driver predates the CUDA release of the embedded kernels.
    DriverTooOld {
        /// CUDA release the driver supports: major, minor.
        cuda: (i32, i32),
    },
    /// The driver is there, a GPU is not, or is hidden from this process.
    NoDevice,
    /// There are GPUs, but not this one.
    NoSuchDevice {
        /// The GPU asked for.
        ordinal: usize,
        /// GPUs that this process sees.
        visible: usize,
    },
    /// The first GPU predates the kernels.
    DeviceTooOld(Device),
    /// The driver is there and failed.
    DriverFailed {
        /// What it was asked.
        call: &'static str,
        /// Its answer.
        reason: String,
    },
    /// The first GPU, able to run every kernel.
    Device(Device),
}

/// A GPU, as its driver describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Which GPU of the machine, from 0.
    pub ordinal: usize,
    /// Marketing name.
    pub name: String,
    /// Compute capability: major, minor.
    pub compute_capability: (i32, i32),
    /// Memory, all of it.
    pub memory_bytes: u64,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Level 2 cache.
    pub l2_bytes: u64,
    /// GPUs that this process sees, this one included.
    pub visible: usize,
    /// CUDA release that the driver supports: major, minor.
    pub driver_cuda: (i32, i32),
}

impl Device {
    /// Whether it runs what is compiled for Hopper: [`crate::Operator::ptx_for_hopper`].
    pub(crate) fn is_hopper_or_newer(&self) -> bool {
        self.compute_capability >= (9, 0)
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDriver => f.write_str("the CUDA driver library (libcuda.so on Linux) is not installed"),
            Self::DriverTooOld { cuda } => write!(
                f,
                "the CUDA driver supports CUDA {}.{}, and the kernels need {OLDEST_DRIVER_NAME}: \
                 update the driver",
                cuda.0, cuda.1
            ),
            Self::NoDevice => f.write_str("the CUDA driver sees no GPU: check the hardware and CUDA_VISIBLE_DEVICES"),
            Self::NoSuchDevice { ordinal, visible } => {
                write!(f, "there is no GPU {ordinal}: the CUDA driver sees {visible}, counted from 0")
            }
            Self::DeviceTooOld(device) => write!(
                f,
                "GPU {} ({}) has compute capability {}.{}, and the kernels need {}.{} or newer",
                device.ordinal,
                device.name,
                device.compute_capability.0,
                device.compute_capability.1,
                OLDEST_CAPABILITY.0,
                OLDEST_CAPABILITY.1
            ),
            Self::DriverFailed { call, reason } => {
                write!(f, "the CUDA driver failed while {call}: {reason}")
            }
            Self::Device(device) => write!(f, "{device}"),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "GPU {}: {}, compute capability {}.{}, {} multiprocessors, {:.1} GB, L2 {:.1} MB",
            self.ordinal,
            self.name,
            self.compute_capability.0,
            self.compute_capability.1,
            self.multiprocessors,
            self.memory_bytes as f64 / 1e9,
            self.l2_bytes as f64 / 1e6,
        )
    }
}

/// Looks for a GPU that can run the kernels. Never fails and never panics: what is missing is the
/// answer. Creates no context on the GPU.
pub fn probe() -> Probe {
    probe_ordinal(0)
}

/// As [`probe`], of one GPU.
pub(crate) fn probe_ordinal(ordinal: usize) -> Probe {
    match look(ordinal) {
        Ok(found) | Err(found) => found,
    }
}

fn look(ordinal: usize) -> Result<Probe, Probe> {
    // Without the library any other call of cudarc panics.
    // SAFETY: loads and unloads the driver library, whose constructors have no precondition.
    if !unsafe { sys::is_culib_present() } {
        return Err(Probe::NoDriver);
    }
    let version = driver_version()?;
    let cuda = (version / 1000, version % 1000 / 10);
    if version < OLDEST_DRIVER {
        return Err(Probe::DriverTooOld { cuda });
    }
    result::init().map_err(|error| failed("starting", error))?;
    let visible = device::get_count().map_err(|error| failed("counting GPUs", error))?;
    let visible = usize::try_from(visible).unwrap_or(0);
    if visible == 0 {
        return Err(Probe::NoDevice);
    }
    if ordinal >= visible {
        return Err(Probe::NoSuchDevice { ordinal, visible });
    }
    let found = describe(ordinal, visible, cuda).map_err(|error| failed("describing the GPU", error))?;
    Ok(if found.compute_capability < OLDEST_CAPABILITY { Probe::DeviceTooOld(found) } else { Probe::Device(found) })
}

fn driver_version() -> Result<i32, Probe> {
    let mut version = 0;
    // SAFETY: the library is present, and the driver writes one int.
    unsafe { sys::cuDriverGetVersion(&raw mut version) }
        .result()
        .map_err(|error| failed("reading its version", error))?;
    Ok(version)
}

fn describe(ordinal: usize, visible: usize, driver_cuda: (i32, i32)) -> Result<Device, DriverError> {
    let handle = device::get(i32::try_from(ordinal).unwrap_or(i32::MAX))?;
    // SAFETY: `handle` is a device that the driver returned.
    let attribute = |which| unsafe { device::get_attribute(handle, which) };
    let size = |value: i32| u64::try_from(value).unwrap_or(0);
    Ok(Device {
        ordinal,
        name: device::get_name(handle)?,
        compute_capability: (
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
            attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
        ),
        // SAFETY: `handle` is a device that the driver returned.
        memory_bytes: unsafe { device::total_mem(handle) }? as u64,
        multiprocessors: u32::try_from(attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?).unwrap_or(0),
        l2_bytes: size(attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?),
        visible,
        driver_cuda,
    })
}

fn failed(call: &'static str, error: DriverError) -> Probe {
    if error.0 == CUresult::CUDA_ERROR_NO_DEVICE {
        return Probe::NoDevice;
    }
    Probe::DriverFailed { call, reason: describe_error(error) }
}

/// The driver's name and description of an error, such as
/// `CUDA_ERROR_OUT_OF_MEMORY (out of memory)`.
pub(crate) fn describe_error(error: DriverError) -> String {
    let text = error.error_string().map_or("no description".into(), |text| text.to_string_lossy());
    format!("{:?} ({text})", error.0)
}
