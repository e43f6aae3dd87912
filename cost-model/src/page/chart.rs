//! Axes, lines, points and bars as SVG. Colours come from classes in the page's style sheet, so that
//! one drawing serves light and dark.
//!
//! Text is drawn at its final size: a chart is drawn once for wide screens and once for phones
//! ([`responsive`]) instead of being shrunk until nobody can read it.

use maud::{Markup, Render, html};

use crate::number::{fixed, significant};

/// Width of a drawing for phones, in CSS pixels.
const NARROW: f64 = 350.0;
/// Width of a drawing that fills the page.
pub(super) const FULL: f64 = 1060.0;
/// Width of one of two side by side.
pub(super) const HALF: f64 = 508.0;

/// Average width of a digit at the size of tick labels.
const DIGIT: f64 = 6.6;
/// Distance of one name from the next.
const LINE_HEIGHT: f64 = 14.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 44.0;
const RIGHT: f64 = 20.0;
/// Above this quotient of largest and smallest, a logarithmic axis reads better.
const LOG_FROM: f64 = 12.0;

/// Draws for wide screens and for phones; the style sheet shows one of them.
pub(super) fn responsive(wide: f64, draw: impl Fn(f64) -> Drawing) -> Markup {
    html! {
        div.wide { (draw(wide)) }
        div.narrow { (draw(NARROW)) }
    }
}

/// A finished drawing.
#[derive(Clone, Debug)]
pub(super) struct Drawing {
    /// Describes it to those who do not see it.
    pub(super) says: String,
    pub(super) width: f64,
    pub(super) height: f64,
    /// Everything that is drawn, from (0, 0) on.
    pub(super) marks: Markup,
}

impl Render for Drawing {
    fn render(&self) -> Markup {
        html! {
            svg viewBox={ "0 0 " (self.width) " " (self.height) } width=(self.width) height=(self.height)
                role="img" aria-label=(self.says) { (self.marks) }
        }
    }
}

/// A coordinate.
pub(super) fn at(v: f64) -> String {
    format!("{v:.1}")
}

/// One axis with its ticks.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    label: &'static str,
    low: f64,
    high: f64,
    log: bool,
    ticks: Vec<f64>,
}

impl Axis {
    /// Linear between round numbers that hold all finite values.
    pub(super) fn linear(label: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        let (low, high) = range(values);
        let step = nice_step((high - low) / 5.0);
        let (first, last) = ((low / step).floor(), (high / step).ceil());
        let ticks = (0..=(last - first) as u32).map(|i| (first + f64::from(i)) * step).collect();
        Self { label, low: first * step, high: last * step, log: false, ticks }
    }

    /// Linear from zero.
    pub(super) fn from_zero(label: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        Self::linear(label, values.into_iter().chain([0.0]))
    }

    /// Logarithmic where positive values span more than a decade, else linear.
    pub(super) fn spanning(label: &'static str, values: impl IntoIterator<Item = f64>) -> Self {
        let values: Vec<f64> = values.into_iter().collect();
        let (low, high) = range(values.iter().copied());
        if low > 0.0 && high / low > LOG_FROM { Self::log(label, low, high) } else { Self::linear(label, values) }
    }

    fn log(label: &'static str, low: f64, high: f64) -> Self {
        let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let grid: Vec<f64> = (first..=last).flat_map(|e| [1.0, 2.0, 5.0].map(|m| m * 10_f64.powi(e))).collect();
        let from = grid.iter().rposition(|g| *g <= low).unwrap_or(0);
        let to = grid.iter().position(|g| *g >= high).unwrap_or(grid.len() - 1);
        let mut ticks = grid[from..=to].to_vec();
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        if ticks.len() > 9 {
            ticks.retain(|t| (t.log10() - t.log10().round()).abs() < 1e-9);
        }
        Self { label, low, high, log: true, ticks }
    }

    /// Share of the axis at which `v` lies.
    fn share(&self, v: f64) -> f64 {
        if self.log {
            (v / self.low).ln() / (self.high / self.low).ln()
        } else {
            (v - self.low) / (self.high - self.low)
        }
    }

