//! The rank that reads the fewest bytes a token, predictor and FFN together, at a wanted recall.
//!
//! ```text
//!   bytes(rank) = fc1, fc2  +  density(rank) · gate  +  fired(rank) · (up, down)
//! ```
//! `density` is the share of neurons whose score reaches the cut that finds the wanted share of those that fire; `fired`,
//! the share that is found, hardly depends on the rank. A larger predictor costs bytes on every token and saves gate rows,
//! so the sum has a minimum. Every rank reaches the recall: a poor one pays for it in density.

use std::ops::ControlFlow;

use kernels_cpu::{Cpu, Format};

use crate::{Cut, Encoded, Epoch, Error, Quality, Samples, Training, train};

/// Bytes of a layer's gate, and of its up and down together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FfnBytes {
    /// All gate rows.
    pub gate: usize,
    /// All up and all down rows.
    pub up_down: usize,
}

impl FfnBytes {
    /// Bytes a token with a predictor of so many bytes that does as `quality` says, gates having the last word.
    pub fn a_token(&self, predictor: usize, quality: &Quality) -> f64 {
        predictor as f64 + quality.density() * self.gate as f64 + quality.fired() * self.up_down as f64
    }

    /// Bytes a token gate first: every gate row, then up and down of the neurons that fire.
    pub fn gate_first(&self, natural_density: f64) -> f64 {
        self.gate as f64 + natural_density * self.up_down as f64
    }
}

/// Ranks that are tried, times [`BLOCK`]: half octaves.
const LADDER: [usize; 14] = [1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128];
/// Whole blocks of the quantised formats.
const BLOCK: usize = 32;

/// A predictor for one layer, and how it did on validation samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Its weights.
    pub encoded: Encoded,
    /// The cut of the wanted recall there.
    pub cut: Cut,
    /// Each rank that was tried, and its bytes a token.
    pub tried: Vec<(usize, f64)>,
    /// Whether training was broken off.
    pub stopped: bool,
}

/// Trains predictors of growing rank until the bytes a token have risen twice, and returns that of the least; `rank` says
/// that only one is to be tried. Every one is judged as `format` rounds it.
///
/// # Errors
/// As for [`train`]; a hidden size or a rank that is not whole blocks.
pub fn fit(
    cpu: &Cpu,
    [training, validation]: [&Samples<'_>; 2],
    settings: &Training,
    rank: Option<usize>,
    format: Format,
    ffn: FfnBytes,
    mut progress: impl FnMut(Epoch) -> ControlFlow<()>,
) -> Result<Fitted, Error> {
    let ladder: Vec<usize> = match rank {
        Some(rank) => vec![rank],
        None => {
            LADDER.iter().map(|blocks| blocks * BLOCK).filter(|&rank| rank <= training.hidden().max(BLOCK)).collect()
        }
    };
    let mut best: Option<(f64, Encoded, Cut)> = None;
    let (mut tried, mut rises, mut stopped) = (Vec::new(), 0, false);
    for rank in ladder {
        let trained = train(cpu.isa(), training, validation, &Training { rank, ..*settings }, |epoch| {
            let flow = progress(epoch);
            stopped |= flow.is_break();
            flow
        })?;
        let encoded = trained.encoded(format)?;
        let cut = Cut::at_recall(&scores(cpu, &encoded, validation)?, validation.masses(), settings.recall)?;
        let bytes = ffn.a_token(encoded.bytes(), &cut.quality);
        tried.push((rank, bytes));
        if best.as_ref().is_none_or(|(least, ..)| bytes < *least) {
            best = Some((bytes, encoded, cut));
            rises = 0;
        } else {
            rises += 1;
        }
        if rises == 2 || stopped {
            break;
        }
    }
    let (_, encoded, cut) = best.ok_or(Error::Silent)?;
    Ok(Fitted { encoded, cut, tried, stopped })
}

/// Scores of every neuron, token after token, by the kernels that decode by.
///
/// # Errors
/// Samples of another layer.
pub fn scores(cpu: &Cpu, encoded: &Encoded, samples: &Samples<'_>) -> Result<Vec<f32>, Error> {
    let mut predictor = encoded.predictor()?;
    let mut scores = vec![0.0; samples.masses().len()];
    for (token, scores) in scores.chunks_exact_mut(samples.neurons()).enumerate() {
        predictor.scores(cpu, samples.x(token), scores)?;
    }
    Ok(scores)
}
