//! When a worker looks for work, when it says that it still works, and when it may take from others what they hold for too long. No
//! clock: the time is an argument, counted from the worker's start.

use std::time::Duration;

use reprise_model::mutation::{self, Mutation};

/// How much shorter than a lease the time between two signs of life is: two may be lost.
const BEATS_A_LEASE: u32 = 3;

/// How often the wait of a worker that cannot reach what is shared is doubled, at most.
const DOUBLED_MAX: u32 = 4;

/// How long a worker waits before it asks again what did not answer.
const AGAIN: Duration = Duration::from_secs(1);

/// Since when the jobs have answered without interruption.
#[derive(Debug, Clone)]
struct Answers {
    since: Duration,
    last: Duration,
    /// The jobs' time, in milliseconds, and the worker's then.
    clock: Option<(Duration, u64)>,
}

/// What a worker does next, and when.
#[derive(Debug, Clone)]
pub struct Agenda {
    poll: Duration,
    lease: Duration,
    beat_every: Duration,
    /// Nothing where something may have changed since.
    looked: Option<Duration>,
    beat_at: Duration,
    not_before: Duration,
    /// How often one after another what is shared was out of reach.
    away: u32,
    /// Nothing where they did not answer last.
    answers: Option<Answers>,
}

impl Agenda {
    /// Looks every `poll` where nobody tells it to, and says so often enough for leases of this length that it works.
    pub fn new(poll: Duration, lease: Duration) -> Self {
        let beat_every = match mutation::is(Mutation::LateHeartbeat) {
            true => lease * 2,
            false => lease / BEATS_A_LEASE,
        };
        let (beat_at, not_before) = (Duration::ZERO, Duration::ZERO);
        Self { poll, lease, beat_every, looked: None, beat_at, not_before, away: 0, answers: None }
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

    /// The jobs did not answer, or refused: it asks again after a second, and says first that it still works.
    pub fn unanswered(&mut self, now: Duration) {
        let again = now + AGAIN.min(self.beat_every);
        self.beat_at = self.beat_at.min(again);
        self.not_before = self.not_before.max(again);
        self.answers = None;
    }

    /// The jobs answered.
    pub fn answered(&mut self, now: Duration) {
        let lately = |answers: &&mut Answers| now.saturating_sub(answers.last) <= self.beat_every * 2;
        match self.answers.as_mut().filter(lately) {
            Some(answers) => answers.last = now,
            None => self.answers = Some(Answers { since: now, last: now, clock: None }),
        }
    }

    /// Whether leases that ran out may be taken back, where the jobs answer that it is so late, in milliseconds. Not before everybody
    /// who lives has had the time to say so: after an outage, after a step of the jobs' clock, and after this machine stood still.
    pub fn reaps(&mut self, now: Duration, clock_ms: u64) -> bool {
        self.answered(now);
        let Some(answers) = &mut self.answers else { return false };
        let stepped = |(then, then_ms): (Duration, u64)| {
            let own = now.saturating_sub(then) + self.beat_every;
            Duration::from_millis(clock_ms.saturating_sub(then_ms)) > own
        };
        if answers.clock.replace((now, clock_ms)).is_some_and(stepped) {
            answers.since = now;
        }
        // Half of it more: nobody is on time to the millisecond.
        now.saturating_sub(answers.since) >= self.beat_every * 3 / 2
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
        let due = now >= self.beat_at;
        if due {
            self.beat_at = now + self.beat_every;
        }
        due
    }

    /// When something of this is due next, if nobody says anything meanwhile.
    pub fn next(&self) -> Duration {
        let look = match self.looked {
            Some(_) if mutation::is(Mutation::LostWakeUp) => self.beat_at,
            Some(at) => self.not_before.max(at + self.poll),
            None => self.not_before,
        };
        self.beat_at.min(look)
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
    fn jobs_that_do_not_answer_are_asked_again_after_a_second_and_told_first_that_the_worker_lives() {
        let mut agenda = Agenda::new(SECOND * 2, SECOND * 30);
        assert!(agenda.beats(Duration::ZERO));
        agenda.unanswered(SECOND);
        assert!(!agenda.beats(SECOND * 3 / 2) && !agenda.looks(SECOND * 3 / 2));
        assert!(agenda.beats(SECOND * 2) && agenda.looks(SECOND * 2));
        assert!(!agenda.beats(SECOND * 11) && agenda.beats(SECOND * 12), "and as often as ever after that");
        agenda.rest(SECOND * 12, SECOND * 60);
        agenda.unanswered(SECOND * 13);
        assert!(!agenda.looks(SECOND * 20), "it rests all the same");
    }

    /// From when on it takes leases back, of jobs that answer every second from `now` on and whose clock is then ahead by so much.
    fn reaps_at(agenda: &mut Agenda, now: Duration, ahead_ms: u64) -> Option<Duration> {
        (0..60).map(|second| now + SECOND * second).find(|now| {
            let clock_ms = u64::try_from(now.as_millis()).unwrap_or(u64::MAX) + ahead_ms;
            agenda.reaps(*now, clock_ms)
        })
    }

    #[test]
    fn leases_are_taken_back_once_the_jobs_have_answered_for_longer_than_a_sign_of_life_takes() {
        let mut agenda = Agenda::new(SECOND * 2, SECOND * 30);
        let (wait, hour_ms) = (agenda.beat_every() * 3 / 2, 3_600_000);
        assert_eq!(reaps_at(&mut agenda, SECOND, 0), Some(SECOND + wait), "after its start");
        let mut now = SECOND * 100;
        agenda.answered(SECOND * 30);
        agenda.answered(SECOND * 50);
        agenda.answered(SECOND * 65);
        agenda.answered(SECOND * 85);
        assert_eq!(reaps_at(&mut agenda, now, 0), Some(now), "signs of life are answers too");
        agenda.unanswered(now);
        assert_eq!(reaps_at(&mut agenda, now, 0), Some(now + wait), "after an outage");
        now += SECOND * 20;
        assert_eq!(reaps_at(&mut agenda, now, 0), Some(now));
        assert_eq!(reaps_at(&mut agenda, now, hour_ms), Some(now + wait), "after a step of the clock");
        now += SECOND * 600;
        assert_eq!(reaps_at(&mut agenda, now, hour_ms), Some(now + wait), "after it stood still");
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
