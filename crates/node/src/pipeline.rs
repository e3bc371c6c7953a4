//! The pipeline: every room, and the messages between them. It makes no decision of its own, and never blocks.
//!
//! It is told three things: a chain event ([`Pipeline::follow`]), an answer ([`Pipeline::receive`]), that
//! time has passed ([`Pipeline::wake`]). After each it asks the planner how the demand changed,
//! and asks its [`Executor`] for what the engine wants done. The executor answers later, by [`Message`]: with threads ([`crate::driver`]), or in
//! simulated time. The pipeline has no thread and no clock of its own, so that what it does is a function of
//! what it is told.
//!
//! Every queue is bounded: look-ups and writes by the number of jobs, the jobs by the engine's policy, proofs
//! and the bytes of their witnesses by the permits: a witness is made when its permit is there.

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
use reprise_planner::planner::{Planner, Pruned, WantedBundle};
use reprise_prover::backend::Backend;
use reprise_prover::engine::{Effect, Engine, Request};
use reprise_prover::failure::Failure;
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, Finished};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_settler::{Moment, Refusal, Settler};
use reprise_store::ReceiptStore;
use reprise_store::port::{Floor, Lookup, NewEntry, PutOutcome, StoreError};

use crate::connection::L1Connection;
use crate::debts::Debts;
use crate::deferred::{Deferred, DiskError};
use crate::diagnostics::Diagnostics;
use crate::event::{Observer, PipelineEvent};
use crate::health::{Health, Level};
use crate::report::Report;
use crate::statistics::Statistics;
use crate::violation::Violation;
use crate::watcher::Watcher;

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
    /// The L1 is not the one whose final part was pruned here.
    #[error(
        "everything below checkpoint {floor} is pruned here as final and settled, but the L1 does not show the \
         settlement of it: this is another chain, or one that has forgotten; use another data directory"
    )]
    FloorUnknown {
        /// The prune floor.
        floor: Checkpoint,
    },
    /// A hung prover's place cannot be taken.
    #[error("cannot start a thread in the place of one that hangs: {0}")]
    Thread(#[source] io::Error),
    /// A room's thread is gone.
    #[error("a thread that looks receipts up, proves or writes ended early: the log above says why")]
    ThreadGone,
}

/// What an executor answers.
#[derive(Debug)]
pub enum Message {
    /// To [`Executor::look_up`] and [`Executor::check`].
    Read(Read),
    /// To [`Executor::prove`].
    Finished(Finished),
    /// To [`Executor::prove`], after [`Executor::write_off`].
    Late(Finished),
    /// To [`Executor::store`]: the entry is durable, or is not.
    Stored {
        /// What was ordered.
        order: Arc<Order>,
        /// What the store says.
        result: Result<PutOutcome, StoreError>,
    },
}

/// Does what takes time, and knows what time it is. Each request is answered by one [`Message`], but for
/// proofs that were written off, of which one may come by [`Message::Late`].
pub trait Executor {
    /// The time since the pipeline began.
    fn now(&self) -> Duration;

    /// The time since the Unix epoch, for provenance.
    fn since_epoch(&self) -> Duration;

    /// Ask the store for the order's receipt.
    fn look_up(&mut self, order: Arc<Order>);

    /// Verify in full every receipt that the order relies on.
    fn check(&mut self, order: Arc<Order>);

    /// Prove.
    fn prove(&mut self, assignment: Assignment);

    /// Ask the attempt at a statement to end. Its answer still comes.
    fn cancel(&mut self, id: &StatementId);

    /// Forget the attempt at a statement, which hangs: no answer comes of it. What it ran on is replaced.
    fn write_off(&mut self, id: &StatementId) -> io::Result<()>;

    /// Make an entry durable.
    fn store(&mut self, order: Arc<Order>, entry: NewEntry);
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
    /// What it did.
    pub report: Report,
    /// The promises it broke, if any.
    pub violations: Vec<Violation>,
    /// Whether it was asked to stop before its end.
    pub interrupted: bool,
}

