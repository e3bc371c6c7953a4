//! Anchors: the block in whose sequencing commitment a settlement opens the lane.
//!
//! A settlement can be anchored in its last block and in the empty blocks directly after it, because the lane tip is the same
//! in all of them. (An *empty* block accepts nothing of the lane.) An L1 confirms a block's commitment only up to a
//! [depth](AnchorDepth), so a settlement that is late is anchored anew, in a later block. The rules are functions of blue
//! scores alone, so a replay takes the same decisions.
//!
//! | part of the depth | what for |
//! |---|---|
//! | 1/16 | the lane proof of one empty block in each such interval is kept |
//! | 1/8 | an anchor that is chosen anew lies at least this far below the tip |
//! | 1/2 | each time the tip has gone on by so much, an anchor is chosen anew, and stays until the next time |

/// How many blue scores below the parent of the spending block an L1 still confirms a block's commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AnchorDepth(pub u64);

impl AnchorDepth {
    /// Whether the lane proof of an empty block is kept, so that a settlement can be anchored in it.
    pub fn keeps(self, parent: u64, block: u64) -> bool {
        let step = (self.0 / 16).max(1);
        parent / step < block / step
    }

    /// The highest blue score that the anchor of a settlement may have, whose last block has the score `last`.
    pub fn highest(self, last: u64, tip: u64) -> u64 {
        let every = (self.0 / 2).max(1);
        match tip.saturating_sub(last) / every {
            0 => last,
            times => last.saturating_add(times * every).saturating_sub(self.0 / 8).max(last),
        }
    }

    /// Whether the L1 refuses an anchor of this score.
    pub fn is_exceeded(self, anchor: u64, tip: u64) -> bool {
        tip.saturating_sub(anchor) >= self.0
    }
}
