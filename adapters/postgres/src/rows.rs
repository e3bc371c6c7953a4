//! What a row holds, and the statements that read and write rows.

use reprise_jobs::job::{Class, Device, Job, Priority, State};
use reprise_jobs::worker::{Tally, Worker, WorkerName};
use reprise_jobs::{JobsError, machine};
use reprise_model::digest::{Digest, ProfileId};
use reprise_model::statement::{Kind, StatementId};
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::pool::Asking;

/// The columns of a job, in the order in which they are read.
pub(crate) const JOB: &str = "id, kind, profile, memory, priority, input, state, at_ms, flag, holder, fence, failures, \
                              lapses, reason, offered_ms, changed_ms, took_ms, device";

/// The columns of a worker, in the order in which they are read.
pub(crate) const WORKER: &str = "name, claimed, completed, confirmed, rejected, failed, lapsed, released, strikes, \
                                 struck_ms, seen_ms, evicted";

/// A parameter of a statement, with its type: so that nothing has to be prepared.
pub(crate) type Parameter<'p> = (&'p (dyn ToSql + Sync), Type);

/// The time, by the server unless the parameter with this number says another.
pub(crate) fn now(parameter: usize) -> String {
    format!("COALESCE(${parameter}, (extract(epoch FROM clock_timestamp()) * 1000)::bigint)")
}

/// A column; an error names the row and the field.
fn column<'r, T: FromSql<'r>>(
    row: &'r Row,
    at: &str,
    index: usize,
    field: &'static str,
) -> Result<T, JobsError> {
    row.try_get(index).map_err(|_| damaged(row, at, field))
}

fn damaged(row: &Row, at: &str, field: &'static str) -> JobsError {
    let id: Vec<u8> = row.try_get(0).unwrap_or_default();
    let id = id.iter().map(|byte| format!("{byte:02x}")).collect();
    JobsError::Damaged { at: at.into(), id, field }
}

/// Reads a job.
pub(crate) fn job(row: &Row, at: &str) -> Result<Job, JobsError> {
    let wrong = |field| damaged(row, at, field);
    let bytes = |index, field| -> Result<[u8; 32], JobsError> {
        let bytes: &[u8] = column(row, at, index, field)?;
        bytes.try_into().map_err(|_| wrong(field))
    };
    let count = |index, field| -> Result<u32, JobsError> {
        u32::try_from(column::<i32>(row, at, index, field)?).map_err(|_| wrong(field))
    };
    let long = |index, field| -> Result<u64, JobsError> {
        u64::try_from(column::<i64>(row, at, index, field)?).map_err(|_| wrong(field))
    };
    let kind: i16 = column(row, at, 1, "kind")?;
    let kind = Kind::ALL.into_iter().find(|known| *known as i16 == kind).ok_or_else(|| wrong("kind"))?;
    let memory = u16::try_from(column::<i32>(row, at, 3, "memory")?).map_err(|_| wrong("memory"))?;
    let (at_ms, flag): (u64, bool) = (long(7, "at_ms")?, column(row, at, 8, "flag")?);
    let state = match column::<i16>(row, at, 6, "state")? {
        0 => State::Queued { not_before_ms: at_ms },
        1 => State::Running { until_ms: at_ms, cancel: flag },
        2 => State::Done { confirmed: flag },
        3 => State::Quarantined,
        4 => State::Cancelled,
        _ => return Err(wrong("state")),
    };
    let device: Option<&str> = column(row, at, 17, "device")?;
    let device = device.map(Device::new).transpose().map_err(|_| wrong("device"))?;
    let holder: Option<&str> = column(row, at, 9, "holder")?;
    let holder = holder.map(WorkerName::new).transpose().map_err(|_| wrong("holder"))?;
    Ok(Job {
        id: StatementId(bytes(0, "id")?),
        class: Class { kind, profile: ProfileId(bytes(2, "profile")?), memory, device },
        priority: Priority(column(row, at, 4, "priority")?),
        input: Digest(bytes(5, "input")?),
        state,
        holder,
        fence: long(10, "fence")?,
        failures: count(11, "failures")?,
        lapses: count(12, "lapses")?,
        // As it is written; a worker's role may write another into a row.
        reason: column::<Option<&str>>(row, at, 13, "reason")?.map(machine::plain),
        offered_ms: long(14, "offered_ms")?,
        changed_ms: long(15, "changed_ms")?,
        took_ms: column::<Option<i64>>(row, at, 16, "took_ms")?.and_then(|ms| u64::try_from(ms).ok()),
    })
}

