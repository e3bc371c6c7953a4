//! Sizing: the model agrees with the real pipeline, and what must hold of any cache.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_chain::recording::Recording;
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::ChainBlock;
use reprise_model::digest::BlockHash;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::order::Order;
use reprise_model::statement::{Kind, StatementId};
use reprise_model::transaction::account_of;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::executor::{Executor, Message};
use reprise_node::l1::OverlaySink;
use reprise_node::pipeline::{Context, Pipeline};
use reprise_node::wire::{self, Deployment, Settings, Tuning, build_pipeline};
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::backend::Control;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, run_attempt};
use reprise_settler::Sink;
use reprise_sim::disk::Disk;
use reprise_sim::ledger::workload;
use reprise_sim::sizing::cache::{Cache, Costs, Design, Figures};
use reprise_sim::sizing::chain::{Event, Name, Step};
use reprise_sim::sizing::follower::FollowerConfig;
use reprise_sim::sizing::synthetic::{Depth, Synthetic};
use reprise_sim::sizing::table::Sizing;
use reprise_sim::sizing::{Setup, of_recording, of_synthetic, play, plot};
use reprise_store::policy::WriterMode;
use reprise_store::port::NewEntry;
use reprise_store::{Options, ReceiptStore, Store};

const TERMS: FollowerConfig = FollowerConfig {
    rule: BundleRule { batches_max: 3, transactions_max: 8, deadline_score: 12 },
    finality_depth: 60,
    landing_blocks: 0,
};

/// A short chain on which everything happens often.
fn eventful(seed: u64) -> Synthetic {
    Synthetic {
        seed,
        blocks: 1_500,
        busy_percent: 15.0,
        reorgs_per_hour: 900.0,
        reorg_depth: Depth::Geometric(5),
        deepest: 15,
        restarts_per_day: 2_000.0,
        ..Synthetic::default()
    }
}

fn figures(steps: &[Step], design: Design, cap: Option<u64>) -> Figures {
    let mut caches = [Cache::new(design, cap, Costs::default())];
    play(steps.iter().cloned(), TERMS, &mut caches, false);
    caches[0].figures()
}

// The real pipeline, at rest after every event.

enum Ask {
    LookUp(Arc<Order>),
    Check(Arc<Order>),
    Prove(Box<Assignment>),
    Store(Arc<Order>, Box<NewEntry>),
}

#[derive(Default)]
struct Asks(VecDeque<Ask>);

impl Executor for Asks {
    fn now(&self) -> Duration {
        Duration::ZERO
    }

    fn since_epoch(&self) -> Duration {
        Duration::ZERO
    }

    fn look_up(&mut self, order: Arc<Order>) {
        self.0.push_back(Ask::LookUp(order));
    }

    fn check(&mut self, order: Arc<Order>) {
        self.0.push_back(Ask::Check(order));
    }

    fn prove(&mut self, assignment: Assignment) {
        self.0.push_back(Ask::Prove(Box::new(assignment)));
    }

    fn cancel(&mut self, _: &StatementId) {}

    fn write_off(&mut self, _: &StatementId) -> io::Result<()> {
        Ok(())
    }

    fn store(&mut self, order: Arc<Order>, entry: NewEntry) {
        self.0.push_back(Ask::Store(order, Box::new(entry)));
    }
}

/// Proofs and hits, by kind.
#[derive(Debug, Default, PartialEq, Eq)]
struct Heard {
    proved: [u64; 3],
    hits: [u64; 3],
}

impl Observer for Heard {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Proving(order, _) => self.proved[order.kind() as usize] += 1,
            PipelineEvent::Reused(_, at) => self.hits[at.position.kind() as usize] += 1,
            _ => {}
        }
    }
}

/// The figures of a model, counted as the real pipeline counts: the model also counts batches that stayed wanted and that
/// an aggregate relies on.
fn heard(figures: Figures) -> Heard {
    let [transactions, batches, aggregates] = figures.hits;
    Heard { proved: figures.proved, hits: [transactions, batches + figures.reread, aggregates] }
}

