//! The debts of settlements are a function of the chain, whoever sent the settlements.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{
    BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot, ObservedClaim,
};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::exit::Exit;
use reprise_model::hash::Blake3;
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::StatementId;
use reprise_node::debts::Debts;
use reprise_node::event::{NoopObserver, Observer, PipelineEvent};
use reprise_node::l1::{L1, L1Error, OpenL1};
use reprise_node::wire;
use reprise_settler::{SettleError, Sink, Taken, UnpaidExits, UnprovenSink};

use crate::dev::{self, ledger};
use crate::flip::{Home, recorded};

type Exits = BTreeMap<StatementId, Vec<Exit>>;

/// What a sink was told.
#[derive(Default)]
struct Told {
    /// The exits of what was submitted here.
    submitted: Exits,
    /// What was owed last.
    owed: Vec<UnpaidExits>,
}

/// An L1 whose sink notes what it is told.
struct Noted {
    l1: Box<dyn L1>,
    told: Arc<Mutex<Told>>,
}

struct NotedSink {
    sink: Box<dyn UnprovenSink>,
    told: Arc<Mutex<Told>>,
}

impl UnprovenSink for NotedSink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        let (statement, exits) = (settlement.receipt.id(), settlement.exits.clone());
        self.told.lock().unwrap().submitted.insert(statement, exits);
        self.sink.submit_unproven(settlement)
    }

    fn set_unpaid(&mut self, owed: &[&UnpaidExits]) {
        let mut told = self.told.lock().unwrap();
        told.owed = owed.iter().map(|owed| (*owed).clone()).collect();
    }
}

impl L1 for Noted {
    fn name(&self) -> String {
        self.l1.name()
    }

    fn root(&self) -> ChainRoot {
        self.l1.root()
    }

    fn lane(&self) -> Lane {
        self.l1.lane()
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        let OpenL1 { source, sink } = self.l1.open(covenant, seal, dir)?;
        let Some(Sink::Unproven(sink)) = sink else { panic!("the mock's seals are fake") };
        let sink = NotedSink { sink, told: self.told };
        Ok(OpenL1 { source, sink: Some(Sink::Unproven(Box::new(sink))) })
    }
}

fn run(home: &Home) -> Told {
    let (backend, store) = home.open();
    let settings = wire::Settings {
        rule: home.rule,
        permits: home.permits,
        finality_depth: home.finality_depth,
        data_dir: Some(DataDir::lock(home.path()).unwrap()),
        tuning: home.tuning,
    };
    let told = Arc::new(Mutex::new(Told::default()));
    let l1 = Box::new(Noted { l1: recorded(dev::flip(), Pace::Proved), told: told.clone() });
    let hasher: Arc<dyn WorkloadHasher> = Arc::new(Blake3);
    let node = wire::build_node(settings, l1, &ledger(), backend, hasher, store).unwrap();
    let ended = node.run(&AtomicBool::new(false), &mut NoopObserver).unwrap();
    assert_eq!(ended.violations, vec![]);
    drop(ended);
    Arc::into_inner(told).unwrap().into_inner().unwrap()
}

fn exits(owed: &[UnpaidExits]) -> Exits {
    owed.iter().map(|owed| (owed.settlement.statement, owed.exits.clone())).collect()
}

#[test]
fn what_is_owed_is_what_was_settled_with_exits_and_a_restart_owes_the_same() {
    let home = Home::new();
    let first = run(&home);
    let with_exits: Exits = first
        .submitted
        .iter()
        .filter(|(id, exits)| {
            !exits.is_empty() && first.owed.iter().any(|owed| owed.settlement.statement == **id)
        })
        .map(|(id, exits)| (*id, exits.clone()))
        .collect();
    assert!(!with_exits.is_empty());
    assert_eq!(exits(&first.owed), with_exits);
    let again = run(&home);
    assert_eq!(again.owed, first.owed, "by whom is no matter");
}

/// Every change of the chain, with its executed blocks.
#[derive(Default)]
struct Changes(Vec<(ChainEvent, Vec<ScheduledBlock>)>);

impl Observer for Changes {
    fn on_event(&mut self, event: &PipelineEvent) {
        if let PipelineEvent::Chain { event, blocks } = event {
            self.0.push((event.clone(), blocks.clone()));
        }
    }
}

