//! PER of a table of models, as `thresher per FILE.csv` prints it.

use std::collections::BTreeMap;
use std::io::{Read, Write};

use serde::Serialize;

use crate::anchors::Anchors;
use crate::per::{Candidate, PerError, anchored, paper, ratio};

/// Columns that must be there; any others are ignored.
pub const COLUMNS: [&str; 6] = ["model", "task", "acc", "thr_per_gpu", "lat_ms", "mem_mb"];

/// One input row.
#[derive(Clone, Debug, PartialEq)]
pub struct PerInput {
    /// Task; each task is a candidate set of its own.
    pub task: String,
    /// The model and its four axes.
    pub candidate: Candidate,
}

/// Against which row the ratio form compares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Reference {
    /// The first row of each task.
    #[default]
    First,
    /// The row of each task with this model name.
    Model(String),
}

/// Which forms to add to the paper's.
#[derive(Clone, Debug, Default)]
pub struct PerOptions {
    /// Bounds for the anchored form; [`Anchors::own`] unless the user has a file.
    ///
    /// A row is scored between the bounds of its task. GSM8K has those of the paper's own set, so
    /// that a model of one's own compares with the published column; a task that the file does not
    /// name has the general bounds.
    pub anchors: Option<Anchors>,
    /// Reference of the ratio form.
    pub ratio: Option<Reference>,
}

/// One output row.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerRow {
    /// Task.
    pub task: String,
    /// Model.
    pub model: String,
    /// The paper's form.
    pub per: f64,
    /// The anchored form, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchored: Option<f64>,
    /// The ratio form, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
}

/// A candidate set that was scored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TaskSet {
    /// Task.
    pub task: String,
    /// Candidates in it.
    pub candidates: usize,
    /// Hash of the set.
    pub set_hash: String,
    /// Name of the anchors used, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchors: Option<String>,
}

/// The scored table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PerTable {
    /// In the order of the input.
    pub rows: Vec<PerRow>,
    /// In the order of the tasks' names.
    pub sets: Vec<TaskSet>,
}

/// Why a table cannot be scored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PerTableError {
    /// Not CSV, or not readable.
    #[error("{name}: {what}; mend the file")]
    Csv {
        /// The file.
        name: String,
        /// What is wrong.
        what: String,
    },
    /// A column is missing.
    #[error("{name}: no column `{column}`; wanted {}", COLUMNS.join(","))]
    Column {
        /// The file.
        name: String,
        /// Which.
        column: &'static str,
    },
    /// A cell is not a number.
    #[error("{name} line {line}: {column} is `{value}`; wanted a number")]
    Number {
        /// The file.
        name: String,
        /// Line, from 1.
        line: u64,
        /// Column.
        column: &'static str,
        /// The cell.
        value: String,
    },
    /// A task's set has no PER.
    #[error("task {task}: {source}")]
    Per {
        /// Task.
        task: String,
        /// Why.
        source: PerError,
    },
    /// No or several rows have the reference's name.
    #[error("task {task}: {matches} rows are named `{model}`; the reference must be exactly one")]
    Reference {
        /// Task.
        task: String,
        /// The name.
        model: String,
        /// How many rows have it.
        matches: usize,
    },
}

/// Reads input rows; `name` stands for the file in errors.
///
/// # Errors
/// [`PerTableError::Csv`], [`PerTableError::Column`], [`PerTableError::Number`].
pub fn read_per_csv(input: impl Read, name: &str) -> Result<Vec<PerInput>, PerTableError> {
    let malformed = |e: csv::Error| PerTableError::Csv { name: name.to_owned(), what: e.to_string() };
    let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(input);
    let header = reader.headers().map_err(malformed)?.clone();
    let mut at = [0; 6];
    for (index, column) in at.iter_mut().zip(COLUMNS) {
        // Spreadsheets put a byte order mark before the first name.
        let found = header.iter().position(|h| h.trim_start_matches('\u{feff}') == column);
        *index = found.ok_or_else(|| PerTableError::Column { name: name.to_owned(), column })?;
    }
    let mut rows = Vec::new();
    for record in reader.records() {
        rows.push(parse_row(&record.map_err(malformed)?, &at, name)?);
    }
    if rows.is_empty() {
        return Err(PerTableError::Csv { name: name.to_owned(), what: "no rows below the header".to_owned() });
    }
    Ok(rows)
}

