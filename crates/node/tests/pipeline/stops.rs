//! Stopped at every boundary, and started again: the same end, and no stored receipt proved twice.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::dev::{self, ledger};
use crate::flip::recorded;
use reprise_chain::source::{ChainSource, Pace, Poll, Progress, SourceError};
use reprise_disk::data_dir::DataDir;
use reprise_ledger::Ledger;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_node::attempts::Attempts;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::WrappedL1;
use reprise_node::pipeline::{RunError, RunOutcome};
use reprise_node::report::Report;
use reprise_node::wire;
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::port::Filter;
use reprise_store::{Options, ReceiptStore, Store};

use crate::flip::assert_sums;

/// Asks to stop at the `at`th event, and counts them. How much is queued is no boundary: nothing happened.
struct StopAfter<'a> {
    stop: &'a AtomicBool,
    at: usize,
    heard: usize,
}

impl Observer for StopAfter<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        if !matches!(event, PipelineEvent::Queue { .. }) {
            self.heard += 1;
            self.stop.fetch_or(self.heard == self.at, Ordering::Relaxed);
        }
    }
}

/// A store that outlives runs, as a directory does, without the disk's pace.
fn store() -> Arc<dyn ReceiptStore> {
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger)));
    Arc::new(Store::in_memory(backend, Options::default()).unwrap())
}

/// One run, stopped at the `at`th event; how many there were.
fn run(dir: &Path, store: &Arc<dyn ReceiptStore>, pace: Pace, at: usize) -> (RunOutcome, usize) {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1000,
        data_dir: Some(DataDir::lock(dir).unwrap()),
        tuning: wire::Tuning::default(),
    };
    let stop = AtomicBool::new(false);
    let mut observer = StopAfter { stop: &stop, at, heard: 0 };
    let node =
        wire::build_node(settings, recorded(dev::flip(), pace), &ledger(), backend, hasher, store.clone())
            .unwrap();
    (node.run(&stop, &mut observer).unwrap(), observer.heard)
}

#[test]
fn a_run_stopped_after_any_happening_and_started_again_ends_the_same_and_proves_nothing_twice() {
    let whole = tempfile::tempdir().unwrap();
    let (reference, boundaries) = run(whole.path(), &store(), Pace::Proved, usize::MAX);
    assert_eq!(reference.report.prove_calls, 23);
    // Each pair of runs mostly waits for the disk, so several go side by side.
    let next = AtomicUsize::new(1);
    let interrupted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at > boundaries {
                        break;
                    }
                    let was = stopped_and_started_again(at, &reference.report);
                    interrupted.fetch_add(usize::from(was), Ordering::Relaxed);
                }
            });
        }
    });
    let interrupted = interrupted.into_inner();
    assert!(interrupted + 4 > boundaries, "{interrupted} of {boundaries} runs were stopped before their end");
}

/// Stops a run at the `at`th event and runs again; whether the first was stopped before its end.
fn stopped_and_started_again(at: usize, reference: &Report) -> bool {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    let (first, _) = run(dir.path(), &store, Pace::Proved, at);
    let held = store.list(&Filter::default()).unwrap().len() as u64;
    let (second, _) = run(dir.path(), &store, Pace::Proved, usize::MAX);
    for ended in [&first, &second] {
        assert_eq!(ended.violations, vec![], "stopped at {at}");
        assert_sums(&ended.report);
    }
    let interrupted = first.interrupted;
    let (first, second) = (first.report, second.report);
    assert_eq!(first.prove_calls, held, "what was begun is stored: stopped at {at}");
    assert_eq!(first.prove_calls + second.prove_calls, 23, "stopped at {at}");
    assert_eq!(first.executed + second.executed, reference.executed, "stopped at {at}");
    assert_eq!(second.state_root, reference.state_root, "stopped at {at}");
    assert_eq!(second.settled_checkpoint, reference.settled_checkpoint, "stopped at {at}");
    interrupted
}

/// A source that fails as soon as something is being proved.
struct FailsOnceProving {
    source: Box<dyn ChainSource>,
    proving: Arc<AtomicBool>,
}

impl ChainSource for FailsOnceProving {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        match self.proving.load(Ordering::Relaxed) {
            true => Err(SourceError { source_name: "dev".into(), reason: "it contradicts itself".into() }),
            false => self.source.poll(progress),
        }
    }
}

struct Proving(Arc<AtomicBool>);

impl Observer for Proving {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.0.fetch_or(matches!(event, PipelineEvent::Proving(..)), Ordering::Relaxed);
    }
}

#[test]
fn a_run_whose_source_fails_keeps_what_is_being_proved_and_blames_no_statement() {
    let (dir, store) = (tempfile::tempdir().unwrap(), store());
    // More often than a statement may be interrupted.
    for ended in 1..=12 {
        let proving = Arc::new(AtomicBool::new(false));
        let of_source = proving.clone();
        let through =
            move |source| Box::new(FailsOnceProving { source, proving: of_source }) as Box<dyn ChainSource>;
        let l1 = Box::new(WrappedL1 { l1: recorded(dev::flip(), Pace::Proved), through });
        let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
        let config = MockConfig { cost: [Duration::from_millis(20); 3], ..MockConfig::default() };
        let backend: Arc<dyn Backend> = Arc::new(MockBackend::new(config, hasher.clone(), Arc::new(Ledger)));
        let settings = wire::Settings {
            rule: BundleRule::default(),
            permits: 1,
            finality_depth: 1000,
            data_dir: Some(DataDir::lock(dir.path()).unwrap()),
            tuning: wire::Tuning::default(),
        };
        let node = wire::build_node(settings, l1, &ledger(), backend, hasher, store.clone()).unwrap();
        let failed = node.run(&AtomicBool::new(false), &mut Proving(proving)).unwrap_err();
        assert!(matches!(failed, RunError::Source(_)), "{failed}");
        assert_eq!(store.list(&Filter::default()).unwrap().len(), ended, "what was being proved is stored");
    }
    let attempts = Attempts::open(DataDir::lock(dir.path()).unwrap().attempts()).unwrap();
    assert!(attempts.statements().is_empty(), "{:?}", attempts.statements());
}
