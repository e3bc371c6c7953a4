//! The scheduler: executes the blocks that join the view, once each, and keeps every version of the state.

mod witnesses;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use reprise_disk::log::LogError;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{BatchMetadata, BlockId, ChainBlock, ChainRoot, ObservedSettlement};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::exit::Exit;
use reprise_model::journal::Pins;
use reprise_model::lane::{LaneError, WorkloadHasher};
use reprise_model::processor::Processor;
use reprise_model::scheduled::ScheduledBlock;

use crate::execution::{Before, Division, Execution, Rules};
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

/// A block, and the state around it.
struct Version {
    /// `None` for a block that leaves everything as it was, and for the one that the chain is followed from.
    record: Option<Arc<BatchRecord>>,
    block: BatchMetadata,
    /// The last block up to this one that has a record, or the one that the chain is followed from.
    recorded: BlockHash,
    before: StateTree,
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
    /// The records of blocks that this process has not followed yet.
    stored: BTreeMap<(Checkpoint, BlockHash), BatchRecord>,
    versions: HashMap<BlockHash, Version>,
    /// The same, by height.
    heights: BTreeSet<(Checkpoint, BlockHash)>,
    /// Where the chain is followed from.
    root: ChainRoot,
    /// The highest final block.
    finalized: Checkpoint,
    /// The final blocks that accept something, by the lane tips after them. No two of them have one tip.
    settles: HashMap<Digest, BlockHash>,
    executed: u64,
}

impl Scheduler {
    /// Over the chain that starts at `root`, where the state is empty. A block with a record in `log` is restored from it when the
    /// chain is followed to there.
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

    /// The same over the chain that starts at `origin`.
    pub fn open_at(
        processor: Arc<dyn Processor>,
        hasher: Arc<dyn WorkloadHasher>,
        pins: Pins,
        division: Division,
        origin: Position,
        log: Box<dyn RecordLog>,
    ) -> Result<Self, SchedulerError> {
        let Position { block: root, checkpoint, state, tip: tip_after } = origin;
        let hash = root.metadata.block_hash;
        let block = BatchMetadata { id: BlockId(0), checkpoint, block: root.metadata };
        let (before, after) = (state.clone(), state);
        let first = Version { record: None, block, recorded: hash, before, after, tip_after };
        let of = |record: BatchRecord| {
            let block = record.block.metadata;
            ((block.checkpoint, block.block_hash()), record)
        };
        let above = |record: &BatchRecord| record.block.metadata.checkpoint > checkpoint;
        let stored = log.load()?.into_iter().filter(above).map(of).collect();
        let mut scheduler = Self {
            processor,
            hasher,
            pins,
            division,
            anchor_depth: None,
            log,
            stored,
            versions: HashMap::default(),
            heights: BTreeSet::new(),
            root,
            finalized: checkpoint,
            settles: HashMap::default(),
            executed: 0,
        };
        scheduler.insert(hash, first);
        Ok(scheduler)
    }

    /// Sets down to which depth the L1 answers for commitments. The lane proofs of some empty blocks are then kept, so that
    /// a settlement can be anchored in them.
    pub fn set_anchor_depth(&mut self, depth: Option<AnchorDepth>) {
        self.anchor_depth = depth;
    }

