//! What to compose and under which assumptions: a TOML file, every key optional.
//!
//! | key | default | why |
//! |---|---|---|
//! | `models` | `["llama-2-70b", "relu-llama-70b"]` | the one whose activations are known layer by layer, and the one made to be sparse |
//! | `formats` | `["f16", "q8_0"]` | what people decode 70B models in on a CPU |
//! | `policies` | see [`DEFAULT_POLICIES`] | dense, and each kind at several settings |
//! | `predictor_rank` | 1919 | mean rank of PowerInfer's LLaMA(ReGLU)-70B predictors |
//! | `context_tokens` | 2048 | a prompt with some files in it |
//! | `utilisation` | 0.5 | rented machines idle; 0.3 to 0.6 is reported |
//! | `usd_per_hour` | none | then the machine's share of a rented instance |
//! | `dense_accuracy` | none | then the published figure, or unknown |
//! | `kappa` | 1.0 | one unit of missed mass costs as much accuracy |
//! | `q4_0_kept` | 0.965 | share of accuracy that q4_0 keeps: as its perplexity is higher; other formats keep all |
//! | `predictor_miss` | 0.0 | output mass that a predictor loses beside what the policy skips: perfect |
//! | `tokens_per_problem` | 200 | what is written to solve one |
//! | `accuracy_kept` | 0.95 | a decision that loses more of dense accuracy is none |
//! | `tok_s_user` | 5 | nor is one whose reader waits longer |
//! | `[grid]` | | what the question is answered over: `policies`, `formats`, `ranks`, `contexts`, `batches` |
//! | `[[gpu]]` | see [`Projection`] | GPUs by their data sheets, composed from the nearest measured one; `gpu = []` for none |
//! | `[[owned]]` | none | what owning a machine costs and what it draws, before `usd_per_hour`, any rent and any measured power: see [`Owned`] |

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::format::{UnknownFormat, WeightFormat};
use crate::grid::{Axes, Projection};
use crate::machine::Machine;
use crate::model::{ModelShape, UnknownModel};
use crate::money::{Owned, Prices, Upkeep};
use crate::origin::{Origin, Sourced};
use crate::record::Record;

/// Policies composed if the scenario names none.
pub const DEFAULT_POLICIES: [&str; 18] = [
    "dense",
    "fixed:0.0",
    "fixed:0.005",
    "fixed:0.02",
    "fixed:0.05",
    "fixed:0.12",
    "per-layer:density=0.65",
    "per-layer:density=0.50",
    "per-layer:density=0.25",
    "per-layer:density=0.10",
    "top-k:density=0.65",
    "top-k:density=0.50",
    "top-k:density=0.25",
    "top-k:density=0.10",
    "dynamic:miss=0.02",
    "dynamic:miss=0.05",
    "dynamic:miss=0.10",
    "dynamic:miss=0.25",
];

/// Policies of the grid if the scenario names none: the kinds that hold a threshold, a count or a share of mass, each from
/// nearly all neurons to few.
pub const GRID_POLICIES: [&str; 47] = [
    "dense",
    "fixed:0.0",
    "fixed:0.002",
    "fixed:0.005",
    "fixed:0.01",
    "fixed:0.02",
    "fixed:0.035",
    "fixed:0.05",
    "fixed:0.08",
    "fixed:0.12",
    "per-layer:density=0.80",
    "per-layer:density=0.65",
    "per-layer:density=0.50",
    "per-layer:density=0.35",
    "per-layer:density=0.25",
    "per-layer:density=0.18",
    "per-layer:density=0.10",
    "per-layer:density=0.05",
    "top-k:density=0.80",
    "top-k:density=0.65",
    "top-k:density=0.50",
    "top-k:density=0.35",
    "top-k:density=0.25",
    "top-k:density=0.18",
    "top-k:density=0.10",
    "top-k:density=0.05",
    "top-p:mass=0.98",
    "top-p:mass=0.95",
    "top-p:mass=0.90",
    "top-p:mass=0.80",
    "top-p:mass=0.65",
    "dynamic:miss=0.01",
    "dynamic:miss=0.02",
    "dynamic:miss=0.05",
    "dynamic:miss=0.10",
    "dynamic:miss=0.15",
    "dynamic:miss=0.25",
    "dynamic:miss=0.35",
    "dynamic:miss=0.50",
    "budget:density=0.80",
    "budget:density=0.65",
    "budget:density=0.50",
    "budget:density=0.35",
    "budget:density=0.25",
    "budget:density=0.18",
    "budget:density=0.10",
    "budget:density=0.05",
];

