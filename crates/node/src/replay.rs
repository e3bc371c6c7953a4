//! Replay: executes a chain again, for what depends on the chain alone. It uses no store and no prover, and writes nothing.

use std::collections::HashMap;

use reprise_chain::event::SourceEvent;
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::limits::{Limits, ProveApart};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use crate::debts::Debts;
use crate::wire::{Deployment, Origin};

/// Why a chain cannot be executed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// They contradict each other.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A block cannot be executed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// A chain that is executed again, event by event, for the debts of its settlements.
pub struct Replay {
    tree: ForkTree,
    scheduler: Scheduler,
    debts: Debts,
    checkpoints: HashMap<BlockHash, Checkpoint>,
}

impl Replay {
    /// The beginning of a chain from `origin` in which a block is final `finality_depth` checkpoints below the tip.
    pub fn new(deployment: &Deployment, origin: Origin, finality_depth: u64) -> Result<Self, ReplayError> {
        let (processor, pins) = (deployment.processor(), deployment.pins().clone());
        let (root, checkpoint) = (origin.position.block.metadata, origin.position.checkpoint);
        let tree = ForkTree::at_checkpoint(root, checkpoint, finality_depth);
        // Nothing is proved, and what is owed does not depend on how blocks are divided.
        let division = Division { limits: Limits::NONE, apart: ProveApart::Never };
        let (hasher, log) = (deployment.hasher.clone(), Box::new(MemoryLog::default()));
        let scheduler = Scheduler::open_at(processor, hasher, pins, division, origin.position, log)?;
        let debts = deployment.debts(origin.unpaid, checkpoint);
        Ok(Self { tree, scheduler, debts, checkpoints: HashMap::from([(root.block_hash, checkpoint)]) })
    }

    /// The same for whoever makes a [snapshot of this block](Debts::for_snapshot_at).
    #[must_use]
    pub fn for_snapshot_at(self, block: Checkpoint) -> Self {
        Self { debts: self.debts.for_snapshot_at(block), ..self }
    }

    /// Follows one change of the chain. Returns whether the debts changed.
    pub fn follow(&mut self, event: SourceEvent) -> Result<bool, ReplayError> {
        let event = self.tree.apply(event)?;
        let blocks =
            self.scheduler.schedule(event.added.iter().map(|added| (added.metadata, &added.block)))?;
        for removed in &event.removed {
            self.checkpoints.remove(&removed.block_hash());
        }
        let added = event.added.iter().map(|added| (added.metadata.block_hash(), added.metadata.checkpoint));
        self.checkpoints.extend(added);
        let end_of = |settlement: &ObservedSettlement| self.checkpoints.get(&settlement.end_block).copied();
        let changed = self.debts.follow(&event, &blocks, &end_of);
        // Nothing below is executed again.
        self.scheduler.prune_below(event.finalized);
        Ok(changed)
    }

    /// The checkpoint up to which no block leaves the chain.
    pub fn finalized(&self) -> Checkpoint {
        self.tree.finalized()
    }

    /// What the settlements owe.
    pub fn debts(&self) -> &Debts {
        &self.debts
    }
}
