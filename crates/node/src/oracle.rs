//! The oracle: the canonical chain executed plainly, one transaction after another, with nothing of the
//! scheduler's in it but the workload and the tree that hashes.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use reprise_model::block::ChainBlock;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::state;
use reprise_scheduler::processor::{Processor, ResourceView};
use reprise_scheduler::tree::StateTree;

/// Executes the canonical chain from its root.
pub struct Oracle {
    processor: Arc<dyn Processor>,
    deposit: ResourceId,
    /// The state before the first block that is not let go.
    base: StateTree,
    /// How many blocks were let go.
    below: u64,
    /// The state after each canonical block above.
    states: VecDeque<(BlockHash, StateTree)>,
    roots: HashMap<BlockHash, Digest>,
}

impl Oracle {
    /// An oracle over an empty state.
    pub fn new(processor: Arc<dyn Processor>, hasher: Arc<dyn Hasher>, deposit: ResourceId) -> Self {
        let (base, states, roots) = (StateTree::empty(hasher), VecDeque::new(), HashMap::new());
        Self { processor, deposit, base, below: 0, states, roots }
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

    /// Lets go of what only matters to blocks below `floor`, none of which leaves any more.
    pub fn prune_below(&mut self, floor: Checkpoint) {
        while self.below + 1 < floor.0
            && let Some((block, state)) = self.states.pop_front()
        {
            self.roots.remove(&block);
            (self.base, self.below) = (state, self.below + 1);
        }
    }

    /// Forgets the last `blocks` blocks.
    pub fn roll_back(&mut self, blocks: usize) {
        for (block, _) in self.states.drain(self.states.len().saturating_sub(blocks)..) {
            self.roots.remove(&block);
        }
    }

    /// Executes one more block; the root after it.
    pub fn execute(&mut self, block: &ChainBlock) -> Digest {
        let mut state = self.tip().clone();
        for transaction in &block.accepted {
            let facts = transaction.facts(&self.deposit);
            let declared = self.processor.declare(transaction, &facts);
            let read = |id: &ResourceId| (*id, state.get(state::slot(id)).map(|cells| cells.to_vec()));
            let view = ResourceView::new(declared.iter().map(read));
            let effects = self.processor.execute(transaction, &facts, &block.metadata.context(), &view);
            if effects.outcome.is_success() && effects.writes.iter().all(|(id, _)| view.declares(id)) {
                for (id, value) in &effects.writes {
                    state = state.with(state::slot(id), value);
                }
            }
        }
        let root = state.root();
        self.roots.insert(block.metadata.block_hash, root);
        self.states.push_back((block.metadata.block_hash, state));
        root
    }
}
