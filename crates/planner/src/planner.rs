//! The planner: what is wanted now, from the aggregates down.
//!
//! The cost of an event is proportional to what it changes, not to the length of the chain or of its unsettled part, but for
//! a bundle that is [anchored again](#anchors), twice in the depth of an anchor.
//! A closed bundle stays closed until a reorg removes the block that closed it, or a settlement ends inside it. The
//! [`demand`](crate::demand) is kept, and only its change is returned.
//!
//! # What is kept
//!
//! | depth below the tip | blocks off the view | blocks of the view |
//! |---|---|---|
//! | up to [`Retention::grace`] | planned; queued jobs are kept | planned |
//! | up to [`Retention::retained`] | planned | planned |
//! | beyond | dropped, and planned again if they return | planned |
//! | final | dropped | those that accept something, and those that a settlement can be anchored in |
//! | final, and settled by a settlement that is final | dropped | dropped |
//!
//! So a settlement may end in an empty block that was dropped. It settles as much as one that ends in the last block below that
//! accepts something: state and lane tip are the same, and by these the planner finds that block ([`Planner::end_of`]).
//!
//! # Anchors
//!
//! A bundle's settlement is [anchored](reprise_model::anchor) in its last block. While the oldest bundle is not settled and
//! the chain grows, it is anchored again in later blocks. Each time costs the proof of one aggregate, over receipts that are
//! stored. It takes in the bundles that lie below the highest block that it may be anchored in. While the new aggregate is
//! proved, the [bundle as it was](Planner::replaced) can be settled.
//!
//! # Below the floor
//!
//! What is final, and settled by a settlement that is final, is pruned from the store too. A later process follows the
//! same chain from its beginning, and must not want it again. So it is given the store's prune floor
//! ([`Planner::resume`]), and wants nothing until the chain has shown the settlement that the floor is based on.
//!
//! # From a snapshot
//!
//! A chain that is followed from a snapshot begins at a settled block, with the state that the snapshot names
//! ([`Planner::start_from`]). Anybody can have written it. So nothing is wanted until the chain has shown a settlement that ends in that
//! very block, state and lane tip. The settlements of earlier blocks that it shows before are not this node's to judge.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use foldhash::HashMap;
use reprise_chain::event::ChainEvent;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{BatchMetadata, ObservedSettlement};
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId, StatementId};
use reprise_model::journal::{AggregateJournal, Commitment, Journal, Span};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, Load};
use reprise_model::mutation::{self, Mutation};
use reprise_model::order::{BatchRef, Order, PartRef, Work};
use reprise_model::scheduled::{BundleBlocks, ProvedBy, ScheduledBatch, ScheduledBlock, ScheduledBundle};
use reprise_model::statement::{Claim, ClaimScheme, Kind};

use crate::bundle::{BundleRule, Candidate};
use crate::demand::{Change, Demand, ReceiptStatus};
use crate::dormant::Dormant;
use crate::planned::{Accounted, PlannedBlock, PlannedOrder, PlannedPart};

/// What the workload is proved with.
#[derive(Clone)]
pub struct ProofContext {
    /// The backend's claims.
    pub scheme: Arc<dyn ClaimScheme>,
    /// The workload's hash.
    pub hasher: Arc<dyn WorkloadHasher>,
    /// The digest of the pins.
    pub pins: PinsDigest,
    /// The program of each kind, in the order of [`Kind::ALL`].
    pub programs: [ProgramId; Kind::COUNT],
    /// What one proof may hold.
    pub limits: Limits,
}

impl ProofContext {
    /// The program that proves statements of `kind`.
    pub fn program(&self, kind: Kind) -> ProgramId {
        self.programs[kind as usize]
    }
}

/// One canonical block.
#[derive(Clone)]
struct ViewBlock {
    metadata: BatchMetadata,
    planned: Option<Arc<PlannedBlock>>,
}

/// A settlement that the canonical chain shows.
#[derive(Clone)]
struct CanonicalSettlement {
    /// The checkpoint of the block that carried it.
    carrier: Checkpoint,
    /// The checkpoint that it ends with, if that block is of the view.
    end: Option<Checkpoint>,
    settlement: ObservedSettlement,
}

/// How long blocks off the view are kept, as depths in checkpoints below the tip.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Up to this depth, a block's queued jobs are kept.
    pub grace: u64,
    /// Up to this depth, a block stays planned. At least the grace, at most the finality depth.
    pub retained: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { grace: 32, retained: 1000 }
    }
}

/// A bundle of the canonical chain that no observed settlement covers.
#[derive(Debug, Clone)]
pub struct WantedBundle {
    /// What it covers and what its proof will attest.
    pub bundle: ScheduledBundle,
    /// The order for its aggregate.
    pub order: Arc<Order>,
    /// The same, with the orders below it.
    planned: Arc<PlannedOrder>,
}

impl WantedBundle {
    /// The order, and all orders below it.
    pub fn orders(&self) -> Vec<Arc<Order>> {
        self.planned.orders(|_| true)
    }
}

