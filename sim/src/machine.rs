//! A machine: a process with the real pipeline and an executor in simulated time, on a disk that outlives it.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_disk::data_dir::LockError;
use reprise_ledger::Account;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::exit::{self, AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::Journal as _;
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_node::executor::{Executor, Message};
use reprise_node::l1::OverlaySink;
use reprise_node::pipeline::{Context, Pipeline, RunError};
use reprise_node::wire::{self, Deployment, Settings, WireError};
use reprise_prover::backend::{Backend, Control, ProveError};
use reprise_prover::failure::Failure;
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished, run_attempt};
use reprise_prover::wrapped::Wrapped;
use reprise_scheduler::snapshot::{Reader, SettledPosition, Snapshot};
use reprise_settler::{SettleError, Sink, Taken, UnpaidExits, UnprovenSink};
use reprise_store::disk::DiskEngine;
use reprise_store::policy::WriterMode;
use reprise_store::port::{Filter, Floor, NewEntry};
use reprise_store::simulated::{Operation, SimulatedDisk};
use reprise_store::{OpenError, Options, ReceiptStore, Store};

use crate::checks::{CheckedStore, Checker, CheckerObserver, SharedChecker, lock};
use crate::conditions::{Conditions, Situation};
use crate::disk::Disk;
use crate::l1::L1;
use crate::prover::{Prover, ProverFault};
use crate::scenario::{Fault, Faults, Scenario};
use crate::track::Track;
use crate::value::ValueChecker;
use crate::vault::{self, SharedPayer};
use reprise_node::rng::Rng;
use reprise_node::traffic::account;

/// The length of a segment of the receipt log: short, so that it is cleaned often.
const SEGMENT_BYTES_MAX: u64 = 16 << 10;

/// A timer of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// A request of the pipeline is done.
    Done(u64),
    /// The pipeline needs the time.
    Time,
}

/// Whom a founder pays out of the vault.
const FOUNDER: Payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([0xF0; 32]) };

/// What changes what is on a disk.
const TOUCHES: [Operation; 5] =
    [Operation::Make, Operation::Write, Operation::Truncate, Operation::Rename, Operation::Remove];

/// A machine.
pub struct Machine {
    scenario: Scenario,
    settings: Settings,
    deployment: Deployment,
    prover: Arc<Wrapped<Prover>>,
    disk: Arc<Disk>,
    checker: SharedChecker,
    root: ChainBlockMetadata,
    overlay: Arc<Mutex<Overlay>>,
    /// Has exits paid.
    payer: SharedPayer,
    rng: Rng,
    /// Draws how many changes arrive at once.
    news_rng: Rng,
    /// Its faults.
    faults: Faults,
    /// The percentage of submitted settlements that arrive.
    arrive_percent: Arc<AtomicU64>,
    competes: bool,
    /// What the L1 does to it.
    conditions: Arc<Mutex<Conditions>>,
    /// The time, for its sink.
    clock: Arc<AtomicU64>,
    /// The number of its process: timers of an earlier one are ignored.
    pub process_number: u64,
    process: Option<Process>,
    /// The settled positions of which it has written snapshots, the newest last, which survive its disk.
    written: VecDeque<SettledPosition>,
    /// The snapshot that its directory begins with.
    origin: Option<Origin>,
    /// How many faults were injected.
    pub faults_hit: u64,
}

/// A snapshot that a directory begins with.
#[derive(Clone)]
pub struct Origin {
    snapshot: Snapshot,
    /// Whether a founder has forged it.
    is_forged: bool,
}

/// How many blocks it is shown at once.
const PART_MAX: usize = 1024;

/// How many snapshots a machine keeps.
const SNAPSHOTS: usize = 2;

struct Process {
    pipeline: Pipeline,
    executor: SimExecutor,
    medium: SimulatedDisk,
    store: Arc<dyn ReceiptStore>,
    /// The chain, as the pipeline knows it, from its beginning or from what can be forgotten.
    seen: Track,
    tickets: HashMap<u64, Pending>,
    /// The ticket of each running proof.
    proofs: HashMap<StatementId, u64>,
    next_ticket: u64,
    timer_us: Option<u64>,
    /// Whether the L1's tip was reached.
    caught_up: bool,
}

/// Something under way.
enum Pending {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
    Proof(Box<Finished>),
    Flush(Arc<Order>, Box<NewEntry>),
    /// An attempt that was written off.
    Late(Box<Finished>),
}

/// A request of the pipeline.
enum Call {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
    Prove(Assignment),
    Cancel(StatementId),
    WriteOff(StatementId),
    Store(Arc<Order>, NewEntry),
}

