//! The wiring: makes the components of a node and connects them, in one place.

use std::fs;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_chain::tree::ForkTree;
use reprise_disk::data_dir::DataDir;
use reprise_model::block::{ChainBlockMetadata, ChainRoot};
use reprise_model::digest::StatementId;
use reprise_model::journal::{AggregateJournal, Journal, Pins};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::ProveApart;
use reprise_model::processor::Processor;
use reprise_model::statement::Claim;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::{Planner, ProofContext, Retention};
use reprise_prover::backend::Backend;
use reprise_prover::engine::Engine;
use reprise_prover::policy::Policy;
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::{DiskLog, MemoryLog, RecordLog};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_scheduler::tree::StateTree;
use reprise_settler::{Settler, Sink};
use reprise_store::ReceiptStore;
use reprise_store::port::StoreError;

use crate::attempts::Attempts;
use crate::diagnostics::Diagnostics;
use crate::driver::Node;
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
    /// How many proofs may run at a time.
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
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            engine: Policy::default(),
            retention: Retention::default(),
            shutdown_grace: Duration::from_secs(60),
            prove_apart: ProveApart::default(),
        }
    }
}

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
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
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
        let Lane { key: lane, covenant, deposit, .. } = lane.clone();
        let pins = Pins { lane, covenant, deposit, transaction_program, batch_program, aggregate_program };
        Self { backend, hasher, processor: workload.processor(), pins }
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

    /// The description of a covenant for it.
    pub fn covenant(&self) -> Covenant {
        Covenant {
            verifier: self.backend.clone(),
            program: self.backend.programs()[2],
            pins: self.pins.digest(self.hasher.as_ref()),
            lane: self.pins.lane,
            deposit: self.pins.deposit,
            root: StateTree::empty(self.hasher.clone()).root(),
            anchor_depth: None,
            hasher: self.hasher.clone(),
        }
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
    let deployment = Deployment::new(workload, backend.clone(), hasher, &l1.lane());
    let (name, root) = (l1.name(), l1.root());
    let records = open_log(&settings, &deployment, &root.metadata)?;
    let anchor_depth = l1.anchor_depth();
    let covenant = Covenant { anchor_depth, ..deployment.covenant() };
    let opened = l1.open(covenant, backend.profile().seal, settings.data_dir.as_ref())?;
    let mut pipeline =
        build_pipeline(&settings, name, root, &deployment, store.clone(), records, opened.sink)?;
    let attempts = settings.data_dir.as_ref().map(|dir| Attempts::open(dir.attempts()));
    pipeline.recall(attempts.transpose().map_err(SchedulerError::from)?.unwrap_or_default());
    pipeline.set_anchor_depth(anchor_depth);
    // Not in `build_pipeline`: a simulated world must not depend on the machine that it runs on.
    let host = fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned());
    pipeline.on_host(host.unwrap_or_default());
    let (permits, grace) = (settings.permits, settings.tuning.shutdown_grace);
    Node::start(pipeline, opened.source, &backend, &store, permits, grace).map_err(WireError::Thread)
}

/// Builds a pipeline over an L1 called `name` whose chain starts after `root`.
pub fn build_pipeline(
    settings: &Settings,
    name: String,
    root: ChainRoot,
    deployment: &Deployment,
    store: Arc<dyn ReceiptStore>,
    records: Box<dyn RecordLog>,
    sink: Option<Sink>,
) -> Result<Pipeline, WireError> {
    let Tuning { engine, retention, prove_apart, .. } = settings.tuning;
    let Deployment { backend, hasher, processor, pins } = deployment.clone();
    let genesis_root = StateTree::empty(hasher.clone()).root();
    let (pins_digest, limits) = (pins.digest(hasher.as_ref()), backend.limits());
    let context = ProofContext {
        scheme: backend.clone(),
        hasher: hasher.clone(),
        pins: pins_digest,
        programs: backend.programs(),
        parts_max: limits.proofs,
    };
    let division = Division { limits, apart: prove_apart };
    let oracle = Oracle::new(processor.clone(), hasher.clone(), pins.deposit);

    let mut tree = ForkTree::new(root.metadata, settings.finality_depth);
    let scheduler = Scheduler::open(processor, hasher, pins, division, root, records)?;
    tree.restore(scheduler.known());
    let genesis = (genesis_root, scheduler.tip_at_root());
    let mut planner = Planner::new(context, settings.rule, retention);
    let floor = store.prune_floor(&pins_digest)?;
    planner.resume(floor.below, floor.seen);
    let components = Components {
        tree,
        scheduler,
        planner,
        engine: Engine::new(settings.permits, engine),
        settler: sink.map(Settler::new),
        store,
        backend,
        watcher: Watcher::new(settings.permits, genesis, oracle),
        diagnostics: Diagnostics::new(settings.data_dir.as_ref().map(DataDir::divergences)),
        floor: floor.below,
        pins: pins_digest,
        demand_max: engine.jobs_max,
    };
    Ok(Pipeline::new(name, components))
}

fn open_log(
    settings: &Settings,
    deployment: &Deployment,
    root: &ChainBlockMetadata,
) -> Result<Box<dyn RecordLog>, WireError> {
    match &settings.data_dir {
        None => Ok(Box::new(MemoryLog::default())),
        Some(dir) => Ok(Box::new(open_records(dir, deployment, root)?)),
    }
}

/// The batch records in a data directory, of the chain that is followed from `root`.
pub(crate) fn open_records(
    dir: &DataDir,
    deployment: &Deployment,
    root: &ChainBlockMetadata,
) -> Result<DiskLog, WireError> {
    let pins = deployment.pins.digest(deployment.hasher.as_ref());
    // Programs of another backend, another workload, or another lane, have other pins. Each has records of its own.
    let mut identity = blake3::Hasher::new_derive_key("reprise 2026-11 batch records");
    identity.update(&root.block_hash.0).update(&pins.0);
    let identity = *identity.finalize().as_bytes();
    Ok(DiskLog::open(dir.records(&pins), identity).map_err(SchedulerError::from)?)
}
