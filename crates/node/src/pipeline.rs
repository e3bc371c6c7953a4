//! The pipeline: the components of a node, and the messages between them. It decides one thing, which of two stored settlements is
//! submitted, and asks a component everything else. It never blocks.
//!
//! It has three inputs: a chain event ([`Pipeline::follow`]), an answer ([`Pipeline::receive`]), and the passing of time
//! ([`Pipeline::wake`]). After each input it asks the planner how the demand changed, and passes the engine's requests to
//! its [`Executor`]. The executor answers later, by [`Message`]. It consists of threads ([`crate::driver`]) or works in
//! simulated time. The pipeline has no thread and no clock of its own, so its behaviour is a function of its inputs.
//!
//! Every queue is bounded: look-ups and writes by the number of jobs, and the jobs by the engine's policy. The permits
//! bound the proofs and the memory of their witnesses, because a witness is made when its proof begins.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event::{ChainEvent, SourceEvent};
use reprise_chain::source::{Connection, Progress, SourceError};
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::anchor::AnchorDepth;
use reprise_model::artifact::AggregatorArtifact;
use reprise_model::block::BatchMetadata;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, PinsDigest};
use reprise_model::mutation::{self, Mutation};
use reprise_model::order::{Order, Work};
use reprise_model::statement::StatementId;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Planner, Pruned, Refuted, WantedBundle};
use reprise_prover::backend::Backend;
use reprise_prover::engine::{Effect, Engine, Request};
use reprise_prover::failure::{Cost, Failure};
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished};
use reprise_scheduler::position::Position;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_scheduler::snapshot::SettledPosition;
use reprise_settler::{Moment, Refusal, Settler};
use reprise_store::ReceiptStore;
use reprise_store::port::{Floor, Lookup, NewEntry, PutOutcome, StoreError};

use crate::attempts::{Attempts, SharedAttempts};
use crate::connection::L1Connection;
use crate::debts::Debts;
use crate::deferred::{Deferred, DiskError};
use crate::diagnostics::Diagnostics;
use crate::event::{Observer, PipelineEvent};
use crate::executor::{Executor, Message};
use crate::health::{Errors, Health, Level};
use crate::report::Report;
use crate::states::{Settlements, States};
use crate::statistics::Statistics;
use crate::violation::Violation;
use crate::watcher::Watcher;

/// How many checkpoints below the tip a block is that carries a settlement of which a snapshot may be made.
pub const SETTLED_DEPTH: u64 = 1000;

/// Why a run ended early.
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
    /// The L1 is not the one whose final part was pruned here.
    #[error(
        "everything below checkpoint {floor} is pruned here as final and settled, but the L1 does not show the \
         settlement of it: this is another chain, or the L1 has lost a part of it; use another data directory"
    )]
    FloorUnknown {
        /// The prune floor.
        floor: Checkpoint,
    },
    /// The L1 does not show what the snapshot says.
    #[error(
        "the L1 refutes the snapshot that this data directory begins with: {0}; nothing was proved over it: import another one, \
         from somebody else, into another data directory"
    )]
    Refuted(Box<Refuted>),
    /// The thread of a hung proof cannot be replaced.
    #[error("cannot start a thread to replace one that hangs: {0}")]
    Thread(#[source] io::Error),
    /// A thread ended unexpectedly.
    #[error(
        "a thread that looks receipts up, proves or writes snapshots ended early: its panic's message is in the log"
    )]
    ThreadGone,
}

impl From<DiskError> for RunError {
    fn from(error: DiskError) -> Self {
        match error {
            DiskError::Store(error) => Self::Store(error),
            DiskError::Records(error) => Self::Scheduler(error.into()),
        }
    }
}

/// How a run ended.
#[derive(Debug)]
pub struct RunOutcome {
    /// What the run did.
    pub report: Report,
    /// The invariants that it broke, if any.
    pub violations: Vec<Violation>,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

/// The components of a pipeline.
pub(crate) struct Components {
    pub(crate) tree: ForkTree,
    pub(crate) scheduler: Scheduler,
    pub(crate) planner: Planner,
    pub(crate) engine: Engine,
    /// None where nothing is settled: the pipeline observes and proves.
    pub(crate) settler: Option<Settler>,
    pub(crate) store: Arc<dyn ReceiptStore>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) watcher: Watcher,
    pub(crate) debts: Debts,
    pub(crate) diagnostics: Diagnostics,
    /// The planner's limit on how many orders of the demand are not stored.
    pub(crate) demand_max: usize,
    /// What the programs are bound to.
    pub(crate) pins: PinsDigest,
}

