//! The debts of settlements are a function of the chain, whoever sent the settlements.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

use reprise_chain::dev::DevChain;
use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_chain::overlay::{Covenant, Overlay};
use reprise_chain::recording::Lane;
use reprise_chain::source::Pace;
use reprise_disk::data_dir::DataDir;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{
    BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ChainRoot, ObservedClaim, ObservedSettlement,
};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest};
use reprise_model::exit::{self, AMOUNT_MIN, Exit, Payee, ScriptClass, Sibling, Tree};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::StatementId;
use reprise_node::debts::Debts;
use reprise_node::event::NoopObserver;
use reprise_node::l1::{L1, L1Error, OpenL1, OverlaySink};
use reprise_node::wire::{self, Deployment, Origin};
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::snapshot::Unpaid;
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

/// Three exits that a settlement owes.
fn three() -> Unpaid {
    let payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) };
    let exits: Vec<Exit> = (1..4).map(|n| Exit { payee, amount: n * AMOUNT_MIN }).collect();
    let transition = Transition {
        pins: PinsDigest([1; 32]),
        root_before: Digest::ZERO,
        root_after: Digest::ZERO,
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: exit::root(&Blake3, &exits),
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    let settlement =
        ObservedSettlement { statement: StatementId([1; 32]), journal, end_block: BlockHash([2; 32]) };
    Unpaid { settlement, carrier: BlockHash([3; 32]), exits, paid: vec![] }
}

#[test]
fn who_begins_with_a_snapshot_tells_its_payer_what_is_owed_before_the_chain_changes() {
    let home = Home::new();
    let (backend, store) = home.open();
    let (chain, told) = (DevChain::default(), Arc::new(Mutex::new(Told::default())));
    let deployment = Deployment::new(&ledger(), backend, Arc::new(Blake3), chain.lane());
    let overlay = Overlay::open(None, chain.chain_root(), deployment.covenant()).unwrap();
    let sink = Box::new(OverlaySink(Arc::new(Mutex::new(overlay))));
    let sink = Sink::Unproven(Box::new(NotedSink { sink, told: told.clone() }));
    let settings = wire::Settings {
        rule: home.rule,
        permits: home.permits,
        finality_depth: home.finality_depth,
        data_dir: None,
        tuning: home.tuning,
    };
    let founding = deployment.founding(chain.chain_root()).unwrap();
    let origin = Origin { carried_by: Some(Checkpoint(3)), unpaid: vec![three()], ..founding };
    let records = Box::new(MemoryLog::default());
    let pipeline =
        wire::build_pipeline(&settings, "a test".into(), origin, &deployment, store, records, Some(sink));
    assert!(pipeline.is_ok());
    let owed = [(three().settlement.statement, three().exits)];
    assert_eq!(exits(&told.lock().unwrap().owed), owed.into());
}

#[test]
fn claims_pay_exits_in_any_order_a_reorg_undoes_them_and_a_debt_is_dropped_once_the_last_is_final() {
    let unpaid = three();
    let mut debts = Debts::owing(Arc::new(Blake3), Arc::new(Blake3), vec![unpaid.clone()], Checkpoint(10));
    let left = |debts: &Debts| -> Vec<u64> {
        let unpaid = |it: &UnpaidExits| -> Vec<u64> {
            let left = it.exits.iter().enumerate().filter(|(at, _)| !it.tree.is_paid(*at));
            left.map(|(_, exit)| exit.amount / AMOUNT_MIN).collect()
        };
        debts.owed().flat_map(unpaid).collect()
    };
    assert_eq!(left(&debts), [1, 2, 3]);
    let mut tree = Tree::of(&Blake3, &unpaid.exits);
    let [second, third, first] = [1, 2, 0].map(|exit| {
        let (before, lefts) = (tree.root(), tree.path(exit).iter().map(Sibling::is_left).collect());
        tree.pay(&Blake3, exit);
        ObservedClaim { before, after: tree.root(), lefts }
    });
    let follow = |debts: &mut Debts, height: u64, claims: &[ObservedClaim], finalized| {
        let (event, block) = claiming(height, claims.to_vec(), Checkpoint(finalized));
        debts.follow(&event, &[block], &|_: &ObservedSettlement| None)
    };
    // One of another covenant's, one that pays no single exit, and one whose path is another exit's or none's.
    let foreign = ObservedClaim { before: Digest([1; 32]), ..second.clone() };
    let two = ObservedClaim { after: third.after, ..second.clone() };
    let astray = ObservedClaim { lefts: third.lefts.clone(), ..second.clone() };
    let short = ObservedClaim { lefts: vec![], ..second.clone() };
    assert!(!follow(&mut debts, 11, &[foreign, two, astray, short], 10));
    assert!(follow(&mut debts, 12, std::slice::from_ref(&second), 10));
    assert_eq!(left(&debts), [1, 3]);
    let rest = [third, first];
    assert!(follow(&mut debts, 13, &rest, 11));
    assert!(left(&debts).is_empty());

    // A reorg undoes the last block, and then the claims come again.
    let (removed, _) = claiming(13, vec![], Checkpoint(0));
    let removed = removed.added.into_iter().map(|added| added.metadata).collect();
    assert!(debts.follow(
        &ChainEvent { removed, ..ChainEvent::default() },
        &[],
        &|_: &ObservedSettlement| None
    ));
    assert_eq!(left(&debts), [1, 3]);
    assert!(follow(&mut debts, 13, &rest, 12));
    assert!(left(&debts).is_empty());
    let named = debts.unpaid(Checkpoint(10));
    assert_eq!(named[0].paid, [1], "of what is not final a reorg may undo it");
    follow(&mut debts, 14, &[], 13);
    assert_eq!(debts.unpaid(Checkpoint(10)), vec![]);
    // Whoever begins with what was named then owes the rest.
    assert_eq!(left(&Debts::owing(Arc::new(Blake3), Arc::new(Blake3), named, Checkpoint(10))), [1, 3]);
}
