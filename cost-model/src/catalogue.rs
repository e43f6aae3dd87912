//! What is known by name of the hardware, models, weight formats and engines that others publish decode speeds of.
//!
//! The tables are data (`data/catalogue.toml`, each line with its source); a user adds to them with a file of the same form.
//! Names are free text in published tables, so an entry lists spellings, and the longest that fits a text is meant
//! ([`spelling`]).

pub mod spelling;

use serde::Deserialize;

use self::spelling::Text;

/// The catalogue that this version carries.
const OWN: &str = include_str!("../data/catalogue.toml");

/// A catalogue that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}; the layout is that of cost-model/data/catalogue.toml")]
pub struct CatalogueError {
    name: String,
    what: String,
}

/// Where a device computes and where its memory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A card with memory of its own.
    Gpu,
    /// A GPU that shares the processor's memory.
    Unified,
    /// A processor.
    Cpu,
}

/// Technology of a device's memory, as far as it decides which share of its bandwidth can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// Stacked memory of data centre cards.
    Hbm,
    /// Graphics memory.
    Gddr,
    /// LPDDR on wide buses, shared with the processor.
    Unified,
    /// Main memory of a processor.
    Ddr,
}

/// What connects devices of one machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Link {
    /// A direct link between GPUs, whoever makes it.
    NvLink,
    /// The host's bus.
    #[default]
    Pcie,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hardware {
    /// Name; rows that resolve to the same one are of the same device.
    pub name: String,
    #[serde(rename = "match")]
    spellings: Vec<String>,
    /// What it is.
    pub kind: DeviceKind,
    /// Its memory.
    pub memory: Memory,
    /// Memory bandwidth by its specification, 1e9 bytes/s; `None` where the name does not decide it.
    pub gb_per_s: Option<f64>,
    /// Memory, 1e9 bytes; `None` where the name does not decide it.
    pub memory_gb: Option<f64>,
    /// Streaming multiprocessors, compute units, GPU cores or processor cores.
    pub units: Option<f64>,
    /// Clock of those, 1e9/s.
    pub ghz: Option<f64>,
    /// Width of a processor's vectors.
    pub simd_bits: Option<f64>,
    /// Dense 16-bit matrix peak, 1e12 operations/s.
    pub tflops: Option<f64>,
    /// Between several of them.
    #[serde(default)]
    pub link: Link,
    /// `S`: read in `source`; `M`: from memory of it.
    pub tag: String,
    /// Where the figures are from.
    pub source: String,
}

impl Hardware {
    /// A GPU of which nothing else is known.
    pub fn nameless(memory: Memory) -> Self {
        Self {
            name: "a GPU".into(),
            spellings: Vec::new(),
            kind: DeviceKind::Gpu,
            memory,
            gb_per_s: None,
            memory_gb: None,
            units: None,
            ghz: None,
            simd_bits: None,
            tflops: None,
            link: Link::Pcie,
            tag: String::new(),
            source: String::new(),
        }
    }

    /// Whether AMD makes it, and it is a GPU: its compute units are not NVIDIA's multiprocessors.
    pub fn is_amd_gpu(&self) -> bool {
        self.kind != DeviceKind::Cpu && self.source.starts_with("AMD")
    }
}

/// A machine whose GPU and processor share the work.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct System {
    /// Name.
    pub name: String,
    #[serde(rename = "match")]
    spellings: Vec<String>,
    /// Name of a [`Hardware`].
    pub gpu: String,
    /// Name of a [`Hardware`].
    pub cpu: String,
    /// The processor's bandwidth in this machine.
    pub cpu_gb_per_s: Option<f64>,
    /// `S` or `M`.
    pub tag: String,
    /// Where the figures are from.
    pub source: String,
}

