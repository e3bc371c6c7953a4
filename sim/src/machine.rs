//! A machine: a process with the real pipeline in it, whose hands work in simulated time, on a disk that
//! outlives it.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{ChainBlockMetadata, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_node::l1::OverlaySink;
use reprise_node::pipeline::{Hands, Message, Outside, Pipeline, RunError};
use reprise_node::wire::{self, Settings, WireError, Workload};
use reprise_prover::backend::{Backend, Control, ProveError};
use reprise_prover::failure::Failure;
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished, attempt_at};
use reprise_settler::{RehearsalSink, SettleError, Sink};
use reprise_store::disk::DiskEngine;
use reprise_store::policy::Driven;
use reprise_store::port::{Filter, NewEntry};
use reprise_store::simulated::SimulatedDisk;
use reprise_store::{OpenError, Options, ReceiptStore, Store};

use crate::checks::{Book, Checked, Scribe, Shared, open};
use crate::dice::Dice;
use crate::disk::{Disk, RECEIPTS, Records};
use crate::l1::L1;
use crate::prover::{Mishap, Prover};
use crate::scenario::{Fault, Faults, Scenario};

/// The length of a segment of the receipt log: short, so that it is cleaned often.
const SEGMENT_BYTES_MAX: u64 = 16 << 10;

/// What a machine has happen later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alarm {
    /// Something the pipeline asked for is done.
    Done(u64),
    /// The pipeline wants to know the time.
    Time,
}

/// A machine.
pub struct Machine {
    scenario: Scenario,
    settings: Settings,
    workload: Workload,
    prover: Arc<Prover>,
    disk: Arc<Disk>,
    book: Shared,
    root: ChainBlockMetadata,
    overlay: Arc<Mutex<Overlay>>,
    dice: Dice,
    /// How much of what happened is heard at once.
    news_dice: Dice,
    /// What goes wrong with it.
    faults: Faults,
    /// How many of a hundred settlements that it submits arrive.
    arrive_percent: Arc<AtomicU64>,
    competes: bool,
    /// Counts its processes: what an earlier one waited for is nothing to a later one.
    pub life: u64,
    process: Option<Process>,
    /// What goes wrong, counted.
    pub mishaps: u64,
}

struct Process {
    pipeline: Pipeline,
    hands: SimHands,
    records: Records,
    medium: SimulatedDisk,
    store: Arc<dyn ReceiptStore>,
    /// The chain, as the pipeline was told of it.
    seen: Vec<BlockHash>,
    tickets: HashMap<u64, Ticket>,
    /// The ticket of each proof that runs.
    proofs: HashMap<StatementId, u64>,
    next_ticket: u64,
    alarm_us: Option<u64>,
}

/// Something under way.
enum Ticket {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
    Proof(Box<Finished>),
    Flush(Arc<Order>, Box<NewEntry>),
    /// Of an attempt that was written off.
    Late(Box<Finished>),
}

/// What the pipeline asked for.
enum Ask {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
    Prove(Assignment),
    Cancel(StatementId),
    WriteOff(StatementId),
    Store(Arc<Order>, NewEntry),
}

/// Hands that note what they are asked for.
struct SimHands {
    now_us: u64,
    began_us: u64,
    asks: Vec<Ask>,
}

impl Hands for SimHands {
    fn now(&self) -> Duration {
        Duration::from_micros(self.now_us - self.began_us)
    }

    fn since_epoch(&self) -> Duration {
        Duration::from_micros(self.now_us)
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.asks.push(Ask::LookUp(order));
    }

    fn check(&mut self, order: Arc<Order>) {
        self.asks.push(Ask::Check(order));
    }

    fn prove(&mut self, assignment: Assignment) {
        self.asks.push(Ask::Prove(assignment));
    }

    fn cancel(&mut self, id: &StatementId) {
        self.asks.push(Ask::Cancel(*id));
    }

    fn write_off(&mut self, id: &StatementId) -> io::Result<()> {
        self.asks.push(Ask::WriteOff(*id));
        Ok(())
    }

    fn store(&mut self, order: Arc<Order>, entry: NewEntry) {
        self.asks.push(Ask::Store(order, entry));
    }
}

/// A way to the covenant on which settlements are lost, or that is seldom taken.
struct Way {
    sink: OverlaySink,
    dice: Dice,
    percent: Arc<AtomicU64>,
}

