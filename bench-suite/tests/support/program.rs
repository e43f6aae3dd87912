//! The program as a user runs it.

use std::{
    path::Path,
    process::{Command, Output},
};

pub fn thresher(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_thresher")).args(arguments).output().unwrap()
}

/// Bad input: exit code 2, nothing on standard output, one line on standard error that holds all of `words`.
pub fn refused(arguments: &[&str], words: &[&str]) {
    let output = thresher(arguments);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    assert_eq!(error.lines().count(), 1, "{error}");
    for word in words {
        assert!(error.contains(word), "`{word}` is not in: {error}");
    }
}

pub fn done(arguments: &[&str]) -> String {
    let output = thresher(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

pub fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
