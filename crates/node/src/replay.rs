//! Replay: executes a chain again, for what depends on the chain alone. It uses no store and no prover, and writes nothing.

use std::collections::HashMap;
use std::error::Error;

use reprise_chain::event::SourceEvent;
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_model::limits::{Limits, ProveApart};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::{Scheduler, SchedulerError};

use crate::debts::Debts;
use crate::wire::{Deployment, Origin};

/// Why a chain cannot be executed again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// Its events cannot be read.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
    /// They contradict each other.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// A block cannot be executed.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
}

/// The debts of a chain from `origin` in which a block is final `finality_depth` checkpoints below the tip.
pub fn debts<E: Error + Send + Sync + 'static>(
    deployment: &Deployment,
    origin: Origin,
    finality_depth: u64,
    events: impl IntoIterator<Item = Result<SourceEvent, E>>,
) -> Result<Debts, ReplayError> {
    let Deployment { hasher, .. } = deployment.clone();
    let (processor, pins) = (deployment.processor(), deployment.pins().clone());
    let (root, checkpoint) = (origin.position.block.metadata, origin.position.checkpoint);
    let mut tree = ForkTree::at_checkpoint(root, checkpoint, finality_depth);
    // Nothing is proved, and what is owed does not depend on how blocks are divided.
    let division = Division { limits: Limits::NONE, apart: ProveApart::Never };
    let log = Box::new(MemoryLog::default());
    let mut scheduler = Scheduler::open_at(processor, hasher.clone(), pins, division, origin.position, log)?;
    let (mut debts, mut checkpoints) =
        (Debts::owing(hasher, origin.unpaid, checkpoint), HashMap::from([(root.block_hash, checkpoint)]));
    for event in events {
        let event = tree.apply(event.map_err(|error| ReplayError::Source(error.into()))?)?;
        let blocks = scheduler.schedule(event.added.iter().map(|added| (added.metadata, &added.block)))?;
        for removed in &event.removed {
            checkpoints.remove(&removed.block_hash());
        }
        let added = event.added.iter().map(|added| (added.metadata.block_hash(), added.metadata.checkpoint));
        checkpoints.extend(added);
        debts.follow(&event, &blocks, &|settlement| checkpoints.get(&settlement.end_block).copied());
        // Nothing below is executed again.
        scheduler.prune_below(event.finalized);
    }
    Ok(debts)
}
