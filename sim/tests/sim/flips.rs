//! A flip A → B → A under a running fleet: a real node with its threads, the real jobs and a real worker, in memory. The test
//! says when the chain goes on, and how many proofs may end.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use reprise_chain::source::{ChainSource, Pace, Poll, Progress, Ready, SourceError};
use reprise_fleet::backend::{FleetBackend, Settings as Asking};
use reprise_fleet::objects::MemoryObjects;
use reprise_fleet::shared::{Bounds, Shared};
use reprise_fleet::worker::{Settings as Working, Worker};
use reprise_jobs::job::{State, StateName};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::table::Filter;
use reprise_jobs::{Job, Policy, Priority, Queue, WorkerName};
use reprise_ledger::Ledger;
use reprise_model::hash::Blake3;
use reprise_model::limits::ProveApart;
use reprise_model::statement::{ClaimScheme, Kind, StatementId};
use reprise_node::dev;
use reprise_node::event::NoopObserver;
use reprise_node::l1::{RecordedChain, WrappedL1};
use reprise_node::wire::{self, Tuning};
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::{Backend, Control, Proof, ProveError, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::wrapped::{Wrapped, Wrapper};
use reprise_sim::ledger::workload;
use reprise_store::{Options, ReceiptStore, Store};

/// A chain that goes on as far as it is let.
#[derive(Clone, Default)]
struct Gate {
    open: Arc<AtomicUsize>,
    ready: Arc<Mutex<Option<Ready>>>,
}

struct Gated {
    source: Box<dyn ChainSource>,
    gate: Gate,
    passed: usize,
}

impl Gate {
    /// So many events may have passed.
    fn open(&self, events: usize) {
        self.open.store(events, Ordering::SeqCst);
        self.ready.lock().unwrap().iter().for_each(|ready| ready());
    }
}

impl ChainSource for Gated {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        if self.passed >= self.gate.open.load(Ordering::SeqCst) {
            return Ok(Poll::Pending);
        }
        let poll = self.source.poll(progress)?;
        self.passed += usize::from(matches!(poll, Poll::Event(_)));
        Ok(poll)
    }

    fn notify(&mut self, ready: Ready) {
        *self.gate.ready.lock().unwrap() = Some(ready);
    }
}

/// A prover whose proofs end as far as they are let.
struct Held {
    inner: Arc<MockBackend>,
    begun: Mutex<Vec<StatementId>>,
    may_end: Mutex<usize>,
    let_go: Condvar,
}

impl Held {
    fn let_end(&self, more: usize) {
        *self.may_end.lock().unwrap() += more;
        self.let_go.notify_all();
    }

    fn begun(&self) -> Vec<StatementId> {
        self.begun.lock().unwrap().clone()
    }
}

impl Wrapper for Held {
    fn inner(&self) -> &dyn Backend {
        self.inner.as_ref()
    }

    fn prove_under(&self, task: &Task, control: &Control) -> Result<Proof, ProveError> {
        self.begun.lock().unwrap().push(self.inner.statement(&task.claim).id());
        let mut may_end = self.let_go.wait_while(self.may_end.lock().unwrap(), |left| *left == 0).unwrap();
        *may_end -= 1;
        drop(may_end);
        self.inner.prove_under(task, control)
    }
}

fn mock() -> Arc<MockBackend> {
    let config = MockConfig { workload: "ledger".into(), ..MockConfig::default() };
    Arc::new(MockBackend::new(config, Arc::new(Blake3), Arc::new(Ledger)))
}

fn until(what: impl Fn() -> bool) {
    while !what() {
        thread::yield_now();
    }
}

fn set(jobs: &[Job]) -> BTreeSet<StatementId> {
    jobs.iter().map(|job| job.id).collect()
}

