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
use reprise_model::journal::{
    AggregateJournal, Commitment, Outcome, SpanJournal, TransactionJournal, Transition,
};
use reprise_model::lane::WorkloadHasher;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::{ProvedBy, ScheduledBatch, ScheduledBlock, ScheduledTransaction};
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
    block(height, vec![], vec![], claims, finalized)
}

/// The same, where it makes exits and carries settlements too.
fn block(
    height: u64,
    exits: Vec<Exit>,
    settlements: Vec<ObservedSettlement>,
    claims: Vec<ObservedClaim>,
    finalized: Checkpoint,
) -> (ChainEvent, ScheduledBlock) {
    let block = ChainBlockMetadata {
        block_hash: BlockHash([height as u8; 32]),
        parent_hash: BlockHash([height as u8 - 1; 32]),
        blue_score: height,
        daa_score: height,
        timestamp_ms: height,
        parent_timestamp_ms: height - 1,
        sequencing_commitment: Digest::ZERO,
    };
    let metadata = BatchMetadata { id: BlockId(height), checkpoint: Checkpoint(height), block };
    let block = ChainBlock { metadata: block, accepted: vec![], lane_proof: None, settlements, claims };
    let journal =
        SpanJournal { transition: settling(&exits), open_before: Digest::ZERO, open_after: Digest::ZERO };
    let batch = ScheduledBatch { begin: 0, end: 1, computed: None, journal };
    let outcome = Outcome::SUCCESS;
    let journal = TransactionJournal { exits, ..TransactionJournal::disposed(Digest::ZERO, outcome) };
    let transaction = ScheduledTransaction { merge_index: 0, proved_by: ProvedBy::Batch, journal };
    let scheduled = ScheduledBlock {
        metadata,
        transactions: vec![transaction],
        batches: vec![batch],
        root_after: Digest::ZERO,
        tip_after: Digest::ZERO,
        is_anchor: false,
    };
    let added = vec![AddedBlock { metadata, block, returning: false }];
    (ChainEvent { added, finalized, ..ChainEvent::default() }, scheduled)
}

fn exits_of(amounts: impl IntoIterator<Item = u64>) -> Vec<Exit> {
    let payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) };
    amounts.into_iter().map(|amount| Exit { payee, amount: amount * AMOUNT_MIN }).collect()
}

fn settling(exits: &[Exit]) -> Transition {
    Transition {
        pins: PinsDigest([1; 32]),
        root_before: Digest::ZERO,
        root_after: Digest::ZERO,
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: exit::root(&Blake3, exits),
    }
}

fn settlement(number: u8, end: u8, exits: &[Exit]) -> ObservedSettlement {
    let journal = AggregateJournal { transition: settling(exits), commitment: Commitment::Unbound };
    ObservedSettlement { statement: StatementId([number; 32]), journal, end_block: BlockHash([end; 32]) }
}

/// Of a block, the checkpoint in its hash.
fn end_of(settlement: &ObservedSettlement) -> Option<Checkpoint> {
    Some(Checkpoint(settlement.end_block.0[0].into()))
}

/// A claim of an exit that a tree leaves unpaid, and the tree after it.
fn claim(tree: &mut Tree, exit: usize) -> ObservedClaim {
    let (before, lefts) = (tree.root(), tree.path(exit).iter().map(Sibling::is_left).collect());
    tree.pay(&Blake3, exit);
    ObservedClaim { before, after: tree.root(), lefts }
}

fn owing(unpaid: Vec<Unpaid>, checkpoint: Checkpoint) -> Debts {
    Debts::owing(Arc::new(Blake3), Arc::new(Blake3), unpaid, checkpoint)
}

/// What is owed: the settlements, and the exits of each that are left.
fn left(debts: &Debts) -> Vec<(u8, Vec<u64>)> {
    let left = |it: &UnpaidExits| {
        let left = it.exits.iter().enumerate().filter(|(at, _)| !it.tree.is_paid(*at));
        left.map(|(_, exit)| exit.amount / AMOUNT_MIN).collect()
    };
    debts.owed().map(|it| (it.settlement.statement.0[0], left(it))).collect()
}

