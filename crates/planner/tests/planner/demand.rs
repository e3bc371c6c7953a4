//! Demand from the top, over chains of made-up batches.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, ClaimDigest, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{BatchJournal, Outcome, TransactionJournal, Transition};
use reprise_model::order::Order;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::scheduled::{ScheduledBatch, ScheduledTransaction};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_planner::bundle::BundleRule;
use reprise_planner::planner::{Demand, Fact, Planner, Retention, Terms, WantedBundle};

struct Scheme(ProofProfile);

impl ClaimScheme for Scheme {
    fn profile(&self) -> &ProofProfile {
        &self.0
    }

    fn claim_digest(&self, claim: &Claim) -> ClaimDigest {
        let mut digest = [claim.program.0[0]; 32];
        for (at, byte) in claim.journal.iter().enumerate() {
            digest[at % 32] = digest[at % 32].rotate_left(3) ^ byte.wrapping_mul(1 + (at / 32) as u8);
        }
        ClaimDigest(digest)
    }
}

fn planner(rule: BundleRule, retention: Retention) -> Planner {
    let profile = ProofProfile {
        system: "made up".into(),
        version: "1".into(),
        seal: SealKind::Fake,
        hash: "none".into(),
        security_bits: 0,
        parameters: String::new(),
    };
    let terms = Terms {
        scheme: Arc::new(Scheme(profile)),
        hasher: Arc::new(Blake3),
        pins: PinsDigest([1; 32]),
        programs: [1, 2, 3].map(|n| ProgramId([n; 32])),
    };
    Planner::new(terms, rule, retention)
}

/// A planner that follows a chain, and what is stored.
pub(crate) struct World {
    pub(crate) planner: Planner,
    pub(crate) rule: BundleRule,
    pub(crate) view: Vec<(AddedBlock, ScheduledBatch)>,
    facts: HashMap<StatementId, Fact>,
}

impl World {
    fn new() -> Self {
        Self::ruled(2, 99, Retention::default())
    }

    /// Bundles of so many batches, or as soon as the deadline has passed.
    pub(crate) fn ruled(batches_max: usize, deadline_score: u64, retention: Retention) -> Self {
        let rule = BundleRule { batches_max, transactions_max: 99, deadline_score };
        Self { planner: planner(rule, retention), rule, view: vec![], facts: HashMap::new() }
    }

    /// A block named `name` with so many transactions on the tip.
    pub(crate) fn grow(
        &mut self,
        name: u8,
        transactions: u8,
        settlements: Vec<ObservedSettlement>,
    ) -> BlockHash {
        let height = self.view.len() as u64 + 1;
        let last = self.view.last();
        let header = ChainBlockMetadata {
            block_hash: BlockHash([name; 32]),
            parent_hash: last.map_or(BlockHash([0; 32]), |(added, _)| added.metadata.block_hash()),
            blue_score: height,
            daa_score: height,
            timestamp_ms: height,
            parent_timestamp_ms: height - 1,
            sequencing_commitment: Digest([name; 32]),
        };
        let id = BlockId(name.into());
        let metadata = BatchMetadata { id, checkpoint: Checkpoint(height), block: header };
        let before =
            last.map_or((Digest::ZERO, Digest::ZERO), |(_, batch)| (batch.root_after, batch.tip_after));
        let after = if transactions == 0 { before } else { (Digest([name; 32]), Digest([name ^ 0x80; 32])) };
        let journal = (transactions > 0).then_some(BatchJournal(Transition {
            pins: PinsDigest([1; 32]),
            root_before: before.0,
            root_after: after.0,
            tip_before: before.1,
            tip_after: after.1,
            exits: Digest::ZERO,
        }));
        let transaction = |n: u8| ScheduledTransaction {
            merge_index: n.into(),
            journal: TransactionJournal {
                transaction: Digest([name.wrapping_mul(16) + n; 32]),
                outcome: Outcome::SUCCESS,
                accesses: vec![],
                exits: vec![],
            },
        };
        let batch = ScheduledBatch {
            metadata,
            transactions: (0..transactions).map(transaction).collect(),
            journal,
            root_after: after.0,
            tip_after: after.1,
        };
        let block = ChainBlock { metadata: header, accepted: vec![], lane_proof: None, settlements };
        let added = AddedBlock { metadata, returning: false, block };
        let event = ChainEvent { removed: vec![], added: vec![added.clone()], finalized: Checkpoint(0) };
        self.planner.follow(&event, std::slice::from_ref(&batch));
        self.view.push((added, batch));
        header.block_hash
    }

    pub(crate) fn shrink(&mut self, blocks: usize) {
        let kept = self.view.len() - blocks;
        let removed = self.view.split_off(kept).into_iter().rev().map(|(added, _)| added.metadata).collect();
        let event = ChainEvent { removed, added: vec![], finalized: Checkpoint(0) };
        self.planner.follow(&event, &[]);
    }

    /// Demand, where nothing was stored and everything has been looked for but what `facts` says.
    pub(crate) fn demand(&mut self) -> Demand {
        let facts = &self.facts;
        self.planner.demand(&|id| facts.get(id).copied().unwrap_or(Fact::Missing), usize::MAX)
    }

    pub(crate) fn wanted(&mut self) -> Vec<(Kind, u8)> {
        self.demand().orders.iter().map(|order| (order.kind(), order.coordinate.block_hash.0[0])).collect()
    }
}

pub(crate) fn settlement_of(wanted: &WantedBundle) -> ObservedSettlement {
    let end_block = wanted.bundle.blocks.end.block_hash();
    ObservedSettlement { statement: wanted.order.id, journal: wanted.bundle.journal, end_block }
}

