//! Decode speeds that others published, against what a model of few parameters predicts for them.
//!
//! A row names an engine, a model, a weight format and hardware in free text. The [`Catalogue`]
//! turns that into bytes, bandwidths and clocks; what a name does not say is assumed, and said; what it does not know is
//! flagged. From there on it is arithmetic: the seconds of a step as a sum of parts, each of which a machine really
//! spends ([`Parts`]).
//!
//! The parameters of those parts are fitted to all rows that are plausible, **without any row of a device that the predicted
//! row has too**: a prediction has never seen its own device, whoever ran it and with whatever engine. Each parameter has a
//! prior with a physical meaning, so that a family with few rows leans on what is common to all.
//!
//! | file | holds |
//! |---|---|
//! | `table.rs` | a table in, and out again with three more columns |
//! | `reading.rs`, `machine.rs`, `work.rs` | a row against the catalogue |
//! | `time.rs` | the parts of a step |
//! | `parameter.rs` | what is fitted, and what is believed before |
//! | `fit.rs` | the most probable parameters |
//!
//! Where a GPU and a processor share a model, llama.cpp's layers are split by the GPU's memory; `PowerInfer`'s neurons are
//! placed by how often they fire, after attention, head and predictors: its own rule, and where all layers fire alike
//! within 1 % of what [`placement`](crate::placement) proves to be best.

mod fit;
mod machine;
mod parameter;
mod reading;
mod table;
mod time;
mod work;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use serde::Serialize;

use crate::catalogue::{Catalogue, EngineClass};

pub use self::reading::Flag;
pub use self::table::{ADDED, COLUMNS, Row, Table, TableError};
pub use self::time::Parts;

use self::fit::{Fitted, Lesson, fit, used_by};
use self::parameter::Space;
use self::reading::Reading;
use self::time::Placement;

/// Largest batch that says something about reading weights rather than about multiplying matrices.
const LARGEST_BATCH_TO_LEARN_FROM: f64 = 8.0;
/// Tag of rows from memory, which nothing is learned from.
const FROM_MEMORY: &str = "M";
/// Tag of rows whose place in a figure was inferred.
const INFERRED: &str = "S-inferred";

/// Median and 90th percentile of the errors of dense engines.
pub const DENSE_GOALS: [f64; 2] = [0.10, 0.25];
/// Median of the errors of engines that place neurons.
pub const HOT_COLD_GOAL: f64 = 0.20;

/// A row, predicted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prediction {
    /// The row's own cells.
    pub cells: Vec<String>,
    /// Tokens per second as published, if that is a number.
    pub published_tok_s: Option<f64>,
    /// As predicted without this row's devices, of one sequence where the row's speed is of one.
    pub predicted_tok_s: Option<f64>,
    /// `|predicted / published - 1|`.
    pub ape: Option<f64>,
    /// Why the row counts for nothing, or for less.
    pub flags: Vec<String>,
    /// What the row did not say.
    pub assumed: Vec<String>,
    /// What kind of engine it is counted under.
    pub group: Option<Group>,
    /// Whether its place in a figure was inferred.
    pub inferred: bool,
    /// Seconds of a step, part by part.
    pub seconds: Option<Parts>,
    /// Rows that the prediction rests on.
    pub learned_from: usize,
}

/// What rows are counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// llama.cpp's kernels, everything on one kind of device.
    Ggml,
    /// llama.cpp's kernels, layers split over a GPU and the processor.
    GgmlShared,
    /// Whole steps compiled or captured.
    Graph,
    /// Kernels started from Python.
    Eager,
    /// Apple's own kernels.
    Metal,
    /// Neurons placed by how often they fire.
    HotCold,
}

impl Group {
    fn of(class: EngineClass, shared: bool) -> Self {
        match class {
            EngineClass::Ggml if shared => Self::GgmlShared,
            EngineClass::Ggml => Self::Ggml,
            EngineClass::Graph => Self::Graph,
            EngineClass::Eager => Self::Eager,
            EngineClass::Metal => Self::Metal,
            EngineClass::HotCold => Self::HotCold,
        }
    }

    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ggml => "llama.cpp's kernels",
            Self::GgmlShared => "llama.cpp's, part on the processor",
            Self::Graph => "compiled or captured steps",
            Self::Eager => "kernel by kernel from Python",
            Self::Metal => "MLX",
            Self::HotCold => "PowerInfer",
        }
    }
}

/// Errors of rows that are counted together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Errors {
    /// Which rows.
    pub what: String,
    /// How many.
    pub rows: usize,
    /// Of how many sets of devices.
    pub devices: usize,
    /// Median of the errors.
    pub median: f64,
    /// 90th percentile.
    pub p90: f64,
}

