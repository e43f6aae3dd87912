//! Configurations that are looked at together.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::compose::DENSE;
use crate::grid::{Cell, Grid};
use crate::report::policy_kind;

/// By what configurations are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Grouping {
    /// Not at all.
    All,
    /// By machine.
    Hardware,
    /// By whether thresholds move between tokens.
    Thresholds,
    /// By kind of policy.
    Policy,
    /// By weight format.
    Format,
    /// By users decoded together.
    Batch,
    /// By tokens in the KV cache.
    Context,
}

/// Whether thresholds move between tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Thresholds {
    /// Set before the first token: `fixed` and `per-layer`.
    Fixed,
    /// Moved by what is seen, of this token or of those before: `dynamic`, `budget`, `top-p` and others.
    Dynamic,
    /// None: dense, and `top-k`, which counts.
    None,
}

impl Thresholds {
    /// Those of a policy.
    pub fn of(policy: &str) -> Self {
        match policy_kind(policy) {
            "fixed" | "per-layer" => Self::Fixed,
            DENSE | "top-k" | "oracle" => Self::None,
            _ => Self::Dynamic,
        }
    }

    /// One word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fixed => "fixed",
            Self::Dynamic => "dynamic",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Grouping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::All => "all",
            Self::Hardware => "hardware",
            Self::Thresholds => "thresholds",
            Self::Policy => "policy",
            Self::Format => "format",
            Self::Batch => "batch",
            Self::Context => "context",
        })
    }
}

/// A group of cells.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// By what it was told apart.
    pub grouping: Grouping,
    /// `all`, or the grouping and its value, such as `batch=8`.
    pub name: String,
    /// Positions among the cells.
    pub members: Vec<usize>,
}

impl Grouping {
    const APART: [Self; 6] = [Self::Hardware, Self::Thresholds, Self::Policy, Self::Format, Self::Batch, Self::Context];

    /// The value by which a cell is told apart, and how it is spelled.
    fn value(self, grid: &Grid, cell: &Cell) -> (usize, String) {
        let policy = &grid.outcome(cell).policy;
        match self {
            Self::All => (0, String::new()),
            Self::Hardware => {
                let machine = grid.machine(cell);
                let namesakes = grid.machines.iter().filter(|m| m.name == machine.name).count();
                let name = if namesakes > 1 { &machine.fingerprint } else { &machine.name };
                (cell.machine, name.clone())
            }
            Self::Thresholds => (Thresholds::of(policy) as usize, Thresholds::of(policy).as_str().to_owned()),
            Self::Policy => (0, policy_kind(policy).to_owned()),
            Self::Format => (0, cell.format.to_string()),
            Self::Batch => (cell.batch, cell.batch.to_string()),
            Self::Context => (cell.context, cell.context.to_string()),
        }
    }
}

/// All cells, and then each grouping's groups of two or more.
pub fn groups(grid: &Grid, cells: &[usize]) -> Vec<Group> {
    let all = Group { grouping: Grouping::All, name: "all".to_owned(), members: (0..cells.len()).collect() };
    let mut groups = vec![all];
    for grouping in Grouping::APART {
        let mut apart: BTreeMap<(usize, String), Vec<usize>> = BTreeMap::new();
        for (position, &cell) in cells.iter().enumerate() {
            apart.entry(grouping.value(grid, &grid.cells[cell])).or_default().push(position);
        }
        if apart.len() > 1 {
            let group = |((_, value), members)| Group { grouping, name: format!("{grouping}={value}"), members };
            groups.extend(apart.into_iter().map(group));
        }
    }
    groups
}
