//! Health: green, degraded or red, with reasons. A reason lasts as long as its cause.
//!
//! *Degraded*: the node works, and somebody should look. *Red*: something does not happen until somebody acts, or an
//! invariant is broken; a run that ends red has an exit code other than zero. Each [`Reason`] has a name, which metrics
//! and the operator's manual (`docs/operations.md`) use, and says what to do.

use std::collections::BTreeMap;
use std::fmt;

use reprise_chain::source::{Hitch, LaneSilence};
use reprise_model::statement::StatementId;
use reprise_prover::engine::Engine;
use reprise_prover::failure::Failure;
use reprise_settler::{Cause, Refusal, Urgency};
use serde::{Serialize, Serializer};

use crate::connection::L1Connection;

/// How many seconds the L1 may be unreachable before health is red: nodes restart, and connections break.
pub const L1_AWAY_MAX: u64 = 60;

/// How many seconds old the L1's last block may be before health says so.
pub const L1_STILL_MAX: u64 = 600;

/// A level of health.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// All is well.
    Green,
    /// It works, and somebody should look.
    Degraded,
    /// Something does not happen until somebody acts.
    Red,
}

/// The health of a node: green without reasons, else as bad as its worst reason.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Health {
    reasons: Vec<Reason>,
}

/// Why a node is not green.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A statement was given up: nothing that relies on it is settled.
    GivenUp {
        /// The statement.
        statement: StatementId,
        /// The failure that ended it.
        failure: String,
    },
    /// A proof hung and was written off, and its statement is still not proved.
    Hung {
        /// The statement.
        statement: StatementId,
    },
    /// The device made a proof that does not verify, and the statement is still not proved.
    Invalid {
        /// The statement.
        statement: StatementId,
    },
    /// A device failed several times in a row. It is suspended, and tried again from time to time.
    Device {
        /// Its number, counted from 0.
        device: usize,
        /// How often in a row it failed.
        failed: u32,
        /// Its last failure.
        failure: String,
        /// Whether another device works.
        others: bool,
    },
    /// The disk cannot be read or written. Reads and writes wait until it can.
    Disk {
        /// The error.
        error: String,
    },
    /// The last snapshot could not be written.
    Snapshot {
        /// The error.
        error: String,
    },
    /// The L1 is not followed.
    L1 {
        /// The kind of trouble.
        hitch: Hitch,
        /// Since when, in seconds since the Unix epoch.
        since: u64,
        /// The trouble in words.
        reason: String,
        /// Whether it has lasted longer than [`L1_AWAY_MAX`] seconds.
        lasts: bool,
    },
    /// The L1's last block is older than [`L1_STILL_MAX`] seconds.
    L1Still {
        /// When it was mined, in seconds since the Unix epoch.
        since: u64,
    },
    /// The lane's entry on the L1 is about to expire, or has expired.
    Lane(LaneSilence),
    /// Exits that settlements owe are not being paid.
    Exits {
        /// The error.
        error: String,
    },
    /// The covenant is still in its founder's key, which can take every deposit.
    Unguarded {
        /// The error.
        error: String,
    },
    /// The L1 refuses the next settlement.
    Refused {
        /// Why.
        cause: Cause,
        /// Since when, in seconds since the Unix epoch.
        since: u64,
        /// The refusal's own message.
        said: String,
        /// Whether somebody must act.
        urgent: bool,
    },
    /// The node's thread hangs over one input.
    Stalled {
        /// For how many seconds.
        seconds: u64,
    },
    /// An invariant was broken, once or more often. If it is one about the state, nothing more is settled.
    Violated {
        /// Which.
        promise: String,
    },
}

impl From<Vec<Reason>> for Health {
    fn from(reasons: Vec<Reason>) -> Self {
        Self { reasons }
    }
}

/// What last for now, in the words of whoever met them.
pub(crate) struct Errors {
    /// Of the disk.
    pub(crate) disk: Option<String>,
    /// Of the last snapshot.
    pub(crate) snapshot: Option<String>,
    /// Of the payment of exits.
    pub(crate) exits: Option<String>,
    /// Of the covenant's move into its first state.
    pub(crate) entry: Option<String>,
}

