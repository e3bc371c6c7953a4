//! The recorded chain, proved by programs that bind Kaspa's own commitment: the whole pipeline over the mock backend.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use reprise_chain::recording::Recording;
use reprise_chain::source::Pace;
use reprise_kaspa_lane::KaspaLane;
use reprise_ledger::Ledger;
use reprise_model::block::ObservedSettlement;
use reprise_model::cell::Cell;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::Commitment;
use reprise_model::lane::LaneScheme;
use reprise_model::lane::WorkloadHasher;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::l1::RecordedChain;
use reprise_node::report::Report;
use reprise_node::wire::{self, Settings, Tuning};
use reprise_planner::bundle::BundleRule;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::{Options, Store};

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
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Bound);
    let backend = Arc::new(MockBackend::new(MockConfig::default(), hasher.clone(), Arc::new(Ledger)));
    let store = Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let settings = Settings {
        rule: BundleRule { batches_max: 2, ..BundleRule::default() },
        permits: 1,
        finality_depth: 1_000,
        data_dir: None,
        tuning: Tuning::default(),
    };
    let l1 = Box::new(RecordedChain { name: "recorded".into(), recording, pace: Pace::Proved });
    let node = wire::build_node(settings, l1, backend, hasher, store).map_err(|e| e.to_string())?;
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
