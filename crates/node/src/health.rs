//! Health: green, or red with reasons. A reason stands for as long as what it says is so.
//!
//! A run that ends red ends with an exit code other than zero.

use std::collections::BTreeMap;
use std::fmt;

use reprise_model::statement::StatementId;
use reprise_prover::engine::Engine;
use reprise_prover::failure::Failure;
use serde::{Serialize, Serializer};

use crate::connection::L1Connection;

/// For how many seconds the L1 may be away: nodes restart, and connections break.
pub const L1_AWAY_MAX: u64 = 60;

/// How a node is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Health {
    /// All is well.
    #[default]
    Green,
    /// Something needs a person, or soon will.
    Red {
        /// What; at least one.
        reasons: Vec<Reason>,
    },
}

/// Why a node is not well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// A statement was given up: nothing that relies on it is settled any more.
    GivenUp {
        /// The statement.
        statement: StatementId,
        /// The failure that ended it.
        failure: String,
    },
    /// A proof hung and was written off, and its statement is not proved since.
    Hung {
        /// The statement.
        statement: StatementId,
    },
    /// The device made a proof that does not verify, and the statement is not proved since.
    Invalid {
        /// The statement.
        statement: StatementId,
    },
    /// A device fails again and again, whatever it is given: it rests, and is tried again now and then.
    Device {
        /// Which, counted from 0.
        device: usize,
        /// How often in a row it failed.
        failed: u32,
        /// How it failed last.
        failure: String,
    },
    /// The disk cannot be read or written: what it is asked waits until it can.
    Disk {
        /// What it says.
        error: String,
    },
    /// There is no connection to the L1 for longer than [`L1_AWAY_MAX`] seconds.
    L1Away {
        /// Since when, in seconds since the Unix epoch.
        since: u64,
        /// Why.
        reason: String,
    },
    /// A promise was broken, once or more often. Where it is one about the state, nothing is settled any more.
    Violated {
        /// Which.
        promise: String,
    },
}

impl Health {
    /// How an engine is, what troubles the disk, how the L1 is, and what the watcher has heard.
    pub(crate) fn of(
        engine: &Engine,
        disk: Option<String>,
        l1: Option<&L1Connection>,
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
        let resting = engine.suspended().map(|device| Reason::Device {
            device: device.device,
            failed: device.failed,
            failure: device.failure.to_string(),
        });
        let held_up = engine.failing().find_map(|(_, failure)| match failure {
            Failure::Store(error) => Some(error.to_string()),
            _ => None,
        });
        let disk = disk.or(held_up).map(|error| Reason::Disk { error });
        let away = l1.filter(|l1| l1.disconnected_seconds > L1_AWAY_MAX).and_then(|l1| l1.lost.clone());
        let away = away.map(|(since, reason)| Reason::L1Away { since, reason });
        let violated = broken.keys().map(|promise| Reason::Violated { promise: (*promise).to_owned() });
        let reasons = given_up.chain(failing).chain(resting).chain(disk).chain(away).chain(violated);
        let reasons: Vec<_> = reasons.collect();
        if reasons.is_empty() { Self::Green } else { Self::Red { reasons } }
    }

    /// Whether all is well.
    pub fn is_green(&self) -> bool {
        *self == Self::Green
    }

    /// Why it is red; nothing where it is green.
    pub fn reasons(&self) -> &[Reason] {
        match self {
            Self::Green => &[],
            Self::Red { reasons } => reasons,
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Red { reasons } = self else { return f.write_str("green") };
        f.write_str("red")?;
        for (index, reason) in reasons.iter().enumerate() {
            write!(f, "{} {reason}", if index == 0 { ":" } else { ";" })?;
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
            Self::Device { device, failed, failure } => {
                write!(f, "device {device} rests: it failed {failed} times in a row: {failure}")
            }
            Self::Disk { error } => write!(f, "waiting for the disk: {error}"),
            Self::L1Away { since, reason } => {
                write!(f, "no connection to the L1 since {since} (Unix time): {reason}")
            }
            Self::Violated { promise } => write!(f, "violated: {promise}"),
        }
    }
}

/// As in words: `green`, or `red: …`.
impl Serialize for Health {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
