//! Score statistics of a text, which `per-layer` needs and `dynamic` starts from.

use kernels_cpu::Cpu;
use threshold::{Calibration, CalibrationBuilder, Inputs, PolicySpec, Shape};

use crate::{Result, model::Model};

use super::{
    Decoder, Seen,
    ffn::{down_norms, gate_scores, predictors},
};

/// Whether a policy learns from a sample of scores before it starts.
pub fn needs_calibration(policy: &PolicySpec) -> bool {
    matches!(policy, PolicySpec::PerLayer(..) | PolicySpec::Dynamic(..))
}

/// Decodes `tokens` densely and collects, layer by layer, the scores that a policy would have seen and the output mass
/// `|h| ‖down‖` of every neuron.
///
/// # Errors
/// Tokens out of range; down weights not stored by neuron.
pub fn calibrate(model: &Model<'_>, cpu: &Cpu, tokens: &[u32]) -> Result<Calibration> {
    calibrate_on(model, cpu, &[Text { tokens: tokens.to_vec(), passed_over: 0 }])
}

/// A text to calibrate on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Its tokens.
    pub tokens: Vec<u32>,
    /// How many of them are read but do not count: a prompt, where what matters is how the model goes on from it.
    pub passed_over: usize,
}

/// As [`calibrate`], over several texts, each from its beginning.
///
/// # Errors
/// As for [`calibrate`].
pub fn calibrate_on(model: &Model<'_>, cpu: &Cpu, texts: &[Text]) -> Result<Calibration> {
    let (neurons, activation) = (model.config.intermediate, model.config.activation);
    let mut builder = CalibrationBuilder::new(Shape::new(model.config.layers, neurons)?);
    let mut predictors = predictors(model)?;
    let norms = down_norms(model, cpu)?;
    let (mut scores, mut masses) = (vec![0.0; neurons], vec![0.0; neurons]);
    let mut collect = |seen: &Seen<'_>| {
        match predictors.get_mut(seen.layer) {
            Some(predictor) => predictor.scores(cpu, seen.residual, &mut scores)?,
            None => gate_scores(cpu, activation, seen.gate, &mut scores),
        }
        for (mass, ((gate, up), norm)) in masses.iter_mut().zip(seen.gate.iter().zip(seen.up).zip(&norms[seen.layer])) {
            *mass = (activation.apply(*gate) * up).abs() * norm;
        }
        Ok(builder.add(seen.layer, &scores, &masses)?)
    };
    let longest = texts.iter().map(|text| text.tokens.len()).max().unwrap_or(0);
    let mut decoder = Decoder::new(model, cpu, &PolicySpec::Dense, &Inputs::default(), longest)?;
    for text in texts {
        decoder.clear();
        let (before, counted) = text.tokens.split_at(text.passed_over.min(text.tokens.len()));
        before.iter().try_for_each(|&token| decoder.push(token))?;
        counted.iter().try_for_each(|&token| decoder.push_seen(token, &mut collect))?;
    }
    Ok(builder.finish())
}
