//! The job machine under random histories: the demand changes, proofs fail, writes fail, receipts are lost, a stop comes at
//! any time. The driver here is like the node's, without threads.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, Digest, PinsDigest, ProfileId, ProgramId, StatementId};
use reprise_model::order::{BatchRef, Order, Rank, Work};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement};
use reprise_prover::backend::ProveError;
use reprise_prover::engine::{Effect, Engine, Request};
use reprise_prover::failure::{Cost, Failure, FailureCounts};
use reprise_prover::policy::{ALONE_AFTER, Backoff, Breaker, Budget, Orphans, Policy};
use reprise_store::port::StoreError;

/// No waits, no suspensions; a budget of three expensive failures and five cheap ones.
fn policy() -> Policy {
    let budget = Budget { cheap: 5, expensive: 3, interrupted: 4 };
    Policy { backoff: Backoff::NONE, breaker: Breaker::NEVER, budget, ..Policy::default() }
}

/// An order of the statement `name` in block `block`.
pub(crate) fn order(name: u8, block: u8, position: Position, inner: &[&Arc<Order>]) -> Arc<Order> {
    let claim = Claim { program: ProgramId([position.kind() as u8; 32]), journal: vec![name] };
    let statement = Statement { profile: ProfileId([1; 32]), claim: ClaimDigest([name; 32]) };
    let coordinate = Coordinate {
        checkpoint: Checkpoint(u64::from(block)),
        block_hash: BlockHash([block; 32]),
        position,
        program: claim.program,
        profile: statement.profile,
        pins: PinsDigest([2; 32]),
    };
    let assumptions = inner.iter().map(|order| order.as_assumption()).collect();
    let work = Work::Batch(BatchRef { block: coordinate.block_hash, index: 0 });
    Arc::new(Order { id: statement.id(), statement, claim, coordinate, assumptions, work })
}

/// Orders, the most urgent first.
type Orders = BTreeMap<(Rank, StatementId), Arc<Order>>;

/// The orders of `a` that `b` does not have.
fn without(a: &Orders, b: &Orders) -> Vec<Arc<Order>> {
    a.iter().filter(|(key, order)| b.get(*key) != Some(*order)).map(|(_, order)| order.clone()).collect()
}

/// An engine that is given the whole demand and all that is dormant, and passes on the difference.
#[derive(Clone)]
struct DemandDriver {
    engine: Engine,
    demand: Orders,
    dormant: BTreeSet<StatementId>,
}

impl DemandDriver {
    fn new(permits: usize, policy: Policy) -> Self {
        Self { engine: Engine::new(permits, policy), demand: BTreeMap::new(), dormant: BTreeSet::new() }
    }

    fn want(&mut self, demand: Vec<Arc<Order>>) -> Vec<Effect> {
        let demand = demand.into_iter().map(|order| ((order.rank(), order.id), order)).collect();
        let before = std::mem::replace(&mut self.demand, demand);
        let removed = without(&before, &self.demand);
        let added = without(&self.demand, &before);
        let effects = self.engine.want(&removed, &added);
        assert!(self.engine.is_coherent());
        effects
    }

    fn retain(&mut self, dormant: BTreeSet<StatementId>) {
        let before = std::mem::replace(&mut self.dormant, dormant);
        let dormant: Vec<StatementId> = self.dormant.difference(&before).copied().collect();
        let no_longer: Vec<StatementId> = before.difference(&self.dormant).copied().collect();
        self.engine.retain(&dormant, &no_longer);
    }
}

impl Deref for DemandDriver {
    type Target = Engine;
    fn deref(&self) -> &Engine {
        &self.engine
    }
}

impl DerefMut for DemandDriver {
    fn deref_mut(&mut self) -> &mut Engine {
        &mut self.engine
    }
}

/// Two forks that share a transaction, and a batch after one of them.
struct Dag {
    aggregates: Vec<Arc<Order>>,
    batches: Vec<Arc<Order>>,
    transactions: Vec<Arc<Order>>,
}

impl Dag {
    fn new() -> Self {
        let tx = |name, block, merge_index| order(name, block, Position::Transaction { merge_index }, &[]);
        // The statement 1 stands on both forks.
        let transactions = vec![tx(1, 1, 1), tx(2, 1, 2), tx(1, 2, 1), tx(3, 2, 5), tx(4, 3, 1)];
        let of = |block: u8| -> Vec<&Arc<Order>> {
            transactions.iter().filter(|tx| tx.coordinate.block_hash.0[0] == block).collect()
        };
        let batches: Vec<_> =
            (1..=3).map(|block| order(10 + block, block, Position::Batch { first: 0 }, &of(block))).collect();
        let aggregate =
            |start| Position::Settlement { start: Checkpoint(start), commitment: Digest([start as u8; 32]) };
        let join = Position::Join { start: Checkpoint(1), first: 1, last: 1, height: 1 };
        let join = order(20, 3, join, &[&batches[0], &batches[2]]);
        let aggregates =
            vec![order(21, 3, aggregate(1), &[&join]), order(22, 2, aggregate(2), &[&batches[1]]), join];
        Self { aggregates, batches, transactions }
    }

    /// Demand from the top, as the planner makes it: below an order only where it is known to be missing.
    fn demand(&self, roots: u8, known: impl Fn(&StatementId) -> Option<bool>) -> Vec<Arc<Order>> {
        let tops = self.aggregates.iter().chain(&self.batches);
        let mut demand: Vec<Arc<Order>> = vec![];
        let mut want = |order: &Arc<Order>| {
            if !demand.iter().any(|other| (other.id, other.coordinate) == (order.id, order.coordinate)) {
                demand.push(order.clone());
            }
        };
        for (_, top) in (0..).zip(tops).filter(|(bit, _)| roots >> bit & 1 == 1) {
            let mut level = vec![top];
            while !level.is_empty() {
                level.iter().for_each(|order| want(order));
                let missing = level.into_iter().filter(|order| known(&order.id) == Some(false));
                level = missing.flat_map(|order| self.inner(order)).collect();
            }
        }
        demand
    }

    /// The orders an order relies on, at its own block where the statement stands on several.
    fn inner(&self, outer: &Order) -> Vec<&Arc<Order>> {
        let all = || self.aggregates.iter().chain(&self.batches).chain(&self.transactions);
        let find = |id: &StatementId| {
            let here =
                |o: &&Arc<Order>| o.id == *id && o.coordinate.block_hash == outer.coordinate.block_hash;
            all().find(here).or_else(|| all().find(|order| order.id == *id))
        };
        outer.assumptions.iter().filter_map(|inner| find(&inner.id)).collect()
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
    let receipt = Receipt { statement, claim, seal_kind: SealKind::Fake, seal: vec![] };
    Verified::check(receipt, &Agreeable).unwrap()
}

fn transient(order: &Order) -> Failure {
    ProveError::Transient { statement: order.id, reason: "the device".into() }.into()
}

fn divergence(order: &Order) -> Failure {
    let (expected, found) = (String::new(), String::new());
    ProveError::Divergence { statement: order.id, expected, found }.into()
}

fn unwritable() -> StoreError {
    let source = Arc::new(io::Error::other("the disk"));
    StoreError::Io { doing: "write", path: "store".into(), source }
}

/// How an outstanding effect ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Well,
    Transient,
    Panic,
    Divergence,
}

#[derive(Debug, Clone)]
enum Step {
    Demand(u8),
    AnswerLookUp(usize),
    EndProof(usize, End),
    EndWrite(usize, End),
    EndCheck(usize, bool),
    Vanish(usize),
    Stop,
}

