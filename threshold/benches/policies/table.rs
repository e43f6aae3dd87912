//! The comparison as a table, as CSV and as JSON.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use threshold::Knobs;

use crate::comparison::AUDITED;
use crate::setup::{NEURONS, TOKENS};

/// What one policy did on one stream.
pub(crate) struct Row {
    pub(crate) policy: String,
    /// Predictor noise of the stream.
    pub(crate) noise: f64,
    /// How it differs from layer to layer.
    pub(crate) spread: f64,
    /// Mean share of rows computed, audited ones among them.
    pub(crate) density: f64,
    /// 95th percentile of a token's density over the mean.
    pub(crate) jitter: f64,
    /// Mean share of mass missed, that of the worst layer, and that of the 99th percentile of tokens.
    pub(crate) miss: f64,
    pub(crate) worst_layer: f64,
    pub(crate) late: f64,
    /// Share of rows computed for audits alone.
    pub(crate) audit: f64,
    /// One selection, by instruction set.
    pub(crate) microseconds: Vec<(String, f64)>,
}

/// The policy without the digits of its knob, which is set in hindsight.
fn short(policy: &str) -> String {
    let Some((name, parameter)) = policy.split_once(':') else { return policy.to_owned() };
    let rounded: Vec<String> = parameter
        .split(',')
        .map(|part| match part.split_once('=') {
            Some((key, value)) => value.parse::<f64>().map_or_else(|_| part.to_owned(), |v| format!("{key}={v:.3}")),
            None => part.parse::<f64>().map_or_else(|_| part.to_owned(), |v| format!("{v:.4}")),
        })
        .collect();
    format!("{name}:{}", rounded.join(","))
}

pub(crate) fn print(rows: &[Row], knobs: &Knobs) {
    println!(
        "\nSynthetic streams: 80 layers x {NEURONS} neurons x {TOKENS} tokens, magnitudes of Llama-2-70B's h2 (TEAL's\n\
         histograms, published); drift assumed: log-scale sd {} per prompt, all layers, {} walk per layer and prompt,\n\
         {} per token; log-shape sd {}; a prompt is {} tokens. Knobs are set in hindsight to one mean density, which\n\
         counts the {AUDITED} rows that an audit computes per layer. Noise: sd of log(score/mass), spread: sd of its log. p99 is over tokens.\n\
         us: one selection of one layer, measured here, audit picks included.",
        knobs.prompt_jump, knobs.prompt_walk, knobs.token_scale, knobs.prompt_shape, knobs.prompt_tokens
    );
    let mut predictor = None;
    for row in rows {
        if predictor != Some((row.noise, row.spread)) {
            predictor = Some((row.noise, row.spread));
            println!("\npredictor noise {}, spread {} over layers", row.noise, row.spread);
            print!(
                "{:<42} {:>8} {:>8} {:>9} {:>11} {:>9} {:>7}",
                "policy", "density", "p95/mean", "mean miss", "worst layer", "p99 token", "audits"
            );
            row.microseconds.iter().for_each(|(isa, _)| print!(" {:>10}", format!("{isa} us")));
            println!();
        }
        print!(
            "{:<42} {:>8.4} {:>8.3} {:>9.4} {:>11.4} {:>9.4} {:>7.4}",
            short(&row.policy),
            row.density,
            row.jitter,
            row.miss,
            row.worst_layer,
            row.late,
            row.audit
        );
        row.microseconds.iter().for_each(|(_, us)| print!(" {us:>10.1}"));
        println!();
    }
}

/// Writes both files into `target/threshold`, and says so.
pub(crate) fn write(rows: &[Row]) {
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("../target"), PathBuf::from);
    let folder = target.join("threshold");
    for (name, text) in [("policies.csv", csv(rows)), ("policies.json", json(rows))] {
        let path = folder.join(name);
        match replace(&path, &text) {
            Ok(()) => println!("{}", path.display()),
            Err(error) => eprintln!("{}: {error}", path.display()),
        }
    }
}

fn replace(path: &Path, text: &str) -> io::Result<()> {
    let part = path.with_extension("part");
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(&part, text)?;
    fs::rename(part, path)
}

fn fields(row: &Row) -> [(&'static str, f64); 8] {
    [
        ("predictor_noise", row.noise),
        ("predictor_spread", row.spread),
        ("density", row.density),
        ("density_p95_over_mean", row.jitter),
        ("miss", row.miss),
        ("miss_worst_layer", row.worst_layer),
        ("miss_p99_token", row.late),
        ("audit_density", row.audit),
    ]
}

fn csv(rows: &[Row]) -> String {
    let mut text = String::from("policy");
    if let Some(row) = rows.first() {
        fields(row).iter().for_each(|(name, _)| text.extend([",", name]));
        row.microseconds.iter().for_each(|(isa, _)| text.extend([",select_us_", isa.as_str()]));
    }
    text.push('\n');
    for row in rows {
        // A spelling may hold a comma.
        text += &format!("\"{}\"", row.policy);
        fields(row).iter().for_each(|(_, value)| text += &format!(",{value}"));
        row.microseconds.iter().for_each(|(_, us)| text += &format!(",{us:.3}"));
        text.push('\n');
    }
    text
}

fn json(rows: &[Row]) -> String {
    let object = |row: &Row| {
        let mut text = format!("  {{\"policy\": \"{}\"", row.policy);
        fields(row).iter().for_each(|(name, value)| text += &format!(", \"{name}\": {value}"));
        let times = row.microseconds.iter().map(|(isa, us)| format!("\"{isa}\": {us:.3}"));
        text + &format!(", \"select_us\": {{{}}}}}", times.collect::<Vec<_>>().join(", "))
    };
    format!("[\n{}\n]\n", rows.iter().map(object).collect::<Vec<_>>().join(",\n"))
}