/// Twice the hidden size of the models: a predictor of higher rank costs more than the gate it predicts.
const LARGEST_RANK: usize = 16384;
/// A million tokens, a thousand users.
const LARGEST_CONTEXT: usize = 1 << 20;
const LARGEST_BATCH: usize = 1 << 10;

/// A scenario with all defaults filled in.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scenario {
    /// Models.
    pub models: Sourced<Vec<ModelShape>>,
    /// Weight formats.
    pub formats: Sourced<Vec<WeightFormat>>,
    /// Policies; their spelling is checked by whoever runs them.
    pub policies: Sourced<Vec<String>>,
    /// Predictor rank in every layer.
    pub predictor_rank: Sourced<usize>,
    /// Tokens in the KV cache.
    pub context_tokens: Sourced<usize>,
    /// Share of paid hours in which tokens are made.
    pub utilisation: Sourced<f64>,
    /// Price of the machine, if given.
    pub usd_per_hour: Option<Sourced<f64>>,
    /// Dense accuracy of every model, if given.
    pub dense_accuracy: Option<Sourced<f64>>,
    /// Accuracy lost per unit of missed mass; see [`crate::quality::under_loss`].
    pub kappa: Sourced<f64>,
    /// Share of accuracy that q4_0 keeps of what f16 has.
    pub q4_0_kept: Sourced<f64>,
    /// Share of output mass that a low-rank predictor loses beside what the policy skips.
    pub predictor_miss: Sourced<f64>,
    /// Tokens that are written to solve a problem, or to fail at it.
    pub tokens_per_problem: Sourced<f64>,
    /// Share of dense accuracy under which a configuration is no candidate for a decision.
    pub accuracy_kept: Sourced<f64>,
    /// Tokens per second of one user under which a configuration is no candidate for a decision.
    pub tok_s_user: Sourced<f64>,
    /// What the question is answered over.
    pub grid: Sourced<Axes>,
    /// GPUs that a measured one stands for.
    pub gpus: Sourced<Vec<Projection>>,
    /// Machines whose owner's cost is known.
    pub owned: Vec<Owned>,
}

/// Why a scenario is refused. Each message names the file and the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// The file system refused.
    #[error("{name}: {source}; check the path")]
    Io {
        /// The file.
        name: String,
        /// What it said.
        source: std::io::Error,
    },
    /// Not TOML, an unknown key, or a value of the wrong type.
    #[error("{name} line {line}: {what} (`{text}`); mend that line")]
    Malformed {
        /// The file.
        name: String,
        /// Line, from 1.
        line: usize,
        /// What the TOML reader said.
        what: String,
        /// The line.
        text: String,
    },
    /// A value outside its range.
    #[error("{name}: `{key}` {what}")]
    Invalid {
        /// The file.
        name: String,
        /// The key.
        key: &'static str,
        /// What is wrong, and what is wanted.
        what: String,
    },
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    models: Option<Vec<String>>,
    formats: Option<Vec<String>>,
    policies: Option<Vec<String>>,
    predictor_rank: Option<usize>,
    context_tokens: Option<usize>,
    utilisation: Option<f64>,
    usd_per_hour: Option<f64>,
    dense_accuracy: Option<f64>,
    kappa: Option<f64>,
    q4_0_kept: Option<f64>,
    predictor_miss: Option<f64>,
    tokens_per_problem: Option<f64>,
    accuracy_kept: Option<f64>,
    tok_s_user: Option<f64>,
    #[serde(default)]
    grid: Grid,
    gpu: Option<Vec<Projection>>,
    #[serde(default)]
    owned: Vec<Owned>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Grid {
    policies: Option<Vec<String>>,
    formats: Option<Vec<String>>,
    ranks: Option<Vec<usize>>,
    contexts: Option<Vec<usize>>,
    batches: Option<Vec<usize>>,
}

impl Grid {
    fn is_given(&self) -> bool {
        self.policies.is_some()
            || [self.ranks.is_some(), self.contexts.is_some(), self.batches.is_some()].contains(&true)
            || self.formats.is_some()
    }
}

/// Names the file in origins and errors.
struct Reader<'a> {
    name: &'a str,
}

