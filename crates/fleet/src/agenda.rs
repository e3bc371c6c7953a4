//! When a worker looks for work, and when it says that it still works. No clock: the time is an argument, counted from
//! the worker's start.

use std::time::Duration;

use reprise_model::mutation::{self, Mutation};

/// How much shorter than a lease the time between two signs of life is: two may be lost.
const BEATS_A_LEASE: u32 = 3;

/// How often the wait of a worker that cannot reach what is shared is doubled, at most.
const DOUBLED_MAX: u32 = 4;

/// What a worker does next, and when.
#[derive(Debug, Clone)]
pub struct Agenda {
    poll: Duration,
    lease: Duration,
    beat_every: Duration,
    /// Nothing where something may have changed since.
    looked: Option<Duration>,
    beaten: Option<Duration>,
    not_before: Duration,
    /// How often one after another what is shared was out of reach.
    away: u32,
}

impl Agenda {
    /// Looks every `poll` where nobody tells it to, and says so often enough for leases of this length that it works.
    pub fn new(poll: Duration, lease: Duration) -> Self {
        let beat_every = match mutation::is(Mutation::LateHeartbeat) {
            true => lease * 2,
            false => lease / BEATS_A_LEASE,
        };
        Self { poll, lease, beat_every, looked: None, beaten: None, not_before: Duration::ZERO, away: 0 }
    }

    /// How long it is at most between two signs of life.
    pub fn beat_every(&self) -> Duration {
        self.beat_every
    }

    /// Whether to look for work. A wake-up may be lost, so time alone is reason enough.
    pub fn looks(&self, now: Duration) -> bool {
        let waited =
            |at: Duration| now.saturating_sub(at) >= self.poll && !mutation::is(Mutation::LostWakeUp);
        now >= self.not_before && self.looked.is_none_or(waited)
    }

    /// It has looked, and was answered.
    pub fn looked(&mut self, now: Duration) {
        self.looked = Some(now);
    }

    /// Something may have changed: a device is free, or somebody said so.
    pub fn woken(&mut self) {
        self.looked = None;
    }

    /// It looks for nothing for so long.
    pub fn rest(&mut self, now: Duration, wait: Duration) {
        self.not_before = now + wait;
    }

    /// What its jobs are proved from was out of reach for as long as a lease: it looks for nothing for as long, and for longer each
    /// time. Several devices may say so of one outage.
    pub fn out_of_reach(&mut self, now: Duration) {
        if now >= self.not_before {
            self.rest(now, self.lease * (1 << self.away));
            self.away = (self.away + 1).min(DOUBLED_MAX);
        }
    }

    /// It was within reach.
    pub fn in_reach(&mut self) {
        self.away = 0;
    }

    /// Whether to say that it still works; then it counts as said.
    pub fn beats(&mut self, now: Duration) -> bool {
        let due = self.beaten.is_none_or(|at| now.saturating_sub(at) >= self.beat_every);
        if due {
            self.beaten = Some(now);
        }
        due
    }

    /// When something of this is due next, if nobody says anything meanwhile.
    pub fn next(&self) -> Duration {
        let beat = self.beaten.map_or(Duration::ZERO, |at| at + self.beat_every);
        let look = match self.looked {
            Some(_) if mutation::is(Mutation::LostWakeUp) => beat,
            Some(at) => self.not_before.max(at + self.poll),
            None => self.not_before,
        };
        beat.min(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_worker_looks_when_it_is_told_and_when_nobody_tells_it() {
        let mut agenda = Agenda::new(SECOND * 2, SECOND * 30);
        assert!(agenda.looks(Duration::ZERO));
        agenda.looked(SECOND);
        assert!(!agenda.looks(SECOND * 2) && agenda.looks(SECOND * 3), "after a poll");
        agenda.woken();
        assert!(agenda.looks(SECOND * 2));
        agenda.rest(SECOND * 2, SECOND * 10);
        assert!(!agenda.looks(SECOND * 11) && agenda.looks(SECOND * 12), "not while it rests");
    }

    #[test]
    fn a_worker_that_reaches_nothing_shared_looks_for_work_more_and_more_rarely_and_soon_again_once_it_does()
    {
        let lease = SECOND * 30;
        let (mut agenda, mut now, mut waits) = (Agenda::new(SECOND * 2, lease), SECOND, vec![]);
        let wait = |agenda: &Agenda, now| {
            (1..).map(|seconds| SECOND * seconds).find(|wait| agenda.looks(now + *wait)).unwrap_or_default()
        };
        for _ in 0..8 {
            agenda.out_of_reach(now);
            agenda.out_of_reach(now + SECOND);
            waits.push(wait(&agenda, now));
            now += waits.iter().last().copied().unwrap_or_default();
        }
        assert!(waits.is_sorted() && waits[0] == lease && waits[3] == lease * 8, "{waits:?}");
        assert_eq!(waits[7], lease * 16, "and no longer than that");
        agenda.in_reach();
        agenda.out_of_reach(now);
        assert_eq!(wait(&agenda, now), lease);
    }

    #[test]
    fn two_signs_of_life_may_be_lost_before_a_lease_is() {
        let lease = SECOND * 30;
        let mut agenda = Agenda::new(SECOND * 2, lease);
        assert!(agenda.beats(Duration::ZERO) && !agenda.beats(SECOND * 9) && agenda.beats(SECOND * 10));
        assert!(agenda.beat_every() * 3 <= lease);
        agenda.looked(SECOND * 10);
        assert_eq!(agenda.next(), SECOND * 12);
    }
}
