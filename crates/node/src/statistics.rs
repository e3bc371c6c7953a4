//! Statistics: the part of the report that is counted from events.
//!
//! What is kept to count by goes when it cannot be met again: of a block when it is final, of a statement when it is pruned.

use std::collections::BTreeSet;

use foldhash::HashMap;
use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::BlockHash;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::counts::PerKind;

use crate::accounting::{Account, Accounts, Times, seconds};
use crate::event::{Observer, PipelineEvent};
use crate::report::{Report, Seconds};

/// Counts events.
#[derive(Debug, Default)]
pub struct Statistics {
    report: Report,
    /// The stored statements of each block when it left the view, while it may return.
    orphaned: HashMap<BlockHash, Vec<(StatementId, Kind)>>,
    /// These blocks, by height.
    left: BTreeSet<(Checkpoint, BlockHash)>,
    /// The statements of blocks that returned, each with the checkpoint of the last.
    returned: HashMap<StatementId, Checkpoint>,
    returned_by_kind: PerKind,
    accounts: Accounts,
    times: Times,
}

impl Statistics {
    /// How much it keeps to count by.
    pub fn holds(&self) -> [(&'static str, usize); 3] {
        [
            ("orphaned blocks", self.orphaned.len()),
            ("returned statements", self.returned.len()),
            ("accounted proofs", self.accounts.held()),
        ]
    }

    /// The figures so far; the ones counted elsewhere are zero.
    pub fn report(&self) -> Report {
        Report {
            statements_returned: self.returned_by_kind.into(),
            seconds_proving: seconds(self.times.total(Account::Spent)),
            seconds_saved: seconds(self.times.total(Account::SavedByHits)),
            seconds: self.seconds(),
            ..self.report.clone()
        }
    }

    /// How much time proving took, lost and saved so far.
    pub fn seconds(&self) -> Seconds {
        self.times.seconds()
    }

    fn on_chain_event(&mut self, event: &ChainEvent, blocks: &[ScheduledBlock]) {
        let report = &mut self.report;
        let depth = event.removed.len() as u64;
        report.reorgs += u64::from(depth > 0);
        report.max_reorg_depth = report.max_reorg_depth.max(depth);
        let returns = |added: &AddedBlock| self.orphaned.contains_key(&added.metadata.block_hash());
        report.flips += u64::from(depth > 0 && event.added.iter().any(returns));
        self.left.extend(event.removed.iter().map(|block| (block.checkpoint, block.block_hash())));
        for block in blocks {
            let (checkpoint, hash) = (block.metadata.checkpoint, block.metadata.block_hash());
            let Some(stored) = self.orphaned.remove(&hash) else {
                report.blocks += 1;
                report.batches += block.batches.len() as u64;
                report.empty_batches += u64::from(block.batches.is_empty());
                continue;
            };
            self.left.remove(&(checkpoint, hash));
            for (id, kind) in stored {
                if self.returned.insert(id, checkpoint).is_none() {
                    self.returned_by_kind.add(kind);
                }
            }
        }
        while self.left.first().is_some_and(|(checkpoint, _)| *checkpoint < event.finalized)
            && let Some((_, block)) = self.left.pop_first()
        {
            self.orphaned.remove(&block);
        }
    }
}

impl Observer for Statistics {
    fn on_event(&mut self, event: &PipelineEvent) {
        self.accounts.entries(event).iter().for_each(|entry| self.times.enter(entry));
        match event {
            PipelineEvent::Chain { event, blocks } => self.on_chain_event(event, blocks),
            PipelineEvent::Orphaned { block, stored } => {
                self.orphaned.insert(*block, stored.clone());
            }
            PipelineEvent::Proving(order, _) => {
                self.report.proofs_after_flip += u64::from(self.returned.contains_key(&order.id));
            }
            PipelineEvent::Pruned(floor) => self.returned.retain(|_, highest| *highest >= *floor),
            _ => {}
        }
    }
}
