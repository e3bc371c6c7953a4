//! The queue: what nodes, workers and people may ask, over any table.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use reprise_model::mutation::{self, Mutation};
use reprise_model::statement::StatementId;

use crate::job::{Capacity, Job, Lease, Offer, Priority, State, StateName};
use crate::machine::{self, Answer, Beat, Failure};
use crate::policy::Policy;
use crate::table::{Changes, Figure, Filter, Horizon, JobsError, Rows, Sought, Standing, Table};
use crate::together::Together;
use crate::worker::{Tally, Worker, WorkerName};

/// How many ended jobs are deleted by one request, at most: it locks them.
pub const DELETED_AT_ONCE: usize = 1000;

/// What a worker may begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claims {
    /// These, and no more than these; there may be none.
    Jobs(Vec<(Lease, Job)>),
    /// Nothing for so long, because of what came of its claims before.
    Resting(Duration),
    /// Nothing any more, until somebody lets it in again.
    Evicted,
}

/// The jobs of a fleet. Clones share one table, and what their threads ask of it at a time is asked together.
#[derive(Clone)]
pub struct Queue {
    table: Arc<dyn Table>,
    policy: Policy,
    asking: Arc<Asking>,
}

/// What many threads ask at a time.
#[derive(Default)]
struct Asking {
    offers: Together<Vec<Offer>, Vec<Job>>,
    completions: Together<Lease, Answer>,
    confirmations: Together<Lease, Answer>,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue").field("policy", &self.policy).finish_non_exhaustive()
    }
}

impl Queue {
    /// Over a table.
    pub fn new(table: Arc<dyn Table>, policy: Policy) -> Self {
        Self { table, policy, asking: Arc::default() }
    }

    /// How it is run.
    pub fn policy(&self) -> &Policy {
        &self.policy
    }

    /// Asks for statements to be proved, and says how each stands then, in the order of their ids. One that is asked for
    /// already is the same job; one that is done stays so.
    pub fn offer(&self, offers: &[Offer]) -> Result<Vec<Job>, JobsError> {
        self.asking.offers.ask(offers.to_vec(), |groups| self.offer_groups(groups))
    }

    /// Offers several groups in one request, and says of each how it stands then.
    fn offer_groups(&self, groups: &[Vec<Offer>]) -> Result<Vec<Vec<Job>>, JobsError> {
        let ids: BTreeSet<StatementId> = groups.iter().flatten().map(|offer| offer.id).collect();
        let ids: Vec<StatementId> = ids.into_iter().collect();
        let mut stand = BTreeMap::new();
        self.table.change(Rows::Of(&ids), &mut |now_ms, rows| {
            let mut rows: BTreeMap<StatementId, Job> = rows.into_iter().map(|row| (row.id, row)).collect();
            let (mut changed, mut new) = (BTreeSet::new(), BTreeSet::new());
            // That the end of a proof is asked for no more is not said again before it has ended.
            let runs = rows.values().any(|row| matches!(row.state, State::Running { .. }));
            for offer in groups.iter().flatten() {
                match rows.entry(offer.id) {
                    Entry::Occupied(mut row) => {
                        if machine::offer(row.get_mut(), offer, now_ms) {
                            changed.insert(offer.id);
                        }
                    }
                    Entry::Vacant(none) => {
                        none.insert(machine::new(offer, now_ms));
                        new.insert(offer.id);
                    }
                }
            }
            let told = !new.is_empty();
            let jobs = changed.union(&new).filter_map(|id| rows.get(id).cloned()).collect();
            stand = rows;
            Changes { jobs, workers: vec![], forgettable: !runs, told }
        })?;
        let of_group = |group: &Vec<Offer>| {
            let ids: BTreeSet<StatementId> = group.iter().map(|offer| offer.id).collect();
            ids.iter().filter_map(|id| stand.get(id).cloned()).collect()
        };
        Ok(groups.iter().map(of_group).collect())
    }

    /// Gives a worker the most urgent jobs that it can do, at most so many. Leases that ran out are given anew.
    pub fn claim(&self, worker: &WorkerName, capacity: &Capacity, most: usize) -> Result<Claims, JobsError> {
        self.claim_with(worker, capacity, most, |_| true)
    }

