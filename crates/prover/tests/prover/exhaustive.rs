//! Every history of small worlds: the job machine under all orders in which demand changes, look-ups, proofs,
//! writes and checks end, receipts are lost, attempts hang and stops come, explored to the last state.
//!
//! A breadth-first search over the states of engine and store together. A state is told from another by what
//! the engine says decides what it does (`Engine::essence`). Failures are bounded by the budget, and each
//! world bounds how often a receipt vanishes.
//!
//! | world | permits | dear failures | jobs | states |
//! |---|---|---|---|---|
//! | a transaction on two forks, its batch on one | 1 | 2 | no bound met | 3914 |
//! | the same | 2 | 2 | no bound met | 4426 |
//! | a transaction, its batch, the aggregate over it | 1 | 1 | no bound met | 975 |
//! | the same | 1 | 2 | no bound met | 3048 |
//! | the same | 1 | 2 | 2, of three statements | 2914 |
//! | the same, and the disk is full at any look-up or write, for as long as it likes | 1 | 1 | no bound met | 1649 |
//!
//! In each, one receipt vanishes at any time, any attempt hangs, and what is orphaned while it runs is asked
//! to end. From every state the world, left to itself, comes to rest with all that is wanted stored or given up.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reprise_model::coordinate::{Checkpoint, Place};
use reprise_model::digest::{Digest, StatementId};
use reprise_model::order::Order;
use reprise_prover::engine::Effect;
use reprise_prover::failure::Failure;
use reprise_prover::policy::{Backoff, Budget, Orphans, Policy};

use crate::engine::{Told, divergence, full, order, receipt, transient, unwritable};

/// What may be demanded: all of it, by name.
struct World {
    /// Each demand that the planner may come to: outer orders first, what they rely on after them.
    demands: Vec<Vec<Arc<Order>>>,
    permits: usize,
    policy: Policy,
    /// How often a stored receipt vanishes.
    vanish: u8,
    /// Whether attempts hang.
    hang: bool,
    /// Whether the disk is full at times.
    full: bool,
}

/// Engine, store, and what is out between them.
#[derive(Clone)]
struct State {
    engine: Told,
    now: Duration,
    /// The demand that holds, of the world's.
    demand: usize,
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
    Demand(usize),
    LookUp(usize),
    Prove(usize, End),
    Write(usize, bool),
    FullLookUp(usize),
    FullWrite(usize),
    Check(usize, bool),
    Vanish(StatementId),
    Hang,
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
            engine: Told::new(self.permits, self.policy),
            now: Duration::ZERO,
            demand: 0,
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
        let mut steps: Vec<Step> = (0..self.demands.len()).map(Step::Demand).collect();
        steps.extend((0..state.looking.len()).map(Step::LookUp));
        for (at, order) in state.proving.iter().enumerate() {
            steps.extend([End::Well, End::Transient, End::Divergence].map(|end| Step::Prove(at, end)));
            if state.cancelled.contains(&order.id) {
                steps.push(Step::Prove(at, End::Cancelled));
            }
        }
        for at in 0..state.writing.len() {
            steps.extend([Step::Write(at, true), Step::Write(at, false)]);
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
        if self.hang && !state.proving.is_empty() {
            steps.push(Step::Hang);
        }
        if !state.stopped {
            steps.push(Step::Stop);
        }
        steps
    }

    /// The steps that end what is out, well: a world left to itself takes no others.
    fn well(state: &State) -> Option<Step> {
        let at = |out: &[Arc<Order>], step: fn(usize) -> Step| (!out.is_empty()).then(|| step(0));
        at(&state.looking, Step::LookUp)
            .or_else(|| at(&state.proving, |at| Step::Prove(at, End::Well)))
            .or_else(|| at(&state.writing, |at| Step::Write(at, true)))
            .or_else(|| at(&state.checking, |at| Step::Check(at, false)))
    }

