//! Where to cut scores so that a given share of the neurons that fire is found.

use crate::{Error, Quality, samples::check_masses};

/// A cut, and what comes of computing the neurons whose score reaches it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cut {
    /// Scores at least this are computed.
    pub score: f32,
    /// What that finds and misses.
    pub quality: Quality,
}

impl Cut {
    /// The highest cut that finds at least the share `recall` of the firing neurons, over any number of tokens: `scores`
    /// and `mass` are of one length, a neuron fires where it has mass. Where none fires nothing is computed.
    ///
    /// # Errors
    /// A share outside of (0, 1]; lengths that differ; scores that are not numbers; masses that are not sizes.
    pub fn at_recall(scores: &[f32], mass: &[f32], recall: f64) -> Result<Self, Error> {
        check_share("recall", recall)?;
        check_masses(mass)?;
        let mut fired: Vec<f32> = scores.iter().zip(mass).filter(|(_, m)| **m > 0.0).map(|(s, _)| *s).collect();
        let found = (recall * fired.len() as f64).ceil() as usize;
        let score = match found.checked_sub(1) {
            Some(last) => *fired.select_nth_unstable_by(last, |a, b| b.total_cmp(a)).1,
            None => f32::INFINITY,
        };
        Self::at(scores, mass, score)
    }

    /// What a given cut finds and misses.
    ///
    /// # Errors
    /// Lengths that differ; scores that are not numbers; masses that are not sizes.
    pub fn at(scores: &[f32], mass: &[f32], score: f32) -> Result<Self, Error> {
        Ok(Self { score, quality: Quality::at(scores, score, mass)? })
    }
}

pub(crate) fn check_share(setting: &'static str, share: f64) -> Result<(), Error> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::Setting { setting, given: share.to_string(), wanted: "a share in (0, 1]" })
}
