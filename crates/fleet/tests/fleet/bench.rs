//! What the tests are made of.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use reprise_fleet::backend::{FleetBackend, Settings as NodeSettings};
use reprise_fleet::objects::{Created, Listed, MemoryObjects, Objects, ObjectsError};
use reprise_fleet::shared::{Bounds, Shared};
use reprise_fleet::worker::{Event, Report, Settings, Worker, WorkerError};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::table::{Change, Figure, Filter, Horizon, JobsError, Rows, Standing, Table};
use reprise_jobs::{Job, Policy, Queue, WorkerName};
use reprise_ledger::Ledger;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::Journal as _;
use reprise_model::program;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_model::transaction::{self, LaneTransaction, Price, TransactionFacts, TransactionRead};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::wrapped::{Wrapped, Wrapper};

/// Jobs that cannot be reached while they are told so.
pub(crate) struct Line<T> {
    pub(crate) inner: T,
    pub(crate) cut: Arc<AtomicBool>,
    /// Whether it answers, and refuses what it is asked.
    pub(crate) refused: Arc<AtomicBool>,
    pub(crate) asked: Arc<Asked>,
}

/// How often jobs were asked for something.
#[derive(Default)]
pub(crate) struct Asked {
    /// Claims that have begun, and whether they wait.
    pub(crate) claims: AtomicU64,
    pub(crate) claims_wait: AtomicBool,
    /// How often somebody was about to wait for a change.
    pub(crate) turns: AtomicU64,
}

impl<T> Line<T> {
    fn jobs(&self) -> Result<(), JobsError> {
        let gone = JobsError::Unreachable { at: "here".into(), reason: "cut".into() };
        let refused = JobsError::Refused { at: "here".into(), reason: "no rights".into() };
        match (self.cut.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed)) {
            (true, _) => Err(gone),
            (_, true) => Err(refused),
            _ => Ok(()),
        }
    }

    fn objects(&self) -> Result<(), ObjectsError> {
        let gone = ObjectsError::Unreachable { at: "here".into(), reason: "cut".into() };
        let refused = ObjectsError::Refused { at: "here".into(), reason: "no rights".into() };
        match (self.cut.load(Ordering::Relaxed), self.refused.load(Ordering::Relaxed)) {
            (true, _) => Err(gone),
            (_, true) => Err(refused),
            _ => Ok(()),
        }
    }
}

impl Table for Line<MemoryTable> {
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError> {
        self.jobs()?;
        if matches!(rows, Rows::Claimable(_)) {
            self.asked.claims.fetch_add(1, Ordering::Relaxed);
            until(|| !self.asked.claims_wait.load(Ordering::Relaxed));
        }
        self.inner.change(rows, change)
    }
    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        self.jobs()?;
        self.inner.find(ids)
    }
    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        self.jobs()?;
        self.inner.list(filter)
    }
    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError> {
        self.jobs()?;
        self.inner.standing(name)
    }
    fn workers(&self) -> Result<Vec<reprise_jobs::Worker>, JobsError> {
        self.jobs()?;
        self.inner.workers()
    }
    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        self.jobs()?;
        self.inner.evict(name, evicted)
    }
    fn now_ms(&self) -> Result<u64, JobsError> {
        self.jobs()?;
        self.inner.now_ms()
    }
    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        self.jobs()?;
        self.inner.figures()
    }
    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError> {
        self.jobs()?;
        self.inner.delete_ended(horizon)
    }
    fn turn(&self) -> u64 {
        let turn = self.inner.turn();
        self.asked.turns.fetch_add(1, Ordering::Relaxed);
        turn
    }
    fn wait(&self, turn: u64, patience: Duration) {
        self.inner.wait(turn, patience);
    }
}

impl Objects for Line<MemoryObjects> {
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        self.objects()?;
        self.inner.read(key, bytes_max)
    }
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError> {
        self.objects()?;
        self.inner.create(key, bytes)
    }
    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        self.objects()?;
        self.inner.replace(key, bytes)
    }
    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        self.objects()?;
        self.inner.delete(key)
    }
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError> {
        self.objects()?;
        self.inner.list(prefix, after, limit)
    }
    fn place(&self) -> String {
        self.inner.place()
    }
}

/// What a fleet shares, and its time.
pub(crate) struct Fleet {
    pub(crate) table: Arc<dyn Table>,
    pub(crate) objects: MemoryObjects,
    pub(crate) jobs_cut: Arc<AtomicBool>,
    pub(crate) jobs_refused: Arc<AtomicBool>,
    pub(crate) jobs_asked: Arc<Asked>,
    pub(crate) objects_cut: Arc<AtomicBool>,
    pub(crate) objects_refused: Arc<AtomicBool>,
    time: Arc<AtomicU64>,
    policy: Policy,
}

