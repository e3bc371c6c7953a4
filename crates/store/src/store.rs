//! The store over any engine: checks what it reads, decides nothing about the disk.

use std::collections::BTreeSet;
use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use reprise_model::coordinate::{Checkpoint, Coordinate, Prefix};
use reprise_model::digest::{Digest, PinsDigest, ProfileId};
use reprise_model::mutation::{self, Mutation};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verified, VerifiedMark, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement, StatementId};

use crate::cap::Cap;
use crate::directory::OpenError;
use crate::disk::DiskEngine;
use crate::engine::{self, Engine, Table};
use crate::envelope::{self, Envelope, EnvelopeError, Unchecked};
use crate::index::{self, Ready};
use crate::memory::MemoryEngine;
use crate::metered::Counters;
use crate::policy::{Durability, VerifyPolicy, WriterMode};
use crate::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, MissReason, NewEntry, PruneOutcome,
    PutOutcome, QuarantineReason, ReceiptStore, Stats, StoreError, Summary, TierStats,
};
use crate::provenance::Origin;
use crate::read_only::ReadOnlyEngine;
use crate::record::{self, EntryRecord};
use crate::salvage::{self, Salvaged};
use crate::tiered::Tiered;
use crate::writer::{Bounds, Writer};

/// How many keys a pass over a table takes at a time.
const PAGE_LEN: usize = 1024;
/// How often a look-up is taken when writes keep coming between its reads.
const LOOK_UPS_MAX: usize = 8;

/// What a store is told when it is opened. The default is what a node runs with.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a put is acknowledged.
    pub durability: Durability,
    /// When a stored receipt is verified in full again.
    pub verify: VerifyPolicy,
    /// Who makes writes durable.
    pub writer_mode: WriterMode,
    /// Writes that may wait for the writer; one more waits for room.
    pub queue_items_max: usize,
    /// Bytes of envelopes that may wait for the writer; more wait for room.
    pub queue_bytes_max: u64,
    /// The largest envelope taken.
    pub entry_bytes_max: u64,
    /// Bytes of envelopes that are kept on disk, as far as what is needed allows; `None` for no bound. See
    /// [`ReceiptStore::protect`].
    pub bytes_max: Option<u64>,
    /// Bytes of envelopes that are kept in memory in front of the disk; 0 for none. See [`crate::tiered`].
    pub memory_bytes_max: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            verify: VerifyPolicy::default(),
            writer_mode: WriterMode::default(),
            queue_items_max: 256,
            queue_bytes_max: 256 << 20,
            entry_bytes_max: 64 << 20,
            bytes_max: None,
            memory_bytes_max: 64 << 20,
            clock: now_ms,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// A receipt store over an engine. Share it by `Arc`; the last handle closes it, after what is queued.
pub struct Store {
    engine: Arc<dyn Engine>,
    writer: Writer,
    verifier: Arc<dyn Verifier>,
    options: Options,
    counters: Arc<Counters>,
    samples: AtomicU64,
    salvaged: Salvaged,
    cap: Option<Arc<Cap>>,
    /// Up to where, of what is proved under which pins, a prune was finished since opening.
    swept: Mutex<HashMap<PinsDigest, Checkpoint>>,
    /// What fails is reported and left; nothing is renewed.
    reading: bool,
}

impl Store {
    /// A store that forgets with its process.
    pub fn in_memory(verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::over(Arc::new(MemoryEngine::default()), verifier, options)
    }

    /// Opens the store in a directory, or makes a new one there. See [`crate::directory`]. Damaged parts of
    /// its log are searched for whole receipts.
    pub fn open(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::on(DiskEngine::open(dir)?, verifier, options)
    }

    /// The same for a directory whose format file is missing or does not read. It is written anew; one that
    /// names another format is refused still.
    pub fn repair(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        Self::on(DiskEngine::repair(dir)?, verifier, options)
    }

    /// Opens what another process may be writing, as it is at this moment, to be read only: nothing is
    /// locked, written, quarantined or salvaged. See [`crate::read_only`].
    pub fn open_read_only(
        dir: &Path,
        verifier: Arc<dyn Verifier>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let store = Self::over(Arc::new(ReadOnlyEngine::open(dir)?), verifier, options)?;
        Ok(Self { reading: true, ..store })
    }

