//! Stand-in for what kernels-cuda is about to export; every call is refused.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::missing_errors_doc,
    clippy::needless_pass_by_value,
    clippy::unused_self,
    reason = "goes"
)]

use std::sync::Arc;

use kernels_cuda::{Error, Format, Gpu, Probe};

fn refused<T>() -> Result<T, Error> {
    Err(Error::NoGpu(Probe::NoDevice))
}

#[derive(Debug, Clone, Copy)]
pub enum Activation {
    Relu,
    Identity,
}
#[derive(Debug)]
pub struct PackedMatrix;
#[derive(Debug, Clone, Copy)]
pub struct Value;
#[derive(Debug, Clone, Copy)]
pub struct List;
#[derive(Debug, Clone, Copy)]
pub enum Rows {
    Every,
    Listed(List),
    Selected(Value),
}
pub struct StepBuilder;
pub struct Step;
pub struct Graph;

pub trait Pending {
    fn upload_packed(&self, format: Format, rows: usize, cols: usize, bytes: &[u8])
    -> Result<Arc<PackedMatrix>, Error>;
    fn duplicate_packed(&self, w: &PackedMatrix) -> Result<Arc<PackedMatrix>, Error>;
    fn capture(&self, steps: &[&Step]) -> Result<Graph, Error>;
    fn time(&self, run: impl FnOnce(&Gpu) -> Result<(), Error>) -> Result<f64, Error>;
    fn copy_bytes_per_s(&self) -> Result<f64, Error>;
    fn read_bytes_per_s(&self) -> Result<f64, Error>;
}

impl Pending for Gpu {
    fn upload_packed(&self, _: Format, _: usize, _: usize, _: &[u8]) -> Result<Arc<PackedMatrix>, Error> {
        refused()
    }
    fn duplicate_packed(&self, _: &PackedMatrix) -> Result<Arc<PackedMatrix>, Error> {
        refused()
    }
    fn capture(&self, _: &[&Step]) -> Result<Graph, Error> {
        refused()
    }
    fn time(&self, _: impl FnOnce(&Gpu) -> Result<(), Error>) -> Result<f64, Error> {
        refused()
    }
    fn copy_bytes_per_s(&self) -> Result<f64, Error> {
        refused()
    }
    fn read_bytes_per_s(&self) -> Result<f64, Error> {
        refused()
    }
}

impl Graph {
    pub fn replay(&self) -> Result<(), Error> {
        refused()
    }
}

impl StepBuilder {
    pub fn new(_: &Gpu, _: Format) -> Result<Self, Error> {
        refused()
    }
    pub fn input(&mut self, _: usize) -> Result<Value, Error> {
        refused()
    }
    pub fn list(&mut self, _: usize) -> Result<List, Error> {
        refused()
    }
    pub fn select(&mut self, _: Value) -> Result<Rows, Error> {
        refused()
    }
    pub fn project(&mut self, _: &Arc<PackedMatrix>, _: Value, _: Activation) -> Result<Value, Error> {
        refused()
    }
    #[allow(clippy::too_many_arguments)]
    pub fn ffn(
        &mut self,
        _: &Arc<PackedMatrix>,
        _: &Arc<PackedMatrix>,
        _: &Arc<PackedMatrix>,
        _: Activation,
        _: Value,
        _: Rows,
        _: Option<Value>,
    ) -> Result<Value, Error> {
        refused()
    }
    pub fn build(self, _: &[Value]) -> Result<Step, Error> {
        refused()
    }
}

impl Step {
    pub fn write_input(&mut self, _: Value, _: &[f32]) -> Result<(), Error> {
        refused()
    }
    pub fn write_list(&mut self, _: List, _: &[u32]) -> Result<(), Error> {
        refused()
    }
    pub fn write_threshold(&mut self, _: Rows, _: f32) -> Result<(), Error> {
        refused()
    }
    pub fn run(&self) -> Result<(), Error> {
        refused()
    }
    pub fn read(&self, _: Value, _: &mut [f32]) -> Result<(), Error> {
        refused()
    }
    pub fn computed(&self, _: Value) -> Result<u32, Error> {
        refused()
    }
}
