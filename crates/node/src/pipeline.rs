//! The driver: carries messages between the rooms, and decides nothing.
//!
//! One thread owns every room. It takes chain events first, because what the chain says is the truth and may
//! make waiting work pointless; when the source has none, it takes one message from the threads that look up,
//! prove and store. After either it computes the demand anew and carries out what the engine answers.
//!
//! Every queue is bounded: look-ups and writes by the number of jobs, the jobs by the engine's policy, proofs
//! and the bytes of their witnesses by the permits: a witness is made when its permit is there.
//!
//! It is the only holder of a clock: the engine is told the time, and says when it next wants to know.
//!
//! A wish to stop lets what runs finish and be stored, for as long as the grace lasts; then it is asked to
//! end, and left.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use reprise_chain::event::{ChainEvent, SourceEvent};
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::artifact::AggregatorArtifact;
use reprise_model::coordinate::Checkpoint;
use reprise_model::order::{Order, Work};
use reprise_model::statement::StatementId;
use reprise_planner::planner::{Demand, Fact, Planner, Pruned};
use reprise_prover::backend::{Backend, ProveError};
use reprise_prover::engine::{Effect, Engine, Request};
use reprise_prover::failure::Failure;
use reprise_prover::reader::{Read, Reader};
use reprise_prover::workers::{Assignment, Finished, Workers};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_settler::{SettleError, Settler};
use reprise_store::ReceiptStore;
use reprise_store::port::{Lookup, NewEntry, Origin, Provenance, PutOutcome, StoreError};

use crate::happening::{Happening, Observer};
use crate::health::Health;
use crate::report::Report;
use crate::tally::Tally;
use crate::watcher::{Violation, Watcher};

/// How many blocks in a row may pass without a settlement while the L1 refuses the next one.
const REFUSALS_MAX: u32 = 64;

/// How often a wish to stop is looked for while nothing happens.
const STOP_POLL: Duration = Duration::from_millis(100);

/// Why a run ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The L1 cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The L1 contradicts itself.
    #[error("the L1 cannot be followed: {0}")]
    Chain(#[from] ChainError),
    /// A block cannot be executed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A statement cannot be proved.
    #[error("{statement} was given up: {failure}")]
    GivenUp {
        /// The statement.
        statement: StatementId,
        /// The failure that ended it.
        failure: Failure,
    },
    /// The L1 keeps refusing the next settlement.
    #[error("settlement is stuck: {REFUSALS_MAX} blocks passed while the L1 refused: {reason}")]
    Stuck {
        /// Its last reason.
        reason: SettleError,
    },
    /// The L1 is not the one whose final part was pruned here.
    #[error(
        "everything below checkpoint {floor} is pruned here as final and settled, but the L1 does not show the \
         settlement of it: this is another chain, or one that has forgotten; use another data directory"
    )]
    Astray {
        /// The prune floor.
        floor: Checkpoint,
    },
    /// A hung prover's place cannot be taken.
    #[error("cannot start a thread in the place of one that hangs: {0}")]
    Thread(#[source] std::io::Error),
    /// A room's thread is gone.
    #[error("an internal thread ended early: see the log above")]
    ThreadGone,
}

/// What comes back from other threads.
pub(crate) enum Message {
    Read(Read),
    Finished(Finished),
    Stored { order: Arc<Order>, result: Result<PutOutcome, StoreError> },
}