    /// The same. `reaps` is told the time by which leases run out, and says whether those that did are given anew: after an outage
    /// they ran out although their workers live.
    pub fn claim_with(
        &self,
        worker: &WorkerName,
        capacity: &Capacity,
        most: usize,
        reaps: impl FnOnce(u64) -> bool,
    ) -> Result<Claims, JobsError> {
        let Standing { worker: known, held, now_ms } = self.table.standing(worker)?;
        let reaps = reaps(now_ms);
        if let Some(known) = known {
            if known.evicted {
                return Ok(Claims::Evicted);
            }
            if let Some(until) = known.rests_until(&self.policy, now_ms) {
                return Ok(Claims::Resting(Duration::from_millis(until - now_ms)));
            }
        }
        let room = self.policy.held_max.saturating_sub(held);
        let most = most.min(room).min(self.policy.batch_max);
        let mut claimed = self.claim_queued(worker, capacity, most)?;
        if claimed.len() < most && reaps {
            match self.claim_lapsed(worker, capacity, most - claimed.len()) {
                Ok(more) => claimed.extend(more),
                Err(error) if claimed.is_empty() => return Err(error),
                // What is claimed is the worker's: kept from it, it would run out as a lease of its.
                Err(error) => tracing::debug!(%error, "leases that ran out are not given anew now"),
            }
        }
        Ok(Claims::Jobs(claimed))
    }

    fn claim_lapsed(
        &self,
        worker: &WorkerName,
        capacity: &Capacity,
        most: usize,
    ) -> Result<Vec<(Lease, Job)>, JobsError> {
        if self.reap_some(most)? == 0 {
            return Ok(vec![]);
        }
        self.claim_queued(worker, capacity, most)
    }

    fn claim_queued(
        &self,
        worker: &WorkerName,
        capacity: &Capacity,
        most: usize,
    ) -> Result<Vec<(Lease, Job)>, JobsError> {
        let mut claimed = vec![];
        if most == 0 {
            return Ok(claimed);
        }
        let sought = Sought { worker, capacity, policy: &self.policy, most };
        self.table.change(Rows::Claimable(sought), &mut |now_ms, rows| {
            claimed.clear();
            for mut row in rows {
                if let Some(lease) = machine::claim(&mut row, worker, &self.policy, now_ms) {
                    claimed.push((lease, row));
                }
            }
            if claimed.is_empty() {
                // Whoever looks in vain writes nothing: it is heard of by its signs of life.
                return Changes::default();
            }
            let tally = Tally { claimed: claimed.len() as u64, ..Tally::default() };
            let jobs = claimed.iter().map(|(_, row)| row.clone()).collect();
            let forgettable = mutation::is(Mutation::ForgottenClaim);
            Changes { jobs, workers: vec![(worker.clone(), tally)], forgettable, told: false }
        })?;
        Ok(claimed)
    }

    /// Takes leases back that ran out; how many.
    pub fn reap(&self) -> Result<usize, JobsError> {
        self.reap_some(self.policy.batch_max)
    }

    /// The same, at most so many: whoever lives takes no more from others than it can do.
    fn reap_some(&self, most: usize) -> Result<usize, JobsError> {
        let mut reaped = 0;
        self.table.change(Rows::Lapsed(&self.policy, most), &mut |now_ms, rows| {
            let mut lost: BTreeMap<WorkerName, u64> = BTreeMap::new();
            let mut changes = Changes::default();
            reaped = 0;
            for mut row in rows {
                if machine::lapse(&mut row, &self.policy, now_ms) {
                    lost.extend(
                        row.holder
                            .clone()
                            .map(|holder| (holder.clone(), 1 + lost.get(&holder).unwrap_or(&0))),
                    );
                    changes.jobs.push(row);
                    reaped += 1;
                } else if machine::shorten(&mut row, &self.policy, now_ms) {
                    changes.jobs.push(row);
                }
            }
            let tally = |lapsed| Tally { lapsed, ..Tally::default() };
            changes.workers = lost.into_iter().map(|(worker, lapsed)| (worker, tally(lapsed))).collect();
            changes
        })?;
        Ok(reaped)
    }

    /// A worker still works on these jobs. Returns the answer for each, in their order. One that is evicted keeps none.
    pub fn heartbeat(&self, worker: &WorkerName, leases: &[Lease]) -> Result<Vec<Beat>, JobsError> {
        if self.table.standing(worker)?.worker.is_some_and(|known| known.evicted) {
            self.release(leases)?;
            return Ok(vec![Beat::Lost; leases.len()]);
        }
        let mut beats = vec![];
        self.table.change(Rows::Of(&ids(leases)), &mut |now_ms, rows| {
            let mut rows: BTreeMap<StatementId, Job> = rows.into_iter().map(|row| (row.id, row)).collect();
            let workers = vec![(worker.clone(), Tally::default())];
            let mut changes = Changes { workers, ..Changes::default() };
            let beat = |lease: &Lease| match rows.get_mut(&lease.id) {
                Some(row) => {
                    let beat = machine::heartbeat(row, lease, &self.policy, now_ms);
                    if beat != Beat::Lost {
                        changes.jobs.push(row.clone());
                    }
                    beat
                }
                None => Beat::Lost,
            };
            beats = leases.iter().map(beat).collect();
            changes
        })?;
        Ok(beats)
    }

