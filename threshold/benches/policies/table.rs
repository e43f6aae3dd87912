//! The comparison as a table, as CSV and as JSON.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

use threshold::Knobs;
use threshold::comparison::{Figures, Intervals};

use crate::setup::{NEURONS, PROMPTS};

/// What one policy did on one stream.
pub(crate) struct Row {
    pub(crate) policy: String,
    /// Predictor noise of the stream.
    pub(crate) noise: f64,
    /// How it differs from layer to layer.
    pub(crate) spread: f64,
    pub(crate) figures: Figures,
    pub(crate) intervals: Intervals,
    /// One selection of one layer, audits included.
    pub(crate) microseconds: f64,
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

pub(crate) fn print(rows: &[Row]) {
    let knobs = Knobs::default();
    println!(
        "\nSynthetic streams: 80 layers x {NEURONS} neurons x {PROMPTS} prompts of {} tokens, magnitudes of Llama-2-70B's h2\n\
         (TEAL's histograms, published); drift assumed: log-scale sd {} per prompt, all layers, {} walk per layer and prompt,\n\
         {} per token; log-shape sd {}. Knobs are set in hindsight to one mean density, which counts audited rows. Noise:\n\
         sd of log(score/mass), spread: sd of its log. p99 is over tokens. us: one selection of one layer in this run, audits\n\
         included. `thresher policies` compares on real traces, with intervals.",
        knobs.prompt_tokens, knobs.prompt_jump, knobs.prompt_walk, knobs.token_scale, knobs.prompt_shape
    );
    let mut predictor = None;
    for row in rows {
        if predictor != Some((row.noise, row.spread)) {
            predictor = Some((row.noise, row.spread));
            println!("\npredictor noise {}, spread {} over layers", row.noise, row.spread);
            println!(
                "{:<42} {:>8} {:>8} {:>9} {:>11} {:>9} {:>7} {:>7}",
                "policy", "density", "p95/mean", "mean miss", "worst layer", "p99 token", "audits", "us"
            );
        }
        let Figures { density, audited, jitter, miss, worst_layer, p99_token } = row.figures;
        let (policy, us) = (short(&row.policy), row.microseconds);
        println!(
            "{policy:<42} {density:>8.4} {jitter:>8.3} {miss:>9.4} {worst_layer:>11.4} {p99_token:>9.4} {audited:>7.4} {us:>7.1}"
        );
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

fn fields(row: &Row) -> [(&'static str, f64); 15] {
    let Figures { density, audited, jitter, miss, worst_layer, p99_token } = row.figures;
    let Intervals { miss: of_miss, worst_layer: of_worst, p99_token: of_p99 } = row.intervals;
    [
        ("predictor_noise", row.noise),
        ("predictor_spread", row.spread),
        ("density", density),
        ("density_p95_over_mean", jitter),
        ("audit_density", audited),
        ("miss", miss),
        ("miss_low", of_miss.low),
        ("miss_high", of_miss.high),
        ("miss_worst_layer", worst_layer),
        ("miss_worst_layer_low", of_worst.low),
        ("miss_worst_layer_high", of_worst.high),
        ("miss_p99_token", p99_token),
        ("miss_p99_token_low", of_p99.low),
        ("miss_p99_token_high", of_p99.high),
        ("select_us", row.microseconds),
    ]
}

fn csv(rows: &[Row]) -> String {
    let mut text = String::from("policy");
    if let Some(row) = rows.first() {
        fields(row).iter().for_each(|(name, _)| text.extend([",", name]));
    }
    text.push('\n');
    for row in rows {
        // A spelling may hold a comma.
        text += &format!("\"{}\"", row.policy);
        fields(row).iter().for_each(|(_, value)| text += &format!(",{value}"));
        text.push('\n');
    }
    text
}

fn json(rows: &[Row]) -> String {
    let object = |row: &Row| {
        let mut text = format!("  {{\"policy\": \"{}\"", row.policy);
        fields(row).iter().for_each(|(name, value)| text += &format!(", \"{name}\": {value}"));
        text + "}"
    };
    format!("[\n{}\n]\n", rows.iter().map(object).collect::<Vec<_>>().join(",\n"))
}
