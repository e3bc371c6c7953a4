//! The scheduler: executes the blocks that join the view, once each, and keeps every version of the state.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use reprise_disk::log::LogError;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{BatchMetadata, ChainBlock, ChainRoot};
use reprise_model::cell::Cell;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest, ResourceId};
use reprise_model::exit::Exit;
use reprise_model::journal::{Pins, Span};
use reprise_model::lane::{LaneError, OpenBlock, WorkloadHasher};
use reprise_model::order::{BatchRef, PartRef};
use reprise_model::processor::Processor;
use reprise_model::scheduled::{ProvedBy, ScheduledBlock, ScheduledTransaction};
use reprise_model::transaction::Accepted;
use reprise_model::witness::{
    AggregateEnd, AggregateWitness, BatchWitness, Handling, Part, TransactionWitness, Witness,
};

use crate::execution::{Before, Division, Rules, Writes};
use crate::position::Position;
use crate::record::{BatchRecord, RecordLog};
use crate::tree::StateTree;

/// Why a block cannot be executed or a witness cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The records cannot be read or written.
    #[error(transparent)]
    Record(#[from] LogError),
    /// The workload panicked, or the lane tip cannot be computed.
    #[error("{block}: {source}")]
    Execution {
        /// The block.
        block: BlockHash,
        /// The cause.
        source: LaneError,
    },
    /// The lane tip at the root cannot be computed.
    #[error("the root {root}, from which the chain is followed: {source}")]
    Root {
        /// The root.
        root: BlockHash,
        /// What is wrong.
        source: LaneError,
    },
    /// The block or its parent is not known.
    #[error("{block} was never executed here")]
    Unknown {
        /// The block.
        block: BlockHash,
    },
}

/// A block, and the state after it.
struct Version {
    /// `None` for the block that the chain is followed from.
    record: Option<Arc<BatchRecord>>,
    parent: BlockHash,
    after: StateTree,
    tip_after: Digest,
}

/// Executes blocks and keeps the results.
pub struct Scheduler {
    processor: Arc<dyn Processor>,
    hasher: Arc<dyn WorkloadHasher>,
    pins: Pins,
    division: Division,
    anchor_depth: Option<AnchorDepth>,
    log: Box<dyn RecordLog>,
    versions: HashMap<BlockHash, Version>,
    /// Where the chain is followed from.
    root: (ChainRoot, Checkpoint),
    executed: u64,
}

impl Scheduler {
    /// Restores the records of `log` over the chain that starts at `root`, where the state is empty.
    pub fn open(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        pins: Pins,
        division: Division,
        root: ChainRoot,
        log: Box<dyn RecordLog>,
    ) -> Result<Self, SchedulerError> {
        let block = root.metadata.block_hash;
        let origin = Position::founding(&hasher, &pins.lane, root)
            .map_err(|source| SchedulerError::Root { root: block, source })?;
        Self::open_at(processor, hasher, pins, division, origin, log)
    }

    /// Restores the records of `log` over the chain that starts at `origin`.
    pub fn open_at(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        pins: Pins,
        division: Division,
        origin: Position,
        log: Box<dyn RecordLog>,
    ) -> Result<Self, SchedulerError> {
        let Position { block, checkpoint, state: after, tip: tip_after } = origin;
        let (hash, root) = (block.metadata.block_hash, (block, checkpoint));
        let first = Version { record: None, parent: hash, after, tip_after };
        let mut records = log.load()?;
        records.sort_by_key(|record| record.block.metadata.checkpoint);
        let versions = HashMap::from([(hash, first)]);
        let mut scheduler =
            Self { processor, hasher, pins, division, anchor_depth: None, log, versions, root, executed: 0 };
        let mut lost = 0u64;
        for record in records {
            match scheduler.versions.contains_key(&record.block.metadata.block.parent_hash) {
                true => scheduler.restore(record)?,
                // Its parent's record was damaged: it is executed again after its parent.
                false => lost += 1,
            }
        }
        if lost > 0 {
            tracing::warn!("{lost} batch records build on damaged ones: their blocks are executed again");
        }
        Ok(scheduler)
    }

    /// Sets down to which depth the L1 answers for commitments. The lane proofs of some empty blocks are then kept, so that
    /// a settlement can be anchored in them.
    pub fn set_anchor_depth(&mut self, depth: Option<AnchorDepth>) {
        self.anchor_depth = depth;
    }