/// The rooms that a pipeline is made of.
pub(crate) struct Rooms {
    pub(crate) tree: ForkTree,
    pub(crate) scheduler: Scheduler,
    pub(crate) planner: Planner,
    pub(crate) engine: Engine,
    /// None where nothing is settled: the pipeline observes and proves.
    pub(crate) settler: Option<Settler>,
    pub(crate) store: Arc<dyn ReceiptStore>,
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) watcher: Watcher,
    pub(crate) diagnostics: Diagnostics,
    /// Below it the store has pruned everything.
    pub(crate) floor: Checkpoint,
    /// How many orders that are not stored the planner is asked for.
    pub(crate) demand_max: usize,
    /// What the programs are bound to.
    pub(crate) pins: PinsDigest,
}

/// The rooms, and what passes between them.
pub struct Pipeline {
    /// What the L1 is called in the report.
    l1: String,
    tree: ForkTree,
    scheduler: Scheduler,
    planner: Planner,
    engine: Engine,
    /// None where nothing is settled: the pipeline observes and proves.
    settler: Option<Settler>,
    /// What settlements leave to be paid.
    debts: Debts,
    store: Arc<dyn ReceiptStore>,
    backend: Arc<dyn Backend>,
    watcher: Watcher,
    diagnostics: Diagnostics,
    statistics: Statistics,
    deferred: Deferred,
    /// How the connection to a live L1 is, as the source said last.
    connection: Option<L1Connection>,
    /// What keeps the source from going on, where that can pass.
    source_disk_error: Option<String>,
    health: Health,
    /// How many receipts turned out to be lost while effects were carried out.
    lost: u64,
    /// Below it the store has pruned everything that is proved under these pins.
    floor: Checkpoint,
    pins: PinsDigest,
    demand_max: usize,
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("l1", &self.l1).finish_non_exhaustive()
    }
}

/// What a pipeline works with while it handles one input.
pub struct Context<'a> {
    /// Does what takes time.
    pub executor: &'a mut dyn Executor,
    /// Is told every event.
    pub observer: &'a mut dyn Observer,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").finish_non_exhaustive()
    }
}

impl Pipeline {
    /// A pipeline over an L1 of this name, from these rooms.
    pub(crate) fn new(l1: String, rooms: Rooms) -> Self {
        let Rooms {
            tree,
            scheduler,
            planner,
            engine,
            settler,
            store,
            backend,
            watcher,
            diagnostics,
            floor,
            demand_max,
            pins,
        } = rooms;
        Self {
            l1,
            tree,
            scheduler,
            planner,
            engine,
            settler,
            store,
            backend,
            watcher,
            diagnostics,
            debts: Debts::default(),
            statistics: Statistics::default(),
            deferred: Deferred::default(),
            connection: None,
            health: Health::default(),
            source_disk_error: None,
            lost: 0,
            floor,
            pins,
            demand_max,
        }
    }

    /// Names the host in the provenance of what is proved here.
    pub(crate) fn on_host(&mut self, host: String) {
        self.diagnostics.on_host(host);
    }

    /// Anchors settlements anew, on an L1 that answers for commitments up to a depth.
    pub(crate) fn set_anchor_depth(&mut self, depth: Option<AnchorDepth>) {
        self.scheduler.set_anchor_depth(depth);
        self.planner.set_anchor_depth(depth);
    }

    /// How far it has come: what a source that paces itself by the prover wants to know.
    pub fn progress(&self) -> Progress {
        // What was given up settles nothing any more.
        let stuck =
            self.settler.is_none() || !self.engine.failures().is_empty() || self.watcher.is_state_in_doubt();
        let proved = self.engine.satisfied() && self.deferred.error().is_none();
        let settled = stuck || !self.planner.is_unsettled();
        let refused = self.refusal().is_some();
        // The floor stands on a settlement that the chain must show again first.
        let floor = if self.planner.is_catching_up() { Checkpoint(0) } else { self.floor };
        Progress { proved, settled, refused, finalized: self.tree.finalized(), floor }
    }