fn ends() -> impl Strategy<Value = End> {
    prop_oneof![
        8 => Just(End::Well),
        2 => Just(End::Transient),
        1 => Just(End::Panic),
        1 => Just(End::Divergence),
    ]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0usize..64;
    let step = prop_oneof![
        6 => (0u8..32).prop_map(Step::Demand),
        8 => at().prop_map(Step::AnswerLookUp),
        8 => (at(), ends()).prop_map(|(at, end)| Step::EndProof(at, end)),
        8 => (at(), ends()).prop_map(|(at, end)| Step::EndWrite(at, end)),
        4 => (at(), any::<bool>()).prop_map(|(at, bad)| Step::EndCheck(at, bad)),
        1 => at().prop_map(Step::Vanish),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 0..80)
}

/// A driver without threads, and its observations.
struct Drive {
    dag: Dag,
    engine: DemandDriver,
    permits: usize,
    roots: u8,
    stopped: bool,
    /// What the store really holds.
    stored: HashSet<StatementId>,
    /// What a publication may rely on: stored or found, and not found lost since.
    durable: HashSet<StatementId>,
    coordinates: HashSet<(StatementId, Coordinate)>,
    looking: Vec<Arc<Order>>,
    proving: Vec<Arc<Order>>,
    writing: Vec<(Arc<Order>, Vec<Coordinate>)>,
    /// Orders whose assumptions are being verified.
    checking: Vec<Arc<Order>>,
    /// Failures of a statement since it was last stored.
    failed: HashMap<StatementId, FailureCounts>,
    budget: Budget,
    jobs_max: usize,
    given_up: HashSet<StatementId>,
    proofs_begun: u64,
    proofs_made: u64,
    failures: u64,
    requests: HashSet<(StatementId, Coordinate)>,
    answered: u64,
}

impl Drive {
    fn new(permits: usize, stored: u16, policy: Policy) -> Self {
        let dag = Dag::new();
        let all = dag.aggregates.iter().chain(&dag.batches).chain(&dag.transactions);
        let stored: HashSet<_> =
            (0..).zip(all).filter(|(bit, _)| stored >> bit & 1 == 1).map(|(_, order)| order.id).collect();
        Self {
            dag,
            engine: DemandDriver::new(permits, policy),
            permits,
            roots: 0,
            stopped: false,
            stored,
            durable: HashSet::new(),
            coordinates: HashSet::new(),
            looking: vec![],
            proving: vec![],
            writing: vec![],
            checking: vec![],
            failed: HashMap::new(),
            budget: policy.budget,
            jobs_max: policy.jobs_max.max(permits + 1),
            given_up: HashSet::new(),
            proofs_begun: 0,
            proofs_made: 0,
            failures: 0,
            requests: HashSet::new(),
            answered: 0,
        }
    }

    fn step(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match step {
            Step::Demand(roots) => self.roots = *roots,
            Step::Stop => {
                self.stopped = true;
                self.engine.stop();
            }
            Step::Vanish(at) => {
                let mut held: Vec<_> = self.stored.iter().copied().collect();
                held.sort();
                if !held.is_empty() {
                    let id = held[at % held.len()];
                    self.stored.remove(&id);
                }
            }
            Step::AnswerLookUp(at) if !self.looking.is_empty() => {
                let order = self.looking.remove(at % self.looking.len());
                let found = self.stored.contains(&order.id);
                if found {
                    self.durable.insert(order.id);
                    self.failed.remove(&order.id);
                }
                let effects = self.engine.looked_up(order.id, found);
                self.carry_out(effects)?;
            }
            Step::EndProof(at, end) if !self.proving.is_empty() => {
                let order = self.proving.remove(at % self.proving.len());
                self.end_proof(&order, *end)?;
            }
            Step::EndWrite(at, end) if !self.writing.is_empty() => {
                let (order, coordinates) = self.writing.remove(at % self.writing.len());
                self.end_write(&order, coordinates, *end)?;
            }
            Step::EndCheck(at, bad) if !self.checking.is_empty() => {
                let order = self.checking.remove(at % self.checking.len());
                self.end_check(&order, *bad)?;
            }
            _ => {}
        }
        self.redemand()
    }

    /// Whether one more failure uses up the budget.
    fn count(&mut self, id: StatementId, cost: Cost) -> bool {
        let failed = self.failed.entry(id).or_default();
        failed.add(cost);
        failed.cheap >= self.budget.cheap || failed.expensive >= self.budget.expensive
    }

    fn end_check(&mut self, order: &Order, bad: bool) -> Result<(), TestCaseError> {
        let lost: Vec<StatementId> = match bad {
            true => order.assumptions.iter().take(1).map(|inner| inner.id).collect(),
            false => vec![],
        };
        for id in &lost {
            self.stored.remove(id);
            self.durable.remove(id);
        }
        let failed = self.failed[&order.id];
        if !bad || failed.expensive >= self.budget.expensive {
            self.given_up.insert(order.id);
        }
        let effects = self.engine.checked(order.id, Ok(lost));
        self.carry_out(effects)
    }

    fn end_proof(&mut self, order: &Order, end: End) -> Result<(), TestCaseError> {
        let lost = order.assumptions.iter().find(|inner| !self.stored.contains(&inner.id));
        let result = match (lost, end) {
            (Some(inner), _) => {
                self.durable.remove(&inner.id);
                Err(Failure::AssumptionLost { assumption: inner.id, reason: "gone".into() })
            }
            (None, End::Well) => Ok(receipt(order)),
            (None, End::Transient) => Err(transient(order)),
            (None, End::Panic) => Err(Failure::Panic { message: "oh".into() }),
            (None, End::Divergence) => Err(divergence(order)),
        };
        match &result {
            Ok(_) => self.proofs_made += 1,
            Err(failure) => {
                self.failures += 1;
                let exhausted = self.count(order.id, failure.cost());
                let diverged = matches!(failure, Failure::Prove(ProveError::Divergence { .. }));
                match diverged {
                    // What it relied on is verified first.
                    true if !order.assumptions.is_empty() => {}
                    true => drop(self.given_up.insert(order.id)),
                    false if exhausted => drop(self.given_up.insert(order.id)),
                    false => {}
                }
            }
        }
        let effects = self.engine.proved(order.id, result);
        self.carry_out(effects)
    }

