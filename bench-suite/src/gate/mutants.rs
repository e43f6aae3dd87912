//! Faults planted in a copy of the tree, one after the other, and the tests that must fail for each: `ci/mutants.toml`.
//!
//! ```text
//!   working tree ──copy──▶ target/gate/mutants/tree   the tests pass here, else nothing is worth planting
//!                                │ change            it compiles, else it is no fault but nonsense
//!                                ▼ tests             caught: they fail. missed: they pass
//!                           change taken back, next
//! ```

use std::{
    collections::BTreeSet,
    fs,
    path::{Component, Path, PathBuf},
    process::{Command, Output},
};

use serde::Deserialize;

use super::merge_base::{git, root};
use crate::{Failure, Result, measure::progress_bar};

/// A fault to plant.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// What is wrong, and where.
    pub name: String,
    /// What must catch it, in words.
    pub gate: String,
    /// The same as arguments of `cargo test`.
    pub tests: String,
    /// Flags of `/proc/cpuinfo` that a processor needs to run what is changed.
    #[serde(default)]
    pub needs: Vec<String>,
    /// What is changed.
    pub change: Vec<Change>,
}

/// A text that takes the place of another.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The file, from the root of the tree.
    pub file: PathBuf,
    /// A text that it has once.
    pub from: String,
    /// What stands there instead.
    pub to: String,
}

/// What came of a mutant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// Tests failed: their names, or how they ended.
    Caught(String),
    /// All tests passed.
    Missed,
    /// This processor lacks these flags.
    Skipped(Vec<String>),
}

/// Reads a list; `name` stands for it in errors.
///
/// # Errors
/// Not TOML, other fields, a mutant without a change, or a file outside of the tree.
pub fn parse(text: &str, name: &str) -> Result<Vec<Mutant>> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct List {
        mutant: Vec<Mutant>,
    }
    let List { mutant: mutants } = toml::from_str(text).map_err(|e| Failure::input(format!("{name}: {e}")))?;
    for mutant in &mutants {
        let inside = |change: &Change| change.file.components().all(|part| matches!(part, Component::Normal(_)));
        if mutant.change.is_empty() || !mutant.change.iter().all(inside) {
            let wanted = "wanted changes of files of the tree";
            return Err(Failure::input(format!("{name}: `{}`: {wanted}", mutant.name)));
        }
    }
    Ok(mutants)
}

impl Change {
    /// The file's text before and after.
    ///
    /// # Errors
    /// A file that cannot be read, or has the text never or more than once.
    pub fn apply(&self, tree: &Path) -> Result<[String; 2]> {
        let fail = |what: &str| Failure::input(format!("{}: {what}: {}", self.file.display(), self.from));
        let before = fs::read_to_string(tree.join(&self.file)).map_err(|e| fail(&e.to_string()))?;
        match before.matches(&self.from).count() {
            1 => {
                let after = before.replacen(&self.from, &self.to, 1);
                Ok([before, after])
            }
            0 => Err(fail("no longer has this")),
            count => Err(fail(&format!("has this {count} times, wanted once"))),
        }
    }
}

/// A copy of the working tree, to plant faults in.
#[derive(Debug)]
pub struct Copy {
    tree: PathBuf,
    target: PathBuf,
}

impl Copy {
    /// Copies what git knows of the tree, and what it does not know and does not ignore, to `target/gate/mutants`.
    ///
    /// # Errors
    /// No checkout, or a file that cannot be copied.
    pub fn of_working_tree() -> Result<Self> {
        let root = root()?;
        let folder = root.join("target/gate/mutants");
        let copy = Self { tree: folder.join("tree"), target: folder.join("build") };
        if copy.tree.exists() {
            fs::remove_dir_all(&copy.tree)?;
        }
        for file in git(&["ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate"])?.split('\0')
        {
            let from = root.join(file);
            // One that is deleted is still known.
            if !file.is_empty() && from.is_file() {
                let to = copy.tree.join(file);
                fs::create_dir_all(to.parent().unwrap_or(&copy.tree))?;
                fs::copy(&from, &to).map_err(|e| Failure::input(format!("{}: {e}", from.display())))?;
            }
        }
        Ok(copy)
    }

