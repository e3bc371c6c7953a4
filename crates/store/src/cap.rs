//! The cap: a store that may hold so many bytes of receipts makes room before it takes another.
//!
//! Room is made in the commit that needs it, on the writer, by the plan of [`crate::gc`]: without a place first,
//! then the cheapest to prove again per byte, never what is pinned or what its user said may be needed
//! ([`ReceiptStore::protect`](crate::ReceiptStore::protect)). Where all that is left is needed, the store grows
//! over its cap rather than refuse a proof.
//!
//! How full the store is is known from above: what was put is added, what was deleted is not taken off. When that
//! bound meets the cap the entries are counted, and then evicted down to a mark below the cap, so that a count pays
//! for many puts.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use reprise_model::coordinate::Checkpoint;

use crate::gc::{self, Budget};
use crate::index::{self, Ready, Staging};
use crate::port::StoreError;

/// The share of the cap that is made free at once.
const SLACK: u64 = 16;

/// The bound, and what is known of how near it is.
pub(crate) struct Cap {
    bytes_max: u64,
    state: Mutex<State>,
    evicted: AtomicU64,
}

struct State {
    /// From where on each kind is needed. Until somebody says it, everything with a place is.
    needed_from: [Checkpoint; 3],
    /// No more bytes of receipts than this are stored.
    at_most: u64,
    /// The entries are counted when this is reached.
    count_at: u64,
}

impl Cap {
    /// A cap of so many bytes of receipts.
    pub(crate) fn new(bytes_max: u64) -> Self {
        // The first put counts what an earlier process left.
        let state = State { needed_from: [Checkpoint(0); 3], at_most: u64::MAX, count_at: bytes_max };
        Self { bytes_max, state: Mutex::new(state), evicted: AtomicU64::new(0) }
    }

    /// How many entries made room so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Relaxed)
    }

    /// Each kind is needed from these checkpoints on.
    pub(crate) fn protect(&self, needed_from: [Checkpoint; 3]) {
        let mut state = self.state();
        if state.needed_from != needed_from {
            state.needed_from = needed_from;
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
        let entries = index::candidates(staging)?;
        let room = self.bytes_max.saturating_sub(bytes);
        let stored: u64 = entries.iter().map(|entry| entry.bytes).sum();
        // Down to the mark, but only where there is no room.
        let bytes_max = if stored > room { room.saturating_sub(self.bytes_max / SLACK) } else { stored };
        let plan = gc::choose(entries, &Budget { bytes_max, live_from: state.needed_from });
        for eviction in &plan.evictions {
            // PRUNE SAFETY: it was chosen from what this very staging holds, neither pinned nor used where it is
            // said to be needed; what goes costs its proof again, nothing else.
            index::remove(staging, &eviction.id)?;
        }
        self.evicted.fetch_add(plan.evictions.len() as u64, Relaxed);
        state.at_most = plan.bytes_after.saturating_add(bytes);
        // Where everything is needed, it is not counted at every put.
        let grown = state.at_most.saturating_add(self.bytes_max / SLACK);
        state.count_at = if state.at_most > self.bytes_max { grown } else { self.bytes_max };
        if state.at_most > self.bytes_max {
            tracing::warn!(
                bytes = state.at_most,
                max = self.bytes_max,
                "the receipt store is over its cap: all it holds may still be needed"
            );
        }
        Ok(())
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