/// A closed bundle of the window.
#[derive(Clone)]
struct ClosedBundle {
    /// `None` if the executed blocks do not chain: then they cannot be proved, and nothing of them is wanted.
    wanted: Option<Arc<WantedBundle>>,
    start: Checkpoint,
    end: Checkpoint,
    /// The block that closed it: its last, or the first past its deadline.
    closed_by: Checkpoint,
    /// How it was anchored again, if it was.
    anew: Option<Anew>,
}

/// A bundle that was anchored again.
#[derive(Clone)]
struct Anew {
    /// Its last block as it was closed at first.
    last: BatchMetadata,
    /// The highest blue score that its anchor could have.
    highest: u64,
    /// What it was before.
    before: Arc<WantedBundle>,
}

/// The non-empty canonical blocks after the last settled one, in bundles.
#[derive(Clone, Default)]
struct Window {
    /// The first checkpoint that is not settled.
    start: Checkpoint,
    /// The first checkpoint that was not examined yet.
    next: Checkpoint,
    bundles: VecDeque<ClosedBundle>,
    /// The blocks after the last closed bundle.
    open: Vec<Arc<PlannedBlock>>,
}

impl Window {
    fn from(start: Checkpoint) -> Self {
        Self { start, next: start, ..Self::default() }
    }

    /// Drops the bundles that a block above `tip` closed or changed.
    fn truncate(&mut self, tip: Checkpoint) {
        if self.next.0 <= tip.0 + 1 {
            return;
        }
        let reaches = |closed: &ClosedBundle| {
            let anchor = closed.wanted.as_ref().map(|wanted| wanted.bundle.blocks.anchor.checkpoint);
            closed.anew.is_some() && (closed.closed_by > tip || anchor.is_some_and(|anchor| anchor > tip))
        };
        if self.bundles.front().is_some_and(reaches) {
            *self = Self::from(self.start);
            return;
        }
        while self.bundles.back().is_some_and(|closed| closed.closed_by > tip) {
            self.bundles.pop_back();
        }
        self.next = self.bundles.back().map_or(self.start, |closed| Checkpoint(closed.end.0 + 1));
        self.open.clear();
    }

    /// Moves the beginning to `start`. The bundles after it stay, if no bundle spans it; else all are formed again.
    fn begin_at(&mut self, start: Checkpoint) {
        if start == self.start {
            return;
        }
        let settled = self.bundles.partition_point(|closed| closed.end < start);
        let next = self.bundles.get(settled).map(|closed| closed.start);
        let next = next.or(self.open.first().map(|planned| planned.metadata.checkpoint));
        match start > self.start && settled > 0 && next.is_none_or(|next| next >= start) {
            true => {
                self.bundles.drain(..settled);
                (self.start, self.next) = (start, self.next.max(start));
            }
            false => *self = Self::from(start),
        }
    }

    /// The first unit that begins above `last`: its first checkpoint and its outermost orders.
    fn after(&self, last: Option<Checkpoint>) -> Option<(Checkpoint, Vec<Arc<PlannedOrder>>)> {
        let above = |start: Checkpoint| last.is_none_or(|last| start > last);
        let at = self.bundles.partition_point(|closed| !above(closed.start));
        for closed in self.bundles.range(at..) {
            if let Some(wanted) = &closed.wanted {
                return Some((closed.start, vec![wanted.planned.clone()]));
            }
        }
        let at = self.open.partition_point(|planned| !above(planned.metadata.checkpoint));
        let planned = self.open.get(at)?;
        Some((planned.metadata.checkpoint, planned.outermost()))
    }
}

/// The result of a prune.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pruned {
    /// The new floor, if it rose: everything below is final, and settled by a settlement that is final.
    pub floor: Option<Checkpoint>,
    /// The statements that were planned for the pruned blocks, on the view and off it. Other blocks may use
    /// them too.
    pub statements: Vec<StatementId>,
}

/// Turns chain and execution into demand. Pure: no clock, no I/O, no store.
#[derive(Clone)]
pub struct Planner {
    context: ProofContext,
    rule: BundleRule,
    retention: Retention,
    /// The blocks of the view from the highest final one on, one a checkpoint.
    view: VecDeque<ViewBlock>,
    /// Those below that were kept, the lowest first.
    past: VecDeque<ViewBlock>,
    /// The checkpoints of all of them.
    checkpoints: HashMap<BlockHash, Checkpoint>,
    /// The checkpoints of those blocks of the view in which a settlement can be anchored.
    anchors: BTreeSet<Checkpoint>,
    anchor_depth: Option<AnchorDepth>,
    settlements: VecDeque<CanonicalSettlement>,
    /// How many settlements were pruned.
    settlements_pruned: u64,
    window: Window,
    demand: Demand,
    planned: HashMap<BlockHash, Arc<PlannedBlock>>,
    /// The aggregates by their last blocks, each with the hash of its first block.
    aggregates: HashMap<BlockHash, Vec<(BlockHash, Arc<WantedBundle>)>>,
    /// The planned blocks, by height.
    heights: BTreeMap<Checkpoint, Vec<BlockHash>>,
    dormant: Dormant,
    /// Everything below is pruned.
    floor: Checkpoint,
    /// Below this, blocks off the view are dropped.
    swept: Checkpoint,
    /// While the chain has not shown the settlement that the floor is based on: the highest checkpoint of a block that
    /// can carry it.
    catching_up: Option<Checkpoint>,
    /// The highest checkpoint that any fork has reached.
    highest: Checkpoint,
    /// The block that the chain is followed from, where that is a snapshot's.
    origin: Option<SettledOrigin>,
}