/// An executor that queues its requests.
struct SimExecutor {
    now_us: u64,
    began_us: u64,
    calls: Vec<Call>,
    /// The last settled position, and up to where the chain was final then.
    settled: Option<(SettledPosition, Checkpoint)>,
}

impl Executor for SimExecutor {
    fn now(&self) -> Duration {
        Duration::from_micros(self.now_us - self.began_us)
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_micros(self.now_us)
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.calls.push(Call::LookUp(order));
    }

    fn check(&mut self, order: Arc<Order>) {
        self.calls.push(Call::Check(order));
    }

    fn prove(&mut self, assignment: Assignment) {
        self.calls.push(Call::Prove(assignment));
    }

    fn cancel(&mut self, id: &StatementId) {
        self.calls.push(Call::Cancel(*id));
    }

    fn write_off(&mut self, id: &StatementId) -> io::Result<()> {
        self.calls.push(Call::WriteOff(*id));
        Ok(())
    }

    fn store(&mut self, order: Arc<Order>, entry: NewEntry) {
        self.calls.push(Call::Store(order, entry));
    }

    fn settled(&mut self, settled: SettledPosition, finalized: Checkpoint) {
        self.settled = Some((settled, finalized));
    }
}

/// A sink that loses settlements, submits few, or is refused them.
struct LossySink {
    sink: OverlaySink,
    conditions: Arc<Mutex<Conditions>>,
    clock: Arc<AtomicU64>,
    checker: SharedChecker,
    rng: Rng,
    percent: Arc<AtomicU64>,
    payer: SharedPayer,
    /// Whether somebody submits what nobody proved.
    is_forged: bool,
}

impl UnprovenSink for LossySink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        let statement = settlement.receipt.id();
        if self.is_forged {
            self.forge(&settlement);
        }
        let answer = match self.conditions().refuses {
            Some(cause) => Err(SettleError { statement, cause, said: "the simulated L1 refuses it".into() }),
            None if self.rng.percent(self.percent.load(Ordering::Relaxed)) => {
                self.sink.submit_unproven(settlement)
            }
            None => Ok(Taken::Sending),
        };
        let mut checker = lock(&self.checker);
        match &answer {
            Ok(Taken::UnderWay) => checker.health.relieved(),
            Ok(Taken::Sending) => {}
            Err(error) => checker.health.refused(error.cause, self.clock.load(Ordering::Relaxed)),
        }
        drop(checker);
        answer
    }

    fn set_unpaid(&mut self, unpaid: &[&UnpaidExits]) {
        vault::lock(&self.payer).owed = unpaid.iter().map(|unpaid| (*unpaid).clone()).collect();
    }

    // What keeps a settlement off the L1 keeps a payment off it too.
    fn exits_error(&self) -> Option<String> {
        let refuses = self.conditions().refuses.filter(|_| !vault::lock(&self.payer).owed.is_empty());
        refuses.map(|cause| format!("the simulated L1 refuses a payment: {cause}"))
    }
}

impl LossySink {
    /// A founder sees a settlement, and submits one of his own before it: it ends in another state, owes exits that nobody made, and
    /// has the seal of the honest one.
    fn forge(&self, settlement: &SettlementArtifact<Verified<Receipt>>) {
        let mut journal = settlement.journal;
        let exit = Exit { payee: FOUNDER, amount: AMOUNT_MIN };
        journal.transition.exits = exit::root(&Blake3, &[exit]);
        let mut receipt = (*settlement.receipt).clone();
        receipt.claim.journal = journal.bytes();
        let forged = SettlementArtifact {
            end_block: settlement.end_block,
            journal,
            exits: vec![exit],
            receipt: &receipt,
        };
        let mut overlay = self.sink.0.lock().unwrap_or_else(PoisonError::into_inner);
        // That it is not refused shows when it lands.
        let _ = overlay.submit(forged);
    }

