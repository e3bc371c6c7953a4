//! What each write means, decided over a staged view of the tables. Pure: no clock, no thread, no disk of
//! its own.
//!
//! All functions here run on the store's one writer, so what they read cannot change before what they
//! decide is committed. A step that fails leaves nothing staged.

use std::collections::BTreeSet;

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::mutation::{self, Mutation};
use reprise_model::receipt::VerifiedMark;
use reprise_model::statement::StatementId;

use crate::engine::{self, Changes, Engine, Table};
use crate::gc::Candidate;
use crate::port::{CoordinateOutcome, Floor, PruneOutcome, PutOutcome, StoreError};
use crate::record::{self, EntryRecord, Revocation};

/// How many keys a scan asks the engine for at a time.
const SCAN_LEN: usize = 64;

/// The tables as they will be once the group under way is committed: the engine, what earlier steps of the
/// group staged, and what this step stages.
pub(crate) struct Staging<'a> {
    engine: &'a dyn Engine,
    group: &'a Changes,
    own: Changes,
}

impl<'a> Staging<'a> {
    pub(crate) fn new(engine: &'a dyn Engine, group: &'a Changes) -> Self {
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

    fn set(&mut self, table: Table, key: Vec<u8>, value: Vec<u8>) {
        self.own.insert((table, key), Some(value));
    }

    fn delete(&mut self, table: Table, key: Vec<u8>) {
        self.own.insert((table, key), None);
    }

    /// Keys that begin with `prefix`, at most `limit` of them, in no promised order.
    fn keys(&self, table: Table, prefix: &[u8], limit: usize) -> Result<Vec<Vec<u8>>, StoreError> {
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

    fn recorded(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        let bytes = engine::undamaged(self.get(Table::Entries, &id.0))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    fn is_revoked(&self, id: &StatementId, profile: &ProfileId) -> Result<bool, StoreError> {
        is_revoked(|table, key| self.get(table, key), id, profile)
    }

    /// How many revocations there were.
    fn epoch(&self) -> Result<u64, StoreError> {
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
    fn is_below_floor(&self, coordinate: &Coordinate) -> Result<bool, StoreError> {
        let below = coordinate.checkpoint < self.floor(&coordinate.pins)?.below;
        Ok(below && !mutation::is(Mutation::KeepBelowFloor))
    }

    fn used(&self, id: &StatementId) -> Result<bool, StoreError> {
        Ok(!self.keys(Table::Backrefs, &id.0, 1)?.is_empty() || !self.keys(Table::Pins, &id.0, 1)?.is_empty())
    }
}

/// An entry that is ready to be written.
pub(crate) struct Ready {
    pub(crate) id: StatementId,
    pub(crate) record: EntryRecord,
    pub(crate) envelope: Vec<u8>,
    pub(crate) mark: VerifiedMark,
    pub(crate) coordinates: Vec<Coordinate>,
}

/// Stores an entry and its coordinates; an entry that is there already gains the coordinates.
pub(crate) fn put(staging: &mut Staging<'_>, ready: Ready) -> Result<PutOutcome, StoreError> {
    let id = ready.id;
    let mut all_final = !ready.coordinates.is_empty();
    for coordinate in &ready.coordinates {
        all_final = all_final && staging.is_below_floor(coordinate)?;
    }
    let stored = staging.entry(&id)?.is_some();
    if !stored && all_final && staging.keys(Table::Pins, &id.0, 1)?.is_empty() {
        // A late put below the floor leaves nothing behind: no pass would ever come by to collect it.
        let outcome =
            CoordinateOutcome { below_floor: ready.coordinates.len() as u64, ..CoordinateOutcome::default() };
        return Ok(PutOutcome { new: false, stored: false, coordinates: outcome });
    }
    if !stored {
        let epoch = staging.epoch()?;
        if epoch > 0 {
            staging.set(Table::Epochs, id.0.to_vec(), record::write(&epoch));
        }
        staging.set(Table::Entries, id.0.to_vec(), record::write(&ready.record));
        staging.set(Table::Receipts, id.0.to_vec(), ready.envelope);
        staging.set(Table::Marks, id.0.to_vec(), record::write(&ready.mark));
    }
    let mut outcome = CoordinateOutcome::default();
    for coordinate in &ready.coordinates {
        add_coordinate(staging, coordinate, &id, &mut outcome)?;
    }
    Ok(PutOutcome { new: !stored, stored: true, coordinates: outcome })
}

/// Adds coordinates of statements that are stored.
pub(crate) fn add_coordinates(
    staging: &mut Staging<'_>,
    wanted: &[(Coordinate, StatementId)],
) -> Result<CoordinateOutcome, StoreError> {
    let mut outcome = CoordinateOutcome::default();
    for (coordinate, id) in wanted {
        match staging.entry(id)? {
            None => outcome.not_stored += 1,
            Some(entry) if entry.fits(coordinate) => {
                add_coordinate(staging, coordinate, id, &mut outcome)?;
            }
            Some(_) => {
                let checkpoint = coordinate.checkpoint;
                return Err(StoreError::ForeignCoordinate { statement: *id, checkpoint });
            }
        }
    }
    Ok(outcome)
}

fn add_coordinate(
    staging: &mut Staging<'_>,
    coordinate: &Coordinate,
    id: &StatementId,
    outcome: &mut CoordinateOutcome,
) -> Result<(), StoreError> {
    if staging.is_below_floor(coordinate)? {
        outcome.below_floor += 1;
        return Ok(());
    }
    let key = record::place_key(coordinate, id);
    if engine::undamaged(staging.has(Table::Coordinates, &key))? {
        outcome.known += 1;
        return Ok(());
    }
    let others = staging.keys(Table::Coordinates, &coordinate.key(), SCAN_LEN);
    for other in engine::undamaged(others)? {
        if let Some((_, other)) = record::read_place_key(&other) {
            outcome.diverged += 1;
            tracing::error!(
                checkpoint = coordinate.checkpoint.0, block = %coordinate.block_hash,
                kind = %coordinate.position.kind(), stored = %other, new = %id,
                "two statements at one coordinate: the workload is not deterministic, or the store was tampered with"
            );
        }
    }
    outcome.added += 1;
    staging.set(Table::Coordinates, key, Vec::new());
    staging.set(Table::Backrefs, record::backref_key(coordinate, id), Vec::new());
    Ok(())
}

/// Renews a mark, if its entry is still stored.
pub(crate) fn mark(
    staging: &mut Staging<'_>,
    id: &StatementId,
    mark: &VerifiedMark,
) -> Result<(), StoreError> {
    if staging.entry(id)?.is_some() {
        staging.set(Table::Marks, id.0.to_vec(), record::write(mark));
    }
    Ok(())
}

/// Remembers the text of a profile.
pub(crate) fn describe(staging: &mut Staging<'_>, id: &ProfileId, text: Vec<u8>) {
    staging.set(Table::Profiles, id.0.to_vec(), text);
}

/// Keeps a statement through pruning.
pub(crate) fn pin(staging: &mut Staging<'_>, id: &StatementId, owner: &str) {
    staging.set(Table::Pins, record::pin_key(id, owner), Vec::new());
}

/// Gives up a pin, and collects what nothing keeps any more.
pub(crate) fn unpin(staging: &mut Staging<'_>, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
    let key = record::pin_key(id, owner);
    let pinned = staging.has(Table::Pins, &key)?;
    if pinned {
        staging.delete(Table::Pins, key);
        // PRUNE SAFETY: `collect` deletes only what has neither coordinate nor pin left, and reads both
        // through the staging in which this pin is already gone and every other one is still there.
        collect(staging, id)?;
    }
    Ok(pinned)
}

/// Deletes the halves of an entry, and nothing that says where it was used.
///
/// Used when the entry is damaged: its coordinates stay, so that the receipt, proved again, is found and
/// pruned as before.
pub(crate) fn forget(staging: &mut Staging<'_>, id: &StatementId) {
    for table in [Table::Entries, Table::Receipts, Table::Marks] {
        staging.delete(table, id.0.to_vec());
    }
    if !matches!(staging.has(Table::Epochs, &id.0), Ok(false)) {
        staging.delete(Table::Epochs, id.0.to_vec());
    }
}

/// Every entry as it will be, for the choice of what goes.
pub(crate) fn candidates(staging: &Staging<'_>) -> Result<Vec<Candidate>, StoreError> {
    let mut candidates = Vec::new();
    for key in staging.keys(Table::Entries, &[], usize::MAX)? {
        let Some(id) = key.try_into().ok().map(StatementId) else { continue };
        let Some(entry) = staging.recorded(&id)? else { continue };
        let coordinates = staging.keys(Table::Backrefs, &id.0, usize::MAX)?;
        let coordinates = coordinates.iter().filter_map(|key| record::read_backref_key(key));
        candidates.push(Candidate {
            id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.provenance.took_ms,
            pinned: !staging.keys(Table::Pins, &id.0, 1)?.is_empty(),
            last_used: coordinates.map(|(_, coordinate)| coordinate.checkpoint).max(),
        });
    }
    Ok(candidates)
}

/// Whether an entry of a profile was stored before its profile was revoked. One whose epoch is lost was stored in
/// the first.
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

/// Deletes an entry with its coordinates. Returns the size of its envelope, where it was stored.
pub(crate) fn remove(staging: &mut Staging<'_>, id: &StatementId) -> Result<Option<u64>, StoreError> {
    let stored = staging.recorded(id)?.map(|entry| entry.bytes);
    // PRUNE SAFETY: the user, or the revocation of a verifier, asked for this statement by name. What is
    // lost is the cost of proving it again; no other statement's keys begin with this id.
    for key in staging.keys(Table::Backrefs, &id.0, usize::MAX)? {
        if let Some((id, coordinate)) = record::read_backref_key(&key) {
            staging.delete(Table::Coordinates, record::place_key(&coordinate, &id));
        }
        staging.delete(Table::Backrefs, key);
    }
    forget(staging, id);
    Ok(stored)
}

/// Removes the entry unless it is pinned, or used at `live_from` or later.
pub(crate) fn evict(
    staging: &mut Staging<'_>,
    id: &StatementId,
    live_from: Checkpoint,
) -> Result<bool, StoreError> {
    // PRUNE SAFETY: pins and places are read through the staging in which every earlier write is, on the
    // one writer, so neither can be added between this look and the commit.
    let pinned = !staging.keys(Table::Pins, &id.0, 1)?.is_empty();
    let live = |key: &Vec<u8>| {
        record::read_backref_key(key).is_none_or(|(_, coordinate)| coordinate.checkpoint >= live_from)
    };
    if pinned || staging.keys(Table::Backrefs, &id.0, usize::MAX)?.iter().any(live) {
        return Ok(false);
    }
    Ok(remove(staging, id)?.is_some())
}

/// Ends the epoch: what is stored of this profile is not believed any more.
pub(crate) fn revoke(staging: &mut Staging<'_>, profile: &ProfileId) -> Result<(), StoreError> {
    let revocation = Revocation { profile: *profile, epoch: staging.epoch()? + 1 };
    staging.set(Table::Revocations, profile.0.to_vec(), record::write(&revocation));
    Ok(())
}

/// Removes those of these entries that are revoked. Returns how many.
pub(crate) fn remove_revoked(staging: &mut Staging<'_>, ids: &[StatementId]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for id in ids {
        // PRUNE SAFETY: nothing may be proved by it any more; what it proved is proved again where it is wanted.
        let revoked = match staging.recorded(id)? {
            Some(entry) => staging.is_revoked(id, &entry.statement.profile)?,
            None => false,
        };
        if revoked {
            remove(staging, id)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Raises the prune floor of what is proved under these pins.
pub(crate) fn raise_floor(
    staging: &mut Staging<'_>,
    pins: &PinsDigest,
    floor: Floor,
) -> Result<(), StoreError> {
    let now = staging.floor(pins)?;
    let floor = Floor { below: floor.below.max(now.below), seen: floor.seen.max(now.seen) };
    staging.set(Table::Meta, record::floor_of(pins), record::write(&floor));
    Ok(())
}

/// One page of a prune: of at most `limit` coordinates below the floor of these pins, from the key `from` on, deletes
/// theirs, and what nothing keeps any more. Returns where the next page begins; `None` after the last.
pub(crate) fn prune_page(
    staging: &mut Staging<'_>,
    pins: &PinsDigest,
    from: &[u8],
    limit: usize,
    outcome: &mut PruneOutcome,
) -> Result<Option<Vec<u8>>, StoreError> {
    // PRUNE SAFETY:
    // 1. The floor is durable before the first page (`prune_below`), never sinks, and every checkpoint
    //    below it is final on every fork, by the caller's word. No reorg can need a place below it.
    // 2. A coordinate's key begins with its checkpoint in big-endian, so the range ends before the first
    //    key of the floor itself, whatever fork or kind; an aggregate's checkpoint is its last. Of the range only
    //    what has these pins in its key is touched.
    // 3. A receipt goes only if the staging, in which this page's coordinates are gone and everything else
    //    staged or stored is there, has neither a backref nor a pin of it. Backrefs and coordinates are
    //    written and deleted in one commit, so a place above the floor always has its backref.
    // 4. Writes run one after another on the one writer, so no put can add a place between the look and
    //    the commit; a put staged after it sees the receipt gone and stores it anew.
    // 5. A put after the floor is recorded drops coordinates below it (`put`, `place_one`), so nothing
    //    appears behind the pass; an interrupted pass resumes by scanning the same range again.
    let end = record::floor_key(staging.floor(pins)?.below);
    let page = staging.engine.scan(Table::Coordinates, from, Some(&end), limit)?;
    let next = (page.len() == limit).then(|| page.last().map(|(key, _)| [key, &[0][..]].concat()));
    let mut touched = BTreeSet::new();
    for (key, _) in page {
        let place = record::read_place_key(&key);
        if place.is_some_and(|(coordinate, _)| coordinate.pins != *pins) {
            continue;
        }
        if let Some((coordinate, id)) = place {
            staging.delete(Table::Backrefs, record::backref_key(&coordinate, &id));
            touched.insert(id);
        }
        staging.delete(Table::Coordinates, key);
        outcome.coordinates += 1;
    }
    for id in touched {
        if let Some(bytes) = collect(staging, &id)? {
            outcome.receipts += 1;
            outcome.bytes += bytes;
        }
    }
    Ok(next.flatten())
}

/// Deletes the entry if no coordinate and no pin is left. Returns the size of what it collected.
fn collect(staging: &mut Staging<'_>, id: &StatementId) -> Result<Option<u64>, StoreError> {
    if staging.used(id)? {
        return Ok(None);
    }
    let bytes = staging.recorded(id)?.map(|entry| entry.bytes);
    forget(staging, id);
    Ok(bytes)
}