    /// A store over an open directory.
    pub fn on(engine: DiskEngine, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        let damage = engine.damage().to_vec();
        let memory_bytes_max = options.memory_bytes_max;
        let disk: Arc<dyn Engine> = Arc::new(engine);
        let engine = if memory_bytes_max == 0 { disk } else { Arc::new(Tiered::new(disk, memory_bytes_max)) };
        let mut store = Self::over(engine, verifier.clone(), options)?;
        if let Err(error) = store.delete_again() {
            tracing::warn!(%error, "what was pruned or revoked before was not deleted again");
        }
        match salvage::salvage(&store, &|profile| store.was_revoked(profile), verifier.as_ref(), &damage) {
            Ok(salvaged) => store.salvaged = salvaged,
            // A cache may forget. A disk that does not answer will say so again.
            Err(error) => tracing::warn!(%error, "damaged parts of the receipt log were not searched"),
        }
        Ok(store)
    }

    /// Makes durable and tells what was submitted so far, and returns then. Nothing is done where the store's own
    /// thread does it: see [`Options::writer_mode`].
    pub fn flush(&self) {
        self.writer.flush();
    }

    /// What was salvaged when the store was opened.
    pub fn salvaged(&self) -> Salvaged {
        self.salvaged
    }

    /// Deletes what is below the prune floor or revoked: a crash or damage may have left it, or brought it back.
    fn delete_again(&self) -> Result<(), StoreError> {
        for (pins, floor) in self.floors()? {
            if self.has_below(&pins, floor)? {
                self.prune(&pins, floor)?;
            }
        }
        self.remove_revoked().map(drop)
    }

