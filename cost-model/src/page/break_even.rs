//! Break-even densities of predictors over their rank, as a picture that stands by itself.

use maud::{Markup, html};

use crate::break_even::{BreakEven, BreakEvenRow};
use crate::format::WeightFormat;
use crate::number::percent;

use super::chart::{Axis, Drawing, Glyph, HALF, Marker, Plot};
use super::export::standalone;

const HEIGHT: f64 = 340.0;
const TITLE: f64 = 28.0;
const GAP: f64 = 44.0;
const MARGIN: f64 = 16.0;
const KEY: f64 = 34.0;

/// How formats are told apart: a colour, a dash and a marker each.
fn look(format: WeightFormat) -> (&'static str, Marker) {
    match format {
        WeightFormat::F32 => ("kind-relative dash-f32", Marker::Square),
        WeightFormat::F16 => ("kind-per-layer", Marker::Circle),
        WeightFormat::Bf16 => ("kind-top-k dash-bf16", Marker::Triangle),
        WeightFormat::Q8_0 => ("kind-fixed dash-q8_0", Marker::Diamond),
        WeightFormat::Q4_0 => ("kind-dynamic dash-q4_0", Marker::TriangleDown),
    }
}

/// A panel for each machine: lines by bytes, points by time.
pub fn break_even_svg(machines: &[BreakEven]) -> String {
    let columns = machines.len().min(2) as f64;
    let width = (columns * (HALF + GAP) - GAP).max(HALF) + 2.0 * MARGIN;
    let height = machines.len().div_ceil(2) as f64 * (TITLE + HEIGHT + GAP) + KEY;
    standalone(
        width,
        height,
        &html! {
            g transform={ "translate(" (MARGIN) " 0)" } {
                @for (index, machine) in machines.iter().enumerate() {
                    @let (x, y) = ((index % 2) as f64 * (HALF + GAP), (index / 2) as f64 * (TITLE + HEIGHT + GAP));
                    g transform={ "translate(" (x) " " (y) ")" } {
                        text.name x="0" y="18" { (machine.machine.name()) ", " (machine.threads) " threads" }
                        g transform={ "translate(0 " (TITLE) ")" } { (draw(machine).marks) }
                    }
                }
                g transform={ "translate(0 " (height - KEY) ")" } { (key(machines)) }
            }
        },
    )
}

fn formats(machines: &[BreakEven]) -> impl Iterator<Item = WeightFormat> {
    let shown = |format: &WeightFormat| machines.iter().any(|m| m.rows.iter().any(|row| row.format == *format));
    WeightFormat::ALL.into_iter().filter(shown)
}

fn key(machines: &[BreakEven]) -> Markup {
    html! {
        @for (index, format) in formats(machines).enumerate() {
            @let (class, marker) = look(format);
            g transform={ "translate(" (index as f64 * 92.0) " 12)" } {
                line class={ "line " (class) } x1="0" x2="30" y1="0" y2="0" {}
                g class={ "point " (class) } { (super::chart::shape(marker, 15.0, 0.0, 4.6)) }
                text.name x="36" y="4" { (format) }
            }
        }
        text.tick x="0" y="30" {
            "Lines: by bytes. Points with bars: by measured time. Ticks at the right: sign bits, by bytes. A predictor followed by \
             its layer's gates wins below."
        }
    }
}

fn draw(machine: &BreakEven) -> Drawing {
    let per_cent = |share: f64| 100.0 * share;
    let rows = &machine.rows;
    let most = rows.iter().filter_map(|row| row.rank).max().unwrap_or(1) as f64;
    let x = Axis::from_zero("rank of a low-rank predictor", [1.1 * most]);
    let low = rows.iter().filter_map(|row| row.by_time.map(|time| time.low)).chain(rows.iter().map(|row| row.by_bytes));
    let y = Axis::linear("break-even density, per cent let through", low.map(|v| per_cent(v.max(0.0))).chain([100.0]));
    let plot = Plot::new(HALF, HEIGHT, x, y);
    let of = |format: WeightFormat| rows.iter().filter(move |row| row.format == format);
    let ranked = |row: &BreakEvenRow| Some((row.rank? as f64, row.clone()));
    plot.svg(
        "Break-even density against rank, a line for each format by bytes, points by time",
        &html! {
            @for format in formats(std::slice::from_ref(machine)) {
                @let (class, marker) = look(format);
                // No predictor reads no bytes.
                @let by_bytes = of(format).filter_map(ranked).map(|(rank, row)| (rank, per_cent(row.by_bytes)));
                (plot.line(std::iter::once((0.0, 100.0)).chain(by_bytes), class))
                @for (rank, row) in of(format).filter_map(ranked) {
                    @if let Some(time) = row.by_time {
                        (plot.whisker(rank, (per_cent(time.low.max(0.0)), per_cent(time.high)), class))
                        (plot.point(rank, per_cent(time.median), Glyph { marker, ..Glyph::DOT }, class, &tip(&row)))
                    }
                }
                @for row in of(format).filter(|row| row.rank.is_none()) {
                    @let sign_bits = per_cent(row.by_bytes);
                    (plot.line([(1.06 * most, sign_bits), (1.1 * most, sign_bits)], class))
                }
            }
        },
    )
}

fn tip(row: &BreakEvenRow) -> String {
    let time = row.by_time.map_or_else(String::new, |t| {
        format!(", by time {} ({} to {})", percent(t.median), percent(t.low), percent(t.high))
    });
    let rank = row.rank.map_or_else(|| "sign bits".to_owned(), |rank| format!("rank {rank}"));
    format!("{rank} in {}: by bytes {}{time}", row.format, percent(row.by_bytes))
}
