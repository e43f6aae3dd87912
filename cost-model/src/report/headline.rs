//! The answer in a few plain sentences, computed from the rows.

use crate::machine::Machine;
use crate::number::{correlation, listed, percent, significant};
use crate::origin::Origin;

use super::{PerForm, Report, Row};

/// A policy that leaves out more than this share of the output mass is no candidate for the headline.
pub(crate) const TOLERATED_MISS: f64 = 0.05;

const BYTES_PER_GB: f64 = 1e9;

pub(super) fn sentences(report: &Report) -> Vec<String> {
    let all = [dense(report), money(report), sparse(report), unknown(report), ranking(report)];
    all.into_iter().flatten().collect()
}

/// Dense rows of the first model on the first machine, one per format.
fn dense_rows(report: &Report) -> Vec<&Row> {
    let Some(first) = report.rows.first().map(|r| &r.configuration) else { return Vec::new() };
    let here = |r: &&Row| {
        let c = &r.configuration;
        r.is_dense() && (&c.machine, &c.model) == (&first.machine, &first.model)
    };
    report.rows.iter().filter(here).collect()
}

fn dense(report: &Report) -> Option<String> {
    let rows = dense_rows(report);
    let first = &rows.first()?.configuration;
    let cpu = report.machine(&first.machine).map_or("this machine", Machine::name);
    let speed = |r: &&Row| format!("{} tok/s in {}", significant(r.configuration.tok_s, 2), r.configuration.format);
    let speeds: Vec<String> = rows.iter().map(speed).collect();
    Some(format!("Composed from kernels measured on {cpu}, dense {} decodes at {}.", first.model, listed(&speeds)))
}

fn money(report: &Report) -> Option<String> {
    let rows = dense_rows(report);
    let first = rows.first()?;
    let costs: Vec<String> =
        rows.iter().map(|r| format!("${}", significant(r.configuration.usd_per_mtok, 3))).collect();
    let machine = report.machine(&first.configuration.machine)?;
    let price = match (&report.scenario.usd_per_hour, &first.usd_per_hour.origin) {
        _ if report.scenario.owned_machine(machine).is_some() => "what it costs its owner",
        (Some(_), _) => "the given price",
        (None, Origin::Published { .. }) => "a published price",
        (None, _) => "an assumed price",
    };
    let utilisation = percent(report.scenario.utilisation.value);
    let text = format!("At {price} and {utilisation} utilisation that is {} per million tokens", listed(&costs));
    let held = rows.iter().filter(|r| r.fits).count();
    let memory = machine.weight_memory_bytes() as f64 / BYTES_PER_GB;
    Some(if held == rows.len() {
        format!("{text}.")
    } else {
        let whole = if held == 0 { "the model" } else { "it in every format" };
        format!(
            "{text}, on a machine like it with enough memory: its own {} GB do not hold {whole}.",
            significant(memory, 2)
        )
    })
}

/// The best sparse row of every model on the first machine.
fn sparse(report: &Report) -> Option<String> {
    let (machine, _) = report.first()?;
    let limit = percent(TOLERATED_MISS);
    let best = |model: &str| gain(report, report.cheapest_within(machine, model, TOLERATED_MISS)?);
    let models = report.dense_accuracy.iter().map(|known| known.model.as_str());
    let gains: Vec<(&str, String)> = models.filter_map(|model| Some((model, best(model)?))).collect();
    let Some(((model, first), others)) = gains.split_first() else {
        let any = report.rows.iter().any(|r| !r.is_dense());
        return any
            .then(|| format!("No sparse policy that ran is known to miss at most {limit} of the FFN output mass."));
    };
    let others: String = others.iter().map(|(model, gain)| format!(" For {model} it is {gain}.")).collect();
    Some(format!(
        "With a perfect predictor, on synthetic activations, the cheapest sparse policy that misses at most {limit} of \
         the FFN output mass of {model} is {first}.{others}"
    ))
}

fn gain(report: &Report, best: usize) -> Option<String> {
    let dense = &report.rows[report.dense_peer(best)?].configuration;
    let own = &report.rows[best].configuration;
    let saved = 1.0 - own.usd_per_mtok / dense.usd_per_mtok;
    let cost = match saved {
        // Free machines: nothing to save.
        saved if !saved.is_finite() => String::new(),
        saved if saved < 0.0 => format!(" for {} more per token", percent(-saved)),
        saved => format!(" for {} less per token", percent(saved)),
    };
    let speed = significant(own.tok_s / dense.tok_s, 3);
    Some(format!("{} in {}, {speed} times as fast as dense{cost}", own.policy, own.format))
}

/// What each model's best row must keep of dense accuracy, where it can pay at all.
fn unknown(report: &Report) -> Option<String> {
    let (machine, _) = report.first()?;
    let share = |model: &str| {
        let best = report.cheapest_within(machine, model, TOLERATED_MISS)?;
        let even = report.break_even.iter().find(|b| b.row == best)?;
        let share = even.usd_share.as_ref()?.value;
        // At 100 % or more there is nothing to keep: it never pays.
        (share < 1.0).then(|| format!("{} ({model})", percent(share)))
    };
    let shares: Vec<String> = report.dense_accuracy.iter().filter_map(|known| share(&known.model)).collect();
    (!shares.is_empty()).then(|| {
        format!(
            "What code accuracy is left is unknown: none was published for an activation-sparse 70B model. A solved \
             problem costs less than with dense as long as {} of dense accuracy is kept.",
            listed(&shares)
        )
    })
}

fn ranking(report: &Report) -> Option<String> {
    let model = report.rows.first().map(|r| &r.configuration.model)?;
    let of_model = report.correlations.iter().filter(|c| c.model.as_ref() == Some(model));
    let known: Vec<(PerForm, usize, f64)> = of_model.filter_map(|c| Some((c.form, c.rows, c.spearman?))).collect();
    let rows = known.iter().map(|k| k.1).max()?;
    let forms: Vec<String> = known.iter().map(|(form, _, rho)| format!("{} ({form})", correlation(*rho))).collect();
    Some(format!(
        "If accuracy falls as mass is missed, PER ranks the {rows} configurations of {model} against dollars per token \
         with Spearman {}; \u{2212}1 would mean that a better PER is always cheaper.",
        forms.join(", ")
    ))
}