struct Real {
    backend: Arc<MockBackend>,
    store: Arc<dyn ReceiptStore>,
    disk: Arc<Disk>,
    overlay: Arc<Mutex<Overlay>>,
    chain: DevChain,
    blocks: HashMap<Name, BlockHash>,
    /// The canonical chain above its root.
    canonical: Vec<ChainBlock>,
    pipeline: Pipeline,
    heard: Heard,
    /// Whether transactions that two forks share are made to differ, so that a statement has one place.
    by_place: bool,
}

impl Real {
    fn new(by_place: bool) -> Self {
        let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
        let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
        let chain = DevChain::default();
        let deployment = Deployment::new(&workload(), backend.clone(), hasher, chain.lane());
        let overlay = Overlay::open(None, chain.chain_root(), deployment.covenant()).unwrap();
        let overlay = Arc::new(Mutex::new(overlay));
        let options = Options { writer_mode: WriterMode::ByCaller, clock: || 0, ..Options::default() };
        let store: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(backend.clone(), options).unwrap());
        let disk = Arc::new(Disk::default());
        let pipeline = Self::build_pipeline(&backend, &chain, &overlay, &store, &disk);
        let blocks = HashMap::new();
        let (canonical, heard) = (vec![], Heard::default());
        Self { backend, store, disk, overlay, chain, blocks, canonical, pipeline, heard, by_place }
    }

    fn build_pipeline(
        backend: &Arc<MockBackend>,
        chain: &DevChain,
        overlay: &Arc<Mutex<Overlay>>,
        store: &Arc<dyn ReceiptStore>,
        disk: &Arc<Disk>,
    ) -> Pipeline {
        let retention = Retention { grace: TERMS.finality_depth, retained: TERMS.finality_depth };
        let settings = Settings {
            rule: TERMS.rule,
            permits: 1,
            finality_depth: TERMS.finality_depth,
            data_dir: None,
            tuning: Tuning { retention, ..Tuning::default() },
        };
        let deployment = Deployment::new(&workload(), backend.clone(), Arc::new(Blake3), chain.lane());
        let records = Box::new(wire::records(&disk.hold().unwrap(), &deployment).unwrap());
        let sink = Sink::Unproven(Box::new(OverlaySink(overlay.clone())));
        build_pipeline(
            &settings,
            "sized".into(),
            deployment.founding(chain.chain_root()).unwrap(),
            &deployment,
            store.clone(),
            records,
            Some(sink),
        )
        .unwrap()
    }

    fn run(mut self, steps: &[Step]) -> Heard {
        for step in steps {
            match step {
                Step::Chain(event) => self.follow(event),
                Step::Restart => {
                    self.disk.crash(None);
                    self.pipeline = Self::build_pipeline(
                        &self.backend,
                        &self.chain,
                        &self.overlay,
                        &self.store,
                        &self.disk,
                    );
                    let added = self.canonical.clone();
                    self.apply(SourceEvent { removed: vec![], added });
                }
            }
        }
        let ended = self.pipeline.end(false).unwrap();
        assert_eq!(ended.violations, []);
        assert_eq!(ended.report.prove_calls, self.heard.proved.iter().sum::<u64>());
        self.heard
    }

    fn follow(&mut self, event: &Event) {
        let kept = self.canonical.len() - event.removed as usize;
        let removed: Vec<_> =
            self.canonical.drain(kept..).rev().map(|block| block.metadata.block_hash).collect();
        let mut parent = self.canonical.last().map_or(self.chain.root(), |block| block.metadata.block_hash);
        let mut added = vec![];
        for block in &event.added {
            parent = match self.blocks.get(&block.id) {
                Some(known) => *known,
                None => {
                    let batch = block.batch.iter();
                    let statements = batch.flat_map(|b| &b.transactions).map(|tx| tx.statement);
                    let accepted = statements
                        .map(|statement| {
                            let place = if self.by_place { block.id } else { 0 };
                            let owner = format!("{statement:x} {place:x}");
                            let counterparty = account_of(&script(&owner));
                            let action = Action::Deposit;
                            let payload = Payload::one(action, 0, 0, counterparty);
                            self.chain.transaction("payer", &payload.encode(), 1)
                        })
                        .collect();
                    self.chain.mine(parent, block.id as u64, accepted)
                }
            };
            self.blocks.insert(block.id, parent);
            added.push(self.chain.block(&parent).unwrap().clone());
        }
        let mut event = SourceEvent { removed, added };
        self.overlay.lock().unwrap().follow(&mut event).unwrap();
        self.canonical.extend(event.added.iter().cloned());
        self.apply(event);
    }

    fn apply(&mut self, event: SourceEvent) {
        let mut asks = Asks::default();
        let context = &mut Context { executor: &mut asks, observer: &mut self.heard };
        self.pipeline.follow(event, context).unwrap();
        while let Some(ask) = asks.0.pop_front() {
            let message = match ask {
                Ask::LookUp(order) => Message::Read(Read::look_up(self.store.as_ref(), order)),
                Ask::Check(order) => Message::Read(Read::check(self.store.as_ref(), order)),
                Ask::Prove(assignment) => Message::Finished(run_attempt(
                    *assignment,
                    self.backend.as_ref(),
                    self.store.clone(),
                    &Control::default(),
                )),
                Ask::Store(order, entry) => Message::Stored { order, result: self.store.put(*entry) },
            };
            let context = &mut Context { executor: &mut asks, observer: &mut self.heard };
            self.pipeline.receive(message, context).unwrap();
        }
        assert!(self.pipeline.is_idle() && self.pipeline.progress().proved);
    }
}

