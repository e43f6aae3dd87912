//! The operators on host slices: copied in, run, copied out. For a loop over tokens, keep vectors on
//! the device and use the `_on_device` methods.

use crate::{
    Activation, Error, Gpu, Matrix,
    active::check_active,
    shape::{check_length, check_rank, check_scores},
};

impl Gpu {
    /// [`Gpu::gemv_on_device`] for host slices.
    ///
    /// # Errors
    /// As there, and a list that is not strictly ascending. `out` is untouched on error.
    pub fn gemv(&self, w: &Matrix, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), Error> {
        check_length("x", x.len(), w.cols())?;
        check_length("out", out.len(), active.len())?;
        check_active(active, w.rows())?;
        let active = self.upload_active(active)?;
        let x = self.upload_vector(x)?;
        let mut result = self.zeros(out.len())?;
        self.gemv_on_device(w, &x, &active, &mut result)?;
        self.download(&result, out)
    }

    /// [`Gpu::gate_up_on_device`] for host slices.
    ///
    /// # Errors
    /// As there, and a list that is not strictly ascending. `h` is untouched on error.
    pub fn gate_up(
        &self,
        gate: &Matrix,
        up: &Matrix,
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), Error> {
        check_length("x", x.len(), gate.cols())?;
        check_length("h", h.len(), active.len())?;
        check_active(active, gate.rows())?;
        let active = self.upload_active(active)?;
        let x = self.upload_vector(x)?;
        let mut result = self.zeros(h.len())?;
        self.gate_up_on_device(gate, up, activation, &x, &active, &mut result)?;
        self.download(&result, h)
    }

    /// [`Gpu::down_on_device`] for host slices.
    ///
    /// # Errors
    /// As there, and a list that is not strictly ascending. `y` is untouched on error.
    pub fn down(&self, w: &Matrix, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), Error> {
        check_length("h", h.len(), active.len())?;
        check_length("y", y.len(), w.cols())?;
        check_active(active, w.rows())?;
        let active = self.upload_active(active)?;
        let h = self.upload_vector(h)?;
        let mut result = self.upload_vector(y)?;
        self.down_on_device(w, &h, &active, &mut result)?;
        self.download(&result, y)
    }

    /// [`Gpu::select_threshold_on_device`] for host slices.
    ///
    /// # Errors
    /// As there.
    pub fn select_threshold(&self, scores: &[f32], threshold: f32) -> Result<Vec<u32>, Error> {
        check_scores(scores.len())?;
        let mut active = self.active_set(scores.len())?;
        let scores = self.upload_vector(scores)?;
        let threshold = self.upload_vector(&[threshold])?;
        self.select_threshold_on_device(&scores, &threshold, &mut active)?;
        self.download_active(&active)
    }

    /// [`Gpu::select_top_k_on_device`] for host slices.
    ///
    /// # Errors
    /// As there, and a `k` above the number of scores.
    pub fn select_top_k(&self, scores: &[f32], k: usize) -> Result<Vec<u32>, Error> {
        let k = check_rank(k, scores.len())?;
        let mut active = self.active_set(scores.len())?;
        let scores = self.upload_vector(scores)?;
        self.select_top_k_on_device(&scores, &self.upload_count(k)?, &mut active)?;
        self.download_active(&active)
    }
}
