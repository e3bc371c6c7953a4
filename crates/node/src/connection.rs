//! The connection to a live L1, as health, report and metrics tell it.

use std::time::Duration;

use reprise_chain::source::Connection;
use serde::Serialize;

/// How the connection to a live L1 is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct L1Connection {
    /// Whether there is one.
    pub connected: bool,
    /// For how many seconds there is none.
    pub disconnected_seconds: u64,
    /// Since when there is none, in seconds since the Unix epoch, and why.
    pub lost: Option<(u64, String)>,
    /// How many seconds ago the last block that came from the L1 was mined, by its own header.
    pub last_block_age_seconds: Option<u64>,
    /// Pages of the L1's that wait to be followed.
    pub pages_behind: u64,
    /// Whether the L1 had nothing new when it was asked last.
    pub caught_up: bool,
}

impl L1Connection {
    /// What a source says of it, at this time since the Unix epoch.
    pub fn at(now: Duration, connection: &Connection) -> Self {
        let Connection { lost, last_block, pages_behind, caught_up } = connection;
        Self {
            connected: lost.is_none(),
            disconnected_seconds: lost.as_ref().map_or(0, |lost| lost.lasting.as_secs()),
            lost: lost.as_ref().map(|lost| (lost.since.as_secs(), lost.reason.clone())),
            last_block_age_seconds: last_block.map(|mined| now.saturating_sub(mined).as_secs()),
            pages_behind: *pages_behind as u64,
            caught_up: *caught_up,
        }
    }
}
