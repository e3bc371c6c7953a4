//! The wiring: makes the components of a node and connects them, in one place.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event_log::EventLog;
use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_chain::tree::ForkTree;
use reprise_disk::data_dir::DataDir;
use reprise_disk::log::LogError;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, StatementId};
use reprise_model::hash::Hasher;
use reprise_model::journal::{AggregateJournal, Journal, Pins};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::ProveApart;
use reprise_model::processor::Processor;
use reprise_model::statement::Claim;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::{Planner, ProofContext, Retention, SettledOrigin};
use reprise_prover::backend::Backend;
use reprise_prover::engine::Engine;
use reprise_prover::policy::Policy;
use reprise_scheduler::execution::Division;
use reprise_scheduler::position::Position;
use reprise_scheduler::record::{DiskLog, MemoryLog, RecordLog};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_scheduler::snapshot::{self, Head, Identity, SettledPosition, Snapshot, SnapshotError, Unpaid};
use reprise_scheduler::tree::StateTree;
use reprise_settler::{Settler, Sink};
use reprise_store::ReceiptStore;
use reprise_store::port::StoreError;

use crate::attempts::Attempts;
use crate::debts::Debts;
use crate::diagnostics::Diagnostics;
use crate::driver::Node;
use crate::keeper::{self, Keeper};
use crate::l1::{L1, L1Error};
use crate::oracle::Oracle;
use crate::pipeline::{Components, Pipeline};
use crate::watcher::Watcher;
use crate::workload::Workload;

/// The settings of a run. An L1, a backend and a store come beside them.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where bundles begin and end.
    pub rule: BundleRule,
    /// How many proofs may run at a time. With none the node follows, executes and keeps snapshots; it proves and settles nothing.
    pub permits: usize,
    /// How many checkpoints below the tip a block is final.
    pub finality_depth: u64,
    /// Where batch records and the state of the L1 are stored; in memory if there is none.
    pub data_dir: Option<DataDir>,
    /// Bounds, budgets, depths and times.
    pub tuning: Tuning,
}

impl Settings {
    /// Checks whether a run is possible with them. Changes nothing.
    pub fn check(&self) -> Result<(), WireError> {
        let Retention { grace, retained } = self.tuning.retention;
        let finality_depth = self.finality_depth;
        if grace > retained || retained > finality_depth {
            return Err(WireError::Depths { grace, retained, finality_depth });
        }
        Ok(())
    }
}

/// Bounds, budgets, depths and times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// The policy of the proving engine.
    pub engine: Policy,
    /// How long blocks off the view are kept; grace ≤ retained ≤ finality depth.
    pub retention: Retention,
    /// How long a stop waits for running proofs.
    pub shutdown_grace: Duration,
    /// Which transactions have a proof of their own.
    pub prove_apart: ProveApart,
    /// How many checkpoints after a snapshot the next one is written; `None` for no snapshots.
    pub snapshot_every: Option<u64>,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            engine: Policy::default(),
            retention: Retention::default(),
            shutdown_grace: Duration::from_secs(60),
            prove_apart: ProveApart::default(),
            snapshot_every: Some(SNAPSHOT_EVERY),
        }
    }
}

/// The default distance of snapshots: an hour of an L1 with ten blocks a second.
pub const SNAPSHOT_EVERY: u64 = 36_000;

/// Why a node cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The L1 cannot be opened.
    #[error(transparent)]
    L1(#[from] L1Error),
    /// The batch records cannot be opened.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The depths are not in order.
    #[error(
        "grace {grace} ≤ retained {retained} ≤ finality depth {finality_depth} does not hold: a queued proof of an \
         orphaned block is kept only while that block can return, and a block can return only until it is final"
    )]
    Depths {
        /// Up to which depth queued jobs of orphaned blocks are kept.
        grace: u64,
        /// Up to which depth orphaned blocks stay planned.
        retained: u64,
        /// From which depth on blocks are final.
        finality_depth: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The event log cannot be read or cut.
    #[error(transparent)]
    EventLog(#[from] LogError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
    /// The snapshot that the chain is followed from cannot be used.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// The L1 keeps its settlements in the data directory.
    #[error(
        "{}: a snapshot cannot be checked against a recorded or dev L1, whose settlements are in the data directory itself: use \
         another data directory",
        path.display()
    )]
    NoNetwork {
        /// The snapshot.
        path: PathBuf,
    },
    /// The chain is followed from another block than the snapshot's.
    #[error(
        "{}: the chain is followed from {followed}, and the snapshot is of {snapshot}: use another data directory, or leave \
         --from out",
        path.display()
    )]
    OtherRoot {
        /// The snapshot.
        path: PathBuf,
        /// The block that the L1 begins with.
        followed: BlockHash,
        /// The snapshot's block.
        snapshot: BlockHash,
    },
}

