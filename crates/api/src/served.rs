//! What a server serves from: the views as they are published, and what does not change during a run.

#![allow(unused_qualifications, reason = "the macros that describe the API write full paths")]

use std::sync::Arc;
use std::time::Instant;

use reprise_jobs::Queue as Jobs;
use reprise_node::health::Reason;
use reprise_node::pulse::Pulse;
use reprise_store::ReceiptStore;
use serde::Serialize;
use tokio::sync::{Semaphore, watch};
use utoipa::ToSchema;

use crate::problem::Problem;
use crate::publisher::now_ms;
use crate::state::ReadAccount;
use crate::view::{Connection, Counts, Device, Economy, Health, Queue, Tip, View};

/// What does not change during a run.
#[derive(Debug, Clone)]
pub struct Facts {
    /// The version of the program.
    pub version: String,
    /// A name of this run, other than that of every other run of the node.
    pub run: String,
    /// The name of the L1.
    pub l1: String,
    /// The name of the backend.
    pub backend: String,
    /// When the run, or the serving of a directory, began, in milliseconds since the Unix epoch.
    pub started_ms: u64,
    /// What proving costs by the hour.
    pub price_per_hour: Option<f64>,
    /// How the workload's accounts are read; none where it has none, and then no account is served.
    pub accounts: Option<ReadAccount>,
    /// Whether the run's thread goes on; none of a directory.
    pub pulse: Option<Pulse>,
}

/// Renders the metrics for Prometheus.
pub type Metrics = Box<dyn Fn() -> String + Send + Sync>;

/// How many receipts are read at a time.
const STORE_READS_MAX: usize = 2;

/// How many requests are put to the jobs of a fleet at a time.
const JOBS_ASKED_MAX: usize = 4;

/// What a server serves from.
pub struct Served {
    pub(crate) facts: Facts,
    pub(crate) views: watch::Receiver<Arc<View>>,
    pub(crate) metrics: Metrics,
    pub(crate) store: Arc<dyn ReceiptStore>,
    pub(crate) store_reads: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) jobs: Option<Jobs>,
    pub(crate) jobs_asked: Arc<Semaphore>,
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served").field("facts", &self.facts).finish_non_exhaustive()
    }
}

impl Served {
    /// From these views, with so many streams of changes at a time; with the jobs of the node's fleet, if it has one.
    pub fn new(
        facts: Facts,
        views: watch::Receiver<Arc<View>>,
        metrics: Metrics,
        store: Arc<dyn ReceiptStore>,
        jobs: Option<Jobs>,
        streams: usize,
    ) -> Arc<Self> {
        let jobs_asked = Arc::new(Semaphore::new(JOBS_ASKED_MAX));
        let (store_reads, streams) =
            (Arc::new(Semaphore::new(STORE_READS_MAX)), Arc::new(Semaphore::new(streams)));
        Arc::new(Self { facts, views, metrics, store, store_reads, streams, jobs, jobs_asked })
    }

    /// The view as it was published last. A node that hangs publishes nothing more, so its health says so here.
    pub(crate) fn view(&self) -> Arc<View> {
        let view = self.views.borrow().clone();
        match self.hangs() {
            Some(reason) => Arc::new(view.with_reason(&reason)),
            None => view,
        }
    }

    /// Why the node is red, where its thread hangs.
    pub(crate) fn hangs(&self) -> Option<Reason> {
        self.facts.pulse.as_ref().and_then(|pulse| pulse.stalled(Instant::now()))
    }

    /// What the receipt store answers. The disk answers whoever proves first, so few read at a time.
    pub(crate) async fn of_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&dyn ReceiptStore) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let Ok(turn) = self.store_reads.clone().try_acquire_owned() else {
            return Err(Problem::too_many("the receipts are being read by others: ask again in a second"));
        };
        let store = self.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            // Held until the store has answered: whoever asked may be gone long before.
            let _turn = turn;
            read(store.as_ref())
        });
        let read = read.await;
        read.map_err(|_| Problem::unavailable("reading the receipts failed: the node's log says why"))
    }

    /// The name of what the numbers of a view's changes are of: a run, or one reading of a directory.
    pub(crate) fn run(&self, view: &View) -> String {
        match view.reading {
            0 => self.facts.run.clone(),
            reading => format!("{}.{reading}", self.facts.run),
        }
    }
}

/// What a server of metrics and health alone serves from.
pub struct Exposed {
    pub(crate) metrics: Metrics,
    pub(crate) health: Box<dyn Fn() -> Health + Send + Sync>,
}

