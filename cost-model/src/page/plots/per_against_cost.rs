//! PER against dollars: is the better-scored configuration the cheaper one?

use maud::{Markup, html};

use crate::number::{correlation, fixed};
use crate::report::{PerForm, Report, Row, TOLERATED_MISS};

use super::super::chart::{Axis, FULL, HALF, Plot, responsive};
use super::super::kind;
use super::{families, tip};

/// The ratio form large, the other two below.
pub(in super::super) fn per_against_cost(report: &Report, model: &str) -> Markup {
    let rows: Vec<(usize, &Row)> =
        report.rows.iter().enumerate().filter(|(_, r)| r.configuration.model == model).collect();
    let pairs = rows.iter().map(|(_, r)| (r.configuration.policy.as_str(), r.configuration.format.as_str()));
    html! {
        (kind::legend(pairs))
        (one(report, &rows, model, PerForm::Ratio, FULL))
        div.pair {
            div { (one(report, &rows, model, PerForm::Anchored, HALF)) }
            div { (one(report, &rows, model, PerForm::Paper, HALF)) }
        }
    }
}

fn one(report: &Report, rows: &[(usize, &Row)], model: &str, form: PerForm, wide: f64) -> Markup {
    let of_model = |c: &&crate::report::RankCorrelation| c.form == form && c.model.as_deref() == Some(model);
    let rho = report.correlations.iter().find(of_model).and_then(|c| Some((c.spearman?, c.rows)));
    let scored: Vec<(usize, &Row)> =
        rows.iter().copied().filter(|(_, r)| form.of(&r.configuration).is_some()).collect();
    let zeros = scored.iter().filter(|(_, r)| form.of(&r.configuration) == Some(0.0)).count();
    html! {
        h4 {
            (title(form))
            @if let Some((rho, n)) = rho {
                span.rho {
                    "Spearman ~\u{200a}" (correlation(rho)) " over " (n)
                    @if zeros > 0 { ", " (zeros) " of them 0" }
                }
            }
        }
        @if scored.is_empty() {
            p.absent { "Not defined for these configurations; the notes say why." }
        } @else {
            (responsive(wide, |width| draw(report, &scored, form, width)))
        }
    }
}

fn title(form: PerForm) -> &'static str {
    match form {
        PerForm::Ratio => "Ratio to dense in the widest format",
        PerForm::Anchored => "Between fixed anchors",
        PerForm::Paper => "The paper's min-max over these rows",
    }
}

fn draw(report: &Report, rows: &[(usize, &Row)], form: PerForm, width: f64) -> Markup {
    let per = |r: &Row| form.of(&r.configuration).unwrap_or(f64::NAN);
    let usd = |r: &Row| r.configuration.usd_per_mtok;
    let x = Axis::spanning("USD per million tokens", rows.iter().map(|(_, r)| usd(r)));
    let y = match form {
        PerForm::Ratio => Axis::linear("PER, 1 = dense in the widest format", rows.iter().map(|(_, r)| per(r))),
        PerForm::Anchored => Axis::linear("PER between anchors", rows.iter().map(|(_, r)| per(r))),
        PerForm::Paper => Axis::from_zero("PER over this set", rows.iter().map(|(_, r)| per(r))),
    };
    let first = rows.first().map(|(_, r)| &r.configuration);
    let best = first.and_then(|c| report.cheapest_within(&c.machine, &c.model, TOLERATED_MISS));
    let machines = kind::distinct(rows.iter().map(|(_, r)| r.configuration.machine.as_str())).len();
    let plot = Plot::new(width, if width > 600.0 { 420.0 } else { 330.0 }, x, y);
    let name = |r: &Row| match machines {
        1 => format!("dense {}", r.configuration.format),
        _ => format!("dense {} {}", r.configuration.format, r.configuration.machine.get(..4).unwrap_or_default()),
    };
    plot.svg(
        &format!("{form} PER against USD per million tokens, one point per configuration"),
        &html! {
            @for family in families(rows) {
                @let c = &family[0].1.configuration;
                @let class = format!("{} {}", kind::class(&c.policy), kind::dash(&c.format));
                (plot.line(family.iter().map(|(_, r)| (usd(r), per(r))), &class))
            }
            @for (_, row) in rows {
                @let c = &row.configuration;
                @let says = format!("{}; {form} PER {}", tip(row), fixed(per(row), 3));
                (plot.point(usd(row), per(row), kind::glyph(&c.policy, &c.format), &kind::class(&c.policy), &says))
            }
            @for (index, row) in rows {
                @if row.is_dense() { (plot.name(usd(row), per(row), 18.0, &name(row))) }
                @if best == Some(*index) && width > 600.0 {
                    (plot.name(usd(row), per(row), -10.0, &row.configuration.policy))
                }
            }
        },
    )
}
