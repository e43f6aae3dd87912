//! Exact numbers of each thing, recorded in a file that people can read, and what changed since.
//!
//! ```text
//! # what the file holds, and how it is written anew
//! compiler  rustc 1.95.0 (59807616e 2026-04-14)
//! loop                       instructions  stack
//! dot_float::dot_rows<F16>            119      8
//! ```

use std::{collections::BTreeMap, fmt::Write};

use crate::{Failure, Result, output::table};

/// A column of numbers, and which way is worse.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// Its heading: one word.
    pub name: &'static str,
    /// Which way is worse.
    pub worse: Worse,
}

/// Which way a number gets worse, and how far it may go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Worse {
    /// More, by more than that share of what it was.
    More(f64),
    /// Less, by however little.
    Less,
}

/// Numbers of each thing, by name.
pub type Rows = BTreeMap<String, Vec<u64>>;

/// What the baseline file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Baseline {
    /// The compiler that made what was counted.
    pub compiler: String,
    /// A row for each thing.
    pub rows: Rows,
}

/// What became of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// As it was, within what is allowed.
    Same,
    /// Better by more than would be allowed the other way.
    Better,
    /// Worse by more than is allowed.
    Worse,
    /// Not in the baseline.
    New,
    /// In the baseline alone.
    Gone,
}

impl Verdict {
    /// Whether the gate lets it pass.
    pub fn passes(self) -> bool {
        matches!(self, Self::Same | Self::Better)
    }

    fn words(self) -> &'static str {
        match self {
            Self::Same => "ok",
            Self::Better => "better: bless it",
            Self::Worse => "WORSE",
            Self::New => "NEW: bless it",
            Self::Gone => "GONE: bless that",
        }
    }
}

/// One thing, before and after.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What the baseline says.
    pub before: Option<Vec<u64>>,
    /// What was counted now.
    pub after: Option<Vec<u64>>,
    /// What became of it.
    pub verdict: Verdict,
}

const COMPILER: &str = "compiler";

impl Baseline {
    /// Reads a baseline; `name` stands for the file in errors.
    ///
    /// # Errors
    /// Another file, or one of other columns.
    pub fn parse(text: &str, name: &str, columns: &[Column]) -> Result<Self> {
        let mut lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
        let bless = "write it anew with --bless";
        let compiler = lines.next().and_then(|line| line.strip_prefix(COMPILER)).map(|rest| rest.trim().to_owned());
        let compiler = compiler.ok_or_else(|| Failure::input(format!("{name} names no compiler: {bless}")))?;
        let heading: Vec<&str> = lines.next().unwrap_or_default().split_whitespace().skip(1).collect();
        let wanted: Vec<&str> = columns.iter().map(|column| column.name).collect();
        if heading != wanted {
            let (given, wanted) = (heading.join(" "), wanted.join(" "));
            return Err(Failure::input(format!("{name} has the columns `{given}`, wanted `{wanted}`: {bless}")));
        }
        let mut rows = Rows::new();
        for line in lines {
            let mut words = line.split_whitespace();
            let thing = words.next().unwrap_or_default();
            let numbers: std::result::Result<Vec<u64>, _> = words.map(str::parse).collect();
            let numbers = numbers.ok().filter(|numbers| numbers.len() == columns.len());
            let numbers = numbers.ok_or_else(|| {
                Failure::input(format!("{name}: `{line}` is not a name and {} whole numbers: {bless}", columns.len()))
            })?;
            if rows.insert(thing.to_owned(), numbers).is_some() {
                return Err(Failure::input(format!("{name}: {thing} stands there twice: {bless}")));
            }
        }
        Ok(Self { compiler, rows })
    }

    /// The file's text; `comment` says what it holds, `thing` what each row is.
    pub fn text(&self, comment: &str, thing: &str, columns: &[Column]) -> String {
        let mut text = String::new();
        comment.lines().for_each(|line| {
            let _ = writeln!(text, "# {line}");
        });
        let width = self.rows.keys().map(String::len).chain([thing.len()]).max().unwrap_or_default();
        let _ = write!(text, "{COMPILER}  {}\n{thing:width$}", self.compiler);
        columns.iter().for_each(|column| {
            let _ = write!(text, "  {}", column.name);
        });
        for (name, numbers) in &self.rows {
            let _ = write!(text, "\n{name:width$}");
            for (number, column) in numbers.iter().zip(columns) {
                let _ = write!(text, "  {number:>0$}", column.name.len());
            }
        }
        text + "\n"
    }

    /// Every thing that is in the baseline or in `after`.
    pub fn changes(&self, after: &Rows, columns: &[Column]) -> Vec<Change> {
        let mut names: Vec<&String> = self.rows.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        let change = |name: &String| {
            let (before, after) = (self.rows.get(name), after.get(name));
            let verdict = match (before, after) {
                (Some(before), Some(after)) => verdict(before, after, columns),
                (None, _) => Verdict::New,
                (_, None) => Verdict::Gone,
            };
            Change { name: name.clone(), before: before.cloned(), after: after.cloned(), verdict }
        };
        names.into_iter().map(change).collect()
    }
}