    fn take(&self, state: &State, step: Step) -> State {
        let mut next = state.clone();
        let effects = match step {
            Step::Demand(demand) => {
                next.demand = demand;
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
                next.engine.not_looked_up(order.id, full().into())
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
            Step::Hang => {
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
        self.redemand(&mut next);
        next
    }

    /// Demands anew, and again where carrying that out showed a loss.
    fn redemand(&self, state: &mut State) {
        while self.demand(state) {}
    }

    fn demand(&self, state: &mut State) -> bool {
        // From the top, below an order only where it is known to be missing.
        let mut wanted: Vec<Arc<Order>> = vec![];
        let all = &self.demands[state.demand];
        let inner: HashSet<_> = all.iter().flat_map(|o| &o.assumptions).map(|inner| inner.id).collect();
        for order in all {
            let outer = |o: &&Arc<Order>| o.assumptions.iter().any(|inner| inner.id == order.id);
            let top = !inner.contains(&order.id);
            let missing = |o: &Arc<Order>| state.engine.known(&o.id) == Some(false);
            if top || wanted.iter().filter(outer).any(missing) {
                wanted.push(order.clone());
            }
        }
        // What another demand names is shallow off the view.
        let others = self.demands.iter().flatten().map(|order| order.id);
        let dormant = others.filter(|id| all.iter().all(|order| order.id != *id)).collect();
        state.engine.retain(dormant);
        let mut effects = state.engine.want(wanted);
        effects.extend(state.engine.tick(state.now));
        self.carry_out(state, effects)
    }

    /// Whether a receipt turned out to be lost.
    fn carry_out(&self, state: &mut State, effects: Vec<Effect>) -> bool {
        let mut lost = false;
        for effect in effects {
            match effect {
                Effect::LookUp(order) => state.looking.push(order),
                Effect::Prove(order) => {
                    let id = order.id;
                    assert!(!state.stopped, "begun after the stop");
                    assert!(!state.engine.is_held_up(), "begun while it could not be stored");
                    assert!(!state.proving.iter().chain(&state.writing).any(|other| other.id == id), "twice");
                    assert_eq!(state.engine.known(&id), Some(false), "proved although stored");
                    assert!(state.engine.failures().iter().all(|(failed, _)| *failed != id), "given up");
                    state.proving.push(order);
                    assert!(state.proving.len() <= self.permits, "more proofs than permits");
                }
                Effect::Cancel(id) => drop(state.cancelled.insert(id)),
                Effect::WriteOff(order, _) => {
                    state.proving.retain(|other| other.id != order.id);
                    state.cancelled.remove(&order.id);
                }
                Effect::Check(order) => state.checking.push(order),
                Effect::Store { order, .. } => state.writing.push(order),
                Effect::Place(_, id, _) => {
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

    /// What tells a state from another.
    fn key(&self, state: &State) -> String {
        let ids = |orders: &[Arc<Order>]| orders.iter().map(|order| order.id.0[0]).collect::<Vec<_>>();
        format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {} {} {}",
            state.engine.essence(),
            state.stored,
            ids(&state.looking),
            ids(&state.proving),
            ids(&state.writing),
            ids(&state.checking),
            state.cancelled,
            state.demand,
            state.vanished,
            state.stopped
        )
    }

    fn check(&self, state: &State) {
        let out = state.looking.len() + state.proving.len() + state.writing.len() + state.checking.len();
        assert_eq!(state.engine.at_rest(), out == 0);
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

    /// Left to itself every state comes to rest, and then, unless it was stopped, with everything that is
    /// wanted stored or given up. `rest` holds the states that are known to.
    fn check_rest(&self, state: &State, rest: &mut HashSet<blake3::Hash>) {
        let (mut state, mut passed) = (state.clone(), HashSet::new());
        loop {
            let key = blake3::hash(self.key(&state).as_bytes());
            if rest.contains(&key) {
                break;
            }
            assert!(passed.insert(key), "it never comes to rest");
            match Self::well(&state) {
                Some(step) => state = self.take(&state, step),
                None => {
                    assert!(state.stopped || state.engine.satisfied(), "at rest and not satisfied");
                    break;
                }
            }
        }
        rest.extend(passed);
    }

    /// Explores every history; the number of states.
    fn explore(&self) -> usize {
        let mut initial = self.initial();
        self.redemand(&mut initial);
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

fn policy(dear: u32, cheap: u32) -> Policy {
    Policy {
        backoff: Backoff::NONE,
        budget: Budget { cheap, dear },
        orphans: Orphans::AbortAfter(Duration::ZERO),
        ..Policy::default()
    }
}

/// Fork A: a transaction and its batch. Fork B: the same transaction.
fn forks() -> Vec<Vec<Arc<Order>>> {
    let on = |block| order(1, block, Place::Transaction { merge_index: 1 }, &[]);
    let batch = order(11, 1, Place::Batch, &[&on(1)]);
    vec![vec![], vec![batch, on(1)], vec![on(2)]]
}

/// A transaction, its batch, the aggregate over it.
fn tower() -> Vec<Vec<Arc<Order>>> {
    let transaction = order(1, 1, Place::Transaction { merge_index: 1 }, &[]);
    let batch = order(11, 1, Place::Batch, &[&transaction]);
    let place = Place::Aggregate { start: Checkpoint(1), commitment: Digest::ZERO };
    let aggregate = order(21, 1, place, &[&batch]);
    vec![vec![aggregate, batch.clone(), transaction.clone()], vec![batch, transaction]]
}

#[test]
fn every_history_of_two_forks_keeps_every_promise() {
    for (permits, states) in [(1, 3914), (2, 4426)] {
        let world =
            World { demands: forks(), permits, policy: policy(2, 1), vanish: 1, hang: true, full: false };
        assert_eq!(world.explore(), states, "with {permits} permits");
    }
}

#[test]
fn every_history_of_a_tower_keeps_every_promise() {
    for (budget, jobs_max, states) in [(1, 9, 975), (2, 9, 3048), (2, 2, 2914)] {
        let policy = Policy { jobs_max, ..policy(budget, 1) };
        let world = World { demands: tower(), permits: 1, policy, vanish: 1, hang: true, full: false };
        assert_eq!(world.explore(), states, "with a budget of {budget} and {jobs_max} jobs");
    }
}

#[test]
fn a_disk_that_is_full_for_as_long_as_it_likes_ends_nothing() {
    let world =
        World { demands: tower(), permits: 1, policy: policy(1, 1), vanish: 1, hang: true, full: true };
    assert_eq!(world.explore(), 1649);
}