/// A workload on a lane, as a backend proves it.
///
/// ```
/// use std::sync::Arc;
///
/// use reprise_chain::dev::DevChain;
/// use reprise_ledger::Ledger;
/// use reprise_model::hash::Blake3;
/// use reprise_node::wire::Deployment;
/// use reprise_node::workload::Workload;
/// use reprise_prover::backend::Backend;
/// use reprise_prover::mock::{MockBackend, MockConfig};
///
/// let (ledger, chain) = (Workload::new("ledger", Ledger), DevChain::default());
/// let backend = Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), ledger.processor()));
/// let deployment = Deployment::new(&ledger, backend.clone(), Arc::new(Blake3), chain.lane());
/// assert_eq!(deployment.pins().transaction_program, backend.programs()[0]);
/// ```
#[derive(Clone)]
pub struct Deployment {
    /// Proves, verifies, and has the programs.
    pub backend: Arc<dyn Backend>,
    /// The hash that the programs use.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// Defines what a transaction does.
    processor: Arc<dyn Processor>,
    /// What the programs are bound to.
    pins: Pins,
    /// The hash of the trees that claims to exits are to.
    claim_hasher: Arc<dyn Hasher>,
    /// How deep a block may lie for a settlement to be anchored in it; `None` if any depth will do.
    anchor_depth: Option<AnchorDepth>,
}

impl Deployment {
    /// The workload on this lane, by the programs of this backend.
    pub fn new(
        workload: &Workload,
        backend: Arc<dyn Backend>,
        hasher: Arc<dyn WorkloadHasher>,
        lane: &Lane,
    ) -> Self {
        let [transaction_program, batch_program, aggregate_program] = backend.programs();
        let Lane { key: lane, covenant, deposit, price, .. } = lane.clone();
        let pins =
            Pins { lane, covenant, deposit, price, transaction_program, batch_program, aggregate_program };
        let claim_hasher: Arc<dyn Hasher> = hasher.clone();
        Self { backend, hasher, processor: workload.processor(), pins, claim_hasher, anchor_depth: None }
    }

    /// The same on an L1 whose claims to exits are to trees over a hash of its own.
    pub fn claimed_over(self, claim_hasher: Arc<dyn Hasher>) -> Self {
        Self { claim_hasher, ..self }
    }

    /// The same on an L1 that takes a settlement only where its anchor lies so deep at most.
    pub fn anchored_within(self, anchor_depth: AnchorDepth) -> Self {
        Self { anchor_depth: Some(anchor_depth), ..self }
    }

    /// What settlements owe on a chain that begins at a checkpoint, at which they owe this.
    pub fn debts(&self, unpaid: Vec<Unpaid>, checkpoint: Checkpoint) -> Debts {
        Debts::owing(self.hasher.clone(), self.claim_hasher.clone(), unpaid, checkpoint)
    }

    /// The processor, which defines what a transaction does.
    pub fn processor(&self) -> Arc<dyn Processor> {
        self.processor.clone()
    }