    fn text(&self, tick: f64) -> String {
        if self.log {
            return significant(tick, 1);
        }
        let step = self.ticks.get(1).map_or(1.0, |second| second - self.ticks[0]);
        fixed(tick, decimals(step))
    }

    fn widest(&self) -> f64 {
        self.ticks.iter().map(|t| self.text(*t).chars().count()).max().unwrap_or(1) as f64 * DIGIT
    }
}

/// Least and greatest finite value, made different if they are not.
fn range(values: impl IntoIterator<Item = f64>) -> (f64, f64) {
    let finite = values.into_iter().filter(|v| v.is_finite());
    let (low, high) = finite.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)));
    if low > high {
        (0.0, 1.0)
    } else if high - low > 1e-9 * high.abs().max(low.abs()) {
        (low, high)
    } else if low == 0.0 {
        (0.0, 1.0)
    } else {
        (low - 0.1 * low.abs(), high + 0.1 * high.abs())
    }
}

/// 1, 2 or 5 times a power of ten, at least `raw`.
fn nice_step(raw: f64) -> f64 {
    let power = 10_f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 5.0].into_iter().find(|m| m * power >= raw * (1.0 - 1e-9));
    step.unwrap_or(10.0) * power
}

/// Decimals that tell ticks `step` apart.
fn decimals(step: f64) -> i32 {
    (-(step.log10() + 1e-9).floor() as i32).clamp(0, 9)
}

/// Shape of a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Marker {
    Circle,
    Diamond,
    Square,
    Triangle,
    TriangleDown,
}

/// A point as it is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Glyph {
    pub(super) marker: Marker,
    pub(super) radius: f64,
}

impl Glyph {
    pub(super) const DOT: Self = Self { marker: Marker::Circle, radius: 4.6 };
}

/// A drawing area with two axes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Plot {
    width: f64,
    height: f64,
    left: f64,
    x: Axis,
    y: Axis,
}

impl Plot {
    pub(super) fn new(width: f64, height: f64, x: Axis, y: Axis) -> Self {
        Self { width, height, left: y.widest() + 14.0, x, y }
    }

    pub(super) fn px(&self, x: f64) -> f64 {
        self.left + self.x.share(x) * (self.width - self.left - RIGHT)
    }

    pub(super) fn py(&self, y: f64) -> f64 {
        self.height - BOTTOM - self.y.share(y) * (self.height - BOTTOM - TOP)
    }

    /// Where a point lies, if it lies on the drawing.
    fn place(&self, (x, y): (f64, f64)) -> Option<(f64, f64)> {
        let (px, py) = (self.px(x), self.py(y));
        let inside = |v: f64, low: f64, high: f64| v >= low - 0.5 && v <= high + 0.5;
        (inside(px, self.left, self.width - RIGHT) && inside(py, TOP, self.height - BOTTOM)).then_some((px, py))
    }

    /// The frame around `marks`; `says` describes the drawing to those who do not see it.
    pub(super) fn svg(&self, says: &str, marks: &Markup) -> Drawing {
        let (bottom, right) = (self.height - BOTTOM, self.width - RIGHT);
        let marks = html! {
            g.grid {
                @for tick in &self.y.ticks {
                    line x1=(at(self.left)) x2=(at(right)) y1=(at(self.py(*tick))) y2=(at(self.py(*tick))) {}
                }
            }
            @for tick in &self.y.ticks {
                text.tick x=(at(self.left - 8.0)) y=(at(self.py(*tick) + 4.0)) text-anchor="end" {
                    (self.y.text(*tick))
                }
            }
            line.base x1=(at(self.left)) x2=(at(right)) y1=(at(bottom)) y2=(at(bottom)) {}
            @for tick in self.roomy_ticks() {
                line.base x1=(at(self.px(tick))) x2=(at(self.px(tick))) y1=(at(bottom)) y2=(at(bottom + 4.0)) {}
                text.tick x=(at(self.px(tick))) y=(at(bottom + 18.0)) text-anchor="middle" { (self.x.text(tick)) }
            }
            text.axis x="0" y="14" { (self.y.label) }
            text.axis x=(at(right)) y=(at(self.height - 4.0)) text-anchor="end" { (self.x.label) }
            (marks)
        };
        Drawing { says: says.to_owned(), width: self.width, height: self.height, marks }
    }

