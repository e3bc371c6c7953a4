//! The execution of one block: transactions that declare no common slot run in parallel.
//!
//! Each transaction runs in the first *wave* after every earlier transaction that shares a slot with it. No two
//! transactions of a wave touch the same slot. So parallel execution gives the same state, and the same values in
//! the journals, as sequential execution.
//!
//! The block is then divided into [batches](Limits::divide), each small enough for one proof. What a transaction counts there is at
//! least what the slots cost that its batch opens for it.

use std::collections::HashMap;
use std::sync::Arc;

use rayon::prelude::*;
use reprise_model::block::ChainBlock;
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{self, Exit};
use reprise_model::hash::Hasher;
use reprise_model::journal::{Outcome, Pins, SpanJournal, TransactionJournal, Transition};
use reprise_model::lane::{LaneError, OpenBlock, Step, WorkloadHasher};
use reprise_model::limits::{Limits, Load, ProveApart, Weight};
use reprise_model::processor::{self, Processor};
use reprise_model::scheduled::{ProvedBy, ScheduledBatch, ScheduledTransaction, exits_of};
use reprise_model::transaction::{Accepted, BYTES_MAX, LaneTransaction, TransactionRead};

use crate::tree::StateTree;

/// The values one transaction wrote; `None` for what it deleted.
pub type Writes = Vec<(ResourceId, Option<Vec<Cell>>)>;

/// Writes as the programs make them: of each resource the last, in the order in which the transaction declares them. In a slot that
/// several share, the order decides what its leaf is.
fn as_declared(declared: &[ResourceId], writes: &Writes) -> Writes {
    let last = |id: &ResourceId| writes.iter().rfind(|(written, _)| written == id).cloned();
    declared.iter().filter_map(last).collect()
}

/// The result of executing a block.
#[derive(Debug, Clone)]
pub struct Execution {
    /// Its transactions, in order.
    pub transactions: Vec<ScheduledTransaction>,
    /// The writes of each transaction.
    pub writes: Vec<Writes>,
    /// Its batches, in order. An empty block has none.
    pub batches: Vec<ScheduledBatch>,
    /// The state after the block.
    pub after: StateTree,
    /// The lane tip after the block.
    pub tip_after: Digest,
}

/// What a block is executed from.
pub struct Before<'a> {
    /// The state before the block.
    pub state: &'a StateTree,
    /// The lane tip before the block.
    pub tip: &'a Digest,
}

/// How blocks are divided into proofs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// What one proof may hold.
    pub limits: Limits,
    /// What has a proof of its own.
    pub apart: ProveApart,
}

/// What every block of a lane is executed with.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The workload.
    pub processor: &'a dyn Processor,
    /// Its hash.
    pub hasher: &'a dyn WorkloadHasher,
    /// Its pins.
    pub pins: &'a Pins,
    /// How blocks are divided.
    pub division: Division,
}

struct Planned<'a> {
    transaction: &'a LaneTransaction,
    read: TransactionRead,
    /// The resources that it declares, or the outcome with which it is disposed of.
    declared: Result<Vec<ResourceId>, Outcome>,
    wave: usize,
}

