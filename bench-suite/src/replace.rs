//! Large files that are either whole or as they were: written piece by piece beside their place, then renamed.

use std::{
    fs::File,
    io::{self, BufWriter, Write},
    path::Path,
};

/// Writes a file beside `path` with `write`, then renames: a full disk or a kill leaves what was there before. What the
/// file system says goes through `failed`.
///
/// # Errors
/// Whatever the file system or `write` says.
pub(crate) fn replace<E>(
    path: &Path,
    failed: impl Fn(&io::Error) -> E,
    write: impl FnOnce(&mut BufWriter<&mut File>) -> Result<(), E>,
) -> Result<(), E> {
    // Through `File::create_new`, so that the file has ordinary permissions and not a temporary's.
    let temporary = tempfile::Builder::new().prefix(".thresher-").make_in(folder(path), |path| File::create_new(path));
    let mut file = temporary.map_err(|e| failed(&e))?;
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out)?;
    out.flush().map_err(|e| failed(&e))?;
    drop(out);
    file.as_file().sync_all().map_err(|e| failed(&e))?;
    file.persist(path).map_err(|e| failed(&e.error))?;
    Ok(())
}

/// The folder that `path` lies in.
pub(crate) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}
