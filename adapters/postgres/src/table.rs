//! [`PostgresTable`]: the port of `reprise-jobs`, over tables of a database.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{try_join, try_join3, try_join4};
use reprise_jobs::job::{Class, Device, Job, Priority, StateName};
use reprise_jobs::memory::Clock;
use reprise_jobs::policy::millis;
use reprise_jobs::table::{
    Change, Changes, Figure, Filter, Horizon, JobsError, Rows, Sought, Standing, Table,
};
use reprise_jobs::worker::{Worker, WorkerName};
use reprise_model::digest::{Digest, ProfileId};
use reprise_model::statement::{Kind, StatementId};
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row};

use crate::address::Address;
use crate::bell::{self, Bell};
use crate::pool::{Asking, Pool};
use crate::rows::{self, JOB, Parameter, WORKER};
use crate::schema;

/// How many connections are kept at most, beside the one that listens.
const CONNECTIONS_MAX: usize = 8;

/// So many rows that cannot be read are remembered as said, at most.
const SAID_MAX: usize = 1024;

/// How long the first who waits lets the listening begin.
const LISTENING_WITHIN: Duration = Duration::from_secs(6);

/// The class of SQLSTATEs of what is not there, or may not be used.
const UNDEFINED: &str = "42";

/// The end of the transaction of these changes.
///
/// One that is forgettable is not waited for until it is durable. It is within three times `wal_writer_delay`, which is 200 ms, and
/// with the next that is waited for. It tells of itself. One that is waited for tells in a transaction of its own: all that tell take
/// one lock of the whole server, and would wait with it for a disk, or for a standby that does not answer.
fn end_of(changes: &Changes) -> &'static str {
    match (changes.forgettable, changes.told) {
        (true, true) => "SET LOCAL synchronous_commit TO off; NOTIFY reprise_jobs; COMMIT",
        (true, false) => "SET LOCAL synchronous_commit TO off; COMMIT",
        (false, true) => "COMMIT; BEGIN; SET LOCAL synchronous_commit TO off; NOTIFY reprise_jobs; COMMIT",
        (false, false) => "COMMIT",
    }
}

/// Jobs in PostgreSQL.
pub struct PostgresTable {
    pool: Pool,
    bell: Arc<Bell>,
    clock: Option<Clock>,
    /// Whether the tables are known to have this build's layout.
    prepared: AtomicBool,
    /// What was said of rows that cannot be read.
    said: Mutex<BTreeSet<String>>,
    /// Listens; taken when this is dropped.
    listener: Option<Runtime>,
}

impl fmt::Debug for PostgresTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresTable").field("at", &self.pool.address().shown).finish_non_exhaustive()
    }
}

impl PostgresTable {
    /// The tables of the database at `postgres://USER:PASSWORD@HOST:PORT/DATABASE`; makes them where they are missing.
    /// With `listen=off` among the parameters no notification is waited for: a pooler in transaction mode sends none.
    pub fn connect(url: &str) -> Result<Self, JobsError> {
        let table = Self::open(url)?;
        table.prepare()?;
        Ok(table)
    }

    /// The same without a connection: one is made, and the tables, when something is asked.
    pub fn open(url: &str) -> Result<Self, JobsError> {
        let address = Address::read(url)?;
        let listener =
            Builder::new_multi_thread().worker_threads(1).thread_name("postgres").enable_all().build();
        let refused = |error: std::io::Error| JobsError::Refused {
            at: address.shown.clone(),
            reason: format!("no thread to listen to it: {error}"),
        };
        let listener = listener.map_err(refused)?;
        let (pool, bell) = (Pool::new(address, CONNECTIONS_MAX), Arc::new(Bell::default()));
        let (prepared, said) = (AtomicBool::new(false), Mutex::default());
        Ok(Self { pool, bell, clock: None, prepared, said, listener: Some(listener) })
    }

    /// Makes the tables where they are missing, and brings older ones to the layout of this build.
    pub fn prepare(&self) -> Result<(), JobsError> {
        self.ask(async |_| Ok(()))
    }

    /// The same over a clock of the caller's, instead of the server's.
    #[must_use]
    pub fn with_clock(mut self, clock: Clock) -> Self {
        self.clock = Some(clock);
        self
    }

    /// The same, with this patience: so long an answer is waited for, here and by the server.
    #[must_use]
    pub fn answering_within(mut self, patience: Duration) -> Self {
        self.pool.patience = patience;
        self
    }