    /// The ticks of the x axis, or every other one where their labels would touch.
    fn roomy_ticks(&self) -> impl Iterator<Item = f64> {
        let room = (self.width - self.left - RIGHT) / self.x.ticks.len() as f64;
        let every = if room < self.x.widest() + 10.0 { 2 } else { 1 };
        self.x.ticks.iter().copied().step_by(every)
    }

    /// A line through the points, in the order given.
    pub(super) fn line(&self, points: impl IntoIterator<Item = (f64, f64)>, class: &str) -> Markup {
        let placed = points.into_iter().filter_map(|p| self.place(p));
        let path: Vec<String> = placed.map(|(x, y)| format!("{},{}", at(x), at(y))).collect();
        html! { @if path.len() > 1 { polyline class={ "line " (class) } points=(path.join(" ")) {} } }
    }

    /// A point, with what it says when pointed at.
    pub(super) fn point(&self, x: f64, y: f64, glyph: Glyph, class: &str, tip: &str) -> Markup {
        html! {
            @if let Some((px, py)) = self.place((x, y)) {
                g class={ "point " (class) } { title { (tip) } (shape(glyph.marker, px, py, glyph.radius)) }
            }
        }
    }

    /// A vertical interval.
    pub(super) fn whisker(&self, x: f64, (low, high): (f64, f64), class: &str) -> Markup {
        html! {
            @if let (Some((px, top)), Some((_, bottom))) = (self.place((x, high)), self.place((x, low))) {
                @let (from, to) = (at(px - 3.0), at(px + 3.0));
                @let stem = format!("M{} {}V{}", at(px), at(top), at(bottom));
                @let ends = format!("M{from} {}H{to}M{from} {}H{to}", at(top), at(bottom));
                path class={ "whisker " (class) } d={ (stem) (ends) } {}
            }
        }
    }

    /// A horizontal line across the drawing, named at its right end.
    pub(super) fn rule(&self, y: f64, class: &str, name: &str) -> Markup {
        let right = self.width - RIGHT;
        html! {
            @if let Some((_, py)) = self.place((self.x.low, y)) {
                line class={ "rule " (class) } x1=(at(self.left)) x2=(at(right)) y1=(at(py)) y2=(at(py)) {}
                text.name x=(at(right)) y=(at(py - 6.0)) text-anchor="end" { (name) }
            }
        }
    }

    /// Horizontal lines across the drawing, the lowest first, each with a class and a name at its left end: that of the
    /// lowest below it, the others above theirs and out of each other's way.
    pub(super) fn rules(&self, rules: &[(f64, &str, String)]) -> Markup {
        let right = self.width - RIGHT;
        let heights = rules.iter().map(|(y, ..)| self.place((self.x.low, *y)).map(|(_, py)| py));
        let placed: Vec<_> = heights.zip(rules).filter_map(|(py, rule)| Some((py?, rule))).collect();
        let mut last = f64::INFINITY;
        let names = placed.iter().enumerate().map(|(index, (py, (_, _, name)))| {
            if index == 0 {
                return (py + LINE_HEIGHT, name);
            }
            last = (py - 6.0).min(last - LINE_HEIGHT);
            (last, name)
        });
        html! {
            @for (py, (_, class, _)) in &placed {
                line class={ "rule " (class) } x1=(at(self.left)) x2=(at(right)) y1=(at(*py)) y2=(at(*py)) {}
            }
            @for (py, name) in names { text.name x=(at(self.left + 6.0)) y=(at(py)) { (name) } }
        }
    }

