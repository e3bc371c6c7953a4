//! The connection to a live L1, as health, report and metrics show it.

use std::time::Duration;

use reprise_chain::source::{Connection, Hitch, LaneSilence};
use serde::{Serialize, Serializer};

/// The state of the connection to a live L1.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct L1Connection {
    /// Whether it stands.
    pub connected: bool,
    /// How many seconds ago it was lost; 0 while it stands.
    pub disconnected_seconds: u64,
    /// When it was lost, in seconds since the Unix epoch, and why.
    #[serde(serialize_with = "since_and_why")]
    pub lost: Option<(u64, Hitch, String)>,
    /// When the last block that came from the L1 was mined, by its own header, in seconds since the Unix epoch.
    pub last_block_seconds: Option<u64>,
    /// How many seconds ago the last block that came from the L1 was mined, by its own header.
    pub last_block_age_seconds: Option<u64>,
    /// How many pages of the L1's answers wait to be followed.
    pub pages_behind: u64,
    /// Whether the L1 had nothing new when it was last asked.
    pub caught_up: bool,
    /// How many blocks are followed, by the L1's own count; 0 if unknown.
    pub reached: u64,
    /// How many blocks the L1 has, by the same count; 0 if unknown.
    pub goal: u64,
    /// How long the lane has been silent, where its entry on the L1 expires.
    #[serde(skip)]
    pub lane: Option<LaneSilence>,
}

impl L1Connection {
    /// The state that a source reports, at this time since the Unix epoch.
    pub fn at(now: Duration, connection: &Connection) -> Self {
        let Connection { lost, last_block, pages_behind, caught_up, reached, goal, lane } = connection;
        Self {
            connected: lost.is_none(),
            disconnected_seconds: lost.as_ref().map_or(0, |lost| lost.lasting.as_secs()),
            lost: lost.as_ref().map(|lost| (lost.since.as_secs(), lost.hitch, lost.reason.clone())),
            last_block_seconds: last_block.map(|mined| mined.as_secs()),
            last_block_age_seconds: last_block.map(|mined| now.saturating_sub(mined).as_secs()),
            pages_behind: *pages_behind as u64,
            caught_up: *caught_up,
            reached: *reached,
            goal: *goal,
            lane: *lane,
        }
    }
}

fn since_and_why<S: Serializer>(
    lost: &Option<(u64, Hitch, String)>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    lost.as_ref().map(|(since, _, why)| (since, why)).serialize(serializer)
}
