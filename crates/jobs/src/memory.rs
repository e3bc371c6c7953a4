//! A table in memory: for a node and workers in one process, and for tests.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reprise_model::statement::StatementId;

use crate::job::{Job, State};
use crate::machine;
use crate::policy::millis;
use crate::table::{Change, Figure, Filter, Horizon, JobsError, Rows, Sought, Standing, Table};
use crate::worker::{Worker, WorkerName};

/// What time it is, in milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The time of this machine.
pub fn now_ms() -> u64 {
    millis(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default())
}

#[derive(Clone, Default)]
struct Kept {
    jobs: BTreeMap<StatementId, Job>,
    workers: BTreeMap<WorkerName, Worker>,
    /// Raised by every notification.
    turn: u64,
}

/// What a table in memory held at one time.
#[derive(Clone)]
pub struct Copied(Kept);

/// A table in memory.
pub struct MemoryTable {
    kept: Mutex<Kept>,
    changed: Condvar,
    clock: Clock,
}

impl Default for MemoryTable {
    fn default() -> Self {
        Self::with_clock(Arc::new(now_ms))
    }
}

impl MemoryTable {
    /// Over a clock of the caller's.
    pub fn with_clock(clock: Clock) -> Self {
        Self { kept: Mutex::default(), changed: Condvar::new(), clock }
    }

    /// What it holds now.
    pub fn copied(&self) -> Copied {
        Copied(self.kept().clone())
    }

    /// Holds what it held then, as a database does that is restored from a copy.
    pub fn restore(&self, copied: Copied) {
        let mut kept = self.kept();
        *kept = Kept { turn: kept.turn + 1, ..copied.0 };
    }

    /// Has these rows, or none of them, as a database does that crashed before they were durable.
    pub fn put_back(&self, rows: impl IntoIterator<Item = (StatementId, Option<Job>)>) {
        let mut kept = self.kept();
        for (id, row) in rows {
            match row {
                Some(row) => kept.jobs.insert(id, row),
                None => kept.jobs.remove(&id),
            };
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table for MemoryTable {
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError> {
        let now_ms = (self.clock)();
        let mut kept = self.kept();
        let selected: Vec<Job> = match rows {
            Rows::Of(ids) => {
                let mut ids = ids.to_vec();
                ids.sort();
                ids.dedup();
                ids.iter().filter_map(|id| kept.jobs.get(id).cloned()).collect()
            }
            Rows::Claimable(Sought { worker, capacity, policy, most }) => {
                let free = |job: &&Job| {
                    machine::is_claimable(job, worker, policy, now_ms) && capacity.takes(&job.class)
                };
                let mut free: Vec<&Job> = kept.jobs.values().filter(free).collect();
                free.sort_by_key(|job| (job.priority, job.id));
                free.into_iter().take(most).cloned().collect()
            }
            Rows::Lapsed(policy, limit) => {
                let lapsed = |job: &&Job| machine::is_overdue(job, policy, now_ms);
                kept.jobs.values().filter(lapsed).take(limit).cloned().collect()
            }
        };
        let changes = change(now_ms, selected);
        if changes.told {
            kept.turn += 1;
            self.changed.notify_all();
        }
        for job in changes.jobs {
            kept.jobs.insert(job.id, job);
        }
        for (name, tally) in changes.workers {
            let worker = kept.workers.entry(name.clone()).or_insert_with(|| Worker::new(name));
            worker.add(&tally, now_ms);
        }
        Ok(())
    }

    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        let kept = self.kept();
        Ok(kept.jobs.values().filter(|job| ids.contains(&job.id)).cloned().collect())
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        let kept = self.kept();
        let passes = |job: &&Job| {
            filter.state.is_none_or(|state| job.state.name() == state)
                && filter.holder.as_ref().is_none_or(|holder| job.holder.as_ref() == Some(holder))
                && job.id.0.starts_with(&filter.prefix)
                && filter.after.is_none_or(|after| (job.priority, job.id) > after)
        };
        let mut found: Vec<Job> = kept.jobs.values().filter(passes).cloned().collect();
        found.sort_by_key(|job| (job.priority, job.id));
        found.truncate(filter.limit.unwrap_or(usize::MAX));
        Ok(found)
    }

    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError> {
        let kept = self.kept();
        let holds =
            |job: &&Job| matches!(job.state, State::Running { .. }) && job.holder.as_ref() == Some(name);
        let held = kept.jobs.values().filter(holds).count();
        Ok(Standing { worker: kept.workers.get(name).cloned(), held, now_ms: (self.clock)() })
    }

    fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        Ok(self.kept().workers.values().cloned().collect())
    }

    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        let mut kept = self.kept();
        let worker = kept.workers.entry(name.clone()).or_insert_with(|| Worker::new(name.clone()));
        worker.evicted = evicted;
        worker.seen_ms = worker.seen_ms.max((self.clock)());
        Ok(())
    }

    fn now_ms(&self) -> Result<u64, JobsError> {
        Ok((self.clock)())
    }

    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        let now_ms = (self.clock)();
        let mut by = BTreeMap::new();
        for job in self.kept().jobs.values() {
            let age = now_ms.saturating_sub(job.offered_ms);
            let (jobs, oldest, took): &mut (u64, u64, Vec<u64>) =
                by.entry((job.class, job.state.name())).or_default();
            (*jobs, *oldest) = (*jobs + 1, age.max(*oldest));
            took.extend(job.took_ms);
        }
        let mean = |took: &[u64]| took.iter().sum::<u64>().checked_div(took.len() as u64);
        let figure = |((class, state), (jobs, oldest_ms, took)): (_, (u64, u64, Vec<u64>))| {
            let mean_ms = mean(&took);
            Figure { class, state, jobs, oldest_ms, mean_ms }
        };
        Ok(by.into_iter().map(figure).collect())
    }

    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError> {
        let now_ms = (self.clock)();
        let before = |duration| now_ms.saturating_sub(millis(duration));
        let (ended, undecided) = (before(horizon.ended), before(horizon.undecided));
        let mut kept = self.kept();
        let ended_long_ago = |job: &&Job| match job.state {
            State::Done { confirmed: true } | State::Cancelled => job.changed_ms < ended,
            State::Done { confirmed: false } | State::Quarantined => job.changed_ms < undecided,
            State::Queued { .. } | State::Running { .. } => false,
        };
        let gone: Vec<StatementId> =
            kept.jobs.values().filter(ended_long_ago).take(horizon.limit).map(|job| job.id).collect();
        gone.iter().for_each(|id| drop(kept.jobs.remove(id)));
        // One that somebody shut out stays known.
        kept.workers.retain(|_, worker| worker.evicted || worker.seen_ms >= ended);
        Ok(gone.len() as u64)
    }

    fn turn(&self) -> u64 {
        self.kept().turn
    }

    fn wait(&self, turn: u64, patience: Duration) {
        let kept = self.kept();
        drop(self.changed.wait_timeout_while(kept, patience, |kept| kept.turn == turn));
    }
}
