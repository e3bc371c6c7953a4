//! A segment: one file of the log.
//!
//! A segment grows at its end and nowhere else. Its name is its number: `00000001.log` and on.
//!
//! A log has as many segments as its receipts take, and a process may have so many files open and no more. So of all
//! segments a few are open at a time ([`Files`]), and another is opened when it is read.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use quick_cache::sync::Cache;

use crate::medium::{Medium, MediumFile, Opening};
use crate::port::StoreError;

/// How many segments are open at a time, beside the last one and those that are being read. A process may have 1,024
/// files open on most systems.
const OPEN_MAX: usize = 64;

/// The segments of a log that are open, by number: those that were read last.
pub(crate) struct Files {
    medium: Arc<dyn Medium>,
    opening: Opening,
    open: Cache<u64, Arc<dyn MediumFile>>,
}

impl Files {
    /// None yet. Those of a log that is only read are opened for reading.
    pub(crate) fn new(medium: Arc<dyn Medium>, opening: Opening) -> Arc<Self> {
        Arc::new(Self { medium, opening, open: Cache::new(OPEN_MAX) })
    }
}

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) number: u64,
    pub(super) path: PathBuf,
    files: Arc<Files>,
    /// Its file, once that has no name any more by which it could be opened.
    nameless: OnceLock<Arc<dyn MediumFile>>,
    /// Bytes in it, damage included, when it was opened or grown last.
    len: AtomicU64,
}

impl Segment {
    /// Makes a new one. Its directory is synced when this returns.
    pub(super) fn create(files: &Arc<Files>, log: &Path, number: u64) -> io::Result<Self> {
        let segment = Self::named(files, log, number);
        let medium = files.medium.as_ref();
        let file = match medium.open(&segment.path, Opening::Make) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A file of this number can only be what a failed attempt left: the index knows none. It is made
                // again, because the entry in its directory may not be durable.
                medium.remove(&segment.path)?;
                medium.open(&segment.path, Opening::Make)?
            }
            opened => opened?,
        };
        medium.sync_directory(log)?;
        files.open.insert(number, file);
        Ok(segment)
    }

    /// One that is there, as long as it is now.
    pub(crate) fn open(files: &Arc<Files>, log: &Path, number: u64) -> io::Result<Self> {
        let segment = Self::named(files, log, number);
        segment.set_len(segment.file()?.len()?);
        Ok(segment)
    }

    fn named(files: &Arc<Files>, log: &Path, number: u64) -> Self {
        let (files, path) = (files.clone(), segment_path(log, number));
        Self { number, path, files, nameless: OnceLock::new(), len: AtomicU64::new(0) }
    }

    /// Its file, opened where it is not open.
    pub(super) fn file(&self) -> io::Result<Arc<dyn MediumFile>> {
        if let Some(file) = self.nameless.get() {
            return Ok(file.clone());
        }
        let Files { medium, opening, open } = self.files.as_ref();
        let opened = open.get_or_insert_with(&self.number, || medium.open(&self.path, *opening));
        // Its name may have gone since it was looked at above.
        opened.or_else(|error| self.nameless.get().cloned().ok_or(error))
    }

    /// Deletes its file. Whoever has the segment can still read it.
    pub(super) fn delete(&self) -> io::Result<()> {
        let file = self.file()?;
        self.nameless.get_or_init(|| file);
        self.files.open.remove(&self.number);
        self.files.medium.remove(&self.path)
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
        self.file()?.read_at(&mut bytes, offset)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulated::SimulatedDisk;

    #[test]
    fn whoever_has_a_deleted_segment_still_reads_it_and_nobody_holds_its_file_after_them() {
        let disk = SimulatedDisk::new();
        disk.make_directory(Path::new("log")).unwrap();
        let files = Files::new(Arc::new(disk.clone()), Opening::Write);
        let segment = Segment::create(&files, Path::new("log"), 1).unwrap();
        segment.file().unwrap().write_at(b"a value", 0).unwrap();
        // As where others were read since.
        files.open.clear();
        segment.delete().unwrap();
        assert_eq!(segment.read(2, 5).unwrap(), b"value");
        assert!(Segment::open(&files, Path::new("log"), 1).is_err(), "its name is gone");
        drop(segment);
        assert!(files.open.is_empty());
    }
}