    fn ask<R>(&self, what: impl AsyncFnOnce(&Client) -> Result<R, Asking>) -> Result<R, JobsError> {
        self.pool.ask(async |client| {
            if !self.prepared.load(Ordering::Relaxed) {
                schema::prepare(client, &self.pool.begin(), self.at()).await?;
                self.prepared.store(true, Ordering::Relaxed);
            }
            let asked = what(client).await;
            if let Err(Asking::Failed(error)) = &asked
                && error.code().is_some_and(|code| code.code().starts_with(UNDEFINED))
            {
                // The tables may be gone, with the database that they were in.
                self.prepared.store(false, Ordering::Relaxed);
            }
            asked
        })
    }

    /// Begins a transaction.
    async fn begin(&self, client: &Client) -> Result<(), Asking> {
        Ok(client.batch_execute(&self.pool.begin()).await?)
    }

    /// Asks in a transaction, one way there and back: `what` asks all that it asks before it waits for an answer.
    fn ask_at_once<R>(&self, what: impl AsyncFnOnce(&Client) -> Result<R, Asking>) -> Result<R, JobsError> {
        self.ask(async |client| {
            let commit = async { Ok::<(), Asking>(client.batch_execute("COMMIT").await?) };
            let ((), asked, ()) = try_join3(self.begin(client), what(client), commit).await?;
            Ok(asked)
        })
    }

    fn at(&self) -> &str {
        &self.pool.address().shown
    }

    /// The time of the caller's clock, for the statements; nothing where it is the server's.
    fn given_ms(&self) -> Option<i64> {
        self.clock.as_ref().map(|clock| i64::try_from(clock()).unwrap_or(i64::MAX))
    }

    /// What can be read of these rows. One that somebody spoilt takes nothing from whoever asks for others.
    fn readable(&self, found: &[Row]) -> Readable {
        let mut readable = Readable::default();
        for row in found {
            match rows::job(row, self.at()) {
                Ok(job) => readable.jobs.push(job),
                Err(error) => {
                    self.warn(&error);
                    readable.damaged.push(error);
                }
            }
        }
        readable
    }

    /// So many of those that can be read, where `select` is asked for so many rows: those that cannot may come first.
    async fn most_readable(
        &self,
        most: usize,
        found: &[Row],
        select: impl AsyncFn(usize) -> Result<Vec<Row>, Asking>,
    ) -> Result<Readable, Asking> {
        let (mut asked, mut count, mut readable) = (most, found.len(), self.readable(found));
        while readable.jobs.len() < most && count >= asked {
            asked = asked.saturating_mul(2);
            let found = select(asked).await?;
            (count, readable) = (found.len(), self.readable(&found));
        }
        readable.jobs.truncate(most);
        Ok(readable)
    }

    /// Says once what cannot be read.
    fn warn(&self, error: &JobsError) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= SAID_MAX {
            said.clear();
        }
        if said.insert(error.to_string()) {
            tracing::warn!(%error, "it is left out");
        }
    }
}

/// Rows, as far as they can be read.
#[derive(Default)]
struct Readable {
    jobs: Vec<Job>,
    damaged: Vec<JobsError>,
}

impl Readable {
    /// What is wrong with the row of a job, if it cannot be read.
    fn damage_of(&self, id: &StatementId) -> Option<&JobsError> {
        let id = id.digest().to_hex();
        self.damaged
            .iter()
            .find(|error| matches!(error, JobsError::Damaged { id: damaged, .. } if *damaged == id))
    }
}

impl Drop for PostgresTable {
    fn drop(&mut self) {
        if let Some(runtime) = self.listener.take() {
            runtime.shutdown_background();
        }
    }
}

/// How many rows a request is for at most, where it does not name them.
fn asked_for(rows: Rows<'_>) -> Option<usize> {
    match rows {
        Rows::Of(_) => None,
        Rows::Claimable(Sought { most, .. }) | Rows::Lapsed(_, most) => Some(most),
    }
}