    fn end_write(
        &mut self,
        order: &Arc<Order>,
        coordinates: Vec<Coordinate>,
        end: End,
    ) -> Result<(), TestCaseError> {
        let result = match end {
            End::Well | End::Divergence => {
                self.stored.insert(order.id);
                self.durable.insert(order.id);
                self.coordinates.extend(coordinates.into_iter().map(|at| (order.id, at)));
                self.failed.remove(&order.id);
                Ok(())
            }
            End::Transient | End::Panic => {
                self.failures += 1;
                let error = if end == End::Panic { StoreError::Closed } else { unwritable() };
                if !error.is_transient() {
                    self.count(order.id, Cost::Cheap);
                    self.given_up.insert(order.id);
                }
                Err(Failure::Store(error))
            }
        };
        let effects = self.engine.stored(order.id, result);
        self.carry_out(effects)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) -> Result<(), TestCaseError> {
        // A loss that one effect shows cannot undo a proof that was begun with it: that proof will fail.
        let mut just_lost = HashSet::new();
        for effect in effects {
            match effect {
                Effect::LookUp(order) => {
                    prop_assert!(!self.looking.iter().any(|other| other.id == order.id), "looked up twice");
                    self.looking.push(order);
                }
                Effect::Prove(order, _) => {
                    let id = order.id;
                    prop_assert!(!self.stopped, "begun after the stop");
                    prop_assert!(!self.proving.iter().any(|other| other.id == id), "proved beside itself");
                    prop_assert!(
                        !self.writing.iter().any(|(other, _)| other.id == id),
                        "proved while written"
                    );
                    prop_assert!(self.engine.known(&id) == Some(false), "proved although stored");
                    prop_assert!(!self.given_up.contains(&id), "begun after it was given up");
                    for inner in &order.assumptions {
                        let stored = self.engine.known(&inner.id) == Some(true);
                        prop_assert!(stored || just_lost.contains(&inner.id), "an assumption is missing");
                    }
                    let failed = self.failed.entry(id).or_default();
                    let within = failed.expensive < self.budget.expensive && failed.cheap < self.budget.cheap;
                    prop_assert!(within, "more attempts than the budget");
                    self.proofs_begun += 1;
                    self.proving.push(order);
                    prop_assert!(self.proving.len() <= self.permits, "more proofs than permits");
                }
                Effect::Store { order, receipt, coordinates } => {
                    prop_assert_eq!(receipt.id(), order.id);
                    prop_assert!(!coordinates.is_empty());
                    self.writing.push((order, coordinates));
                }
                Effect::Check(order) => {
                    prop_assert!(!order.assumptions.is_empty());
                    self.checking.push(order);
                }
                Effect::Want(..) => {}
                Effect::Cancel(_) | Effect::WriteOff(..) => prop_assert!(false, "nothing hangs here"),
                Effect::AddCoordinate(coordinate, id, _) => {
                    self.answered += 1;
                    match self.stored.contains(&id) {
                        true => {
                            self.coordinates.insert((id, coordinate));
                        }
                        false => {
                            self.durable.remove(&id);
                            just_lost.insert(id);
                            self.engine.lost(id);
                        }
                    }
                }
                Effect::Publish(order) => {
                    let found =
                        self.durable.contains(&order.id) || self.engine.known(&order.id) == Some(false);
                    prop_assert!(found, "published before it was durable");
                }
            }
        }
        Ok(())
    }

    fn redemand(&mut self) -> Result<(), TestCaseError> {
        let demand = self.dag.demand(self.roots, |id| self.engine.known(id));
        self.requests = demand.iter().map(|order| (order.id, order.coordinate)).collect();
        let effects = self.engine.want(demand);
        self.carry_out(effects)?;
        self.check()
    }

    /// What holds after every step.
    fn check(&self) -> Result<(), TestCaseError> {
        let counts = self.engine.counts();
        prop_assert_eq!(counts.attempts_failed, self.failures);
        prop_assert!(self.engine.is_coherent(), "what is kept at hand is not what there is");
        let proving: HashSet<_> = self.engine.proving().map(|order| order.id).collect();
        prop_assert_eq!(proving, self.proving.iter().map(|order| order.id).collect::<HashSet<_>>());
        let given_up: HashSet<_> = self.engine.failures().iter().map(|(id, _)| *id).collect();
        prop_assert!(given_up.is_subset(&self.given_up));
        prop_assert!(given_up.iter().all(|id| self.engine.is_wanted(id)), "what nobody wants is let go");
        let out = self.looking.len() + self.proving.len() + self.writing.len() + self.checking.len();
        prop_assert!(self.engine.jobs() <= self.jobs_max + self.given_up.len(), "more jobs than the bound");
        prop_assert_eq!(self.engine.is_idle(), out == 0);
        if out == 0 {
            prop_assert_eq!(
                counts.wanted,
                counts.stored_before + counts.proved.total() + self.engine.dropped(),
                "wanted = stored before + proved + dropped"
            );
        }
        Ok(())
    }

    /// Ends every outstanding effect with success, until none is left.
    fn finish(&mut self) -> Result<(), TestCaseError> {
        let first = 0;
        self.redemand()?;
        // A bound instead of a hang: every step ends something, and there are eleven orders.
        for _ in 0..400 {
            let step = match () {
                () if !self.looking.is_empty() => Step::AnswerLookUp(first),
                () if !self.proving.is_empty() => Step::EndProof(first, End::Well),
                () if !self.writing.is_empty() => Step::EndWrite(first, End::Well),
                () if !self.checking.is_empty() => Step::EndCheck(first, true),
                () => return Ok(()),
            };
            self.step(&step)?;
        }
        prop_assert!(false, "the engine never comes to rest");
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn whatever_happens_every_invariant_holds_and_the_engine_becomes_idle(
        permits in 1usize..4, stored in 0u16..1024, steps in steps(),
        jobs_max in prop_oneof![Just(4096), 1usize..12],
    ) {
        let mut drive = Drive::new(permits, stored, Policy { jobs_max, ..policy() });
        for step in &steps {
            drive.step(step)?;
        }
        drive.finish()?;
        let demand = drive.dag.demand(drive.roots, |id| drive.engine.known(id));
        if drive.stopped {
            return Ok(());
        }
        prop_assert!(drive.engine.is_idle());
        prop_assert!(drive.engine.satisfied(), "something wanted is neither stored nor given up");
        for order in &demand {
            if drive.given_up.is_empty() {
                prop_assert_eq!(drive.engine.known(&order.id), Some(true));
            }
            if drive.stored.contains(&order.id) && drive.engine.known(&order.id) == Some(true) {
                prop_assert!(
                    drive.coordinates.contains(&(order.id, order.coordinate)),
                    "a stored statement is not placed at {:?}", order.coordinate
                );
            }
        }
    }

    #[test]
    fn without_faults_each_statement_is_proved_once_whatever_the_demand_does(
        permits in 1usize..4, demands in proptest::collection::vec((0u8..32, 0usize..6), 1..12),
    ) {
        let mut drive = Drive::new(permits, 0, policy());
        let first = 0;
        for (roots, ends) in demands {
            drive.step(&Step::Demand(roots))?;
            for _ in 0..ends {
                drive.step(&Step::AnswerLookUp(first))?;
                drive.step(&Step::EndProof(first, End::Well))?;
                drive.step(&Step::EndWrite(first, End::Well))?;
            }
        }
        drive.finish()?;
        prop_assert_eq!(drive.proofs_begun, drive.stored.len() as u64);
        prop_assert_eq!(drive.engine.counts().proved.total(), drive.stored.len() as u64);
        prop_assert_eq!(drive.engine.counts().stored_before, 0);
    }

    #[test]
    fn what_is_stored_already_is_found_and_never_proved(permits in 1usize..4, demands in proptest::collection::vec(0u8..32, 1..8)) {
        let mut drive = Drive::new(permits, u16::MAX, policy());
        for roots in demands {
            drive.step(&Step::Demand(roots))?;
            drive.finish()?;
        }
        prop_assert_eq!(drive.proofs_begun, 0);
        let counts = drive.engine.counts();
        prop_assert_eq!(counts.wanted, counts.stored_before);
        prop_assert_eq!(counts.hits.total(), drive.answered, "each answer of the store is one hit");
    }
}

/// An engine that wants `orders` and has looked up each without a hit.
fn wanting(permits: usize, orders: &[Arc<Order>]) -> (DemandDriver, Vec<Effect>) {
    let mut engine = DemandDriver::new(permits, policy());
    let effects = demand(&mut engine, orders);
    (engine, effects)
}

/// Demands statements that are not stored.
fn demand(engine: &mut DemandDriver, orders: &[Arc<Order>]) -> Vec<Effect> {
    for effect in engine.want(orders.to_vec()) {
        if let Effect::LookUp(order) = effect {
            engine.looked_up(order.id, false);
        }
    }
    engine.want(orders.to_vec())
}

fn proofs(effects: &[Effect]) -> Vec<StatementId> {
    let proof = |effect: &Effect| match effect {
        Effect::Prove(order, _) => Some(order.id),
        _ => None,
    };
    effects.iter().filter_map(proof).collect()
}

#[test]
fn many_requests_for_one_statement_are_one_proof_and_every_place_is_recorded() {
    let at = |block| order(1, block, Position::Transaction { merge_index: 1 }, &[]);
    let orders: Vec<_> = (0..50).map(at).collect();
    let (mut engine, effects) = wanting(4, &orders);
    assert_eq!(proofs(&effects), vec![orders[0].id]);
    let stored = engine.proved(orders[0].id, Ok(receipt(&orders[0])));
    assert!(matches!(&stored[..], [Effect::Store { coordinates, .. }] if coordinates.len() == 50));
    engine.stored(orders[0].id, Ok(()));
    assert_eq!((engine.counts().wanted, engine.counts().proved.total()), (1, 1));
}

#[test]
fn a_requester_that_comes_during_the_write_has_its_coordinate_added_too() {
    let at = |block| order(1, block, Position::Transaction { merge_index: 1 }, &[]);
    let (early, late) = (at(1), at(2));
    let (mut engine, _) = wanting(1, std::slice::from_ref(&early));
    engine.proved(early.id, Ok(receipt(&early)));
    assert!(proofs(&engine.want(vec![early.clone(), late.clone()])).is_empty());
    assert_eq!(engine.counts().merged, 1);
    let effects = engine.stored(early.id, Ok(()));
    let placed = |effect: &Effect| matches!(effect, Effect::AddCoordinate(at, id, Request::Merged) if (*at, *id) == (late.coordinate, late.id));
    assert!(effects.iter().any(placed), "{effects:?}");
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Publish(_))));
}

