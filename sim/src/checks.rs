//! The checkers: the invariants, judged from outside a machine.
//!
//! A [`Checker`] survives the machine's crashes. It observes every event, and a [`CheckedStore`] puts it between the
//! pipeline and its store. It knows the disk, the L1 and the injected faults, and uses no state of the code under test.
//!
//! | invariant | judged at |
//! |---|---|
//! | no more proofs run than there are permits; one proof a statement | a proof's begin |
//! | no statement is proved twice, unless an injected fault lost its receipt | a proof's begin |
//! | nothing is published before it is stored whole | an artifact's publication |
//! | what was acknowledged is there after a crash or a power cut | a process's begin |
//! | the store returns no receipt that does not verify for the statement asked | a store's answer |
//! | a coordinate names a block at its height | a store's write |
//! | only what is final, and settled by a settlement that is final, is pruned | a prune |
//! | nothing that is still used is deleted | a prune |
//! | nothing is left below the prune floor | a store's write; the end |
//! | a world does not depend on its host: no receipt names one | a store's write |
//! | a valid proof that comes late is kept | a proof's begin |
//! | a snapshot that is believed is, to the byte, one that was written | a start after a directory was lost |
//! | what was paid in is what accounts hold, what is owed and what is paid out, to the sompi | [`crate::value`], after every step |
//! | the payer is told what is owed, at once; what is owed is what is settled and not paid | the same |
//! | nothing is proved, submitted or kept over a snapshot before the chain has shown its settlement | a proof's begin, a submission |
//! | a queue stays within its bound | a change of the queue |
//! | health names what the L1 does to the node, and nothing that has ended | [`crate::conditions`], after each input |
//! | settlements are gapless, and their roots those of a plain execution | [`crate::l1`] |
//! | once faults stop, everything is proved and settled | [`crate::world`] |

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{BlockHash, PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::Verifier;
use reprise_model::statement::{Claim, Statement, StatementId};
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::health::{Health, Reason};
use reprise_node::violation::Violation;
use reprise_store::ReceiptStore;
use reprise_store::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, Needed, NewEntry, PruneOutcome,
    PutOutcome, Stats, StoreError, Summary, TierStats,
};

use crate::conditions::HealthChecker;
use crate::value::ValueChecker;

/// The checker of a machine, over all its processes.
pub struct Checker {
    /// The store of the running process, read without counting.
    store: Option<Arc<dyn ReceiptStore>>,
    /// Whether acknowledged receipts must be there. Without a cache they are dropped on purpose.
    cache: bool,
    /// Whether bits have flipped on the disk: then any receipt may be lost.
    rotten: bool,
    permits: usize,
    jobs_max: usize,
    /// The blocks the L1 has shown lately, and their heights.
    heights: HashMap<BlockHash, u64>,
    /// The same, in the order in which they were first shown.
    shown: VecDeque<BlockHash>,
    /// Everything below this is final, and settled by a settlement that is final, as the L1 has it.
    prunable: Checkpoint,
    /// Statements whose write was acknowledged, and their coordinates.
    acknowledged: HashMap<StatementId, BTreeSet<Coordinate>>,
    /// Receipts that may be lost, and why.
    excused: HashMap<StatementId, Excuse>,
    /// Valid proofs of attempts that were written off, not stored yet.
    late: HashSet<StatementId>,
    /// The running proofs of this process.
    running: HashSet<StatementId>,
    /// The statements that a proof was begun for, without the oldest that are pruned.
    begun: HashSet<StatementId>,
    /// How many statements that ever were.
    distinct: u64,
    /// The statements whose receipts were pruned, the oldest first.
    pruned: VecDeque<StatementId>,
    orphaned: HashMap<BlockHash, Vec<StatementId>>,
    /// The statements stored in this process.
    fresh: HashSet<StatementId>,
    /// Statements that returned with their block, and were stored when it left.
    back: HashSet<StatementId>,
    violations: Vec<Violation>,
    trace: blake3::Hasher,
    /// The notes since they were last read, in words; `None` where they are not read.
    notes: Option<Vec<String>>,
    /// Judges what the health says of the L1.
    pub health: HealthChecker,
    /// Judges what the node makes of the vault's coins.
    pub value: ValueChecker,
    /// Whether the process began with a snapshot that a founder has forged.
    pub is_deceived: bool,
    /// Whether an operator must act: a statement was given up.
    pub given_up: bool,
    /// The counts.
    pub counts: Counts,
}