/// The same for so many.
fn widened(rows: Rows<'_>, most: usize) -> Rows<'_> {
    match rows {
        Rows::Of(ids) => Rows::Of(ids),
        Rows::Claimable(sought) => Rows::Claimable(Sought { most, ..sought }),
        Rows::Lapsed(policy, _) => Rows::Lapsed(policy, most),
    }
}

/// As a database has it.
fn age(duration: Duration) -> i64 {
    i64::try_from(millis(duration)).unwrap_or(i64::MAX)
}

/// The time, in milliseconds since the Unix epoch.
async fn now(client: &Client, given_ms: Option<i64>) -> Result<u64, Asking> {
    let statement = format!("SELECT {}", rows::now(1));
    let found = client.query_typed(&statement, &[(&given_ms, Type::INT8)]).await?;
    let now_ms: i64 = found.first().map_or(0, |row| row.get(0));
    Ok(u64::try_from(now_ms).unwrap_or(0))
}

/// Locks the rows that a request is about.
async fn select(client: &Client, rows: Rows<'_>, given_ms: Option<i64>) -> Result<Vec<Row>, Asking> {
    match rows {
        Rows::Of([]) => Ok(vec![]),
        Rows::Of(ids) => {
            let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
            let statement =
                format!("SELECT {JOB} FROM reprise_jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE");
            Ok(client.query_typed(&statement, &[(&ids, Type::BYTEA_ARRAY)]).await?)
        }
        // As `machine::is_claimable` says: neither a wait of before the clock stepped back counts, nor a failure.
        Rows::Claimable(Sought { worker, capacity, policy, most }) => {
            let kinds: Vec<i16> = capacity.kinds.iter().map(|kind| *kind as i16).collect();
            let (profile, memory) = (capacity.profile.0.as_slice(), i32::from(capacity.memory));
            let limit = i64::try_from(most).unwrap_or(i64::MAX);
            let (worker, lease, waits) = (worker.as_str(), age(policy.lease), age(policy.backoff_max));
            let statement = format!(
                "SELECT {JOB} FROM reprise_jobs WHERE state = 0 AND (at_ms <= {now} OR at_ms > {now} + $9) \
                 AND NOT (holder IS NOT DISTINCT FROM $7 AND at_ms > changed_ms AND changed_ms <= {now} \
                 AND changed_ms > {now} - $8) AND profile = $2 AND kind = ANY($3) \
                 AND memory <= $4 AND (device IS NULL OR device = ANY($6)) ORDER BY priority, id LIMIT $5 \
                 FOR UPDATE SKIP LOCKED",
                now = rows::now(1)
            );
            let devices: Vec<&str> = capacity.devices.iter().map(Device::as_str).collect();
            let parameters: [Parameter<'_>; 9] = [
                (&given_ms, Type::INT8),
                (&profile, Type::BYTEA),
                (&kinds, Type::INT2_ARRAY),
                (&memory, Type::INT4),
                (&limit, Type::INT8),
                (&devices, Type::TEXT_ARRAY),
                (&worker, Type::TEXT),
                (&lease, Type::INT8),
                (&waits, Type::INT8),
            ];
            Ok(client.query_typed(&statement, &parameters).await?)
        }
        // As `machine::is_overdue` says.
        Rows::Lapsed(policy, limit) => {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let ahead = i64::try_from(policy.lease_ahead_ms()).unwrap_or(i64::MAX);
            let statement = format!(
                "SELECT {JOB} FROM reprise_jobs WHERE state = 1 AND (at_ms <= {now} OR at_ms > {now} + $3) \
                 ORDER BY at_ms LIMIT $2 FOR UPDATE SKIP LOCKED",
                now = rows::now(1)
            );
            let parameters: [Parameter<'_>; 3] =
                [(&given_ms, Type::INT8), (&limit, Type::INT8), (&ahead, Type::INT8)];
            Ok(client.query_typed(&statement, &parameters).await?)
        }
    }
}

impl Table for PostgresTable {
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError> {
        let (given_ms, mut told) = (self.given_ms(), false);
        self.ask(async |client| {
            // One way there and back: the driver sends them together, in this order.
            let ((), found, now_ms) =
                try_join3(self.begin(client), select(client, rows, given_ms), now(client, given_ms)).await?;
            let found = match asked_for(rows) {
                Some(most) => {
                    let select = async |most| select(client, widened(rows, most), given_ms).await;
                    self.most_readable(most, &found, select).await?
                }
                None => self.readable(&found),
            };
            let there: BTreeMap<StatementId, (Priority, Digest)> =
                found.jobs.iter().map(|job| (job.id, (job.priority, job.input))).collect();
            let mut changes = change(now_ms, found.jobs.clone());
            // To whoever changes the others it is not there; whoever would put it there is told.
            if let Some(error) = changes.jobs.iter().find_map(|job| found.damage_of(&job.id)) {
                return Err(error.clone().into());
            }
            let end = end_of(&changes);
            told = changes.told;
            let (old, new): (Vec<Job>, Vec<Job>) =
                changes.jobs.into_iter().partition(|job| there.contains_key(&job.id));
            let wanted = old.iter().any(|job| there.get(&job.id) != Some(&(job.priority, job.input)));
            changes.workers.sort_by(|a, b| a.0.cmp(&b.0));
            let (update, insert) = (rows::update(client, &old, wanted), rows::insert(client, &new));
            let workers = rows::add(client, &changes.workers, now_ms);
            // Again together, in this order. Where one of these fails, nothing of the transaction is kept, and the error is that one's:
            // but for a notification after it, and then asking again is safe, as after an answer that was lost.
            let commit = async { Ok::<(), Asking>(client.batch_execute(end).await?) };
            try_join4(update, insert, workers, commit).await.map(drop)
        })?;
        if told {
            // Here at once, and also where no notification comes.
            self.bell.strike();
        }
        Ok(())
    }

    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        let ids: Vec<&[u8]> = ids.iter().map(|id| id.0.as_slice()).collect();
        let found = self.ask_at_once(async |client| {
            let statement = format!("SELECT {JOB} FROM reprise_jobs WHERE id = ANY($1) ORDER BY id");
            Ok(client.query_typed(&statement, &[(&ids, Type::BYTEA_ARRAY)]).await?)
        })?;
        let found = self.readable(&found);
        match found.damaged.into_iter().next() {
            // Whoever asks for this one alone is told what is wrong with it.
            Some(error) if ids.len() == 1 => Err(error),
            _ => Ok(found.jobs),
        }
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        let state = filter.state.map(number);
        let holder = filter.holder.as_ref().map(WorkerName::as_str);
        let limit = filter.limit.unwrap_or(usize::MAX);
        let (prefix, len) =
            (filter.prefix.as_slice(), i32::try_from(filter.prefix.len()).unwrap_or(i32::MAX));
        let priority = filter.after.map(|(priority, _)| priority.0);
        let id = filter.after.map(|(_, id)| id.0.to_vec());
        let found = self.ask(async |client| {
            let statement = format!(
                "SELECT {JOB} FROM reprise_jobs WHERE ($1 IS NULL OR state = $1) AND ($2 IS NULL OR holder = $2) \
                 AND substring(id FROM 1 FOR $3) = $4 AND ($6 IS NULL OR (priority, id) > ($6, $7)) \
                 ORDER BY priority, id LIMIT $5"
            );
            let select = async |limit: usize| {
                let limit = i64::try_from(limit).unwrap_or(i64::MAX);
                let parameters: [Parameter<'_>; 7] = [
                    (&state, Type::INT2),
                    (&holder, Type::TEXT),
                    (&len, Type::INT4),
                    (&prefix, Type::BYTEA),
                    (&limit, Type::INT8),
                    (&priority, Type::INT8),
                    (&id, Type::BYTEA),
                ];
                Ok(client.query_typed(&statement, &parameters).await?)
            };
            let ((), found) = try_join(self.begin(client), select(limit)).await?;
            let found = self.most_readable(limit, &found, select).await?;
            client.batch_execute("COMMIT").await?;
            Ok(found)
        })?;
        match found.damaged.into_iter().next() {
            Some(error) if found.jobs.is_empty() && !filter.prefix.is_empty() => Err(error),
            _ => Ok(found.jobs),
        }
    }

    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError> {
        let (given_ms, at) = (self.given_ms(), self.at());
        let name = name.as_str();
        self.ask_at_once(async |client| {
            let of_worker = async {
                let statement = format!("SELECT {WORKER} FROM reprise_workers WHERE name = $1");
                Ok::<_, Asking>(client.query_typed(&statement, &[(&name, Type::TEXT)]).await?)
            };
            let of_jobs = async {
                let statement = "SELECT count(*) FROM reprise_jobs WHERE state = 1 AND holder = $1";
                Ok::<_, Asking>(client.query_typed(statement, &[(&name, Type::TEXT)]).await?)
            };
            let (worker, held, now_ms) = try_join3(of_worker, of_jobs, now(client, given_ms)).await?;
            let worker = worker.first().map(|row| rows::worker(row, at)).transpose()?;
            let held: i64 = held.first().map_or(0, |row| row.get(0));
            Ok(Standing { worker, held: usize::try_from(held).unwrap_or(usize::MAX), now_ms })
        })
    }

    fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        let found = self.ask_at_once(async |client| {
            let statement = format!("SELECT {WORKER} FROM reprise_workers ORDER BY name COLLATE \"C\"");
            Ok(client.query_typed(&statement, &[]).await?)
        })?;
        let read = found.iter().map(|row| rows::worker(row, self.at()));
        Ok(read.filter_map(|read| read.inspect_err(|error| self.warn(error)).ok()).collect())
    }

    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        let (given_ms, name) = (self.given_ms(), name.as_str());
        self.ask_at_once(async |client| {
            let statement = format!(
                "INSERT INTO reprise_workers AS w (name, evicted, seen_ms) VALUES ($2, $3, {now}) \
                 ON CONFLICT (name) DO UPDATE SET evicted = $3, seen_ms = greatest(w.seen_ms, {now})",
                now = rows::now(1)
            );
            let parameters: [Parameter<'_>; 3] =
                [(&given_ms, Type::INT8), (&name, Type::TEXT), (&evicted, Type::BOOL)];
            client.execute_typed(&statement, &parameters).await?;
            Ok(())
        })
    }

    fn now_ms(&self) -> Result<u64, JobsError> {
        let given_ms = self.given_ms();
        self.ask_at_once(async |client| now(client, given_ms).await)
    }

    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        let (given_ms, at) = (self.given_ms(), self.at());
        self.ask_at_once(async |client| {
            let statement = format!(
                "SELECT kind, profile, memory, state, count(*), greatest({} - min(offered_ms), 0), avg(took_ms)::bigint, \
                 device FROM reprise_jobs GROUP BY kind, profile, memory, device, state \
                 ORDER BY kind, profile, memory, device COLLATE \"C\" NULLS FIRST, state",
                rows::now(1)
            );
            let found = client.query_typed(&statement, &[(&given_ms, Type::INT8)]).await?;
            let wrong = |field| JobsError::Damaged { at: at.into(), id: "?".into(), field };
            let figure = |row: &Row| {
                let kind: i16 = row.get(0);
                let kind = Kind::ALL.into_iter().find(|known| *known as i16 == kind).ok_or_else(|| wrong("kind"))?;
                let profile: &[u8] = row.get(1);
                let profile = ProfileId(profile.try_into().map_err(|_| wrong("profile"))?);
                let memory = u16::try_from(row.get::<_, i32>(2)).map_err(|_| wrong("memory"))?;
                let device: Option<&str> = row.get(7);
                let device = device.map(Device::new).transpose().map_err(|_| wrong("device"))?;
                let state: i16 = row.get(3);
                let state = StateName::ALL.into_iter().find(|name| number(*name) == state);
                Ok(Figure {
                    class: Class { kind, profile, memory, device },
                    state: state.ok_or_else(|| wrong("state"))?,
                    jobs: u64::try_from(row.get::<_, i64>(4)).unwrap_or(0),
                    oldest_ms: u64::try_from(row.get::<_, i64>(5)).unwrap_or(0),
                    mean_ms: row.get::<_, Option<i64>>(6).and_then(|ms| u64::try_from(ms).ok()),
                })
            };
            let read = found.iter().map(figure);
            Ok(read.filter_map(|read| read.inspect_err(|error| self.warn(error)).ok()).collect())
        })
    }

    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError> {
        let given_ms = self.given_ms();
        let (ended, undecided) = (age(horizon.ended), age(horizon.undecided));
        let limit = i64::try_from(horizon.limit).unwrap_or(i64::MAX);
        self.ask_at_once(async |client| {
            let now = rows::now(1);
            let jobs = format!(
                "DELETE FROM reprise_jobs WHERE id IN (SELECT id FROM reprise_jobs WHERE state >= 2 AND \
                 changed_ms < {now} - CASE WHEN state = 4 OR (state = 2 AND flag) THEN $2 ELSE $3 END \
                 ORDER BY changed_ms LIMIT $4 FOR UPDATE SKIP LOCKED)"
            );
            let workers = format!("DELETE FROM reprise_workers WHERE NOT evicted AND seen_ms < {now} - $2");
            let of_jobs: [Parameter<'_>; 4] = [
                (&given_ms, Type::INT8),
                (&ended, Type::INT8),
                (&undecided, Type::INT8),
                (&limit, Type::INT8),
            ];
            let of_workers: [Parameter<'_>; 2] = [(&given_ms, Type::INT8), (&ended, Type::INT8)];
            let (gone, _) =
                try_join(client.execute_typed(&jobs, &of_jobs), client.execute_typed(&workers, &of_workers))
                    .await?;
            Ok(gone)
        })
    }

    fn turn(&self) -> u64 {
        if self.bell.is_first()
            && let Some(runtime) = &self.listener
        {
            runtime.spawn(bell::listen(self.bell.clone(), self.pool.address().clone()));
        }
        self.bell.turn(LISTENING_WITHIN)
    }

    fn wait(&self, turn: u64, patience: Duration) {
        self.bell.wait(turn, patience);
    }
}

/// A state, as a row has it.
fn number(state: StateName) -> i16 {
    match state {
        StateName::Queued => 0,
        StateName::Running => 1,
        StateName::Done => 2,
        StateName::Quarantined => 3,
        StateName::Cancelled => 4,
    }
}
