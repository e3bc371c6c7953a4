//! Anchors: the block in whose sequencing commitment a settlement opens the lane.
//!
//! A settlement can be anchored in its last block, and in any later one up to the next that accepts something of the lane: the tip is the
//! same in all of them. An L1 answers for a block's commitment only up to a [depth](AnchorDepth). So a settlement that does not come
//! in time is anchored anew. These are the rules of that, functions of blue scores alone, so that a replay decides alike.
//!
//! | part of the depth | what for |
//! |---|---|
//! | 1/16 | an empty block's lane proof is kept once in so many |
//! | 1/8 | an anchor lies at least so far below the tip when it is chosen anew |
//! | 1/2 | each time the tip has gone on by so much, an anchor is chosen anew |
//! | 3/4 | an anchor below that is too deep to be counted on |

/// How many blue scores below the spender's parent an L1 answers for a block's commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorDepth(pub u64);

impl AnchorDepth {
    /// Whether the lane proof of an empty block is kept, so that a settlement can be anchored in it.
    pub fn keeps(self, parent: u64, block: u64) -> bool {
        let step = (self.0 / 16).max(1);
        parent / step < block / step
    }

    /// The highest blue score of an anchor for a settlement whose last block has the score `last`.
    pub fn highest(self, last: u64, tip: u64) -> u64 {
        let every = (self.0 / 2).max(1);
        match tip.saturating_sub(last) / every {
            0 => last,
            times => last.saturating_add(times * every).saturating_sub(self.0 / 8).max(last),
        }
    }

    /// Whether the L1 may refuse an anchor of this score soon, or does.
    pub fn is_stale(self, anchor: u64, tip: u64) -> bool {
        tip.saturating_sub(anchor) > self.0 - self.0 / 4
    }

    /// Whether the L1 refuses it.
    pub fn is_exceeded(self, anchor: u64, tip: u64) -> bool {
        tip.saturating_sub(anchor) > self.0
    }
}
