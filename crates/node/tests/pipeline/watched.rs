//! The watcher: each invariant is broken once, and exactly that one is reported.

use std::sync::Arc;
use std::time::Duration;

use reprise_chain::dev::{DevChain, script};
use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_ledger::{Action, Ledger, Payload};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{
    BlockHash, ClaimDigest, Digest, PinsDigest, ProfileId, ProgramId, ResourceId, StatementId,
};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Transition};
use reprise_model::order::{BatchRef, Order, Work};
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::{Claim, Statement};
use reprise_model::transaction::{Price, Rollup, account_of};
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::oracle::Oracle;
use reprise_node::watcher::Watcher;
use reprise_scheduler::tree::StateTree;

const GENESIS_TIP: Digest = Digest([7; 32]);

fn genesis_root() -> Digest {
    StateTree::empty(Arc::new(Blake3)).root()
}

fn watcher(permits: usize) -> Watcher {
    let rollup = Rollup { covenant: Digest([1; 32]), deposit: ResourceId([2; 32]), price: Price::FREE };
    let oracle = Oracle::new(Arc::new(Ledger), Arc::new(Blake3), rollup);
    Watcher::new(permits, (genesis_root(), GENESIS_TIP), oracle)
}

fn order(n: u8) -> Arc<Order> {
    let claim = Claim { program: ProgramId([1; 32]), journal: vec![n] };
    let statement = Statement { profile: ProfileId([1; 32]), claim: ClaimDigest([n; 32]) };
    let block = BlockHash([n; 32]);
    let coordinate = Coordinate {
        checkpoint: Checkpoint(1),
        block_hash: block,
        position: Position::Batch { first: 0 },
        program: claim.program,
        profile: statement.profile,
        pins: PinsDigest([2; 32]),
    };
    let (id, work) = (statement.id(), Work::Batch(BatchRef { block, index: 0 }));
    Arc::new(Order { id, statement, claim, coordinate, assumptions: vec![], work })
}

/// An empty block at `height` that carries `settlements`.
fn block(height: u8, settlements: Vec<ObservedSettlement>) -> (AddedBlock, ScheduledBlock) {
    let header = ChainBlockMetadata {
        block_hash: BlockHash([height; 32]),
        parent_hash: BlockHash([height - 1; 32]),
        blue_score: 1,
        daa_score: 1,
        timestamp_ms: 1,
        parent_timestamp_ms: 0,
        sequencing_commitment: Digest::ZERO,
    };
    let id = BlockId(u64::from(height));
    let metadata = BatchMetadata { id, checkpoint: Checkpoint(u64::from(height)), block: header };
    let block =
        ChainBlock { metadata: header, accepted: vec![], lane_proof: None, settlements, claims: vec![] };
    let scheduled = ScheduledBlock {
        metadata,
        transactions: vec![],
        batches: vec![],
        root_after: genesis_root(),
        tip_after: GENESIS_TIP,
        is_anchor: false,
    };
    (AddedBlock { metadata, returning: false, block }, scheduled)
}

fn chain(removed: Vec<BatchMetadata>, added: Vec<(AddedBlock, ScheduledBlock)>) -> PipelineEvent {
    let (added, blocks) = added.into_iter().unzip();
    PipelineEvent::Chain { event: ChainEvent { removed, added, finalized: Checkpoint(0) }, blocks }
}

/// A settlement of the block at `height`, from and to these ends.
fn settlement(height: u8, from: (Digest, Digest), to: (Digest, Digest)) -> ObservedSettlement {
    let transition = Transition {
        pins: PinsDigest([2; 32]),
        root_before: from.0,
        root_after: to.0,
        tip_before: from.1,
        tip_after: to.1,
        exits: Digest::ZERO,
    };
    let journal = AggregateJournal { transition, commitment: Commitment::Unbound };
    ObservedSettlement { statement: StatementId([9; 32]), journal, end_block: BlockHash([height; 32]) }
}

fn proved(order: &Arc<Order>) -> PipelineEvent {
    PipelineEvent::Proved { order: order.clone(), took: Duration::ZERO, failure: None, device: Some(0) }
}

