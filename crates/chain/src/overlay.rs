//! The overlay: a covenant for an L1 that cannot be written to, durable beside it.
//!
//! The overlay follows the same blocks as the node. For each block that it has ever seen it keeps the settlements that
//! landed in it. A submission lands in the next block that is *new* to the overlay: the settlements of a block are fixed
//! when it is first fed. So a node that follows the chain again, from the start or across a flip, sees every settlement
//! where it was. A reorg of the block removes the settlement, its return restores it.
//!
//! # Rules
//!
//! The aggregate verifies under the covenant's program and profile; the pins, the previous root and the
//! previous lane tip equal those of the last settlement on the current chain; the last block is on the
//! current chain, after the last settled one, and its lane tip, which the overlay recomputes from what the
//! block accepted, is the one the proof ends in. Otherwise the overlay refuses, with a [`Rejection`].
//!
//! # File
//!
//! A [log](reprise_disk::log), appended to when new blocks are fed: a frame for each event, with the blocks that were new
//! and the settlements that landed in each, in borsh. A damaged frame is an error that names the file, unless no whole
//! frame follows it: the settlements of the chain cannot be recovered from anywhere else.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use reprise_disk::data_dir::LockedPath;
use reprise_disk::log::{Format, Found, HEADER_LEN, Log, LogError};
use reprise_model::anchor::AnchorDepth;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::{ChainBlock, ChainRoot, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProgramId};
use reprise_model::journal::{Commitment, Journal};
use reprise_model::lane::{self, LaneError, WorkloadHasher};
use reprise_model::mutation::{self, Mutation};
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::transaction::{Accepted, LaneTransaction, Rollup};

use crate::event::SourceEvent;

/// The version of the frames' content. Another version is refused.
pub const FORMAT_VERSION: u16 = 2;

const FORMAT: Format = Format {
    magic: *b"RPOVERLY",
    earlier: Some(*b"RPOVERL\0"),
    version: FORMAT_VERSION,
    what: "the settlement overlay",
};

const HELP: &str = "restore the file from a copy, or use another data directory; `reprise receipts export` takes the \
                    receipts along";

/// The covenant: what it accepts.
#[derive(Clone)]
pub struct Covenant {
    /// Verifies the one profile it accepts.
    pub verifier: Arc<dyn Verifier>,
    /// The aggregate program it accepts.
    pub program: ProgramId,
    /// The pins it accepts.
    pub pins: PinsDigest,
    /// The lane's key.
    pub lane: Digest,
    /// What transactions name the rollup by.
    pub rollup: Rollup,
    /// The state root before the first settlement.
    pub root: Digest,
    /// How deep a block may lie for a settlement to be anchored in it; `None` where that does not matter.
    pub anchor_depth: Option<AnchorDepth>,
    /// The hash of the lane tip.
    pub hasher: Arc<dyn WorkloadHasher>,
}

/// Why a settlement was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// Its last block is settled already.
    #[error("replay: {end_block} is settled already")]
    Replay {
        /// Its last block.
        end_block: BlockHash,
    },
    /// It starts after blocks that are not settled.
    #[error("gap: it starts at lane tip {found}, but the last settlement ended at {expected}")]
    Gap {
        /// The lane tip of the last settlement.
        expected: Digest,
        /// The lane tip it starts at.
        found: Digest,
    },
    /// It starts from another state.
    #[error("wrong previous root: {found}, but the last settlement ended at {expected}")]
    WrongRoot {
        /// The root of the last settlement.
        expected: Digest,
        /// The root it starts at.
        found: Digest,
    },
    /// Its last block is not on the current chain, or the proof ends in another lane tip than the block has.
    #[error("orphaned commitment: the lane tip {tip} is not that of {end_block} on the current chain")]
    Orphaned {
        /// Its last block.
        end_block: BlockHash,
        /// The lane tip the proof ends in.
        tip: Digest,
    },
    /// The block that it is anchored in lies too deep.
    #[error("the block {end_block} lies {below} blue scores below the tip: the L1 answers for {depth}")]
    TooDeep {
        /// The block.
        end_block: BlockHash,
        /// How far it lies below the tip.
        below: u64,
        /// How far it may.
        depth: u64,
    },
    /// It was proved under other pins.
    #[error("other pins: {found}, but the covenant has {expected}")]
    WrongPins {
        /// The covenant's.
        expected: PinsDigest,
        /// The proof's.
        found: PinsDigest,
    },
    /// The receipt is not of the covenant's program, or not of this journal.
    #[error("the receipt does not attest this settlement under the covenant's program")]
    WrongClaim,
    /// The proof is refused: not one, another profile's, a fake.
    #[error("the proof is refused: {reason}")]
    BadProof {
        /// The verifier's error.
        reason: String,
    },
}

