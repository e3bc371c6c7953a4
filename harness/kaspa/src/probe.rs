//! A running Reprise node, with a probe that reports its progress, so that tests wait for events and not for a time.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use reprise_chain::source::{ChainSource, Connection, Poll, Progress, Ready, SourceError};
use reprise_disk::data_dir::DataDir;
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_kaspa::follower::StatementOf;
use reprise_kaspa::l1::{KaspaL1, Payer};
use reprise_kaspa::live::Options;
use reprise_ledger::Ledger;
use reprise_model::block::ChainRoot;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::health::Health;
use reprise_node::l1::{L1, WrappedL1};
use reprise_node::pipeline::{RunError, RunOutcome};
use reprise_node::wire::{self, Deployment, Settings, Tuning};
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::Policy;
use reprise_store::port::Lookup;
use reprise_store::{Options as StoreOptions, ReceiptStore, Store};

/// A published order, with its receipt.
pub type Artifact = (Arc<Order>, Verified<Receipt>);

/// How long a test waits for a run with the mock backend.
const WITHIN: Duration = Duration::from_secs(120);

/// The progress of a run.
#[derive(Debug, Clone)]
struct Seen {
    tip: BlockHash,
    progress: Progress,
    /// Nothing came since the progress was taken.
    quiet: bool,
}

type Shared = Arc<(Mutex<Option<Seen>>, Condvar)>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A source that reports its progress.
struct ProbedSource {
    source: Box<dyn ChainSource>,
    tip: BlockHash,
    seen: Shared,
}

impl ChainSource for ProbedSource {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        let polled = self.source.poll(progress)?;
        if let Poll::Event(event) = &polled
            && let Some(added) = event.added.last()
        {
            self.tip = added.metadata.block_hash;
        }
        let quiet = polled == Poll::Pending;
        *lock(&self.seen.0) = Some(Seen { tip: self.tip, progress, quiet });
        self.seen.1.notify_all();
        Ok(polled)
    }

    fn notify(&mut self, ready: Ready) {
        self.source.notify(ready);
    }

    fn begin_at(&mut self, block: &ChainRoot, checkpoint: Checkpoint) {
        self.source.begin_at(block, checkpoint);
    }

    fn connection(&self) -> Option<Connection> {
        self.source.connection()
    }

    fn disk_error(&self) -> Option<String> {
        self.source.disk_error()
    }
}

/// An observer that keeps every event.
#[derive(Clone, Default)]
struct Kept(Arc<Mutex<Vec<PipelineEvent>>>);

impl Observer for Kept {
    fn on_event(&mut self, event: &PipelineEvent) {
        lock(&self.0).push(event.clone());
    }
}

/// The backend of a run, and how it settles.
#[derive(Clone)]
pub struct Proving {
    /// The backend.
    pub backend: Arc<dyn Backend>,
    /// The hash that its workload is proved over.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// The proof that the covenant demands, and the reader of the backend's seals; `None` where it demands none.
    pub proof: Option<(Proof, SealReader)>,
    /// Where receipts are kept, if not in the run's data directory.
    pub receipts: Option<PathBuf>,
    /// How long a proof may take, and a test waits for what the run does.
    pub within: Duration,
}

impl Proving {
    /// The mock backend, for covenants that demand no proof.
    pub fn mock() -> Self {
        let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
        // The programs of the command line's own mock, so that a run here and a process settle one covenant.
        let config = MockConfig { workload: "ledger".into(), ..MockConfig::default() };
        let backend = Arc::new(MockBackend::new(config, hasher.clone(), Arc::new(Ledger)));
        Self { backend, hasher, proof: None, receipts: None, within: WITHIN }
    }
}

/// The plan of a run.
#[derive(Clone)]
pub struct Plan {
    /// The node to follow.
    pub options: Options,
    /// The key that settles.
    pub payer: Option<Payer>,
    /// The data directory.
    pub data_dir: PathBuf,
    /// Where bundles begin and end.
    pub rule: BundleRule,
}

/// A Reprise node, running in a thread.
pub struct Run {
    seen: Shared,
    heard: Kept,
    stop: Arc<AtomicBool>,
    /// Its store.
    pub store: Arc<dyn ReceiptStore>,
    /// Its backend.
    pub backend: Arc<dyn Backend>,
    within: Duration,
    thread: Option<JoinHandle<Result<RunOutcome, String>>>,
}

impl Run {
    /// Starts it with a mock backend of its own. Blocks: not for an async thread.
    pub fn start(plan: Plan) -> Result<Self, String> {
        Self::prove(plan, Proving::mock())
    }

