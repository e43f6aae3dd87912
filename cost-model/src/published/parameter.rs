//! What is fitted: few numbers, each of them something that a machine does, with what is believed before any row is seen.

use crate::catalogue::{Catalogue, EngineClass, Kernel, Link, Memory};

/// A number to fit, by its place among all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Parameter(pub(super) usize);

/// A parameter, described.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Description {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// Median of what is believed before; a log-normal.
    pub(super) prior: f64,
    /// Standard deviation of its logarithm.
    pub(super) spread: f64,
}

const fn described(name: &'static str, unit: &'static str, prior: f64, spread: f64) -> Description {
    Description { name, unit, prior, spread }
}

/// Generations and bits of luck within one family differ by that much.
const FAMILY: f64 = 0.15;
/// What is known within a factor of one and a half to two.
const ROUGH: f64 = 0.5;

const SHARE: &str = "of the specified bandwidth";
const PER_CLOCK: &str = "bytes per unit and clock";
const FACTOR: &str = "times";

macro_rules! parameters {
    ($($id:ident = $description:expr;)*) => {
        #[derive(Clone, Copy)]
        enum Id { $($id),* }
        const FIXED: &[Description] = &[$($description),*];
    };
}

parameters! {
    ReachHbm = described("reach of HBM", SHARE, 0.85, FAMILY);
    ReachGddr = described("reach of GDDR", SHARE, 0.85, FAMILY);
    ReachUnified = described("reach of unified memory", SHARE, 0.85, FAMILY);
    ReachDdr = described("reach of DDR", SHARE, 0.75, FAMILY);
    GgmlFloat = described("ggml kernels, 16 bits", PER_CLOCK, 8.0, ROUGH);
    GgmlByte = described("ggml kernels, 8 bits", PER_CLOCK, 8.0, ROUGH);
    GgmlNibble = described("ggml kernels, 4 bits", PER_CLOCK, 8.0, ROUGH);
    GgmlSuperblock = described("ggml kernels, K formats", PER_CLOCK, 8.0, ROUGH);
    OtherFloat = described("other kernels, 16 bits", PER_CLOCK, 8.0, ROUGH);
    OtherByte = described("other kernels, 8 bits", PER_CLOCK, 8.0, ROUGH);
    OtherNibble = described("other kernels, 4 bits", PER_CLOCK, 8.0, ROUGH);
    OtherSuperblock = described("other kernels, K formats", PER_CLOCK, 8.0, ROUGH);
    GgmlCache = described("ggml kernels, KV cache", PER_CLOCK, 1.5, ROUGH);
    OtherCache = described("other kernels, KV cache", PER_CLOCK, 10.0, ROUGH);
    AppleFloat = described("a unit of unified memory, 16 bits", FACTOR, 0.8, 0.4);
    AppleQuantised = described("a unit of unified memory, quantised", FACTOR, 0.8, 0.4);
    AppleCache = described("a unit of unified memory, KV cache", FACTOR, 0.4, ROUGH);
    CpuFloat = described("128 bits of a core's vectors, 16 bits", FACTOR, 0.15, 0.6);
    CpuQuantised = described("128 bits of a core's vectors, quantised", FACTOR, 0.15, 0.6);
    AmdUnit = described("a compute unit of AMD", FACTOR, 0.6, 0.4);
    LaunchGgml = described("launches of ggml", "seconds per layer", 80e-6, ROUGH);
    LaunchGraph = described("launches of a graph", "seconds per layer", 40e-6, ROUGH);
    LaunchEager = described("launches from Python", "seconds per layer", 200e-6, ROUGH);
    LaunchMetal = described("launches of MLX", "seconds per layer", 100e-6, ROUGH);
    LaunchUnified = described("launches on unified memory", FACTOR, 1.3, 0.4);
    LaunchAmd = described("launches on AMD", FACTOR, 1.3, 0.3);
    Barrier = described("barriers of a processor", "seconds per layer and core", 5e-6, ROUGH);
    Hop = described("from one device to the next", "seconds", 150e-6, 0.6);
    NvLink = described("reductions over NVLink", "seconds per layer", 20e-6, 0.6);
    Pcie = described("reductions over PCIe", "seconds per layer", 100e-6, 0.6);
    Step = described("scheduler and server", "seconds per step", 1.5e-3, ROUGH);
    HotRows = described("scattered rows on a GPU", FACTOR, 2.0, 0.4);
    Merge = described("merging GPU and processor", "seconds per FFN matrix", 100e-6, ROUGH);
    PromptSplit = described("a prompt, layers split", "dense tokens", 2.5, ROUGH);
    PromptHotCold = described("a prompt, neurons placed", "dense tokens", 1.5, ROUGH);
}

/// An engine's launches over those of its class: few engines have rows on many devices.
const ENGINE_SPREAD: f64 = 0.25;

impl Parameter {
    const fn of(id: Id) -> Self {
        Self(id as usize)
    }

