//! Names the commit and the compiler that the program is built from, without which a measurement cannot be repeated, and the
//! files that the program carries: an empty one stands for each that is not there.

use std::{env, fs, path::Path, process::Command};

fn main() {
    // A commit moves HEAD's log; an edit touches a crate. Either may change the answer. Not the index: that is written by
    // whoever asks for the status, and then everything would be built again.
    let git_files = ["HEAD", "logs/HEAD"].map(|file| format!("../.git/{file}"));
    let crates = ["bench-suite", "cost-model", "kernels-cpu", "kernels-cuda", "predictor", "threshold"];
    let sources = crates.map(|folder| format!("../{folder}"));
    for path in git_files.iter().chain(&sources) {
        println!("cargo:rerun-if-changed={path}");
    }
    // Of a file that is missing cargo would say that it has changed, every time: so the folder.
    for path in ["../Cargo.toml", "../Cargo.lock", "../ci/records"] {
        println!("cargo:rerun-if-changed={path}");
    }
    let commit = git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".to_owned());
    let dirty = git(&["--no-optional-locks", "status", "--porcelain", "--untracked-files=no"])
        .is_some_and(|changes| !changes.is_empty());
    let compiler = env::var("RUSTC").ok().and_then(|rustc| output(&rustc, &["--version"]));
    println!("cargo:rustc-env=THRESHER_COMPILER={}", compiler.as_deref().unwrap_or("unknown"));
    println!("cargo:rustc-env=THRESHER_COMMIT={commit}");
    println!("cargo:rustc-env=THRESHER_DIRTY={dirty}");
    carried("THRESHER_EMBEDDED_MODEL", "model/embedded.gguf");
    carried("THRESHER_EMBEDDED_QUALITY", "../ci/records/quality/embedded.json");
}

/// Has the environment variable `name` point to `file`, or to an empty one.
fn carried(name: &str, file: &str) {
    let folder = |variable| env::var(variable).unwrap_or_default();
    let own = Path::new(&folder("CARGO_MANIFEST_DIR")).join(file);
    let path = if own.exists() { own } else { Path::new(&folder("OUT_DIR")).join(name) };
    if !path.exists() && fs::write(&path, "").is_err() {
        println!("cargo:warning={} cannot be written", path.display());
    }
    println!("cargo:rustc-env={name}={}", path.display());
}

fn git(arguments: &[&str]) -> Option<String> {
    output("git", arguments)
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok().filter(|o| o.status.success())?;
    Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
