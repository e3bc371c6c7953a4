//! The store over any engine: opens it, and carries out what the port promises.
//!
//! | part | what it does |
//! |---|---|
//! | `checker` | reads a receipt, checks it, quarantines what fails |
//! | `tables` | reads everything else |
//! | `writer` | makes writes durable, in groups |
//! | `pruner` | deletes what is final or revoked |

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{VerifiedMark, Verifier};
use reprise_model::statement::{Claim, Statement, StatementId};

use crate::cap::Cap;
use crate::checker::Checker;
use crate::directory::OpenError;
use crate::disk::DiskEngine;
use crate::engine::StorageEngine;
use crate::envelope;
use crate::memory::MemoryEngine;
use crate::metered::Counters;
use crate::operation::{self, Ready};
use crate::options::Options;
use crate::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, Needed, NewEntry, PruneOutcome,
    PutOutcome, ReceiptStore, Stats, StoreError, Summary, TierStats,
};
use crate::provenance::Origin;
use crate::pruner::Pruner;
use crate::read_only::ReadOnlyEngine;
use crate::record::{self, EntryRecord, Placed};
use crate::salvage::{self, Salvaged};
use crate::staging::Staging;
use crate::tables::Tables;
use crate::tiered::Tiered;
use crate::writer::{Bounds, Writer};

/// A receipt store over an engine. Share it by `Arc`; the last handle closes it, after what is queued.
pub struct Store {
    tables: Tables,
    checker: Checker,
    pruner: Pruner,
    writer: Arc<Writer>,
    options: Options,
    counters: Arc<Counters>,
    salvaged: Salvaged,
    cap: Option<Arc<Cap>>,
}

impl Store {
    /// A store in memory.
    pub fn in_memory(verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::over(Arc::new(MemoryEngine::default()), verifier, options)
    }

    /// Opens the store in a directory, or makes a new one there. See [`crate::directory`]. Damaged parts of
    /// its log are searched for whole receipts.
    pub fn open(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::on(DiskEngine::open(dir)?, verifier, options)
    }

    /// The same for a directory whose format file is missing or does not read: the file is written again. A file that
    /// names another format is still refused.
    pub fn repair(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::on(DiskEngine::repair(dir)?, verifier, options)
    }

    /// Opens a directory for reading only, as it is at this moment, while another process may write it: nothing is
    /// locked, written, quarantined or salvaged. See [`crate::read_only`].
    pub fn open_read_only(
        dir: &Path,
        verifier: Arc<dyn Verifier>,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::start(Arc::new(ReadOnlyEngine::open(dir)?), verifier, options, true)
    }

    /// A store over an open directory.
    pub fn on(engine: DiskEngine, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        let damage = engine.damage().to_vec();
        let memory_bytes_max = options.memory_bytes_max;
        let disk: Arc<dyn StorageEngine> = Arc::new(engine);
        let engine = if memory_bytes_max == 0 { disk } else { Arc::new(Tiered::new(disk, memory_bytes_max)) };
        let mut store = Self::over(engine, verifier.clone(), options)?;
        if let Err(error) = store.pruner.delete_again() {
            tracing::warn!(%error, "receipts that were pruned or revoked before could not be deleted again");
        }
        match salvage::salvage(
            &store,
            &|profile| store.tables.was_revoked(profile),
            verifier.as_ref(),
            &damage,
        ) {
            Ok(salvaged) => store.salvaged = salvaged,
            // Not fatal: a receipt that is not salvaged is proved again, and the next read reports a failing disk.
            Err(error) => tracing::warn!(%error, "damaged parts of the receipt log were not searched"),
        }
        Ok(store)
    }

    /// Makes every submission so far durable and calls its completion. Does nothing where the store has a thread of
    /// its own for that: see [`Options::writer_mode`].
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// What was salvaged when the store was opened.
    pub fn salvaged(&self) -> Salvaged {
        self.salvaged
    }

    /// A store over an engine of the caller's.
    pub fn over(
        engine: Arc<dyn StorageEngine>,
        verifier: Arc<dyn Verifier>,
        options: Options,
    ) -> Result<Self, OpenError> {
        Self::start(engine, verifier, options, false)
    }

    fn start(
        engine: Arc<dyn StorageEngine>,
        verifier: Arc<dyn Verifier>,
        options: Options,
        read_only: bool,
    ) -> Result<Self, OpenError> {
        let bounds = Bounds { items_max: options.queue_items_max, bytes_max: options.queue_bytes_max };
        let writer = Writer::start(engine.clone(), options.durability, options.writer_mode, bounds)
            .map_err(|source| OpenError::Thread { source })?;
        let writer = Arc::new(writer);
        let counters = Arc::new(Counters::default());
        let tables = Tables { engine };
        let checker = Checker {
            tables: tables.clone(),
            writer: writer.clone(),
            verifier,
            verify: options.verify,
            clock: options.clock,
            counters: counters.clone(),
            samples: AtomicU64::new(0),
            read_only,
        };
        Ok(Self {
            pruner: Pruner::new(tables.clone(), writer.clone()),
            cap: options.bytes_max.map(|bytes_max| Arc::new(Cap::new(bytes_max))),
            salvaged: Salvaged::default(),
            tables,
            checker,
            writer,
            options,
            counters,
        })
    }

    fn gather_stats(&self) -> Result<Stats, StoreError> {
        let mut stats = self.counters.stats();
        self.tables.count(&mut stats)?;
        stats.flushes = self.writer.flushes();
        stats.evicted = self.cap.as_ref().map_or(0, |cap| cap.evicted());
        stats.tiers = self.tiers();
        stats.damaged_bytes = self.tables.engine.damaged_bytes();
        Ok(stats)
    }

