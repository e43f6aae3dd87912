//! Where the milliseconds and the bytes go: one stacked bar per configuration, part by part of a token.

use maud::{Markup, html};
use serde::Serialize;

use crate::compose::{Term, TermKind};
use crate::number::significant;
use crate::origin::Origin;
use crate::report::Row;

use super::super::chart::{Drawing, HALF, at};
use super::super::graph::{Graph, Group};
use super::super::kind;
use super::super::legend::{Key, Sign};
use super::Panel;

const BAR: f64 = 16.0;
/// A label beside its bar on wide screens, above it on phones.
const BESIDE: f64 = 26.0;
const ABOVE: f64 = 40.0;
const LABEL: f64 = 158.0;
/// Room for the total at the end of a bar.
const TOTAL: f64 = 52.0;
const BYTES_PER_GB: f64 = 1e9;

/// The time of a part.
#[derive(Serialize)]
struct Milliseconds<'a> {
    machine: &'a str,
    model: &'a str,
    format: &'a str,
    policy: &'a str,
    part: TermKind,
    ms_per_token: f64,
    ms_low: f64,
    ms_high: f64,
    /// Whether it lies beyond what was measured.
    extrapolated: bool,
    ms_per_token_origin: &'static str,
    #[serde(skip)]
    origin: Origin,
}

/// What a part reads.
#[derive(Serialize)]
struct Gigabytes<'a> {
    machine: &'a str,
    model: &'a str,
    format: &'a str,
    policy: &'a str,
    part: TermKind,
    read_gb_per_token: f64,
    read_gb_per_token_origin: &'static str,
    #[serde(skip)]
    origin: Origin,
}

/// A piece of a bar.
struct Piece<'a> {
    policy: &'a str,
    part: TermKind,
    length: f64,
    origin: &'a Origin,
}

/// Time and reading of each format side by side, every bar of a quantity to one scale.
pub(in super::super) fn parts<'a>(panel: &Panel<'a>) -> Group<'a> {
    let used = |part: TermKind| panel.rows.iter().any(|(_, r)| r.terms.iter().any(|t| t.kind == part));
    let keys = kind::parts().filter(|(part, _)| used(*part));
    let longest = |of: fn(&Row) -> f64| panel.rows.iter().map(|(_, r)| of(r)).fold(0.0, f64::max);
    let (most_ms, most_gb) = (longest(|r| r.configuration.ms_per_token), longest(gb_per_token));
    let formats = panel.formats();
    let name = |what: &str, format: &str| if formats.len() > 1 { format!("{what}-{format}") } else { what.to_owned() };
    let graphs = |&format: &&'a str| {
        let rows = panel.rows.iter().map(|(_, r)| *r).filter(move |r| r.configuration.format == format);
        let terms = rows.flat_map(|r| r.terms.iter().map(move |t| (r, t)));
        let ms = terms.clone().map(|(r, t)| milliseconds(r, t)).collect();
        let gb = terms.map(|(r, t)| gigabytes(r, t)).collect();
        [
            Graph::new(name("milliseconds", format), HALF, ms, move |points, width| {
                bars(points.iter().map(Milliseconds::piece), "Milliseconds", "ms", most_ms, width)
            })
            .headed(format, "ms per token"),
            Graph::new(name("bytes", format), HALF, gb, move |points, width| {
                bars(points.iter().map(Gigabytes::piece), "Gigabytes read", "GB", most_gb, width)
            })
            .headed(format, "GB read per token"),
        ]
    };
    Group {
        subject: panel.subject(),
        legend: keys.map(|(part, class)| Key::new(Sign::Fill(class.to_owned()), part.as_str())).collect(),
        graphs: formats.iter().flat_map(graphs).collect(),
    }
}

