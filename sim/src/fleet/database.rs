//! A database of jobs that fails as databases do: it is away, its answer is lost after the commit, it crashes and has lost
//! what may be forgotten, it is replaced by a copy that lags, its clock jumps, its wake-ups do not come, it asks for a change
//! twice.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_jobs::memory::{Copied, MemoryTable};
use reprise_jobs::table::{Change, Changes, Figure, Filter, Horizon, JobsError, Rows, Standing, Table};
use reprise_jobs::{Job, Worker, WorkerName};
use reprise_model::statement::StatementId;
use reprise_node::rng::Rng;

/// The time of a world, in milliseconds.
pub(crate) type Time = Arc<AtomicU64>;

struct Troubles {
    rng: Rng,
    away_until: u64,
    loses_answers_until: u64,
    cut_until: BTreeMap<usize, u64>,
    replica: Option<Copied>,
    /// When it crashes, if it does.
    crashing: Option<Rng>,
    crashes: u64,
    /// What the rows were that were changed since the last change that is durable, the oldest first.
    undurable: Vec<(StatementId, Option<Job>)>,
    /// Whether somebody rang since that was looked at.
    rung: bool,
}

impl Troubles {
    /// What these rows were is remembered as long as what they become may be forgotten.
    fn wrote(&mut self, rows: &[Job], changes: &Changes) {
        if self.crashing.is_none() || (changes.jobs.is_empty() && changes.workers.is_empty()) {
            return;
        }
        if !changes.forgettable {
            return self.undurable.clear();
        }
        let before = |job: &Job| (job.id, rows.iter().find(|row| row.id == job.id).cloned());
        self.undurable.extend(changes.jobs.iter().map(before));
    }
}

/// The server.
pub(crate) struct Database {
    table: MemoryTable,
    time: Time,
    skew_ms: Arc<AtomicI64>,
    troubles: Mutex<Troubles>,
}