    /// What the programs are bound to.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The statement that an aggregate's proof of a journal proves.
    pub fn statement_of(&self) -> impl Fn(&AggregateJournal) -> StatementId + Send + Sync + 'static {
        let backend = self.backend.clone();
        move |journal| {
            let [.., program] = backend.programs();
            backend.statement(&Claim { program, journal: journal.bytes() }).id()
        }
    }

    /// What snapshots of it belong to, on an L1's network of this name.
    pub fn identity(&self, network: String) -> Identity {
        let (system, hash) = (self.backend.profile().system.clone(), self.hasher.name().into());
        Identity { network, system, hash, pins: self.pins.clone() }
    }

    /// The beginning of a rollup that is followed from its founding, in this block.
    pub fn founding(&self, root: ChainRoot) -> Result<Origin, SchedulerError> {
        let block = root.metadata.block_hash;
        let position = Position::founding(&self.hasher, &self.pins.lane, root)
            .map_err(|source| SchedulerError::Root { root: block, source })?;
        Ok(Origin { position, carried_by: None, unpaid: vec![] })
    }

    /// The description of a covenant for it.
    pub fn covenant(&self) -> Covenant {
        Covenant {
            verifier: self.backend.clone(),
            program: self.backend.programs()[2],
            pins: self.pins.digest(self.hasher.as_ref()),
            lane: self.pins.lane,
            rollup: self.pins.rollup(),
            root: StateTree::empty(self.hasher.clone()).root(),
            anchor_depth: self.anchor_depth,
            hasher: self.hasher.clone(),
        }
    }
}

/// Where a chain is followed from.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The block, and the state after it.
    pub position: Position,
    /// The checkpoint of the block that carries the settlement which ends there; `None` at a rollup's founding.
    pub carried_by: Option<Checkpoint>,
    /// What settlements up to there owe.
    pub unpaid: Vec<Unpaid>,
}

impl From<Snapshot> for Origin {
    fn from(snapshot: Snapshot) -> Self {
        let carried_by = Some(snapshot.head().carried_by());
        let SettledPosition { position, unpaid, .. } = snapshot.settled;
        Self { position, carried_by, unpaid }
    }
}

/// Builds a node that proves a workload over an L1.
pub fn build_node(
    settings: Settings,
    l1: Box<dyn L1>,
    workload: &Workload,
    backend: Arc<dyn Backend>,
    hasher: Arc<dyn WorkloadHasher>,
    store: Arc<dyn ReceiptStore>,
) -> Result<Node, WireError> {
    settings.check()?;
    let mut deployment = Deployment::new(workload, backend.clone(), hasher, &l1.lane());
    if let Some(claim_hasher) = l1.claim_hasher() {
        deployment = deployment.claimed_over(claim_hasher);
    }
    if let Some(anchor_depth) = l1.anchor_depth() {
        deployment = deployment.anchored_within(anchor_depth);
    }
    let (name, root) = (l1.name(), l1.root());
    let identity = l1.network().map(|network| deployment.identity(network));
    let mut records = open_log(&settings, &deployment)?;
    let origin = origin(&settings, &deployment, root, identity.as_ref())?;
    if origin.carried_by.is_some()
        && let Err(error) = records.drop_up_to(origin.position.checkpoint)
    {
        tracing::warn!("{error}; the records below the snapshot stay until the next start");
    }
    let opened = l1.open(deployment.covenant(), backend.profile().seal, settings.data_dir.as_ref())?;
    let mut pipeline =
        build_pipeline(&settings, name, origin, &deployment, store.clone(), records, opened.sink)?;
    let attempts = settings.data_dir.as_ref().map(|dir| Attempts::open(dir.attempts()));
    pipeline.recall(attempts.transpose().map_err(SchedulerError::from)?.unwrap_or_default());
    // Not in `build_pipeline`: a simulated world must not depend on the machine that it runs on.
    let host = fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned());
    pipeline.on_host(host.unwrap_or_default());
    let (permits, grace) = (settings.permits, settings.tuning.shutdown_grace);
    let keeper = match (identity, settings.data_dir, settings.tuning.snapshot_every) {
        (Some(identity), Some(dir), Some(every)) => {
            Some(Keeper::start(dir, identity, deployment.hasher, every).map_err(WireError::Thread)?)
        }
        _ => None,
    };
    Node::start(pipeline, opened.source, &backend, &store, permits, grace, keeper).map_err(WireError::Thread)
}