impl Rules<'_> {
    /// Executes the lane transactions of a block.
    pub fn execute(&self, block: &ChainBlock, before: &Before<'_>) -> Result<Execution, LaneError> {
        if block.accepted.is_empty() {
            let (lane, proof) = (&self.pins.lane, block.lane_proof.as_deref());
            let tip_after = self.hasher.lane().at(self.hasher, lane, Some(before.tip), proof)?;
            let (transactions, writes, batches) = (vec![], vec![], vec![]);
            return Ok(Execution { transactions, writes, batches, after: before.state.clone(), tip_after });
        }
        let planned = self.plan(&block.accepted);
        let waves = planned.iter().map(|p| p.wave + 1).max().unwrap_or(0);
        let mut state = before.state.clone();
        let mut executed: Vec<Option<(TransactionJournal, Writes)>> = vec![None; planned.len()];
        for wave in 0..waves {
            let members = (0..planned.len()).into_par_iter().filter(|i| planned[*i].wave == wave);
            let run = |i| (i, self.run(&planned[i], &state, block.metadata.context()));
            let results: Vec<_> = members.map(run).collect();
            for (i, result) in results {
                state = state.after(&result.1);
                executed[i] = Some(result);
            }
        }

        let executed = executed.into_iter().flatten();
        let (journals, writes): (Vec<_>, Vec<_>) = executed.unzip();
        let transactions: Vec<_> = planned
            .iter()
            .zip(journals)
            .map(|(planned, journal)| ScheduledTransaction {
                merge_index: planned.transaction.merge_index,
                proved_by: self.proved_by(planned, journal.outcome),
                journal,
            })
            .collect();
        let (batches, tip_after) = self.batches(block, &transactions, &writes, (before, &state))?;
        Ok(Execution { transactions, writes, batches, after: state, tip_after })
    }

    fn plan<'t>(&self, accepted: &'t [LaneTransaction]) -> Vec<Planned<'t>> {
        let mut next_free: HashMap<u64, usize> = HashMap::new();
        let mut plan = |transaction: &'t LaneTransaction| {
            let read = transaction.read(&self.pins.rollup());
            let declared = processor::declared(self.processor, transaction, &read);
            let hasher: &dyn Hasher = self.hasher;
            let slots = declared.iter().flatten().map(|id| reprise_model::state::slot(hasher, id));
            let slots: Vec<u64> = slots.collect();
            let wave = slots.iter().filter_map(|slot| next_free.get(slot).copied()).max().unwrap_or(0);
            next_free.extend(slots.iter().map(|slot| (*slot, wave + 1)));
            Planned { transaction, read, declared, wave }
        };
        accepted.iter().map(&mut plan).collect()
    }

    fn run(
        &self,
        planned: &Planned<'_>,
        state: &StateTree,
        context: BlockContext,
    ) -> (TransactionJournal, Writes) {
        let Planned { transaction, read, declared, .. } = planned;
        let digest = transaction.digest(self.hasher, read);
        let declared = match declared {
            Ok(declared) => declared,
            Err(outcome) => return (TransactionJournal::disposed(digest, *outcome), vec![]),
        };
        let values: Vec<(ResourceId, Option<Arc<[Cell]>>)> =
            declared.iter().map(|id| (*id, state.get(id))).collect();
        let before: Vec<_> = values.iter().map(|(id, value)| (*id, value.as_deref())).collect();
        let context = processor::asks_context(self.processor, read).then_some(context);
        let effects = processor::execute(self.processor, &read.message, &read.facts, &before, context);
        let journal = TransactionJournal::of(self.hasher, digest, &before, context, &effects);
        (journal, as_declared(declared, &effects.writes))
    }

    fn proved_by(&self, planned: &Planned<'_>, outcome: Outcome) -> ProvedBy {
        let Division { limits, apart } = &self.division;
        let cost = || processor::cost(self.processor, &planned.read.message);
        match &planned.declared {
            Err(_) => ProvedBy::Disposal,
            // Whoever does not pay has nobody prove more than a batch does anyway.
            Ok(_) if outcome == Outcome::UNDERPAID => ProvedBy::Batch,
            Ok(_) if apart.applies(cost(), limits) => ProvedBy::Itself,
            Ok(_) => ProvedBy::Batch,
        }
    }

    fn batches(
        &self,
        block: &ChainBlock,
        transactions: &[ScheduledTransaction],
        writes: &[Writes],
        (before, after): (&Before<'_>, &StateTree),
    ) -> Result<(Vec<ScheduledBatch>, Digest), LaneError> {
        let (lane, scheme) = (&self.pins.lane, self.hasher.lane());
        let mut open = OpenBlock::new(block.metadata.context());
        let (mut open_before, mut state) = (Digest::ZERO, before.state.clone());
        let (pins, mut tip_after) = (self.pins.digest(self.hasher), *before.tip);
        let mut batches = vec![];
        let Division { limits, apart } = &self.division;
        let weights = self.weights(&block.accepted, transactions);
        let ranges = limits.divide(&weights);
        for (at, range) in ranges.iter().enumerate() {
            for (accepted, scheduled) in
                block.accepted[range.clone()].iter().zip(&transactions[range.clone()])
            {
                open.accept(self.hasher, &Accepted::named(accepted, scheduled.journal.transaction))?;
            }
            let (root_before, closes) = (state.root(), at + 1 == ranges.len());
            // The state after the block is known. Only the states between its batches are computed here.
            state = match closes {
                true => after.clone(),
                false => state.after(writes[range.clone()].iter().flatten()),
            };
            let (tip_before, open_after) = match closes {
                false => (tip_after, open.digest(self.hasher)),
                true => {
                    let reopening = block.lane_proof.as_deref().and_then(|proof| scheme.reopening(proof));
                    let step = Step { lane, tip: before.tip, reopening, block: &open };
                    let tip_before = std::mem::replace(&mut tip_after, scheme.after(self.hasher, &step)?);
                    (tip_before, Digest::ZERO)
                }
            };
            let exits: Vec<Exit> = exits_of(&transactions[range.clone()]).collect();
            let exits = exit::root(self.hasher, &exits);
            let root_after = state.root();
            let transition = Transition { pins, root_before, root_after, tip_before, tip_after, exits };
            let journal = SpanJournal { transition, open_before, open_after };
            open_before = open_after;
            let load = Load::from(&weights[range.clone()]);
            let computed = apart.computes(&load, limits).then_some(load);
            let (begin, end) = (range.start as u32, range.end as u32);
            batches.push(ScheduledBatch { begin, end, computed, journal });
        }
        Ok((batches, tip_after))
    }

    fn weights(&self, accepted: &[LaneTransaction], transactions: &[ScheduledTransaction]) -> Vec<Weight> {
        let weight = |(transaction, scheduled): (&LaneTransaction, &ScheduledTransaction)| {
            // Most of what a simple transaction costs is the opening of its two slots, however it is proved.
            let simple = scheduled.journal.accesses.len().div_ceil(2) as u64;
            Weight {
                apart: scheduled.proved_by == ProvedBy::Itself,
                cost: match scheduled.proved_by {
                    ProvedBy::Batch => {
                        let message = transaction.message(&self.pins.covenant);
                        processor::cost(self.processor, message).max(simple)
                    }
                    ProvedBy::Itself => simple.saturating_sub(1),
                    ProvedBy::Disposal => 0,
                },
                bytes: [transaction.rest.len(), transaction.payload.len()]
                    .into_iter()
                    .filter(|length| *length <= BYTES_MAX)
                    .sum(),
            }
        };
        accepted.iter().zip(transactions).map(weight).collect()
    }
}
