//! Fixed bounds for the anchored PER, from a versioned file.

use serde::{Deserialize, Serialize};

use crate::origin::Origin;
use crate::per::Axis;

/// The anchors that this version carries.
const OWN: &str = include_str!("../data/per-anchors.toml");

/// An anchor file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {what}; the layout is that of cost-model/data/per-anchors.toml")]
pub struct AnchorError {
    name: String,
    what: String,
}

/// Fixed bounds of the four axes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bounds {
    /// Name within the file.
    pub name: String,
    /// Where the bounds come from.
    pub origin: Origin,
    /// Tasks that they are for.
    pub tasks: Vec<String>,
    /// (low, high) in the order of [`Axis::ALL`].
    pub axes: [(f64, f64); 4],
}

/// A versioned file of bounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Anchors {
    /// Version of the bounds; belongs beside every anchored value.
    pub version: String,
    sets: Vec<Bounds>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorFile {
    version: String,
    anchors: Vec<AnchorRow>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnchorRow {
    name: String,
    tasks: Vec<String>,
    kind: String,
    note: String,
    accuracy: (f64, f64),
    throughput: (f64, f64),
    latency_ms: (f64, f64),
    memory_mb: (f64, f64),
}

impl Anchors {
    /// The bounds that this version carries.
    ///
    /// # Errors
    /// None in a build that passes its tests.
    pub fn own() -> Result<Self, AnchorError> {
        Self::parse(OWN, "data/per-anchors.toml")
    }

    /// Reads an anchor file; `name` stands for it in errors.
    ///
    /// # Errors
    /// [`AnchorError`]
    pub fn parse(text: &str, name: &str) -> Result<Self, AnchorError> {
        let fail = |what: String| AnchorError { name: name.to_owned(), what };
        let file: AnchorFile = toml::from_str(text).map_err(|e| fail(e.message().replace('\n', "; ")))?;
        let sets = file.anchors.into_iter().map(AnchorRow::bounds);
        let sets: Vec<Bounds> = sets.collect::<Result<_, _>>().map_err(fail)?;
        if !sets.iter().any(|b| b.tasks.is_empty()) {
            return Err(fail("no anchors with empty `tasks`, which serve all others".into()));
        }
        Ok(Self { version: file.version, sets })
    }

    /// The bounds that name this task, else those for all other tasks.
    pub fn for_task(&self, task: &str) -> Option<&Bounds> {
        let named = |b: &&Bounds| b.tasks.iter().any(|t| t == task);
        let general = || self.sets.iter().find(|b| b.tasks.is_empty());
        self.sets.iter().find(named).or_else(general)
    }
}

impl AnchorRow {
    fn bounds(self) -> Result<Bounds, String> {
        let axes = [self.accuracy, self.throughput, self.memory_mb, self.latency_ms];
        for (axis, (low, high)) in Axis::ALL.into_iter().zip(axes) {
            if !(low >= 0.0 && low < high && high.is_finite()) {
                return Err(format!("{} {axis} [{low}, {high}], wanted 0 <= low < high", self.name));
            }
        }
        let origin = match self.kind.as_str() {
            "published" => Origin::published(self.note),
            "assumed" => Origin::assumed(self.note),
            "derived" => Origin::derived(self.note),
            other => {
                return Err(format!("kind `{other}`, wanted published, assumed or derived"));
            }
        };
        Ok(Bounds { name: self.name, origin, tasks: self.tasks, axes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchor_files_are_checked() {
        let own = OWN;
        for (from, to) in [
            ("[0.0, 10.0]", "[10.0, 10.0]"),
            ("tasks = []", "tasks = [\"X\"]"),
            ("kind = \"assumed\"", "kind = \"guessed\""),
            ("memory_mb", "memory_gb"),
        ] {
            assert!(own.contains(from), "{from}");
            let error = Anchors::parse(&own.replace(from, to), "a.toml").unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("a.toml: ") && !text.contains('\n'), "{text}");
        }
    }
}
