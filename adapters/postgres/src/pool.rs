//! Connections: so many at most, made when they are needed, given back or dropped.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reprise_jobs::JobsError;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::{Client, Error};

use crate::address::Address;

/// How long a request may take before its connection is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// Connections to one database.
pub(crate) struct Pool {
    address: Address,
    idle: Mutex<Vec<Client>>,
    permits: Semaphore,
}

/// A connection in use; it is not given back unless it is said to be clean.
struct Taken<'p> {
    pool: &'p Pool,
    client: Client,
}

impl Pool {
    pub(crate) fn new(address: Address, most: usize) -> Arc<Self> {
        Arc::new(Self { address, idle: Mutex::default(), permits: Semaphore::new(most.max(1)) })
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks something over a connection. What is left open after an error is rolled back.
    pub(crate) async fn ask<R>(
        &self,
        what: impl AsyncFnOnce(&Client) -> Result<R, Asking>,
    ) -> Result<R, JobsError> {
        let whole = async {
            // Never closed, so there is always one to come.
            let _permit = self.permits.acquire().await;
            let taken = self.take().await?;
            let asked = what(&taken.client).await;
            if asked.is_ok() || taken.client.batch_execute("ROLLBACK").await.is_ok() {
                taken.give_back();
            }
            asked.map_err(|error| self.tell(error))
        };
        let late = || JobsError::Unreachable {
            at: self.address.shown.clone(),
            reason: format!("no answer within {} s", ANSWER_WITHIN.as_secs()),
        };
        timeout(ANSWER_WITHIN, whole).await.unwrap_or_else(|_| Err(late()))
    }

    async fn take(&self) -> Result<Taken<'_>, JobsError> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        while let Some(client) = idle() {
            if !client.is_closed() {
                return Ok(Taken { pool: self, client });
            }
        }
        let Address { config, tls, .. } = &self.address;
        let connected = config.connect(tls.clone()).await;
        let (client, connection) = connected.map_err(|error| self.tell(error.into()))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        Ok(Taken { pool: self, client })
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

impl Taken<'_> {
    fn give_back(self) {
        self.pool.idle.lock().unwrap_or_else(PoisonError::into_inner).push(self.client);
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

/// Classes of SQLSTATE that pass: connection, transaction rollback, resources, operator, system.
const PASSING: [&str; 5] = ["08", "40", "53", "57", "58"];

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