#[test]
fn keyed_by_statement_the_model_proves_and_hits_what_the_real_pipeline_does() {
    for seed in 1..4 {
        let steps: Vec<Step> = eventful(seed).steps().collect();
        let model = figures(&steps, Design::Statement, None);
        assert!(model.hits.iter().all(|hits| *hits > 0), "nothing is shown without hits: {model:?}");
        assert_eq!(heard(model), Real::new(false).run(&steps), "seed {seed}");
    }
}

#[test]
fn keyed_by_coordinate_the_model_proves_and_hits_what_the_real_pipeline_does_where_no_statement_has_two_places()
 {
    for seed in 1..4 {
        let steps: Vec<Step> = eventful(seed).steps().collect();
        let model = figures(&steps, Design::Coordinate, None);
        assert!(model.proved[0] > figures(&steps, Design::Statement, None).proved[0]);
        assert_eq!(heard(model), Real::new(true).run(&steps), "seed {seed}");
    }
}

// What must hold of any cache.

/// A hundredth of a month, with what a month has.
fn hours() -> Vec<Step> {
    let chain = Synthetic { blocks: 100_000, reorgs_per_hour: 120.0, ..Synthetic::default() };
    let chain = Synthetic { restarts_per_day: 50.0, deepest: 2_000, ..chain };
    Synthetic { reorg_depth: Depth::Geometric(150), ..chain }.steps().collect()
}

fn config() -> FollowerConfig {
    FollowerConfig { finality_depth: 20_000, ..Setup::synthetic().config }
}

fn sized(steps: &[Step], design: Design, cap: Option<u64>) -> Figures {
    let mut caches = [Cache::new(design, cap, Costs::default())];
    play(steps.iter().cloned(), config(), &mut caches, false);
    caches[0].figures()
}

#[test]
fn an_unbounded_cap_never_loses_against_a_bounded_one() {
    let steps = hours();
    for design in [Design::Coordinate, Design::Statement] {
        let caps = [Some(0), Some(1 << 20), Some(16 << 20), Some(256 << 20), None];
        let all = caps.map(|cap| sized(&steps, design, cap));
        assert!(all[0].evicted > 0 && all[4].evicted == 0);
        assert!(all.iter().all(|capped| capped.spent_ms >= all[4].spent_ms), "{all:?}");
        assert!(all.iter().all(|capped| capped.prove_calls() >= all[4].prove_calls()), "{all:?}");
        assert!(all[0].spent_ms > all[4].spent_ms, "the cap must matter: {all:?}");
        assert!(all.windows(2).all(|pair| pair[0].peak_bytes <= pair[1].peak_bytes), "{all:?}");
    }
}

