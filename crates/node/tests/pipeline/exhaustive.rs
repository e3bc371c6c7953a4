//! Every history of small worlds: the planner and the job machine together, under all orders in which the chain
//! moves between forks, settlements are shown and taken away, look-ups, proofs, writes and checks end, receipts
//! are lost, attempts hang and stops come, explored to the last state.
//!
//! A breadth-first search over the states of planner, engine and store together. A state is told from another
//! by what decides what they do: the view, what is planned for each block, and [`Engine::fingerprint`]. Failures are
//! bounded by the budget, and each world bounds how often a receipt vanishes. What was given up and let go is part of a state.
//!
//! | world | permits | expensive failures | receipts lost | states |
//! |---|---|---|---|---|
//! | one transaction in a batch on each of two forks | 1 | 1 | one | 13822 |
//! | the same | 2 | 1 | none | 3648 |
//! | the same, each batch in a bundle of its own; nothing fails | 1 | – | none | 1354 |
//! | a transaction, its batch, the aggregate over it | 1 | 1 | one | 1100 |
//! | the same | 1 | 2 | one | 4881 |
//! | the same, with room for two jobs | 1 | 2 | one | 5255 |
//! | the same, and the disk is full at any look-up or write, for any time | 1 | 1 | one | 1112 |
//! | the same, and a device is suspended after each failure | 1 | 1, or two cheap ones | one | 5769 |
//! | the same, and its settlement is shown and taken away | 1 | 1 | one | 3161 |
//! | two blocks in a bundle, and a competitor's settlement of the first alone; nothing hangs | 1 | 1 | none | 7766 |
//! | the same, and nothing fails | 2 | – | none | 1531 |
//!
//! In each, the chain moves between all its forks at any time (the empty one among them), any attempt may hang, and an
//! attempt that is orphaned while it runs is asked to end. In every state the invariants of proving hold, and the indexes
//! agree with a full scan. From every state, without further faults, the world reaches a state in which nothing is under
//! way and everything that is wanted is stored or given up.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_ledger::Ledger;
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, PinsDigest, StatementId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, SpanJournal, TransactionJournal, Transition};
use reprise_model::limits::Limits;
use reprise_model::order::Order;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::scheduled::{ProvedBy, ScheduledBatch, ScheduledBlock, ScheduledTransaction};
use reprise_planner::bundle::BundleRule;
use reprise_planner::demand::ReceiptStatus;
use reprise_planner::planner::{Planner, ProofContext, Retention};
use reprise_prover::backend::{Backend, ProveError};
use reprise_prover::engine::{Effect, Engine};
use reprise_prover::failure::Failure;
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_prover::policy::{Backoff, Breaker, Budget, Orphans, Policy};
use reprise_store::port::StoreError;

/// Made-up blocks, joined into forks.
type Block = (AddedBlock, ScheduledBlock);

/// What may happen.
struct World {
    /// The chains that the L1 may show, each from its beginning; the first is empty.
    chains: Vec<Vec<Block>>,
    rule: BundleRule,
    permits: usize,
    policy: Policy,
    /// How often a stored receipt is lost.
    vanish: u8,
    /// Whether attempts fail, and writes.
    fail: bool,
    /// Whether attempts hang.
    hang: bool,
    /// Whether the disk is full at times.
    full: bool,
}

/// Planner, engine, store, and what is out between them.
#[derive(Clone)]
struct State {
    planner: Planner,
    engine: Engine,
    now: Duration,
    /// Which of the world's chains is shown.
    chain: usize,
    stored: BTreeSet<StatementId>,
    looking: Vec<Arc<Order>>,
    proving: Vec<Arc<Order>>,
    writing: Vec<Arc<Order>>,
    checking: Vec<Arc<Order>>,
    cancelled: BTreeSet<StatementId>,
    vanished: u8,
    stopped: bool,
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The L1 shows another of its chains.
    Chain(usize),
    LookUp(usize),
    Prove(usize, End),
    Write(usize, bool),
    FullLookUp(usize),
    FullWrite(usize),
    Check(usize, bool),
    Vanish(StatementId),
    /// The next deadline passes: an attempt hangs, or a suspension ends.
    Time,
    Stop,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Transient,
    Divergence,
    Cancelled,
}