impl RehearsalSink for Way {
    fn rehearse(&mut self, settlement: SettlementArtifact<Verified<Receipt>>) -> Result<(), SettleError> {
        if self.dice.percent(self.percent.load(Ordering::Relaxed)) {
            self.sink.rehearse(settlement)
        } else {
            Ok(())
        }
    }
}

/// Why a process ended before it was asked to.
#[derive(Debug)]
pub enum Death {
    /// It was killed.
    Killed,
    /// It ended itself, with this cause.
    Ended(RunError),
    /// It panicked.
    Panicked(String),
    /// Its store cannot be opened.
    NotOpened(OpenError),
    /// It could not be joined.
    NotStarted(WireError),
}

impl Machine {
    /// A machine called `name`, on which these faults are.
    pub fn new(
        name: &str,
        scenario: &Scenario,
        faults: Faults,
        prover: Arc<Prover>,
        workload: Workload,
        l1: &L1,
    ) -> Self {
        let settings = Settings {
            rule: scenario.rule,
            permits: scenario.permits,
            finality_depth: scenario.finality_depth,
            data_dir: None,
            patience: scenario.patience,
        };
        let disk = Arc::new(Disk::default());
        let book = Book::new(scenario.permits, scenario.patience.engine.jobs_max, scenario.cache);
        let root =
            l1.header(&l1.canonical()[0]).copied().unwrap_or_else(|| unreachable!("a chain has a root"));
        let arrive_percent = Arc::new(AtomicU64::new(if faults.has(Fault::Submission) { 60 } else { 100 }));
        Self {
            scenario: scenario.clone(),
            settings,
            workload,
            prover,
            disk,
            book: Arc::new(Mutex::new(book)),
            root,
            overlay: l1.overlay(),
            dice: Dice::of(scenario.seed, name),
            news_dice: Dice::of(scenario.seed, &format!("{name} hears")),
            faults,
            arrive_percent,
            competes: false,
            life: 0,
            process: None,
            mishaps: 0,
        }
    }

    /// The same with other bundles, which it seldom submits.
    pub fn competing(mut self) -> Self {
        self.settings.rule.batches_max = 1 + self.dice.among(0..7) as usize;
        self.settings.rule.deadline_score += 3;
        self.arrive_percent.store(25, Ordering::Relaxed);
        self.competes = true;
        self
    }

    /// What is noted of it.
    pub fn book(&self) -> &Shared {
        &self.book
    }

    /// Its disk.
    pub fn disk(&self) -> &Arc<Disk> {
        &self.disk
    }

    /// Proofs begun, as the backend counts them.
    pub fn prove_calls(&self) -> u64 {
        self.prover.prove_calls()
    }

