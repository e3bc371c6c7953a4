//! Demand from the top, over chains of made-up batches. Whenever it is asked for, it is compared with a plain
//! computation of all of it ([`World::plain`]), and so is the sum of the changes that were told.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use proptest::prelude::*;
use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::cell::Cell;
use reprise_model::coordinate::{Checkpoint, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::hash::{Blake3, Domain, Hasher};
use reprise_model::journal::{Commitment, Outcome, SpanJournal, TransactionJournal, Transition};
use reprise_model::lane::{Activity, LaneError, LaneScheme, Own, Step, WorkloadHasher};
use reprise_model::limits::{Limits, Load};
use reprise_model::order::{BatchRef, Order, PartRef, Rank, Work};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::scheduled::{
    BundleBlocks, ProvedBy, ScheduledBatch, ScheduledBlock, ScheduledTransaction,
};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_model::transaction::Accepted;
use reprise_planner::bundle::{BundleRule, Candidate};
use reprise_planner::demand::{Change, ReceiptStatus};
use reprise_planner::planner::{Planner, ProofContext, Retention, WantedBundle};

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

/// BLAKE3, with a lane tip that aggregates open in the L1's commitment.
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
        self
    }
}

impl LaneScheme for Bound {
    fn binds(&self) -> bool {
        true
    }

    fn at(
        &self,
        hasher: &dyn Hasher,
        lane: &Digest,
        left: Option<&Digest>,
        proof: Option<&[u8]>,
    ) -> Result<Digest, LaneError> {
        Own.at(hasher, lane, left, proof)
    }

    fn reopening<'p>(&self, _: &'p [u8]) -> Option<&'p [u8]> {
        None
    }

    fn accept(&self, hasher: &dyn Hasher, activity: &mut Activity, accepted: &Accepted) {
        Own.accept(hasher, activity, accepted);
    }

    fn after(&self, hasher: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError> {
        Own.after(hasher, step)
    }

    fn open(&self, _: &Digest, _: &Digest, _: Option<&[u8]>) -> Result<Commitment, LaneError> {
        Ok(Commitment::Bound(Digest::ZERO))
    }
}

