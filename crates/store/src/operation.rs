//! The operations: what each write means, decided over staged tables. Pure: no clock, no thread, no disk of its own.
//!
//! All functions here run on the store's one writer, so what they read cannot change before what they decide is
//! committed. An operation that fails leaves nothing staged.

use std::collections::BTreeSet;

use reprise_model::coordinate::Coordinate;
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::journal;
use reprise_model::receipt::VerifiedMark;
use reprise_model::statement::StatementId;

use crate::engine::{self, Table};
use crate::envelope::Envelope;
use crate::gc::Candidate;
use crate::port::{CoordinateOutcome, Floor, Needed, PruneOutcome, PutOutcome, StoreError};
use crate::record::{self, EntryRecord, Placed, Revocation};
use crate::staging::{SCAN_LEN, Staging};

/// An entry that is ready to be written.
pub(crate) struct Ready {
    pub(crate) id: StatementId,
    pub(crate) record: EntryRecord,
    pub(crate) envelope: Vec<u8>,
    pub(crate) mark: VerifiedMark,
    pub(crate) coordinates: Vec<Coordinate>,
    pub(crate) placed: Placed,
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
        // A put below the floor stores nothing: no later pass would delete it.
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
        add_coordinate(staging, coordinate, &id, ready.placed, &mut outcome)?;
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
                add_coordinate(staging, coordinate, id, Placed::Used, &mut outcome)?;
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
    placed: Placed,
    outcome: &mut CoordinateOutcome,
) -> Result<(), StoreError> {
    if staging.is_below_floor(coordinate)? {
        outcome.below_floor += 1;
        return Ok(());
    }
    let key = record::place_key(coordinate, id);
    let known = engine::undamaged(staging.get(Table::Coordinates, &key))?;
    // Also where it is known: the alarm of an earlier process is nowhere but here.
    let others = match placed {
        Placed::Used => engine::undamaged(staging.keys(Table::Coordinates, &coordinate.key(), SCAN_LEN))?,
        Placed::Reported => vec![],
    };
    for other in others.iter().filter(|other| **other != key) {
        let of = engine::undamaged(staging.get(Table::Coordinates, other))?;
        if of.is_some_and(|of| Placed::read(&of) == Placed::Used)
            && let Some((_, other)) = record::read_place_key(other)
            && contradict(staging, id, &other)?
        {
            outcome.diverged += 1;
            tracing::error!(
                checkpoint = coordinate.checkpoint.0, block = %coordinate.block_hash,
                kind = %coordinate.position.kind(), stored = %other, new = %id,
                "two statements at one coordinate: the workload is not deterministic, or the store was tampered with"
            );
        }
    }
    if known.is_some_and(|known| Placed::read(&known) >= placed) {
        outcome.known += 1;
        return Ok(());
    }
    outcome.added += 1;
    staging.set(Table::Coordinates, key, placed.bytes());
    staging.set(Table::Backrefs, record::backref_key(coordinate, id), Vec::new());
    Ok(())
}

