//! Steps of all streams, one after another.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use cudarc::driver::{CudaContext, CudaEvent, CudaStream, sys::CUstreamCaptureStatus};

use super::driver;
use crate::Error;

/// What runs steps on one GPU takes its turn here, whichever stream it is on.
///
/// A step's blocks wait for each other, so all of them must be resident. Two steps on two streams, launched from
/// graphs, were seen to take some multiprocessors each and wait for the rest for ever, although each launch is
/// cooperative.
#[derive(Debug)]
pub(super) struct StepQueue {
    /// Recorded behind the newest step. Held while one is enqueued.
    newest: Mutex<CudaEvent>,
}

/// Of every GPU that is open, by ordinal.
static QUEUES: Mutex<BTreeMap<usize, Weak<StepQueue>>> = Mutex::new(BTreeMap::new());

impl StepQueue {
    /// The one queue of a context's GPU in this process.
    pub(super) fn of(context: &Arc<CudaContext>) -> Result<Arc<Self>, Error> {
        let mut queues = QUEUES.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = queues.entry(context.ordinal()).or_default();
        if let Some(queue) = queue.upgrade() {
            return Ok(queue);
        }
        let newest = context.new_event(None).map_err(driver("making an event"))?;
        let new = Arc::new(Self { newest: Mutex::new(newest) });
        *queue = Arc::downgrade(&new);
        Ok(new)
    }

    /// Calls `enqueue`, whose work on `stream` begins when all steps enqueued before are done.
    ///
    /// In a stream that is being captured nothing runs: the graph takes its turn when it is replayed.
    pub(super) fn take_turn(
        &self,
        stream: &CudaStream,
        enqueue: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let asking = driver("asking whether a stream is being captured");
        if stream.capture_status().map_err(asking)? != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
            return enqueue();
        }
        let queueing = driver("queueing a step");
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        stream.wait(&newest).map_err(&queueing)?;
        enqueue()?;
        newest.record(stream).map_err(&queueing)
    }
}
