//! Reads the strict subset of HTML and SVG that pages and pictures are written in; every document in it is well-formed XML
//! but for HTML's doctype and `meta`.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeSet;

/// What a document holds.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) text: String,
    pub(crate) elements: BTreeSet<String>,
    /// (element, attribute, value)
    pub(crate) attributes: Vec<(String, String, String)>,
    /// Of `style` and `script`.
    pub(crate) raw: String,
}

impl Document {
    /// Every value of an attribute of an element.
    pub(crate) fn values<'a>(&'a self, element: &'a str, attribute: &'a str) -> impl Iterator<Item = &'a str> {
        let own = move |(e, a, _): &&(String, String, String)| e == element && a == attribute;
        self.attributes.iter().filter(own).map(|(_, _, value)| value.as_str())
    }
}

/// A page; panics at anything out of the subset.
pub(crate) fn parse(html: &str) -> Document {
    read(html.strip_prefix("<!DOCTYPE html>").unwrap(), &["meta"])
}

/// A picture, as XML; panics at anything out of the subset.
pub(crate) fn parse_svg(svg: &str) -> Document {
    let xml = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{1_0000}'..);
    assert!(svg.chars().all(xml), "a character that XML does not have");
    assert!(svg.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" "), "{}", svg.get(..80).unwrap_or(svg));
    let document = read(svg, &[]);
    // In XML a style sheet is text like any other.
    assert!(!document.raw.contains(['<', '&']), "{}", document.raw);
    document
}

fn read(mut rest: &str, void: &[&str]) -> Document {
    let mut document = Document::default();
    let mut open: Vec<String> = Vec::new();
    while let Some(at) = rest.find('<') {
        let text = &rest[..at];
        assert!(!text.contains('>'), "stray > in {text:?}");
        assert_references(text);
        document.text.push_str(text);
        document.text.push(' ');
        let mut end = at + 1;
        let mut quoted = false;
        while quoted || rest.as_bytes()[end] != b'>' {
            quoted ^= rest.as_bytes()[end] == b'"';
            end += 1;
        }
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "{open:?}");
            assert!(!open.is_empty() || rest.is_empty(), "more than one root: {rest:?}");
            continue;
        }
        let name = tag.split_whitespace().next().unwrap().to_owned();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()), "element {name:?}");
        read_attributes(&name, &tag[name.len()..], &mut document);
        if let "style" | "script" = name.as_str() {
            let close = format!("</{name}>");
            let end = rest.find(&close).unwrap();
            document.raw.push_str(&rest[..end]);
            rest = &rest[end + close.len()..];
        } else if !void.contains(&name.as_str()) {
            open.push(name.clone());
        }
        document.elements.insert(name);
    }
    assert!(open.is_empty(), "left open: {open:?}");
    assert_eq!(rest, "");
    document
}

fn read_attributes(element: &str, mut rest: &str, document: &mut Document) {
    rest = rest.trim_start();
    let mut seen = BTreeSet::new();
    while !rest.is_empty() {
        let (name, after) = rest.split_once("=\"").unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "attribute {name:?} of {element}");
        assert!(seen.insert(name), "two {name} of {element}");
        let (value, after) = after.split_once('"').unwrap();
        assert!(!value.contains('<'), "{name}={value:?}");
        assert_references(value);
        document.attributes.push((element.to_owned(), name.to_owned(), value.to_owned()));
        rest = after.trim_start();
    }
}

/// Of references, only those that HTML and XML both have.
fn assert_references(text: &str) {
    for rest in text.split('&').skip(1) {
        assert!(["amp;", "lt;", "gt;", "quot;"].iter().any(|r| rest.starts_with(r)), "stray & in {text:?}");
    }
}

pub(crate) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// No number that is none, neither in words nor in coordinates.
pub(crate) fn assert_finite(document: &Document) {
    let values = document.attributes.iter().map(|(_, _, value)| value.as_str());
    for text in values.chain([document.text.as_str()]) {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric());
        let bad: Vec<&str> = words.filter(|w| ["NaN", "inf", "Infinity", "null"].contains(w)).collect();
        assert!(bad.is_empty() && !text.contains("not finite"), "{bad:?} in {}", text.get(..200).unwrap_or(text));
    }
}
