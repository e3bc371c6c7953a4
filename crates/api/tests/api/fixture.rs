//! A node with the mock backend over a chain of the test's, observed by a projection.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use proptest::prelude::*;
use reprise_api::projection::{Projection, Window};
use reprise_api::view::View;
use reprise_chain::dev::{DevChain, script};
use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::hash::Blake3;
use reprise_model::limits::ProveApart;
use reprise_model::transaction::account_of;
use reprise_node::dev;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::RecordedChain;
use reprise_node::report::Report;
use reprise_node::wire;
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::{Backoff, Breaker, Budget, Policy};
use reprise_sim::ledger::workload;
use reprise_store::{Options, ReceiptStore, Store};

/// How a node is run.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    pub(crate) permits: usize,
    pub(crate) finality_depth: u64,
    pub(crate) mock: MockConfig,
}

impl Default for Setup {
    fn default() -> Self {
        Self { permits: 1, finality_depth: 1_000, mock: MockConfig::default() }
    }
}

/// A chain that flips and flips back.
pub(crate) fn flip() -> Recording {
    dev::flip(&workload()).unwrap()
}

/// Runs a node to its end. Returns its report and its store, which lies in the returned directory.
pub(crate) fn run(
    recording: Recording,
    setup: &Setup,
    observer: &mut dyn Observer,
) -> (Report, Arc<dyn ReceiptStore>, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let (report, store) = run_in(dir.path(), recording, setup, observer);
    (report, store, dir)
}

/// The same over the receipts of a directory.
pub(crate) fn run_in(
    dir: &Path,
    recording: Recording,
    setup: &Setup,
    observer: &mut dyn Observer,
) -> (Report, Arc<dyn ReceiptStore>) {
    let backend = Arc::new(MockBackend::new(setup.mock.clone(), Arc::new(Blake3), Arc::new(Ledger)));
    let store: Arc<dyn ReceiptStore> =
        Arc::new(Store::open(dir, backend.clone(), Options::default()).unwrap());
    let backoff = Backoff { first: Duration::from_millis(1), max: Duration::from_millis(4) };
    let breaker = Breaker { suspension: backoff, ..Breaker::default() };
    let budget = Budget { cheap: 1_000, expensive: 1_000, ..Budget::default() };
    let depth = setup.finality_depth;
    let retention = reprise_planner::planner::Retention { grace: depth.min(32), retained: depth };
    let settings = wire::Settings {
        rule: BundleRule::default(),
        permits: setup.permits,
        finality_depth: depth,
        data_dir: None,
        tuning: wire::Tuning {
            engine: Policy { backoff, breaker, budget, ..Policy::default() },
            retention,
            prove_apart: ProveApart::Always,
            ..wire::Tuning::default()
        },
    };
    let l1 = Box::new(RecordedChain { name: "dev".into(), recording, pace: Pace::Proved });
    let node = wire::build_node(settings, l1, &workload(), backend, Arc::new(Blake3), store.clone()).unwrap();
    let outcome = node.run(&AtomicBool::new(false), observer).unwrap();
    (outcome.report, store)
}

/// Projects, and keeps every view that is worth a publication.
pub(crate) struct Watched {
    pub(crate) projection: Projection,
    pub(crate) views: Vec<View>,
    now: u64,
}

impl Watched {
    pub(crate) fn new(permits: usize, window: Window) -> Self {
        Self { projection: Projection::new(permits, window, Some(3.6)), views: vec![], now: 0 }
    }
}

impl Observer for Watched {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.now += 1;
        if self.projection.apply(event, self.now) {
            self.views.push(self.projection.view().clone());
        }
    }
}

/// A block that is mined: on which of the last blocks, and with how many transactions.
pub(crate) type Mined = (usize, u8);

/// What miners do.
pub(crate) fn mined() -> impl Strategy<Value = Vec<Mined>> {
    proptest::collection::vec((0usize..6, 0u8..3), 1..60)
}

/// A chain that is mined so: a block becomes the tip where it is higher than the tip.
pub(crate) fn chain(mined: &[Mined]) -> Recording {
    let mut chain = DevChain::default();
    let mut blocks = vec![chain.root()];
    let mut tip = chain.header(&chain.root()).unwrap().blue_score;
    for (salt, (back, transactions)) in mined.iter().enumerate() {
        // Mostly on the newest block, so that forks grow.
        let parent = blocks[blocks.len().saturating_sub(1 + back.saturating_sub(3)).min(blocks.len() - 1)];
        let accepted = (0..*transactions).map(|index| {
            let who = format!("{salt}-{index}");
            let payload = Payload::one(Action::Deposit, 0, 0, account_of(&script(&who)));
            chain.transaction(&who, &payload.encode(), 100)
        });
        let accepted = accepted.collect();
        let block = chain.mine(parent, salt as u64, accepted);
        blocks.push(block);
        let score = chain.header(&block).unwrap().blue_score;
        if score > tip {
            tip = score;
            chain.adopt(block);
        }
    }
    chain.recording()
}
