//! Dormant statements: those of blocks that are off the view and no deeper than the grace. Their queued jobs are kept,
//! because such a block may return.

use std::collections::BTreeMap;

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, StatementId};

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Dormant {
    blocks: BTreeMap<(Checkpoint, BlockHash), Vec<StatementId>>,
    /// In how many of the blocks a statement is used.
    statements: BTreeMap<StatementId, usize>,
    /// Whether a statement was dormant at the last call of `change`, for those that may have changed since.
    before: BTreeMap<StatementId, bool>,
}

impl Dormant {
    /// A block leaves the view.
    pub(crate) fn insert(&mut self, block: (Checkpoint, BlockHash), statements: Vec<StatementId>) {
        self.remove(&block);
        for id in &statements {
            let count = self.statements.entry(*id).or_default();
            self.before.entry(*id).or_insert(*count > 0);
            *count += 1;
        }
        self.blocks.insert(block, statements);
    }

    /// A block returns to the view, or is dropped.
    pub(crate) fn remove(&mut self, block: &(Checkpoint, BlockHash)) {
        for id in self.blocks.remove(block).into_iter().flatten() {
            self.before.entry(id).or_insert(true);
            let count = self.statements.entry(id).or_default();
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.statements.remove(&id);
            }
        }
    }

    /// Removes the blocks below `deepest`.
    pub(crate) fn remove_below(&mut self, deepest: Checkpoint) {
        while let Some((block, _)) = self.blocks.first_key_value().filter(|((at, _), _)| *at < deepest) {
            let block = *block;
            self.remove(&block);
        }
    }

    /// The statements that became dormant since the last call, and those that are dormant no longer.
    pub(crate) fn change(&mut self) -> (Vec<StatementId>, Vec<StatementId>) {
        let before = std::mem::take(&mut self.before);
        let now = |id: &StatementId| self.statements.contains_key(id);
        let changed = before.into_iter().filter(|(id, before)| now(id) != *before);
        let (no_longer_dormant, dormant): (Vec<_>, Vec<_>) = changed.partition(|(_, before)| *before);
        let ids = |changed: Vec<(StatementId, bool)>| changed.into_iter().map(|(id, _)| id).collect();
        (ids(dormant), ids(no_longer_dormant))
    }
}
