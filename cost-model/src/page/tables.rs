//! The tables: configurations, break-even accuracies, rank correlations, self check.

use maud::{Markup, html};

use crate::machine::Machine;
use crate::money::Energy;
use crate::number::{fixed, percent, significant};
use crate::origin::{Origin, Sourced};
use crate::quality::Accuracy;
use crate::report::{BreakEven, PerForm, Report, Row};

use super::figure::{Sources, unknown};
use super::kind;

/// A cell that sorts by `value`.
pub(super) fn cell(value: Option<f64>, shown: &Markup) -> Markup {
    html! { td.number data-value=[value] { (shown) } }
}

fn policy(row: &Row) -> Markup {
    let policy = &row.configuration.policy;
    html! { th scope="row" { (kind::swatch(&kind::class(policy))) code { (policy) } } }
}

pub(super) fn configurations(report: &Report, sources: &Sources) -> Markup {
    let several = report.machines.len() > 1;
    let models = report.dense_accuracy.len() > 1;
    let energy = report.rows.iter().any(|row| row.energy.is_some());
    html! {
        div.scroll { table.sortable {
            thead { tr {
                th { "policy" }
                @if models { th { "model" } }
                @if several { th { "machine" } }
                th { "format" }
                th.number { "density" } th.number { "missed mass" }
                th.number { "ms/token" } th.number { "p95 ms" } th.number { "tok/s" }
                th.number { "GB" } th.number { "$/Mtok" }
                @if energy { th.number { "J/token" } }
                th.number { "pass@1" }
                th.number { "PER paper" } th.number { "anchored" } th.number { "ratio" }
            } }
            tbody { @for row in &report.rows {
                @let c = &row.configuration;
                tr.dense[row.is_dense()] {
                    (policy(row))
                    @if models { td { (c.model) } }
                    @if several { (machine(report, &c.machine)) }
                    td { (c.format) }
                    (cell(Some(c.density), &sources.figure(&percent(c.density), &row.density_origin)))
                    (missed(row, sources))
                    (cell(Some(c.ms_per_token), &time(row, sources)))
                    (tail(row, sources))
                    (cell(Some(c.tok_s), &sources.figure(&significant(c.tok_s, 3), &row.ms_per_token.origin)))
                    (cell(Some(c.memory_gb), &memory(row, sources)))
                    (cell(Some(c.usd_per_mtok), &usd(row, sources)))
                    @if energy { (joules(row, sources)) }
                    (cell(c.accuracy, &accuracy(&row.accuracy, sources)))
                    @for form in PerForm::ALL { (per(row, form, sources)) }
                }
            } }
        } }
    }
}

fn machine(report: &Report, fingerprint: &str) -> Markup {
    let cpu = report.machine(fingerprint).map(Machine::name);
    html! { td title=[cpu] { code { (fingerprint.get(..6).unwrap_or_default()) } } }
}

fn missed(row: &Row, sources: &Sources) -> Markup {
    let known = row.missed_mass.as_ref();
    let shown = sources.maybe(known.map(|m| (percent(m.value), &m.origin)), "not measured for this policy");
    cell(known.map(|m| m.value), &shown)
}

fn usd(row: &Row, sources: &Sources) -> Markup {
    sources.figure(&significant(row.configuration.usd_per_mtok, 3), &row.usd_per_mtok.origin)
}

fn joules(row: &Row, sources: &Sources) -> Markup {
    let Some(Energy { joules_per_token: joules, drawn_by }) = &row.energy else {
        return cell(None, &html! { span.blank title="its power was not measured, and no owner says it" { "–" } });
    };
    let shown = html! {
        (sources.figure(&significant(joules.value.median, 3), &joules.origin))
        span.interval title={ "of " (drawn_by) } { (drawn_by.as_str()) }
    };
    cell(Some(joules.value.median), &shown)
}

fn time(row: &Row, sources: &Sources) -> Markup {
    let c = &row.configuration;
    html! {
        (sources.figure(&significant(c.ms_per_token, 4), &row.ms_per_token.origin))
        span.interval { (significant(c.ms_low, 4)) "–" (significant(c.ms_high, 4)) }
    }
}

fn tail(row: &Row, sources: &Sources) -> Markup {
    let Some(tail) = &row.p95 else { return cell(None, &html! { span.blank { "–" } }) };
    let why = format!("every layer scaled to the token with mean density {}", percent(tail.density));
    cell(Some(tail.ms.median), &sources.figure(&significant(tail.ms.median, 4), &Origin::assumed(why)))
}

fn memory(row: &Row, sources: &Sources) -> Markup {
    let m = &row.memory;
    let gb = |bytes: u64| significant(bytes as f64 / 1e9, 3);
    let from = format!(
        "weights {} GB, predictors {} GB, KV cache {} GB, index tables {} GB",
        gb(m.weights),
        gb(m.predictors),
        gb(m.kv_cache),
        gb(m.index_tables)
    );
    html! {
        (sources.figure(&fixed(row.configuration.memory_gb, 1), &Origin::derived(from)))
        @if !row.fits { span.misfit title="more than this machine has: what it would do with the memory" { "*" } }
    }
}

fn accuracy(accuracy: &Accuracy, sources: &Sources) -> Markup {
    match accuracy {
        Accuracy::Known { value, origin } => sources.figure(&format!("{} %", fixed(100.0 * value, 1)), origin),
        Accuracy::Unknown { why } => unknown(why),
    }
}

fn per(row: &Row, form: PerForm, sources: &Sources) -> Markup {
    match form.of(&row.configuration).zip(per_origin(row, form)) {
        Some((value, origin)) => cell(Some(value), &sources.figure(&fixed(value, 3), &origin)),
        None => cell(None, &html! { span.blank title="not defined; see the notes" { "–" } }),
    }
}