    /// The receipt of a lease's statement is in the shared store.
    pub fn complete(&self, lease: &Lease) -> Result<Answer, JobsError> {
        let tally = |_: &Job| Tally { completed: 1, ..Tally::default() };
        let done = Said { tally, forgettable: true, told: true };
        self.asking.completions.ask(lease.clone(), |leases| self.say(leases, done, machine::complete))
    }

    /// A lease's statement could not be proved. That speaks against its worker, unless there was nothing to prove it from.
    pub fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Answer, JobsError> {
        let tally = match failure.input_lost {
            true => |_: &Job| Tally { released: 1, ..Tally::default() },
            false => |_: &Job| Tally { failed: 1, ..Tally::default() },
        };
        let failed = Said { tally, forgettable: false, told: true };
        self.say_one(lease, failed, |row, lease, now_ms| {
            machine::fail(row, lease, failure, &self.policy, now_ms)
        })
    }

    /// Gives leases back, nothing having gone wrong.
    pub fn release(&self, leases: &[Lease]) -> Result<(), JobsError> {
        let tally = |_: &Job| Tally { released: 1, ..Tally::default() };
        let released = Said { tally, forgettable: false, told: true };
        self.say(leases, released, machine::release).map(drop)
    }

    /// Whoever asked has verified the receipt of what this lease's worker completed.
    pub fn confirm(&self, lease: &Lease) -> Result<Answer, JobsError> {
        let tally = |_: &Job| Tally { confirmed: 1, ..Tally::default() };
        let confirmed = Said { tally, forgettable: true, told: false };
        self.asking.confirmations.ask(lease.clone(), |leases| self.say(leases, confirmed, machine::confirm))
    }

    /// Whoever asked found no receipt, or one that is none, where this lease's worker said there is one. That speaks against it, unless
    /// somebody has verified the receipt before.
    pub fn reject(&self, lease: &Lease, reason: &str) -> Result<Answer, JobsError> {
        let tally = |row: &Job| match row.state {
            State::Done { confirmed: true } => Tally::default(),
            _ => Tally { rejected: 1, ..Tally::default() },
        };
        let rejected = Said { tally, forgettable: false, told: true };
        self.say_one(lease, rejected, |row, lease, now_ms| {
            machine::reject(row, lease, reason, &self.policy, now_ms)
        })
    }

    fn say_one(
        &self,
        lease: &Lease,
        what: Said,
        said: impl Fn(&mut Job, &Lease, u64) -> Answer,
    ) -> Result<Answer, JobsError> {
        let answers = self.say(std::slice::from_ref(lease), what, said)?;
        Ok(answers.first().copied().unwrap_or(Answer::Stale))
    }

    /// One thing that is said about each of these leases, in one request; it is counted for a lease's worker where it is taken.
    fn say(
        &self,
        leases: &[Lease],
        what: Said,
        said: impl Fn(&mut Job, &Lease, u64) -> Answer,
    ) -> Result<Vec<Answer>, JobsError> {
        let mut answers = vec![];
        self.table.change(Rows::Of(&ids(leases)), &mut |now_ms, rows| {
            let mut rows: BTreeMap<StatementId, Job> = rows.into_iter().map(|row| (row.id, row)).collect();
            let mut taken = BTreeSet::new();
            let mut workers: BTreeMap<WorkerName, Tally> = BTreeMap::new();
            let mut answer = |lease: &Lease| {
                let Some(row) = rows.get_mut(&lease.id) else { return Answer::Stale };
                let counted = (what.tally)(row);
                let answer = said(row, lease, now_ms);
                if answer == Answer::Taken {
                    taken.insert(lease.id);
                    let tally = workers.entry(lease.worker.clone()).or_default();
                    *tally = tally.plus(counted);
                }
                answer
            };
            answers = leases.iter().map(&mut answer).collect();
            rows.retain(|id, _| taken.contains(id));
            Changes {
                jobs: rows.into_values().collect(),
                workers: workers.into_iter().collect(),
                forgettable: what.forgettable,
                told: what.told && !taken.is_empty(),
            }
        })?;
        Ok(answers)
    }

    /// Somebody who proved these without a lease has verified receipts of them in the shared store.
    pub fn settle(&self, statements: &[StatementId]) -> Result<usize, JobsError> {
        self.decide(statements, true, machine::settle)
    }

