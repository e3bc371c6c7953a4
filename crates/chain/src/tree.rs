//! The fork tree: every block this node has seen, and which of them are canonical now.
//!
//! A block gets its [`BlockId`] when it is first seen and keeps it when it leaves and returns; an id is never
//! given to another block. The checkpoint is the height above the root, so siblings share it.
//!
//! A checkpoint is *final* once it lies `finality_depth` below the tip, or once the L1 says that it will never
//! remove it ([`ForkTree::finalize`]), and stays so when the tip retreats. The depth is a policy: where it is smaller
//! than the L1's own, a reorg that the L1 allows and the policy does not is refused. An
//! event that would remove a final block, skips a block, adds one twice, or shows a known hash with other
//! content is refused: the event contradicts the chain, and the tree stays as it was.
//!
//! The tree drops what lies below finality, on every fork: it can neither leave nor return.

use std::collections::{BTreeSet, VecDeque};

use foldhash::{HashMap, HashSet};
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainBlockMetadata};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;

use crate::event::{AddedBlock, ChainEvent, SourceEvent};

/// Why an event cannot be applied. The tree is as it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The removed blocks are not the tip and its ancestors.
    #[error("the L1 removes {removed}, but the canonical tip is {tip}")]
    NotTheTip {
        /// What was to be removed.
        removed: BlockHash,
        /// The tip at that point.
        tip: BlockHash,
    },
    /// An added block does not build on the tip.
    #[error("the L1 adds {added} on {parent}, but the canonical tip is {tip}: a block is missing")]
    Gap {
        /// What was to be added.
        added: BlockHash,
        /// Its parent.
        parent: BlockHash,
        /// The tip at that point.
        tip: BlockHash,
    },
    /// A final block was to be removed.
    #[error(
        "the L1 removes {removed} at checkpoint {checkpoint}, which is final here, as everything up to checkpoint {finalized} is: \
         raise --finality-depth, in another data directory"
    )]
    Final {
        /// What was to be removed.
        removed: BlockHash,
        /// Its checkpoint.
        checkpoint: Checkpoint,
        /// The highest final checkpoint.
        finalized: Checkpoint,
    },
    /// One event adds a block twice.
    #[error("the L1 adds {block} twice in one event")]
    Twice {
        /// The block.
        block: BlockHash,
    },
    /// A known hash came with other content.
    #[error("the L1 shows {block} with a header other than the one it had before")]
    Changed {
        /// The block.
        block: BlockHash,
    },
}

/// Every block seen that may still join or leave the canonical chain, and that chain.
#[derive(Debug, Clone)]
pub struct ForkTree {
    seen: HashMap<BlockHash, BatchMetadata>,
    /// Those of them that are not canonical, by height.
    aside: BTreeSet<(Checkpoint, BlockHash)>,
    /// The canonical chain from the highest final block, which never leaves it.
    view: VecDeque<BatchMetadata>,
    next_id: u64,
    finality_depth: u64,
    /// The highest final checkpoint there ever was.
    finalized: Checkpoint,
}

impl ForkTree {
    /// A tree whose root has checkpoint 0 and is final.
    pub fn new(root: ChainBlockMetadata, finality_depth: u64) -> Self {
        Self::at_checkpoint(root, Checkpoint(0), finality_depth)
    }

    /// A tree whose root has this checkpoint and is final.
    pub fn at_checkpoint(root: ChainBlockMetadata, checkpoint: Checkpoint, finality_depth: u64) -> Self {
        let root = BatchMetadata { id: BlockId(0), checkpoint, block: root };
        Self {
            seen: HashMap::from_iter([(root.block_hash(), root)]),
            aside: BTreeSet::new(),
            view: VecDeque::from([root]),
            next_id: 1,
            finality_depth,
            finalized: checkpoint,
        }
    }

    /// Gives the blocks that an earlier process recorded the ids they had. The others get new ones when they are seen.
    pub fn restore(&mut self, known: impl IntoIterator<Item = BatchMetadata>) {
        for block in known {
            self.next_id = self.next_id.max(block.id.0 + 1);
            if self.seen.insert(block.block_hash(), block).is_none() {
                self.aside.insert(place(&block));
            }
        }
    }

    /// The canonical chain from the highest final block, oldest first.
    pub fn view(&self) -> impl ExactSizeIterator<Item = &BatchMetadata> {
        self.view.iter()
    }

    /// How many blocks are in memory: those that are not below finality.
    pub fn seen(&self) -> usize {
        self.seen.len()
    }

    /// The canonical tip.
    pub fn tip(&self) -> BatchMetadata {
        // The highest final block never leaves the view.
        self.view[self.view.len() - 1]
    }

