//! The comparison with the dense kernels of others: a page, and its plots as one picture.

use maud::{Markup, html};

use crate::estimate::Estimate;
use crate::number::{fixed, significant};
use crate::origin::Origin;
use crate::peers::{Comparison, Contest, OURS, Timing};

use super::chart::{FULL, HALF};
use super::export::standalone;
use super::figure::{Sources, legend};
use super::plots::{PEERS_HEIGHT, peers, peers_drawing};
use super::{document, section, sections};

const INTRO: &str = "One gated FFN of LLaMA-70B, gate and up of 28672 x 8192 and down, timed in turn in the same rounds. \
                     Ours computes a share of the neurons; horizontal lines are what it costs to just run dense.";
const TABLE: &str = "Ratio: time over bytes ÷ read bandwidth of the same round; 1 is as fast as memory delivers. Speed-up: \
                     over the fastest dense peer of the same format, round by round.";
const TITLE: f64 = 28.0;
const GAP: f64 = 44.0;
const MARGIN: f64 = 16.0;

/// The comparison as a page.
pub fn peers_html(comparison: &Comparison) -> String {
    let formats: Vec<&str> = comparison.contests.iter().map(|c| c.format.as_str()).collect();
    document(
        "Thresher: against dense peers",
        &html! {
            header {
                p.brand {
                    strong { "Thresher" }
                    span { (comparison.measured.provenance.date.strftime("%-d %B %Y, %H:%M UTC")) }
                }
                h1 { "When is sparse worth it?" }
                p.lead { "An FFN in " (formats.join(", ")) " against " (names(comparison)) "." }
                (legend())
            }
            (section("Time against density", INTRO, &plots(comparison)))
            (section("Every FFN", TABLE, &table(comparison)))
            (section("The machine, and how it was measured", "", &sections::machine(&comparison.measured)))
            (section("Who ran", "", &html! {
                ul.plain { @for c in &comparison.contestants { li { (c.name) " " (c.version) } } }
                @if comparison.measured.machine.measured_gpu().is_some() { p { "All on one GPU, by" } }
                @else { p { "All on " (comparison.threads) " threads, by" } }
                pre { code { (comparison.measured.provenance.command) } }
            }))
        },
    )
}

/// The plots alone, as a picture that stands by itself.
pub fn peers_svg(comparison: &Comparison) -> String {
    let rows = comparison.contests.len().div_ceil(2);
    let (width, height) = (FULL + 2.0 * MARGIN, rows as f64 * (TITLE + PEERS_HEIGHT + GAP));
    standalone(
        width,
        height,
        &html! { @for (index, contest) in comparison.contests.iter().enumerate() {
            @let x = MARGIN + (index % 2) as f64 * (HALF + GAP);
            @let y = (index / 2) as f64 * (TITLE + PEERS_HEIGHT + GAP);
            g transform={ "translate(" (x) " " (y) ")" } {
                text.name x="0" y="18" { (contest.format) ": " (verdict(contest)) }
                g transform={ "translate(0 " (TITLE) ")" } { (peers_drawing(contest, HALF).marks) }
            }
        } },
    )
}

fn names(comparison: &Comparison) -> String {
    let peers = comparison.contestants.iter().filter(|c| c.name != OURS);
    crate::number::listed(&peers.map(|c| format!("dense {}", c.name)).collect::<Vec<_>>())
}

fn verdict(contest: &Contest) -> String {
    contest.crossover.map_or_else(|| "no dense peer".to_owned(), |c| c.to_string())
}

fn plots(comparison: &Comparison) -> Markup {
    html! {
        div.pair {
            @for contest in &comparison.contests {
                div {
                    h4 {
                        (contest.format)
                        span.rho { span.figure.derived title=(crossover_origin()) { (verdict(contest)) } }
                    }
                    (peers(contest))
                }
            }
        }
    }
}

fn crossover_origin() -> Origin {
    Origin::derived("the line through our measured times, and the measured time of the fastest dense peer")
}

fn table(comparison: &Comparison) -> Markup {
    let timings = comparison.contests.iter().flat_map(|c| c.ours.iter().chain(&c.peers).map(move |t| (c, t)));
    html! {
        div.scroll {
            table.small {
                thead { tr {
                    th { "Format" } th { "Who" }
                    @for name in ["Density", "ms", "GB/s", "Ratio", "Speed-up"] { th.number { (name) } }
                } }
                tbody { @for (contest, timing) in timings { (row(comparison, contest, timing)) } }
            }
        }
    }
}

fn row(comparison: &Comparison, contest: &Contest, t: &Timing) -> Markup {
    let sources = Sources::none();
    let origin = comparison.origin(&t.seconds);
    let estimate = |e: Estimate| {
        html! {
            (sources.figure(&fixed(e.median, 2), &origin))
            span.interval { (fixed(e.low, 2)) "–" (fixed(e.high, 2)) }
        }
    };
    let ms =
        Estimate { median: 1e3 * t.seconds.median, low: 1e3 * t.seconds.low, high: 1e3 * t.seconds.high, ..t.seconds };
    let rate = Origin::derived(format!("the bytes of the weights and a time {origin}"));
    html! {
        tr class=(if t.who == OURS { "" } else { "dense" }) {
            th { (contest.format) }
            td { (t.who) }
            td.number { (t.density) }
            td.number { (estimate(ms)) }
            td.number { (sources.figure(&significant(t.gb_per_s(), 3), &rate)) }
            td.number { @if let Some(ratio) = t.ratio { (estimate(ratio)) } }
            td.number { @if let Some(speedup) = t.speedup { (estimate(speedup)) } }
        }
    }
}
