//! A file that is written whole or not at all.
//!
//! It is written as `….partial` beside its place, synced and renamed; then the directory is synced. After a crash the place
//! holds what it held before, or all of the new file. A `….partial` that is not finished is deleted; one that a crash left is
//! overwritten by the next.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::medium::{self, Medium, MediumFile, Opening};

/// How much is written at a time.
const BUFFER: usize = 256 << 10;

/// A file that is being written.
pub struct Whole {
    medium: Arc<dyn Medium>,
    place: PathBuf,
    partial: PathBuf,
    file: Arc<dyn MediumFile>,
    buffer: Vec<u8>,
    written: u64,
    finished: bool,
}

impl Whole {
    /// Begins the file at `place`. The directory is made where it is missing.
    pub fn begin(medium: Arc<dyn Medium>, place: &Path) -> io::Result<Self> {
        medium::make_durably(medium.as_ref(), parent(place)).map_err(|(_, _, error)| error)?;
        let mut partial = place.as_os_str().to_owned();
        partial.push(".partial");
        let partial = PathBuf::from(partial);
        let file = medium.open(&partial, Opening::WriteOrMake)?;
        file.truncate(0)?;
        let (place, buffer) = (place.to_path_buf(), Vec::with_capacity(BUFFER));
        Ok(Self { medium, place, partial, file, buffer, written: 0, finished: false })
    }

    /// Puts it in its place. It is durable when this returns.
    pub fn finish(mut self) -> io::Result<()> {
        self.flush()?;
        self.file.sync()?;
        self.medium.rename(&self.partial, &self.place)?;
        self.finished = true;
        self.medium.sync_directory(parent(&self.place))
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new(""))
}

impl Write for Whole {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.buffer.len() + bytes.len() > BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.written += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }
}

impl Drop for Whole {
    fn drop(&mut self) {
        if !self.finished {
            // It takes up space, which a full disk lacks. Where it cannot be removed, the next one overwrites it.
            let _ = self.medium.remove(&self.partial);
        }
    }
}

impl std::fmt::Debug for Whole {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Whole").field("place", &self.place).finish_non_exhaustive()
    }
}

/// Reads a file from its beginning.
pub struct Reading {
    file: Arc<dyn MediumFile>,
    at: u64,
    len: u64,
}

impl Reading {
    /// Opens the file at `place`.
    pub fn open(medium: &dyn Medium, place: &Path) -> io::Result<Self> {
        let file = medium.open(place, Opening::Read)?;
        let len = file.len()?;
        Ok(Self { file, at: 0, len })
    }
}

impl io::Read for Reading {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.at).unwrap_or(usize::MAX);
        let wanted = bytes.len().min(left);
        let bytes = &mut bytes[..wanted];
        self.file.read_at(bytes, self.at)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("at", &self.at).field("len", &self.len).finish_non_exhaustive()
    }
}
