//! A synthetic stream as a source.

use super::Source;
use crate::{Calibration, CalibrationBuilder, Error, Knobs, QuantileTable, ScoreStream, Shape};

/// A stream of masses of a model whose magnitudes are published, with drift between prompts, and the scores of an imagined
/// predictor.
#[derive(Clone, Debug)]
pub struct Synthetic {
    table: QuantileTable,
    neurons: usize,
    knobs: Knobs,
    prompts: usize,
    stream: ScoreStream,
}

impl Synthetic {
    /// So many prompts of a stream.
    ///
    /// # Errors
    /// As of [`ScoreStream::new`].
    pub fn new(table: QuantileTable, neurons: usize, knobs: Knobs, prompts: usize) -> Result<Self, Error> {
        let stream = ScoreStream::new(&table, neurons, knobs)?;
        Ok(Self { table, neurons, knobs, prompts, stream })
    }

    /// Statistics of other prompts, as many and half as long.
    ///
    /// # Errors
    /// None that [`new`](Self::new) did not give.
    pub fn calibration(&self) -> Result<Calibration, Error> {
        let prompt_tokens = self.knobs.prompt_tokens.div_ceil(2);
        let knobs = Knobs { seed: self.knobs.seed.wrapping_add(999), prompt_tokens, ..self.knobs };
        let mut stream = ScoreStream::new(&self.table, self.neurons, knobs)?;
        let mut builder = CalibrationBuilder::new(stream.shape());
        let (mut masses, mut scores) = (vec![0.0; self.neurons], vec![0.0; self.neurons]);
        for layer in 0..stream.shape().layers() {
            for _ in 0..self.prompts as u64 * prompt_tokens {
                stream.next_token(layer, &mut masses)?;
                stream.predict(layer, &masses, &mut scores)?;
                builder.add(layer, &scores, &masses)?;
            }
        }
        Ok(builder.finish())
    }
}

impl Source for Synthetic {
    fn shape(&self) -> Shape {
        self.stream.shape()
    }

    fn prompts(&self) -> Vec<usize> {
        vec![self.knobs.prompt_tokens as usize; self.prompts]
    }

    /// A neuron is silent only where the published magnitudes are zero.
    fn silent_cost(&self) -> f64 {
        1.0 / 3.0
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.stream = ScoreStream::new(&self.table, self.neurons, self.knobs)?;
        Ok(())
    }

    fn next(&mut self, layer: usize, scores: &mut [f32], masses: &mut [f32]) -> Result<(), Error> {
        self.stream.next_token(layer, masses)?;
        self.stream.predict(layer, masses, scores)
    }
}
