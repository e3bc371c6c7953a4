//! The projection: from the events of a pipeline to what is served. Pure: time comes with each event.
//!
//! It keeps a window: the last [`Window::blocks`] blocks of all forks, and what is used in them, or fewer where they use more than
//! [`Window::statements`] statements or accept more than [`Window::transactions`] transactions. So its memory is bounded, whatever the age of the chain.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::block::{BatchMetadata, ObservedSettlement};
use reprise_model::coordinate::{Coordinate, Position};
use reprise_model::digest::{BlockHash, StatementId};
use reprise_model::order::{Order, PartRef, Work};
use reprise_model::scheduled::ScheduledBlock;
use reprise_node::accounting::{Account, Accounts, Times};
use reprise_node::event::PipelineEvent;
use reprise_node::health;
use reprise_node::states::{SettledState, States};
use reprise_store::explanation::place_of;

use crate::view::{
    Accepted, Amount, Block, BlockName, Bundle, BundleState, Device, DeviceState, Economy, Fork, Health, Hex,
    Place, Placed, Reorg, Settlement, State, Statement, Step, Tip, View,
};

/// What is kept at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Blocks, of all forks.
    pub blocks: usize,
    /// Statements.
    pub statements: usize,
    /// Transactions.
    pub transactions: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { blocks: 2_000, statements: 50_000, transactions: 50_000 }
    }
}

/// How many statements of a block are listed with it.
const LISTED_MAX: usize = 64;

/// How many places of a statement are listed with it.
const PLACES_MAX: usize = 16;

/// How many steps of a history are kept.
const HISTORY_MAX: usize = 16;

/// How many reorgs are kept.
const REORGS_MAX: usize = 256;

/// What is known of a statement beyond what is served.
#[derive(Debug, Default)]
struct Known {
    is_stored: bool,
    /// Whether it was stored when a block of it left the chain.
    is_kept: bool,
    device: Option<usize>,
    took: Option<Duration>,
    /// Where it is used.
    uses: Vec<Use>,
}

/// A statement's use at one place.
#[derive(Debug)]
struct Use {
    at: Coordinate,
    /// The place in one word.
    place: Arc<str>,
    state: State,
}

