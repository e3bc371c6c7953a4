//! Conditions: what is wrong with an L1 for a while, and what a node's health must say of it meanwhile and afterwards.
//!
//! A [`Conditions`] is what an L1 does to a node: it refuses settlements, is away, shows no block, or its lane is silent. The
//! [`HealthChecker`] knows the conditions, and how long the operator's manual (`docs/operations.md`) says that a node waits
//! before it tells. It uses none of the code that decides the health.

use std::collections::BTreeSet;
use std::time::Duration;

use reprise_chain::source::{Connection, Disconnection, Hitch, LaneSilence};
use reprise_node::health::{Health, Level};
use reprise_node::rng::Rng;
use reprise_settler::Cause;

/// The least and the most that the manual says to pass before somebody should look, and must act, in seconds.
const AT_ONCE: [u64; 2] = [0, 60];
const PATIENT: [u64; 2] = [60, 600];

/// What an L1 does to a node.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// It refuses settlements.
    pub refuses: Option<Cause>,
    /// It cannot be followed, and since when, in microseconds.
    pub hitch: Option<(Hitch, u64)>,
    /// It mines no block.
    pub is_still: bool,
    /// Nobody sends a transaction of the lane.
    pub is_silent: bool,
}

impl Conditions {
    /// A cause of refusals, drawn.
    pub fn draw_cause(rng: &mut Rng) -> Option<Cause> {
        rng.pick(&Cause::ALL).copied()
    }

    /// A trouble with the connection, drawn.
    pub fn draw_hitch(rng: &mut Rng) -> Option<Hitch> {
        rng.pick(&Hitch::ALL).copied()
    }
}

/// How a node is connected to its L1, as its source reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Situation {
    /// What keeps the L1 from being followed, and since when, in microseconds.
    pub hitch: Option<(Hitch, u64)>,
    /// When the last block that is followed was mined.
    pub mined_us: Option<u64>,
    /// Whether the L1's tip was reached.
    pub caught_up: bool,
    /// How long the lane is silent, and may be.
    pub lane: Option<(u64, u64)>,
}

impl Situation {
    /// The same, as a source says it.
    pub fn connection(&self, now_us: u64) -> Connection {
        let lost = self.hitch.map(|(hitch, since)| Disconnection {
            hitch,
            since: Duration::from_micros(since),
            lasting: Duration::from_micros(now_us - since),
            reason: "the simulated L1 is away".into(),
        });
        Connection {
            lost,
            last_block: self.mined_us.map(Duration::from_micros),
            pages_behind: 0,
            caught_up: self.caught_up,
            reached: 0,
            goal: 0,
            lane: self.lane.map(|(lasting, allowed)| LaneSilence { lasting, allowed }),
        }
    }

    /// What the manual says that a node in this situation says of its L1: names, and whether they are red.
    fn expected(&self, now_us: u64) -> BTreeSet<(&'static str, bool)> {
        let whole = |since: u64| (now_us - since) / 1_000_000;
        let mut said = BTreeSet::new();
        match self.hitch {
            Some((hitch, since)) => {
                let red = whole(since) > 60;
                let name = match hitch {
                    Hitch::Away if !red => None,
                    Hitch::Away => Some("l1_away"),
                    Hitch::Unsynced => Some("l1_unsynced"),
                    Hitch::Behind => Some("l1_behind"),
                    Hitch::Answers => Some("l1_answers"),
                };
                said.extend(name.map(|name| (name, red)));
            }
            None if self.caught_up && self.mined_us.is_some_and(|mined| whole(mined) > 600) => {
                said.insert(("l1_still", false));
            }
            None => {}
        }
        match self.lane.filter(|_| self.caught_up) {
            Some((lasting, allowed)) if lasting > allowed => said.insert(("lane_expired", true)),
            Some((lasting, allowed)) if lasting > allowed - allowed / 8 => {
                said.insert(("lane_expiring", false))
            }
            _ => false,
        };
        said
    }
}

/// The refusals of one cause, without another answer between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Refusals {
    cause: Cause,
    first_us: u64,
    last_us: u64,
}

/// Judges what a node's health says of its L1. See the [module](self).
#[derive(Debug, Default)]
pub struct HealthChecker {
    health: Health,
    refusals: Option<Refusals>,
    seen: BTreeSet<&'static str>,
}

impl HealthChecker {
    /// The reasons that were ever given.
    pub fn seen(&self) -> &BTreeSet<&'static str> {
        &self.seen
    }

    /// The node says how it is.
    pub fn says(&mut self, health: &Health) {
        self.health = health.clone();
        self.seen.extend(health.reasons().iter().map(|reason| reason.name()));
    }

    /// The process ended: the next one begins anew.
    pub fn process_ended(&mut self) {
        (self.health, self.refusals) = (Health::default(), None);
    }

    /// The L1 refused a settlement.
    pub fn refused(&mut self, cause: Cause, now_us: u64) {
        let before = self.refusals.filter(|before| before.cause == cause);
        let first_us = before.map_or(now_us, |before| before.first_us);
        self.refusals = Some(Refusals { cause, first_us, last_us: now_us });
    }

    /// The L1 took a settlement, it shows one, or nothing is to be settled.
    pub fn relieved(&mut self) {
        self.refusals = None;
    }

    /// Judges what the node says of its connection. Called once it has been told of it.
    pub fn judge_connection(&self, situation: &Situation, now_us: u64) -> Result<(), String> {
        let of_l1 = |name: &str| name.starts_with("l1_") || name.starts_with("lane_");
        let said = self.health.reasons().iter().map(|it| (it.name(), it.level() == Level::Red));
        let said: BTreeSet<_> = said.filter(|(name, _)| of_l1(name)).collect();
        let expected = situation.expected(now_us);
        if said == expected { Ok(()) } else { Err(format!("at {now_us} us: {said:?}, not {expected:?}")) }
    }

    /// Judges what the node says of refusals: nothing where nothing is refused, and what lasts by its name.
    pub fn judge_refusals(&self, now_us: u64) -> Result<(), String> {
        let is_refusal = |name: &str| Cause::ALL.iter().any(|cause| cause.name() == name);
        let said = self.health.reasons().iter().map(|it| (it.name(), it.level()));
        let said: Vec<_> = said.filter(|(name, _)| is_refusal(name)).collect();
        let wrong = |why: String| Err(format!("at {now_us} us: {said:?}, but {why}"));
        let Some(Refusals { cause, first_us, last_us }) = self.refusals else {
            return if said.is_empty() { Ok(()) } else { wrong("nothing is refused".into()) };
        };
        let [look, act] = match cause {
            Cause::Elsewhere | Cause::Orphaned | Cause::TooDeep | Cause::NodeSilent | Cause::NodeRefused => {
                PATIENT
            }
            _ => AT_ONCE,
        };
        // Health is computed when something happens, at the latest when a try is due.
        let at_last = last_us - first_us;
        let expected = match at_last / 1_000_000 {
            seconds if seconds >= act => Some(Level::Red),
            seconds if seconds >= look => Some(Level::Degraded),
            _ => None,
        };
        if said.iter().any(|(name, _)| *name != cause.name()) {
            return wrong(format!("{cause} is the refusal"));
        }
        let level = said.first().map(|(_, level)| *level);
        if level < expected {
            return wrong(format!("{cause} has lasted for {at_last} us"));
        }
        Ok(())
    }
}