fn parse_row(record: &csv::StringRecord, at: &[usize; 6], name: &str) -> Result<PerInput, PerTableError> {
    let cell = |i: usize| record.get(at[i]).unwrap_or_default();
    let number = |i: usize| {
        let parsed: Option<f64> = cell(i).parse().ok().filter(|v: &f64| v.is_finite());
        parsed.ok_or_else(|| PerTableError::Number {
            name: name.to_owned(),
            line: record.position().map_or(0, csv::Position::line),
            column: COLUMNS[i],
            value: cell(i).to_owned(),
        })
    };
    Ok(PerInput {
        task: cell(1).to_owned(),
        candidate: Candidate {
            name: cell(0).to_owned(),
            accuracy: number(2)?,
            throughput: number(3)?,
            latency_ms: number(4)?,
            memory_mb: number(5)?,
        },
    })
}

/// Scores each task's rows as one candidate set.
///
/// # Errors
/// [`PerTableError::Per`], [`PerTableError::Reference`].
pub fn per_table(input: &[PerInput], options: &PerOptions) -> Result<PerTable, PerTableError> {
    let mut tasks: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, row) in input.iter().enumerate() {
        tasks.entry(&row.task).or_default().push(index);
    }
    let mut rows: Vec<(usize, PerRow)> = Vec::with_capacity(input.len());
    let mut sets = Vec::new();
    for (task, indices) in tasks {
        let set: Vec<Candidate> = indices.iter().map(|&i| input[i].candidate.clone()).collect();
        let (scored, summary) = score(task, &set, options)?;
        rows.extend(indices.into_iter().zip(scored));
        sets.push(summary);
    }
    rows.sort_by_key(|(index, _)| *index);
    Ok(PerTable { rows: rows.into_iter().map(|(_, row)| row).collect(), sets })
}

fn score(task: &str, set: &[Candidate], options: &PerOptions) -> Result<(Vec<PerRow>, TaskSet), PerTableError> {
    let fail = |source| PerTableError::Per { task: task.to_owned(), source };
    let per = paper(set).map_err(fail)?;
    let bounds = options.anchors.as_ref().and_then(|a| a.for_task(task));
    let reference = match &options.ratio {
        Some(reference) => Some(find(task, set, reference)?),
        None => None,
    };
    let mut rows = Vec::with_capacity(set.len());
    for (c, per) in set.iter().zip(per.values) {
        let anchored = bounds.map(|b| anchored(c, b).map(|a| a.value)).transpose();
        let ratio = reference.map(|r| ratio(c, r)).transpose();
        rows.push(PerRow {
            task: task.to_owned(),
            model: c.name.clone(),
            per,
            anchored: anchored.map_err(fail)?,
            ratio: ratio.map_err(fail)?,
        });
    }
    let summary = TaskSet {
        task: task.to_owned(),
        candidates: set.len(),
        set_hash: per.set_hash,
        anchors: bounds.map(|b| b.name.clone()),
    };
    Ok((rows, summary))
}

fn find<'a>(task: &str, set: &'a [Candidate], reference: &Reference) -> Result<&'a Candidate, PerTableError> {
    let Reference::Model(model) = reference else {
        return Ok(&set[0]);
    };
    let named: Vec<&Candidate> = set.iter().filter(|c| c.name == *model).collect();
    match named[..] {
        [one] => Ok(one),
        _ => Err(PerTableError::Reference { task: task.to_owned(), model: model.clone(), matches: named.len() }),
    }
}

impl PerTable {
    /// Writes `task,model,per`, with `anchored` and `ratio` where they were asked for.
    ///
    /// # Errors
    /// Those of `output`.
    pub fn write_csv(&self, output: impl Write) -> Result<(), csv::Error> {
        let mut writer = csv::WriterBuilder::new().has_headers(false).from_writer(output);
        let anchored = self.rows.iter().any(|r| r.anchored.is_some());
        let ratio = self.rows.iter().any(|r| r.ratio.is_some());
        let mut header = vec!["task", "model", "per"];
        header.extend(anchored.then_some("anchored"));
        header.extend(ratio.then_some("ratio"));
        writer.write_record(header)?;
        for row in &self.rows {
            writer.serialize(row)?;
        }
        writer.flush()?;
        Ok(())
    }
}