/// How far below what is settled for good blocks are known by their heights: no place that lies deeper is named any more. A number of
/// blocks would not do: after an outage of the L1 a node is shown in a minute what was mined in hours.
const SHOWN_BELOW: u64 = 20_000;

/// How many pruned statements are remembered.
const PRUNED_MAX: usize = 20_000;

/// Why a receipt may be lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Excuse {
    /// A fault took it.
    Fault,
    /// Everything that used it is final and settled.
    Pruned,
}

/// The counts of a machine, over all its processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Counts {
    /// Proofs begun.
    pub begun: u64,
    /// Of these, ended before the backend was called: an assumption was lost, or the process ended.
    pub not_begun: u64,
    /// Of those begun, for a statement whose receipt was rightly pruned, and that was wanted again later.
    pub after_prune: u64,
    /// Requests that the store answered.
    pub hits: u64,
    /// Statements that came back with their blocks, stored when these left.
    pub returned: u64,
    /// Requests that the store answered with a receipt of an earlier process, or for a returned block.
    pub answered: u64,
    /// Receipts that a new process found on its disk.
    pub found_at_start: u64,
    /// Artifacts handed on.
    pub published: u64,
    /// Receipts handed out, each verified again here.
    pub handed_out: u64,
    /// Receipts pruned.
    pub pruned: u64,
    /// Writes whose coordinates were all final, so that nothing was stored.
    pub late: u64,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("counts", &self.counts).finish_non_exhaustive()
    }
}

/// A checker, shared with its machine's store.
pub type SharedChecker = Arc<Mutex<Checker>>;