/// The components of a node, and the messages between them. See the [module](self).
pub struct Pipeline {
    /// The name of the L1 in the report.
    l1: String,
    tree: ForkTree,
    scheduler: Scheduler,
    planner: Planner,
    engine: Engine,
    /// None where nothing is settled: the pipeline observes and proves.
    settler: Option<Settler>,
    /// What settlements still owe.
    debts: Debts,
    /// Whether the observers know that.
    are_debts_told: bool,
    /// The settlements that the canonical chain shows, and the state before the first.
    settlements: Settlements,
    first: Option<Position>,
    store: Arc<dyn ReceiptStore>,
    backend: Arc<dyn Backend>,
    watcher: Watcher,
    diagnostics: Diagnostics,
    attempts: SharedAttempts,
    statistics: Statistics,
    deferred: Deferred,
    /// The connection to a live L1, as the source last reported it.
    connection: Option<L1Connection>,
    /// The source's disk error, if it has one that can pass.
    source_disk_error: Option<String>,
    /// Why the last snapshot could not be written, where it could not.
    snapshot_error: Option<String>,
    health: Health,
    /// How many receipts were found to be lost while effects were carried out.
    lost: u64,
    pins: PinsDigest,
    demand_max: usize,
    /// The last bundle of which no statement contradicts another at its place.
    undisputed: Option<StatementId>,
    /// The last settled checkpoint that was offered to be kept, and that of the block that carried the settlement.
    offered: (Checkpoint, Checkpoint),
    /// The last one of which it was said that no chain can be followed from it, nor from any since.
    unkept: Checkpoint,
    /// Whether the chain is followed no further.
    is_abandoned: bool,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("l1", &self.l1).finish_non_exhaustive()
    }
}