impl Known {
    /// Which of its uses is at a place.
    fn index(&self, at: &Coordinate) -> Option<usize> {
        self.uses.iter().position(|it| it.at == *at)
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Projection {
    window: Window,
    view: View,
    /// What proving costs by the hour.
    price_per_hour: Option<f64>,
    known: HashMap<StatementId, Known>,
    /// The statements that are used in each block.
    used: HashMap<BlockHash, Vec<StatementId>>,
    /// The blocks that have a child.
    parents: HashSet<BlockHash>,
    accounts: Accounts,
    times: Times,
    fork_times: HashMap<u32, Times>,
    proving: HashSet<StatementId>,
    /// The checkpoint of the last settlement's carrier, and up to where it settles the canonical chain, as the states say it: also where
    /// these blocks are no longer kept.
    last_settled: Option<(u64, u64)>,
}

impl Projection {
    /// A projection of a node that proves on so many devices and has done nothing yet.
    pub fn new(permits: usize, window: Window, price_per_hour: Option<f64>) -> Self {
        Self {
            window,
            view: View::new(permits),
            price_per_hour,
            known: HashMap::new(),
            used: HashMap::new(),
            parents: HashSet::new(),
            accounts: Accounts::default(),
            times: Times::default(),
            fork_times: HashMap::new(),
            proving: HashSet::new(),
            last_settled: None,
        }
    }

    /// The projection of a reading of a directory, counted from 1.
    pub fn of_reading(reading: u64, window: Window, price_per_hour: Option<f64>) -> Self {
        let mut projection = Self::new(0, window, price_per_hour);
        projection.view.reading = reading;
        projection
    }

    /// What is served now.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The run has ended.
    pub fn end(&mut self, at_ms: u64) {
        self.tick(at_ms);
        self.view.ended = true;
    }

    /// Takes an event. Returns whether it is the last of what happened at once, so that the view is worth a publication.
    pub fn apply(&mut self, event: &PipelineEvent, at_ms: u64) -> bool {
        self.account(event, at_ms);
        match event {
            PipelineEvent::Chain { event, blocks } => self.on_chain(event, blocks, at_ms),
            PipelineEvent::Wanted { added, removed } => {
                self.tick(at_ms);
                removed.iter().for_each(|order| self.no_longer_wanted(order));
                added.iter().for_each(|order| self.wanted(order));
            }
            PipelineEvent::Orphaned { stored, .. } => {
                for (id, _) in stored {
                    if let Some(known) = self.known.get_mut(id) {
                        known.is_kept = true;
                    }
                }
            }
            PipelineEvent::Found { order, took } => {
                self.tick(at_ms);
                if let Some(known) = self.known.get_mut(&order.id) {
                    known.took = Some(*took);
                }
                self.update(order.id, |statement| statement.seconds = Some(took.as_secs_f64()));
                self.stored(order.id, None);
            }
            PipelineEvent::Reused(id, at) => {
                self.tick(at_ms);
                self.view.counts.reuses += 1;
                self.update(*id, |statement| statement.reuses += 1);
                self.set_state_at(*id, at, State::Reused);
            }
            PipelineEvent::Proving(order, device) => {
                self.tick(at_ms);
                self.begun(order, *device);
            }
            PipelineEvent::Proved { order, took, failure, device } => {
                self.tick(at_ms);
                self.ended(order, *took, failure.as_deref(), *device);
            }
            PipelineEvent::Stored(order) => {
                self.tick(at_ms);
                self.stored(order.id, Some(&order.coordinate));
            }
            PipelineEvent::Lost(id) => {
                self.tick(at_ms);
                if let Some(known) = self.known.get_mut(id) {
                    known.is_stored = false;
                }
                self.set_states(*id, |it| it.state.is_stored().then_some(State::Waiting));
            }
            PipelineEvent::Submitted(id) => {
                self.tick(at_ms);
                self.set_bundles(*id, |state| {
                    (state == BundleState::Proved).then_some(BundleState::Submitted)
                });
            }
            PipelineEvent::States(states) => self.on_states(states, at_ms),
            PipelineEvent::Debts(debts) => self.view.owed.follow(debts),
            PipelineEvent::Health(health) => {
                self.tick(at_ms);
                self.on_health(health);
                return true;
            }
            PipelineEvent::Connection(l1) => {
                self.view.connection = Some(Arc::new(l1.into()));
                return true;
            }
            PipelineEvent::Queue { queued, .. } => {
                self.view.queue.waiting = *queued;
                return true;
            }
            PipelineEvent::Missed(_)
            | PipelineEvent::Served { .. }
            | PipelineEvent::Pruned(_)
            | PipelineEvent::Diverged(_)
            | PipelineEvent::Published(_)
            | PipelineEvent::Refused(_)
            | PipelineEvent::Settled(_) => {}
        }
        false
    }

    /// Another change.
    fn tick(&mut self, at_ms: u64) {
        self.view.seq += 1;
        self.view.at_ms = at_ms;
    }

    // Time.

    fn account(&mut self, event: &PipelineEvent, at_ms: u64) {
        let entries = self.accounts.entries(event);
        if entries.is_empty() {
            return;
        }
        self.tick(at_ms);
        let seq = self.view.seq;
        for entry in &entries {
            self.times.enter(entry);
            let Some(fork) = self.view.block(&entry.block).map(|block| block.fork) else { continue };
            let times = self.fork_times.entry(fork).or_default();
            times.enter(entry);
            let economy = economy(times, self.price_per_hour);
            if let Some(fork) = self.view.forks.get_mut(&fork) {
                let fork = Arc::make_mut(fork);
                (fork.economy, fork.changed) = (economy, seq);
            }
        }
        self.view.economy = economy(&self.times, self.price_per_hour);
    }

    // Chain.

    fn on_chain(&mut self, event: &ChainEvent, blocks: &[ScheduledBlock], at_ms: u64) {
        let returning = |added: &AddedBlock| {
            added.returning && self.view.checkpoints.contains_key(&added.metadata.block_hash())
        };
        let returning = event.added.iter().filter(|added| returning(added)).count();
        if let Some(lowest) = event.removed.last() {
            self.tick(at_ms);
            self.view.counts.reorgs += 1;
            self.view.counts.flips += u64::from(returning > 0);
            event.removed.iter().for_each(|block| self.orphaned(block));
            let forks = event.added.iter().filter_map(|added| self.view.block(&added.metadata.block_hash()));
            let forks: HashSet<u32> = forks.map(|block| block.fork).collect();
            forks.into_iter().for_each(|fork| self.returned(fork));
            let reorg = Reorg {
                seq: self.view.seq,
                at_ms,
                point: lowest.checkpoint.0.saturating_sub(1),
                removed: event.removed.len(),
                added: event.added.len(),
                returning,
            };
            self.view.reorgs.push_back(reorg);
            if self.view.reorgs.len() > REORGS_MAX {
                self.view.reorgs.pop_front();
            }
            self.withdraw_bundles(reorg.point);
        }
        for (added, scheduled) in event.added.iter().zip(blocks) {
            self.tick(at_ms);
            self.added(added, scheduled);
        }
        if event.finalized.0 > self.view.finalized {
            self.tick(at_ms);
            self.finalize(event.finalized.0);
        }
        let tip = event.added.last().map(|added| &added.metadata);
        if let Some(tip) = tip {
            self.view.tip = Some(Tip {
                block: BlockName(tip.block_hash()),
                checkpoint: tip.checkpoint.0,
                blue_score: tip.block.blue_score,
            });
        }
        self.settle();
        self.mark_forks();
        self.keep_window();
    }

    fn orphaned(&mut self, block: &BatchMetadata) {
        let hash = block.block_hash();
        self.last_settled.take_if(|(carrier, _)| *carrier >= block.checkpoint.0);
        self.change_block(&hash, |block, seq, at_ms| {
            block.canonical = false;
            block.orphaned = true;
            push(&mut block.standing, Step { seq, at_ms, state: false });
        });
        self.change_settlements(&hash, block.checkpoint.0, false);
    }

    fn added(&mut self, added: &AddedBlock, scheduled: &ScheduledBlock) {
        let (hash, checkpoint) = (added.metadata.block_hash(), added.metadata.checkpoint.0);
        if self.view.checkpoints.contains_key(&hash) {
            self.change_block(&hash, |block, seq, at_ms| {
                block.flips += u32::from(!block.canonical);
                block.canonical = true;
                block.orphaned = false;
                push(&mut block.standing, Step { seq, at_ms, state: true });
            });
            for id in self.used.get(&hash).cloned().unwrap_or_default() {
                // What was proved for it before it left answers again.
                self.set_states(id, |it| {
                    (it.at.block_hash == hash && it.state.is_stored()).then_some(State::Reused)
                });
            }
            self.change_settlements(&hash, checkpoint, true);
            return;
        }
        let fork = self.fork_of(&added.metadata);
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        let metadata = &added.metadata.block;
        let settlements = &added.block.settlements;
        let block = Block {
            hash: BlockName(hash),
            parent: BlockName(metadata.parent_hash),
            checkpoint,
            blue_score: metadata.blue_score,
            daa_score: metadata.daa_score,
            mined_ms: metadata.timestamp_ms,
            fork,
            canonical: true,
            orphaned: false,
            is_final: false,
            flips: 0,
            empty: scheduled.batches.is_empty(),
            transactions: scheduled.transactions.len(),
            standing: vec![Step { seq, at_ms, state: true }],
            final_since: None,
            statements: vec![],
            statements_omitted: 0,
            settlements: settlements.iter().map(|settled| settled.statement.into()).collect(),
            changed: seq,
        };
        self.view.counts.blocks += 1;
        self.view.blocks.insert((checkpoint, hash), Arc::new(block));
        self.view.checkpoints.insert(hash, checkpoint);
        self.accepted(added, scheduled);
        for settlement in settlements {
            self.carried(settlement, &added.metadata);
        }
    }

    /// The lane's transactions that a new block accepted.
    fn accepted(&mut self, added: &AddedBlock, scheduled: &ScheduledBlock) {
        let (block, checkpoint) = (added.metadata.block_hash(), added.metadata.checkpoint.0);
        let firsts = scheduled.batches.iter().flat_map(|batch| {
            let first = scheduled.transactions.get(batch.begin as usize);
            batch.range().map(move |_| first.map_or(0, |first| first.merge_index))
        });
        let accepted = added.block.accepted.iter().zip(&scheduled.transactions).zip(firsts);
        for ((transaction, executed), batch_first) in accepted {
            let (id, merge_index) = (transaction.id(), executed.merge_index);
            let accepted = Accepted {
                id,
                block,
                checkpoint,
                merge_index,
                outcome: executed.journal.outcome,
                exits: executed.journal.exits.as_slice().into(),
                proved_by: executed.proved_by,
                batch_first,
                statement: None,
                batch: None,
            };
            let at = (checkpoint, block, merge_index);
            self.view.transactions.insert(at, Arc::new(accepted));
            self.view.places.entry(id).or_default().push_back(at);
        }
    }

    /// Notes that a statement proves a transaction, or all of a batch.
    fn proves(&mut self, id: StatementId, at: &Coordinate) {
        let here = |index| (at.checkpoint.0, at.block_hash, index);
        match at.position {
            Position::Transaction { merge_index } => {
                if let Some(it) = self.view.transactions.get_mut(&here(merge_index)) {
                    Arc::make_mut(it).statement = Some(id);
                }
            }
            Position::Batch { first } => {
                let run = self.view.transactions.range(here(first)..=here(u32::MAX));
                let run = run.take_while(|(_, it)| it.batch_first == first).map(|(key, _)| *key);
                for key in run.collect::<Vec<_>>() {
                    if let Some(it) = self.view.transactions.get_mut(&key) {
                        Arc::make_mut(it).batch = Some(id);
                    }
                }
            }
            Position::Join { .. } | Position::Settlement { .. } => {}
        }
    }

    /// A block that is no longer kept accepted these.
    fn forget_transactions(&mut self, checkpoint: u64, block: BlockHash) {
        let run = self.view.transactions.range((checkpoint, block, 0)..=(checkpoint, block, u32::MAX));
        let run: Vec<_> = run.map(|(key, it)| (*key, it.id)).collect();
        for (key, id) in run {
            self.view.transactions.remove(&key);
            let is_gone = self.view.places.get_mut(&id).is_some_and(|places| {
                places.retain(|at| *at != key);
                places.is_empty()
            });
            if is_gone {
                self.view.places.remove(&id);
            }
        }
    }

    /// The fork of a new block: its parent's, if it is the first child there.
    fn fork_of(&mut self, metadata: &BatchMetadata) -> u32 {
        let parent = metadata.block.parent_hash;
        let of_parent = self.view.block(&parent).map(|block| block.fork);
        let is_first = self.parents.insert(parent);
        let (seq, checkpoint) = (self.view.seq, metadata.checkpoint.0);
        if let Some(fork) = of_parent.filter(|_| is_first)
            && let Some(it) = self.view.forks.get_mut(&fork)
        {
            let it = Arc::make_mut(it);
            it.to = it.to.max(checkpoint);
            it.blocks += 1;
            it.changed = seq;
            return fork;
        }
        let id = self.view.forks.get_max().map_or(0, |(last, _)| last + 1);
        let fork = Fork {
            id,
            parent: of_parent,
            from: checkpoint,
            to: checkpoint,
            blocks: 1,
            canonical: true,
            returns: 0,
            economy: economy(&Times::default(), self.price_per_hour),
            changed: seq,
        };
        self.view.forks.insert(id, Arc::new(fork));
        id
    }

    /// The chain returns to a fork.
    fn returned(&mut self, fork: u32) {
        let seq = self.view.seq;
        if let Some(fork) = self.view.forks.get_mut(&fork) {
            let fork = Arc::make_mut(fork);
            fork.returns += 1;
            fork.changed = seq;
        }
    }

    /// Notes which forks are canonical.
    fn mark_forks(&mut self) {
        let seq = self.view.seq;
        let tip = self.view.tip.and_then(|tip| self.view.block(&tip.block.0)).map(|block| block.fork);
        // A fork that a canonical one branches from is canonical only up to there: its tip is off the chain.
        let changed: Vec<u32> = self
            .view
            .forks
            .iter()
            .filter(|(id, fork)| fork.canonical != (tip == Some(**id)))
            .map(|(id, _)| *id)
            .collect();
        for id in changed {
            if let Some(fork) = self.view.forks.get_mut(&id) {
                let fork = Arc::make_mut(fork);
                fork.canonical = tip == Some(id);
                fork.changed = seq;
            }
        }
    }

    fn finalize(&mut self, finalized: u64) {
        let from = std::mem::replace(&mut self.view.finalized, finalized);
        let range = (from + 1, BlockHash([0; 32]))..=(finalized, BlockHash([0xff; 32]));
        let blocks: Vec<BlockHash> = self
            .view
            .blocks
            .range(range)
            .filter(|(_, block)| block.canonical)
            .map(|((_, hash), _)| *hash)
            .collect();
        for hash in blocks {
            self.change_block(&hash, |block, seq, _| {
                block.is_final = true;
                block.final_since = Some(seq);
            });
        }
    }

    fn change_block(&mut self, hash: &BlockHash, change: impl FnOnce(&mut Block, u64, u64)) {
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        let Some(checkpoint) = self.view.checkpoints.get(hash) else { return };
        if let Some(block) = self.view.blocks.get_mut(&(*checkpoint, *hash)) {
            let block = Arc::make_mut(block);
            change(block, seq, at_ms);
            block.changed = seq;
        }
    }

    // Settlements and bundles.

    fn carried(&mut self, settlement: &ObservedSettlement, carrier: &BatchMetadata) {
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        let (hash, checkpoint) = (carrier.block_hash(), carrier.checkpoint.0);
        // The carrier is canonical now, so what is above its end is canonical too, or of another fork for good.
        let end = self.view.block(&settlement.end_block).filter(|end| end.canonical);
        let served = Settlement {
            statement: settlement.statement.into(),
            carrier: BlockName(hash),
            carrier_checkpoint: checkpoint,
            end_block: BlockName(settlement.end_block),
            end_checkpoint: end.map(|end| end.checkpoint),
            root_after: Hex(settlement.journal.transition.root_after),
            canonical: true,
            confirmations: 0,
            is_final: false,
            standing: vec![Step { seq, at_ms, state: true }],
            changed: seq,
        };
        let served = Arc::new(served);
        self.view.settlements.insert((checkpoint, hash, settlement.statement), served.clone());
        self.settle_bundle(&served, true);
    }

    /// The settlements that a block carries leave the chain with it, or return.
    fn change_settlements(&mut self, carrier: &BlockHash, checkpoint: u64, canonical: bool) {
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        let range =
            (checkpoint, *carrier, StatementId([0; 32]))..=(checkpoint, *carrier, StatementId([0xff; 32]));
        let keys: Vec<_> = self.view.settlements.range(range).map(|(key, _)| *key).collect();
        for key in keys {
            if let Some(settlement) = self.view.settlements.get_mut(&key) {
                let settlement = Arc::make_mut(settlement);
                settlement.canonical = canonical;
                settlement.changed = seq;
                push(&mut settlement.standing, Step { seq, at_ms, state: canonical });
                let settlement = Arc::new(settlement.clone());
                self.settle_bundle(&settlement, canonical);
            }
        }
    }

    /// The states say where the last settlement ends.
    fn on_states(&mut self, states: &Arc<States>, at_ms: u64) {
        self.view.states = Some(states.clone());
        let Some(SettledState { state, settlement: Some(it), carrier: Some(carrier) }) = &states.settled
        else {
            return;
        };
        let end = state.checkpoint.0;
        self.last_settled = Some((carrier.0, end));
        let key = (carrier.0, it.block, it.statement);
        if self.view.settlements.get(&key).is_some_and(|kept| kept.end_checkpoint.is_none()) {
            self.tick(at_ms);
            let seq = self.view.seq;
            if let Some(kept) = self.view.settlements.get_mut(&key) {
                let kept = Arc::make_mut(kept);
                (kept.end_checkpoint, kept.changed) = (Some(end), seq);
            }
        }
        self.settle();
    }

    /// Notes up to where the canonical chain is settled.
    fn settle(&mut self) {
        let settlements = self.view.settlements.values().filter(|settlement| settlement.canonical);
        let last = self.last_settled.map(|(_, end)| end);
        self.view.settled = settlements.filter_map(|settlement| settlement.end_checkpoint).max().max(last);
    }

    /// The canonical chain shows the settlement of a bundle, or does so no more.
    fn settle_bundle(&mut self, settlement: &Settlement, is_settled: bool) {
        let (id, Some(end)) = (settlement.statement.0, settlement.end_checkpoint) else { return };
        // It ends in its anchor: in the bundle's last block, or in a later one where it is late.
        let uses = self.known.get(&id).map(|known| known.uses.as_slice()).unwrap_or_default();
        let keys = uses.iter().map(|it| (it.at.checkpoint.0, id)).filter(|key| {
            let bundle = self.view.bundles.get(key);
            bundle.is_some_and(|bundle| key.0 == end || bundle.anchor == settlement.end_block)
        });
        for key in keys.collect::<Vec<_>>() {
            match (self.view.bundles.get(&key).map(|bundle| bundle.state), is_settled) {
                (Some(_), true) => self.set_bundle(key, BundleState::Settled),
                (Some(BundleState::Settled), false) => self.set_bundle(key, BundleState::Withdrawn),
                _ => {}
            }
        }
    }

    /// Bundles that end above a checkpoint are no bundles of the chain any more.
    fn withdraw_bundles(&mut self, above: u64) {
        let from = (above + 1, StatementId([0; 32]));
        let keys: Vec<_> = self.view.bundles.range(from..).map(|(key, _)| *key).collect();
        keys.into_iter().for_each(|key| self.set_bundle(key, BundleState::Withdrawn));
    }

    fn set_bundles(&mut self, id: StatementId, to: impl Fn(BundleState) -> Option<BundleState>) {
        let ends: Vec<u64> = self
            .known
            .get(&id)
            .map(|known| known.uses.iter().map(|it| it.at.checkpoint.0).collect())
            .unwrap_or_default();
        for end in ends {
            if let Some(state) = self.view.bundles.get(&(end, id)).and_then(|bundle| to(bundle.state)) {
                self.set_bundle((end, id), state);
            }
        }
    }

    fn set_bundle(&mut self, key: (u64, StatementId), state: BundleState) {
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        if let Some(bundle) = self.view.bundles.get_mut(&key).filter(|bundle| bundle.state != state) {
            let bundle = Arc::make_mut(bundle);
            (bundle.state, bundle.changed) = (state, seq);
            push(&mut bundle.history, Step { seq, at_ms, state });
        }
    }

    fn bundle_wanted(&mut self, order: &Order) {
        let (Work::Settle { parts, anchor }, Position::Settlement { start, .. }) =
            (&order.work, order.coordinate.position)
        else {
            return;
        };
        let key = (order.coordinate.checkpoint.0, order.id);
        let is_stored = self.known.get(&order.id).is_some_and(|known| known.is_stored);
        let state = if is_stored { BundleState::Proved } else { BundleState::Wanted };
        if let Some(bundle) = self.view.bundles.get(&key) {
            if bundle.state == BundleState::Withdrawn {
                self.set_bundle(key, state);
            }
            return;
        }
        let mut blocks: Vec<BlockName> =
            parts.iter().flat_map(PartRef::batches).map(|batch| BlockName(batch.block)).collect();
        blocks.dedup();
        let (seq, at_ms) = (self.view.seq, self.view.at_ms);
        let bundle = Bundle {
            statement: order.id.into(),
            start: start.0,
            end: order.coordinate.checkpoint.0,
            end_block: BlockName(order.coordinate.block_hash),
            anchor: BlockName(*anchor),
            blocks,
            state,
            history: vec![Step { seq, at_ms, state }],
            changed: seq,
        };
        self.view.bundles.insert(key, Arc::new(bundle));
    }

    // Statements.

    fn wanted(&mut self, order: &Order) {
        let (id, at) = (order.id, order.coordinate);
        let block = at.block_hash;
        if self.view.block(&block).is_none() {
            return;
        }
        if !self.view.statements.contains_key(&id) {
            let statement = Statement {
                id: id.into(),
                kind: order.kind().into(),
                program: order.claim.program.into(),
                profile: order.statement.profile.into(),
                state: State::Waiting,
                proofs: 0,
                reuses: 0,
                failures: 0,
                failure: None,
                given_up: false,
                seconds: None,
                places: vec![],
                assumptions: order.assumptions.iter().map(|it| it.id.into()).collect(),
                changed: self.view.seq,
            };
            self.view.statements.insert(id, Arc::new(statement));
        }
        let known = self.known.entry(id).or_default();
        let state = match known.is_stored {
            true => State::Reused,
            false if self.proving.contains(&id) => State::Proving,
            false => State::Waiting,
        };
        match known.index(&at) {
            Some(index) if known.uses[index].state == State::Dropped => self.set_state(id, index, state),
            Some(_) => {}
            None => {
                let place: Arc<str> = place_of(&at).into();
                known.uses.push(Use { at, place: place.clone(), state });
                self.used.entry(block).or_default().push(id);
                self.proves(id, &at);
                let (seq, at_ms) = (self.view.seq, self.view.at_ms);
                let placed = Placed {
                    statement: id.into(),
                    kind: order.kind().into(),
                    place,
                    state,
                    history: vec![Step { seq, at_ms, state }],
                    device: None,
                    seconds: None,
                };
                self.change_block(&block, |block, _, _| match block.statements.len() < LISTED_MAX {
                    true => block.statements.push(Arc::new(placed)),
                    false => block.statements_omitted += 1,
                });
                self.summarise(id);
            }
        }
        self.bundle_wanted(order);
    }

    fn no_longer_wanted(&mut self, order: &Order) {
        self.set_states(order.id, |it| {
            let is_open = matches!(it.state, State::Waiting | State::Failed);
            (is_open && it.at == order.coordinate).then_some(State::Dropped)
        });
        if matches!(order.work, Work::Settle { .. }) {
            let key = (order.coordinate.checkpoint.0, order.id);
            let settled =
                self.view.bundles.get(&key).is_some_and(|bundle| bundle.state == BundleState::Settled);
            if !settled {
                self.set_bundle(key, BundleState::Withdrawn);
            }
        }
    }

    fn begun(&mut self, order: &Order, device: usize) {
        if let Some(known) = self.known.get_mut(&order.id) {
            known.device = Some(device);
            self.view.counts.proofs_after_flip += u64::from(known.is_kept);
        }
        self.proving.insert(order.id);
        self.view.queue.proving = self.proving.len();
        self.set_states(order.id, |it| {
            matches!(it.state, State::Waiting | State::Failed).then_some(State::Proving)
        });
        let since = self.view.at_ms;
        if let Some(device) = self.device(device) {
            device.state = DeviceState::Proving;
            device.statement = Some(order.id.into());
            device.kind = Some(order.kind().into());
            device.since_ms = Some(since);
        }
    }

    fn ended(&mut self, order: &Order, took: Duration, failure: Option<&str>, device: Option<usize>) {
        self.proving.remove(&order.id);
        self.view.queue.proving = self.proving.len();
        let on = device.or_else(|| self.known.get(&order.id).and_then(|known| known.device));
        if let Some(device) = on.and_then(|on| self.device(on)) {
            (device.statement, device.kind, device.since_ms) = (None, None, None);
            device.busy_seconds += took.as_secs_f64();
            if device.state == DeviceState::Proving {
                device.state = DeviceState::Idle;
            }
            match failure {
                Some(failure) => {
                    device.failures += 1;
                    device.failure = Some(failure.into());
                }
                None => device.proofs += 1,
            }
        }
        match failure {
            Some(failure) => {
                self.view.counts.failures += 1;
                self.update(order.id, |statement| {
                    statement.failures += 1;
                    statement.failure = Some(failure.into());
                });
                self.set_states(order.id, |it| (it.state == State::Proving).then_some(State::Failed));
            }
            None => {
                if let Some(known) = self.known.get_mut(&order.id) {
                    known.took = Some(took);
                }
                self.view.counts.proofs += 1;
                self.update(order.id, |statement| {
                    statement.proofs += 1;
                    statement.failure = None;
                    statement.seconds = Some(took.as_secs_f64());
                });
                self.set_states(order.id, |it| (it.state == State::Proving).then_some(State::Storing));
            }
        }
    }

    /// Its receipt is stored: proved for one place, or found.
    fn stored(&mut self, id: StatementId, proved_for: Option<&Coordinate>) {
        let Some(known) = self.known.get_mut(&id) else { return };
        known.is_stored = true;
        if let Some(at) = proved_for {
            self.set_state_at(id, at, State::Proved);
        }
        self.set_states(id, |it| {
            (!it.state.is_stored() && it.state != State::Dropped).then_some(State::Reused)
        });
        self.set_bundles(id, |state| (state == BundleState::Wanted).then_some(BundleState::Proved));
    }

    /// Changes the states of those uses for which there is another.
    fn set_states(&mut self, id: StatementId, to: impl Fn(&Use) -> Option<State>) {
        let uses = self.known.get(&id).map(|known| known.uses.as_slice()).unwrap_or_default();
        let changes: Vec<_> =
            uses.iter().enumerate().filter_map(|(index, it)| Some((index, to(it)?))).collect();
        changes.into_iter().for_each(|(index, state)| self.set_state(id, index, state));
    }

    fn set_state_at(&mut self, id: StatementId, at: &Coordinate, state: State) {
        if let Some(index) = self.known.get(&id).and_then(|known| known.index(at)) {
            self.set_state(id, index, state);
        }
    }

    fn set_state(&mut self, id: StatementId, index: usize, state: State) {
        let Some(known) = self.known.get_mut(&id) else { return };
        let (device, took) = (known.device, known.took);
        let Some(it) = known.uses.get_mut(index) else { return };
        let before = std::mem::replace(&mut it.state, state);
        if before == state {
            return;
        }
        let (block, place) = (it.at.block_hash, it.place.clone());
        self.change_block(&block, |block, seq, at_ms| {
            let placed = block.statements.iter_mut().find(|it| it.statement.0 == id && it.place == place);
            let Some(placed) = placed.map(Arc::make_mut) else { return };
            placed.state = state;
            // While a bundle closes, its batches are not wanted for a moment. They waited all along.
            let waited = matches!(
                placed.history.as_slice(),
                [.., Step { state: State::Waiting, .. }, Step { state: State::Dropped, .. }]
            );
            match waited && state == State::Waiting {
                true => drop(placed.history.pop()),
                false => push(&mut placed.history, Step { seq, at_ms, state }),
            }
            match state {
                State::Proving => placed.device = device,
                State::Proved => placed.seconds = took.map(|took| took.as_secs_f64()),
                _ => {}
            }
        });
        self.summarise(id);
    }

    fn update(&mut self, id: StatementId, change: impl FnOnce(&mut Statement)) {
        let seq = self.view.seq;
        if let Some(statement) = self.view.statements.get_mut(&id) {
            let statement = Arc::make_mut(statement);
            change(statement);
            statement.changed = seq;
        }
    }

    /// Brings a statement's places and state up to date.
    fn summarise(&mut self, id: StatementId) {
        let Some(known) = self.known.get(&id) else { return };
        let furthest = |state: State| match state {
            State::Proved => 6,
            State::Reused => 5,
            State::Storing => 4,
            State::Proving => 3,
            State::Failed => 2,
            State::Waiting => 1,
            State::Dropped => 0,
        };
        let state = known.uses.iter().map(|it| it.state).max_by_key(|state| furthest(*state));
        let places = known.uses.iter().take(PLACES_MAX).map(|it| Place {
            place: it.place.clone(),
            block: BlockName(it.at.block_hash),
            checkpoint: it.at.checkpoint.0,
            state: it.state,
        });
        let places = places.collect();
        self.update(id, |statement| {
            statement.state = state.unwrap_or(statement.state);
            statement.places = places;
        });
    }

    // Devices and health.

    fn device(&mut self, device: usize) -> Option<&mut Device> {
        self.view.devices.get_mut(device)
    }

    fn on_health(&mut self, health: &health::Health) {
        self.view.health = Arc::new(Health::from(health));
        let mut suspended = HashMap::new();
        for reason in health.reasons() {
            match reason {
                health::Reason::Device { device, failure, .. } => {
                    drop(suspended.insert(*device, failure.clone()))
                }
                health::Reason::GivenUp { statement, failure } => {
                    self.update(*statement, |statement| {
                        statement.given_up = true;
                        statement.failure = Some(failure.clone());
                    });
                    self.set_states(*statement, |it| {
                        matches!(it.state, State::Waiting | State::Proving | State::Storing)
                            .then_some(State::Failed)
                    });
                }
                _ => {}
            }
        }
        for number in 0..self.view.devices.len() {
            let Some(device) = self.view.devices.get(number) else { continue };
            let is_suspended = device.state == DeviceState::Suspended;
            match (suspended.remove(&number), is_suspended) {
                (Some(failure), false) => {
                    if let Some(device) = self.device(number) {
                        (device.state, device.failure) = (DeviceState::Suspended, Some(failure));
                    }
                }
                (None, true) => {
                    if let Some(device) = self.device(number) {
                        let proves = device.statement.is_some();
                        device.state = if proves { DeviceState::Proving } else { DeviceState::Idle };
                    }
                }
                _ => {}
            }
        }
    }

    // The window.

    fn keep_window(&mut self) {
        while self.view.blocks.len() > self.window.blocks
            || self.view.statements.len() > self.window.statements
            || self.view.transactions.len() > self.window.transactions
        {
            let Some(((checkpoint, hash), block)) =
                self.view.blocks.get_min().map(|(key, block)| (*key, block.clone()))
            else {
                break;
            };
            self.view.blocks.remove(&(checkpoint, hash));
            self.view.checkpoints.remove(&hash);
            self.forget_transactions(checkpoint, hash);
            self.parents.remove(&block.parent.0);
            for id in self.used.remove(&hash).unwrap_or_default() {
                let Some(known) = self.known.get_mut(&id) else { continue };
                known.uses.retain(|it| it.at.block_hash != hash);
                match known.uses.is_empty() {
                    true => {
                        self.known.remove(&id);
                        self.accounts.forget(&id);
                        self.view.statements.remove(&id);
                        self.proving.remove(&id);
                    }
                    false => self.summarise(id),
                }
            }
        }
        let lowest = self.view.blocks.get_min().map(|((checkpoint, _), _)| *checkpoint);
        let Some(first) = lowest.filter(|lowest| *lowest > self.view.first) else { return };
        self.view.first = first;
        let bundles: Vec<_> = self.view.bundles.keys().take_while(|(end, _)| *end < first).copied().collect();
        bundles.iter().for_each(|key| drop(self.view.bundles.remove(key)));
        let carried = self.view.settlements.keys().take_while(|(carrier, ..)| *carrier < first);
        let carried: Vec<_> = carried.copied().collect();
        carried.iter().for_each(|key| drop(self.view.settlements.remove(key)));
        let gone: Vec<u32> =
            self.view.forks.values().filter(|fork| fork.to < first).map(|fork| fork.id).collect();
        for fork in gone {
            self.view.forks.remove(&fork);
            self.fork_times.remove(&fork);
        }
    }
}

/// Adds a step to a history. A long one keeps its beginning and its end.
fn push<T>(history: &mut Vec<Step<T>>, step: Step<T>) {
    if history.len() >= HISTORY_MAX {
        history.remove(1);
    }
    history.push(step);
}

fn economy(times: &Times, price_per_hour: Option<f64>) -> Economy {
    let amount = |account| {
        let seconds = times.total(account).as_millis() as f64 / 1000.0;
        Amount { seconds, money: price_per_hour.map(|price| seconds / 3600.0 * price) }
    };
    Economy {
        spent: amount(Account::Spent),
        saved_by_hits: amount(Account::SavedByHits),
        saved_by_merging: amount(Account::SavedByMerging),
        lost_to_reorgs: amount(Account::LostToReorgs),
        lost_to_failures: amount(Account::LostToFailures),
    }
}
