//! What a store is opened with.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::policy::{Durability, VerifyPolicy, WriterMode};

/// What a store is opened with. The default is what a node runs with.
#[derive(Debug, Clone)]
pub struct Options {
    /// When a put is acknowledged.
    pub durability: Durability,
    /// When a stored receipt is verified in full again.
    pub verify: VerifyPolicy,
    /// Who makes writes durable.
    pub writer_mode: WriterMode,
    /// Writes that may wait for the writer; one more waits for room.
    pub queue_items_max: usize,
    /// Bytes of envelopes that may wait for the writer; more wait for room.
    pub queue_bytes_max: u64,
    /// The largest envelope taken.
    pub entry_bytes_max: u64,
    /// Bytes of envelopes that are kept on disk; `None` for no bound. A receipt that may be needed stays even over
    /// the bound: see [`ReceiptStore::protect`](crate::ReceiptStore::protect).
    pub bytes_max: Option<u64>,
    /// Bytes of envelopes that are kept in memory in front of the disk; 0 for none. See [`crate::tiered`].
    pub memory_bytes_max: u64,
    /// The time, in milliseconds since the Unix epoch.
    pub clock: fn() -> u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            durability: Durability::default(),
            verify: VerifyPolicy::default(),
            writer_mode: WriterMode::default(),
            queue_items_max: 256,
            queue_bytes_max: 256 << 20,
            entry_bytes_max: 64 << 20,
            bytes_max: None,
            memory_bytes_max: 64 << 20,
            clock: now_ms,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