    /// Whether something of these pins lies below a floor.
    fn has_below(&self, pins: &PinsDigest, floor: Floor) -> Result<bool, StoreError> {
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

    /// A store over an engine of the caller's.
    pub fn over(
        engine: Arc<dyn Engine>,
        verifier: Arc<dyn Verifier>,
        options: Options,
    ) -> Result<Self, OpenError> {
        let bounds = Bounds { items_max: options.queue_items_max, bytes_max: options.queue_bytes_max };
        let writer = Writer::start(engine.clone(), options.durability, options.writer_mode, bounds)
            .map_err(|source| OpenError::Thread { source })?;
        let counters = Arc::new(Counters::default());
        let cap = options.bytes_max.map(|bytes_max| Arc::new(Cap::new(bytes_max)));
        let samples = AtomicU64::new(0);
        Ok(Self {
            engine,
            writer,
            verifier,
            options,
            counters,
            samples,
            salvaged: Salvaged::default(),
            swept: Mutex::default(),
            cap,
            reading: false,
        })
    }

    /// Reads an entry and checks it as far as `full` and the policy ask.
    fn look_up(&self, id: &StatementId, claim: Option<&Claim>, full: bool) -> Result<Found, StoreError> {
        // A put or a prune between two reads can look like damage. The writer, which is alone, then finds
        // none, and the look-up is taken again.
        for _ in 0..LOOK_UPS_MAX {
            if let Some(found) = self.look_once(id, claim, full)? {
                return Ok(found);
            }
        }
        Ok(Found { lookup: Lookup::Miss(MissReason::Absent), kind: None, took_ms: 0 })
    }

    /// `None` where what looked like damage was none.
    fn look_once(
        &self,
        id: &StatementId,
        claim: Option<&Claim>,
        full: bool,
    ) -> Result<Option<Found>, StoreError> {
        let read = match self.engine.read_split(Table::Receipts, &id.0, &envelope::seal_at) {
            Err(StoreError::Damaged { reason, .. }) => {
                return self.condemn(id, QuarantineReason::Unreadable(reason));
            }
            read => read?,
        };
        match read.map(|(front, rest)| Unchecked::of_parts(&front, rest)) {
            Some(Ok(unchecked)) => self.check(id, claim, full, unchecked),
            Some(Err(damage)) => self.condemn(id, damage.into()),
            None if self.has_entry(id)? => self.condemn(id, QuarantineReason::Missing),
            None => Ok(Some(Found { lookup: Lookup::Miss(MissReason::Absent), kind: None, took_ms: 0 })),
        }
    }

    fn check(
        &self,
        id: &StatementId,
        claim: Option<&Claim>,
        full: bool,
        unchecked: Unchecked,
    ) -> Result<Option<Found>, StoreError> {
        let mark = if full { None } else { self.mark(id)? };
        // With a mark, `recall` hashes the receipt and compares; so the checksum that the envelope binds may
        // be taken from the mark here, and the receipt's bytes are hashed once.
        let known =
            mark.filter(|mark| unchecked.matches(&mark.checksum) || mutation::is(Mutation::UncheckedRead));
        let checksum = known.map_or_else(|| unchecked.receipt().checksum(), |mark| mark.checksum);
        let envelope = match unchecked.check(&checksum) {
            Ok(envelope) => envelope,
            Err(damage) => return self.condemn(id, damage.into()),
        };
        let Envelope { kind, receipt, provenance } = envelope;
        if receipt.id() != *id {
            return self.condemn(id, QuarantineReason::ForeignStatement { found: receipt.id() });
        }
        if self.is_revoked(id, &receipt.statement.profile)? {
            return Ok(Some(Found { lookup: Lookup::Miss(MissReason::Absent), kind: None, took_ms: 0 }));
        }
        let foreign = claim.is_some_and(|claim| *claim != receipt.claim);
        let recalled = known.filter(|_| !foreign && !self.must_verify(id, provenance.origin));
        let verified = match recalled {
            Some(mark) => Verified::recall(receipt, &mark)
                .map_err(|_| QuarantineReason::Envelope(EnvelopeError::Checksum)),
            None => {
                self.counters.verified();
                match Verified::check(receipt, self.verifier.as_ref()) {
                    Err(reason @ VerifyError::ForeignProfile { .. }) => {
                        let lookup = Lookup::Miss(MissReason::Unverifiable(reason));
                        return Ok(Some(Found { lookup, kind: Some(kind), took_ms: 0 }));
                    }
                    checked => checked.map_err(QuarantineReason::Verification),
                }
            }
        };
        let receipt = match verified {
            Ok(receipt) => receipt,
            Err(reason) => return self.condemn(id, reason),
        };
        if foreign {
            return Err(StoreError::ForeignClaim { statement: *id });
        }
        if recalled.is_none() && known.is_none() && !self.reading {
            self.renew(id, &checksum);
        }
        let lookup = Lookup::Hit(receipt);
        Ok(Some(Found { lookup, kind: Some(kind), took_ms: provenance.took_ms }))
    }

    /// Moves an entry that failed into quarantine. `None` where it does not fail when the writer looks: it
    /// was put again or pruned meanwhile.
    fn condemn(&self, id: &StatementId, reason: QuarantineReason) -> Result<Option<Found>, StoreError> {
        let kind = self.entry(id)?.map(|entry| entry.kind);
        let lookup = Lookup::Miss(MissReason::Quarantined(reason.clone()));
        if self.reading {
            return Ok(Some(Found { lookup, kind, took_ms: 0 }));
        }
        let (id, now_ms) = (*id, (self.options.clock)());
        let (verifier, engine) = (self.verifier.clone(), self.engine.clone());
        let counters = self.counters.clone();
        let step = move |staging: &mut index::Staging<'_>| {
            let Some(bytes) = failing(staging, &id, &reason, verifier.as_ref())? else {
                return Ok(false);
            };
            tracing::warn!(statement = %id, %reason, "a stored receipt failed its check: quarantined, to be proved again");
            counters.quarantined();
            let name = format!("{}-{now_ms}", id.digest());
            if let Err(error) = engine.quarantine(&name, &bytes, &format!("{id}: {reason}")) {
                tracing::warn!(statement = %id, %error, "could not keep what was quarantined");
            }
            index::forget(staging, &id);
            Ok(true)
        };
        let condemned = if self.writer.is_here() {
            // The writer cannot wait for itself: it is done behind this write.
            self.writer.send_with(0, step, Box::new(|_| ()));
            true
        } else {
            self.writer.wait(step).unwrap_or_else(|error| {
                self.counters.failed();
                tracing::warn!(statement = %id, %error, "a failed entry could not be deleted; it stays a miss");
                true
            })
        };
        Ok(condemned.then_some(Found { lookup, kind, took_ms: 0 }))
    }

