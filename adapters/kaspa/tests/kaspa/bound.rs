//! The recorded chain, proved by programs that bind Kaspa's own commitment: the whole pipeline over the mock backend.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reprise_chain::overlay::Covenant;
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_kaspa_lane::KaspaLane;
use reprise_ledger::Ledger;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainRoot, ObservedSettlement};
use reprise_model::cell::Cell;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::Commitment;
use reprise_model::lane::LaneScheme;
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::{L1, L1Error, OpenL1, RecordedChain};
use reprise_node::report::Report;
use reprise_node::wire::{self, Settings, Tuning};
use reprise_node::workload::Workload;
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::{Options, Store};

use crate::fake;

/// BLAKE3, and Kaspa's lane tip.
struct Bound;

impl Hasher for Bound {
    fn name(&self) -> &'static str {
        Blake3.name()
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        Blake3.hash(domain, cells)
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        Blake3.merge(left, right)
    }
}

impl WorkloadHasher for Bound {
    fn lane(&self) -> &dyn LaneScheme {
        &KaspaLane
    }
}

const PERMITS: usize = 1;

/// A recorded chain whose blocks are fed without a pause, on an L1 that answers for commitments up to a depth.
struct Bounded(RecordedChain, AnchorDepth);

impl L1 for Bounded {
    fn name(&self) -> String {
        self.0.name()
    }

    fn root(&self) -> ChainRoot {
        self.0.root()
    }

    fn lane(&self) -> Lane {
        self.0.lane()
    }

    fn anchor_depth(&self) -> Option<AnchorDepth> {
        Some(self.1)
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        Box::new(self.0).open(covenant, seal, dir)
    }
}

#[derive(Default)]
struct Heard {
    settled: Vec<ObservedSettlement>,
    refused: Vec<String>,
}

impl Observer for Heard {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Settled(settlement) => self.settled.push(settlement.as_ref().clone()),
            PipelineEvent::Refused(refused) => self.refused.push(refused.to_string()),
            _ => {}
        }
    }
}

fn recorded() -> Recording {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../recordings/flip.reprise");
    Recording::open(&path).unwrap()
}

fn run(recording: Recording) -> Result<(Report, Heard), String> {
    let recorded = RecordedChain { name: "recorded".into(), recording, pace: Pace::Proved };
    run_on(Box::new(recorded), PERMITS)
}

fn run_on(l1: Box<dyn L1>, permits: usize) -> Result<(Report, Heard), String> {
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Bound);
    let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let store = Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let settings = Settings {
        rule: BundleRule { batches_max: 2, ..BundleRule::default() },
        permits,
        finality_depth: 1_000,
        data_dir: None,
        tuning: Tuning::default(),
    };
    let node = wire::build_node(settings, l1, &Workload::new("ledger", Ledger), backend, hasher, store)
        .map_err(|e| e.to_string())?;
    let mut heard = Heard::default();
    let ended = node.run(&AtomicBool::new(false), &mut heard).map_err(|e| e.to_string())?;
    assert_eq!(ended.violations, vec![]);
    Ok((ended.report, heard))
}

#[test]
fn a_settlement_is_bound_to_the_commitment_of_its_end_block_and_a_flip_back_costs_no_proof() {
    let recording = recorded();
    let added = recording.events.iter().flat_map(|event| &event.added);
    let commitments: HashMap<BlockHash, Digest> =
        added.map(|block| (block.metadata.block_hash, block.metadata.sequencing_commitment)).collect();
    let (report, heard) = run(recording).unwrap();
    assert_eq!(heard.refused, Vec::<String>::new());
    for settlement in &heard.settled {
        let expected = Commitment::Bound(commitments[&settlement.end_block]);
        assert_eq!(settlement.journal.commitment, expected);
    }
    assert_eq!((report.settled_checkpoint, report.proofs_after_flip), (13, 0));
    assert!(report.statements_returned.total() > 0);
}

#[test]
fn a_chain_whose_root_has_no_lane_proof_is_refused() {
    let mut recording = recorded();
    recording.root.lane_proof = None;
    let refused = run(recording).map(|(report, _)| report).unwrap_err();
    assert!(refused.contains("lane proof is missing"), "{refused}");
}

#[test]
fn a_block_whose_lane_proof_opens_another_tip_ends_the_run_with_its_hash() {
    let mut recording = recorded();
    let [first, second] = [1, 3].map(|event: usize| recording.events[event].added[0].lane_proof.clone());
    assert_ne!(first, second);
    recording.events[3].added[0].lane_proof = first;
    let block = recording.events[3].added[0].metadata.block_hash.to_string();
    let refused = run(recording).map(|(report, _)| report).unwrap_err();
    assert!(refused.contains(&block) && refused.contains("the lane proof has the tip"), "{refused}");
}

/// A chain that accepts something in blocks of these numbers, as it is followed, with this many silent blocks at its end.
async fn followed(accepting: &[usize], silent: usize) -> Recording {
    let mut chain: Vec<fake::Block> = vec![];
    for number in 0..accepting.last().unwrap() + 1 + silent {
        let transactions: &[_] =
            if accepting.contains(&number) { &[fake::lane_transaction(number as u8)] } else { &[] };
        chain.push(fake::block_on(&chain, number as u8, transactions));
    }
    let root = chain.remove(0);
    let node = fake::Node::new(64);
    node.adopt(chain.clone());
    let mut recorder = fake::recorder_at(&root);
    let events = recorder.follower.advance(&node).await.unwrap();
    Recording { events, ..recorder.follower.head().clone() }
}

#[tokio::test]
async fn silence_and_lateness_of_any_length_settle_in_the_end_and_no_batch_is_proved_twice() {
    const WINDOW: usize = fake::WINDOW as usize;
    let silences = [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW + 2, 3 * WINDOW + 40];
    for silence in silences {
        for late in silences {
            // The lane is active, silent, active again; and nothing is settled for long.
            let accepting = [2, 4, 4 + silence, 6 + silence];
            let recording = followed(&accepting, late).await;
            let l1 = RecordedChain { name: "recorded".into(), recording, pace: Pace::Free };
            let l1 = Bounded(l1, AnchorDepth(fake::WINDOW));
            let (report, heard) =
                tokio::task::spawn_blocking(|| run_on(Box::new(l1), PERMITS)).await.unwrap().unwrap();
            let last = accepting.last().map(|last| *last as u64).unwrap();
            assert!(report.settled_checkpoint >= last, "{silence} {late}: {report:?} {:?}", heard.refused);
            assert_eq!(report.proved.batch, accepting.len() as u64, "{silence} {late}");
        }
    }
}

#[tokio::test]
async fn a_busy_lane_that_is_settled_late_is_settled_in_the_end_and_no_batch_is_proved_twice() {
    let accepting: Vec<usize> = (2..320).collect();
    let recording = followed(&accepting, 0).await;
    let l1 = RecordedChain { name: "recorded".into(), recording, pace: Pace::Free };
    let l1 = Bounded(l1, AnchorDepth(fake::WINDOW));
    let (report, heard) =
        tokio::task::spawn_blocking(|| run_on(Box::new(l1), PERMITS)).await.unwrap().unwrap();
    assert_eq!(report.settled_checkpoint, 319, "{:?}", heard.refused);
    assert_eq!(report.proved.batch, accepting.len() as u64);
    // What is too deep when it is proved is settled together.
    assert!(heard.settled.len() < accepting.len() / 2, "{} settlements", heard.settled.len());
}
