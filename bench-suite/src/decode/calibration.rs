//! Score statistics of a text, which `per-layer` needs and `dynamic` starts from.

use kernels_cpu::Cpu;
use threshold::{Calibration, CalibrationBuilder, Inputs, PolicySpec, Shape};

use crate::{Result, model::Model};

use super::{
    Decoder, Seen,
    ffn::{down_norms, gate_score, predictors},
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
    let (neurons, activation) = (model.config.intermediate, model.config.activation);
    let mut builder = CalibrationBuilder::new(Shape::new(model.config.layers, neurons)?);
    let mut predictors = predictors(model)?;
    let norms = down_norms(model, cpu)?;
    let (mut scores, mut masses) = (vec![0.0; neurons], vec![0.0; neurons]);
    let mut collect = |seen: &Seen<'_>| {
        match predictors.get_mut(seen.layer) {
            Some(predictor) => predictor.scores(cpu, seen.residual, &mut scores)?,
            None => scores.iter_mut().zip(seen.gate).for_each(|(score, &gate)| *score = gate_score(activation, gate)),
        }
        for (mass, ((gate, up), norm)) in masses.iter_mut().zip(seen.gate.iter().zip(seen.up).zip(&norms[seen.layer])) {
            *mass = (activation.apply(*gate) * up).abs() * norm;
        }
        Ok(builder.add(seen.layer, &scores, &masses)?)
    };
    let mut decoder = Decoder::new(model, cpu, &PolicySpec::Dense, &Inputs::default(), tokens.len())?;
    tokens.iter().try_for_each(|&token| decoder.push_seen(token, &mut collect))?;
    Ok(builder.finish())
}