#[test]
fn a_failure_that_may_pass_is_tried_as_often_as_the_budget_says_and_then_given_up() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, mut effects) = wanting(1, std::slice::from_ref(&one));
    for attempt in 1..=policy().budget.expensive {
        assert_eq!(proofs(&effects), vec![one.id], "attempt {attempt}");
        engine.proved(one.id, Err(transient(&one)));
        effects = engine.want(vec![one.clone()]);
    }
    assert_eq!(proofs(&effects), vec![]);
    assert_eq!(engine.failures().len(), 1);
    assert_eq!(engine.counts().attempts_failed, u64::from(policy().budget.expensive));
    assert!(engine.satisfied() && engine.is_idle());
}

#[test]
fn a_divergence_is_given_up_at_once() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    engine.proved(one.id, Err(divergence(&one)));
    assert_eq!(proofs(&engine.want(vec![one.clone()])), vec![]);
    assert!(matches!(engine.failures(), [(id, _)] if *id == one.id));
}

#[test]
fn a_lost_assumption_is_proved_again_and_then_what_relies_on_it() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let (mut engine, effects) = wanting(1, &demand);
    assert_eq!(proofs(&effects), vec![inner.id], "the assumption first");
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    assert_eq!(proofs(&engine.want(demand.clone())), vec![outer.id]);

    let lost = Failure::AssumptionLost { assumption: inner.id, reason: "gone".into() };
    engine.proved(outer.id, Err(lost));
    assert_eq!(proofs(&engine.want(demand.clone())), vec![inner.id]);
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    assert_eq!(proofs(&engine.want(demand.clone())), vec![outer.id]);
    engine.proved(outer.id, Ok(receipt(&outer)));
    engine.stored(outer.id, Ok(()));
    assert!(engine.satisfied() && engine.failures().is_empty());
    let counts = engine.counts();
    assert_eq!((counts.wanted, counts.proved.total(), engine.dropped()), (2, 2, 0), "each counted once");
}

#[test]
fn an_assumption_that_was_proved_again_meanwhile_does_not_count_as_lost() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let (mut engine, _) = wanting(2, &demand);
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    assert_eq!(proofs(&engine.want(demand.clone())), vec![outer.id]);

    // The loss is heard of from elsewhere, and made good, before the proof that ran into it says so.
    engine.lost(inner.id);
    assert_eq!(proofs(&engine.want(demand.clone())), vec![inner.id]);
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    let lost = Failure::AssumptionLost { assumption: inner.id, reason: "gone".into() };
    engine.proved(outer.id, Err(lost));
    assert_eq!(proofs(&engine.want(demand)), vec![outer.id], "and nothing else");
    assert_eq!(engine.known(&inner.id), Some(true));
}

#[test]
fn a_write_that_stored_nothing_is_not_published_and_later_requesters_get_another_write() {
    let early = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let late = order(1, 9, Position::Transaction { merge_index: 1 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&early));
    engine.proved(early.id, Ok(receipt(&early)));
    engine.want(vec![late.clone()]);
    let effects = engine.discarded(early.id);
    let [Effect::Store { coordinates, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    assert_eq!(*coordinates, vec![late.coordinate]);
    let effects = engine.stored(late.id, Ok(()));
    assert!(matches!(effects.as_slice(), [Effect::Publish(_)]), "{effects:?}");

    let (mut engine, _) = wanting(1, std::slice::from_ref(&early));
    engine.proved(early.id, Ok(receipt(&early)));
    engine.want(vec![]);
    assert!(engine.discarded(early.id).is_empty());
    assert_eq!((engine.jobs(), engine.known(&early.id), engine.dropped()), (0, Some(false), 1));
}

#[test]
fn what_waits_for_a_statement_that_was_given_up_does_not_keep_the_engine_waiting() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let (mut engine, _) = wanting(1, &demand);
    engine.proved(inner.id, Err(divergence(&inner)));
    assert_eq!(proofs(&engine.want(demand)), vec![]);
    assert!(engine.is_idle());
    assert!(engine.satisfied(), "nothing that is still wanted can ever be proved");
}

#[test]
fn an_unwanted_queued_job_is_removed_and_an_unwanted_running_one_is_finished_and_stored() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let (mut engine, effects) = wanting(1, &[one.clone(), two.clone()]);
    assert_eq!(proofs(&effects), vec![one.id]);
    engine.want(vec![]);
    assert_eq!(engine.queued(), 0);
    let stored = engine.proved(one.id, Ok(receipt(&one)));
    assert!(matches!(stored.as_slice(), [Effect::Store { .. }]));
    engine.stored(one.id, Ok(()));
    assert_eq!(engine.dropped(), 1);
    assert_eq!(proofs(&engine.want(vec![one.clone(), two.clone()])), vec![two.id]);
    assert_eq!(engine.counts().hits.of(Kind::Batch), 1);
}

#[test]
fn a_permit_is_free_while_the_receipt_is_being_written() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let demand = vec![one.clone(), two.clone()];
    let (mut engine, _) = wanting(1, &demand);
    engine.proved(one.id, Ok(receipt(&one)));
    assert_eq!(proofs(&engine.want(demand)), vec![two.id]);
}

#[test]
fn a_proof_is_not_made_again_because_a_write_failed() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    engine.proved(one.id, Ok(receipt(&one)));
    let again = engine.stored(one.id, Err(unwritable().into()));
    assert!(matches!(again.as_slice(), [Effect::Store { .. }]), "{again:?}");
    assert_eq!(proofs(&engine.want(vec![one.clone()])), vec![]);
    let done = engine.stored(one.id, Ok(()));
    assert!(matches!(done.as_slice(), [Effect::Publish(_)]));
}

#[test]
fn a_made_receipt_outlasts_every_failure_of_the_disk() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    engine.proved(one.id, Ok(receipt(&one)));
    for _ in 0..10 * policy().budget.cheap {
        let again = engine.stored(one.id, Err(unwritable().into()));
        assert!(matches!(again.as_slice(), [Effect::Store { .. }]), "{again:?}");
    }
    engine.stored(one.id, Ok(()));
    assert!(engine.failures().is_empty() && engine.known(&one.id) == Some(true));
}