impl World {
    fn initial(&self) -> State {
        State {
            planner: Planner::new(context(), self.rule, Retention { grace: 9, retained: 9 }),
            engine: Engine::new(self.permits, self.policy),
            now: Duration::ZERO,
            chain: 0,
            stored: BTreeSet::new(),
            looking: vec![],
            proving: vec![],
            writing: vec![],
            checking: vec![],
            cancelled: BTreeSet::new(),
            vanished: 0,
            stopped: false,
        }
    }

    fn steps(&self, state: &State) -> Vec<Step> {
        let others = (0..self.chains.len()).filter(|chain| *chain != state.chain);
        let mut steps: Vec<Step> = others.map(Step::Chain).collect();
        steps.extend((0..state.looking.len()).map(Step::LookUp));
        for (at, order) in state.proving.iter().enumerate() {
            steps.push(Step::Prove(at, End::Well));
            if self.fail {
                steps.extend([End::Transient, End::Divergence].map(|end| Step::Prove(at, end)));
            }
            if state.cancelled.contains(&order.id) {
                steps.push(Step::Prove(at, End::Cancelled));
            }
        }
        for at in 0..state.writing.len() {
            steps.push(Step::Write(at, true));
            if self.fail {
                steps.push(Step::Write(at, false));
            }
        }
        if self.full {
            steps.extend((0..state.looking.len()).map(Step::FullLookUp));
            steps.extend((0..state.writing.len()).map(Step::FullWrite));
        }
        for at in 0..state.checking.len() {
            steps.extend([Step::Check(at, true), Step::Check(at, false)]);
        }
        if state.vanished < self.vanish {
            steps.extend(state.stored.iter().map(|id| Step::Vanish(*id)));
        }
        if self.hang && state.engine.deadline().is_some() {
            steps.push(Step::Time);
        }
        if !state.stopped {
            steps.push(Step::Stop);
        }
        steps
    }

    /// The steps that end successfully what is under way: a world without further faults takes no others.
    fn well(state: &State) -> Option<Step> {
        let at = |out: &[Arc<Order>], step: fn(usize) -> Step| (!out.is_empty()).then(|| step(0));
        at(&state.looking, Step::LookUp)
            .or_else(|| at(&state.proving, |at| Step::Prove(at, End::Well)))
            .or_else(|| at(&state.writing, |at| Step::Write(at, true)))
            .or_else(|| at(&state.checking, |at| Step::Check(at, false)))
            .or_else(|| state.engine.deadline().map(|_| Step::Time))
    }

