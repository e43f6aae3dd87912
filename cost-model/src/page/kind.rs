//! What stands for what, everywhere on the page: a colour per policy kind, a marker and a dash per
//! format, a shade per part of a token.

use maud::{Markup, Render};

use crate::compose::TermKind;
use crate::report::policy_kind;

use super::chart::{Glyph, Marker};
use super::legend::{Key, Sign};

const KINDS: [&str; 10] =
    ["dense", "fixed", "per-layer", "top-k", "statistical-top-k", "top-p", "relative", "budget", "dynamic", "oracle"];

/// Parts of a token in the order in which bars stack them.
const PARTS: [(TermKind, &str); 10] = [
    // One of a kind: whoever measures it whole has no parts of it.
    (TermKind::Ffn, "part-gate-up"),
    (TermKind::FfnGateFirst, "part-gate-up"),
    (TermKind::FfnPredicted, "part-ffn-predicted"),
    (TermKind::FfnGateUp, "part-gate-up"),
    (TermKind::FfnDown, "part-down"),
    (TermKind::AttentionProjections, "part-attention"),
    (TermKind::KvCache, "part-kv"),
    (TermKind::Predictor, "part-predictor"),
    (TermKind::Selection, "part-selection"),
    (TermKind::LmHead, "part-head"),
];

/// The class that colours a policy.
pub(super) fn class(policy: &str) -> String {
    let kind = policy_kind(policy);
    let known = KINDS.iter().find(|k| **k == kind);
    format!("kind-{}", known.unwrap_or(&"other"))
}

fn marker(format: &str) -> Marker {
    match format {
        "q8_0" => Marker::Diamond,
        "q4_0" => Marker::TriangleDown,
        "bf16" => Marker::Triangle,
        "f32" => Marker::Square,
        _ => Marker::Circle,
    }
}

/// The point of a configuration. Per-layer and top-k compute the same share and often coincide, so
/// per-layer is a ring (the style sheet leaves it hollow) in which the other's dot is seen.
pub(super) fn glyph(policy: &str, format: &str) -> Glyph {
    let radius = match policy_kind(policy) {
        "per-layer" => 7.0,
        "dense" => 5.4,
        _ => Glyph::DOT.radius,
    };
    Glyph { marker: marker(format), radius }
}

/// The class that dashes a line.
pub(super) fn dash(format: &str) -> &'static str {
    match format {
        "q8_0" => "dash-q8_0",
        "q4_0" => "dash-q4_0",
        "bf16" => "dash-bf16",
        "f32" => "dash-f32",
        _ => "dash-f16",
    }
}

/// The parts of a token, with their classes, in stacking order.
pub(super) fn parts() -> impl Iterator<Item = (TermKind, &'static str)> {
    PARTS.into_iter()
}

/// Distinct values in order of appearance.
pub(super) fn distinct<'a>(values: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut all = Vec::new();
    for value in values {
        if !all.contains(&value) {
            all.push(value);
        }
    }
    all
}

/// Names the kinds and formats of some (policy, format) pairs.
pub(super) fn legend<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Vec<Key> {
    let formats = distinct(pairs.clone().map(|(_, format)| format));
    let mut keys = kinds(pairs.map(|(policy, _)| policy));
    keys.extend(formats.into_iter().map(|format| Key::new(Sign::plain(marker(format)), format)));
    keys
}

/// Names the kinds of some policies.
pub(super) fn kinds<'a>(policies: impl Iterator<Item = &'a str>) -> Vec<Key> {
    distinct(policies.map(policy_kind)).into_iter().map(|kind| Key::new(Sign::Fill(class(kind)), kind)).collect()
}

pub(super) fn swatch(class: &str) -> Markup {
    Sign::Fill(class.to_owned()).render()
}