/// Why the overlay cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    /// The overlay's file cannot be read or written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The lane cannot be followed.
    #[error("{block}: {source}")]
    Lane {
        /// The block.
        block: BlockHash,
        /// What is wrong.
        source: LaneError,
    },
}

/// The settlements that landed in a block.
type Landed = (BlockHash, Vec<ObservedSettlement>);

/// The landed settlements, and their file.
#[derive(Debug, Default)]
struct Sealed {
    /// The settlements of each block that was ever fed.
    blocks: HashMap<BlockHash, Vec<ObservedSettlement>>,
    /// None in memory.
    place: Option<LockedPath>,
    identity: [u8; 32],
    /// None before the first block.
    log: Option<Log>,
    /// What is not on the disk yet.
    unsaved: Vec<Landed>,
}

/// One block of the current chain, as the covenant sees it after the block.
#[derive(Debug, Clone)]
struct Followed {
    block: BlockHash,
    blue_score: u64,
    tip: Digest,
    /// What an aggregate that ends here commits.
    commitment: Commitment,
    /// The last settlement up to here: where the next one must start.
    settled: CovenantState,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct CovenantState {
    root: Digest,
    tip: Digest,
    /// How many blocks of the chain are settled.
    height: usize,
}

/// The covenant's state over a chain.
pub struct Overlay {
    covenant: Covenant,
    sealed: Sealed,
    /// The current chain, without what was [forgotten](Overlay::forget_below) of it.
    chain: VecDeque<Followed>,
    /// How many blocks were forgotten.
    forgotten: usize,
    /// Where the blocks of the chain stand.
    heights: HashMap<BlockHash, usize>,
    mempool: Vec<(ObservedSettlement, Receipt)>,
    rejected: Vec<(ObservedSettlement, Rejection)>,
}

impl std::fmt::Debug for Overlay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Overlay")
            .field("place", &self.sealed.place)
            .field("blocks", &self.chain.len())
            .finish()
    }
}

impl Overlay {
    /// Opens the overlay kept at `place` (in memory where there is none) over a chain that starts at `root`.
    pub fn open(
        place: Option<LockedPath>,
        root: ChainRoot,
        covenant: Covenant,
    ) -> Result<Self, OverlayError> {
        let sealed = Sealed::open(place, &root, &covenant)?;
        let ChainRoot { metadata, lane_proof } = root;
        let hasher = covenant.hasher.as_ref();
        let tip = hasher.lane().at(hasher, &covenant.lane, None, lane_proof.as_deref());
        let block = metadata.block_hash;
        let tip = tip.map_err(|source| OverlayError::Lane { block, source })?;
        let settled = CovenantState { root: covenant.root, tip, height: 1 };
        let chain = VecDeque::from([Followed {
            block,
            blue_score: metadata.blue_score,
            tip,
            commitment: Commitment::Unbound,
            settled,
        }]);
        let heights = HashMap::from([(block, 0)]);
        Ok(Self { covenant, sealed, chain, forgotten: 0, heights, mempool: vec![], rejected: vec![] })
    }

    /// Every block that it was ever fed.
    pub fn fed(&self) -> HashSet<BlockHash> {
        self.sealed.blocks.keys().copied().collect()
    }

    /// Submits a settlement: it is judged now against the current chain, and again when it lands.
    pub fn submit(&mut self, artifact: SettlementArtifact<&Receipt>) -> Result<(), Rejection> {
        let SettlementArtifact { end_block, journal, receipt, .. } = artifact;
        let settlement = ObservedSettlement { statement: receipt.id(), journal, end_block };
        self.judge(&settlement)?;
        self.judge_proof(&settlement, receipt)?;
        if !self.mempool.iter().any(|(waiting, _)| *waiting == settlement) {
            self.mempool.push((settlement, receipt.clone()));
        }
        Ok(())
    }

    /// The settlements that were accepted for landing and refused when a block came, and why.
    pub fn take_rejected(&mut self) -> Vec<(ObservedSettlement, Rejection)> {
        std::mem::take(&mut self.rejected)
    }

