//! The parts of the page that are mostly words: first screen, machine, assumptions, the unknown.

use maud::{Markup, html};

use crate::money::DrawnBy;
use crate::number::{fixed, percent, significant};
use crate::origin::{Origin, Sourced};
use crate::quality::Accuracy;
use crate::record::Power;
use crate::report::{MeasuredMachine, Report, Row, TOLERATED_MISS};
use crate::scenario::Scenario;

use super::figure::{Sources, legend, plain, unknown};
use super::kind;

const BYTES_PER_GB: f64 = 1e9;

const MUST_KEEP: &str = "of dense accuracy, to be cheaper per solved problem; what it keeps is unknown";
const LOSS: &str = "for PER, sparse accuracy = dense accuracy × (1 − kappa × missed mass), of which q4_0 keeps `q4_0_kept`; \
                    nothing published supports a value of kappa, so the sensitivity plot shows a range";
const GAPS: &str = "What launches, barriers and cache effects between operators add. The intervals hold the spread of \
                    the measurements alone, not the uncertainty of densities, prices and assumptions.";

pub(super) fn first_screen(report: &Report, sources: &Sources) -> Markup {
    let models = kind::distinct(report.rows.iter().map(|r| r.configuration.model.as_str()));
    let date = report.generated.strftime("%-d %B %Y, %H:%M UTC").to_string();
    html! {
        header {
            p.brand { strong { "Thresher" } span { (date) } }
            h1 { "What activation sparsity is worth for " (models.join(", ")) }
            @if let Some(answer) = &report.answer { p.lead { (answer.sentences().join(" ")) } }
            p.lead { (report.headline.join(" ")) }
            (key_figures(report, sources))
            (legend())
        }
    }
}

fn key_figures(report: &Report, sources: &Sources) -> Markup {
    let best = report.first().and_then(|(machine, model)| report.cheapest_within(machine, model, TOLERATED_MISS));
    let dense = best.and_then(|b| report.dense_peer(b)).or_else(|| report.rows.iter().position(Row::is_dense));
    let Some(dense) = dense.map(|d| &report.rows[d]) else { return html! {} };
    let even = report.break_even.iter().find(|b| best == Some(b.row));
    html! {
        dl.cards {
            (dense_card(dense, sources))
            @match best.map(|b| &report.rows[b]) {
                Some(best) => { (sparse_card(best, dense, sources)) (money_card(best, dense, report, sources)) }
                None => {
                    (card("Best sparse", &unknown("no policy ran with a known, small miss"), "", "none is known to miss little"))
                    (card("A million tokens", &sources.figure(&usd(dense), &dense.usd_per_mtok.origin), "", "dense"))
                }
            }
            @match even.and_then(|e| e.usd_share.as_ref()) {
                Some(share) => (card("Must keep", &sources.figure(&percent(share.value), &share.origin), "", MUST_KEEP)),
                None => (card("Must keep", &unknown("nothing to compare"), "", "of dense accuracy")),
            }
        }
    }
}

fn dense_card(dense: &Row, sources: &Sources) -> Markup {
    let (c, origin) = (&dense.configuration, &dense.ms_per_token.origin);
    let note = format!("{} ms per token in {}", plain(&significant(c.ms_per_token, 3), origin), c.format);
    card(&format!("Dense {}", c.model), &sources.figure(&significant(c.tok_s, 3), origin), "tok/s", &note)
}

fn sparse_card(best: &Row, dense: &Row, sources: &Sources) -> Markup {
    let c = &best.configuration;
    let speed = c.tok_s / dense.configuration.tok_s;
    let missed = best.missed_mass.as_ref().map(|m| plain(&percent(m.value), &m.origin));
    let note = format!("{} in {}, missing {}", c.policy, c.format, missed.as_deref().unwrap_or("an unknown mass"));
    card("Best sparse", &sources.figure(&significant(speed, 3), &best.ms_per_token.origin), "× dense", &note)
}

fn money_card(best: &Row, dense: &Row, report: &Report, sources: &Sources) -> Markup {
    let before = plain(&usd(dense), &dense.usd_per_mtok.origin);
    let note = format!("dense {before}; {} utilisation", percent(report.scenario.utilisation.value));
    card("A million tokens", &sources.figure(&usd(best), &best.usd_per_mtok.origin), "", &note)
}