fn planner(rule: BundleRule, retention: Retention, limits: Limits) -> Planner {
    let profile = ProofProfile {
        system: "made up".into(),
        version: "1".into(),
        seal: SealKind::Fake,
        hash: "none".into(),
        security_bits: 0,
        parameters: String::new(),
    };
    let context = ProofContext {
        scheme: Arc::new(Scheme(profile)),
        hasher: Arc::new(Bound),
        pins: PinsDigest([1; 32]),
        programs: [1, 2, 3].map(|n| ProgramId([n; 32])),
        limits,
    };
    Planner::new(context, rule, retention)
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Demand {
    pub(crate) orders: Vec<Arc<Order>>,
    pub(crate) bundles: Vec<Arc<WantedBundle>>,
    pub(crate) unsettled: bool,
}

/// A planner that follows a chain, what is stored, and what the planner told of its demand so far.
pub(crate) struct World {
    pub(crate) planner: Planner,
    pub(crate) rule: BundleRule,
    grace: u64,
    retained: u64,
    pub(crate) view: Vec<(AddedBlock, ScheduledBlock)>,
    /// Blocks off the view that have not lain deeper than the grace.
    off_view: BTreeMap<BlockHash, Checkpoint>,
    pub(crate) statuses: HashMap<StatementId, ReceiptStatus>,
    /// Of every other statement.
    pub(crate) otherwise: ReceiptStatus,
    /// The statements whose status changed since the demand was last asked for.
    pub(crate) changed: BTreeSet<StatementId>,
    pub(crate) limit: usize,
    /// Blocks whose names are equal modulo this carry the same transactions.
    pub(crate) alike: u8,
    /// How many transactions a batch takes.
    pub(crate) batch_of: u8,
    /// How many of the ways to be proved its transactions take turns in.
    pub(crate) ways: u8,
    /// One of so many batches is computed by the aggregate over it; none by default.
    pub(crate) computed: Option<u8>,
    limits: Limits,
    /// Where the L1 answers for commitments up to a depth only: that, and whether empty blocks can be anchors.
    pub(crate) anchor_depth: Option<AnchorDepth>,
    pub(crate) anchors: bool,
    wanted: BTreeMap<Rank, Arc<Order>>,
    pub(crate) dormant: BTreeSet<StatementId>,
}

impl World {
    fn new() -> Self {
        Self::ruled(2, 99, Retention::default())
    }

    /// Bundles of so many batches, or as soon as the deadline has passed.
    pub(crate) fn ruled(batches_max: usize, deadline_score: u64, retention: Retention) -> Self {
        Self::joining(batches_max, deadline_score, retention, usize::MAX)
    }

    /// The same, with aggregates that verify so many proofs at most and compute as many batches.
    pub(crate) fn joining(
        batches_max: usize,
        deadline_score: u64,
        retention: Retention,
        parts_max: usize,
    ) -> Self {
        let rule = BundleRule { batches_max, transactions_max: 99, deadline_score };
        let limits = Limits { proofs: parts_max, transactions: parts_max, ..Limits::NONE };
        Self {
            planner: planner(rule, retention, limits),
            rule,
            grace: retention.grace,
            retained: retention.retained,
            view: vec![],
            off_view: BTreeMap::new(),
            statuses: HashMap::new(),
            otherwise: ReceiptStatus::Missing,
            changed: BTreeSet::new(),
            limit: usize::MAX,
            alike: u8::MAX,
            batch_of: u8::MAX,
            ways: 1,
            computed: None,
            limits,
            anchor_depth: None,
            anchors: false,
            wanted: BTreeMap::new(),
            dormant: BTreeSet::new(),
        }
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
        let transaction = |n: u8| ScheduledTransaction {
            merge_index: u32::from(n) * 2 + 1,
            proved_by: [ProvedBy::Itself, ProvedBy::Batch, ProvedBy::Disposal]
                [usize::from((name % self.alike).wrapping_add(n) % self.ways)],
            journal: TransactionJournal {
                transaction: Digest([(name % self.alike).wrapping_mul(16) + n; 32]),
                outcome: Outcome::SUCCESS,
                context: None,
                accesses: vec![],
                exits: vec![],
            },
        };
        let scheduled: Vec<_> = (0..transactions).map(transaction).collect();
        let batch = ScheduledBlock {
            metadata,
            batches: self.batches(name, &scheduled, before, after),
            transactions: scheduled,
            root_after: after.0,
            tip_after: after.1,
            is_anchor: transactions > 0 || self.anchors,
        };
        let block =
            ChainBlock { metadata: header, accepted: vec![], lane_proof: None, settlements, claims: vec![] };
        let added = AddedBlock { metadata, returning: false, block };
        self.join(vec![(added, batch)]);
        header.block_hash
    }

    /// The batches of a block named `name`, which chain.
    fn batches(
        &self,
        name: u8,
        scheduled: &[ScheduledTransaction],
        (root, tip): (Digest, Digest),
        after: (Digest, Digest),
    ) -> Vec<ScheduledBatch> {
        let transactions = scheduled.len() as u8;
        let begins: Vec<u8> = (0..transactions).step_by(self.batch_of.into()).collect();
        let within = |begin: u8, what: u8| {
            let mut digest = [name; 32];
            digest[..2].copy_from_slice(&[begin, what]);
            Digest(digest)
        };
        let batch = |(at, begin): (usize, &u8)| {
            let next = begins.get(at + 1);
            let (root_after, tip_after) = next.map_or(after, |next| (within(*next, 1), tip));
            let transition = Transition {
                pins: PinsDigest([1; 32]),
                root_before: if at == 0 { root } else { within(*begin, 1) },
                root_after,
                tip_before: tip,
                tip_after,
                exits: Digest::ZERO,
            };
            let open_before = if at == 0 { Digest::ZERO } else { within(*begin, 2) };
            let open_after = next.map_or(Digest::ZERO, |next| within(*next, 2));
            let journal = SpanJournal { transition, open_before, open_after };
            let end = next.copied().unwrap_or(transactions);
            let apart = |scheduled: &&ScheduledTransaction| scheduled.proved_by == ProvedBy::Itself;
            let apart = scheduled[(*begin).into()..end.into()].iter().filter(apart).count();
            let load = Load { transactions: 1, cost: 1, bytes: 0, proofs: apart as u64 };
            let is_computed =
                self.computed.is_some_and(|every| name.wrapping_add(*begin).is_multiple_of(every));
            let computed = Some(load).filter(|load| is_computed && self.limits.hold(load));
            ScheduledBatch { begin: (*begin).into(), end: end.into(), computed, journal }
        };
        begins.iter().enumerate().map(batch).collect()
    }

    /// Blocks join the view in one event.
    pub(crate) fn join(&mut self, blocks: Vec<(AddedBlock, ScheduledBlock)>) {
        let (added, batches): (Vec<_>, Vec<_>) = blocks.iter().cloned().unzip();
        let event = ChainEvent { removed: vec![], added, finalized: Checkpoint(0) };
        self.planner.follow(&event, &batches);
        for (added, _) in &blocks {
            self.off_view.remove(&added.metadata.block_hash());
        }
        self.view.extend(blocks);
        self.sink();
    }

    /// The last blocks leave the view; which they are, oldest first.
    pub(crate) fn shrink(&mut self, blocks: usize) -> Vec<(AddedBlock, ScheduledBlock)> {
        let left = self.view.split_off(self.view.len() - blocks);
        let removed: Vec<_> = left.iter().rev().map(|(added, _)| added.metadata).collect();
        self.off_view.extend(removed.iter().map(|metadata| (metadata.block_hash(), metadata.checkpoint)));
        self.planner.follow(&ChainEvent { removed, added: vec![], finalized: Checkpoint(0) }, &[]);
        self.sink();
        left
    }

    /// Blocks off the view that lie too deep by now.
    fn sink(&mut self) {
        let (tip, grace) = (self.view.len() as u64, self.grace);
        self.off_view.retain(|_, at| at.0 + grace >= tip);
    }

    /// What is known of a statement from now on.
    pub(crate) fn set_status(&mut self, id: StatementId, status: ReceiptStatus) {
        if self.statuses.insert(id, status).unwrap_or(self.otherwise) != status {
            self.changed.insert(id);
        }
    }

    /// Demand, where nothing was stored and everything has been looked for but what `statuses` says.
    pub(crate) fn demand(&mut self) -> Demand {
        let (statuses, otherwise) = (&self.statuses, self.otherwise);
        let status = |id: &StatementId| statuses.get(id).copied().unwrap_or(otherwise);
        let change = self.planner.demand(std::mem::take(&mut self.changed), &status, self.limit);
        let Change { removed, added, dormant, no_longer_dormant } = change;
        for order in removed {
            let was = self.wanted.remove(&order.rank()).unwrap();
            assert_eq!((was.id, was.coordinate), (order.id, order.coordinate), "removed as it was added");
        }
        for order in added {
            assert_eq!(self.wanted.insert(order.rank(), order), None, "added once");
        }
        dormant.iter().for_each(|id| assert!(self.dormant.insert(*id)));
        no_longer_dormant.iter().for_each(|id| assert!(self.dormant.remove(id)));

        let demand = Demand {
            orders: self.planner.orders().cloned().collect(),
            bundles: self.planner.bundles().cloned().collect(),
            unsettled: self.planner.is_unsettled(),
        };
        assert_eq!(self.wanted.values().cloned().collect::<Vec<_>>(), demand.orders, "the sum of changes");
        let plain = self.plain(&status);
        assert_eq!(demand.orders, plain.orders, "what a plain computation wants");
        assert_eq!((demand.bundles.len(), demand.unsettled), (plain.bundles.len(), plain.unsettled));
        for (bundle, plain) in demand.bundles.iter().zip(&plain.bundles) {
            assert!(Arc::ptr_eq(&bundle.order, &plain.order));
        }
        let dormant = self.off_view.keys().flat_map(|block| self.planner.orders_of(block));
        assert_eq!(self.dormant, dormant.map(|order| order.id).collect());
        let missing = demand.orders.iter().filter(|order| status(&order.id) != ReceiptStatus::Stored);
        let missing = missing.map(|order| order.coordinate.checkpoint).min();
        let [transactions, ..] = self.planner.needed_from();
        let deepest = Checkpoint((self.view.len() as u64).saturating_sub(self.retained));
        let needed = missing.map_or(deepest, |missing| missing.min(deepest));
        assert_eq!(transactions, if self.planner.is_catching_up() { Checkpoint(0) } else { needed });
        demand
    }

    /// Takes into the oldest of these bundles the later ones that it is to be settled with; the block that it is to be anchored in.
    fn anchor(
        &self,
        bundles: &mut Vec<Vec<Candidate>>,
        open: &[Candidate],
        score: u64,
    ) -> Option<BatchMetadata> {
        let (depth, last) = (self.anchor_depth?, bundles.first()?.last()?.metadata);
        let highest = depth.highest(last.block.blue_score, score);
        while highest > last.block.blue_score
            && bundles.get(1).is_some_and(|next| next.last().unwrap().metadata.block.blue_score <= highest)
        {
            let next = bundles.remove(1);
            bundles[0].extend(next);
        }
        let last = bundles[0].last()?.metadata;
        let next = bundles.get(1).map_or(open.first(), |next| next.first());
        let end = next.map_or(Checkpoint(u64::MAX), |next| next.metadata.checkpoint);
        let later = self.view.iter().filter(|(_, block)| block.is_anchor).map(|(added, _)| added.metadata);
        let mut later = later.filter(|it| it.checkpoint > last.checkpoint && it.checkpoint < end);
        Some(later.rfind(|block| block.block.blue_score <= highest).unwrap_or(last))
    }

    /// The specification: all of the demand, computed anew from the view. Only the orders themselves are the
    /// planner's.
    fn plain(&self, status: &dyn Fn(&StatementId) -> ReceiptStatus) -> Demand {
        let mut demand = Demand { orders: vec![], bundles: vec![], unsettled: false };
        if self.planner.is_catching_up() {
            return Demand { unsettled: true, ..demand };
        }
        let settled = self.view.iter().rev().find_map(|(added, _)| added.block.settlements.last());
        let settled = settled.and_then(|settled| {
            self.view.iter().position(|(added, _)| added.metadata.block_hash() == settled.end_block)
        });
        let unsettled = &self.view[settled.map_or(0, |end| end + 1)..];
        let unsettled: Vec<Candidate> = unsettled
            .iter()
            .filter(|(_, block)| !block.batches.is_empty())
            .map(|(added, batch)| Candidate {
                metadata: added.metadata,
                transactions: batch.transactions.len(),
            })
            .collect();
        demand.unsettled = !unsettled.is_empty();
        let score = self.view.last().map_or(0, |(added, _)| added.metadata.block.blue_score);

        let mut room = self.limit;
        let mut want = |order: &Arc<Order>| {
            demand.orders.push(order.clone());
            room = room.saturating_sub(usize::from(status(&order.id) != ReceiptStatus::Stored));
            (status(&order.id) == ReceiptStatus::Missing, room)
        };
        let mut left = self.limit;
        let mut rest = unsettled.as_slice();
        let mut bundles: Vec<Vec<Candidate>> = vec![];
        for length in self.rule.close(&unsettled, score) {
            let (bundle, later) = rest.split_at(length);
            rest = later;
            bundles.push(bundle.to_vec());
        }
        let mut anchor = self.anchor(&mut bundles, rest, score);
        for bundle in bundles {
            let last = bundle.last().unwrap().metadata;
            let anchor = anchor.take().unwrap_or(last);
            let blocks: Vec<_> = bundle.iter().map(|block| block.metadata.block_hash()).collect();
            let found = self.planner.bundles().find(|wanted| {
                (&wanted.bundle.blocks.blocks, wanted.bundle.blocks.anchor) == (&blocks, anchor)
            });
            let wanted = found.cloned().unwrap_or_else(|| {
                let of =
                    |blocks: &BundleBlocks| (blocks.start, blocks.end.checkpoint, blocks.anchor.checkpoint);
                let all: Vec<_> = self.planner.bundles().map(|wanted| of(&wanted.bundle.blocks)).collect();
                let expected = (bundle[0].metadata.checkpoint, last.checkpoint, anchor.checkpoint);
                panic!("{expected:?} is not among {all:?}")
            });
            assert_eq!(
                wanted.bundle.journal.commitment,
                Commitment::Bound(anchor.block.sequencing_commitment)
            );
            if left > 0 {
                let end = wanted.bundle.blocks.end.block_hash();
                left = self.want(&wanted.order, end, &mut want);
                let Work::Settle { parts, .. } = &wanted.order.work else {
                    panic!("{:?}", wanted.order.work)
                };
                assert_eq!(all(parts), self.batches_of(&blocks));
            }
            demand.bundles.push(wanted);
        }
        for block in rest {
            if left > 0 {
                for batch in self.batches_of(&[block.metadata.block_hash()]) {
                    let part = match self.scheduled(&batch).computed {
                        Some(_) => PartRef::Computed(batch),
                        None => PartRef::Batch(batch),
                    };
                    for order in self.assumed(&part, batch.block) {
                        left = self.want(&order, batch.block, &mut want);
                    }
                }
            }
        }
        demand
    }

    /// The order for some work, among those of a block.
    fn order(&self, block: &BlockHash, work: &Work) -> Arc<Order> {
        let orders = self.planner.orders_of(block);
        let same = |order: &&Arc<Order>| match (&order.work, work) {
            // What is joined is known by the batches that it is over.
            (Work::Join(a), Work::Join(b)) => all(a) == all(b),
            (a, b) => a == b,
        };
        orders.iter().find(same).unwrap_or_else(|| panic!("{work:?}")).clone()
    }

    /// The batches of these blocks of the view, in order.
    fn batches_of(&self, blocks: &[BlockHash]) -> Vec<BatchRef> {
        let batches = |block: &BlockHash| {
            let block = *block;
            let found = self.view.iter().find(|(added, _)| added.metadata.block_hash() == block);
            (0..found.unwrap().1.batches.len()).map(move |index| BatchRef { block, index })
        };
        blocks.iter().flat_map(batches).collect()
    }

    fn scheduled(&self, BatchRef { block, index }: &BatchRef) -> ScheduledBatch {
        let found = self.view.iter().find(|(added, _)| added.metadata.block_hash() == *block);
        found.unwrap().1.batches[*index]
    }

    /// The orders for the transactions of a batch that are proved apart.
    fn apart(&self, batch: &BatchRef) -> Vec<Arc<Order>> {
        let block = &batch.block;
        let found = self.view.iter().find(|(added, _)| added.metadata.block_hash() == *block);
        let (_, scheduled) = found.unwrap();
        let apart = |at: &usize| scheduled.transactions[*at].proved_by == ProvedBy::Itself;
        let of = |index| self.order(block, &Work::Transaction { block: *block, index });
        self.scheduled(batch).range().filter(apart).map(of).collect()
    }

    /// The orders that an aggregate over a part assumes: `end` is the last block of its bundle.
    fn assumed(&self, part: &PartRef, end: BlockHash) -> Vec<Arc<Order>> {
        match part {
            PartRef::Batch(batch) => vec![self.order(&batch.block, &Work::Batch(*batch))],
            PartRef::Joined(_) => vec![self.order(&end, &Work::Join(vec![part.clone()]))],
            PartRef::Computed(batch) => self.apart(batch),
        }
    }

    /// Wants an order, and what is inside where it is missing: `end` is the last block of its bundle.
    fn want(
        &self,
        order: &Arc<Order>,
        end: BlockHash,
        want: &mut dyn FnMut(&Arc<Order>) -> (bool, usize),
    ) -> usize {
        let inner: Vec<Arc<Order>> = match &order.work {
            Work::Transaction { .. } => vec![],
            Work::Batch(batch) => self.apart(batch),
            Work::Join(parts) | Work::Settle { parts, .. } => {
                let load = |part: &PartRef| match part {
                    PartRef::Batch(batch) => {
                        assert_eq!(self.scheduled(batch).computed, None);
                        Load::VERIFIED
                    }
                    PartRef::Computed(batch) => self.scheduled(batch).computed.unwrap(),
                    PartRef::Joined(_) => Load::VERIFIED,
                };
                let load = parts.iter().map(load).fold(Load::default(), Load::and);
                assert!(self.limits.hold(&load), "{load:?}");
                parts.iter().flat_map(|part| self.assumed(part, end)).collect()
            }
        };
        let assumed: Vec<_> = order.assumptions.iter().map(|assumption| assumption.id).collect();
        assert_eq!(assumed, inner.iter().map(|order| order.id).collect::<Vec<_>>());
        let (missing, mut left) = want(order);
        for inner in inner.iter().filter(|_| missing) {
            left = self.want(inner, end, want);
        }
        left
    }

    pub(crate) fn wanted(&mut self) -> Vec<(Kind, u8)> {
        self.demand().orders.iter().map(|order| (order.kind(), order.coordinate.block_hash.0[0])).collect()
    }
}

pub(crate) fn settlement_of(wanted: &WantedBundle) -> ObservedSettlement {
    let end_block = wanted.bundle.blocks.anchor.block_hash();
    ObservedSettlement { statement: wanted.order.id, journal: wanted.bundle.journal, end_block }
}

/// The batches that parts are over.
fn all(parts: &[PartRef]) -> Vec<BatchRef> {
    parts.iter().flat_map(PartRef::batches).copied().collect()
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
    for status in [ReceiptStatus::Stored, ReceiptStatus::Unknown] {
        world.set_status(find(Aggregate, 2), status);
        assert_eq!(world.wanted(), [&[(Aggregate, 2)], &open[..]].concat(), "{status:?}");
        world.set_status(find(Aggregate, 2), ReceiptStatus::Missing);
        world.set_status(find(Batch, 1), status);
        let below = [(Aggregate, 2), (Batch, 1), (Batch, 2), (Transaction, 2)];
        assert_eq!(world.wanted(), [&below[..], &open].concat(), "{status:?}");
        world.set_status(find(Batch, 1), ReceiptStatus::Missing);
    }
    // Facts reduce demand, and never shape a bundle.
    demand.orders.iter().for_each(|order| world.set_status(order.id, ReceiptStatus::Stored));
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
        assert_eq!(order.coordinate.position.kind(), order.kind());
    }
}

