//! The policy of proving: bounds, budgets, waits. Values, and functions of values; no clock.

use std::time::Duration;

use reprise_model::statement::Kind;

/// The policy of proving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// The most jobs; at least one more than there are permits. Of a larger demand, what can be looked up or proved now
    /// is admitted first, then what waits for it, each in the demand's order.
    pub jobs_max: usize,
    /// How often a statement may fail.
    pub budget: Budget,
    /// How long a proof of each kind, in the order of [`Kind::ALL`], may run at least before it counts as hung: longer where
    /// proofs are [measured](crate::timeouts) to take longer.
    pub timeout: [Duration; Kind::COUNT],
    /// How long a failed job waits before it is begun again.
    pub backoff: Backoff,
    /// When a device that keeps failing is suspended, and for how long.
    pub breaker: Breaker,
    /// What happens to a running proof that is no longer wanted.
    pub orphans: Orphans,
    /// Whether dormant jobs are started while a permit is free and nothing that is wanted can start.
    pub speculate_orphans: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            jobs_max: 512,
            budget: Budget::default(),
            timeout: [600, 1200, 1200].map(Duration::from_secs),
            backoff: Backoff::default(),
            breaker: Breaker::default(),
            orphans: Orphans::FinishAndStore,
            speculate_orphans: false,
        }
    }
}

/// How often a statement may fail before it is given up. A cheap failure costs no proof (an assumption is lost, the store
/// panics); an expensive one costs up to a whole proof. An interruption is the end of the process during the proof:
/// the system killed it for its memory, say, or an operator did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// The number of cheap failures at which it is given up.
    pub cheap: u32,
    /// The number of expensive failures at which it is given up.
    pub expensive: u32,
    /// The number of interruptions at which it is given up.
    pub interrupted: u32,
}

impl Default for Budget {
    fn default() -> Self {
        Self { cheap: 16, expensive: 3, interrupted: 10 }
    }
}

/// After so many interruptions a statement is proved alone: it may be the one that ends the process, and then it takes no
/// other proof with it.
pub const ALONE_AFTER: u32 = 2;

/// The wait before a failed job is begun again: doubled with each failure, spread by the statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// After the first failure, at most.
    pub first: Duration,
    /// After any.
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_millis(100), max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// No wait at all.
    pub const NONE: Self = Self { first: Duration::ZERO, max: Duration::ZERO };

    /// The wait after failure number `failures`, counted from 1: between half and the whole of the doubled first wait. The
    /// part is a function of the name, so that a run repeats, and statements that failed together are not begun together.
    pub fn wait(&self, name: &[u8], failures: u32) -> Duration {
        let doubled = 1u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.first.saturating_mul(doubled).min(self.max);
        let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 backoff jitter");
        hasher.update(name).update(&failures.to_le_bytes());
        let spread = hasher.finalize().as_bytes()[0];
        whole / 2 + whole / 2 * u32::from(spread) / 255
    }
}

/// When a device is suspended that keeps failing. Its failures then count as cheap failures of their statements, not as
/// expensive ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// After so many failures in a row; never, where this is 0.
    pub failures: u32,
    /// The length of a suspension. It grows each time that the trial proof fails too.
    pub suspension: Backoff,
}

impl Default for Breaker {
    fn default() -> Self {
        let suspension = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(300) };
        Self { failures: 3, suspension }
    }
}

impl Breaker {
    /// Never.
    pub const NEVER: Self = Self { failures: 0, suspension: Backoff::NONE };
}

/// What happens to a running proof that is no longer wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Orphans {
    /// It is finished and stored: the chain may flip back.
    #[default]
    FinishAndStore,
    /// It is asked to end once it has been unwanted for this long. A backend that cannot be asked finishes it.
    AbortAfter(Duration),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_spread_by_the_statement() {
        let backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
        for name in 0..64 {
            let id = [name; 32];
            for failures in 1..70 {
                let whole = backoff.first.saturating_mul(1 << (failures - 1).min(20)).min(backoff.max);
                let wait = backoff.wait(&id, failures);
                assert!(whole / 2 <= wait && wait <= whole, "{wait:?} of {whole:?}");
                assert_eq!(wait, backoff.wait(&id, failures));
            }
        }
        let spread: std::collections::HashSet<_> = (0..64).map(|name| backoff.wait(&[name; 32], 1)).collect();
        assert!(spread.len() > 32);
        assert_eq!(Backoff::NONE.wait(&[1; 32], 9), Duration::ZERO);
    }
}