    /// Records that an entry was verified just now. Nobody waits for it: a lost mark is verified again.
    fn renew(&self, id: &StatementId, checksum: &Digest) {
        let mark = VerifiedMark { checksum: *checksum, at_ms: (self.options.clock)() };
        let id = *id;
        self.writer.send_with(0, move |staging| index::mark(staging, &id, &mark), Box::new(|_| ()));
    }

    /// Whether the policy wants this hit verified in full although a mark covers it.
    fn must_verify(&self, id: &StatementId, origin: Origin) -> bool {
        match self.options.verify {
            VerifyPolicy::Once => false,
            VerifyPolicy::Imported => origin == Origin::Imported,
            VerifyPolicy::Always => true,
            VerifyPolicy::Sample(share) => {
                let hit = self.samples.fetch_add(1, Ordering::Relaxed);
                let draw = blake3::Hasher::new().update(&id.0).update(&hit.to_le_bytes()).finalize();
                let draw = draw.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                f64::from(draw) < share * (f64::from(u32::MAX) + 1.0)
            }
        }
    }

    fn mark(&self, id: &StatementId) -> Result<Option<VerifiedMark>, StoreError> {
        let bytes = self.small(Table::Marks, &id.0)?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    /// The entry, unless it is revoked.
    fn entry(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        match self.recorded(id)? {
            Some(entry) if self.is_revoked(id, &entry.statement.profile)? => Ok(None),
            entry => Ok(entry),
        }
    }

    fn recorded(&self, id: &StatementId) -> Result<Option<EntryRecord>, StoreError> {
        let bytes = self.small(Table::Entries, &id.0)?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)))
    }

    fn is_revoked(&self, id: &StatementId, profile: &ProfileId) -> Result<bool, StoreError> {
        index::is_revoked(|table, key| self.engine.read(table, key), id, profile)
    }

    /// Whether a profile was ever revoked: a receipt of it without an entry may be an old one.
    fn was_revoked(&self, profile: &ProfileId) -> Result<bool, StoreError> {
        self.engine.has(Table::Revocations, &profile.0)
    }

    /// A small record; a damaged one is absent.
    fn small(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        engine::undamaged(self.engine.read(table, key))
    }

    /// Whether the index knows the entry. An index that is unreadable here has forgotten it.
    fn has_entry(&self, id: &StatementId) -> Result<bool, StoreError> {
        engine::undamaged(self.engine.has(Table::Entries, &id.0))
    }

    fn floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        let bytes = self.small(Table::Meta, &record::floor_of(pins))?;
        Ok(bytes.and_then(|bytes| record::read(&bytes)).unwrap_or_default())
    }

    /// Every prune floor.
    fn floors(&self) -> Result<Vec<(PinsDigest, Floor)>, StoreError> {
        let mut floors = Vec::new();
        self.each(Table::Meta, record::FLOOR_PREFIX, &mut |key, bytes| {
            floors.extend(record::read_floor_of(key).zip(record::read(bytes)));
        })?;
        Ok(floors)
    }

    /// Every key and value of a table between two keys, a page at a time.
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

    /// The entry, if the filter lets it pass.
    fn filtered(&self, id: StatementId, filter: &Filter) -> Result<Option<Summary>, StoreError> {
        let Some(entry) = self.entry(&id)? else { return Ok(None) };
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

    /// The ids a filter can let pass, in order: by the coordinates of its checkpoint, or all.
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

    fn list_passing(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        let limit = filter.limit.unwrap_or(usize::MAX);
        let mut passing = Vec::new();
        for id in self.candidates(filter)? {
            if passing.len() >= limit {
                break;
            }
            passing.extend(self.filtered(id, filter)?);
        }
        Ok(passing)
    }

    fn read_for_a_person(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
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

    fn prune(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        let pins = *pins;
        // Durable before the first delete: what is put from now on drops its places below the floor.
        self.writer.wait(move |staging| index::raise_floor(staging, &pins, floor))?;
        let mut outcome = PruneOutcome::default();
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner).get(&pins).copied();
        // Nothing of these pins came to lie below a floor whose pass was finished, and what others have there stays.
        let mut from = Some(swept.map_or(Vec::new(), |below| record::floor_key(below).to_vec()));
        while let Some(start) = from {
            let (next, page) = self.writer.wait(move |staging| {
                let mut page = PruneOutcome::default();
                let next = index::prune_page(staging, &pins, &start, PAGE_LEN, &mut page)?;
                Ok((next, page))
            })?;
            from = next;
            outcome.coordinates += page.coordinates;
            outcome.receipts += page.receipts;
            outcome.bytes += page.bytes;
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let below = swept.entry(pins).or_default();
        *below = floor.below.max(*below);
        Ok(outcome)
    }

    fn revoke_all(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        let profile = *profile;
        // Durable before the first delete: from here on none of them is handed out, whatever is interrupted.
        self.writer.wait(move |staging| index::revoke(staging, &profile))?;
        self.remove_revoked()
    }

    fn remove_revoked(&self) -> Result<u64, StoreError> {
        if self.engine.scan(Table::Revocations, &[], None, 1)?.is_empty() {
            return Ok(0);
        }
        let mut revoked = Vec::new();
        for id in self.candidates(&Filter::default())? {
            if let Some(entry) = self.recorded(&id)?
                && self.is_revoked(&id, &entry.statement.profile)?
            {
                revoked.push(id);
            }
        }
        let mut removed = 0;
        for page in revoked.chunks(PAGE_LEN) {
            let page = page.to_vec();
            removed += self.writer.wait(move |staging| index::remove_revoked(staging, &page))?;
        }
        Ok(removed)
    }

    fn gather_stats(&self) -> Result<Stats, StoreError> {
        let mut stats = self.counters.stats();
        self.each(Table::Entries, &[], &mut |_, bytes| {
            if let Some(entry) = record::read::<EntryRecord>(bytes) {
                let kind = &mut stats.kinds[entry.kind as usize];
                kind.count += 1;
                kind.bytes += entry.bytes;
                kind.proving_ms += entry.provenance.took_ms;
            }
        })?;
        self.each(Table::Coordinates, &[], &mut |_, _| {
            stats.coordinates += 1;
        })?;
        stats.flushes = self.writer.flushes();
        stats.evicted = self.cap.as_ref().map_or(0, |cap| cap.evicted());
        stats.tiers = self.engine.tiers();
        stats.prune_floors = self.floors()?;
        Ok(stats)
    }

    /// What is to be written for a new entry, or why it is refused.
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
        Ok(Ready { id, record, envelope, mark, coordinates })
    }
}

