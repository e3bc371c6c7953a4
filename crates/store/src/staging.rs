//! The tables as they will be once the group under way is committed.
//!
//! Reads go through what is staged to the engine; writes are staged, and reach the engine when the group is
//! committed.

use std::collections::BTreeSet;

use reprise_model::coordinate::Coordinate;
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::mutation::{self, Mutation};
use reprise_model::statement::StatementId;

use crate::engine::{self, Changes, StorageEngine, Table};
use crate::port::{Floor, StoreError};
use crate::record::{self, EntryRecord, Revocation};

/// How many keys a scan asks the engine for at a time.
pub(crate) const SCAN_LEN: usize = 64;

/// The engine, what earlier steps of the group staged, and what this step stages.
pub(crate) struct Staging<'a> {
    pub(crate) engine: &'a dyn StorageEngine,
    group: &'a Changes,
    own: Changes,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(engine: &'a dyn StorageEngine, group: &'a Changes) -> Self {
        Self { engine, group, own: Changes::new() }
    }

    /// What this step staged.
    pub(crate) fn into_changes(self) -> Changes {
        self.own
    }

    fn staged(&self, table: Table, key: &[u8]) -> Option<&Option<Vec<u8>>> {
        let place = (table, key.to_vec());
        self.own.get(&place).or_else(|| self.group.get(&place))
    }

    /// A value as it will be.
    pub(crate) fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.staged(table, key) {
            Some(change) => Ok(change.clone()),
            None => self.engine.read(table, key),
        }
    }

    /// Whether there will be a value.
    pub(crate) fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        match self.staged(table, key) {
            Some(change) => Ok(change.is_some()),
            None => self.engine.has(table, key),
        }
    }

    /// Stages a value.
    pub(crate) fn set(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.own.insert((table, key), Some(value));
    }

    /// Stages a deletion.
    pub(crate) fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.own.insert((table, key), None);
    }

    /// Keys that begin with `prefix`, at most `limit` of them, in no promised order.
    pub(crate) fn keys(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let begins = |(of, key): &&(Table, Vec<u8>)| *of == table && key.starts_with(prefix);
        let mut found: BTreeSet<Vec<u8>> = [self.group, &self.own]
            .into_iter()
            .flat_map(|changes| changes.range((table, prefix.to_vec())..))
            .map(|(place, _)| place)
            .take_while(begins)
            .filter(|(_, key)| matches!(self.staged(table, key), Some(Some(_))))
            .map(|(_, key)| key.clone())
            .take(limit)
            .collect();
        let end = engine::after(prefix);
        let mut from = prefix.to_vec();
        while found.len() < limit {
            let page = self.engine.scan(table, &from, end.as_deref(), SCAN_LEN)?;
            let full = page.len() == SCAN_LEN;
            for (key, _) in page {
                from.clone_from(&key);
                if self.staged(table, &key).is_none() && found.len() < limit {
                    found.insert(key);
                }
            }
            if !full {
                break;
            }
            from.push(0);
        }
        Ok(found.into_iter().collect())
    }

    /// The entry, unless it is revoked.
    pub(crate) fn entry(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        match self.recorded(id)? {
            Some(entry) if self.is_revoked(id, &entry.statement.profile)? => Ok(None),
            entry => Ok(entry),
        }
    }

    /// The entry, revoked or not. A damaged one is absent.
    pub(crate) fn recorded(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        let bytes = engine::undamaged(self.get(Table::Entries, &id.0))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    /// Whether an entry of this profile is revoked.
    pub(crate) fn is_revoked(&self, id: &StatementId, profile: &ProfileId) -> Result<bool, StoreError> {
        is_revoked(|table, key| self.get(table, key), id, profile)
    }

    /// The epoch: how many revocations there were.
    pub(crate) fn epoch(&self) -> Result<u64, StoreError> {
        let mut epoch = 0;
        for key in self.keys(Table::Revocations, &[], usize::MAX)? {
            let bytes = self.get(Table::Revocations, &key)?;
            let revocation = bytes.and_then(|bytes| record::read::<Revocation>(&bytes));
            epoch = epoch.max(revocation.map_or(0, |revocation| revocation.epoch));
        }
        Ok(epoch)
    }

    /// The prune floor of what is proved under these pins.
    pub(crate) fn floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        let bytes = engine::undamaged(self.get(Table::Meta, &record::floor_of(pins)))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)).unwrap_or_default())
    }

    /// Whether a place lies below the floor of its own pins.
    pub(crate) fn is_below_floor(&self, coordinate: &Coordinate) -> Result<bool, StoreError> {
        let below = coordinate.checkpoint < self.floor(&coordinate.pins)?.below;
        Ok(below && !mutation::is(Mutation::KeepBelowFloor))
    }

    /// Whether a coordinate or a pin keeps an entry.
    pub(crate) fn used(&self, id: &StatementId) -> Result<bool, StoreError> {
        Ok(!self.keys(Table::Backrefs, &id.0, 1)?.is_empty() || !self.keys(Table::Pins, &id.0, 1)?.is_empty())
    }
}

/// Whether an entry was stored before its profile was revoked. An entry whose epoch is lost counts as stored in the
/// first epoch.
pub(crate) fn is_revoked(
    get: impl Fn(Table, &[u8]) -> Result<Option<Vec<u8>>, StoreError>,
    id: &StatementId,
    profile: &ProfileId,
) -> Result<bool, StoreError> {
    let revocation = get(Table::Revocations, &profile.0)?;
    let Some(revocation) = revocation.and_then(|bytes| record::read::<Revocation>(&bytes)) else {
        return Ok(false);
    };
    let epoch = engine::undamaged(get(Table::Epochs, &id.0))?;
    Ok(epoch.and_then(|bytes| record::read::<u64>(&bytes)).unwrap_or(0) < revocation.epoch)
}