    fn take(&self, state: &State, step: Step) -> State {
        let mut next = state.clone();
        let effects = match step {
            Step::Chain(chain) => {
                self.show(&mut next, chain);
                vec![]
            }
            Step::LookUp(at) => {
                let order = next.looking.remove(at);
                let found = next.stored.contains(&order.id);
                next.engine.looked_up(order.id, found)
            }
            Step::Prove(at, end) => {
                let order = next.proving.remove(at);
                next.cancelled.remove(&order.id);
                let lost = order.assumptions.iter().find(|inner| !next.stored.contains(&inner.id));
                let result = match (lost, end) {
                    (Some(inner), _) => {
                        Err(Failure::AssumptionLost { assumption: inner.id, reason: String::new() })
                    }
                    (None, End::Well) => Ok(receipt(&order)),
                    (None, End::Transient) => Err(transient(&order)),
                    (None, End::Divergence) => Err(divergence(&order)),
                    (None, End::Cancelled) => Err(Failure::Cancelled { statement: order.id }),
                };
                next.engine.proved(order.id, result)
            }
            Step::Write(at, well) => {
                let order = next.writing.remove(at);
                if well {
                    next.stored.insert(order.id);
                }
                let result = if well { Ok(()) } else { Err(unwritable().into()) };
                next.engine.stored(order.id, result)
            }
            Step::FullLookUp(at) => {
                let order = next.looking.remove(at);
                next.engine.lookup_failed(order.id, full().into())
            }
            Step::FullWrite(at) => {
                let order = next.writing.remove(at);
                next.engine.stored(order.id, Err(full().into()))
            }
            Step::Check(at, bad) => {
                let order = next.checking.remove(at);
                let bad: Vec<_> =
                    order.assumptions.iter().filter(|_| bad).take(1).map(|inner| inner.id).collect();
                bad.iter().for_each(|id| {
                    next.stored.remove(id);
                });
                next.engine.checked(order.id, Ok(bad))
            }
            Step::Vanish(id) => {
                next.stored.remove(&id);
                next.vanished += 1;
                vec![]
            }
            Step::Time => {
                next.now = next.engine.deadline().unwrap();
                next.engine.tick(next.now)
            }
            Step::Stop => {
                next.stopped = true;
                next.engine.stop();
                vec![]
            }
        };
        self.carry_out(&mut next, effects);
        // Again where carrying it out showed a loss, as the pipeline does.
        while self.wake(&mut next) {}
        next
    }

    /// The L1 shows another chain.
    fn show(&self, state: &mut State, chain: usize) {
        let (before, after) = (&self.chains[state.chain], &self.chains[chain]);
        let hash = |block: &Block| block.0.metadata.block_hash();
        let same = before.iter().zip(after).take_while(|(a, b)| hash(a) == hash(b)).count();
        let removed = before[same..].iter().rev().map(|(block, _)| block.metadata).collect();
        let (added, batches): (Vec<_>, Vec<_>) = after[same..].iter().cloned().unzip();
        state.planner.follow(&ChainEvent { removed, added, finalized: Checkpoint(0) }, &batches);
        state.chain = chain;
    }

    /// What a pipeline does after every input. Returns whether a receipt was found to be lost.
    fn wake(&self, state: &mut State) -> bool {
        let changed = state.engine.take_known_changes();
        let engine = &state.engine;
        let status = |id: &StatementId| match engine.known(id) {
            None => ReceiptStatus::Unknown,
            Some(false) => ReceiptStatus::Missing,
            Some(true) => ReceiptStatus::Stored,
        };
        let change = state.planner.demand(changed, &status, self.policy.jobs_max);
        state.engine.retain(&change.dormant, &change.no_longer_dormant);
        let mut effects = state.engine.want(&change.removed, &change.added);
        effects.extend(state.engine.tick(state.now));
        self.carry_out(state, effects)
    }

    /// Whether a receipt was found to be lost.
    fn carry_out(&self, state: &mut State, effects: Vec<Effect>) -> bool {
        let mut lost = false;
        for effect in effects {
            match effect {
                Effect::LookUp(order) => state.looking.push(order),
                Effect::Prove(order, _) => {
                    let id = order.id;
                    assert!(!state.stopped, "begun after the stop");
                    assert!(!state.engine.is_held_up(), "begun while it could not be stored");
                    assert!(!state.proving.iter().chain(&state.writing).any(|other| other.id == id), "twice");
                    assert_eq!(state.engine.known(&id), Some(false), "proved although stored");
                    assert!(state.engine.failures().iter().all(|(failed, _)| *failed != id), "given up");
                    state.proving.push(order);
                    assert!(state.proving.len() <= self.permits, "more proofs than permits");
                }
                Effect::Want(..) => {}
                Effect::Cancel(id) => drop(state.cancelled.insert(id)),
                Effect::WriteOff(order, _) => {
                    state.proving.retain(|other| other.id != order.id);
                    state.cancelled.remove(&order.id);
                }
                Effect::Check(order) => state.checking.push(order),
                Effect::Store { order, .. } => state.writing.push(order),
                Effect::AddCoordinate(_, id, _) => {
                    if !state.stored.contains(&id) {
                        state.engine.lost(id);
                        lost = true;
                    }
                }
                Effect::Publish(order) => {
                    let known = state.engine.known(&order.id) == Some(true);
                    assert!(known || !state.stored.contains(&order.id), "published before it was durable");
                }
            }
        }
        lost
    }