/// What an order is over, in a chain of one bundle: from which of its batches to which, and how many parts it takes.
fn over(order: &Order, batches: &[BatchRef]) -> (&'static str, usize, usize, usize) {
    let at = |batch: &BatchRef| batches.iter().position(|other| other == batch).unwrap();
    let of = |parts: &[PartRef]| {
        let all = all(parts);
        (at(all.first().unwrap()), at(all.last().unwrap()), parts.len())
    };
    let (name, (first, last, parts)) = match &order.work {
        Work::Settle { parts, .. } => ("settle", of(parts)),
        Work::Join(parts) => ("join", of(parts)),
        Work::Batch(batch) => ("batch", (at(batch), at(batch), 0)),
        Work::Transaction { .. } => ("transaction", (0, 0, 0)),
    };
    (name, first, last, parts)
}

#[test]
fn an_aggregate_of_many_batches_wants_joins_and_each_level_only_where_the_one_above_is_missing() {
    // Two blocks of nine batches; an aggregate takes four parts.
    let mut world = World::joining(2, 99, Retention::default(), 4);
    (world.batch_of, world.ways, world.otherwise) = (1, 1, ReceiptStatus::Unknown);
    let blocks = [1, 2].map(|name| world.grow(name, 9, vec![]));
    let batches = world.batches_of(&blocks);
    let wanted = |world: &mut World| -> Vec<_> {
        world.demand().orders.iter().map(|order| over(order, &batches)).collect()
    };
    let miss = |world: &mut World, name, first| {
        let orders = world.demand().orders;
        let order = orders.iter().find(|order| {
            let (other, begin, ..) = over(order, &batches);
            (other, begin) == (name, first) && !world.statuses.contains_key(&order.id)
        });
        let id = order.unwrap().id;
        world.set_status(id, ReceiptStatus::Missing);
        id
    };
    let settle = ("settle", 0, 17, 2);
    assert_eq!(wanted(&mut world), [settle]);
    miss(&mut world, "settle", 0);
    let (most, rest) = (("join", 0, 15, 4), ("join", 16, 17, 2));
    assert_eq!(wanted(&mut world), [settle, most, rest]);
    let joined = miss(&mut world, "join", 0);
    let inner = [0, 4, 8, 12].map(|first| ("join", first, first + 3, 4));
    assert_eq!(wanted(&mut world), [&[settle, most][..], &inner, &[rest]].concat());
    miss(&mut world, "join", 8);
    let within = [8, 9, 10, 11].map(|at| ("batch", at, at, 0));
    let all = [&[settle, most][..], &inner[..3], &within, &inner[3..], &[rest]].concat();
    assert_eq!(wanted(&mut world), all);
    miss(&mut world, "batch", 9);
    assert_eq!(wanted(&mut world).len(), all.len() + 1);
    // What is stored, or not looked for, ends the search below it.
    world.set_status(joined, ReceiptStatus::Stored);
    assert_eq!(wanted(&mut world), [settle, most, rest]);
    world.set_status(joined, ReceiptStatus::Missing);
    assert_eq!(wanted(&mut world).len(), all.len() + 1);
}

