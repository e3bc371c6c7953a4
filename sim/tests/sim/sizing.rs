//! Sizing: that the model says what the real pipeline does, and what must hold of any cache.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_chain::recording::Recording;
use reprise_ledger::{Action, Payload};
use reprise_model::block::ChainBlock;
use reprise_model::coordinate::{Checkpoint, Coordinate, Place};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProfileId, ProgramId};
use reprise_model::hash::{Blake3, Hasher};
use reprise_model::order::Order;
use reprise_model::profile::SealKind;
use reprise_model::statement::{Kind, Statement, StatementId};
use reprise_model::transaction::account_of;
use reprise_node::happening::{Happening, Observer};
use reprise_node::l1::OverlaySink;
use reprise_node::pipeline::{Hands, Message, Outside, Pipeline};
use reprise_node::wire::{Patience, Settings, Workload, join};
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::Retention;
use reprise_prover::backend::{Backend, Control};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::reader::Read;
use reprise_prover::workers::{Assignment, attempt_at};
use reprise_settler::Sink;
use reprise_sim::disk::{Disk, Records};
use reprise_sim::sizing::cache::{Cache, Costs, Design, Figures};
use reprise_sim::sizing::chain::{Event, Name, Step, name};
use reprise_sim::sizing::follower::Terms;
use reprise_sim::sizing::synthetic::{Depth, Synthetic};
use reprise_sim::sizing::{Setup, Sizing, of_recording, of_synthetic, play, plot};
use reprise_store::gc::{Budget, plan};
use reprise_store::policy::Driven;
use reprise_store::port::{Filter, NewEntry, Provenance, Summary};
use reprise_store::{Options, ReceiptStore, Store};

const TERMS: Terms = Terms {
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
    Prove(Assignment),
    Store(Arc<Order>, Box<NewEntry>),
}

#[derive(Default)]
struct Asks(VecDeque<Ask>);

impl Hands for Asks {
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
        self.0.push_back(Ask::Prove(assignment));
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
    fn hear(&mut self, happening: &Happening) {
        match happening {
            Happening::Proving(order) => self.proved[order.kind() as usize] += 1,
            Happening::Reused(_, at) => self.hits[at.place.kind() as usize] += 1,
            _ => {}
        }
    }
}

/// What a model said, in the real pipeline's words: it also counts the batches that an aggregate relies on and
/// that were wanted all along.
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
        let hasher: Arc<dyn Hasher> = Arc::new(Blake3);
        let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone()));
        let chain = DevChain::default();
        let workload = Workload::ledger(backend.clone(), hasher, chain.lane());
        let overlay = Overlay::open(None, chain.root(), workload.covenant()).unwrap();
        let overlay = Arc::new(Mutex::new(overlay));
        let options = Options { driven: Driven::ByCaller, clock: || 0, ..Options::default() };
        let store: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(backend.clone(), options).unwrap());
        let disk = Arc::new(Disk::default());
        let pipeline = Self::join(&backend, &chain, &overlay, &store, &disk);
        let blocks = HashMap::new();
        let (canonical, heard) = (vec![], Heard::default());
        Self { backend, store, disk, overlay, chain, blocks, canonical, pipeline, heard, by_place }
    }

    fn join(
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
            patience: Patience { retention, ..Patience::default() },
        };
        let workload = Workload::ledger(backend.clone(), Arc::new(Blake3), chain.lane());
        let root = *chain.header(&chain.root()).unwrap();
        let records = Box::new(Records::new(disk.clone()));
        let sink = Sink::Rehearsal(Box::new(OverlaySink(overlay.clone())));
        join(&settings, "sized".into(), root, &workload, store.clone(), records, Some(sink)).unwrap()
    }

    fn run(mut self, steps: &[Step]) -> Heard {
        for step in steps {
            match step {
                Step::Chain(event) => self.follow(event),
                Step::Restart => {
                    self.pipeline =
                        Self::join(&self.backend, &self.chain, &self.overlay, &self.store, &self.disk);
                    let added = self.canonical.clone();
                    self.tell(SourceEvent { removed: vec![], added });
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
                            let payload = Payload { action, nonce: 0, amount: 0, counterparty };
                            self.chain.transaction("payer", payload.encode(), 1)
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
        self.tell(event);
    }

    fn tell(&mut self, event: SourceEvent) {
        let mut asks = Asks::default();
        let outside = &mut Outside { hands: &mut asks, observer: &mut self.heard };
        self.pipeline.follow(event, outside).unwrap();
        while let Some(ask) = asks.0.pop_front() {
            let message = match ask {
                Ask::LookUp(order) => Message::Read(Read::look_up(self.store.as_ref(), order)),
                Ask::Check(order) => Message::Read(Read::check(self.store.as_ref(), order)),
                Ask::Prove(assignment) => Message::Finished(attempt_at(
                    assignment,
                    0,
                    self.backend.as_ref(),
                    self.store.clone(),
                    &Control::default(),
                )),
                Ask::Store(order, entry) => Message::Stored { order, result: self.store.put(*entry) },
            };
            let outside = &mut Outside { hands: &mut asks, observer: &mut self.heard };
            self.pipeline.receive(message, outside).unwrap();
        }
        assert!(self.pipeline.at_rest() && self.pipeline.progress().proved);
    }

    fn stored(&self) -> usize {
        self.store.list(&Filter::default()).unwrap().len()
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
