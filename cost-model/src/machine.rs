//! The machine a measurement belongs to.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::hash::short_hash;

/// What a GPU's kernels run with, where a processor has instruction sets.
pub const CUDA: &str = "cuda";

/// A machine as far as it decides how fast a kernel runs: its processor, or the GPU in it.
///
/// A record is of one of the two. That of a GPU has [`CUDA`] as its only instruction set and says of the processor what
/// host the GPU was in; bandwidth and memory are then those of the GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// CPU model name.
    pub cpu_model: String,
    /// CPU vendor.
    pub cpu_vendor: String,
    /// Logical cores that the process may use.
    pub logical_cores: usize,
    /// Instruction sets that kernels ran with, such as `scalar`, `avx2`, `avx512`.
    pub isa: Vec<String>,
    /// Second-level cache of one core; 0 if unknown.
    pub l2_bytes: u64,
    /// Last-level cache; 0 if unknown.
    pub l3_bytes: u64,
    /// Main memory.
    pub memory_bytes: u64,
    /// Operating system kernel.
    pub os_kernel: String,
    /// State of transparent huge pages.
    pub huge_pages: String,
    /// The GPU, if there is a usable one.
    pub gpu: Option<Gpu>,
    /// [`Machine::compute_fingerprint`] of the fields above.
    pub fingerprint: String,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Product name.
    pub name: String,
    /// Compute capability, such as `9.0`.
    pub compute_capability: String,
    /// Device memory.
    pub memory_bytes: u64,
    /// Level 2 cache; 0 if unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub l2_bytes: u64,
    /// Streaming multiprocessors; 0 if unknown.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub multiprocessors: u64,
    /// The driver and the CUDA release that it supports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

impl Machine {
    /// First 16 hexadecimal digits of the SHA-256 over every field but `fingerprint`.
    ///
    /// Hashed is the compact JSON of the fields in declaration order with `fingerprint` empty.
    pub fn compute_fingerprint(&self) -> String {
        let bare = Self { fingerprint: String::new(), ..self.clone() };
        // Strings and integers always serialise; `Debug` stands in so that there is no panic.
        short_hash(&serde_json::to_string(&bare).unwrap_or_else(|_| format!("{bare:?}")))
    }

    /// What is wrong with the fingerprint, if it is not that of the fields.
    pub(crate) fn fingerprint_fault(&self) -> Option<String> {
        let computed = self.compute_fingerprint();
        let differs = self.fingerprint != computed;
        differs.then(|| format!("is `{}`, but its fields give `{computed}`", self.fingerprint))
    }

    /// The same machine with its fingerprint filled in.
    #[must_use]
    pub fn with_fingerprint(mut self) -> Self {
        self.fingerprint = self.compute_fingerprint();
        self
    }

    /// The GPU of this machine as one of its own, to be measured into a record of its own; `None` without a usable one.
    pub fn as_gpu(&self) -> Option<Self> {
        self.gpu.as_ref()?;
        Some(Self { isa: vec![CUDA.to_owned()], ..self.clone() }.with_fingerprint())
    }

    /// The GPU, if it is what was measured.
    pub fn measured_gpu(&self) -> Option<&Gpu> {
        self.gpu.as_ref().filter(|_| self.isa == [CUDA])
    }

    /// Name of what was measured.
    pub fn name(&self) -> &str {
        self.measured_gpu().map_or(&self.cpu_model, |gpu| &gpu.name)
    }

    /// Memory that weights lie in.
    pub fn weight_memory_bytes(&self) -> u64 {
        self.measured_gpu().map_or(self.memory_bytes, |gpu| gpu.memory_bytes)
    }

    /// The last cache before that memory; 0 if unknown.
    pub fn last_cache_bytes(&self) -> u64 {
        self.measured_gpu().map_or(self.l3_bytes.max(self.l2_bytes), |gpu| gpu.l2_bytes)
    }

    /// Whether a kernel with this instruction set reads the memory whose bandwidth this machine's record has.
    pub(crate) fn reads_own_memory(&self, isa: &str) -> bool {
        self.isa.iter().any(|own| own == isa)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn example() -> Machine {
        Machine {
            cpu_model: "Example 2-core".into(),
            cpu_vendor: "Example".into(),
            logical_cores: 2,
            isa: vec!["scalar".into(), "avx2".into()],
            l2_bytes: 512 << 10,
            l3_bytes: 32 << 20,
            memory_bytes: 24 << 30,
            os_kernel: "Linux 6.1".into(),
            huge_pages: "madvise".into(),
            gpu: None,
            fingerprint: String::new(),
        }
        .with_fingerprint()
    }

    #[test]
    fn every_field_moves_the_fingerprint() {
        let base = example();
        let gpu = gpu();
        let changes: [fn(&mut Machine); 9] = [
            |m| m.cpu_model.push('x'),
            |m| m.cpu_vendor.push('x'),
            |m| m.logical_cores += 1,
            |m| m.isa.push("avx512".into()),
            |m| m.l2_bytes += 1,
            |m| m.l3_bytes += 1,
            |m| m.memory_bytes += 1,
            |m| m.os_kernel.push('x'),
            |m| m.huge_pages.push('x'),
        ];
        let mut seen = vec![base.fingerprint.clone()];
        for change in changes {
            let mut other = base.clone();
            change(&mut other);
            seen.push(other.with_fingerprint().fingerprint);
        }
        let with_gpu = Machine { gpu: Some(gpu), ..base.clone() };
        seen.push(with_gpu.with_fingerprint().fingerprint);
        assert!(seen.iter().all(|f| f.len() == 16));
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 11);
        assert_eq!(base.clone().with_fingerprint(), base);
    }

    fn gpu() -> Gpu {
        let [name, compute_capability] = ["G".into(), "9.0".into()];
        Gpu { name, compute_capability, memory_bytes: 1, l2_bytes: 3, multiprocessors: 2, driver: None }
    }

    #[test]
    fn a_gpu_is_a_machine_of_its_own() {
        let host = Machine { gpu: Some(gpu()), ..example() }.with_fingerprint();
        let own = host.as_gpu().unwrap();
        assert_eq!((own.name(), own.weight_memory_bytes(), own.last_cache_bytes()), ("G", 1, 3));
        assert_eq!((host.name(), host.weight_memory_bytes()), ("Example 2-core", 24 << 30));
        assert_ne!(own.fingerprint, host.fingerprint);
        assert_eq!(own.fingerprint, own.compute_fingerprint());
        assert!(own.reads_own_memory(CUDA) && !own.reads_own_memory("avx2") && !host.reads_own_memory(CUDA));
        assert_eq!(example().as_gpu(), None);
    }

    /// Records from before a GPU told its cache and driver keep their fingerprints.
    #[test]
    fn what_a_gpu_does_not_tell_is_left_out() {
        let bare = Gpu { l2_bytes: 0, multiprocessors: 0, ..gpu() };
        let json = serde_json::to_string(&bare).unwrap();
        assert_eq!(json, r#"{"name":"G","compute_capability":"9.0","memory_bytes":1}"#);
        assert_eq!(serde_json::from_str::<Gpu>(&json).unwrap(), bare);
    }
}
