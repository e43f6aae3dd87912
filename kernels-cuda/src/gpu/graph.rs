//! Launches captured once and replayed, and how long they take.

use std::{fmt, sync::Arc};

use cudarc::driver::{
    CudaGraph,
    sys::{CUevent_flags, CUgraphInstantiate_flags, CUstreamCaptureMode},
};

use super::{Gpu, Step, driver};
use crate::Error;

/// Launches in a CUDA graph, and the steps that they run.
pub struct Graph<'steps> {
    graph: CudaGraph,
    steps: Vec<&'steps Step>,
}

impl fmt::Debug for Graph<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Graph").field("steps", &self.steps.len()).finish_non_exhaustive()
    }
}

impl Gpu {
    /// One launch of each of `steps`, in order, as a graph: nothing of it passes through the host.
    ///
    /// # Errors
    /// No steps, or some that another `Gpu` built; a refusal of the driver.
    pub fn capture<'steps>(&self, steps: &[&'steps Step]) -> Result<Graph<'steps>, Error> {
        if steps.iter().any(|step| !Arc::ptr_eq(&step.stream, &self.stream)) {
            return Err(Error::OtherGpu { operand: "step" });
        }
        let capturing = driver("capturing a graph");
        // Nothing before it may still be on its way into the capture.
        self.synchronize()?;
        self.stream.begin_capture(CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL).map_err(&capturing)?;
        let enqueued = steps.iter().try_for_each(|step| step.run());
        let graph = self
            .stream
            .end_capture(CUgraphInstantiate_flags::CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH)
            .map_err(&capturing);
        enqueued?;
        let graph = graph?.ok_or(Error::Driver { call: "capturing a graph", reason: "nothing was enqueued".into() })?;
        Ok(Graph { graph, steps: steps.to_vec() })
    }

    /// Seconds that the GPU takes for what `enqueue` enqueues, by its own events.
    ///
    /// # Errors
    /// Those of `enqueue`; a failure of the work.
    pub fn time(&self, enqueue: impl FnOnce() -> Result<(), Error>) -> Result<f64, Error> {
        let timing = driver("timing");
        let event = || self.context.new_event(Some(CUevent_flags::CU_EVENT_DEFAULT)).map_err(&timing);
        let (start, end) = (event()?, event()?);
        start.record(&self.stream).map_err(&timing)?;
        enqueue()?;
        end.record(&self.stream).map_err(&timing)?;
        Ok(f64::from(start.elapsed_ms(&end).map_err(&timing)?) / 1e3)
    }
}

impl Graph<'_> {
    /// Enqueues one replay.
    ///
    /// # Errors
    /// A refusal of the driver.
    pub fn replay(&self) -> Result<(), Error> {
        self.graph.launch().map_err(driver("replaying a graph"))
    }
}
