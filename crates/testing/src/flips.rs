//! A real node over a chain that forks, flips and flips back.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_model::hash::Blake3;
use reprise_node::dev;
use reprise_node::event::NoopObserver;
use reprise_node::l1::RecordedChain;
use reprise_node::report::Report;
use reprise_node::wire::{self, Tuning};
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::tree::StateTree;
use reprise_store::{Options, Store};

/// Runs a node with threads, disk and the mock over the workload's dev chain, which goes A → B → A, twice: the second run is a
/// restart over what the first has stored. Returns the report of the first.
///
/// ```
/// let report = reprise_testing::flips_back(&reprise_sim::ledger::workload());
/// assert_eq!((report.flips, report.proofs_after_flip), (1, 0));
/// ```
///
/// # Panics
///
/// Where an invariant is broken, the flip back costs a proof, a statement is proved twice, the restart proves or executes
/// anything, or the two end in different states.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test fails by a panic")]
pub fn flips_back(workload: &Workload) -> Report {
    let report = twice(workload, &dev::flip(workload).unwrap());
    assert_eq!((report.reorgs, report.flips), (2, 1), "the dev chain forks, flips and flips back");
    assert_eq!(report.proofs_after_flip, 0, "a flip back costs no proof");
    report
}

/// The same over a recorded chain: the bytes of a file that `record` wrote. Whatever the traffic draws meanwhile, the chain is the
/// one that was recorded, so the report's `state_root` is another only where a transaction means something else than it did.
///
/// ```
/// # let workload = reprise_sim::ledger::workload();
/// // A test reads its file by `include_bytes!`.
/// let recording = reprise_node::dev::flip(&workload).unwrap().encode();
/// let report = reprise_testing::replays(&workload, &recording);
/// assert_eq!(report.state_root, reprise_testing::flips_back(&workload).state_root);
/// ```
///
/// # Panics
///
/// Where these bytes are no recording of this version, or none of its transactions does anything, an invariant is broken, a statement is proved twice, the restart proves or
/// executes anything, or the two end in different states.
#[track_caller]
#[expect(clippy::panic, reason = "a test fails by a panic")]
pub fn replays(workload: &Workload, recording: &[u8]) -> Report {
    match Recording::decode(recording, Path::new("the recording of the test")) {
        Ok(chain) => {
            let report = twice(workload, &chain);
            let empty = StateTree::empty(Arc::new(Blake3)).root().to_hex();
            assert!(
                report.state_root != empty,
                "no transaction of this recording does anything: it was made for another meaning, so record the chain again \
                 (cargo run -- record --l1 dev --out FILE --force)"
            );
            report
        }
        Err(error) => panic!("{error}"),
    }
}

/// A run and a restart over what it has stored.
#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test fails by a panic")]
fn twice(workload: &Workload, chain: &Recording) -> Report {
    let dir = tempfile::tempdir().unwrap();
    let report = run(dir.path(), workload, chain.clone());
    assert_eq!(report.prove_calls, report.proved.total(), "every statement is proved once");
    assert!(report.settlements > 0, "something is settled");
    let again = run(dir.path(), workload, chain.clone());
    assert_eq!((again.prove_calls, again.executed), (0, 0), "a restart proves and executes nothing again");
    assert_eq!(again.state_root, report.state_root, "a restart ends in the same state");
    report
}

#[track_caller]
#[expect(clippy::unwrap_used, reason = "a test fails by a panic")]
fn run(dir: &Path, workload: &Workload, recording: Recording) -> Report {
    let config = MockConfig { workload: workload.name().into(), ..MockConfig::default() };
    let backend = Arc::new(MockBackend::new(config, Arc::new(Blake3), workload.processor()));
    let data_dir = DataDir::lock(dir).unwrap();
    let store = Store::open(&data_dir.receipts(), backend.clone(), Options::default()).unwrap();
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: 1,
        finality_depth: 1_000,
        data_dir: Some(data_dir),
        tuning: Tuning::default(),
    };
    let l1 = Box::new(RecordedChain { name: "dev".into(), recording, pace: Pace::Proved });
    let store = Arc::new(store);
    let node = wire::build_node(settings, l1, workload, backend, Arc::new(Blake3), store).unwrap();
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![], "no invariant is broken");
    ended.report
}