impl ReceiptStore for Store {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        let found = self.counters.tally(self.look_up(&statement.id(), Some(claim), false))?;
        self.counters.looked_up(&found.lookup, found.kind, found.took_ms);
        Ok(found.lookup)
    }

    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.counters.tally(self.has_entry(id))
    }

    fn submit(&self, entry: NewEntry, done: Completion) {
        let ready = match self.ready(entry) {
            Ok(ready) => ready,
            Err(error) => return done(self.counters.tally(Err(error))),
        };
        let counters = self.counters.clone();
        let bytes = ready.record.bytes;
        let cap = self.cap.clone();
        let step = move |staging: &mut index::Staging<'_>| {
            cap.as_ref().map_or(Ok(()), |cap| cap.make_room(staging, &ready))?;
            index::put(staging, ready)
        };
        let told_cap = self.cap.clone();
        let told = move |outcome: Result<PutOutcome, StoreError>| {
            match (&outcome, told_cap) {
                (Ok(outcome), _) => counters.coordinates_added(&outcome.coordinates),
                (Err(_), Some(cap)) => cap.failed(),
                (Err(_), None) => {}
            }
            done(counters.tally(outcome));
        };
        self.writer.send_with(bytes, step, Box::new(told));
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
        let outcome = self.writer.wait(move |staging| index::add_coordinates(staging, &coordinates));
        let outcome = self.counters.tally(outcome)?;
        self.counters.coordinates_added(&outcome);
        Ok(outcome)
    }

    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        let mut ids = Vec::new();
        let visit = &mut |key: &[u8], _: &[u8]| {
            ids.extend(record::read_place_key(key).map(|(_, id)| id));
        };
        self.counters.tally(self.each(Table::Coordinates, &coordinate.key(), visit))?;
        Ok(ids)
    }

    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.counters.tally(self.read_for_a_person(id))
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.counters.tally(self.list_passing(filter))
    }

    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        Ok(self.counters.tally(self.look_up(id, None, true))?.lookup)
    }

    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError> {
        let (id, owner) = (*id, owner.to_owned());
        let pinned = self.writer.wait(move |staging| {
            index::pin(staging, &id, &owner);
            Ok(())
        });
        self.counters.tally(pinned)
    }

    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
        let (id, owner) = (*id, owner.to_owned());
        let unpinned = self.writer.wait(move |staging| index::unpin(staging, &id, &owner));
        self.counters.tally(unpinned)
    }

    fn remove(&self, id: &StatementId) -> Result<bool, StoreError> {
        let id = *id;
        let removed = self.writer.wait(move |staging| index::remove(staging, &id));
        Ok(self.counters.tally(removed)?.is_some())
    }

    fn evict(&self, id: &StatementId, live_from: Checkpoint) -> Result<bool, StoreError> {
        let id = *id;
        let evicted = self.writer.wait(move |staging| index::evict(staging, &id, live_from));
        self.counters.tally(evicted)
    }

    fn protect(&self, needed_from: [Checkpoint; 3]) {
        if let Some(cap) = &self.cap {
            cap.protect(needed_from);
        }
    }

    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        self.counters.tally(self.prune(pins, floor))
    }

    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.counters.tally(self.floor(pins))
    }

    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError> {
        let (id, bytes) = (profile.id(), record::write(profile));
        let described = self.writer.wait(move |staging| {
            index::describe(staging, &id, bytes);
            Ok(())
        });
        self.counters.tally(described)
    }

    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        let mut profiles = Vec::new();
        let visit = &mut |_: &[u8], bytes: &[u8]| {
            profiles.extend(record::read::<ProofProfile>(bytes));
        };
        self.counters.tally(self.each(Table::Profiles, &[], visit))?;
        Ok(profiles)
    }

    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        self.counters.tally(self.revoke_all(profile))
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.counters.tally(self.gather_stats())
    }

    fn tiers(&self) -> Vec<TierStats> {
        self.engine.tiers()
    }
}

/// What a look-up found, and what the counters want to know of it.
struct Found {
    lookup: Lookup,
    kind: Option<Kind>,
    took_ms: u64,
}

/// The bytes of an entry that was judged, if it fails still; empty where there are none to be read.
///
/// Read through the staging: a put earlier in the same group heals an entry, and must not be undone.
fn failing(
    staging: &index::Staging<'_>,
    id: &StatementId,
    reason: &QuarantineReason,
    verifier: &dyn Verifier,
) -> Result<Option<Vec<u8>>, StoreError> {
    let bytes = match staging.get(Table::Receipts, &id.0) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(staging.has(Table::Entries, &id.0)?.then(Vec::new)),
        Err(StoreError::Damaged { .. }) => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let Ok(envelope) = Envelope::decode(&bytes) else { return Ok(Some(bytes)) };
    let receipt: Receipt = envelope.receipt;
    let refused = matches!(reason, QuarantineReason::Verification(_))
        && !matches!(verifier.verify(&receipt), Ok(()) | Err(VerifyError::ForeignProfile { .. }));
    Ok((refused || receipt.id() != *id).then_some(bytes))
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("options", &self.options).finish_non_exhaustive()
    }
}