fn milliseconds<'a>(row: &'a Row, term: &Term) -> Milliseconds<'a> {
    let (c, origin) = (&row.configuration, origin(row, term));
    Milliseconds {
        machine: &c.machine,
        model: &c.model,
        format: &c.format,
        policy: &c.policy,
        part: term.kind,
        ms_per_token: term.ms.median,
        ms_low: term.ms.low,
        ms_high: term.ms.high,
        extrapolated: term.extrapolated,
        ms_per_token_origin: origin.kind(),
        origin,
    }
}

fn gigabytes<'a>(row: &'a Row, term: &Term) -> Gigabytes<'a> {
    let c = &row.configuration;
    let origin = resting_on_density(Origin::derived("shapes, format and density"), row, term);
    Gigabytes {
        machine: &c.machine,
        model: &c.model,
        format: &c.format,
        policy: &c.policy,
        part: term.kind,
        read_gb_per_token: term.bytes as f64 / BYTES_PER_GB / c.batch as f64,
        read_gb_per_token_origin: origin.kind(),
        origin,
    }
}

fn gb_per_token(row: &Row) -> f64 {
    row.configuration.read_gb_per_step / row.configuration.batch as f64
}

fn origin(row: &Row, term: &Term) -> Origin {
    resting_on_density(term.origin.clone(), row, term)
}

/// Of the parts only the FFN's depend on how much is computed.
fn resting_on_density(origin: Origin, row: &Row, term: &Term) -> Origin {
    if term.kind.is_ffn() { origin.resting_on(&[&row.density_origin]) } else { origin }
}

impl Milliseconds<'_> {
    fn piece(&self) -> Piece<'_> {
        Piece { policy: self.policy, part: self.part, length: self.ms_per_token, origin: &self.origin }
    }
}

impl Gigabytes<'_> {
    fn piece(&self) -> Piece<'_> {
        Piece { policy: self.policy, part: self.part, length: self.read_gb_per_token, origin: &self.origin }
    }
}

/// A bar per policy, in order of appearance.
fn bars<'a>(pieces: impl Iterator<Item = Piece<'a>>, what: &str, unit: &str, longest: f64, width: f64) -> Drawing {
    let mut stacks: Vec<Vec<Piece<'_>>> = Vec::new();
    for piece in pieces {
        match stacks.iter_mut().find(|stack| stack[0].policy == piece.policy) {
            Some(stack) => stack.push(piece),
            None => stacks.push(vec![piece]),
        }
    }
    let narrow = width < HALF;
    let (pitch, left) = if narrow { (ABOVE, 0.0) } else { (BESIDE, LABEL) };
    let scale = (width - left - TOTAL) / longest.max(f64::MIN_POSITIVE);
    let marks = html! {
        @for (index, stack) in stacks.iter().enumerate() {
            @let top = index as f64 * pitch;
            @let bar = if narrow { top + 18.0 } else { top + 4.0 };
            @let total: f64 = stack.iter().map(|piece| piece.length).sum();
            @if narrow {
                text.tick x="0" y=(at(top + 13.0)) { (stack[0].policy) }
            } @else {
                text.tick x=(at(left - 8.0)) y=(at(bar + 12.0)) text-anchor="end" { (stack[0].policy) }
            }
            (stacked(stack, total, unit, (left, bar), scale))
            text.total x=(at(left + total * scale + 6.0)) y=(at(bar + 12.0)) { (significant(total, 3)) }
        }
    };
    Drawing {
        says: format!("{what} per token, part by part, one bar per configuration"),
        width,
        height: stacks.len() as f64 * pitch + 4.0,
        marks,
    }
}

fn stacked(stack: &[Piece<'_>], total: f64, unit: &str, (left, top): (f64, f64), scale: f64) -> Markup {
    let mut x = left;
    let mut segments = Vec::new();
    for (part, class) in kind::parts() {
        let Some(piece) = stack.iter().find(|piece| piece.part == part) else { continue };
        let (width, share) = (piece.length * scale, 100.0 * piece.length / total);
        let tip = format!("{part}: {} {unit}, {share:.1} %; {}", significant(piece.length, 3), piece.origin);
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