/// A parameter as fitted to all rows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FittedParameter {
    /// What it is.
    pub name: String,
    /// Value.
    pub value: f64,
    /// What is believed before any row.
    pub prior: f64,
    /// Of both.
    pub unit: &'static str,
    /// Rows whose time depends on it; 0: the prior is all there is.
    pub rows: usize,
    /// Sets of devices in those rows.
    pub devices: usize,
}

/// A table of published speeds, predicted.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Validation {
    /// Columns of [`Prediction::cells`].
    pub columns: Vec<String>,
    /// Row by row, in the order of the table.
    pub rows: Vec<Prediction>,
    /// Errors of rows without a flag: by group, inferred ones apart.
    pub groups: Vec<Errors>,
    /// Over all dense engines, inferred rows left out.
    pub dense: Option<Errors>,
    /// Over engines that place neurons.
    pub hot_cold: Option<Errors>,
    /// What was fitted.
    pub parameters: Vec<FittedParameter>,
}

/// Predicts every row of `table`. `known` is what else is known to learn from; a row that is in both counts once.
pub fn validate(table: &Table, known: &Table, catalogue: &Catalogue) -> Validation {
    let space = Space::new(catalogue);
    let readings: Vec<Reading> = table.rows.iter().map(|row| Reading::of(row, catalogue)).collect();
    let own: BTreeSet<[&str; 8]> = table.rows.iter().map(Row::identity).collect();
    let others = known.rows.iter().filter(|row| !own.contains(&row.identity()));
    let others: Vec<(&Row, Reading)> = others.map(|row| (row, Reading::of(row, catalogue))).collect();

    let mut seen = BTreeSet::new();
    let own_rows = table.rows.iter().zip(&readings).filter(|(row, _)| seen.insert(row.identity()));
    let all: Vec<(&Row, &Reading)> = own_rows.chain(others.iter().map(|(row, reading)| (*row, reading))).collect();
    let taught = Taught::new(&all);

    let mut without: BTreeMap<&BTreeSet<String>, (Fitted, usize)> = BTreeMap::new();
    let start = Fitted(space.priors());
    let rows: Vec<Prediction> = table
        .rows
        .iter()
        .zip(&readings)
        .map(|(row, reading)| {
            let (fitted, learned_from) = without.entry(&reading.devices).or_insert_with(|| {
                let lessons = taught.without(&reading.devices);
                (fit(&space, &lessons, &start), lessons.len())
            });
            predict(row, reading, fitted, *learned_from)
        })
        .collect();

    let parameters = parameters(&space, &taught, &fit(&space, &taught.lessons(), &start));
    let devices: Vec<&BTreeSet<String>> = readings.iter().map(|r| &r.devices).collect();
    let errors = |what: &str, counted: &dyn Fn(&Prediction) -> bool| errors(what, &rows, &devices, counted);
    let groups: BTreeSet<(bool, Group)> = rows.iter().filter_map(|r| r.group.map(|g| (r.inferred, g))).collect();
    let groups = groups.into_iter().filter_map(|(inferred, group)| {
        let what = format!("{}{}", group.as_str(), if inferred { ", place in a figure inferred" } else { "" });
        errors(&what, &|row| row.group == Some(group) && row.inferred == inferred)
    });
    let groups = groups.collect();
    let hot_cold = |row: &Prediction| row.group == Some(Group::HotCold);
    Validation {
        columns: table.columns.clone(),
        groups,
        dense: errors("dense engines", &|row| row.group.is_some() && !hot_cold(row) && !row.inferred),
        hot_cold: errors("engines that place neurons", &hot_cold),
        parameters,
        rows,
    }
}

/// Rows to learn from, with the devices that each was measured on.
struct Taught<'a>(Vec<(&'a BTreeSet<String>, Lesson<'a>)>);

impl<'a> Taught<'a> {
    fn new(rows: &[(&'a Row, &'a Reading)]) -> Self {
        let usable = rows.iter().filter_map(|(row, reading)| {
            let setup = reading.setup.as_ref().filter(|s| s.concurrency <= LARGEST_BATCH_TO_LEARN_FROM)?;
            let published = reading.published.filter(|_| reading.flags.is_empty() && row.tag != FROM_MEMORY)?;
            Some((&reading.devices, setup, -published.ln()))
        });
        let usable: Vec<_> = usable.collect();
        let mut alike: BTreeMap<(&BTreeSet<String>, EngineClass), f64> = BTreeMap::new();
        for (devices, setup, _) in &usable {
            *alike.entry((devices, setup.class)).or_default() += 1.0;
        }
        let lessons = usable.into_iter().map(|(devices, setup, ln_seconds_per_token)| {
            let weight = alike[&(devices, setup.class)].sqrt().recip();
            (devices, Lesson { setup, ln_seconds_per_token, weight })
        });
        Self(lessons.collect())
    }