/// What it runs with: nothing waits but for a lease.
pub(crate) fn policy() -> Policy {
    Policy {
        backoff: Duration::ZERO,
        backoff_max: Duration::ZERO,
        lease: Duration::from_millis(300),
        ..Policy::default()
    }
}

impl Fleet {
    pub(crate) fn new() -> Self {
        let time = Arc::new(AtomicU64::new(1_000_000_000));
        let (clock, jobs_cut) = (time.clone(), Arc::new(AtomicBool::new(false)));
        let inner = MemoryTable::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        let jobs_refused = Arc::new(AtomicBool::new(false));
        let jobs_asked: Arc<Asked> = Arc::default();
        let (cut, refused, asked) = (jobs_cut.clone(), jobs_refused.clone(), jobs_asked.clone());
        let table = Arc::new(Line { inner, cut, refused, asked });
        let (objects, objects_cut) = (MemoryObjects::default(), Arc::new(AtomicBool::new(false)));
        let objects_refused = Arc::default();
        let policy = policy();
        Self {
            table,
            objects,
            jobs_cut,
            jobs_refused,
            jobs_asked,
            objects_cut,
            objects_refused,
            time,
            policy,
        }
    }

    /// One in which a job that failed waits until time is let pass.
    pub(crate) fn with_backoff(backoff: Duration) -> Self {
        let policy = Policy { backoff, backoff_max: backoff, ..policy() };
        Self { policy, ..Self::new() }
    }

    /// One with leases of this length.
    pub(crate) fn with_lease(lease: Duration) -> Self {
        Self { policy: Policy { lease, ..policy() }, ..Self::new() }
    }

    /// One in which no worker rests.
    pub(crate) fn without_rests() -> Self {
        let policy = Policy { strikes_max: u32::MAX, ..policy() };
        Self { policy, ..Self::new() }
    }

    pub(crate) fn queue(&self) -> Queue {
        Queue::new(self.table.clone(), self.policy)
    }

    pub(crate) fn shared(&self, backend: Arc<dyn Backend>) -> Arc<Shared> {
        let (inner, cut) = (self.objects.clone(), self.objects_cut.clone());
        let objects = Line { inner, cut, refused: self.objects_refused.clone(), asked: Arc::default() };
        Arc::new(Shared::new(Arc::new(objects), backend, Bounds::default()))
    }

    /// Lets time pass, for leases and for what waits.
    pub(crate) fn pass(&self, time: Duration) {
        self.time.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    }

    /// A node's backend.
    pub(crate) fn node(&self, own: &Arc<MockBackend>) -> Arc<Wrapped<FleetBackend>> {
        let long = [Duration::from_secs(600); Kind::COUNT];
        self.node_over(own.clone(), long, long)
    }

    /// The same, which waits for so long while a statement runs.
    pub(crate) fn node_that_waits(
        &self,
        own: &Arc<MockBackend>,
        running: Duration,
    ) -> Arc<Wrapped<FleetBackend>> {
        self.node_over(own.clone(), [Duration::from_secs(600); Kind::COUNT], [running; Kind::COUNT])
    }

    /// The same, which gives a proof of its own so long, and one of others.
    pub(crate) fn node_over(
        &self,
        backend: Arc<dyn Backend>,
        timeout: [Duration; Kind::COUNT],
        running_max: [Duration; Kind::COUNT],
    ) -> Arc<Wrapped<FleetBackend>> {
        let settings = NodeSettings {
            host: "node".into(),
            memory: [0; Kind::COUNT],
            device: [None; Kind::COUNT],
            patience: Duration::ZERO,
            poll: Duration::from_millis(5),
            timeout,
            running_max,
        };
        Arc::new(FleetBackend::new(backend.clone(), self.queue(), self.shared(backend), settings).unwrap())
    }

    /// A worker, working.
    pub(crate) fn worker(&self, name: &str, backend: &Arc<MockBackend>) -> Machine {
        self.worker_with(backend, settings(name))
    }

    pub(crate) fn worker_with(&self, backend: &Arc<MockBackend>, settings: Settings) -> Machine {
        self.worker_over(backend.clone(), settings)
    }

    pub(crate) fn worker_over(&self, backend: Arc<dyn Backend>, settings: Settings) -> Machine {
        self.machine(self.shared(backend), settings, |worker, stop| worker.run(stop))
    }

