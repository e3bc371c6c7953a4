//! The engine that reads a directory while another process may write it: the tables at one moment.
//!
//! It takes no lock and writes nothing, so a running node is not disturbed. What makes that safe is the log
//! ([`crate::disk`]): a segment only grows at its end, frames carry their own checks, and a file that cleaning
//! deletes stays readable for whoever has it open.
//!
//! # One moment
//!
//! The engine lists the segments, opens all of them, and lists them again. Where the lists differ, the writer began or
//! cleaned a segment meanwhile, and the engine starts over, at most `ATTEMPTS_MAX` times. Where they agree, the open
//! files hold a prefix of the log as it was at one moment, and the replay gives the tables of that moment. The last
//! segment may end in half a frame, a write under way: it is left out.
//!
//! A frame is written before it is synced, so the last commit seen may not be acknowledged yet. If the writer then
//! fails to sync and cuts it off, a later read of a value in it finds damage, which is a miss.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::directory::{self, Directory, OpenError};
use crate::disk::index::{Index, Located};
use crate::disk::replay::{self, Replayed, replay_all};
use crate::disk::segment::{Segment, segment_numbers, segment_path};
use crate::engine::{Changes, Pair, Parts, Split, StorageEngine, Table};
use crate::medium::{FileSystem, Medium, Opening};
use crate::port::StoreError;
use crate::revoked;

/// How often a listing is taken while segments come and go.
const ATTEMPTS_MAX: usize = 64;

/// The tables of a directory as they were when it was opened.
pub struct ReadOnlyEngine {
    index: Index,
    damaged_bytes: u64,
    dir: PathBuf,
}

impl ReadOnlyEngine {
    /// Opens the tables that are there. A directory that is no store, or none of this format, is refused.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(&FileSystem, dir)
    }

    /// The same, on another medium than the machine's file system.
    pub fn open_on(medium: &dyn Medium, dir: &Path) -> Result<Self, OpenError> {
        Directory::compare_format(medium, dir)?;
        let log = dir.join("log");
        let mut attempts = 1;
        let (mut index, damaged_bytes) = loop {
            match moment(medium, &log) {
                Ok(Some(read)) => break read,
                Err(source) if attempts >= ATTEMPTS_MAX || !is_passing(&source) => {
                    return Err(OpenError::Io { doing: "read", path: log, source });
                }
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
        let beside = revoked::read(medium, &path);
        let beside = beside.map_err(|source| OpenError::Io { doing: "read", path, source })?;
        index.restore(&beside);
        Ok(Self { index, damaged_bytes, dir: dir.into() })
    }
}

/// Whether a concurrent writer can cause this error: a deleted segment, or one that was cut off.
fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof)
}

/// The tables at one moment, and how many bytes did not check; `None` where segments came or went meanwhile.
fn moment(medium: &dyn Medium, log: &Path) -> io::Result<Option<(Index, u64)>> {
    if !medium.is_directory(log)? {
        // Another process is making the store.
        return Ok(Some(Default::default()));
    }
    let numbers = segment_numbers(medium, log)?;
    let mut segments = Vec::new();
    for number in &numbers {
        let segment = Segment::open(medium, &segment_path(log, *number), *number, Opening::Read)?;
        segments.push(Arc::new(segment));
    }
    if segment_numbers(medium, log)? != numbers {
        return Ok(None);
    }
    let Replayed { index, damage, .. } = replay_all(&segments)?;
    for part in &damage {
        tracing::debug!(
            path = %part.path().display(), from = part.from, to = part.to,
            "a part of the receipt log does not check: a write under way, or damage"
        );
    }
    Ok(Some((index, replay::length(&damage))))
}

impl StorageEngine for ReadOnlyEngine {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.index.look_up(table, key).map(Located::read).transpose()
    }

    fn read_split(&self, table: Table, key: &[u8], split: Split<'_>) -> Result<Option<Parts>, StoreError> {
        self.index.look_up(table, key).map(|located| located.read_split(split)).transpose()
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        Ok(self.index.has(table, key))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        Index::read_page(self.index.page(table, from, to, limit), table)
    }

    fn commit(&self, _changes: Changes, _sync: bool) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.dir.clone() })
    }

    fn quarantine(&self, _name: &str, _bytes: &[u8], _reason: &str) -> Result<(), StoreError> {
        Err(StoreError::ReadOnly { path: self.dir.clone() })
    }

    fn damaged_bytes(&self) -> u64 {
        self.damaged_bytes
    }
}