impl Health {
    /// The health that follows from the engine, the errors that last, the connection to the L1, what the L1 refuses and the watcher's
    /// violations.
    pub(crate) fn of(
        engine: &Engine,
        Errors { disk, snapshot, exits, entry }: Errors,
        l1: Option<&L1Connection>,
        refusal: Option<(&Refusal, Urgency)>,
        broken: &BTreeMap<&'static str, u64>,
    ) -> Self {
        let given_up = engine.failures().iter().map(|(statement, failure)| Reason::GivenUp {
            statement: *statement,
            failure: failure.to_string(),
        });
        let failing = engine.failing().filter_map(|(statement, failure)| match failure {
            Failure::TimedOut { .. } => Some(Reason::Hung { statement: *statement }),
            Failure::Store(_) => None,
            _ => Some(Reason::Invalid { statement: *statement }),
        });
        let others = engine.suspended().count() < engine.devices();
        let suspended = engine.suspended().map(|device| Reason::Device {
            device: device.device,
            failed: device.failed,
            failure: device.failure.to_string(),
            others,
        });
        let held_up = engine.failing().find_map(|(_, failure)| match failure {
            Failure::Store(error) => Some(error.to_string()),
            _ => None,
        });
        let disk = disk.or(held_up).map(|error| Reason::Disk { error });
        let snapshot = snapshot.map(|error| Reason::Snapshot { error });
        let exits = exits.map(|error| Reason::Exits { error });
        let entry = entry.map(|error| Reason::Unguarded { error });
        let refused = refusal.filter(|(_, urgency)| *urgency > Urgency::None);
        let refused = refused.map(|(refusal, urgency)| Reason::Refused {
            cause: refusal.cause,
            since: refusal.since.since_epoch.as_secs(),
            said: refusal.said.clone(),
            urgent: urgency == Urgency::Act,
        });
        let violated = broken.keys().map(|promise| Reason::Violated { promise: (*promise).to_owned() });
        let reasons = given_up.chain(failing).chain(suspended).chain(disk).chain(snapshot);
        let reasons = reasons.chain(l1.and_then(of_l1)).chain(l1.and_then(of_lane));
        Self { reasons: reasons.chain(refused).chain(exits).chain(entry).chain(violated).collect() }
    }

    /// How bad the worst reason is.
    pub fn level(&self) -> Level {
        self.reasons.iter().map(Reason::level).max().unwrap_or(Level::Green)
    }

    /// Whether all is well.
    pub fn is_green(&self) -> bool {
        self.level() == Level::Green
    }

    /// Whether something does not happen until somebody acts.
    pub fn is_red(&self) -> bool {
        self.level() == Level::Red
    }

    /// Why it is not green; nothing where it is.
    pub fn reasons(&self) -> &[Reason] {
        &self.reasons
    }
}

/// What is wrong with the connection to an L1.
fn of_l1(l1: &L1Connection) -> Option<Reason> {
    let lasts = l1.disconnected_seconds > L1_AWAY_MAX;
    match &l1.lost {
        Some((since, hitch, reason)) => (lasts || *hitch != Hitch::Away).then(|| Reason::L1 {
            hitch: *hitch,
            since: *since,
            reason: reason.clone(),
            lasts,
        }),
        None => {
            let mined = l1.last_block_seconds.filter(|_| l1.caught_up)?;
            let age = l1.last_block_age_seconds?;
            (age > L1_STILL_MAX).then_some(Reason::L1Still { since: mined })
        }
    }
}

/// What is wrong with the lane. Before the L1's tip is reached, what is known of the lane is past.
fn of_lane(l1: &L1Connection) -> Option<Reason> {
    let silence = l1.lane.filter(|_| l1.caught_up)?;
    (silence.expires_soon() || silence.has_expired()).then_some(Reason::Lane(silence))
}

