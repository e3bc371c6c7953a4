//! The lane tip: a running commitment to everything that a lane accepted, in order, with the context of each block.
//!
//! The workload's [`LaneScheme`], which comes with its [hash](WorkloadHasher), says which tip its proofs follow. [`Own`] is a
//! chain over the workload's hash. It commits to the same data as Kaspa's tip (KIP-21): the transactions' bytes, their merge
//! indices, the block's context. An L1 that checks a settlement recomputes it from what it accepted. A scheme that
//! [binds](LaneScheme::binds) follows the L1's own tip instead: its lane proof opens this tip in the sequencing
//! commitment. A block without lane transactions does not change the tip.
//!
//! ```text
//! tip₀      = H(LaneGenesis, lane)
//! activity₀ = 0
//! activityᵢ = H(Activity, activityᵢ₋₁ | transaction digest | merge index 0 0 0 0 0 0 0)
//! tip′      = H(LaneTip, tip | timestamp daa_score blue_score 0 0 | activity)
//! ```
//!
//! # Silence
//!
//! An L1 may keep the entry of a lane only while the lane is active. When the entry expires, the tip stays as it was. The next
//! block with lane transactions begins the lane anew, over the commitment of its parent. Its lane proof holds the *reopening*,
//! which opens the last tip in the parent's commitment. The tip is zero only where the lane never had an entry.
//!
//! The prover chooses whether a block continues the lane or begins it anew. A batch with the wrong choice ends in a tip that
//! the L1 does not have.

use alloc::string::String;
use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell;
use crate::context::BlockContext;
use crate::digest::Digest;
use crate::hash::{Blake3, Domain, Hasher};
use crate::journal::Commitment;
use crate::transaction::Accepted;

/// A fold over a block's lane transactions, which a later batch of the block can continue.
#[derive(Debug, Clone, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Activity {
    /// The number of transactions folded.
    pub count: u32,
    /// The digests that the [scheme](LaneScheme) folded them into.
    pub nodes: Vec<Digest>,
}

/// A block of which not every lane transaction is proved yet: the part of a position that lies within a block.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OpenBlock {
    /// The block's context, the same for all its batches.
    pub context: BlockContext,
    /// The merge index of the last transaction so far.
    pub last_index: u32,
    /// The fold over the transactions so far.
    pub activity: Activity,
}

impl OpenBlock {
    /// A block of which nothing is proved.
    pub fn new(context: BlockContext) -> Self {
        Self { context, last_index: 0, activity: Activity::default() }
    }

    /// Adds the next transaction.
    pub fn accept(&mut self, hasher: &dyn WorkloadHasher, accepted: &Accepted) -> Result<(), LaneError> {
        let index = accepted.merge_index;
        if self.activity.count > 0 && index <= self.last_index {
            return Err(LaneError::Order { index });
        }
        hasher.lane().accept(hasher, &mut self.activity, accepted);
        self.last_index = index;
        Ok(())
    }

    /// The digest by which journals name it: `H(OpenBlock, count, last index, 0 … | context | nodes)`.
    pub fn digest(&self, hasher: &dyn Hasher) -> Digest {
        let head = [self.activity.count, self.last_index, 0, 0, 0, 0, 0, 0];
        let mut cells = alloc::vec![head, self.context.cell()];
        cells.extend(self.activity.nodes.iter().map(cell::digest));
        hasher.hash(Domain::OpenBlock, &cells)
    }
}

/// One step of a lane: a block that accepted transactions of the lane, all of them proved.
#[derive(Debug, Clone, Copy)]
pub struct Step<'a> {
    /// The lane's key.
    pub lane: &'a Digest,
    /// The tip before the block; zero where the lane never had an entry.
    pub tip: &'a Digest,
    /// The [reopening](LaneScheme::reopening), where the lane began anew in the block.
    pub reopening: Option<&'a [u8]>,
    /// The block.
    pub block: &'a OpenBlock,
}

/// The tip after a block that accepted these transactions, of which there is at least one.
pub fn after<'a>(
    hasher: &dyn WorkloadHasher,
    lane: &Digest,
    (tip, reopening): (&Digest, Option<&[u8]>),
    context: BlockContext,
    accepted: impl IntoIterator<Item = &'a Accepted>,
) -> Result<Digest, LaneError> {
    let mut block = OpenBlock::new(context);
    accepted.into_iter().try_for_each(|accepted| block.accept(hasher, accepted))?;
    hasher.lane().after(hasher, &Step { lane, tip, reopening, block: &block })
}

