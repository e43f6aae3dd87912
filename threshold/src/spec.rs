//! How a policy is spelt: one string, everywhere.

use std::fmt;
use std::str::FromStr;

use crate::dynamic::Level;
use crate::select::Kernels;
use crate::{
    Allocation, Budget, Calibration, Dense, Density, Dynamic, Error, Fixed, Fraction, Isa, Mass, Miss, Oracle,
    PerLayer, Policy, Relative, Shape, StatisticalTopK, Threshold, TopK, TopP,
};

/// One example of every form that [`PolicySpec`] reads.
pub const FORMS: [&str; 14] = [
    "dense",
    "fixed",
    "fixed:0.0",
    "per-layer:density=0.10",
    "per-layer:density=0.10,allocation=greedy",
    "top-k:density=0.10",
    "statistical-top-k:density=0.10",
    "top-p:mass=0.95",
    "relative:fraction=0.10",
    "budget:density=0.10",
    "dynamic:miss=0.02",
    "dynamic:miss=0.02,allocation=squares",
    "dynamic:miss=0.02,level=rank",
    "oracle:miss=0.02",
];

/// A policy by name and parameter, as on a command line, in a record or in a report.
///
/// [`Display`](fmt::Display) writes the canonical spelling and [`FromStr`] reads it back to an equal
/// value. Other spellings of the same number (`density=.1`) are read and written canonically.
///
/// ```
/// use threshold::PolicySpec;
///
/// let spec: PolicySpec = "top-k:density=.1".parse()?;
/// assert_eq!(spec.to_string(), "top-k:density=0.10");
/// assert!("top-k:density=1.5".parse::<PolicySpec>().is_err());
/// # Ok::<(), threshold::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub enum PolicySpec {
    /// `dense`: every neuron.
    Dense,
    /// `fixed`, `fixed:0.0`: one global threshold, by default the one that the model file gives.
    Fixed(Option<Threshold>),
    /// `per-layer:density=0.10`, `per-layer:density=0.10,allocation=greedy`: a threshold per layer, calibrated to
    /// this density in each or on average.
    PerLayer(Density, Allocation),
    /// `top-k:density=0.10`: exactly this share of the neurons, token by token.
    TopK(Density),
    /// `statistical-top-k:density=0.10`: this share of Gaussian scores.
    StatisticalTopK(Density),
    /// `top-p:mass=0.95`: this share of the score mass.
    TopP(Mass),
    /// `relative:fraction=0.10`: at least this fraction of the largest score.
    Relative(Fraction),
    /// `budget:density=0.10`: closed loop on density.
    Budget(Density),
    /// `dynamic:miss=0.02`, `dynamic:miss=0.02,allocation=squares`, `dynamic:miss=0.02,level=rank`: closed loop on the
    /// audited miss, held at this in each layer or on average.
    Dynamic(Miss, Allocation, Level),
    /// `oracle:miss=0.02`: the least that could be computed.
    Oracle(Miss),
}

/// What a policy may need besides its own parameter.
#[derive(Clone, Copy, Debug, Default)]
pub struct Inputs<'a> {
    /// The threshold that the model file gives. `fixed` needs it.
    pub model_threshold: Option<f32>,
    /// Statistics of sample scores. `per-layer` needs them; `dynamic` starts from them instead of dense.
    pub calibration: Option<&'a Calibration>,
    /// The instruction set to select with: by default what `THRESHER_ISA` names, or the best of this processor.
    pub isa: Option<Isa>,
}

