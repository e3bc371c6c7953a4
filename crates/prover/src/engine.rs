//! The job machine: one job a statement, from demand to a durable receipt. Pure: it takes inputs, the time
//! among them, and answers with effects, and whoever drives it carries them out.
//!
//! ```text
//!           look-up            assumptions stored       proof verified         durable
//! Looking ───────────► Queued ───────────────────► Proving ─────────► Storing ────────► stored
//!    │ found             ▲  ▲                       │ │  │ may pass       │ may pass
//!    └──────► stored     │  └──── after a wait ─────┘ │  └────────────────┘
//!                        │ a bad one: proved again    │ disagrees            never: Failed
//!                        └──────── Checking ◄─────────┘
//! ```
//!
//! * One job a statement over all its requesters: a request that meets a job is *merged*, one that meets a
//!   stored receipt is a *hit*.
//! * At most `permits` jobs are `Proving`, over all kinds. A permit is given back when the proof is there, so
//!   the next one runs while this one is flushed; and when an attempt is written off because it hangs.
//! * At most [`Policy::jobs_max`] jobs. Of a larger demand, what can be looked up or proved now gets in
//!   first, so that a bound of any size never stands in its own way; what is refused is asked again whenever
//!   the demand is heard.
//! * A queued job that nobody wants leaves, unless its block lies shallow off the view ([`Engine::retain`]):
//!   then it is *dormant*, keeps its count of failures, and is not started. A proof that runs is finished and
//!   stored, or asked to end ([`Orphans`]).
//! * While the store fails a look-up or a write, that is tried again after a wait, and no proof is begun.
//! * Nothing failed or cancelled is ever remembered as a result.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use reprise_model::coordinate::Coordinate;
use reprise_model::mutation::{self, Mutation};
use reprise_model::order::Order;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};

use crate::failure::{Cost, Failed, Failure, Response};
use crate::policy::{Orphans, Policy};

/// What the driver must do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the store whether the order's receipt is there; answer with [`Engine::looked_up`].
    LookUp(Arc<Order>),
    /// Prove and verify it; answer with [`Engine::proved`].
    Prove(Arc<Order>),
    /// Ask the running attempt to end; its answer is still awaited.
    Cancel(StatementId),
    /// Take no answer of the running attempt any more: it hangs, and its device with it.
    WriteOff(Arc<Order>, Failure),
    /// Verify in full every receipt that the order relies on; answer with [`Engine::checked`].
    Check(Arc<Order>),
    /// Store the receipt with these coordinates; answer with [`Engine::stored`].
    Store {
        /// What was ordered.
        order: Arc<Order>,
        /// Its receipt.
        receipt: Verified<Receipt>,
        /// Every coordinate that asked for it.
        coordinates: Vec<Coordinate>,
    },
    /// A stored statement is used at one more coordinate, which asked for it in this way.
    Place(Coordinate, StatementId, Request),
    /// Its receipt is durable: hand the artifact on.
    Publish(Arc<Order>),
}

/// How a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// By the store.
    Hit,
    /// By a proof that was under way for another.
    Merged,
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
    /// Requests that were served by a proof under way for another.
    pub merged: u64,
    /// Attempts that failed: proofs and writes.
    pub attempts_failed: u64,
    /// Of these, proofs that did not verify.
    pub invalid: u64,
    /// Of these, proofs that were written off as hung.
    pub timed_out: u64,
    /// Proofs that were asked to end, and did.
    pub cancelled: u64,
}

#[derive(Debug, Clone)]
enum Phase {
    Looking(Delay),
    Queued,
    Proving {
        began: Duration,
        /// Since when nobody wants it.
        unwanted_since: Option<Duration>,
        /// Whether it was asked to end.
        cancelled: bool,
    },
    /// It failed so that its assumptions are being verified.
    Checking(Failure),
    Storing {
        receipt: Verified<Receipt>,
        /// How many of the requesters the write names; who asked later is placed when it is durable.
        named: usize,
        delay: Delay,
    },
    Failed,
}

/// How a store that fails holds up a look-up or a write.
#[derive(Debug, Clone, Copy, Default)]
struct Delay {
    /// Whether the last attempt failed.
    failed: bool,
    /// When the next one begins, if it does not run.
    again_at: Option<Duration>,
}