/// The checker, locked.
pub fn lock(checker: &SharedChecker) -> MutexGuard<'_, Checker> {
    checker.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Checker {
    /// A new checker of a machine with these bounds.
    pub fn new(permits: usize, jobs_max: usize, cache: bool, value: ValueChecker) -> Self {
        Self {
            cache,
            value,
            is_deceived: false,
            store: None,
            rotten: false,
            permits,
            jobs_max: jobs_max.max(permits + 1),
            heights: HashMap::new(),
            shown: VecDeque::new(),
            prunable: Checkpoint(0),
            acknowledged: HashMap::new(),
            excused: HashMap::new(),
            late: HashSet::new(),
            running: HashSet::new(),
            begun: HashSet::new(),
            distinct: 0,
            pruned: VecDeque::new(),
            orphaned: HashMap::new(),
            fresh: HashSet::new(),
            back: HashSet::new(),
            violations: vec![],
            trace: blake3::Hasher::new_derive_key("reprise 2026-11 simulation trace"),
            notes: None,
            health: HealthChecker::default(),
            given_up: false,
            counts: Counts::default(),
        }
    }

    /// How much of everything it holds.
    pub fn holds(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("heights", self.heights.len()),
            ("acknowledged", self.acknowledged.len()),
            ("excused", self.excused.len()),
            ("late", self.late.len()),
            ("begun", self.begun.len()),
            ("pruned", self.pruned.len()),
            ("orphaned", self.orphaned.len()),
            ("fresh", self.fresh.len()),
            ("back", self.back.len()),
        ]
    }

    /// The invariants broken so far.
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }

    /// Records a broken invariant.
    pub fn broken(&mut self, promise: &'static str, by: impl ToString) {
        self.violations.push(Violation { promise, by: by.to_string() });
    }

    /// Notes something in the trace.
    pub fn note(&mut self, what: &str, about: &[u8]) {
        self.trace.update(what.as_bytes()).update(about);
        if let Some(notes) = &mut self.notes {
            let about: String = about.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
            notes.push(format!("{what} {about}"));
        }
    }

    /// The notes since the last call, in words. The first call starts the notes.
    pub fn take_notes(&mut self) -> Vec<String> {
        self.notes.replace(vec![]).unwrap_or_default()
    }

    /// The digest of everything noted, in order.
    pub fn trace(&self) -> blake3::Hash {
        self.trace.finalize()
    }

    /// The L1 shows a block.
    pub fn shown(&mut self, block: BlockHash, height: u64) {
        if self.heights.insert(block, height).is_none() {
            self.shown.push_back(block);
        }
        let is_deep = |block: &BlockHash, heights: &HashMap<BlockHash, u64>| {
            heights.get(block).is_none_or(|height| height + SHOWN_BELOW < self.prunable.0)
        };
        while let Some(oldest) = self.shown.pop_front_if(|block| is_deep(block, &self.heights)) {
            self.heights.remove(&oldest);
            self.orphaned.remove(&oldest);
        }
    }

    /// The L1 has finalized a settlement: everything below may be pruned.
    pub fn may_prune_below(&mut self, floor: Checkpoint) {
        self.prunable = self.prunable.max(floor);
    }

    /// A fault takes a receipt: it may be proved again.
    pub fn excuse(&mut self, id: StatementId) {
        self.excused.insert(id, Excuse::Fault);
    }

    /// A bit flips on the disk.
    pub fn bit_flipped(&mut self) {
        self.rotten = true;
    }

    /// Everything on the disk is gone.
    pub fn directory_lost(&mut self) {
        for (id, coordinates) in &mut self.acknowledged {
            self.excused.entry(*id).or_insert(Excuse::Fault);
            coordinates.clear();
        }
    }

    /// A process begins over this store: what was acknowledged to an earlier one must be there.
    pub fn begins(&mut self, store: Arc<dyn ReceiptStore>) {
        self.late.clear();
        self.store = Some(store);
        let known: Vec<StatementId> = self.acknowledged.keys().copied().collect();
        for id in known {
            match self.stored(&id) {
                Some(true) => self.counts.found_at_start += 1,
                Some(false) => self.missed(id, "what was acknowledged is there after a crash"),
                None => {}
            }
        }
    }

    /// A valid proof of a statement comes from an attempt that was written off.
    pub fn came_late(&mut self, id: StatementId) {
        // One that is stored already is not asked for, though its receipt has rotted since.
        if self.stored(&id) != Some(true) && !self.acknowledged.contains_key(&id) {
            self.late.insert(id);
        }
    }

    /// Whether a receipt is stored whole; `None` where the process has ended.
    fn stored(&self, id: &StatementId) -> Option<bool> {
        let shown = self.store.as_ref()?.show(id).ok()?;
        Some(shown.is_some_and(|shown| shown.receipt.is_ok_and(|receipt| receipt.id() == *id)))
    }

    /// A receipt is not there. Breaks the invariant unless it may be lost.
    fn missed(&mut self, id: StatementId, promise: &'static str) {
        if !self.cache || !self.acknowledged.contains_key(&id) || self.excused.contains_key(&id) {
            return;
        }
        if self.rotten {
            self.excuse(id);
        } else {
            self.broken(promise, id);
        }
    }

    /// The process ended, and its running proofs with it.
    pub fn process_ended(&mut self) {
        self.store = None;
        self.running.clear();
        self.fresh.clear();
        self.health.process_ended();
        self.given_up = false;
    }

    /// The proof of a statement no longer counts as running.
    pub fn ended(&mut self, id: &StatementId) {
        self.running.remove(id);
    }

    /// Distinct statements that a proof was begun for.
    pub fn distinct(&self) -> u64 {
        self.distinct
    }

    fn on_proving(&mut self, id: StatementId) {
        if self.late.contains(&id) {
            self.broken("a valid proof that comes late is kept", id);
        }
        self.counts.begun += 1;
        self.distinct += u64::from(self.begun.insert(id));
        self.counts.after_prune += u64::from(self.excused.get(&id) == Some(&Excuse::Pruned));
        if !self.running.insert(id) {
            self.broken("one proof a statement", id);
        }
        if self.running.len() > self.permits {
            self.broken("no more proofs run than there are permits", id);
        }
        match self.stored(&id) {
            Some(true) => self.broken("nothing is proved whose receipt is stored", id),
            Some(false) => self.missed(id, "nothing is proved twice unless a fault lost its receipt"),
            None => {}
        }
    }

    fn on_stored(&mut self, id: StatementId, coordinates: &[Coordinate]) {
        self.excused.remove(&id);
        self.fresh.insert(id);
        self.acknowledged.entry(id).or_default().extend(coordinates);
    }

    fn on_coordinates(&mut self, places: impl Iterator<Item = Coordinate>) {
        for place in places {
            if self.heights.get(&place.block_hash) != Some(&place.checkpoint.0) {
                self.broken("a coordinate names a block at its height", format!("{place:?}"));
            }
        }
    }

    /// A prune begins: a receipt without another coordinate may be gone from here on, even if the prune never ends.
    fn on_pruning(&mut self, floor: Checkpoint) {
        if floor > self.prunable {
            let prunable = self.prunable;
            self.broken("only what is finally settled is pruned", format!("{floor} is not below {prunable}"));
        }
        let used = |places: &BTreeSet<Coordinate>| places.iter().any(|place| place.checkpoint >= floor);
        // In an order of their own: a map has none.
        let gone: BTreeSet<StatementId> =
            self.acknowledged.extract_if(|_, places| !used(places)).map(|(id, _)| id).collect();
        for id in gone {
            self.excused.insert(id, Excuse::Pruned);
            self.pruned.push_back(id);
        }
        // One that is begun again after so long counts as another statement.
        while self.pruned.len() > PRUNED_MAX
            && let Some(oldest) = self.pruned.pop_front()
        {
            if self.excused.get(&oldest) == Some(&Excuse::Pruned) {
                self.excused.remove(&oldest);
                self.begun.remove(&oldest);
                self.back.remove(&oldest);
            }
        }
    }

    fn on_pruned(&mut self) {
        // A prune takes what it deletes out of the index. Whether what is left can be read was judged before.
        let Some(store) = self.store.clone() else { return };
        let gone = |id: &&StatementId| store.contains(id).is_ok_and(|there| !there);
        let gone: Vec<StatementId> = self.acknowledged.keys().filter(gone).copied().collect();
        gone.into_iter().for_each(|id| self.missed(id, "a prune deletes nothing that is used"));
    }
}