/// How a run ended.
#[derive(Debug)]
pub struct Ended {
    /// What it did.
    pub report: Report,
    /// The promises it broke, if any.
    pub violations: Vec<Violation>,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

/// The rooms, and the threads behind them.
pub(crate) struct Pipeline {
    pub(crate) source: Box<dyn ChainSource>,
    pub(crate) tree: ForkTree,
    pub(crate) scheduler: Scheduler,
    pub(crate) planner: Planner,
    pub(crate) engine: Engine,
    pub(crate) settler: Settler,
    pub(crate) store: Arc<dyn ReceiptStore>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) reader: Reader,
    pub(crate) workers: Workers,
    pub(crate) inbox: Receiver<Message>,
    pub(crate) outbox: Sender<Message>,
    pub(crate) watcher: Watcher,
    pub(crate) tally: Tally,
    pub(crate) demand: Demand,
    /// How the receipts that are being written came to be.
    pub(crate) provenances: HashMap<StatementId, Provenance>,
    /// Since when the engine counts time.
    pub(crate) began: Instant,
    /// How long a stop waits for what runs.
    pub(crate) shutdown_grace: Duration,
    /// How many orders that are not stored the planner is asked for.
    pub(crate) demand_max: usize,
    pub(crate) health: Health,
    /// How many receipts turned out to be lost while demand was carried out.
    pub(crate) lost: u64,
    /// Where the journals of a divergence are dumped.
    pub(crate) dumps: Option<PathBuf>,
    pub(crate) refusals: u32,
    pub(crate) last_refusal: Option<SettleError>,
    pub(crate) verified: u64,
    pub(crate) labels: (String, String),
    pub(crate) host: String,
}