    /// A name beside a point, `dy` below it, on the side where there is room and never on the x axis.
    pub(super) fn name(&self, x: f64, y: f64, dy: f64, name: &str) -> Markup {
        html! {
            @if let Some((px, py)) = self.place((x, y)) {
                @let leftwards = px > 0.7 * self.width;
                @let (dx, anchor) = if leftwards { (-10.0, "end") } else { (10.0, "start") };
                @let dy = if py + dy > self.height - BOTTOM - 4.0 { -10.0 } else { dy };
                text.name x=(at(px + dx)) y=(at(py + dy)) text-anchor=(anchor) { (name) }
            }
        }
    }
}

/// A marker of radius `r`, all of about one area.
pub(super) fn shape(marker: Marker, x: f64, y: f64, r: f64) -> Markup {
    match marker {
        Marker::Circle => html! { circle cx=(at(x)) cy=(at(y)) r=(at(r)) {} },
        Marker::Square => {
            let half = 0.9 * r;
            html! { rect x=(at(x - half)) y=(at(y - half)) width=(at(2.0 * half)) height=(at(2.0 * half)) {} }
        }
        Marker::Triangle => triangle(x, y, r),
        Marker::TriangleDown => triangle(x, y, -r),
        Marker::Diamond => {
            let (l, t, d) = (x - 1.25 * r, y - 1.25 * r, 1.25 * r);
            html! { path d=(format!("M{} {}l{d:.1} {d:.1}l-{d:.1} {d:.1}l-{d:.1} -{d:.1}z", at(l + d), at(t))) {} }
        }
    }
}

/// Points up; down where `r` is negative.
fn triangle(x: f64, y: f64, r: f64) -> Markup {
    let (half, rise) = (1.25 * r.abs(), 2.1 * r);
    let base = y + 0.75 * r;
    html! { path d=(format!("M{} {}l{half:.1} {:.1}l{half:.1} {rise:.1}z", at(x - half), at(base), -rise)) {} }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the values: few ticks, in order, round, and around all of the values.
        #[test]
        fn axes_hold_their_values(
            values in prop::collection::vec(prop_oneof![-1e6..1e6, 0.0..1e-3, Just(0.0)], 0..20),
        ) {
            for kind in [Axis::linear, Axis::from_zero, Axis::spanning] {
                let axis = kind("x", values.clone());
                prop_assert!((2..=14).contains(&axis.ticks.len()), "{axis:?}");
                prop_assert!(axis.ticks.windows(2).all(|w| w[0] < w[1]));
                for v in &values {
                    let share = axis.share(*v);
                    prop_assert!((-1e-9..=1.0 + 1e-9).contains(&share), "{v} at {share} of {axis:?}");
                }
                let labels: Vec<_> = axis.ticks.iter().map(|t| axis.text(*t)).collect();
                prop_assert!(labels.windows(2).all(|w| w[0] != w[1]), "{labels:?}");
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(Axis::linear("", [0.03, 0.97]).ticks, [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0]);
        assert_eq!(Axis::spanning("", [3.0, 180.0]).ticks, [2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0]);
        let around = Axis::linear("", [5.0]);
        assert!(around.low < 5.0 && around.high > 5.0);
        assert_eq!(Axis::linear("", [f64::NAN, f64::INFINITY]), Axis::linear("", [0.0, 1.0]));
    }

    #[test]
    fn what_lies_outside_is_not_drawn() {
        let plot = Plot::new(400.0, 300.0, Axis::linear("x", [0.0, 1.0]), Axis::linear("y", [0.0, 1.0]));
        let drawn = |x, y| !plot.point(x, y, Glyph::DOT, "c", "t").into_string().is_empty();
        assert!(drawn(0.0, 1.0) && !drawn(1.2, 0.5) && !drawn(0.5, f64::NAN) && !drawn(f64::INFINITY, 0.5));
        assert_eq!(plot.line([(0.5, 0.5), (0.5, f64::NAN)], "c").into_string(), "");
    }
}
