//! Files that are written whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

/// Writes `parts` to a neighbour of `path`, syncs it, renames it, and syncs the directory: after a crash at
/// any point the file is the old one or the new one. Where that fails, it is the old one, and the neighbour is gone.
pub(crate) fn replace(path: &Path, parts: &[&[u8]]) -> io::Result<()> {
    let neighbour = path.with_extension("partial");
    let write = || {
        let mut file = File::create(&neighbour)?;
        parts.iter().try_for_each(|part| file.write_all(part))?;
        file.sync_all()?;
        fs::rename(&neighbour, path)
    };
    if let Err(error) = write() {
        // It takes up space, which a full disk lacks. It may not exist.
        let _ = fs::remove_file(&neighbour);
        return Err(error);
    }
    match path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        Some(parent) => File::open(parent)?.sync_all(),
        None => File::open(".")?.sync_all(),
    }
}