impl Reader<'_> {
    fn given<T>(&self, value: T) -> Sourced<T> {
        Sourced::new(value, Origin::assumed(format!("set in {}", self.name)))
    }

    fn or<T>(&self, value: Option<T>, default: T, why: Origin) -> Sourced<T> {
        match value {
            Some(value) => self.given(value),
            None => Sourced::new(default, why),
        }
    }

    fn invalid(&self, key: &'static str, what: impl Into<String>) -> ScenarioError {
        ScenarioError::Invalid { name: self.name.to_owned(), key, what: what.into() }
    }

    fn number(
        &self,
        key: &'static str,
        value: Option<f64>,
        fits: fn(f64) -> bool,
        wanted: &str,
    ) -> Result<Option<f64>, ScenarioError> {
        match value {
            Some(v) if !(v.is_finite() && fits(v)) => Err(self.invalid(key, format!("is {v}; wanted {wanted}"))),
            other => Ok(other),
        }
    }

    /// A list of counts from 1 to `most`, not empty, none twice.
    fn counts(
        &self,
        key: &'static str,
        counts: Option<Vec<usize>>,
        most: usize,
    ) -> Result<Option<Vec<usize>>, ScenarioError> {
        if let Some(bad) = counts.iter().flatten().find(|count| !(1..=most).contains(*count)) {
            return Err(self.invalid(key, format!("holds {bad}; wanted 1 to {most}")));
        }
        let names = counts.map(|counts| counts.iter().map(usize::to_string).collect());
        self.list(key, names, |count| count.parse().map_err(|_| "is no count".to_owned()))
    }

    /// Parses each name of a list that must not be empty or repeat itself.
    fn list<T: PartialEq>(
        &self,
        key: &'static str,
        names: Option<Vec<String>>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Option<Vec<T>>, ScenarioError> {
        let Some(names) = names else { return Ok(None) };
        let mut parsed = Vec::with_capacity(names.len());
        for name in &names {
            let item = parse(name).map_err(|what| self.invalid(key, what))?;
            if parsed.contains(&item) {
                return Err(self.invalid(key, format!("names `{name}` twice; name it once")));
            }
            parsed.push(item);
        }
        if parsed.is_empty() {
            return Err(self.invalid(key, "is empty; name at least one or drop the key"));
        }
        Ok(Some(parsed))
    }
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// [`ScenarioError`]
    pub fn read(path: &Path) -> Result<Self, ScenarioError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name),
            Err(source) => Err(ScenarioError::Io { name, source }),
        }
    }

    /// Reads a scenario; `name` stands for the file in errors and origins.
    ///
    /// # Errors
    /// [`ScenarioError::Malformed`], [`ScenarioError::Invalid`].
    pub fn parse(text: &str, name: &str) -> Result<Self, ScenarioError> {
        let file = toml::from_str(text).map_err(|e| malformed(&e, text, name))?;
        Self::resolve(file, &Reader { name })
    }

    /// The scenario of an empty file.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn defaults() -> Result<Self, ScenarioError> {
        Self::resolve(File::default(), &Reader { name: "defaults" })
    }

    /// What owning this machine costs, if the scenario says.
    pub fn owned_machine(&self, machine: &Machine) -> Option<&Owned> {
        self.owned.iter().find(|own| own.machine == machine.fingerprint || own.machine == machine.name())
    }

    /// What the machine of a record costs here, and draws.
    pub(crate) fn upkeep<'a>(&'a self, prices: &'a Prices, record: &'a Record) -> Upkeep<'a> {
        let machine = &record.machine;
        let (owned, given) = (self.owned_machine(machine), self.usd_per_hour.as_ref());
        Upkeep { prices, machine, owned, given, record: Some(record) }
    }

    fn resolve(file: File, r: &Reader<'_>) -> Result<Self, ScenarioError> {
        let model = |s: &str| ModelShape::named(s).map_err(|e: UnknownModel| e.to_string());
        let models = r.list("models", file.models, model)?;
        let format = |s: &str| s.parse().map_err(|e: UnknownFormat| e.to_string());
        let formats = r.list("formats", file.formats, format)?;
        let policies = r.list("policies", file.policies, |s| Ok(s.to_owned()))?;
        let share = |u: f64| (0.001..=1.0).contains(&u);
        let utilisation = r.number("utilisation", file.utilisation, share, "0.001 <= u <= 1")?;
        let sensible = |v: f64| (0.0..=1e6).contains(&v);
        let usd = r.number("usd_per_hour", file.usd_per_hour, sensible, "0 to 1e6")?;
        let kappa = r.number("kappa", file.kappa, sensible, "0 to 1e6")?;
        let accuracy = |v: f64| (0.0..=1.0).contains(&v);
        let q4_0 = r.number("q4_0_kept", file.q4_0_kept, accuracy, "0 to 1")?;
        let miss = r.number("predictor_miss", file.predictor_miss, accuracy, "0 to 1")?;
        let kept = r.number("accuracy_kept", file.accuracy_kept, accuracy, "0 to 1")?;
        let positive = |v: f64| (1.0..=1e9).contains(&v);
        let tokens = r.number("tokens_per_problem", file.tokens_per_problem, positive, "1 to 1e9")?;
        let pace = r.number("tok_s_user", file.tok_s_user, sensible, "0 to 1e6")?;
        let own_axes = Axes::default();
        let given = file.grid.is_given();
        let axes = Axes {
            // A scenario that names policies asks about those.
            policies: r
                .list("grid.policies", file.grid.policies, |s| Ok(s.to_owned()))?
                .or_else(|| policies.clone())
                .unwrap_or(own_axes.policies),
            formats: r
                .list("grid.formats", file.grid.formats, format)?
                .or_else(|| formats.clone())
                .unwrap_or(own_axes.formats),
            ranks: r.counts("grid.ranks", file.grid.ranks, LARGEST_RANK)?.unwrap_or(own_axes.ranks),
            contexts: r.counts("grid.contexts", file.grid.contexts, LARGEST_CONTEXT)?.unwrap_or(own_axes.contexts),
            batches: r.counts("grid.batches", file.grid.batches, LARGEST_BATCH)?.unwrap_or(own_axes.batches),
        };
        let why = "from one user to 64, from a short prompt to a long file, policies from nearly all neurons to few";
        let grid = if given { r.given(axes) } else { Sourced::new(axes, Origin::assumed(why)) };
        for gpu in file.gpu.iter().flatten() {
            gpu.check().map_err(|what| r.invalid("gpu", what))?;
        }
        for owned in &file.owned {
            owned.check().map_err(|what| r.invalid("owned", what))?;
        }
        let dense = r.number("dense_accuracy", file.dense_accuracy, accuracy, "0 to 1")?;
        if let Some(rank) = file.predictor_rank.filter(|rank| !(1..=LARGEST_RANK).contains(rank)) {
            return Err(r.invalid("predictor_rank", format!("is {rank}; wanted 1 to {LARGEST_RANK}")));
        }
        Ok(Self {
            models: r.or(
                models,
                vec![ModelShape::LLAMA_2_70B, ModelShape::RELU_LLAMA_70B],
                Origin::assumed("the model whose activations are known layer by layer, and the one made to be sparse"),
            ),
            formats: r.or(
                formats,
                vec![WeightFormat::F16, WeightFormat::Q8_0],
                Origin::assumed("what 70B models are decoded in on a CPU"),
            ),
            policies: r.or(
                policies,
                DEFAULT_POLICIES.map(str::to_owned).to_vec(),
                Origin::assumed("dense, and each kind of policy at several settings"),
            ),
            predictor_rank: r.or(
                file.predictor_rank,
                1919,
                Origin::derived(
                    "5.66e9 predictor parameters over 80 layers of 8192 + 28672: PowerInfer, \
                     arXiv 2312.12456v2, Table 6",
                ),
            ),
            context_tokens: r.or(file.context_tokens, 2048, Origin::assumed("a prompt with some files in it")),
            utilisation: r.or(
                utilisation,
                0.5,
                Origin::assumed("middle of the 30 to 60 % that gmicloud.ai reports (2026-05-28)"),
            ),
            usd_per_hour: usd.map(|v| r.given(v)),
            dense_accuracy: dense.map(|v| r.given(v)),
            kappa: r.or(kappa, 1.0, Origin::assumed("accuracy falls as fast as output mass is missed")),
            q4_0_kept: r.or(
                q4_0,
                0.965,
                Origin::assumed(
                    "accuracy falls as perplexity rises: Llama 2 70B 3.5550 in q4_0 and 3.4313 in f16 (llama.cpp, README of \
                     2023-08-25, Llama 2 70B scorechart)",
                ),
            ),
            predictor_miss: r.or(miss, 0.0, Origin::assumed("the predictor is perfect, whatever its rank")),
            tokens_per_problem: r.or(
                tokens,
                200.0,
                Origin::assumed("a function of a screenful; alike for all policies"),
            ),
            accuracy_kept: r.or(
                kept,
                0.95,
                Origin::assumed("who gives up more than a twentieth would take a smaller model"),
            ),
            tok_s_user: r.or(pace, 5.0, Origin::assumed("about as fast as people read")),
            grid,
            gpus: r.or(
                file.gpu,
                Projection::usual(),
                Origin::assumed("GPUs that can be rented: what is read there takes as much longer as bandwidth is lower, the rest as \
                     units and clocks are fewer"),
            ),
            owned: file.owned,
        })
    }
}

