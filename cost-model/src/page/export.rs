//! Every figure of the page as two files: a picture that stands alone, and the numbers that are drawn.

use maud::{PreEscaped, html};

use crate::report::Report;

use super::figure::Sources;
use super::graph::{Graph, Group, Piece, Plotted};
use super::{CHART_STYLE, PALETTE, legend};

/// Where the page looks for its figures' files: a folder beside it.
pub const FIGURES: &str = "figures/";

const MARGIN: f64 = 16.0;
const HEADING_LINE: f64 = 20.0;
const CAPTION_LINE: f64 = 18.0;
/// Average width of a character in pixels, rather too much than too little: of headings, in bold, and of captions.
const HEADING_CHARACTER: f64 = 9.3;
const CAPTION_CHARACTER: f64 = 7.3;

/// A figure, whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// Name of its files without extension: lower-case words between hyphens.
    pub name: String,
    /// An SVG 1.1 document.
    pub svg: String,
    /// The points that are drawn, one a row, under a header line. `*_origin` columns hold one word: `measured`,
    /// `published`, `assumed` or `derived`.
    pub csv: Vec<u8>,
}

/// Every figure of the report's page, in its order.
///
/// # Errors
/// None: every point is a flat row.
pub fn figures(report: &Report) -> Result<Vec<Figure>, csv::Error> {
    let sections = super::drawn(report, &Sources::of(report));
    let groups = sections.iter().flat_map(|section| &section.body).filter_map(|piece| match piece {
        Piece::Graphs(group) => Some(group),
        Piece::Words(_) => None,
    });
    let figures = groups.flat_map(|group| group.figures().map(move |figure| (group, figure)));
    let whole = |(group, (name, graph, plotted)): (&Group<'_>, (String, &Graph<'_>, &dyn Plotted))| {
        Ok(Figure { name, svg: picture(group, graph, plotted), csv: plotted.csv()? })
    };
    figures.map(whole).collect()
}

/// The drawing under what it says and its legend.
fn picture(group: &Group<'_>, graph: &Graph<'_>, plotted: &dyn Plotted) -> String {
    let drawing = plotted.draw(graph.wide);
    let about = [&*group.subject.of, &*graph.heading, &*graph.note];
    let about = about.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
    let headings = wrapped(&drawing.says, drawing.width / HEADING_CHARACTER);
    let captions = wrapped(&about, drawing.width / CAPTION_CHARACTER);
    let (keys, keys_height) = legend::lines(&group.legend, drawing.width, CAPTION_CHARACTER);

    let captions_from = headings.len() as f64 * HEADING_LINE + 2.0;
    let keys_from = captions_from + captions.len() as f64 * CAPTION_LINE + 6.0;
    let drawing_from = keys_from + keys_height + 8.0;
    let (width, height) = (drawing.width + 2.0 * MARGIN, drawing_from + drawing.height + 2.0 * MARGIN);
    let lines = |lines: &[String], class: &str, from: f64, line: f64| {
        html! { @for (index, text) in lines.iter().enumerate() {
            text class=(class) x="0" y=(from + (index as f64 + 0.75) * line) { (text) }
        } }
    };
    standalone(
        width,
        height,
        &html! {
            g transform={ "translate(" (MARGIN) " " (MARGIN) ")" } {
                (lines(&headings, "heading", 0.0, HEADING_LINE))
                (lines(&captions, "caption", captions_from, CAPTION_LINE))
                g transform={ "translate(0 " (keys_from) ")" } { (keys) }
                g transform={ "translate(0 " (drawing_from) ")" } { (drawing.marks) }
            }
        },
    )
}

/// A picture with its style, which needs nothing but a viewer.
pub(super) fn standalone(width: f64, height: f64, marks: &maud::Markup) -> String {
    let svg = html! {
        svg xmlns="http://www.w3.org/2000/svg" viewBox={ "0 0 " (width) " " (height) } width=(width) height=(height)
            font-family="system-ui, sans-serif" {
            style { (PreEscaped(style())) }
            rect.backdrop width=(width) height=(height) {}
            (marks)
        }
    };
    // Names out of records may hold characters that XML has no way to write.
    svg.into_string().chars().filter(|&c| in_xml(c)).collect()
}

fn in_xml(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{1_0000}'..)
}

/// The style of drawings with colours in place of variables, which drawing programs do not know; light where nobody asks
/// for dark.
fn style() -> String {
    let (light, dark) = PALETTE.split_once("@media").unwrap_or((PALETTE, ""));
    let resolved = |palette: &str| {
        let pairs = palette.split([';', '{', '}']).filter_map(|pair| pair.trim().split_once(": "));
        let variables = pairs.filter(|(name, _)| name.starts_with("--"));
        variables.fold(CHART_STYLE.to_owned(), |css, (name, colour)| css.replace(&format!("var({name})"), colour))
    };
    format!(
        ":root {{ color-scheme: light dark; }}\n{}@media (prefers-color-scheme: dark) {{\n{}}}\n",
        resolved(light),
        resolved(dark)
    )
}

/// Lines of whole words, of no more characters than that where it can be helped.
fn wrapped(text: &str, characters: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if ((line.chars().count() + 1 + word.chars().count()) as f64) < characters => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