    /// Starts it. Blocks: not for an async thread.
    pub fn prove(plan: Plan, proving: Proving) -> Result<Self, String> {
        let Proving { backend, hasher, proof, receipts, within } = proving;
        let said = |e: &dyn std::fmt::Display| e.to_string();
        let dir = DataDir::lock(&plan.data_dir).map_err(|e| said(&e))?;
        let store = match &receipts {
            Some(receipts) => Store::open(receipts, backend.clone(), StoreOptions::default()),
            None => Store::open(&dir.receipts(), backend.clone(), StoreOptions::default()),
        };
        let store = store.map_err(|e| said(&e))?;
        let store: Arc<dyn ReceiptStore> = Arc::new(store);
        let (seen, heard, stop) = (Shared::default(), Kept::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (seen, mut heard, stop) = (seen.clone(), heard.clone(), stop.clone());
            let (backend, store) = (backend.clone(), store.clone());
            thread::spawn(move || {
                let said = |e: &dyn std::fmt::Display| e.to_string();
                let ledger = Workload::new("ledger", Ledger);
                let lane = &plan.options.lane;
                let deployment = Deployment::new(&ledger, backend.clone(), hasher.clone(), lane);
                let covenant = (&deployment.covenant(), Arc::new(deployment.statement_of()) as StatementOf);
                let l1 = KaspaL1::connect(plan.options, plan.payer, proof, covenant, Some(&dir));
                let l1: Box<dyn L1> = Box::new(l1.map_err(|e| said(&e))?);
                let (tip, shown) = (l1.root().metadata.block_hash, seen.clone());
                let probe =
                    move |source| Box::new(ProbedSource { source, tip, seen: shown }) as Box<dyn ChainSource>;
                let l1 = Box::new(WrappedL1 { l1, through: probe });
                let settings = Settings {
                    rule: plan.rule,
                    permits: 1,
                    finality_depth: 1_000,
                    data_dir: Some(dir),
                    tuning: Tuning {
                        engine: Policy { timeout: [within; 3], ..Policy::default() },
                        retention: Retention { grace: 32, retained: 1_000 },
                        ..Tuning::default()
                    },
                };
                let node = wire::build_node(settings, l1, &ledger, backend, hasher, store);
                let node = node.map_err(|e| said(&e))?;
                node.run(&stop, &mut heard).map_err(|e: RunError| said(&e))
            })
        };
        Ok(Self { seen, heard, stop, store, backend, within, thread: Some(thread) })
    }

    /// Waits until the block `tip` is followed and everything wanted is proved; also settled, where that is asked.
    pub fn wait(&self, tip: BlockHash, settled: bool) -> Result<(), String> {
        let there = |seen: &Option<Seen>| {
            seen.as_ref().is_some_and(|seen| {
                seen.quiet && seen.tip == tip && seen.progress.proved && (seen.progress.settled || !settled)
            })
        };
        let began = Instant::now();
        let mut seen = lock(&self.seen.0);
        // The last progress may be outdated: the next poll brings a new one.
        *seen = None;
        while !there(&seen) {
            let over = self.is_over();
            if over || began.elapsed() > self.within {
                return Err(format!("waited for {tip}, at {seen:?}; the run is over: {over}"));
            }
            let waited = self.seen.1.wait_timeout(seen, Duration::from_secs(1));
            seen = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// The events so far.
    pub fn heard(&self) -> Vec<PipelineEvent> {
        lock(&self.heard.0).clone()
    }

    /// Every published artifact, oldest first, with its receipt as stored now.
    pub fn artifacts(&self) -> Result<Vec<Artifact>, String> {
        let published = self.heard().into_iter().filter_map(|event| match event {
            PipelineEvent::Published(order) => Some(order),
            _ => None,
        });
        let receipt = |order: Arc<Order>| match self.store.get(&order.statement, &order.claim) {
            Ok(Lookup::Hit(receipt)) => Ok((order, receipt)),
            other => Err(format!("{}: {other:?}", order.id)),
        };
        published.map(receipt).collect()
    }

    /// Waits for an event that `of` recognises, from the event number `from` on.
    pub fn find_event<T>(&self, from: usize, of: impl Fn(&PipelineEvent) -> Option<T>) -> Result<T, String> {
        let began = Instant::now();
        loop {
            if let Some(found) = lock(&self.heard.0).iter().skip(from).find_map(&of) {
                return Ok(found);
            }
            let over = self.is_over();
            if over || began.elapsed() > self.within {
                return Err(format!("not heard; the run is over: {over}"));
            }
            // Every poll of the source notifies, so this wakes as soon as anything can have happened.
            let waited = self.seen.1.wait_timeout(lock(&self.seen.0), Duration::from_secs(1));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until the health is so.
    pub fn wait_health(&self, so: impl Fn(&Health) -> bool) -> Result<Health, String> {
        self.wait_health_for(self.within, so)
    }

    /// Waits for so long until the health is so.
    pub fn wait_health_for(&self, within: Duration, so: impl Fn(&Health) -> bool) -> Result<Health, String> {
        let began = Instant::now();
        loop {
            let said = lock(&self.heard.0).iter().rev().find_map(|event| match event {
                PipelineEvent::Health(health) => Some(health.clone()),
                _ => None,
            });
            let health = said.unwrap_or_default();
            if so(&health) {
                return Ok(health);
            }
            if self.is_over() || began.elapsed() > within {
                return Err(format!("the health is {health}; the run is over: {}", self.is_over()));
            }
            let waited = self.seen.1.wait_timeout(lock(&self.seen.0), Duration::from_secs(1));
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Whether it has ended.
    pub fn is_over(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops it, and returns its outcome.
    pub fn end(mut self) -> Result<RunOutcome, String> {
        self.stop.store(true, Ordering::Relaxed);
        self.join()
    }

    /// Waits until it ends by itself.
    pub fn ended(mut self) -> Result<RunOutcome, String> {
        self.join()
    }

    fn join(&mut self) -> Result<RunOutcome, String> {
        let Some(thread) = self.thread.take() else { return Err("joined before".into()) };
        thread.join().map_err(|_| "the run panicked".to_owned())?
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // A dropped run's outcome is not needed.
        let _ = self.join();
    }
}
