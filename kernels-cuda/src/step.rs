//! A whole step in one launch: kernels/step.cu.
//!
//! A step is put together from projections and FFNs ([`StepBuilder`]), each taking the value of an input or
//! of an earlier phase, and then run as often as one likes ([`Step`](crate::Step)): the host writes inputs, lists and
//! thresholds in between, and nothing else passes through it.

mod bind;
mod plan;

pub(crate) use bind::{Bound, Room, bind, words_of};
pub use plan::{List, Rows, Selection, Value};
pub(crate) use plan::{Plan, check_magnitude};
