//! The wiring: every room made and joined, once, in one place.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use reprise_chain::overlay::{Covenant, Overlay, OverlayError};
use reprise_chain::recorded::RecordedL1;
use reprise_chain::recording::Recording;
use reprise_chain::source::{ChainSource, Pace};
use reprise_chain::tree::ForkTree;
use reprise_ledger::Ledger;
use reprise_model::digest::Digest;
use reprise_model::hash::Hasher;
use reprise_model::journal::Pins;
use reprise_model::lane;
use reprise_model::profile::SealKind;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::{Demand, Planner, Retention, Terms};
use reprise_prover::backend::Backend;
use reprise_prover::engine::Engine;
use reprise_prover::policy::Policy;
use reprise_prover::reader::Reader;
use reprise_prover::workers::Workers;
use reprise_scheduler::processor::Processor;
use reprise_scheduler::record::{DiskLog, MemoryLog, RecordLog};
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};
use reprise_scheduler::tree::StateTree;
use reprise_settler::{Settler, Sink};
use reprise_store::ReceiptStore;
use reprise_store::port::StoreError;

use crate::happening::Observer;
use crate::health::Health;
use crate::l1::OverlaySink;
use crate::oracle::Oracle;
use crate::pipeline::{Ended, Message, Pipeline, RunError};
use crate::tally::Tally;
use crate::watcher::Watcher;

/// What a run is made of.
#[derive(Clone)]
pub struct Settings {
    /// What the L1 is called in reports.
    pub l1: String,
    /// The recorded chain.
    pub recording: Recording,
    /// How it is fed.
    pub pace: Pace,
    /// Where bundles begin and end.
    pub rule: BundleRule,
    /// How many proofs may run at a time.
    pub permits: usize,
    /// How many checkpoints below the tip a block is final.
    pub finality_depth: u64,
    /// Where batch records and the overlay are kept; in memory where there is none.
    pub data_dir: Option<PathBuf>,
    /// How patient everything is.
    pub patience: Patience,
}

/// How patient everything is: bounds, budgets, depths, time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Of the proving engine.
    pub engine: Policy,
    /// With blocks off the view; grace ≤ retained ≤ finality depth.
    pub retention: Retention,
    /// With what runs when the node is asked to stop.
    pub shutdown_grace: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            engine: Policy::default(),
            retention: Retention::default(),
            shutdown_grace: Duration::from_secs(60),
        }
    }
}

