//! The report as data: every configuration composed, priced and scored, with what is unknown.
//!
//! [`Report::build`] takes records, a scenario and what each policy did on the model's activations,
//! and does the arithmetic; [`crate::page`] shows it. Serialised, it is `report.json`.

mod compose_rows;
mod headline;
mod kernels;
mod quality;
mod score;

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::Serialize;

use crate::anchors::{AnchorError, Anchors, Bounds};
use crate::answer::Answer;
use crate::compose::{ComposeError, DENSE, Term};
use crate::estimate::{Estimate, Interval};
use crate::evaluation::Evaluation;
use crate::machine::Machine;
use crate::memory::Memory;
use crate::model::ModelShape;
use crate::money::{Energy, MoneyError};
use crate::origin::{Origin, Sourced};
use crate::quality::{Accuracy, QualityError, dense_humaneval};
use crate::record::{Bandwidth, Measurement, Power, Provenance, Record};
use crate::scenario::Scenario;
use crate::table::ConfigurationRow;

pub use crate::compose::policy_kind;
pub(crate) use headline::TOLERATED_MISS;
pub use quality::{EqualDensity, Quality, QualityRow, write_quality_csv};
pub use score::PerForm;

/// Version of the report format that this build writes.
pub const SCHEMA: &str = "thresher-report/1";

/// The task whose anchors and accuracies are used.
const TASK: &str = "HumanEval";

/// What a policy did on the activations of a model; given by whoever ran it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PolicyOutcome {
    /// The model, under its name in [`crate::model::ModelShape::ALL`].
    pub model: &'static str,
    /// The policy, under its one spelling.
    pub policy: String,
    /// Mean share of neurons computed, layer by layer, audits included.
    pub densities: Sourced<Vec<f64>>,
    /// 95th percentile over tokens of the mean density over layers.
    pub density_p95: Option<f64>,
    /// Share of FFN output mass left out, mean over layers.
    pub missed_mass: Option<Sourced<f64>>,
    /// Standard deviation of that mean, as far as other prompts would have given another.
    pub missed_mass_sd: Option<f64>,
    /// Whether the policy needs scores from a predictor.
    pub needs_predictor: bool,
}

impl PolicyOutcome {
    /// Everything, in every layer.
    pub(crate) fn dense(model: &ModelShape) -> Self {
        let origin = || Origin::derived("dense: every neuron is computed");
        Self {
            model: model.name,
            policy: DENSE.to_owned(),
            densities: Sourced::new(vec![1.0; model.layers], origin()),
            density_p95: None,
            missed_mass: Some(Sourced::new(0.0, origin())),
            missed_mass_sd: None,
            needs_predictor: false,
        }
    }

    /// Mean density over layers.
    pub fn density(&self) -> f64 {
        let densities = &self.densities.value;
        densities.iter().sum::<f64>() / densities.len().max(1) as f64
    }
}

/// Everything that a report shows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// When it was computed.
    pub generated: Timestamp,
    /// Two to five plain sentences computed from the rows.
    pub headline: Vec<String>,
    /// The machines that were measured.
    pub machines: Vec<MeasuredMachine>,
    /// What was asked, with all defaults filled in.
    pub scenario: Scenario,
    /// Version of the anchors.
    pub anchors_version: String,
    /// The bounds of the anchored PER.
    pub anchors: Bounds,
    /// Code accuracy of each model run densely.
    pub dense_accuracy: Vec<DenseAccuracy>,
    /// One per machine, model, format and policy.
    pub rows: Vec<Row>,
    /// Every measured kernel against the bandwidth roof.
    pub kernels: Vec<Kernel>,
    /// What each policy did, layer by layer.
    pub outcomes: Vec<PolicyOutcome>,
    /// PER as a function of the unknown accuracy.
    pub sensitivity: Sensitivity,
    /// What accuracy each sparse row must keep.
    pub break_even: Vec<BreakEven>,
    /// How PER ranks configurations against dollars.
    pub correlations: Vec<RankCorrelation>,
    /// Accuracy of small models under policies, as measured; never carried over to the rows.
    pub quality: Vec<Quality>,
    /// How PER goes together with costs over every configuration.
    pub answer: Option<Answer>,
    /// The composed FFN against the FFN measured in one piece.
    pub self_check: Vec<SelfCheck>,
    /// What was skipped, refused or must be known to read the rows.
    pub notes: Vec<String>,
}

/// A machine and how it was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MeasuredMachine {
    /// The machine.
    pub machine: Machine,
    /// Which build measured it, when, by which command.
    pub provenance: Provenance,
    /// Its read bandwidth.
    pub bandwidth: Vec<Bandwidth>,
    /// A GPU's copy bandwidth, bytes read plus bytes written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub copy_bandwidth: Option<Estimate>,
    /// Its power at work.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
}

