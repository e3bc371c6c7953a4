//! The job machine: one job a statement, from demand to a durable receipt. Pure: its inputs include the time, its answers
//! are effects, and its driver carries them out.
//!
//! ```text
//!           look-up            assumptions stored       proof verified         durable
//! Looking ───────────► Queued ───────────────────► Proving ─────────► Storing ────────► stored
//!    │ found             ▲  ▲                       │ │  │ may pass       │ may pass
//!    └──────► stored     │  └──── after a wait ─────┘ │  └────────────────┘
//!                        │ a bad one: proved again    │ disagrees            never: GivenUp
//!                        └──────── Checking ◄─────────┘
//! ```
//!
//! * One job a statement over all its requesters: a request that finds a job is *merged*, one that finds a stored
//!   receipt is a *hit*.
//! * At most `permits` jobs are `Proving`, over all kinds: one a device. A device is free again once the proof is made,
//!   so the next proof runs while this one is flushed. It is also free once a hanging attempt is written off
//!   ([`timeouts`](crate::timeouts) says when). A device
//!   that keeps failing is [suspended](crate::devices); while all are suspended, the jobs wait.
//! * At most [`Policy::jobs_max`] jobs. Of a larger demand, what can be looked up or proved now is admitted first, so
//!   that a small bound cannot deadlock. The rest is admitted when there is room.
//! * A queued job that is no longer wanted is removed, unless its block was orphaned and is not deep ([`Engine::retain`]):
//!   then the job is *dormant*, keeps its count of failures, and is not started. A running proof is finished and stored,
//!   or asked to end ([`Orphans`]).
//! * While the store fails a look-up or a write, that is tried again after a wait, and no proof is begun.
//! * A failed or cancelled attempt is never recorded as a result.
//! * What was given up, and is neither wanted nor dormant any more, is let go. Should it be wanted again, it is given up again.
//! * A statement during whose proof the process ended several times is proved alone: it begins while no other proof runs,
//!   and none begins beside it.
//!
//! The cost of an input is proportional to what it changes, up to logarithmic factors. The demand comes as a difference
//! ([`Engine::want`]), and the engine reviews only the statements that changed. What it looks for among all jobs is in the
//! `index`, which `refresh` keeps up to date: which job is next, which are due, how many there are of each sort.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use foldhash::{HashMap, HashSet};
use reprise_model::coordinate::Coordinate;
use reprise_model::mutation::{self, Mutation};
use reprise_model::order::{Order, Rank};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Kind, StatementId};

use crate::admission::{AdmissionQueue, Priority};
use crate::counts::Counts;
use crate::dependencies::Dependencies;
use crate::devices::{Devices, SuspendedDevice};
use crate::failure::{Cost, Failure, FailureCounts, Response};
use crate::index::{Entry, JobIndex};
use crate::job::{Delay, Job, Phase};
use crate::policy::{Orphans, Policy};
use crate::timeouts::Timeouts;

/// What the driver must do.
#[derive(Debug, Clone)]
pub enum Effect {
    /// Ask the store whether the order's receipt is there; answer with [`Engine::looked_up`].
    LookUp(Arc<Order>),
    /// Prove and verify it on this device, counted from 0; answer with [`Engine::proved`].
    Prove(Arc<Order>, usize),
    /// What the running attempt proves is wanted at this place now; nowhere any more where there is none. It goes on.
    Want(StatementId, Option<Coordinate>),
    /// Ask the running attempt to end; its answer is still awaited.
    Cancel(StatementId),
    /// Do not wait for the running attempt any more: it hangs, and its device with it, or a late proof has made it
    /// needless. If it ends with a valid proof after all, pass that to [`Engine::proved_late`].
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
    /// Add a coordinate of a stored statement. The request of the coordinate was served in this way.
    AddCoordinate(Coordinate, StatementId, Request),
    /// Its receipt is durable: hand the artifact on.
    Publish(Arc<Order>),
}

/// How a request was served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// By the store.
    Hit,
    /// By a proof that was under way for another request.
    Merged,
}

/// An order of the demand.
#[derive(Debug, Clone)]
struct DemandedOrder {
    order: Arc<Order>,
    /// Whether it was requested.
    requested: bool,
}

/// The job machine.
#[derive(Debug, Clone)]
pub struct Engine {
    policy: Policy,
    timeouts: Timeouts,
    /// The time, as of the last input; its origin does not matter.
    now: Duration,
    stopping: bool,
    jobs: HashMap<StatementId, Job>,
    /// Whether each statement is stored, where it was looked up or proved.
    known: HashMap<StatementId, bool>,
    /// The statements whose `known` changed since the last call of [`Engine::take_known_changes`].
    known_changes: Vec<StatementId>,
    /// The demand, by statement; one may be wanted at several coordinates, the most urgent first.
    demand: HashMap<StatementId, Vec<DemandedOrder>>,
    /// The statements of the demand that are not stored.
    unmet: HashSet<StatementId>,
    /// The statements whose unwanted jobs are kept.
    dormant: HashSet<StatementId>,
    /// The statements of the demand that wait for a job, or have one that waits.
    admission: AdmissionQueue,
    /// The dependencies of the statements that are wanted and not stored, and of those that have a job.
    dependencies: Dependencies,
    /// The jobs by what they wait for.
    index: JobIndex,
    devices: Devices,
    /// How many proofs were made, and how many failed on a device that keeps failing.
    made: u64,
    trials: u64,
    /// The statements that changed since the last change of the demand.
    changed: BTreeSet<StatementId>,
    wanted: HashSet<StatementId>,
    /// Of these, the ones counted as stored before or as proved: each once, even if it is lost and proved again.
    served: HashSet<StatementId>,
    /// How many removed statements were wanted and never served.
    removed_unserved: u64,
    /// How often each statement has failed that is not stored since.
    failed: HashMap<StatementId, FailureCounts>,
    /// The statements that earlier processes gave up, or this one and nobody wanted any more, with the reasons.
    quarantined: HashMap<StatementId, String>,
    /// Statements whose last attempt was written off as hung, or did not verify.
    failing: BTreeMap<StatementId, Failure>,
    counts: Counts,
    failures: Vec<(StatementId, Failure)>,
}