/// Shape of a decoder, and how sparse its FFN was found to be.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Name.
    pub name: String,
    #[serde(rename = "match")]
    spellings: Vec<String>,
    /// Decoder layers.
    pub layers: u32,
    /// Width of the residual stream.
    pub hidden: u32,
    /// Neurons per FFN (of one expert).
    pub intermediate: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Width of a head; else `hidden / heads`.
    pub head_dim: Option<u32>,
    /// Vocabulary.
    pub vocab: u32,
    /// Three FFN matrices (gate, up, down), else two.
    pub gated: bool,
    /// Experts per FFN.
    pub experts: Option<u32>,
    /// Experts that a token goes through.
    pub active_experts: Option<u32>,
    /// Share of FFN neurons that stay silent.
    pub sparsity: Option<f64>,
    /// Share of a layer's neurons that make 80 % of its activations.
    pub hot_share: Option<f64>,
    /// Weights of activation predictors over those of the model.
    pub predictor_share: Option<f64>,
    /// `S` or `M`.
    pub tag: String,
    /// Where the figures are from.
    pub source: String,
}

impl Shape {
    fn head_width(&self) -> f64 {
        f64::from(self.head_dim.unwrap_or(self.hidden / self.heads.max(1)))
    }

    /// FFN matrices per layer.
    pub fn ffn_matrices(&self) -> f64 {
        if self.gated { 3.0 } else { 2.0 }
    }

    /// Weights of q, k, v and o over all layers.
    pub fn attention_weights(&self) -> f64 {
        let heads = 2.0 * f64::from(self.heads) + 2.0 * f64::from(self.kv_heads);
        f64::from(self.layers) * f64::from(self.hidden) * heads * self.head_width()
    }

    /// FFN weights that one token can read, over all layers.
    pub fn ffn_weights(&self) -> f64 {
        self.one_ffn() * f64::from(self.active_experts.unwrap_or(1))
    }

    /// FFN weights that memory must hold, over all layers.
    pub fn stored_ffn_weights(&self) -> f64 {
        self.one_ffn() * f64::from(self.experts.unwrap_or(1))
    }

    fn one_ffn(&self) -> f64 {
        f64::from(self.layers) * self.ffn_matrices() * f64::from(self.hidden) * f64::from(self.intermediate)
    }

    /// Weights of the LM head.
    pub fn head_weights(&self) -> f64 {
        f64::from(self.hidden) * f64::from(self.vocab)
    }

    /// Keys and values that a token adds, over all layers.
    pub fn kv_values_per_token(&self) -> f64 {
        f64::from(self.layers) * 2.0 * f64::from(self.kv_heads) * self.head_width()
    }

    /// A shape of about as many weights and as many layers, of which nothing is known to be sparse.
    #[must_use]
    pub fn scaled_to(&self, weights: f64) -> Self {
        let width = (weights / self.weights()).sqrt();
        let scaled = |size: u32| (f64::from(size) * width).round().max(1.0) as u32;
        Self {
            hidden: scaled(self.hidden),
            intermediate: scaled(self.intermediate),
            head_dim: Some((self.head_width() * width).round().max(1.0) as u32),
            sparsity: None,
            hot_share: None,
            predictor_share: None,
            ..self.clone()
        }
    }

    /// Weights with head and embeddings.
    pub fn weights(&self) -> f64 {
        self.attention_weights() + self.stored_ffn_weights() + 2.0 * self.head_weights()
    }
}

/// How stored weights become numbers, by which the compute per byte differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kernel {
    /// Formats that the hardware computes with: 32, 16 and 8 bits.
    Float,
    /// 8-bit integers with scales.
    Byte,
    /// About 4 bits, one scale per group.
    Nibble,
    /// ggml's K and IQ formats: scales of scales.
    Superblock,
}

/// A weight format.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quant {
    /// Name.
    pub name: String,
    #[serde(rename = "match")]
    spellings: Vec<String>,
    /// Bits per weight of the layers, scales included.
    pub bits: f64,
    /// Bits per weight of the LM head.
    pub head_bits: f64,
    /// How it is computed with.
    pub kernel: Kernel,
    /// Matrix operations per second over those in 16 bits.
    pub matrix_rate: Option<f64>,
    /// Where the bits are from.
    pub source: String,
}

impl Quant {
    /// A format that is only known by its bits per weight.
    pub fn of_bits(name: String, bits: f64) -> Self {
        let kernel = match bits {
            b if b >= 16.0 => Kernel::Float,
            b if b >= 8.0 => Kernel::Byte,
            _ => Kernel::Nibble,
        };
        let source = "bits per weight as the row gives them".to_owned();
        Self { name, spellings: Vec::new(), bits, head_bits: bits.max(6.0), kernel, matrix_rate: None, source }
    }
}