#[test]
fn what_ran_when_the_chain_left_is_stored_what_waited_comes_last_and_nothing_is_proved_when_it_returns() {
    let chain = dev::flip(&workload()).unwrap();
    let reorgs = chain.events.iter().enumerate().filter(|(_, event)| !event.removed.is_empty());
    let &[to_b, back_to_a] = &reorgs.map(|(at, _)| at).collect::<Vec<_>>()[..] else { panic!("two reorgs") };

    let queue = Queue::new(Arc::new(MemoryTable::default()), Policy::default());
    let objects = Arc::new(MemoryObjects::default());
    let shared =
        |backend: Arc<dyn Backend>| Arc::new(Shared::new(objects.clone(), backend, Bounds::default()));
    let held = Arc::new(Wrapped(Held {
        inner: mock(),
        begun: Mutex::default(),
        may_end: Mutex::default(),
        let_go: Condvar::new(),
    }));
    let (own, gate, stop) = (mock(), Gate::default(), Arc::new(AtomicBool::new(false)));
    let store: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(own.clone(), Options::default()).unwrap());

    let (poll, patience) = (Duration::from_millis(20), Duration::from_secs(600));
    let running_max = [patience; 3];
    let asking = Asking {
        host: "node".into(),
        memory: [0; 3],
        device: [None; 3],
        patience,
        poll,
        running_max,
        timeout: running_max,
    };
    let asked = FleetBackend::new(own.clone(), queue.clone(), shared(own.clone()), asking).unwrap();
    let tuning = Tuning { prove_apart: ProveApart::Always, ..Tuning::default() };
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 64,
        finality_depth: 1_000,
        data_dir: None,
        tuning,
    };
    let (gated, kept) = (gate.clone(), store.clone());
    let node = thread::spawn(move || {
        let through = |source| Box::new(Gated { source, gate: gated, passed: 0 }) as Box<dyn ChainSource>;
        let l1 = Box::new(RecordedChain { name: "dev".into(), recording: chain, pace: Pace::Free });
        let l1 = Box::new(WrappedL1 { l1, through });
        let node =
            wire::build_node(settings, l1, &workload(), Arc::new(asked), Arc::new(Blake3), kept).unwrap();
        node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap()
    });
    let jobs = |state| queue.list(&Filter { state: Some(state), ..Filter::default() }).unwrap();

    // Fork A is followed, and nobody proves: what does not rely on another waits in the fleet, as urgent as its place.
    gate.open(to_b);
    let transactions = 3 + 3 + 1 + 4;
    until(|| jobs(StateName::Queued).len() == transactions);
    let before = jobs(StateName::Queued);
    assert!(before.iter().all(|job| job.priority < Priority::UNWANTED));
    let drain = Duration::from_secs(600);
    let working = Working {
        name: WorkerName::new("far").unwrap(),
        devices: 9,
        kinds: Kind::ALL.to_vec(),
        memory: 0,
        has: vec![],
        timeout: [drain; 3],
        poll,
        drain,
    };
    let worker = Worker::new(working, queue.clone(), shared(held.clone()), Arc::new(|_| ()));
    let stopping = stop.clone();
    let working = thread::spawn(move || worker.run(&stopping).unwrap());
    // The most urgent nine begin: two of the four in the fork's last block wait.
    until(|| held.begun().len() == 9);
    let (running, waiting) = (jobs(StateName::Running), jobs(StateName::Queued));
    assert_eq!((running.len(), waiting.len()), (9, 2));
    assert_eq!(set(&running), held.begun().into_iter().collect());
    let urgency = |id: &StatementId| queue.find(&[*id]).unwrap()[0].priority;

    // The chain goes to B. What waits comes after what is wanted there; what runs goes on.
    gate.open(back_to_a);
    until(|| waiting.iter().all(|job| urgency(&job.id) == Priority::UNWANTED));
    until(|| jobs(StateName::Queued).len() == 2 + 2);
    let wanted_on_b: BTreeSet<StatementId> = &set(&jobs(StateName::Queued)) - &set(&waiting);
    assert!(wanted_on_b.iter().all(|id| urgency(id) < Priority::UNWANTED));
    assert_eq!(set(&jobs(StateName::Running)), set(&running));
    held.let_end(1);
    until(|| held.begun().len() == 10);
    assert!(!set(&waiting).contains(&held.begun()[9]), "what waited on A is begun after what B wants");

    // The chain returns while all that runs still runs. What waits is as urgent as it was.
    gate.open(usize::MAX);
    until(|| waiting.iter().all(|job| urgency(&job.id) == job.priority));
    held.let_end(usize::MAX / 2);
    let ended = node.join().unwrap();
    stop.store(true, Ordering::SeqCst);
    let worked = working.join().unwrap();

    assert_eq!(ended.violations, vec![]);
    let report = ended.report;
    assert_eq!((report.reorgs, report.flips, report.proofs_after_flip), (2, 1, 0));
    let distinct: BTreeSet<StatementId> = held.begun().into_iter().collect();
    assert_eq!(distinct.len(), held.begun().len(), "no statement is proved twice");
    assert_eq!((own.prove_calls(), worked.proved), (0, distinct.len() as u64));
    for job in running.iter().chain(&waiting) {
        assert!(store.contains(&job.id).unwrap(), "{job:?}");
        assert_eq!(queue.find(&[job.id]).unwrap()[0].state, State::Done { confirmed: true });
    }
}