#[test]
fn the_batches_of_an_open_block_are_wanted_before_any_bundle_is_closed() {
    let mut world = World::joining(2, 99, Retention::default(), 4);
    (world.batch_of, world.ways) = (2, 3);
    world.grow(1, 5, vec![]);
    // Transactions 1 to 5 are executed in the batch, disposed of, apart, and so on round.
    let merge_indices: Vec<_> =
        world.demand().orders.iter().map(|order| (order.kind(), order.coordinate.position)).collect();
    let batch = |first| (Batch, Position::Batch { first });
    let expected = [batch(1), batch(5), (Transaction, Position::Transaction { merge_index: 5 }), batch(9)];
    assert_eq!(merge_indices, expected);
}

#[test]
fn a_batch_that_an_aggregate_computes_is_not_wanted_itself_and_what_it_has_proved_apart_is_wanted_at_once() {
    // Two blocks of three batches, all computed. An aggregate computes two, so there are joins.
    let mut world = World::joining(2, 99, Retention::default(), 2);
    (world.batch_of, world.ways, world.computed) = (2, 3, Some(1));
    world.grow(1, 5, vec![]);
    let kinds = |world: &mut World| -> Vec<_> {
        world.demand().orders.iter().map(|order| (order.kind(), order.assumptions.len())).collect()
    };
    assert_eq!(kinds(&mut world), [(Transaction, 0)], "before the bundle is closed");
    world.grow(2, 1, vec![]);
    let (first, second) = ((Aggregate, 1), (Aggregate, 0));
    assert_eq!(kinds(&mut world), [(Aggregate, 2), first, (Transaction, 0), second]);
    // Of what is proved as one, each part is named.
    let Work::Join(parts) = &world.demand().orders[1].work else { panic!() };
    assert!(matches!(parts[..], [PartRef::Computed(_), PartRef::Computed(_)]), "{parts:?}");
}