#[test]
fn the_statement_design_never_proves_more_than_the_coordinate_design_and_no_cache_proves_most() {
    for steps in [hours(), eventful(9).steps().collect()] {
        let [none, coordinate, statement] = Design::ALL.map(|design| sized(&steps, design, None));
        for kind in Kind::ALL.map(|kind| kind as usize) {
            assert!(statement.proved[kind] <= coordinate.proved[kind]);
            assert!(coordinate.proved[kind] <= none.proved[kind]);
        }
        assert!(statement.spent_ms < coordinate.spent_ms && coordinate.spent_ms < none.spent_ms);
        assert_eq!((none.peak_bytes, none.evicted), (0, 0));
        let without_room = sized(&steps, Design::Coordinate, Some(0));
        assert!(without_room.spent_ms <= none.spent_ms, "{without_room:?} {none:?}");
    }
}

#[test]
fn without_reorgs_and_restarts_a_cache_saves_nothing() {
    let quiet = Synthetic { reorgs_per_hour: 0.0, restarts_per_day: 0.0, blocks: 20_000, ..eventful(3) };
    let steps: Vec<Step> = quiet.steps().collect();
    let [none, coordinate, statement] = Design::ALL.map(|design| figures(&steps, design, None));
    assert!(none.prove_calls() > 1_000);
    assert_eq!((none.proved, none.hits), (statement.proved, [0; 3]));
    assert_eq!((coordinate.proved, coordinate.hits), (statement.proved, statement.hits));
}

#[test]
fn a_cache_without_room_keeps_what_an_unsettled_bundle_needs() {
    // Settled in the next block: what is live at a time is a few bundles.
    let steps: Vec<Step> = eventful(4).steps().collect();
    let full = figures(&steps, Design::Statement, Some(0));
    let live = 40 * Costs::default().bytes[2];
    assert!(full.peak_bytes > 0 && full.peak_bytes < live, "{} of {live}", full.peak_bytes);
    assert!(figures(&steps, Design::Statement, None).peak_bytes > 2 * full.peak_bytes);
}

#[test]
fn the_same_seed_gives_the_same_chain_and_another_seed_another() {
    let steps = |seed| eventful(seed).steps().collect::<Vec<Step>>();
    assert_eq!(steps(5), steps(5));
    assert_ne!(steps(5), steps(6));
}

#[test]
fn a_sizing_is_the_same_however_many_cores_made_it() {
    let chain = Synthetic { blocks: 20_000, deepest: 500, ..eventful(1) };
    let setup = Setup { config: config(), ..Setup::synthetic() };
    let [a, b] = [(); 2].map(|()| of_synthetic(&chain, setup, &[]));
    assert_eq!(a, b);
    let [caps, depths, rates] = a.tables.as_slice() else { panic!("three tables: {a:?}") };
    assert!(caps.rows.len() > 6 && depths.rows.len() == 15 && rates.rows.len() == 15);
}

#[test]
fn the_shipped_recording_proves_each_statement_once_and_again_without_a_cache() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../recordings/flip.reprise");
    let recording = Recording::open(&file).unwrap();
    let of = |restarts| {
        of_recording(&workload(), "flip", recording.clone(), Setup::recorded(), restarts, &[]).unwrap()
    };
    let proved = |sizing: &Sizing, design| {
        let rows = &sizing.tables[0].rows;
        let row = rows.iter().find(|row| row.design == design && row.bytes_max.is_none()).unwrap();
        (row.figures.proved, row.figures.hits)
    };
    let sizing = of(false);
    assert_eq!(proved(&sizing, Design::Statement), ([13, 8, 4], [1, 0, 2]));
    assert_eq!(proved(&sizing, Design::Coordinate), ([16, 10, 5], [0, 0, 1]));
    assert_eq!(proved(&sizing, Design::None), ([21, 12, 6], [0, 0, 0]));
    assert_eq!((sizing.shape.reorgs, sizing.shape.returns, sizing.shape.deepest), (2, 1, 7));
    assert_eq!(proved(&of(true), Design::Statement).0, [13, 8, 4], "a restart proves nothing again");
    let drawn = plot::svg(&sizing);
    assert!(drawn.starts_with("<svg ") && drawn.ends_with("</svg>\n") && !drawn.contains("NaN"));
}
