//! The L1 of a world: several miners, each on the longest chain it knows, and a covenant.
//!
//! A node follows the first miner. Nothing here uses the code under test, except the covenant, which is the
//! [`Overlay`], and the [`Oracle`], which executes sequentially.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_chain::dev::DevChain;
use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::Overlay;
use reprise_chain::recording::Lane;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ObservedClaim, ObservedSettlement};
use reprise_model::context::BlockContext;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::exit::Exit;
use reprise_model::hash::Hasher;
use reprise_model::journal::Outcome;
use reprise_model::processor::Processor;
use reprise_node::oracle::Oracle;
use reprise_node::traffic::{Draft, State, Traffic};
use reprise_node::violation::Violation;

use reprise_node::rng::Rng;

use crate::strangers::{Paying, Strangers};
use crate::track::Track;
use crate::vault::{self, Books, Content, SharedPayer};

/// What a workload must keep.
pub const NO_PANIC: &str = "the workload does not panic";

/// What is settled after a block.
#[derive(Debug, Clone, Copy)]
struct Judged {
    state: (Digest, Digest),
    /// How many settlements led to it.
    count: usize,
    /// The height of the block that the last one ends in.
    end: Option<u64>,
}

/// The L1.
pub struct L1 {
    chain: DevChain,
    miners: Vec<BlockHash>,
    /// The first miner's chain, from the root or from what was forgotten.
    canonical: Track,
    /// The blocks that were mined and not forgotten, by height.
    heights: BTreeSet<(u64, BlockHash)>,
    /// The transitions that were settled in forgotten blocks.
    settled_before: Vec<(Digest, Digest)>,
    processor: Arc<dyn Processor>,
    traffic: Arc<dyn Traffic>,
    /// Whether the workload's values hold coins of the vault.
    holds_coins: bool,
    /// The state after each block, over which transactions are drawn.
    states: HashMap<BlockHash, State>,
    /// The settlements of each block that was ever canonical.
    settled: HashMap<BlockHash, Vec<ObservedSettlement>>,
    /// What is settled after each block of `canonical`.
    judged: VecDeque<Judged>,
    overlay: Arc<Mutex<Overlay>>,
    oracle: Oracle,
    rng: Rng,
    mined: u64,
    /// The time, in microseconds, and when each block was mined.
    now_us: u64,
    mined_us: HashMap<BlockHash, u64>,
    /// Tips that were canonical once, to flip back to.
    left: Vec<BlockHash>,
    /// Lane transactions of the last blocks, for other forks to accept too.
    recent: Vec<(BlockHash, Paying)>,
    /// What blocks that accept something do to the vault.
    contents: HashMap<BlockHash, Content>,
    /// The claims of each block that was ever canonical and has any: a block's content is fixed when it first joins.
    claims: HashMap<BlockHash, Vec<ObservedClaim>>,
    /// The books after each block that was ever canonical.
    books: HashMap<BlockHash, Arc<Books>>,
    /// The hash of settlements and claims.
    hasher: Arc<dyn Hasher>,
    /// Who has exits paid.
    payers: Vec<SharedPayer>,
    /// The draws of payers.
    paying: Rng,
    /// Which strangers there are: squatters, and senders of odd payloads.
    strangers: [bool; 2],
    /// Their draws.
    strange: Rng,
    /// Broken invariants of the covenant.
    pub violations: Vec<Violation>,
    /// Changes of the canonical chain that removed blocks.
    pub reorgs: u64,
    /// Of these, returns to blocks that were canonical before.
    pub flips: u64,
    /// The deepest.
    pub deepest: u64,
    /// How many accepted transactions had each outcome, over all forks.
    pub outcomes: BTreeMap<Outcome, u64>,
}

impl std::fmt::Debug for L1 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("L1").field("mined", &self.mined).field("reorgs", &self.reorgs).finish_non_exhaustive()
    }
}

