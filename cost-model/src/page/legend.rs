//! What the colours and shapes of a drawing stand for: a list on the page, lines of text in a picture.

use maud::{Markup, Render, html};

use super::chart::{Marker, at, shape};

/// Edge of the square that a sign is drawn in.
const SIGN: f64 = 14.0;
const GAP: f64 = 18.0;
/// Distance of one line of keys from the next, in a picture.
const LINE: f64 = 20.0;

/// A colour or a shape.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sign {
    /// The colour of a class.
    Fill(String),
    /// A marker in the colour of a class.
    Mark(Marker, String),
}

impl Sign {
    /// A marker without a colour of its own.
    pub(super) fn plain(marker: Marker) -> Self {
        Self::Mark(marker, "plain".to_owned())
    }

    fn marks(&self) -> Markup {
        html! { @match self {
            Self::Fill(class) => rect class={ "fill " (class) } x="1" y="2" width="12" height="10" rx="2" {},
            Self::Mark(marker, class) => g class={ "point " (class) } { (shape(*marker, 7.0, 7.0, 4.5)) },
        } }
    }
}

impl Render for Sign {
    fn render(&self) -> Markup {
        html! { svg.key viewBox={ "0 0 " (SIGN) " " (SIGN) } aria-hidden="true" { (self.marks()) } }
    }
}

/// What a sign stands for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Key {
    sign: Sign,
    /// A spelling, such as that of a policy; may be empty.
    code: String,
    text: String,
    /// What it says when pointed at.
    tip: Option<String>,
}

impl Key {
    pub(super) fn new(sign: Sign, text: impl Into<String>) -> Self {
        Self { sign, code: String::new(), text: text.into(), tip: None }
    }

    /// A spelling, and more about it.
    pub(super) fn code(sign: Sign, code: impl Into<String>, text: impl Into<String>) -> Self {
        Self { sign, code: code.into(), text: text.into(), tip: None }
    }

    pub(super) fn tip(self, tip: impl Into<String>) -> Self {
        Self { tip: Some(tip.into()), ..self }
    }

    fn words(&self) -> String {
        [&*self.code, &*self.text].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

/// The list on the page.
pub(super) fn list(keys: &[Key]) -> Markup {
    html! { @if !keys.is_empty() { ul.legend { @for key in keys {
        li title=[&key.tip] {
            (key.sign)
            @if !key.code.is_empty() { code { (key.code) } @if !key.text.is_empty() { " " } }
            (key.text)
        }
    } } } }
}

/// Lines of keys, none wider than `width` where it can be helped, and their height; a character is `character` wide.
pub(super) fn lines(keys: &[Key], width: f64, character: f64) -> (Markup, f64) {
    let (mut x, mut y) = (0.0, 0.0);
    let mut placed = Vec::new();
    for key in keys {
        let words = key.words();
        let wide = SIGN + 6.0 + words.chars().count() as f64 * character + GAP;
        if x > 0.0 && x + wide - GAP > width {
            (x, y) = (0.0, y + LINE);
        }
        placed.push((x, y, &key.sign, words));
        x += wide;
    }
    let markup = html! { @for (x, y, sign, words) in placed {
        g transform={ "translate(" (at(x)) " " (at(y)) ")" } {
            (sign.marks())
            text.caption x=(SIGN + 6.0) y="12" { (words) }
        }
    } };
    (markup, if keys.is_empty() { 0.0 } else { y + LINE })
}
