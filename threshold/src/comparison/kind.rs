//! Kinds of policies, each with the one number that sets how much it computes.

use std::fmt;

use crate::dynamic::Level;
use crate::{Allocation, Density, Error, Fraction, Mass, Miss, PolicySpec, Threshold};

/// A kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `fixed`.
    Fixed,
    /// `per-layer`.
    PerLayer(Allocation),
    /// `top-k`.
    TopK,
    /// `statistical-top-k`.
    StatisticalTopK,
    /// `top-p`.
    TopP,
    /// `relative`.
    Relative,
    /// `budget`.
    Budget,
    /// `dynamic`.
    Dynamic(Allocation, Level),
    /// `oracle`.
    Oracle,
}

impl Kind {
    /// Each kind in each form but `dense`, which has nothing to set; those that set a policy once and for all first.
    pub const ALL: [Self; 15] = [
        Self::Fixed,
        Self::PerLayer(Allocation::Even),
        Self::PerLayer(Allocation::Greedy),
        Self::PerLayer(Allocation::Squares),
        Self::TopK,
        Self::StatisticalTopK,
        Self::TopP,
        Self::Relative,
        Self::Budget,
        Self::Dynamic(Allocation::Even, Level::Mass),
        Self::Dynamic(Allocation::Squares, Level::Mass),
        Self::Dynamic(Allocation::Greedy, Level::Mass),
        Self::Dynamic(Allocation::Even, Level::Rank),
        Self::Dynamic(Allocation::Squares, Level::Rank),
        Self::Oracle,
    ];

    /// Whether it learns from what it sees.
    #[must_use]
    pub fn is_closed_loop(self) -> bool {
        matches!(self, Self::Budget | Self::Dynamic(..))
    }

    /// The policy at a knob: any number, of which more computes more. Shares are set by their log-odds, thresholds by
    /// their logarithm.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] where the knob is turned beyond what numbers can tell apart.
    pub fn at(self, knob: f64) -> Result<PolicySpec, Error> {
        let (more, less) = (share(knob), share(-knob));
        Ok(match self {
            Self::Fixed => PolicySpec::Fixed(Some(Threshold::new((-knob).exp() as f32)?)),
            Self::PerLayer(allocation) => PolicySpec::PerLayer(Density::new(more)?, allocation),
            Self::TopK => PolicySpec::TopK(Density::new(more)?),
            Self::StatisticalTopK => PolicySpec::StatisticalTopK(Density::new(more)?),
            Self::TopP => PolicySpec::TopP(Mass::new(more)?),
            Self::Relative => PolicySpec::Relative(Fraction::new(less)?),
            Self::Budget => PolicySpec::Budget(Density::new(more)?),
            Self::Dynamic(allocation, level) => PolicySpec::Dynamic(Miss::new(less)?, allocation, level),
            Self::Oracle => PolicySpec::Oracle(Miss::new(less)?),
        })
    }

    /// A knob of neither much nor little: about a tenth of the rows of a 70B layer.
    #[must_use]
    pub fn start(self) -> f64 {
        match self {
            Self::TopP | Self::Dynamic(..) | Self::Oracle => 0.0,
            Self::Fixed | Self::Relative => 2.2,
            Self::PerLayer(_) | Self::TopK | Self::StatisticalTopK | Self::Budget => -2.2,
        }
    }
}

impl fmt::Display for Kind {
    /// Its spelling without the number: `dynamic,allocation=squares`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let spelling = self.at(self.start()).map_err(|_| fmt::Error)?.to_string();
        let (name, rest) = spelling.split_once(':').unwrap_or((&spelling, ""));
        out.write_str(name)?;
        rest.split(',').skip(1).try_for_each(|option| write!(out, ",{option}"))
    }
}

fn share(odds: f64) -> f64 {
    1.0 / (1.0 + (-odds).exp())
}
