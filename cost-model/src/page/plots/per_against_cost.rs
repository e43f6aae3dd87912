//! PER against dollars: is the better-scored configuration the cheaper one?

use serde::Serialize;

use crate::number::{correlation, fixed};
use crate::report::{PerForm, Report, Row, TOLERATED_MISS};

use super::super::chart::{Axis, Drawing, FULL, HALF, Plot};
use super::super::graph::{Graph, Group, Subject};
use super::super::kind;
use super::super::tables::per_origin;
use super::{families, tip};

/// A configuration.
#[derive(Serialize)]
struct Point<'a> {
    machine: &'a str,
    model: &'a str,
    policy: &'a str,
    format: &'a str,
    usd_per_mtok: f64,
    usd_per_mtok_origin: &'static str,
    per_form: String,
    per: f64,
    per_origin: &'static str,
    #[serde(skip)]
    row: &'a Row,
    /// Whether it is the cheapest one that misses little, which is named.
    #[serde(skip)]
    cheapest: bool,
}

/// The ratio form large, the other two below.
pub(in super::super) fn per_against_cost<'a>(report: &'a Report, model: &str, subject: Subject) -> Group<'a> {
    let rows: Vec<(usize, &Row)> =
        report.rows.iter().enumerate().filter(|(_, r)| r.configuration.model == model).collect();
    let pairs = rows.iter().map(|(_, r)| (r.configuration.policy.as_str(), r.configuration.format.as_str()));
    let forms = [(PerForm::Ratio, FULL), (PerForm::Anchored, HALF), (PerForm::Paper, HALF)];
    Group {
        subject,
        legend: kind::legend(pairs),
        graphs: forms.map(|(form, wide)| one(report, &rows, model, form, wide)).into(),
    }
}

fn one<'a>(report: &'a Report, rows: &[(usize, &'a Row)], model: &str, form: PerForm, wide: f64) -> Graph<'a> {
    let first = rows.first().map(|(_, r)| &r.configuration);
    let best = first.and_then(|c| report.cheapest_within(&c.machine, &c.model, TOLERATED_MISS));
    let point = |&(index, row): &(usize, &'a Row)| {
        let c = &row.configuration;
        Some(Point {
            machine: &c.machine,
            model: &c.model,
            policy: &c.policy,
            format: &c.format,
            usd_per_mtok: c.usd_per_mtok,
            usd_per_mtok_origin: row.usd_per_mtok.origin.kind(),
            per_form: form.to_string(),
            per: form.of(c)?,
            per_origin: per_origin(row, form)?.kind(),
            row,
            cheapest: best == Some(index),
        })
    };
    let points: Vec<Point<'_>> = rows.iter().filter_map(point).collect();
    let of_model = |c: &&crate::report::RankCorrelation| c.form == form && c.model.as_deref() == Some(model);
    let rho = report.correlations.iter().find(of_model).and_then(|c| Some((c.spearman?, c.rows)));
    let zeros = match points.iter().filter(|p| p.per == 0.0).count() {
        0 => String::new(),
        zeros => format!(", {zeros} of them 0"),
    };
    let note = rho.map(|(rho, n)| format!("Spearman ~\u{200a}{} over {n}{zeros}", correlation(rho)));
    Graph::new(format!("per-against-cost-{form}"), wide, points, move |points, width| draw(points, form, width))
        .headed(title(form), note.unwrap_or_default())
        .or_say("Not defined for these configurations; the notes say why.")
}

fn title(form: PerForm) -> &'static str {
    match form {
        PerForm::Ratio => "Ratio to dense in the widest format",
        PerForm::Anchored => "Between fixed anchors",
        PerForm::Paper => "The paper's min-max over these rows",
    }
}

fn draw(points: &[Point<'_>], form: PerForm, width: f64) -> Drawing {
    let per = points.iter().map(|p| p.per);
    let x = Axis::spanning("USD per million tokens", points.iter().map(|p| p.usd_per_mtok));
    let y = match form {
        PerForm::Ratio => Axis::linear("PER, 1 = dense in the widest format", per),
        PerForm::Anchored => Axis::linear("PER between anchors", per),
        PerForm::Paper => Axis::from_zero("PER over this set", per),
    };
    let machines = kind::distinct(points.iter().map(|p| p.machine)).len();
    let plot = Plot::new(width, if width > 600.0 { 420.0 } else { 330.0 }, x, y);
    let name = |p: &Point<'_>| match machines {
        1 => format!("dense {}", p.format),
        _ => format!("dense {} {}", p.format, p.machine.get(..4).unwrap_or_default()),
    };
    plot.svg(
        &format!("{form} PER against USD per million tokens, one point per configuration"),
        &maud::html! {
            @for family in families(points, |p| p.row) {
                @let class = format!("{} {}", kind::class(family[0].policy), kind::dash(family[0].format));
                (plot.line(family.iter().map(|p| (p.usd_per_mtok, p.per)), &class))
            }
            @for p in points {
                @let says = format!("{}; {form} PER {}", tip(p.row), fixed(p.per, 3));
                (plot.point(p.usd_per_mtok, p.per, kind::glyph(p.policy, p.format), &kind::class(p.policy), &says))
            }
            @for p in points {
                @if p.row.is_dense() { (plot.name(p.usd_per_mtok, p.per, 18.0, &name(p))) }
                @if p.cheapest && width > 600.0 { (plot.name(p.usd_per_mtok, p.per, -10.0, p.policy)) }
            }
        },
    )
}