/// What a pipeline works with while it handles one input.
pub struct Context<'a> {
    /// Carries out what takes time.
    pub executor: &'a mut dyn Executor,
    /// Receives every event.
    pub observer: &'a mut dyn Observer,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline over an L1 of this name, from these components.
    pub(crate) fn new(l1: String, components: Components) -> Self {
        let Components {
            tree,
            scheduler,
            planner,
            engine,
            settler,
            store,
            backend,
            watcher,
            debts,
            diagnostics,
            demand_max,
            pins,
        } = components;
        let mut pipeline = Self {
            l1,
            first: scheduler.position(&tree.tip().block_hash()),
            settlements: Settlements::default(),
            tree,
            scheduler,
            planner,
            engine,
            settler,
            store,
            backend,
            watcher,
            diagnostics,
            attempts: SharedAttempts::default(),
            debts,
            are_debts_told: false,
            statistics: Statistics::default(),
            deferred: Deferred::default(),
            connection: None,
            health: Health::default(),
            source_disk_error: None,
            snapshot_error: None,
            lost: 0,
            pins,
            demand_max,
            undisputed: None,
            offered: (Checkpoint(0), Checkpoint(0)),
            unkept: Checkpoint(0),
            is_abandoned: false,
        };
        // What a snapshot names is owed from the beginning, and the chain may change no debt for long.
        if !mutation::is(Mutation::OwedUntold) {
            pipeline.tell_what_is_owed();
        }
        pipeline
    }

    /// Tells whoever settles what is owed.
    fn tell_what_is_owed(&mut self) {
        let owed: Vec<_> = self.debts.owed().collect();
        if let Some(settler) = &mut self.settler {
            settler.set_unpaid(&owed);
        }
    }

    /// Names the host in the provenance of what is proved here.
    pub(crate) fn on_host(&mut self, host: String) {
        self.diagnostics.on_host(host);
    }

    /// Takes the attempts of earlier processes into account.
    pub(crate) fn recall(&mut self, attempts: Attempts) {
        for (statement, attempted) in attempts.statements() {
            let reason = attempted.given_up.then(|| attempted.to_string());
            self.engine.recall(*statement, attempted.counts(), reason);
        }
        self.attempts = SharedAttempts::new(attempts);
    }

    /// What notes the attempts.
    pub(crate) fn attempts(&self) -> SharedAttempts {
        self.attempts.clone()
    }

    /// Sets down to which depth the L1 answers for commitments. Settlements are then anchored again in time.
    pub(crate) fn set_anchor_depth(&mut self, depth: Option<AnchorDepth>) {
        self.scheduler.set_anchor_depth(depth);
        self.planner.set_anchor_depth(depth);
    }

    /// The progress so far, for a source that waits for the prover.
    pub fn progress(&self) -> Progress {
        // After a statement is given up, nothing more is settled.
        let stuck =
            self.settler.is_none() || !self.engine.failures().is_empty() || self.watcher.is_state_in_doubt();
        let proved = self.engine.satisfied() && self.deferred.error().is_none();
        let settled = stuck || !self.planner.is_unsettled();
        let refused = self.refusal().is_some();
        Progress { proved, settled, refused, finalized: self.tree.finalized() }
    }

    /// How much of everything it holds, by name.
    pub fn holds(&self) -> Vec<(&'static str, usize)> {
        let mut holds = vec![
            ("blocks of the fork tree", self.tree.seen()),
            ("versions of the state", self.scheduler.kept()),
            ("debts", self.debts.all().len()),
        ];
        holds.extend(self.planner.holds());
        holds.extend(self.engine.holds());
        holds.extend(self.watcher.holds());
        holds.extend(self.statistics.holds());
        holds.push(("provenances", self.diagnostics.provenances()));
        holds
    }

    /// Whether nothing is being looked up, proved, checked or stored, and nothing waits for the store.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle() && self.deferred.error().is_none()
    }

    /// When [`wake`](Self::wake) next has something to do, if ever without another input.
    pub fn deadline(&self) -> Option<Duration> {
        // A refused settlement is tried again when it is the next, its receipt is stored, and the store works.
        let settler = self.settler.as_ref().filter(|_| self.deferred.again_at().is_none());
        let settler = settler.filter(|_| self.to_settle().is_some()).and_then(Settler::again_at);
        self.engine.deadline().into_iter().chain(self.deferred.again_at()).chain(settler).min()
    }

    /// The oldest unsettled bundle, if its receipt is stored and nothing forbids its settlement.
    fn to_settle(&self) -> Option<&Arc<WantedBundle>> {
        let is_stored = |wanted: &&Arc<WantedBundle>| self.engine.known(&wanted.order.id) == Some(true);
        // While a bundle that was anchored again is being proved, it is settled as it was before.
        let mut candidates = self.planner.bundles().take(1).chain(self.planner.replaced());
        let wanted = candidates.find(is_stored)?;
        // A wrong root on the L1 cannot be undone. What is not settled now can be settled later.
        (!self.is_abandoned && !self.watcher.is_state_in_doubt()).then_some(wanted)
    }

    /// Starts no further proof. Running proofs are finished and stored.
    pub fn stop(&mut self) {
        self.engine.stop();
    }

    /// The chain cannot be followed any further: no further proof is started, and nothing is settled.
    pub fn abandon_chain(&mut self) {
        self.is_abandoned = true;
        self.stop();
    }

    /// Cancels the running proofs and ignores their answers. Returns their statements.
    pub fn abandon_running(&mut self, context: &mut Context<'_>) -> Result<Vec<StatementId>, RunError> {
        let left: Vec<Arc<Order>> = self.engine.proving().cloned().collect();
        for order in &left {
            tracing::warn!(statement = %order.id, "a proof is abandoned: the shutdown grace is over");
            self.note_attempt(order, None);
        }
        let effects = self.engine.abort();
        self.carry_out(effects, context)?;
        Ok(left.iter().map(|order| order.id).collect())
    }

    /// Whether it accepts a change of the chain. It does not while the records of the last one are not written.
    pub fn takes_events(&self) -> bool {
        self.deferred.view.is_none()
    }

    /// The canonical chain changed.
    pub fn follow(&mut self, event: SourceEvent, context: &mut Context<'_>) -> Result<(), RunError> {
        self.engine.set_time(context.executor.now());
        self.on_chain_event(event, context)?;
        self.wake(context)
    }

    /// The L1 will never remove this block, nor any below it.
    pub fn finalize(&mut self, block: &BlockHash, context: &mut Context<'_>) -> Result<(), RunError> {
        let Some(event) = self.tree.finalize(block) else { return Ok(()) };
        self.on_view_change(event, context)?;
        self.wake(context)
    }

    /// An answer came.
    pub fn receive(&mut self, message: Message, context: &mut Context<'_>) -> Result<(), RunError> {
        self.engine.set_time(context.executor.now());
        self.on_message(message, context)?;
        self.wake(context)
    }

    fn on_chain_event(&mut self, event: SourceEvent, context: &mut Context<'_>) -> Result<(), RunError> {
        // The observers see no event that the fork tree refuses.
        let event = self.tree.apply(event)?;
        self.on_view_change(event, context)
    }

    /// The view changed, or more of it is final.
    fn on_view_change(&mut self, event: ChainEvent, context: &mut Context<'_>) -> Result<(), RunError> {
        let added = event.added.iter().map(|added| (added.metadata, &added.block));
        let blocks = match self.scheduler.schedule(added) {
            Ok(blocks) => blocks,
            Err(SchedulerError::Record(error)) => {
                self.deferred.view = Some(event);
                return Ok(self.deferred.failed(
                    error,
                    context.executor.now(),
                    &self.engine.policy().backoff,
                )?);
            }
            Err(error) => return Err(error.into()),
        };
        for block in event.removed.iter().map(BatchMetadata::block_hash) {
            let orders = self.planner.orders_of(&block);
            let stored = orders.iter().filter(|order| self.engine.known(&order.id) == Some(true));
            let stored = stored.map(|order| (order.id, order.kind())).collect();
            self.tell(&PipelineEvent::Orphaned { block, stored }, context);
            if mutation::is(Mutation::DeleteOnReorg) {
                orders.iter().try_for_each(|order| self.store.remove(&order.id).map(drop))?;
            }
        }
        self.planner.follow(&event, &blocks);
        if let Some(refuted) = self.planner.refuted() {
            return Err(RunError::Refuted(Box::new(refuted)));
        }
        if let Some(floor) = self.planner.unknown_floor() {
            return Err(RunError::FloorUnknown { floor });
        }

        for settlement in event.added.iter().flat_map(|added| &added.block.settlements) {
            self.settler.iter_mut().for_each(Settler::relieve);
            self.tell(&PipelineEvent::Settled(Box::new(settlement.clone())), context);
        }
        let planner = &self.planner;
        let has_debts_changed = self.debts.follow(&event, &blocks, &|settlement| planner.end_of(settlement));
        if has_debts_changed {
            self.tell_what_is_owed();
        }
        let planner = &self.planner;
        self.settlements.follow(&event, &|settlement| planner.end_of(settlement).is_some());
        let finalized = event.finalized;
        context.executor.followed(&event);
        self.tell(&PipelineEvent::Chain { event, blocks }, context);
        if let Some(states) = self.states() {
            self.tell(&PipelineEvent::States(Arc::new(states)), context);
        }
        // What a snapshot names is owed from the beginning.
        if has_debts_changed || !std::mem::replace(&mut self.are_debts_told, true) {
            self.tell(&PipelineEvent::Debts(self.debts.all()), context);
        }
        self.offer_settled(finalized, context);
        self.prune(finalized, context)?;
        self.release(finalized);
        Ok(())
    }

    /// Releases what only reorgs need, of the blocks that are final.
    fn release(&mut self, finalized: Checkpoint) {
        let statements = self.planner.release(finalized);
        self.engine.remove_statements(statements);
        if let Some(block) = self.tree.at(finalized).map(BatchMetadata::block_hash) {
            self.scheduler.finalize(&block);
        }
    }

    /// The states that reads are answered from.
    fn states(&self) -> Option<States> {
        let tip = self.scheduler.position(&self.tree.tip().block_hash())?;
        Some(
            self.settlements
                .states(self.first.clone()?, tip, &|settlement| self.scheduler.settled(settlement)),
        )
    }

    /// Offers the newest settled position whose settlement no reorg is likely to remove. Where the L1 alone says what is final,
    /// that is too late: it no longer shows the blocks from there on.
    fn offer_settled(&mut self, finalized: Checkpoint, context: &mut Context<'_>) {
        let deep = self.tree.tip().checkpoint.0.saturating_sub(SETTLED_DEPTH);
        if self.watcher.is_state_in_doubt() {
            return;
        }
        // A chain cannot be followed from every block. Somebody may have anchored a settlement in an empty one, of which nothing is
        // kept, and a block below the prune floor is in memory no more. Then an earlier settlement is offered, or the next.
        let deep = finalized.max(Checkpoint(deep));
        let newest = self.planner.settled_by(deep).next().map(|(.., end)| end);
        let mut settled = self.planner.settled_by(deep);
        let found = settled.find_map(|(settlement, carrier, end)| {
            let position = self.scheduler.beginning(&settlement.end_block)?;
            Some((position, settlement, carrier, end))
        });
        // After a reorg another block may carry the settlement, and what was kept names the one before.
        let (offered, carried) = self.offered;
        let is_new = |carrier, end| end > offered || end == offered && carrier != carried;
        let found = found.filter(|(.., carrier, end)| is_new(*carrier, *end));
        let Some((position, settlement, carrier, end)) = found else {
            let first = self.first.as_ref().map_or(Checkpoint(0), |first| first.checkpoint);
            let said = self.unkept.max(offered).max(first);
            if let Some(newest) = newest.filter(|newest| newest.0 > said.0.saturating_add(SETTLED_DEPTH)) {
                self.unkept = newest;
                tracing::warn!(
                    "no snapshot can be written: every settlement from checkpoint {offered} to {newest} ends in an empty block that no \
                     chain can be followed from; until one does not, event log and records grow"
                );
            }
            return;
        };
        let (settlement, carried_above) = (settlement.clone(), carrier.0 - end.0);
        self.offered = (end, carrier);
        let unpaid = self.debts.unpaid(end);
        let settled = SettledPosition { position, settlement, carried_above, unpaid };
        context.executor.settled(settled, finalized);
    }

    /// Prunes, everywhere, what is final and settled by a settlement that is final.
    fn prune(&mut self, finalized: Checkpoint, context: &mut Context<'_>) -> Result<(), RunError> {
        let Pruned { floor, statements } =
            self.planner.prune(match mutation::is(Mutation::PruneBeforeFinal) {
                true => self.tree.tip().checkpoint,
                false => finalized,
            });
        self.engine.remove_statements(statements);
        if floor.is_none() {
            return Ok(());
        }
        self.deferred.floor = floor.map(|below| Floor { below, seen: self.planner.highest() });
        self.prune_store(context)
    }

    /// Prunes the store below the floor, if the floor rose.
    fn prune_store(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        let Some(floor) = self.deferred.floor else { return Ok(()) };
        let pins = self.pins;
        // PRUNE SAFETY: below the floor every block is final, so none of them can leave or return, on this
        // fork or another. Each is settled by a settlement whose own block is final, so none of their aggregates
        // is wanted again. A receipt that a live block uses too is kept: the store deletes coordinates, and a
        // receipt only with its last one. A later process that follows the chain from its beginning is given the
        // floor, and wants nothing below it (`Planner::resume`).
        let Some(outcome) = self.ask(context, |store| store.prune_below(&pins, floor))? else {
            return Ok(());
        };
        self.deferred.floor = None;
        let floor = floor.below;
        self.scheduler.prune_below(floor);
        self.tell(&PipelineEvent::Pruned(floor), context);
        tracing::info!(%floor, coordinates = outcome.coordinates, receipts = outcome.receipts, "pruned");
        Ok(())
    }

    /// Stores a description of the proof profile, once.
    fn describe(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        if !self.deferred.is_described {
            let backend = self.backend.clone();
            let described = self.ask(context, |store| store.describe(backend.profile()))?;
            self.deferred.is_described = described.is_some();
        }
        Ok(())
    }

    fn on_message(&mut self, message: Message, context: &mut Context<'_>) -> Result<(), RunError> {
        let effects = match message {
            Message::Read(Read::LookedUp { order, result }) => {
                match result {
                    Ok(Some(took_ms)) => {
                        let took = Duration::from_millis(took_ms);
                        self.tell(&PipelineEvent::Found { order: order.clone(), took }, context);
                    }
                    Ok(None) => self.tell(&PipelineEvent::Missed(order.id), context),
                    Err(_) => {}
                }
                match result {
                    Ok(took) => {
                        if took.is_some() {
                            // Another process proved it: nobody counts how often it failed here.
                            self.attempts.lock().clear(order.id);
                        }
                        self.engine.looked_up(order.id, took.is_some())
                    }
                    Err(error) => {
                        let effects = self.engine.lookup_failed(order.id, error.into());
                        self.note_given_up(&order);
                        effects
                    }
                }
            }
            Message::Read(Read::Checked { order, bad }) => {
                for id in bad.iter().flatten() {
                    self.tell(&PipelineEvent::Lost(*id), context);
                }
                let effects = self.engine.checked(order.id, bad.map_err(Failure::from));
                self.note_attempt(&order, None);
                effects
            }
            Message::Finished(Finished { order, result, took, cycles, device }) => {
                if let Err(Failure::AssumptionLost { assumption, .. }) = &result {
                    self.tell(&PipelineEvent::Lost(*assumption), context);
                }
                let failure = result.as_ref().err().map(ToString::to_string);
                let last = result.as_ref().err().filter(|failure| failure.cost() == Cost::Expensive);
                let last = last.map(ToString::to_string);
                if let Some(failure) = &failure {
                    tracing::warn!(
                        statement = %order.id, kind = %order.kind(), block = ?order.coordinate.block_hash,
                        device, "a proof failed: {failure}"
                    );
                }
                self.tell(
                    &PipelineEvent::Proved { order: order.clone(), took, failure, device: Some(device) },
                    context,
                );
                let since_epoch = context.executor.since_epoch();
                let verified = result.is_ok();
                if verified {
                    self.diagnostics.on_proof(order.id, self.backend.name(), took, cycles, since_epoch);
                    self.engine.measure(order.kind(), took);
                }
                let effects = self.engine.proved(order.id, result);
                if !verified {
                    self.note_attempt(&order, last);
                }
                effects
            }
            Message::Late(Finished { order, result: Ok(receipt), took, cycles, .. }) => {
                tracing::info!(
                    statement = %order.id, kind = %order.kind(), ?took,
                    "a valid proof came after its timeout, and is stored"
                );
                self.engine.measure(order.kind(), took);
                let effects = self.engine.proved_late(&order, receipt);
                if !effects.is_empty() {
                    let since_epoch = context.executor.since_epoch();
                    self.diagnostics.on_proof(order.id, self.backend.name(), took, cycles, since_epoch);
                }
                effects
            }
            Message::Late(_) => vec![],
            Message::Stored { order, result: Ok(PutOutcome { stored: false, .. }) } => {
                self.diagnostics.remove(&order.id);
                self.attempts.lock().clear(order.id);
                self.engine.discarded(order.id)
            }
            Message::Stored { order, result } => {
                if let Ok(outcome) = &result {
                    self.diagnostics.remove(&order.id);
                    self.attempts.lock().clear(order.id);
                    self.tell(&PipelineEvent::Stored(order.clone()), context);
                    let (requests, wanted) =
                        (self.engine.requesters(&order.id) as u64, self.engine.is_wanted(&order.id));
                    self.tell(&PipelineEvent::Served { order: order.clone(), requests, wanted }, context);
                    if outcome.coordinates.diverged > 0 {
                        self.tell(&PipelineEvent::Diverged(order.id), context);
                    }
                }
                let effects = self.engine.stored(order.id, result.map(|_| ()).map_err(Failure::from));
                if self.engine.failures().iter().any(|(id, _)| *id == order.id) {
                    self.diagnostics.remove(&order.id);
                    self.note_attempt(&order, None);
                }
                effects
            }
        };
        self.carry_out(effects, context)
    }

    /// Handles the passing of time, and the change of the demand.
    pub fn wake(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        // Nothing may have happened for longer than a proof may take.
        self.engine.set_time(context.executor.now());
        self.engine.set_deserted(&context.executor.deserted());
        if self.deferred.again_at().is_some_and(|at| at <= context.executor.now()) {
            self.deferred.end_wait();
            if let Some(event) = self.deferred.view.take() {
                self.on_view_change(event, context)?;
            }
            self.prune_store(context)?;
            self.add_coordinates(context)?;
        }
        self.describe(context)?;
        // Repeated while an effect finds a receipt lost: no message reports that.
        loop {
            let lost = self.lost;
            let changed = self.engine.take_known_changes();
            let status = |id: &StatementId| receipt_status(&self.engine, id);
            let change = self.planner.demand(changed, &status, self.demand_max);
            self.engine.retain(&change.dormant, &change.no_longer_dormant);
            if !change.added.is_empty() || !change.removed.is_empty() {
                let (added, removed) = (change.added.clone(), change.removed.clone());
                self.tell(&PipelineEvent::Wanted { added, removed }, context);
            }
            let mut effects = self.engine.want(&change.removed, &change.added);
            let has_ended = |id: &StatementId| context.executor.has_ended(id);
            effects.extend(self.engine.expire(context.executor.now(), &has_ended));
            self.carry_out(effects, context)?;
            // Which devices of hung attempts have another thread is known by now.
            let effects = self.engine.start();
            self.carry_out(effects, context)?;
            self.settle(context)?;
            if self.lost == lost {
                break;
            }
        }
        if self.deferred.again_at().is_none() {
            // The store answered every call.
            self.deferred.succeeded();
        }
        self.store.protect(&self.pins, self.planner.needed_from());
        let (queued, hits) = (self.engine.queued(), self.engine.counts().hits.total());
        let unsettled = self.planner.bundles().next().is_some();
        self.tell(&PipelineEvent::Queue { queued, hits, unsettled }, context);
        self.update_health(context);
        Ok(())
    }

    /// The source reports its connection to the L1.
    pub fn on_connection(&mut self, connection: &Connection, context: &mut Context<'_>) {
        let connection = L1Connection::at(context.executor.since_epoch(), connection);
        self.connection = Some(connection.clone());
        self.tell(&PipelineEvent::Connection(connection), context);
        self.update_health(context);
    }

    /// The source reports a disk error that can pass, or its end.
    pub fn on_source_disk_error(&mut self, error: Option<String>, context: &mut Context<'_>) {
        if self.source_disk_error != error {
            self.source_disk_error = error;
            self.update_health(context);
        }
    }

    /// A snapshot of a settled position was written, or could not be.
    pub fn on_snapshot(&mut self, error: Option<String>, context: &mut Context<'_>) {
        self.snapshot_error = error;
        self.update_health(context);
    }

    /// The next process begins with a snapshot of this checkpoint. What lies below is dropped from the disk.
    pub fn begin_at(&mut self, checkpoint: Checkpoint) {
        // PRUNE SAFETY: the snapshot is durable, its settlement is final, and its state root was computed again from its bytes.
        if let Err(error) = self.scheduler.begin_at(checkpoint) {
            tracing::warn!("{error}; the records below stay until the next start");
        }
    }

    /// Reports the health, if it changed.
    fn update_health(&mut self, context: &mut Context<'_>) {
        let health = self.health_at(context.executor.now());
        if health != self.health {
            match health.level() {
                Level::Green => tracing::info!("health: {health}"),
                Level::Degraded => tracing::warn!("health: {health}"),
                Level::Red => tracing::error!("health: {health}"),
            }
            self.health = health.clone();
            self.tell(&PipelineEvent::Health(health), context);
        }
    }

    /// The refusal of the next settlement, if it is refused now.
    fn refusal(&self) -> Option<&Refusal> {
        self.settler.as_ref().and_then(Settler::refusal)
    }

    fn health_at(&self, now: Duration) -> Health {
        let l1 = self.connection.as_ref();
        let refusal = self.refusal().map(|refusal| (refusal, refusal.urgency(now)));
        let disk = self.deferred.error().map(ToString::to_string).or_else(|| self.source_disk_error.clone());
        let errors = Errors {
            disk,
            snapshot: self.snapshot_error.clone(),
            exits: self.settler.as_ref().and_then(Settler::exits_error),
            entry: self.settler.as_ref().and_then(Settler::entry_error),
        };
        Health::of(&self.engine, errors, l1, refusal, self.watcher.broken_promises())
    }

    fn carry_out(&mut self, effects: Vec<Effect>, context: &mut Context<'_>) -> Result<(), RunError> {
        for effect in effects {
            match effect {
                Effect::LookUp(order) => context.executor.look_up(order),
                Effect::Prove(order, device) => {
                    let witness = match &order.work {
                        Work::Transaction { block, index } => {
                            self.scheduler.transaction_witness(block, *index)
                        }
                        Work::Batch(batch) => self.scheduler.batch_witness(batch),
                        Work::Join(parts) => self.scheduler.join_witness(parts),
                        Work::Settle { parts, anchor } => self.scheduler.settlement_witness(parts, anchor),
                    };
                    let witness = match witness {
                        // A statement of several orphaned blocks, the first of which is final by now and gone.
                        Err(SchedulerError::Unknown { .. }) if !self.engine.is_wanted(&order.id) => {
                            let effects = self.engine.withdraw(order.id);
                            self.carry_out(effects, context)?;
                            continue;
                        }
                        witness => witness?,
                    };
                    if !self.backend.is_remote() {
                        self.attempts.lock().begin(order.id, order.kind());
                    }
                    tracing::debug!(statement = %order.id, kind = %order.kind(), device, "a proof begins");
                    self.tell(&PipelineEvent::Proving(order.clone(), device), context);
                    context.executor.prove(Assignment { order, witness, device });
                }
                Effect::Want(id, place) => context.executor.want(&id, place),
                Effect::Cancel(id) => context.executor.cancel(&id),
                Effect::WriteOff(order, failure) => {
                    let took = match failure {
                        Failure::TimedOut { after, .. } => after,
                        _ => Duration::ZERO,
                    };
                    let kind = order.kind();
                    match failure {
                        Failure::Cancelled { .. } => {
                            tracing::info!(statement = %order.id, %kind, "{failure}")
                        }
                        _ => tracing::error!(statement = %order.id, %kind, "{failure}"),
                    }
                    context.executor.write_off(&order.id).map_err(RunError::Thread)?;
                    self.engine.set_deserted(&context.executor.deserted());
                    let failure = Some(failure.to_string());
                    self.note_attempt(&order, failure.clone());
                    self.tell(&PipelineEvent::Proved { order, took, failure, device: None }, context);
                }
                Effect::Check(order) => context.executor.check(order),
                Effect::Store { order, receipt, coordinates } => {
                    let provenance = self.diagnostics.provenance(&order.id);
                    let entry = NewEntry { receipt, kind: order.kind(), provenance, coordinates };
                    context.executor.store(order, entry);
                }
                Effect::AddCoordinate(coordinate, id, request) => {
                    self.deferred.coordinates.push_back((coordinate, id, request));
                    self.add_coordinates(context)?;
                }
                // If its receipt was lost meanwhile, it is published when it is proved again.
                Effect::Publish(order)
                    if self.engine.known(&order.id) != Some(true)
                        && !mutation::is(Mutation::PublishBeforeDurable) => {}
                Effect::Publish(order) => self.tell(&PipelineEvent::Published(order), context),
            }
        }
        Ok(())
    }

    /// Adds further coordinates to stored statements.
    fn add_coordinates(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        while let Some((coordinate, id, request)) = self.deferred.coordinates.front().copied() {
            let Some(outcome) = self.ask(context, |store| store.add_coordinates(&[(coordinate, id)]))? else {
                return Ok(());
            };
            self.deferred.coordinates.pop_front();
            if request == Request::Hit {
                self.tell(&PipelineEvent::Reused(id, coordinate), context);
            }
            if outcome.diverged > 0 {
                self.tell(&PipelineEvent::Diverged(id), context);
            }
            if outcome.not_stored > 0 {
                self.lose(id, context);
            }
        }
        Ok(())
    }

    /// Calls the store, unless it failed recently. `None` if it cannot answer now: the call is then repeated later.
    fn ask<R>(
        &mut self,
        context: &Context<'_>,
        what: impl FnOnce(&dyn ReceiptStore) -> Result<R, StoreError>,
    ) -> Result<Option<R>, RunError> {
        if self.deferred.again_at().is_some() {
            return Ok(None);
        }
        match what(self.store.as_ref()) {
            Ok(answer) => {
                self.deferred.succeeded();
                Ok(Some(answer))
            }
            Err(error) => {
                self.deferred.failed(error, context.executor.now(), &self.engine.policy().backoff)?;
                Ok(None)
            }
        }
    }

    /// A receipt that counted as stored is not.
    fn lose(&mut self, id: StatementId, context: &mut Context<'_>) {
        self.lost += 1;
        self.engine.lost(id);
        self.tell(&PipelineEvent::Lost(id), context);
    }

    /// Submits the oldest unsettled bundle if its proof is stored.
    fn settle(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        if self.planner.bundles().next().is_none() {
            self.settler.iter_mut().for_each(Settler::relieve);
        }
        let tip = self.tree.tip().block_hash();
        let Some(wanted) = self.to_settle().cloned() else { return Ok(()) };
        let at = Moment { now: context.executor.now(), since_epoch: context.executor.since_epoch() };
        let (bundle, order) = (&wanted.bundle, &wanted.order);
        if !self.settler.as_ref().is_some_and(|settler| settler.is_due(order.id, tip, at.now)) {
            return Ok(());
        }
        let (statement, claim) = (&order.statement, &order.claim);
        let Some(lookup) = self.ask(context, |store| store.get(statement, claim))? else { return Ok(()) };
        let Lookup::Hit(receipt) = lookup else {
            self.lose(order.id, context);
            return Ok(());
        };
        if self.undisputed != Some(order.id) {
            // What an earlier process proved is not asked for below a stored aggregate, so its alarm is raised again here.
            let places: Vec<_> = wanted.orders().iter().map(|order| (order.coordinate, order.id)).collect();
            let Some(outcome) = self.ask(context, |store| store.add_coordinates(&places))? else {
                return Ok(());
            };
            if outcome.diverged > 0 {
                self.tell(&PipelineEvent::Diverged(order.id), context);
                return Ok(());
            }
            self.undisputed = Some(order.id);
        }
        let (start, anchor, journal) = (bundle.blocks.start, bundle.blocks.anchor, bundle.journal);
        let exits = self.scheduler.exits(&bundle.blocks.blocks)?;
        let Some(settler) = &mut self.settler else { return Ok(()) };
        match settler.settle(AggregatorArtifact { start, anchor, journal, exits, receipt }, tip, at) {
            Ok(_) => self.tell(&PipelineEvent::Submitted(order.id), context),
            Err(refused) => {
                tracing::debug!("{refused}");
                self.tell(&PipelineEvent::Refused(refused), context);
            }
        }
        Ok(())
    }

    /// Logs a statement, if it was given up.
    fn note_given_up(&self, order: &Order) {
        let failures = self.engine.failures().iter().rev();
        if let Some((_, failure)) = failures.into_iter().find(|(id, _)| *id == order.id) {
            self.diagnostics.on_given_up(order, failure);
        }
    }

    /// Notes that an attempt at a statement ended without a receipt, and whether the statement was given up.
    fn note_attempt(&mut self, order: &Order, last: Option<String>) {
        self.note_given_up(order);
        // Of what others prove, only what was begun here after all is counted here.
        if self.backend.is_remote() && !self.attempts.lock().is_running(&order.id) {
            return;
        }
        let mut failures = self.engine.failures().iter();
        let given_up = failures.any(|(id, failure)| *id == order.id && failure.cost() == Cost::Expensive);
        let failed = self.engine.failed(&order.id);
        self.attempts.lock().end(order.id, order.kind(), failed, last, given_up);
    }

    fn tell(&mut self, event: &PipelineEvent, context: &mut Context<'_>) {
        self.watcher.on_event(event);
        self.statistics.on_event(event);
        context.observer.on_event(event);
    }

    /// Ends the run. Returns its report and the invariants that it broke.
    pub fn end(self, interrupted: bool) -> Result<RunOutcome, RunError> {
        if let Some((statement, failure)) = self.engine.failures().first() {
            return Err(RunError::GivenUp { statement: *statement, failure: failure.clone() });
        }
        // If the L1 has ended, a refusal is final.
        let health = if interrupted { self.health.clone() } else { self.health_at(Duration::MAX) };
        let (counts, stats) = (self.engine.counts(), self.store.stats()?);
        let violations = self.watcher.violations().to_vec();
        let report = Report {
            l1: self.l1.clone(),
            backend: self.backend.profile().system.clone(),
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
            receipts_verified: self.diagnostics.verified() + stats.verifications,
            settlements: self.planner.settlements(),
            settled_checkpoint: self.planner.settled_checkpoint().map_or(0, |checkpoint| checkpoint.0),
            state_root: self.watcher.root().to_hex(),
            violations: self.watcher.broken_promises().values().sum(),
            health,
            l1_connection: self.connection,
            ..self.statistics.report()
        };
        Ok(RunOutcome { report, violations, interrupted })
    }
}

/// What is known of a statement, as the planner's status.
fn receipt_status(engine: &Engine, id: &StatementId) -> ReceiptStatus {
    match engine.known(id) {
        None => ReceiptStatus::Unknown,
        Some(false) => ReceiptStatus::Missing,
        Some(true) => ReceiptStatus::Stored,
    }
}
