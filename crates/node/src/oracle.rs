//! The oracle: executes the canonical chain plainly, one transaction after another. It shares only the workload and the
//! state tree with the scheduler.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use reprise_model::block::ChainBlock;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::Hasher;
use reprise_model::processor::{self, Processor};
use reprise_model::transaction::Rollup;
use reprise_scheduler::tree::StateTree;

/// Executes the canonical chain from its root.
pub struct Oracle {
    processor: Arc<dyn Processor>,
    rollup: Rollup,
    /// The state before the first block that is kept.
    base: StateTree,
    /// The checkpoint of the block that it is after.
    below: u64,
    /// The state after each canonical block above.
    states: VecDeque<(BlockHash, StateTree)>,
    roots: HashMap<BlockHash, Digest>,
}

impl Oracle {
    /// An oracle over an empty state.
    pub fn new(processor: Arc<dyn Processor>, hasher: Arc<dyn Hasher>, rollup: Rollup) -> Self {
        Self::from(processor, rollup, StateTree::empty(hasher), Checkpoint(0))
    }

    /// An oracle over the state after the block at a checkpoint, from which the chain is followed.
    pub fn from(
        processor: Arc<dyn Processor>,
        rollup: Rollup,
        base: StateTree,
        checkpoint: Checkpoint,
    ) -> Self {
        let (states, roots) = (VecDeque::new(), HashMap::new());
        Self { processor, rollup, base, below: checkpoint.0, states, roots }
    }

    /// The root after the canonical tip.
    pub fn root(&self) -> Digest {
        self.tip().root()
    }

    /// The root after a canonical block.
    pub fn root_at(&self, block: &BlockHash) -> Option<Digest> {
        self.roots.get(block).copied()
    }

    fn tip(&self) -> &StateTree {
        self.states.back().map_or(&self.base, |(_, state)| state)
    }

    /// Prunes what only blocks below `floor` need. None of them can leave the chain any more.
    pub fn prune_below(&mut self, floor: Checkpoint) {
        while self.below + 1 < floor.0
            && let Some((block, state)) = self.states.pop_front()
        {
            self.roots.remove(&block);
            (self.base, self.below) = (state, self.below + 1);
        }
    }

    /// Rolls the last `blocks` blocks back.
    pub fn roll_back(&mut self, blocks: usize) {
        for (block, _) in self.states.drain(self.states.len().saturating_sub(blocks)..) {
            self.roots.remove(&block);
        }
    }

    /// Executes one more block. Returns the root after it.
    pub fn execute(&mut self, block: &ChainBlock) -> Digest {
        let mut state = self.tip().clone();
        for transaction in &block.accepted {
            let read = transaction.read(&self.rollup);
            let Ok(declared) = processor::declared(self.processor.as_ref(), transaction, &read) else {
                continue;
            };
            let values: Vec<_> = declared.iter().map(|id| (*id, state.get(id))).collect();
            let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
            let effects = processor::execute(self.processor.as_ref(), &read.message, &read.facts, &before);
            for (id, value) in &effects.writes {
                state = state.with(id, value.as_deref());
            }
        }
        let root = state.root();
        self.roots.insert(block.metadata.block_hash, root);
        self.states.push_back((block.metadata.block_hash, state));
        root
    }
}