    pub(super) const APPLE_FLOAT: Self = Self::of(Id::AppleFloat);
    pub(super) const APPLE_QUANTISED: Self = Self::of(Id::AppleQuantised);
    pub(super) const APPLE_CACHE: Self = Self::of(Id::AppleCache);
    pub(super) const CPU_FLOAT: Self = Self::of(Id::CpuFloat);
    pub(super) const CPU_QUANTISED: Self = Self::of(Id::CpuQuantised);
    pub(super) const AMD_UNIT: Self = Self::of(Id::AmdUnit);
    pub(super) const LAUNCH_UNIFIED: Self = Self::of(Id::LaunchUnified);
    pub(super) const LAUNCH_AMD: Self = Self::of(Id::LaunchAmd);
    pub(super) const BARRIER: Self = Self::of(Id::Barrier);
    pub(super) const HOP: Self = Self::of(Id::Hop);
    pub(super) const STEP: Self = Self::of(Id::Step);
    pub(super) const HOT_ROWS: Self = Self::of(Id::HotRows);
    pub(super) const MERGE: Self = Self::of(Id::Merge);

    pub(super) fn reach(memory: Memory) -> Self {
        Self::of(match memory {
            Memory::Hbm => Id::ReachHbm,
            Memory::Gddr => Id::ReachGddr,
            Memory::Unified => Id::ReachUnified,
            Memory::Ddr => Id::ReachDdr,
        })
    }

    /// Bytes of weights that a unit gets through per clock.
    pub(super) fn kernel(class: EngineClass, kernel: Kernel) -> Self {
        let ggml = matches!(class, EngineClass::Ggml | EngineClass::HotCold);
        Self::of(match (ggml, kernel) {
            (true, Kernel::Float) => Id::GgmlFloat,
            (true, Kernel::Byte) => Id::GgmlByte,
            (true, Kernel::Nibble) => Id::GgmlNibble,
            (true, Kernel::Superblock) => Id::GgmlSuperblock,
            (false, Kernel::Float) => Id::OtherFloat,
            (false, Kernel::Byte) => Id::OtherByte,
            (false, Kernel::Nibble) => Id::OtherNibble,
            (false, Kernel::Superblock) => Id::OtherSuperblock,
        })
    }

    /// Bytes of keys and values that a unit gets through per clock.
    pub(super) fn cache(class: EngineClass) -> Self {
        let ggml = matches!(class, EngineClass::Ggml | EngineClass::HotCold);
        Self::of(if ggml { Id::GgmlCache } else { Id::OtherCache })
    }

    pub(super) fn launch(class: EngineClass) -> Self {
        Self::of(match class {
            EngineClass::Ggml | EngineClass::HotCold => Id::LaunchGgml,
            EngineClass::Graph => Id::LaunchGraph,
            EngineClass::Eager => Id::LaunchEager,
            EngineClass::Metal => Id::LaunchMetal,
        })
    }

    pub(super) fn link(link: Link) -> Self {
        Self::of(match link {
            Link::NvLink => Id::NvLink,
            Link::Pcie => Id::Pcie,
        })
    }

    pub(super) fn prompt(class: EngineClass) -> Self {
        Self::of(if class == EngineClass::HotCold { Id::PromptHotCold } else { Id::PromptSplit })
    }

    /// An engine's launches over those of its class; `engine` is its place in the catalogue.
    pub(super) fn engine(engine: usize) -> Self {
        Self(FIXED.len() + engine)
    }
}

/// All parameters: those above, then one per engine of a catalogue.
#[derive(Clone, Debug)]
pub(super) struct Space {
    engines: Vec<String>,
}

impl Space {
    pub(super) fn new(catalogue: &Catalogue) -> Self {
        Self { engines: catalogue.engine.iter().map(|e| e.name.clone()).collect() }
    }

    pub(super) fn len(&self) -> usize {
        FIXED.len() + self.engines.len()
    }

    pub(super) fn describe(&self, parameter: Parameter) -> Description {
        FIXED.get(parameter.0).copied().unwrap_or(described("launches of the engine", FACTOR, 1.0, ENGINE_SPREAD))
    }

    pub(super) fn name(&self, parameter: Parameter) -> String {
        match parameter.0.checked_sub(FIXED.len()).and_then(|engine| self.engines.get(engine)) {
            Some(engine) => format!("launches of {engine}, over its class"),
            None => self.describe(parameter).name.to_owned(),
        }
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Parameter> + use<> {
        (0..self.len()).map(Parameter)
    }

    /// Logarithms of what is believed before any row.
    pub(super) fn priors(&self) -> Vec<f64> {
        self.all().map(|p| self.describe(p).prior.ln()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_is_named_once() {
        let space = Space::new(&Catalogue::own().unwrap());
        let mut names: Vec<String> = space.all().map(|p| space.name(p)).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), space.len());
        assert!(space.priors().iter().all(|v| v.is_finite()));
        assert_eq!(space.describe(Parameter::reach(Memory::Ddr)).name, "reach of DDR");
        assert_eq!(space.describe(Parameter::MERGE).prior, 100e-6);
    }
}
