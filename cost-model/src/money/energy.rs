//! What a token takes of energy, and of how much of the machine that is.

use std::fmt;

use serde::Serialize;

use crate::estimate::Interval;
use crate::origin::Sourced;
use crate::record::Covers;

/// What draws a power. `Display` says it in words; it is serialised as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DrawnBy {
    /// The whole machine, with its share of the building: as its owner says.
    Machine,
    /// The board of a GPU alone, without the host around it.
    Gpu,
    /// The packages of the processors alone, without the memory beside them.
    Package,
}

impl DrawnBy {
    /// One word: `machine`, `gpu` or `package`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Gpu => "gpu",
            Self::Package => "package",
        }
    }
}

impl fmt::Display for DrawnBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "the machine with its share of the building",
            Self::Gpu => "the GPU's board (not the machine around it)",
            Self::Package => "the processor's packages (not memory or the rest)",
        })
    }
}

impl From<Covers> for DrawnBy {
    fn from(covers: Covers) -> Self {
        match covers {
            Covers::Gpu => Self::Gpu,
            Covers::Package => Self::Package,
        }
    }
}

/// Power at work.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Draw {
    /// Watts.
    pub watts: Interval,
    /// What draws them.
    pub by: DrawnBy,
}

impl Draw {
    /// Joules per token: watts times seconds per token.
    pub fn joules_per_token(&self, tok_s: f64) -> f64 {
        self.watts.median / tok_s
    }

    /// The same between the ends of both.
    pub(super) fn joules_between(&self, tok_s: Interval) -> Interval {
        let Interval { low, high, .. } = self.watts;
        Interval { median: self.joules_per_token(tok_s.median), low: low / tok_s.high, high: high / tok_s.low }
    }
}

/// Energy of a token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Energy {
    /// Joules per token.
    pub joules_per_token: Sourced<Interval>,
    /// What draws them.
    pub drawn_by: DrawnBy,
}
