//! The commit that a change begins at: what changed since, and its build.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::{Failure, Result};

/// Where a change begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeBase {
    /// Its commit.
    pub commit: String,
    /// Crates of the workspace in which something has changed since, committed or not.
    pub crates: Vec<String>,
}

const CRATES: [&str; 6] = ["kernels-cpu", "kernels-cuda", "predictor", "threshold", "cost-model", "bench-suite"];
/// What changes every crate.
const SHARED: [&str; 4] = ["Cargo.toml", "Cargo.lock", "rust-toolchain.toml", ".cargo/config.toml"];
/// The other branch, where none is named: the first that there is.
const BRANCHES: [&str; 4] = ["origin/main", "main", "origin/master", "master"];

impl MergeBase {
    /// The merge base of the working tree and `with`, or the main branch.
    ///
    /// # Errors
    /// No git, no checkout, or no such branch.
    pub fn with(with: Option<&str>) -> Result<Self> {
        let named = with.map(|with| vec![with]).unwrap_or_else(|| BRANCHES.to_vec());
        let commit = named.iter().find_map(|with| git(&["merge-base", "HEAD", with]).ok());
        let commit = commit.ok_or_else(|| {
            Failure::input(format!("no merge base with {}: name a branch or commit with --base", named.join(", ")))
        })?;
        let commit = commit.trim().to_owned();
        let changed = git(&["diff", "--name-only", &commit])? + &git(&["ls-files", "--others", "--exclude-standard"])?;
        Ok(Self { crates: crates_of(changed.lines()), commit })
    }

    /// Builds the program of that commit in `target/gate`; gives its path.
    ///
    /// # Errors
    /// It cannot be checked out or built.
    pub fn build(&self) -> Result<PathBuf> {
        let root = root()?;
        let (tree, target) = (root.join("target/gate/base"), root.join("target/gate/build"));
        let tree_name = tree.display().to_string();
        // A worktree that was deleted by hand is still registered.
        git(&["worktree", "prune"])?;
        if tree.join(".git").exists() {
            git(&["-C", &tree_name, "checkout", "--quiet", "--detach", "--force", &self.commit])?;
        } else {
            git(&["worktree", "add", "--quiet", "--detach", &tree_name, &self.commit])?;
        }
        cargo(
            &["build", "--release", "--quiet", "-p", "bench-suite", "--target-dir", &target.display().to_string()],
            &tree,
        )?;
        Ok(target.join("release/thresher"))
    }
}

/// Runs cargo in `folder`, with its output where ours goes.
///
/// # Errors
/// It fails.
pub fn cargo(arguments: &[&str], folder: &Path) -> Result<()> {
    run(Command::new("cargo").args(arguments).current_dir(folder), &format!("cargo {}", arguments.join(" ")))
}

/// Runs a command, with its output where ours goes; `name` stands for it in errors.
///
/// # Errors
/// It fails.
pub fn run(command: &mut Command, name: &str) -> Result<()> {
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::short(format!("`{name}` fails: {status}"))),
        Err(e) => Err(Failure::input(format!("`{name}`: {e}"))),
    }
}

/// The root of the working tree.
///
/// # Errors
/// No git, or no checkout.
pub fn root() -> Result<PathBuf> {
    Ok(PathBuf::from(git(&["rev-parse", "--show-toplevel"])?.trim()))
}

/// What git says.
///
/// # Errors
/// It is not there, or fails.
pub fn git(arguments: &[&str]) -> Result<String> {
    let name = format!("git {}", arguments.join(" "));
    let output = Command::new("git").args(arguments).output().map_err(|e| Failure::input(format!("`{name}`: {e}")))?;
    if !output.status.success() {
        return Err(Failure::input(format!("`{name}`: {}", String::from_utf8_lossy(&output.stderr).trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn crates_of<'a>(files: impl Iterator<Item = &'a str>) -> Vec<String> {
    let files: Vec<&str> = files.collect();
    let all = files.iter().any(|file| SHARED.contains(file));
    let changed = |folder: &&str| all || files.iter().any(|file| file.split('/').next() == Some(*folder));
    CRATES.into_iter().filter(changed).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_belongs_to_the_crate_of_its_folder() {
        let of = |files: &[&str]| crates_of(files.iter().copied());
        assert_eq!(of(&["kernels-cpu/src/cpu.rs", "ci/check", "README.md"]), ["kernels-cpu"]);
        assert_eq!(of(&["threshold/a", "predictor/b"]), ["predictor", "threshold"]);
        assert_eq!(of(&["Cargo.lock"]), CRATES);
        assert!(of(&["docs/kernels-cpu/x"]).is_empty());
    }
}