impl PolicySpec {
    /// Builds the policy for a model of this shape.
    ///
    /// # Errors
    /// [`Error::NoModelThreshold`] or [`Error::NoCalibration`] where the policy needs what `inputs` lacks,
    /// [`Error::OutOfRange`] where the model's threshold is not finite, [`Error::WrongLength`] or
    /// [`Error::EmptyCalibration`] where the calibration does not cover the layers, [`Error::UnknownIsa`] or
    /// [`Error::IsaUnavailable`] where the instruction set cannot run.
    pub fn build(&self, shape: Shape, inputs: &Inputs<'_>) -> Result<Box<dyn Policy>, Error> {
        let kernels = Kernels::with(inputs.isa.map_or_else(Isa::from_env, Ok)?)?;
        Ok(match *self {
            Self::Dense => Box::new(Dense::new(kernels, shape)),
            Self::Fixed(Some(threshold)) => Box::new(Fixed::new(kernels, shape, threshold)),
            Self::Fixed(None) => {
                let given = inputs.model_threshold.ok_or(Error::NoModelThreshold)?;
                Box::new(Fixed::new(kernels, shape, Threshold::new(given)?))
            }
            Self::PerLayer(density, allocation) => {
                let calibration =
                    inputs.calibration.ok_or_else(|| Error::NoCalibration { policy: self.to_string() })?;
                Box::new(PerLayer::calibrated(kernels, shape, density, allocation, calibration)?)
            }
            Self::TopK(density) => Box::new(TopK::new(kernels, shape, density)),
            Self::StatisticalTopK(density) => Box::new(StatisticalTopK::new(kernels, shape, density)),
            Self::TopP(mass) => Box::new(TopP::new(kernels, shape, mass)),
            Self::Relative(fraction) => Box::new(Relative::new(kernels, shape, fraction)),
            Self::Budget(density) => Box::new(Budget::new(kernels, shape, density)),
            Self::Dynamic(miss, allocation, level) => Box::new(match inputs.calibration {
                Some(calibration) => Dynamic::calibrated(kernels, shape, miss, allocation, level, calibration)?,
                None if allocation == Allocation::Even => Dynamic::new(kernels, shape, miss, level),
                None => return Err(Error::NoCalibration { policy: self.to_string() }),
            }),
            Self::Oracle(miss) => Box::new(Oracle::new(kernels, shape, miss)),
        })
    }
}

impl fmt::Display for PolicySpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense => out.write_str("dense"),
            Self::Fixed(None) => out.write_str("fixed"),
            Self::Fixed(Some(threshold)) => write!(out, "fixed:{threshold}"),
            Self::PerLayer(density, allocation) => {
                write!(out, "per-layer:density={density}")?;
                write_allocation(out, *allocation)
            }
            Self::TopK(density) => write!(out, "top-k:density={density}"),
            Self::StatisticalTopK(density) => write!(out, "statistical-top-k:density={density}"),
            Self::TopP(mass) => write!(out, "top-p:mass={mass}"),
            Self::Relative(fraction) => write!(out, "relative:fraction={fraction}"),
            Self::Budget(density) => write!(out, "budget:density={density}"),
            Self::Dynamic(miss, allocation, level) => {
                write!(out, "dynamic:miss={miss}")?;
                write_allocation(out, *allocation)?;
                if *level == Level::Rank { out.write_str(",level=rank") } else { Ok(()) }
            }
            Self::Oracle(miss) => write!(out, "oracle:miss={miss}"),
        }
    }
}

impl FromStr for PolicySpec {
    type Err = Error;

    fn from_str(given: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownPolicy { given: given.to_owned() };
        let Some((name, parameter)) = given.split_once(':') else {
            return match given {
                "dense" => Ok(Self::Dense),
                "fixed" => Ok(Self::Fixed(None)),
                _ => Err(unknown()),
            };
        };
        if name == "fixed" {
            let threshold = number(parameter, "threshold", "a finite number")?;
            return Ok(Self::Fixed(Some(Threshold::new(threshold)?)));
        }
        // `key=value`, and after commas what may be left out.
        let mut parts = parameter.split(',');
        let (key, value) = parts.next().and_then(|first| first.split_once('=')).ok_or_else(unknown)?;
        let options = Options::read(parts).ok_or_else(unknown)?;
        let none = options == Options::default();
        match (name, key, options) {
            ("per-layer", "density", Options { allocation, level: None }) => {
                Ok(Self::PerLayer(density(value)?, allocation.unwrap_or_default()))
            }
            ("dynamic", "miss", Options { allocation, level }) => {
                Ok(Self::Dynamic(miss(value)?, allocation.unwrap_or_default(), level.unwrap_or_default()))
            }
            _ if !none => Err(unknown()),
            ("top-k", "density", _) => Ok(Self::TopK(density(value)?)),
            ("statistical-top-k", "density", _) => Ok(Self::StatisticalTopK(density(value)?)),
            ("top-p", "mass", _) => Ok(Self::TopP(Mass::new(number(value, "mass", "in (0, 1)")?)?)),
            ("relative", "fraction", _) => Ok(Self::Relative(Fraction::new(number(value, "fraction", "in (0, 1]")?)?)),
            ("budget", "density", _) => Ok(Self::Budget(density(value)?)),
            ("oracle", "miss", _) => Ok(Self::Oracle(miss(value)?)),
            _ => Err(unknown()),
        }
    }
}