    /// The fingerprint of a state.
    fn key(&self, state: &State) -> String {
        let ids = |orders: &[Arc<Order>]| orders.iter().map(|order| order.id).collect::<Vec<_>>();
        let blocks = self.chains.iter().flatten();
        let planned: Vec<usize> =
            blocks.map(|(block, _)| state.planner.orders_of(&block.metadata.block_hash()).len()).collect();
        format!(
            "{:?} {planned:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {}",
            state.engine.fingerprint(),
            state.stored,
            ids(&state.looking),
            ids(&state.proving),
            ids(&state.writing),
            ids(&state.checking),
            state.cancelled,
            state.chain,
            state.vanished,
            state.stopped
        )
    }

    fn check(&self, state: &State) {
        let out = state.looking.len() + state.proving.len() + state.writing.len() + state.checking.len();
        assert_eq!(state.engine.is_idle(), out == 0);
        assert!(state.engine.is_coherent(), "what is kept at hand is not what there is");
        assert!(
            state.planner.orders().all(|order| state.engine.is_wanted(&order.id)),
            "wanted and not heard of"
        );
        assert!(
            state.engine.jobs() <= self.policy.jobs_max + state.engine.failures().len(),
            "over the bound"
        );
        let counts = state.engine.counts();
        if out == 0 {
            let accounted = counts.stored_before + counts.proved.total() + state.engine.dropped();
            assert_eq!(counts.wanted, accounted, "wanted = stored before + proved + dropped");
        }
    }

    /// Without further faults, every state reaches one in which nothing is under way. Unless it was stopped, everything that
    /// is wanted is then stored or given up. `rest` holds the states that are known to do so.
    fn check_rest(&self, state: &State, rest: &mut HashSet<blake3::Hash>) {
        let (mut state, mut passed) = (state.clone(), HashSet::new());
        loop {
            let key = blake3::hash(self.key(&state).as_bytes());
            if rest.contains(&key) {
                break;
            }
            assert!(passed.insert(key), "it never becomes idle");
            match Self::well(&state) {
                Some(step) => state = self.take(&state, step),
                None => {
                    assert!(state.stopped || state.engine.satisfied(), "idle and not satisfied");
                    break;
                }
            }
        }
        rest.extend(passed);
    }

    /// Explores every history. Returns the number of states.
    fn explore(&self) -> usize {
        let mut initial = self.initial();
        self.wake(&mut initial);
        let mut seen = HashSet::from([blake3::hash(self.key(&initial).as_bytes())]);
        let mut queue = VecDeque::from([initial]);
        let mut rest = HashSet::new();
        while let Some(state) = queue.pop_front() {
            self.check(&state);
            self.check_rest(&state, &mut rest);
            for step in self.steps(&state) {
                let next = self.take(&state, step);
                if seen.insert(blake3::hash(self.key(&next).as_bytes())) {
                    queue.push_back(next);
                }
            }
        }
        seen.len()
    }
}

fn policy(expensive: u32, cheap: u32) -> Policy {
    Policy {
        backoff: Backoff::NONE,
        breaker: Breaker::NEVER,
        budget: Budget { cheap, expensive, interrupted: u32::MAX },
        orphans: Orphans::AbortAfter(Duration::ZERO),
        ..Policy::default()
    }
}

