//! The execution of one block: transactions that declare no common slot run in parallel.
//!
//! Transactions are put into *waves*: each runs in the first wave after every earlier transaction with which
//! it shares a slot. Within a wave no two touch the same slot, so running them side by side gives what running
//! them in order gives, and so do the leaves that their journals name.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::prelude::*;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::journal::{
    BatchJournal, Outcome, Pins, TransactionEffects, TransactionJournal, Transition,
};
use reprise_model::lane::{self, BlockContext};
use reprise_model::scheduled::ScheduledTransaction;
use reprise_model::state;
use reprise_model::transaction::{LaneTransaction, TransactionFacts};

use crate::processor::{Processor, ResourceView};
use crate::tree::StateTree;

/// The values one transaction wrote.
pub type Writes = Vec<(ResourceId, Vec<Cell>)>;

/// What executing a block gives.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its transactions, in order.
    pub transactions: Vec<ScheduledTransaction>,
    /// What each of them wrote.
    pub writes: Vec<Writes>,
    /// What a proof of the batch will attest; none for an empty block.
    pub journal: Option<BatchJournal>,
    /// The state after.
    pub after: StateTree,
    /// The lane tip after.
    pub tip_after: Digest,
}

/// A processor panicked: its own defect, reported with the transaction that shows it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the workload panicked on transaction {merge_index}: {message}")]
pub struct ProcessorPanicked {
    /// Where in the block.
    pub merge_index: u32,
    /// What it said.
    pub message: String,
}

/// What every block of a lane is executed with.
pub struct Rules<'a> {
    /// The workload.
    pub processor: &'a dyn Processor,
    /// Its hash.
    pub hasher: &'a dyn Hasher,
    /// Its pins.
    pub pins: &'a Pins,
}

struct Planned<'a> {
    transaction: &'a LaneTransaction,
    facts: TransactionFacts,
    declared: Vec<ResourceId>,
    wave: usize,
}

impl Rules<'_> {
    /// Executes the lane transactions of a block over `before` and the lane tip `tip`.
    pub fn execute(
        &self,
        accepted: &[LaneTransaction],
        context: &BlockContext,
        before: &StateTree,
        tip: &Digest,
    ) -> Result<Execution, ProcessorPanicked> {
        let planned = self.plan(accepted)?;
        let waves = planned.iter().map(|p| p.wave + 1).max().unwrap_or(0);
        let mut state = before.clone();
        let mut executed: Vec<Option<(TransactionJournal, Writes)>> = vec![None; planned.len()];
        for wave in 0..waves {
            let members = (0..planned.len()).into_par_iter().filter(|i| planned[*i].wave == wave);
            let results: Result<Vec<_>, _> =
                members.map(|i| Ok((i, self.run(&planned[i], context, &state)?))).collect();
            for (i, result) in results? {
                for (resource, value) in &result.1 {
                    state = state.with(state::slot(resource), value);
                }
                executed[i] = Some(result);
            }
        }

        let executed = executed.into_iter().flatten();
        let (journals, writes): (Vec<_>, Vec<_>) = executed.unzip();
        let indices = accepted.iter().map(|transaction| transaction.merge_index);
        let transactions: Vec<_> = indices
            .zip(journals)
            .map(|(merge_index, journal)| ScheduledTransaction { merge_index, journal })
            .collect();
        let (journal, tip_after) = self.batch(&transactions, context, before, &state, tip);
        Ok(Execution { transactions, writes, journal, after: state, tip_after })
    }

    fn plan<'t>(&self, accepted: &'t [LaneTransaction]) -> Result<Vec<Planned<'t>>, ProcessorPanicked> {
        let mut next_free: HashMap<u64, usize> = HashMap::new();
        let mut plan = |transaction: &'t LaneTransaction| {
            let facts = transaction.facts(&self.pins.deposit);
            let declared = caught(transaction, || self.processor.declare(transaction, &facts))?;
            let slots = declared.iter().map(state::slot);
            let wave = slots.clone().filter_map(|slot| next_free.get(&slot).copied()).max().unwrap_or(0);
            next_free.extend(slots.map(|slot| (slot, wave + 1)));
            Ok(Planned { transaction, facts, declared, wave })
        };
        accepted.iter().map(&mut plan).collect()
    }

    fn run(
        &self,
        planned: &Planned<'_>,
        context: &BlockContext,
        state: &StateTree,
    ) -> Result<(TransactionJournal, Writes), ProcessorPanicked> {
        let Planned { transaction, facts, declared, .. } = planned;
        let values: Vec<_> = declared.iter().map(|id| (*id, state.get(state::slot(id)))).collect();
        let owned = |(id, value): &(ResourceId, Option<Arc<[Cell]>>)| (*id, value.as_deref().map(Vec::from));
        let view = ResourceView::new(values.iter().map(owned));
        let effects = caught(transaction, || self.processor.execute(transaction, facts, context, &view))?;
        let effects = checked(effects, &view);

        let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
        let digest = transaction.digest(self.hasher, facts);
        let journal = TransactionJournal::of(self.hasher, digest, &before, &effects);
        Ok((journal, effects.writes))
    }

    fn batch(
        &self,
        transactions: &[ScheduledTransaction],
        context: &BlockContext,
        before: &StateTree,
        after: &StateTree,
        tip: &Digest,
    ) -> (Option<BatchJournal>, Digest) {
        if transactions.is_empty() {
            return (None, *tip);
        }
        let accepted = transactions.iter().map(|tx| (tx.journal.transaction, tx.merge_index));
        let activity = lane::activity(self.hasher, accepted);
        let tip_after = lane::advance(self.hasher, tip, context, &activity);
        let exits = transactions.iter().flat_map(|tx| &tx.journal.exits);
        let exits = exits.fold(Digest::ZERO, |folded, exit| exit.fold(self.hasher, &folded));
        let transition = Transition {
            pins: self.pins.digest(self.hasher),
            root_before: before.root(),
            root_after: after.root(),
            tip_before: *tip,
            tip_after,
            exits,
        };
        (Some(BatchJournal(transition)), tip_after)
    }
}

/// Effects as they may count: none of a failure, and writing what was not declared is one.
fn checked(effects: TransactionEffects, view: &ResourceView) -> TransactionEffects {
    if !effects.outcome.is_success() {
        return TransactionEffects::failure(effects.outcome);
    }
    match effects.writes.iter().all(|(resource, _)| view.declares(resource)) {
        true => effects,
        false => TransactionEffects::failure(Outcome::UNDECLARED_ACCESS),
    }
}

/// What the workload answers on `transaction`; a panic is its defect, not the node's.
fn caught<T>(transaction: &LaneTransaction, ask: impl FnOnce() -> T) -> Result<T, ProcessorPanicked> {
    catch_unwind(AssertUnwindSafe(ask)).map_err(|panic| ProcessorPanicked {
        merge_index: transaction.merge_index,
        message: panic_message(panic.as_ref()),
    })
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".into())
}