fn malformed(error: &toml::de::Error, text: &str, name: &str) -> ScenarioError {
    let at = error.span().map_or(0, |span| span.start).min(text.len());
    let before = text.get(..at).unwrap_or_default();
    let line = before.matches('\n').count();
    ScenarioError::Malformed {
        name: name.to_owned(),
        line: line + 1,
        what: error.message().replace('\n', "; "),
        text: text.lines().nth(line).unwrap_or_default().trim().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_the_defaults_and_every_one_says_why() {
        let scenario = Scenario::parse("", "s.toml").unwrap();
        assert_eq!(scenario, Scenario::defaults().unwrap());
        assert_eq!(scenario.utilisation.origin.kind(), "assumed");
        assert_eq!(scenario.predictor_rank.origin.kind(), "derived");
        assert_eq!(scenario.usd_per_hour, None);
        assert_eq!(scenario.policies.value[0], crate::compose::DENSE);
    }

    #[test]
    fn every_key_overrides_its_default() {
        let text = r#"
            models = ["code-llama-70b", "relu-llama-70b"]
            formats = ["f32"]
            policies = ["dense", "fixed:0.0"]
            predictor_rank = 512
            context_tokens = 0
            utilisation = 1.0
            usd_per_hour = 2
            dense_accuracy = 0.5
            kappa = 0
        "#;
        let s = Scenario::parse(text, "s.toml").unwrap();
        let names: Vec<_> = s.models.value.iter().map(|m| m.name).collect();
        assert_eq!(names, ["code-llama-70b", "relu-llama-70b"]);
        assert_eq!(s.formats.value, [WeightFormat::F32]);
        assert_eq!(s.policies.value, ["dense", "fixed:0.0"]);
        let sizes = (s.predictor_rank.value, s.context_tokens.value);
        assert_eq!(sizes, (512, 0));
        assert_eq!((s.utilisation.value, s.kappa.value), (1.0, 0.0));
        assert_eq!(s.usd_per_hour.unwrap().value, 2.0);
        assert_eq!(s.dense_accuracy.unwrap().value, 0.5);
        assert_eq!(s.kappa.origin, Origin::assumed("set in s.toml"));
    }

    #[test]
    fn errors_are_one_line_with_file_and_key() {
        let refuse = |text: &str, says: &[&str]| {
            let error = Scenario::parse(text, "s.toml").unwrap_err().to_string();
            assert!(error.starts_with("s.toml") && !error.contains('\n'), "{error}");
            assert!(says.iter().all(|s| error.contains(s)), "{error}");
        };
        refuse("kappa = 1\nprice = 3", &["line 2", "price", "usd_per_hour"]);
        refuse("utilisation = \"half\"", &["line 1", "utilisation"]);
        refuse("kappa = ", &["line 1", "kappa"]);
        refuse("predictor_rank = -3", &["predictor_rank"]);
        refuse("predictor_rank = 0", &["`predictor_rank`", "1 to 16384"]);
        refuse("utilisation = 0.0", &["`utilisation`", "0.001 <= u"]);
        refuse("utilisation = nan", &["`utilisation`", "NaN"]);
        refuse("usd_per_hour = -1", &["`usd_per_hour`"]);
        refuse("dense_accuracy = 53", &["`dense_accuracy`", "0 to 1"]);
        refuse("kappa = inf", &["`kappa`"]);
        refuse("models = [\"gpt\"]", &["`models`", "llama-2-70b"]);
        refuse("formats = [\"q4\"]", &["`formats`", "q8_0"]);
        refuse("formats = []", &["`formats`", "empty"]);
        refuse("policies = [\"dense\", \"dense\"]", &["`policies`", "twice"]);
        let missing = Scenario::read("no/such.toml".as_ref()).unwrap_err();
        assert!(missing.to_string().starts_with("no/such.toml: "));
    }
}