impl Observer for Checker {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.value.hears(event);
        match event {
            PipelineEvent::Chain { event, .. } => {
                for added in &event.added {
                    let hash = added.metadata.block_hash();
                    self.note("added", &hash.0);
                    let stored = self.orphaned.remove(&hash).unwrap_or_default();
                    self.counts.returned += stored.len() as u64;
                    self.back.extend(stored);
                }
            }
            PipelineEvent::Orphaned { block, stored } => {
                self.note("orphaned", &block.0);
                self.orphaned.insert(*block, stored.iter().map(|(id, _)| *id).collect());
            }
            PipelineEvent::Found { order, .. } => {
                self.counts.answered += u64::from(!self.fresh.contains(&order.id));
                self.note("found", &order.id.0);
            }
            PipelineEvent::Reused(id, _) => {
                self.counts.hits += 1;
                self.counts.answered += u64::from(self.back.contains(id));
                self.note("reused", &id.0);
            }
            PipelineEvent::Proving(order, _) => {
                self.note("proving", &order.id.0);
                self.judge_deceit(order.id);
                self.on_proving(order.id);
            }
            PipelineEvent::Proved { order, failure, .. } => {
                self.note(if failure.is_some() { "failed" } else { "proved" }, &order.id.0);
                self.ended(&order.id);
            }
            PipelineEvent::Published(order) => {
                self.counts.published += 1;
                self.note("published", &order.id.0);
                if self.stored(&order.id) == Some(false)
                    && !self.rotten
                    && !self.excused.contains_key(&order.id)
                {
                    self.broken("nothing is published before it is durable", order.id);
                }
            }
            PipelineEvent::Stored(order) => {
                self.late.remove(&order.id);
                self.note("stored", &order.id.0);
            }
            PipelineEvent::Submitted(id) => {
                self.note("submitted", &id.0);
                self.judge_deceit(*id);
            }
            PipelineEvent::Lost(id) => self.note("lost", &id.0),
            PipelineEvent::Settled(settlement) => {
                self.health.relieved();
                self.note("settled", &settlement.statement.0);
            }
            PipelineEvent::Diverged(id) => self.broken("a coordinate holds one statement", id),
            PipelineEvent::Queue { queued, .. } if *queued > self.jobs_max => {
                self.broken("a queue stays within its bound", format!("{queued} of {}", self.jobs_max));
            }
            PipelineEvent::Queue { unsettled: false, .. } => self.health.relieved(),
            PipelineEvent::Health(health) => self.on_health(health),
            _ => {}
        }
    }
}

impl Checker {
    /// What is done is done over a state that the L1 has confirmed.
    fn judge_deceit(&mut self, id: StatementId) {
        if self.is_deceived {
            self.broken("nothing is done over a snapshot that the chain has not confirmed", id);
        }
    }

    fn on_health(&mut self, health: &Health) {
        self.health.says(health);
        for reason in health.reasons() {
            match reason {
                Reason::GivenUp { .. } => self.given_up = true,
                Reason::Violated { promise } if self.cache => {
                    self.broken("the watcher hears no broken promise", promise)
                }
                _ => {}
            }
        }
    }
}

/// A store between a pipeline and its own, which checks what passes.
pub struct CheckedStore {
    store: Arc<dyn ReceiptStore>,
    verifier: Arc<dyn Verifier>,
    checker: SharedChecker,
}

