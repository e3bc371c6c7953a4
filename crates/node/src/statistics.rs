//! Statistics: the part of the report that is counted from events.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::digest::BlockHash;
use reprise_model::scheduled::ScheduledBlock;
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::counts::PerKind;

use crate::event::{Observer, PipelineEvent};
use crate::report::{Report, Seconds, SecondsByKind};

/// A duration for each kind of proof.
#[derive(Debug, Clone, Copy, Default)]
struct Times([Duration; Kind::COUNT]);

impl Times {
    fn add(&mut self, kind: Kind, time: Duration) {
        self.0[kind as usize] += time;
    }

    fn take(&mut self, kind: Kind, time: Duration) {
        self.0[kind as usize] = self.0[kind as usize].saturating_sub(time);
    }

    fn total(&self) -> Duration {
        self.0.iter().sum()
    }
}

impl From<Times> for SecondsByKind {
    fn from(Times([transaction, batch, aggregate]): Times) -> Self {
        Self { transaction: seconds(transaction), batch: seconds(batch), aggregate: seconds(aggregate) }
    }
}

/// Counts events.
#[derive(Debug, Default)]
pub struct Statistics {
    report: Report,
    blocks: HashSet<BlockHash>,
    /// The stored statements of each block when it was last orphaned.
    orphaned: HashMap<BlockHash, Vec<(StatementId, Kind)>>,
    returned: HashSet<StatementId>,
    returned_by_kind: PerKind,
    took: HashMap<StatementId, Duration>,
    spent: Times,
    saved_by_hits: Times,
    saved_by_merging: Times,
    lost_to_reorgs: Times,
    lost_to_failures: Times,
    /// Proofs that were not wanted when they were finished, and were not requested since.
    unused: HashSet<StatementId>,
}

impl Statistics {
    /// The figures so far; the ones counted elsewhere are zero.
    pub fn report(&self) -> Report {
        Report {
            statements_returned: self.returned_by_kind.into(),
            seconds_proving: seconds(self.spent.total()),
            seconds_saved: seconds(self.saved_by_hits.total()),
            seconds: self.seconds(),
            ..self.report.clone()
        }
    }

    /// How much time proving took, lost and saved so far.
    pub fn seconds(&self) -> Seconds {
        Seconds {
            spent: self.spent.into(),
            saved_by_hits: self.saved_by_hits.into(),
            saved_by_merging: self.saved_by_merging.into(),
            lost_to_reorgs: self.lost_to_reorgs.into(),
            lost_to_failures: self.lost_to_failures.into(),
        }
    }

    fn on_chain_event(&mut self, event: &ChainEvent, blocks: &[ScheduledBlock]) {
        let report = &mut self.report;
        let depth = event.removed.len() as u64;
        report.reorgs += u64::from(depth > 0);
        report.max_reorg_depth = report.max_reorg_depth.max(depth);
        let returns = |added: &AddedBlock| self.orphaned.contains_key(&added.metadata.block_hash());
        report.flips += u64::from(depth > 0 && event.added.iter().any(returns));
        for block in blocks {
            if self.blocks.insert(block.metadata.block_hash()) {
                report.blocks += 1;
                report.batches += block.batches.len() as u64;
                report.empty_batches += u64::from(block.batches.is_empty());
            }
        }
        for added in &event.added {
            let stored = self.orphaned.remove(&added.metadata.block_hash()).unwrap_or_default();
            for (id, kind) in stored {
                if self.returned.insert(id) {
                    self.returned_by_kind.add(kind);
                }
            }
        }
    }
}

impl Observer for Statistics {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, blocks } => self.on_chain_event(event, blocks),
            PipelineEvent::Orphaned { block, stored } => {
                self.orphaned.insert(*block, stored.clone());
            }
            // Each request that the receipt answers is an event of its own.
            PipelineEvent::Found { order, took } => {
                self.took.insert(order.id, *took);
            }
            PipelineEvent::Reused(id, at) => {
                let kind = at.position.kind();
                let took = self.took.get(id).copied().unwrap_or_default();
                match self.unused.remove(id) {
                    // The proof is used after all, so it is not lost. This request saves nothing more.
                    true => self.lost_to_reorgs.take(kind, took),
                    false => self.saved_by_hits.add(kind, took),
                }
            }
            PipelineEvent::Served { order, requests, wanted } => {
                let took = self.took.get(&order.id).copied().unwrap_or_default();
                let merged = u32::try_from(requests.saturating_sub(1)).unwrap_or(u32::MAX);
                self.saved_by_merging.add(order.kind(), took * merged);
                if !wanted {
                    self.lost_to_reorgs.add(order.kind(), took);
                    self.unused.insert(order.id);
                }
            }
            PipelineEvent::Proving(order) => {
                self.report.proofs_after_flip += u64::from(self.returned.contains(&order.id));
            }
            PipelineEvent::Proved { order, took, failure, .. } => {
                self.spent.add(order.kind(), *took);
                match failure {
                    Some(_) => self.lost_to_failures.add(order.kind(), *took),
                    None => drop(self.took.insert(order.id, *took)),
                }
            }
            _ => {}
        }
    }
}

/// Seconds to the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