#[test]
fn a_store_that_panics_is_asked_again_as_often_as_the_budget_says() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let mut engine = DemandDriver::new(1, policy());
    engine.want(vec![one.clone()]);
    for _ in 1..policy().budget.cheap {
        let again = engine.lookup_failed(one.id, StoreError::Panicked.into());
        assert!(matches!(again.as_slice(), [Effect::LookUp(_)]), "{again:?}");
    }
    engine.lookup_failed(one.id, StoreError::Panicked.into());
    assert!(matches!(engine.failures(), [(id, _)] if *id == one.id));
}

#[test]
fn what_nobody_wants_any_more_is_let_go_and_not_begun_again_where_it_returns() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    engine.proved(one.id, Err(divergence(&one)));
    engine.retain(BTreeSet::from([one.id]));
    engine.want(vec![]);
    assert_eq!(engine.failures().len(), 1, "its block may return");
    engine.retain(BTreeSet::new());
    engine.want(vec![]);
    assert!(engine.failures().is_empty() && engine.jobs() == 0);
    assert_eq!(proofs(&engine.want(vec![one.clone()])), [], "what failed for good fails again");
    assert!(matches!(engine.failures(), [(id, Failure::Quarantined { .. })] if *id == one.id));
    engine.want(vec![]);
    engine.remove_statements([one.id]);
    assert!(engine.failures().is_empty() && engine.jobs() == 0);
    assert!(engine.holds().iter().all(|(name, held)| *held == 0 || *name == "served ever"));
}

#[test]
fn a_statement_that_hung_and_that_nobody_wants_any_more_is_no_reason_for_ill_health() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    engine.tick(at(10_000));
    assert_eq!(engine.failing().count(), 1);
    engine.want(vec![]);
    assert_eq!((engine.failing().count(), engine.jobs()), (1, 1), "it is tried again just now");
    engine.proved(one.id, Err(transient(&one)));
    engine.want(vec![]);
    assert_eq!((engine.failing().count(), engine.jobs()), (0, 0));
}

/// Seconds, as the engine's time.
fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// [`wanting`] with one permit and another policy.
fn wanting_under(policy: Policy, orders: &[Arc<Order>]) -> (DemandDriver, Vec<Effect>) {
    let mut engine = DemandDriver::new(1, policy);
    let effects = demand(&mut engine, orders);
    (engine, effects)
}

#[test]
fn a_valid_proof_that_comes_late_is_stored_whatever_became_of_its_job() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let under = |policy: Policy| {
        let (mut engine, _) = wanting_under(policy, std::slice::from_ref(&one));
        engine.tick(at(10));
        engine
    };
    let stored = |mut engine: DemandDriver| {
        let effects = engine.proved_late(&one, receipt(&one));
        let store = effects.last();
        assert!(matches!(store, Some(Effect::Store { order, .. }) if order.id == one.id), "{effects:?}");
        assert!(engine.is_coherent());
        engine.stored(one.id, Ok(()));
        assert!(engine.is_idle() && engine.satisfied() && engine.is_coherent());
        assert_eq!((engine.failing().count(), engine.failures().len()), (0, 0));
        assert!(engine.proved_late(&one, receipt(&one)).is_empty(), "once is enough");
        (effects.len(), engine.counts())
    };
    let hanging = Policy { timeout: [at(10); 3], ..policy() };
    // The next attempt runs: it is left, and counts as the one that failed.
    let (effects, counts) = stored(under(hanging));
    assert_eq!((effects, counts.attempts_failed, counts.proved.total()), (2, 1, 1));
    // The next attempt waits.
    let patient = Policy { backoff: Backoff { first: at(1000), max: at(1000) }, ..hanging };
    let (effects, counts) = stored(under(patient));
    assert_eq!((effects, counts.attempts_failed, counts.proved.total()), (1, 0, 1));
    // It was given up.
    let mut engine = under(hanging);
    (2..100).for_each(|n| drop(engine.tick(at(10 * n))));
    assert_eq!(engine.failures().len(), 1);
    assert_eq!(stored(engine).0, 1);
    // It is no longer wanted.
    let mut engine = under(patient);
    engine.want(vec![]);
    assert_eq!((engine.jobs(), stored(engine).0), (0, 1));
}

#[test]
fn a_proof_that_hangs_is_written_off_and_begun_again() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) =
        wanting_under(Policy { timeout: [at(10); 3], ..policy() }, std::slice::from_ref(&one));
    assert_eq!(engine.deadline(), Some(at(10)));
    assert!(engine.tick(at(9)).is_empty());
    let effects = engine.tick(at(10));
    assert!(
        matches!(&effects[..], [Effect::WriteOff(off, _), Effect::Prove(again, 0)]
        if off.id == one.id && again.id == one.id),
        "{effects:?}"
    );
    assert_eq!((engine.counts().timed_out, engine.failing().count()), (1, 1));
    engine.proved(one.id, Ok(receipt(&one)));
    engine.stored(one.id, Ok(()));
    assert_eq!(engine.failing().count(), 0, "it is proved: nothing ails");
    assert!(engine.proved(one.id, Ok(receipt(&one))).is_empty());
}

#[test]
fn a_statement_whose_attempt_hung_is_given_twice_the_time_and_a_late_proof_teaches_the_others() {
    let [one, two] = [1, 2].map(|name| order(name, name, Position::Batch { first: 0 }, &[]));
    let (mut engine, _) =
        wanting_under(Policy { timeout: [at(10); 3], ..policy() }, std::slice::from_ref(&one));
    assert_eq!(proofs(&engine.tick(at(10))).len(), 1, "it is begun again");
    assert_eq!(engine.deadline(), Some(at(30)), "and runs for twice as long");
    // The first attempt ends after all, after 18 s: the second is left, and is not missed.
    engine.measure(one.kind(), at(18));
    engine.proved_late(&one, receipt(&one));
    engine.stored(one.id, Ok(()));
    engine.want(vec![two.clone()]);
    engine.looked_up(two.id, false);
    assert_eq!(proofs(&engine.tick(at(40))).len(), 1);
    assert_eq!(engine.deadline(), Some(at(40 + 4 * 18)), "another is given four times what the longest took");
    assert!(engine.is_coherent());
}

#[test]
fn a_statement_that_hangs_every_time_is_given_up_within_its_budget() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) =
        wanting_under(Policy { timeout: [at(10); 3], ..policy() }, std::slice::from_ref(&one));
    let begun: usize = (1..100).map(|n| proofs(&engine.tick(at(10 * n))).len()).sum();
    assert_eq!(begun + 1, policy().budget.expensive as usize);
    assert!(matches!(engine.failures(), [(_, Failure::TimedOut { .. })]));
    assert!(engine.is_idle() && engine.satisfied());
    assert_eq!(engine.deadline(), None);
}

#[test]
fn a_failed_job_waits_out_its_backoff_while_others_go_on() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let backoff = Backoff { first: at(8), max: at(60) };
    let demand = [one.clone(), two.clone()];
    let (mut engine, effects) = wanting_under(Policy { backoff, ..policy() }, &demand);
    assert_eq!(proofs(&effects), [one.id]);
    engine.proved(one.id, Err(transient(&one)));
    assert_eq!(proofs(&engine.want(demand.to_vec())), [two.id], "the next one takes the permit");
    engine.proved(two.id, Ok(receipt(&two)));
    engine.stored(two.id, Ok(()));
    let due = engine.deadline().unwrap();
    assert_eq!(due, backoff.wait(&one.id.0, 1));
    assert_eq!(proofs(&engine.tick(due - Duration::from_nanos(1))), []);
    assert_eq!(proofs(&engine.tick(due)), [one.id]);
}

