//! Every configuration that the records can answer for, composed and priced.

use crate::compose::{ComposeError, Composer, Composition, Configuration, DENSE, Scorer};
use crate::estimate::Interval;
use crate::format::WeightFormat;
use crate::model::ModelShape;
use crate::money::{Prices, Upkeep};
use crate::origin::{Origin, Sourced};
use crate::quality::{Accuracy, sparse_humaneval};
use crate::record::Record;
use crate::scenario::Scenario;
use crate::setting::Setting;
use crate::skew::Skew;
use crate::table::{ConfigurationRow, Worth};

use super::{DenseAccuracy, PolicyOutcome, ReportError, Row, Tail};

const BYTES_PER_GB: f64 = 1e9;

pub(super) fn compose(
    records: &[Record],
    scenario: &Scenario,
    outcomes: &[PolicyOutcome],
    accuracies: &[DenseAccuracy],
    notes: &mut Vec<String>,
) -> Result<Vec<Row>, ReportError> {
    let prices = Prices::own()?;
    let mut rows = Vec::new();
    for record in records {
        let composer = Composer::new(record)?;
        for model in &scenario.models.value {
            let skew = model.skew()?;
            for format in &scenario.formats.value {
                let (format, skew) = (*format, skew.clone());
                let upkeep = scenario.upkeep(&prices, record);
                let bench = Bench { composer: &composer, scenario, upkeep, model, format, accuracies, skew };
                bench.rows(outcomes, &mut rows, notes)?;
            }
        }
    }
    Ok(rows)
}

/// One record, model and format.
struct Bench<'a> {
    composer: &'a Composer<'a>,
    scenario: &'a Scenario,
    upkeep: Upkeep<'a>,
    model: &'a ModelShape,
    format: WeightFormat,
    accuracies: &'a [DenseAccuracy],
    skew: Skew,
}