/// The invariants that these events break.
fn broken(permits: usize, events: &[PipelineEvent]) -> Vec<&'static str> {
    let mut watcher = watcher(permits);
    events.iter().for_each(|event| watcher.on_event(event));
    watcher.violations().iter().map(|violation| violation.promise).collect()
}

#[test]
fn a_correct_run_breaks_no_invariant() {
    let (one, two) = (order(1), order(2));
    let ends = (genesis_root(), GENESIS_TIP);
    let later = (genesis_root(), Digest([8; 32]));
    let events = [
        chain(vec![], vec![block(1, vec![])]),
        PipelineEvent::Proving(one.clone(), 0),
        proved(&one),
        PipelineEvent::Stored(one.clone()),
        PipelineEvent::Published(one.clone()),
        PipelineEvent::Found { order: two.clone(), took: Duration::ZERO },
        PipelineEvent::Published(two.clone()),
        PipelineEvent::Lost(two.id),
        PipelineEvent::Proving(two.clone(), 0),
        proved(&two),
        PipelineEvent::Stored(two),
        chain(vec![], vec![block(2, vec![settlement(1, ends, later)])]),
        chain(vec![block(2, vec![]).0.metadata], vec![]),
        chain(
            vec![],
            vec![block(2, vec![settlement(1, ends, later)]), block(3, vec![settlement(2, later, later)])],
        ),
    ];
    assert_eq!(broken(1, &events), Vec::<&str>::new());
}

#[test]
fn a_publication_before_the_receipt_is_durable_is_reported() {
    let one = order(1);
    let events = [PipelineEvent::Proving(one.clone(), 0), proved(&one), PipelineEvent::Published(one)];
    assert_eq!(broken(1, &events), ["nothing is published before it is durable"]);
}

#[test]
fn a_second_proof_of_a_stored_statement_is_reported() {
    let one = order(1);
    let again = PipelineEvent::Proving(one.clone(), 0);
    let stored = [PipelineEvent::Stored(one.clone()), again.clone()];
    assert_eq!(broken(1, &stored), ["no stored statement is proved again"]);
    let found = [PipelineEvent::Found { order: one, took: Duration::ZERO }, again];
    assert_eq!(broken(1, &found), ["no stored statement is proved again"]);
}

#[test]
fn more_proofs_than_permits_are_reported() {
    for permits in 1..4usize {
        let begun: Vec<_> = (0..=permits).map(|n| PipelineEvent::Proving(order(n as u8), 0)).collect();
        assert_eq!(broken(permits, &begun[..permits]), Vec::<&str>::new());
        assert_eq!(broken(permits, &begun), ["no more proofs run than there are permits"]);
    }
}

#[test]
fn a_coordinate_with_two_statements_is_reported() {
    assert_eq!(broken(1, &[PipelineEvent::Diverged(order(1).id)]), ["a coordinate holds one statement"]);
}

#[test]
fn a_settlement_that_does_not_start_where_the_last_one_ended_is_reported() {
    let (root, other) = (genesis_root(), Digest([8; 32]));
    for from in [(root, other), (other, GENESIS_TIP)] {
        let events =
            [chain(vec![], vec![block(1, vec![]), block(2, vec![settlement(1, from, (root, GENESIS_TIP))])])];
        assert_eq!(broken(1, &events), ["settlements are gapless"]);
    }
}

#[test]
fn a_settlement_that_builds_on_one_which_a_reorg_took_away_is_reported() {
    let (start, moved) = ((genesis_root(), GENESIS_TIP), (genesis_root(), Digest([8; 32])));
    let events = [
        chain(vec![], vec![block(1, vec![]), block(2, vec![settlement(1, start, moved)])]),
        chain(vec![block(2, vec![]).0.metadata], vec![block(3, vec![settlement(1, moved, moved)])]),
    ];
    assert_eq!(broken(1, &events), ["settlements are gapless"]);
}