impl Engine {
    /// An engine that lets `permits` proofs run at a time, at least one.
    pub fn new(permits: usize, policy: Policy) -> Self {
        let permits = permits.max(1);
        Self {
            policy: Policy { jobs_max: policy.jobs_max.max(permits + 1), ..policy },
            timeouts: Timeouts::new(policy.timeout),
            now: Duration::ZERO,
            stopping: false,
            jobs: HashMap::default(),
            known: HashMap::default(),
            known_changes: vec![],
            demand: HashMap::default(),
            unmet: HashSet::default(),
            dormant: HashSet::default(),
            admission: AdmissionQueue::default(),
            dependencies: Dependencies::default(),
            index: JobIndex::default(),
            made: 0,
            trials: 0,
            devices: Devices::new(
                permits + usize::from(mutation::is(Mutation::OnePermitMore)),
                policy.breaker,
            ),
            changed: BTreeSet::new(),
            wanted: HashSet::default(),
            served: HashSet::default(),
            removed_unserved: 0,
            failed: HashMap::default(),
            quarantined: HashMap::default(),
            failing: BTreeMap::new(),
            counts: Counts::default(),
            failures: vec![],
        }
    }

    /// What earlier processes noted of a statement that they did not store: how often it failed, and, if they gave it up,
    /// why. It is not tried again if it was given up or has used up its budget. Called before the first demand.
    pub fn recall(&mut self, id: StatementId, failed: FailureCounts, given_up: Option<String>) {
        let exhausted = || format!("{failed}, and no receipt");
        let reason = given_up.or_else(|| (!failed.within(&self.policy.budget)).then(exhausted));
        reason.map(|reason| self.quarantined.insert(id, reason));
        self.failed.insert(id, failed);
    }

    /// How often a statement has failed that is not stored since, over all processes.
    pub fn failed(&self, id: &StatementId) -> FailureCounts {
        self.failed.get(id).copied().unwrap_or_default()
    }

    /// Whether the statement is stored; `None` where it was not looked up.
    pub fn known(&self, id: &StatementId) -> Option<bool> {
        self.known.get(id).copied()
    }

    /// The statements whose [`known`](Self::known) changed since the last call.
    pub fn take_known_changes(&mut self) -> Vec<StatementId> {
        mem::take(&mut self.known_changes)
    }

    /// Whether the statement is wanted.
    pub fn is_wanted(&self, id: &StatementId) -> bool {
        self.foremost(id).is_some()
    }

    /// The most urgent order for a statement, if it is wanted.
    fn foremost(&self, id: &StatementId) -> Option<&Arc<Order>> {
        self.demand.get(id)?.first().map(|demanded| &demanded.order)
    }

    /// How many coordinates have asked for the statement's job.
    pub fn requesters(&self, id: &StatementId) -> usize {
        self.jobs.get(id).map_or(0, |job| job.requesters.len())
    }

