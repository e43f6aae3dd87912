//! The measurement record: what one machine measured, as JSON that travels to another machine.

use std::fmt;
use std::path::Path;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::atomic::write_atomically;
use crate::estimate::Estimate;
use crate::format::WeightFormat;
use crate::machine::Machine;
use crate::operator::Operator;
use crate::origin::Origin;

/// Version of the record format that this build reads and writes.
pub const SCHEMA: &str = "thresher-record/1";

/// Everything measured on one machine by one build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "Thresher measurement record")]
pub struct Record {
    /// Version of the format.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: String,
    /// Where it was measured.
    pub machine: Machine,
    /// By what, and when.
    pub provenance: Provenance,
    /// Read bandwidth of main memory, or of the GPU's own.
    pub bandwidth: Vec<Bandwidth>,
    /// Bandwidth of a copy within a GPU's memory, bytes read plus bytes written: what others call the bandwidth of a GPU.
    /// A kernel that only reads is faster, so the roof is `bandwidth`. Absent for a processor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy_bandwidth: Option<Estimate>,
    /// Share of the weights that lay on huge pages while they were read; absent where the system does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub huge_page_share: Option<f64>,
    /// Power while the FFN runs again and again, dense and sparse in turn; absent where no counter of energy could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power: Option<Power>,
    /// Operators.
    pub measurements: Vec<Measurement>,
}

/// Which build measured, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// Version of the program.
    pub thresher: String,
    /// Git commit; `unknown` outside a checkout.
    pub commit: String,
    /// Whether the checkout had uncommitted changes.
    pub dirty: bool,
    /// When, RFC 3339.
    pub date: Timestamp,
    /// The command line that repeats it.
    pub command: String,
}

/// Read bandwidth of memory, over buffers far larger than the caches.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Threads that read; 1 for a GPU.
    pub threads: usize,
    /// Bytes per second of all of them together.
    pub bytes_per_s: Estimate,
}

/// Power of a part of the machine at work.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Power {
    /// Watts, over windows of some tenths of a second.
    pub watts: Estimate,
    /// What they are of: a counter does not see the whole machine, but it sees whatever else runs on what it covers.
    pub covers: Covers,
}

/// What a counter of energy covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Covers {
    /// The board of the GPU, its memory included.
    Gpu,
    /// The packages of all processors, without memory.
    Package,
}

/// One operator, timed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// What was computed.
    pub operator: Operator,
    /// Name of the kernel that ran, such as `gate_up/avx512/f16`.
    pub kernel: String,
    /// Instruction set: one of the machine's, or `cuda`.
    pub isa: String,
    /// Weight format.
    pub format: WeightFormat,
    /// Neurons or outputs.
    pub rows: usize,
    /// Length of the vector that each row meets.
    pub cols: usize,
    /// Share of rows computed; 1 for predictor and select, which read all they are given.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub density: f64,
    /// Threads; 1 for a GPU.
    pub threads: usize,
    /// Bytes touched by one call.
    pub bytes: u64,
    /// Time of one call.
    pub seconds: Estimate,
    /// Time over the bandwidth limit, both taken in the same round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<Estimate>,
    /// For select: the policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// For predictor and ffn_predicted: the rank of the predictor.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank: Option<usize>,
    /// For a batch: its tokens. `density` is that of each of them, `bytes` those of the rows that any of them names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2))]
    pub tokens: Option<usize>,
}

/// What makes a measurement a different one; its `Display` names it in errors.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    operator: Operator,
    kernel: String,
    isa: String,
    format: WeightFormat,
    shape: (usize, usize),
    density_bits: u64,
    threads: usize,
    policy: Option<String>,
    rank: Option<usize>,
    tokens: Option<usize>,
}

impl Measurement {
    /// Its identity within a machine.
    pub fn key(&self) -> Key {
        Key {
            operator: self.operator,
            kernel: self.kernel.clone(),
            isa: self.isa.clone(),
            format: self.format,
            shape: (self.rows, self.cols),
            density_bits: self.density.to_bits(),
            threads: self.threads,
            policy: self.policy.clone(),
            rank: self.rank,
            tokens: self.tokens,
        }
    }

