//! The machine a measurement belongs to.

use serde::{Deserialize, Serialize};

use crate::hash::short_hash;

/// A machine as far as it decides how fast a kernel runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// Product name.
    pub name: String,
    /// Compute capability, such as `9.0`.
    pub compute_capability: String,
    /// Device memory.
    pub memory_bytes: u64,
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

    /// Whether a kernel with this instruction set reads main memory, not device memory.
    pub(crate) fn is_cpu_isa(&self, isa: &str) -> bool {
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
        let gpu = Gpu { name: "G".into(), compute_capability: "9.0".into(), memory_bytes: 1 };
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
}
