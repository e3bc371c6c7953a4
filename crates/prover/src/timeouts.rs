//! How long a proof may run before it counts as hung: what the operator said, or longer where proofs are measured to take
//! longer.
//!
//! A timeout is never shorter than the operator's: a proof of a full batch takes many times as long as one of a small
//! batch, and one that is written off too soon is made twice. It follows the longest of the last [`KEPT`] proofs of its
//! kind, late ones included, times [`ROOM`]. A statement whose last attempt hung is given twice the time of that attempt.
//! All of that up to [`CEILING`] times what the operator said, so that a proof which never ends is noticed.

use std::collections::VecDeque;
use std::time::Duration;

use reprise_model::statement::Kind;

/// How many measured times of a kind count.
pub const KEPT: usize = 32;

/// How many times as long as the longest measured proof another may run.
pub const ROOM: u32 = 4;

/// How many times as long as the operator said a proof may run at most.
pub const CEILING: u32 = 8;

/// The timeouts of proofs, by kind. See the [module](self).
#[derive(Debug, Clone)]
pub struct Timeouts {
    /// What the operator said, in the order of [`Kind::ALL`].
    said: [Duration; Kind::COUNT],
    /// The times of the last proofs.
    measured: [VecDeque<Duration>; Kind::COUNT],
}

impl Timeouts {
    /// The operator's, before anything is measured.
    pub fn new(said: [Duration; Kind::COUNT]) -> Self {
        Self { said, measured: Default::default() }
    }

    /// A proof of this kind took so long: one that verified, in time or late.
    pub fn measure(&mut self, kind: Kind, took: Duration) {
        let measured = &mut self.measured[kind as usize];
        measured.push_back(took);
        if measured.len() > KEPT {
            measured.pop_front();
        }
    }

    /// How long a proof of this kind may run; `hung_after` says how long the statement's last attempt ran, if it hung.
    pub fn of(&self, kind: Kind, hung_after: Option<Duration>) -> Duration {
        let said = self.said[kind as usize];
        let longest = self.measured[kind as usize].iter().max().copied().unwrap_or_default();
        let wanted = longest.saturating_mul(ROOM).max(hung_after.unwrap_or_default().saturating_mul(2));
        wanted.clamp(said, said.saturating_mul(CEILING))
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn after(said: u64, took: &[u64]) -> Timeouts {
        let mut timeouts = Timeouts::new([seconds(said); Kind::COUNT]);
        took.iter().for_each(|took| timeouts.measure(Kind::Batch, seconds(*took)));
        timeouts
    }

    #[test]
    fn a_prover_that_becomes_slower_is_given_more_time_and_that_ends_once_it_is_fast_again() {
        let mut timeouts = after(100, &[10, 20]);
        assert_eq!(timeouts.of(Kind::Batch, None), seconds(100), "four times the longest is less");
        timeouts.measure(Kind::Batch, seconds(90));
        assert_eq!(timeouts.of(Kind::Batch, None), seconds(360));
        assert_eq!(timeouts.of(Kind::Aggregate, None), seconds(100), "of another kind nothing is known");
        (0..KEPT).for_each(|_| timeouts.measure(Kind::Batch, seconds(1)));
        assert_eq!(timeouts.of(Kind::Batch, None), seconds(100));
    }

    #[test]
    fn a_statement_that_hung_is_given_twice_the_time_and_no_other_is() {
        let timeouts = after(100, &[]);
        let of = |hung: Option<u64>| timeouts.of(Kind::Batch, hung.map(seconds));
        assert_eq!(
            [None, Some(100), Some(200), Some(400), Some(900)].map(of),
            [100, 200, 400, 800, 800].map(seconds)
        );
    }

    #[test]
    fn a_proof_that_is_never_to_be_written_off_is_not() {
        let mut timeouts = Timeouts::new([Duration::MAX; Kind::COUNT]);
        timeouts.measure(Kind::Batch, Duration::MAX);
        assert_eq!(timeouts.of(Kind::Batch, Some(Duration::MAX)), Duration::MAX);
    }

    proptest! {
        #[test]
        fn a_timeout_lies_between_what_was_said_and_its_ceiling(
            said in 1..10_000u64, took in vec(0..100_000u64, 0..80), hung in proptest::option::of(0..100_000u64),
        ) {
            let timeout = after(said, &took).of(Kind::Batch, hung.map(seconds));
            prop_assert!(seconds(said) <= timeout && timeout <= seconds(said) * CEILING);
        }

        #[test]
        fn a_proof_as_long_as_any_of_the_last_is_in_time_up_to_the_ceiling(
            said in 1..10_000u64, took in vec(0..100_000u64, 1..80), which in any::<prop::sample::Index>(),
        ) {
            let last = &took[took.len().saturating_sub(KEPT)..];
            let again = seconds(*which.get(last)).min(seconds(said) * CEILING);
            prop_assert!(again <= after(said, &took).of(Kind::Batch, None));
        }

        #[test]
        fn one_slower_proof_never_shortens_a_timeout(
            said in 1..10_000u64, took in vec(0..100_000u64, 0..KEPT), more in 0..100_000u64,
        ) {
            let before = after(said, &took).of(Kind::Batch, None);
            let mut timeouts = after(said, &took);
            timeouts.measure(Kind::Batch, seconds(more));
            prop_assert!(timeouts.of(Kind::Batch, None) >= before);
        }

        #[test]
        fn what_was_measured_long_ago_does_not_count(
            said in 1..10_000u64, old in vec(0..100_000u64, 0..80), took in vec(0..100_000u64, KEPT..80),
        ) {
            let all: Vec<u64> = old.iter().chain(&took).copied().collect();
            prop_assert_eq!(after(said, &all).of(Kind::Batch, None), after(said, &took).of(Kind::Batch, None));
        }
    }
}