fn write_allocation(out: &mut fmt::Formatter<'_>, allocation: Allocation) -> fmt::Result {
    if allocation == Allocation::Even { Ok(()) } else { write!(out, ",allocation={allocation}") }
}

/// What may follow a policy's parameter, in any order, each once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Options {
    allocation: Option<Allocation>,
    level: Option<Level>,
}

impl Options {
    fn read<'t>(parts: impl Iterator<Item = &'t str>) -> Option<Self> {
        let mut options = Self::default();
        for part in parts {
            let (key, value) = part.split_once('=')?;
            let repeated = match key {
                "allocation" => {
                    options.allocation.replace(Allocation::ALL.into_iter().find(|a| a.to_string() == value)?).is_some()
                }
                "level" => {
                    let level = match value {
                        "mass" => Level::Mass,
                        "rank" => Level::Rank,
                        _ => return None,
                    };
                    options.level.replace(level).is_some()
                }
                _ => return None,
            };
            if repeated {
                return None;
            }
        }
        Some(options)
    }
}

fn miss(text: &str) -> Result<Miss, Error> {
    Miss::new(number(text, "miss", "in (0, 1)")?)
}

fn density(text: &str) -> Result<Density, Error> {
    Density::new(number(text, "density", "in (0, 1]")?)
}