    fn conditions(&self) -> Conditions {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Why a process ended early.
#[derive(Debug)]
pub enum ProcessEnd {
    /// It was killed.
    Killed,
    /// It ended with this error.
    Ended(RunError),
    /// It panicked.
    Panicked(String),
    /// Its directory cannot be held.
    NotHeld(LockError),
    /// Its store cannot be opened.
    NotOpened(OpenError),
    /// It could not be wired.
    NotStarted(WireError),
}

impl Machine {
    /// A machine called `name`, with these faults.
    pub fn new(
        name: &str,
        scenario: &Scenario,
        faults: Faults,
        prover: Arc<Wrapped<Prover>>,
        deployment: Deployment,
        value: ValueChecker,
        l1: &mut L1,
    ) -> Self {
        let settings = Settings {
            rule: scenario.rule,
            permits: scenario.permits,
            finality_depth: scenario.finality_depth,
            data_dir: None,
            tuning: scenario.tuning,
        };
        let disk = Arc::new(Disk::default());
        let checker = Checker::new(scenario.permits, scenario.tuning.engine.jobs_max, scenario.cache, value);
        let payer = SharedPayer::default();
        l1.pays(payer.clone());
        let root = l1.root_header();
        let arrive_percent = Arc::new(AtomicU64::new(if faults.has(Fault::Submission) { 60 } else { 100 }));
        Self {
            scenario: scenario.clone(),
            settings,
            deployment,
            prover,
            disk,
            checker: Arc::new(Mutex::new(checker)),
            root,
            overlay: l1.overlay(),
            payer,
            rng: Rng::of(scenario.seed, name),
            news_rng: Rng::of(scenario.seed, &format!("{name} hears")),
            faults,
            arrive_percent,
            competes: false,
            conditions: Arc::default(),
            clock: Arc::default(),
            process_number: 0,
            process: None,
            written: VecDeque::new(),
            origin: None,
            faults_hit: 0,
        }
    }

    /// The same with other bundles, of which it submits few.
    pub fn competing(mut self) -> Self {
        self.settings.rule.batches_max = 1 + self.rng.among(0..7) as usize;
        self.settings.rule.deadline_score += 3;
        self.arrive_percent.store(25, Ordering::Relaxed);
        self.competes = true;
        self
    }

    /// Its checker.
    pub fn checker(&self) -> &SharedChecker {
        &self.checker
    }

    /// Its disk.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Proofs begun, as the backend counts them.
    pub fn prove_calls(&self) -> u64 {
        self.prover.prove_calls()
    }

    /// Stops all faults.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.set_conditions(Conditions::default());
        self.disk.fill(false);
        if !self.competes {
            self.arrive_percent.store(100, Ordering::Relaxed);
        }
    }

    /// How much of everything it and its checker hold.
    pub fn holds(&self) -> Vec<(&'static str, usize)> {
        let mut holds = lock(&self.checker).holds();
        holds.push(("bytes on disk", self.disk.medium().used() as usize));
        if let Some(process) = &self.process {
            let receipts = process.store.stats().map_or(0, |stats| stats.count());
            holds.push(("receipts", receipts as usize));
            holds.push(("seen blocks", process.seen.blocks().count()));
            holds.push(("under way", process.tickets.len()));
            holds.extend(process.pipeline.holds());
        }
        holds
    }

    /// Whether a process runs.
    pub fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Whether everything is proved and settled, and nothing is under way; and the whole chain is known.
    pub fn is_done(&self, l1: &L1) -> bool {
        self.process.as_ref().is_some_and(|process| {
            let progress = process.pipeline.progress();
            progress.proved
                && progress.settled
                && process.pipeline.is_idle()
                && process.seen.tip() == l1.canonical().tip()
                && process.tickets.is_empty()
        })
    }

    /// Whether the next settlement is refused.
    pub fn is_refused(&self) -> bool {
        self.process.as_ref().is_some_and(|process| process.pipeline.progress().refused)
    }

    /// Starts a process over its disk.
    pub fn start(&mut self, now_us: u64) -> Result<(), ProcessEnd> {
        self.process_number += 1;
        if !self.scenario.cache {
            self.disk.wipe();
        }
        let medium = self.disk.medium();
        let dir = self.disk.hold().map_err(ProcessEnd::NotHeld)?;
        let records = wire::records(&dir, &self.deployment).map_err(|e| ProcessEnd::NotStarted(e.into()))?;
        let verifier = self.deployment.backend.clone();
        let store: Arc<dyn ReceiptStore> = Arc::new(self.open_store(&medium).map_err(ProcessEnd::NotOpened)?);
        lock(&self.checker).begins(store.clone());
        let store = Arc::new(CheckedStore::new(store, verifier, self.checker.clone()));
        let rng = Rng::of(self.rng.among(0..u64::MAX), "way");
        let way = LossySink {
            sink: OverlaySink(self.overlay.clone()),
            conditions: self.conditions.clone(),
            clock: self.clock.clone(),
            checker: self.checker.clone(),
            rng,
            percent: self.arrive_percent.clone(),
            payer: self.payer.clone(),
            is_forged: self.scenario.faults.has(Fault::Founder),
        };
        let origin: wire::Origin = match &self.origin {
            Some(origin) => origin.snapshot.clone().into(),
            None => {
                let root = ChainRoot { metadata: self.root, lane_proof: None };
                self.deployment.founding(root).map_err(|e| ProcessEnd::NotStarted(e.into()))?
            }
        };
        {
            let mut checker = lock(&self.checker);
            let knows_from = origin.carried_by.unwrap_or_default();
            checker.is_deceived = self.is_deceived();
            checker.value.begins(self.deployment.hasher.as_ref(), &origin.unpaid, knows_from);
        }
        let seen = Track::new(origin.position.checkpoint.0, origin.position.block.metadata.block_hash);
        let pipeline = wire::build_pipeline(
            &self.settings,
            "simulated".into(),
            origin,
            &self.deployment,
            store.clone(),
            Box::new(records),
            Some(Sink::Unproven(Box::new(way))),
        );
        let pipeline = pipeline.map_err(ProcessEnd::NotStarted)?;
        if self.faults.has(Fault::Power) && self.rng.percent(50) {
            medium.stop_at(self.rng.among(0..150));
        }
        self.process = Some(Process {
            pipeline,
            executor: SimExecutor { now_us, began_us: now_us, calls: vec![], settled: None },
            medium,
            store,
            seen,
            tickets: HashMap::new(),
            proofs: HashMap::new(),
            next_ticket: 0,
            timer_us: None,
            caught_up: false,
        });
        Ok(())
    }

    fn open_store(&self, medium: &SimulatedDisk) -> Result<Store, OpenError> {
        let options = Options {
            durability: self.scenario.durability,
            verify: self.scenario.verify,
            writer_mode: WriterMode::ByCaller,
            memory_bytes_max: self.scenario.memory_bytes_max,
            clock: || 0,
            ..Options::default()
        };
        let on = Arc::new(medium.clone());
        let engine = DiskEngine::open_on(on, &self.disk.receipts(), SEGMENT_BYTES_MAX)?;
        Store::on(engine, self.deployment.backend.clone(), options)
    }

    /// A second process begins in the directory while the first one works there.
    pub fn begin_beside(&mut self) {
        let Some(process) = self.process.as_ref().filter(|process| !process.medium.is_stopped()) else {
            return;
        };
        self.faults_hit += 1;
        let touches = || TOUCHES.map(|operation| process.medium.count(operation));
        let before = touches();
        let second = self.disk.hold();
        let touched = match &second {
            // It does what a process does next.
            Ok(dir) => wire::records(dir, &self.deployment).is_ok() || touches() != before,
            Err(LockError::InUse { .. }) => touches() != before,
            Err(LockError::Io { .. }) => !process.medium.is_stopped(),
        };
        if touched {
            let by = format!("{second:?}");
            lock(&self.checker).broken("a second process touches nothing of a directory in use", by);
        }
    }

    /// While no process runs, a node of other programs works in the directory: it prunes its own receipts up to a checkpoint.
    pub fn rehearse(&mut self, below: Checkpoint) {
        // On a full disk it does not start.
        let Ok(store) = self.open_store(&self.disk.medium()) else { return };
        let pruned = store.prune_below(&PinsDigest([0xEE; 32]), Floor { below, seen: below });
        self.faults_hit += u64::from(pruned.is_ok());
    }

    /// Ends the process as a kill would, or as a power cut.
    pub fn kill(&mut self) {
        self.process = None;
        vault::lock(&self.payer).owed.clear();
        let cut = self.faults.has(Fault::Power) && self.rng.percent(50);
        let power = cut.then(|| self.rng.among(0..u64::MAX));
        self.disk.crash(power);
        lock(&self.checker).process_ended();
    }

    /// The snapshots that it has written, the newest first.
    pub fn snapshots(&self) -> Vec<Origin> {
        let network = "simulated".to_owned();
        let identity = self.deployment.identity(network);
        let of = |settled: &SettledPosition| Origin {
            snapshot: Snapshot { identity: identity.clone(), settled: settled.clone() },
            is_forged: false,
        };
        self.written.iter().rev().map(of).collect()
    }

    /// Whether it begins with a snapshot that a founder has forged.
    pub fn is_deceived(&self) -> bool {
        self.origin.as_ref().is_some_and(|origin| origin.is_forged)
    }

    /// Loses everything on its disk, and goes on from the first of these snapshots that can be believed, or else from the
    /// rollup's founding. A founder offers his own before them, to who does not know him yet.
    pub fn lose(&mut self, mut snapshots: Vec<Origin>, rng: &mut Rng) {
        let knows_the_founder = self.is_deceived();
        self.disk.lose();
        lock(&self.checker).directory_lost();
        self.origin = None;
        self.faults_hit += 1;
        if self.faults.has(Fault::Founder) && !knows_the_founder {
            let forged = snapshots.first().map(Origin::forged);
            snapshots.splice(0..0, forged);
        }
        for origin in snapshots {
            let mut bytes = vec![];
            // Writing to memory does not fail.
            let _ = origin.snapshot.write(&mut bytes);
            let written = bytes.clone();
            if self.faults.has(Fault::Damaged) && rng.percent(60) {
                self.faults_hit += 1;
                let at = rng.among(0..bytes.len() as u64) as usize;
                bytes[at] ^= 1 << rng.among(0..8);
            }
            let read = Reader::open(&bytes[..], Path::new("a copy"));
            let Ok(read) = read.and_then(|reader| reader.load(&self.deployment.hasher)) else { continue };
            if bytes != written {
                let by = read.settled.position.checkpoint;
                lock(&self.checker).broken("a snapshot that is believed is one that was written", by);
            }
            self.origin = Some(Origin { snapshot: read, ..origin });
            break;
        }
    }

    /// Judges what its process makes of the vault's coins, after whatever has happened.
    pub fn judge_value(&self, l1: &L1) {
        if self.process.is_none() || self.is_deceived() {
            return;
        }
        let mut checker = lock(&self.checker);
        let payer = vault::lock(&self.payer);
        if let Err((promise, by)) = checker.value.judge(l1, &payer.owed) {
            checker.broken(promise, by);
        }
    }

    /// Passes the pipeline the changes of the L1 since the last time.
    pub fn notify(&mut self, now_us: u64, l1: &L1, later: &mut Vec<(u64, Timer)>) -> Result<(), ProcessEnd> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let is_away = self.conditions.lock().unwrap_or_else(PoisonError::into_inner).hitch.is_some();
        if is_away || !process.pipeline.takes_events() {
            return Ok(());
        }
        let same = process.seen.same_up_to(l1.canonical());
        let removed = process.seen.remove_above(same);
        let joining = l1.canonical().above(same);
        // Sometimes several changes come in separate events.
        let some = if self.news_rng.percent(20) { self.news_rng.among(1..6) as usize } else { PART_MAX };
        let added: Vec<_> = joining.take(some).filter_map(|block| l1.shown(block)).collect();
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        added.iter().for_each(|block| process.seen.push(block.metadata.block_hash));
        let mut event = SourceEvent { removed, added };
        if self.faults.has(Fault::Malformed) && self.rng.once_in(60) && mangle(&mut event, &mut self.rng) {
            self.faults_hit += 1;
            let result = self.take_input(now_us, later, |pipeline, context| pipeline.follow(event, context));
            return match result {
                Err(ProcessEnd::Ended(RunError::Chain(_))) => Err(ProcessEnd::Killed),
                Ok(()) => {
                    lock(&self.checker)
                        .broken("an L1 that contradicts itself is not followed", self.process_number);
                    Ok(())
                }
                other => other,
            };
        }
        self.judge_finality(l1);
        for block in &event.added {
            let hash = block.metadata.block_hash;
            lock(&self.checker).shown(hash, l1.height(&hash).unwrap_or_default());
        }
        let orphaned = event.removed.clone();
        let orphaned = if self.scenario.cache { vec![] } else { orphaned };
        self.drop_receipts(&orphaned);
        self.take_input(now_us, later, |pipeline, context| pipeline.follow(event, context))
    }