/// Where a chain is followed from that does not begin at the rollup's founding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledOrigin {
    /// The settled block.
    pub block: BlockHash,
    /// Its checkpoint.
    pub checkpoint: Checkpoint,
    /// The state root and the lane tip after it.
    pub state: (Digest, Digest),
    /// The checkpoint of the block that carries the settlement.
    pub carried_by: Checkpoint,
}

/// How the chain refutes the snapshot that it is followed from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refuted {
    /// A settlement ends in its block, and in another state.
    #[error(
        "the settlement {statement} ends in the block {block} with the state root {} and the lane tip {}, and the snapshot names \
         {} and {}",
        settled.0, settled.1, named.0, named.1
    )]
    OtherState {
        /// The settlement.
        statement: StatementId,
        /// The block.
        block: BlockHash,
        /// The settlement's state root and lane tip.
        settled: (Digest, Digest),
        /// The snapshot's.
        named: (Digest, Digest),
    },
    /// Another settlement comes first.
    #[error("the settlement {statement} goes on from {block} before any settlement ends there")]
    NotSettled {
        /// The settlement.
        statement: StatementId,
        /// The snapshot's block.
        block: BlockHash,
    },
    /// No settlement ends in its block.
    #[error("no settlement up to checkpoint {carried_by} ends in its block {block}")]
    Missing {
        /// The block.
        block: BlockHash,
        /// The checkpoint of the block that was to carry it.
        carried_by: Checkpoint,
    },
}

impl Planner {
    /// A planner over a chain that starts after its root.
    pub fn new(context: ProofContext, rule: BundleRule, retention: Retention) -> Self {
        Self {
            context,
            rule,
            retention,
            view: VecDeque::new(),
            past: VecDeque::new(),
            checkpoints: HashMap::default(),
            anchors: BTreeSet::new(),
            anchor_depth: None,
            settlements: VecDeque::new(),
            settlements_pruned: 0,
            window: Window::default(),
            demand: Demand::default(),
            planned: HashMap::default(),
            aggregates: HashMap::default(),
            heights: BTreeMap::new(),
            dormant: Dormant::default(),
            floor: Checkpoint(0),
            swept: Checkpoint(0),
            catching_up: None,
            highest: Checkpoint(0),
            origin: None,
        }
    }

    /// The chain is followed from this block, and everything up to it is settled. Comes before [`resume`](Self::resume).
    pub fn start_from(&mut self, origin: SettledOrigin) {
        self.checkpoints.insert(origin.block, origin.checkpoint);
        self.swept = Checkpoint(origin.checkpoint.0 + 1);
        self.origin = Some(origin);
    }

    /// Sets down to which depth the L1 answers for commitments. Bundles are then anchored again in time.
    pub fn set_anchor_depth(&mut self, depth: Option<AnchorDepth>) {
        self.anchor_depth = depth;
    }

    /// The checkpoint of a block of the view.
    fn checkpoint_of(&self, block: &BlockHash) -> Option<Checkpoint> {
        self.checkpoints.get(block).copied()
    }

    /// Up to which checkpoint a settlement of the canonical chain settles it; `None` where it ends in no block of the view. Of
    /// the empty blocks after the last that it covers it may count any.
    pub fn end_of(&self, settlement: &ObservedSettlement) -> Option<Checkpoint> {
        let transition = &settlement.journal.transition;
        let ends = |planned: &PlannedBlock| {
            let last = planned.batches.last().map(|batch| &batch.span.journal.transition);
            last.is_some_and(|last| {
                (last.root_after, last.tip_after) == (transition.root_after, transition.tip_after)
            })
        };
        let same = || {
            let mut past = self.past.iter().rev();
            let found = past.find(|viewed| viewed.planned.as_deref().is_some_and(ends))?;
            Some(found.metadata.checkpoint)
        };
        self.checkpoint_of(&settlement.end_block).or_else(same)
    }

    /// Continues over a store whose receipts are pruned below `floor`. When the floor was raised to there, the chain had
    /// reached `highest`, so a block up to there carries the settlement that the floor is based on. See
    /// [`Planner::unknown_floor`].
    pub fn resume(&mut self, floor: Checkpoint, highest: Checkpoint) {
        let origin = self.origin.map(|origin| (Checkpoint(origin.checkpoint.0 + 1), origin.carried_by));
        let (floor, highest) = origin.filter(|(above, _)| *above >= floor).unwrap_or((floor, highest));
        let waits = floor > Checkpoint(0) && !mutation::is(Mutation::SnapshotUnconfirmed);
        self.catching_up = waits.then_some(highest);
        (self.floor, self.highest) = (floor, highest);
    }