    /// Nothing goes wrong any more.
    pub fn calm(&mut self) {
        self.faults = Faults::default();
        self.disk.fill(false);
        if !self.competes {
            self.arrive_percent.store(100, Ordering::Relaxed);
        }
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
                && process.pipeline.at_rest()
                && process.seen == l1.canonical()
                && process.tickets.is_empty()
        })
    }

    /// Starts a process over what the disk holds.
    pub fn start(&mut self, now_us: u64) -> Result<(), Death> {
        self.life += 1;
        let records = Records::new(self.disk.clone());
        let options = Options {
            durability: self.scenario.durability,
            verify: self.scenario.verify,
            driven: Driven::ByCaller,
            memory_bytes_max: self.scenario.memory_bytes_max,
            clock: || 0,
            ..Options::default()
        };
        if !self.scenario.cache {
            self.disk.wipe();
        }
        let medium = self.disk.medium();
        let engine = DiskEngine::open_on(Arc::new(medium.clone()), Path::new(RECEIPTS), SEGMENT_BYTES_MAX);
        let verifier = self.workload.backend.clone();
        let store = engine.and_then(|engine| Store::on(engine, verifier.clone(), options));
        let store: Arc<dyn ReceiptStore> = Arc::new(store.map_err(Death::NotOpened)?);
        open(&self.book).begins(store.clone());
        let store = Arc::new(Checked::new(store, verifier, self.book.clone()));
        let dice = Dice::of(self.dice.among(0..u64::MAX), "way");
        let way = Way { sink: OverlaySink(self.overlay.clone()), dice, percent: self.arrive_percent.clone() };
        let pipeline = wire::join(
            &self.settings,
            "simulated".into(),
            ChainRoot { metadata: self.root, lane_proof: None },
            &self.workload,
            store.clone(),
            Box::new(records.clone()),
            Some(Sink::Rehearsal(Box::new(way))),
        );
        let pipeline = pipeline.map_err(Death::NotStarted)?;
        if self.faults.has(Fault::Power) && self.dice.percent(50) {
            medium.stop_at(self.dice.among(0..150));
        }
        self.process = Some(Process {
            pipeline,
            hands: SimHands { now_us, began_us: now_us, asks: vec![] },
            records,
            medium,
            store,
            seen: vec![self.root.block_hash],
            tickets: HashMap::new(),
            proofs: HashMap::new(),
            next_ticket: 0,
            alarm_us: None,
        });
        Ok(())
    }

    /// Ends the process as a kill would, or as a power cut.
    pub fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            process.records.let_go();
        }
        let cut = self.faults.has(Fault::Power) && self.dice.percent(50);
        let power = cut.then(|| self.dice.among(0..u64::MAX));
        self.disk.crash(power);
        open(&self.book).died();
    }

    /// Tells the pipeline what changed since it last heard.
    pub fn notify(&mut self, now_us: u64, l1: &L1, later: &mut Vec<(u64, Alarm)>) -> Result<(), Death> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if !process.pipeline.takes_events() {
            return Ok(());
        }
        let same = process.seen.iter().zip(l1.canonical()).take_while(|(a, b)| a == b).count();
        let removed: Vec<BlockHash> = process.seen.drain(same..).rev().collect();
        let joining = &l1.canonical()[same..];
        // Sometimes not all at once.
        let some = if self.news_dice.percent(20) { self.news_dice.among(1..6) as usize } else { usize::MAX };
        let added: Vec<_> = joining.iter().take(some).filter_map(|block| l1.shown(block)).collect();
        if removed.is_empty() && added.is_empty() {
            return Ok(());
        }
        process.seen.extend(added.iter().map(|block| block.metadata.block_hash));
        let mut event = SourceEvent { removed, added };
        if self.faults.has(Fault::Malformed) && self.dice.once_in(60) && mangle(&mut event, &mut self.dice) {
            self.mishaps += 1;
            let told = self.tell(now_us, later, |pipeline, outside| pipeline.follow(event, outside));
            return match told {
                Err(Death::Ended(RunError::Chain(_))) => Err(Death::Killed),
                Ok(()) => {
                    open(&self.book).broken("an L1 that contradicts itself is not followed", self.life);
                    Ok(())
                }
                other => other,
            };
        }
        self.judge_finality(l1);
        for block in &event.added {
            let hash = block.metadata.block_hash;
            open(&self.book).shown(hash, l1.height(&hash).unwrap_or_default());
        }
        let orphaned = event.removed.clone();
        let forget = if self.scenario.cache { vec![] } else { orphaned };
        self.forget(&forget);
        self.tell(now_us, later, |pipeline, outside| pipeline.follow(event, outside))
    }

    /// Without a cache, what a reorg orphans is forgotten.
    fn forget(&mut self, orphaned: &[BlockHash]) {
        let Some(process) = &self.process else { return };
        for block in orphaned {
            let filter = Filter { block: Some(*block), ..Filter::default() };
            for entry in process.store.list(&filter).unwrap_or_default() {
                // What cannot be forgotten now is remembered a little longer.
                let _ = process.store.remove(&entry.id);
            }
        }
    }

    /// What is final, and settled by a settlement that is final, as the L1 shows it.
    fn judge_finality(&mut self, l1: &L1) {
        let Some(process) = &self.process else { return };
        let tip = process.seen.len() as u64 - 1;
        let Some(finalized) = tip.checked_sub(self.scenario.finality_depth) else { return };
        let carried = process.seen.iter().take(finalized as usize + 1).filter_map(|block| l1.shown(block));
        let ends = carried.flat_map(|block| block.settlements).filter_map(|s| l1.height(&s.end_block));
        if let Some(end) = ends.max() {
            open(&self.book).may_prune_below(Checkpoint(end + 1));
        }
    }

    /// Something that was waited for is there.
    pub fn ring(&mut self, now_us: u64, alarm: Alarm, later: &mut Vec<(u64, Alarm)>) -> Result<(), Death> {
        let Some(process) = &mut self.process else { return Ok(()) };
        let message = match alarm {
            Alarm::Time => {
                if process.alarm_us.is_none_or(|at| at > now_us) {
                    return Ok(());
                }
                process.alarm_us = None;
                return self.tell(now_us, later, Pipeline::wake);
            }
            Alarm::Done(ticket) => match process.tickets.remove(&ticket) {
                None => return Ok(()),
                Some(Ticket::LookUp(order)) => Message::Read(Read::look_up(process.store.as_ref(), order)),
                Some(Ticket::Check(order)) => Message::Read(Read::check(process.store.as_ref(), order)),
                Some(Ticket::Proof(finished)) => {
                    process.proofs.remove(&finished.order.id);
                    Message::Finished(*finished)
                }
                Some(Ticket::Late(finished)) => {
                    if finished.result.is_ok() {
                        open(&self.book).came_late(finished.order.id);
                    }
                    Message::Late(*finished)
                }
                Some(Ticket::Flush(order, entry)) => {
                    let result = process.store.put(*entry);
                    Message::Stored { order, result }
                }
            },
        };
        self.tell(now_us, later, |pipeline, outside| pipeline.receive(message, outside))
    }

    fn tell(
        &mut self,
        now_us: u64,
        later: &mut Vec<(u64, Alarm)>,
        what: impl FnOnce(&mut Pipeline, &mut Outside<'_>) -> Result<(), RunError>,
    ) -> Result<(), Death> {
        let Some(process) = &mut self.process else { return Ok(()) };
        if process.medium.is_stopped() {
            return Err(Death::Killed);
        }
        process.hands.now_us = now_us;
        let mut scribe = Scribe(self.book.clone());
        let (pipeline, hands) = (&mut process.pipeline, &mut process.hands);
        let told =
            catch_unwind(AssertUnwindSafe(|| what(pipeline, &mut Outside { hands, observer: &mut scribe })));
        if process.medium.is_stopped() || !matches!(told, Ok(Ok(()))) {
            // What it wanted proved is not begun any more.
            let wanted = process.hands.asks.iter().filter(|ask| matches!(ask, Ask::Prove(_))).count();
            open(&self.book).counts.not_begun += wanted as u64;
        }
        if process.medium.is_stopped() {
            return Err(Death::Killed);
        }
        match told {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(Death::Ended(error)),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                return Err(Death::Panicked(text.unwrap_or_default()));
            }
        }
        for ask in std::mem::take(&mut process.hands.asks) {
            self.carry_out(now_us, ask, later);
        }
        if let Some(process) = &mut self.process
            && let Some(deadline) = process.pipeline.deadline()
        {
            // Never at once: time must pass for what waits for time.
            let at = (process.hands.began_us + deadline.as_micros() as u64).max(now_us + 1);
            if process.alarm_us.is_none_or(|set| at < set) {
                process.alarm_us = Some(at);
                later.push((at, Alarm::Time));
            }
        }
        Ok(())
    }

    fn carry_out(&mut self, now_us: u64, ask: Ask, later: &mut Vec<(u64, Alarm)>) {
        let [read_us, flush_us] = self.scenario.disk_us;
        match ask {
            Ask::LookUp(order) => {
                let at = now_us + 1 + self.dice.among(0..read_us);
                self.ticket(at, Ticket::LookUp(order), later);
            }
            Ask::Check(order) => {
                let at = now_us + 1 + self.dice.among(0..read_us);
                self.ticket(at, Ticket::Check(order), later);
            }
            Ask::Store(order, entry) => {
                let at = now_us + 1 + self.dice.among(flush_us / 2..flush_us);
                self.ticket(at, Ticket::Flush(order, Box::new(entry)), later);
            }
            Ask::Prove(assignment) => self.prove(now_us, assignment, later),
            Ask::Cancel(id) => self.cancel(now_us, id, later),
            Ask::WriteOff(id) => {
                let process = self.process.as_mut();
                let left = process.and_then(|process| {
                    let ticket = process.proofs.remove(&id)?;
                    process.tickets.remove(&ticket)
                });
                open(&self.book).ended(&id);
                // Every other one comes back after all. Which, and when, its id says: the dice fall as if none did.
                if let Some(Ticket::Proof(finished)) = left
                    && id.0[0] % 2 == 0
                {
                    let patience = self.scenario.cost_us[finished.order.kind() as usize];
                    let at = now_us + 1 + u64::from(id.0[1]) * patience / 16;
                    self.ticket(at, Ticket::Late(finished), later);
                }
            }
        }
    }

    fn ticket(&mut self, at_us: u64, ticket: Ticket, later: &mut Vec<(u64, Alarm)>) -> Option<u64> {
        let process = self.process.as_mut()?;
        let number = process.next_ticket;
        process.next_ticket += 1;
        process.tickets.insert(number, ticket);
        if at_us < u64::MAX {
            later.push((at_us, Alarm::Done(number)));
        }
        Some(number)
    }

    fn prove(&mut self, now_us: u64, assignment: Assignment, later: &mut Vec<(u64, Alarm)>) {
        let Some(store) = self.process.as_ref().map(|process| process.store.clone()) else { return };
        let (id, kind) = (assignment.order.id, assignment.order.kind());
        let mishap = self.mishap();
        self.prover.arrange(mishap);
        let mean = self.scenario.cost_us[kind as usize];
        let mut cost_us = mean / 2 + self.dice.among(0..mean);
        if self.faults.has(Fault::Slow) && self.dice.once_in(12) {
            self.mishaps += 1;
            cost_us *= 10 + self.dice.among(0..80);
        }
        let prover = self.prover.clone();
        let mut finished = attempt_at(assignment, prover.as_ref(), store, &Control::default());
        finished.took = Duration::from_micros(cost_us);
        if matches!(finished.result, Err(Failure::AssumptionLost { .. } | Failure::Store(_))) {
            open(&self.book).counts.not_begun += 1;
            self.prover.arrange(None);
            cost_us = 1;
        }
        let hangs = self.faults.has(Fault::Hung) && self.dice.once_in(25);
        self.mishaps += u64::from(hangs);
        // What hangs is still there, so that it can be asked to end, in vain, and be written off.
        let at = if hangs { u64::MAX } else { now_us + cost_us };
        let Some(ticket) = self.ticket(at, Ticket::Proof(Box::new(finished)), later) else { return };
        if let Some(process) = &mut self.process {
            process.proofs.insert(id, ticket);
        }
    }

    fn mishap(&mut self) -> Option<Mishap> {
        let all = [
            (Fault::Transient, Mishap::Transient),
            (Fault::Invalid, Mishap::Invalid),
            (Fault::Panic, Mishap::Panic),
        ];
        let (_, mishap) =
            all.into_iter().find(|(fault, _)| self.faults.has(*fault) && self.dice.once_in(12))?;
        self.mishaps += 1;
        Some(mishap)
    }

    /// The attempt ends a little later, unless it ends by itself before that; one that hangs does not hear.
    fn cancel(&mut self, now_us: u64, id: StatementId, later: &mut Vec<(u64, Alarm)>) {
        let Some(process) = &mut self.process else { return };
        let Some(ticket) = process.proofs.get(&id).copied() else { return };
        let hears = self.dice.percent(80);
        if let (true, Some(Ticket::Proof(finished))) = (hears, process.tickets.get_mut(&ticket)) {
            finished.result = Err(Failure::from(ProveError::Cancelled { statement: id }));
            finished.took = Duration::ZERO;
            later.push((now_us + 1 + self.dice.among(0..200_000), Alarm::Done(ticket)));
        }
    }

    /// Flips a bit on the disk.
    pub fn rot(&mut self) {
        if self.disk.rot(&mut self.dice) {
            self.mishaps += 1;
            open(&self.book).rots();
        }
    }

    /// Verifies what the disk holds at the end, and that nothing lies below the prune floor.
    pub fn audit(&self) {
        let Some(process) = &self.process else { return };
        let pins = self.workload.pins().digest(self.workload.hasher.as_ref());
        let floor = process.store.prune_floor(&pins).unwrap_or_default().below;
        let left = |checkpoint: &u64| {
            let filter = Filter { checkpoint: Some(Checkpoint(*checkpoint)), ..Filter::default() };
            process.store.list(&filter).is_ok_and(|entries| !entries.is_empty())
        };
        if let Some(below) = (0..floor.0).find(left) {
            open(&self.book)
                .broken("nothing is left below the prune floor", format!("{below} below {floor}"));
        }
    }
}

/// Makes an event one that cannot be; whether it did.
fn mangle(event: &mut SourceEvent, dice: &mut Dice) -> bool {
    match dice.among(0..4) {
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
                // A header that is new cannot be told from a right one.
                let parent = block.metadata.parent_hash;
                block.metadata.sequencing_commitment = Digest([0xEF; 32]);
                block.metadata.block_hash = parent;
            }
            None => return false,
        },
    }
    true
}