    /// Nobody wants these; how many that changed. Of those that run, the end is asked for.
    pub fn cancel(&self, statements: &[StatementId]) -> Result<usize, JobsError> {
        self.decide(statements, false, machine::cancel)
    }

    /// These are to be tried again, with a new budget; how many that changed.
    pub fn retry(&self, statements: &[StatementId]) -> Result<usize, JobsError> {
        self.decide(statements, false, machine::retry)
    }

    /// Those of these that are in quarantine are to be tried again; how many that changed.
    pub fn release_quarantined(&self, statements: &[StatementId]) -> Result<usize, JobsError> {
        self.decide(statements, false, |row, now_ms| {
            row.state == State::Quarantined && machine::retry(row, now_ms)
        })
    }

    /// These are to be tried no more; how many that changed.
    pub fn quarantine(&self, statements: &[StatementId], reason: &str) -> Result<usize, JobsError> {
        self.decide(statements, false, |row, now_ms| machine::quarantine(row, reason, now_ms))
    }

    /// How urgent these are now; how many that changed.
    pub fn reprioritise(&self, priorities: &[(StatementId, Priority)]) -> Result<usize, JobsError> {
        let by_id: BTreeMap<StatementId, Priority> = priorities.iter().copied().collect();
        let ids: Vec<StatementId> = by_id.keys().copied().collect();
        self.decide(&ids, true, |row, _| match by_id.get(&row.id) {
            Some(priority) if matches!(row.state, State::Queued { .. }) && row.priority != *priority => {
                row.priority = *priority;
                true
            }
            _ => false,
        })
    }

    fn decide(
        &self,
        statements: &[StatementId],
        forgettable: bool,
        decided: impl Fn(&mut Job, u64) -> bool,
    ) -> Result<usize, JobsError> {
        let mut changed = 0;
        self.table.change(Rows::Of(statements), &mut |now_ms, mut rows| {
            rows.retain_mut(|row| decided(row, now_ms));
            changed = rows.len();
            Changes { jobs: rows, workers: vec![], forgettable, told: changed > 0 }
        })?;
        Ok(changed)
    }

    /// How these stand, in the order of their ids, as far as they were offered.
    pub fn find(&self, statements: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        self.table.find(statements)
    }

    /// Lists jobs.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        self.table.list(filter)
    }

    /// The workers that were heard of.
    pub fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        self.table.workers()
    }

    /// How a worker stands.
    pub fn standing(&self, worker: &WorkerName) -> Result<Standing, JobsError> {
        self.table.standing(worker)
    }

    /// Gives a worker nothing any more, and what it holds to others; or lets it in again.
    pub fn evict(&self, worker: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        self.table.evict(worker, evicted)?;
        if !evicted {
            return Ok(());
        }
        let filter =
            Filter { state: Some(StateName::Running), holder: Some(worker.clone()), ..Filter::default() };
        let held: Vec<Lease> = self.table.list(&filter)?.iter().filter_map(Job::lease).collect();
        self.release(&held)
    }

    /// The time by which leases run out, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> Result<u64, JobsError> {
        self.table.now_ms()
    }

    /// How many jobs there are, by class and state.
    pub fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        self.table.figures()
    }

    /// Deletes jobs that ended long ago, [so many](DELETED_AT_ONCE) at most. Returns how many.
    pub fn delete_ended(&self) -> Result<u64, JobsError> {
        let Policy { retention, retention_max, .. } = self.policy;
        let limit = DELETED_AT_ONCE;
        self.table.delete_ended(&Horizon { ended: retention, undecided: retention_max, limit })
    }

    /// What to ask before looking for something, and to give to [`wait`](Self::wait) where nothing was found: so nothing
    /// that comes in between is missed.
    pub fn turn(&self) -> u64 {
        self.table.turn()
    }

    /// Waits until something may have changed since this turn, or so long. Nobody may rely on being woken.
    pub fn wait(&self, turn: u64, patience: Duration) {
        self.table.wait(turn, patience);
    }
}

/// What is said about a lease.
#[derive(Clone, Copy)]
struct Said {
    /// How it is counted for the lease's worker, by how the job stood before.
    tally: fn(&Job) -> Tally,
    /// See [`Changes::forgettable`].
    forgettable: bool,
    /// See [`Changes::told`].
    told: bool,
}

fn ids(leases: &[Lease]) -> Vec<StatementId> {
    let mut ids: Vec<StatementId> = leases.iter().map(|lease| lease.id).collect();
    ids.sort();
    ids.dedup();
    ids
}
