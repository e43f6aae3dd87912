//! The one spelling of a configuration: what to type to have it composed again.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::compose::{DENSE, Scorer};
use crate::format::WeightFormat;
use crate::model::ModelShape;

/// A configuration of any machine, spelled
/// `llama-2-70b/q8_0/top-k:density=0.10/rank=1024/context=2048/batch=1`; `gate` stands where the gate scores, and dense has
/// neither.
#[derive(Clone, Debug, PartialEq)]
pub struct GridKey {
    /// The model.
    pub model: ModelShape,
    /// Format of the weights.
    pub format: WeightFormat,
    /// Policy under its one spelling.
    pub policy: String,
    /// What scores the neurons.
    pub scorer: Scorer,
    /// Tokens in each user's KV cache.
    pub context: usize,
    /// Users whose tokens are decoded together.
    pub batch: usize,
}

/// Not a [`GridKey`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "configuration `{given}`: {what}; wanted such as llama-2-70b/q8_0/top-k:density=0.10/rank=1024/context=2048/batch=1"
)]
pub struct GridKeyError {
    given: String,
    what: String,
}

impl fmt::Display for GridKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, format, policy, scorer, context, batch } = self;
        write!(f, "{}/{format}/{policy}", model.name)?;
        match scorer {
            Scorer::Free => {}
            Scorer::Gate => f.write_str("/gate")?,
            Scorer::LowRank(rank) => write!(f, "/rank={rank}")?,
        }
        write!(f, "/context={context}/batch={batch}")
    }
}

impl Serialize for GridKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for GridKey {
    type Err = GridKeyError;

    fn from_str(given: &str) -> Result<Self, GridKeyError> {
        let fail = |what: String| GridKeyError { given: given.to_owned(), what };
        let parts: Vec<&str> = given.split('/').collect();
        let (&[model, format, policy], rest) = parts.split_first_chunk().ok_or_else(|| fail("too short".to_owned()))?;
        let model = ModelShape::named(model).map_err(|e| fail(e.to_string()))?;
        let format: WeightFormat = format.parse().map_err(|e: crate::format::UnknownFormat| fail(e.to_string()))?;
        let count = |part: Option<&&str>, name: &str| {
            let value = part.and_then(|part| part.strip_prefix(name)?.strip_prefix('='));
            value.and_then(|value| value.parse::<usize>().ok()).ok_or_else(|| fail(format!("no `{name}=` and a count")))
        };
        let (scorer, rest) = match (policy, rest.split_first()) {
            (DENSE, _) => (Scorer::Free, rest),
            (_, Some((&"gate", rest))) => (Scorer::Gate, rest),
            (_, Some((rank, rest))) => (Scorer::LowRank(count(Some(rank), "rank")?), rest),
            (_, None) => return Err(fail("no `rank=` or `gate` after the policy".to_owned())),
        };
        if rest.len() != 2 {
            return Err(fail(format!("{} parts after the policy's, wanted context and batch", rest.len())));
        }
        let (context, batch) = (count(rest.first(), "context")?, count(rest.last(), "batch")?);
        Ok(Self { model, format, policy: policy.to_owned(), scorer, context, batch })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn any_key() -> impl Strategy<Value = GridKey> {
        let scorer = prop_oneof![Just(Scorer::Gate), (1_usize..5000).prop_map(Scorer::LowRank)];
        let policy = prop_oneof![Just("dense"), Just("top-k:density=0.10"), Just("dynamic:miss=0.02,level=rank")];
        let model = prop::sample::select(ModelShape::ALL.to_vec());
        let format = prop::sample::select(WeightFormat::ALL.to_vec());
        (model, format, policy, scorer, 1_usize..1 << 20, 1_usize..1000).prop_map(
            |(model, format, policy, scorer, context, batch)| GridKey {
                model,
                format,
                policy: policy.to_owned(),
                scorer: if policy == DENSE { Scorer::Free } else { scorer },
                context,
                batch,
            },
        )
    }

    proptest! {
        #[test]
        fn spelling_round_trips(key in any_key()) {
            prop_assert_eq!(key.to_string().parse(), Ok(key));
        }

        #[test]
        fn whatever_is_typed_is_read_or_refused(text in "[a-z0-9=/:.,-]{0,60}") {
            if let Ok(key) = text.parse::<GridKey>() {
                prop_assert_eq!(key.to_string().parse(), Ok(key));
            }
        }
    }

    #[test]
    fn refusals_say_what_is_missing() {
        for (text, what) in [
            ("llama-2-70b/q8_0", "too short"),
            ("gpt/q8_0/dense/context=1/batch=1", "unknown model"),
            ("llama-2-70b/q9/dense/context=1/batch=1", "q8_0"),
            ("llama-2-70b/q8_0/top-k:density=0.10", "rank="),
            ("llama-2-70b/q8_0/top-k:density=0.10/rank=x/context=1/batch=1", "rank="),
            ("llama-2-70b/q8_0/dense/rank=1/context=1/batch=1", "3 parts"),
            ("llama-2-70b/q8_0/dense/context=1/batch=-1", "batch="),
        ] {
            let error = text.parse::<GridKey>().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        }
    }
}