/// Code accuracy of a model run densely.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DenseAccuracy {
    /// The model.
    pub model: String,
    /// pass@1 on HumanEval, or that it is unknown.
    pub accuracy: Accuracy,
}

/// A composed, priced and scored configuration.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// The flat row, as in `configurations.csv`.
    pub configuration: ConfigurationRow,
    /// The summands of its time.
    pub terms: Vec<Term>,
    /// What must be resident.
    pub memory: Memory,
    /// Whether the machine can hold that. If not, the row is what the machine would do if it could.
    pub fits: bool,
    /// Milliseconds per token; assumed if the densities are.
    pub ms_per_token: Sourced<Interval>,
    /// The same for the token at the 95th percentile of density.
    pub p95: Option<Tail>,
    /// Price of an hour of a machine that holds the configuration; of an owned one, what it costs while it stands.
    pub usd_per_hour: Sourced<f64>,
    /// USD per million tokens; assumed if the price, the utilisation or the densities are.
    pub usd_per_mtok: Sourced<Interval>,
    /// What a token takes, where power was measured or the machine's owner says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub energy: Option<Energy>,
    /// Where the mean density comes from.
    pub density_origin: Origin,
    /// Share of FFN output mass left out, mean over layers.
    pub missed_mass: Option<Sourced<f64>>,
    /// Accuracy, or that it is unknown.
    pub accuracy: Accuracy,
    /// The accuracy that PER was computed with.
    pub per_accuracy: Option<Sourced<f64>>,
    /// Index of the row that the ratio form compares with: dense in the widest format, same machine.
    pub reference: Option<usize>,
    /// What was taken for granted.
    pub assumptions: Vec<String>,
}

impl Row {
    /// Whether everything is computed.
    pub fn is_dense(&self) -> bool {
        self.configuration.policy == DENSE
    }
}

/// A slow token.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Tail {
    /// Mean density over layers of the token at the 95th percentile.
    pub density: f64,
    /// Its time, every layer's density scaled alike (an assumption).
    pub ms: Interval,
}

/// A measured kernel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kernel {
    /// Fingerprint of the machine.
    pub machine: String,
    /// The measurement.
    pub measurement: Measurement,
    /// Time over bytes at the measured read bandwidth: measured if both were timed in one round.
    pub roof_ratio: Option<Sourced<Interval>>,
    /// Whether rows are composed from it: its format, instruction set and threads are theirs.
    pub composed: bool,
}

/// PER of every row as the assumed loss grows.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Sensitivity {
    /// Accuracy lost per unit of missed mass.
    pub kappa: Vec<f64>,
    /// One per row with a known missed mass.
    pub series: Vec<SensitivitySeries>,
}

/// PER of one row, one value per kappa.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SensitivitySeries {
    /// Index of the row.
    pub row: usize,
    /// The paper's form; absent where min-max is undefined.
    pub paper: Vec<Option<f64>>,
    /// The anchored form; absent where no dense accuracy is known.
    pub anchored: Vec<Option<f64>>,
    /// The ratio form.
    pub ratio: Vec<Option<f64>>,
}

/// What a sparse row must keep to be worth as much as dense in the same format on the same machine.
///
/// From times, bytes and prices alone: no accuracy is assumed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BreakEven {
    /// Index of the sparse row.
    pub row: usize,
    /// Index of the dense row.
    pub dense: usize,
    /// Share of dense accuracy at which the ratio PERs are equal:
    /// `(T_dense / T) (M / M_dense) (L / L_dense)`. Above 1: never worth it.
    pub per_share: Sourced<f64>,
    /// Share of dense accuracy at which USD per solved problem are equal: `USD / USD_dense` per token,
    /// for answers of equal length. Derived where both rows pay one price, which then cancels.
    pub usd_share: Option<Sourced<f64>>,
    /// The kappa at which the ratio PERs are equal; absent if nothing is missed or it never pays.
    pub per_kappa: Option<f64>,
    /// The kappa at which USD per solved problem are equal.
    pub usd_kappa: Option<f64>,
}

/// Spearman's rank correlation of a PER form with USD per million tokens.
///
/// -1: the better the PER, the cheaper the token, without exception.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RankCorrelation {
    /// The model; absent over the rows of all models.
    pub model: Option<String>,
    /// Which PER.
    pub form: PerForm,
    /// Rows with that PER.
    pub rows: usize,
    /// The correlation; absent where there is none, and a note says why.
    pub spearman: Option<f64>,
}

