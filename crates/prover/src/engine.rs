//! The job machine: one job a statement, from demand to a durable receipt. Pure: it takes inputs and answers
//! with effects, and whoever drives it carries them out.
//!
//! ```text
//!           look-up            assumptions stored       proof verified         durable
//! Looking ───────────► Queued ───────────────────► Proving ─────────► Storing ────────► stored
//!    │ found                ▲                         │ may pass         │ may pass
//!    └──────► stored        └─────────────────────────┴──────────────────┘   never: Failed
//! ```
//!
//! * One job a statement over all its requesters: a request that meets a job is *merged*, one that meets a
//!   stored receipt is a *hit*.
//! * At most `permits` jobs are `Proving`, over all kinds. A permit is given back when the proof is there, so
//!   the next one runs while this one is flushed.
//! * A queued job that nobody wants any more leaves; a proof that runs is finished and stored.
//! * Nothing failed is ever remembered as a result.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use reprise_model::coordinate::Coordinate;
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};

use crate::failure::{Failure, Response};

/// What the driver must do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the store whether the order's receipt is there; answer with [`Engine::looked_up`].
    LookUp(Arc<Order>),
    /// Prove and verify it; answer with [`Engine::proved`].
    Prove(Arc<Order>),
    /// Store the receipt with these coordinates; answer with [`Engine::stored`].
    Store {
        /// What was ordered.
        order: Arc<Order>,
        /// Its receipt.
        receipt: Verified<Receipt>,
        /// Every coordinate that asked for it.
        coordinates: Vec<Coordinate>,
    },
    /// A stored statement is used at one more coordinate.
    Place(Coordinate, StatementId),
    /// Its receipt is durable: hand the artifact on.
    Publish(Arc<Order>),
}

/// A count a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerKind(pub [u64; 3]);

impl PerKind {
    /// Counts one.
    pub fn add(&mut self, kind: Kind) {
        self.0[kind as usize] += 1;
    }

    /// The count of one kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Over all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// What the engine counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Distinct statements needed.
    pub wanted: u64,
    /// Of these, already stored when first wanted.
    pub stored_before: u64,
    /// First stored in this run.
    pub proved: PerKind,
    /// Needed statements answered by the store, once a request.
    pub hits: PerKind,
    /// Requests that met a running job for the same statement.
    pub merged: u64,
    /// Attempts that failed.
    pub attempts_failed: u64,
}

#[derive(Debug)]
enum Phase {
    Looking,
    Queued,
    Proving,
    Storing {
        receipt: Verified<Receipt>,
        /// How many of the requesters the write names; who asked later is placed when it is durable.
        named: usize,
    },
    Failed,
}

#[derive(Debug)]
struct Job {
    order: Arc<Order>,
    phase: Phase,
    attempts: u32,
    /// Who asked, in order; all are served by the one receipt.
    requesters: Vec<Coordinate>,
}

/// The job machine.
#[derive(Debug)]
pub struct Engine {
    permits: usize,
    proving: usize,
    stopping: bool,
    jobs: BTreeMap<StatementId, Job>,
    /// What is known of each statement: present = looked up or made; true = stored.
    known: HashMap<StatementId, bool>,
    /// The demand last heard, in its order.
    demand: Vec<Arc<Order>>,
    requests: HashSet<(StatementId, Coordinate)>,
    wanted: HashSet<StatementId>,
    /// Of these, the ones counted as stored before or as proved: each once, even if it is lost and proved again.
    served: HashSet<StatementId>,
    counts: Counts,
    failures: Vec<(StatementId, Failure)>,
}

impl Engine {
    /// An engine that lets `permits` proofs run at a time, at least one.
    pub fn new(permits: usize) -> Self {
        Self {
            permits: permits.max(1),
            proving: 0,
            stopping: false,
            jobs: BTreeMap::new(),
            known: HashMap::new(),
            demand: vec![],
            requests: HashSet::new(),
            wanted: HashSet::new(),
            served: HashSet::new(),
            counts: Counts::default(),
            failures: vec![],
        }
    }