proptest! {
    #[test]
    fn the_ranks_of_a_chains_orders_are_distinct_and_what_is_inside_comes_next(
        blocks in proptest::collection::vec(0u8..9, 1..8), batches_max in 1usize..5, batch_of in 1u8..4,
        parts_max in 2usize..5, computed in proptest::option::of(1u8..6),
    ) {
        let mut world = World::joining(batches_max, 99, Retention::default(), parts_max);
        (world.batch_of, world.computed) = (batch_of, computed);
        for (name, transactions) in (1..).zip(blocks) {
            world.grow(name, transactions, vec![]);
        }
        let orders = world.demand().orders;
        let ranks: Vec<Rank> = orders.iter().map(|order| order.rank()).collect();
        prop_assert!(ranks.array_windows().all(|[a, b]| a < b));
        let keys: HashSet<_> = orders.iter().map(|order| order.coordinate.key()).collect();
        prop_assert_eq!(keys.len(), orders.len(), "no two have one coordinate");
        // The orders are the walk through each unit, outer before inner: each is followed by all that it is made from.
        fn walk(orders: &mut std::slice::Iter<'_, Arc<Order>>, id: StatementId) -> bool {
            orders.next().is_some_and(|order| {
                order.id == id && order.assumptions.iter().all(|inner| walk(orders, inner.id))
            })
        }
        let mut rest = orders.iter();
        while let Some(next) = rest.clone().next() {
            prop_assert!(walk(&mut rest, next.id));
        }
    }
}

