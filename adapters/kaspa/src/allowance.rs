//! Allowances: what may be paid in a day.

use std::time::{Duration, Instant};

use kaspa_consensus_core::Hash;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How many transactions are remembered with what they took.
const REMEMBERED_MAX: usize = 16;

/// What a node pays in fees, and what it adds to the vault: so much a day, and never more at once.
#[derive(Debug, Clone)]
pub struct Allowance {
    a_day: u64,
    left: u64,
    since: Instant,
    /// What the last transactions took, which is given back where one is replaced.
    taken: Vec<(Hash, u64)>,
}

impl Allowance {
    /// So many sompi a day, all of which are left now.
    pub fn of(a_day: u64, now: Instant) -> Self {
        Self { a_day, left: a_day, since: now, taken: vec![] }
    }

    /// What there is for a day.
    pub fn a_day(&self) -> u64 {
        self.a_day
    }

    /// What is left.
    pub fn left(&mut self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.since).min(DAY);
        let grown = u128::from(self.a_day) * since.as_millis() / DAY.as_millis();
        let left = u128::from(self.left).saturating_add(grown).min(self.a_day.into());
        self.left = u64::try_from(left).unwrap_or(u64::MAX);
        self.since = self.since.max(now);
        self.left
    }

    /// What is left for a transaction in place of this one, of which one at most is mined.
    pub fn left_for(&mut self, replaced: Option<Hash>, now: Instant) -> u64 {
        let taken = self.taken.iter().find(|(id, _)| Some(*id) == replaced).map_or(0, |(_, fee)| *fee);
        self.left(now).saturating_add(taken).min(self.a_day)
    }

    /// A transaction was sent for so much, in place of another if it replaced that.
    pub fn take(&mut self, (id, fee): (Hash, u64), replaced: Option<Hash>, now: Instant) {
        self.left = self.left_for(replaced, now).saturating_sub(fee);
        self.taken.retain(|(id, _)| Some(*id) != replaced);
        self.taken.push((id, fee));
        let over = self.taken.len().saturating_sub(REMEMBERED_MAX);
        self.taken.drain(..over);
    }

    /// Nothing grows back while a test runs.
    #[cfg(test)]
    pub(crate) fn stand_still(&mut self) {
        self.since += DAY;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Hash = Hash::from_bytes([1; 32]);
    const SECOND: Hash = Hash::from_bytes([2; 32]);

    #[test]
    fn fees_stay_within_the_day_s_and_grow_back_evenly() {
        let begin = Instant::now();
        let mut allowance = Allowance::of(1_000, begin);
        assert_eq!(allowance.left(begin), 1_000);
        allowance.take((FIRST, 1_000), None, begin);
        assert_eq!(allowance.left(begin), 0);
        assert_eq!(allowance.left(begin + DAY / 4), 250);
        allowance.take((SECOND, 250), None, begin + DAY / 4);
        assert_eq!(allowance.left(begin + DAY / 2), 250);
        assert_eq!(allowance.left(begin + 9 * DAY), 1_000, "and no more than a day's at once");
        // Looked at every second, it grows as if it were looked at once.
        let mut often = Allowance::of(86_400_000, begin);
        often.take((FIRST, 86_400_000), None, begin);
        let last = (1..=3_600).map(|second| often.left(begin + Duration::from_secs(second))).last();
        assert_eq!(last, Some(3_600_000));
    }

    #[test]
    fn a_transaction_in_place_of_another_takes_only_what_it_pays_more() {
        let begin = Instant::now();
        let mut allowance = Allowance::of(1_000, begin);
        allowance.take((FIRST, 900), None, begin);
        assert_eq!((allowance.left(begin), allowance.left_for(Some(FIRST), begin)), (100, 1_000));
        assert_eq!(allowance.left_for(Some(SECOND), begin), 100, "somebody else's took nothing");
        allowance.take((SECOND, 950), Some(FIRST), begin);
        assert_eq!(allowance.left(begin), 50);
        assert_eq!(allowance.left_for(Some(FIRST), begin), 50, "it is given back once");
        assert_eq!(allowance.left_for(Some(SECOND), begin), 1_000);
    }
}