/// Where the chain is followed from: the snapshot that the data directory has, or else the rollup's founding in `root`.
fn origin(
    settings: &Settings,
    deployment: &Deployment,
    root: ChainRoot,
    identity: Option<&Identity>,
) -> Result<Origin, WireError> {
    let Some(dir) = &settings.data_dir else { return Ok(deployment.founding(root)?) };
    let place = dir.origin(&deployment.pins.digest(deployment.hasher.as_ref()));
    let path = place.path().to_path_buf();
    let Some(snapshot) = loaded(dir, deployment, &root)? else {
        return Ok(deployment.founding(root)?);
    };
    let Some(identity) = identity else { return Err(WireError::NoNetwork { path }) };
    if let Some(differs) = snapshot.identity.differs(identity) {
        return Err(SnapshotError::Foreign { path, differs }.into());
    }
    let (followed, block) = (root.metadata.block_hash, &snapshot.settled.position.block);
    if *block != root {
        return Err(WireError::OtherRoot { path, followed, snapshot: block.metadata.block_hash });
    }
    Ok(snapshot.into())
}

/// The head of the snapshot that a data directory begins with, if it does. A run checks the rest.
pub fn origin_head(dir: &DataDir, deployment: &Deployment) -> Result<Option<Head>, WireError> {
    let (pins, hasher) = (deployment.pins.digest(deployment.hasher.as_ref()), &deployment.hasher);
    let (place, medium) = (dir.origin(&pins), dir.medium());
    let head = || match place.exists() {
        true => snapshot::open_on(medium.as_ref(), place.path()).map(|reader| Some(reader.head().clone())),
        false => Ok(None),
    };
    let found = match head() {
        Ok(Some(head)) => return Ok(Some(head)),
        Err(damage) if !damage.is_damage() => return Err(damage.into()),
        found => found,
    };
    // What is followed says which block it was of, if there was one.
    let begins = EventLog::open(dir.event_log(&pins))?;
    let begins = begins.filter(|log| found.is_err() || log.checkpoint() > Checkpoint(0));
    let mended = begins.map(|log| {
        let followed = |block: &BlockHash| log.has(block).unwrap_or(false);
        keeper::mend_origin(dir, &pins, hasher, &followed)
    });
    let mended = mended.transpose()?;
    match mended {
        Some(true) => Ok(head()?),
        Some(false) | None => Ok(found?),
    }
}

/// The snapshot that a data directory begins with. A damaged one is written again from a copy, where there is one.
fn loaded(
    dir: &DataDir,
    deployment: &Deployment,
    root: &ChainRoot,
) -> Result<Option<Snapshot>, SnapshotError> {
    let (pins, hasher) = (deployment.pins.digest(deployment.hasher.as_ref()), &deployment.hasher);
    let place = dir.origin(&pins);
    match snapshot::load(&place, hasher) {
        Err(damage) if damage.is_damage() => {
            let is_root = |block: &BlockHash| *block == root.metadata.block_hash;
            match keeper::mend_origin(dir, &pins, hasher, &is_root)? {
                true => snapshot::load(&place, hasher),
                false => Err(damage),
            }
        }
        loaded => loaded,
    }
}

/// The beginning of the chain in a data directory: its snapshot, or else the rollup's founding in `root`.
pub fn origin_in(dir: &DataDir, deployment: &Deployment, root: ChainRoot) -> Result<Origin, WireError> {
    match loaded(dir, deployment, &root)? {
        Some(snapshot) => Ok(snapshot.into()),
        None => Ok(deployment.founding(root)?),
    }
}

/// The event log in a data directory, and where its chain begins; `None` where nothing was followed. What an earlier process was to
/// cut off below the beginning is cut off now. The log comes first: a process that works in the directory moves the beginning up
/// before it cuts.
pub fn event_log_in(dir: &DataDir, deployment: &Deployment) -> Result<Option<(EventLog, Origin)>, WireError> {
    let place = dir.event_log(&deployment.pins.digest(deployment.hasher.as_ref()));
    let Some(mut event_log) = EventLog::open(place)? else { return Ok(None) };
    let followed = event_log.head().root.metadata.block_hash;
    let origin = origin_in(dir, deployment, event_log.head().root.clone())?;
    let Position { block, checkpoint, .. } = origin.position.clone();
    let snapshot = block.metadata.block_hash;
    match event_log.begin_at(block, checkpoint)? {
        true => Ok(Some((event_log, origin))),
        false => Err(WireError::OtherRoot { path: event_log.path().into(), followed, snapshot }),
    }
}