/// A world whose L1 answers for commitments up to a depth, and in which empty blocks can be anchors.
fn anchored(depth: u64) -> World {
    let mut world = World::ruled(2, 4, Retention::default());
    (world.anchor_depth, world.anchors) = (Some(AnchorDepth(depth)), true);
    world.planner.set_anchor_depth(world.anchor_depth);
    world
}

#[test]
fn a_settlement_that_does_not_come_is_anchored_anew_over_the_same_parts() {
    let mut world = anchored(16);
    world.grow(1, 1, vec![]);
    world.grow(2, 1, vec![]);
    let first = world.demand().bundles[0].clone();
    assert_eq!(first.bundle.blocks.anchor, first.bundle.blocks.end);
    let mut anchors = vec![];
    for name in 3..60 {
        world.grow(name, 0, vec![]);
        let oldest = &world.demand().bundles[0];
        let anchor = oldest.bundle.blocks.anchor.checkpoint.0;
        assert!(u64::from(name) - anchor < 16, "{anchor} at {name}");
        assert_eq!(oldest.order.assumptions, first.order.assumptions, "no batch is proved again");
        anchors.push(anchor);
    }
    anchors.dedup();
    assert_eq!(anchors, [2, 8, 16, 24, 32, 40, 48, 56], "once in half of the depth");
    // Once it lands there, it settles what it settled before.
    let landed = settlement_of(&world.demand().bundles[0]);
    world.grow(60, 0, vec![landed]);
    let after = world.demand();
    assert!(!after.unsettled && after.bundles.is_empty());
}