/// Whether two statements that are used at one place cannot both be right: see [`journal::contradict`]. So it is where one's receipt
/// cannot be read.
fn contradict(staging: &Staging<'_>, one: &StatementId, other: &StatementId) -> Result<bool, StoreError> {
    let journal = |id: &StatementId| -> Result<Option<Vec<u8>>, StoreError> {
        let bytes = engine::undamaged(staging.get(Table::Receipts, &id.0))?;
        Ok(bytes.and_then(|bytes| Some(Envelope::decode(&bytes).ok()?.receipt.claim.journal)))
    };
    Ok(match (journal(one)?, journal(other)?) {
        (Some(one), Some(other)) => journal::contradict(&one, &other),
        _ => true,
    })
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

/// Removes a pin, and deletes an entry that nothing keeps any more.
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

/// Deletes an entry and its receipt, and keeps its coordinates.
///
/// The writer uses this for a damaged entry. The coordinates stay, so that the receipt is found and pruned as before
/// once it is proved again.
pub(crate) fn delete_entry(staging: &mut Staging<'_>, id: &StatementId) {
    for table in [Table::Entries, Table::Receipts, Table::Marks] {
        staging.delete(table, id.0.to_vec());
    }
    if !matches!(staging.has(Table::Epochs, &id.0), Ok(false)) {
        staging.delete(Table::Epochs, id.0.to_vec());
    }
}

/// Every entry as it will be, for the plan of an eviction.
pub(crate) fn candidates(staging: &Staging<'_>, needed: &Needed) -> Result<Vec<Candidate>, StoreError> {
    let mut candidates = Vec::new();
    for key in staging.keys(Table::Entries, &[], usize::MAX)? {
        let Some(id) = key.try_into().ok().map(StatementId) else { continue };
        let Some(entry) = engine::readable(staging.recorded(&id))? else { continue };
        let places = staging.keys(Table::Backrefs, &id.0, usize::MAX)?;
        let mut read = places.iter().filter_map(|key| record::read_backref_key(key));
        let is_needed = read.any(|(_, place)| needed.at(&place));
        candidates.push(Candidate {
            id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.provenance.took_ms,
            is_placed: !places.is_empty(),
            is_live: is_needed || !staging.keys(Table::Pins, &id.0, 1)?.is_empty(),
        });
    }
    Ok(candidates)
}

/// Whether there is an entry, revoked or not, whose record may be unreadable.
fn is_stored(staging: &Staging<'_>, id: &StatementId) -> Result<bool, StoreError> {
    engine::undamaged(staging.has(Table::Entries, &id.0))
}

/// Deletes an entry with its coordinates. Returns whether it was stored.
pub(crate) fn remove(staging: &mut Staging<'_>, id: &StatementId) -> Result<bool, StoreError> {
    let stored = is_stored(staging, id)?;
    // PRUNE SAFETY: the user, or the revocation of a verifier, asked for this statement by name. What is
    // lost is the cost of proving it again; no other statement's keys begin with this id.
    for key in staging.keys(Table::Backrefs, &id.0, usize::MAX)? {
        if let Some((id, coordinate)) = record::read_backref_key(&key) {
            staging.delete(Table::Coordinates, record::place_key(&coordinate, &id));
        }
        staging.delete(Table::Backrefs, key);
    }
    delete_entry(staging, id);
    Ok(stored)
}

/// Removes the entry unless it is pinned, or used where it is needed.
pub(crate) fn evict(
    staging: &mut Staging<'_>,
    id: &StatementId,
    needed: &Needed,
) -> Result<bool, StoreError> {
    // PRUNE SAFETY: pins and places are read through the staging in which every earlier write is, on the
    // one writer, so neither can be added between this look and the commit.
    let pinned = !staging.keys(Table::Pins, &id.0, 1)?.is_empty();
    let live = |key: &Vec<u8>| record::read_backref_key(key).is_none_or(|(_, place)| needed.at(&place));
    if pinned || staging.keys(Table::Backrefs, &id.0, usize::MAX)?.iter().any(live) {
        return Ok(false);
    }
    remove(staging, id)
}

/// Begins an epoch: what is stored of this profile is not handed out any more.
pub(crate) fn revoke(staging: &mut Staging<'_>, profile: &ProfileId) -> Result<(), StoreError> {
    let revocation = Revocation { profile: *profile, epoch: staging.epoch()? + 1 };
    staging.set(Table::Revocations, profile.0.to_vec(), record::write(&revocation));
    Ok(())
}

/// Removes those of these entries that are revoked. Returns how many.
pub(crate) fn remove_revoked(staging: &mut Staging<'_>, ids: &[StatementId]) -> Result<u64, StoreError> {
    let mut removed = 0;
    for id in ids {
        // PRUNE SAFETY: a revoked receipt is never handed out. What it proved is proved again where it is wanted.
        let revoked = match engine::readable(staging.recorded(id))? {
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
/// them, and the entries that nothing keeps any more. Returns where the next page begins; `None` after the last.
pub(crate) fn prune_page(
    staging: &mut Staging<'_>,
    pins: &PinsDigest,
    from: &[u8],
    limit: usize,
    outcome: &mut PruneOutcome,
) -> Result<Option<Vec<u8>>, StoreError> {
    // PRUNE SAFETY:
    // 1. The floor is durable before the first page (`prune_below`), never sinks, and every checkpoint
    //    below it is final on every fork, as the caller asserts. No reorg can need a place below it.
    // 2. A coordinate's key begins with its checkpoint in big-endian, so the range ends before the first
    //    key of the floor itself, whatever fork or kind; an aggregate's checkpoint is its last. Of the range only
    //    what has these pins in its key is touched.
    // 3. A receipt goes only if the staging, in which this page's coordinates are gone and everything else
    //    staged or stored is there, has neither a backref nor a pin of it. Backrefs and coordinates are
    //    written and deleted in one commit, so a place above the floor always has its backref.
    // 4. Writes run one after another on the one writer, so no put can add a place between the look and
    //    the commit; a put staged after it finds the receipt deleted and stores it again.
    // 5. A put after the floor is recorded drops coordinates below it (`add_coordinate`), so nothing
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
            outcome.gone.push(id);
        }
    }
    Ok(next.flatten())
}

/// Deletes the entry if no coordinate and no pin is left. Returns the size of what it collected.
fn collect(staging: &mut Staging<'_>, id: &StatementId) -> Result<Option<u64>, StoreError> {
    if staging.used(id)? {
        return Ok(None);
    }
    let stored = is_stored(staging, id)?;
    let bytes = engine::readable(staging.recorded(id))?.map_or(0, |entry| entry.bytes);
    delete_entry(staging, id);
    Ok(stored.then_some(bytes))
}