    /// Everything but time that decides what the engine does next, and nothing else: two engines that print the same
    /// here behave the same, but for when. For searches over all its states.
    pub fn fingerprint(&self) -> impl std::fmt::Debug + '_ {
        let rank = |job: &Job| {
            let phase = match &job.phase {
                Phase::Looking(delay) => format!("looking {} {}", delay.failed, delay.again_at.is_some()),
                Phase::Queued => "queued".to_owned(),
                Phase::Proving { device, unwanted_since, cancelled, .. } => {
                    format!("proving {device} {} {cancelled}", unwanted_since.is_some())
                }
                Phase::Checking(failure) => format!("checking {}", failure.cost() == Cost::Expensive),
                Phase::Storing { named, delay, .. } => {
                    format!("storing {named} {} {}", delay.failed, delay.again_at.is_some())
                }
                Phase::GivenUp => "failed".to_owned(),
            };
            let earlier = self.jobs.values().filter(|other| other.trial < job.trial).count();
            (
                phase,
                job.requesters.clone(),
                job.renewed.clone(),
                earlier,
                job.trial > 0 && job.made_before < self.made,
            )
        };
        let jobs: BTreeMap<_, _> = self.jobs.iter().map(|(id, job)| (*id, rank(job))).collect();
        let asked = |demanded: &DemandedOrder| (demanded.order.coordinate, demanded.requested);
        let demand = self.demand.iter().map(|(id, at)| (*id, at.iter().map(asked).collect::<Vec<_>>()));
        let demand: BTreeMap<_, _> = demand.collect();
        let dormant: BTreeSet<_> = self.dormant.iter().collect();
        let devices = self.devices.fingerprint(self.now);
        let quarantined: BTreeSet<_> = self.quarantined.keys().collect();
        let known: BTreeMap<_, _> = self.known.iter().collect();
        let failed: BTreeMap<_, _> = self.failed.iter().filter(|(_, counts)| counts.total() > 0).collect();
        (jobs, failed, known, demand, dormant, devices, quarantined, self.stopping)
    }

    /// Whether the indexes are what they would be if they were computed anew. For tests.
    pub fn is_coherent(&self) -> bool {
        let mut plain = JobIndex::default();
        let stored = |id: &StatementId| self.known(id) == Some(true);
        for (id, job) in &self.jobs {
            if self.dependencies.are_stored(id) != job.order.assumptions.iter().all(|o| stored(&o.id)) {
                return false;
            }
            plain.set(*id, self.entry(id, job, self.foremost(id).map(AsRef::as_ref)));
        }
        let unmet = self.demand.keys().copied().filter(|id| !stored(id));
        self.index == plain && self.unmet == unmet.collect()
    }

    /// What was counted.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Distinct statements that were wanted and never stored, whether they are still wanted or not.
    pub fn dropped(&self) -> u64 {
        // Every served statement was wanted, so the difference cannot be negative.
        self.removed_unserved + (self.wanted.len() - self.served.len()) as u64
    }

    /// The statements that were given up, with the failure that ended each.
    pub fn failures(&self) -> &[(StatementId, Failure)] {
        &self.failures
    }

    /// The statements whose last attempt hung or did not verify, or that the store fails to read or write, and that are
    /// not stored since.
    pub fn failing(&self) -> impl Iterator<Item = (&StatementId, &Failure)> {
        self.failing.iter()
    }

    /// How many devices there are.
    pub fn devices(&self) -> usize {
        self.devices.count()
    }

    /// The devices that keep failing, and are suspended, and those that have no thread.
    pub fn suspended(&self) -> impl Iterator<Item = SuspendedDevice<'_>> {
        self.devices.suspended()
    }

    /// Jobs, of whatever phase.
    pub fn jobs(&self) -> usize {
        self.jobs.len()
    }

    /// Jobs that wait for look-up, assumptions or a permit.
    pub fn queued(&self) -> usize {
        self.index.waiting()
    }

    /// The orders being proved now, by their devices.
    pub fn proving(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.devices.proving().filter_map(|id| self.jobs.get(&id)).map(|job| &job.order)
    }

    /// Whether everything that is wanted is stored, given up, or waits for something that was given up.
    pub fn satisfied(&self) -> bool {
        self.unmet.is_empty() || !self.failures.is_empty() && self.unmet.iter().all(|id| self.is_blocked(id))
    }

    fn is_blocked(&self, id: &StatementId) -> bool {
        let Some(order) = self.foremost(id) else { return false };
        let inner = || order.assumptions.iter().any(|inner| self.is_blocked(&inner.id));
        match self.jobs.get(id).map(|job| &job.phase) {
            Some(Phase::GivenUp) => true,
            Some(Phase::Queued) => inner(),
            None if self.known(id) == Some(false) => inner(),
            _ => false,
        }
    }

    /// Whether nothing is being looked up, proved, checked or stored.
    pub fn is_idle(&self) -> bool {
        self.index.held() == 0
    }

    /// When [`tick`](Self::tick) next has something to do; `None` where only another input can change anything.
    pub fn deadline(&self) -> Option<Duration> {
        let waits = !self.stopping && !self.is_held_up() && self.index.ready().next().is_some();
        let resumed = if waits { self.devices.resumes_at(self.now) } else { None };
        self.index.next_due().into_iter().chain(resumed).min()
    }

    /// Starts no further proof; what runs is finished and stored.
    pub fn stop(&mut self) {
        self.stopping = true;
        let jobs: Vec<StatementId> = self.jobs.keys().copied().collect();
        jobs.into_iter().for_each(|id| self.refresh(id));
    }

    /// Whether the store fails now. Until it recovers no proof is begun, because it could not be stored.
    pub fn is_held_up(&self) -> bool {
        self.index.is_held_up()
    }

    /// The policy.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Asks every proof that runs to end.
    pub fn abort(&mut self) -> Vec<Effect> {
        let mut effects = vec![];
        let proving: Vec<StatementId> = self.proving().map(|order| order.id).collect();
        for id in proving {
            if let Some(Phase::Proving { cancelled, .. }) = self.jobs.get_mut(&id).map(|job| &mut job.phase)
                && !mem::replace(cancelled, true)
            {
                effects.push(Effect::Cancel(id));
            }
            self.refresh(id);
        }
        effects
    }

    /// It is this time. Called before every other input: what begins or fails is measured from here.
    pub fn set_time(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    /// Time has passed, every attempt that has ended has answered, and every device has a thread.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = self.expire(now, &|_| false);
        effects.extend(self.start());
        effects
    }

    /// Time has passed: hanging attempts are written off, attempts that are unwanted for too long are asked to end, and
    /// waits are over. An attempt of which `has_ended` says so does not hang: its answer is awaited, however late it is taken.
    pub fn expire(&mut self, now: Duration, has_ended: &dyn Fn(&StatementId) -> bool) -> Vec<Effect> {
        self.set_time(now);
        let now = self.now;
        let (mut effects, mut hung) = (vec![], vec![]);
        for id in self.index.due(now) {
            let Some(job) = self.jobs.get_mut(&id) else { continue };
            match &mut job.phase {
                Phase::Proving { began, until, .. } if now >= *until && !has_ended(&id) => {
                    hung.push((job.order.clone(), now - *began));
                }
                Phase::Proving { unwanted_since: Some(_), cancelled, .. } => {
                    *cancelled = true;
                    effects.push(Effect::Cancel(id));
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
            self.refresh(id);
        }
        for (order, after) in hung {
            let failure = Failure::TimedOut { statement: order.id, after };
            effects.push(Effect::WriteOff(order.clone(), failure.clone()));
            effects.extend(self.proved(order.id, Err(failure)));
        }
        effects
    }

    /// These devices have no thread now, and every other has one: no proof begins on them.
    pub fn set_deserted(&mut self, devices: &[usize]) {
        self.devices.set_deserted(devices);
    }

    /// How much of everything it holds.
    pub fn holds(&self) -> [(&'static str, usize); 8] {
        [
            ("jobs", self.jobs.len()),
            ("known receipts", self.known.len()),
            ("demanded", self.demand.len()),
            ("dormant", self.dormant.len()),
            ("wanted ever", self.wanted.len()),
            ("served ever", self.served.len()),
            ("failed", self.failed.len()),
            ("quarantined", self.quarantined.len()),
        ]
    }

    /// Statements became dormant, because their blocks were orphaned and are not deep, or are no longer. Queued jobs for
    /// dormant statements are kept. Called before the change of the demand that goes with it.
    pub fn retain(&mut self, dormant: &[StatementId], no_longer: &[StatementId]) {
        for id in no_longer {
            self.dormant.remove(id);
            self.refresh(*id);
        }
        for id in dormant {
            self.dormant.insert(*id);
            self.refresh(*id);
            if mutation::is(Mutation::ForgetOrphans) {
                self.lost(*id);
            }
        }
    }

    /// The demand changed.
    pub fn want(&mut self, removed: &[Arc<Order>], added: &[Arc<Order>]) -> Vec<Effect> {
        for order in removed {
            if let Some(at) = self.demand.get_mut(&order.id) {
                let rank = order.rank();
                at.retain(|demanded| demanded.order.rank() != rank);
                if at.is_empty() {
                    self.demand.remove(&order.id);
                }
            }
            self.refresh(order.id);
        }
        for order in added {
            let (rank, demanded) = (order.rank(), DemandedOrder { order: order.clone(), requested: false });
            let at = self.demand.entry(order.id).or_default();
            match at.binary_search_by_key(&rank, |demanded| demanded.order.rank()) {
                Ok(same) => at[same] = demanded,
                Err(place) => at.insert(place, demanded),
            }
            self.refresh(order.id);
        }
        let mut changed = mem::take(&mut self.changed);
        changed.iter().for_each(|id| self.enqueue(id));
        changed.extend(self.admission.admit(self.policy.jobs_max.saturating_sub(self.index.held())));
        let mut effects: Vec<Effect> = changed.iter().filter_map(|id| self.review(id)).collect();
        // Where room is short, dormant jobs get what is left.
        let taken = self.index.held() + self.admission.admitted();
        while self.index.unwanted() > self.policy.jobs_max.saturating_sub(taken) {
            let last = self.index.last_unwanted();
            last.and_then(|last| self.remove(&last));
        }
        effects.extend(self.request_all(&changed));
        effects.extend(self.start());
        effects
    }

    /// Enters a statement in the admission queue if it is wanted and its job, if there is one, waits.
    fn enqueue(&mut self, id: &StatementId) {
        let waits = !self.dependencies.are_stored(id) && self.known(id).is_some();
        let at_work = self.jobs.get(id).is_some_and(|job| !job.phase.is_queued());
        match self.foremost(id).map(|order| order.rank()) {
            Some(rank) if !at_work && self.known(id) != Some(true) => {
                self.admission.insert(*id, Priority { waits, rank })
            }
            _ => drop(self.admission.remove(id)),
        }
    }

    /// Removes a queued job that there is no room for, and what waits or was given up and is neither wanted nor dormant. Records
    /// since when a running proof is unwanted, and says where it is wanted if that has changed.
    fn review(&mut self, id: &StatementId) -> Option<Effect> {
        let (wanted, refused) = (self.is_wanted(id), self.admission.is_refused(id));
        if refused {
            self.forget_requests(id);
        }
        let (now, is_dormant) = (self.now, !wanted && self.dormant.contains(id));
        let foremost = self.foremost(id).map(|order| order.coordinate);
        if !wanted && !is_dormant {
            self.let_go(id);
        }
        match &mut self.jobs.get_mut(id)?.phase {
            Phase::Queued if refused => {
                self.remove(id);
                None
            }
            Phase::Proving { unwanted_since, place, .. } => {
                *unwanted_since = if wanted { None } else { unwanted_since.or(Some(now)) };
                let moved = mem::replace(place, foremost) != foremost;
                self.refresh(*id);
                moved.then_some(Effect::Want(*id, foremost))
            }
            _ => None,
        }
    }

    /// Nobody wants the statement any more. Unless it is at work, its job and its failures go, and health with them.
    fn let_go(&mut self, id: &StatementId) {
        match self.jobs.get(id).map(|job| &job.phase) {
            Some(Phase::GivenUp) => {
                if let Some(at) = self.failures.iter().position(|(failed, _)| failed == id) {
                    let (_, failure) = self.failures.remove(at);
                    self.quarantined.entry(*id).or_insert_with(|| failure.to_string());
                }
            }
            Some(Phase::Queued) | None => {}
            // It waits to be looked up again.
            Some(Phase::Looking(delay)) if delay.again_at.is_some() => {}
            Some(_) => return,
        }
        self.failing.remove(id);
        self.remove(id);
    }

    /// Requests those of these statements that are not requested yet and not refused, the most urgent first.
    fn request_all(&mut self, statements: &BTreeSet<StatementId>) -> Vec<Effect> {
        let mut fresh: BTreeMap<(Rank, StatementId), Arc<Order>> = BTreeMap::new();
        for id in statements.iter().filter(|id| !self.admission.is_refused(id)) {
            let demanded = self.demand.get_mut(id).into_iter().flatten();
            for demanded in demanded.filter(|demanded| !demanded.requested) {
                demanded.requested = true;
                fresh.insert((demanded.order.rank(), *id), demanded.order.clone());
            }
        }
        fresh.values().filter_map(|order| self.request(order)).collect()
    }

    /// The store could not say whether it holds a receipt: it is asked again, after a wait.
    pub fn lookup_failed(&mut self, id: StatementId, failure: Failure) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Looking(_) = job.phase else { return vec![] };
        let Some(wait) = self.hold_up(id, &failure) else { return self.give_up(id, failure) };
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let again_at = (!wait.is_zero()).then_some(self.now + wait);
        job.phase = Phase::Looking(Delay { failed: true, again_at });
        let order = job.order.clone();
        self.refresh(id);
        again_at.is_none().then_some(Effect::LookUp(order)).into_iter().collect()
    }

    /// Counts a failure of the store. Returns how long the job waits, unless it is given up.
    fn hold_up(&mut self, id: StatementId, failure: &Failure) -> Option<Duration> {
        self.counts.attempts_failed += 1;
        let job = self.jobs.get_mut(&id)?;
        let failed = self.failed.entry(id).or_default();
        failed.add(failure.cost());
        job.held_up = job.held_up.saturating_add(1);
        if failure.response(failed, &self.policy.budget, false) != Response::Retry {
            return None;
        }
        self.failing.insert(id, failure.clone());
        Some(self.policy.backoff.wait(&id.0, job.held_up))
    }

    /// A look-up ended.
    pub fn looked_up(&mut self, id: StatementId, found: bool) -> Vec<Effect> {
        if mutation::is(Mutation::LostAnswer) && id.0[0] < 8 {
            return vec![];
        }
        self.set_known(id, Some(found));
        if matches!(self.failing.get(&id), Some(Failure::Store(_))) {
            self.failing.remove(&id);
        }
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        if !matches!(job.phase, Phase::Looking(_)) {
            // A late proof came before the look-up.
            return vec![];
        }
        job.held_up = 0;
        if !found {
            job.phase = Phase::Queued;
            self.counts.merged += job.requesters.len() as u64 - 1;
            self.refresh(id);
            return vec![];
        }
        let Some(job) = self.remove(&id) else { return vec![] };
        self.counts.stored_before += u64::from(self.served.insert(id));
        // Every requester of a look-up was answered by the store.
        job.requesters.iter().for_each(|_| self.counts.hits.add(job.order.kind()));
        let add = |at: &Coordinate| Effect::AddCoordinate(*at, id, Request::Hit);
        let mut effects: Vec<_> = job.requesters.iter().map(add).collect();
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A proof ended: with a verified receipt, or a failure.
    pub fn proved(&mut self, id: StatementId, result: Result<Verified<Receipt>, Failure>) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Proving { device, .. } = job.phase else { return vec![] };
        let faulty = self.devices.end(device, result.as_ref().err(), self.now);
        match result {
            Ok(receipt) => {
                self.made += 1;
                let (order, mut coordinates) = (job.order.clone(), job.requesters.clone());
                let named = coordinates.len();
                job.phase = Phase::Storing { receipt: receipt.clone(), named, delay: Delay::default() };
                self.refresh(id);
                if mutation::is(Mutation::WrongPlace) {
                    coordinates.iter_mut().for_each(|at| at.checkpoint.0 += 1);
                }
                if mutation::is(Mutation::PublishBeforeDurable) {
                    return vec![
                        Effect::Publish(order.clone()),
                        Effect::Store { order, receipt, coordinates },
                    ];
                }
                vec![Effect::Store { order, receipt, coordinates }]
            }
            Err(failure) => self.fail(id, failure, faulty),
        }
    }

    /// An attempt at a dormant statement cannot begin, because a block that it is over is final and gone. Nobody tries again unless the
    /// statement is wanted.
    pub fn withdraw(&mut self, id: StatementId) -> Vec<Effect> {
        if let Some(Phase::Proving { device, .. }) = self.jobs.get(&id).map(|job| &job.phase) {
            let left = Failure::Cancelled { statement: id };
            self.devices.end(*device, Some(&left), self.now);
        }
        self.dormant.remove(&id);
        self.remove(&id);
        self.start()
    }

    /// An attempt that was written off made a valid proof after all. The proof is kept, whatever became of its job
    /// meanwhile. An attempt that runs in its place goes on.
    pub fn proved_late(&mut self, order: &Arc<Order>, receipt: Verified<Receipt>) -> Vec<Effect> {
        let id = order.id;
        if self.known(&id) == Some(true) || mutation::is(Mutation::DropLate) {
            return vec![];
        }
        let mut effects = vec![];
        match self.jobs.get(&id).map(|job| &job.phase) {
            Some(Phase::Storing { .. }) => return vec![],
            Some(Phase::Proving { device, .. }) => {
                let left = Failure::Cancelled { statement: id };
                self.devices.end(*device, Some(&left), self.now);
                // It counts in place of the attempt that was written off, which counts as failed.
                effects.push(Effect::WriteOff(order.clone(), left));
            }
            Some(Phase::GivenUp) => {
                self.failures.retain(|(failed, _)| *failed != id);
                self.counts.attempts_failed = self.counts.attempts_failed.saturating_sub(1);
            }
            Some(Phase::Looking(_) | Phase::Queued | Phase::Checking(_)) => {
                self.counts.attempts_failed = self.counts.attempts_failed.saturating_sub(1);
            }
            None => {
                self.counts.attempts_failed = self.counts.attempts_failed.saturating_sub(1);
                self.counts.wanted += u64::from(self.wanted.insert(id));
                self.begin_job(order, Phase::Queued);
            }
        }
        let Some(job) = self.jobs.get_mut(&id) else { return effects };
        let (order, coordinates) = (job.order.clone(), job.requesters.clone());
        let named = coordinates.len();
        job.phase = Phase::Storing { receipt: receipt.clone(), named, delay: Delay::default() };
        self.refresh(id);
        effects.push(Effect::Store { order, receipt, coordinates });
        effects
    }

    /// The assumptions of an order whose proof failed were verified in full: these are bad.
    pub fn checked(&mut self, id: StatementId, bad: Result<Vec<StatementId>, Failure>) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Checking(cause) = &job.phase else { return vec![] };
        let cause = cause.clone();
        match bad {
            Ok(bad) if bad.is_empty() => self.respond(id, cause, false),
            Ok(bad) => {
                // The proof failed because of bad assumptions: they are proved again, and so is this.
                job.phase = Phase::Queued;
                let renewed = mem::take(&mut job.renewed);
                self.refresh(id);
                bad.into_iter().filter(|inner| !renewed.contains(inner)).for_each(|inner| self.lost(inner));
                let exhausted = self.failed(&id).expensive >= self.policy.budget.expensive;
                if exhausted { self.give_up(id, cause) } else { vec![] }
            }
            Err(failure) => self.fail(id, failure, false),
        }
    }

    /// A write ended: durable, or not.
    pub fn stored(&mut self, id: StatementId, result: Result<(), Failure>) -> Vec<Effect> {
        let Some(Phase::Storing { named, .. }) = self.jobs.get(&id).map(|job| &job.phase) else {
            return vec![];
        };
        let named = *named;
        if let Err(failure) = result {
            // A proof costs more than a write: the write is repeated.
            let Some(wait) = self.hold_up(id, &failure) else { return self.give_up(id, failure) };
            let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
            let Phase::Storing { receipt, named, delay } = &mut job.phase else { return vec![] };
            let again_at = (!wait.is_zero()).then_some(self.now + wait);
            *delay = Delay { failed: true, again_at };
            let (receipt, coordinates) = (receipt.clone(), job.requesters.clone());
            *named = if again_at.is_some() { *named } else { coordinates.len() };
            let order = job.order.clone();
            self.refresh(id);
            let again = again_at.is_none();
            return again.then_some(Effect::Store { order, receipt, coordinates }).into_iter().collect();
        }
        let Some(job) = self.remove(&id) else { return vec![] };
        self.set_known(id, Some(true));
        self.failing.remove(&id);
        for outer in self.dependencies.dependents(&id) {
            if let Some(outer) = self.jobs.get_mut(&outer)
                && matches!(outer.phase, Phase::Proving { .. } | Phase::Checking(_))
            {
                outer.renewed.insert(id);
            }
        }
        let add = |at: &Coordinate| Effect::AddCoordinate(*at, id, Request::Merged);
        let mut effects: Vec<_> = job.requesters[named..].iter().map(add).collect();
        if self.served.insert(id) {
            self.counts.proved.add(job.order.kind());
        }
        effects.push(Effect::Publish(job.order));
        effects
    }

    /// A write stored nothing: all its coordinates had become final. Nothing is published. Requesters at other
    /// coordinates that came meanwhile are served by another write.
    pub fn discarded(&mut self, id: StatementId) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let Phase::Storing { receipt, named, .. } = &mut job.phase else { return vec![] };
        if job.requesters.len() > *named {
            let coordinates = job.requesters.split_off(*named);
            (job.requesters, *named) = (coordinates.clone(), coordinates.len());
            let receipt = receipt.clone();
            return vec![Effect::Store { order: job.order.clone(), receipt, coordinates }];
        }
        self.remove(&id);
        self.lost(id);
        vec![]
    }

    /// A stored receipt turned out to be lost: it is missing from now on.
    pub fn lost(&mut self, id: StatementId) {
        self.set_known(id, Some(false));
        // Its requesters were served by the lost receipt: they ask again.
        self.forget_requests(&id);
        self.changed.insert(id);
    }

    /// Every coordinate of a statement asks again.
    fn forget_requests(&mut self, id: &StatementId) {
        let demanded = self.demand.get_mut(id).into_iter().flatten();
        demanded.for_each(|demanded| demanded.requested = false);
    }

    /// Removes what is known of statements that only final blocks use. One that is wanted or at work stays.
    pub fn remove_statements(&mut self, statements: impl IntoIterator<Item = StatementId>) {
        for id in statements {
            if self.is_wanted(&id) {
                continue;
            }
            self.let_go(&id);
            if self.jobs.contains_key(&id) {
                continue;
            }
            self.set_known(id, None);
            self.failed.remove(&id);
            self.quarantined.remove(&id);
            let served = self.served.remove(&id);
            self.removed_unserved += u64::from(self.wanted.remove(&id) && !served);
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
                return Some(Effect::AddCoordinate(order.coordinate, order.id, Request::Hit));
            }
            Some(false) => Phase::Queued,
            None => Phase::Looking(Delay::default()),
        };
        let looking = matches!(phase, Phase::Looking(_));
        self.begin_job(order, phase);
        looking.then(|| Effect::LookUp(order.clone()))
    }

    fn begin_job(&mut self, order: &Arc<Order>, phase: Phase) {
        let (order, requesters) = (order.clone(), vec![order.coordinate]);
        let (not_before, renewed) = (Duration::ZERO, BTreeSet::new());
        let id = order.id;
        let (held_up, trial, made_before) = (0, 0, 0);
        let job = Job { order, phase, held_up, not_before, requesters, trial, made_before, renewed };
        self.jobs.insert(id, job);
        self.refresh(id);
    }

    /// Gives free devices to the most urgent jobs whose assumptions are stored.
    pub fn start(&mut self) -> Vec<Effect> {
        let mut effects = vec![];
        while !self.stopping
            && !self.is_held_up()
            && let Some(device) = self.devices.free(self.now)
            && let Some(id) = self.next_on(device)
        {
            if let Some(reason) = self.quarantined.get(&id).cloned() {
                effects.extend(self.give_up(id, Failure::Quarantined { statement: id, reason }));
                continue;
            }
            if self.devices.proving().any(|other| self.is_alone(&other) || self.is_alone(&id)) {
                break;
            }
            let (foremost, hung_after) = (self.foremost(&id).cloned(), self.hung_after(&id));
            let Some(job) = self.jobs.get_mut(&id) else { break };
            let (began, kind) = (self.now, job.order.kind());
            let until = began.saturating_add(self.timeouts.of(kind, hung_after));
            let place = foremost.as_ref().map(|order| order.coordinate);
            job.phase =
                Phase::Proving { device, began, until, place, unwanted_since: None, cancelled: false };
            self.devices.begin(device, id);
            job.renewed.clear();
            effects.push(Effect::Prove(foremost.unwrap_or_else(|| job.order.clone()), device));
            self.refresh(id);
        }
        effects
    }

    /// The most urgent job that can begin. A device that keeps failing tries them in turn: it is to show whether it works, and one of
    /// them may be what makes every device fail.
    fn next_on(&self, device: usize) -> Option<StatementId> {
        if !self.devices.is_suspended(device) {
            return self.index.ready().next();
        }
        self.index.ready().min_by_key(|id| self.jobs.get(id).map(|job| job.trial))
    }

    /// A proof that verified, in time or late, took so long.
    pub fn measure(&mut self, kind: Kind, took: Duration) {
        self.timeouts.measure(kind, took);
    }

    /// How long the last attempt at a statement ran, if it hung.
    fn hung_after(&self, id: &StatementId) -> Option<Duration> {
        match self.failing.get(id) {
            Some(Failure::TimedOut { after, .. }) => Some(*after),
            _ => None,
        }
    }

    /// Whether a statement is proved only while nothing else is.
    fn is_alone(&self, id: &StatementId) -> bool {
        self.failed.get(id).is_some_and(FailureCounts::is_alone)
    }

    /// Sets what is known of a statement.
    fn set_known(&mut self, id: StatementId, found: Option<bool>) {
        let before = match found {
            Some(found) => self.known.insert(id, found),
            None => self.known.remove(&id),
        };
        if before == found {
            return;
        }
        self.known_changes.push(id);
        self.refresh(id);
        let stored = found == Some(true);
        if stored || found.is_none() {
            self.failed.remove(&id);
            self.quarantined.remove(&id);
        }
        if stored != (before == Some(true)) {
            for outer in self.dependencies.set_stored(&id, stored) {
                self.refresh(outer);
            }
        }
    }

    /// Removes a job.
    fn remove(&mut self, id: &StatementId) -> Option<Job> {
        let job = self.jobs.remove(id)?;
        self.index.remove(id);
        if matches!(self.failing.get(id), Some(Failure::Store(_))) {
            self.failing.remove(id);
        }
        self.refresh(*id);
        Some(job)
    }

    /// Brings the indexes up to date after a change of a statement.
    fn refresh(&mut self, id: StatementId) {
        self.changed.insert(id);
        let foremost = self.foremost(&id).cloned();
        let met = self.known(&id) == Some(true);
        match &foremost {
            Some(_) if !met => drop(self.unmet.insert(id)),
            _ => drop(self.unmet.remove(&id)),
        }
        let tracked = match (&foremost, self.jobs.get(&id)) {
            (Some(order), Some(_)) => Some(order),
            (Some(order), None) if !met => Some(order),
            (None, Some(job)) => Some(&job.order),
            _ => None,
        };
        match tracked {
            Some(order) => self.dependencies.track(order, |inner| self.known.get(inner) == Some(&true)),
            None => self.dependencies.untrack(&id),
        }
        let Some(job) = self.jobs.get(&id) else { return };
        let entry = self.entry(&id, job, foremost.as_deref());
        self.index.set(id, entry);
    }

    /// The entry of a job in the index.
    fn entry(&self, id: &StatementId, job: &Job, foremost: Option<&Order>) -> Entry {
        let queued = job.phase.is_queued();
        let dormant = foremost.is_none() && self.policy.speculate_orphans && self.dormant.contains(id);
        let urgency = foremost.map(|order| (false, order.rank())).or(dormant.then_some((true, Rank::MIN)));
        let waited = job.not_before <= self.now;
        Entry {
            waiting: queued || matches!(job.phase, Phase::Looking(_)),
            held: job.phase.is_held(),
            held_up: job.phase.delay().is_some_and(|delay| delay.failed),
            unwanted: queued && foremost.is_none(),
            due: self.due(job),
            ready: urgency.filter(|_| queued && waited && self.dependencies.are_stored(id)),
        }
    }

    /// When the job next has something to do without another input.
    fn due(&self, job: &Job) -> Option<Duration> {
        match &job.phase {
            Phase::Proving { until, unwanted_since, cancelled, .. } => {
                let abort = match (self.policy.orphans, unwanted_since) {
                    (Orphans::AbortAfter(patience), Some(since)) if !cancelled => Some(*since + patience),
                    _ => None,
                };
                Some(abort.map_or(*until, |abort| abort.min(*until)))
            }
            Phase::Storing { delay, .. } | Phase::Looking(delay) => delay.again_at,
            Phase::Queued if self.stopping => None,
            Phase::Queued => (job.not_before > self.now).then_some(job.not_before),
            _ => None,
        }
    }

    /// An attempt failed. `faulty` says that its device keeps failing.
    fn fail(&mut self, id: StatementId, failure: Failure, faulty: bool) -> Vec<Effect> {
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        let order = job.order.clone();
        let cost = match faulty {
            false => failure.cost(),
            true => {
                // While nothing else is proved either, it is the device.
                self.trials += 1;
                let (trial, made) = (mem::replace(&mut job.trial, self.trials), self.made);
                let before = mem::replace(&mut job.made_before, made);
                if trial > 0 && before < made { Cost::Cheap } else { Cost::None }
            }
        };
        self.failed.entry(id).or_default().add(cost);
        match &failure {
            Failure::Cancelled { .. } => self.counts.cancelled += 1,
            Failure::Invalid(_) => self.counts.invalid += 1,
            Failure::TimedOut { .. } => self.counts.timed_out += 1,
            _ => {}
        }
        self.counts.attempts_failed += u64::from(failure.cost() != Cost::None);
        if matches!(failure, Failure::Invalid(_) | Failure::TimedOut { .. }) {
            self.failing.insert(id, failure.clone());
        }
        let unverified = !order.assumptions.is_empty();
        self.respond(id, failure, unverified)
    }

    fn respond(&mut self, id: StatementId, failure: Failure, unverified: bool) -> Vec<Effect> {
        let failed = self.failed(&id);
        let Some(job) = self.jobs.get_mut(&id) else { return vec![] };
        match failure.response(&failed, &self.policy.budget, unverified) {
            Response::VerifyAssumptions => {
                job.phase = Phase::Checking(failure);
                let order = job.order.clone();
                self.refresh(id);
                return vec![Effect::Check(order)];
            }
            Response::Retry if mutation::is(Mutation::CachedFailure) => job.phase = Phase::GivenUp,
            Response::Retry => {
                job.phase = Phase::Queued;
                match failure {
                    Failure::Cancelled { .. } => {}
                    Failure::Store(_) => {
                        job.held_up = job.held_up.saturating_add(1);
                        job.not_before = self.now + self.policy.backoff.wait(&id.0, job.held_up);
                        self.failing.insert(id, failure);
                    }
                    _ => job.not_before = self.now + self.policy.backoff.wait(&id.0, failed.total()),
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
        self.refresh(id);
        vec![]
    }

    fn give_up(&mut self, id: StatementId, failure: Failure) -> Vec<Effect> {
        if let Some(job) = self.jobs.get_mut(&id) {
            job.phase = Phase::GivenUp;
            self.failing.remove(&id);
            self.failures.push((id, failure));
            self.refresh(id);
        }
        vec![]
    }
}
