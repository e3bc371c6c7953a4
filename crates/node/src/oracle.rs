//! The oracle: executes the canonical chain plainly, one transaction after another. It shares only the workload and the
//! state tree with the scheduler.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;
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
    /// The state after the highest final block, and that block's checkpoint.
    base: StateTree,
    below: u64,
    /// The state after each canonical block above.
    states: VecDeque<(BlockHash, StateTree)>,
    roots: HashMap<BlockHash, Digest>,
    /// The roots that the final blocks gave: each with the checkpoint of the first block that has it, the lowest first.
    past: VecDeque<(u64, Digest)>,
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
        let (states, roots, past) = (VecDeque::new(), HashMap::default(), VecDeque::new());
        Self { processor, rollup, base, below: checkpoint.0, states, roots, past }
    }

    /// The root after the canonical tip.
    pub fn root(&self) -> Digest {
        self.tip().root()
    }

    /// The root after a canonical block that is not final.
    pub fn root_at(&self, block: &BlockHash) -> Option<Digest> {
        self.roots.get(block).copied()
    }

    /// Whether this is the root after a canonical block. Of a final one it only says whether the chain had this root.
    pub fn gives(&self, block: &BlockHash, root: Digest) -> bool {
        match self.root_at(block) {
            Some(after) => after == root,
            None => self.past.iter().rev().any(|(_, past)| *past == root),
        }
    }

    fn tip(&self) -> &StateTree {
        self.states.back().map_or(&self.base, |(_, state)| state)
    }

    /// No block up to this checkpoint can leave the chain any more: of these only their roots are kept.
    pub fn finalize(&mut self, finalized: Checkpoint) {
        while self.below < finalized.0
            && let Some((block, state)) = self.states.pop_front()
        {
            (self.base, self.below) = (state, self.below + 1);
            let root = self.roots.remove(&block).unwrap_or_else(|| self.base.root());
            if self.past.back().is_none_or(|(_, last)| *last != root) {
                self.past.push_back((self.below, root));
            }
        }
    }

    /// Prunes the roots below `floor`, but for the one just below.
    pub fn prune_below(&mut self, floor: Checkpoint) {
        while self.past.get(1).is_some_and(|(next, _)| *next < floor.0) {
            self.past.pop_front();
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
            let processor = self.processor.as_ref();
            let context = processor::asks_context(processor, &read).then(|| block.metadata.context());
            let effects = processor::execute(processor, &read.message, &read.facts, &before, context);
            // As the programs write: each resource once, in the order in which they are declared.
            for id in &declared {
                if let Some((_, value)) = effects.writes.iter().rfind(|(written, _)| written == id) {
                    state = state.with(id, value.as_deref());
                }
            }
        }
        let root = state.root();
        self.roots.insert(block.metadata.block_hash, root);
        self.states.push_back((block.metadata.block_hash, state));
        root
    }
}
