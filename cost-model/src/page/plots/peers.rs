//! Time of our FFN over density, and the dense FFNs of others as the lines that it has to stay below.

use maud::{Markup, html};

use crate::number::{fixed, percent, significant};
use crate::peers::{Contest, Crossover, OURS, Timing};

use super::super::chart::{Axis, Drawing, Glyph, HALF, Marker, Plot, responsive};

/// Height of the drawing.
pub(in super::super) const PEERS_HEIGHT: f64 = 320.0;

const CLASS: &str = "kind-top-k";
/// The fastest peer is the one to beat.
const CLASSES: [&str; 4] = ["kind-dense", "dash-q8_0", "dash-f32", "dash-q4_0"];

pub(in super::super) fn peers(contest: &Contest) -> Markup {
    responsive(HALF, |width| peers_drawing(contest, width))
}

/// One drawing of that width.
pub(in super::super) fn peers_drawing(contest: &Contest, width: f64) -> Drawing {
    let all = || contest.ours.iter().chain(&contest.peers);
    // Room above the slowest peer for its name.
    let y = Axis::from_zero("ms per FFN", all().map(|t| 1.12e3 * t.seconds.high));
    let plot = Plot::new(width, PEERS_HEIGHT, Axis::linear("density: share of neurons computed", [0.0, 1.0]), y);
    let says = format!("Milliseconds per FFN in {} against density; dense peers as horizontal lines", contest.format);
    let lines: Vec<_> = contest.peers.iter().zip(CLASSES.iter().cycle()).map(rule).collect();
    plot.svg(
        &says,
        &html! {
            (plot.rules(&lines))
            @if let Some(line) = contest.line() {
                (plot.line([0.0, 1.0].map(|d| (d, 1e3 * line.at(d))), CLASS))
            }
            @for t in &contest.ours {
                (plot.whisker(t.density, (1e3 * t.seconds.low, 1e3 * t.seconds.high), CLASS))
                (plot.point(t.density, 1e3 * t.seconds.median, Glyph::DOT, CLASS, &tip(t)))
            }
            @if let (Some(Crossover::Below(density)), Some(best)) = (contest.crossover, contest.best_peer()) {
                @let ms = 1e3 * best.seconds.median;
                @let name = format!("even at {}", fixed(density, 2));
                (plot.point(density, ms, Glyph { marker: Marker::Diamond, radius: 4.6 }, "kind-fixed", &name))
                // On the side of the crossing where our line is not.
                (plot.name(density, ms, if density > 0.7 { -8.0 } else { 18.0 }, &name))
            }
        },
    )
}

fn rule<'a>((t, class): (&Timing, &&'a str)) -> (f64, &'a str, String) {
    let ms = 1e3 * t.seconds.median;
    (ms, *class, format!("dense {}, {} ms", t.who, significant(ms, 3)))
}

fn tip(t: &Timing) -> String {
    let e = &t.seconds;
    let speedup =
        t.speedup.map(|s| format!(", {} x the fastest dense peer", significant(s.median, 3))).unwrap_or_default();
    format!(
        "{OURS} at density {}: {} ms ({} to {}){speedup}",
        percent(t.density),
        significant(1e3 * e.median, 3),
        significant(1e3 * e.low, 3),
        significant(1e3 * e.high, 3)
    )
}
