//! What the commands that open a model share.

use std::path::{Path, PathBuf};

use clap::Args;
use kernels_cpu::Cpu;
use threshold::{Calibration, Inputs, PolicySpec};

use crate::{
    Failure, Result,
    decode::{Decoder, Scorer, calibrate, needs_calibration},
    embedded,
    gguf::{Gguf, MappedFile},
    model::Model,
    tokenizer::Tokenizer,
};

/// A model, and how it is run.
#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    /// GGUF file, as llama.cpp or PowerInfer writes it; `embedded` is the small code model that this program carries
    #[arg(long, value_name = "FILE", default_value = embedded::NAME)]
    pub(crate) model: PathBuf,
    /// dense, fixed, fixed:0.0, per-layer:density=0.10, top-k:density=0.10, dynamic:miss=0.02
    #[arg(long, default_value = "dense")]
    pub(crate) policy: PolicySpec,
    /// Threads [default: all cores]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=4096))]
    threads: Option<u16>,
}

/// A model file in memory: mapped, or carried by the program.
pub(crate) enum ModelFile {
    Mapped(MappedFile),
    Embedded(&'static [u8]),
}

impl ModelFile {
    /// What its user calls it.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Mapped(file) => file.path(),
            Self::Embedded(_) => Path::new(embedded::NAME),
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Mapped(file) => file.bytes(),
            Self::Embedded(bytes) => bytes,
        }
    }
}

/// The embedded model by its name, or else a file, mapped; its name goes into what is wrong with it.
pub(crate) fn open(path: &Path) -> Result<ModelFile> {
    if path == Path::new(embedded::NAME) {
        return Ok(ModelFile::Embedded(embedded::model()?));
    }
    Ok(ModelFile::Mapped(MappedFile::open(path)?))
}

/// Whatever is wrong with the contents of `path`.
pub(crate) fn of_file<E: std::error::Error>(path: &Path) -> impl Fn(E) -> Failure {
    move |error| Failure::input(format!("{}: {}", path.display(), Failure::from(error).message))
}

/// What a file holds, its model, and its tokenizer where it has one.
pub(crate) fn load<'f>(file: &'f ModelFile) -> Result<(Gguf<'f>, Model<'f>, Option<Tokenizer>)> {
    let contents = Gguf::parse(file.bytes()).map_err(of_file(file.path()))?;
    let model = Model::load(&contents).map_err(of_file(file.path()))?;
    let tokenizer = match contents.get("tokenizer.ggml.model") {
        None => None,
        Some(_) => Some(Tokenizer::load(&contents).map_err(of_file(file.path()))?),
    };
    if let Some(tokenizer) = tokenizer.as_ref().filter(|tokenizer| tokenizer.vocabulary() > model.vocabulary()) {
        return Err(Failure::input(format!(
            "{}: key `tokenizer.ggml.tokens` has {} tokens, but tensor `token_embd.weight` only {}",
            file.path().display(),
            tokenizer.vocabulary(),
            model.vocabulary()
        )));
    }
    Ok((contents, model, tokenizer))
}

/// The tokenizer of a file that must have one, for commands that take or give text.
pub(crate) fn required(tokenizer: Option<Tokenizer>, path: &Path) -> Result<Tokenizer> {
    let lacking = || Failure::input(format!("{}: key `tokenizer.ggml.model` is missing", path.display()));
    tokenizer.ok_or_else(lacking)
}

impl ModelArguments {
    /// The threads and instruction set to run on.
    pub(crate) fn cpu(&self) -> Result<Cpu> {
        match self.threads {
            Some(threads) => Ok(Cpu::with_threads(threads.into())?),
            None => Ok(Cpu::new()?),
        }
    }

    /// Makes ready what the policy needs beyond its spelling: down by neuron, and for a policy that learns from a sample
    /// of scores a calibration on `tokens`.
    pub(crate) fn prepare(&self, model: &mut Model<'_>, cpu: &Cpu, tokens: &[u32]) -> Result<Option<Calibration>> {
        if self.policy == PolicySpec::Dense {
            return Ok(None);
        }
        model.store_down_by_neuron(cpu)?;
        needs_calibration(&self.policy).then(|| calibrate(model, cpu, tokens)).transpose()
    }

    /// A decoder under the policy.
    pub(crate) fn decoder<'m>(
        &self,
        model: &'m Model<'m>,
        cpu: &'m Cpu,
        calibration: Option<&Calibration>,
        capacity: usize,
    ) -> Result<Decoder<'m>> {
        let context = model.config.context;
        if capacity > context {
            return Err(Failure::input(format!("{capacity} tokens do not fit the model's context of {context}")));
        }
        Decoder::new(model, cpu, &self.policy, &Inputs { calibration, ..Inputs::default() }, capacity)
    }

    /// Where the policy's scores come from, in a few words; `None` where it needs none.
    pub(crate) fn scorer(&self, model: &Model<'_>) -> Option<&'static str> {
        match (&self.policy, Scorer::of(model)) {
            (PolicySpec::Dense, _) => None,
            (_, Scorer::Predictor) => Some("the file's predictors"),
            (_, Scorer::Gate) => Some("the gates themselves, computed whole: the file has no predictors"),
        }
    }
}
