//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// Writes `parts` to a neighbour of `path`, syncs it, renames it, and syncs the directory: after a crash at
/// any point the file is the old one or the new one.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    replace_with(path, |file| parts.iter().try_for_each(|part| file.write_all(part)))
}

/// The same for what is too much to hold: `write` writes it. Where that fails, the file is the old one.
pub(crate) fn replace_with<E: From<io::Error>>(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), E>,
) -> Result<(), E> {
    let neighbour = path.with_extension("partial");
    let mut file = BufWriter::new(File::create(&neighbour)?);
    write(&mut file)?;
    let file = file.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()?;
    fs::rename(&neighbour, path)?;
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => Ok(File::open(parent)?.sync_all()?),
        None => Ok(File::open(".")?.sync_all()?),
    }
}