fn context() -> ProofContext {
    let backend = Arc::new(MockBackend::new(MockConfig::default(), Arc::new(Blake3), Arc::new(Ledger)));
    ProofContext {
        programs: backend.programs(),
        scheme: backend,
        hasher: Arc::new(Blake3),
        pins: PinsDigest([1; 32]),
        limits: Limits::NONE,
    }
}

struct Agreeable;

impl Verifier for Agreeable {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

fn receipt(order: &Order) -> Verified<Receipt> {
    let (statement, claim) = (order.statement, order.claim.clone());
    Verified::check(Receipt { statement, claim, seal_kind: SealKind::Fake, seal: vec![] }, &Agreeable)
        .unwrap()
}

fn transient(order: &Order) -> Failure {
    ProveError::Transient { statement: order.id, reason: "the device".into() }.into()
}

fn divergence(order: &Order) -> Failure {
    let (expected, found) = (String::new(), String::new());
    ProveError::Divergence { statement: order.id, expected, found }.into()
}

fn unwritable() -> StoreError {
    StoreError::Io { doing: "write", path: "store".into(), source: Arc::new(io::Error::other("the disk")) }
}

fn full() -> StoreError {
    let source = Arc::new(io::ErrorKind::StorageFull.into());
    StoreError::Io { doing: "write", path: "store".into(), source }
}

/// A block called `name` on `chain` with these transactions; on two forks one with the same name is the same.
fn grow(chain: &mut Vec<Block>, name: u8, transactions: &[u8], settlements: Vec<ObservedSettlement>) {
    let height = chain.len() as u64 + 1;
    let last = chain.last();
    let header = ChainBlockMetadata {
        block_hash: BlockHash([name; 32]),
        parent_hash: last.map_or(BlockHash([0; 32]), |(block, _)| block.metadata.block_hash()),
        blue_score: height,
        daa_score: height,
        timestamp_ms: height,
        parent_timestamp_ms: height - 1,
        sequencing_commitment: Digest([name; 32]),
    };
    let metadata = BatchMetadata { id: BlockId(name.into()), checkpoint: Checkpoint(height), block: header };
    let before = last.map_or((Digest::ZERO, Digest::ZERO), |(_, batch)| (batch.root_after, batch.tip_after));
    let after = if transactions.is_empty() { before } else { (Digest([name; 32]), Digest([name; 32])) };
    let transition = Transition {
        pins: PinsDigest([1; 32]),
        root_before: before.0,
        root_after: after.0,
        tip_before: before.1,
        tip_after: after.1,
        exits: Digest::ZERO,
    };
    let journal = SpanJournal { transition, open_before: Digest::ZERO, open_after: Digest::ZERO };
    let whole = ScheduledBatch { begin: 0, end: transactions.len() as u32, computed: None, journal };
    let journal_of = |transaction: u8| TransactionJournal {
        transaction: Digest([transaction; 32]),
        outcome: Outcome::SUCCESS,
        context: None,
        accesses: vec![],
        exits: vec![],
    };
    let scheduled = (1..).zip(transactions).map(|(merge_index, transaction)| ScheduledTransaction {
        merge_index,
        proved_by: ProvedBy::Itself,
        journal: journal_of(*transaction),
    });
    let batch = ScheduledBlock {
        metadata,
        transactions: scheduled.collect(),
        batches: Some(whole).filter(|_| !transactions.is_empty()).into_iter().collect(),
        root_after: after.0,
        tip_after: after.1,
        is_anchor: false,
    };
    let block =
        ChainBlock { metadata: header, accepted: vec![], lane_proof: None, settlements, claims: vec![] };
    chain.push((AddedBlock { metadata, returning: false, block }, batch));
}

/// A chain of blocks with these names and transactions.
fn chain(blocks: &[(u8, &[u8])]) -> Vec<Block> {
    let mut chain = vec![];
    blocks.iter().for_each(|(name, transactions)| grow(&mut chain, *name, transactions, vec![]));
    chain
}

/// The same with one more block that shows the settlement of the oldest bundle, up to the block called `end`.
fn settled(mut chain: Vec<Block>, rule: BundleRule, name: u8, end: u8) -> Vec<Block> {
    let mut planner = Planner::new(context(), rule, Retention::default());
    let (added, batches): (Vec<_>, Vec<_>) = chain.iter().cloned().unzip();
    planner.follow(&ChainEvent { removed: vec![], added, finalized: Checkpoint(0) }, &batches);
    let wanted = planner.bundles().next().unwrap();
    let (statement, journal) = (wanted.order.id, wanted.bundle.journal);
    grow(
        &mut chain,
        name,
        &[],
        vec![ObservedSettlement { statement, journal, end_block: BlockHash([end; 32]) }],
    );
    chain
}

/// Bundles of so many batches.
fn rule(batches_max: usize) -> BundleRule {
    BundleRule { batches_max, transactions_max: 9, deadline_score: 99 }
}

/// Fork A and fork B, each with the same transaction in a batch of its own; no bundle is full.
fn forks() -> World {
    World {
        chains: vec![vec![], chain(&[(1, &[1])]), chain(&[(2, &[1])])],
        rule: rule(2),
        permits: 1,
        policy: policy(1, 1),
        vanish: 1,
        fail: true,
        hang: true,
        full: false,
    }
}

/// A transaction, its batch, the aggregate over it.
fn tower() -> World {
    World { chains: vec![vec![], chain(&[(1, &[1])])], rule: rule(1), ..forks() }
}

/// Two blocks in one bundle, and a competitor's settlement of the first alone.
fn competitor() -> World {
    let both = chain(&[(1, &[1]), (2, &[2])]);
    World {
        chains: vec![vec![], both.clone(), settled(both, rule(2), 3, 1)],
        vanish: 0,
        hang: false,
        ..forks()
    }
}

#[test]
fn every_history_of_two_forks_keeps_every_invariant() {
    let found = (forks().explore(), World { permits: 2, vanish: 0, ..forks() }.explore());
    assert_eq!(found, (13822, 3648));
}

#[test]
fn every_history_of_a_tower_keeps_every_invariant() {
    // With these budgets and jobs.
    let states = [(1, 9), (2, 9), (2, 2)].map(|(budget, jobs_max)| {
        World { policy: Policy { jobs_max, ..policy(budget, 1) }, ..tower() }.explore()
    });
    assert_eq!(states, [1100, 4881, 5255]);
}

#[test]
fn a_disk_that_is_full_for_as_long_as_it_likes_ends_nothing() {
    assert_eq!(World { full: true, ..tower() }.explore(), 1112);
}

#[test]
fn a_suspended_device_that_is_tried_at_any_time_breaks_nothing() {
    let second = Duration::from_secs(1);
    let breaker = Breaker { failures: 1, suspension: Backoff { first: second, max: second } };
    let policy = Policy { breaker, ..policy(1, 2) };
    assert_eq!(World { policy, ..tower() }.explore(), 5788);
}

#[test]
fn a_settlement_that_is_shown_and_taken_away_at_any_time_breaks_nothing() {
    let tower = tower();
    let bundle = tower.chains[1].clone();
    let chains = vec![vec![], bundle.clone(), settled(bundle, tower.rule, 3, 1)];
    assert_eq!(World { chains, ..tower }.explore(), 3161);
}

#[test]
fn a_competitors_settlement_of_a_prefix_re_forms_the_rest_at_any_time() {
    let found = (competitor().explore(), World { fail: false, permits: 2, ..competitor() }.explore());
    assert_eq!(found, (7766, 1531));
}

#[test]
fn towers_on_two_forks_over_one_transaction_share_its_proof_at_any_time() {
    assert_eq!(World { rule: rule(1), vanish: 0, fail: false, ..forks() }.explore(), 1354);
}