/// Reads a worker.
pub(crate) fn worker(row: &Row, at: &str) -> Result<Worker, JobsError> {
    let wrong = |field| {
        let id = machine::plain(row.try_get(0).unwrap_or_default());
        JobsError::Damaged { at: at.into(), id, field }
    };
    // A worker's role may write what it likes of these: that ends nobody else's work.
    let long = |index, field| -> Result<u64, JobsError> {
        let value: i64 = row.try_get(index).map_err(|_| wrong(field))?;
        Ok(u64::try_from(value).unwrap_or(0))
    };
    let name: &str = row.try_get(0).map_err(|_| wrong("name"))?;
    let tally = Tally {
        claimed: long(1, "claimed")?,
        completed: long(2, "completed")?,
        confirmed: long(3, "confirmed")?,
        rejected: long(4, "rejected")?,
        failed: long(5, "failed")?,
        lapsed: long(6, "lapsed")?,
        released: long(7, "released")?,
    };
    Ok(Worker {
        name: WorkerName::new(name).map_err(|_| wrong("name"))?,
        tally,
        strikes: long(8, "strikes")?,
        struck_ms: long(9, "struck_ms")?,
        seen_ms: long(10, "seen_ms")?,
        evicted: row.try_get(11).map_err(|_| wrong("evicted"))?,
    })
}

/// Many jobs, column by column.
struct Columns {
    id: Vec<Vec<u8>>,
    kind: Vec<i16>,
    profile: Vec<Vec<u8>>,
    memory: Vec<i32>,
    priority: Vec<i64>,
    input: Vec<Vec<u8>>,
    state: Vec<i16>,
    at_ms: Vec<i64>,
    flag: Vec<bool>,
    holder: Vec<Option<String>>,
    fence: Vec<i64>,
    failures: Vec<i32>,
    lapses: Vec<i32>,
    reason: Vec<Option<String>>,
    offered_ms: Vec<i64>,
    changed_ms: Vec<i64>,
    took_ms: Vec<Option<i64>>,
    device: Vec<Option<String>>,
}

/// As a database has it: no larger than what it takes.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn signed_count(value: u32) -> i32 {
    i32::try_from(value).unwrap_or(i32::MAX)
}

impl Columns {
    fn of(jobs: &[Job]) -> Self {
        let state = |job: &Job| match job.state {
            State::Queued { not_before_ms } => (0, not_before_ms, false),
            State::Running { until_ms, cancel } => (1, until_ms, cancel),
            State::Done { confirmed } => (2, 0, confirmed),
            State::Quarantined => (3, 0, false),
            State::Cancelled => (4, 0, false),
        };
        Self {
            id: jobs.iter().map(|job| job.id.0.to_vec()).collect(),
            kind: jobs.iter().map(|job| job.class.kind as i16).collect(),
            profile: jobs.iter().map(|job| job.class.profile.0.to_vec()).collect(),
            memory: jobs.iter().map(|job| i32::from(job.class.memory)).collect(),
            priority: jobs.iter().map(|job| job.priority.0).collect(),
            input: jobs.iter().map(|job| job.input.0.to_vec()).collect(),
            state: jobs.iter().map(|job| state(job).0).collect(),
            at_ms: jobs.iter().map(|job| signed(state(job).1)).collect(),
            flag: jobs.iter().map(|job| state(job).2).collect(),
            holder: jobs.iter().map(|job| job.holder.as_ref().map(ToString::to_string)).collect(),
            fence: jobs.iter().map(|job| signed(job.fence)).collect(),
            failures: jobs.iter().map(|job| signed_count(job.failures)).collect(),
            lapses: jobs.iter().map(|job| signed_count(job.lapses)).collect(),
            reason: jobs.iter().map(|job| job.reason.clone()).collect(),
            offered_ms: jobs.iter().map(|job| signed(job.offered_ms)).collect(),
            changed_ms: jobs.iter().map(|job| signed(job.changed_ms)).collect(),
            took_ms: jobs.iter().map(|job| job.took_ms.map(signed)).collect(),
            device: jobs.iter().map(|job| job.class.device.map(|device| device.to_string())).collect(),
        }
    }

    fn parameters(&self) -> [Parameter<'_>; 18] {
        [
            (&self.id, Type::BYTEA_ARRAY),
            (&self.kind, Type::INT2_ARRAY),
            (&self.profile, Type::BYTEA_ARRAY),
            (&self.memory, Type::INT4_ARRAY),
            (&self.priority, Type::INT8_ARRAY),
            (&self.input, Type::BYTEA_ARRAY),
            (&self.state, Type::INT2_ARRAY),
            (&self.at_ms, Type::INT8_ARRAY),
            (&self.flag, Type::BOOL_ARRAY),
            (&self.holder, Type::TEXT_ARRAY),
            (&self.fence, Type::INT8_ARRAY),
            (&self.failures, Type::INT4_ARRAY),
            (&self.lapses, Type::INT4_ARRAY),
            (&self.reason, Type::TEXT_ARRAY),
            (&self.offered_ms, Type::INT8_ARRAY),
            (&self.changed_ms, Type::INT8_ARRAY),
            (&self.took_ms, Type::INT8_ARRAY),
            (&self.device, Type::TEXT_ARRAY),
        ]
    }
}

