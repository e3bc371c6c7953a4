//! A → B → A, replay, loss and restart: what is proved, and what is not proved again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_chain::tree::ChainError;
use reprise_disk::data_dir::DataDir;
use reprise_ledger::Ledger;
use reprise_model::cell::Cell;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::statement::Kind;
use reprise_node::attempts::Attempts;
use reprise_node::driver::Node;
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::l1::{L1, RecordedChain};
use reprise_node::pipeline::{RunError, RunOutcome};
use reprise_node::report::{ByKind, Report};
use reprise_node::wire::{self, WireError};
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::{Backoff, Breaker, Policy};
use reprise_scheduler::record::RecordLog;
use reprise_scheduler::tree::StateTree;
use reprise_store::port::Filter;
use reprise_store::{Options, ReceiptStore, Store};

use crate::dev::{self, ledger};

/// As by default, but quick to begin again.
pub(crate) fn tuning() -> wire::Tuning {
    let backoff = Backoff { first: Duration::from_millis(2), max: Duration::from_millis(20) };
    let breaker = Breaker { suspension: backoff, ..Breaker::default() };
    wire::Tuning { engine: Policy { backoff, breaker, ..Policy::default() }, ..wire::Tuning::default() }
}

pub(crate) fn recorded(recording: Recording, pace: Pace) -> Box<dyn L1> {
    Box::new(RecordedChain { name: "dev".into(), recording, pace })
}

/// A run's surroundings: what a data directory is to a process.
pub(crate) struct Home {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) pace: Pace,
    pub(crate) permits: usize,
    pub(crate) mock: MockConfig,
    pub(crate) rule: BundleRule,
    pub(crate) tuning: wire::Tuning,
    pub(crate) finality_depth: u64,
    pub(crate) bytes_max: Option<u64>,
}

impl Home {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (mock, rule) = (MockConfig::default(), BundleRule::default());
        let tuning = tuning();
        Self {
            dir,
            pace: Pace::Proved,
            permits: 1,
            mock,
            rule,
            tuning,
            finality_depth: 1000,
            bytes_max: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn open(&self) -> (Arc<MockBackend>, Arc<dyn ReceiptStore>) {
        let backend = Arc::new(MockBackend::new(self.mock.clone(), Arc::new(Blake3), Arc::new(Ledger)));
        let options = Options { bytes_max: self.bytes_max, ..Options::default() };
        let store = Store::open(&self.path().join("receipts"), backend.clone(), options).unwrap();
        (backend, Arc::new(store))
    }

    /// The prune floor of what this home proves on the flip's lane.
    pub(crate) fn floor(&self) -> Checkpoint {
        let floors = self.store().stats().unwrap().prune_floors;
        floors.iter().map(|(_, floor)| floor.below).max().unwrap_or_default()
    }

    pub(crate) fn store(&self) -> Arc<dyn ReceiptStore> {
        self.open().1
    }

    /// What is noted of attempts that failed.
    pub(crate) fn attempts(&self) -> Attempts {
        Attempts::open(DataDir::lock(self.path()).unwrap().attempts()).unwrap()
    }

    pub(crate) fn try_run(
        &self,
        recording: Recording,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> Result<RunOutcome, RunError> {
        self.try_run_metered(recording, stop, observer).0
    }

    /// The same, and the backend it ran with.
    pub(crate) fn try_run_metered(
        &self,
        recording: Recording,
        stop: &AtomicBool,
        observer: &mut dyn Observer,
    ) -> (Result<RunOutcome, RunError>, Arc<MockBackend>) {
        let (node, backend) = self.try_wire(recording).unwrap();
        (node.run(stop, observer), backend)
    }

    pub(crate) fn try_wire(&self, recording: Recording) -> Result<(Node, Arc<MockBackend>), WireError> {
        let (backend, store) = self.open();
        Ok((self.try_wire_over(recording, &backend, store)?, backend))
    }

    /// The same, over a store of the caller's, and with a backend of theirs.
    pub(crate) fn try_wire_over<B: Backend + 'static>(
        &self,
        recording: Recording,
        backend: &Arc<B>,
        store: Arc<dyn ReceiptStore>,
    ) -> Result<Node, WireError> {
        self.try_wire_in(DataDir::lock(self.path()).unwrap(), recording, backend, store)
    }

    /// The same, in a directory of the caller's.
    pub(crate) fn try_wire_in<B: Backend + 'static>(
        &self,
        dir: DataDir,
        recording: Recording,
        backend: &Arc<B>,
        store: Arc<dyn ReceiptStore>,
    ) -> Result<Node, WireError> {
        let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
        let settings = wire::Settings {
            rule: self.rule,
            permits: self.permits,
            finality_depth: self.finality_depth,
            data_dir: Some(dir),
            tuning: self.tuning,
        };
        wire::build_node(settings, recorded(recording, self.pace), &ledger(), backend.clone(), hasher, store)
    }

