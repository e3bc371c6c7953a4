//! The newest settled position of a data directory that no node works in, from what is durable there: the event log shows what is
//! settled, and the batch records give the state.

use std::collections::VecDeque;
use std::path::PathBuf;

use reprise_chain::event::SourceEvent;
use reprise_disk::data_dir::DataDir;
use reprise_disk::log::LogError;
use reprise_model::block::ObservedSettlement;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_scheduler::history::{History, HistoryError};
use reprise_scheduler::record::RecordLog;
use reprise_scheduler::scheduler::SchedulerError;
use reprise_scheduler::snapshot::{SettledPosition, Snapshot};

use crate::replay::{Replay, ReplayError};
use crate::wire::{self, Deployment, WireError};

/// Why there is no such position.
#[derive(Debug, thiserror::Error)]
pub enum SettledError {
    /// Nothing was followed.
    #[error("{}: no such event log: only a directory that has followed a live L1 with these settings has a settled state", path.display())]
    NoChain {
        /// Where the event log would be.
        path: PathBuf,
    },
    /// No settlement is deep enough.
    #[error(
        "{}: the chain as it was followed shows no settlement that lies {depth} blocks below its tip: run the node until it does",
        path.display()
    )]
    NothingSettled {
        /// The event log.
        path: PathBuf,
        /// How deep a settlement must lie.
        depth: u64,
    },
    /// The event log or the records cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The batch records cannot be opened.
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    /// The chain cannot be executed again.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The records do not give the state.
    #[error(transparent)]
    State(#[from] HistoryError),
    /// The beginning of the chain cannot be read.
    #[error(transparent)]
    Origin(#[from] WireError),
}

/// The newest position of the directory whose settlement lies at least `depth` checkpoints below the tip. The chain is followed as the
/// node followed it, for which a block was final `finality_depth` checkpoints below the tip: a reorg may have been deeper than `depth`.
pub fn of_dir(
    dir: &DataDir,
    deployment: &Deployment,
    depth: u64,
    finality_depth: u64,
) -> Result<Snapshot, SettledError> {
    let pins = deployment.pins().digest(deployment.hasher.as_ref());
    let path = dir.event_log(&pins).path().to_path_buf();
    let followed = wire::event_log_in(dir, deployment)?;
    let (event_log, origin) = followed.ok_or_else(|| SettledError::NoChain { path: path.clone() })?;
    let head = event_log.head().clone();
    let root = origin.position.block.metadata.block_hash;
    let mut chain = SettledChain::from(root, origin.position.checkpoint);
    for run in event_log.settled() {
        chain.follow(&SourceEvent { removed: vec![], added: run? });
        // This part is final.
        chain.forget_settled();
    }
    for event in event_log.events() {
        chain.follow(&event?);
    }
    let records = wire::records(dir, deployment)?.load()?;
    let history = History::new(origin.position.clone(), records);
    let Some(&Settled { carrier, end, ref settlement }) = chain.newest(depth, &history) else {
        return Err(SettledError::NothingSettled { path, depth });
    };
    let position = history.position_after(&settlement.end_block)?;
    let (settlement, carried_above) = (settlement.clone(), carrier.0 - end.0);
    let identity = deployment.identity(head.network);
    let mut replay = Replay::new(deployment, origin, finality_depth)?.for_snapshot_at(end);
    for event in event_log.all() {
        replay.follow(event?)?;
    }
    let unpaid = replay.debts().unpaid(end);
    Ok(Snapshot { identity, settled: SettledPosition { position, settlement, carried_above, unpaid } })
}

/// A settlement of the chain: the checkpoints of the block that carries it and of its end.
struct Settled {
    carrier: Checkpoint,
    end: Checkpoint,
    settlement: ObservedSettlement,
}

/// A canonical chain, as far as settlements may yet end in it.
struct SettledChain {
    /// The blocks from the last settled one on.
    blocks: VecDeque<BlockHash>,
    /// The checkpoint of the first of them.
    first: u64,
    settled: VecDeque<Settled>,
}

impl SettledChain {
    fn from(root: BlockHash, checkpoint: Checkpoint) -> Self {
        Self { blocks: VecDeque::from([root]), first: checkpoint.0, settled: VecDeque::new() }
    }

    fn tip(&self) -> u64 {
        self.first + self.blocks.len() as u64 - 1
    }

    fn follow(&mut self, event: &SourceEvent) {
        // The first block stays: no event of a log removes what it builds on.
        self.blocks.truncate(self.blocks.len().saturating_sub(event.removed.len()).max(1));
        let tip = self.tip();
        while self.settled.pop_back_if(|settled| settled.carrier.0 > tip).is_some() {}
        for block in &event.added {
            self.blocks.push_back(block.metadata.block_hash);
            let carrier = Checkpoint(self.tip());
            for settlement in &block.settlements {
                let end = self.blocks.iter().rposition(|block| *block == settlement.end_block);
                // Of a block below the first: it is settled by a later one, too.
                let Some(end) = end else { continue };
                let end = Checkpoint(self.first + end as u64);
                self.settled.push_back(Settled { carrier, end, settlement: settlement.clone() });
            }
        }
    }

    /// Forgets the blocks below the last settled one.
    fn forget_settled(&mut self) {
        let Some(last) = self.settled.pop_back() else { return };
        let below = last.end.0.saturating_sub(self.first);
        self.blocks.drain(..usize::try_from(below).unwrap_or(usize::MAX).min(self.blocks.len() - 1));
        self.first = last.end.0;
        self.settled = VecDeque::from([last]);
    }

    /// The newest settlement whose carrier lies so deep below the tip, if one can be, of those whose last block has a record.
    /// Somebody may have anchored one in an empty block that has none.
    fn newest(&self, depth: u64, history: &History) -> Option<&Settled> {
        let deep = self.tip().checked_sub(depth)?;
        let below = self.settled.partition_point(|settled| settled.carrier.0 <= deep);
        let mut deep = self.settled.range(..below).rev();
        deep.find(|settled| history.knows(&settled.settlement.end_block))
            .or(self.settled.get(below.checked_sub(1)?))
    }
}
