//! The driver: carries messages between the rooms, and decides nothing.
//!
//! One thread owns every room. It takes chain events first, because what the chain says is the truth and may
//! make waiting work pointless; when the source has none, it takes one message from the threads that look up,
//! prove and store. After either it computes the demand anew and carries out what the engine answers.
//!
//! Every queue is bounded: look-ups and writes by the number of jobs, proofs by the permits, and the jobs by
//! the demand of the unsettled window.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use reprise_chain::event::SourceEvent;
use reprise_chain::source::{ChainSource, Poll, Progress, SourceError};
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::artifact::AggregatorArtifact;
use reprise_model::order::{Order, Work};
use reprise_model::statement::StatementId;
use reprise_planner::planner::{Demand, Fact, Planner, WantedBundle};
use reprise_prover::backend::Backend;
use reprise_prover::engine::{Effect, Engine};
use reprise_prover::failure::Failure;
use reprise_prover::reader::{LookedUp, Reader};
use reprise_prover::workers::{Assignment, Finished, Workers};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_settler::{SettleError, Settler};
use reprise_store::ReceiptStore;
use reprise_store::port::{Lookup, NewEntry, Origin, Provenance, PutOutcome, StoreError};

use crate::happening::{Happening, Observer};
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
    /// A room's thread is gone.
    #[error("an internal thread ended early: see the log above")]
    ThreadGone,
}

/// What comes back from other threads.
pub(crate) enum Message {
    LookedUp(LookedUp),
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
    pub(crate) refusals: u32,
    pub(crate) last_refusal: Option<SettleError>,
    pub(crate) verified: u64,
    pub(crate) labels: (String, String),
    pub(crate) host: String,
}

impl Pipeline {
    /// Runs until the source ends and everything is at rest, or `stop` is set.
    pub(crate) fn run(mut self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Ended, RunError> {
        let mut interrupted = false;
        loop {
            if stop.load(Ordering::Relaxed) && !interrupted {
                interrupted = true;
                self.engine.stop();
            }
            if interrupted && self.engine.at_rest() {
                break;
            }
            if !interrupted {
                match self.source.poll(self.progress())? {
                    Poll::Event(event) => {
                        self.follow(event, observer)?;
                        self.redemand(observer)?;
                        continue;
                    }
                    Poll::End if self.engine.at_rest() => break,
                    // What waits for a statement that was given up waits in vain.
                    Poll::Pending if self.engine.at_rest() && !self.engine.failures().is_empty() => break,
                    Poll::End | Poll::Pending => {}
                }
            }
            match self.inbox.recv_timeout(STOP_POLL) {
                Ok(message) => {
                    self.receive(message, observer)?;
                    self.redemand(observer)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(RunError::ThreadGone),
            }
        }
        self.end(interrupted)
    }

    fn progress(&self) -> Progress {
        Progress { proved: self.engine.satisfied(), settled: !self.demand.unsettled }
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

    fn receive(&mut self, message: Message, observer: &mut dyn Observer) -> Result<(), RunError> {
        let effects = match message {
            Message::LookedUp(LookedUp { order, result }) => {
                let took = result?;
                if let Some(took_ms) = took {
                    let took = Duration::from_millis(took_ms);
                    self.tell(&Happening::Found { order: order.clone(), took }, observer);
                }
                self.engine.looked_up(order.id, took.is_some())
            }
            Message::Finished(Finished { order, result, took, cycles }) => {
                self.verified += u64::from(result.is_ok());
                if let Err(Failure::AssumptionLost { assumption, .. }) = &result {
                    self.tell(&Happening::Lost(*assumption), observer);
                }
                let failure = result.as_ref().err().map(ToString::to_string);
                if let Some(failure) = &failure {
                    tracing::warn!(statement = %order.id, kind = %order.kind(), "a proof failed: {failure}");
                }
                self.tell(&Happening::Proved { order: order.clone(), took, failure }, observer);
                self.provenances.insert(order.id, self.provenance(took, cycles));
                self.engine.proved(order.id, result)
            }
            Message::Stored { order, result } => {
                if let Ok(outcome) = &result {
                    self.provenances.remove(&order.id);
                    self.tell(&Happening::Stored(order.clone()), observer);
                    if outcome.places.diverged > 0 {
                        self.tell(&Happening::Diverged(order.id), observer);
                    }
                }
                self.engine.stored(order.id, result.map(|_| ()).map_err(Failure::from))
            }
        };
        self.carry_out(effects, observer)
    }

    fn redemand(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let engine = &self.engine;
        let fact = |id: &StatementId| match engine.known(id) {
            None => Fact::Unknown,
            Some(false) => Fact::Missing,
            Some(true) => Fact::Stored,
        };
        self.demand = self.planner.demand(&fact);
        let effects = self.engine.want(self.demand.orders.clone());
        self.carry_out(effects, observer)?;
        self.settle(observer)?;
        let (queued, hits) = (self.engine.queued(), self.engine.counts().hits.total());
        self.tell(&Happening::Queue { queued, hits }, observer);
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
                Effect::Place(coordinate, id) => {
                    let outcome = self.store.place(&[(coordinate, id)])?;
                    self.tell(&Happening::Reused(id), observer);
                    if outcome.diverged > 0 {
                        self.tell(&Happening::Diverged(id), observer);
                    }
                    if outcome.not_stored > 0 {
                        self.engine.lost(id);
                        self.tell(&Happening::Lost(id), observer);
                    }
                }
                Effect::Publish(order) => self.tell(&Happening::Published(order), observer),
            }
        }
        Ok(())
    }

    /// Submits the oldest unsettled bundle if its proof is stored.
    fn settle(&mut self, observer: &mut dyn Observer) -> Result<(), RunError> {
        let tip = self.tree.tip().block_hash();
        let Some(WantedBundle { bundle, order }) = self.demand.bundles.first().cloned() else {
            return Ok(());
        };
        if self.engine.known(&order.id) != Some(true) || !self.settler.is_due(order.id, tip) {
            return Ok(());
        }
        let Lookup::Hit(receipt) = self.store.get(&order.statement, &order.claim)? else {
            self.engine.lost(order.id);
            self.tell(&Happening::Lost(order.id), observer);
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
        let settled = self.planner.settled();
        let settled_at =
            settled.and_then(|s| self.tree.view().iter().find(|b| b.block_hash() == s.end_block));
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
            quarantined: stats.quarantined,
            receipts_verified: self.verified + stats.verifications,
            settlements: self.planner.settlements(),
            settled_checkpoint: settled_at.map_or(0, |block| block.checkpoint.0),
            state_root: self.watcher.root().to_hex(),
            violations: violations.len() as u64,
            ..self.tally.report()
        };
        Ok(Ended { report, violations, interrupted })
    }
}
