//! The pulse of a node: when its thread last went on to the next input.
//!
//! The thread that owns the pipeline computes its health, so it cannot say that it hangs itself: a disk or a network file system can
//! keep one write for hours. Whoever serves the health reads the pulse beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::health::Reason;

/// How long one input may take. The longest, a snapshot of a million accounts, takes some seconds.
pub const STALLED_AFTER: Duration = Duration::from_secs(60);

/// No input is being handled: the run has not begun, or has ended.
const AT_REST: u64 = u64::MAX;

/// The pulse of one node. Its copies are the same.
#[derive(Debug, Clone)]
pub struct Pulse {
    origin: Instant,
    /// In milliseconds since the origin, or [`AT_REST`].
    last: Arc<AtomicU64>,
    stalled_after: Duration,
}

impl Default for Pulse {
    fn default() -> Self {
        Self::new(STALLED_AFTER)
    }
}

impl Pulse {
    /// Of a thread whose inputs may take so long.
    pub fn new(stalled_after: Duration) -> Self {
        Self { origin: Instant::now(), last: Arc::new(AtomicU64::new(AT_REST)), stalled_after }
    }

    /// The thread goes on to its next input.
    pub fn beat(&self) {
        let now = u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(AT_REST - 1);
        self.last.store(now, Ordering::Relaxed);
    }

    /// The thread ends.
    pub fn rest(&self) {
        self.last.store(AT_REST, Ordering::Relaxed);
    }

    /// Why the node is red at this time, where one input has taken too long.
    pub fn stalled(&self, now: Instant) -> Option<Reason> {
        let last = Some(self.last.load(Ordering::Relaxed)).filter(|last| *last != AT_REST)?;
        let lasting = now.saturating_duration_since(self.origin + Duration::from_millis(last));
        (lasting > self.stalled_after).then_some(Reason::Stalled { seconds: lasting.as_secs() })
    }
}