#[test]
fn bad_assumptions_are_proved_again_and_then_what_failed_over_them() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let (mut engine, _) = wanting(1, &demand);
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    engine.want(demand.clone());
    let effects = engine.proved(outer.id, Err(divergence(&outer)));
    assert!(matches!(&effects[..], [Effect::Check(order)] if order.id == outer.id), "{effects:?}");
    assert!(!engine.is_idle());
    assert_eq!(proofs(&engine.want(demand.clone())), [], "it is not begun meanwhile");
    engine.checked(outer.id, Ok(vec![inner.id]));
    assert_eq!(proofs(&engine.want(demand.clone())), [inner.id]);
    engine.proved(inner.id, Ok(receipt(&inner)));
    engine.stored(inner.id, Ok(()));
    assert_eq!(proofs(&engine.want(demand.clone())), [outer.id]);
    assert!(engine.failures().is_empty());
    // And where they are all good, it is a divergence.
    engine.proved(outer.id, Err(divergence(&outer)));
    engine.checked(outer.id, Ok(vec![]));
    assert!(matches!(engine.failures(), [(id, _)] if *id == outer.id));
    assert_eq!(proofs(&engine.want(demand)), []);
}

#[test]
fn assumptions_that_are_bad_every_time_are_no_loop() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let (mut engine, mut effects) = wanting(1, &demand);
    let mut begun = 0;
    while let [id] = proofs(&effects)[..] {
        begun += 1;
        if id == inner.id {
            engine.proved(inner.id, Ok(receipt(&inner)));
            engine.stored(inner.id, Ok(()));
        } else {
            engine.proved(outer.id, Err(divergence(&outer)));
            engine.checked(outer.id, Ok(vec![inner.id]));
        }
        effects = engine.want(demand.clone());
    }
    assert!(begun <= 2 * policy().budget.expensive + 1, "{begun}");
    assert_eq!(engine.failures().len(), 1);
}

#[test]
fn a_shallow_orphan_is_dormant_and_keeps_its_failures_and_a_deep_one_is_removed() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    for _ in 1..policy().budget.expensive {
        engine.proved(one.id, Err(transient(&one)));
        engine.retain(BTreeSet::from([one.id]));
        assert_eq!(proofs(&engine.want(vec![])), [], "a dormant job is not started");
        assert_eq!(engine.jobs(), 1, "and is kept");
        assert_eq!(proofs(&engine.want(vec![one.clone()])), [one.id], "it wakes when its block returns");
    }
    engine.retain(BTreeSet::new());
    engine.proved(one.id, Err(transient(&one)));
    assert_eq!(engine.failures().len(), 1, "flips do not renew the budget");

    let (mut engine, _) = wanting(1, &[one.clone(), two.clone()]);
    engine.want(vec![one.clone()]);
    assert_eq!(engine.queued(), 0, "what lies deeper leaves at once");
}

#[test]
fn stored_statements_take_no_room_from_dormant_jobs() {
    let stored: Vec<_> = (2..=9).map(|n| order(n, n, Position::Batch { first: 0 }, &[])).collect();
    let orphan = order(1, 1, Position::Batch { first: 0 }, &[]);
    let mut engine = DemandDriver::new(1, Policy { jobs_max: 2, ..policy() });
    // Found two at a time, as there is room.
    loop {
        for effect in engine.want(stored.clone()) {
            let Effect::LookUp(order) = effect else { continue };
            engine.looked_up(order.id, true);
        }
        if engine.satisfied() {
            break;
        }
    }
    engine.want([vec![orphan.clone()], stored.clone()].concat());
    engine.looked_up(orphan.id, false);
    engine.want([vec![orphan.clone()], stored.clone()].concat());
    engine.proved(orphan.id, Err(transient(&orphan)));
    engine.retain(BTreeSet::from([orphan.id]));
    engine.want(stored);
    assert_eq!(engine.jobs(), 1);
}

#[test]
fn orphans_are_speculated_upon_only_where_it_is_allowed_and_only_with_a_permit_to_spare() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    for (allowed, expected) in [(false, vec![]), (true, vec![two.id])] {
        let policy = Policy { speculate_orphans: allowed, ..policy() };
        let (mut engine, _) = wanting_under(policy, &[one.clone(), two.clone()]);
        engine.retain(BTreeSet::from([two.id]));
        assert_eq!(proofs(&engine.want(vec![one.clone()])), [], "the permit is taken");
        engine.proved(one.id, Ok(receipt(&one)));
        assert_eq!(proofs(&engine.want(vec![one.clone()])), expected);
    }
}

#[test]
fn a_speculation_whose_blocks_are_gone_is_left_and_made_once_it_is_wanted() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let policy = Policy { speculate_orphans: true, ..policy() };
    let (mut engine, _) = wanting_under(policy, &[one.clone(), two.clone()]);
    engine.retain(BTreeSet::from([two.id]));
    engine.want(vec![one.clone()]);
    engine.proved(one.id, Ok(receipt(&one)));
    assert_eq!(proofs(&engine.want(vec![one.clone()])), [two.id]);
    let effects = engine.withdraw(two.id);
    assert!(effects.is_empty() && engine.is_coherent() && engine.jobs() == 1, "{effects:?}");
    assert_eq!(proofs(&engine.tick(at(1000))), [], "nobody tries again");
    assert_eq!(proofs(&engine.want(vec![one, two.clone()])), [two.id]);
    assert_eq!(engine.counts().attempts_failed, 0);
}

#[test]
fn what_begins_after_a_long_rest_is_measured_from_then() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) =
        wanting_under(Policy { timeout: [at(10); 3], ..policy() }, std::slice::from_ref(&one));
    engine.proved(one.id, Err(transient(&one)));
    engine.retain(BTreeSet::from([one.id]));
    engine.want(vec![]);
    // The block returns when nothing has happened for longer than a proof may take.
    engine.set_time(at(1000));
    assert_eq!(proofs(&engine.want(vec![one.clone()])), [one.id]);
    assert!(engine.tick(at(1000)).is_empty(), "it has just begun");
    assert_eq!(engine.deadline(), Some(at(1010)));
}

#[test]
fn a_running_orphan_is_asked_to_end_when_its_time_is_over_and_a_flip_back_begins_it_again() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let policy = Policy { orphans: Orphans::AbortAfter(at(5)), ..policy() };
    let (mut engine, _) = wanting_under(policy, std::slice::from_ref(&one));
    engine.tick(at(1));
    engine.want(vec![]);
    assert!(engine.tick(at(5)).is_empty());
    engine.want(vec![one.clone()]);
    assert!(engine.tick(at(7)).is_empty(), "it was wanted again in time");
    engine.want(vec![]);
    assert_eq!(engine.deadline(), Some(at(12)));
    let effects = engine.tick(at(12));
    assert!(matches!(&effects[..], [Effect::Cancel(id)] if *id == one.id), "{effects:?}");
    assert!(engine.tick(at(20)).is_empty(), "it is asked once");
    // The chain flips back before it has ended.
    assert_eq!(proofs(&engine.want(vec![one.clone()])), []);
    engine.proved(one.id, Err(Failure::Cancelled { statement: one.id }));
    assert_eq!(proofs(&engine.want(vec![one.clone()])), [one.id]);
    assert_eq!((engine.counts().cancelled, engine.counts().attempts_failed), (1, 0));
    // Cancelled and unwanted, it leaves; a proof that came all the same is stored.
    engine.want(vec![]);
    engine.tick(at(30));
    let stored = engine.proved(one.id, Ok(receipt(&one)));
    assert!(matches!(&stored[..], [Effect::Store { .. }]));
}

