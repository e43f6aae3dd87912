//! Which instruction set runs, and how to force one.

use std::{env, fmt, str::FromStr};

use crate::Error;

/// An instruction set that the kernels are written for, plainest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust at the compiler's baseline: the specification of every kernel.
    Scalar,
    /// AVX2 with FMA and F16C (Haswell 2013, Zen 2017).
    Avx2,
    /// AVX-512 F, BW and VL (Skylake-SP 2017).
    Avx512,
    /// The same with VNNI (Cascade Lake 2019, Zen 4 2022), and BF16 where the processor has it.
    Avx512Vnni,
}

impl Isa {
    /// Every instruction set, plainest first.
    pub const ALL: [Self; 4] = [Self::Scalar, Self::Avx2, Self::Avx512, Self::Avx512Vnni];

    /// Whether this processor runs it.
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_available()
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Vnni => is_x86_feature_detected!("avx512vnni") && Self::Avx512.is_available(),
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The best one of this processor.
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }

    /// The one that the variable `THRESHER_ISA` names; `None` where it is unset or empty.
    ///
    /// # Errors
    /// An unknown name, or one that this processor cannot run.
    pub fn forced() -> Result<Option<Self>, Error> {
        match env::var("THRESHER_ISA") {
            Ok(name) if !name.is_empty() => name.parse::<Self>()?.require().map(Some),
            _ => Ok(None),
        }
    }

    /// The one that the variable `THRESHER_ISA` names, or the best of this processor.
    ///
    /// # Errors
    /// As for [`Isa::forced`].
    pub fn from_env() -> Result<Self, Error> {
        Ok(Self::forced()?.unwrap_or_else(Self::best))
    }

    /// Whether this processor runs 512-bit operations at the width of AVX2, in two passes (Zen 4; AMD64 Architecture
    /// Programmer's Manual, volume 3, CPUID function 8000_001Ah: FP512 not set).
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn halves_512_bits() -> bool {
        use std::arch::x86_64::__cpuid;
        const OPTIMISATIONS: u32 = 0x8000_001a;
        const FP512: u32 = 1 << 3;
        Self::is_amd() && __cpuid(0x8000_0000).eax >= OPTIMISATIONS && __cpuid(OPTIMISATIONS).eax & FP512 == 0
    }

    /// Whether this is a processor of AMD.
    #[cfg(target_arch = "x86_64")]
    pub(crate) fn is_amd() -> bool {
        use std::arch::x86_64::{__cpuid, CpuidResult};
        const AUTHENTIC_AMD: [u32; 3] = [0x6874_7541, 0x6974_6e65, 0x444d_4163];
        // Miri knows no CPUID.
        if cfg!(miri) {
            return false;
        }
        let CpuidResult { ebx, ecx, edx, .. } = __cpuid(0);
        [ebx, edx, ecx] == AUTHENTIC_AMD
    }

    /// Itself, where this processor can run it.
    ///
    /// # Errors
    /// [`Error::IsaUnavailable`] where it cannot.
    pub fn require(self) -> Result<Self, Error> {
        if self.is_available() { Ok(self) } else { Err(Error::IsaUnavailable { isa: self, best: Self::best() }) }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Vnni => "avx512vnni",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(s: &str) -> Result<Self, Error> {
        Self::ALL.into_iter().find(|isa| isa.to_string() == s).ok_or_else(|| Error::UnknownIsa { given: s.to_owned() })
    }
}