    /// Bytes of weights or scores by shape, whatever else `bytes` counts.
    pub(crate) fn weight_bytes(&self) -> u64 {
        let shape = (self.rows, self.cols);
        self.operator.weight_bytes(self.format, shape, self.density, self.rank.unwrap_or(0))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rows, cols) = self.shape;
        write!(
            f,
            "{} {rows}x{cols} density {} threads {}",
            self.kernel,
            f64::from_bits(self.density_bits),
            self.threads
        )?;
        if let Some(policy) = &self.policy {
            write!(f, " policy {policy}")?;
        }
        if let Some(rank) = self.rank {
            write!(f, " rank {rank}")?;
        }
        if let Some(tokens) = self.tokens {
            write!(f, " tokens {tokens}")?;
        }
        Ok(())
    }
}

/// Why a record is refused. Each message names the file, the thing and the remedy.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// No such file.
    #[error("{name}: no such record; write one with `thresher measure --out {name}`")]
    Missing {
        /// The file.
        name: String,
    },
    /// The file system refused.
    #[error("{name}: {source}; check the path and its permissions")]
    Io {
        /// The file.
        name: String,
        /// What it said.
        source: std::io::Error,
    },
    /// The JSON stops early.
    #[error("{name}: truncated at line {line}; copy the whole file again")]
    Truncated {
        /// The file.
        name: String,
        /// Where it stops.
        line: usize,
    },
    /// Another version of the format.
    #[error("{name}: schema `{found}`, this build reads `{SCHEMA}`; measure again with this build")]
    Schema {
        /// The file.
        name: String,
        /// Its schema.
        found: String,
    },
    /// Not JSON, or not these fields.
    #[error("{name}: {what}; mend the field or measure again")]
    Malformed {
        /// The file.
        name: String,
        /// What the JSON reader said.
        what: String,
    },
    /// A field holds what it must not.
    #[error("{name}: {thing} {fault}; remove it or measure it again")]
    Invalid {
        /// The file.
        name: String,
        /// Which field or measurement.
        thing: String,
        /// What is wrong.
        fault: String,
    },
    /// The same thing twice.
    #[error("{name}: {thing} appears twice; keep one")]
    Duplicate {
        /// The file.
        name: String,
        /// What.
        thing: String,
    },
    /// Faster than memory can deliver.
    #[error(
        "{name}: {thing} took at most {seconds:.3e} s, but {bytes} bytes need {floor:.3e} s \
         at the machine's own bandwidth; measure it again over buffers larger than the cache"
    )]
    BeatsRoof {
        /// The file.
        name: String,
        /// Which measurement.
        thing: String,
        /// Upper end of its time.
        seconds: f64,
        /// Bytes touched.
        bytes: u64,
        /// The least time that the bandwidth allows.
        floor: f64,
    },
    /// Two builds measured the same machine.
    #[error("machine {machine} has records from commits {first} and {second}; measure with one build")]
    MixedCommits {
        /// Fingerprint.
        machine: String,
        /// One commit.
        first: String,
        /// The other.
        second: String,
    },
}

#[derive(Deserialize)]
struct SchemaOnly {
    schema: Option<String>,
}