    /// The highest final checkpoint.
    pub fn finalized(&self) -> Checkpoint {
        self.finalized
    }

    /// The canonical block at a checkpoint, where that is not below finality.
    pub fn at(&self, checkpoint: Checkpoint) -> Option<&BatchMetadata> {
        let above = checkpoint.0.checked_sub(self.view.front()?.checkpoint.0)?;
        self.view.get(usize::try_from(above).ok()?)
    }

    /// Applies one change of the L1's canonical chain, whole or not at all.
    pub fn apply(&mut self, event: SourceEvent) -> Result<ChainEvent, ChainError> {
        let kept = self.kept_after(&event.removed)?;
        let added = self.chained(self.view[kept - 1], event.added)?;

        let removed: Vec<_> = self.view.drain(kept..).rev().collect();
        self.aside.extend(removed.iter().map(place));
        for AddedBlock { metadata, returning, .. } in &added {
            match returning {
                true => drop(self.aside.remove(&place(metadata))),
                false => drop(self.seen.insert(metadata.block_hash(), *metadata)),
            }
            self.next_id = self.next_id.max(metadata.id.0 + 1);
            self.view.push_back(*metadata);
        }
        self.raise(Checkpoint(self.tip().checkpoint.0.saturating_sub(self.finality_depth)));
        Ok(ChainEvent { removed, added, finalized: self.finalized })
    }

    /// The L1 never removes this block. Returns the change of the view; `None` where nothing changes, or where the block is
    /// not canonical here (a source may report finality before the blocks above it are applied, or after).
    pub fn finalize(&mut self, block: &BlockHash) -> Option<ChainEvent> {
        let checkpoint = self.seen.get(block)?.checkpoint;
        let canonical = self.at(checkpoint).is_some_and(|at| at.block_hash() == *block);
        if !canonical || checkpoint <= self.finalized {
            return None;
        }
        self.raise(checkpoint);
        Some(ChainEvent { finalized: checkpoint, ..ChainEvent::default() })
    }

    /// Makes a canonical checkpoint final, and drops what lies below.
    fn raise(&mut self, finalized: Checkpoint) {
        self.finalized = self.finalized.max(finalized);
        while let Some(below) = self.view.pop_front_if(|block| block.checkpoint < self.finalized) {
            self.seen.remove(&below.block_hash());
        }
        while self.aside.first().is_some_and(|(checkpoint, _)| *checkpoint < self.finalized)
            && let Some((_, below)) = self.aside.pop_first()
        {
            self.seen.remove(&below);
        }
    }

    /// How many blocks of the view stay once `removed` have left, tip first.
    fn kept_after(&self, removed: &[BlockHash]) -> Result<usize, ChainError> {
        let finalized = self.finalized();
        let mut kept = self.view.len();
        for hash in removed {
            let tip = self.view[kept - 1];
            if tip.block_hash() != *hash {
                return Err(ChainError::NotTheTip { removed: *hash, tip: tip.block_hash() });
            }
            if tip.checkpoint <= finalized || kept == 1 {
                let checkpoint = tip.checkpoint;
                return Err(ChainError::Final { removed: *hash, checkpoint, finalized });
            }
            kept -= 1;
        }
        Ok(kept)
    }

    /// `added` with ids and checkpoints, each on the one before, the first on `tip`.
    fn chained(&self, mut tip: BatchMetadata, added: Vec<ChainBlock>) -> Result<Vec<AddedBlock>, ChainError> {
        let mut next_id = self.next_id;
        let mut blocks = Vec::with_capacity(added.len());
        let (several, mut hashes) = (added.len() > 1, HashSet::default());
        for block in added {
            let (hash, parent) = (block.metadata.block_hash, block.metadata.parent_hash);
            if parent != tip.block_hash() {
                return Err(ChainError::Gap { added: hash, parent, tip: tip.block_hash() });
            }
            if several && !hashes.insert(hash) {
                return Err(ChainError::Twice { block: hash });
            }
            let known = self.seen.get(&hash);
            if known.is_some_and(|known| known.block != block.metadata) {
                return Err(ChainError::Changed { block: hash });
            }
            let metadata = known.copied().unwrap_or_else(|| BatchMetadata {
                id: BlockId(next_id),
                checkpoint: Checkpoint(tip.checkpoint.0 + 1),
                block: block.metadata,
            });
            next_id = next_id.max(metadata.id.0 + 1);
            blocks.push(AddedBlock { metadata, returning: known.is_some(), block });
            tip = metadata;
        }
        Ok(blocks)
    }
}

/// Where a block stands among those of all forks.
fn place(block: &BatchMetadata) -> (Checkpoint, BlockHash) {
    (block.checkpoint, block.block_hash())
}
