//! Where a number came from. Every number that reaches a report carries one of these.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a number came from.
///
/// Serialises with a `kind` tag: `{"kind":"published","citation":"..."}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", rename_all_fields = "snake_case", deny_unknown_fields)]
pub enum Origin {
    /// Timed or counted on a machine.
    Measured {
        /// Fingerprint of the machine.
        machine: String,
        /// Commit of the code that was timed.
        commit: String,
        /// RFC 3339 date.
        date: String,
        /// Number of samples behind it.
        samples: u64,
    },
    /// Printed by somebody else.
    Published {
        /// Paper, table or page.
        citation: String,
    },
    /// Neither measured nor published: chosen.
    Assumed {
        /// Why this value.
        why: String,
    },
    /// Computed from other numbers.
    Derived {
        /// From which.
        from: String,
    },
}

impl Origin {
    /// A published number.
    pub fn published(citation: impl Into<String>) -> Self {
        Self::Published { citation: citation.into() }
    }

    /// An assumed number.
    pub fn assumed(why: impl Into<String>) -> Self {
        Self::Assumed { why: why.into() }
    }

    /// A derived number.
    pub fn derived(from: impl Into<String>) -> Self {
        Self::Derived { from: from.into() }
    }

    /// The same for a number computed from `inputs`: derived from something assumed is assumed.
    pub(crate) fn resting_on(self, inputs: &[&Self]) -> Self {
        match self {
            Self::Derived { from } if inputs.iter().any(|o| matches!(o, Self::Assumed { .. })) => {
                Self::assumed(format!("rests on an assumption: {from}"))
            }
            own => own,
        }
    }

    /// One word: `measured`, `published`, `assumed` or `derived`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Measured { .. } => "measured",
            Self::Published { .. } => "published",
            Self::Assumed { .. } => "assumed",
            Self::Derived { .. } => "derived",
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Measured { machine, commit, date, samples } => {
                write!(f, "measured on {machine}, commit {commit}, {date}, {samples} samples")
            }
            Self::Published { citation } => write!(f, "published: {citation}"),
            Self::Assumed { why } => write!(f, "assumed: {why}"),
            Self::Derived { from } => write!(f, "derived from {from}"),
        }
    }
}

/// A value with its origin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Sourced<T> {
    /// Ties `value` to `origin`.
    pub fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_is_tagged_and_round_trips() {
        let all = [
            Origin::Measured {
                machine: "0123".into(),
                commit: "abc".into(),
                date: "2026-01-01T00:00:00Z".into(),
                samples: 10,
            },
            Origin::published("a paper"),
            Origin::assumed("a reason"),
            Origin::derived("two numbers"),
        ];
        for origin in all {
            let json = serde_json::to_string(&origin).unwrap();
            assert!(json.starts_with(&format!(r#"{{"kind":"{}""#, origin.kind())));
            assert_eq!(serde_json::from_str::<Origin>(&json).unwrap(), origin);
        }
        assert!(serde_json::from_str::<Origin>(r#"{"kind":"guessed","why":"x"}"#).is_err());
    }
}
