//! The tables, read as what they hold: entries, marks, floors, revocations.
//!
//! A record that does not check is absent: the store proves again rather than guesses. Revocations are the exception:
//! one that cannot be read is an error.

use std::collections::BTreeSet;
use std::sync::Arc;

use reprise_model::coordinate::{Coordinate, Prefix};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::VerifiedMark;
use reprise_model::statement::StatementId;

use crate::engine::{self, StorageEngine, Table};
use crate::envelope::Envelope;
use crate::port::{EntryDetails, Filter, Floor, QuarantineReason, Stats, StoreError, Summary};
use crate::record::{self, EntryRecord, Placed};
use crate::staging;

/// How many keys a pass over a table takes at a time.
pub(crate) const PAGE_LEN: usize = 1024;

/// The tables of an engine.
#[derive(Clone)]
pub(crate) struct Tables {
    pub(crate) engine: Arc<dyn StorageEngine>,
}

impl Tables {
    /// When and over which bytes an entry was verified.
    pub(crate) fn mark(&self, id: &StatementId) -> Result<Option<VerifiedMark>, StoreError> {
        // Without it the receipt is verified, and the mark written anew.
        let bytes = engine::readable(self.engine.read(Table::Marks, &id.0))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    /// The entry, unless it is revoked.
    pub(crate) fn entry(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        match self.recorded(id)? {
            Some(entry) if self.is_revoked(id, &entry.statement.profile)? => Ok(None),
            entry => Ok(entry),
        }
    }

    /// The entry, revoked or not.
    pub(crate) fn recorded(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        let bytes = self.small(Table::Entries, &id.0)?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    /// Whether an entry of this profile is revoked.
    pub(crate) fn is_revoked(&self, id: &StatementId, profile: &ProfileId) -> Result<bool, StoreError> {
        staging::is_revoked(|table, key| self.engine.read(table, key), id, profile)
    }

    /// Whether a profile was ever revoked: a receipt of it without an entry may be an old one.
    pub(crate) fn was_revoked(&self, profile: &ProfileId) -> Result<bool, StoreError> {
        self.engine.has(Table::Revocations, &profile.0)
    }

    /// A small record; a damaged one is absent.
    fn small(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        engine::undamaged(self.engine.read(table, key))
    }

    /// Whether there is an entry. One that cannot be read counts as absent.
    pub(crate) fn has_entry(&self, id: &StatementId) -> Result<bool, StoreError> {
        engine::undamaged(self.engine.has(Table::Entries, &id.0))
    }

    /// The prune floor of what is proved under these pins.
    pub(crate) fn floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        let bytes = self.small(Table::Meta, &record::floor_of(pins))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)).unwrap_or_default())
    }

    /// Every prune floor.
    pub(crate) fn floors(&self) -> Result<Vec<(PinsDigest, Floor)>, StoreError> {
        let mut floors = Vec::new();
        self.each(Table::Meta, record::FLOOR_PREFIX, &mut |key, bytes| {
            floors.extend(record::read_floor_of(key).zip(record::read(bytes)));
        })?;
        Ok(floors)
    }

    /// Every key that begins with `prefix`, and its value, a page at a time.
    fn each(
        &self,
        table: Table,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]),
    ) -> Result<(), StoreError> {
        let end = engine::after(prefix);
        let mut from = prefix.to_vec();
        loop {
            let page = self.engine.scan(table, &from, end.as_deref(), PAGE_LEN)?;
            for (key, value) in &page {
                visit(key, value);
            }
            match page.last() {
                Some((last, _)) if page.len() == PAGE_LEN => from = [last, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }

    fn summary(&self, id: StatementId, entry: EntryRecord) -> Result<Summary, StoreError> {
        let mut coordinates = Vec::new();
        self.each(Table::Backrefs, &id.0, &mut |key, _| {
            coordinates.extend(record::read_backref_key(key).map(|(_, coordinate)| coordinate));
        })?;
        let mut pins = Vec::new();
        self.each(Table::Pins, &id.0, &mut |key, _| {
            pins.extend(record::read_pin_key(key));
        })?;
        Ok(Summary {
            id,
            kind: entry.kind,
            statement: entry.statement,
            program: entry.program,
            seal_kind: entry.seal_kind,
            bytes: entry.bytes,
            provenance: entry.provenance,
            stored_at_ms: entry.stored_at_ms,
            verified_at_ms: self.mark(&id)?.map(|mark| mark.at_ms),
            coordinates,
            pins,
        })
    }

    /// The entry, if it passes the filter.
    fn filtered(&self, id: StatementId, filter: &Filter) -> Result<Option<Summary>, StoreError> {
        let Some(entry) = engine::readable(self.entry(&id))? else { return Ok(None) };
        let passes = filter.kind.is_none_or(|kind| kind == entry.kind)
            && filter.profile.is_none_or(|profile| profile == entry.statement.profile)
            && filter.program.is_none_or(|program| program == entry.program);
        if !passes {
            return Ok(None);
        }
        let summary = self.summary(id, entry)?;
        let placed = (filter.checkpoint.is_none() && filter.block.is_none())
            || summary.coordinates.iter().any(|coordinate| {
                filter.checkpoint.is_none_or(|checkpoint| checkpoint == coordinate.checkpoint)
                    && filter.block.is_none_or(|block| block == coordinate.block_hash)
            });
        Ok(placed.then_some(summary))
    }

    /// The ids that a filter can pass, in order: those used at its checkpoint, or all.
    fn candidates(&self, filter: &Filter) -> Result<BTreeSet<StatementId>, StoreError> {
        let mut ids = BTreeSet::new();
        match filter.checkpoint {
            Some(checkpoint) => {
                self.each(Table::Coordinates, &Prefix::from(checkpoint).0, &mut |key, _| {
                    ids.extend(record::read_place_key(key).map(|(_, id)| id));
                })?;
            }
            None => self.each(Table::Entries, &[], &mut |key, _| {
                ids.extend(key.try_into().ok().map(StatementId));
            })?,
        }
        Ok(ids)
    }

    /// The entries that pass a filter, in the order of their ids.
    pub(crate) fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut passing = Vec::new();
        if filter.checkpoint.is_some() {
            for id in self.candidates(filter)? {
                if passing.len() >= limit {
                    break;
                }
                passing.extend(self.filtered(id, filter)?);
            }
            return Ok(passing);
        }
        // No more is read than is asked for, but for the rest of a page.
        let (page_len, mut from) = (limit.clamp(1, PAGE_LEN), Vec::new());
        while passing.len() < limit {
            let page = self.engine.scan(Table::Entries, &from, None, page_len)?;
            for id in page.iter().filter_map(|(key, _)| key.as_slice().try_into().ok().map(StatementId)) {
                if passing.len() < limit {
                    passing.extend(self.filtered(id, filter)?);
                }
            }
            match page.last().filter(|_| page.len() == page_len) {
                Some((last, _)) => from = [last, &[0][..]].concat(),
                None => break,
            }
        }
        Ok(passing)
    }

    /// One entry, decoded and described, without the checks of a hit.
    pub(crate) fn details(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        let Some(entry) = self.entry(id)? else { return Ok(None) };
        let receipt = match self.engine.read(Table::Receipts, &id.0) {
            Ok(None) => Err(QuarantineReason::Missing),
            Ok(Some(bytes)) => Envelope::decode(&bytes).map(|envelope| envelope.receipt).map_err(Into::into),
            Err(StoreError::Damaged { reason, .. }) => Err(QuarantineReason::Unreadable(reason)),
            Err(error) => return Err(error),
        };
        let profile = self.small(Table::Profiles, &entry.statement.profile.0)?;
        let profile = profile.and_then(|bytes| record::read(&bytes));
        Ok(Some(EntryDetails { summary: self.summary(*id, entry)?, receipt, profile }))
    }

    /// Whether something of these pins lies below a floor.
    pub(crate) fn has_below(&self, pins: &PinsDigest, floor: Floor) -> Result<bool, StoreError> {
        let (end, mut from) = (record::floor_key(floor.below), Vec::new());
        loop {
            let page = self.engine.scan(Table::Coordinates, &from, Some(&end), PAGE_LEN)?;
            let of = |key: &[u8]| record::read_place_key(key).is_none_or(|(place, _)| place.pins == *pins);
            if page.iter().any(|(key, _)| of(key)) {
                return Ok(true);
            }
            match page.last().filter(|_| page.len() == PAGE_LEN) {
                Some((last, _)) => from = [last, &[0][..]].concat(),
                None => return Ok(false),
            }
        }
    }

    /// The statements used at a coordinate; where none is, those that an archive reports there.
    pub(crate) fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        let mut places = Vec::new();
        self.each(Table::Coordinates, &coordinate.key(), &mut |key, value| {
            places.extend(record::read_place_key(key).map(|(_, id)| (Placed::read(value), id)));
        })?;
        let believed = places.iter().map(|(placed, _)| *placed).max();
        places.retain(|(placed, _)| Some(*placed) == believed);
        Ok(places.into_iter().map(|(_, id)| id).collect())
    }

    /// The profiles that were described.
    pub(crate) fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        let mut profiles = Vec::new();
        self.each(Table::Profiles, &[], &mut |_, bytes| {
            profiles.extend(record::read::<ProofProfile>(bytes));
        })?;
        Ok(profiles)
    }

    /// The entries that are stored and revoked.
    pub(crate) fn revoked(&self) -> Result<Vec<StatementId>, StoreError> {
        let mut revoked = Vec::new();
        if self.engine.scan(Table::Revocations, &[], None, 1)?.is_empty() {
            return Ok(revoked);
        }
        for id in self.candidates(&Filter::default())? {
            if let Some(entry) = engine::readable(self.recorded(&id))?
                && self.is_revoked(&id, &entry.statement.profile)?
            {
                revoked.push(id);
            }
        }
        Ok(revoked)
    }

    /// Adds what the tables know to the figures of a store.
    pub(crate) fn count(&self, stats: &mut Stats) -> Result<(), StoreError> {
        self.each(Table::Entries, &[], &mut |key, bytes| match record::read::<EntryRecord>(bytes) {
            Some(entry) => {
                let kind = &mut stats.kinds[entry.kind as usize];
                kind.count += 1;
                kind.bytes += entry.bytes;
                kind.proving_ms = kind.proving_ms.saturating_add(entry.provenance.took_ms);
            }
            None => stats.unreadable.extend(key.try_into().ok().map(StatementId)),
        })?;
        self.each(Table::Coordinates, &[], &mut |_, _| {
            stats.coordinates += 1;
        })?;
        stats.prune_floors = self.floors()?;
        Ok(())
    }
}