impl L1 {
    /// An L1 with so many miners on which this traffic of a workload is accepted; `genesis` is the root and lane tip before
    /// the first block.
    pub fn new(
        seed: u64,
        miners: u64,
        (processor, traffic): (Arc<dyn Processor>, Arc<dyn Traffic>),
        (strangers, holds_coins): ([bool; 2], bool),
        (oracle, hasher): (Oracle, Arc<dyn Hasher>),
        genesis: (Digest, Digest),
        overlay: Overlay,
    ) -> Self {
        let chain = DevChain::default();
        let root = chain.root();
        Self {
            miners: vec![root; miners.max(1) as usize],
            canonical: Track::new(0, root),
            heights: BTreeSet::new(),
            settled_before: vec![],
            processor,
            traffic,
            holds_coins,
            states: HashMap::from([(root, State::default())]),
            settled: HashMap::new(),
            judged: VecDeque::from([Judged { state: genesis, count: 0, end: None }]),
            overlay: Arc::new(Mutex::new(overlay)),
            oracle,
            rng: Rng::of(seed, "l1"),
            mined: 0,
            now_us: 0,
            mined_us: HashMap::new(),
            left: vec![],
            recent: vec![],
            contents: HashMap::new(),
            claims: HashMap::new(),
            books: HashMap::from([(root, Arc::default())]),
            hasher,
            payers: vec![],
            paying: Rng::of(seed, "payers"),
            strangers,
            strange: Rng::of(seed, "strangers"),
            violations: vec![],
            reorgs: 0,
            flips: 0,
            deepest: 0,
            outcomes: BTreeMap::new(),
            chain,
        }
    }

    /// The lane that transactions are on.
    pub fn lane(&self) -> Lane {
        self.chain.lane().clone()
    }

    /// The covenant, for a sink to submit to.
    pub fn overlay(&self) -> Arc<Mutex<Overlay>> {
        self.overlay.clone()
    }

    /// One more has exits paid.
    pub fn pays(&mut self, payer: SharedPayer) {
        self.payers.push(payer);
    }

    /// The books after a block that was ever canonical.
    pub fn books(&self, block: &BlockHash) -> Option<&Books> {
        self.books.get(block).map(AsRef::as_ref)
    }

    /// The books after the canonical tip.
    pub fn books_at_tip(&self) -> Option<&Books> {
        self.books(&self.canonical.tip().1)
    }

    /// The exits that a block makes.
    pub fn exits(&self, block: &BlockHash) -> &[Exit] {
        self.contents.get(block).map_or(&[], |content| &content.exits)
    }

    /// How much of everything it holds.
    pub fn holds(&self) -> Vec<(&'static str, usize)> {
        vec![
            ("headers", self.heights.len()),
            ("canonical blocks", self.canonical.blocks().count()),
            ("states", self.states.len()),
            ("settled blocks", self.settled.len()),
            ("contents", self.contents.len()),
            ("books", self.books.len()),
            ("tips that were left", self.left.len()),
            ("settlements before", self.settled_before.len()),
        ]
    }

    /// Time passes.
    pub fn set_time(&mut self, now_us: u64) {
        self.now_us = now_us;
    }

    /// When a block was mined, in microseconds; `None` for the root.
    pub fn mined_at(&self, block: &BlockHash) -> Option<u64> {
        self.mined_us.get(block).copied()
    }

    /// Whether a block accepts a transaction of the lane.
    pub fn is_active(&self, block: &BlockHash) -> bool {
        self.chain.block(block).is_some_and(|block| !block.accepted.is_empty())
    }

    /// How many blocks were mined.
    pub fn mined(&self) -> u64 {
        self.mined
    }

    /// How many miners there are.
    pub fn miners(&self) -> usize {
        self.miners.len()
    }

    /// The first miner's chain, from the root or from what was forgotten.
    pub fn canonical(&self) -> &Track {
        &self.canonical
    }

    /// The block that everything builds on.
    pub fn root_header(&self) -> ChainBlockMetadata {
        self.chain.chain_root().metadata
    }

    /// The height of a block above the root.
    pub fn height(&self, block: &BlockHash) -> Option<u64> {
        Some(self.header(block)?.blue_score - self.root_header().blue_score)
    }

    /// Up to which height everything is settled by settlements in canonical blocks up to this one.
    pub fn settled_by(&self, height: u64) -> Option<u64> {
        let at = height.checked_sub(self.canonical.floor())?;
        self.judged.get(usize::try_from(at).ok()?)?.end
    }

    /// Forgets every block below a height, on all forks, as far as it is settled. No machine asks for it again.
    pub fn forget_below(&mut self, height: u64) {
        let (tip, _) = self.canonical.tip();
        let Some(floor) = self.settled_by(height.min(tip)).map(|end| end.min(height)) else { return };
        let Some(lowest) = self.canonical.at(floor).copied() else { return };
        let above = self.heights.split_off(&(floor, BlockHash::default()));
        let below = std::mem::replace(&mut self.heights, above);
        self.lock().forget_below(&lowest, below.iter().map(|(_, block)| block));
        let gone = (floor - self.canonical.floor()) as usize;
        for block in self.canonical.blocks().take(gone) {
            let settled = self.settled.get(block).into_iter().flatten();
            self.settled_before.extend(settled.map(transition_of));
        }
        self.canonical.drop_below(floor);
        self.judged.drain(..gone);
        for (_, block) in below {
            self.chain.forget(&block);
            self.states.remove(&block);
            self.settled.remove(&block);
            self.mined_us.remove(&block);
            self.contents.remove(&block);
            self.claims.remove(&block);
            self.books.remove(&block);
        }
        let chain = &self.chain;
        self.left.retain(|tip| chain.block(tip).is_some());
        self.oracle.finalize(Checkpoint(floor));
        self.oracle.prune_below(Checkpoint(floor));
    }

