//! How a policy is spelt: one string, everywhere.

use std::fmt;
use std::str::FromStr;

use crate::select::Kernels;
use crate::{Calibration, Dense, Density, Dynamic, Error, Fixed, Isa, Miss, PerLayer, Policy, Shape, Threshold, TopK};

/// One example of every form that [`PolicySpec`] reads.
pub const FORMS: [&str; 6] =
    ["dense", "fixed", "fixed:0.0", "per-layer:density=0.10", "top-k:density=0.10", "dynamic:miss=0.02"];

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
    /// `per-layer:density=0.10`: a threshold per layer, calibrated to this density.
    PerLayer(Density),
    /// `top-k:density=0.10`: exactly this share of the neurons, token by token.
    TopK(Density),
    /// `dynamic:miss=0.02`: closed loop on the audited miss.
    Dynamic(Miss),
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
            Self::PerLayer(density) => {
                let calibration =
                    inputs.calibration.ok_or_else(|| Error::NoCalibration { policy: self.to_string() })?;
                Box::new(PerLayer::calibrated(kernels, shape, density, calibration)?)
            }
            Self::TopK(density) => Box::new(TopK::new(kernels, shape, density)),
            Self::Dynamic(miss) => Box::new(match inputs.calibration {
                Some(calibration) => Dynamic::calibrated(kernels, shape, miss, calibration)?,
                None => Dynamic::new(kernels, shape, miss),
            }),
        })
    }
}

impl fmt::Display for PolicySpec {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense => out.write_str("dense"),
            Self::Fixed(None) => out.write_str("fixed"),
            Self::Fixed(Some(threshold)) => write!(out, "fixed:{threshold}"),
            Self::PerLayer(density) => write!(out, "per-layer:density={density}"),
            Self::TopK(density) => write!(out, "top-k:density={density}"),
            Self::Dynamic(miss) => write!(out, "dynamic:miss={miss}"),
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
        let named = |key: &str| {
            let (found, value) = parameter.split_once('=')?;
            (found == key).then_some(value)
        };
        match name {
            "fixed" => {
                let threshold = number(parameter, "threshold", "a finite number")?;
                Ok(Self::Fixed(Some(Threshold::new(threshold)?)))
            }
            "per-layer" => Ok(Self::PerLayer(density(named("density").ok_or_else(unknown)?)?)),
            "top-k" => Ok(Self::TopK(density(named("density").ok_or_else(unknown)?)?)),
            "dynamic" => {
                let miss = named("miss").ok_or_else(unknown)?;
                Ok(Self::Dynamic(Miss::new(number(miss, "miss", "in (0, 1)")?)?))
            }
            _ => Err(unknown()),
        }
    }
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
            share.clone().prop_map(|d| PolicySpec::PerLayer(Density::new(d).unwrap())),
            share.clone().prop_map(|d| PolicySpec::TopK(Density::new(d).unwrap())),
            share.prop_map(|m| PolicySpec::Dynamic(Miss::new(m).unwrap())),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_equal(spec in any_spec()) {
            prop_assert_eq!(spec.to_string().parse::<PolicySpec>()?, spec);
        }

        #[test]
        fn what_is_read_has_one_canonical_spelling(
            name in "dense|fixed|fixed:|per-layer:density=|top-k:density=|dynamic:miss=",
            number in "|[+-]?[0-9]{0,3}(\\.[0-9]{0,4})?(e-?[0-9])?",
        ) {
            if let Ok(spec) = format!("{name}{number}").parse::<PolicySpec>() {
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
            "top-p:mass=0.95",
            "budget:density=0.10",
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
        let nan = Inputs { model_threshold: Some(f32::NAN), ..nothing };
        assert!(matches!(build("fixed", &nan).unwrap_err(), Error::OutOfRange { .. }));
        let zero = Inputs { model_threshold: Some(0.0), ..nothing };
        assert_eq!(build("fixed", &zero).unwrap().threshold(1), Some(0.0));
    }
}