impl Delay {
    /// Whether it is time for the next attempt.
    fn is_over(&self, now: Duration) -> bool {
        self.again_at.is_some_and(|at| now >= at)
    }
}

impl Phase {
    /// What holds it up, where a store can.
    fn delay(&self) -> Option<&Delay> {
        match self {
            Self::Looking(delay) | Self::Storing { delay, .. } => Some(delay),
            _ => None,
        }
    }

    /// Whether the job waits for nothing but its turn, and can be let go.
    fn is_queued(&self) -> bool {
        matches!(self, Self::Queued)
    }
}

#[derive(Debug, Clone)]
struct Job {
    order: Arc<Order>,
    phase: Phase,
    failed: Failed,
    /// How often in a row the store failed it.
    held_up: u32,
    /// Not begun before, after a failure.
    not_before: Duration,
    /// Who asked, in order; all are served by the one receipt.
    requesters: Vec<Coordinate>,
    /// What it relies on and was stored since it began: to miss one of these is old news.
    renewed: BTreeSet<StatementId>,
}

impl Job {
    /// Whether what became of the statement while the job runs concerns it.
    fn relies_on(&self, id: &StatementId) -> bool {
        matches!(self.phase, Phase::Proving { .. } | Phase::Checking(_))
            && self.order.assumptions.iter().any(|inner| inner.id == *id)
    }
}

/// The job machine.
#[derive(Debug, Clone)]
pub struct Engine {
    policy: Policy,
    permits: usize,
    /// The time, as last heard: since when does not matter.
    now: Duration,
    proving: usize,
    stopping: bool,
    jobs: BTreeMap<StatementId, Job>,
    /// What is known of each statement: present = looked up or made; true = stored.
    known: BTreeMap<StatementId, bool>,
    /// The demand last heard, in its order.
    demand: Vec<Arc<Order>>,
    /// The same, by statement.
    demanded: BTreeMap<StatementId, Arc<Order>>,
    /// The statements whose jobs may sleep.
    dormant: BTreeSet<StatementId>,
    requests: BTreeSet<(StatementId, Coordinate)>,
    wanted: BTreeSet<StatementId>,
    /// Of these, the ones counted as stored before or as proved: each once, even if it is lost and proved again.
    served: BTreeSet<StatementId>,
    /// Statements forgotten that were wanted and never served.
    forgotten: u64,
    /// Statements whose last attempt was written off as hung, or did not verify.
    ailing: BTreeMap<StatementId, Failure>,
    counts: Counts,
    failures: Vec<(StatementId, Failure)>,
}

impl Engine {
    /// An engine that lets `permits` proofs run at a time, at least one.
    pub fn new(permits: usize, policy: Policy) -> Self {
        let permits = permits.max(1);
        Self {
            policy: Policy { jobs_max: policy.jobs_max.max(permits + 1), ..policy },
            permits,
            now: Duration::ZERO,
            proving: 0,
            stopping: false,
            jobs: BTreeMap::new(),
            known: BTreeMap::new(),
            demand: vec![],
            demanded: BTreeMap::new(),
            dormant: BTreeSet::new(),
            requests: BTreeSet::new(),
            wanted: BTreeSet::new(),
            served: BTreeSet::new(),
            forgotten: 0,
            ailing: BTreeMap::new(),
            counts: Counts::default(),
            failures: vec![],
        }
    }

    /// Whether the statement is stored: `None` where nobody has looked.
    pub fn known(&self, id: &StatementId) -> Option<bool> {
        self.known.get(id).copied()
    }

    /// Whether the demand last heard names the statement.
    pub fn is_wanted(&self, id: &StatementId) -> bool {
        self.demanded.contains_key(id)
    }

    /// How many coordinates have asked for the statement's job.
    pub fn requesters(&self, id: &StatementId) -> usize {
        self.jobs.get(id).map_or(0, |job| job.requesters.len())
    }