/// How an engine runs a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EngineClass {
    /// llama.cpp's kernels, launched one by one.
    Ggml,
    /// Whole steps compiled or captured.
    Graph,
    /// Kernels launched one by one from Python.
    Eager,
    /// Apple's own kernels.
    Metal,
    /// llama.cpp's kernels over the neurons that fire, the frequent ones on the GPU.
    HotCold,
}

impl EngineClass {
    /// Every class.
    pub const ALL: [Self; 5] = [Self::Ggml, Self::Graph, Self::Eager, Self::Metal, Self::HotCold];

    /// Its name in tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ggml => "ggml",
            Self::Graph => "graph",
            Self::Eager => "eager",
            Self::Metal => "metal",
            Self::HotCold => "hot_cold",
        }
    }
}

/// What several devices divide among them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Layers: one device after the other.
    Layers,
    /// Every matrix: all at once, with a reduction per matrix pair.
    Tensor,
}

/// An engine.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Engine {
    /// Name.
    pub name: String,
    #[serde(rename = "match")]
    spellings: Vec<String>,
    /// How it runs a step.
    pub class: EngineClass,
    /// How it uses several devices.
    pub split: Split,
    /// Whether tokens go through a scheduler and a server.
    #[serde(default)]
    pub serving: bool,
}

/// Everything that is known by name.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Catalogue {
    /// Devices.
    pub hardware: Vec<Hardware>,
    /// Machines whose processor computes too.
    pub system: Vec<System>,
    /// Model shapes.
    pub model: Vec<Shape>,
    /// Weight formats.
    pub quant: Vec<Quant>,
    /// Engines.
    pub engine: Vec<Engine>,
}

trait Entry {
    fn spellings(&self) -> &[String];
    /// Entries that say more come before those that say less, however long their spellings.
    fn precedence(&self) -> bool {
        true
    }
}

macro_rules! entry {
    ($($kind:ty),*) => { $(impl Entry for $kind { fn spellings(&self) -> &[String] { &self.spellings } })* };
}
entry!(System, Shape, Quant, Engine);

impl Entry for Hardware {
    fn spellings(&self) -> &[String] {
        &self.spellings
    }

    fn precedence(&self) -> bool {
        self.gb_per_s.is_some()
    }
}

/// The entry with the longest spelling that fits, the first of equals.
fn best<'a, E: Entry>(entries: impl Iterator<Item = &'a E>, text: &Text) -> Option<&'a E> {
    let mut best: Option<(&E, (bool, usize))> = None;
    for entry in entries {
        let longest = entry.spellings().iter().filter_map(|s| text.fit(s)).max();
        let Some(rank) = longest.map(|length| (entry.precedence(), length)) else { continue };
        if best.is_none_or(|(_, so_far)| rank > so_far) {
            best = Some((entry, rank));
        }
    }
    best.map(|(entry, _)| entry)
}

