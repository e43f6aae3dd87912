//! A value with its ends, where there is enough to tell them.

use serde::Serialize;

/// A value, and between which ends it lies. Few rows or few draws carry none: they would seem to be sure of it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The value.
    pub median: f64,
    /// Its ends.
    #[serde(flatten)]
    pub ends: Option<Ends>,
}

/// Between which a value lies.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ends {
    /// The lower one.
    pub low: f64,
    /// The upper one.
    pub high: f64,
}