    /// Every block with a record, in no particular order.
    pub fn known(&self) -> impl Iterator<Item = BatchMetadata> + '_ {
        self.versions.values().filter_map(|version| Some(version.record.as_ref()?.block.metadata))
    }

    /// The position after an executed block that is in memory, or after the block that the chain is followed from.
    pub fn position(&self, block: &BlockHash) -> Option<Position> {
        let version = self.versions.get(block)?;
        let (block, checkpoint) = match version.record.as_deref() {
            None => self.root.clone(),
            Some(BatchRecord { block, lane_proof, .. }) => {
                let root = ChainRoot { metadata: block.metadata.block, lane_proof: lane_proof.clone() };
                (root, block.metadata.checkpoint)
            }
        };
        Some(Position { block, checkpoint, state: version.after.clone(), tip: version.tip_after })
    }

    /// How many blocks were executed in this process.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// Drops the versions of blocks below `floor` from memory. These blocks are final, and no statement of theirs will
    /// be wanted. The blocks just below the floor stay, because the ones at the floor are proved over them. All records
    /// stay in the log: a later process needs them to follow the chain from its beginning.
    pub fn prune_below(&mut self, floor: Checkpoint) {
        // PRUNE SAFETY: the caller guarantees that no block below the floor leaves or joins the view any more. So
        // none is scheduled or proved again. A block at the floor needs its parent, which is one below.
        let root = self.root.1;
        let height = |version: &Version| {
            version.record.as_ref().map_or(root, |record| record.block.metadata.checkpoint).0
        };
        self.versions.retain(|_, version| height(version) + 1 >= floor.0);
    }

    /// The results for the blocks that join the view, oldest first. A block with a record is not executed again. The
    /// others are executed and recorded, all in one commit; if that fails, none of them counts as known.
    pub fn schedule<'b>(
        &mut self,
        added: impl IntoIterator<Item = (BatchMetadata, &'b ChainBlock)>,
    ) -> Result<Vec<ScheduledBlock>, SchedulerError> {
        let (mut scheduled, mut fresh) = (vec![], vec![]);
        let outcome = self.schedule_all(added, &mut scheduled, &mut fresh);
        if let Err(error) = outcome {
            self.executed -= fresh.len() as u64;
            for record in fresh {
                self.versions.remove(&record.block.metadata.block_hash());
            }
            return Err(error);
        }
        Ok(scheduled)
    }

    fn schedule_all<'b>(
        &mut self,
        added: impl IntoIterator<Item = (BatchMetadata, &'b ChainBlock)>,
        scheduled: &mut Vec<ScheduledBlock>,
        fresh: &mut Vec<Arc<BatchRecord>>,
    ) -> Result<(), SchedulerError> {
        for (metadata, block) in added {
            let known = self.versions.get(&metadata.block_hash()).and_then(|v| v.record.clone());
            // Other metadata under a known hash: the L1 contradicts itself about a block that is final and dropped.
            let record = match known.filter(|record| record.block.metadata == metadata) {
                Some(record) => record,
                None => {
                    let record = Arc::new(self.execute(metadata, block)?);
                    fresh.push(record.clone());
                    record
                }
            };
            scheduled.push(record.block.clone());
        }
        let fresh: Vec<&BatchRecord> = fresh.iter().map(AsRef::as_ref).collect();
        Ok(self.log.append(&fresh)?)
    }

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
        }))
    }

    /// The witness of a batch.
    pub fn batch_witness(&self, batch: &BatchRef) -> Result<Witness, SchedulerError> {
        let BatchRef { block, index } = *batch;
        let (record, before) = self.executed_block(&block)?;
        let BatchRecord { block: scheduled, accepted, writes, lane_proof } = record;
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
        Ok(Witness::Batch(BatchWitness {
            pins: self.pins.clone(),
            block: open,
            closes,
            root_before: transition.root_before,
            tip_before: transition.tip_before,
            reopening: reopening.map(Vec::from),
            transactions,
            paths: slots.into_iter().map(|slot| before.path(slot)).collect(),
        }))
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
        let part = |part: &PartRef| {
            let spans = part.batches.iter().map(|batch| self.span(batch)).collect::<Result<Vec<_>, _>>()?;
            let block = part.batches.first().map_or_else(BlockHash::default, |batch| batch.block);
            let span = Span::join(self.hasher.as_ref(), &spans).ok_or(SchedulerError::Unknown { block })?;
            Ok(Part { joined: part.joined, span })
        };
        let parts = parts.iter().map(part).collect::<Result<Vec<_>, SchedulerError>>()?;
        Ok(Witness::Aggregate(AggregateWitness { pins: self.pins.clone(), parts, end }))
    }

    fn span(&self, BatchRef { block, index }: &BatchRef) -> Result<Span, SchedulerError> {
        let (record, _) = self.executed_block(block)?;
        let batch = record.block.batches.get(*index).ok_or(SchedulerError::Unknown { block: *block })?;
        Ok(record.block.span(batch))
    }

    /// The exits of these executed blocks, in order.
    pub fn exits(&self, blocks: &[BlockHash]) -> Result<Vec<Exit>, SchedulerError> {
        let mut exits = vec![];
        for block in blocks {
            exits.extend(self.executed_block(block)?.0.block.exits());
        }
        Ok(exits)
    }

    fn executed_block(&self, block: &BlockHash) -> Result<(&BatchRecord, &StateTree), SchedulerError> {
        let find = || {
            let version = self.versions.get(block)?;
            Some((version.record.as_deref()?, &self.versions.get(&version.parent)?.after))
        };
        find().ok_or(SchedulerError::Unknown { block: *block })
    }

    fn execute(
        &mut self,
        metadata: BatchMetadata,
        block: &ChainBlock,
    ) -> Result<BatchRecord, SchedulerError> {
        let parent = self.parent_of(&metadata)?;
        let rules = Rules {
            processor: self.processor.as_ref(),
            hasher: self.hasher.as_ref(),
            pins: &self.pins,
            division: self.division,
        };
        let before = Before { state: &parent.after, tip: &parent.tip_after };
        let execution = rules
            .execute(block, &before)
            .map_err(|source| SchedulerError::Execution { block: metadata.block_hash(), source })?;
        // Most blocks accept nothing, and a lane proof would be most of such a block's record.
        let root = &self.root.0.metadata;
        let parent_score =
            parent.record.as_ref().map_or(root, |record| &record.block.metadata.block).blue_score;
        let keeps = |depth: AnchorDepth| depth.keeps(parent_score, metadata.block.blue_score);
        let opens = |proof: &[u8]| {
            self.hasher.lane().open(&self.pins.lane, &execution.tip_after, Some(proof)).is_ok()
        };
        let is_anchor = !block.accepted.is_empty()
            || self.anchor_depth.is_some_and(keeps) && block.lane_proof.as_deref().is_some_and(opens);
        let scheduled = ScheduledBlock {
            metadata,
            transactions: execution.transactions,
            batches: execution.batches,
            root_after: execution.after.root(),
            tip_after: execution.tip_after,
            is_anchor,
        };
        let record = BatchRecord {
            block: scheduled,
            accepted: block.accepted.clone(),
            writes: execution.writes,
            lane_proof: block.lane_proof.clone().filter(|_| is_anchor),
        };
        self.remember(record.clone(), execution.after);
        self.executed += 1;
        Ok(record)
    }

    fn restore(&mut self, record: BatchRecord) -> Result<(), SchedulerError> {
        let before = &self.parent_of(&record.block.metadata)?.after;
        let after = before.after(record.writes.iter().flatten());
        if after.root() != record.block.root_after {
            return Err(SchedulerError::Unknown { block: record.block.metadata.block_hash() });
        }
        self.remember(record, after);
        Ok(())
    }

    fn remember(&mut self, record: BatchRecord, after: StateTree) {
        let metadata = record.block.metadata;
        let tip_after = record.block.tip_after;
        let parent = metadata.block.parent_hash;
        let version = Version { record: Some(Arc::new(record)), parent, after, tip_after };
        self.versions.insert(metadata.block_hash(), version);
    }

    fn parent_of(&self, metadata: &BatchMetadata) -> Result<&Version, SchedulerError> {
        let parent = metadata.block.parent_hash;
        self.versions.get(&parent).ok_or(SchedulerError::Unknown { block: parent })
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
