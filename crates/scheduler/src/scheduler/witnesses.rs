//! Witnesses: what proofs of executed blocks are made from, beside their assumptions.

use std::collections::{BTreeSet, HashMap};

use reprise_model::cell::Cell;
use reprise_model::digest::{BlockHash, ResourceId};
use reprise_model::journal::Span;
use reprise_model::lane::{LaneError, OpenBlock};
use reprise_model::order::{BatchRef, PartRef};
use reprise_model::scheduled::{ProvedBy, ScheduledTransaction};
use reprise_model::transaction::Accepted;
use reprise_model::witness::{
    AggregateEnd, AggregateWitness, BatchWitness, Handling, Part, TransactionWitness, Witness,
};

use super::{Scheduler, SchedulerError};
use crate::execution::Writes;
use crate::record::BatchRecord;
use crate::tree::StateTree;

impl Scheduler {
    /// The witness of the transaction at `index` of a block.
    pub fn transaction_witness(&self, block: &BlockHash, index: usize) -> Result<Witness, SchedulerError> {
        let (record, before) = self.executed_block(block)?;
        let unknown = || SchedulerError::Unknown { block: *block };
        let transaction = record.accepted.get(index).ok_or_else(unknown)?;
        let scheduled = record.block.transactions.get(index).ok_or_else(unknown)?;
        let mut values = Values { state: before, written: HashMap::new() };
        record.writes[..index].iter().for_each(|writes| values.write(writes));
        Ok(Witness::Transaction(TransactionWitness {
            transaction: transaction.cells(&transaction.read(&self.pins.rollup())),
            before: values.before(scheduled),
            context: scheduled.journal.context,
        }))
    }

    /// The witness of a batch.
    pub fn batch_witness(&self, batch: &BatchRef) -> Result<Witness, SchedulerError> {
        self.batch(batch).map(Witness::Batch)
    }

    fn batch(&self, batch: &BatchRef) -> Result<BatchWitness, SchedulerError> {
        let BatchRef { block, index } = *batch;
        let (record, before) = self.executed_block(&block)?;
        let BatchRecord { block: scheduled, accepted, writes, lane_proof, .. } = record;
        let batch = scheduled.batches.get(index).ok_or(SchedulerError::Unknown { block })?;
        let (range, transition) = (batch.range(), batch.journal.transition);
        let accepted = accepted.iter().zip(&scheduled.transactions);
        let mut open = OpenBlock::new(scheduled.metadata.block.context());
        for (transaction, scheduled) in accepted.clone().take(range.start) {
            let accepted = Accepted::named(transaction, scheduled.journal.transaction);
            open.accept(self.hasher.as_ref(), &accepted).map_err(failed(block))?;
        }
        let before = before.after(writes[..range.start].iter().flatten());
        let mut values = Values { state: &before, written: HashMap::new() };
        let mut transactions = Vec::with_capacity(range.len());
        for ((transaction, scheduled), writes) in accepted.zip(writes).skip(range.start).take(range.len()) {
            let handling = match scheduled.proved_by {
                ProvedBy::Itself => Handling::Apart(scheduled.journal.clone()),
                ProvedBy::Batch => Handling::Inline(values.before(scheduled)),
                ProvedBy::Disposal => Handling::Disposed,
            };
            values.write(writes);
            transactions.push((transaction.into(), handling));
        }
        let accesses = scheduled.transactions[range].iter().flat_map(|scheduled| &scheduled.journal.accesses);
        let slots: BTreeSet<u64> = accesses.map(|access| before.slot(&access.resource)).collect();
        let closes = index + 1 == scheduled.batches.len();
        let lane_proof = lane_proof.as_deref().filter(|_| closes);
        let reopening = lane_proof.and_then(|proof| self.hasher.lane().reopening(proof));
        Ok(BatchWitness {
            pins: self.pins.clone(),
            block: open,
            closes,
            root_before: transition.root_before,
            tip_before: transition.tip_before,
            reopening: reopening.map(Vec::from),
            transactions,
            paths: slots.into_iter().map(|slot| before.path(slot)).collect(),
        })
    }

    /// The witness of the aggregate over `parts`, oldest first, that is to be joined with others.
    pub fn join_witness(&self, parts: &[PartRef]) -> Result<Witness, SchedulerError> {
        self.aggregate_witness(parts, AggregateEnd::Join)
    }

    /// The witness of the aggregate over `parts`, oldest first, that is to be settled, anchored in a block.
    pub fn settlement_witness(
        &self,
        parts: &[PartRef],
        anchor: &BlockHash,
    ) -> Result<Witness, SchedulerError> {
        let lane_proof = self.executed_block(anchor)?.0.lane_proof.clone();
        self.aggregate_witness(parts, AggregateEnd::Settle { lane_proof })
    }

    fn aggregate_witness(&self, parts: &[PartRef], end: AggregateEnd) -> Result<Witness, SchedulerError> {
        let part = |part: &PartRef| match part {
            PartRef::Batch(batch) => self.span(batch).map(Part::Batch),
            PartRef::Joined(batches) => self.joined(batches).map(Part::Joined),
            PartRef::Computed(batch) => self.batch(batch).map(Part::Computed),
        };
        let parts = parts.iter().map(part).collect::<Result<Vec<_>, SchedulerError>>()?;
        Ok(Witness::Aggregate(AggregateWitness { pins: self.pins.clone(), parts, end }))
    }

    fn joined(&self, batches: &[BatchRef]) -> Result<Span, SchedulerError> {
        let spans = batches.iter().map(|batch| self.span(batch)).collect::<Result<Vec<_>, _>>()?;
        let block = batches.first().map_or_else(BlockHash::default, |batch| batch.block);
        Span::join(self.hasher.as_ref(), &spans).ok_or(SchedulerError::Unknown { block })
    }

    fn span(&self, BatchRef { block, index }: &BatchRef) -> Result<Span, SchedulerError> {
        let (record, _) = self.executed_block(block)?;
        let batch = record.block.batches.get(*index).ok_or(SchedulerError::Unknown { block: *block })?;
        Ok(record.block.span(batch))
    }
}

/// The values of a state and of what was written since. No tree is made of them: a witness needs the values alone.
struct Values<'a> {
    state: &'a StateTree,
    written: HashMap<ResourceId, Option<&'a [Cell]>>,
}

impl<'a> Values<'a> {
    fn write(&mut self, writes: &'a Writes) {
        self.written.extend(writes.iter().map(|(resource, value)| (*resource, value.as_deref())));
    }

    /// The values of the resources that a transaction declares.
    fn before(&self, scheduled: &ScheduledTransaction) -> Vec<Option<Vec<Cell>>> {
        let value = |resource: &ResourceId| match self.written.get(resource) {
            Some(value) => value.map(Vec::from),
            None => self.state.get(resource).map(|cells| cells.to_vec()),
        };
        scheduled.journal.accesses.iter().map(|access| value(&access.resource)).collect()
    }
}

fn failed(block: BlockHash) -> impl Fn(LaneError) -> SchedulerError {
    move |source| SchedulerError::Execution { block, source }
}