fn verdict(before: &[u64], after: &[u64], columns: &[Column]) -> Verdict {
    let mut better = false;
    for ((&before, &after), column) in before.iter().zip(after).zip(columns) {
        let (before, after, allowed) = match column.worse {
            Worse::More(share) => (before as f64, after as f64, share),
            Worse::Less => (after as f64, before as f64, 0.0),
        };
        if after > before * (1.0 + allowed) {
            return Verdict::Worse;
        }
        better |= before > after * (1.0 + allowed);
    }
    if better { Verdict::Better } else { Verdict::Same }
}

/// A table of all changes: each column before and after, and the change of the first one.
pub fn for_people(changes: &[Change], thing: &str, columns: &[Column]) -> String {
    let mut header = vec![thing.to_owned()];
    header.extend(columns.iter().flat_map(|column| [format!("{} before", column.name), "after".to_owned()]));
    header.extend(["change", "verdict"].map(str::to_owned));
    let row = |change: &Change| {
        let number = |numbers: &Option<Vec<u64>>, i: usize| {
            numbers.as_ref().and_then(|n| n.get(i)).map(u64::to_string).unwrap_or_default()
        };
        let mut row = vec![change.name.clone()];
        row.extend((0..columns.len()).flat_map(|i| [number(&change.before, i), number(&change.after, i)]));
        let first = |numbers: &Option<Vec<u64>>| numbers.as_ref().and_then(|n| n.first()).map(|&n| n as f64);
        let share = first(&change.before).zip(first(&change.after)).map(|(before, after)| after / before - 1.0);
        row.push(share.map(|share| format!("{:+.2} %", 100.0 * share)).unwrap_or_default());
        row.push(change.verdict.words().to_owned());
        row
    };
    table(&header.iter().map(String::as_str).collect::<Vec<_>>(), 1, changes.iter().map(row))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const COLUMNS: [Column; 2] =
        [Column { name: "instructions", worse: Worse::More(0.01) }, Column { name: "multiply", worse: Worse::Less }];

    fn verdict_of(before: [u64; 2], after: [u64; 2]) -> Verdict {
        verdict(&before, &after, &COLUMNS)
    }

    #[test]
    fn one_per_cent_more_passes_and_more_than_that_does_not() {
        assert_eq!(verdict_of([1000, 8], [1010, 8]), Verdict::Same);
        assert_eq!(verdict_of([1000, 8], [1011, 8]), Verdict::Worse);
        assert_eq!(verdict_of([1000, 8], [991, 8]), Verdict::Same);
        assert_eq!(verdict_of([1000, 8], [900, 8]), Verdict::Better);
        // Fewer instructions, since the multiplications are gone.
        assert_eq!(verdict_of([1000, 8], [900, 7]), Verdict::Worse);
        assert_eq!(verdict_of([1000, 8], [1000, 9]), Verdict::Better);
        assert_eq!(verdict_of([0, 0], [1, 0]), Verdict::Worse);
    }

    #[test]
    fn what_is_new_or_gone_is_named() {
        let rows = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), vec![1, 1])).collect::<Rows>();
        let baseline = Baseline { compiler: "rustc 1".to_owned(), rows: rows(&["a", "b"]) };
        let found: Vec<_> = baseline.changes(&rows(&["b", "c"]), &COLUMNS).iter().map(|c| c.verdict).collect();
        assert_eq!(found, [Verdict::Gone, Verdict::Same, Verdict::New]);
        assert_eq!(found.iter().filter(|verdict| verdict.passes()).count(), 1);
    }

    #[test]
    fn files_that_are_no_baseline_are_refused() {
        for (text, word) in [
            ("", "no compiler"),
            ("compiler rustc 1\nbench instructions\n", "columns `instructions`, wanted `instructions multiply`"),
            ("compiler rustc 1\nbench instructions multiply\na 1\n", "`a 1` is not a name and 2"),
            ("compiler rustc 1\nbench instructions multiply\na 1 2\na 1 2\n", "a stands there twice"),
        ] {
            let failure = Baseline::parse(text, "ci/x.txt", &COLUMNS).unwrap_err();
            assert!(failure.message.contains(word) && failure.message.contains("ci/x.txt"), "{}", failure.message);
        }
    }

    proptest! {
        #[test]
        fn a_baseline_reads_back(rows in prop::collection::btree_map("[a-z:<>,#0-9/]{1,30}", (any::<u64>(), any::<u64>()), 0..20)) {
            let rows = rows.into_iter().map(|(name, (a, b))| (name, vec![a, b])).filter(|(name, _)| !name.starts_with('#'));
            let baseline = Baseline { compiler: "rustc 1.95.0 (5980 2026)".to_owned(), rows: rows.collect() };
            let text = baseline.text("Two\nlines.", "bench", &COLUMNS);
            prop_assert_eq!(Baseline::parse(&text, "x", &COLUMNS).unwrap(), baseline);
        }
    }
}