const UNNEST: &str =
    "unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)";

/// Writes rows that are there. What a worker says changes nothing of what is `wanted`, and its role may not either: those
/// columns are written where an offer or a person has changed them.
pub(crate) async fn update(client: &Client, jobs: &[Job], wanted: bool) -> Result<(), Asking> {
    if jobs.is_empty() {
        return Ok(());
    }
    let of_what_is_wanted = if wanted { "priority = new.priority, input = new.input, " } else { "" };
    let statement = format!(
        "UPDATE reprise_jobs AS job SET {of_what_is_wanted}state = new.state, \
         at_ms = new.at_ms, flag = new.flag, holder = new.holder, fence = new.fence, failures = new.failures, \
         lapses = new.lapses, reason = new.reason, changed_ms = new.changed_ms, took_ms = new.took_ms \
         FROM {UNNEST} AS new ({JOB}) \
         WHERE job.id = new.id"
    );
    client.execute_typed(&statement, &Columns::of(jobs).parameters()).await?;
    Ok(())
}

/// Writes rows that are new. Where somebody else has put one meanwhile, theirs stays.
pub(crate) async fn insert(client: &Client, jobs: &[Job]) -> Result<(), Asking> {
    if jobs.is_empty() {
        return Ok(());
    }
    let statement =
        format!("INSERT INTO reprise_jobs ({JOB}) SELECT * FROM {UNNEST} ON CONFLICT (id) DO NOTHING");
    client.execute_typed(&statement, &Columns::of(jobs).parameters()).await?;
    Ok(())
}

/// Counts more of workers, each of whom is there once, as [`Worker::add`] does.
pub(crate) async fn add(client: &Client, workers: &[(WorkerName, Tally)], now_ms: u64) -> Result<(), Asking> {
    if workers.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = workers.iter().map(|(name, _)| name.as_str()).collect();
    let of = |count: fn(&Tally) -> u64| -> Vec<i64> {
        workers.iter().map(|(_, tally)| signed(count(tally))).collect()
    };
    let counts = [
        of(|tally| tally.claimed),
        of(|tally| tally.completed),
        of(|tally| tally.confirmed),
        of(|tally| tally.rejected),
        of(|tally| tally.failed),
        of(|tally| tally.lapsed),
        of(|tally| tally.released),
        of(Tally::strikes),
    ];
    let now_ms = signed(now_ms);
    let mut parameters: Vec<Parameter<'_>> = vec![(&now_ms, Type::INT8), (&names, Type::TEXT_ARRAY)];
    parameters.extend(counts.iter().map(|count| -> Parameter<'_> { (count, Type::INT8_ARRAY) }));
    // A worker's role may have written the largest number there is: that is as much as is counted.
    let more = |count: &str| format!("least(w.{count}::numeric + EXCLUDED.{count}, {})::bigint", i64::MAX);
    let counted = ["claimed", "completed", "confirmed", "rejected", "failed", "lapsed", "released"];
    let counted = counted.map(|count| format!("{count} = {}", more(count))).join(", ");
    // In the order in which they are given, which is that of their locks.
    let statement = format!(
        "INSERT INTO reprise_workers AS w (name, claimed, completed, confirmed, rejected, failed, lapsed, \
         released, strikes, struck_ms, seen_ms) \
         SELECT new.*, CASE WHEN new.strikes > 0 THEN $1 ELSE 0 END, $1 \
         FROM unnest($2, $3, $4, $5, $6, $7, $8, $9, $10) \
         AS new (name, claimed, completed, confirmed, rejected, failed, lapsed, released, strikes) \
         ON CONFLICT (name) DO UPDATE SET {counted}, \
         strikes = CASE WHEN EXCLUDED.confirmed > 0 THEN EXCLUDED.strikes ELSE {strikes} END, \
         struck_ms = CASE WHEN EXCLUDED.strikes > 0 THEN $1 ELSE w.struck_ms END, \
         seen_ms = greatest(w.seen_ms, $1)",
        strikes = more("strikes")
    );
    client.execute_typed(&statement, &parameters).await?;
    Ok(())
}
