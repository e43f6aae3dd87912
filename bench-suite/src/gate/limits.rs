//! `ci/limits.toml`: how much longer than its siblings each kernel may take.

use std::collections::BTreeMap;

use cost_model::format::WeightFormat;
use serde::Deserialize;

use crate::{Failure, Result};

/// Limits by operator and format.
pub type Table = BTreeMap<String, BTreeMap<WeightFormat, f64>>;

/// All limits: ratios of times of the same round, smaller being better.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time a byte over that of the machine's own reading of memory: the kernel that runs by default.
    pub roof: Table,
    /// Time a byte at a density of 0.1 over that at 1.
    pub dense: Table,
    /// Time a row over that of the scalar kernel: every kernel of another instruction set.
    pub scalar: Table,
    /// Time after a change over time before it.
    pub change: f64,
}

impl Limits {
    /// Reads the file; `name` stands for it in errors.
    ///
    /// # Errors
    /// Not TOML, other fields, or a limit that is no positive number.
    pub fn parse(text: &str, name: &str) -> Result<Self> {
        let limits: Self = toml::from_str(text).map_err(|e| Failure::input(format!("{name}: {e}")))?;
        let tables = [&limits.roof, &limits.dense, &limits.scalar].into_iter().flat_map(|table| table.values());
        let all = tables.flat_map(|by_format| by_format.values()).chain([&limits.change]);
        let bad = all.copied().find(|limit| !(limit.is_finite() && *limit > 0.0));
        match bad {
            Some(limit) => Err(Failure::input(format!("{name}: a limit is {limit}, wanted a positive number"))),
            None => Ok(limits),
        }
    }
}

/// The limit of an operator in a format, if there is one.
pub fn limit(table: &Table, operator: &str, format: WeightFormat) -> Option<f64> {
    table.get(operator)?.get(&format).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "change = 1.03\n[roof]\ndown = { f16 = 1.5 }\n[dense]\n[scalar]\n";

    #[test]
    fn limits_are_read() {
        let limits = Limits::parse(TEXT, "x").unwrap();
        assert_eq!(limit(&limits.roof, "down", WeightFormat::F16), Some(1.5));
        assert_eq!(limit(&limits.roof, "down", WeightFormat::F32), None);
        assert_eq!(limit(&limits.dense, "down", WeightFormat::F16), None);
    }

    #[test]
    fn anything_else_is_refused() {
        for bad in [
            TEXT.replace("1.5", "0"),
            TEXT.replace("1.5", "nan"),
            TEXT.replace("f16", "f17"),
            TEXT.replace("roof", "rooof"),
            TEXT.replace("change = 1.03", ""),
        ] {
            let failure = Limits::parse(&bad, "ci/limits.toml").unwrap_err();
            assert!(failure.message.contains("ci/limits.toml"), "{}", failure.message);
        }
    }
}