    /// The header of a block that was mined, or of the root.
    pub fn header(&self, block: &BlockHash) -> Option<&ChainBlockMetadata> {
        self.chain.header(block)
    }

    /// A block as the first miner shows it, with its settlements.
    pub fn shown(&self, block: &BlockHash) -> Option<ChainBlock> {
        let settlements = self.settled.get(block).cloned().unwrap_or_default();
        let claims = self.claims.get(block).cloned().unwrap_or_default();
        Some(ChainBlock { settlements, claims, ..self.chain.block(block)?.clone() })
    }

    /// The state root of a sequential execution of the canonical chain.
    pub fn root(&self) -> Digest {
        self.oracle.root()
    }

    /// The transitions that are settled on the canonical chain, in order: the root before and after each.
    pub fn transitions(&self) -> Vec<(Digest, Digest)> {
        let here = self.canonical.blocks().filter_map(|block| self.settled.get(block)).flatten();
        self.settled_before.iter().copied().chain(here.map(transition_of)).collect()
    }

    /// How many there are.
    pub fn settled_count(&self) -> usize {
        self.judged.back().map_or(0, |judged| judged.count)
    }

    /// Mines a block on the tip of `miner`; `busy_percent` of them carry lane transactions.
    pub fn mine(&mut self, miner: usize, busy_percent: u64) -> BlockHash {
        let parent = self.miners[miner];
        self.mine_on(parent, busy_percent)
    }

    fn mine_on(&mut self, parent: BlockHash, busy_percent: u64) -> BlockHash {
        let mut state = self.states.get(&parent).cloned().unwrap_or_default();
        let busy = self.rng.percent(busy_percent);
        let count = if busy { 1 + self.rng.among(0..4) } else { 0 };
        let context = self.chain.context_on(&parent);
        let ancestors = if count > 0 { self.ancestors(parent, 40) } else { HashSet::new() };
        let mut accepted: Vec<Paying> = vec![];
        let mut content = Content::default();
        for _ in 0..count {
            let shared = if self.rng.percent(35) { self.shared(&ancestors, &accepted) } else { None };
            let sent = match shared {
                Some(shared) => shared,
                None => {
                    let Draft { by, message, deposit } = self.traffic.draw(&mut self.rng, &state);
                    Paying { transaction: self.chain.transaction(&by, &message, deposit), paid: deposit }
                }
            };
            self.apply(&mut state, context, &sent, &mut content);
            accepted.push(sent);
        }
        for sent in self.strangers(busy, &mut state, context, &mut content) {
            accepted.push(sent);
        }
        let transactions = accepted.iter().map(|sent| sent.transaction.clone()).collect();
        let block = self.chain.mine(parent, self.mined, transactions);
        if !accepted.is_empty() {
            content.balances = state.iter().map(|(_, value)| vault::coins(value)).sum();
            self.contents.insert(block, content);
        }
        self.mined += 1;
        let height = self.height(&block);
        self.heights.extend(height.map(|height| (height, block)));
        self.mined_us.insert(block, self.now_us);
        self.states.insert(block, state);
        self.recent.extend(accepted.into_iter().map(|sent| (block, sent)));
        let old = self.recent.len().saturating_sub(64);
        self.recent.drain(..old);
        block
    }

    fn ancestors(&self, from: BlockHash, count: usize) -> HashSet<BlockHash> {
        let parent = |block: &BlockHash| self.chain.block(block).map(|block| block.metadata.parent_hash);
        std::iter::successors(Some(from), parent).take(count).collect()
    }

    /// What strangers send in a busy block.
    fn strangers(
        &mut self,
        busy: bool,
        state: &mut State,
        context: BlockContext,
        content: &mut Content,
    ) -> Vec<Paying> {
        let mut sent = vec![];
        for (at, most) in [(0, 4), (1, 7)] {
            if !busy || !self.strangers[at] || !self.strange.percent(40) {
                continue;
            }
            for _ in 0..self.strange.among(1..most) {
                let mut strangers = Strangers { chain: &self.chain, state, rng: &mut self.strange };
                let next = if at == 0 { strangers.squat() } else { strangers.odd() };
                self.apply(state, context, &next, content);
                sent.push(next);
            }
        }
        sent
    }