    /// What the L1 does to it changes.
    pub fn set_conditions(&mut self, conditions: Conditions) {
        vault::lock(&self.payer).is_refused = conditions.refuses.is_some();
        *self.conditions.lock().unwrap_or_else(PoisonError::into_inner) = conditions;
    }

    /// The pipeline is told how its connection is, and what its health says of that is judged.
    pub fn poll(&mut self, now_us: u64, l1: &L1, later: &mut Vec<(u64, Timer)>) -> Result<(), ProcessEnd> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let hitch = self.conditions.lock().unwrap_or_else(PoisonError::into_inner).hitch;
        process.caught_up |= hitch.is_none() && process.seen.tip() == l1.canonical().tip();
        let allowed = self.scenario.lane_lasts;
        // Counted so far that it has surely expired.
        let silent = process.seen.blocks().rev().take(3 * allowed as usize);
        let lasting = silent.take_while(|block| !l1.is_active(block)).count() as u64;
        let situation = Situation {
            hitch,
            mined_us: l1.mined_at(&process.seen.tip().1),
            caught_up: process.caught_up,
            lane: Some((lasting, allowed)),
        };
        let connection = situation.connection(now_us);
        self.take_input(now_us, later, |pipeline, context| {
            pipeline.on_connection(&connection, context);
            Ok(())
        })?;
        let mut checker = lock(&self.checker);
        if let Err(why) = checker.health.judge_connection(&situation, now_us) {
            checker.broken("health says how the L1 is, and nothing else of it", why);
        }
        Ok(())
    }

    /// Without a cache, deletes the receipts of orphaned blocks.
    fn drop_receipts(&mut self, orphaned: &[BlockHash]) {
        let Some(process) = &self.process else { return };
        for block in orphaned {
            let filter = Filter { block: Some(*block), ..Filter::default() };
            for entry in process.store.list(&filter).unwrap_or_default() {
                // A receipt that cannot be deleted now is deleted a little later.
                let _ = process.store.remove(&entry.id);
            }
        }
    }

    /// Tells the checker what is final, and settled by a settlement that is final.
    fn judge_finality(&mut self, l1: &L1) {
        let Some(process) = &self.process else { return };
        let (tip, _) = process.seen.tip();
        let Some(finalized) = tip.checked_sub(self.scenario.finality_depth) else { return };
        if let Some(end) = l1.settled_by(finalized) {
            lock(&self.checker).may_prune_below(Checkpoint(end + 1));
        }
    }

    /// The lowest block that it may yet be shown: a process begins there, or a reorg leads there. The L1 has to keep it.
    pub fn needs_from(&self) -> u64 {
        let began = |origin: &Origin| origin.snapshot.settled.position.checkpoint.0;
        // Where it loses its directory it begins with a snapshot that it has written; without one at the founding.
        let written = self.written.iter().map(|settled| settled.position.checkpoint.0);
        let begins = [self.origin.as_ref().map(began), written.min()].map(Option::unwrap_or_default);
        let reorganised = self.process.as_ref().map(|process| {
            let (tip, _) = process.seen.tip();
            tip.saturating_sub(self.scenario.finality_depth)
        });
        begins.into_iter().chain(reorganised).min().unwrap_or_default()
    }

    /// Forgets what it has seen far below finality.
    pub fn forget(&mut self) {
        let kept = self.scenario.finality_depth + 4 * self.scenario.lane_lasts;
        let Some(process) = &mut self.process else { return };
        let (tip, _) = process.seen.tip();
        process.seen.drop_below(tip.saturating_sub(kept));
    }

    /// A timer fires.
    pub fn fire(
        &mut self,
        now_us: u64,
        timer: Timer,
        later: &mut Vec<(u64, Timer)>,
    ) -> Result<(), ProcessEnd> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let message = match timer {
            Timer::Time => {
                if process.timer_us.is_none_or(|at| at > now_us) {
                    return Ok(());
                }
                process.timer_us = None;
                self.take_input(now_us, later, Pipeline::wake)?;
                self.check_deadline(now_us);
                return Ok(());
            }
            Timer::Done(ticket) => match process.tickets.remove(&ticket) {
                None => return Ok(()),
                Some(Pending::LookUp(order)) => Message::Read(Read::look_up(process.store.as_ref(), order)),
                Some(Pending::Check(order)) => Message::Read(Read::check(process.store.as_ref(), order)),
                Some(Pending::Proof(finished)) => {
                    process.proofs.remove(&finished.order.id);
                    Message::Finished(*finished)
                }
                Some(Pending::Late(finished)) => {
                    if finished.result.is_ok() {
                        lock(&self.checker).came_late(finished.order.id);
                    }
                    Message::Late(*finished)
                }
                Some(Pending::Flush(order, entry)) => {
                    let result = process.store.put(*entry);
                    Message::Stored { order, result }
                }
            },
        };
        self.take_input(now_us, later, |pipeline, context| pipeline.receive(message, context))
    }

    /// After a pipeline was woken, what it waits for lies ahead: else its driver would spin.
    fn check_deadline(&mut self, now_us: u64) {
        let Some(process) = &self.process else { return };
        let deadline =
            process.pipeline.deadline().map(|at| process.executor.began_us + at.as_micros() as u64);
        if let Some(at) = deadline.filter(|at| *at < now_us) {
            let by = format!("it waits at {now_us} us for {at} us");
            lock(&self.checker).broken("a pipeline waits for no time that has passed", by);
        }
    }

    fn take_input(
        &mut self,
        now_us: u64,
        later: &mut Vec<(u64, Timer)>,
        what: impl FnOnce(&mut Pipeline, &mut Context<'_>) -> Result<(), RunError>,
    ) -> Result<(), ProcessEnd> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.medium.is_stopped() {
            return Err(ProcessEnd::Killed);
        }
        process.executor.now_us = now_us;
        self.clock.store(now_us, Ordering::Relaxed);
        let mut observer = CheckerObserver(self.checker.clone());
        let (pipeline, executor) = (&mut process.pipeline, &mut process.executor);
        let result = catch_unwind(AssertUnwindSafe(|| {
            what(pipeline, &mut Context { executor, observer: &mut observer })
        }));
        if process.medium.is_stopped() || !matches!(result, Ok(Ok(()))) {
            // The proofs that it requested are not begun.
            let wanted = process.executor.calls.iter().filter(|call| matches!(call, Call::Prove(_))).count();
            lock(&self.checker).counts.not_begun += wanted as u64;
        }
        if process.medium.is_stopped() {
            return Err(ProcessEnd::Killed);
        }
        match result {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(ProcessEnd::Ended(error)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                return Err(ProcessEnd::Panicked(text.unwrap_or_default()));
            }
        }
        let mut checker = lock(&self.checker);
        if let Err(why) = checker.health.judge_refusals(now_us) {
            checker.broken("health names a refusal that lasts, and none that has ended", why);
        }
        drop(checker);
        let settled = process.executor.settled.take().filter(|_| self.scenario.faults.has(Fault::Lost));
        let calls = std::mem::take(&mut process.executor.calls);
        if let Some((settled, finalized)) = settled {
            self.keep(settled, finalized);
        }
        for call in calls {
            self.carry_out(now_us, call, later);
        }
        if let Some(process) = &mut self.process
            && let Some(deadline) = process.pipeline.deadline()
        {
            // Never at once: simulated time must pass for timers.
            let at = (process.executor.began_us + deadline.as_micros() as u64).max(now_us + 1);
            if process.timer_us.is_none_or(|set| at < set) {
                process.timer_us = Some(at);
                later.push((at, Timer::Time));
            }
        }
        Ok(())
    }

    /// Writes a snapshot. The next process begins with it where its settlement is final, and what lies below is dropped from the
    /// disk, unless the process ends before that.
    fn keep(&mut self, settled: SettledPosition, finalized: Checkpoint) {
        let checkpoint = settled.position.checkpoint;
        let is_final = checkpoint.0 + settled.carried_above <= finalized.0;
        // Its bytes decide, so that no random draw changes.
        let choice = settled.position.state.root().0[0];
        self.written.push_back(settled);
        let old = self.written.len().saturating_sub(SNAPSHOTS);
        self.written.drain(..old);
        if !is_final || choice.is_multiple_of(4) {
            return;
        }
        self.origin = self.snapshots().into_iter().next();
        if let Some(process) = self.process.as_mut().filter(|_| choice % 4 != 1) {
            process.pipeline.begin_at(checkpoint);
        }
    }

    fn carry_out(&mut self, now_us: u64, call: Call, later: &mut Vec<(u64, Timer)>) {
        let [read_us, flush_us] = self.scenario.disk_us;
        match call {
            Call::LookUp(order) => {
                let at = now_us + 1 + self.rng.among(0..read_us);
                self.ticket(at, Pending::LookUp(order), later);
            }
            Call::Check(order) => {
                let at = now_us + 1 + self.rng.among(0..read_us);
                self.ticket(at, Pending::Check(order), later);
            }
            Call::Store(order, entry) => {
                let at = now_us + 1 + self.rng.among(flush_us / 2..flush_us);
                self.ticket(at, Pending::Flush(order, Box::new(entry)), later);
            }
            Call::Prove(assignment) => self.prove(now_us, assignment, later),
            Call::Cancel(id) => self.cancel(now_us, id, later),
            Call::WriteOff(id) => {
                let process = self.process.as_mut();
                let left = process.and_then(|process| {
                    let ticket = process.proofs.remove(&id)?;
                    process.tickets.remove(&ticket)
                });
                lock(&self.checker).ended(&id);
                // Every other one returns after all. Its id decides which and when, so that no random draw changes.
                if let Some(Pending::Proof(finished)) = left
                    && id.0[0] % 2 == 0
                {
                    let tuning = self.scenario.cost_us[finished.order.kind() as usize];
                    let at = now_us + 1 + u64::from(id.0[1]) * tuning / 16;
                    self.ticket(at, Pending::Late(finished), later);
                }
            }
        }
    }

    fn ticket(&mut self, at_us: u64, ticket: Pending, later: &mut Vec<(u64, Timer)>) -> Option<u64> {
        let process = self.process.as_mut()?;
        let number = process.next_ticket;
        process.next_ticket += 1;
        process.tickets.insert(number, ticket);
        if at_us < u64::MAX {
            later.push((at_us, Timer::Done(number)));
        }
        Some(number)
    }

    fn prove(&mut self, now_us: u64, assignment: Assignment, later: &mut Vec<(u64, Timer)>) {
        let Some(store) = self.process.as_ref().map(|process| process.store.clone()) else { return };
        let (id, kind) = (assignment.order.id, assignment.order.kind());
        let fault = self.fault();
        self.prover.arrange(fault);
        let mean = self.scenario.cost_us[kind as usize];
        let mut cost_us = mean / 2 + self.rng.among(0..mean);
        if self.faults.has(Fault::Slow) && self.rng.once_in(12) {
            self.faults_hit += 1;
            cost_us *= 10 + self.rng.among(0..80);
        }
        let prover = self.prover.clone();
        let mut finished = run_attempt(assignment, prover.as_ref(), store, &Control::default());
        finished.took = Duration::from_micros(cost_us);
        if matches!(finished.result, Err(Failure::AssumptionLost { .. } | Failure::Store(_))) {
            lock(&self.checker).counts.not_begun += 1;
            self.prover.arrange(None);
            cost_us = 1;
        }
        let hangs = self.faults.has(Fault::Hung) && self.rng.once_in(25);
        self.faults_hit += u64::from(hangs);
        // A hanging proof stays, so that it can be asked to end, ignore that, and be written off.
        let at = if hangs { u64::MAX } else { now_us + cost_us };
        let Some(ticket) = self.ticket(at, Pending::Proof(Box::new(finished)), later) else { return };
        if let Some(process) = &mut self.process {
            process.proofs.insert(id, ticket);
        }
    }

    fn fault(&mut self) -> Option<ProverFault> {
        let all = [
            (Fault::Transient, ProverFault::Transient),
            (Fault::Invalid, ProverFault::Invalid),
            (Fault::Panic, ProverFault::Panic),
        ];
        let (_, fault) =
            all.into_iter().find(|(fault, _)| self.faults.has(*fault) && self.rng.once_in(12))?;
        self.faults_hit += 1;
        Some(fault)
    }

    /// The attempt ends a little later, unless it ends by itself before that; one that hangs ignores the request.
    fn cancel(&mut self, now_us: u64, id: StatementId, later: &mut Vec<(u64, Timer)>) {
        let Some(process) = &mut self.process else { return };
        let Some(ticket) = process.proofs.get(&id).copied() else { return };
        let hears = self.rng.percent(80);
        if let (true, Some(Pending::Proof(finished))) = (hears, process.tickets.get_mut(&ticket)) {
            finished.result = Err(Failure::from(ProveError::Cancelled { statement: id }));
            finished.took = Duration::ZERO;
            later.push((now_us + 1 + self.rng.among(0..200_000), Timer::Done(ticket)));
        }
    }

    /// Flips a bit on the disk.
    pub fn flip_bit(&mut self) {
        if self.disk.flip_bit(&mut self.rng) {
            self.faults_hit += 1;
            lock(&self.checker).bit_flipped();
        }
    }

    /// Verifies the stored receipts at the end, and that nothing lies below the prune floor.
    pub fn audit(&self) {
        let Some(process) = &self.process else { return };
        let pins = self.deployment.pins().digest(self.deployment.hasher.as_ref());
        let floor = process.store.prune_floor(&pins).unwrap_or_default().below;
        let left = |checkpoint: &u64| {
            let filter = Filter { checkpoint: Some(Checkpoint(*checkpoint)), ..Filter::default() };
            process.store.list(&filter).is_ok_and(|entries| !entries.is_empty())
        };
        if let Some(below) = (0..floor.0).find(left) {
            lock(&self.checker)
                .broken("nothing is left below the prune floor", format!("{below} below {floor}"));
        }
    }
}

