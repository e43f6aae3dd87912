//! A number in the typography of its origin: measured plain, published with its citation, derived
//! underlined with dots, assumed in italics with a tilde, unknown by that word.

use maud::{Markup, html};

use crate::origin::Origin;
use crate::quality::Accuracy;
use crate::report::Report;

/// The citations of a report, numbered from 1 in order of appearance.
pub(super) struct Sources(Vec<String>);

impl Sources {
    /// Of a page on which everything was measured.
    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn of(report: &Report) -> Self {
        let mut sources = Self(Vec::new());
        for known in &report.dense_accuracy {
            if let Accuracy::Known { origin, .. } = &known.accuracy {
                sources.add(origin);
            }
        }
        for outcome in &report.outcomes {
            sources.add(&outcome.densities.origin);
            if let Some(missed) = &outcome.missed_mass {
                sources.add(&missed.origin);
            }
        }
        for row in &report.rows {
            sources.add(&row.usd_per_hour.origin);
        }
        sources.add(&report.anchors.origin);
        sources
    }

    fn add(&mut self, origin: &Origin) {
        if let Origin::Published { citation } = origin
            && !self.0.contains(citation)
        {
            self.0.push(citation.clone());
        }
    }

    /// The list that the marks point to.
    pub(super) fn list(&self) -> Markup {
        html! {
            ol.sources {
                @for (index, citation) in self.0.iter().enumerate() { li id={ "source-" (index + 1) } { (citation) } }
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `text` as a number of that origin.
    pub(super) fn figure(&self, text: &str, origin: &Origin) -> Markup {
        html! {
            span class={ "figure " (origin.kind()) } title=(origin) {
                @if let Origin::Assumed { .. } = origin { "~" @if text.starts_with('\u{2212}') { "\u{200a}" } }
                (text)
            }
            @if let Some(number) = self.number(origin) {
                sup.cite { a href={ "#source-" (number) } { (number) } }
            }
        }
    }

    /// The same, or `unknown`.
    pub(super) fn maybe(&self, known: Option<(String, &Origin)>, why_not: &str) -> Markup {
        match known {
            Some((text, origin)) => self.figure(&text, origin),
            None => unknown(why_not),
        }
    }

    fn number(&self, origin: &Origin) -> Option<usize> {
        let Origin::Published { citation } = origin else { return None };
        self.0.iter().position(|own| own == citation).map(|index| index + 1)
    }
}

/// The same where there is no room for typography: assumed numbers keep their tilde.
pub(super) fn plain(text: &str, origin: &Origin) -> String {
    match origin {
        Origin::Assumed { .. } => format!("~{text}"),
        _ => text.to_owned(),
    }
}

pub(super) fn unknown(why: &str) -> Markup {
    html! { span.figure.unknown title=(why) { "unknown" } }
}

/// Explains the typography, by example.
pub(super) fn legend() -> Markup {
    html! {
        p.typography {
            span { span.figure.measured { "12.3" } " measured" }
            span { span.figure.published { "12.3" } sup.cite { "1" } " published" }
            span { span.figure.derived { "12.3" } " derived" }
            span { span.figure.assumed { "~12.3" } " assumed, or computed from something assumed" }
            span { span.figure.unknown { "unknown" } }
            span.hint { "Point at a number to see where it came from." }
        }
    }
}
