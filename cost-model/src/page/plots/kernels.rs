//! Measured kernels over the bandwidth roof.

use maud::{Markup, html};

use crate::machine::CUDA;
use crate::number::{percent, significant};
use crate::operator::Operator;
use crate::report::{Kernel, Report};

use super::super::chart::{Axis, Glyph, HALF, Plot, responsive};
use super::super::kind;
use super::Panel;

/// Operators in drawing order, with the shade of the part of a token that they are.
const OPERATORS: [(Operator, &str); 6] = [
    (Operator::GateUp, "part-gate-up"),
    (Operator::Down, "part-down"),
    (Operator::Ffn, "part-ffn"),
    (Operator::FfnGateFirst, "part-gate-first"),
    (Operator::Gemv, "part-attention"),
    (Operator::Predictor, "part-predictor"),
];

/// The kernels that the panel's rows are composed from, and those that ran beside them.
pub(in super::super) fn kernels(report: &Report, panel: &Panel<'_>) -> Markup {
    let known = |k: &Kernel| OPERATORS.iter().any(|(op, _)| *op == k.measurement.operator);
    let drawn = |k: &&Kernel| known(k) && k.composed && k.machine == panel.machine && k.roof_ratio.is_some();
    let all: Vec<&Kernel> = report.kernels.iter().filter(drawn).collect();
    let used = |op: Operator| all.iter().any(|k| k.measurement.operator == op);
    html! {
        (panel.name())
        ul.legend {
            @for (op, class) in OPERATORS.into_iter().filter(|(op, _)| used(*op)) {
                li { (kind::swatch(class)) code { (op) } }
            }
        }
        div.pair {
            @for format in panel.formats() {
                @let own = of_format(&all, format);
                div {
                    h4 {
                        (format)
                        @if let Some(k) = own.first() {
                            span.rho {
                                (k.measurement.isa)
                                @if k.measurement.isa != CUDA { ", " (k.measurement.threads) " threads" }
                            }
                        }
                    }
                    @if own.is_empty() { p.absent { "No bandwidth was measured to compare with." } }
                    @else { (responsive(HALF, |width| draw(&own, width))) }
                }
            }
        }
    }
}

fn of_format<'a>(kernels: &[&'a Kernel], format: &str) -> Vec<&'a Kernel> {
    kernels.iter().copied().filter(|k| k.measurement.format.as_str() == format).collect()
}

fn draw(kernels: &[&Kernel], width: f64) -> Markup {
    let ratio = |k: &Kernel| k.roof_ratio.as_ref().map(|r| r.value);
    let ends = kernels.iter().filter_map(|k| ratio(k)).flat_map(|r| [r.low, r.high]);
    let y = Axis::linear("time over roof", ends.chain([0.9, 1.2]));
    let x = Axis::spanning("density", kernels.iter().map(|k| k.measurement.density));
    let plot = Plot::new(width, 300.0, x, y);
    let of = |op: Operator| {
        let mut own: Vec<&Kernel> = kernels.iter().copied().filter(|k| k.measurement.operator == op).collect();
        own.sort_by(|a, b| a.measurement.density.total_cmp(&b.measurement.density));
        own
    };
    plot.svg(
        "Time of each measured kernel over bytes touched divided by read bandwidth, against density; 1 is the roof",
        &html! {
            (plot.rule(1.0, "roof", "bytes ÷ measured bandwidth"))
            @for (op, class) in OPERATORS {
                @let own = of(op);
                @let swept = own.iter().any(|k| k.measurement.density < 1.0);
                @if swept {
                    (plot.line(own.iter().filter_map(|k| Some((k.measurement.density, ratio(k)?.median))), class))
                }
                @for kernel in own {
                    @let density = kernel.measurement.density;
                    @if let Some(r) = ratio(kernel) {
                        (plot.whisker(density, (r.low, r.high), class))
                        (plot.point(density, r.median, Glyph::DOT, &shade(kernel, class), &tip(kernel, r.median)))
                    }
                }
            }
        },
    )
}

/// Hollow where kernel and bandwidth were not timed in one round.
fn shade(kernel: &Kernel, class: &str) -> String {
    let paired = kernel.roof_ratio.as_ref().is_some_and(|r| r.origin.kind() == "measured");
    if paired { class.to_owned() } else { format!("{class} hollow") }
}

fn tip(kernel: &Kernel, ratio: f64) -> String {
    let m = &kernel.measurement;
    let rank = m.rank.map(|r| format!(" rank {r}")).unwrap_or_default();
    let origin = kernel.roof_ratio.as_ref().map(|r| format!("; {}", r.origin)).unwrap_or_default();
    format!(
        "{} {}x{}{rank}, density {}: {} us, {} x roof{origin}",
        m.kernel,
        m.rows,
        m.cols,
        percent(m.density),
        significant(m.seconds.median * 1e6, 3),
        significant(ratio, 3)
    )
}