#[test]
fn where_a_running_proof_is_wanted_is_said_when_that_changes_and_only_then() {
    let [early, late] = [1, 2].map(|checkpoint| order(1, checkpoint, Position::Batch { first: 0 }, &[]));
    assert_eq!(early.id, late.id, "one statement, at two places");
    let said = |effects: Vec<Effect>| -> Vec<Option<Coordinate>> {
        let said = effects.into_iter().filter_map(|effect| match effect {
            Effect::Want(id, place) if id == early.id => Some(place),
            _ => None,
        });
        said.collect()
    };
    let (mut engine, effects) = wanting_under(policy(), std::slice::from_ref(&late));
    assert_eq!(said(effects), [], "it begins where it is wanted");
    assert_eq!(said(engine.want(vec![late.clone()])), []);
    assert_eq!(said(engine.want(vec![late.clone(), early.clone()])), [Some(early.coordinate)]);
    assert_eq!(said(engine.want(vec![])), [None], "its blocks are orphaned");
    assert_eq!(said(engine.want(vec![])), []);
    assert_eq!(said(engine.want(vec![late.clone()])), [Some(late.coordinate)], "and back");
}

#[test]
fn of_a_demand_over_the_bound_the_most_urgent_that_can_go_on_are_admitted_first() {
    let transactions: Vec<_> =
        (1..=9).map(|n| order(n, 1, Position::Transaction { merge_index: u32::from(n) }, &[])).collect();
    let inner: Vec<_> = transactions.iter().collect();
    let outer = order(10, 1, Position::Batch { first: 0 }, &inner);
    let demand: Vec<_> = [&outer].into_iter().chain(&transactions).cloned().collect();
    let mut engine = DemandDriver::new(1, Policy { jobs_max: 3, ..policy() });
    let mut begun = vec![];
    // As many rounds as there are statements, each looked up, proved and stored.
    let mut effects = engine.want(demand.clone());
    for _ in 0..40 {
        assert!(engine.jobs() <= 3);
        for effect in effects {
            match effect {
                Effect::LookUp(order) => drop(engine.looked_up(order.id, false)),
                Effect::Prove(order, _) => {
                    begun.push(order.id);
                    engine.proved(order.id, Ok(receipt(&order)));
                    engine.stored(order.id, Ok(()));
                }
                _ => {}
            }
        }
        effects = engine.want(demand.clone());
    }
    assert!(engine.satisfied());
    let expected: Vec<_> = transactions.iter().chain([&outer]).map(|order| order.id).collect();
    assert_eq!(begun, expected, "in the demand's order, each once");
}

#[test]
fn a_removed_statement_is_looked_up_again_and_the_sums_stay_right() {
    let (one, two) =
        (order(1, 1, Position::Batch { first: 0 }, &[]), order(2, 2, Position::Batch { first: 0 }, &[]));
    let (mut engine, _) = wanting(1, &[one.clone(), two.clone()]);
    engine.proved(one.id, Ok(receipt(&one)));
    engine.stored(one.id, Ok(()));
    engine.remove_statements([one.id, two.id]);
    assert_eq!(engine.known(&one.id), Some(true), "what is wanted stays");
    engine.want(vec![]);
    engine.proved(two.id, Err(transient(&two)));
    engine.want(vec![]);
    engine.remove_statements([one.id, two.id]);
    assert_eq!(engine.known(&one.id), None);
    let counts = engine.counts();
    assert_eq!(counts.wanted, counts.stored_before + counts.proved.total() + engine.dropped());
    assert!(matches!(&engine.want(vec![one.clone()])[..], [Effect::LookUp(_)]));
}

/// A policy that suspends a device after `failures` in a row, for a second, then two, then four at most.
fn suspending(failures: u32) -> Policy {
    let suspension = Backoff { first: at(1), max: at(4) };
    Policy {
        breaker: Breaker { failures, suspension },
        budget: Budget { cheap: 9, expensive: 3, interrupted: 4 },
        ..policy()
    }
}

/// Batches of so many blocks, that rely on nothing.
fn batches(count: u8) -> Vec<Arc<Order>> {
    (1..=count).map(|n| order(n, n, Position::Batch { first: 0 }, &[])).collect()
}

/// The proofs that are begun, with their devices.
fn begun(effects: &[Effect]) -> Vec<(StatementId, usize)> {
    let begun = |effect: &Effect| match effect {
        Effect::Prove(order, device) => Some((order.id, *device)),
        _ => None,
    };
    effects.iter().filter_map(begun).collect()
}

#[test]
fn a_device_that_keeps_failing_is_suspended_and_then_tried_with_one_proof() {
    let all = batches(4);
    let (mut engine, effects) = wanting_under(suspending(2), &all);
    assert_eq!(begun(&effects), [(all[0].id, 0)]);
    for _ in 0..2 {
        let id = engine.proving().next().unwrap().id;
        engine.proved(id, Err(transient(&all[0])));
        engine.want(all.clone());
    }
    assert_eq!(engine.proving().count(), 0, "there is work, and no device for it");
    assert!(matches!(engine.suspended().next(), Some(r) if (r.device, r.failed) == (0, 2)));
    let resumed = engine.deadline().unwrap();
    assert!(resumed <= at(1));
    assert_eq!(begun(&engine.tick(resumed - Duration::from_nanos(1))), []);
    let tried = begun(&engine.tick(resumed));
    assert_eq!(tried.len(), 1, "one is tried");

    // The trial fails: a longer suspension. The next one succeeds: the device is no longer suspended.
    engine.proved(tried[0].0, Err(transient(&all[0])));
    engine.want(all.clone());
    let longer = engine.deadline().unwrap();
    assert!(longer - resumed >= at(1), "{longer:?}");
    let tried = begun(&engine.tick(longer));
    engine.proved(tried[0].0, Ok(receipt(all.iter().find(|order| order.id == tried[0].0).unwrap())));
    assert_eq!(engine.suspended().count(), 0);
    assert_eq!(begun(&engine.want(all)).len(), 1);
}

#[test]
fn a_device_that_fails_alone_uses_up_the_budget_of_no_statement() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting_under(suspending(3), std::slice::from_ref(&one));
    for attempt in 1..=8 {
        assert_eq!(engine.proving().count(), 1, "attempt {attempt}");
        engine.proved(one.id, Err(transient(&one)));
        engine.want(vec![one.clone()]);
        assert!(engine.failures().is_empty(), "attempt {attempt}");
        let resumed = engine.deadline();
        resumed.into_iter().for_each(|resumed| drop(engine.tick(resumed)));
    }
    engine.proved(one.id, Ok(receipt(&one)));
    engine.stored(one.id, Ok(()));
    assert!(engine.satisfied() && engine.suspended().count() == 0);
}

#[test]
fn a_device_that_fails_for_a_whole_night_gives_no_statement_up() {
    let all = batches(3);
    let (mut engine, _) = wanting_under(suspending(1), &all);
    for attempt in 1..=200 {
        let proving = engine.proving().next().map(|order| order.id).unwrap();
        engine.proved(proving, Err(transient(&all[0])));
        engine.want(all.clone());
        assert!(engine.failures().is_empty(), "attempt {attempt}");
        let resumed = engine.deadline();
        resumed.into_iter().for_each(|resumed| drop(engine.tick(resumed)));
    }
    assert!(all.iter().all(|order| engine.failed(&order.id).total() == 0), "nobody's fault but the device's");
}

