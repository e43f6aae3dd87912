//! A figure of the page: its points and how they are drawn. The drawing is made of the points, which are also the rows
//! of its CSV, so that picture and table cannot drift apart.

use maud::{Markup, Render, html};
use serde::Serialize;

use super::chart::{Drawing, FULL, responsive};
use super::export::FIGURES;
use super::legend::{self, Key};

/// Longest part of a file name that a text may become.
const LONGEST: usize = 48;

/// A section of the page, in pieces from top to bottom.
pub(super) struct Section<'a> {
    pub(super) title: &'static str,
    pub(super) intro: &'static str,
    pub(super) body: Vec<Piece<'a>>,
}

pub(super) enum Piece<'a> {
    Words(Markup),
    Graphs(Group<'a>),
}

impl Render for Piece<'_> {
    fn render(&self) -> Markup {
        match self {
            Self::Words(words) => words.clone(),
            Self::Graphs(group) => group.render(),
        }
    }
}

/// What a group of figures is about.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// In words, for a picture without its page.
    pub(super) of: String,
    /// What tells its file names from those of other groups; empty where there are none.
    pub(super) tag: String,
    /// What tells it from other groups on the page; may be empty.
    pub(super) heading: Markup,
}

impl Subject {
    /// A model, `alone` where there are no others.
    pub(super) fn model(model: &str, alone: bool) -> Self {
        let tag = if alone { "" } else { model };
        Self { of: model.to_owned(), tag: tag.to_owned(), heading: html! { @if !alone { p.panel { (model) } } } }
    }
}

/// Figures under one legend.
pub(super) struct Group<'a> {
    pub(super) subject: Subject,
    pub(super) legend: Vec<Key>,
    pub(super) graphs: Vec<Graph<'a>>,
}

impl<'a> Group<'a> {
    /// The figures that there are, each with the name of its files.
    pub(super) fn figures(&self) -> impl Iterator<Item = (String, &Graph<'a>, &dyn Plotted)> {
        let there = self.graphs.iter().filter_map(|graph| Some((graph, graph.plotted.as_deref().ok()?)));
        there.map(|(graph, plotted)| (self.file_name(graph), graph, plotted))
    }

    fn file_name(&self, graph: &Graph<'_>) -> String {
        let parts = [&*graph.name, &*self.subject.tag].map(kebab);
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("-")
    }

    fn one(&self, graph: &Graph<'_>) -> Markup {
        html! {
            @if !graph.heading.is_empty() {
                h4 { (graph.heading) @if !graph.note.is_empty() { span.rho { (graph.note) } } }
            }
            @match &graph.plotted {
                Ok(plotted) => {
                    (responsive(graph.wide, |width| plotted.draw(width)))
                    @let name = self.file_name(graph);
                    p.files { @for (kind, ext) in [("SVG", "svg"), ("CSV", "csv")] {
                        a href={ (FIGURES) (name) "." (ext) } title={ "This figure as " (kind) } { (kind) }
                    } }
                },
                Err(why) => p.absent { (why) },
            }
        }
    }
}

impl Render for Group<'_> {
    fn render(&self) -> Markup {
        let narrow = |graph: &Graph<'_>| graph.wide < FULL;
        html! {
            (self.subject.heading)
            (legend::list(&self.legend))
            @for row in self.graphs.chunk_by(|a, b| narrow(a) && narrow(b)) {
                @if row.iter().any(narrow) {
                    div.pair { @for graph in row { div { (self.one(graph)) } } }
                } @else {
                    @for graph in row { (self.one(graph)) }
                }
            }
        }
    }
}

/// One figure, or why there is none.
pub(super) struct Graph<'a> {
    name: String,
    pub(super) heading: String,
    /// In small print beside the heading.
    pub(super) note: String,
    pub(super) wide: f64,
    plotted: Result<Box<dyn Plotted + 'a>, &'static str>,
}

impl<'a> Graph<'a> {
    /// `draw` makes a drawing of a given width out of the points. Those are rows of a CSV: flat, the fields its columns,
    /// with units in their names and, of a number that may be assumed, a column that says where it comes from.
    pub(super) fn new<P: Serialize + 'a>(
        name: impl Into<String>,
        wide: f64,
        points: Vec<P>,
        draw: impl Fn(&[P], f64) -> Drawing + 'a,
    ) -> Self {
        let plotted: Result<Box<dyn Plotted + 'a>, _> =
            if points.is_empty() { Err("Nothing to draw.") } else { Ok(Box::new(Points { points, draw })) };
        Self { name: name.into(), heading: String::new(), note: String::new(), wide, plotted }
    }

    /// In the place of a figure.
    pub(super) fn absent(wide: f64, why: &'static str) -> Self {
        Self { name: String::new(), heading: String::new(), note: String::new(), wide, plotted: Err(why) }
    }

    pub(super) fn headed(self, heading: impl Into<String>, note: impl Into<String>) -> Self {
        Self { heading: heading.into(), note: note.into(), ..self }
    }

    /// What to say where there are no points.
    pub(super) fn or_say(self, why: &'static str) -> Self {
        Self { plotted: self.plotted.map_err(|_| why), ..self }
    }
}

/// What can be drawn, and written as a table.
pub(super) trait Plotted {
    fn draw(&self, width: f64) -> Drawing;

    /// # Errors
    /// None for points that are flat.
    fn csv(&self) -> Result<Vec<u8>, csv::Error>;
}

struct Points<P, D> {
    points: Vec<P>,
    draw: D,
}

impl<P: Serialize, D: Fn(&[P], f64) -> Drawing> Plotted for Points<P, D> {
    fn draw(&self, width: f64) -> Drawing {
        (self.draw)(&self.points, width)
    }

    fn csv(&self) -> Result<Vec<u8>, csv::Error> {
        let mut writer = csv::Writer::from_writer(Vec::new());
        for point in &self.points {
            writer.serialize(point)?;
        }
        writer.into_inner().map_err(|e| csv::Error::from(e.into_error()))
    }
}

/// Lower-case letters and digits, anything else a hyphen, none of them twice in a row or at an end.
fn kebab(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let plain: String = plain.collect();
    let mut name = plain.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-");
    name.truncate(LONGEST);
    name.trim_end_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_words_between_hyphens() {
        let cases = [
            ("llama-2-70b", "llama-2-70b"),
            ("top-k:density=0.10", "top-k-density-0-10"),
            ("../../etc/passwd", "etc-passwd"),
            ("<\u{e9}>", ""),
        ];
        for (text, name) in cases {
            assert_eq!(kebab(text), name);
        }
    }

    proptest! {
        /// Whatever the text: a short name that no file system or page takes for anything else.
        #[test]
        fn names_are_safe(text in ".{0,200}") {
            let name = kebab(&text);
            prop_assert!(name.len() <= LONGEST && !name.starts_with('-') && !name.ends_with('-') && !name.contains("--"));
            prop_assert!(name.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'));
        }
    }
}
