//! Where the operators run: emulated, or on a GPU.

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
};

use kernels_cuda::{Activation, DownToken, Gpu, Probe, RowsToken, probe};

use crate::problem::Weights;

/// Where operators run.
pub(crate) trait Machine {
    fn gemv(&self, w: &Weights, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), String>;
    fn gate_up(
        &self,
        matrices: [&Weights; 2],
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), String>;
    fn down(&self, w: &Weights, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), String>;
    fn select_threshold(&self, scores: &[f32], threshold: f32) -> Result<Vec<u32>, String>;
    fn select_top_k(&self, scores: &[f32], k: usize) -> Result<Vec<u32>, String>;
    fn gemv_batch(&self, w: &Weights, tokens: &mut [RowsToken<'_>]) -> Result<(), String>;
    fn gate_up_batch(
        &self,
        matrices: [&Weights; 2],
        activation: Activation,
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), String>;
    fn down_batch(&self, w: &Weights, tokens: &mut [DownToken<'_>]) -> Result<(), String>;
    /// The union of lists of rows below `neurons`, and the tokens that list each.
    fn unite(&self, neurons: usize, lists: &[&[u32]]) -> Result<(Vec<u32>, Vec<u8>), String>;
}

#[cfg(emulated)]
impl Machine for kernels_cuda::emulated::Emulator {
    fn gemv(&self, w: &Weights, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), String> {
        self.gemv(w.shape(), &w.bytes, x, active, out).map_err(|e| e.to_string())
    }

    fn gate_up(
        &self,
        [gate, up]: [&Weights; 2],
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), String> {
        self.gate_up(gate.shape(), &gate.bytes, &up.bytes, activation, x, active, h).map_err(|e| e.to_string())
    }

    fn down(&self, w: &Weights, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), String> {
        self.down(w.shape(), &w.bytes, h, active, y).map_err(|e| e.to_string())
    }

    fn select_threshold(&self, scores: &[f32], threshold: f32) -> Result<Vec<u32>, String> {
        self.select_threshold(scores, threshold).map_err(|e| e.to_string())
    }

    fn select_top_k(&self, scores: &[f32], k: usize) -> Result<Vec<u32>, String> {
        self.select_top_k(scores, k).map_err(|e| e.to_string())
    }

    fn gemv_batch(&self, w: &Weights, tokens: &mut [RowsToken<'_>]) -> Result<(), String> {
        self.gemv_batch(w.shape(), &w.bytes, tokens).map_err(|e| e.to_string())
    }

    fn gate_up_batch(
        &self,
        [gate, up]: [&Weights; 2],
        activation: Activation,
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), String> {
        self.gate_up_batch(gate.shape(), &gate.bytes, &up.bytes, activation, tokens).map_err(|e| e.to_string())
    }

    fn down_batch(&self, w: &Weights, tokens: &mut [DownToken<'_>]) -> Result<(), String> {
        self.down_batch(w.shape(), &w.bytes, tokens).map_err(|e| e.to_string())
    }

    fn unite(&self, neurons: usize, lists: &[&[u32]]) -> Result<(Vec<u32>, Vec<u8>), String> {
        self.unite(neurons, lists).map_err(|e| e.to_string())
    }
}

impl Machine for Gpu {
    fn gemv(&self, w: &Weights, x: &[f32], active: &[u32], out: &mut [f32]) -> Result<(), String> {
        self.upload(w.format, w.rows, w.cols, &w.bytes)
            .and_then(|w| self.gemv(&w, x, active, out))
            .map_err(|e| e.to_string())
    }

    fn gate_up(
        &self,
        [gate, up]: [&Weights; 2],
        activation: Activation,
        x: &[f32],
        active: &[u32],
        h: &mut [f32],
    ) -> Result<(), String> {
        let upload = |w: &Weights| self.upload(w.format, w.rows, w.cols, &w.bytes);
        let mut run = || self.gate_up(&upload(gate)?, &upload(up)?, activation, x, active, h);
        run().map_err(|e| e.to_string())
    }

    fn down(&self, w: &Weights, h: &[f32], active: &[u32], y: &mut [f32]) -> Result<(), String> {
        self.upload(w.format, w.rows, w.cols, &w.bytes)
            .and_then(|w| self.down(&w, h, active, y))
            .map_err(|e| e.to_string())
    }

    fn select_threshold(&self, scores: &[f32], threshold: f32) -> Result<Vec<u32>, String> {
        self.select_threshold(scores, threshold).map_err(|e| e.to_string())
    }

    fn select_top_k(&self, scores: &[f32], k: usize) -> Result<Vec<u32>, String> {
        self.select_top_k(scores, k).map_err(|e| e.to_string())
    }

    fn gemv_batch(&self, w: &Weights, tokens: &mut [RowsToken<'_>]) -> Result<(), String> {
        self.upload(w.format, w.rows, w.cols, &w.bytes)
            .and_then(|w| self.gemv_batch(&w, tokens))
            .map_err(|e| e.to_string())
    }

    fn gate_up_batch(
        &self,
        [gate, up]: [&Weights; 2],
        activation: Activation,
        tokens: &mut [RowsToken<'_>],
    ) -> Result<(), String> {
        let upload = |w: &Weights| self.upload(w.format, w.rows, w.cols, &w.bytes);
        let mut run = || self.gate_up_batch(&upload(gate)?, &upload(up)?, activation, tokens);
        run().map_err(|e| e.to_string())
    }

    fn down_batch(&self, w: &Weights, tokens: &mut [DownToken<'_>]) -> Result<(), String> {
        self.upload(w.format, w.rows, w.cols, &w.bytes)
            .and_then(|w| self.down_batch(&w, tokens))
            .map_err(|e| e.to_string())
    }

    fn unite(&self, neurons: usize, lists: &[&[u32]]) -> Result<(Vec<u32>, Vec<u8>), String> {
        let run = || {
            let lists = lists.iter().map(|list| self.upload_active(list)).collect::<Result<Vec<_>, _>>()?;
            let mut union = self.active_union(lists.len(), neurons)?;
            self.unite_on_device(&lists.iter().collect::<Vec<_>>(), &mut union)?;
            self.download_union(&union)
        };
        run().map_err(|e: kernels_cuda::Error| e.to_string())
    }
}

/// The GPU, which the tests of this process take turns on, or a line on standard error that says why the test is
/// skipped. With `THRESHER_REQUIRE_GPU=1` the lack of one is a failure.
pub(crate) fn gpu() -> Option<MutexGuard<'static, Gpu>> {
    static GPU: OnceLock<Result<Mutex<Gpu>, Probe>> = OnceLock::new();
    let opened = GPU.get_or_init(|| match probe() {
        Probe::Device(_) => Ok(Mutex::new(Gpu::open(0).unwrap())),
        found => Err(found),
    });
    match opened {
        // A test that failed leaves the GPU as it is.
        Ok(gpu) => Some(gpu.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(found) => {
            let required = std::env::var_os("THRESHER_REQUIRE_GPU").is_some_and(|value| value == "1");
            assert!(!required, "THRESHER_REQUIRE_GPU=1, and {found}");
            say(&format!("skipped: native CUDA tests: {found}"));
            None
        }
    }
}

/// A line on standard error. Not `eprintln!`, which the test harness swallows where the test passes.
pub(crate) fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}