    pub(crate) fn run(&self) -> Report {
        let ended = self.try_run(dev::flip(), &AtomicBool::new(false), &mut NoopObserver).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_sums(&ended.report);
        ended.report
    }

    /// A copy of this home, as it is now.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self { mock: self.mock.clone(), rule: self.rule, ..Self::new() };
        copy_dir(self.path(), copy.path());
        copy
    }
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn assert_sums(report: &Report) {
    assert_eq!(report.wanted, report.stored_before + report.proved.total() + report.dropped, "{report:#?}");
}

const DEV_PROVED: ByKind = ByKind { transaction: 11, batch: 8, aggregate: 4 };

#[test]
fn a_flip_back_costs_no_proof() {
    let report = Home::new().run();
    assert_eq!(report.proved, DEV_PROVED);
    assert_eq!(report.prove_calls, report.proved.total());
    assert_eq!((report.reorgs, report.flips), (2, 1));
    assert!(report.max_reorg_depth >= 5);
    for returned in [
        report.statements_returned.transaction,
        report.statements_returned.batch,
        report.statements_returned.aggregate,
    ] {
        assert!(returned > 0, "{report:#?}");
    }
    assert_eq!(report.proofs_after_flip, 0);
    assert!(report.settlements >= 3, "{report:#?}");
    assert!(report.empty_batches > 0);
}

#[test]
fn a_transaction_on_both_forks_over_one_pre_state_is_proved_once() {
    let report = Home::new().run();
    // Thirteen transactions in eight batches; one of them stands on both forks, and one is disposed of.
    assert_eq!(report.proved.transaction, 11);
    assert!(report.hits.transaction >= 1);
}

#[test]
fn a_second_run_proves_and_executes_nothing_and_ends_in_the_same_state() {
    let home = Home::new();
    let first = home.run();
    let second = home.run();
    assert_eq!(second.prove_calls, 0);
    assert_eq!(second.executed, 0);
    assert_eq!(second.proved, ByKind::default());
    assert_eq!(second.stored_before, second.wanted);
    assert_eq!(second.state_root, first.state_root);
    assert_eq!(second.settled_checkpoint, first.settled_checkpoint);
}

#[test]
fn a_free_pace_gives_the_same_root_and_no_second_proof() {
    let paced = Home::new().run();
    let free = Home { pace: Pace::Free, ..Home::new() }.run();
    assert_eq!(free.state_root, paced.state_root);
    assert_eq!(free.prove_calls, free.proved.total());
}

#[test]
fn counts_do_not_depend_on_how_fast_proofs_are() {
    let millis = Duration::from_millis;
    let slow = MockConfig { cost: [millis(3), millis(9), millis(17)], ..MockConfig::default() };
    let (slow, fast) = (Home { mock: slow, ..Home::new() }.run(), Home::new().run());
    let wide = Home { permits: 4, ..Home::new() }.run();
    for other in [&slow, &wide] {
        assert_eq!(
            (other.wanted, other.proved, other.hits, other.statements_returned, &other.state_root),
            (fast.wanted, fast.proved, fast.hits, fast.statements_returned, &fast.state_root)
        );
    }
}

/// Asks to stop at the first event that it is told to look for.
struct StopAt<'a, F: Fn(&PipelineEvent) -> bool>(&'a AtomicBool, F);

impl<F: Fn(&PipelineEvent) -> bool> Observer for StopAt<'_, F> {
    fn on_event(&mut self, event: &PipelineEvent) {
        if (self.1)(event) {
            self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        }
    }
}

/// A home whose run was stopped when its first aggregate was stored, before anything was settled.
fn unsettled_home() -> Home {
    let home = Home::new();
    let stop = AtomicBool::new(false);
    let first_aggregate =
        |h: &PipelineEvent| matches!(h, PipelineEvent::Stored(o) if o.kind() == Kind::Aggregate);
    let ended = home.try_run(dev::flip(), &stop, &mut StopAt(&stop, first_aggregate)).unwrap();
    assert!(ended.interrupted);
    home
}

#[test]
fn a_run_that_was_stopped_goes_on_where_it_was() {
    let home = unsettled_home();
    let stored: usize = home.store().list(&Filter::default()).unwrap().len();
    let report = home.run();
    assert_eq!(report.prove_calls, 23 - stored as u64);
    assert_eq!(report.state_root, Home::new().run().state_root);
}