fn number<T: FromStr>(text: &str, quantity: &'static str, wanted: &'static str) -> Result<T, Error> {
    let not_a_number = |_| Error::out_of_range(quantity, &format!("{text:?}"), wanted);
    text.parse().map_err(not_a_number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_spec() -> impl Strategy<Value = PolicySpec> {
        let share =
            prop_oneof![f64::MIN_POSITIVE..1.0, (1u32..1000).prop_map(|permille| f64::from(permille) / 1000.0),];
        let threshold = any::<f32>().prop_filter_map("finite", |t| Threshold::new(t).ok());
        prop_oneof![
            Just(PolicySpec::Dense),
            Just(PolicySpec::Fixed(None)),
            threshold.prop_map(|t| PolicySpec::Fixed(Some(t))),
            (share, 0..11, prop::sample::select(Allocation::ALL.as_slice())).prop_map(|(share, kind, allocation)| {
                let density = Density::new(share).unwrap();
                let miss = Miss::new(share).unwrap();
                match kind {
                    0 | 1 => PolicySpec::PerLayer(density, allocation),
                    2 => PolicySpec::TopK(density),
                    3 => PolicySpec::StatisticalTopK(density),
                    4 => PolicySpec::TopP(Mass::new(share).unwrap()),
                    5 => PolicySpec::Relative(Fraction::new(share).unwrap()),
                    6 => PolicySpec::Budget(density),
                    7 => PolicySpec::Dynamic(miss, allocation, Level::Mass),
                    8 => PolicySpec::Dynamic(miss, allocation, Level::Rank),
                    _ => PolicySpec::Oracle(miss),
                }
            }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_equal(spec in any_spec()) {
            prop_assert_eq!(spec.to_string().parse::<PolicySpec>()?, spec);
        }

        #[test]
        fn what_is_read_has_one_canonical_spelling(
            name in "dense|fixed|fixed:|(per-layer|(statistical-)?top-k|budget):density=|top-p:mass=|relative:fraction=\
            |(dynamic|oracle):miss=",
            number in "|[+-]?[0-9]{0,3}(\\.[0-9]{0,4})?(e-?[0-9])?",
            option in "(,allocation=(even|greedy|squares))?(,level=(mass|rank))?",
        ) {
            if let Ok(spec) = format!("{name}{number}{option}").parse::<PolicySpec>() {
                let written = spec.to_string();
                prop_assert_eq!(written.parse::<PolicySpec>()?.to_string(), written);
            }
        }

        #[test]
        fn no_string_panics(text in any::<String>()) {
            let _ = text.parse::<PolicySpec>();
        }
    }

    #[test]
    fn the_listed_forms_are_canonical() {
        for form in FORMS {
            assert_eq!(form.parse::<PolicySpec>().unwrap().to_string(), form);
        }
    }

    #[test]
    fn an_unknown_policy_is_named_with_every_known_form() {
        for given in [
            "",
            "Dense",
            "dense ",
            "dense:1",
            "top-p:density=0.95",
            "budget:miss=0.10",
            "top-k:density=0.10,allocation=greedy",
            "per-layer:density=0.10,allocation=best",
            "per-layer:allocation=greedy",
            "dynamic:miss=0.02,level=rank,level=rank",
            "dynamic:miss=0.02,",
            "dynamic:miss=0.02,allocation=greedy,allocation=greedy",
            "per-layer:density=0.10,level=rank",
            "oracle:miss=0.02,allocation=greedy",
            "top-k",
            "top-k:",
            "top-k:0.1",
            "top-k:miss=0.1",
            "dynamic:density=0.1",
            "per-layer:density",
        ] {
            let error = given.parse::<PolicySpec>().unwrap_err();
            assert!(matches!(error, Error::UnknownPolicy { .. }), "{given:?}: {error}");
            let message = error.to_string();
            assert!(message.contains(&format!("{given:?}")), "{message}");
            assert!(FORMS.iter().all(|form| message.contains(form)), "{message}");
            assert!(!message.contains('\n'));
        }
    }

    #[test]
    fn a_number_out_of_range_is_refused() {
        for given in [
            "top-k:density=0",
            "top-k:density=1.1",
            "per-layer:density=-0.1",
            "per-layer:density=NaN",
            "dynamic:miss=0",
            "dynamic:miss=1",
            "dynamic:miss=inf",
            "fixed:nan",
            "fixed:inf",
            "fixed:1e99",
            "fixed:",
            "top-k:density=",
            "top-k:density=0.1=0.1",
            "top-k:density= 0.1",
            "dynamic:miss=two",
            "oracle:miss=1",
            "top-p:mass=1",
            "top-p:mass=0",
            "relative:fraction=0",
            "relative:fraction=1.1",
            "budget:density=0",
            "statistical-top-k:density=inf",
        ] {
            let error = given.parse::<PolicySpec>().unwrap_err();
            assert!(matches!(error, Error::OutOfRange { .. }), "{given:?}: {error}");
        }
    }

    #[test]
    fn what_a_policy_lacks_is_named() {
        let shape = Shape::new(2, 8).unwrap();
        let nothing = Inputs::default();
        let build = |spec: &str, inputs| spec.parse::<PolicySpec>().unwrap().build(shape, inputs);
        assert_eq!(build("fixed", &nothing).unwrap_err(), Error::NoModelThreshold);
        assert!(matches!(
            build("per-layer:density=0.10", &nothing).unwrap_err(),
            Error::NoCalibration { policy } if policy == "per-layer:density=0.10"
        ));
        assert!(matches!(build("dynamic:miss=0.02,allocation=squares", &nothing), Err(Error::NoCalibration { .. })));
        assert!(build("dynamic:miss=0.02", &nothing).is_ok());
        let nan = Inputs { model_threshold: Some(f32::NAN), ..nothing };
        assert!(matches!(build("fixed", &nan).unwrap_err(), Error::OutOfRange { .. }));
        let zero = Inputs { model_threshold: Some(0.0), ..nothing };
        assert_eq!(build("fixed", &zero).unwrap().threshold(1), Some(0.0));
    }
}