    /// Whether the statement is stored: `None` where nobody has looked.
    pub fn known(&self, id: &StatementId) -> Option<bool> {
        self.known.get(id).copied()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Distinct statements that were wanted and never stored, whatever became of the wish.
    pub fn dropped(&self) -> u64 {
        self.wanted.difference(&self.served).count() as u64
    }

    /// The statements that were given up, with the failure that ended each.
    pub fn failures(&self) -> &[(StatementId, Failure)] {
        &self.failures
    }

    /// Jobs that wait for look-up, assumptions or a permit.
    pub fn queued(&self) -> usize {
        self.count(|phase| matches!(phase, Phase::Looking | Phase::Queued))
    }

    /// The orders being proved now.
    pub fn proving(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.jobs.values().filter(|job| matches!(job.phase, Phase::Proving)).map(|job| &job.order)
    }

    /// Whether everything demanded is stored.
    pub fn satisfied(&self) -> bool {
        self.demand.iter().all(|order| self.known(&order.id) == Some(true))
    }

    /// Whether nothing is being looked up, proved or stored.
    pub fn at_rest(&self) -> bool {
        self.count(|phase| !matches!(phase, Phase::Queued | Phase::Failed)) == 0
    }

    /// Starts no further proof; what runs is finished and stored.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Hears the whole demand, in order of urgency. What is no longer in it is no longer wanted.
    pub fn want(&mut self, demand: Vec<Arc<Order>>) -> Vec<Effect> {
        let requests: HashSet<_> = demand.iter().map(|order| (order.id, order.coordinate)).collect();
        let mut effects = vec![];
        for order in &demand {
            if !self.requests.contains(&(order.id, order.coordinate)) {
                effects.extend(self.request(order));
            }
        }
        self.requests = requests;
        self.demand = demand;
        let wanted: HashSet<StatementId> = self.demand.iter().map(|order| order.id).collect();
        self.jobs.retain(|id, job| wanted.contains(id) || !matches!(job.phase, Phase::Queued));
        effects.extend(self.start());
        effects
    }

    /// A look-up ended.
    pub fn looked_up(&mut self, id: StatementId, found: bool) -> Vec<Effect> {
        self.known.insert(id, found);
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        if !found {
            job.phase = Phase::Queued;
            return vec![];
        }
        let Some(job) = self.jobs.remove(&id) else { return vec![] };
        self.counts.stored_before += u64::from(self.served.insert(id));
        // Every requester of a look-up was answered by the store.
        job.requesters.iter().for_each(|_| self.counts.hits.add(job.order.kind()));
        let mut effects: Vec<_> = job.requesters.iter().map(|at| Effect::Place(*at, id)).collect();
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A proof ended: verified, or not at all.
    pub fn proved(&mut self, id: StatementId, result: Result<Verified<Receipt>, Failure>) -> Vec<Effect> {
        self.proving -= 1;
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        match result {
            Ok(receipt) => {
                let coordinates = job.requesters.clone();
                job.phase = Phase::Storing { receipt: receipt.clone(), named: coordinates.len() };
                vec![Effect::Store { order: job.order.clone(), receipt, coordinates }]
            }
            Err(failure) => {
                self.fail(id, failure);
                vec![]
            }
        }
    }

    /// A write ended: durable, or not.
    pub fn stored(&mut self, id: StatementId, result: Result<(), Failure>) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Storing { receipt, named } = &mut job.phase else { return vec![] };
        if let Err(failure) = &result
            && failure.response(job.attempts) == Response::Retry
        {
            // The proof is worth more than the disk's mood: write it again.
            let (receipt, coordinates) = (receipt.clone(), job.requesters.clone());
            *named = coordinates.len();
            let effect = Effect::Store { order: job.order.clone(), receipt, coordinates };
            job.attempts += 1;
            self.counts.attempts_failed += 1;
            return vec![effect];
        }
        let named = *named;
        if let Err(failure) = result {
            self.fail(id, failure);
            return vec![];
        }
        let Some(job) = self.jobs.remove(&id) else { return vec![] };
        self.known.insert(id, true);
        let mut effects: Vec<_> = job.requesters[named..].iter().map(|at| Effect::Place(*at, id)).collect();
        if self.served.insert(id) {
            self.counts.proved.add(job.order.kind());
        }
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A stored receipt turned out to be lost: it is missing from now on.
    pub fn lost(&mut self, id: StatementId) {
        self.known.insert(id, false);
        // Whoever asked was served by what is gone: they ask again.
        self.requests.retain(|(requested, _)| *requested != id);
    }

    fn request(&mut self, order: &Arc<Order>) -> Option<Effect> {
        if self.wanted.insert(order.id) {
            self.counts.wanted += 1;
        }
        if let Some(job) = self.jobs.get_mut(&order.id) {
            if !job.requesters.contains(&order.coordinate) {
                job.requesters.push(order.coordinate);
                if !matches!(job.phase, Phase::Looking) {
                    self.counts.merged += 1;
                }
            }
            return None;
        }
        let phase = match self.known.get(&order.id) {
            Some(true) => {
                self.counts.hits.add(order.kind());
                return Some(Effect::Place(order.coordinate, order.id));
            }
            Some(false) => Phase::Queued,
            None => Phase::Looking,
        };
        let looking = matches!(phase, Phase::Looking);
        let requesters = vec![order.coordinate];
        self.jobs.insert(order.id, Job { order: order.clone(), phase, attempts: 0, requesters });
        looking.then(|| Effect::LookUp(order.clone()))
    }

    /// Gives free permits to the most urgent jobs whose assumptions are stored.
    fn start(&mut self) -> Vec<Effect> {
        let mut effects = vec![];
        for order in &self.demand {
            if self.stopping || self.proving >= self.permits {
                break;
            }
            let ready = order.assumptions.iter().all(|inner| self.known.get(&inner.id) == Some(&true));
            if let Some(job) = self.jobs.get_mut(&order.id)
                && matches!(job.phase, Phase::Queued)
                && ready
            {
                job.phase = Phase::Proving;
                job.attempts += 1;
                self.proving += 1;
                // The job's own order: a statement has one witness, whichever coordinate asks.
                effects.push(Effect::Prove(order.clone()));
            }
        }
        effects
    }

    fn fail(&mut self, id: StatementId, failure: Failure) {
        self.counts.attempts_failed += 1;
        let Some(job) = self.jobs.get_mut(&id) else { return };
        match failure.response(job.attempts) {
            Response::Retry => job.phase = Phase::Queued,
            Response::Reprove(assumption) => {
                job.phase = Phase::Queued;
                self.lost(assumption);
            }
            Response::GiveUp => {
                job.phase = Phase::Failed;
                self.failures.push((id, failure));
            }
        }
    }

    fn count(&self, of: impl Fn(&Phase) -> bool) -> usize {
        self.jobs.values().filter(|job| of(&job.phase)).count()
    }
}
