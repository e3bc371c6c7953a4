//! What a data directory holds of the states, read from what is durable in it: nothing is executed, and nothing written.
//!
//! The chain and its settlements come from the event log of a live L1, or from a recording and its overlay; the states from the
//! [batch records](reprise_scheduler::history). A directory that another process holds is read by
//! [`DataDir::detached`]. The log may then be ahead of the records: the chain ends where its
//! records end.

use std::collections::HashMap;
use std::error::Error;
use std::sync::{Arc, Mutex};

use reprise_chain::event::SourceEvent;
use reprise_chain::overlay::{Overlay, OverlayError};
use reprise_chain::recorded::RecordedL1;
use reprise_chain::source::{ChainSource, Pace, Poll, Progress, SourceError};
use reprise_chain::tree::{ChainError, ForkTree};
use reprise_disk::data_dir::DataDir;
use reprise_disk::log::LogError;
use reprise_model::block::{BatchMetadata, ChainBlock, ChainRoot};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_scheduler::history::{History, HistoryError};
use reprise_scheduler::position::Position;
use reprise_scheduler::record::RecordLog;
use reprise_scheduler::scheduler::SchedulerError;

use crate::l1::RecordedChain;
use crate::states::{Settlements, States};
use crate::wire::{self, Deployment, WireError};

/// Why a directory's states cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StoredError {
    /// A file cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The batch records cannot be read.
    #[error(transparent)]
    Records(#[from] SchedulerError),
    /// The beginning of the chain cannot be read.
    #[error(transparent)]
    Origin(#[from] WireError),
    /// They do not give a state.
    #[error(transparent)]
    History(#[from] HistoryError),
    /// The chain contradicts itself.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The overlay cannot be read.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// The events cannot be read.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
}

/// The states of a chain that begins at `first` and that these events made, as far as its blocks have records.
pub fn states<E: Into<Box<dyn Error + Send + Sync>>>(
    dir: &DataDir,
    deployment: &Deployment,
    first: Position,
    events: impl IntoIterator<Item = Result<SourceEvent, E>>,
) -> Result<States, StoredError> {
    let (root, checkpoint) = (first.block.metadata, first.checkpoint);
    let records = wire::records(dir, deployment)?.load()?;
    let history = History::new(first.clone(), records);
    let mut tree = ForkTree::at_checkpoint(root, checkpoint, u64::MAX);
    // The checkpoints of the canonical blocks, each with the last block up to there that has a record.
    let mut canonical = HashMap::from([(root.block_hash, (checkpoint, root.block_hash))]);
    let mut settlements = Settlements::default();
    for event in events {
        let event = event.map_err(|error| StoredError::Source(error.into()))?;
        // A block that accepts nothing may have no record.
        let is_recorded =
            |block: &ChainBlock| block.accepted.is_empty() || history.knows(&block.metadata.block_hash);
        if !event.added.iter().all(is_recorded) {
            break;
        }
        let event = tree.apply(event)?;
        for removed in &event.removed {
            canonical.remove(&removed.block_hash());
        }
        for BatchMetadata { checkpoint, block, .. } in event.added.iter().map(|added| added.metadata) {
            let below = canonical.get(&block.parent_hash).map_or(root.block_hash, |(_, recorded)| *recorded);
            let recorded = if history.knows(&block.block_hash) { block.block_hash } else { below };
            canonical.insert(block.block_hash, (checkpoint, recorded));
        }
        settlements.follow(&event, &|settlement| canonical.contains_key(&settlement.end_block));
    }
    let position = |block: &BlockHash| {
        let unknown = HistoryError::Unknown { block: *block };
        let Some((checkpoint, recorded)) = canonical.get(block) else { return Err(unknown) };
        let below = history.position_after(recorded)?;
        let Some(at) = tree.at(*checkpoint).filter(|_| recorded != block) else { return Ok(below) };
        let block = ChainRoot { metadata: at.block, lane_proof: None };
        Ok(Position { block, checkpoint: *checkpoint, ..below })
    };
    let tip = position(&tree.tip().block_hash())?;
    Ok(settlements.states(first, tip, &|settlement| position(&settlement.end_block).ok()))
}

/// The states of the live L1 that was followed into this directory; `None` where none was.
pub fn followed(dir: &DataDir, deployment: &Deployment) -> Result<Option<States>, StoredError> {
    let Some((event_log, origin)) = wire::event_log_in(dir, deployment)? else { return Ok(None) };
    states(dir, deployment, origin.position, event_log.all()).map(Some)
}

/// The states of a recorded or dev chain, with the settlements that its overlay holds.
pub fn recorded(
    dir: &DataDir,
    deployment: &Deployment,
    chain: &RecordedChain,
) -> Result<States, StoredError> {
    let first = deployment.founding(chain.recording.root.clone())?.position;
    states(dir, deployment, first, recorded_events(dir, deployment, chain)?)
}

/// The events of a recorded or dev chain that a run in this directory has seen, with the settlements that its overlay holds.
pub fn recorded_events(
    dir: &DataDir,
    deployment: &Deployment,
    chain: &RecordedChain,
) -> Result<impl Iterator<Item = Result<SourceEvent, SourceError>>, StoredError> {
    let (root, covenant) = (&chain.recording.root, deployment.covenant());
    let overlay = Overlay::open(Some(dir.overlay(&covenant.pins)), root.clone(), covenant)?;
    // It goes on for as long as it is asked to, with blocks that the node has not seen in the end.
    let fed = overlay.fed();
    let mut source = RecordedL1::new(chain.recording.clone(), Pace::Free, Arc::new(Mutex::new(overlay)));
    let progress = Progress { proved: true, settled: false, refused: false, finalized: Checkpoint(0) };
    Ok(std::iter::from_fn(move || match source.poll(progress) {
        Ok(Poll::Event(event)) => {
            event.added.iter().all(|block| fed.contains(&block.metadata.block_hash)).then_some(Ok(event))
        }
        Ok(Poll::Final(_) | Poll::End | Poll::Pending) => None,
        Err(error) => Some(Err(error)),
    }))
}
