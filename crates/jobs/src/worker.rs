//! Workers: who proves, what came of it, and whether they rest.

use std::fmt;

use crate::policy::{Policy, millis};

/// What a worker is called: once over the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkerName(String);

/// The longest name, in bytes.
pub const NAME_LEN_MAX: usize = 96;

/// A text that is no name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` names no machine: give 1 to {NAME_LEN_MAX} letters, digits, dots, dashes or underscores")]
pub struct NameError {
    /// What was given.
    pub text: String,
}

impl WorkerName {
    /// Reads a name.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
        if text.is_empty() || text.len() > NAME_LEN_MAX || !text.chars().all(plain) {
            return Err(NameError {
                text: text.chars().filter(|c| !c.is_control()).take(NAME_LEN_MAX).collect(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What came of a worker's claims, counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
pub struct Tally {
    /// Jobs it claimed.
    pub claimed: u64,
    /// Jobs it said it has done.
    pub completed: u64,
    /// Of these, what others verified.
    pub confirmed: u64,
    /// Of these, what did not verify.
    pub rejected: u64,
    /// Jobs it said it cannot do, having tried.
    pub failed: u64,
    /// Leases of its that ran out.
    pub lapsed: u64,
    /// Jobs it gave back, or of which there was nothing to prove them from.
    pub released: u64,
}

impl Tally {
    /// What speaks against it.
    pub fn strikes(&self) -> u64 {
        self.rejected.saturating_add(self.failed).saturating_add(self.lapsed)
    }

    /// Both together.
    pub fn plus(self, other: Self) -> Self {
        Self {
            claimed: self.claimed.saturating_add(other.claimed),
            completed: self.completed.saturating_add(other.completed),
            confirmed: self.confirmed.saturating_add(other.confirmed),
            rejected: self.rejected.saturating_add(other.rejected),
            failed: self.failed.saturating_add(other.failed),
            lapsed: self.lapsed.saturating_add(other.lapsed),
            released: self.released.saturating_add(other.released),
        }
    }
}

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "schema", derive(serde::Serialize, utoipa::ToSchema))]
#[cfg_attr(feature = "schema", serde(rename_all = "snake_case"))]
pub enum Stand {
    /// It was heard of lately, and is given what there is.
    Working,
    /// It is given nothing for a while, because of what came of its claims.
    Resting,
    /// It is given nothing until somebody lets it in again.
    Evicted,
    /// It was not heard of lately.
    Away,
}

impl Stand {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Working, Self::Resting, Self::Evicted, Self::Away];
}

impl fmt::Display for Stand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Working => "working",
            Self::Resting => "resting",
            Self::Evicted => "evicted",
            Self::Away => "away",
        })
    }
}

/// Who proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// What it is called.
    pub name: WorkerName,
    /// What came of its claims.
    pub tally: Tally,
    /// What spoke against it since something of its was last confirmed.
    pub strikes: u64,
    /// When something last spoke against it, in milliseconds since the Unix epoch.
    pub struck_ms: u64,
    /// When it was last heard of.
    pub seen_ms: u64,
    /// Whether it is given nothing any more, until somebody lets it in again.
    pub evicted: bool,
}

impl Worker {
    /// One that was never heard of before.
    pub fn new(name: WorkerName) -> Self {
        Self { name, tally: Tally::default(), strikes: 0, struck_ms: 0, seen_ms: 0, evicted: false }
    }

    /// Counts more. What is confirmed clears what spoke against it before.
    pub fn add(&mut self, tally: &Tally, now_ms: u64) {
        self.tally = self.tally.plus(*tally);
        if tally.confirmed > 0 {
            self.strikes = 0;
        }
        if tally.strikes() > 0 {
            self.strikes = self.strikes.saturating_add(tally.strikes());
            self.struck_ms = now_ms;
        }
        self.seen_ms = self.seen_ms.max(now_ms);
    }

    /// How it stands.
    pub fn stand(&self, policy: &Policy, now_ms: u64) -> Stand {
        // Two leases: whoever works says so three times in one.
        let lately = now_ms.saturating_sub(2 * millis(policy.lease));
        match self.rests_until(policy, now_ms) {
            _ if self.evicted => Stand::Evicted,
            Some(_) => Stand::Resting,
            None if self.seen_ms < lately => Stand::Away,
            None => Stand::Working,
        }
    }

    /// Until when it is given nothing, if it rests.
    pub fn rests_until(&self, policy: &Policy, now_ms: u64) -> Option<u64> {
        let over = self.strikes.checked_sub(u64::from(policy.strikes_max.max(1)))?;
        let until = self.struck_ms.saturating_add(policy.rest_ms(over));
        // What lies ahead was counted before the clock stepped back, which nobody knows by how much.
        (self.struck_ms <= now_ms && now_ms < until).then_some(until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_plain_and_bounded() {
        for good in ["a", "host-1.example_2", &"x".repeat(NAME_LEN_MAX)] {
            assert_eq!(WorkerName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "a b", "a\n", "é", "'; drop table", &"x".repeat(NAME_LEN_MAX + 1)] {
            assert!(WorkerName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_worker_rests_after_so_many_strikes_longer_each_time_and_a_confirmation_clears_them() {
        let policy = Policy::default();
        let mut worker = Worker::new(WorkerName::new("w").unwrap());
        let mut rests = vec![];
        for strike in 1..=policy.strikes_max + 3 {
            worker.add(&Tally { rejected: 1, ..Tally::default() }, 1000);
            let until = worker.rests_until(&policy, 1000);
            assert_eq!(until.is_some(), strike >= policy.strikes_max, "{strike}");
            rests.extend(until.map(|until| until - 1000));
        }
        assert!(rests.is_sorted() && rests.first() < rests.last(), "{rests:?}");
        let until = worker.rests_until(&policy, 1000).unwrap();
        assert_eq!(worker.rests_until(&policy, until), None);
        worker.add(&Tally { confirmed: 1, ..Tally::default() }, 1001);
        assert_eq!(worker.rests_until(&policy, 1001), None);
    }
}
