//! Where the milliseconds go: one stacked bar per configuration.

use maud::{Markup, html};

use crate::number::significant;
use crate::report::Row;

use super::super::chart::{HALF, at, responsive};
use super::super::kind;
use super::Panel;

const BAR: f64 = 16.0;
/// A label beside its bar on wide screens, above it on phones.
const BESIDE: f64 = 26.0;
const ABOVE: f64 = 40.0;
const LABEL: f64 = 158.0;
/// Room for the total at the end of a bar.
const TOTAL: f64 = 52.0;

pub(in super::super) fn milliseconds(panel: &Panel<'_>) -> Markup {
    let longest = panel.rows.iter().map(|(_, r)| r.configuration.ms_per_token).fold(0.0, f64::max);
    let used = |name: &str| panel.rows.iter().any(|(_, r)| r.terms.iter().any(|t| t.name == name));
    html! {
        (panel.name())
        ul.legend {
            @for (name, class) in kind::parts().filter(|(n, _)| used(n)) { li { (kind::swatch(class)) (name) } }
        }
        div.pair {
            @for format in panel.formats() {
                @let own = panel.rows.iter().map(|(_, r)| *r).filter(|r| r.configuration.format == format);
                @let rows: Vec<&Row> = own.collect();
                div {
                    h4 { (format) span.rho { "ms per token" } }
                    (responsive(HALF, |width| bars(&rows, longest, width)))
                }
            }
        }
    }
}

fn bars(rows: &[&Row], longest: f64, width: f64) -> Markup {
    let narrow = width < HALF;
    let (pitch, left) = if narrow { (ABOVE, 0.0) } else { (BESIDE, LABEL) };
    let scale = (width - left - TOTAL) / longest.max(f64::MIN_POSITIVE);
    let height = rows.len() as f64 * pitch + 4.0;
    html! {
        svg viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height)
            role="img" aria-label="Milliseconds per token, part by part, one bar per configuration" {
            @for (index, row) in rows.iter().enumerate() {
                @let top = index as f64 * pitch;
                @let bar = if narrow { top + 18.0 } else { top + 4.0 };
                @if narrow {
                    text.tick x="0" y=(at(top + 13.0)) { (row.configuration.policy) }
                } @else {
                    text.tick x=(at(left - 8.0)) y=(at(bar + 12.0)) text-anchor="end" { (row.configuration.policy) }
                }
                (stack(row, left, bar, scale))
                text.total x=(at(left + row.configuration.ms_per_token * scale + 6.0)) y=(at(bar + 12.0)) {
                    (significant(row.configuration.ms_per_token, 3))
                }
            }
        }
    }
}

fn stack(row: &Row, left: f64, top: f64, scale: f64) -> Markup {
    let mut x = left;
    let mut segments = Vec::new();
    for (name, class) in kind::parts() {
        let Some(term) = row.terms.iter().find(|t| t.name == name) else { continue };
        let width = term.ms.median * scale;
        let share = 100.0 * term.ms.median / row.configuration.ms_per_token;
        let tip = format!("{name}: {} ms, {share:.1} %; {}", significant(term.ms.median, 3), term.origin);
        segments.push((x, width, class, tip));
        x += width;
    }
    html! {
        @for (x, width, class, tip) in segments {
            // A hair between segments; slivers stay whole.
            rect class={ "fill " (class) } x=(at(x)) y=(at(top)) height=(at(BAR))
                width=(format!("{:.2}", if width > 2.0 { width - 0.8 } else { width })) { title { (tip) } }
        }
    }
}