/// gate_up and down composed from their curves, against the whole FFN measured in one piece.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SelfCheck {
    /// Fingerprint of the machine.
    pub machine: String,
    /// Name of the kernel that was measured.
    pub kernel: String,
    /// Threads.
    pub threads: usize,
    /// Share of rows computed.
    pub density: f64,
    /// Composed seconds.
    pub composed: Interval,
    /// Whether a curve was read beyond its points.
    pub extrapolated: bool,
    /// Measured seconds.
    pub measured: Interval,
    /// `composed / measured - 1`, of the medians.
    pub error: f64,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReportError {
    /// Nothing was measured.
    #[error("no record given; measure one with `thresher measure --out FILE`")]
    NoRecords,
    /// Two records of one machine.
    #[error("two records of machine {0}; merge them first")]
    SameMachine(String),
    /// A policy that did two things.
    #[error("two outcomes of policy {policy} for {model}; keep one")]
    SameOutcome {
        /// The model.
        model: String,
        /// The policy.
        policy: String,
    },
    /// A share outside 0 to 1.
    #[error("{what} of policy {policy} for {model} is {value}; wanted 0 to 1")]
    Share {
        /// Which.
        what: &'static str,
        /// The model.
        model: String,
        /// The policy.
        policy: String,
        /// What was given.
        value: f64,
    },
    /// Every configuration was skipped.
    #[error("no configuration can be composed: {0}")]
    Nothing(String),
    /// A configuration contradicts itself.
    #[error(transparent)]
    Compose(#[from] ComposeError),
    /// No price.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// No skew of a model's neurons.
    #[error(transparent)]
    Skew(#[from] crate::skew::SkewError),
    /// No anchors.
    #[error(transparent)]
    Anchors(#[from] AnchorError),
    /// An accuracy or loss outside its range.
    #[error(transparent)]
    Quality(#[from] QualityError),
}

impl Report {
    /// Composes, prices and scores every record x model x format x outcome.
    ///
    /// Dense is composed for every model whether or not an outcome says so: all else compares with
    /// it. A configuration whose operator or format was not measured is left out with a note.
    ///
    /// `notes` are the caller's, such as why a policy was not run; they come first.
    ///
    /// # Errors
    /// [`ReportError`]
    pub fn build(
        records: &[Record],
        scenario: &Scenario,
        outcomes: &[PolicyOutcome],
        generated: Timestamp,
        notes: Vec<String>,
    ) -> Result<Self, ReportError> {
        check(records, outcomes)?;
        let mut notes = notes;
        let outcomes = with_dense(scenario, outcomes, &mut notes);
        let dense_accuracy = dense_accuracies(scenario);
        let (anchors_version, anchors) = anchors()?;

        let mut rows = compose_rows::compose(records, scenario, &outcomes, &dense_accuracy, &mut notes)?;
        if rows.is_empty() {
            return Err(ReportError::Nothing(notes.pop().unwrap_or_else(|| "the records are empty".to_owned())));
        }
        let scorer = score::Scorer::new(&rows, &anchors, &dense_accuracy, scenario.q4_0_kept.value);
        let scores = scorer.at(scenario.kappa.value)?;
        let sensitivity = scorer.sensitivity()?;
        let break_even = score::break_even(&rows);
        scores.write_into(&mut rows, &mut notes);
        let correlations = score::correlations(&rows, &mut notes);

        let mut report = Self {
            schema: SCHEMA,
            generated,
            headline: Vec::new(),
            machines: records.iter().map(MeasuredMachine::of).collect(),
            scenario: scenario.clone(),
            anchors_version,
            anchors,
            dense_accuracy,
            kernels: kernels::against_roof(records, &rows),
            outcomes,
            sensitivity,
            break_even,
            correlations,
            quality: Vec::new(),
            answer: None,
            self_check: kernels::self_check(records)?,
            rows,
            notes,
        };
        report.headline = headline::sentences(&report);
        Ok(report)
    }

    /// The report with what evaluations of small models found.
    #[must_use]
    pub fn with_quality(mut self, evaluations: &[Evaluation]) -> Self {
        self.quality = evaluations.iter().filter_map(Quality::of).collect();
        self
    }

    /// The report with what follows over every configuration.
    #[must_use]
    pub fn with_answer(mut self, answer: Answer) -> Self {
        self.notes.extend(answer.grid.notes.iter().cloned());
        self.answer = Some(answer);
        self
    }

    /// The flat rows, for [`crate::table::write_configurations_csv`].
    pub fn configurations(&self) -> Vec<ConfigurationRow> {
        self.rows.iter().map(|r| r.configuration.clone()).collect()
    }

    /// `report.json`.
    ///
    /// # Errors
    /// None: every field serialises.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self)
    }

    /// The machine of that fingerprint.
    pub fn machine(&self, fingerprint: &str) -> Option<&Machine> {
        self.machines.iter().map(|m| &m.machine).find(|m| m.fingerprint == fingerprint)
    }

    /// The machine and the model of which the headline speaks first.
    pub(crate) fn first(&self) -> Option<(&str, &str)> {
        let c = &self.rows.first()?.configuration;
        Some((&c.machine, &c.model))
    }

    /// Index of the cheapest sparse row of a model on a machine that misses at most `missed` of the
    /// output mass.
    pub fn cheapest_within(&self, machine: &str, model: &str, missed: f64) -> Option<usize> {
        let within = |r: &Row| {
            let c = &r.configuration;
            // To the digit that is shown: a closed loop that holds 5 % ends at 5.00 %, give or take.
            let known = c.missed_mass.is_some_and(|m| (1e3 * m).round() <= (1e3 * missed).round());
            known && !r.is_dense() && c.machine == machine && c.model == model
        };
        let candidates = self.rows.iter().enumerate().filter(|(_, r)| within(r));
        let cost = |row: &Row| (row.configuration.usd_per_mtok, row.configuration.ms_per_token);
        let cheaper = |a: &(usize, &Row), b: &(usize, &Row)| {
            let (a, b) = (cost(a.1), cost(b.1));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        candidates.min_by(cheaper).map(|(index, _)| index)
    }

    /// Index of the dense row in the same model, format and machine.
    pub fn dense_peer(&self, row: usize) -> Option<usize> {
        score::dense_peer(&self.rows, row)
    }
}

impl MeasuredMachine {
    fn of(record: &Record) -> Self {
        Self {
            machine: record.machine.clone(),
            provenance: record.provenance.clone(),
            bandwidth: record.bandwidth.clone(),
            copy_bandwidth: record.copy_bandwidth,
            power: record.power,
        }
    }
}

fn check(records: &[Record], outcomes: &[PolicyOutcome]) -> Result<(), ReportError> {
    if records.is_empty() {
        return Err(ReportError::NoRecords);
    }
    let mut machines = BTreeSet::new();
    for record in records {
        let fingerprint = &record.machine.fingerprint;
        if !machines.insert(fingerprint) {
            return Err(ReportError::SameMachine(fingerprint.clone()));
        }
    }
    let mut seen = BTreeSet::new();
    for o in outcomes {
        let (model, policy) = (o.model.to_owned(), o.policy.clone());
        if !seen.insert((o.model, &o.policy)) {
            return Err(ReportError::SameOutcome { model, policy });
        }
        let shares = [("density_p95", o.density_p95), ("missed mass", o.missed_mass.as_ref().map(|m| m.value))];
        for (what, value) in shares {
            if let Some(value) = value.filter(|v| !(0.0..=1.0).contains(v)) {
                return Err(ReportError::Share { what, model, policy, value });
            }
        }
    }
    Ok(())
}

/// The scenario's outcomes, each model's dense one first.
fn with_dense(scenario: &Scenario, outcomes: &[PolicyOutcome], notes: &mut Vec<String>) -> Vec<PolicyOutcome> {
    let mut all = Vec::new();
    for model in &scenario.models.value {
        let own = || outcomes.iter().filter(|o| o.model == model.name);
        if own().all(|o| o.policy == DENSE) {
            notes.push(format!("no policy was run on {}: only dense is composed", model.name));
        }
        all.push(PolicyOutcome::dense(model));
        all.extend(own().filter(|o| o.policy != DENSE).cloned());
    }
    let asked = |name: &str| scenario.models.value.iter().any(|m| m.name == name);
    let others: BTreeSet<&str> = outcomes.iter().map(|o| o.model).filter(|name| !asked(name)).collect();
    notes.extend(others.into_iter().map(|name| format!("policies ran on {name}, which the scenario does not name")));
    all
}

fn dense_accuracies(scenario: &Scenario) -> Vec<DenseAccuracy> {
    let accuracy = |model: &str| match &scenario.dense_accuracy {
        Some(given) => given.clone().into(),
        None => dense_humaneval(model),
    };
    let of = |name: &str| DenseAccuracy { model: name.to_owned(), accuracy: accuracy(name) };
    scenario.models.value.iter().map(|m| of(m.name)).collect()
}

fn anchors() -> Result<(String, Bounds), ReportError> {
    let anchors = Anchors::own()?;
    // An anchor file always has bounds for tasks that it does not name.
    let bounds = anchors.for_task(TASK).cloned().ok_or_else(|| ReportError::Nothing("no anchors".to_owned()))?;
    Ok((anchors.version, bounds))
}
