//! The chain flips while something runs: before every message that the pipeline takes.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reprise_chain::recording::Recording;
use reprise_chain::source::{ChainSource, Pace, Poll, Progress, SourceError};
use reprise_ledger::Ledger;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::l1::WrappedL1;
use reprise_node::report::Report;
use reprise_node::wire;
use reprise_planner::bundle::BundleRule;
use reprise_prover::backend::Backend;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::{Orphans, Policy};
use reprise_store::port::Filter;
use reprise_store::{Options, ReceiptStore, Store};

use crate::dev::{self, ledger};
use crate::flip::{Home, assert_sums, recorded, tuning};
use crate::repeats::flips;

/// An L1 that keeps its events back until the pipeline has asked so often since the last one, which it does
/// once a message.
struct Gate {
    source: Box<dyn ChainSource>,
    every: u32,
    asked: u32,
}

impl ChainSource for Gate {
    fn poll(&mut self, progress: Progress) -> Result<Poll, SourceError> {
        self.asked += 1;
        // Where nothing is left to be proved, no message will come.
        if self.asked <= self.every && !progress.proved {
            return Ok(Poll::Pending);
        }
        let poll = self.source.poll(progress)?;
        if matches!(poll, Poll::Event(_)) {
            self.asked = 0;
        }
        Ok(poll)
    }
}

fn run(recording: Recording, every: u32, permits: usize, orphans: Orphans) -> Report {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let verifier = backend.clone();
    let store = Arc::new(Store::in_memory(verifier, Options::default()).unwrap());
    let mut tuning = tuning();
    tuning.engine = Policy { orphans, ..tuning.engine };
    let settings =
        wire::Settings { rule: BundleRule::default(), permits, finality_depth: 1000, data_dir: None, tuning };
    let gate = move |source| Box::new(Gate { source, every, asked: 0 }) as Box<dyn ChainSource>;
    let gated = Box::new(WrappedL1 { l1: recorded(recording, Pace::Free), through: gate });
    let node = wire::build_node(settings, gated, &ledger(), backend, hasher, store).unwrap();
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert_sums(&ended.report);
    ended.report
}

#[test]
fn a_flip_before_any_message_of_any_phase_costs_no_second_proof() {
    for (name, recording) in [("dev", dev::flip as fn() -> Recording), ("deep", || flips(5, 3))] {
        let settled = run(recording(), 0, 1, Orphans::FinishAndStore);
        for every in 0..40 {
            for permits in [1, 3] {
                let report = run(recording(), every, permits, Orphans::FinishAndStore);
                assert_eq!(report.prove_calls, report.proved.total(), "{name}: every {every}, {permits}");
                assert_eq!(report.state_root, settled.state_root, "{name}: every {every}");
                assert_eq!(report.settled_checkpoint > 0, settled.settled_checkpoint > 0);
            }
            let report = run(recording(), every, 2, Orphans::AbortAfter(std::time::Duration::ZERO));
            assert_eq!(report.prove_calls, report.proved.total() + report.cancelled, "{name}: every {every}");
            assert_eq!(report.state_root, settled.state_root, "{name}: every {every}");
        }
    }
}

/// Empties the store, unknown to the pipeline, when blocks return.
struct Thief(Arc<dyn ReceiptStore>, u64);

impl Observer for Thief {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Chain { event, .. } = event
            && event.added.iter().any(|added| added.returning)
        {
            for entry in self.0.list(&Filter::default()).unwrap() {
                self.1 += u64::from(self.0.remove(&entry.id).unwrap());
            }
        }
    }
}

#[test]
fn receipts_that_vanish_under_a_flip_are_proved_again_and_nothing_waits_for_ever() {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let backend: Arc<dyn Backend> =
        Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1000,
        data_dir: None,
        tuning: tuning(),
    };
    let node = wire::build_node(
        settings,
        recorded(dev::flip(), Pace::Proved),
        &ledger(),
        backend,
        hasher,
        store.clone(),
    )
    .unwrap();
    let mut thief = Thief(store, 0);
    let ended = node.run(&AtomicBool::new(false), &mut thief).unwrap();
    assert_eq!(ended.violations, vec![]);
    assert!(thief.1 > 0);
    assert_eq!(ended.report.state_root, Home::new().run().state_root);
    assert!(ended.report.prove_calls > ended.report.proved.total());
}

/// Asks to stop once the view is fork B and everything on it is proved.
struct KillOnB<'a> {
    stop: &'a AtomicBool,
    reorgs: u32,
    proving: i64,
    storing: i64,
}

impl Observer for KillOnB<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, .. } => self.reorgs += u32::from(!event.removed.is_empty()),
            PipelineEvent::Proving(..) => self.proving += 1,
            PipelineEvent::Proved { failure, .. } => {
                self.proving -= 1;
                self.storing += i64::from(failure.is_none());
            }
            PipelineEvent::Stored(_) => self.storing -= 1,
            PipelineEvent::Queue { queued: 0, .. } => {
                let idle = self.reorgs == 1 && self.proving == 0 && self.storing == 0;
                self.stop.fetch_or(idle, Ordering::Relaxed);
            }
            _ => {}
        }
    }
}

/// Which blocks were new, and whether any of them carried something.
#[derive(Default)]
struct Fresh {
    blocks: HashSet<reprise_model::digest::BlockHash>,
    carrying: u64,
    proving: u64,
}

impl Observer for Fresh {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, .. } => {
                for added in event.added.iter().filter(|added| !added.returning) {
                    self.blocks.insert(added.metadata.block_hash());
                    self.carrying += u64::from(!added.block.accepted.is_empty());
                }
            }
            PipelineEvent::Proving(..) => self.proving += 1,
            _ => {}
        }
    }
}

#[test]
fn killed_on_fork_b_and_started_again_a_flip_to_a_executes_and_proves_nothing() {
    // Two batches before the fork and four on A: every bundle of A is full before the flip.
    for depth in [5, 6] {
        let home = Home::new();
        let stop = AtomicBool::new(false);
        let mut killer = KillOnB { stop: &stop, reorgs: 0, proving: 0, storing: 0 };
        let killed = home.try_run(flips(depth, 1), &stop, &mut killer).unwrap();
        assert!(killed.interrupted);
        assert_eq!(killed.report.reorgs, 1, "it was on B");
        let mut fresh = Fresh::default();
        let ended = home.try_run(flips(depth, 1), &AtomicBool::new(false), &mut fresh).unwrap();
        assert_eq!(ended.violations, vec![]);
        assert_eq!((fresh.carrying, fresh.proving, ended.report.prove_calls), (0, 0, 0), "depth {depth}");
        // Only what nobody had seen before, the blocks that carry the settlements, and they accept nothing.
        assert!(ended.report.executed == 0 && !fresh.blocks.is_empty());
        assert_eq!(ended.report.flips, 1);
        assert!(ended.report.statements_returned.aggregate > 0);
    }
}