    /// Everything that decides what the engine does next, and nothing else: two engines that print the same
    /// here behave the same. For searches over all its states.
    pub fn essence(&self) -> impl std::fmt::Debug + '_ {
        let rank = |job: &Job| {
            let phase = match &job.phase {
                Phase::Looking(delay) => format!("looking {} {}", delay.failed, delay.again_at.is_some()),
                Phase::Queued => "queued".to_owned(),
                Phase::Proving { unwanted_since, cancelled, .. } => {
                    format!("proving {} {cancelled}", unwanted_since.is_some())
                }
                Phase::Checking(failure) => format!("checking {}", failure.cost() == Cost::Dear),
                Phase::Storing { named, delay, .. } => {
                    format!("storing {named} {} {}", delay.failed, delay.again_at.is_some())
                }
                Phase::Failed => "failed".to_owned(),
            };
            (phase, job.failed, job.requesters.clone(), job.renewed.clone())
        };
        let jobs: Vec<_> = self.jobs.iter().map(|(id, job)| (*id, rank(job))).collect();
        let demand: Vec<_> = self.demand.iter().map(|order| (order.id, order.coordinate)).collect();
        (jobs, &self.known, demand, &self.dormant, &self.requests, self.stopping)
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Distinct statements that were wanted and never stored, whatever became of the wish.
    pub fn dropped(&self) -> u64 {
        self.forgotten + self.wanted.difference(&self.served).count() as u64
    }

    /// The statements that were given up, with the failure that ended each.
    pub fn failures(&self) -> &[(StatementId, Failure)] {
        &self.failures
    }

    /// The statements whose last attempt hung or did not verify, or which the store holds up, and which are not
    /// stored since.
    pub fn ailing(&self) -> impl Iterator<Item = (&StatementId, &Failure)> {
        self.ailing.iter()
    }

    /// Jobs, of whatever phase.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs that wait for look-up, assumptions or a permit.
    pub fn queued(&self) -> usize {
        self.count(|phase| matches!(phase, Phase::Looking(_) | Phase::Queued))
    }

    /// The orders being proved now.
    pub fn proving(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.jobs.values().filter(|job| matches!(job.phase, Phase::Proving { .. })).map(|job| &job.order)
    }

    /// Whether everything demanded is stored, given up, or waits for something that was given up.
    pub fn satisfied(&self) -> bool {
        self.demand.iter().all(|order| self.known(&order.id) == Some(true) || self.hopeless(order))
    }

    fn hopeless(&self, order: &Order) -> bool {
        if self.failures.is_empty() {
            return false;
        }
        let hopeless = |id| self.demanded.get(id).is_some_and(|inner| self.hopeless(inner));
        match self.jobs.get(&order.id).map(|job| &job.phase) {
            Some(Phase::Failed) => true,
            Some(Phase::Queued) => order.assumptions.iter().any(|inner| hopeless(&inner.id)),
            None if self.known(&order.id) == Some(false) => {
                order.assumptions.iter().any(|inner| hopeless(&inner.id))
            }
            _ => false,
        }
    }

    /// Whether nothing is being looked up, proved, checked or stored.
    pub fn at_rest(&self) -> bool {
        self.count(|phase| !matches!(phase, Phase::Queued | Phase::Failed)) == 0
    }

    /// When [`tick`](Self::tick) next has something to do, if ever without another input.
    pub fn deadline(&self) -> Option<Duration> {
        let due = |job: &Job| match &job.phase {
            Phase::Proving { began, unwanted_since, cancelled } => {
                let timeout = *began + self.policy.timeout(job.order.kind());
                let abort = match (self.policy.orphans, unwanted_since) {
                    (Orphans::AbortAfter(patience), Some(since)) if !cancelled => Some(*since + patience),
                    _ => None,
                };
                Some(abort.map_or(timeout, |abort| abort.min(timeout)))
            }
            Phase::Storing { delay, .. } | Phase::Looking(delay) => delay.again_at,
            Phase::Queued if self.stopping => None,
            Phase::Queued => (job.not_before > self.now).then_some(job.not_before),
            _ => None,
        };
        self.jobs.values().filter_map(due).min()
    }

    /// Starts no further proof; what runs is finished and stored.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Whether the store fails just now. Until it is well no proof is begun: it could not be stored.
    pub fn is_held_up(&self) -> bool {
        self.jobs.values().any(|job| job.phase.delay().is_some_and(|delay| delay.failed))
    }

    /// How proving is gone about.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Asks every proof that runs to end.
    pub fn abort(&mut self) -> Vec<Effect> {
        let mut effects = vec![];
        for (id, job) in &mut self.jobs {
            if let Phase::Proving { cancelled, .. } = &mut job.phase
                && !mem::replace(cancelled, true)
            {
                effects.push(Effect::Cancel(*id));
            }
        }
        effects
    }