impl Reason {
    /// The names of all reasons, each once.
    pub fn names() -> impl Iterator<Item = &'static str> {
        let own = ["given_up", "hung", "invalid", "device", "disk", "snapshot", "l1_still", "violated"];
        let own =
            own.into_iter().chain(["lane_expiring", "lane_expired", "exits_unpaid", "unguarded", "stalled"]);
        own.chain(Hitch::ALL.map(hitch_name)).chain(Cause::ALL.map(Cause::name))
    }

    /// Its name in metrics and in the operator's manual.
    pub fn name(&self) -> &'static str {
        match self {
            Self::GivenUp { .. } => "given_up",
            Self::Hung { .. } => "hung",
            Self::Invalid { .. } => "invalid",
            Self::Device { .. } => "device",
            Self::Disk { .. } => "disk",
            Self::Snapshot { .. } => "snapshot",
            Self::L1 { hitch, .. } => hitch_name(*hitch),
            Self::L1Still { .. } => "l1_still",
            Self::Lane(silence) if silence.has_expired() => "lane_expired",
            Self::Lane(_) => "lane_expiring",
            Self::Exits { .. } => "exits_unpaid",
            Self::Unguarded { .. } => "unguarded",
            Self::Refused { cause, .. } => cause.name(),
            Self::Stalled { .. } => "stalled",
            Self::Violated { .. } => "violated",
        }
    }

    /// How bad it is.
    pub fn level(&self) -> Level {
        match self {
            Self::Lane(silence) if silence.has_expired() => Level::Red,
            Self::Device { others: true, .. }
            | Self::Snapshot { .. }
            | Self::Exits { .. }
            | Self::Unguarded { .. }
            | Self::L1 { lasts: false, .. }
            | Self::L1Still { .. }
            | Self::Lane(_)
            | Self::Refused { urgent: false, .. } => Level::Degraded,
            _ => Level::Red,
        }
    }

    /// What to do about it.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::GivenUp { .. } => {
                "read the failure and mend its cause; then stop, `reprise attempts release STATEMENT`, and run again"
            }
            Self::Hung { .. } => "check the device; the statement is proved again without a restart",
            Self::Invalid { .. } => {
                "check the device and its memory; the statement is proved again without a restart"
            }
            Self::Device { .. } => "repair or replace the device; it is tried again from time to time",
            Self::Disk { .. } => "make room, or repair the disk: the run then continues without a restart",
            Self::Snapshot { .. } => {
                "make room, or repair the folder: the next settlement brings the next snapshot; until then keep a copy of an older one"
            }
            Self::L1 { hitch: Hitch::Away, .. } => "check that the node runs, and --l1",
            Self::L1 { hitch: Hitch::Unsynced, .. } => "wait until the node is synced",
            Self::L1 { hitch: Hitch::Behind, .. } => {
                "wait until the node catches up; if it does not, give --l1 one that is not behind"
            }
            Self::L1 { hitch: Hitch::Answers, .. } => {
                "check the node's version and any proxy in between; another node (--l1) can continue from here"
            }
            Self::L1Still { .. } => "check that the node has peers and is synced",
            Self::Lane(silence) if silence.has_expired() => {
                "send any transaction of the lane while this node runs, as a deposit is; after three times this silence nothing \
                 settles on the covenant any more"
            }
            Self::Lane(_) => {
                "send any transaction of the lane, as a deposit is; a node with a key sends one by itself: check that one runs \
                 and has coins"
            }
            Self::Exits { .. } => {
                "send coins to the key that pays, or raise --fee-max; where the vault is short, check --deposit. Anybody can pay them: \
                 `reprise claims pay`"
            }
            Self::Unguarded { .. } => {
                "send coins to the key that pays, or raise --fee-max, and follow the covenant from its founding (without --from): nobody \
                 should deposit before"
            }
            Self::Refused { cause, .. } => cause.advice(),
            Self::Stalled { .. } => {
                "check that the disk of --data-dir answers: once it does, the run goes on; otherwise end the process and run again, which \
                 loses nothing that was acknowledged"
            }
            Self::Violated { .. } => "stop, keep the data directory and report it",
        }
    }
}

fn hitch_name(hitch: Hitch) -> &'static str {
    match hitch {
        Hitch::Away => "l1_away",
        Hitch::Unsynced => "l1_unsynced",
        Hitch::Behind => "l1_behind",
        Hitch::Answers => "l1_answers",
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Green => "green",
            Self::Degraded => "degraded",
            Self::Red => "red",
        })
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.level().fmt(f)?;
        for (index, reason) in self.reasons.iter().enumerate() {
            write!(f, "{} {reason} ({})", if index == 0 { ":" } else { ";" }, reason.advice())?;
        }
        Ok(())
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::GivenUp { statement, failure } => write!(f, "{statement} was given up: {failure}"),
            Self::Hung { statement } => write!(f, "the prover hung over {statement}"),
            Self::Invalid { statement } => write!(f, "the prover made an invalid proof of {statement}"),
            Self::Device { device, failed, failure, .. } => {
                write!(f, "device {device} is suspended: it failed {failed} times in a row: {failure}")
            }
            Self::Disk { error } => write!(f, "waiting for the disk: {error}"),
            Self::Snapshot { error } => write!(f, "no snapshot is written: {error}"),
            Self::L1 { hitch, since, reason, .. } => {
                let what = match hitch {
                    Hitch::Away => "no connection to the L1",
                    Hitch::Unsynced => "the L1's node is not synced",
                    Hitch::Behind => "the L1's node is behind",
                    Hitch::Answers => "the L1's node gives answers that fail their checks",
                };
                write!(f, "{what} since {since} (Unix time): {reason}")
            }
            Self::L1Still { since } => write!(f, "the L1 has shown no block since {since} (Unix time)"),
            Self::Lane(LaneSilence { lasting, allowed }) => {
                let what = if lasting > allowed { "has expired" } else { "expires soon" };
                write!(f, "the lane's entry {what}: it accepted nothing for {lasting} blocks of {allowed}")
            }
            Self::Exits { error } => write!(f, "exits are not being paid: {error}"),
            Self::Unguarded { error } => write!(f, "the covenant is still in its founder's key: {error}"),
            Self::Refused { cause, since, said, .. } => {
                write!(f, "settlement refused ({cause}) since {since} (Unix time): {said}")
            }
            Self::Stalled { seconds } => write!(f, "the node has not gone on for {seconds} seconds"),
            Self::Violated { promise } => write!(f, "violated: {promise}"),
        }
    }
}

/// As text: `green`, `degraded: …` or `red: …`.
impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
