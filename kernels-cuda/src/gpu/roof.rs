//! What the GPU's memory gives: the roofs that kernels are measured against.

use cudarc::driver::{CudaFunction, CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg};

use super::{Gpu, driver};
use crate::{
    Error,
    params::{ReadParams, THRESHER_ROOF_THREADS},
};

// SAFETY: as for the structs in gpu.rs.
unsafe impl DeviceRepr for ReadParams {}

/// Far beyond any level 2 cache.
const BYTES: usize = 4 << 30;
const TRIES: usize = 5;
/// Blocks of 512 threads that fit a multiprocessor at once.
const BLOCKS_PER_MULTIPROCESSOR: u32 = 4;

/// Two pieces of device memory of 4 GiB, to read and to copy.
#[derive(Debug)]
pub struct MemoryRoof<'gpu> {
    gpu: &'gpu Gpu,
    read_all: CudaFunction,
    from: CudaSlice<u8>,
    to: CudaSlice<u8>,
    kept: CudaSlice<u32>,
}

impl Gpu {
    /// Takes the memory that bandwidth is measured in.
    ///
    /// # Errors
    /// Less than 8 GiB of free device memory; a refusal of the driver.
    pub fn memory_roof(&self) -> Result<MemoryRoof<'_>, Error> {
        let module = self.load_module(include_str!("../../ptx/roof.ptx"))?;
        Ok(MemoryRoof {
            gpu: self,
            read_all: module.load_function("read_all").map_err(driver("looking up a kernel"))?,
            from: self.pattern()?,
            to: self.pattern()?,
            kept: self.stream.alloc_zeros(1).map_err(driver("allocating"))?,
        })
    }

    /// 4 GiB of ones.
    fn pattern(&self) -> Result<CudaSlice<u8>, Error> {
        // SAFETY: filled right away.
        let mut bytes: CudaSlice<u8> = unsafe { self.stream.alloc(BYTES) }.map_err(driver("allocating 4 GiB"))?;
        {
            let (at, _guard) = bytes.device_ptr_mut(&self.stream);
            // SAFETY: `at` is an allocation of as many bytes, on this stream.
            unsafe { cudarc::driver::result::memset_d8_async(at, 0xff, BYTES, self.stream.cu_stream()) }
                .map_err(driver("filling memory"))?;
        }
        Ok(bytes)
    }
}

impl MemoryRoof<'_> {
    /// Bytes per second of a device-to-device copy of 4 GiB, each byte counted as read and as written; the
    /// best of five.
    ///
    /// # Errors
    /// A refusal of the driver.
    pub fn copy_bytes_per_s(&mut self) -> Result<f64, Error> {
        let Self { gpu, from, to, .. } = self;
        let seconds = best(gpu, || gpu.stream.memcpy_dtod(&*from, to).map_err(driver("copying")))?;
        Ok(2.0 * BYTES as f64 / seconds)
    }

    /// Bytes per second at which a kernel reads 4 GiB and does nothing with them; the best of five.
    ///
    /// # Errors
    /// A refusal of the driver.
    pub fn read_bytes_per_s(&mut self) -> Result<f64, Error> {
        let Self { gpu, read_all, from, kept, .. } = self;
        let seconds = best(gpu, || {
            let (from, _from) = from.device_ptr(&gpu.stream);
            let (kept, _kept) = kept.device_ptr_mut(&gpu.stream);
            // Every bit of the pattern is set.
            let params =
                ReadParams { from: from as *const u8, quads: BYTES as u64 / 16, kept: kept as *mut u32, never: 0 };
            let config = LaunchConfig {
                grid_dim: (gpu.device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR, 1, 1),
                block_dim: (THRESHER_ROOF_THREADS, 1, 1),
                shared_mem_bytes: 0,
            };
            let mut launch = gpu.stream.launch_builder(read_all);
            launch.arg(&params);
            // SAFETY: the kernel takes these parameters, and reads the allocation's bytes.
            unsafe { launch.launch(config) }.map_err(driver("launching read_all"))?;
            Ok(())
        })?;
        Ok(BYTES as f64 / seconds)
    }
}

fn best(gpu: &Gpu, mut enqueue: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
    enqueue()?;
    let mut best = f64::INFINITY;
    for _ in 0..TRIES {
        best = best.min(gpu.time(&mut enqueue)?);
    }
    Ok(best)
}
