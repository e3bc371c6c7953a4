//! How a queue is run: budgets, leases, waits. Values, and functions of values; no clock.

use std::time::Duration;

/// How a queue is run. All who share one table should say the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How long a lease is valid after a claim or a heartbeat.
    pub lease: Duration,
    /// A job that failed so often is quarantined.
    pub failures_max: u32,
    /// A job on which so many leases ran out is quarantined: it may be what ends whoever tries it.
    pub lapses_max: u32,
    /// How long a job waits after its first failure; doubled with each, up to [`Self::backoff_max`].
    pub backoff: Duration,
    /// The longest wait after a failure.
    pub backoff_max: Duration,
    /// How many jobs a worker may hold at a time.
    pub held_max: usize,
    /// How many jobs are claimed by one request, at most.
    pub batch_max: usize,
    /// A worker rests after so many rejected receipts, failures and lost leases.
    pub strikes_max: u32,
    /// How long it rests at first; doubled with each strike more, up to [`Self::rest_max`].
    pub rest: Duration,
    /// The longest rest.
    pub rest_max: Duration,
    /// How long a job is remembered that is done and confirmed, or cancelled; and a worker that is not heard of.
    pub retention: Duration,
    /// How long a job is remembered that is done and that nobody confirmed, or that is quarantined.
    pub retention_max: Duration,
}

/// A lease that goes on for longer than so many of this policy's was given before the clock stepped back. More than one: while
/// the length is changed, some who share a table have the longer one.
const LEASES_AHEAD_MAX: u32 = 4;

impl Default for Policy {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            failures_max: 3,
            lapses_max: 8,
            backoff: Duration::from_millis(200),
            backoff_max: Duration::from_secs(60),
            held_max: 64,
            batch_max: 64,
            strikes_max: 4,
            rest: Duration::from_secs(30),
            rest_max: Duration::from_secs(3600),
            retention: Duration::from_secs(24 * 3600),
            retention_max: Duration::from_secs(7 * 24 * 3600),
        }
    }
}

impl Policy {
    /// How long a job waits that failed so often.
    pub fn backoff_ms(&self, failures: u32) -> u64 {
        doubled(self.backoff, self.backoff_max, u64::from(failures.saturating_sub(1)))
    }

    /// How long the end of a lease may be away at most.
    pub fn lease_ahead_ms(&self) -> u64 {
        millis(self.lease.saturating_mul(LEASES_AHEAD_MAX))
    }

    /// How long a worker rests that has so many strikes more than it may.
    pub fn rest_ms(&self, over: u64) -> u64 {
        doubled(self.rest, self.rest_max, over)
    }
}

/// In milliseconds.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn doubled(first: Duration, max: Duration, times: u64) -> u64 {
    let factor = u32::try_from(times).ok().and_then(|times| 1u32.checked_shl(times)).unwrap_or(u32::MAX);
    millis(first.saturating_mul(factor).min(max))
}
