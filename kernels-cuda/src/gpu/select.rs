//! Selection on the GPU: the active list of a layer from the scores of its neurons, without a round
//! trip through the host.

use cudarc::driver::{CudaSlice, DevicePtr, DevicePtrMut, DeviceRepr};

use super::{ActiveSet, Gpu, Vector, driver};
use crate::{
    Error, Format, Kernel, Operator,
    active::Listed,
    launch::Grid,
    params::{SelectThresholdParams, SelectTopKParams},
    shape::{check_length, check_scores},
};

// SAFETY: as for the structs in gpu.rs.
unsafe impl DeviceRepr for SelectThresholdParams {}
// SAFETY: as above.
unsafe impl DeviceRepr for SelectTopKParams {}

/// A number of rows in device memory.
#[derive(Debug)]
pub struct Count {
    value: CudaSlice<u32>,
}

impl Gpu {
    /// Room for a list selected from the scores of `neurons` neurons; no row until then.
    ///
    /// # Errors
    /// Not enough device memory, or another refusal of the driver.
    pub fn active_set(&self, neurons: usize) -> Result<ActiveSet, Error> {
        let allocating = driver("allocating an active list");
        Ok(ActiveSet {
            len: neurons,
            listed: Listed::OnDevice,
            indices: self.stream.alloc_zeros(neurons.max(1)).map_err(&allocating)?,
            count: self.stream.alloc_zeros(1).map_err(&allocating)?,
        })
    }

    /// Copies a number of rows to the GPU, for [`Gpu::select_top_k_on_device`].
    ///
    /// # Errors
    /// As for [`Gpu::upload_vector`].
    pub fn upload_count(&self, count: u32) -> Result<Count, Error> {
        Ok(Count { value: self.copy_in("uploading a count", &[count])? })
    }

    /// Copies a list back, after all work enqueued so far.
    ///
    /// # Errors
    /// A failure of that work or of the copy.
    pub fn download_active(&self, active: &ActiveSet) -> Result<Vec<u32>, Error> {
        self.require_own("active", &active.indices)?;
        let downloading = driver("downloading the active list");
        let mut count = [0];
        self.stream.memcpy_dtoh(&active.count, &mut count).map_err(&downloading)?;
        self.synchronize()?;
        let mut indices = vec![0; active.len.min(count[0] as usize)];
        if !indices.is_empty() {
            let listed = active.indices.slice(..indices.len());
            self.stream.memcpy_dtoh(&listed, &mut indices).map_err(&downloading)?;
            self.synchronize()?;
        }
        Ok(indices)
    }

    /// Replaces `active` by the indices i, ascending, with `scores[i] >= threshold`.
    ///
    /// `threshold` is one value, and `active.len()` the number of scores. A NaN score reaches no
    /// threshold, and no score reaches a NaN threshold.
    ///
    /// # Errors
    /// Arguments of another length; more than 2^20 scores; a refusal of the driver.
    pub fn select_threshold_on_device(
        &self,
        scores: &Vector,
        threshold: &Vector,
        active: &mut ActiveSet,
    ) -> Result<(), Error> {
        self.require_own("threshold", &threshold.values)?;
        check_length("threshold", threshold.len, 1)?;
        self.check_selection(scores, active)?;
        {
            let (scores_at, _scores) = scores.values.device_ptr(&self.stream);
            let (threshold, _threshold) = threshold.values.device_ptr(&self.stream);
            let (indices, _indices) = active.indices.device_ptr_mut(&self.stream);
            let (count, _count) = active.count.device_ptr_mut(&self.stream);
            let params = SelectThresholdParams {
                scores: scores_at as *const f32,
                threshold: threshold as *const f32,
                active: indices as *mut u32,
                active_count: count as *mut u32,
                count: scores.len as u32,
            };
            let kernel = Kernel::of(Operator::SelectThreshold, Format::F32);
            let grid = Grid::of_selection(self.device.is_hopper_or_newer());
            // SAFETY: the kernel takes these parameters; every address is an allocation of this
            // context that the guards above keep, as long as the checks above make it.
            unsafe { self.launch(kernel, grid, &params, "launching select_threshold") }?;
        }
        active.listed = Listed::OnDevice;
        Ok(())
    }

    /// Replaces `active` by the indices, ascending, of the k largest scores; of equal scores the lowest
    /// indices win. A k above the number of scores takes them all.
    ///
    /// `active.len()` is the number of scores. Zeros of either sign are equal. NaN scores, which the
    /// CPU's selection refuses, are equal and lower than any other.
    ///
    /// # Errors
    /// As for [`Gpu::select_threshold_on_device`].
    pub fn select_top_k_on_device(&self, scores: &Vector, k: &Count, active: &mut ActiveSet) -> Result<(), Error> {
        self.require_own("k", &k.value)?;
        self.check_selection(scores, active)?;
        {
            let (scores_at, _scores) = scores.values.device_ptr(&self.stream);
            let (k, _k) = k.value.device_ptr(&self.stream);
            let (indices, _indices) = active.indices.device_ptr_mut(&self.stream);
            let (count, _count) = active.count.device_ptr_mut(&self.stream);
            let params = SelectTopKParams {
                scores: scores_at as *const f32,
                k: k as *const u32,
                active: indices as *mut u32,
                active_count: count as *mut u32,
                count: scores.len as u32,
            };
            let kernel = Kernel::of(Operator::SelectTopK, Format::F32);
            let grid = Grid::of_selection(self.device.is_hopper_or_newer());
            // SAFETY: as in `select_threshold_on_device`.
            unsafe { self.launch(kernel, grid, &params, "launching select_top_k") }?;
        }
        active.listed = Listed::OnDevice;
        Ok(())
    }

    fn check_selection(&self, scores: &Vector, active: &ActiveSet) -> Result<(), Error> {
        self.require_own("scores", &scores.values)?;
        self.require_own("active", &active.indices)?;
        check_scores(scores.len)?;
        check_length("active", active.len, scores.len)
    }
}