impl Bench<'_> {
    fn rows(
        &self,
        outcomes: &[PolicyOutcome],
        rows: &mut Vec<Row>,
        notes: &mut Vec<String>,
    ) -> Result<(), ReportError> {
        let place = format!("{} in {} on {}", self.model.name, self.format, self.composer.record().machine.fingerprint);
        let own: Vec<&PolicyOutcome> = outcomes.iter().filter(|o| o.model == self.model.name).collect();
        let context = self.scenario.context_tokens.value;
        let Some(setting) = Setting::fastest(self.composer, self.model, self.format, context, &self.skew)? else {
            notes.push(format!(
                "{place}: skipped; the record lacks gemv, gate_up and down (or ffn) in {} at a thread count with a measured \
                 bandwidth; measure them on that machine",
                self.format
            ));
            return Ok(());
        };
        let first = rows.len();
        let mut skipped: Vec<(String, Vec<&str>)> = Vec::new();
        for outcome in own {
            match self.row(outcome, &setting) {
                Ok(row) => rows.push(row),
                Err(ReportError::Compose(e @ ComposeError::Unmeasured { .. })) => {
                    group(&mut skipped, e.to_string(), &outcome.policy);
                }
                Err(other) => return Err(other),
            }
        }
        notes.extend(skipped.into_iter().map(|(why, who)| format!("{place}: {} skipped; {why}", who.join(", "))));
        self.note_memory(&rows[first..], &place, notes);
        self.note_rank(&rows[first..], notes);
        Ok(())
    }

    fn configuration(&self, outcome: &PolicyOutcome, setting: &Setting) -> Configuration {
        let context = self.scenario.context_tokens.value;
        Configuration {
            policy: outcome.policy.clone(),
            scorer: if outcome.needs_predictor { Scorer::LowRank(self.rank()) } else { Scorer::Free },
            densities: outcome.densities.clone(),
            ..setting.dense(self.model, self.format, context, &self.skew)
        }
    }

    fn rank(&self) -> usize {
        self.scenario.predictor_rank.value.next_multiple_of(self.format.block_len())
    }

    fn row(&self, outcome: &PolicyOutcome, setting: &Setting) -> Result<Row, ReportError> {
        let configuration = self.configuration(outcome, setting);
        let composed = self.composer.compose(&configuration)?;
        let machine = &self.composer.record().machine;
        let need = composed.memory.total();
        let (usd_per_hour, hour) = (self.upkeep.usd_per_hour(need)?, self.upkeep.hour(need)?);
        let utilisation = &self.scenario.utilisation;
        let usd = hour.usual_usd_per_mtok(utilisation.value, composed.tok_s)?;
        let working = match hour.working {
            0.0 => String::new(),
            usd => format!(", {usd:.4} USD beside it per hour of work,"),
        };
        let ms_origin = composed.origin.clone().resting_on(&[&outcome.densities.origin]);
        let usd_origin = Origin::derived(format!(
            "{:.4} USD/h{working} at utilisation {} and {:.4} tok/s; price {}; utilisation {}",
            usd_per_hour.value, utilisation.value, composed.tok_s.median, usd_per_hour.origin, utilisation.origin
        ));
        let accuracy = self.accuracy(&outcome.policy);
        let energy = self.upkeep.energy(hour.devices, composed.tok_s, &ms_origin);
        let worth = Worth {
            usd_per_hour: usd_per_hour.clone(),
            usd_per_mtok: usd,
            energy: energy.clone(),
            missed_mass: outcome.missed_mass.as_ref().map(|m| m.value),
            accuracy: accuracy.clone(),
        };
        Ok(Row {
            configuration: ConfigurationRow::new(&machine.fingerprint, &configuration, &composed, &worth),
            memory: composed.memory,
            fits: need <= machine.weight_memory_bytes(),
            p95: self.tail(outcome, &configuration)?,
            usd_per_mtok: Sourced::new(
                usd,
                usd_origin.resting_on(&[&usd_per_hour.origin, &utilisation.origin, &ms_origin]),
            ),
            ms_per_token: Sourced::new(composed.ms_per_token, ms_origin),
            usd_per_hour,
            energy,
            density_origin: outcome.densities.origin.clone(),
            missed_mass: outcome.missed_mass.clone(),
            accuracy,
            per_accuracy: None,
            reference: None,
            assumptions: assumptions(&composed),
            terms: composed.terms,
        })
    }

    /// Published accuracies are those of the model as released; what quantised weights keep of them is assumed.
    fn accuracy(&self, policy: &str) -> Accuracy {
        if policy != DENSE {
            return sparse_humaneval();
        }
        let known = self.accuracies.iter().find(|a| a.model == self.model.name);
        let mut accuracy = known.map_or_else(sparse_humaneval, |a| a.accuracy.clone());
        if let Accuracy::Known { value, origin } = &mut accuracy {
            if self.format == WeightFormat::Q4_0 {
                let kept = &self.scenario.q4_0_kept;
                *value *= kept.value;
                *origin =
                    Origin::assumed(format!("{} of the unquantised model's: {}; {origin}", kept.value, kept.origin));
            } else if self.format.is_quantised() && !matches!(origin, Origin::Assumed { .. }) {
                *origin = Origin::assumed(format!("taken to be that of the unquantised model, {origin}"));
            }
        }
        accuracy
    }

    /// The token whose mean density is the 95th percentile, its layers scaled alike.
    fn tail(&self, outcome: &PolicyOutcome, configuration: &Configuration) -> Result<Option<Tail>, ReportError> {
        let mean = outcome.density();
        let Some(density) = outcome.density_p95.filter(|_| mean > 0.0) else { return Ok(None) };
        let mut slow = configuration.clone();
        for d in &mut slow.densities.value {
            *d = (*d * density / mean).min(1.0);
        }
        Ok(Some(Tail { density, ms: self.composer.compose(&slow)?.ms_per_token }))
    }

    fn note_memory(&self, rows: &[Row], place: &str, notes: &mut Vec<String>) {
        let Some(most) = rows.iter().filter(|r| !r.fits).map(|r| r.memory.total()).max() else { return };
        let gb = |bytes: u64| bytes as f64 / BYTES_PER_GB;
        notes.push(format!(
            "{place}: needs up to {:.0} GB, the machine has {:.0} GB; its rows say what the machine would do with the \
             memory, and {}",
            gb(most),
            gb(self.composer.record().machine.weight_memory_bytes()),
            self.upkeep.charged(),
        ));
    }

    fn note_rank(&self, rows: &[Row], notes: &mut Vec<String>) {
        let (asked, used) = (self.scenario.predictor_rank.value, self.rank());
        let counted = rows.iter().any(|r| r.configuration.predictor_rank.is_some());
        let note = format!("predictors in {} have rank {used} for {asked}: rows hold whole blocks of 32", self.format);
        if counted && asked != used && !notes.contains(&note) {
            notes.push(note);
        }
    }
}

fn group<'a>(groups: &mut Vec<(String, Vec<&'a str>)>, why: String, who: &'a str) {
    match groups.iter_mut().find(|(own, _)| *own == why) {
        Some((_, members)) => members.push(who),
        None => groups.push((why, vec![who])),
    }
}

fn assumptions(composed: &Composition) -> Vec<String> {
    let mut all = composed.assumptions.clone();
    for term in composed.terms.iter().filter(|t| t.extrapolated && t.ms != Interval::ZERO) {
        all.push(format!("{}: beyond what was measured ({})", term.kind, term.origin));
    }
    all
}