    /// One that looks for what is shared in a place where nothing is.
    pub(crate) fn blind_worker(&self, name: &str) -> Machine {
        let nowhere = Arc::new(Shared::new(Arc::new(MemoryObjects::default()), mock(), Bounds::default()));
        self.machine(nowhere, settings(name), |worker, stop| worker.run(stop))
    }

    /// One in a process that has other work.
    pub(crate) fn lasting_worker(&self, backend: &Arc<MockBackend>, settings: Settings) -> Machine {
        self.machine(self.shared(backend.clone()), settings, |worker, stop| {
            worker.run_lastingly(stop, Duration::from_millis(5))
        })
    }

    fn machine(
        &self,
        shared: Arc<Shared>,
        settings: Settings,
        run: fn(&Worker, &Arc<AtomicBool>) -> Result<Report, WorkerError>,
    ) -> Machine {
        let (stop, heard) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(vec![])));
        let hears = heard.clone();
        let hear = Arc::new(move |event: &Event| hears.lock().unwrap().push(event.clone()));
        let worker = Worker::new(settings, self.queue(), shared, hear);
        let stopping = stop.clone();
        let thread = std::thread::spawn(move || run(&worker, &stopping));
        Machine { stop, heard, thread }
    }
}

pub(crate) fn settings(name: &str) -> Settings {
    Settings {
        name: WorkerName::new(name).unwrap(),
        devices: 1,
        kinds: Kind::ALL.to_vec(),
        memory: 0,
        has: vec![],
        timeout: [Duration::from_secs(600); Kind::COUNT],
        poll: Duration::from_millis(5),
        drain: Duration::from_secs(60),
    }
}

/// A worker at work.
pub(crate) struct Machine {
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) heard: Arc<Mutex<Vec<Event>>>,
    pub(crate) thread: JoinHandle<Result<Report, WorkerError>>,
}

impl Machine {
    /// Waits until it said something.
    pub(crate) fn until(&self, what: impl Fn(&Event) -> bool) {
        until(|| self.heard.lock().unwrap().iter().any(&what));
    }

    pub(crate) fn end(self) -> Report {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap().unwrap()
    }
}

/// Waits until something holds.
pub(crate) fn until(what: impl Fn() -> bool) {
    while !what() {
        std::thread::yield_now();
    }
}

pub(crate) fn mock() -> Arc<MockBackend> {
    mock_with(MockConfig::default())
}

pub(crate) fn mock_with(config: MockConfig) -> Arc<MockBackend> {
    Arc::new(MockBackend::new(config, Arc::new(Blake3), Arc::new(Ledger)))
}

/// A backend whose proofs end when they are let.
pub(crate) struct Gated {
    inner: Arc<MockBackend>,
    pub(crate) open: AtomicBool,
}

impl Gated {
    pub(crate) fn new(inner: &Arc<MockBackend>) -> Arc<Wrapped<Self>> {
        Arc::new(Wrapped(Self { inner: inner.clone(), open: AtomicBool::new(false) }))
    }
}

impl Wrapper for Gated {
    fn inner(&self) -> &dyn Backend {
        self.inner.as_ref()
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        until(|| self.open.load(Ordering::Relaxed) || control.is_cancelled());
        self.inner.prove_under(task, control)
    }
}

/// A task by number, which relies on nothing.
pub(crate) fn task(number: u8) -> Task {
    let facts = TransactionFacts {
        authority: ResourceId([number; 32]),
        deposit: u64::from(number) + 1,
        price: Price::FREE,
    };
    let payload = transaction::payload(&[], &Digest::ZERO, &[]).unwrap();
    let transaction = LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload };
    let witness = TransactionWitness {
        transaction: transaction.cells(&TransactionRead { facts, message: vec![] }),
        before: vec![None],
        context: None,
    };
    let journal = program::transaction(&Blake3, &Ledger, &witness).unwrap().bytes();
    let claim = Claim { program: mock().programs()[0], journal };
    Task { claim, witness: Witness::Transaction(witness), assumptions: vec![] }
}

/// The same, which relies on another.
pub(crate) fn task_on(number: u8, inner: u8) -> Task {
    Task { assumptions: vec![receipt(inner)], ..task(number) }
}

pub(crate) fn id(task: &Task) -> StatementId {
    mock().statement(&task.claim).id()
}

/// A receipt by number.
pub(crate) fn receipt(number: u8) -> Verified<Receipt> {
    let backend = mock();
    let proof = backend.prove(&task(number)).unwrap();
    Verified::check(proof.receipt, backend.as_ref()).unwrap()
}
