//! The layout of the tables. Each layout is made of the one before, in one transaction; a newer one is refused by name.

use reprise_jobs::JobsError;
use tokio_postgres::Client;

use crate::pool::Asking;

/// What makes each layout of the one before. What was released is never changed; another is appended.
const LAYOUTS: [&str; 3] = [
    r"
CREATE TABLE reprise_jobs (
    id bytea PRIMARY KEY CHECK (length(id) = 32),
    kind smallint NOT NULL,
    profile bytea NOT NULL CHECK (length(profile) = 32),
    memory integer NOT NULL,
    priority bigint NOT NULL,
    input bytea NOT NULL CHECK (length(input) = 32),
    -- 0 queued, 1 running, 2 done, 3 quarantined, 4 cancelled
    state smallint NOT NULL CHECK (state BETWEEN 0 AND 4),
    -- of a queued job, from when on it may be claimed; of a running one, until when its lease is valid
    at_ms bigint NOT NULL,
    -- of a running job, whether its end is asked for; of one that is done, whether that is confirmed
    flag boolean NOT NULL,
    holder text CHECK (length(holder) <= 96),
    fence bigint NOT NULL,
    failures integer NOT NULL,
    lapses integer NOT NULL,
    reason text CHECK (length(reason) <= 1024),
    offered_ms bigint NOT NULL,
    changed_ms bigint NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX reprise_jobs_queued ON reprise_jobs (profile, priority, id) WHERE state = 0;
CREATE INDEX reprise_jobs_running ON reprise_jobs (at_ms) WHERE state = 1;
CREATE INDEX reprise_jobs_ended ON reprise_jobs (changed_ms) WHERE state >= 2;
CREATE TABLE reprise_workers (
    name text PRIMARY KEY CHECK (length(name) <= 96),
    claimed bigint NOT NULL DEFAULT 0,
    completed bigint NOT NULL DEFAULT 0,
    confirmed bigint NOT NULL DEFAULT 0,
    rejected bigint NOT NULL DEFAULT 0,
    failed bigint NOT NULL DEFAULT 0,
    lapsed bigint NOT NULL DEFAULT 0,
    released bigint NOT NULL DEFAULT 0,
    strikes bigint NOT NULL DEFAULT 0,
    struck_ms bigint NOT NULL DEFAULT 0,
    seen_ms bigint NOT NULL DEFAULT 0,
    evicted boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
",
    r"
-- how long whoever completed it had held it
ALTER TABLE reprise_jobs ADD COLUMN took_ms bigint CHECK (took_ms >= 0);
",
    r"
-- the sort of device that it requires
ALTER TABLE reprise_jobs ADD COLUMN device text CHECK (length(device) BETWEEN 1 AND 16);
",
];

/// The lock of whoever changes the layout; of the transaction, so that a pooler may stand between.
const LOCK: i64 = 0x7265_7072_6973_6501;

/// Brings the tables to the newest layout, in a transaction that begins so. Whoever may not change it can use one that is there.
pub(crate) async fn prepare(client: &Client, begin: &str, at: &str) -> Result<(), Asking> {
    let known = LAYOUTS.len() as i64;
    client.batch_execute(begin).await?;
    if found(client).await? == Some(known) {
        return Ok(client.batch_execute("COMMIT").await?);
    }
    client.batch_execute(&format!("SELECT pg_advisory_xact_lock({LOCK})")).await?;
    let found = found(client).await?;
    if found.is_none() {
        client.batch_execute("CREATE TABLE reprise_layout (layout bigint NOT NULL)").await?;
        client.batch_execute("INSERT INTO reprise_layout VALUES (0)").await?;
    }
    let found = found.unwrap_or(0);
    if found > known {
        return Err(JobsError::Layout { at: at.into(), found, known }.into());
    }
    for layout in LAYOUTS.iter().skip(usize::try_from(found).unwrap_or(0)) {
        client.batch_execute(layout).await?;
    }
    client.batch_execute(&format!("UPDATE reprise_layout SET layout = {known}; COMMIT")).await?;
    Ok(())
}

/// Which layout there is.
async fn found(client: &Client) -> Result<Option<i64>, Asking> {
    // Not `to_regclass`, which may answer from before the lock was waited for.
    let statement = "SELECT EXISTS (SELECT FROM pg_catalog.pg_class WHERE relname = 'reprise_layout' \
                     AND pg_catalog.pg_table_is_visible(oid))";
    let there = client.query_typed(statement, &[]).await?;
    if !there.first().is_some_and(|row| row.get(0)) {
        return Ok(None);
    }
    let rows = client.query_typed("SELECT layout FROM reprise_layout", &[]).await?;
    Ok(rows.first().map(|row| row.get(0)))
}
