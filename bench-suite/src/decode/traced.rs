//! A trace that was written earlier, read back layer by layer.

use std::ops::Range;

use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use crate::{Failure, Result, gguf::MappedFile};

/// A trace over its mapped file.
#[derive(Debug)]
pub struct Traced<'a> {
    /// Its path, for messages.
    name: String,
    tensors: SafeTensors<'a>,
    tokens: usize,
    /// First token of each prompt.
    prompts: Vec<usize>,
}

impl<'a> Traced<'a> {
    /// As [`Traced::parse`].
    ///
    /// # Errors
    /// Not a trace.
    pub fn open(file: &'a MappedFile) -> Result<Self> {
        Self::parse(file.bytes(), file.path().display().to_string())
    }

    /// Reads the header; `name` stands for the file in errors. One without `prompts` (of an earlier version) is one prompt.
    ///
    /// # Errors
    /// Not a trace.
    pub fn parse(bytes: &'a [u8], name: String) -> Result<Self> {
        let tensors = SafeTensors::deserialize(bytes)
            .map_err(|e| Failure::input(format!("{name}: {e}: not a trace; `thresher trace` writes one")))?;
        let mut traced = Self { name, tensors, tokens: 0, prompts: vec![0] };
        traced.tokens = traced.whole("tokens")?.len();
        if traced.tensors.tensor("prompts").is_ok() {
            traced.prompts = traced.whole("prompts")?.into_iter().map(|start| start as usize).collect();
        }
        let ascending = traced.prompts.is_sorted_by(|a, b| a < b);
        let within = traced.prompts.last().is_some_and(|&last| last < traced.tokens);
        if !(ascending && within && traced.prompts.first() == Some(&0)) {
            return Err(traced.fail("prompts", "wanted ascending places of tokens, the first 0"));
        }
        Ok(traced)
    }

    /// The tokens of each prompt, with those decoded after it.
    pub fn prompts(&self) -> Vec<Range<usize>> {
        let ends = self.prompts.iter().skip(1).copied().chain([self.tokens]);
        self.prompts.iter().zip(ends).map(|(&start, end)| start..end).collect()
    }

    /// A part of a layer (`residual`, `gate`, `up`), one row of `width` values a token.
    ///
    /// # Errors
    /// It is missing or of another shape: a trace of another model.
    pub fn layer(&self, layer: usize, part: &str, width: usize) -> Result<Vec<f32>> {
        let name = format!("layers.{layer}.{part}");
        let tensor = self.tensor(&name)?;
        if tensor.dtype() != Dtype::F32 || tensor.shape() != [self.tokens, width] {
            let given = format!("{:?} {:?}", tensor.dtype(), tensor.shape());
            return Err(self.fail(&name, &format!("{given}, wanted F32 [{}, {width}]: of another model?", self.tokens)));
        }
        Ok(tensor.data().as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect())
    }

    fn whole(&self, name: &str) -> Result<Vec<u32>> {
        let tensor = self.tensor(name)?;
        if tensor.dtype() != Dtype::U32 || tensor.shape().len() != 1 {
            return Err(self.fail(name, &format!("{:?} {:?}, wanted U32 [?]", tensor.dtype(), tensor.shape())));
        }
        Ok(tensor.data().as_chunks().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect())
    }

    fn tensor(&self, name: &str) -> Result<TensorView<'_>> {
        self.tensors.tensor(name).map_err(|e| self.fail(name, &format!("{e}: of another model, or not a trace")))
    }

    fn fail(&self, tensor: &str, what: &str) -> Failure {
        Failure::input(format!("{}: tensor `{tensor}`: {what}", self.name))
    }
}
