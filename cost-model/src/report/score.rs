//! PER in three forms over the rows, what it depends on, and how it ranks against dollars.
//!
//! No code accuracy of a sparse 70B is known, so the scores rest on the declared one-parameter
//! family of [`crate::quality::under_loss`], times what the weights' format keeps. The paper form and the ratio form do not change when
//! all accuracies of a model are scaled alike; where even the dense accuracy is unknown they are
//! computed with dense = 1, and only the anchored form is absent.

use std::fmt;

use serde::Serialize;

use crate::anchors::Bounds;
use crate::compose::DENSE;
use crate::correlation::spearman;
use crate::format::WeightFormat;
use crate::origin::{Origin, Sourced};
use crate::per::{Candidate, PerError, anchored, paper, ratio};
use crate::quality::{Accuracy, QualityError, under_loss};
use crate::table::ConfigurationRow;

use super::{BreakEven, DenseAccuracy, RankCorrelation, Row, Sensitivity, SensitivitySeries};

/// Kappa runs from 0 to 4: at 4, missing a quarter of the mass solves nothing.
const KAPPA_STEPS: u32 = 16;
const KAPPA_STEP: f64 = 0.25;

/// One of the three forms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "each is the function of that name in `per`")]
pub enum PerForm {
    Paper,
    Anchored,
    Ratio,
}

impl PerForm {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Paper, Self::Anchored, Self::Ratio];

    /// The row's PER in this form.
    pub fn of(self, row: &ConfigurationRow) -> Option<f64> {
        match self {
            Self::Paper => row.per_paper,
            Self::Anchored => row.per_anchored,
            Self::Ratio => row.per_ratio,
        }
    }
}

impl fmt::Display for PerForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Paper => "paper",
            Self::Anchored => "anchored",
            Self::Ratio => "ratio",
        })
    }
}

/// Scores the rows at any kappa.
pub(super) struct Scorer<'a> {
    rows: &'a [Row],
    bounds: &'a Bounds,
    accuracies: &'a [DenseAccuracy],
    references: Vec<Option<usize>>,
    q4_0_kept: f64,
}

/// What one kappa gives each row.
#[derive(Clone, Debug, Default)]
pub(super) struct Score {
    accuracy: Option<Sourced<f64>>,
    reference: Option<usize>,
    paper: Option<f64>,
    anchored: Option<f64>,
    ratio: Option<f64>,
    set_hash: Option<String>,
}

pub(super) struct Scores {
    per_row: Vec<Score>,
    refusals: Vec<String>,
}

impl<'a> Scorer<'a> {
    pub(super) fn new(rows: &'a [Row], bounds: &'a Bounds, accuracies: &'a [DenseAccuracy], q4_0_kept: f64) -> Self {
        let references = (0..rows.len()).map(|row| reference(rows, row)).collect();
        Self { rows, bounds, accuracies, references, q4_0_kept }
    }

    pub(super) fn at(&self, kappa: f64) -> Result<Scores, QualityError> {
        let mut scores = Scores { per_row: vec![Score::default(); self.rows.len()], refusals: Vec::new() };
        for model in self.accuracies {
            self.score_model(model, kappa, &mut scores)?;
        }
        Ok(scores)
    }

