//! One configuration, part by part: what its row in the grid was made of.

use crate::compose::{Composer, Composition, Configuration, DENSE};
use crate::money::{Energy, Hour, Prices};
use crate::record::Record;
use crate::report::PolicyOutcome;
use crate::scenario::Scenario;
use crate::setting::Setting;

use super::{GridError, GridKey};

/// A composed configuration on one machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Parts {
    /// The machine: its CPU or GPU, and its fingerprint.
    pub machine: String,
    /// What it is made of.
    pub composition: Composition,
    /// What an hour costs.
    pub hour: Hour,
    /// USD per million tokens.
    pub usd_per_mtok: f64,
    /// What a token takes, where power is known.
    pub energy: Option<Energy>,
}

/// What a record makes of a configuration, or why nothing.
pub(super) fn of(
    record: &Record,
    scenario: &Scenario,
    outcomes: &[PolicyOutcome],
    key: &GridKey,
) -> Result<Result<Parts, String>, GridError> {
    let machine = format!("{} ({})", record.machine.name(), record.machine.fingerprint);
    let composer = Composer::new(record)?;
    let skew = key.model.skew()?;
    let Some(setting) = Setting::fastest(&composer, &key.model, key.format, key.context, &skew)? else {
        return Ok(Err(format!("{machine}: not even dense was measured in {}", key.format)));
    };
    let dense = PolicyOutcome::dense(&key.model);
    let known = outcomes.iter().find(|o| (o.model, o.policy.as_str()) == (key.model.name, key.policy.as_str()));
    let known = if key.policy == DENSE { Some(&dense) } else { known };
    let Some(outcome) = known else {
        return Ok(Err(format!("{machine}: nothing is known of what {} does on {}", key.policy, key.model.name)));
    };
    let configuration = Configuration {
        policy: key.policy.clone(),
        scorer: key.scorer,
        densities: outcome.densities.clone(),
        batch: key.batch,
        ..setting.dense(&key.model, key.format, key.context, &skew)
    };
    let composition = match composer.compose(&configuration) {
        Ok(composition) => composition,
        Err(why) => return Ok(Err(format!("{machine}: {why}"))),
    };
    let prices = Prices::own()?;
    let upkeep = scenario.upkeep(&prices, record);
    let hour = upkeep.hour(composition.memory.total())?;
    let usd_per_mtok = hour.usd_per_mtok(hour.usual, scenario.utilisation.value, composition.tok_s.median);
    let energy = upkeep.energy(hour.devices, composition.tok_s, &outcome.densities.origin);
    Ok(Ok(Parts { machine, composition, hour, usd_per_mtok, energy }))
}