    /// Hears what time it is: what hangs is written off, what has been unwanted for too long is asked to
    /// end, what waited long enough is begun.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        self.now = self.now.max(now);
        let (now, policy) = (self.now, self.policy);
        let (mut effects, mut hung) = (vec![], vec![]);
        for (id, job) in &mut self.jobs {
            match &mut job.phase {
                Phase::Proving { began, .. } if now >= *began + policy.timeout(job.order.kind()) => {
                    hung.push((job.order.clone(), now - *began));
                }
                Phase::Proving { unwanted_since: Some(since), cancelled, .. } => {
                    if let Orphans::AbortAfter(patience) = policy.orphans
                        && now >= *since + patience
                        && !mem::replace(cancelled, true)
                    {
                        effects.push(Effect::Cancel(*id));
                    }
                }
                Phase::Storing { receipt, named, delay } if delay.is_over(now) => {
                    delay.again_at = None;
                    *named = job.requesters.len();
                    let (receipt, coordinates) = (receipt.clone(), job.requesters.clone());
                    effects.push(Effect::Store { order: job.order.clone(), receipt, coordinates });
                }
                Phase::Looking(delay) if delay.is_over(now) => {
                    delay.again_at = None;
                    effects.push(Effect::LookUp(job.order.clone()));
                }
                _ => {}
            }
        }
        for (order, after) in hung {
            let failure = Failure::TimedOut { statement: order.id, after };
            effects.push(Effect::WriteOff(order.clone(), failure.clone()));
            effects.extend(self.proved(order.id, Err(failure)));
        }
        effects.extend(self.start());
        effects
    }

    /// Hears which statements belong to blocks that lie shallow off the view: queued jobs for them sleep.
    pub fn retain(&mut self, dormant: BTreeSet<StatementId>) {
        if mutation::is(Mutation::ForgetOrphans) {
            dormant.iter().for_each(|id| self.lost(*id));
        }
        self.dormant = dormant;
    }

    /// Hears the whole demand, in order of urgency. What is no longer in it is no longer wanted.
    pub fn want(&mut self, demand: Vec<Arc<Order>>) -> Vec<Effect> {
        self.demanded = demand.iter().map(|order| (order.id, order.clone())).collect();
        let admitted = self.admitted(&demand);
        let may = |id: &StatementId| admitted.as_ref().is_none_or(|admitted| admitted.contains(id));
        let (demanded, dormant) = (&self.demanded, &self.dormant);
        // Where room is short, what sleeps gets what is left by the admitted, and by what is at work unwanted.
        let held = |(id, job): &(&StatementId, &Job)| !job.phase.is_queued() && !may(id);
        let taken = admitted.as_ref().map_or(0, BTreeSet::len) + self.jobs.iter().filter(held).count();
        let mut room = self.policy.jobs_max.saturating_sub(taken);
        self.jobs.retain(|id, job| {
            let awake = !job.phase.is_queued() || demanded.contains_key(id) && may(id);
            let asleep = !awake && dormant.contains(id) && !demanded.contains_key(id) && room > 0;
            room -= usize::from(asleep);
            awake || asleep
        });
        let jobs = &self.jobs;
        self.ailing.retain(|id, failure| !matches!(failure, Failure::Store(_)) || jobs.contains_key(id));

        let before = mem::take(&mut self.requests);
        let mut effects = vec![];
        for order in demand.iter().filter(|order| may(&order.id)) {
            let request = (order.id, order.coordinate);
            if !before.contains(&request) && !self.requests.contains(&request) {
                effects.extend(self.request(order));
            }
            self.requests.insert(request);
        }
        self.demand = demand;
        let (now, demanded) = (self.now, &self.demanded);
        for (id, job) in &mut self.jobs {
            if let Phase::Proving { unwanted_since, .. } = &mut job.phase {
                match demanded.contains_key(id) {
                    true => *unwanted_since = None,
                    false => *unwanted_since = unwanted_since.or(Some(now)),
                }
            }
        }
        effects.extend(self.start());
        effects
    }

    /// The statements of `demand` that may be requested: all, where there is room for a job for each.
    fn admitted(&self, demand: &[Arc<Order>]) -> Option<BTreeSet<StatementId>> {
        if self.demanded.len() + self.jobs.len() <= self.policy.jobs_max {
            return None;
        }
        let stands = |id: &StatementId| {
            self.known(id) == Some(true) || self.jobs.get(id).is_some_and(|job| !job.phase.is_queued())
        };
        // What stands needs no further room: stored statements have no job, and the others have theirs.
        let mut admitted: BTreeSet<StatementId> =
            self.demanded.keys().filter(|id| stands(id)).copied().collect();
        let held = self.count(|phase| !matches!(phase, Phase::Queued | Phase::Failed));
        let mut room = self.policy.jobs_max.saturating_sub(held);
        for at_once in [true, false] {
            for order in demand.iter().filter(|order| !stands(&order.id)) {
                let now = self.known(&order.id).is_none() || self.is_ready(order);
                if room > 0 && now == at_once && admitted.insert(order.id) {
                    room -= 1;
                }
            }
        }
        Some(admitted)
    }

    /// The store could not say whether it holds a receipt: it is asked again, after a wait.
    pub fn not_looked_up(&mut self, id: StatementId, failure: Failure) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Looking(_) = job.phase else { return vec![] };
        let Some(wait) = self.hold_up(id, &failure) else { return self.give_up(id, failure) };
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let again_at = (!wait.is_zero()).then_some(self.now + wait);
        job.phase = Phase::Looking(Delay { failed: true, again_at });
        again_at.is_none().then(|| Effect::LookUp(job.order.clone())).into_iter().collect()
    }

    /// Counts a failure of the store; how long its job waits then, if it is not given up.
    fn hold_up(&mut self, id: StatementId, failure: &Failure) -> Option<Duration> {
        self.counts.attempts_failed += 1;
        let job = self.jobs.get_mut(&id)?;
        job.failed.add(failure.cost());
        job.held_up = job.held_up.saturating_add(1);
        if failure.response(&job.failed, &self.policy.budget, false) != Response::Retry {
            return None;
        }
        self.ailing.insert(id, failure.clone());
        Some(self.policy.backoff.wait(&id, job.held_up))
    }

    /// A look-up ended.
    pub fn looked_up(&mut self, id: StatementId, found: bool) -> Vec<Effect> {
        if mutation::is(Mutation::LostAnswer) && id.0[0] < 8 {
            return vec![];
        }
        self.known.insert(id, found);
        if matches!(self.ailing.get(&id), Some(Failure::Store(_))) {
            self.ailing.remove(&id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        job.held_up = 0;
        if !found {
            job.phase = Phase::Queued;
            self.counts.merged += job.requesters.len() as u64 - 1;
            return vec![];
        }
        let Some(job) = self.jobs.remove(&id) else { return vec![] };
        self.counts.stored_before += u64::from(self.served.insert(id));
        // Every requester of a look-up was answered by the store.
        job.requesters.iter().for_each(|_| self.counts.hits.add(job.order.kind()));
        let place = |at: &Coordinate| Effect::Place(*at, id, Request::Hit);
        let mut effects: Vec<_> = job.requesters.iter().map(place).collect();
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A proof ended: verified, or not at all.
    pub fn proved(&mut self, id: StatementId, result: Result<Verified<Receipt>, Failure>) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        if !matches!(job.phase, Phase::Proving { .. }) {
            return vec![];
        }
        self.proving -= 1;
        match result {
            Ok(receipt) => {
                let mut coordinates = job.requesters.clone();
                let named = coordinates.len();
                job.phase = Phase::Storing { receipt: receipt.clone(), named, delay: Delay::default() };
                if mutation::is(Mutation::WrongPlace) {
                    coordinates.iter_mut().for_each(|place| place.checkpoint.0 += 1);
                }
                if mutation::is(Mutation::PublishBeforeDurable) {
                    return vec![
                        Effect::Publish(job.order.clone()),
                        Effect::Store { order: job.order.clone(), receipt, coordinates },
                    ];
                }
                vec![Effect::Store { order: job.order.clone(), receipt, coordinates }]
            }
            Err(failure) => self.fail(id, failure),
        }
    }

    /// The assumptions of an order whose proof failed were verified in full: these are bad.
    pub fn checked(&mut self, id: StatementId, bad: Result<Vec<StatementId>, Failure>) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Checking(cause) = &job.phase else { return vec![] };
        let cause = cause.clone();
        match bad {
            Ok(bad) if bad.is_empty() => self.respond(id, cause, false),
            Ok(bad) => {
                // The proof failed by the fault of others: they are proved again, and so is this.
                let exhausted = job.failed.dear >= self.policy.budget.dear;
                job.phase = Phase::Queued;
                let renewed = mem::take(&mut job.renewed);
                bad.into_iter().filter(|inner| !renewed.contains(inner)).for_each(|inner| self.lost(inner));
                if exhausted { self.give_up(id, cause) } else { vec![] }
            }
            Err(failure) => self.fail(id, failure),
        }
    }

    /// A write ended: durable, or not.
    pub fn stored(&mut self, id: StatementId, result: Result<(), Failure>) -> Vec<Effect> {
        let Some(Phase::Storing { named, .. }) = self.jobs.get(&id).map(|job| &job.phase) else {
            return vec![];
        };
        let named = *named;
        if let Err(failure) = result {
            // The proof is worth more than the disk's mood: it is written again.
            let Some(wait) = self.hold_up(id, &failure) else { return self.give_up(id, failure) };
            let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
            let Phase::Storing { receipt, named, delay } = &mut job.phase else { return vec![] };
            let again_at = (!wait.is_zero()).then_some(self.now + wait);
            *delay = Delay { failed: true, again_at };
            if again_at.is_some() {
                return vec![];
            }
            let (receipt, coordinates) = (receipt.clone(), job.requesters.clone());
            *named = coordinates.len();
            return vec![Effect::Store { order: job.order.clone(), receipt, coordinates }];
        }
        let Some(job) = self.jobs.remove(&id) else { return vec![] };
        self.known.insert(id, true);
        self.ailing.remove(&id);
        self.jobs.values_mut().filter(|outer| outer.relies_on(&id)).for_each(|outer| {
            outer.renewed.insert(id);
        });
        let place = |at: &Coordinate| Effect::Place(*at, id, Request::Merged);
        let mut effects: Vec<_> = job.requesters[named..].iter().map(place).collect();
        if self.served.insert(id) {
            self.counts.proved.add(job.order.kind());
        }
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A write left nothing: it came so late that all coordinates it named are final. Nothing is published;
    /// who asked at other coordinates meanwhile is served by another write.
    pub fn discarded(&mut self, id: StatementId) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Storing { receipt, named, .. } = &mut job.phase else { return vec![] };
        if job.requesters.len() > *named {
            let coordinates = job.requesters.split_off(*named);
            (job.requesters, *named) = (coordinates.clone(), coordinates.len());
            let receipt = receipt.clone();
            return vec![Effect::Store { order: job.order.clone(), receipt, coordinates }];
        }
        self.jobs.remove(&id);
        self.lost(id);
        vec![]
    }

    /// A stored receipt turned out to be lost: it is missing from now on.
    pub fn lost(&mut self, id: StatementId) {
        self.known.insert(id, false);
        // Whoever asked was served by what is gone: they ask again.
        self.requests.retain(|(requested, _)| *requested != id);
    }

    /// Forgets statements that only final blocks use. One that is wanted or at work stays.
    pub fn forget(&mut self, statements: impl IntoIterator<Item = StatementId>) {
        for id in statements {
            if self.demanded.contains_key(&id) || self.jobs.contains_key(&id) {
                continue;
            }
            self.known.remove(&id);
            self.ailing.remove(&id);
            let served = self.served.remove(&id);
            self.forgotten += u64::from(self.wanted.remove(&id) && !served);
        }
    }

    fn request(&mut self, order: &Arc<Order>) -> Option<Effect> {
        if self.wanted.insert(order.id) {
            self.counts.wanted += 1;
        }
        if let Some(job) = self.jobs.get_mut(&order.id) {
            if !job.requesters.contains(&order.coordinate) {
                job.requesters.push(order.coordinate);
                if !matches!(job.phase, Phase::Looking(_)) {
                    self.counts.merged += 1;
                }
            }
            return None;
        }
        let phase = match self.known.get(&order.id) {
            Some(true) => {
                self.counts.hits.add(order.kind());
                return Some(Effect::Place(order.coordinate, order.id, Request::Hit));
            }
            Some(false) => Phase::Queued,
            None => Phase::Looking(Delay::default()),
        };
        let looking = matches!(phase, Phase::Looking(_));
        let (order, requesters) = (order.clone(), vec![order.coordinate]);
        let (failed, not_before, renewed) = (Failed::default(), Duration::ZERO, BTreeSet::new());
        let job = Job { order: order.clone(), phase, failed, held_up: 0, not_before, requesters, renewed };
        self.jobs.insert(order.id, job);
        looking.then_some(Effect::LookUp(order))
    }

    /// Gives free permits to the most urgent jobs whose assumptions are stored.
    fn start(&mut self) -> Vec<Effect> {
        let mut effects = vec![];
        if self.is_held_up() {
            return effects;
        }
        let demand = mem::take(&mut self.demand);
        demand.iter().for_each(|order| effects.extend(self.begin(order)));
        self.demand = demand;
        if self.policy.speculate_orphans && self.proving < self.permits {
            let asleep = |job: &&Job| job.phase.is_queued() && self.dormant.contains(&job.order.id);
            let asleep: Vec<_> = self.jobs.values().filter(asleep).map(|job| job.order.clone()).collect();
            asleep.iter().for_each(|order| effects.extend(self.begin(order)));
        }
        effects
    }

    fn begin(&mut self, order: &Arc<Order>) -> Option<Effect> {
        let permits = self.permits + usize::from(mutation::is(Mutation::OnePermitMore));
        if self.stopping || self.proving >= permits {
            return None;
        }
        let job = self.jobs.get(&order.id)?;
        if !job.phase.is_queued() || job.not_before > self.now || !self.is_ready(order) {
            return None;
        }
        let job = self.jobs.get_mut(&order.id)?;
        job.phase = Phase::Proving { began: self.now, unwanted_since: None, cancelled: false };
        job.renewed.clear();
        self.proving += 1;
        Some(Effect::Prove(order.clone()))
    }

    fn is_ready(&self, order: &Order) -> bool {
        order.assumptions.iter().all(|inner| self.known(&inner.id) == Some(true))
    }

    /// An attempt failed.
    fn fail(&mut self, id: StatementId, failure: Failure) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        job.failed.add(failure.cost());
        match &failure {
            Failure::Cancelled { .. } => self.counts.cancelled += 1,
            Failure::Invalid(_) => self.counts.invalid += 1,
            Failure::TimedOut { .. } => self.counts.timed_out += 1,
            _ => {}
        }
        self.counts.attempts_failed += u64::from(failure.cost() != Cost::None);
        if matches!(failure, Failure::Invalid(_) | Failure::TimedOut { .. }) {
            self.ailing.insert(id, failure.clone());
        }
        let unverified = !job.order.assumptions.is_empty();
        self.respond(id, failure, unverified)
    }

    fn respond(&mut self, id: StatementId, failure: Failure, unverified: bool) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        match failure.response(&job.failed, &self.policy.budget, unverified) {
            Response::VerifyAssumptions => {
                job.phase = Phase::Checking(failure);
                return vec![Effect::Check(job.order.clone())];
            }
            Response::Retry if mutation::is(Mutation::CachedFailure) => job.phase = Phase::Failed,
            Response::Retry => {
                job.phase = Phase::Queued;
                match failure {
                    Failure::Cancelled { .. } => {}
                    Failure::Store(_) => {
                        job.held_up = job.held_up.saturating_add(1);
                        job.not_before = self.now + self.policy.backoff.wait(&id, job.held_up);
                        self.ailing.insert(id, failure);
                    }
                    _ => job.not_before = self.now + self.policy.backoff.wait(&id, job.failed.total()),
                }
            }
            Response::Reprove(assumption) => {
                job.phase = Phase::Queued;
                if !job.renewed.contains(&assumption) {
                    self.lost(assumption);
                }
            }
            Response::GiveUp => return self.give_up(id, failure),
        }
        vec![]
    }

    fn give_up(&mut self, id: StatementId, failure: Failure) -> Vec<Effect> {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.phase = Phase::Failed;
            self.ailing.remove(&id);
            self.failures.push((id, failure));
        }
        vec![]
    }

    fn count(&self, of: impl Fn(&Phase) -> bool) -> usize {
        self.jobs.values().filter(|job| of(&job.phase)).count()
    }
}