#[test]
fn where_the_lane_has_gone_on_the_oldest_bundle_takes_in_the_next_ones() {
    let mut world = anchored(16);
    for name in 1..=40 {
        world.grow(name, 1, vec![]);
        world.demand();
    }
    let demand = world.demand();
    let oldest = &demand.bundles[0].bundle.blocks;
    // All that lies below the highest block that it may be anchored in.
    assert_eq!((oldest.start, oldest.blocks.len()), (Checkpoint(1), 32));
    assert_eq!((oldest.anchor, oldest.end.checkpoint), (oldest.end, Checkpoint(32)));
    assert_eq!(demand.bundles[1].bundle.blocks.start, Checkpoint(33));
    let batches = demand.orders.iter().filter(|order| order.kind() == Batch).count();
    assert_eq!(batches, 40, "every batch once");
    // What was settled stays settled, and the rest is as it was.
    world.grow(41, 0, vec![settlement_of(&demand.bundles[0])]);
    let after = world.demand();
    assert_eq!(after.bundles[0].order.id, demand.bundles[1].order.id);
}

#[test]
fn an_anchor_that_leaves_the_chain_is_chosen_again() {
    let mut world = anchored(16);
    for name in 1..=2 {
        world.grow(name, 1, vec![]);
    }
    for name in 3..=12 {
        world.grow(name, 0, vec![]);
    }
    assert_eq!(world.demand().bundles[0].bundle.blocks.anchor.checkpoint, Checkpoint(8));
    world.shrink(7);
    assert_eq!(world.demand().bundles[0].bundle.blocks.anchor.checkpoint, Checkpoint(2));
    for name in 21..=28 {
        world.grow(name, 0, vec![]);
    }
    let anchor = world.demand().bundles[0].bundle.blocks.anchor;
    assert_eq!((anchor.checkpoint, anchor.block_hash()), (Checkpoint(8), BlockHash([23; 32])));
}

#[test]
fn on_a_busy_lane_an_anchor_stays_for_half_of_the_depth_and_what_it_replaces_can_be_settled_meanwhile() {
    let mut world = anchored(64);
    let (mut anchors, mut proved) = (vec![], None);
    for name in 1..=160 {
        world.grow(name, 1, vec![]);
        let Some(oldest) = world.demand().bundles.first().cloned() else { continue };
        anchors.push(oldest.order.id);
        if name == 20 {
            proved = Some(oldest.order.id);
        }
        let replaced = world.planner.replaced().map(|replaced| replaced.order.id);
        match name {
            // The first anchor lies in block 2, and holds until block 65.
            0..34 => assert_eq!(replaced, None),
            34..66 => assert_eq!(replaced, proved),
            _ => assert_ne!(replaced, proved),
        }
    }
    anchors.dedup();
    assert_eq!(anchors.len(), 5, "once in half of the depth, however much the lane accepts");
}
