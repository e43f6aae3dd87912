//! Hidden states and activations of a decode, written down.
//!
//! A safetensors file: `tokens` (u32, one per token read), `prompts` (u32, which of them begin a prompt: what follows knows
//! nothing of what came before), and for each layer N, in f32 and one row per token, `layers.N.residual` (before the FFN's
//! norm: what a predictor reads), `layers.N.gate` (before the activation) and `layers.N.up`. [`Traced`](super::Traced) reads
//! it.
//!
//! ```text
//!   while decoding   token 0: layer 0, layer 1, … | token 1: layer 0, …     to a temporary file, so that memory stays small
//!   at the end       layer 0: token 0, token 1, … | layer 1: …              as the tensors of the trace
//! ```

use std::{
    fs::File,
    io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde_json::json;

use crate::{
    Failure, Result,
    model::Config,
    replace::{folder, replace},
};

use super::Seen;

const F32: usize = size_of::<f32>();

/// A trace that is being written.
#[derive(Debug)]
pub struct Trace {
    path: PathBuf,
    raw: BufWriter<File>,
    /// Bytes of a token and layer: residual, gate, up.
    parts: [(&'static str, usize); 3],
    layers: usize,
    tokens: Vec<u32>,
    prompts: Vec<u32>,
}

impl Trace {
    /// A trace that will lie at `path`.
    ///
    /// # Errors
    /// The folder cannot be written to.
    pub fn create(path: &Path, config: &Config) -> Result<Self> {
        let raw = tempfile::tempfile_in(folder(path)).map_err(|e| refused(path, &e))?;
        let parts = [("residual", config.hidden), ("gate", config.intermediate), ("up", config.intermediate)];
        let parts = parts.map(|(name, len)| (name, len * F32));
        let (raw, layers) = (BufWriter::new(raw), config.layers);
        Ok(Self { path: path.to_owned(), raw, parts, layers, tokens: Vec::new(), prompts: vec![0] })
    }

    /// Notes that the token which comes next begins a prompt. The first one does in any case.
    pub fn prompt(&mut self) {
        let next = self.tokens.len() as u32;
        if self.prompts.last() != Some(&next) {
            self.prompts.push(next);
        }
    }

    /// Notes the token whose layers come next.
    pub fn token(&mut self, token: u32) {
        self.tokens.push(token);
    }

    /// Writes down a layer. Layers come in order, all of them after each [`token`](Self::token).
    ///
    /// # Errors
    /// The disk is full.
    pub fn layer(&mut self, seen: &Seen<'_>) -> Result<()> {
        for values in [seen.residual, seen.gate, seen.up] {
            values
                .iter()
                .try_for_each(|v| self.raw.write_all(&v.to_le_bytes()))
                .map_err(|e| refused(&self.path, &e))?;
        }
        Ok(())
    }

    /// Writes the trace beside its path, then renames. Returns how many tokens it holds.
    ///
    /// # Errors
    /// The disk is full.
    pub fn finish(self) -> Result<usize> {
        let Self { path, raw, parts, layers, tokens, mut prompts } = self;
        prompts.retain(|&start| (start as usize) < tokens.len());
        let failed = |e: &io::Error| refused(&path, e);
        let raw = raw.into_inner().map_err(|e| failed(e.error()))?;
        replace(&path, failed, |out| {
            write(out, &mut BufReader::new(raw), parts, layers, [&tokens, &prompts]).map_err(|e| failed(&e))
        })?;
        Ok(tokens.len())
    }
}

fn write(
    out: &mut impl Write,
    raw: &mut (impl Read + Seek),
    parts: [(&'static str, usize); 3],
    layers: usize,
    [tokens, prompts]: [&[u32]; 2],
) -> io::Result<()> {
    let mut header = serde_json::Map::new();
    let mut end = 0;
    let mut entry = |name: String, dtype: &str, shape: &[usize], bytes: usize| {
        header.insert(name, json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes] }));
        end += bytes;
    };
    for (name, values) in [("tokens", tokens), ("prompts", prompts)] {
        entry(name.to_owned(), "U32", &[values.len()], size_of_val(values));
    }
    for layer in 0..layers {
        for (name, bytes) in parts {
            entry(format!("layers.{layer}.{name}"), "F32", &[tokens.len(), bytes / F32], tokens.len() * bytes);
        }
    }
    let mut header = serde_json::to_vec(&header)?;
    // Tensors start at a multiple of eight, as the format asks for: spaces end the header.
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    tokens.iter().chain(prompts).try_for_each(|value| out.write_all(&value.to_le_bytes()))?;
    let layer_bytes: usize = parts.iter().map(|(_, bytes)| bytes).sum();
    let mut values = Vec::new();
    for layer in 0..layers {
        let mut offset = layer * layer_bytes;
        for (_, bytes) in parts {
            values.resize(bytes, 0);
            for token in 0..tokens.len() {
                raw.seek(SeekFrom::Start((token * layers * layer_bytes + offset) as u64))?;
                raw.read_exact(&mut values)?;
                out.write_all(&values)?;
            }
            offset += bytes;
        }
    }
    Ok(())
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::input(format!("{}: {error}: choose another --trace", path.display()))
}