/// Why a node cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The data directory cannot be made.
    #[error("{path}: cannot make the data directory: {source}")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The overlay cannot be opened.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The batch records cannot be opened.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The depths are not in order.
    #[error(
        "grace {grace} ≤ retained {retained} ≤ finality depth {finality_depth} does not hold: a queued job can \
         sleep only while its block can return, and a block can return only until it is final"
    )]
    Depths {
        /// Up to which depth queued jobs sleep.
        grace: u64,
        /// Up to which depth blocks are kept in mind.
        retained: u64,
        /// At which depth blocks are final.
        finality_depth: u64,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(#[source] io::Error),
}

/// A node, ready to run.
pub struct Node(Pipeline);

/// Joins the rooms over a recorded or dev L1.
pub fn wire(
    settings: Settings,
    backend: Arc<dyn Backend>,
    hasher: Arc<dyn Hasher>,
    store: Arc<dyn ReceiptStore>,
) -> Result<Node, WireError> {
    wire_through(settings, backend, hasher, store, |l1| Box::new(l1))
}

/// [`wire`] with something between the L1 and the pipeline that decides when events come.
pub fn wire_through(
    settings: Settings,
    backend: Arc<dyn Backend>,
    hasher: Arc<dyn Hasher>,
    store: Arc<dyn ReceiptStore>,
    through: impl FnOnce(RecordedL1) -> Box<dyn ChainSource>,
) -> Result<Node, WireError> {
    let Patience { engine, retention, shutdown_grace } = settings.patience;
    let (Retention { grace, retained }, finality_depth) = (retention, settings.finality_depth);
    if grace > retained || retained > finality_depth {
        return Err(WireError::Depths { grace, retained, finality_depth });
    }
    let [transaction, batch, aggregate] = backend.programs();
    let processor: Arc<dyn Processor> = Arc::new(Ledger { transaction, batch, aggregate });
    let Recording { lane, root, .. } = &settings.recording;
    let pins = Pins {
        lane: lane.key,
        covenant: lane.covenant,
        deposit: lane.deposit,
        transaction_program: transaction,
        batch_program: batch,
    };
    let pins_digest = pins.digest(hasher.as_ref());
    let genesis_root = StateTree::empty(hasher.clone()).root();
    let genesis_tip = lane::genesis(hasher.as_ref(), &pins.lane);

    let overlay = Arc::new(Mutex::new(open_overlay(&settings, &backend, &hasher, &pins, genesis_root)?));
    let sink = OverlaySink(overlay.clone());
    let sink = match backend.profile().seal {
        SealKind::Fake => Sink::Rehearsal(Box::new(sink)),
        SealKind::Composite | SealKind::Succinct | SealKind::Groth16 => Sink::Real(Box::new(sink)),
    };

    let log = open_log(&settings, &pins, hasher.as_ref())?;
    let scheduler = Scheduler::open(processor.clone(), hasher.clone(), pins, root.block_hash, log)?;
    let mut tree = ForkTree::new(*root, settings.finality_depth);
    tree.restore(scheduler.known());

    let terms = Terms {
        scheme: backend.clone(),
        hasher: hasher.clone(),
        pins: pins_digest,
        programs: [transaction, batch, aggregate],
        binds_commitment: false,
    };
    let mut planner = Planner::new(terms, settings.rule, retention);
    let highest = scheduler.known().map(|block| block.checkpoint).max().unwrap_or_default();
    planner.resume(store.prune_floor()?, highest);
    let oracle = Oracle::new(processor, hasher, lane.deposit);
    let (outbox, inbox) = unbounded();
    let (read, finished) = (outbox.clone(), outbox.clone());
    // A pipeline that has ended hears nothing more.
    let reader = Reader::start(store.clone(), move |found| {
        let _ = read.send(Message::Read(found));
    });
    let workers =
        Workers::start(settings.permits, shutdown_grace, backend.clone(), store.clone(), move |done| {
            let _ = finished.send(Message::Finished(done));
        });
    Ok(Node(Pipeline {
        labels: (settings.l1, backend.profile().system.clone()),
        source: through(RecordedL1::new(settings.recording, settings.pace, overlay)),
        tree,
        scheduler,
        planner,
        engine: Engine::new(settings.permits, engine),
        settler: Settler::new(sink),
        store,
        backend,
        reader: reader.map_err(WireError::Thread)?,
        workers: workers.map_err(WireError::Thread)?,
        inbox,
        outbox,
        watcher: Watcher::new(settings.permits, (genesis_root, genesis_tip), oracle),
        tally: Tally::default(),
        demand: Demand::default(),
        provenances: HashMap::new(),
        began: Instant::now(),
        shutdown_grace,
        demand_max: engine.jobs_max,
        health: Health::Green,
        lost: 0,
        dumps: settings.data_dir.map(|dir| dir.join("divergences")),
        refusals: 0,
        last_refusal: None,
        verified: 0,
        host: fs::read_to_string("/etc/hostname").map(|name| name.trim().to_owned()).unwrap_or_default(),
    }))
}

impl Node {
    /// Runs to the end of the L1, or until `stop` is set; what is being proved then is finished and stored.
    pub fn run(self, stop: &AtomicBool, observer: &mut dyn Observer) -> Result<Ended, RunError> {
        self.0.run(stop, observer)
    }
}

fn open_overlay(
    settings: &Settings,
    backend: &Arc<dyn Backend>,
    hasher: &Arc<dyn Hasher>,
    pins: &Pins,
    root: Digest,
) -> Result<Overlay, WireError> {
    let covenant = Covenant {
        verifier: backend.clone(),
        program: backend.programs()[2],
        pins: pins.digest(hasher.as_ref()),
        lane: pins.lane,
        deposit: pins.deposit,
        root,
        hasher: hasher.clone(),
    };
    let path = match &settings.data_dir {
        Some(dir) => Some(made(&dir.join("l1"))?.join(format!("overlay-{}", short(pins, hasher.as_ref())))),
        None => None,
    };
    Ok(Overlay::open(path, settings.recording.root.block_hash, covenant)?)
}

fn open_log(settings: &Settings, pins: &Pins, hasher: &dyn Hasher) -> Result<Box<dyn RecordLog>, WireError> {
    let Some(dir) = &settings.data_dir else { return Ok(Box::new(MemoryLog::default())) };
    let path = made(&dir.join("state"))?.join(format!("records-{}", short(pins, hasher)));
    let mut identity = blake3::Hasher::new_derive_key("reprise 2026-11 batch records");
    identity.update(&settings.recording.root.block_hash.0).update(&pins.digest(hasher).0);
    let log = DiskLog::open(&path, *identity.finalize().as_bytes()).map_err(SchedulerError::from)?;
    Ok(Box::new(log))
}

/// Programs of another backend, or another lane, have other pins: each keeps its records apart.
fn short(pins: &Pins, hasher: &dyn Hasher) -> String {
    pins.digest(hasher).digest().to_hex()[..16].to_owned()
}

fn made(dir: &Path) -> Result<PathBuf, WireError> {
    fs::create_dir_all(dir).map_err(|source| WireError::DataDir { path: dir.into(), source })?;
    Ok(dir.into())
}
