//! One composed configuration as a flat row: what `configurations.csv` and `report.json` hold.

use std::io::Write;

use serde::Serialize;

use crate::compose::{Composition, Configuration};
use crate::estimate::Interval;
use crate::money::{DrawnBy, Energy};
use crate::origin::Sourced;
use crate::per::Candidate;
use crate::quality::Accuracy;

const BYTES_PER_GB: f64 = 1e9;
const MB_PER_GB: f64 = 1e3;

/// A row of `configurations.csv`; the fields are its columns, in order.
///
/// `*_origin` columns hold one word: `measured`, `published`, `assumed`, `derived`, `unknown`.
/// Empty cells are unknown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ConfigurationRow {
    /// Fingerprint of the machine.
    pub machine: String,
    /// Model.
    pub model: String,
    /// Policy.
    pub policy: String,
    /// Weight format.
    pub format: String,
    /// Threads.
    pub threads: usize,
    /// Instruction set.
    pub isa: String,
    /// Predictor rank; empty if none was counted.
    pub predictor_rank: Option<usize>,
    /// Tokens in the KV cache of each user.
    pub context_tokens: usize,
    /// Users whose tokens are decoded together.
    pub batch: usize,
    /// Mean FFN density over layers.
    pub density: f64,
    /// Where the densities come from.
    pub density_origin: &'static str,
    /// Share of FFN output mass left out, mean over layers.
    pub missed_mass: Option<f64>,
    /// Milliseconds between two tokens of a user.
    pub ms_per_token: f64,
    /// Lower end.
    pub ms_low: f64,
    /// Upper end.
    pub ms_high: f64,
    /// Whether any term lies beyond what was measured.
    pub extrapolated: bool,
    /// Tokens per second of all users together.
    pub tok_s: f64,
    /// Gigabytes (1e9) read per step, for one token of every user.
    pub read_gb_per_step: f64,
    /// Gigabytes (1e9) resident.
    pub memory_gb: f64,
    /// Price of the machine; of an owned one, what it costs while it stands.
    pub usd_per_hour: f64,
    /// Where the price comes from.
    pub usd_per_hour_origin: &'static str,
    /// USD per million tokens.
    pub usd_per_mtok: f64,
    /// Lower end.
    pub usd_per_mtok_low: f64,
    /// Upper end.
    pub usd_per_mtok_high: f64,
    /// Joules per token, where power was measured or the machine's owner says it.
    pub joules_per_token: Option<f64>,
    /// Lower end.
    pub joules_low: Option<f64>,
    /// Upper end.
    pub joules_high: Option<f64>,
    /// Where they come from.
    pub joules_per_token_origin: &'static str,
    /// What draws them: the `machine`, by its owner's figure; a `gpu` or a processor's `package` alone, as measured.
    pub joules_of: Option<DrawnBy>,
    /// Share of problems solved.
    pub accuracy: Option<f64>,
    /// Where the accuracy comes from.
    pub accuracy_origin: &'static str,
    /// PER over the set named by `per_set_hash`.
    pub per_paper: Option<f64>,
    /// PER between fixed bounds.
    pub per_anchored: Option<f64>,
    /// PER against the reference configuration.
    pub per_ratio: Option<f64>,
    /// Hash of the candidate set of `per_paper`.
    pub per_set_hash: Option<String>,
}

/// What a row holds beyond the composition.
#[derive(Clone, Debug, PartialEq)]
pub struct Worth {
    /// Price of the machine; of an owned one, what it costs while it stands.
    pub usd_per_hour: Sourced<f64>,
    /// USD per million tokens: [`crate::money::Hour`].
    pub usd_per_mtok: Interval,
    /// What a token takes, where power is known.
    pub energy: Option<Energy>,
    /// Share of output mass left out, if known.
    pub missed_mass: Option<f64>,
    /// Accuracy, or that it is unknown.
    pub accuracy: Accuracy,
}

impl ConfigurationRow {
    /// A row without PER, which needs the other rows.
    pub fn new(machine: &str, c: &Configuration, composed: &Composition, worth: &Worth) -> Self {
        let densities = &c.densities.value;
        let joules = worth.energy.as_ref().map(|energy| &energy.joules_per_token);
        Self {
            machine: machine.to_owned(),
            model: c.model.name.to_owned(),
            policy: c.policy.clone(),
            format: c.format.to_string(),
            threads: c.threads,
            isa: c.isa.clone(),
            predictor_rank: c.scorer.rank(),
            context_tokens: c.context_tokens,
            batch: c.batch,
            density: densities.iter().sum::<f64>() / densities.len().max(1) as f64,
            density_origin: c.densities.origin.kind(),
            missed_mass: worth.missed_mass,
            ms_per_token: composed.ms_per_token.median,
            ms_low: composed.ms_per_token.low,
            ms_high: composed.ms_per_token.high,
            extrapolated: composed.extrapolated(),
            tok_s: composed.tok_s.median,
            read_gb_per_step: composed.bytes_per_step as f64 / BYTES_PER_GB,
            memory_gb: composed.memory.total() as f64 / BYTES_PER_GB,
            usd_per_hour: worth.usd_per_hour.value,
            usd_per_hour_origin: worth.usd_per_hour.origin.kind(),
            usd_per_mtok: worth.usd_per_mtok.median,
            usd_per_mtok_low: worth.usd_per_mtok.low,
            usd_per_mtok_high: worth.usd_per_mtok.high,
            joules_per_token: joules.map(|joules| joules.value.median),
            joules_low: joules.map(|joules| joules.value.low),
            joules_high: joules.map(|joules| joules.value.high),
            joules_per_token_origin: joules.map_or("unknown", |joules| joules.origin.kind()),
            joules_of: worth.energy.as_ref().map(|energy| energy.drawn_by),
            accuracy: worth.accuracy.value(),
            accuracy_origin: worth.accuracy.kind(),
            per_paper: None,
            per_anchored: None,
            per_ratio: None,
            per_set_hash: None,
        }
    }

    /// The row as a PER candidate with that accuracy; one machine counts as one device.
    pub fn candidate(&self, accuracy: f64) -> Candidate {
        Candidate {
            name: format!("{} {} {} t{} {}", self.model, self.policy, self.format, self.threads, self.machine),
            accuracy,
            throughput: self.tok_s,
            latency_ms: self.ms_per_token,
            memory_mb: self.memory_gb * MB_PER_GB,
        }
    }
}

/// Writes rows with a header line.
///
/// # Errors
/// Those of `output`.
pub fn write_configurations_csv(rows: &[ConfigurationRow], output: impl Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(output);
    for row in rows {
        writer.serialize(row)?;
    }
    writer.flush()?;
    Ok(())
}