    /// A transaction that another fork has accepted and this one has not.
    fn shared(&mut self, ancestors: &HashSet<BlockHash>, accepted: &[Paying]) -> Option<Paying> {
        let same = |a: &Paying, b: &Paying| {
            let (a, b) = (&a.transaction, &b.transaction);
            a.payload == b.payload && a.rest == b.rest
        };
        let here: Vec<_> =
            self.recent.iter().filter(|(block, _)| ancestors.contains(block)).map(|(_, tx)| tx).collect();
        let elsewhere: Vec<Paying> = self
            .recent
            .iter()
            .filter(|(block, tx)| {
                !ancestors.contains(block)
                    && !here.iter().any(|known| same(known, tx))
                    && !accepted.iter().any(|known| same(known, tx))
            })
            .map(|(_, tx)| tx.clone())
            .collect();
        self.rng.pick(&elsewhere).cloned()
    }

    /// Executes a transaction over the state from which the next one is drawn. A panic of the workload is a broken invariant:
    /// natively it is an outcome, and in a guest it ends the proof.
    fn apply(&mut self, state: &mut State, context: BlockContext, sent: &Paying, content: &mut Content) {
        let Paying { transaction, paid } = sent;
        let (processor, rollup) = (self.processor.as_ref(), self.chain.rollup());
        let (outcome, exits) = state.effects(processor, &rollup, context, transaction);
        let read = transaction.read(&rollup);
        let declare = || processor.declare(&read.message, &read.facts);
        let declared = transaction.is_too_long() || catch_unwind(AssertUnwindSafe(declare)).is_ok();
        if outcome == Outcome::PANICKED || !declared {
            let message: String = read.message.iter().map(|byte| format!("{byte:02x}")).collect();
            self.broken(NO_PANIC, format!("the message {message} by {}", read.facts.authority));
        }
        content.paid_in += paid;
        content.lost += if transaction.is_too_long() { *paid } else { 0 };
        content.exits.extend(exits);
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    /// A block reaches a miner, who follows its chain if that is longer. Returns whether the canonical chain changed.
    pub fn arrive(&mut self, miner: usize, block: BlockHash) -> bool {
        let (Some(new), Some(old)) = (self.height(&block), self.height(&self.miners[miner])) else {
            return false;
        };
        if new <= old {
            return false;
        }
        self.miners[miner] = block;
        if miner == 0 {
            self.adopt(block);
        }
        miner == 0
    }

    /// Shows a withheld branch to every miner. It forks off `depth` below the tip and is one block longer than the
    /// canonical chain; it is a branch that was canonical before, if there is one that deep.
    pub fn reveal(&mut self, depth: u64, busy_percent: u64) {
        let (tip, _) = self.canonical.tip();
        let depth = depth.min(tip - self.canonical.floor());
        if depth == 0 {
            return;
        }
        let is_canonical = |l1: &Self, block: &BlockHash| {
            l1.height(block).is_some_and(|height| l1.canonical.at(height) == Some(block))
        };
        let fork_of = |l1: &Self, block: BlockHash| {
            let parent = |block: &BlockHash| l1.chain.block(block).map(|block| block.metadata.parent_hash);
            std::iter::successors(Some(block), parent).find(|at| is_canonical(l1, at))
        };
        let deep = |l1: &Self, block: BlockHash| {
            let fork = fork_of(l1, block).and_then(|fork| l1.height(&fork));
            fork.is_some_and(|fork| fork + depth >= tip)
        };
        let left = self.left.iter().copied();
        let known: Vec<BlockHash> = left.filter(|tip| !is_canonical(self, tip) && deep(self, *tip)).collect();
        let back = self.rng.percent(60);
        let fork = self.canonical.at(tip - depth).copied();
        let Some(mut at) = known.last().copied().filter(|_| back).or(fork) else { return };
        while self.height(&at).is_some_and(|height| height <= tip) {
            at = self.mine_on(at, busy_percent);
        }
        for miner in 0..self.miners.len() {
            self.arrive(miner, at);
        }
    }

    fn adopt(&mut self, tip: BlockHash) {
        let place = |l1: &Self, block: &BlockHash| {
            let height = l1.height(block)?;
            (l1.canonical.at(height) == Some(block)).then_some(height)
        };
        let mut joining = vec![];
        let mut at = tip;
        while let (None, Some(block)) = (place(self, &at), self.chain.block(&at)) {
            joining.push(block.clone());
            at = block.metadata.parent_hash;
        }
        joining.reverse();
        let kept = place(self, &at).unwrap_or(self.canonical.floor());
        let removed = self.canonical.remove_above(kept);
        if let Some(tip) = removed.first() {
            self.reorgs += 1;
            self.deepest = self.deepest.max(removed.len() as u64);
            self.flips +=
                u64::from(joining.iter().any(|b| self.settled.contains_key(&b.metadata.block_hash)));
            self.left.push(*tip);
        }
        self.oracle.roll_back(removed.len());
        self.judged.truncate((kept - self.canonical.floor()) as usize + 1);
        let mut event = SourceEvent { removed, added: joining };
        let followed = self.lock().follow(&mut event);
        if let Err(error) = followed {
            self.broken("the covenant goes on", error);
        }
        self.lock().take_rejected();
        for block in event.added {
            self.oracle.execute(&block);
            let hash = block.metadata.block_hash;
            let settled_before = self.judged.back().and_then(|judged| judged.end);
            self.canonical.push(hash);
            self.judge(&block.settlements);
            if !self.books.contains_key(&hash) {
                self.keep_books(&block, settled_before);
            }
            self.settled.insert(hash, block.settlements);
        }
    }

    /// A block joins for the first time: what it does to the vault, and which claims land in it.
    fn keep_books(&mut self, block: &ChainBlock, settled_before: Option<u64>) {
        let ChainBlockMetadata { block_hash: hash, parent_hash, .. } = block.metadata;
        let Some(mut books) = self.books.get(&parent_hash).cloned() else { return };
        if let Some(content) = self.contents.get(&hash) {
            Arc::make_mut(&mut books).accept(content);
        }
        let mut from = settled_before.map_or(0, |end| end + 1);
        for settlement in &block.settlements {
            let Some(end) = self.height(&settlement.end_block) else { continue };
            let covered = (from..=end).filter_map(|height| self.canonical.at(height));
            let exits = covered.flat_map(|block| self.exits(block)).copied().collect();
            from = end + 1;
            let hasher = self.hasher.clone();
            if !Arc::make_mut(&mut books).settle(hasher.as_ref(), settlement, hash, exits) {
                self.broken("the exits of a settlement are those of a plain execution", settlement.statement);
            }
        }
        let claims = self.land(&mut books);
        if !claims.is_empty() {
            self.claims.insert(hash, claims);
        }
        if self.holds_coins
            && let Err(why) = books.judge()
        {
            self.broken(vault::CONSERVED, why);
        }
        self.books.insert(hash, books);
    }

    /// The claims that land in a new block: what payers send, as far as the covenant pays it, and what strangers do.
    fn land(&mut self, books: &mut Arc<Books>) -> Vec<ObservedClaim> {
        let mut landed = vec![];
        for payer in &self.payers {
            let payer = vault::lock(payer);
            if payer.owed.is_empty() || !self.paying.percent(50) {
                continue;
            }
            for claim in payer.sends(self.hasher.as_ref(), &mut self.paying) {
                if !Arc::make_mut(books).pay(self.hasher.as_ref(), &claim) {
                    break;
                }
                landed.push(claim);
            }
        }
        // Of another rollup, or of a founder who had an output of his own beside the covenant's: nobody's exits are paid by it.
        if self.strangers[0] && self.strange.percent(10) {
            let (chain, state) = (&self.chain, &State::default());
            landed.push(Strangers { chain, state, rng: &mut self.strange }.claim());
        }
        landed
    }

    /// Checks that the settlements of the next canonical block go on from the last ones and agree with a sequential execution.
    fn judge(&mut self, settlements: &[ObservedSettlement]) {
        // What is settled after the highest block is never forgotten.
        let Some(mut last) = self.judged.back().copied() else { return };
        for settlement in settlements {
            let transition = settlement.journal.transition;
            if (transition.root_before, transition.tip_before) != last.state {
                self.broken("settlements are gapless", settlement.statement);
            }
            if !self.oracle.gives(&settlement.end_block, transition.root_after) {
                self.broken("a settled root is that of a plain execution", settlement.end_block);
            }
            last.state = (transition.root_after, transition.tip_after);
            last.end = self.height(&settlement.end_block).or(last.end);
        }
        self.judged.push_back(Judged { count: last.count + settlements.len(), ..last });
    }

    fn broken(&mut self, promise: &'static str, by: impl ToString) {
        self.violations.push(Violation { promise, by: by.to_string() });
    }

    fn lock(&self) -> MutexGuard<'_, Overlay> {
        self.overlay.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn transition_of(settlement: &ObservedSettlement) -> (Digest, Digest) {
    let transition = settlement.journal.transition;
    (transition.root_before, transition.root_after)
}
