//! The tally: the part of the report that is counted from what happens.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use reprise_chain::event::{AddedBlock, ChainEvent};
use reprise_model::digest::BlockHash;
use reprise_model::scheduled::ScheduledBatch;
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::engine::PerKind;

use crate::happening::{Happening, Observer};
use crate::report::Report;

/// Counts what happens.
#[derive(Debug, Default)]
pub struct Tally {
    report: Report,
    blocks: HashSet<BlockHash>,
    /// What was stored of a block when it was last orphaned.
    orphaned: HashMap<BlockHash, Vec<(StatementId, Kind)>>,
    returned: HashSet<StatementId>,
    returned_by_kind: PerKind,
    took: HashMap<StatementId, Duration>,
    proving: Duration,
    saved: Duration,
}

impl Tally {
    /// The figures so far; the ones counted elsewhere are zero.
    pub fn report(&self) -> Report {
        Report {
            statements_returned: self.returned_by_kind.into(),
            seconds_proving: seconds(self.proving),
            seconds_saved: seconds(self.saved),
            ..self.report.clone()
        }
    }

    fn hear_chain(&mut self, event: &ChainEvent, batches: &[ScheduledBatch]) {
        let report = &mut self.report;
        let depth = event.removed.len() as u64;
        report.reorgs += u64::from(depth > 0);
        report.max_reorg_depth = report.max_reorg_depth.max(depth);
        let returns = |added: &AddedBlock| self.orphaned.contains_key(&added.metadata.block_hash());
        report.flips += u64::from(depth > 0 && event.added.iter().any(returns));
        for batch in batches {
            if self.blocks.insert(batch.metadata.block_hash()) {
                report.blocks += 1;
                match batch.journal {
                    Some(_) => report.batches += 1,
                    None => report.empty_batches += 1,
                }
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

impl Observer for Tally {
    fn hear(&mut self, happening: &Happening) {
        match happening {
            Happening::Chain { event, batches } => self.hear_chain(event, batches),
            Happening::Orphaned { block, stored } => {
                self.orphaned.insert(*block, stored.clone());
            }
            Happening::Found { order, took } => {
                self.took.insert(order.id, *took);
                self.saved += *took;
            }
            Happening::Reused(id) => self.saved += self.took.get(id).copied().unwrap_or_default(),
            Happening::Proving(order) => {
                self.report.proofs_after_flip += u64::from(self.returned.contains(&order.id));
            }
            Happening::Proved { order, took, .. } => {
                self.proving += *took;
                self.took.insert(order.id, *took);
            }
            _ => {}
        }
    }
}

/// Seconds to the millisecond.
fn seconds(duration: Duration) -> f64 {
    duration.as_millis() as f64 / 1000.0
}