    /// Follows one event, and adds to its blocks the settlements that landed in them.
    pub fn follow(&mut self, event: &mut SourceEvent) -> Result<(), OverlayError> {
        // The first block stays: the source refuses to remove it.
        let kept = self.chain.len().saturating_sub(event.removed.len()).max(1);
        for left in self.chain.drain(kept..) {
            self.heights.remove(&left.block);
        }
        event.added.iter_mut().try_for_each(|block| self.extend(block))?;
        self.save()
    }

    /// Forgets, in memory, what lies below a block of the current chain, and `aside` of it: no reorg removes that block any more, and what
    /// lies below is settled.
    pub fn forget_below<'b>(&mut self, block: &BlockHash, aside: impl IntoIterator<Item = &'b BlockHash>) {
        for block in aside {
            self.sealed.blocks.remove(block);
        }
        let Some(height) = self.height_of(block) else { return };
        while self.forgotten < height
            && let Some(gone) = self.chain.pop_front()
        {
            self.forgotten += 1;
            self.heights.remove(&gone.block);
            self.sealed.blocks.remove(&gone.block);
        }
    }

    /// Makes durable what an event added. Where only that failed in [`follow`](Self::follow), the event counts once this
    /// succeeds.
    pub fn save(&mut self) -> Result<(), OverlayError> {
        Ok(self.sealed.save()?)
    }

    /// Appends one block.
    fn extend(&mut self, block: &mut ChainBlock) -> Result<(), OverlayError> {
        let (tip, commitment) = self.follow_lane(block)?;
        let hash = block.metadata.block_hash;
        let landed = match self.sealed.blocks.get(&hash) {
            Some(landed) => landed.clone(),
            None => {
                let landed = self.land();
                self.sealed.seal(hash, landed.clone());
                landed
            }
        };

        let settled = self.tip().settled.clone();
        let settled = landed.iter().fold(settled, |_, settlement| self.settled_by(settlement));
        self.heights.insert(hash, self.forgotten + self.chain.len());
        self.chain.push_back(Followed {
            block: hash,
            blue_score: block.metadata.blue_score,
            tip,
            commitment,
            settled,
        });
        block.settlements = landed;
        Ok(())
    }

    /// The settlements of the mempool that land in a new block. Each is judged again, after the ones before it.
    fn land(&mut self) -> Vec<ObservedSettlement> {
        let mut landed = vec![];
        for (settlement, receipt) in std::mem::take(&mut self.mempool) {
            match self.judge(&settlement).and_then(|()| self.judge_proof(&settlement, &receipt)) {
                Ok(()) if landed.is_empty() => landed.push(settlement),
                // One a block: the next is judged after this one is part of the chain.
                Ok(()) => self.mempool.push((settlement, receipt)),
                Err(why) => self.rejected.push((settlement, why)),
            }
        }
        landed
    }

    fn settled_by(&self, settlement: &ObservedSettlement) -> CovenantState {
        let transition = settlement.journal.transition;
        let end = self.height_of(&settlement.end_block);
        CovenantState {
            root: transition.root_after,
            tip: transition.tip_after,
            height: end.map_or(self.forgotten + self.chain.len(), |index| index + 1),
        }
    }

    /// How many blocks of the current chain lie below `block`.
    fn height_of(&self, block: &BlockHash) -> Option<usize> {
        self.heights.get(block).copied()
    }

    fn tip(&self) -> &Followed {
        // The first block is never removed.
        &self.chain[self.chain.len() - 1]
    }

    /// The lane tip after `block`, from what the block itself accepted, and what an aggregate that ends with it
    /// commits.
    fn follow_lane(&self, block: &ChainBlock) -> Result<(Digest, Commitment), OverlayError> {
        let Covenant { hasher, lane, rollup, .. } = &self.covenant;
        let (hasher, scheme, parent) = (hasher.as_ref(), hasher.lane(), self.tip());
        let proof = block.lane_proof.as_deref();
        let accepted =
            |transaction: &LaneTransaction| Accepted::of(hasher, transaction, &transaction.read(rollup));
        let follow = || {
            if block.accepted.is_empty() {
                let tip = scheme.at(hasher, lane, Some(&parent.tip), proof)?;
                // Where the proof does not open it, nothing can be anchored here.
                let commitment = scheme.open(lane, &tip, proof).unwrap_or(Commitment::Unbound);
                return Ok((tip, commitment));
            }
            let accepted: Vec<Accepted> = block.accepted.iter().map(accepted).collect();
            let reopening = proof.and_then(|proof| scheme.reopening(proof));
            let before = (&parent.tip, reopening);
            let tip = lane::after(hasher, lane, before, block.metadata.context(), &accepted)?;
            Ok((tip, scheme.open(lane, &tip, proof)?))
        };
        follow().map_err(|source| OverlayError::Lane { block: block.metadata.block_hash, source })
    }

    /// Judges everything but the proof.
    fn judge(&self, settlement: &ObservedSettlement) -> Result<(), Rejection> {
        let transition = settlement.journal.transition;
        let end_block = settlement.end_block;
        if transition.pins != self.covenant.pins {
            let (expected, found) = (self.covenant.pins, transition.pins);
            return Err(Rejection::WrongPins { expected, found });
        }
        let orphaned = || Rejection::Orphaned { end_block, tip: transition.tip_after };
        let end = self.height_of(&end_block).ok_or_else(orphaned)?;
        let settled = &self.tip().settled;
        if end < settled.height {
            return Err(Rejection::Replay { end_block });
        }
        if transition.tip_before != settled.tip {
            return Err(Rejection::Gap { expected: settled.tip, found: transition.tip_before });
        }
        if transition.root_before != settled.root {
            return Err(Rejection::WrongRoot { expected: settled.root, found: transition.root_before });
        }
        // The overlay recomputes the tip of the block itself, so an aggregate that leaves its commitment
        // unbound is bound here.
        let Followed { tip, commitment, blue_score, .. } = &self.chain[end - self.forgotten];
        let at_tip = self.tip().blue_score;
        if let Some(depth) = self.covenant.anchor_depth.filter(|depth| depth.is_exceeded(*blue_score, at_tip))
        {
            let (below, depth) = (at_tip - blue_score, depth.0);
            return Err(Rejection::TooDeep { end_block, below, depth });
        }
        if *tip != transition.tip_after || *commitment != settlement.journal.commitment {
            return Err(orphaned());
        }
        Ok(())
    }

    fn judge_proof(&self, settlement: &ObservedSettlement, receipt: &Receipt) -> Result<(), Rejection> {
        let claim = &receipt.claim;
        if claim.program != self.covenant.program || claim.journal != settlement.journal.bytes() {
            return Err(Rejection::WrongClaim);
        }
        if mutation::is(Mutation::SettleUnproven) {
            return Ok(());
        }
        let refused = |e: VerifyError| Rejection::BadProof { reason: e.to_string() };
        self.covenant.verifier.verify(receipt).map_err(refused)
    }
}