#[test]
fn a_wrong_state_root_stops_settling_at_once() {
    // Records of another root than execution gives, whole in every other way.
    let home = unsettled_home();
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend = Arc::new(MockBackend::new(home.mock.clone(), hasher.clone(), Arc::new(Ledger)));
    let deployment = wire::Deployment::new(&ledger(), backend, hasher.clone(), &dev::flip().lane);
    let pins = deployment.pins().digest(hasher.as_ref());
    let dir = DataDir::lock(home.path()).unwrap();
    let open = || wire::records(&dir, &deployment).unwrap();
    let mut records = open().load().unwrap();
    std::fs::remove_file(dir.records(&pins).path()).unwrap();
    records.sort_by_key(|record| record.block.metadata.checkpoint);
    let root = dev::flip().root.metadata.block_hash;
    let first = records.iter_mut().find(|record| record.block.metadata.block.parent_hash == root).unwrap();
    let resource = ResourceId([77; 32]);
    first.writes = vec![vec![(resource, Some(vec![Cell::default(); 8]))]];
    let after = StateTree::empty(hasher).after(&first.writes[0]);
    first.block.root_after = after.root();
    let first = first.clone();
    open().append(&[&first]).unwrap();
    drop(dir);
    let ended = home.try_run(dev::flip(), &AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert!(ended.violations.iter().any(|violation| violation.promise.contains("a batch's root")));
    assert_eq!(ended.report.settlements, 0, "nothing is settled of a state in doubt");
    assert!(!ended.report.health.is_green());
}

#[test]
fn a_lost_receipt_is_proved_again_and_nothing_below_a_stored_one_is() {
    let home = unsettled_home();
    let calls = home.copy().run().prove_calls;
    let entries = home.store().list(&Filter::default()).unwrap();
    // The lowest of each kind: those of the aggregate, which begins where the chain does.
    let lowest = |kind| {
        let of_kind = entries.iter().filter(move |entry| entry.kind == kind);
        of_kind.min_by_key(|entry| entry.coordinates[0].checkpoint).unwrap().id
    };
    let (transaction, batch, aggregate) =
        (lowest(Kind::Transaction), lowest(Kind::Batch), lowest(Kind::Aggregate));

    let without = |ids: &[reprise_model::statement::StatementId]| {
        let copy = home.copy();
        let store = copy.store();
        for id in ids {
            assert!(store.remove(id).unwrap());
        }
        drop(store);
        copy.run().prove_calls - calls
    };
    assert_eq!(without(&[aggregate]), 1, "an aggregate is proved from its stored batches");
    assert_eq!(without(&[transaction]), 0, "a transaction under a stored batch is not needed");
    assert_eq!(without(&[batch, aggregate]), 2, "a batch and its aggregate, the transactions being hits");
}

#[test]
fn failures_that_pass_are_retried_and_end_in_the_same_root() {
    let root = Home::new().run().state_root;
    // Far enough apart that no statement can meet a third one, whatever the threads do.
    let faults: [fn(&mut MockConfig); 3] =
        [|m| m.transient_every = 5, |m| m.invalid_every = 5, |m| m.panic_every = 5];
    for fault in faults {
        let mut home = Home::new();
        fault(&mut home.mock);
        let report = home.run();
        assert!(report.attempts_failed > 0);
        assert_eq!(report.prove_calls, report.proved.total() + report.attempts_failed);
        assert_eq!(report.state_root, root);
        assert_eq!(report.quarantined, 0);
    }
}

#[test]
fn a_statement_that_can_never_be_proved_ends_the_run_by_its_name() {
    let mock = MockConfig { panic_every: 1, ..MockConfig::default() };
    let home = Home { mock, ..Home::new() };
    let ended = home.try_run(dev::flip(), &AtomicBool::new(false), &mut NoopObserver);
    assert!(matches!(ended, Err(RunError::GivenUp { .. })), "{ended:?}");
    assert_eq!(home.store().list(&Filter::default()).unwrap().len(), 0);
}

/// The blocks that it heard leave.
#[derive(Default)]
struct Leaving(Vec<BlockHash>);

impl Observer for Leaving {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Orphaned { block, .. } = event {
            self.0.push(*block);
        }
    }
}

#[test]
fn no_observer_is_told_of_an_event_that_is_refused() {
    let mut recording = dev::flip();
    let at = recording.events.iter().position(|event| !event.removed.is_empty()).unwrap();
    recording.events.truncate(at + 1);
    let stranger = BlockHash([9; 32]);
    recording.events[at].added[0].metadata.parent_hash = stranger;
    let mut leaving = Leaving::default();
    let refused = Home::new().try_run(recording, &AtomicBool::new(false), &mut leaving).unwrap_err();
    let gap = matches!(refused, RunError::Chain(ChainError::Gap { parent, .. }) if parent == stranger);
    assert!(gap, "{refused}");
    assert_eq!(leaving.0, vec![]);
}
