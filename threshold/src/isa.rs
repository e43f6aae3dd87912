//! Which instruction set runs, and how to force one.

use std::{env, fmt, str::FromStr};

use crate::Error;

/// An instruction set that the selection kernels are written for, plainest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Isa {
    /// Plain Rust at the compiler's baseline: the specification of every kernel.
    Scalar,
    /// AVX2 with FMA (Haswell 2013, Zen 2017).
    Avx2,
    /// AVX-512 F, BW and VL (Skylake-SP 2017). Answers to the name `avx512vnni` too: selection has no use for VNNI.
    Avx512,
}

impl Isa {
    /// Every instruction set, plainest first.
    pub const ALL: [Self; 3] = [Self::Scalar, Self::Avx2, Self::Avx512];

    /// Whether this processor runs it.
    #[must_use]
    pub fn is_available(self) -> bool {
        match self {
            Self::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => {
                is_x86_feature_detected!("avx2")
                    && is_x86_feature_detected!("fma")
                    && is_x86_feature_detected!("popcnt")
            }
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512vl")
                    && Self::Avx2.is_available()
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }

    /// The best one of this processor.
    #[must_use]
    pub fn best() -> Self {
        Self::ALL.into_iter().rev().find(|isa| isa.is_available()).unwrap_or(Self::Scalar)
    }

    /// The one that the variable `THRESHER_ISA` names, or the best of this processor where it is unset or empty.
    ///
    /// # Errors
    /// [`Error::UnknownIsa`]; [`Error::IsaUnavailable`].
    pub fn from_env() -> Result<Self, Error> {
        match env::var("THRESHER_ISA") {
            Ok(name) if !name.is_empty() => name.parse::<Self>()?.require(),
            _ => Ok(Self::best()),
        }
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
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        })
    }
}

impl FromStr for Isa {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        match given {
            "scalar" => Ok(Self::Scalar),
            "avx2" => Ok(Self::Avx2),
            "avx512" | "avx512vnni" => Ok(Self::Avx512),
            _ => Err(Error::UnknownIsa { given: given.to_owned() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip_and_those_of_the_kernels_beside_us_are_known() {
        for isa in Isa::ALL {
            assert_eq!(isa.to_string().parse::<Isa>().unwrap(), isa);
        }
        assert_eq!("avx512vnni".parse::<Isa>().unwrap(), Isa::Avx512);
        assert_eq!("sse2".parse::<Isa>().unwrap_err(), Error::UnknownIsa { given: "sse2".to_owned() });
    }
}
