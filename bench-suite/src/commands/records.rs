//! Records in, pages and pictures out: what commands over kept records have in common.

use std::path::{Path, PathBuf};

use cost_model::{atomic::write_atomically, record::Record};

use crate::{Failure, Result};

/// The records of these files, in order.
///
/// # Errors
/// One cannot be read, or is none.
pub(super) fn read_records(paths: &[PathBuf]) -> Result<Vec<Record>> {
    paths.iter().map(|path| Ok(Record::read(path)?)).collect()
}

/// Writes what was drawn, whole or not at all.
///
/// # Errors
/// The file system refuses.
pub(super) fn write_drawing(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, text.as_bytes())
        .map_err(|e| Failure::input(format!("{}: {e}; check the path", path.display())))
}
