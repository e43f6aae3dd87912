//! A summand of a token's time: what it is, and with which others it errs.

use std::fmt;

use serde::{Serialize, Serializer};

use crate::estimate::Interval;
use crate::operator::Operator;
use crate::origin::Origin;

/// What a summand is. Displayed and serialised under the names that tables and figures have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TermKind {
    /// Query, key, value and output of attention.
    AttentionProjections,
    /// Attention over the KV cache: what grows with the context.
    KvCache,
    /// Scores by low-rank predictors.
    Predictor,
    /// Active neurons out of scores.
    Selection,
    /// Gate, up and down in one piece.
    Ffn,
    /// Gate over all rows; up and down over those that it lets through.
    FfnGateFirst,
    /// Predictor, selection and FFN as one step.
    FfnPredicted,
    /// Gate and up over active rows.
    FfnGateUp,
    /// Down over active rows.
    FfnDown,
    /// The logits.
    LmHead,
    /// What is read but too small to time.
    Small,
}

impl TermKind {
    /// Its one name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AttentionProjections => "attention projections",
            Self::KvCache => "KV cache",
            Self::Predictor => "predictor",
            Self::Selection => "selection",
            Self::Ffn => "FFN",
            Self::FfnGateFirst => "FFN, gate first",
            Self::FfnPredicted => "FFN, predicted",
            Self::FfnGateUp => "FFN gate and up",
            Self::FfnDown => "FFN down",
            Self::LmHead => "LM head",
            Self::Small => "norms, RoPE, softmax, embedding row",
        }
    }

    /// Whether it is the FFN or a part of it: what depends on the density.
    pub fn is_ffn(self) -> bool {
        matches!(self, Self::Ffn | Self::FfnGateFirst | Self::FfnPredicted | Self::FfnGateUp | Self::FfnDown)
    }
}

impl fmt::Display for TermKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for TermKind {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Terms of one group err together; the groups err independently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TermGroup {
    /// What was measured of one operator.
    Of(Operator),
    /// What is taken to run at memory bandwidth.
    Bandwidth,
    /// What takes no time.
    Untimed,
}

impl TermGroup {
    /// Groups that take time.
    pub(crate) const TIMED: usize = Operator::ALL.len() + 1;

    /// Its place among those that take time.
    pub(crate) fn timed(self) -> Option<usize> {
        match self {
            Self::Of(operator) => Operator::ALL.iter().position(|own| *own == operator),
            Self::Bandwidth => Some(Operator::ALL.len()),
            Self::Untimed => None,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Of(operator) => operator.as_str(),
            Self::Bandwidth => "bandwidth",
            Self::Untimed => "none",
        }
    }
}

/// One summand of a token's time.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Term {
    /// What it is.
    #[serde(rename = "name")]
    pub kind: TermKind,
    /// Milliseconds per step: one token of every user.
    pub ms: Interval,
    /// Bytes read per step.
    pub bytes: u64,
    /// Whether any part lies beyond what was measured.
    pub extrapolated: bool,
    /// Where the time comes from.
    pub origin: Origin,
    /// With which terms it errs.
    #[serde(skip)]
    pub(crate) group: TermGroup,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_places_of_their_own() {
        let all = Operator::ALL.map(TermGroup::Of).into_iter().chain([TermGroup::Bandwidth]);
        let places: Vec<_> = all.map(TermGroup::timed).collect();
        assert_eq!(places, (0..TermGroup::TIMED).map(Some).collect::<Vec<_>>());
        assert_eq!(TermGroup::Untimed.timed(), None);
    }

    #[test]
    fn names_are_displayed_as_they_are_serialised() {
        let kind = TermKind::FfnGateFirst;
        assert_eq!(serde_json::to_value(kind).unwrap(), kind.to_string());
        assert_eq!(format!("{:10}|{:3}", TermKind::LmHead, TermKind::Ffn), "LM head   |FFN");
        assert!(kind.is_ffn() && !TermKind::KvCache.is_ffn());
    }
}