    /// How the chain refutes the snapshot that it is followed from, if it does.
    pub fn refuted(&self) -> Option<Refuted> {
        let believed = mutation::is(Mutation::SnapshotUnconfirmed);
        let SettledOrigin { block, state: named, carried_by, .. } = self.origin.filter(|_| !believed)?;
        let mut settlements = self.settlements.iter().filter(|_| self.settlements_pruned == 0);
        let Some(ends) = settlements.find(|settled| settled.end.is_some()) else {
            let missing = self.is_catching_up() && self.tip() > carried_by;
            return missing.then_some(Refuted::Missing { block, carried_by });
        };
        let (statement, transition) = (ends.settlement.statement, ends.settlement.journal.transition);
        let settled = (transition.root_after, transition.tip_after);
        match ends.settlement.end_block == block {
            true if settled == named => None,
            true => Some(Refuted::OtherState { statement, block, settled, named }),
            false => Some(Refuted::NotSettled { statement, block }),
        }
    }

    /// The highest checkpoint that any fork has reached, in this process or an earlier one.
    pub fn highest(&self) -> Checkpoint {
        self.highest
    }

    /// Whether nothing is wanted yet, because the chain has not shown the settlement that the floor is based on.
    pub fn is_catching_up(&self) -> bool {
        self.catching_up.is_some()
    }

    /// The prune floor, if the chain has grown past every block that this data directory had seen and has not shown the
    /// settlement that the floor is based on. It is then another chain, or the L1 has lost a part of it. What it needs
    /// below the floor is pruned, and cannot be stored again.
    pub fn unknown_floor(&self) -> Option<Checkpoint> {
        let astray = self.catching_up.is_some_and(|highest| self.tip() > highest);
        astray.then_some(self.floor)
    }

    /// Follows one change of the view; `blocks` are the event's added blocks, executed.
    pub fn follow(&mut self, event: &ChainEvent, blocks: &[ScheduledBlock]) {
        for _ in &event.removed {
            let Some(ViewBlock { metadata, planned }) = self.view.pop_back() else { continue };
            let hash = metadata.block_hash();
            self.checkpoints.remove(&hash);
            self.anchors.remove(&metadata.checkpoint);
            if planned.is_some() {
                let statements = self.orders_of(&hash).iter().map(|order| order.id).collect();
                self.dormant.insert((metadata.checkpoint, hash), statements);
            }
        }
        let tip = self.tip();
        self.window.truncate(tip);
        self.demand.keep(Checkpoint(0), self.window.next);
        let stays = mutation::is(Mutation::SettledForEver);
        while self.settlements.back().is_some_and(|settled| settled.carrier > tip && !stays) {
            self.settlements.pop_back();
        }
        for (added, block) in event.added.iter().zip(blocks) {
            let planned = self.plan_block(block);
            let (hash, carrier) = (added.metadata.block_hash(), added.metadata.checkpoint);
            self.dormant.remove(&(carrier, hash));
            self.checkpoints.insert(hash, carrier);
            self.view.push_back(ViewBlock { metadata: added.metadata, planned });
            if block.is_anchor {
                self.anchors.insert(carrier);
            }
            for settlement in &added.block.settlements {
                let end = self.end_of(settlement);
                self.settlements.push_back(CanonicalSettlement {
                    carrier,
                    end,
                    settlement: settlement.clone(),
                });
            }
        }
        self.highest = self.highest.max(self.tip());
        let deepest = self.tip().0.saturating_sub(self.retention.grace);
        self.dormant.remove_below(Checkpoint(deepest));
        if self.catching_up.is_some() && self.has_reached_floor() {
            self.catching_up = None;
        }
        self.bundle();
    }

    /// Whether the chain shows that everything below the floor is settled.
    fn has_reached_floor(&self) -> bool {
        let Some(end) = self.settled_checkpoint() else { return self.floor == Checkpoint(0) };
        if self.tip().0 + 1 < self.floor.0 {
            return false;
        }
        // What lies between is empty, if all of it is there: a settlement settles that, too.
        let mut above = self.viewed_from(Checkpoint(end.0 + 1));
        let next = above.find(|viewed| viewed.planned.is_some() || viewed.metadata.checkpoint >= self.floor);
        next.is_none_or(|viewed| viewed.metadata.checkpoint >= self.floor)
    }

    /// Drops what only reorgs need of the blocks up to a final checkpoint. Returns the statements of the blocks off the view.
    pub fn release(&mut self, finalized: Checkpoint) -> Vec<StatementId> {
        let statements = self.sweep_below(finalized);
        while let Some(viewed) = self.view.pop_front_if(|viewed| viewed.metadata.checkpoint < finalized) {
            let checkpoint = viewed.metadata.checkpoint;
            match viewed.planned.is_some() || self.anchors.contains(&checkpoint) {
                true => self.past.push_back(viewed),
                false => drop(self.checkpoints.remove(&viewed.metadata.block_hash())),
            }
        }
        statements
    }

    /// Prunes what is final and settled by a settlement that is final. Drops the blocks off the view deeper than retained.
    pub fn prune(&mut self, finalized: Checkpoint) -> Pruned {
        let deepest = self.tip().0.saturating_sub(self.retention.retained);
        let mut pruned = Pruned { floor: None, statements: self.sweep_below(Checkpoint(deepest)) };
        if let Some((floor, statements)) = self.raise_floor(finalized) {
            pruned.floor = Some(floor);
            pruned.statements.extend(statements);
        }
        pruned
    }