    /// Whether nothing is being looked up, proved, checked or stored, and nothing waits for the store.
    pub fn is_idle(&self) -> bool {
        self.engine.is_idle() && self.deferred.error().is_none()
    }

    /// When [`wake`](Self::wake) next has something to do, if ever without another input.
    pub fn deadline(&self) -> Option<Duration> {
        // A refused settlement is tried again when it is the next, its receipt is stored, and the store can be asked.
        let settler = self.settler.as_ref().filter(|_| self.deferred.again_at().is_none());
        let settler = settler.filter(|_| self.to_settle().is_some()).and_then(Settler::again_at);
        self.engine.deadline().into_iter().chain(self.deferred.again_at()).chain(settler).min()
    }

    /// The oldest unsettled bundle, where its receipt is stored and nothing forbids to settle it.
    fn to_settle(&self) -> Option<&Arc<WantedBundle>> {
        let wanted = self.planner.bundles().next()?;
        let stored = self.engine.known(&wanted.order.id) == Some(true);
        // A wrong root on the L1 cannot be taken back; what is not settled can be settled later.
        (stored && !self.watcher.is_state_in_doubt()).then_some(wanted)
    }

    /// Starts no further proof; what runs is finished and stored.
    pub fn stop(&mut self) {
        self.engine.stop();
    }

    /// Asks the proofs that run to end, and wants no answer of them: which they are.
    pub fn abandon_running(&mut self, context: &mut Context<'_>) -> Result<Vec<StatementId>, RunError> {
        let left: Vec<StatementId> = self.engine.proving().map(|order| order.id).collect();
        for statement in &left {
            tracing::warn!(%statement, "a proof is left unfinished: the grace of the stop is over");
        }
        let effects = self.engine.abort();
        self.carry_out(effects, context)?;
        Ok(left)
    }

    /// Whether it can be told of a change of the chain: not while the last one is not recorded.
    pub fn takes_events(&self) -> bool {
        self.deferred.view.is_none()
    }

    /// The canonical chain changed.
    pub fn follow(&mut self, event: SourceEvent, context: &mut Context<'_>) -> Result<(), RunError> {
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
        self.on_message(message, context)?;
        self.wake(context)
    }

