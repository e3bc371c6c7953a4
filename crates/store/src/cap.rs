//! The cap: a bound on the bytes of receipts. A store at its cap evicts before it stores another receipt.
//!
//! The eviction is part of the commit that needs the room, on the writer. [`crate::gc`] plans it: entries without a
//! coordinate first, then the cheapest to prove again per byte, never what is pinned or protected
//! ([`ReceiptStore::protect`](crate::ReceiptStore::protect)). Where all the rest is protected, the store grows over its
//! cap rather than refuse a proof.
//!
//! The cap keeps an upper bound of the bytes stored: a put adds to it, a deletion does not lower it. When the bound
//! reaches the cap, the entries are counted and evicted to a level below the cap, so that one count serves many puts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::PinsDigest;

use crate::gc;
use crate::operation::{self, Ready};
use crate::port::{Needed, StoreError};
use crate::staging::Staging;

/// The share of the cap that is made free at once.
const SLACK: u64 = 16;

/// The cap, and an upper bound of what is stored.
pub(crate) struct Cap {
    bytes_max: u64,
    state: Mutex<State>,
    evicted: AtomicU64,
}

struct State {
    /// Where what is used is protected.
    needed: Needed,
    /// An upper bound of the bytes of receipts stored.
    at_most: u64,
    /// The entries are counted when this is reached.
    count_at: u64,
}

impl Cap {
    /// A cap of so many bytes of receipts.
    pub(crate) fn new(bytes_max: u64) -> Self {
        // The first put counts what an earlier process left.
        let state = State { needed: Needed::default(), at_most: u64::MAX, count_at: bytes_max };
        Self { bytes_max, state: Mutex::new(state), evicted: AtomicU64::new(0) }
    }

    /// How many entries were evicted so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Protects what is used under these pins from these checkpoints on, one for each kind.
    pub(crate) fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; 3]) {
        let mut state = self.state();
        if state.needed.set(*pins, needed_from) {
            state.count_at = self.bytes_max;
        }
    }

    /// A commit failed: what was to be evicted in it is still there.
    pub(crate) fn failed(&self) {
        let mut state = self.state();
        (state.at_most, state.count_at) = (u64::MAX, self.bytes_max);
    }

    /// Makes room for an entry, if it is new and there is none.
    pub(crate) fn make_room(&self, staging: &mut Staging<'_>, ready: &Ready) -> Result<(), StoreError> {
        let bytes = ready.record.bytes;
        if staging.entry(&ready.id)?.is_some() {
            return Ok(());
        }
        let mut state = self.state();
        state.at_most = state.at_most.saturating_add(bytes);
        if state.at_most <= state.count_at {
            return Ok(());
        }
        let entries = operation::candidates(staging, &state.needed)?;
        let room = self.bytes_max.saturating_sub(bytes);
        let stored: u64 = entries.iter().map(|entry| entry.bytes).sum();
        // Down to the lower level, but only where there is no room.
        let bytes_max = if stored > room { room.saturating_sub(self.bytes_max / SLACK) } else { stored };
        let plan = gc::choose(entries, bytes_max);
        for eviction in &plan.evictions {
            // PRUNE SAFETY: it was chosen from what this staging holds, and is neither pinned nor used where it is
            // protected. What is lost is the cost of proving it again.
            operation::remove(staging, &eviction.id)?;
        }
        self.evicted.fetch_add(plan.evictions.len() as u64, Relaxed);
        state.at_most = plan.bytes_after.saturating_add(bytes);
        // Where everything is protected, a count at every put would find nothing to evict.
        let grown = state.at_most.saturating_add(self.bytes_max / SLACK);
        state.count_at = if state.at_most > self.bytes_max { grown } else { self.bytes_max };
        if state.at_most > self.bytes_max {
            tracing::warn!(
                bytes = state.at_most,
                max = self.bytes_max,
                "the receipt store is over its cap: everything in it may still be needed. What is proved under other pins (another \
                 rollup's, or of earlier programs) goes by `reprise receipts gc --pins` alone"
            );
        }
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