    /// Plants each of `mutants` and runs its tests, one row after the other to `seen`.
    ///
    /// # Errors
    /// Tests that fail before anything is planted; a mutant whose text is gone or that does not compile.
    pub fn run(&self, mutants: &[Mutant], mut seen: impl FnMut(&Mutant, Outcome)) -> Result<()> {
        let mut changed = Vec::new();
        for change in mutants.iter().flat_map(|mutant| &mutant.change) {
            changed.push(change.apply(&self.tree)?);
        }
        let here = |mutant: &&Mutant| lacks(mutant).is_empty();
        let tests: BTreeSet<&str> = mutants.iter().filter(here).map(|mutant| mutant.tests.as_str()).collect();
        let progress = progress_bar((tests.len() + mutants.len()) as u64);
        for tests in tests {
            progress.set_message(format!("nothing planted: {tests}"));
            let output = self.cargo_test(tests, &[])?;
            if !output.status.success() {
                return Err(Failure::short(format!("nothing planted, and yet: {}", last_words(tests, &output))));
            }
            progress.inc(1);
        }
        for mutant in mutants {
            progress.set_message(mutant.name.clone());
            let missing = lacks(mutant);
            let outcome = if missing.is_empty() { self.plant(mutant)? } else { Outcome::Skipped(missing) };
            seen(mutant, outcome);
            progress.inc(1);
        }
        progress.finish_and_clear();
        Ok(())
    }

    fn plant(&self, mutant: &Mutant) -> Result<Outcome> {
        let mut originals = Vec::new();
        for change in &mutant.change {
            let [before, after] = change.apply(&self.tree)?;
            let path = self.tree.join(&change.file);
            fs::write(&path, after)?;
            originals.push((path, before));
        }
        let built = self.cargo_test(&mutant.tests, &["--no-run"])?;
        let ran = if built.status.success() { Some(self.cargo_test(&mutant.tests, &[])?) } else { None };
        // The last change first: two may be of one file.
        for (path, before) in originals.into_iter().rev() {
            fs::write(path, before)?;
        }
        match ran {
            None => Err(Failure::input(format!(
                "`{}` does not compile: {}",
                mutant.name,
                last_words(&mutant.tests, &built)
            ))),
            Some(output) if output.status.success() => Ok(Outcome::Missed),
            Some(output) => Ok(Outcome::Caught(what_failed(&output))),
        }
    }

    fn cargo_test(&self, tests: &str, more: &[&str]) -> Result<Output> {
        Command::new("cargo")
            .arg("test")
            .args(more)
            .args(tests.split_whitespace())
            .current_dir(&self.tree)
            .env("CARGO_TARGET_DIR", &self.target)
            .env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1")
            .output()
            .map_err(|e| Failure::input(format!("`cargo test {tests}`: {e}")))
    }
}

/// Flags that the mutant needs and this processor lacks.
fn lacks(mutant: &Mutant) -> Vec<String> {
    let processor = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let has = |flag: &str| processor.split_whitespace().any(|word| word == flag);
    mutant.needs.iter().filter(|flag| !has(flag)).cloned().collect()
}

/// A test that failed and how many more, or how the program that ran them ended.
fn what_failed(output: &Output) -> String {
    let said = String::from_utf8_lossy(&output.stdout);
    let failed = |line: &str| Some(line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?.to_owned());
    // Tests end in any order.
    let failed: BTreeSet<String> = said.lines().filter_map(failed).collect();
    match failed.first() {
        Some(first) if failed.len() == 1 => return first.clone(),
        Some(first) => return format!("{first} and {} more", failed.len() - 1),
        None => {}
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let signal = |line: &str| Some(format!("signal {}", line.split_once("(signal: ")?.1.trim_end_matches(')')));
    said.lines().rev().find_map(signal).unwrap_or_else(|| output.status.to_string())
}

fn last_words(tests: &str, output: &Output) -> String {
    let said = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat();
    let lines: Vec<&str> = said.lines().collect();
    format!("`cargo test {tests}`\n{}", lines[lines.len().saturating_sub(30)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "[[mutant]]\nname = 'a'\ngate = 'b'\ntests = '-p c'\n\
                        [[mutant.change]]\nfile = 'd/e.rs'\nfrom = 'x'\nto = 'y'\n";

    #[test]
    fn other_fields_and_files_elsewhere_are_refused() {
        assert_eq!(parse(LIST, "m").unwrap()[0].change[0].file, Path::new("d/e.rs"));
        let bad = [("tests", "test"), ("d/e.rs", "/d/e.rs"), ("d/e.rs", "../e.rs"), ("name = 'a'", "")];
        for (from, to) in bad {
            let failure = parse(&LIST.replace(from, to), "m.toml").unwrap_err();
            assert!(failure.message.starts_with("m.toml: "), "{}", failure.message);
        }
        assert!(parse("[[mutant]]\nname='a'\ngate='b'\ntests='c'\nchange=[]", "m").is_err());
    }

    #[test]
    fn a_text_that_is_not_there_once_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("f"), "one two two").unwrap();
        let change = |from: &str| Change { file: "f".into(), from: from.to_owned(), to: "three".to_owned() };
        assert_eq!(change("one").apply(folder.path()).unwrap(), ["one two two", "three two two"]);
        assert!(change("two").apply(folder.path()).unwrap_err().message.contains("2 times"));
        assert!(change("four").apply(folder.path()).unwrap_err().message.contains("no longer"));
    }
}
