//! Connections: so many at most, made when they are needed, given back or dropped.
//!
//! A connection is driven by the thread that asks over it, and by no other: between threads that wait for each other a question of a
//! tenth of a millisecond would take several.
//!
//! Who asks waits for so long, and then gives the connection up; the server, which may not notice that, is told with each transaction
//! to wait for no longer either.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reprise_jobs::JobsError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::yield_now;
use tokio::time::timeout;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error};

use crate::address::Address;

/// How long a request may take before its connection is given up, where nobody says otherwise.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Connections to one database.
pub(crate) struct Pool {
    address: Address,
    most: usize,
    /// How long a request may take.
    pub(crate) patience: Duration,
    connections: Mutex<Connections>,
    given_back: Condvar,
}

#[derive(Default)]
struct Connections {
    idle: Vec<Connection>,
    in_use: usize,
}

/// A connection, and what drives it while somebody asks over it.
struct Connection {
    client: Client,
    driver: Driver,
}

/// Drives a connection. It can be dropped anywhere, also by a thread of another runtime: nothing is waited for.
struct Driver(Option<Runtime>);

impl Driver {
    /// What comes of a request within a time.
    fn drive<R>(&self, patience: Duration, request: impl Future<Output = R>) -> Option<R> {
        let runtime = self.0.as_ref()?;
        runtime.block_on(async { timeout(patience, request).await }).ok()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connection {
    /// Whether it has ended, as far as the system knows by now.
    fn has_ended(&self, patience: Duration) -> bool {
        let looked = self.driver.drive(patience, async {
            // What has arrived is looked for the first time, and read the second.
            yield_now().await;
            yield_now().await;
        });
        looked.is_none() || self.client.is_closed()
    }
}

/// The right to one of the connections.
struct Permit<'p>(&'p Pool);

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.connections().in_use -= 1;
        self.0.given_back.notify_one();
    }
}

impl Pool {
    pub(crate) fn new(address: Address, most: usize) -> Self {
        let (connections, given_back) = (Mutex::default(), Condvar::new());
        Self { address, most: most.max(1), patience: ANSWER_WITHIN, connections, given_back }
    }

    /// What begins a transaction: in it the server waits neither for a lock nor for us for longer than we wait for it. Otherwise what
    /// we gave up would go on there, and keep a connection and its locks. Of the transaction, so that a pooler may stand between.
    pub(crate) fn begin(&self) -> String {
        let patience_ms = self.patience.as_millis().max(2);
        format!(
            "BEGIN; SET LOCAL lock_timeout = {}; SET LOCAL statement_timeout = {patience_ms}; \
             SET LOCAL idle_in_transaction_session_timeout = {patience_ms}",
            // Less, so that we hear of it.
            patience_ms / 2
        )
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks something over a connection. What is left open after an error is rolled back.
    pub(crate) fn ask<R>(
        &self,
        what: impl AsyncFnOnce(&Client) -> Result<R, Asking>,
    ) -> Result<R, JobsError> {
        let until = Instant::now() + self.patience;
        let left = || until.saturating_duration_since(Instant::now());
        let _permit = self.permit(left()).ok_or_else(|| self.late())?;
        let connection = self.take(left())?;
        let whole = async {
            let asked = what(&connection.client).await;
            let is_clean = match &asked {
                Ok(_) => true,
                // It is not the primary, or not any more: another connection may lead to that.
                Err(Asking::Failed(error)) if error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION) => {
                    false
                }
                Err(_) => connection.client.batch_execute("ROLLBACK").await.is_ok(),
            };
            (asked.map_err(|error| self.tell(error)), is_clean)
        };
        let (asked, is_clean) = connection.driver.drive(left(), whole).ok_or_else(|| self.late())?;
        if is_clean {
            self.connections().idle.push(connection);
        }
        asked
    }

    /// Waits for the right to a connection; none within the time.
    fn permit(&self, patience: Duration) -> Option<Permit<'_>> {
        let full = |connections: &mut Connections| connections.in_use >= self.most;
        let waited = self.given_back.wait_timeout_while(self.connections(), patience, full);
        let (mut connections, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            return None;
        }
        connections.in_use += 1;
        Some(Permit(self))
    }

    fn take(&self, patience: Duration) -> Result<Connection, JobsError> {
        let idle = || self.connections().idle.pop();
        while let Some(connection) = idle() {
            if !connection.has_ended(patience) {
                return Ok(connection);
            }
        }
        let Address { config, tls, .. } = &self.address;
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| JobsError::Refused {
            at: self.address.shown.clone(),
            reason: format!("nothing to drive a connection: {error}"),
        })?;
        let driver = Driver(Some(runtime));
        let connect = async {
            let (client, connection) = config.connect(tls.clone()).await?;
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a connection to PostgreSQL ended");
                }
            });
            Ok(client)
        };
        let connected = driver.drive(patience, connect).ok_or_else(|| self.late())?;
        let client = connected.map_err(|error: Error| self.tell(error.into()))?;
        Ok(Connection { client, driver })
    }

    fn late(&self) -> JobsError {
        let reason = format!("no answer within {:?}", self.patience);
        JobsError::Unreachable { at: self.address.shown.clone(), reason }
    }

    fn tell(&self, error: Asking) -> JobsError {
        let at = self.address.shown.clone();
        match error {
            Asking::Decided(error) => error,
            Asking::Failed(error) => {
                let reason = in_words(&error);
                if is_transient(&error) {
                    JobsError::Unreachable { at, reason }
                } else {
                    JobsError::Refused { at, reason }
                }
            }
        }
    }
}

/// Why something was not answered.
pub(crate) enum Asking {
    /// The driver or the server says so.
    Failed(Error),
    /// We do.
    Decided(JobsError),
}

impl From<Error> for Asking {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<JobsError> for Asking {
    fn from(error: JobsError) -> Self {
        Self::Decided(error)
    }
}

/// What SQLSTATEs that pass begin with: the classes of connections, rolled back transactions, resources, operators and the system;
/// and a server that is read-only, as while another takes its place or a disk is full, a transaction that waited for too long for us
/// (25P03) or took too long (25P04), and a lock that was waited for too long.
const PASSING: [&str; 9] = ["08", "40", "53", "57", "58", "25006", "25P03", "25P04", "55P03"];

fn is_transient(error: &Error) -> bool {
    match error.code() {
        Some(code) => PASSING.iter().any(|class| code.code().starts_with(class)),
        // Not the server's word: the connection's.
        None => true,
    }
}

fn in_words(error: &Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} (SQLSTATE {})", said.message(), said.code().code()),
        None => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