#[test]
fn a_statement_that_makes_every_device_fail_is_given_up_and_the_others_are_proved_meanwhile() {
    let policy = suspending(1);
    let all = batches(18);
    let (mut engine, _) = wanting_under(policy, &all);
    let mut proved = 0;
    while engine.failures().is_empty() {
        let Some(order) = engine.proving().next().cloned() else {
            let resumed = engine.deadline().unwrap();
            engine.tick(resumed);
            continue;
        };
        let proving = order.id;
        if proving == all[0].id {
            engine.proved(proving, Err(transient(&order)));
        } else {
            engine.proved(proving, Ok(receipt(&order)));
            engine.stored(proving, Ok(()));
            proved += 1;
        }
        engine.want(all.clone());
        let resumed = engine.deadline();
        resumed.into_iter().for_each(|resumed| drop(engine.tick(resumed)));
    }
    assert!(matches!(engine.failures(), [(id, _)] if *id == all[0].id));
    assert!(proved >= policy.budget.cheap, "a trial each: {proved}");
}

#[test]
fn a_look_up_that_the_disk_fails_holds_nothing_up_once_nobody_wants_it() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let mut engine = DemandDriver::new(1, Policy::default());
    engine.want(vec![one.clone()]);
    engine.lookup_failed(one.id, unwritable().into());
    assert!(engine.is_held_up());
    engine.want(vec![]);
    assert!(!engine.is_held_up() && engine.is_idle());
}

#[test]
fn the_other_devices_go_on_while_one_is_suspended() {
    let all = batches(6);
    let mut engine = DemandDriver::new(2, suspending(1));
    for effect in engine.want(all.clone()) {
        let Effect::LookUp(order) = effect else { continue };
        engine.looked_up(order.id, false);
    }
    assert_eq!(begun(&engine.want(all.clone())), [(all[0].id, 0), (all[1].id, 1)]);
    engine.proved(all[0].id, Err(transient(&all[0])));
    assert_eq!(begun(&engine.want(all.clone())), [], "device 0 is suspended and device 1 is busy");
    engine.proved(all[1].id, Ok(receipt(&all[1])));
    assert_eq!(begun(&engine.want(all.clone())), [(all[0].id, 1)]);
    engine.proved(all[0].id, Ok(receipt(&all[0])));
    // One that works is taken before one that is tried.
    assert_eq!(begun(&engine.tick(at(9))), [(all[2].id, 1), (all[3].id, 0)]);
}

#[test]
fn a_panic_a_divergence_or_a_lost_assumption_does_not_count_against_the_device() {
    let inner = order(1, 1, Position::Transaction { merge_index: 1 }, &[]);
    let outer = order(2, 1, Position::Batch { first: 0 }, &[&inner]);
    let demand = vec![outer.clone(), inner.clone()];
    let panic = || Failure::Panic { message: "oh".into() };
    let lost = || Failure::AssumptionLost { assumption: inner.id, reason: "gone".into() };
    for failure in [panic(), lost(), divergence(&outer), Failure::Cancelled { statement: outer.id }] {
        let (mut engine, _) = wanting_under(suspending(1), &demand);
        engine.proved(inner.id, Ok(receipt(&inner)));
        engine.stored(inner.id, Ok(()));
        engine.want(demand.clone());
        engine.proved(outer.id, Err(failure));
        assert_eq!(engine.suspended().count(), 0);
    }
}

#[test]
fn no_proof_begins_on_a_device_without_a_thread_and_one_begins_as_soon_as_it_has_one() {
    let all = batches(3);
    let mut engine = DemandDriver::new(2, policy());
    engine.set_deserted(&[0]);
    assert_eq!(begun(&demand(&mut engine, &all)), [(all[0].id, 1)]);
    engine.set_deserted(&[0, 1]);
    engine.proved(all[0].id, Err(transient(&all[0])));
    assert_eq!(begun(&engine.tick(at(1))), []);
    assert_eq!(engine.deadline(), None, "no time brings a thread back");
    assert!(engine.suspended().any(|device| device.device == 1), "and it is said");
    engine.set_deserted(&[1]);
    assert_eq!(begun(&engine.tick(at(2))).len(), 1);
}

#[test]
fn an_attempt_that_has_ended_does_not_hang_however_late_its_answer_is_taken() {
    let one = order(1, 1, Position::Batch { first: 0 }, &[]);
    let (mut engine, _) = wanting(1, std::slice::from_ref(&one));
    assert!(engine.expire(at(10_000), &|id| *id == one.id).is_empty());
    let stored = engine.proved(one.id, Ok(receipt(&one)));
    assert!(matches!(&stored[..], [Effect::Store { .. }]));
    assert_eq!(engine.counts().timed_out, 0);
}

/// An engine with two devices, and three batches of which an earlier process noted something about the first.
fn recalling(failed: FailureCounts, given_up: Option<String>) -> (DemandDriver, Vec<Arc<Order>>) {
    let all = batches(3);
    let mut engine = DemandDriver::new(2, policy());
    engine.recall(all[0].id, failed, given_up);
    (engine, all)
}

#[test]
fn a_statement_that_an_earlier_process_gave_up_is_not_tried_again() {
    let failed = FailureCounts { expensive: 1, ..FailureCounts::default() };
    let (mut engine, all) = recalling(failed, Some("the program disagreed".into()));
    assert_eq!(proofs(&demand(&mut engine, &all)), [all[1].id, all[2].id], "others are proved");
    assert!(matches!(engine.failures(), [(id, Failure::Quarantined { .. })] if *id == all[0].id));
}

#[test]
fn failures_of_earlier_processes_use_up_the_budget() {
    let Budget { expensive, interrupted, .. } = policy().budget;
    for failed in [
        FailureCounts { expensive, ..FailureCounts::default() },
        FailureCounts { interrupted, ..FailureCounts::default() },
    ] {
        let (mut engine, all) = recalling(failed, None);
        assert_eq!(proofs(&demand(&mut engine, &all[..1])), []);
        assert_eq!(engine.failures().len(), 1, "{failed}");
    }
    let (mut engine, all) =
        recalling(FailureCounts { expensive: expensive - 1, ..FailureCounts::default() }, None);
    assert_eq!(proofs(&demand(&mut engine, &all[..1])), [all[0].id]);
    engine.proved(all[0].id, Err(transient(&all[0])));
    assert_eq!(engine.failures().len(), 1, "one more failure was left");
}

#[test]
fn what_is_stored_after_all_has_no_failures_any_more() {
    let failed = FailureCounts { interrupted: policy().budget.interrupted, ..FailureCounts::default() };
    let (mut engine, all) = recalling(failed, None);
    engine.want(all.clone());
    engine.looked_up(all[0].id, true);
    engine.lost(all[0].id);
    assert!(proofs(&engine.want(all.clone())).contains(&all[0].id), "another process proved it");
}

#[test]
fn a_statement_that_was_interrupted_several_times_is_proved_alone() {
    let failed = FailureCounts { interrupted: ALONE_AFTER, ..FailureCounts::default() };
    let (mut engine, all) = recalling(failed, None);
    assert_eq!(proofs(&demand(&mut engine, &all)), [all[0].id], "nothing begins beside it");
    engine.proved(all[0].id, Ok(receipt(&all[0])));
    let after = engine.stored(all[0].id, Ok(()));
    let begun = [proofs(&after), proofs(&engine.want(all[1..].to_vec()))].concat();
    assert_eq!(begun, [all[1].id, all[2].id], "and then the others, side by side");

    let (mut engine, all) = recalling(failed, None);
    assert_eq!(proofs(&demand(&mut engine, &all[1..2])), [all[1].id]);
    assert_eq!(
        proofs(&demand(&mut engine, &all)),
        [],
        "it waits for what runs, and holds back what is less urgent"
    );
    engine.proved(all[1].id, Ok(receipt(&all[1])));
    assert_eq!(proofs(&engine.tick(Duration::ZERO)), [all[0].id]);
}