fn ids(orders: &[Arc<Order>], kind: Kind) -> HashSet<StatementId> {
    orders.iter().filter(|order| order.kind() == kind).map(|order| order.id).collect()
}

use Kind::{Aggregate, Batch, Transaction};

#[test]
fn everything_missing_is_wanted_outer_first_and_empty_blocks_are_not() {
    let mut world = World::new();
    for (name, transactions) in [(1, 0), (2, 1), (3, 0), (4, 2), (5, 0), (6, 1)] {
        world.grow(name, transactions, vec![]);
    }
    let expected = [
        (Aggregate, 4),
        (Batch, 2),
        (Transaction, 2),
        (Batch, 4),
        (Transaction, 4),
        (Transaction, 4),
        (Batch, 6),
        (Transaction, 6),
    ];
    assert_eq!(world.wanted(), expected);
    assert_eq!(world.demand().bundles[0].bundle.blocks.blocks, [BlockHash([2; 32]), BlockHash([4; 32])]);
}

#[test]
fn a_stored_or_unknown_receipt_ends_the_search_below_it() {
    let mut world = World::new();
    for name in 1..=3 {
        world.grow(name, 1, vec![]);
    }
    let demand = world.demand();
    let find = |kind, block: u8| {
        let found = demand.orders.iter().find(|o| o.kind() == kind && o.coordinate.block_hash.0[0] == block);
        found.unwrap().id
    };
    let open = [(Batch, 3), (Transaction, 3)];
    for fact in [Fact::Stored, Fact::Unknown] {
        world.facts = HashMap::from([(find(Aggregate, 2), fact)]);
        assert_eq!(world.wanted(), [&[(Aggregate, 2)], &open[..]].concat(), "{fact:?}");
        world.facts = HashMap::from([(find(Batch, 1), fact)]);
        let below = [(Aggregate, 2), (Batch, 1), (Batch, 2), (Transaction, 2)];
        assert_eq!(world.wanted(), [&below[..], &open].concat(), "{fact:?}");
    }
    // Facts reduce demand, and never shape a bundle.
    world.facts = demand.orders.iter().map(|order| (order.id, Fact::Stored)).collect();
    assert_eq!(world.demand().bundles.len(), demand.bundles.len());
}

#[test]
fn after_its_settlement_nothing_of_a_bundle_is_wanted_until_a_reorg_takes_it_away() {
    let mut world = World::new();
    world.grow(1, 1, vec![]);
    world.grow(2, 1, vec![]);
    let before = world.demand();
    world.grow(3, 0, vec![settlement_of(&before.bundles[0])]);
    let after = world.demand();
    assert!(after.orders.is_empty() && after.bundles.is_empty() && !after.unsettled);
    assert_eq!(world.planner.settlements(), 1);
    world.shrink(1);
    let again = world.demand();
    assert_eq!(again.orders, before.orders);
    assert!(again.unsettled);
    assert_eq!(world.planner.settlements(), 0);
}

#[test]
fn a_rivals_settlement_of_a_prefix_re_forms_the_suffix_from_the_same_inner_statements() {
    let mut world = World::new();
    for name in 1..=5 {
        world.grow(name, 1, vec![]);
    }
    let before = world.demand();
    let mut shorter = settlement_of(&before.bundles[0]);
    shorter.end_block = BlockHash([1; 32]);
    world.grow(6, 0, vec![shorter]);
    let after = world.demand();
    let ends = |demand: &Demand| -> Vec<_> {
        demand.bundles.iter().map(|wanted| wanted.bundle.blocks.end.block_hash().0[0]).collect()
    };
    assert_eq!((ends(&before), ends(&after)), (vec![2, 4], vec![3, 5]));
    assert!(ids(&after.orders, Batch).is_subset(&ids(&before.orders, Batch)));
    assert!(ids(&after.orders, Transaction).is_subset(&ids(&before.orders, Transaction)));
    assert!(ids(&after.orders, Aggregate).is_disjoint(&ids(&before.orders, Aggregate)));
    for wanted in &after.bundles {
        assert_eq!(wanted.order.assumptions.len(), 2);
    }
}

#[test]
fn demand_is_a_function_of_the_chain_and_not_of_the_way_there() {
    let mut straight = World::new();
    let mut winding = World::new();
    for name in 1..=4 {
        straight.grow(name, name % 3, vec![]);
    }
    winding.grow(1, 1, vec![]);
    winding.demand();
    winding.grow(9, 2, vec![]);
    winding.grow(8, 1, vec![]);
    winding.demand();
    winding.shrink(2);
    for name in 2..=4 {
        winding.grow(name, name % 3, vec![]);
        winding.demand();
    }
    assert_eq!(straight.demand().orders, winding.demand().orders);
    assert_eq!(straight.planner.orders_of(&BlockHash([1; 32])).len(), 2);
}

#[test]
fn the_same_batch_on_two_forks_differs_and_every_order_names_its_place() {
    let mut world = World::new();
    world.grow(1, 1, vec![]);
    let first = world.demand();
    world.shrink(1);
    world.grow(2, 1, vec![]);
    let second = world.demand();
    assert!(ids(&first.orders, Batch).is_disjoint(&ids(&second.orders, Batch)));
    for order in first.orders.iter().chain(&second.orders) {
        assert_eq!(order.id, order.statement.id());
        assert_eq!(order.coordinate.program, order.claim.program);
        assert_eq!(order.coordinate.place.kind(), order.kind());
    }
}