impl Pipeline {
    /// Runs until the source ends and everything is at rest, or `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Ended, RunError> {
        let mut stopping: Option<Instant> = None;
        loop {
            if stop.load(Ordering::Relaxed) && stopping.is_none() {
                stopping = Some(Instant::now());
                self.engine.stop();
            }
            if let Some(since) = stopping {
                if self.engine.at_rest() {
                    break;
                }
                if since.elapsed() >= self.shutdown_grace {
                    self.leave(observer)?;
                    break;
                }
            } else {
                match self.source.poll(self.progress())? {
                    Poll::Event(event) => {
                        self.follow(event, observer)?;
                        self.redemand(observer)?;
                        continue;
                    }
                    Poll::End if self.engine.at_rest() && self.engine.satisfied() => break,
                    Poll::End | Poll::Pending => {}
                }
            }
            let now = self.began.elapsed();
            let due = self.engine.deadline().map(|deadline| deadline.saturating_sub(now));
            match self.inbox.recv_timeout(due.map_or(STOP_POLL, |due| due.min(STOP_POLL))) {
                Ok(message) => self.receive(message, observer)?,
                Err(RecvTimeoutError::Timeout) if due.is_none_or(|due| due >= STOP_POLL) => continue,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::ThreadGone),
            }
            self.redemand(observer)?;
        }
        self.end(stopping.is_some())
    }

    /// Leaves what still runs, after the grace of a stop.
    fn leave(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let left: Vec<StatementId> = self.engine.proving().map(|order| order.id).collect();
        for statement in &left {
            tracing::warn!(%statement, "a proof is left unfinished: the grace of the stop is over");
        }
        let effects = self.engine.abort();
        self.carry_out(effects, observer)?;
        left.iter().for_each(|id| self.workers.abandon(id));
        Ok(())
    }

    fn progress(&self) -> Progress {
        // What was given up settles nothing any more.
        let stuck = !self.engine.failures().is_empty();
        Progress { proved: self.engine.satisfied(), settled: stuck || !self.demand.unsettled }
    }

    fn follow(&mut self, event: SourceEvent, observer: &mut dyn Observer) -> Result<(), RunError> {
        for block in &event.removed {
            let orders = self.planner.orders_of(block);
            let stored = orders.iter().filter(|order| self.engine.known(&order.id) == Some(true));
            let stored = stored.map(|order| (order.id, order.kind())).collect();
            self.tell(&Happening::Orphaned { block: *block, stored }, observer);
        }
        let event = self.tree.apply(event)?;
        let added = event.added.iter().map(|added| (added.metadata, &added.block));
        let batches = self.scheduler.schedule(added)?;
        self.planner.follow(&event, &batches);
        if let Some(floor) = self.planner.is_astray() {
            return Err(RunError::Astray { floor });
        }
        self.engine.retain(self.planner.dormant());
        self.prune(&event)?;

        let settlements: Vec<_> = event.added.iter().flat_map(|added| &added.block.settlements).collect();
        if settlements.is_empty() {
            self.refusals += u32::from(self.last_refusal.is_some());
        } else {
            (self.refusals, self.last_refusal) = (0, None);
        }
        if let (true, Some(reason)) = (self.refusals > REFUSALS_MAX, &self.last_refusal) {
            return Err(RunError::Stuck { reason: reason.clone() });
        }
        for settlement in settlements {
            self.tell(&Happening::Settled(Box::new(settlement.clone())), observer);
        }
        self.tell(&Happening::Chain { event, batches }, observer);
        Ok(())
    }

    /// Lets go, everywhere, of what is final and settled for good.
    fn prune(&mut self, event: &ChainEvent) -> Result<(), RunError> {
        let Some(Pruned { floor, statements }) = self.planner.prune(event.finalized) else { return Ok(()) };
        // PRUNE SAFETY: below the floor every block is final, so none of them can leave or return, on this
        // fork or another; and each is settled by a settlement whose own block is final, so that none of
        // their aggregates is ever wanted again. What a live block uses as well keeps its receipt: the store
        // deletes coordinates, and a receipt only with its last one. A later process that follows the chain
        // from its beginning is told the floor, and wants nothing below it (`Planner::resume`).
        let outcome = self.store.prune_below(floor)?;
        self.scheduler.prune_below(floor);
        self.engine.forget(statements);
        tracing::info!(%floor, coordinates = outcome.coordinates, receipts = outcome.receipts, "pruned");
        Ok(())
    }

    fn receive(&mut self, message: Message, observer: &mut dyn Observer) -> Result<(), RunError> {
        let effects = match message {
            Message::Read(Read::LookedUp { order, result }) => {
                let took = result?;
                if let Some(took_ms) = took {
                    let took = Duration::from_millis(took_ms);
                    self.tell(&Happening::Found { order: order.clone(), took }, observer);
                }
                self.engine.looked_up(order.id, took.is_some())
            }
            Message::Read(Read::Checked { order, bad }) => {
                for id in bad.iter().flatten() {
                    self.tell(&Happening::Lost(*id), observer);
                }
                let effects = self.engine.checked(order.id, bad.map_err(Failure::from));
                self.note_given_up(&order);
                effects
            }
            Message::Finished(finished) if !self.workers.take(&finished) => vec![],
            Message::Finished(Finished { order, result, took, cycles, device, .. }) => {
                self.verified += u64::from(result.is_ok());
                if let Err(Failure::AssumptionLost { assumption, .. }) = &result {
                    self.tell(&Happening::Lost(*assumption), observer);
                }
                let failure = result.as_ref().err().map(ToString::to_string);
                if let Some(failure) = &failure {
                    tracing::warn!(
                        statement = %order.id, kind = %order.kind(), block = ?order.coordinate.block_hash,
                        device, "a proof failed: {failure}"
                    );
                }
                self.tell(
                    &Happening::Proved { order: order.clone(), took, failure, device: Some(device) },
                    observer,
                );
                self.provenances.insert(order.id, self.provenance(took, cycles));
                let effects = self.engine.proved(order.id, result);
                self.note_given_up(&order);
                effects
            }
            Message::Stored { order, result } => {
                if let Ok(outcome) = &result {
                    self.provenances.remove(&order.id);
                    self.tell(&Happening::Stored(order.clone()), observer);
                    let (requests, wanted) =
                        (self.engine.requesters(&order.id) as u64, self.engine.is_wanted(&order.id));
                    self.tell(&Happening::Served { order: order.clone(), requests, wanted }, observer);
                    if outcome.places.diverged > 0 {
                        self.tell(&Happening::Diverged(order.id), observer);
                    }
                }
                let gone = matches!(&result, Ok(outcome) if !outcome.stored);
                let effects = self.engine.stored(order.id, result.map(|_| ()).map_err(Failure::from));
                if gone {
                    // It came so late that all its coordinates are final: nothing is left of it.
                    self.engine.lost(order.id);
                }
                effects
            }
        };
        self.carry_out(effects, observer)
    }

    fn redemand(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        // Again while carrying it out shows that something is lost: no message would come to say so.
        loop {
            let lost = self.lost;
            let engine = &self.engine;
            let fact = |id: &StatementId| match engine.known(id) {
                None => Fact::Unknown,
                Some(false) => Fact::Missing,
                Some(true) => Fact::Stored,
            };
            self.demand = self.planner.demand(&fact, self.demand_max);
            let mut effects = self.engine.want(self.demand.orders.clone());
            effects.extend(self.engine.tick(self.began.elapsed()));
            self.carry_out(effects, observer)?;
            self.settle(observer)?;
            if self.lost == lost {
                break;
            }
        }
        let (queued, hits) = (self.engine.queued(), self.engine.counts().hits.total());
        self.tell(&Happening::Queue { queued, hits }, observer);
        let health = Health::of(&self.engine, self.watcher.violations());
        if health != self.health {
            match &health {
                Health::Green => tracing::info!("health: {health}"),
                Health::Red { .. } => tracing::error!("health: {health}"),
            }
            self.health = health.clone();
            self.tell(&Happening::Health(health), observer);
        }
        Ok(())
    }

    fn carry_out(&mut self, effects: Vec<Effect>, observer: &mut dyn Observer) -> Result<(), RunError> {
        for effect in effects {
            match effect {
                Effect::LookUp(order) => self.reader.look_up(order),
                Effect::Prove(order) => {
                    let witness = match &order.work {
                        Work::Transaction { block, index } => {
                            self.scheduler.transaction_witness(block, *index)?
                        }
                        Work::Batch { block } => self.scheduler.batch_witness(block)?,
                        Work::Aggregate(bundle) => self.scheduler.aggregate_witness(&bundle.blocks)?,
                    };
                    self.tell(&Happening::Proving(order.clone()), observer);
                    self.workers.assign(Assignment { order, witness });
                }
                Effect::Cancel(id) => self.workers.cancel(&id),
                Effect::WriteOff(order, failure) => {
                    let took = match failure {
                        Failure::TimedOut { after, .. } => after,
                        _ => Duration::ZERO,
                    };
                    let kind = order.kind();
                    tracing::error!(statement = %order.id, %kind, "{failure}");
                    self.workers.write_off(&order.id).map_err(RunError::Thread)?;
                    let failure = Some(failure.to_string());
                    self.tell(&Happening::Proved { order, took, failure, device: None }, observer);
                }
                Effect::Check(order) => self.reader.check(order),
                Effect::Store { order, receipt, coordinates } => {
                    let provenance = self.provenances.get(&order.id).cloned().unwrap_or_default();
                    let entry = NewEntry { receipt, kind: order.kind(), provenance, coordinates };
                    let outbox = self.outbox.clone();
                    let done = Box::new(move |result| {
                        // A pipeline that has ended wants no answer; the receipt is stored all the same.
                        let _ = outbox.send(Message::Stored { order, result });
                    });
                    self.store.submit(entry, done);
                }
                Effect::Place(coordinate, id, request) => {
                    let outcome = self.store.place(&[(coordinate, id)])?;
                    if request == Request::Hit {
                        self.tell(&Happening::Reused(id, coordinate.place.kind()), observer);
                    }
                    if outcome.diverged > 0 {
                        self.tell(&Happening::Diverged(id), observer);
                    }
                    if outcome.not_stored > 0 {
                        self.lose(id, observer);
                    }
                }
                Effect::Publish(order) => self.tell(&Happening::Published(order), observer),
            }
        }
        Ok(())
    }

    /// A receipt that was believed to be stored is not.
    fn lose(&mut self, id: StatementId, observer: &mut dyn Observer) {
        self.lost += 1;
        self.engine.lost(id);
        self.tell(&Happening::Lost(id), observer);
    }

    /// Submits the oldest unsettled bundle if its proof is stored.
    fn settle(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let tip = self.tree.tip().block_hash();
        let Some(wanted) = self.demand.bundles.first().cloned() else { return Ok(()) };
        let (bundle, order) = (&wanted.bundle, &wanted.order);
        if self.engine.known(&order.id) != Some(true) || !self.settler.is_due(order.id, tip) {
            return Ok(());
        }
        let Lookup::Hit(receipt) = self.store.get(&order.statement, &order.claim)? else {
            self.lose(order.id, observer);
            return Ok(());
        };
        let (start, end, journal) = (bundle.blocks.start, bundle.blocks.end, bundle.journal);
        match self.settler.settle(AggregatorArtifact { start, end, journal, receipt }, tip) {
            Ok(()) => self.tell(&Happening::Submitted(order.id), observer),
            Err(refusal) => {
                tracing::info!(statement = %order.id, "{refusal}");
                self.tell(&Happening::Refused(order.id, refusal.to_string()), observer);
                self.last_refusal = Some(refusal);
            }
        }
        Ok(())
    }

    /// Dumps both journals where the program and native execution turned out to disagree.
    fn note_given_up(&self, order: &Order) {
        let Some((_, failure)) = self.engine.failures().iter().rev().find(|(id, _)| *id == order.id) else {
            return;
        };
        tracing::error!(statement = %order.id, kind = %order.kind(), "given up: {failure}");
        let (Some(dir), Failure::Prove(ProveError::Divergence { expected, found, .. })) =
            (&self.dumps, failure)
        else {
            return;
        };
        let text = format!(
            "statement {}\nat {:?}\nexpected {expected}\nfound {found}\n",
            order.id, order.coordinate
        );
        let path = dir.join(format!("{}.txt", order.id.to_string().replace(':', "-")));
        let written = std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, text));
        if let Err(error) = written {
            tracing::warn!("{}: cannot dump the journals of a divergence: {error}", path.display());
        }
    }

    fn provenance(&self, took: Duration, cycles: u64) -> Provenance {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Provenance {
            origin: Origin::Proved,
            prover: self.backend.name(),
            host: self.host.clone(),
            proved_at_ms: since_epoch.as_millis() as u64,
            took_ms: took.as_millis() as u64,
            cycles,
        }
    }

    fn tell(&mut self, happening: &Happening, observer: &mut dyn Observer) {
        self.watcher.hear(happening);
        self.tally.hear(happening);
        observer.hear(happening);
    }

    fn end(self, interrupted: bool) -> Result<Ended, RunError> {
        if let Some((statement, failure)) = self.engine.failures().first() {
            return Err(RunError::GivenUp { statement: *statement, failure: failure.clone() });
        }
        let (counts, stats) = (self.engine.counts(), self.store.stats()?);
        let violations = self.watcher.violations().to_vec();
        let (l1, backend) = self.labels.clone();
        let report = Report {
            l1,
            backend,
            executed: self.scheduler.executed(),
            wanted: counts.wanted,
            stored_before: counts.stored_before,
            proved: counts.proved.into(),
            dropped: self.engine.dropped(),
            prove_calls: self.backend.prove_calls(),
            hits: counts.hits.into(),
            merged: counts.merged,
            attempts_failed: counts.attempts_failed,
            invalid_proofs: counts.invalid,
            timed_out: counts.timed_out,
            cancelled: counts.cancelled,
            quarantined: stats.quarantined,
            receipts_verified: self.verified + stats.verifications,
            settlements: self.planner.settlements(),
            settled_checkpoint: self.planner.settled_checkpoint().map_or(0, |checkpoint| checkpoint.0),
            state_root: self.watcher.root().to_hex(),
            violations: violations.len() as u64,
            health: Health::of(&self.engine, &violations),
            ..self.tally.report()
        };
        Ok(Ended { report, violations, interrupted })
    }
}
