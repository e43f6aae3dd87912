//! What the GPU's memory gives: the roofs that kernels are measured against.

use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr, LaunchConfig, PushKernelArg};

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

impl Gpu {
    /// Bytes per second of a device-to-device copy of 4 GiB, each byte counted as read and as written; the
    /// best of five.
    ///
    /// # Errors
    /// Less than 8 GiB of free device memory; a refusal of the driver.
    pub fn copy_bytes_per_s(&self) -> Result<f64, Error> {
        let from = self.pattern()?;
        let mut to = self.pattern()?;
        let seconds = self.best(|| self.stream.memcpy_dtod(&from, &mut to).map_err(driver("copying")))?;
        Ok(2.0 * BYTES as f64 / seconds)
    }

    /// Bytes per second at which a kernel reads 4 GiB and does nothing with them; the best of five.
    ///
    /// # Errors
    /// As for [`Gpu::copy_bytes_per_s`].
    pub fn read_bytes_per_s(&self) -> Result<f64, Error> {
        let module = self.load_module(include_str!("../../ptx/roof.ptx"))?;
        let function = module.load_function("read_all").map_err(driver("looking up a kernel"))?;
        let from = self.pattern()?;
        let mut kept: CudaSlice<u32> = self.stream.alloc_zeros(1).map_err(driver("allocating"))?;
        let seconds = self.best(|| {
            let (from, _from) = from.device_ptr(&self.stream);
            let (kept, _kept) = kept.device_ptr_mut(&self.stream);
            // Every bit of the pattern is set.
            let params =
                ReadParams { from: from as *const u8, quads: BYTES as u64 / 16, kept: kept as *mut u32, never: 0 };
            let config = LaunchConfig {
                grid_dim: (self.device.multiprocessors * BLOCKS_PER_MULTIPROCESSOR, 1, 1),
                block_dim: (THRESHER_ROOF_THREADS, 1, 1),
                shared_mem_bytes: 0,
            };
            let mut launch = self.stream.launch_builder(&function);
            launch.arg(&params);
            // SAFETY: the kernel takes these parameters, and reads the allocation's bytes.
            unsafe { launch.launch(config) }.map_err(driver("launching read_all"))?;
            Ok(())
        })?;
        Ok(BYTES as f64 / seconds)
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

    fn best(&self, mut enqueue: impl FnMut() -> Result<(), Error>) -> Result<f64, Error> {
        enqueue()?;
        let mut best = f64::INFINITY;
        for _ in 0..TRIES {
            best = best.min(self.time(&mut enqueue)?);
        }
        Ok(best)
    }
}
