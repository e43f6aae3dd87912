//! Results over time: a line of each kernel's share of the roof.

use maud::{Markup, html};

use crate::estimate::Interval;
use crate::history::{History, KernelHistory, MachineHistory};
use crate::number::fixed;
use crate::origin::Origin;
use crate::record::Provenance;

use super::chart::at;
use super::figure::{Sources, legend};
use super::{document, section};

const INTRO: &str = "Bytes touched over time, as a share of read bandwidth of the same rounds: 100 % is as fast as memory \
                     delivers. The line joins what was measured, earliest first; its ground is 0, its rule the roof.";
const WIDTH: f64 = 160.0;
const HEIGHT: f64 = 30.0;
const MARGIN: f64 = 4.0;
/// Shares that are drawn: a little over the roof, which noise and a copy's slower memory leave room for.
const MOST: f64 = 1.1;

/// The page.
pub fn history_html(history: &History) -> String {
    document(
        "Thresher: results over time",
        &html! {
            header {
                p.brand { strong { "Thresher" } }
                h1 { "How close the kernels came to the roof, commit by commit" }
                (legend())
            }
            @for machine in &history.machines {
                (section(machine.machine.name(), INTRO, &html! { (runs(machine)) (table(machine)) }))
            }
        },
    )
}

fn runs(machine: &MachineHistory) -> Markup {
    html! {
        ol.plain { @for run in &machine.runs { li { (when(run)) ": " code { (run.command) } } } }
    }
}

fn when(run: &Provenance) -> String {
    format!("{}, commit {}{}", run.date.strftime("%-d %B %Y"), run.commit, if run.dirty { ", changed" } else { "" })
}

fn table(machine: &MachineHistory) -> Markup {
    html! {
        div.scroll {
            table.small {
                thead { tr {
                    th { "Kernel" } th { "Share of the roof" }
                    @for name in ["First", "Last", "Last over first"] { th.number { (name) } }
                } }
                tbody { @for kernel in &machine.kernels { (row(machine, kernel)) } }
            }
        }
    }
}

fn row(machine: &MachineHistory, kernel: &KernelHistory) -> Markup {
    let sources = Sources::none();
    let figure = |value: String, interval: String, origin: &Origin| {
        html! { (sources.figure(&value, origin)) span.interval { (interval) } }
    };
    let share = |share: Interval| {
        let ends = format!("{}\u{2013}{}", fixed(100.0 * share.low, 1), fixed(100.0 * share.high, 1));
        let origin = Origin::derived("measured time, bytes, and read bandwidth measured in the same rounds");
        figure(format!("{} %", fixed(100.0 * share.median, 1)), ends, &origin)
    };
    let change = |change: Interval| {
        let ends = format!("{}\u{2013}{}", fixed(change.low, 3), fixed(change.high, 3));
        figure(fixed(change.median, 3), ends, &Origin::derived("the two shares"))
    };
    html! {
        tr {
            th { (kernel.name) }
            td { (line(machine, kernel)) }
            @for end in kernel.ends().into_iter().flatten() { td.number { (share(end)) } }
            td.number { @if let Some(of) = kernel.change() { (change(of)) } }
        }
    }
}

fn line(machine: &MachineHistory, kernel: &KernelHistory) -> Markup {
    let steps = machine.runs.len().saturating_sub(1).max(1) as f64;
    let x = |run: usize| MARGIN + (WIDTH - 2.0 * MARGIN) * run as f64 / steps;
    let y = |share: f64| HEIGHT - MARGIN - (HEIGHT - 2.0 * MARGIN) * (share / MOST).clamp(0.0, 1.0);
    let known: Vec<(usize, Interval)> =
        kernel.shares.iter().enumerate().filter_map(|(i, s)| Some((i, (*s)?))).collect();
    let points: Vec<String> = known.iter().map(|(run, s)| format!("{},{}", at(x(*run)), at(y(s.median)))).collect();
    html! {
        svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } width=(WIDTH) height=(HEIGHT) role="img" aria-label=(kernel.name) {
            line.base x1="0" x2=(WIDTH) y1=(at(y(0.0))) y2=(at(y(0.0))) {}
            line.roof x1="0" x2=(WIDTH) y1=(at(y(1.0))) y2=(at(y(1.0))) {}
            polyline.line points=(points.join(" ")) {}
            @for (run, share) in known {
                circle.point cx=(at(x(run))) cy=(at(y(share.median))) r="3" {
                    title { (when(&machine.runs[run])) ": " (fixed(100.0 * share.median, 1)) " %" }
                }
            }
        }
    }
}
