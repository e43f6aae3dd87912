//! The same operators on a GPU, measured into a record of the same form.
//!
//! | step | module |
//! |---|---|
//! | layers of weights in device memory | [`layers`] |
//! | operators as phases of steps, captured as graphs | [`chains`] |
//! | a measurement record out of them | [`measure`] |
//! | our FFN against the dense one of cuBLAS | [`contest`], [`cublas`] |
//! | layers under each other, a token through all of them | [`stack`], [`decode`] |
//! | the FFN over a few tokens at once | [`batches`] |
//! | what its board draws | [`board`] |
//!
//! What is timed is a graph of many phases over distinct weights, between two events on the device, over the number
//! of phases: launching is in it as often as it is in a decode that replays a graph for each token.

pub mod batches;
pub mod board;
pub mod chains;
pub mod contest;
pub mod cublas;
pub mod decode;
pub mod layers;
pub mod measure;
pub mod stack;

use kernels_cuda::{Gpu, Probe, probe};

use crate::{Failure, Result};

/// Where to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Device {
    /// The processor
    Cpu,
    /// GPU 0
    Gpu,
}

/// Whether there is a GPU that runs the kernels.
pub fn is_there() -> bool {
    matches!(probe(), Probe::Device(_))
}

/// GPU 0.
///
/// # Errors
/// There is none that runs the kernels.
pub fn open() -> Result<Gpu> {
    Gpu::open(0).map_err(|e| match e {
        kernels_cuda::Error::NoGpu(found) => Failure::short(format!("no GPU to measure: {found}")),
        other => other.into(),
    })
}

/// The name that the GPU's kernels give to a format of the processor's.
pub fn gpu_format(format: kernels_cpu::Format) -> kernels_cuda::Format {
    match format {
        kernels_cpu::Format::F32 => kernels_cuda::Format::F32,
        kernels_cpu::Format::F16 => kernels_cuda::Format::F16,
        kernels_cpu::Format::Bf16 => kernels_cuda::Format::Bf16,
        kernels_cpu::Format::Q8_0 => kernels_cuda::Format::Q8_0,
        kernels_cpu::Format::Q4_0 => kernels_cuda::Format::Q4_0,
    }
}