    fn lessons(&self) -> Vec<Lesson<'a>> {
        self.0.iter().map(|(_, lesson)| *lesson).collect()
    }

    /// Those of which no device is among `devices`.
    fn without(&self, devices: &BTreeSet<String>) -> Vec<Lesson<'a>> {
        self.0.iter().filter(|(own, _)| own.is_disjoint(devices)).map(|(_, lesson)| *lesson).collect()
    }
}

fn predict(row: &Row, reading: &Reading, fitted: &Fitted, learned_from: usize) -> Prediction {
    let step = reading.setup.as_ref().map(|setup| setup.step(&mut |parameter| fitted.get(parameter)));
    let predicted = step.map(|(parts, tokens)| tokens / parts.total() / reading.summed_over);
    let predicted_tok_s = predicted.filter(|tok_s| tok_s.is_finite() && *tok_s > 0.0);
    let published_tok_s = reading.published.map(|tok_s| tok_s / reading.summed_over);
    let shared = reading.setup.as_ref().is_some_and(|s| matches!(s.placement, Placement::Shared { .. }));
    Prediction {
        cells: row.cells.clone(),
        published_tok_s,
        predicted_tok_s,
        ape: predicted_tok_s.zip(published_tok_s).map(|(predicted, published)| (predicted / published - 1.0).abs()),
        flags: reading.flags.iter().map(ToString::to_string).collect(),
        assumed: reading.assumed.clone(),
        group: reading.class.map(|class| Group::of(class, shared)),
        inferred: row.tag.eq_ignore_ascii_case(INFERRED),
        seconds: predicted_tok_s.and(step).map(|(parts, _)| parts),
        learned_from,
    }
}

fn parameters(space: &Space, taught: &Taught<'_>, fitted: &Fitted) -> Vec<FittedParameter> {
    let mut users: BTreeMap<_, (usize, BTreeSet<&BTreeSet<String>>)> = BTreeMap::new();
    for (devices, lesson) in &taught.0 {
        for parameter in used_by(lesson.setup, fitted) {
            let (rows, sets) = users.entry(parameter).or_default();
            *rows += 1;
            sets.insert(devices);
        }
    }
    let described = space.all().map(|parameter| {
        let (rows, sets) = users.get(&parameter).map_or((0, 0), |(rows, sets)| (*rows, sets.len()));
        let description = space.describe(parameter);
        FittedParameter {
            name: space.name(parameter),
            value: fitted.get(parameter),
            prior: description.prior,
            unit: description.unit,
            rows,
            devices: sets,
        }
    });
    described.collect()
}

fn errors(
    what: &str,
    rows: &[Prediction],
    devices: &[&BTreeSet<String>],
    counted: &dyn Fn(&Prediction) -> bool,
) -> Option<Errors> {
    let counted = rows.iter().zip(devices).filter(|(row, _)| row.flags.is_empty() && counted(row));
    let (mut found, mut sets) = (Vec::new(), BTreeSet::new());
    for (row, devices) in counted {
        if let Some(ape) = row.ape {
            found.push(ape);
            sets.insert(devices);
        }
    }
    found.sort_by(f64::total_cmp);
    let rank = |share: f64| found.get(((share * found.len() as f64).ceil() as usize).saturating_sub(1)).copied();
    Some(Errors { what: what.to_owned(), rows: found.len(), devices: sets.len(), median: rank(0.5)?, p90: rank(0.9)? })
}

impl Validation {
    /// Whether the errors are within [`DENSE_GOALS`] and [`HOT_COLD_GOAL`]; of what the table has none, nothing is asked.
    pub fn meets_goals(&self) -> bool {
        let [median, p90] = DENSE_GOALS;
        self.dense.as_ref().is_none_or(|e| e.median <= median && e.p90 <= p90)
            && self.hot_cold.as_ref().is_none_or(|e| e.median <= HOT_COLD_GOAL)
    }

    /// Writes the table's columns as they were, then [`ADDED`]; flags are separated by `; `.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_csv(&self, output: impl Write) -> Result<(), csv::Error> {
        let mut writer = csv::Writer::from_writer(output);
        writer.write_record(self.columns.iter().map(String::as_str).chain(ADDED))?;
        for row in &self.rows {
            let number = |value: Option<f64>| value.map_or_else(String::new, |v| six_digits(v).to_string());
            let added = [number(row.predicted_tok_s), number(row.ape), row.flags.join("; ")];
            writer.write_record(row.cells.iter().map(String::as_str).chain(added.iter().map(String::as_str)))?;
        }
        writer.flush()?;
        Ok(())
    }
}

/// Rounded to six significant digits: more would be noise.
fn six_digits(value: f64) -> f64 {
    format!("{value:.5e}").parse().unwrap_or(value)
}