impl Exposed {
    /// Of whatever has metrics and a health.
    pub fn new(metrics: Metrics, health: Box<dyn Fn() -> Health + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { metrics, health })
    }

    /// Of a node.
    pub fn of(served: &Arc<Served>) -> Arc<Self> {
        let (metrics, health) = (served.clone(), served.clone());
        Self::new(
            Box::new(move || (metrics.metrics)()),
            Box::new(move || health.view().health.as_ref().clone()),
        )
    }
}

/// The state of a node in short.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Status {
    /// The version of the program.
    version: String,
    /// A name of this run. Numbers of changes are of one run.
    run: String,
    /// The name of the L1.
    l1: String,
    /// The name of the backend.
    backend: String,
    /// When the run began, in milliseconds since the Unix epoch.
    started_ms: u64,
    /// The time of the node, in milliseconds since the Unix epoch.
    now_ms: u64,
    /// Whether the run has ended; true of a directory without one.
    ended: bool,
    /// When the directory was read that this is of; none of a run, which is served as it goes.
    read_ms: Option<u64>,
    /// The number of the last change.
    seq: u64,
    /// The canonical tip, once there is one.
    tip: Option<Tip>,
    /// No block at or below this checkpoint can leave the chain any more.
    finalized: u64,
    /// The checkpoint up to which the canonical chain is settled.
    settled: Option<u64>,
    /// The lowest checkpoint that is served.
    first: u64,
    /// The health.
    health: Health,
    /// What is queued.
    queue: Queue,
    /// What was counted.
    counts: Counts,
    /// The devices.
    devices: Vec<Device>,
    /// Proving time spent, saved and lost.
    economy: Economy,
    /// The connection to a live L1.
    connection: Option<Connection>,
}

impl Status {
    /// As of a view.
    pub(crate) fn of(served: &Served, view: &View) -> Self {
        let facts = &served.facts;
        Self {
            version: facts.version.clone(),
            run: served.run(view),
            l1: facts.l1.clone(),
            backend: facts.backend.clone(),
            started_ms: facts.started_ms,
            now_ms: now_ms(),
            ended: view.ended,
            read_ms: (view.reading > 0).then_some(view.at_ms),
            seq: view.seq,
            tip: view.tip,
            finalized: view.finalized,
            settled: view.settled,
            first: view.first,
            health: view.health.as_ref().clone(),
            queue: view.queue,
            counts: view.counts,
            devices: view.devices.iter().cloned().collect(),
            economy: view.economy,
            connection: view.connection.as_deref().cloned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use reprise_prover::mock::{MockBackend, MockConfig};
    use reprise_store::{Options, Store};

    use super::*;
    use crate::projection::{Projection, Window};
    use crate::publisher::Publisher;

    #[tokio::test]
    async fn whoever_leaves_a_read_of_the_store_frees_no_room_for_another_before_it_ends() {
        let backend = MockBackend::new(
            MockConfig::default(),
            Arc::new(reprise_model::hash::Blake3),
            Arc::new(reprise_ledger::Ledger),
        );
        let store = Arc::new(Store::in_memory(Arc::new(backend), Options::default()).unwrap());
        let views = Publisher::new(Projection::new(1, Window::default(), None)).views();
        let facts = Facts {
            version: String::new(),
            run: String::new(),
            l1: String::new(),
            backend: String::new(),
            started_ms: 0,
            price_per_hour: None,
            accounts: None,
            pulse: None,
        };
        let served = Served::new(facts, views, Box::new(String::new), store, None, 1);
        let all = Arc::new(Barrier::new(STORE_READS_MAX + 1));
        let (begins, mut begun) = tokio::sync::mpsc::unbounded_channel();
        for _ in 0..STORE_READS_MAX {
            let (served, all, begins) = (served.clone(), all.clone(), begins.clone());
            let read = move |_: &dyn ReceiptStore| {
                begins.send(()).unwrap();
                all.wait();
            };
            let asked = tokio::spawn(async move { served.of_store(read).await.is_ok() });
            begun.recv().await.unwrap();
            asked.abort();
            assert!(asked.await.unwrap_err().is_cancelled());
        }
        assert!(served.of_store(|_| ()).await.is_err(), "they read on");
        all.wait();
        while served.of_store(|_| ()).await.is_err() {
            tokio::task::yield_now().await;
        }
    }
}