/// PER rests on the accuracy it was computed with and, in the paper form, on everybody else's.
pub(super) fn per_origin(row: &Row, form: PerForm) -> Option<Origin> {
    let accuracy = row.per_accuracy.as_ref()?;
    let set = row.configuration.per_set_hash.as_deref().unwrap_or("?");
    let why = format!("with accuracy {} ({})", significant(accuracy.value, 3), accuracy.origin);
    Some(match form {
        PerForm::Paper => Origin::assumed(format!("set {set}, {why}; the other rows' accuracies are assumed")),
        _ if row.is_dense() => Origin::derived(why).resting_on(&[&accuracy.origin]),
        _ => Origin::assumed(why),
    })
}

pub(super) fn break_even(report: &Report, sources: &Sources) -> Markup {
    let several = report.machines.len() > 1;
    html! {
        div.scroll { table.sortable {
            thead { tr {
                th { "policy" } th { "format" }
                @if several { th { "machine" } }
                th.number { "speed" } th.number { "memory" } th.number { "$/token" }
                th.keep { "must keep for $/solved" } th.keep { "must keep for PER" }
                th.number { "missed mass" } th.number { "kappa up to" }
            } }
            tbody { @for even in &report.break_even { (even_row(report, even, several, sources)) } }
        } }
    }
}

fn even_row(report: &Report, even: &BreakEven, several: bool, sources: &Sources) -> Markup {
    let (row, dense) = (&report.rows[even.row], &report.rows[even.dense]);
    let (own, base) = (&row.configuration, &dense.configuration);
    let (speed, memory) = (own.tok_s / base.tok_s, own.memory_gb / base.memory_gb);
    let times = |value: f64, origin: &Origin| sources.figure(&format!("{} ×", fixed(value, 2)), origin);
    let kappa = even.usd_kappa.zip(usd_origin(even, row));
    let usd = even.usd_share.as_ref();
    html! {
        tr {
            (policy(row))
            td { (own.format) }
            @if several { (machine(report, &own.machine)) }
            (cell(Some(speed), &times(speed, &row.ms_per_token.origin)))
            (cell(Some(memory), &times(memory, &Origin::derived("shapes and formats"))))
            (cell(usd.map(|s| s.value), &usd.map_or_else(|| unknown("both are free"), |s| times(s.value, &s.origin))))
            (keep(usd, sources)) (keep(Some(&even.per_share), sources))
            (missed(row, sources))
            (cell(even.usd_kappa, &html! {
                @match &kappa {
                    Some((k, origin)) => (sources.figure(&fixed(*k, 1), origin)),
                    None => span.blank { "–" },
                }
            }))
        }
    }
}

/// The tolerated kappa rests on the price and on what is missed.
fn usd_origin(even: &BreakEven, row: &Row) -> Option<Origin> {
    let (usd, missed) = (even.usd_share.as_ref()?, row.missed_mass.as_ref()?);
    Some(Origin::derived("(1 - share) over missed mass").resting_on(&[&usd.origin, &missed.origin]))
}

/// A share of dense accuracy as a bar: the shorter, the more the row may lose.
fn keep(share: Option<&Sourced<f64>>, sources: &Sources) -> Markup {
    let Some(share) = share else { return html! { td.keep { "–" } } };
    html! {
        td.keep data-value=(share.value) {
            @if share.value > 1.0 {
                span.never { "never: dense is better at equal accuracy" }
            } @else {
                span.bar { span style={ "width:" (fixed(100.0 * share.value, 1)) "%" } {} }
                (sources.figure(&percent(share.value), &share.origin))
            }
        }
    }
}

pub(super) fn correlations(report: &Report, sources: &Sources) -> Markup {
    let falls = || Origin::assumed("accuracy falls with missed mass; dollars at the assumed or given price");
    html! {
        div.scroll { table.small {
            thead { tr {
                th { "rows of" } th { "form" }
                th.number { "Spearman ρ with $/Mtok" } th.number { "configurations" }
            } }
            tbody { @for c in &report.correlations { tr {
                th scope="row" { (c.model.as_deref().unwrap_or("all models")) }
                td { (c.form.to_string()) }
                td.number { @match c.spearman {
                    Some(rho) => (sources.figure(&fixed(rho, 3), &falls())),
                    None => span.blank { "–" },
                } }
                td.number { (c.rows) }
            } } }
        } }
    }
}

/// The errors in a sentence, then one by one.
pub(super) fn self_check(report: &Report) -> Markup {
    let mut errors: Vec<f64> = report.self_check.iter().map(|c| c.error.abs()).collect();
    errors.sort_by(f64::total_cmp);
    let (Some(largest), n) = (errors.last(), errors.len()) else {
        return html! { p.absent { "No record holds the whole FFN measured in one piece." } };
    };
    html! {
        p {
            "Over " (n) " measurements the composition is off by " strong { (percent(errors[n / 2])) }
            " at the median and " strong { (percent(*largest)) } " at most."
        }
        details { summary { "All of them" } (check_table(report)) }
    }
}

fn check_table(report: &Report) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "kernel" } th.number { "threads" } th.number { "density" }
                th.number { "composed ms" } th.number { "measured ms" } th.number { "error" }
            } }
            tbody { @for check in &report.self_check { tr {
                th scope="row" { code { (check.kernel) } }
                td.number { (check.threads) }
                td.number { (percent(check.density)) }
                td.number {
                    span.figure.derived { (significant(1e3 * check.composed.median, 4)) }
                    @if check.extrapolated { " (beyond the curve)" }
                }
                td.number { span.figure.measured { (significant(1e3 * check.measured.median, 4)) } }
                td.number { (fixed(100.0 * check.error, 1)) " %" }
            } } }
        } }
    }
}