    fn score_model(&self, model: &DenseAccuracy, kappa: f64, scores: &mut Scores) -> Result<(), QualityError> {
        let dense = model.accuracy.value();
        let mut set: Vec<(usize, Candidate)> = Vec::new();
        for (index, row) in self.rows.iter().enumerate().filter(|(_, r)| r.configuration.model == model.model) {
            if let Some(accuracy) = self.accuracy(row, dense, kappa)? {
                set.push((index, row.configuration.candidate(accuracy.value)));
                scores.per_row[index].accuracy = Some(accuracy);
            }
        }
        // Unknown dense accuracy counts as 1: the forms that do not depend on a common scale are the same for any value.
        let scale = if dense.is_some() { "" } else { " (its dense accuracy is unknown and counts as 1)" };
        let refused = |form: PerForm, error: PerError| format!("{}: no {form} PER: {error}{scale}", model.model);
        let (indices, candidates): (Vec<usize>, Vec<Candidate>) = set.into_iter().unzip();
        match paper(&candidates) {
            Ok(per) => {
                for (index, value) in indices.iter().zip(per.values) {
                    let score = &mut scores.per_row[*index];
                    score.paper = Some(value);
                    score.set_hash = Some(per.set_hash.clone());
                }
            }
            Err(e) => scores.refusals.push(refused(PerForm::Paper, e)),
        }
        for (index, candidate) in indices.iter().zip(&candidates) {
            let score = &mut scores.per_row[*index];
            if dense.is_some() {
                match anchored(candidate, self.bounds) {
                    Ok(per) => score.anchored = Some(per.value),
                    Err(e) => scores.refusals.push(refused(PerForm::Anchored, e)),
                }
            }
            score.reference = self.references[*index];
            let base = score.reference.and_then(|r| indices.iter().position(|i| *i == r));
            match base.map(|at| ratio(candidate, &candidates[at])) {
                Some(Ok(per)) => score.ratio = Some(per),
                Some(Err(e)) => scores.refusals.push(refused(PerForm::Ratio, e)),
                None => {}
            }
        }
        if dense.is_none() && !indices.is_empty() {
            scores.refusals.push(format!(
                "{}: no anchored PER: its dense accuracy is unknown; the other two forms do not depend on it; set \
                 `dense_accuracy` in a scenario",
                model.model
            ));
        }
        Ok(())
    }

    pub(super) fn sensitivity(&self) -> Result<Sensitivity, QualityError> {
        let kappa: Vec<f64> = (0..=KAPPA_STEPS).map(|i| f64::from(i) * KAPPA_STEP).collect();
        let scores: Vec<Scores> = kappa.iter().map(|k| self.at(*k)).collect::<Result<_, _>>()?;
        let along =
            |row: usize, pick: fn(&Score) -> Option<f64>| scores.iter().map(|s| pick(&s.per_row[row])).collect();
        let known = (0..self.rows.len()).filter(|row| self.rows[*row].missed_mass.is_some());
        let series = known.map(|row| SensitivitySeries {
            row,
            paper: along(row, |s| s.paper),
            anchored: along(row, |s| s.anchored),
            ratio: along(row, |s| s.ratio),
        });
        Ok(Sensitivity { series: series.collect(), kappa })
    }

    fn accuracy(&self, row: &Row, dense: Option<f64>, kappa: f64) -> Result<Option<Sourced<f64>>, QualityError> {
        let Some(missed) = &row.missed_mass else { return Ok(None) };
        let kept = if row.configuration.format == WeightFormat::Q4_0.as_str() { self.q4_0_kept } else { 1.0 };
        let under = |dense: f64| under_loss(dense * kept, missed.value, kappa);
        Ok(Some(match (dense, &row.accuracy) {
            (Some(_), Accuracy::Known { value, origin }) => Sourced::new(*value, origin.clone()),
            (Some(dense), Accuracy::Unknown { .. }) if kept == 1.0 => under(dense)?,
            (Some(dense), Accuracy::Unknown { .. }) => {
                let why = format!(
                    "dense accuracy {dense} x {kept} that q4_0 keeps x (1 - {kappa} x missed mass {:.4})",
                    missed.value
                );
                Sourced::new(under(dense)?.value, Origin::assumed(why))
            }
            (None, _) => {
                let relative = under(1.0)?;
                let why = format!(
                    "relative to an unknown dense accuracy: {kept} x (1 - {kappa} x missed mass {:.4})",
                    missed.value
                );
                Sourced::new(relative.value, Origin::assumed(why))
            }
        }))
    }
}

impl Scores {
    pub(super) fn write_into(self, rows: &mut [Row], notes: &mut Vec<String>) {
        for (row, score) in rows.iter_mut().zip(self.per_row) {
            row.per_accuracy = score.accuracy;
            row.reference = score.reference;
            row.configuration.per_paper = score.paper;
            row.configuration.per_anchored = score.anchored;
            row.configuration.per_ratio = score.ratio;
            row.configuration.per_set_hash = score.set_hash;
        }
        for refusal in self.refusals {
            if !notes.contains(&refusal) {
                notes.push(refusal);
            }
        }
    }
}