/// A block at a height on top of the chain, that accepted claims; with it finality reaches a checkpoint.
fn claiming(height: u64, claims: Vec<ObservedClaim>, finalized: Checkpoint) -> (ChainEvent, ScheduledBlock) {
    let block_hash = BlockHash([height as u8; 32]);
    let block = ChainBlockMetadata {
        block_hash,
        parent_hash: BlockHash([height as u8 - 1; 32]),
        blue_score: height,
        daa_score: height,
        timestamp_ms: height,
        parent_timestamp_ms: height - 1,
        sequencing_commitment: Digest::ZERO,
    };
    let metadata = BatchMetadata { id: BlockId(height), checkpoint: Checkpoint(height), block };
    let block =
        ChainBlock { metadata: block, accepted: vec![], lane_proof: None, settlements: vec![], claims };
    let scheduled = ScheduledBlock {
        metadata,
        transactions: vec![],
        batches: vec![],
        root_after: Digest::ZERO,
        tip_after: Digest::ZERO,
        is_anchor: false,
    };
    let added = vec![AddedBlock { metadata, block, returning: false }];
    (ChainEvent { added, finalized, ..ChainEvent::default() }, scheduled)
}

#[test]
fn claims_pay_exits_in_any_order_a_reorg_undoes_them_and_a_debt_is_dropped_once_the_last_is_final() {
    let mut changes = Changes::default();
    Home::new().try_run(dev::flip(), &AtomicBool::new(false), &mut changes).unwrap();
    let added = changes.0.iter().flat_map(|(event, _)| &event.added).map(|added| added.metadata);
    let checkpoints: HashMap<BlockHash, Checkpoint> =
        added.map(|block| (block.block_hash(), block.checkpoint)).collect();
    let checkpoint_of = |block: &BlockHash| checkpoints.get(block).copied();
    let mut debts = Debts::new(Arc::new(Blake3));
    for (event, blocks) in &changes.0 {
        debts.follow(event, blocks, &checkpoint_of);
    }
    let owed: Vec<UnpaidExits> = debts.owed().cloned().collect();
    assert!(!owed.is_empty() && owed.iter().all(|owed| !owed.is_final));
    let tip = changes.0.last().unwrap().0.added.last().unwrap().metadata.checkpoint;
    let left = |debts: &Debts| -> usize {
        let unpaid = |it: &UnpaidExits| (0..it.exits.len()).filter(|exit| !it.tree.is_paid(*exit)).count();
        debts.owed().map(unpaid).sum()
    };
    let all = left(&debts);

    // Every exit is claimed, the last first, two blocks above the tip.
    let mut claims = vec![];
    for owed in owed.iter().rev() {
        let mut tree = owed.tree.clone();
        for exit in (0..owed.exits.len()).rev() {
            let before = tree.root();
            tree.pay(&Blake3, exit);
            claims.push(ObservedClaim { before, after: tree.root() });
        }
    }
    assert_eq!(claims.len(), all);
    let nothing = ObservedClaim { before: Digest([1; 32]), after: Digest::ZERO };
    let (first, second) = (vec![claims[0], nothing], claims[1..].to_vec());
    let follow = |debts: &mut Debts, height: u64, claims, finalized| {
        let (event, block) = claiming(height, claims, finalized);
        debts.follow(&event, &[block], &checkpoint_of)
    };
    let not_final = Checkpoint(0);
    assert!(follow(&mut debts, tip.0 + 1, first, not_final));
    assert_eq!(left(&debts), all - 1, "a claim of another covenant's pays nothing here");
    assert!(follow(&mut debts, tip.0 + 2, second.clone(), not_final));
    assert_eq!(left(&debts), 0);

    // A reorg undoes the second block, and then the claims come again.
    let (removed, _) = claiming(tip.0 + 2, second.clone(), not_final);
    let removed = removed.added.into_iter().map(|added| added.metadata).collect();
    assert!(debts.follow(&ChainEvent { removed, ..ChainEvent::default() }, &[], &checkpoint_of));
    assert_eq!(left(&debts), all - 1);
    assert!(follow(&mut debts, tip.0 + 2, second, tip));
    assert_eq!(left(&debts), 0);
    assert!(!debts.unpaid(Checkpoint(u64::MAX)).is_empty(), "a reorg may undo the claims");
    follow(&mut debts, tip.0 + 3, vec![], Checkpoint(tip.0 + 2));
    assert_eq!(debts.unpaid(Checkpoint(u64::MAX)), vec![]);
}