fn usd(row: &Row) -> String {
    format!("${}", significant(row.configuration.usd_per_mtok, 3))
}

fn card(name: &str, figure: &Markup, unit: &str, note: &str) -> Markup {
    html! { div { dt { (name) } dd { (figure) @if !unit.is_empty() { span.unit { (unit) } } } dd.note { (note) } } }
}

pub(super) fn machines(report: &Report) -> Markup {
    html! { @for measured in &report.machines { (machine(measured)) } }
}

pub(super) fn machine(measured: &MeasuredMachine) -> Markup {
    let (m, p) = (&measured.machine, &measured.provenance);
    let size = |bytes: u64| match bytes {
        0 => "unknown".to_owned(),
        b if b < 1 << 30 => format!("{} MiB", significant(b as f64 / f64::from(1 << 20), 3)),
        b => format!("{} GB", significant(b as f64 / BYTES_PER_GB, 3)),
    };
    html! {
        div.machine {
            h4 { (m.name()) }
            dl.facts {
                @if m.measured_gpu().is_some() { div { dt { "Host" } dd { (m.cpu_model) } } }
                div { dt { "Cores" } dd { (m.logical_cores) " logical, " (m.cpu_vendor) } }
                div { dt { "Instruction sets" } dd { (m.isa.join(", ")) } }
                div { dt { "Caches" } dd { "L2 " (size(m.l2_bytes)) ", last level " (size(m.l3_bytes)) } }
                div { dt { "Memory" } dd { (size(m.memory_bytes)) ", huge pages " (m.huge_pages) } }
                div { dt { "GPU" } dd { @match &m.gpu {
                    Some(gpu) => {
                        (gpu.name) ", compute capability " (gpu.compute_capability) ", " (size(gpu.memory_bytes))
                        @if gpu.multiprocessors > 0 { ", " (gpu.multiprocessors) " multiprocessors" }
                        @if gpu.l2_bytes > 0 { ", L2 " (size(gpu.l2_bytes)) }
                        @if let Some(driver) = &gpu.driver { ", driver " (driver) }
                    }
                    None => "none usable",
                } } }
                div { dt { "System" } dd { (m.os_kernel) } }
                @for b in &measured.bandwidth {
                    @let gb = |v: f64| fixed(v / BYTES_PER_GB, 1);
                    @let e = &b.bytes_per_s;
                    div {
                        dt {
                            "Read bandwidth"
                            @if m.measured_gpu().is_none() {
                                ", " (b.threads) @if b.threads == 1 { " thread" } @else { " threads" }
                            }
                        }
                        dd {
                            span.figure.measured title={ (e.samples) " samples" } { (gb(e.median)) " GB/s" }
                            span.interval { (gb(e.low)) "–" (gb(e.high)) }
                        }
                    }
                }
                @if let Some(copy) = &measured.copy_bandwidth {
                    div { dt { "Copy bandwidth" } dd {
                        span.figure.measured title={ (copy.samples) " samples" } {
                            (fixed(copy.median / BYTES_PER_GB, 1)) " GB/s read and written"
                        }
                    } }
                }
                @if let Some(Power { watts, covers }) = &measured.power {
                    div { dt { "Power at work" } dd {
                        span.figure.measured title={ (watts.samples) " samples" } { (significant(watts.median, 3)) " W" }
                        span.interval { (significant(watts.low, 3)) "–" (significant(watts.high, 3)) }
                        " of " (DrawnBy::from(*covers))
                    } }
                }
                div { dt { "Measured by" } dd {
                    "thresher " (p.thresher) ", commit " code { (p.commit) } @if p.dirty { " with uncommitted changes" }
                } }
                div { dt { "When" } dd { (p.date.strftime("%-d %B %Y, %H:%M UTC")) } }
                div { dt { "Fingerprint" } dd { code { (m.fingerprint) } } }
            }
        }
    }
}