/// Dense in the widest format, on the same machine.
fn reference(rows: &[Row], row: usize) -> Option<usize> {
    let own = &rows[row].configuration;
    let width = |c: &ConfigurationRow| WeightFormat::ALL.iter().position(|f| f.as_str() == c.format);
    let dense = rows.iter().enumerate().filter(|(_, r)| {
        let c = &r.configuration;
        c.policy == DENSE && (&c.machine, &c.model) == (&own.machine, &own.model)
    });
    dense.min_by_key(|(_, r)| width(&r.configuration)).map(|(index, _)| index)
}

/// Dense in the same format, on the same machine.
pub(super) fn dense_peer(rows: &[Row], row: usize) -> Option<usize> {
    let key = |c: &'_ ConfigurationRow| (c.machine.clone(), c.model.clone(), c.format.clone());
    let own = key(&rows.get(row)?.configuration);
    rows.iter().position(|r| r.is_dense() && key(&r.configuration) == own)
}

pub(super) fn break_even(rows: &[Row]) -> Vec<BreakEven> {
    let sparse = (0..rows.len()).filter(|row| !rows[*row].is_dense());
    sparse.filter_map(|row| Some((row, dense_peer(rows, row)?))).map(|(row, dense)| even(rows, row, dense)).collect()
}

fn even(rows: &[Row], row: usize, dense: usize) -> BreakEven {
    let (own, base) = (&rows[row].configuration, &rows[dense].configuration);
    let speed = base.tok_s / own.tok_s;
    let memory = own.memory_gb / base.memory_gb;
    let latency = own.ms_per_token / base.ms_per_token;
    let per_share = speed * memory * latency;
    let usd_share = Some(own.usd_per_mtok / base.usd_per_mtok).filter(|share| share.is_finite());
    let missed = own.missed_mass.filter(|m| *m > 0.0);
    let kappa = |share: f64| missed.filter(|_| share <= 1.0).map(|m| (1.0 - share) / m);
    let times = [&rows[row].ms_per_token.origin, &rows[dense].ms_per_token.origin];
    let prices = [&rows[row].usd_per_hour, &rows[dense].usd_per_hour];
    let per_origin = Origin::derived("times and bytes").resting_on(&times);
    let usd_origin = if prices[0].value == prices[1].value {
        Origin::derived("times alone: price and utilisation cancel").resting_on(&times)
    } else {
        Origin::derived(format!("times, and the prices of {:.1} and {:.1} GB", own.memory_gb, base.memory_gb))
            .resting_on(&[times[0], times[1], &prices[0].origin, &prices[1].origin])
    };
    BreakEven {
        row,
        dense,
        per_share: Sourced::new(per_share, per_origin),
        usd_share: usd_share.map(|share| Sourced::new(share, usd_origin)),
        per_kappa: kappa(per_share),
        usd_kappa: usd_share.and_then(kappa),
    }
}

/// Per model, then over all. The paper form belongs to one model's set, so it has no overall value.
pub(super) fn correlations(rows: &[Row], notes: &mut Vec<String>) -> Vec<RankCorrelation> {
    let mut models: Vec<Option<&str>> = Vec::new();
    for row in rows {
        let model = Some(row.configuration.model.as_str());
        if !models.contains(&model) {
            models.push(model);
        }
    }
    if models.len() > 1 {
        models.push(None);
    }
    let mut all = Vec::new();
    for model in models {
        for form in PerForm::ALL.into_iter().filter(|form| model.is_some() || *form != PerForm::Paper) {
            all.push(correlation(rows, model, form, notes));
        }
    }
    all
}

fn correlation(rows: &[Row], model: Option<&str>, form: PerForm, notes: &mut Vec<String>) -> RankCorrelation {
    let within = rows.iter().map(|r| &r.configuration).filter(|c| model.is_none_or(|m| c.model == m));
    let (per, usd): (Vec<f64>, Vec<f64>) = within.filter_map(|c| Some((form.of(c)?, c.usd_per_mtok))).unzip();
    let spearman = spearman(&per, &usd);
    // Rows without any PER have had their note.
    if let (Err(e), false) = (&spearman, per.is_empty()) {
        notes.push(format!("{}: no correlation of {form} PER: {e}", model.unwrap_or("all models")));
    }
    RankCorrelation { model: model.map(str::to_owned), form, rows: per.len(), spearman: spearman.ok() }
}
