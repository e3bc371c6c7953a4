//! A track: one chain by height, without what lies below a floor.

use std::collections::VecDeque;

use reprise_model::digest::BlockHash;

/// See the [module](self). It is never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// The height of the first block.
    floor: u64,
    blocks: VecDeque<BlockHash>,
}

impl Track {
    /// A track of one block.
    pub fn new(height: u64, block: BlockHash) -> Self {
        Self { floor: height, blocks: VecDeque::from([block]) }
    }

    /// The height of the lowest block.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The highest block, and its height.
    pub fn tip(&self) -> (u64, BlockHash) {
        (self.floor + self.blocks.len() as u64 - 1, self.blocks[self.blocks.len() - 1])
    }

    /// The block at a height.
    pub fn at(&self, height: u64) -> Option<&BlockHash> {
        self.blocks.get(usize::try_from(height.checked_sub(self.floor)?).ok()?)
    }

    /// All its blocks, the lowest first.
    pub fn blocks(&self) -> impl DoubleEndedIterator<Item = &BlockHash> {
        self.blocks.iter()
    }

    /// The blocks above a height, the lowest first.
    pub fn above(&self, height: u64) -> impl DoubleEndedIterator<Item = &BlockHash> {
        let kept = (height + 1).saturating_sub(self.floor).min(self.blocks.len() as u64);
        self.blocks.range(kept as usize..)
    }

    /// The height up to which it is the same as another.
    pub fn same_up_to(&self, other: &Self) -> u64 {
        let mut height = self.tip().0.min(other.tip().0);
        while height > self.floor && self.at(height) != other.at(height) {
            height -= 1;
        }
        height
    }

    /// Adds a block.
    pub fn push(&mut self, block: BlockHash) {
        self.blocks.push_back(block);
    }

    /// Removes what lies above a height: the blocks, the highest first.
    pub fn remove_above(&mut self, height: u64) -> Vec<BlockHash> {
        let kept = (height + 1).saturating_sub(self.floor).clamp(1, self.blocks.len() as u64);
        self.blocks.drain(kept as usize..).rev().collect()
    }

    /// Drops what lies below a height, and keeps a block.
    pub fn drop_below(&mut self, height: u64) {
        while self.floor < height && self.blocks.len() > 1 {
            self.blocks.pop_front();
            self.floor += 1;
        }
    }
}