impl Database {
    pub(crate) fn new(seed: u64, time: Time, crashes: bool) -> Arc<Self> {
        let skew_ms = Arc::new(AtomicI64::new(0));
        let (clock, skew) = (time.clone(), skew_ms.clone());
        let now = move || clock.load(Ordering::Relaxed).saturating_add_signed(skew.load(Ordering::Relaxed));
        let troubles = Troubles {
            rng: Rng::of(seed, "database"),
            away_until: 0,
            loses_answers_until: 0,
            cut_until: BTreeMap::new(),
            replica: None,
            crashing: crashes.then(|| Rng::of(seed, "crashing")),
            crashes: 0,
            undurable: vec![],
            rung: false,
        };
        let table = MemoryTable::with_clock(Arc::new(now));
        Arc::new(Self { table, time, skew_ms, troubles: Mutex::new(troubles) })
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// As a client sees it.
    pub(crate) fn line(self: &Arc<Self>, client: usize) -> Arc<dyn Table> {
        Arc::new(Line { database: self.clone(), client })
    }

    pub(crate) fn away_until(&self, until: u64) {
        self.troubles().away_until = until;
    }

    pub(crate) fn loses_answers_until(&self, until: u64) {
        self.troubles().loses_answers_until = until;
    }

    pub(crate) fn cut_until(&self, client: usize, until: u64) {
        self.troubles().cut_until.insert(client, until);
    }

    /// Its replica gets no more changes.
    pub(crate) fn replica_stops(&self) {
        self.troubles().replica = Some(self.table.copied());
    }

    /// The replica takes its place. Whether there was one.
    pub(crate) fn fail_over(&self) -> bool {
        let replica = self.troubles().replica.take();
        let there = replica.is_some();
        if let Some(copied) = replica {
            self.table.restore(copied);
            self.troubles().undurable.clear();
        }
        there
    }

    /// From time to time it crashes, and is there again at once. What was written since the last durable change is lost with all
    /// that came after it, which the log of a database has in one order.
    fn may_crash(&self) {
        let mut troubles = self.troubles();
        if troubles.crashing.as_mut().is_some_and(|rng| rng.percent(2)) {
            troubles.crashes += 1;
            self.table.put_back(std::mem::take(&mut troubles.undurable).into_iter().rev());
        }
    }

    /// How often it crashed.
    pub(crate) fn crashes(&self) -> u64 {
        self.troubles().crashes
    }

    pub(crate) fn skew(&self, by_ms: i64) {
        self.skew_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// Whether a client's requests may fail now.
    pub(crate) fn troubles_now(&self, client: usize) -> bool {
        let (now, troubles) = (self.time.load(Ordering::Relaxed), self.troubles());
        let cut = troubles.cut_until.get(&client).is_some_and(|until| *until > now);
        troubles.away_until > now || troubles.loses_answers_until > now || cut
    }

    /// The job of a statement as it is, whoever can reach it.
    pub(crate) fn job(&self, id: &StatementId) -> Option<Job> {
        self.table.find(&[*id]).ok()?.into_iter().next()
    }

    /// Whether somebody rang since this was asked last.
    pub(crate) fn was_rung(&self) -> bool {
        std::mem::take(&mut self.troubles().rung)
    }

    /// Whether a wake-up gets through.
    pub(crate) fn wakes(&self) -> bool {
        !self.troubles().rng.percent(20)
    }
}

/// The server, as one client sees it.
struct Line {
    database: Arc<Database>,
    client: usize,
}

fn gone(reason: &str) -> JobsError {
    JobsError::Unreachable { at: "simulated".into(), reason: reason.into() }
}

impl Line {
    fn reach(&self) -> Result<&MemoryTable, JobsError> {
        let (now, troubles) = (self.database.time.load(Ordering::Relaxed), self.database.troubles());
        if troubles.away_until > now {
            return Err(gone("away"));
        }
        match troubles.cut_until.get(&self.client) {
            Some(until) if *until > now => Err(gone("cut off")),
            _ => Ok(&self.database.table),
        }
    }

    /// Whether an answer is lost after what was asked is done.
    fn answer<R>(&self, answer: R) -> Result<R, JobsError> {
        let now = self.database.time.load(Ordering::Relaxed);
        let mut troubles = self.database.troubles();
        let lost = troubles.loses_answers_until > now && troubles.rng.percent(40);
        if lost { Err(gone("the answer was lost")) } else { Ok(answer) }
    }
}

impl Table for Line {
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError> {
        let table = self.reach()?;
        self.database.may_crash();
        // As after a conflict of two transactions: what was said first is not written.
        let twice = self.database.troubles().rng.percent(5);
        table.change(rows, &mut |now_ms, rows| {
            if twice {
                change(now_ms, rows.clone());
            }
            let changes = change(now_ms, rows.clone());
            let mut troubles = self.database.troubles();
            troubles.wrote(&rows, &changes);
            troubles.rung |= changes.told;
            changes
        })?;
        self.answer(())
    }

    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        self.answer(self.reach()?.find(ids)?)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        self.answer(self.reach()?.list(filter)?)
    }

    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError> {
        self.answer(self.reach()?.standing(name)?)
    }

    fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        self.answer(self.reach()?.workers()?)
    }

    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        self.reach()?.evict(name, evicted)?;
        self.database.troubles().undurable.clear();
        self.answer(())
    }

    fn now_ms(&self) -> Result<u64, JobsError> {
        self.answer(self.reach()?.now_ms()?)
    }

    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        self.answer(self.reach()?.figures()?)
    }

    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError> {
        let deleted = self.reach()?.delete_ended(horizon)?;
        self.database.troubles().undurable.clear();
        self.answer(deleted)
    }

    fn turn(&self) -> u64 {
        self.database.table.turn()
    }

    /// Nobody waits in a simulation: its events say when they look again.
    fn wait(&self, _: u64, _: Duration) {}
}
