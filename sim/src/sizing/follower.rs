//! The requests of a chain: a small model of the planner and the covenant, over names instead of journals.
//!
//! The bundles are those of the planner's own [`BundleRule`]. A closed bundle is submitted once everything that
//! is wanted is proved, and lands in the first new block that is at least so much higher. What a block carries
//! is fixed when it is first seen; a reorg of it undoes the settlement, its return restores it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use reprise_model::block::{BatchMetadata, BlockId, ChainBlockMetadata};
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_planner::bundle::{BundleRule, Candidate};

use super::chain::{Batch, Block, Event, Name, name};

/// How a chain is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FollowerConfig {
    /// Where bundles begin and end.
    pub rule: BundleRule,
    /// How many blocks below the tip a block is final.
    pub finality_depth: u64,
    /// How many blocks pass at least between a bundle's submission and the block it lands in.
    pub landing_blocks: u64,
}

/// Consecutive batches, aggregated for one settlement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// What its proof attests.
    pub statement: Name,
    /// Where it is used.
    pub place: Name,
    /// At least one.
    pub batches: Vec<Arc<Batch>>,
    /// The height of its last batch.
    pub end: u64,
}

impl Bundle {
    fn over(batches: &[Arc<Batch>]) -> Option<Self> {
        let (first, last) = (batches.first()?, batches.last()?);
        let statements: Vec<Name> = batches.iter().map(|batch| batch.statement).collect();
        Some(Self {
            statement: name("aggregate", &statements),
            place: name("place of an aggregate", &[first.block, last.block, last.commitment]),
            batches: batches.to_vec(),
            end: last.height,
        })
    }
}

/// A submitted settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Submission {
    start: u64,
    end: u64,
    end_block: Name,
    /// The lowest block that may carry it.
    not_before: u64,
}

/// A settlement that a block of the chain carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Landing {
    carrier: u64,
    end: u64,
}

/// What follows a chain.
#[derive(Debug)]
pub struct Follower {
    config: FollowerConfig,
    /// The last blocks; the root, at height 0, is none of them.
    view: VecDeque<Block>,
    tip: u64,
    finalized: u64,
    /// The non-empty ones that are not final and settled.
    batches: VecDeque<Arc<Batch>>,
    /// The settlements of the chain, oldest first; of those that are final, the last.
    landings: VecDeque<Landing>,
    /// What each block that was ever seen carries, by height and block: where it ends.
    carried: BTreeMap<(u64, Name), u64>,
    mempool: Vec<Submission>,
    bundles: VecDeque<Bundle>,
    open: Vec<Arc<Batch>>,
    floor: u64,
}

impl Follower {
    /// A follower that has seen no block.
    pub fn new(config: FollowerConfig) -> Self {
        Self {
            config,
            view: VecDeque::new(),
            tip: 0,
            finalized: 0,
            batches: VecDeque::new(),
            landings: VecDeque::new(),
            carried: BTreeMap::new(),
            mempool: vec![],
            bundles: VecDeque::new(),
            open: vec![],
            floor: 0,
        }
    }

    /// The closed bundles that are not settled, oldest first.
    pub fn bundles(&self) -> impl Iterator<Item = &Bundle> {
        self.bundles.iter()
    }

    /// The batches after them.
    pub fn open(&self) -> &[Arc<Batch>] {
        &self.open
    }

    /// Whether anything is not settled.
    pub fn is_unsettled(&self) -> bool {
        !self.bundles.is_empty() || !self.open.is_empty()
    }

    /// The height that everything below is settled.
    pub fn first_unsettled(&self) -> u64 {
        self.landings.back().map_or(0, |landing| landing.end + 1)
    }

    /// The height that everything below is final, and settled by a settlement that is final.
    pub fn floor(&self) -> u64 {
        self.floor
    }

    /// The tip's height and block.
    pub fn tip(&self) -> (u64, Option<&Block>) {
        (self.tip, self.view.back())
    }

    /// Follows one change; the batches that left. `None` where nothing that is wanted changed.
    pub fn follow(&mut self, event: Event) -> Option<Vec<Arc<Batch>>> {
        let alone = event.removed == 0 && event.added.len() == 1;
        let left = self.remove(event.removed);
        let (before, mut carries, mut busy) = (self.landings.len(), false, false);
        for (index, block) in event.added.into_iter().enumerate() {
            let height = self.tip + 1;
            let landed = match index < event.returning {
                true => self.carried.get(&(height, block.id)).copied(),
                false => self.land(height),
            };
            if let Some(end) = landed {
                self.carried.insert((height, block.id), end);
                self.landings.push_back(Landing { carrier: height, end });
                carries = true;
            }
            if let Some(batch) = &block.batch {
                self.batches.push_back(batch.clone());
                busy = true;
            }
            self.view.push_back(block);
            self.tip = height;
        }
        let closed = if alone && before == self.landings.len() { self.extend(busy) } else { self.rebundle() };
        self.finalize();
        (!alone || carries || busy || closed).then_some(left)
    }