    fn raise_floor(&mut self, finalized: Checkpoint) -> Option<(Checkpoint, Vec<StatementId>)> {
        // A settlement counts once the block that carries it is final: until then a reorg may undo it.
        let last = self.settlements.partition_point(|settled| settled.carrier <= finalized).checked_sub(1)?;
        let floor = Checkpoint(self.settlements[last].end?.0 + 1);
        if floor <= self.floor || self.is_catching_up() {
            return None;
        }
        self.settlements.drain(..last);
        self.settlements_pruned += last as u64;
        self.floor = floor;
        for viewed in [&mut self.past, &mut self.view] {
            while let Some(gone) = viewed.pop_front_if(|viewed| viewed.metadata.checkpoint < floor) {
                self.checkpoints.remove(&gone.metadata.block_hash());
            }
        }
        self.anchors = self.anchors.split_off(&floor);
        let mut statements = vec![];
        while let Some(lowest) = self.heights.first_entry().filter(|lowest| *lowest.key() < floor) {
            for block in lowest.remove() {
                statements.extend(self.remove_block(&block));
            }
        }
        Some((floor, statements))
    }

    /// Drops the blocks off the view below a checkpoint. Returns their statements.
    fn sweep_below(&mut self, deepest: Checkpoint) -> Vec<StatementId> {
        let mut statements = vec![];
        if self.swept >= deepest {
            return statements;
        }
        let heights: Vec<Checkpoint> = self.heights.range(self.swept..deepest).map(|(at, _)| *at).collect();
        for height in heights {
            let on_view = self.at(height).map(|viewed| viewed.metadata.block_hash());
            let blocks = self.heights.remove(&height).unwrap_or_default();
            let (kept, gone): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|hash| Some(*hash) == on_view);
            if !kept.is_empty() {
                self.heights.insert(height, kept);
            }
            statements.extend(gone.iter().flat_map(|block| self.remove_block(block)));
        }
        self.swept = deepest;
        statements
    }

    fn remove_block(&mut self, block: &BlockHash) -> Vec<StatementId> {
        let statements = self.orders_of(block).iter().map(|order| order.id).collect();
        if let Some(planned) = self.planned.remove(block) {
            self.dormant.remove(&(planned.metadata.checkpoint, *block));
        }
        self.aggregates.remove(block);
        statements
    }

    /// How much of everything it holds.
    pub fn holds(&self) -> [(&'static str, usize); 7] {
        [
            ("blocks viewed", self.viewed()),
            ("checkpoints", self.checkpoints.len()),
            ("anchors", self.anchors.len()),
            ("planned blocks", self.planned.len()),
            ("heights of planned blocks", self.heights.len()),
            ("aggregates", self.aggregates.len()),
            ("settlements", self.settlements.len()),
        ]
    }

    /// How many blocks are planned. The use of memory is proportional to it.
    pub fn planned(&self) -> usize {
        self.planned.len()
    }

    /// How many blocks of the view are in memory.
    pub fn viewed(&self) -> usize {
        self.past.len() + self.view.len()
    }

    /// The last settlement the canonical chain shows.
    pub fn settled(&self) -> Option<&ObservedSettlement> {
        self.settlements.back().map(|settled| &settled.settlement)
    }

    /// The settlements whose carriers lie at or below this checkpoint and that end in a block of the view or in the one below
    /// it, the last first: with the checkpoints of their carriers and of their ends.
    pub fn settled_by(
        &self,
        carrier: Checkpoint,
    ) -> impl Iterator<Item = (&ObservedSettlement, Checkpoint, Checkpoint)> {
        let count = self.settlements.partition_point(|settled| settled.carrier <= carrier);
        self.settlements.range(..count).rev().filter_map(
            |CanonicalSettlement { carrier, end, settlement }| Some((settlement, *carrier, (*end)?)),
        )
    }

    /// The checkpoint up to which the canonical chain is settled.
    pub fn settled_checkpoint(&self) -> Option<Checkpoint> {
        self.settlements.back()?.end
    }

    /// How many settlements the canonical chain shows.
    pub fn settlements(&self) -> u64 {
        self.settlements_pruned + self.settlements.len() as u64
    }

    /// The statements that were planned for a block: its transactions', its batches', and those of the
    /// aggregates of bundles that end with it.
    pub fn orders_of(&self, block: &BlockHash) -> Vec<Arc<Order>> {
        let batches = self.planned.get(block).into_iter().flat_map(|planned| &planned.batches);
        let own = batches.flat_map(PlannedPart::assumed).flat_map(|planned| planned.orders(|_| true));
        let ending = self.aggregates.get(block).into_iter().flatten();
        own.chain(ending.flat_map(|(_, it)| it.planned.orders(|order| order.kind() == Kind::Aggregate)))
            .collect()
    }

    /// For each kind, in the order of [`Kind::ALL`], the checkpoint from which on a stored receipt may still be needed. A
    /// batch's or an aggregate's receipt is needed until its settlement is final. A transaction's is needed until its
    /// batch is stored and no block of its depth is retained. While the planner catches up, everything is.
    pub fn needed_from(&self) -> [Checkpoint; Kind::COUNT] {
        if self.is_catching_up() {
            return [Checkpoint(0); 3];
        }
        let deepest = Checkpoint(self.tip().0.saturating_sub(self.retention.retained));
        let transactions = self.demand.first_unstored().map_or(deepest, |missing| missing.min(deepest));
        [transactions, self.floor, self.floor]
    }

    /// Brings the demand up to date with the chain, the receipts' statuses and a limit on how many orders are not stored.
    /// Returns how the demand changed since the last call. `changed` names the statements whose status changed since then;
    /// for all others `status_of` must return what it returned before.
    pub fn demand(
        &mut self,
        changed: impl IntoIterator<Item = StatementId>,
        status_of: &dyn Fn(&StatementId) -> ReceiptStatus,
        limit: usize,
    ) -> Change {
        for id in changed {
            self.demand.update_status(id, status_of);
        }
        let limit = if self.is_catching_up() { 0 } else { limit };
        while let Some((last, unstored)) = self.demand.last()
            && self.demand.unstored() - unstored >= limit
        {
            self.demand.drop_unit(last);
        }
        while self.demand.unstored() < limit {
            let last = self.demand.last().map(|(last, _)| last);
            let Some((unit, outermost)) = self.window.after(last) else { break };
            self.demand.push(unit, &outermost, status_of);
        }
        let (dormant, no_longer_dormant) = self.dormant.change();
        Change { dormant, no_longer_dormant, ..self.demand.change() }
    }

    /// What is wanted, the most urgent first.
    pub fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.demand.orders()
    }

    /// The closed bundles that no observed settlement covers, oldest first.
    pub fn bundles(&self) -> impl Iterator<Item = &Arc<WantedBundle>> {
        let bundles = self.window.bundles.iter().filter(|_| !self.is_catching_up());
        bundles.filter_map(|closed| closed.wanted.as_ref())
    }

    /// Whether any non-empty batch of the view is not settled yet.
    pub fn is_unsettled(&self) -> bool {
        self.is_catching_up() || !self.window.bundles.is_empty() || !self.window.open.is_empty()
    }

    fn tip(&self) -> Checkpoint {
        let root = self.origin.map_or(Checkpoint(0), |origin| origin.checkpoint);
        self.view.back().map_or(root, |viewed| viewed.metadata.checkpoint)
    }

    /// The block of the view at a checkpoint, where it is kept.
    fn at(&self, checkpoint: Checkpoint) -> Option<&ViewBlock> {
        self.viewed_from(checkpoint).next().filter(|viewed| viewed.metadata.checkpoint == checkpoint)
    }

    /// The blocks of the view from a checkpoint on, as far as they are kept.
    fn viewed_from(&self, checkpoint: Checkpoint) -> impl Iterator<Item = &ViewBlock> {
        let below = |viewed: &ViewBlock| viewed.metadata.checkpoint < checkpoint;
        let past = self.past.partition_point(below);
        let first = self.view.front().map_or(checkpoint, |first| first.metadata.checkpoint);
        let above = usize::try_from(checkpoint.0.saturating_sub(first.0)).unwrap_or(usize::MAX);
        self.past.range(past..).chain(self.view.range(above.min(self.view.len())..))
    }

    fn first_unsettled(&self) -> Checkpoint {
        self.settled_checkpoint().map_or(Checkpoint(0), |end| Checkpoint(end.0 + 1))
    }

    /// Forms bundles of the blocks that joined the view.
    fn bundle(&mut self) {
        let mut window = std::mem::take(&mut self.window);
        window.begin_at(self.first_unsettled());
        // A lower tip anchors it lower.
        if let Some((depth, tip)) = self.anchored()
            && let Some(anew) = window.bundles.front().and_then(|closed| closed.anew.as_ref())
            && anew.highest > depth.highest(anew.last.block.blue_score, tip)
        {
            window = Window::from(window.start);
        }
        self.demand.keep(window.start, window.next);
        loop {
            let Some(viewed) = self.viewed_from(window.next).next().cloned() else { break };
            let (closed_by, score) = (viewed.metadata.checkpoint, viewed.metadata.block.blue_score);
            window.open.extend(viewed.planned);
            let candidates: Vec<Candidate> = window.open.iter().map(|planned| planned.candidate()).collect();
            for length in self.rule.close(&candidates, score) {
                let blocks: Vec<_> = window.open.drain(..length).collect();
                let wanted = blocks.last().and_then(|last| self.aggregate(&blocks, last.metadata));
                let start = blocks.first().map_or(closed_by, |first| first.metadata.checkpoint);
                let end = blocks.last().map_or(closed_by, |last| last.metadata.checkpoint);
                // Its blocks were wanted one by one; now they are wanted as a bundle.
                self.demand.keep(Checkpoint(0), start);
                window.bundles.push_back(ClosedBundle { wanted, start, end, closed_by, anew: None });
            }
            window.next = Checkpoint(closed_by.0 + 1);
        }
        self.anchor_anew(&mut window);
        self.window = window;
    }

    /// Anchors the oldest bundle again before its anchor is too deep. It takes in the later bundles that lie below the block that
    /// it is to be anchored in at the highest.
    fn anchor_anew(&mut self, window: &mut Window) {
        let Some((depth, tip)) = self.anchored() else { return };
        let Some(ClosedBundle { wanted: Some(before), anew, start, .. }) = window.bundles.front() else {
            return;
        };
        let (before, start) = (before.clone(), *start);
        let last = anew.as_ref().map_or(before.bundle.blocks.end, |anew| anew.last);
        let highest = depth.highest(last.block.blue_score, tip);
        if highest == last.block.blue_score {
            return;
        }
        let fits = |closed: &ClosedBundle| {
            let end = closed.wanted.as_ref().map(|wanted| wanted.bundle.blocks.end.block.blue_score);
            end.is_some_and(|end| end <= highest)
        };
        let group = window.bundles.iter().skip(1).take_while(|closed| fits(closed)).count() + 1;
        let next = window.bundles.get(group).map(|closed| closed.start);
        let next = next.or(window.open.first().map(|planned| planned.metadata.checkpoint));
        let hashes = window.bundles.iter().take(group).flat_map(|closed| &closed.wanted);
        let hashes = hashes.flat_map(|wanted| &wanted.bundle.blocks.blocks);
        let blocks: Vec<_> = hashes.filter_map(|block| self.planned.get(block)).cloned().collect();
        let Some(end) = blocks.last().map(|last| last.metadata) else { return };
        // Any later block with the same tip fits: one before the next that changes it.
        let until = next.unwrap_or(Checkpoint(u64::MAX));
        let later = self.anchors.range(Checkpoint(end.checkpoint.0 + 1)..until).rev();
        let mut later = later.filter_map(|at| self.at(*at)).map(|viewed| viewed.metadata);
        let anchor = later.find(|block| block.block.blue_score <= highest).unwrap_or(end);
        if group == 1 && anchor == before.bundle.blocks.anchor {
            return;
        }
        let wanted = self.aggregate(&blocks, anchor);
        self.demand.keep(Checkpoint(0), start);
        let taken: Vec<ClosedBundle> = window.bundles.drain(..group).collect();
        let (end, closed_by) =
            taken.last().map_or((end.checkpoint, end.checkpoint), |last| (last.end, last.closed_by));
        let anew = Some(Anew { last, highest, before });
        window.bundles.push_front(ClosedBundle { wanted, start, end, closed_by, anew });
    }

    /// How deep an anchor may lie, and the blue score of the tip; `None` where that does not matter.
    fn anchored(&self) -> Option<(AnchorDepth, u64)> {
        let depth = self.anchor_depth.filter(|_| self.context.hasher.lane().binds())?;
        Some((depth, self.view.back()?.metadata.block.blue_score))
    }

    /// The oldest bundle as it was before it was anchored again, if the L1 still takes that: its proof may be stored already.
    pub fn replaced(&self) -> Option<&Arc<WantedBundle>> {
        let (depth, tip) = self.anchored()?;
        let before = &self.window.bundles.front().filter(|_| !self.is_catching_up())?.anew.as_ref()?.before;
        let anchor = before.bundle.blocks.anchor;
        let is_canonical = self.checkpoint_of(&anchor.block_hash()).is_some();
        (is_canonical && !depth.is_exceeded(anchor.block.blue_score, tip)).then_some(before)
    }

    fn plan_block(&mut self, block: &ScheduledBlock) -> Option<Arc<PlannedBlock>> {
        if block.batches.is_empty() {
            return None;
        }
        let (metadata, hash) = (block.metadata, block.metadata.block_hash());
        if let Some(planned) = self.planned.get(&hash) {
            return Some(planned.clone());
        }
        let batches = block.batches.iter().enumerate();
        let batches = batches.map(|(index, batch)| self.plan_batch(block, index, batch)).collect();
        let planned = Arc::new(PlannedBlock { metadata, transactions: block.transactions.len(), batches });
        self.planned.insert(hash, planned.clone());
        self.heights.entry(metadata.checkpoint).or_default().push(hash);
        Some(planned)
    }

    fn plan_batch(&self, block: &ScheduledBlock, index: usize, batch: &ScheduledBatch) -> PlannedPart {
        let (metadata, hash) = (&block.metadata, block.metadata.block_hash());
        let transactions = block.transactions.iter().enumerate().skip(batch.range().start);
        let transactions = transactions.take(batch.range().len());
        let first = transactions.clone().next().map_or(0, |(_, transaction)| transaction.merge_index);
        let apart = transactions.filter(|(_, transaction)| transaction.proved_by == ProvedBy::Itself);
        let inner: Vec<_> = apart
            .map(|(index, transaction)| {
                let position = Position::Transaction { merge_index: transaction.merge_index };
                let work = Work::Transaction { block: hash, index };
                self.order(metadata, position, &transaction.journal, vec![], work)
            })
            .collect();
        let reference = BatchRef { block: hash, index };
        let accounted = match batch.computed {
            Some(load) => Accounted::Computed(load, inner),
            None => {
                let position = Position::Batch { first };
                Accounted::Batch(self.order(
                    metadata,
                    position,
                    &batch.journal,
                    inner,
                    Work::Batch(reference),
                ))
            }
        };
        let at = (*metadata, first);
        let span = block.span(batch);
        PlannedPart { accounted, span, batches: vec![reference], first: at, last: at }
    }

    /// Joins parts until one aggregate can hold those that remain. `None` would mean that the blocks do not chain.
    fn joined(&self, mut parts: Vec<PlannedPart>) -> Option<Vec<PlannedPart>> {
        let limits = &self.context.limits;
        let fit = |parts: &[PlannedPart], part: &PlannedPart| {
            let load = parts.iter().map(PlannedPart::load).fold(part.load(), Load::and);
            parts.is_empty() || limits.hold(&load)
        };
        let mut height = 0;
        while let Some((last, before)) = parts.split_last()
            && !fit(before, last)
        {
            height += 1;
            let mut groups: Vec<Vec<PlannedPart>> = vec![];
            for part in parts {
                match groups.last_mut().filter(|group| fit(group, &part)) {
                    Some(group) => group.push(part),
                    None => groups.push(vec![part]),
                }
            }
            let join = |group: Vec<PlannedPart>| match group.as_slice() {
                [PlannedPart { accounted: Accounted::Batch(_) | Accounted::Joined(_), .. }] => {
                    group.into_iter().next()
                }
                _ => self.join(&group, height),
            };
            parts = groups.into_iter().map(join).collect::<Option<_>>()?;
        }
        Some(parts)
    }

    fn join(&self, parts: &[PlannedPart], height: u8) -> Option<PlannedPart> {
        let (first, last) = (parts.first()?.first, parts.last()?.last);
        let spans: Vec<Span> = parts.iter().map(|part| part.span.clone()).collect();
        let span = Span::join(self.context.hasher.as_ref(), &spans)?;
        let position = Position::Join { start: first.0.checkpoint, first: first.1, last: last.1, height };
        let (inner, references) = assumed(parts);
        let planned = self.order(&last.0, position, &span.journal, inner, Work::Join(references));
        let batches = parts.iter().flat_map(|part| part.batches.iter().copied()).collect();
        Some(PlannedPart { accounted: Accounted::Joined(planned), span, batches, first, last })
    }

    /// The aggregate over consecutive blocks. `None` would mean that the executed blocks do not chain: then they cannot be
    /// proved, and nothing of them is wanted.
    fn aggregate(
        &mut self,
        blocks: &[Arc<PlannedBlock>],
        anchor: BatchMetadata,
    ) -> Option<Arc<WantedBundle>> {
        let (first, last) = (blocks.first()?, blocks.last()?);
        let (start, end) = (first.metadata.block_hash(), last.metadata.block_hash());
        let mut formed = self.aggregates.get(&end).into_iter().flatten();
        let formed = formed.find(|(first, wanted)| *first == start && wanted.bundle.blocks.anchor == anchor);
        if let Some((_, wanted)) = formed {
            return Some(wanted.clone());
        }
        let commitment = anchor.block.sequencing_commitment;
        let binds = self.context.hasher.lane().binds();
        let bound = if binds { Commitment::Bound(commitment) } else { Commitment::Unbound };
        let parts = self.joined(blocks.iter().flat_map(|block| block.batches.iter().cloned()).collect())?;
        let spans: Vec<Span> = parts.iter().map(|part| part.span.clone()).collect();
        let journal = AggregateJournal::over(self.context.hasher.as_ref(), &spans, bound)?;
        let covered = BundleBlocks {
            start: first.metadata.checkpoint,
            end: last.metadata,
            anchor,
            blocks: blocks.iter().map(|planned| planned.metadata.block_hash()).collect(),
        };
        let position = Position::Settlement { start: covered.start, commitment };
        let (inner, parts) = assumed(&parts);
        let work = Work::Settle { parts, anchor: anchor.block_hash() };
        let planned = self.order(&last.metadata, position, &journal, inner, work);
        let bundle = ScheduledBundle { blocks: covered, journal };
        let wanted = Arc::new(WantedBundle { bundle, order: planned.order.clone(), planned });
        self.aggregates.entry(end).or_default().push((start, wanted.clone()));
        Some(wanted)
    }

    fn order(
        &self,
        metadata: &BatchMetadata,
        position: Position,
        journal: &dyn Journal,
        inner: Vec<Arc<PlannedOrder>>,
        work: Work,
    ) -> Arc<PlannedOrder> {
        let program = self.context.program(position.kind());
        let claim = Claim { program, journal: journal.bytes() };
        let statement = self.context.scheme.statement(&claim);
        let coordinate = Coordinate {
            checkpoint: metadata.checkpoint,
            block_hash: metadata.block_hash(),
            position,
            program,
            profile: statement.profile,
            pins: self.context.pins,
        };
        let assumptions = inner.iter().map(|planned| planned.order.as_assumption()).collect();
        let order = Arc::new(Order { id: statement.id(), statement, claim, coordinate, assumptions, work });
        Arc::new(PlannedOrder { order, inner })
    }
}

/// The orders whose receipts an aggregate over parts assumes, and what it names the parts by.
fn assumed(parts: &[PlannedPart]) -> (Vec<Arc<PlannedOrder>>, Vec<PartRef>) {
    let orders = parts.iter().flat_map(PlannedPart::assumed).cloned();
    (orders.collect(), parts.iter().map(PlannedPart::reference).collect())
}
