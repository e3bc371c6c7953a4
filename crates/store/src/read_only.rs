//! The engine that reads a directory while another process may write it: the tables at one moment.
//!
//! It takes no lock and writes nothing, so a running node is not disturbed. What makes that safe is the log
//! ([`crate::disk`]): a segment only grows at its end, and frames carry their own checks.
//!
//! # One moment
//!
//! The engine lists the segments, asks each for its length, and lists them again. Where the lists differ, the writer began or
//! cleaned a segment meanwhile, and the engine starts over, at most `ATTEMPTS_MAX` times. Where they agree, the segments
//! hold a prefix of the log as it was at one moment, and the replay gives the tables of that moment. The last
//! segment may end in half a frame, a write under way: it is left out.
//!
//! A log has more segments than a process may have files open, so a value may lie in one that is not open, and that
//! cleaning has deleted since. What lived there was written again before. So the engine then reads the tables as they are
//! now, and looks again: it moves to a later moment, and never back.
//!
//! A frame is written before it is synced, so the last commit seen may not be acknowledged yet. If the writer then
//! fails to sync and cuts it off, a later read of a value in it finds damage, which is a miss.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use crate::directory::{self, Directory, OpenError};
use crate::disk::index::{Index, Located};
use crate::disk::replay::{self, Replayed, replay_all};
use crate::disk::segment::{Files, Segment, segment_numbers, segment_path};
use crate::engine::{Changes, Pair, Parts, Split, StorageEngine, Table};
use crate::medium::{FileSystem, Medium, Opening};
use crate::port::StoreError;
use crate::revoked;

/// How often a listing is taken while segments come and go.
const ATTEMPTS_MAX: usize = 64;

/// The tables of a directory as they were at one moment.
pub struct ReadOnlyEngine {
    medium: Arc<dyn Medium>,
    dir: PathBuf,
    at: RwLock<Arc<Moment>>,
}

/// The tables, and how many bytes of the log did not check.
#[derive(Default)]
struct Moment {
    index: Index,
    damaged_bytes: u64,
}

impl ReadOnlyEngine {
    /// Opens the tables that are there. A directory that is no store, or none of this format, is refused.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileSystem), dir)
    }

    /// The same, on another medium than the machine's file system.
    pub fn open_on(medium: Arc<dyn Medium>, dir: &Path) -> Result<Self, OpenError> {
        Directory::compare_format(medium.as_ref(), dir)?;
        let at = RwLock::new(Arc::new(Moment::now(&medium, dir)?));
        Ok(Self { medium, dir: dir.into(), at })
    }

    fn moment(&self) -> Arc<Moment> {
        self.at.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads of the tables, anew where a segment is gone that they name.
    fn read_tables<T>(&self, read: impl Fn(&Index) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut attempts = 1;
        loop {
            let moment = self.moment();
            match read(&moment.index) {
                Err(StoreError::Io { source, .. })
                    if source.kind() == io::ErrorKind::NotFound && attempts < ATTEMPTS_MAX =>
                {
                    self.move_on(&moment)?;
                    attempts += 1;
                }
                read => return read,
            }
        }
    }

    /// Reads the tables as they are now, unless another reader has done so since this moment was looked at.
    fn move_on(&self, from: &Arc<Moment>) -> Result<(), StoreError> {
        let mut at = self.at.write().unwrap_or_else(PoisonError::into_inner);
        if Arc::ptr_eq(&at, from) {
            let now = Moment::now(&self.medium, &self.dir).map_err(|error| self.in_store(error))?;
            *at = Arc::new(now);
        }
        Ok(())
    }

    /// Why it cannot be read anew.
    fn in_store(&self, error: OpenError) -> StoreError {
        match error {
            OpenError::Io { doing, path, source } => StoreError::Io { doing, path, source: Arc::new(source) },
            error => StoreError::Engine { path: self.dir.clone(), reason: error.to_string() },
        }
    }
}

impl Moment {
    fn now(medium: &Arc<dyn Medium>, dir: &Path) -> Result<Self, OpenError> {
        let log = dir.join("log");
        let mut attempts = 1;
        let mut moment = loop {
            match moment(medium, &log) {
                Ok(Some(moment)) => break moment,
                Err(error) if attempts >= ATTEMPTS_MAX || !is_passing(&error) => return Err(error),
                Ok(None) if attempts >= ATTEMPTS_MAX => {
                    let source = io::Error::other(format!(
                        "its segments changed in each of {ATTEMPTS_MAX} attempts: try again"
                    ));
                    return Err(OpenError::Io { doing: "read", path: log, source });
                }
                Ok(None) | Err(_) => attempts += 1,
            }
        };
        let path = directory::revoked_in(dir);
        let beside = revoked::read(medium.as_ref(), &path);
        let beside = beside.map_err(|source| OpenError::Io { doing: "read", path, source })?;
        moment.index.restore(&beside);
        Ok(moment)
    }
}

/// Whether a concurrent writer can cause this error: a deleted segment, or one that was cut off.
fn is_passing(error: &OpenError) -> bool {
    let passing = [io::ErrorKind::NotFound, io::ErrorKind::UnexpectedEof];
    matches!(error, OpenError::Io { source, .. } if passing.contains(&source.kind()))
}

/// The tables at one moment; `None` where segments came or went meanwhile.
fn moment(medium: &Arc<dyn Medium>, log: &Path) -> Result<Option<Moment>, OpenError> {
    let failed = |path: &Path| {
        let path = path.to_path_buf();
        move |source| OpenError::Io { doing: "read", path, source }
    };
    if !medium.is_directory(log).map_err(failed(log))? {
        // Another process is making the store.
        return Ok(Some(Moment::default()));
    }
    let listed = || segment_numbers(medium.as_ref(), log).map_err(failed(log));
    let numbers = listed()?;
    let files = Files::new(medium.clone(), Opening::Read);
    let mut segments = Vec::new();
    for number in &numbers {
        let segment = Segment::open(&files, log, *number);
        segments.push(Arc::new(segment.map_err(failed(&segment_path(log, *number)))?));
    }
    if listed()? != numbers {
        return Ok(None);
    }
    let Replayed { index, damage, .. } = replay_all(&segments)?;
    for part in &damage {
        tracing::debug!(
            path = %part.path().display(), from = part.from, to = part.to,
            "a part of the receipt log does not check: a write under way, or damage"
        );
    }
    Ok(Some(Moment { index, damaged_bytes: replay::length(&damage) }))
}

impl StorageEngine for ReadOnlyEngine {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read_tables(|index| index.look_up(table, key).map(Located::read).transpose())
    }

    fn read_split(&self, table: Table, key: &[u8], split: Split<'_>) -> Result<Option<Parts>, StoreError> {
        self.read_tables(|index| {
            index.look_up(table, key).map(|located| located.read_split(split)).transpose()
        })
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.moment().index.has(table, key))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.read_tables(|index| Index::read_page(index.page(table, from, to, limit), table))
    }

    fn commit(&self, _changes: Changes, _sync: bool) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.dir.clone() })
    }

    fn quarantine(&self, _name: &str, _bytes: &[u8], _reason: &str) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.dir.clone() })
    }

    fn damaged_bytes(&self) -> u64 {
        self.moment().damaged_bytes
    }
}