impl Sealed {
    fn open(place: Option<LockedPath>, root: &ChainRoot, covenant: &Covenant) -> Result<Self, LogError> {
        let mut identity = blake3::Hasher::new_derive_key("reprise 2026-11 settlement overlay");
        identity.update(&root.metadata.block_hash.0).update(&covenant.pins.0);
        let identity = *identity.finalize().as_bytes();
        let mut sealed = Self { place: place.clone(), identity, ..Self::default() };
        let Some(Found { mut log, mut damage }) =
            place.map(|place| Log::open(place, FORMAT, identity)).transpose()?.flatten()
        else {
            return Ok(sealed);
        };
        if damage.first().is_some_and(|first| first.start == 0) && log.frames(0).next().is_some() {
            // Its header is damaged, and its content is known: it is written again.
            log.mend(&damage[..1])?;
            damage.remove(0);
        }
        if let Some(range) = damage.first() {
            return Err(log.damaged(range.clone(), HELP));
        }
        let mut frames = log.frames(HEADER_LEN);
        loop {
            let from = frames.offset();
            let Some(body) = frames.next().transpose()? else { break };
            let landed: Vec<Landed> =
                borsh::from_slice(&body).map_err(|_| log.damaged(from..frames.offset(), HELP))?;
            sealed.blocks.extend(landed);
        }
        sealed.log = Some(log);
        Ok(sealed)
    }

    /// Records the settlements of a block that is fed for the first time.
    fn seal(&mut self, block: BlockHash, landed: Vec<ObservedSettlement>) {
        if self.place.is_some() {
            self.unsaved.push((block, landed.clone()));
        }
        self.blocks.insert(block, landed);
    }

    fn save(&mut self) -> Result<(), LogError> {
        let (Some(place), false) = (&self.place, self.unsaved.is_empty()) else { return Ok(()) };
        // Writing to memory does not fail.
        let body = borsh::to_vec(&self.unsaved).unwrap_or_default();
        match &mut self.log {
            Some(log) => log.append(&body)?,
            None => self.log = Some(Log::create(place.clone(), FORMAT, self.identity, &[&body])?),
        }
        self.unsaved.clear();
        Ok(())
    }
}
