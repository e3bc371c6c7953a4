//! The context of a block: where in time the L1 places it.
//!
//! The [lane tip](crate::lane) binds the context of every block with lane transactions. A transaction that
//! [asks for it](crate::processor::Processor::asks_context) reads the context of the block that accepts it.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};

/// The block context that the lane tip binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockContext {
    /// The selected parent's timestamp, in milliseconds.
    pub timestamp_ms: u64,
    /// The block's DAA score.
    pub daa_score: u64,
    /// The block's blue score.
    pub blue_score: u64,
}

impl BlockContext {
    /// `timestamp | DAA score | blue score | 0 0`.
    pub fn cell(&self) -> Cell {
        let [t0, t1] = cell::words(self.timestamp_ms);
        let [d0, d1] = cell::words(self.daa_score);
        let [b0, b1] = cell::words(self.blue_score);
        [t0, t1, d0, d1, b0, b1, 0, 0]
    }
}
