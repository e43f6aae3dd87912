//! Measured kernels over the bandwidth roof.

use maud::html;
use serde::Serialize;

use crate::machine::CUDA;
use crate::number::{percent, significant};
use crate::operator::Operator;
use crate::report::{Kernel, Report};

use super::super::chart::{Axis, Drawing, Glyph, HALF, Plot};
use super::super::graph::{Graph, Group, Subject};
use super::super::legend::{Key, Sign};
use super::Panel;

/// Operators in drawing order, with the shade of the part of a token that they are.
const OPERATORS: [(Operator, &str); 7] = [
    (Operator::GateUp, "part-gate-up"),
    (Operator::Down, "part-down"),
    (Operator::Ffn, "part-ffn"),
    (Operator::FfnGateFirst, "part-gate-first"),
    (Operator::FfnPredicted, "part-ffn-predicted"),
    (Operator::Gemv, "part-attention"),
    (Operator::Predictor, "part-predictor"),
];

/// A kernel. It and its bandwidth were timed in one round where the ratio is `measured`, apart where it is `derived`.
#[derive(Serialize)]
struct Point<'a> {
    machine: &'a str,
    kernel: &'a str,
    operator: Operator,
    isa: &'a str,
    format: String,
    threads: usize,
    rows: usize,
    cols: usize,
    predictor_rank: Option<usize>,
    density: f64,
    roof_ratio: f64,
    roof_ratio_low: f64,
    roof_ratio_high: f64,
    roof_ratio_origin: &'static str,
    #[serde(skip)]
    tip: String,
}

impl<'a> Point<'a> {
    fn new(kernel: &'a Kernel) -> Option<Self> {
        let (m, ratio) = (&kernel.measurement, kernel.roof_ratio.as_ref()?);
        Some(Self {
            machine: &kernel.machine,
            kernel: &m.kernel,
            operator: m.operator,
            isa: &m.isa,
            format: m.format.to_string(),
            threads: m.threads,
            rows: m.rows,
            cols: m.cols,
            predictor_rank: m.rank,
            density: m.density,
            roof_ratio: ratio.value.median,
            roof_ratio_low: ratio.value.low,
            roof_ratio_high: ratio.value.high,
            roof_ratio_origin: ratio.origin.kind(),
            tip: tip(kernel),
        })
    }

    /// Hollow where kernel and bandwidth were not timed in one round.
    fn shade(&self, class: &str) -> String {
        if self.roof_ratio_origin == "measured" { class.to_owned() } else { format!("{class} hollow") }
    }
}

/// The kernels that the panel's rows are composed from, and those that ran beside them; `alone` where there is no other
/// machine.
pub(in super::super) fn kernels<'a>(report: &'a Report, panel: &Panel<'a>, alone: bool) -> Group<'a> {
    let known = |k: &Kernel| OPERATORS.iter().any(|(op, _)| *op == k.measurement.operator);
    let drawn = |k: &&Kernel| known(k) && k.composed && k.machine == panel.machine && k.roof_ratio.is_some();
    let all: Vec<&Kernel> = report.kernels.iter().filter(drawn).collect();
    let used = OPERATORS.into_iter().filter(|(op, _)| all.iter().any(|k| k.measurement.operator == *op));
    let formats = panel.formats();
    let graph = |&format: &&'a str| {
        let own = all.iter().filter(|k| k.measurement.format.as_str() == format);
        let points: Vec<Point<'a>> = own.filter_map(|k| Point::new(k)).collect();
        let note = points.first().map(|p| match p.isa {
            CUDA => CUDA.to_owned(),
            isa => format!("{isa}, {} threads", p.threads),
        });
        let name = if formats.len() > 1 {
            format!("kernels-against-roof-{format}")
        } else {
            "kernels-against-roof".to_owned()
        };
        Graph::new(name, HALF, points, draw)
            .headed(format, note.unwrap_or_default())
            .or_say("No bandwidth was measured to compare with.")
    };
    let tag = if alone { "" } else { panel.machine };
    Group {
        subject: Subject { of: format!("{} {}", panel.cpu, panel.machine), tag: tag.to_owned(), ..panel.subject() },
        legend: used.map(|(op, class)| Key::code(Sign::Fill(class.to_owned()), op.as_str(), "")).collect(),
        graphs: formats.iter().map(graph).collect(),
    }
}

fn draw(points: &[Point<'_>], width: f64) -> Drawing {
    let ends = points.iter().flat_map(|p| [p.roof_ratio_low, p.roof_ratio_high]);
    let y = Axis::linear("time over roof", ends.chain([0.9, 1.2]));
    let x = Axis::spanning("density", points.iter().map(|p| p.density));
    let plot = Plot::new(width, 300.0, x, y);
    // A line for each rank of a predictor: rank by rank, density by density.
    let of = |op: Operator| {
        let mut own: Vec<&Point<'_>> = points.iter().filter(|p| p.operator == op).collect();
        own.sort_by(|a, b| a.predictor_rank.cmp(&b.predictor_rank).then(a.density.total_cmp(&b.density)));
        own
    };
    plot.svg(
        "Time of each measured kernel over bytes touched divided by read bandwidth, against density; 1 is the roof",
        &html! {
            (plot.rule(1.0, "roof", "bytes ÷ measured bandwidth"))
            @for (op, class) in OPERATORS {
                @let own = of(op);
                @for line in own.chunk_by(|a, b| a.predictor_rank == b.predictor_rank) {
                    @if line.iter().any(|p| p.density < 1.0) {
                        (plot.line(line.iter().map(|p| (p.density, p.roof_ratio)), class))
                    }
                }
                @for p in own {
                    (plot.whisker(p.density, (p.roof_ratio_low, p.roof_ratio_high), class))
                    (plot.point(p.density, p.roof_ratio, Glyph::DOT, &p.shade(class), &p.tip))
                }
            }
        },
    )
}

fn tip(kernel: &Kernel) -> String {
    let m = &kernel.measurement;
    let rank = m.rank.map(|r| format!(" rank {r}")).unwrap_or_default();
    let ratio = kernel.roof_ratio.as_ref();
    let ratio = ratio.map(|r| format!(", {} x roof; {}", significant(r.value.median, 3), r.origin)).unwrap_or_default();
    format!(
        "{} {}x{}{rank}, density {}: {} us{ratio}",
        m.kernel,
        m.rows,
        m.cols,
        percent(m.density),
        significant(m.seconds.median * 1e6, 3),
    )
}