    /// A new entry in the form that is written, or why it is refused.
    fn ready(&self, entry: NewEntry) -> Result<Ready, StoreError> {
        let NewEntry { receipt, kind, provenance, coordinates } = entry;
        let id = receipt.id();
        let bytes = envelope::encoded_len(&receipt, &provenance);
        if bytes > self.options.entry_bytes_max {
            return Err(StoreError::TooLarge {
                statement: id,
                bytes,
                bytes_max: self.options.entry_bytes_max,
            });
        }
        let now_ms = (self.options.clock)();
        let record = EntryRecord {
            kind,
            statement: receipt.statement,
            program: receipt.claim.program,
            seal_kind: receipt.seal_kind,
            bytes,
            provenance,
            stored_at_ms: now_ms,
        };
        if let Some(foreign) = coordinates.iter().find(|coordinate| !record.fits(coordinate)) {
            let checkpoint = foreign.checkpoint;
            return Err(StoreError::ForeignCoordinate { statement: id, checkpoint });
        }
        let checksum = receipt.checksum();
        let envelope = envelope::encode(kind, &receipt, &record.provenance, &checksum);
        let mark = VerifiedMark { checksum, at_ms: now_ms };
        let placed = match record.provenance.origin {
            Origin::Imported => Placed::Reported,
            Origin::Proved => Placed::Used,
        };
        Ok(Ready { id, record, envelope, mark, coordinates, placed })
    }
}

impl ReceiptStore for Store {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        let found = self.counters.tally(self.checker.look_up(&statement.id(), Some(claim), false))?;
        self.counters.looked_up(&found.lookup, found.kind, found.took_ms);
        Ok(found.lookup)
    }

    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.counters.tally(self.tables.has_entry(id))
    }

    fn submit(&self, entry: NewEntry, done: Completion) {
        let ready = match self.ready(entry) {
            Ok(ready) => ready,
            Err(error) => return done(self.counters.tally(Err(error))),
        };
        let counters = self.counters.clone();
        let bytes = ready.record.bytes;
        let cap = self.cap.clone();
        let step = move |staging: &mut Staging<'_>| {
            cap.as_ref().map_or(Ok(()), |cap| cap.make_room(staging, &ready))?;
            operation::put(staging, ready)
        };
        let cap_of_put = self.cap.clone();
        let acknowledged = move |outcome: Result<PutOutcome, StoreError>| {
            match (&outcome, cap_of_put) {
                (Ok(outcome), _) => counters.coordinates_added(&outcome.coordinates),
                (Err(_), Some(cap)) => cap.failed(),
                (Err(_), None) => {}
            }
            done(counters.tally(outcome));
        };
        self.writer.send_with(bytes, step, Box::new(acknowledged));
    }

    fn put(&self, entry: NewEntry) -> Result<PutOutcome, StoreError> {
        if self.writer.is_here() {
            return self.counters.tally(Err(StoreError::Reentrant));
        }
        let (done, outcome) = crossbeam_channel::bounded(1);
        self.submit(
            entry,
            Box::new(move |result| {
                // A caller that is gone wants no answer.
                let _ = done.send(result);
            }),
        );
        self.writer.flush();
        outcome.recv().unwrap_or(Err(StoreError::Closed))
    }

    fn add_coordinates(
        &self,
        coordinates: &[(Coordinate, StatementId)],
    ) -> Result<CoordinateOutcome, StoreError> {
        let coordinates = coordinates.to_vec();
        let outcome = self.writer.wait(move |staging| operation::add_coordinates(staging, &coordinates));
        let outcome = self.counters.tally(outcome)?;
        self.counters.coordinates_added(&outcome);
        Ok(outcome)
    }

    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        self.counters.tally(self.tables.at(coordinate))
    }

    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.counters.tally(self.tables.details(id))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.counters.tally(self.tables.list(filter))
    }

    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        Ok(self.counters.tally(self.checker.look_up(id, None, true))?.lookup)
    }

    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError> {
        let (id, owner) = (*id, owner.to_owned());
        let pinned = self.writer.wait(move |staging| {
            operation::pin(staging, &id, &owner);
            Ok(())
        });
        self.counters.tally(pinned)
    }

    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
        let (id, owner) = (*id, owner.to_owned());
        let unpinned = self.writer.wait(move |staging| operation::unpin(staging, &id, &owner));
        self.counters.tally(unpinned)
    }

    fn remove(&self, id: &StatementId) -> Result<bool, StoreError> {
        let id = *id;
        let removed = self.writer.wait(move |staging| operation::remove(staging, &id));
        self.counters.tally(removed)
    }

    fn evict(&self, id: &StatementId, needed: &Needed) -> Result<bool, StoreError> {
        let (id, needed) = (*id, needed.clone());
        let evicted = self.writer.wait(move |staging| operation::evict(staging, &id, &needed));
        self.counters.tally(evicted)
    }

    fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; 3]) {
        if let Some(cap) = &self.cap {
            cap.protect(pins, needed_from);
        }
    }

    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        self.counters.tally(self.pruner.prune(pins, floor))
    }

    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.counters.tally(self.tables.floor(pins))
    }

    /// Nobody shares it.
    fn announce(&self, _: &PinsDigest, _: Floor) {}

    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError> {
        let (id, bytes) = (profile.id(), record::write(profile));
        let described = self.writer.wait(move |staging| {
            operation::describe(staging, &id, bytes);
            Ok(())
        });
        self.counters.tally(described)
    }

    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        self.counters.tally(self.tables.profiles())
    }

    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        self.counters.tally(self.pruner.revoke(profile))
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.counters.tally(self.gather_stats())
    }

    fn tiers(&self) -> Vec<TierStats> {
        self.tables.engine.tiers()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}
