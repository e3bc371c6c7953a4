//! A segment: one file of the log.
//!
//! A segment grows at its end and nowhere else. Its name is its number: `00000001.log` and on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::medium::{Medium, MediumFile, Opening};
use crate::port::StoreError;

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn MediumFile>,
    /// Bytes in it, damage included, when it was opened or grown last.
    len: AtomicU64,
}

impl Segment {
    /// Makes a new one. Its directory is synced when this returns.
    pub(super) fn create(medium: &dyn Medium, log: &Path, number: u64) -> io::Result<Self> {
        let path = segment_path(log, number);
        let segment = match Self::open(medium, &path, number, Opening::Make) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A file of this number can only be what a failed attempt left: the index knows none. It is made
                // again, because the entry in its directory may not be durable.
                medium.remove(&path)?;
                Self::open(medium, &path, number, Opening::Make)?
            }
            opened => opened?,
        };
        medium.sync_directory(log)?;
        Ok(segment)
    }

    /// Opens it as long as it is now.
    pub(crate) fn open(medium: &dyn Medium, path: &Path, number: u64, opening: Opening) -> io::Result<Self> {
        let file = medium.open(path, opening)?;
        let len = file.len()?;
        Ok(Self { number, path: path.into(), file, len: len.into() })
    }

    /// Bytes in it, damage included.
    pub(super) fn len(&self) -> u64 {
        self.len.load(Ordering::Relaxed)
    }

    /// Notes that it has grown.
    pub(super) fn set_len(&self, len: u64) {
        self.len.store(len, Ordering::Relaxed);
    }

    /// A value that the index says is here. One that the file no longer holds is damage.
    pub(super) fn read_value(&self, offset: u64, len: u64) -> Result<Vec<u8>, StoreError> {
        self.read(offset, len).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => {
                StoreError::Damaged { path: self.path.clone(), reason: "a value is cut off".into() }
            }
            _ => failed("read", &self.path)(error),
        })
    }

    /// Bytes as they are on the disk.
    pub(super) fn read(&self, offset: u64, len: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; len as usize];
        self.file.read_at(&mut bytes, offset)?;
        Ok(bytes)
    }
}

/// Where a segment lies.
pub(crate) fn segment_path(log: &Path, number: u64) -> PathBuf {
    log.join(format!("{number:08}.log"))
}

/// The segments in a directory, oldest first. Other files are left alone.
pub(crate) fn segment_numbers(medium: &dyn Medium, log: &Path) -> io::Result<Vec<u64>> {
    let number = |name: String| {
        let number = name.strip_suffix(".log")?.parse().ok()?;
        (segment_path(log, number) == log.join(&name)).then_some(number)
    };
    let mut numbers: Vec<_> = medium.list(log)?.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// An error of the system, in the store's words.
pub(super) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_path_buf();
    move |source| StoreError::Io { doing, path, source: Arc::new(source) }
}