    /// Everything that is wanted is proved: the oldest bundle is submitted.
    pub fn submit(&mut self) {
        let Some(bundle) = self.bundles.front() else { return };
        let (Some(first), Some(last)) = (bundle.batches.first(), bundle.batches.last()) else { return };
        let same = |waiting: &Submission| {
            (waiting.start, waiting.end_block) == (first.height, last.block) && waiting.end == last.height
        };
        if !self.mempool.iter().any(same) {
            let not_before = self.tip + 1 + self.config.landing_blocks;
            let (start, end, end_block) = (first.height, last.height, last.block);
            self.mempool.push(Submission { start, end, end_block, not_before });
        }
    }

    fn remove(&mut self, count: u64) -> Vec<Arc<Batch>> {
        let mut left = vec![];
        for _ in 0..count {
            if let Some(Block { batch: Some(batch), .. }) = self.view.pop_back() {
                if self.batches.back().is_some_and(|last| last.block == batch.block) {
                    self.batches.pop_back();
                }
                left.push(batch);
            }
            self.tip -= 1;
        }
        while self.landings.back().is_some_and(|landing| landing.carrier > self.tip) {
            self.landings.pop_back();
        }
        left
    }

    /// Where the settlement that a new block carries ends, if it carries one.
    fn land(&mut self, height: u64) -> Option<u64> {
        let mut landed = None;
        for submission in std::mem::take(&mut self.mempool) {
            if !self.accepts(&submission) {
                continue;
            }
            match landed {
                None if submission.not_before <= height => landed = Some(submission.end),
                _ => self.mempool.push(submission),
            }
        }
        landed
    }

    /// Whether the covenant would: it ends on the chain, and starts where the last one ended.
    fn accepts(&self, submission: &Submission) -> bool {
        let from = self.first_unsettled();
        let next = self.batches.partition_point(|batch| batch.height < from);
        let next = self.batches.get(next).map(|batch| batch.height);
        submission.end >= from
            && next == Some(submission.start)
            && self.at(submission.end).is_some_and(|block| block.id == submission.end_block)
    }

    fn at(&self, height: u64) -> Option<&Block> {
        let depth = usize::try_from(self.tip.checked_sub(height)?).ok()?;
        self.view.get(self.view.len().checked_sub(depth + 1)?)
    }

    /// One more block joined; whether a bundle closed.
    fn extend(&mut self, busy: bool) -> bool {
        if busy {
            self.open.extend(self.batches.back().cloned());
        }
        let score = self.view.back().map_or(0, |block| block.score);
        let due = self
            .open
            .first()
            .is_some_and(|first| busy || score > first.score.saturating_add(self.config.rule.deadline_score));
        due && self.close(score)
    }

    /// Forms every bundle again.
    fn rebundle(&mut self) -> bool {
        let from = self.first_unsettled();
        self.bundles.clear();
        let from = self.batches.partition_point(|batch| batch.height < from);
        self.open = self.batches.range(from..).cloned().collect();
        let score = self.view.back().map_or(0, |block| block.score);
        self.close(score)
    }

    fn close(&mut self, score: u64) -> bool {
        let candidates: Vec<Candidate> = self.open.iter().map(|batch| candidate(batch)).collect();
        let lengths = self.config.rule.close(&candidates, score);
        for length in &lengths {
            let batches: Vec<_> = self.open.drain(..*length).collect();
            self.bundles.extend(Bundle::over(&batches));
        }
        !lengths.is_empty()
    }

    /// Forgets what is final, and settled by a settlement that is final.
    fn finalize(&mut self) {
        self.finalized = self.finalized.max(self.tip.saturating_sub(self.config.finality_depth));
        while self.landings.get(1).is_some_and(|landing| landing.carrier <= self.finalized) {
            self.landings.pop_front();
        }
        if let Some(last) = self.landings.front().filter(|landing| landing.carrier <= self.finalized)
            && last.end + 1 > self.floor
        {
            self.floor = last.end + 1;
            while self.batches.front().is_some_and(|batch| batch.height < self.floor) {
                self.batches.pop_front();
            }
            let finalized = self.finalized;
            while let Some(lowest) = self.carried.first_entry().filter(|first| first.key().0 < finalized) {
                lowest.remove();
            }
        }
        while self.view.len() as u64 > self.config.finality_depth + 1 {
            self.view.pop_front();
        }
    }
}

/// A batch, as far as bundling looks at it.
fn candidate(batch: &Batch) -> Candidate {
    let block = ChainBlockMetadata {
        block_hash: BlockHash([0; 32]),
        parent_hash: BlockHash([0; 32]),
        blue_score: batch.score,
        daa_score: batch.score,
        timestamp_ms: 0,
        parent_timestamp_ms: 0,
        sequencing_commitment: Digest::ZERO,
    };
    let metadata = BatchMetadata { id: BlockId(0), checkpoint: Checkpoint(batch.height), block };
    Candidate { metadata, transactions: batch.transactions.len() }
}