/// Builds a pipeline that reads what a data directory holds of a chain that begins at `origin`, and settles nothing.
pub fn build_reader(
    settings: &Settings,
    name: String,
    deployment: &Deployment,
    origin: Origin,
    store: Arc<dyn ReceiptStore>,
) -> Result<Pipeline, WireError> {
    settings.check()?;
    let records = open_log(settings, deployment)?;
    build_pipeline(settings, name, origin, deployment, store, records, None)
}

/// Builds a pipeline over an L1 called `name` whose chain starts at `origin`.
pub fn build_pipeline(
    settings: &Settings,
    name: String,
    origin: Origin,
    deployment: &Deployment,
    store: Arc<dyn ReceiptStore>,
    records: Box<dyn RecordLog>,
    sink: Option<Sink>,
) -> Result<Pipeline, WireError> {
    let Tuning { engine, retention, prove_apart, .. } = settings.tuning;
    let proves = settings.permits > 0;
    let Deployment { backend, hasher, processor, pins, .. } = deployment.clone();
    let Origin { position, carried_by, unpaid } = origin;
    let Position { block: root, checkpoint, state, tip } = position.clone();
    let first = (state.root(), tip);
    let (pins_digest, limits) = (pins.digest(hasher.as_ref()), backend.limits());
    let context = ProofContext {
        scheme: backend.clone(),
        hasher: hasher.clone(),
        pins: pins_digest,
        programs: backend.programs(),
        limits,
    };
    let division = Division { limits, apart: prove_apart };
    let oracle = Oracle::from(processor.clone(), pins.rollup(), state, checkpoint);

    let mut tree = ForkTree::at_checkpoint(root.metadata, checkpoint, settings.finality_depth);
    let scheduler = Scheduler::open_at(processor, hasher.clone(), pins, division, position, records)?;
    tree.restore(scheduler.known());
    let mut planner = Planner::new(context, settings.rule, retention);
    let mut watcher = Watcher::new(settings.permits, first, oracle);
    if let Some(carried_by) = carried_by {
        let block = root.metadata.block_hash;
        planner.start_from(SettledOrigin { block, checkpoint, state: first, carried_by });
        watcher.start_from(block, checkpoint);
    }
    let floor = store.prune_floor(&pins_digest)?;
    // Before it wants anything: from here on others keep what it needs.
    store.announce(&pins_digest, floor);
    planner.resume(floor.below, floor.seen);
    let components = Components {
        tree,
        scheduler,
        planner,
        engine: Engine::new(settings.permits, engine),
        settler: sink.filter(|_| proves).map(Settler::new),
        store,
        backend,
        watcher,
        debts: deployment.debts(unpaid, checkpoint),
        diagnostics: Diagnostics::new(settings.data_dir.as_ref().map(DataDir::divergences)),
        pins: pins_digest,
        demand_max: if proves { engine.jobs_max } else { 0 },
    };
    let mut pipeline = Pipeline::new(name, components);
    pipeline.set_anchor_depth(deployment.anchor_depth);
    Ok(pipeline)
}

fn open_log(settings: &Settings, deployment: &Deployment) -> Result<Box<dyn RecordLog>, WireError> {
    let Some(dir) = &settings.data_dir else { return Ok(Box::new(MemoryLog::default())) };
    Ok(Box::new(records(dir, deployment)?))
}

/// The batch records in a data directory.
pub fn records(dir: &DataDir, deployment: &Deployment) -> Result<DiskLog, SchedulerError> {
    let pins = deployment.pins.digest(deployment.hasher.as_ref());
    // Programs of another backend, another workload, or another lane, have other pins. Each has records of its own. Where the chain
    // begins is no part of it: that moves up.
    let mut identity = blake3::Hasher::new_derive_key("reprise 2026-11 batch records");
    identity.update(&pins.0);
    Ok(DiskLog::open(dir.records(&pins), *identity.finalize().as_bytes())?)
}