/// Why a tip cannot be followed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaneError {
    /// The transactions are not in the order in which the L1 accepted them.
    #[error("merge index {index} does not rise above the one before it")]
    Order {
        /// The first merge index out of order.
        index: u32,
    },
    /// There is no lane proof.
    #[error("the L1's lane proof is missing")]
    NoProof,
    /// The lane proof cannot be read.
    #[error("the lane proof cannot be read: {reason}")]
    Unreadable {
        /// What is wrong.
        reason: String,
    },
    /// The lane proof opens another tip.
    #[error("the lane proof has the tip {found}, not {expected}")]
    OtherTip {
        /// The tip to open.
        expected: Digest,
        /// The tip of the last entry; zero where the proof shows no entry.
        found: Digest,
    },
}

/// The lane tip that a workload's proofs follow.
pub trait LaneScheme: Send + Sync {
    /// Whether it is the L1's own tip, so that an aggregate opens it in the sequencing commitment.
    fn binds(&self) -> bool;

    /// The tip that the next block builds on, after a block that has this lane proof and left the tip `left` (`None` for
    /// the block from which a chain is followed).
    fn at(
        &self,
        hasher: &dyn Hasher,
        lane: &Digest,
        left: Option<&Digest>,
        proof: Option<&[u8]>,
    ) -> Result<Digest, LaneError>;

    /// The part of a block's lane proof that opens the lane's last tip in the parent's commitment, where the lane began anew
    /// in the block; `None` for any other block.
    fn reopening<'p>(&self, proof: &'p [u8]) -> Option<&'p [u8]>;

    /// Adds one transaction to the fold over the block's transactions.
    fn accept(&self, hasher: &dyn Hasher, activity: &mut Activity, accepted: &Accepted);

    /// The tip after the block of the step.
    fn after(&self, hasher: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError>;

    /// The commitment of an aggregate that ends at `tip`: the lane's last tip in a block with this lane proof.
    fn open(&self, lane: &Digest, tip: &Digest, proof: Option<&[u8]>) -> Result<Commitment, LaneError>;
}

/// The hash of a workload, together with the lane tip that its proofs follow.
pub trait WorkloadHasher: Hasher {
    /// The lane tip that the proofs follow: the workload's own, unless its programs can afford to compute the L1's.
    fn lane(&self) -> &dyn LaneScheme {
        &Own
    }
}

impl WorkloadHasher for Blake3 {}

/// The workload's own chain, over its hash.
#[derive(Debug, Clone, Copy, Default)]
pub struct Own;

/// The tip of [`Own`] where a lane has accepted nothing.
pub fn genesis(hasher: &dyn Hasher, lane: &Digest) -> Digest {
    hasher.hash(Domain::LaneGenesis, &[cell::digest(lane)])
}

/// The tip of [`Own`] after a block with lane transactions.
pub fn advance(hasher: &dyn Hasher, tip: &Digest, context: &BlockContext, activity: &Digest) -> Digest {
    hasher.hash(Domain::LaneTip, &[cell::digest(tip), context.cell(), cell::digest(activity)])
}

impl LaneScheme for Own {
    fn binds(&self) -> bool {
        false
    }

    fn at(
        &self,
        hasher: &dyn Hasher,
        lane: &Digest,
        left: Option<&Digest>,
        _: Option<&[u8]>,
    ) -> Result<Digest, LaneError> {
        Ok(left.copied().unwrap_or_else(|| genesis(hasher, lane)))
    }

    fn reopening<'p>(&self, _: &'p [u8]) -> Option<&'p [u8]> {
        None
    }

    fn accept(&self, hasher: &dyn Hasher, activity: &mut Activity, accepted: &Accepted) {
        let index = [accepted.merge_index, 0, 0, 0, 0, 0, 0, 0];
        let folded = activity.nodes.last().copied().unwrap_or(Digest::ZERO);
        let cells = [cell::digest(folded), cell::digest(accepted.digest), index];
        activity.nodes = alloc::vec![hasher.hash(Domain::Activity, &cells)];
        activity.count += 1;
    }

    fn after(&self, hasher: &dyn Hasher, step: &Step<'_>) -> Result<Digest, LaneError> {
        let activity = step.block.activity.nodes.last().copied().unwrap_or(Digest::ZERO);
        Ok(advance(hasher, step.tip, &step.block.context, &activity))
    }

    fn open(&self, _: &Digest, _: &Digest, _: Option<&[u8]>) -> Result<Commitment, LaneError> {
        Ok(Commitment::Unbound)
    }
}