impl Origin {
    /// The same, where a founder gives himself a thousand kaspa: its checksums and its root are right, and its settlement is on no
    /// chain.
    fn forged(&self) -> Self {
        let mut snapshot = self.snapshot.clone();
        let settled = &mut snapshot.settled;
        let rich = Account::new(5000 * AMOUNT_MIN, 0).cells();
        settled.position.state = settled.position.state.with(&account("founder"), Some(&rich));
        settled.settlement.journal.transition.root_after = settled.position.state.root();
        Self { snapshot, is_forged: true }
    }
}

/// Makes an event invalid. Returns whether it did.
fn mangle(event: &mut SourceEvent, rng: &mut Rng) -> bool {
    match rng.among(0..4) {
        0 if event.added.len() > 1 => {
            event.added.remove(0);
        }
        1 => event.removed.insert(0, BlockHash([0xAB; 32])),
        2 => match event.added.first_mut() {
            Some(block) => block.metadata.parent_hash = BlockHash([0xCD; 32]),
            None => return false,
        },
        _ => match event.added.last_mut() {
            Some(block) => {
                // A changed header of a new block cannot be noticed.
                let parent = block.metadata.parent_hash;
                block.metadata.sequencing_commitment = Digest([0xEF; 32]);
                block.metadata.block_hash = parent;
            }
            None => return false,
        },
    }
    true
}