/// Three exits that a settlement owes.
fn three() -> Unpaid {
    let exits = exits_of(1..4);
    let (carrier, carried_by) = (BlockHash([3; 32]), Checkpoint(3));
    Unpaid { settlement: settlement(1, 2, &exits), carrier, carried_by, exits, paid: vec![] }
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
fn claims_pay_exits_in_any_order_a_reorg_undoes_them_and_a_debt_is_dropped_once_no_snapshot_names_it() {
    let unpaid = three();
    let mut debts = owing(vec![unpaid.clone()], Checkpoint(10));
    assert_eq!(left(&debts), [(1, vec![1, 2, 3])]);
    let mut tree = Tree::of(&Blake3, &unpaid.exits);
    let [second, third, first] = [1, 2, 0].map(|exit| claim(&mut tree, exit));
    let follow = |debts: &mut Debts, height: u64, claims: &[ObservedClaim], finalized| {
        let (event, block) = claiming(height, claims.to_vec(), Checkpoint(finalized));
        debts.follow(&event, &[block], &end_of)
    };
    // One of another covenant's, one that pays no single exit, and one whose path is another exit's or none's.
    let foreign = ObservedClaim { before: Digest([1; 32]), ..second.clone() };
    let two = ObservedClaim { after: third.after, ..second.clone() };
    let astray = ObservedClaim { lefts: third.lefts.clone(), ..second.clone() };
    let short = ObservedClaim { lefts: vec![], ..second.clone() };
    assert!(!follow(&mut debts, 11, &[foreign, two, astray, short], 10));
    assert!(follow(&mut debts, 12, std::slice::from_ref(&second), 10));
    assert_eq!(left(&debts), [(1, vec![1, 3])]);
    let rest = [third, first];
    assert!(follow(&mut debts, 13, &rest, 11));
    assert!(left(&debts).is_empty());

    // A reorg undoes the last block, and then the claims come again.
    let (removed, _) = claiming(13, vec![], Checkpoint(0));
    let removed = removed.added.into_iter().map(|added| added.metadata).collect();
    assert!(debts.follow(&ChainEvent { removed, ..ChainEvent::default() }, &[], &end_of));
    assert_eq!(left(&debts), [(1, vec![1, 3])]);
    assert!(follow(&mut debts, 13, &rest, 12));
    assert!(left(&debts).is_empty());

    // A snapshot names what its own block leaves unpaid, and who begins with it owes that.
    let named = |debts: &Debts, end| debts.unpaid(Checkpoint(end));
    assert_eq!(named(&debts, 11), [unpaid]);
    assert_eq!(named(&debts, 12)[0].paid, [1]);
    assert_eq!(left(&owing(named(&debts, 12), Checkpoint(12))), [(1, vec![1, 3])]);
    assert_eq!(named(&debts, 13), []);
    follow(&mut debts, 14, &[], 13);
    assert_eq!(
        debts.all().len(),
        1,
        "no settlement is final since, and a snapshot may yet be of a block below"
    );
    for (height, end) in [(15, 12), (16, 13)] {
        let (event, executed) =
            block(height, vec![], vec![settlement(2, end, &[])], vec![], Checkpoint(height));
        debts.follow(&event, &[executed], &end_of);
        assert_eq!(debts.all().len(), usize::from(end < 13));
    }
}

#[test]
fn a_claim_below_the_block_that_carries_a_settlement_pays_another_one_with_the_very_same_exits() {
    let mut debts = owing(vec![Unpaid { carried_by: Checkpoint(12), ..three() }], Checkpoint(10));
    let mut tree = Tree::of(&Blake3, &three().exits);
    let first = claim(&mut tree, 0);
    for (height, rest) in [(11, vec![1, 2, 3]), (12, vec![2, 3])] {
        let (event, block) = claiming(height, vec![first.clone()], Checkpoint(10));
        debts.follow(&event, &[block], &end_of);
        assert_eq!(left(&debts), [(1, rest)]);
    }
}

#[test]
fn which_block_carries_a_settlement_the_chain_says_and_not_a_snapshot() {
    let two = Unpaid { settlement: settlement(2, 9, &exits_of([7])), exits: exits_of([7]), ..three() };
    let unpaid = [three(), two].map(|it| Unpaid { carried_by: Checkpoint(50), ..it });
    let mut debts = owing(unpaid.to_vec(), Checkpoint(10));
    let [first, _] = &unpaid;
    // The first is shown itself; of the second, that the one which came after it is carried.
    for (height, settlement, pays, rest) in [
        (12, first.settlement.clone(), &first.exits, vec![(1, vec![2, 3]), (2, vec![7])]),
        (13, settlement(3, 10, &[]), &exits_of([7]), vec![(1, vec![2, 3])]),
    ] {
        let claims = vec![claim(&mut Tree::of(&Blake3, pays), 0)];
        let (event, executed) = block(height, vec![], vec![settlement], claims, Checkpoint(10));
        let before = |_: &ObservedSettlement| (height == 13).then_some(Checkpoint(10));
        assert!(debts.follow(&event, &[executed], &before));
        assert_eq!(left(&debts), rest);
        let carriers: Vec<u64> = debts.all().iter().map(|debt| debt.carrier.0).collect();
        assert_eq!(carriers, if height == 12 { vec![12, 50] } else { vec![12, 13] });
    }
    assert_eq!(debts.owed().next().unwrap().carrier, BlockHash([12; 32]));
}

/// A node that follows a chain from a snapshot.
struct Joined {
    carrier: Checkpoint,
    debts: Debts,
}

#[test]
fn who_begins_with_a_snapshot_owes_what_the_whole_chain_owes_however_equal_its_exits_are() {
    const FINAL_BELOW: u64 = 3;
    let mut judged = 0;
    for seed in 0..200 {
        let mut rng = oorandom::Rand32::new(seed);
        let mut among = |bound: u32| u64::from(rng.rand_range(0..bound));
        let (mut chain, mut settled, mut joined) = (vec![], vec![(Checkpoint(0), Checkpoint(0))], vec![]);
        let (mut whole, mut blocks) = (owing(vec![], Checkpoint(0)), vec![]);
        for height in 1..60u64 {
            let mut claims = vec![];
            for it in whole.owed() {
                let left: Vec<usize> = (0..it.exits.len()).filter(|exit| !it.tree.is_paid(*exit)).collect();
                if among(3) == 0 {
                    claims.push(claim(&mut it.tree.clone(), left[among(left.len() as u32) as usize]));
                }
            }
            let last = settled[settled.len() - 1].1.0;
            let mut carried = vec![];
            if among(3) == 0 && last + 1 < height {
                let end = last + 1 + among((height - last - 1) as u32);
                let covered: Vec<Exit> = blocks[last as usize..end as usize].concat();
                carried = vec![settlement(height as u8, end as u8, &covered)];
                settled.push((Checkpoint(height), Checkpoint(end)));
            }
            let made = exits_of(0..among(3));
            blocks.push(made.clone());
            let finalized = Checkpoint(height.saturating_sub(FINAL_BELOW));
            let (event, executed) = block(height, made, carried, claims, finalized);
            whole.follow(&event, std::slice::from_ref(&executed), &end_of);
            for Joined { carrier, debts } in &mut joined {
                debts.follow(&event, std::slice::from_ref(&executed), &end_of);
                if *carrier <= Checkpoint(height) {
                    assert_eq!(
                        left(debts),
                        left(&whole),
                        "seed {seed}, block {height}, carried by {carrier}"
                    );
                    judged += usize::from(!left(debts).is_empty());
                }
            }
            chain.push((event, executed));
            // Somebody joins, with a snapshot of a node that runs, or with one of any settled block that is made of a directory.
            let last = settled.partition_point(|(carrier, _)| *carrier <= finalized) - 1;
            if last > 0 && among(5) == 0 {
                let is_made = among(2) == 0;
                let at = if is_made { among(last as u32 + 1) as usize } else { last };
                let (carrier, end) = settled[at];
                let mut made = owing(vec![], Checkpoint(0)).for_snapshot_at(end);
                for (event, executed) in chain.iter().filter(|_| is_made) {
                    made.follow(event, std::slice::from_ref(executed), &end_of);
                }
                let unpaid = if is_made { made.unpaid(end) } else { whole.unpaid(end) };
                let mut debts = owing(unpaid, end);
                for (event, executed) in &chain[end.0 as usize..] {
                    debts.follow(event, std::slice::from_ref(executed), &end_of);
                }
                assert_eq!(left(&debts), left(&whole), "seed {seed}, joined at {end} after {height}");
                joined.push(Joined { carrier, debts });
            }
        }
    }
    assert!(judged > 10_000, "{judged}");
}