impl Catalogue {
    /// The catalogue that this version carries.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn own() -> Result<Self, CatalogueError> {
        Self::parse(OWN, "data/catalogue.toml")
    }

    /// This catalogue with another in front of it: what the other names comes first. `name` stands for it in errors.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub fn extended(self, text: &str, name: &str) -> Result<Self, CatalogueError> {
        let mut all = Self::read(text, name)?;
        all.hardware.extend(self.hardware);
        all.system.extend(self.system);
        all.model.extend(self.model);
        all.quant.extend(self.quant);
        all.engine.extend(self.engine);
        all.check(name)?;
        Ok(all)
    }

    /// Reads a catalogue that stands alone; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`CatalogueError`]
    pub fn parse(text: &str, name: &str) -> Result<Self, CatalogueError> {
        let all = Self::read(text, name)?;
        all.check(name)?;
        Ok(all)
    }

    fn read(text: &str, name: &str) -> Result<Self, CatalogueError> {
        toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
            let what = format!("line {line}: {}", e.message().replace('\n', "; "));
            CatalogueError { name: name.to_owned(), what }
        })
    }

    /// Figures are positive, shares are shares, names that are referred to exist.
    fn check(&self, name: &str) -> Result<(), CatalogueError> {
        let fail = |what: String| Err(CatalogueError { name: name.to_owned(), what });
        let positive = |v: f64| v.is_finite() && v > 0.0;
        for h in &self.hardware {
            let figures = [h.gb_per_s, h.memory_gb, h.units, h.ghz, h.simd_bits, h.tflops];
            if figures.into_iter().flatten().any(|v| !positive(v)) {
                return fail(format!("hardware `{}` has a figure that is not above 0", h.name));
            }
        }
        for s in &self.system {
            let known = |wanted: &str| self.hardware.iter().any(|h| h.name == wanted);
            if !known(&s.gpu) || !known(&s.cpu) || s.cpu_gb_per_s.is_some_and(|v| !positive(v)) {
                return fail(format!("system `{}` wants a gpu and a cpu out of `hardware`, bandwidth above 0", s.name));
            }
        }
        for m in &self.model {
            let sizes = [m.layers, m.hidden, m.intermediate, m.heads, m.kv_heads, m.vocab];
            let widths = [m.head_dim, m.experts, m.active_experts].into_iter().flatten();
            let shares = [m.sparsity, m.hot_share, m.predictor_share].into_iter().flatten();
            if sizes.into_iter().chain(widths).any(|n| n == 0) || m.heads > m.hidden && m.head_dim.is_none() {
                return fail(format!("model `{}` has a size of 0", m.name));
            }
            if shares.into_iter().any(|s| !(0.0..1.0).contains(&s)) || m.hot_share == Some(0.0) {
                return fail(format!("model `{}` has a share that is not between 0 and 1", m.name));
            }
        }
        let figures = |q: &Quant| [q.bits, q.head_bits, q.matrix_rate.unwrap_or(1.0)];
        if let Some(q) = self.quant.iter().find(|q| figures(q).into_iter().any(|v| !positive(v))) {
            return fail(format!("quant `{}` has a figure that is not above 0", q.name));
        }
        Ok(())
    }

    /// The device of that name.
    pub fn named(&self, name: &str) -> Option<&Hardware> {
        self.hardware.iter().find(|h| h.name == name)
    }

    /// The GPU, with or without memory of its own, that a text speaks of.
    pub fn gpu(&self, text: &str) -> Option<&Hardware> {
        best(self.hardware.iter().filter(|h| h.kind != DeviceKind::Cpu), &Text::new(text))
    }

    /// The processor that a text speaks of.
    pub fn cpu(&self, text: &str) -> Option<&Hardware> {
        best(self.hardware.iter().filter(|h| h.kind == DeviceKind::Cpu), &Text::new(text))
    }

    /// The machine of GPU and processor that a text speaks of.
    pub fn system(&self, text: &str) -> Option<&System> {
        best(self.system.iter(), &Text::new(text))
    }

    /// The model that a text speaks of.
    pub fn model(&self, text: &str) -> Option<&Shape> {
        best(self.model.iter(), &Text::new(text))
    }

    /// The weight format that a text speaks of: bits per weight if it gives them, else by name.
    pub fn quant(&self, text: &str) -> Option<Quant> {
        let given = spelling::number_before(text, &["bpw"]).filter(|bits| (1.0..=64.0).contains(bits));
        given
            .map(|bits| Quant::of_bits(text.trim().to_owned(), bits))
            .or_else(|| best(self.quant.iter(), &Text::new(text)).cloned())
    }

    /// The engine that a text speaks of.
    pub fn engine(&self, text: &str) -> Option<&Engine> {
        best(self.engine.iter(), &Text::new(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_of_the_wild_are_known() {
        let own = Catalogue::own().unwrap();
        for (text, name) in [
            ("A100-SXM4-80GB", "A100 SXM 80GB"),
            ("NVIDIA A100 PCIe 80G", "A100 PCIe 80GB"),
            ("A100 40GB", "A100 40GB"),
            ("4x L40S", "L40S"),
            ("NVIDIA L40", "L40"),
            ("GeForce RTX4090", "RTX 4090"),
            ("2080Ti", "RTX 2080 Ti"),
            ("Mac Studio M2 Ultra 192G", "M2 Ultra"),
            ("MacBook Pro", "Mac"),
            ("RTX A6000", "RTX A6000"),
            ("RTX 6000 Ada", "RTX 6000 Ada"),
            ("AMD Ryzen AI Max+ 395", "Strix Halo (Ryzen AI Max+ 395)"),
            ("A10G", "A10G"),
            ("A10", "A10"),
        ] {
            assert_eq!(own.gpu(text).map(|h| h.name.as_str()), Some(name), "{text}");
        }
        assert_eq!(own.gpu("Frobnicator 9000"), None);
        assert_eq!(own.gpu("A1000"), None);
        assert!(own.cpu("AMD EPYC 9554").unwrap().gb_per_s.is_some());
        assert_eq!(own.cpu("Xeon Gold 6430").unwrap().gb_per_s, None);
        for (text, name) in [
            ("LLaMA2(ReGLU)-70B", "ReluLLaMA-70B"),
            ("Llama-2-70B", "Llama-2-70B"),
            ("Meta-Llama-3.1-70B-Instruct", "Llama-3-70B"),
            ("Falcon(ReLU)-40B", "Falcon-40B"),
            ("OPT-175B", "OPT-175B"),
            ("CodeLlama-34B", "Code Llama 34B"),
            ("Qwen2.5-72B-Instruct", "Qwen2.5-72B"),
        ] {
            assert_eq!(own.model(text).map(|m| m.name.as_str()), Some(name), "{text}");
        }
        for (text, bits) in [
            ("Q4_K_M", 4.8),
            ("Q4_K - Medium", 4.8),
            ("ollama default Q4", 4.8),
            ("bf16", 16.0),
            ("FP8", 8.0),
            ("int8", 8.0),
            ("Q8_0", 8.5),
            ("AWQ INT4 g128", 4.16),
            ("int4 (G=32)", 5.0),
            ("EXL2 2.5 bpw", 2.5),
            ("EXL2 4.65bpw", 4.65),
            ("INT4", 4.5),
        ] {
            assert_eq!(own.quant(text).map(|q| q.bits), Some(bits), "{text}");
        }
        assert_eq!(own.quant("who knows"), None);
        assert_eq!(own.engine("NVIDIA NIM 1.8").unwrap().name, "TensorRT-LLM");
        assert_eq!(own.engine("vLLM 0.2 (no CUDA graphs)").unwrap().class, EngineClass::Eager);
        assert_eq!(own.engine("vLLM v0.6.2").unwrap().class, EngineClass::Graph);
    }

    /// 4.8 bits per weight give the file sizes that were published.
    #[test]
    fn q4_k_m_has_the_published_size() {
        let own = Catalogue::own().unwrap();
        let (model, quant) = (own.model("Llama-3-70B").unwrap(), own.quant("Q4_K_M").unwrap());
        let layers = (model.attention_weights() + model.ffn_weights()) * quant.bits / 8.0;
        let file = layers + model.head_weights() * (quant.head_bits + 4.5) / 8.0;
        assert!((file / (39.59 * f64::from(1 << 30)) - 1.0).abs() < 2e-3, "{file}");
    }

    #[test]
    fn a_file_of_the_user_comes_first() {
        let mine = "hardware = [{ name = \"Mine\", match = [\"4090\"], kind = \"gpu\", memory = \"gddr\", gb_per_s = 1.0, \
                    tag = \"S\", source = \"me\" }]";
        let all = Catalogue::own().unwrap().extended(mine, "mine.toml").unwrap();
        assert_eq!(all.gpu("RTX 4090").unwrap().name, "Mine");
        assert_eq!(all.gpu("RTX 4090 Laptop").unwrap().name, "RTX 4090 Laptop");
        for (text, part) in [
            ("nonsense", "line 1"),
            ("\nhardware = 3", "line 2"),
            (&mine.replace("1.0", "-1.0"), "above 0"),
            (
                "system = [{ name = \"x\", match = [], gpu = \"no\", cpu = \"no\", tag = \"S\", source = \"\" }]",
                "system `x`",
            ),
        ] {
            let error = Catalogue::own().unwrap().extended(text, "mine.toml").unwrap_err().to_string();
            assert!(error.starts_with("mine.toml: ") && error.contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_looked_up(text in "\\PC{0,60}") {
            let own = Catalogue::own().unwrap();
            let _ = (own.gpu(&text), own.cpu(&text), own.model(&text), own.quant(&text), own.engine(&text));
            let _ = own.extended(&text, "x");
        }
    }
}
