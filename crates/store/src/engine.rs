//! The storage engine: named tables of sorted bytes with atomic, durable commits. The store asks nothing else of a disk.
//!
//! An engine stores bytes and does not interpret them: the meaning of a table is decided once, in the store, for every
//! engine. Implemented by [`MemoryEngine`](crate::memory::MemoryEngine),
//! [`DiskEngine`](crate::disk::DiskEngine), and the failing decorators of the tests.

use std::collections::BTreeMap;

use crate::port::{StoreError, TierStats};

/// The tables of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// `statement id → entry record`: the small half of an entry.
    Entries,
    /// `statement id → envelope`: the large half.
    Receipts,
    /// `statement id → verified-at mark`.
    Marks,
    /// `coordinate key ‖ statement id → nothing`: begins with the checkpoint, big-endian.
    Coordinates,
    /// `statement id ‖ coordinate key → nothing`: the same places, by statement.
    Backrefs,
    /// `statement id ‖ owner → nothing`.
    Pins,
    /// `profile id → profile`.
    Profiles,
    /// The prune floor.
    Meta,
    /// `profile id → revocation`.
    Revocations,
    /// `statement id → epoch`, of entries that were stored after a revocation.
    Epochs,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 10] = [
        Self::Entries,
        Self::Receipts,
        Self::Marks,
        Self::Coordinates,
        Self::Backrefs,
        Self::Pins,
        Self::Profiles,
        Self::Meta,
        Self::Revocations,
        Self::Epochs,
    ];

    /// Its name on disk.
    pub fn name(self) -> &'static str {
        match self {
            Self::Entries => "entries",
            Self::Receipts => "receipts",
            Self::Marks => "marks",
            Self::Coordinates => "coordinates",
            Self::Backrefs => "backrefs",
            Self::Pins => "pins",
            Self::Profiles => "profiles",
            Self::Meta => "meta",
            Self::Revocations => "revocations",
            Self::Epochs => "epochs",
        }
    }
}

/// Writes that become visible together or not at all: a value to set, or `None` to delete.
pub type Changes = BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>>;

/// A value in two parts.
pub type Parts = (Vec<u8>, Vec<u8>);

/// Takes the beginning of a value and returns the length of its first part.
pub type Split<'a> = &'a dyn Fn(&[u8]) -> usize;

/// How many bytes of a value a [`Split`] is shown.
pub const SPLIT_WITHIN: u64 = 512;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Tables of sorted bytes.
///
/// An engine that cannot return one value because it is damaged says [`StoreError::Damaged`]; the store
/// then treats that value as missing and goes on.
pub trait StorageEngine: Send + Sync {
    /// The value under `key`, where there is one.
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The value under `key` in two parts: `split` is shown its beginning, [`SPLIT_WITHIN`] bytes of it or all, and
    /// says how long the first part is. So the second, large part comes in bytes of its own.
    fn read_split(&self, table: Table, key: &[u8], split: Split<'_>) -> Result<Option<Parts>, StoreError> {
        Ok(self.read(table, key)?.map(|mut value| {
            let rest = value.split_off(split(&value).min(value.len()));
            (value, rest)
        }))
    }

    /// Whether there is a value under `key`, without reading it.
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError>;

    /// The first `limit` keys and values from `from` on, and below `to` where it is given. Envelopes may be
    /// left out: nothing that scans needs them.
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError>;

    /// Applies all changes or none. With `sync`, returns once they survive a power cut, and shows them to
    /// no reader before. Without changes it fails where an earlier failed commit may still come back.
    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError>;

    /// Keeps bytes that failed their check, with the reason, where a person can look at them.
    fn quarantine(&self, name: &str, bytes: &[u8], reason: &str) -> Result<(), StoreError>;

    /// The tiers that envelopes are read from, the nearest first; none where there is one place only.
    fn tiers(&self) -> Vec<TierStats> {
        Vec::new()
    }

    /// How many bytes did not check when it was opened: unfinished writes, or damage.
    fn damaged_bytes(&self) -> u64 {
        0
    }
}

/// The first key after every key that begins with `prefix`; `None` where there is none.
pub fn after(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// What was read, or the default where the engine noticed damage.
///
/// Only for reads where the default is safe: no caller deletes anything because of it.
pub fn undamaged<T: Default>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    match read {
        Err(StoreError::Damaged { path, reason }) => {
            tracing::warn!(path = %path.display(), %reason, "a record of the receipt store is unreadable and counts as absent");
            Ok(T::default())
        }
        read => read,
    }
}

/// The same where the disk cannot read the place of the value.
pub fn readable<T: Default>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    match undamaged(read) {
        Err(error) if error.is_unreadable() => {
            tracing::warn!(%error, "a record of the receipt store counts as absent: `reprise receipts verify` names its statement");
            Ok(T::default())
        }
        read => read,
    }
}