impl Record {
    /// An empty record of this machine.
    pub fn new(machine: Machine, provenance: Provenance) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            machine,
            provenance,
            bandwidth: Vec::new(),
            copy_bandwidth: None,
            huge_page_share: None,
            power: None,
            measurements: Vec::new(),
        }
    }

    /// Reads and checks a record file.
    ///
    /// # Errors
    /// Any [`RecordError`] but [`RecordError::MixedCommits`].
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        let name = path.display().to_string();
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, &name),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(RecordError::Missing { name }),
            Err(source) => Err(RecordError::Io { name, source }),
        }
    }

    /// Reads and checks a record; `name` stands for it in errors.
    ///
    /// # Errors
    /// As [`Record::read`], without those of the file system.
    pub fn parse(text: &str, name: &str) -> Result<Self, RecordError> {
        let text = text.trim_start_matches('\u{feff}');
        // The schema first: a record of another version would fail on fields that are right there.
        let only: SchemaOnly = from_json(text, name)?;
        match only.schema {
            Some(found) if found == SCHEMA => {}
            found => {
                return Err(RecordError::Schema {
                    name: name.to_owned(),
                    found: found.unwrap_or_else(|| "none".to_owned()),
                });
            }
        }
        let record: Self = from_json(text, name)?;
        record.check(name)?;
        Ok(record)
    }

    /// Checks, then writes the record whole or not at all.
    ///
    /// # Errors
    /// [`RecordError::Io`], or whatever reading it back would refuse.
    pub fn write(&self, path: &Path) -> Result<(), RecordError> {
        let name = path.display().to_string();
        self.check(&name)?;
        let json = self.json().map_err(|e| RecordError::Malformed { name: name.clone(), what: e.to_string() })?;
        write_atomically(path, json.as_bytes()).map_err(|source| RecordError::Io { name, source })
    }

    /// The JSON Schema of records, as published in `cost-model/data/record.schema.json`, with a newline at its end.
    ///
    /// It says what fields there are and what they hold. What holds between them (ends of intervals in order, nothing
    /// twice, nothing faster than memory), [`Record::parse`] alone checks.
    ///
    /// # Errors
    /// None in practice: a schema serialises.
    pub fn json_schema() -> serde_json::Result<String> {
        serde_json::to_string_pretty(&schemars::schema_for!(Self)).map(|json| json + "\n")
    }

    /// The record as JSON, with a newline at its end.
    ///
    /// # Errors
    /// None in practice: every field serialises.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(self).map(|json| json + "\n")
    }

    /// One record per machine out of any number.
    ///
    /// Records of one machine must come from one commit; they are joined, and of two bandwidths at
    /// the same thread count the faster stays, being the better roof, of two shares of huge pages the smaller, and of two
    /// powers the larger.
    ///
    /// # Errors
    /// [`RecordError::MixedCommits`]; [`RecordError::Duplicate`] when two records of one machine
    /// hold the same measurement.
    pub fn merge(records: impl IntoIterator<Item = Self>) -> Result<Vec<Self>, RecordError> {
        let mut merged: Vec<Self> = Vec::new();
        for record in records {
            let same = |own: &&mut Self| own.machine.fingerprint == record.machine.fingerprint;
            match merged.iter_mut().find(same) {
                Some(own) => own.absorb(record)?,
                None => merged.push(record),
            }
        }
        for record in &merged {
            record.check(&format!("machine {}", record.machine.fingerprint))?;
        }
        Ok(merged)
    }

    fn absorb(&mut self, other: Self) -> Result<(), RecordError> {
        if self.provenance.commit != other.provenance.commit {
            return Err(RecordError::MixedCommits {
                machine: other.machine.fingerprint,
                first: self.provenance.commit.clone(),
                second: other.provenance.commit,
            });
        }
        self.provenance.date = self.provenance.date.max(other.provenance.date);
        self.provenance.dirty |= other.provenance.dirty;
        self.provenance.command += " ; ";
        self.provenance.command += &other.provenance.command;
        for new in other.bandwidth {
            match self.bandwidth.iter_mut().find(|b| b.threads == new.threads) {
                Some(own) if own.bytes_per_s.median < new.bytes_per_s.median => *own = new,
                Some(_) => {}
                None => self.bandwidth.push(new),
            }
        }
        let copies = [self.copy_bandwidth, other.copy_bandwidth];
        self.copy_bandwidth = copies.into_iter().flatten().reduce(|a, b| if a.median < b.median { b } else { a });
        let shares = [self.huge_page_share, other.huge_page_share];
        self.huge_page_share = shares.into_iter().flatten().reduce(f64::min);
        let powers = [self.power, other.power];
        self.power = powers.into_iter().flatten().reduce(|a, b| if a.watts.median < b.watts.median { b } else { a });
        self.measurements.extend(other.measurements);
        Ok(())
    }

    /// Read bandwidth at that thread count.
    pub fn bandwidth_at(&self, threads: usize) -> Option<&Estimate> {
        self.bandwidth.iter().find(|b| b.threads == threads).map(|b| &b.bytes_per_s)
    }

    /// Origin of a number that this record measured with that many samples.
    pub fn origin(&self, samples: u64) -> Origin {
        self.provenance.origin(&self.machine, samples)
    }
}

impl Provenance {
    /// Origin of a number that this build measured on `machine` with that many samples.
    pub(crate) fn origin(&self, machine: &Machine, samples: u64) -> Origin {
        let Self { commit, dirty, date, .. } = self;
        Origin::Measured {
            machine: machine.fingerprint.clone(),
            commit: format!("{commit}{}", if *dirty { "-dirty" } else { "" }),
            date: date.to_string(),
            samples,
        }
    }
}

fn from_json<'a, T: Deserialize<'a>>(text: &'a str, name: &str) -> Result<T, RecordError> {
    serde_json::from_str(text).map_err(|e| {
        let name = name.to_owned();
        if e.is_eof() {
            RecordError::Truncated { name, line: e.line() }
        } else {
            RecordError::Malformed { name, what: e.to_string() }
        }
    })
}