    /// Every block with a record, in no particular order.
    pub fn known(&self) -> impl Iterator<Item = BatchMetadata> + '_ {
        let followed = self.versions.values().filter_map(|version| version.record.as_deref());
        followed.chain(self.stored.values()).map(|record| record.block.metadata)
    }

    /// The position after an executed block that is in memory, or after the block that the chain is followed from.
    pub fn position(&self, block: &BlockHash) -> Option<Position> {
        let version = self.versions.get(block)?;
        let Version { block: BatchMetadata { checkpoint, block: metadata, .. }, .. } = *version;
        let root = Some(&self.root).filter(|root| root.metadata.block_hash == *block);
        let lane_proof = match &version.record {
            Some(record) => record.lane_proof.clone(),
            None => root.and_then(|root| root.lane_proof.clone()),
        };
        let block = ChainRoot { metadata, lane_proof };
        Some(Position { block, checkpoint, state: version.after.clone(), tip: version.tip_after })
    }

    /// The same, if a chain can be followed from there: where the L1 proves lanes, with the proof of its own.
    pub fn beginning(&self, block: &BlockHash) -> Option<Position> {
        let needs_proof = self.root.lane_proof.is_some() || self.hasher.lane().binds();
        self.position(block).filter(|position| !needs_proof || position.block.lane_proof.is_some())
    }

    /// The position that a settlement of the canonical chain ends in. Of an empty block that is final nothing is kept. Then it
    /// is the position after the last block below that accepts something: state and lane tip are the same.
    pub fn settled(&self, settlement: &ObservedSettlement) -> Option<Position> {
        let transition = &settlement.journal.transition;
        let same = || self.position(self.settles.get(&transition.tip_after)?);
        self.position(&settlement.end_block).or_else(same)
    }

    /// How many blocks that accept something were executed in this process.
    pub fn executed(&self) -> u64 {
        self.executed
    }

    /// A canonical block is final. Of those up to it none leaves or joins the view any more. So of the blocks below only the
    /// canonical ones with a record stay in memory, which may have to be proved.
    pub fn finalize(&mut self, block: &BlockHash) {
        let Some(highest) = self.versions.get(block).map(|version| version.block.checkpoint) else { return };
        if highest <= self.finalized {
            return;
        }
        let (root, mut at) = (self.root.metadata.block_hash, *block);
        // Down to the last block that became final, below which nothing is left to decide.
        while let Some(version) = self.versions.get(&at).filter(|it| it.block.checkpoint >= self.finalized) {
            let (checkpoint, parent) = (version.block.checkpoint, version.block.block.parent_hash);
            if version.record.as_ref().is_some_and(|record| !record.accepted.is_empty()) {
                self.settles.insert(version.tip_after, at);
            }
            // PRUNE SAFETY: a block below the highest that is not canonical cannot become so, and of an empty one nothing is proved.
            if checkpoint < highest {
                let keeps = |hash: &BlockHash| *hash == root || *hash == at && version.record.is_some();
                let level =
                    (checkpoint, BlockHash::default())..(Checkpoint(checkpoint.0 + 1), BlockHash::default());
                let gone: Vec<_> =
                    self.heights.range(level).filter(|(_, hash)| !keeps(hash)).copied().collect();
                for (checkpoint, hash) in gone {
                    self.heights.remove(&(checkpoint, hash));
                    self.versions.remove(&hash);
                }
            }
            if checkpoint == self.finalized {
                break;
            }
            at = parent;
        }
        while self.stored.first_key_value().is_some_and(|((checkpoint, _), _)| *checkpoint < highest) {
            self.stored.pop_first();
        }
        self.finalized = highest;
    }

    /// Drops the versions of blocks below `floor` from memory. These blocks are final, and no statement of theirs will
    /// be wanted. The last blocks below the floor stay: the state after them is the settled one. All records
    /// stay in the log: a later process needs them to follow the chain from [its beginning](Self::begin_at).
    pub fn prune_below(&mut self, floor: Checkpoint) {
        // PRUNE SAFETY: the caller guarantees that no block below the floor leaves or joins the view any more. So
        // none is scheduled or proved again. A block at the floor may need its parent, which is one below, or the last one below that
        // accepts something, where the parent is empty and gone.
        let last = self.heights.range(..(floor, BlockHash::default())).next_back();
        let last = last.map_or(floor.0.saturating_sub(1), |(checkpoint, _)| checkpoint.0);
        let kept = self.heights.split_off(&(Checkpoint(last), BlockHash::default()));
        for (_, hash) in std::mem::replace(&mut self.heights, kept) {
            let Some(version) = self.versions.remove(&hash) else { continue };
            if self.settles.get(&version.tip_after) == Some(&hash) {
                self.settles.remove(&version.tip_after);
            }
        }
    }

    /// From now on the data directory's chain begins at this checkpoint, with a snapshot: drops the records up to there. A later
    /// process needs none of them.
    pub fn begin_at(&mut self, checkpoint: Checkpoint) -> Result<(), SchedulerError> {
        Ok(self.log.drop_up_to(checkpoint)?)
    }

    /// How many blocks are in memory.
    pub fn kept(&self) -> usize {
        self.versions.len()
    }

    /// The results for the blocks that join the view, oldest first. A block that is known is not executed again. The
    /// others are executed, and those that have something to record are recorded, all in one commit; if that fails, none of them
    /// counts as known.
    pub fn schedule<'b>(
        &mut self,
        added: impl IntoIterator<Item = (BatchMetadata, &'b ChainBlock)>,
    ) -> Result<Vec<ScheduledBlock>, SchedulerError> {
        let (mut scheduled, mut fresh, executed) = (vec![], vec![], self.executed);
        let outcome = self.schedule_all(added, &mut scheduled, &mut fresh);
        if let Err(error) = outcome {
            self.executed = executed;
            for (checkpoint, hash) in fresh {
                self.heights.remove(&(checkpoint, hash));
                self.versions.remove(&hash);
            }
            return Err(error);
        }
        Ok(scheduled)
    }

    fn schedule_all<'b>(
        &mut self,
        added: impl IntoIterator<Item = (BatchMetadata, &'b ChainBlock)>,
        scheduled: &mut Vec<ScheduledBlock>,
        fresh: &mut Vec<(Checkpoint, BlockHash)>,
    ) -> Result<(), SchedulerError> {
        let mut records = vec![];
        for (metadata, block) in added {
            let hash = metadata.block_hash();
            // Other metadata under a known hash: the L1 contradicts itself about a block that is final and dropped.
            if let Some(known) = self.versions.get(&hash).filter(|version| version.block == metadata) {
                scheduled.push(known.scheduled());
                continue;
            }
            let stored = self.stored.remove(&(metadata.checkpoint, hash));
            if !stored.is_some_and(|record| self.restore(record, &metadata)) {
                records.extend(self.execute(metadata, block)?);
                fresh.push((metadata.checkpoint, hash));
            }
            scheduled.extend(self.versions.get(&hash).map(Version::scheduled));
        }
        let records: Vec<&BatchRecord> = records.iter().map(AsRef::as_ref).collect();
        Ok(self.log.append(&records)?)
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
            Some((version.record.as_deref()?, &version.before))
        };
        find().ok_or(SchedulerError::Unknown { block: *block })
    }

    /// Executes a block. Returns its record, where it has something to record.
    fn execute(
        &mut self,
        metadata: BatchMetadata,
        block: &ChainBlock,
    ) -> Result<Option<Arc<BatchRecord>>, SchedulerError> {
        let (parent, hash) = (metadata.block.parent_hash, metadata.block_hash());
        let below = self.versions.get(&parent).ok_or(SchedulerError::Unknown { block: parent })?;
        let rules = Rules {
            processor: self.processor.as_ref(),
            hasher: self.hasher.as_ref(),
            pins: &self.pins,
            division: self.division,
        };
        let before = Before { state: &below.after, tip: &below.tip_after };
        let execution = rules
            .execute(block, &before)
            .map_err(|source| SchedulerError::Execution { block: hash, source })?;
        // Most blocks accept nothing, and a lane proof would be most of such a block's record.
        let parent_score = below.block.block.blue_score;
        let keeps = |depth: AnchorDepth| depth.keeps(parent_score, metadata.block.blue_score);
        let opens = |proof: &[u8]| {
            self.hasher.lane().open(&self.pins.lane, &execution.tip_after, Some(proof)).is_ok()
        };
        let is_anchor = !block.accepted.is_empty()
            || self.anchor_depth.is_some_and(keeps) && block.lane_proof.as_deref().is_some_and(opens);
        let (before, over) = (below.after.clone(), below.recorded);
        let Execution { transactions, writes, batches, after, tip_after } = execution;
        if !is_anchor {
            let version = Version { record: None, block: metadata, recorded: over, before, after, tip_after };
            self.insert(hash, version);
            return Ok(None);
        }
        let root_after = after.root();
        let scheduled = ScheduledBlock { metadata, transactions, batches, root_after, tip_after, is_anchor };
        let (accepted, lane_proof) = (block.accepted.clone(), block.lane_proof.clone());
        self.executed += u64::from(!accepted.is_empty());
        let record = Arc::new(BatchRecord { block: scheduled, over, accepted, writes, lane_proof });
        self.remember(record.clone(), before, after);
        Ok(Some(record))
    }

    /// Takes the state after a block from its record. Returns whether the record is the block's.
    fn restore(&mut self, record: BatchRecord, metadata: &BatchMetadata) -> bool {
        let parent = self.versions.get(&metadata.block.parent_hash);
        let goes_on = |below: &&Version| record.block.metadata == *metadata && below.recorded == record.over;
        let Some(before) = parent.filter(goes_on).map(|below| below.after.clone()) else { return false };
        let after = before.after(record.writes.iter().flatten());
        let is_whole = after.root() == record.block.root_after;
        if is_whole {
            self.remember(Arc::new(record), before, after);
        }
        is_whole
    }

    fn remember(&mut self, record: Arc<BatchRecord>, before: StateTree, after: StateTree) {
        let (block, tip_after) = (record.block.metadata, record.block.tip_after);
        let recorded = block.block_hash();
        self.insert(recorded, Version { record: Some(record), block, recorded, before, after, tip_after });
    }

    fn insert(&mut self, hash: BlockHash, version: Version) {
        self.heights.insert((version.block.checkpoint, hash));
        self.versions.insert(hash, version);
    }
}

impl Version {
    fn scheduled(&self) -> ScheduledBlock {
        let as_it_was = || ScheduledBlock {
            metadata: self.block,
            transactions: vec![],
            batches: vec![],
            root_after: self.after.root(),
            tip_after: self.tip_after,
            is_anchor: false,
        };
        self.record.as_ref().map_or_else(as_it_was, |record| record.block.clone())
    }
}