impl CheckedStore {
    /// Checks what passes between a pipeline and `store`.
    pub fn new(store: Arc<dyn ReceiptStore>, verifier: Arc<dyn Verifier>, checker: SharedChecker) -> Self {
        Self { store, verifier, checker }
    }
}

impl CheckedStore {
    /// A coordinate below the floor must not be stored.
    fn look_below_the_floor(&self, coordinates: &[Coordinate]) {
        let below = |place: &&Coordinate| {
            self.store.prune_floor(&place.pins).is_ok_and(|floor| place.checkpoint < floor.below)
        };
        for place in coordinates.iter().filter(below) {
            if self.store.at(place).is_ok_and(|statements| !statements.is_empty()) {
                lock(&self.checker).broken("nothing is left below the prune floor", place.checkpoint);
            }
        }
    }
}

impl ReceiptStore for CheckedStore {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        let lookup = self.store.get(statement, claim)?;
        let mut checker = lock(&self.checker);
        if let Lookup::Miss(_) = &lookup {
            checker.missed(statement.id(), "what was acknowledged is found");
        }
        if let Lookup::Hit(receipt) = &lookup {
            checker.counts.handed_out += 1;
            if receipt.statement != *statement || receipt.claim != *claim {
                checker.broken("what is handed out is what was asked for", statement.id());
            }
            if let Err(error) = self.verifier.verify(receipt) {
                checker.broken("what is handed out verifies", error);
            }
        }
        drop(checker);
        Ok(lookup)
    }

    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.store.contains(id)
    }

    fn put(&self, entry: NewEntry) -> Result<PutOutcome, StoreError> {
        let (id, coordinates) = (entry.receipt.id(), entry.coordinates.clone());
        if !entry.provenance.host.is_empty() {
            lock(&self.checker).broken("a world depends on no host", &entry.provenance.host);
        }
        lock(&self.checker).on_coordinates(coordinates.iter().copied());
        let outcome = self.store.put(entry)?;
        match outcome.stored {
            true => lock(&self.checker).on_stored(id, &coordinates),
            false => {
                let mut checker = lock(&self.checker);
                checker.counts.late += 1;
                checker.late.remove(&id);
            }
        }
        self.look_below_the_floor(&coordinates);
        Ok(outcome)
    }

    fn submit(&self, entry: NewEntry, done: Completion) {
        done(self.put(entry));
    }

    fn add_coordinates(&self, places: &[(Coordinate, StatementId)]) -> Result<CoordinateOutcome, StoreError> {
        lock(&self.checker).on_coordinates(places.iter().map(|(place, _)| *place));
        let outcome = self.store.add_coordinates(places)?;
        let coordinates: Vec<Coordinate> = places.iter().map(|(place, _)| *place).collect();
        self.look_below_the_floor(&coordinates);
        if outcome.not_stored == 0 {
            places.iter().for_each(|(place, id)| {
                lock(&self.checker).acknowledged.entry(*id).or_default().insert(*place);
            });
        }
        Ok(outcome)
    }

    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        self.store.at(coordinate)
    }

    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.store.show(id)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.store.list(filter)
    }

    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        self.store.verify(id)
    }

    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError> {
        self.store.pin(id, owner)
    }

    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
        self.store.unpin(id, owner)
    }

    fn remove(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.store.remove(id)
    }

    fn evict(&self, id: &StatementId, needed: &Needed) -> Result<bool, StoreError> {
        self.store.evict(id, needed)
    }

    fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; 3]) {
        self.store.protect(pins, needed_from);
    }

    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        lock(&self.checker).on_pruning(floor.below);
        let outcome = self.store.prune_below(pins, floor)?;
        let mut checker = lock(&self.checker);
        checker.counts.pruned += outcome.receipts;
        checker.on_pruned();
        Ok(outcome)
    }

    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.store.prune_floor(pins)
    }

    fn announce(&self, pins: &PinsDigest, floor: Floor) {
        self.store.announce(pins, floor);
    }

    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError> {
        self.store.describe(profile)
    }

    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        self.store.profiles()
    }

    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        self.store.revoke(profile)
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.store.stats()
    }

    fn tiers(&self) -> Vec<TierStats> {
        self.store.tiers()
    }
}

/// An observer that passes events to a shared checker.
#[derive(Debug)]
pub struct CheckerObserver(pub SharedChecker);

impl Observer for CheckerObserver {
    fn on_event(&mut self, event: &PipelineEvent) {
        lock(&self.0).on_event(event);
    }
}
