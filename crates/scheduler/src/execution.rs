//! The execution of one block: transactions that declare no common slot run in parallel.
//!
//! Transactions are put into *waves*: each runs in the first wave after every earlier transaction with which
//! it shares a slot. Within a wave no two touch the same slot, so running them side by side gives what running
//! them in order gives, and so do the leaves that their journals name.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rayon::prelude::*;
use reprise_model::block::ChainBlock;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::journal::{
    BatchJournal, Outcome, Pins, TransactionEffects, TransactionJournal, Transition,
};
use reprise_model::lane::{BlockContext, LaneError, Step, WorkloadHasher};
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

/// Why a block cannot be executed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExecutionError {
    /// The workload panicked.
    #[error(transparent)]
    Panicked(#[from] ProcessorPanicked),
    /// The lane cannot be followed.
    #[error(transparent)]
    Lane(#[from] LaneError),
}

/// Where a block begins.
pub struct Before<'a> {
    /// The state.
    pub state: &'a StateTree,
    /// The lane tip.
    pub tip: &'a Digest,
    /// The L1's lane proof at the block's parent.
    pub parent_proof: Option<&'a [u8]>,
}

/// What every block of a lane is executed with.
pub struct Rules<'a> {
    /// The workload.
    pub processor: &'a dyn Processor,
    /// Its hash.
    pub hasher: &'a dyn WorkloadHasher,
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
    /// Executes the lane transactions of a block.
    pub fn execute(&self, block: &ChainBlock, before: &Before<'_>) -> Result<Execution, ExecutionError> {
        let (accepted, context) = (&block.accepted, &block.metadata.context());
        let planned = self.plan(accepted)?;
        let waves = planned.iter().map(|p| p.wave + 1).max().unwrap_or(0);
        let mut state = before.state.clone();
        let mut executed: Vec<Option<(TransactionJournal, Writes)>> = vec![None; planned.len()];
        for wave in 0..waves {
            let members = (0..planned.len()).into_par_iter().filter(|i| planned[*i].wave == wave);
            let results: Result<Vec<_>, ProcessorPanicked> =
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
        let (journal, tip_after) = self.batch(block, &transactions, before, &state)?;
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
        block: &ChainBlock,
        transactions: &[ScheduledTransaction],
        before: &Before<'_>,
        after: &StateTree,
    ) -> Result<(Option<BatchJournal>, Digest), LaneError> {
        let (lane, scheme) = (&self.pins.lane, self.hasher.lane());
        if transactions.is_empty() {
            let left = scheme.at(self.hasher, lane, Some(before.tip), block.lane_proof.as_deref())?;
            return Ok((None, left));
        }
        let digests = transactions.iter().map(|transaction| transaction.journal.transaction);
        let step = Step {
            lane,
            tip: before.tip,
            parent_proof: before.parent_proof,
            context: &block.metadata.context(),
            accepted: &block.accepted.iter().zip(digests).collect::<Vec<_>>(),
        };
        let tip_after = scheme.after(self.hasher, &step)?;
        let exits = transactions.iter().flat_map(|tx| &tx.journal.exits);
        let exits = exits.fold(Digest::ZERO, |folded, exit| exit.fold(self.hasher, &folded));
        let transition = Transition {
            pins: self.pins.digest(self.hasher),
            root_before: before.state.root(),
            root_after: after.root(),
            tip_before: *before.tip,
            tip_after,
            exits,
        };
        Ok((Some(BatchJournal(transition)), tip_after))
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