    fn on_chain_event(&mut self, event: SourceEvent, context: &mut Context<'_>) -> Result<(), RunError> {
        // Nothing is told of an event that is refused.
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
                return Ok(self.deferred.failed(error, context.executor.now(), self.engine.policy())?);
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
        if let Some(floor) = self.planner.unknown_floor() {
            return Err(RunError::FloorUnknown { floor });
        }

        for settlement in event.added.iter().flat_map(|added| &added.block.settlements) {
            self.settler.iter_mut().for_each(Settler::relieve);
            self.tell(&PipelineEvent::Settled(Box::new(settlement.clone())), context);
        }
        let planner = &self.planner;
        if self.debts.follow(&event, &blocks, &|block| planner.checkpoint_of(block))
            && let Some(settler) = &mut self.settler
        {
            let owed: Vec<_> = self.debts.owed().collect();
            let paid = settler.set_unpaid(&owed);
            self.debts.paid(&paid);
        }
        let finalized = event.finalized;
        self.tell(&PipelineEvent::Chain { event, blocks }, context);
        self.prune(finalized, context)
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

    /// Lets the store go of what is below the floor, where that rose.
    fn prune_store(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        let Some(floor) = self.deferred.floor else { return Ok(()) };
        let pins = self.pins;
        // PRUNE SAFETY: below the floor every block is final, so none of them can leave or return, on this
        // fork or another; and each is settled by a settlement whose own block is final, so that none of
        // their aggregates is ever wanted again. What a live block uses as well keeps its receipt: the store
        // deletes coordinates, and a receipt only with its last one. A later process that follows the chain
        // from its beginning is told the floor, and wants nothing below it (`Planner::resume`).
        let Some(outcome) = self.ask(context, |store| store.prune_below(&pins, floor))? else {
            return Ok(());
        };
        self.deferred.floor = None;
        let floor = floor.below;
        self.floor = floor;
        self.scheduler.prune_below(floor);
        self.tell(&PipelineEvent::Pruned(floor), context);
        tracing::info!(%floor, coordinates = outcome.coordinates, receipts = outcome.receipts, "pruned");
        Ok(())
    }

    /// Lets the store remember the profile in words, once.
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
                    Ok(took) => self.engine.looked_up(order.id, took.is_some()),
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
                self.note_given_up(&order);
                effects
            }
            Message::Finished(Finished { order, result, took, cycles, device }) => {
                if let Err(Failure::AssumptionLost { assumption, .. }) = &result {
                    self.tell(&PipelineEvent::Lost(*assumption), context);
                }
                let failure = result.as_ref().err().map(ToString::to_string);
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
                self.diagnostics.on_proof(order.id, self.backend.name(), took, cycles, since_epoch, verified);
                let effects = self.engine.proved(order.id, result);
                self.note_given_up(&order);
                effects
            }
            Message::Late(Finished { order, result: Ok(receipt), took, cycles, .. }) => {
                tracing::info!(statement = %order.id, kind = %order.kind(), ?took, "a proof came after its time, and is kept");
                let effects = self.engine.proved_late(&order, receipt);
                if !effects.is_empty() {
                    let since_epoch = context.executor.since_epoch();
                    self.diagnostics.on_proof(order.id, self.backend.name(), took, cycles, since_epoch, true);
                }
                effects
            }
            Message::Late(_) => vec![],
            Message::Stored { order, result: Ok(PutOutcome { stored: false, .. }) } => {
                self.diagnostics.remove(&order.id);
                self.engine.discarded(order.id)
            }
            Message::Stored { order, result } => {
                if let Ok(outcome) = &result {
                    self.diagnostics.remove(&order.id);
                    self.tell(&PipelineEvent::Stored(order.clone()), context);
                    let (requests, wanted) =
                        (self.engine.requesters(&order.id) as u64, self.engine.is_wanted(&order.id));
                    self.tell(&PipelineEvent::Served { order: order.clone(), requests, wanted }, context);
                    if outcome.coordinates.diverged > 0 {
                        self.tell(&PipelineEvent::Diverged(order.id), context);
                    }
                }
                self.engine.stored(order.id, result.map(|_| ()).map_err(Failure::from))
            }
        };
        self.carry_out(effects, context)
    }

    /// Time has passed: carries out what follows from that, and from the change of the demand.
    pub fn wake(&mut self, context: &mut Context<'_>) -> Result<(), RunError> {
        if self.deferred.again_at().is_some_and(|at| at <= context.executor.now()) {
            self.deferred.is_over();
            if let Some(event) = self.deferred.view.take() {
                self.on_view_change(event, context)?;
            }
            self.prune_store(context)?;
            self.add_coordinates(context)?;
        }
        self.describe(context)?;
        // Again while carrying it out shows that something is lost: no message would come to say so.
        loop {
            let lost = self.lost;
            let changed = self.engine.take_known_changes();
            let status = |id: &StatementId| receipt_status(&self.engine, id);
            let change = self.planner.demand(changed, &status, self.demand_max);
            self.engine.retain(&change.dormant, &change.no_longer_dormant);
            let mut effects = self.engine.want(&change.removed, &change.added);
            effects.extend(self.engine.tick(context.executor.now()));
            self.carry_out(effects, context)?;
            self.settle(context)?;
            if self.lost == lost {
                break;
            }
        }
        if self.deferred.again_at().is_none() {
            // Whatever there was to ask, it answered.
            self.deferred.is_well();
        }
        self.store.protect(self.planner.needed_from());
        let (queued, hits) = (self.engine.queued(), self.engine.counts().hits.total());
        self.tell(&PipelineEvent::Queue { queued, hits }, context);
        self.update_health(context);
        Ok(())
    }

    /// How the connection to the L1 is.
    pub fn on_connection(&mut self, connection: &Connection, context: &mut Context<'_>) {
        let connection = L1Connection::at(context.executor.since_epoch(), connection);
        self.connection = Some(connection.clone());
        self.tell(&PipelineEvent::Connection(connection), context);
        self.update_health(context);
    }

    /// What keeps the source from going on, where that can pass.
    pub fn hear_disk_error(&mut self, error: Option<String>, context: &mut Context<'_>) {
        if self.source_disk_error != error {
            self.source_disk_error = error;
            self.update_health(context);
        }
    }

    /// Says how the node is, where that changed.
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

    /// The refusal of the next settlement that stands.
    fn refusal(&self) -> Option<&Refusal> {
        self.settler.as_ref().and_then(Settler::refusal)
    }

    fn health_at(&self, now: Duration) -> Health {
        let l1 = self.connection.as_ref();
        let refusal = self.refusal().map(|refusal| (refusal, refusal.urgency(now)));
        let disk = self.deferred.error().map(ToString::to_string).or_else(|| self.source_disk_error.clone());
        Health::of(&self.engine, disk, l1, refusal, self.watcher.broken_promises())
    }

    fn carry_out(&mut self, effects: Vec<Effect>, context: &mut Context<'_>) -> Result<(), RunError> {
        for effect in effects {
            match effect {
                Effect::LookUp(order) => context.executor.look_up(order),
                Effect::Prove(order, device) => {
                    let witness = match &order.work {
                        Work::Transaction { block, index } => {
                            self.scheduler.transaction_witness(block, *index)?
                        }
                        Work::Batch(batch) => self.scheduler.batch_witness(batch)?,
                        Work::Join(parts) => self.scheduler.join_witness(parts)?,
                        Work::Settle { parts, anchor } => self.scheduler.settlement_witness(parts, anchor)?,
                    };
                    self.tell(&PipelineEvent::Proving(order.clone()), context);
                    context.executor.prove(Assignment { order, witness, device });
                }
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
                    let failure = Some(failure.to_string());
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
                // What turned out to be lost meanwhile is published when it is proved again.
                Effect::Publish(order)
                    if self.engine.known(&order.id) != Some(true)
                        && !mutation::is(Mutation::PublishBeforeDurable) => {}
                Effect::Publish(order) => self.tell(&PipelineEvent::Published(order), context),
            }
        }
        Ok(())
    }

    /// Places stored statements where they are used as well.
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

    /// Asks the store, unless it failed lately; `None` where it cannot answer now and is asked again later.
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
                self.deferred.is_well();
                Ok(Some(answer))
            }
            Err(error) => {
                self.deferred.failed(error, context.executor.now(), self.engine.policy())?;
                Ok(None)
            }
        }
    }

    /// A receipt that was believed to be stored is not.
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

    /// Says that a statement was given up, if this one was.
    fn note_given_up(&self, order: &Order) {
        let failures = self.engine.failures().iter().rev();
        if let Some((_, failure)) = failures.into_iter().find(|(id, _)| *id == order.id) {
            self.diagnostics.on_given_up(order, failure);
        }
    }

    fn tell(&mut self, event: &PipelineEvent, context: &mut Context<'_>) {
        self.watcher.on_event(event);
        self.statistics.on_event(event);
        context.observer.on_event(event);
    }

    /// What it did, and whether it was well.
    pub fn end(self, interrupted: bool) -> Result<RunOutcome, RunError> {
        if let Some((statement, failure)) = self.engine.failures().first() {
            return Err(RunError::GivenUp { statement: *statement, failure: failure.clone() });
        }
        // What is refused when an L1 has come to its end is refused for good.
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

/// What is known of a statement, in the planner's words.
fn receipt_status(engine: &Engine, id: &StatementId) -> ReceiptStatus {
    match engine.known(id) {
        None => ReceiptStatus::Unknown,
        Some(false) => ReceiptStatus::Missing,
        Some(true) => ReceiptStatus::Stored,
    }
}
