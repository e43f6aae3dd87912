//! `thresher logits`: what a model expects after given tokens, to hold against other implementations.

use clap::Args;
use serde::Serialize;

use crate::{
    Failure, Result,
    output::{TableFormat, print, print_csv, print_json, table},
};

use super::models::{ModelArguments, load, open};

/// Tokens shown to people.
const SHOWN: usize = 10;

/// Arguments of `thresher logits`.
#[derive(Debug, Args)]
pub struct LogitsArguments {
    #[command(flatten)]
    model: ModelArguments,
    /// Token ids, as they are: no begin of text is added
    #[arg(long, value_delimiter = ',', required = true)]
    tokens: Vec<u32>,
    #[command(flatten)]
    format: TableFormat,
}

/// The logit of a token.
#[derive(Debug, Serialize)]
struct LogitRow {
    token: u32,
    logit: f32,
}

/// Runs the command.
///
/// # Errors
/// A file that is not a model that runs here; tokens or a policy that do not fit it.
pub fn run(arguments: &LogitsArguments) -> Result<()> {
    let file = open(&arguments.model.model)?;
    let (_, mut model, tokenizer) = load(&file)?;
    if let Some(token) = arguments.tokens.iter().find(|&&token| token as usize >= model.vocabulary()) {
        let vocabulary = model.vocabulary();
        return Err(Failure::input(format!("token {token} is out of range: the vocabulary has {vocabulary} tokens")));
    }
    let cpu = arguments.model.cpu()?;
    let calibration = arguments.model.prepare(&mut model, &cpu, &arguments.tokens)?;
    let mut decoder = arguments.model.decoder(&model, &cpu, calibration.as_ref(), arguments.tokens.len())?;
    let logits = cpu.install(|| {
        arguments.tokens.iter().try_for_each(|&token| decoder.push(token))?;
        Ok::<_, Failure>(decoder.logits()?.to_vec())
    })?;
    let mut rows: Vec<LogitRow> = (0..).zip(logits).map(|(token, logit)| LogitRow { token, logit }).collect();
    if arguments.format.csv {
        return print_csv(&rows);
    }
    if arguments.format.json {
        return print_json(&rows);
    }
    rows.sort_by(|a, b| b.logit.total_cmp(&a.logit));
    let text = |token: u32| tokenizer.as_ref().map_or_else(String::new, |t| t.piece(token).escape_ascii().to_string());
    let rows = rows.iter().take(SHOWN).map(|row| vec![text(row.token), row.token.to_string(), row.logit.to_string()]);
    print(&table(&["text", "token", "logit"], 1, rows))
}