pub(super) fn assumptions(report: &Report, sources: &Sources) -> Markup {
    html! {
        h3 { "The scenario" }
        div.scroll { table.wordy {
            thead { tr { th { "key" } th.number { "value" } th { "why" } } }
            tbody { @for (key, value, origin) in scenario(&report.scenario) { tr {
                th scope="row" { code { (key) } }
                // A choice of names is no number.
                td.number { @if value.parse::<f64>().is_ok() { (sources.figure(&value, &origin)) } @else { (value) } }
                td { (origin) }
            } } }
        } }
        h3 { "Taken for granted" }
        ul.plain {
            @for (text, rows) in counted(report) {
                li { (text) @if rows < report.rows.len() { span.count { (rows) " of " (report.rows.len()) " rows" } } }
            }
            li { "the p95 token scales every layer's density alike" }
            li { "dense in q8_0 solves as much as the unquantised model whose accuracy was published" }
            li { (LOSS) }
            li {
                "anchors " code { (report.anchors_version) } ", set " code { (report.anchors.name) } ": "
                (report.anchors.origin)
            }
        }
        h3 { "Prices" }
        ul.plain { @for price in prices(report) {
            @let text = format!("${} per hour", significant(price.value, 3));
            li { (sources.figure(&text, &price.origin)) " " (price.origin) }
        } }
    }
}

fn scenario(s: &Scenario) -> Vec<(&'static str, String, Origin)> {
    let models: Vec<&str> = s.models.value.iter().map(|m| m.name).collect();
    let formats: Vec<&str> = s.formats.value.iter().map(|f| f.as_str()).collect();
    let mut all = vec![
        ("models", models.join(", "), s.models.origin.clone()),
        ("formats", formats.join(", "), s.formats.origin.clone()),
        ("predictor_rank", s.predictor_rank.value.to_string(), s.predictor_rank.origin.clone()),
        ("context_tokens", s.context_tokens.value.to_string(), s.context_tokens.origin.clone()),
        ("utilisation", s.utilisation.value.to_string(), s.utilisation.origin.clone()),
        ("kappa", s.kappa.value.to_string(), s.kappa.origin.clone()),
        ("q4_0_kept", s.q4_0_kept.value.to_string(), s.q4_0_kept.origin.clone()),
    ];
    let given = |key, value: &Option<Sourced<f64>>| value.clone().map(|v| (key, v.value.to_string(), v.origin));
    all.extend(given("usd_per_hour", &s.usd_per_hour));
    all.extend(given("dense_accuracy", &s.dense_accuracy));
    all.extend(s.owned.iter().map(|own| ("owned", own.machine.clone(), Origin::assumed(own.to_string()))));
    all
}

/// Each assumption of a row, with the number of rows that make it.
fn counted(report: &Report) -> Vec<(&str, usize)> {
    let mut all: Vec<(&str, usize)> = Vec::new();
    for text in report.rows.iter().flat_map(|r| &r.assumptions) {
        match all.iter_mut().find(|(own, _)| own == text) {
            Some((_, count)) => *count += 1,
            None => all.push((text, 1)),
        }
    }
    all
}

/// One price per machine and memory that was charged.
fn prices(report: &Report) -> Vec<&Sourced<f64>> {
    let mut all: Vec<&Sourced<f64>> = Vec::new();
    for row in &report.rows {
        if !all.contains(&&row.usd_per_hour) {
            all.push(&row.usd_per_hour);
        }
    }
    all
}

pub(super) fn reproduce(report: &Report) -> Markup {
    html! {
        p { "Each machine was measured by" }
        @for measured in &report.machines { pre { code { (measured.provenance.command) } } }
        p { "One command measures and writes this page anew; from records alone, any machine can." }
        pre { code { "thresher report --out DIR\nthresher compose RECORD… --scenario FILE.toml --out DIR" } }
        p {
            code { "report.json" } " beside this page holds every number with its origin, "
            code { "configurations.csv" } " and " code { "quality.csv" } " the tables of configurations and of measured \
            accuracy."
        }
    }
}

pub(super) fn unknowns(report: &Report) -> Markup {
    let sparse = report.rows.iter().find(|r| !r.is_dense()).map(|r| &r.accuracy);
    html! {
        ul.plain {
            @if let Some(Accuracy::Unknown { why }) = sparse {
                li { "Code accuracy of every sparse configuration: " (why) "." }
            }
            @for known in &report.dense_accuracy {
                @if let Accuracy::Unknown { why } = &known.accuracy {
                    li { "Code accuracy of dense " (known.model) ": " (why) "." }
                }
            }
            li { (GAPS) }
            li { "How far rank correlations move with those: they stand here without intervals." }
        }
        @if !report.notes.is_empty() {
            h3 { "Notes of this run" }
            ul.plain { @for note in &report.notes { li { (note) } } }
        }
    }
}