#[test]
fn what_is_pruned_changes_nothing_of_what_is_reported_later() {
    let ends = [GENESIS_TIP, Digest([8; 32]), Digest([9; 32])].map(|tip| (genesis_root(), tip));
    let first = settlement(2, ends[0], ends[1]);
    let (next, gap) = (settlement(5, ends[1], ends[2]), settlement(5, ends[0], ends[2]));
    // A settlement that is final is carried by block 3; block 6 leaves and comes back with what goes on from it.
    let events = |next: ObservedSettlement| {
        [
            chain(vec![], (1..=2).map(|height| block(height, vec![])).collect()),
            chain(vec![], vec![block(3, vec![first.clone()])]),
            chain(vec![], (4..=6).map(|height| block(height, vec![])).collect()),
            PipelineEvent::Pruned(Checkpoint(3)),
            PipelineEvent::Pruned(Checkpoint(5)),
            chain(vec![block(6, vec![]).0.metadata], vec![block(6, vec![next])]),
        ]
    };
    assert_eq!(broken(1, &events(next)), Vec::<&str>::new());
    assert_eq!(broken(1, &events(gap)), ["settlements are gapless"]);
}

#[test]
fn of_a_final_block_it_is_known_that_the_chain_had_its_root_until_that_is_pruned() {
    let mut chain = DevChain::default();
    let mut oracle = Oracle::new(Arc::new(Ledger), Arc::new(Blake3), chain.rollup());
    let (mut tip, mut blocks) = (chain.root(), vec![]);
    for height in 1..=40 {
        let payload = Payload::one(Action::Deposit, 0, 0, account_of(&script("alice")));
        let deposit = chain.transaction("alice", &payload.encode(), height);
        tip = chain.mine(tip, 0, if height % 10 == 3 { vec![deposit] } else { vec![] });
        blocks.push((tip, oracle.execute(chain.block(&tip).unwrap())));
    }
    oracle.finalize(Checkpoint(35));
    assert!(blocks.iter().all(|(block, root)| oracle.gives(block, *root)));
    let exact = |(block, root): &(BlockHash, Digest)| oracle.root_at(block) == Some(*root);
    assert!(
        blocks[35..].iter().all(exact) && blocks[..35].iter().all(|(it, _)| oracle.root_at(it).is_none())
    );
    assert!(!oracle.gives(&blocks[36].0, blocks[10].1), "of what is not final it is known which root");
    assert!(!oracle.gives(&blocks[20].0, Digest([8; 32])), "the chain had no such root");
    oracle.prune_below(Checkpoint(25));
    assert!(!oracle.gives(&blocks[15].0, blocks[15].1), "pruned");
    assert!(oracle.gives(&blocks[23].0, blocks[23].1), "the settled one");
    oracle.roll_back(5);
    assert_eq!(oracle.root(), blocks[34].1);
}

#[test]
fn a_settled_root_that_a_sequential_execution_does_not_give_is_reported() {
    let start = (genesis_root(), GENESIS_TIP);
    let wrong = settlement(1, start, (Digest([8; 32]), GENESIS_TIP));
    let events = [chain(vec![], vec![block(1, vec![]), block(2, vec![wrong])])];
    assert_eq!(broken(1, &events), ["a settled root is that of a sequential execution"]);
}

#[test]
fn a_batch_root_that_a_sequential_execution_does_not_give_is_reported() {
    let (added, mut scheduled) = block(1, vec![]);
    scheduled.root_after = Digest([8; 32]);
    let events = [chain(vec![], vec![(added, scheduled)])];
    assert_eq!(broken(1, &events), ["a batch's root is that of a sequential execution"]);
}

#[test]
fn a_wrong_root_puts_the_state_in_doubt_is_counted_for_ever_and_told_a_few_times() {
    let mut watcher = watcher(1);
    let mut previous = 0;
    for round in 0..10_000u32 {
        let height = 1 + (round % 200) as u8;
        let (added, mut scheduled) = block(height, vec![]);
        scheduled.root_after = Digest([3; 32]);
        let event = ChainEvent { added: vec![added], ..ChainEvent::default() };
        assert_eq!(watcher.is_state_in_doubt(), round > 0);
        watcher.on_event(&PipelineEvent::Chain { event, blocks: vec![scheduled] });
        assert!(watcher.violations().len() >= previous);
        previous = watcher.violations().len();
    }
    assert_eq!(watcher.broken_promises().values().sum::<u64>(), 10_000);
    assert!(previous < 100, "{previous} are kept");
}
