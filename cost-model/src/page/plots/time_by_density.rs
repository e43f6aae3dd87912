//! Time per token over the share computed: what less computing buys, predictor and selection paid.

use maud::{Markup, html};

use super::super::chart::{Axis, FULL, Plot, responsive};
use super::super::kind;
use super::{Panel, families, tip};

pub(in super::super) fn time_by_density(panel: &Panel<'_>) -> Markup {
    html! {
        (panel.name())
        (kind::legend(panel.pairs()))
        (responsive(FULL, |width| draw(panel, width)))
    }
}

fn draw(panel: &Panel<'_>, width: f64) -> Markup {
    let y = Axis::from_zero("ms per token", panel.rows.iter().map(|(_, r)| r.configuration.ms_high));
    let x = Axis::linear("mean density: share of FFN neurons computed", [0.0, 1.0]);
    let plot = Plot::new(width, if width > 600.0 { 400.0 } else { 340.0 }, x, y);
    let sparse: Vec<_> = panel.rows.iter().copied().filter(|(_, r)| !r.is_dense()).collect();
    let dense = || panel.rows.iter().map(|(_, r)| r).filter(|r| r.is_dense());
    plot.svg(
        "Milliseconds per token against mean density, with intervals; dense as horizontal lines",
        &html! {
            @for row in dense() {
                @let c = &row.configuration;
                (plot.rule(c.ms_per_token, kind::dash(&c.format), &format!("dense {}", c.format)))
            }
            @for family in families(&sparse) {
                @let c = &family[0].1.configuration;
                @let class = format!("{} {}", kind::class(&c.policy), kind::dash(&c.format));
                (plot.line(family.iter().map(|(_, r)| (r.configuration.density, r.configuration.ms_per_token)), &class))
            }
            @for (_, row) in panel.rows.iter() {
                @let c = &row.configuration;
                @let class = kind::class(&c.policy);
                (plot.whisker(c.density, (c.ms_low, c.ms_high), &class))
                (plot.point(c.density, c.ms_per_token, kind::glyph(&c.policy, &c.format), &class, &tip(row)))
            }
        },
    )
}
