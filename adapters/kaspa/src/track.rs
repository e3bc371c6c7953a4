//! The chain so far, and the checks of every added block.
//!
//! The same checks run over a live node's answers and over a recording:
//!
//! * a removed block is the tip, an added one builds on the tip;
//! * the lane proof opens the sequencing commitment of the block's header, over its parent's commitment;
//! * Kaspa's lane tip, recomputed from the accepted transactions' ids, versions, merge indices and the context
//!   (parent's timestamp, DAA score, blue score), is the one the lane proof proves; a block that accepts nothing
//!   of the lane leaves the tip as it was.
//!
//! Once the lane has had an entry, a block that accepts nothing of the lane may come without a lane proof, unless it is the
//! last of its event: the next proof shows the entry that it would have to prove.
//!
//! A block in which the lane began anew after its entry expired comes with the proofs that open the last entry in its parent.
//!
//! So a missing, foreign, altered or reordered transaction and a wrong context are errors here. On the node's word remain
//! two things: that a block is canonical, and that consensus checked the signatures of what it accepted.

use std::io;

use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::network::NetworkId;
use kaspa_smt::proof::SmtProofError;
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::Recording;
use reprise_kaspa_lane::tip;
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::lane::Activity;
use reprise_model::transaction::Accepted;
use std::collections::{BTreeSet, VecDeque};

use crate::lane_proof::{LaneEntry, LaneProof, Opening, of_parent};

/// Why a change of the chain is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckError {
    /// A removed block is not the tip.
    #[error("{removed} is removed, but the tip is {tip}")]
    NotTheTip {
        /// The removed block.
        removed: BlockHash,
        /// The tip.
        tip: BlockHash,
    },
    /// The reorg goes below the block the recording starts at.
    #[error(
        "the reorg removes {root}, the block this chain is followed from: start at a deeper block (--from)"
    )]
    BelowRoot {
        /// The recording's root.
        root: BlockHash,
    },
    /// The reorg removes a block that is final here.
    #[error(
        "the reorg removes {block}, which is final here: the node's chain is another one, or the finality depth is \
         too small for its reorgs (--finality-depth)"
    )]
    Final {
        /// The lowest block in memory.
        block: BlockHash,
    },
    /// An added block does not build on the tip.
    #[error("{block} builds on {parent}, but the tip is {tip}")]
    NotOnTheTip {
        /// The added block.
        block: BlockHash,
        /// Its parent.
        parent: BlockHash,
        /// The tip.
        tip: BlockHash,
    },
    /// The context names another timestamp than the parent's.
    #[error("{block}: its parent's timestamp is {parent}, but its context has {context}")]
    Timestamp {
        /// The added block.
        block: BlockHash,
        /// The parent's timestamp.
        parent: u64,
        /// The timestamp in its context.
        context: u64,
    },
    /// A block without a lane proof.
    #[error("{block}: no lane proof")]
    NoProof {
        /// The block.
        block: BlockHash,
    },
    /// A lane proof that cannot be read.
    #[error("{block}: the lane proof cannot be read: {reason}")]
    Unreadable {
        /// The block.
        block: BlockHash,
        /// What is wrong.
        reason: String,
    },
    /// The lane proof is over another parent's commitment.
    #[error("{block}: the lane proof is over the parent commitment {proved}, but the parent has {parent}")]
    ParentCommitment {
        /// The block.
        block: BlockHash,
        /// The commitment in the proof.
        proved: Digest,
        /// The parent's commitment.
        parent: Digest,
    },
    /// The lane proof opens another commitment than the header's.
    #[error("{block}: the lane proof opens the commitment {opened}, but the header has {header}")]
    Commitment {
        /// The block.
        block: BlockHash,
        /// What the proof opens.
        opened: Digest,
        /// What the header has.
        header: Digest,
    },
    /// The accepted transactions give another lane entry than the proof's.
    #[error("{block}: the accepted transactions give the lane {computed}, but its proof has {proved}")]
    Lane {
        /// The block.
        block: BlockHash,
        /// What the accepted transactions give.
        computed: String,
        /// What the lane proof proves.
        proved: String,
    },
    /// The accepted transactions are not by ascending merge index.
    #[error("{block}: its transactions are not by ascending merge index")]
    Order {
        /// The block.
        block: BlockHash,
    },
}

/// The canonical chain to its tip: from its root, or from where it is final.
#[derive(Debug, Clone)]
pub struct Track {
    key: Digest,
    window: u64,
    /// How far the first link is above the root.
    base: u64,
    links: VecDeque<Link>,
    /// The heights of the blocks that came with a lane proof, dropped blocks included.
    opened: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Link {
    block: ChainBlockMetadata,
    /// The lane's last entry, expired or not; `None` where none is known.
    lane: Option<LaneEntry>,
}

impl Track {
    /// The chain that is `root` alone, for the lane `key`, whose entries expire after `window` blue scores.
    pub fn new(key: Digest, window: u64, root: &ChainRoot) -> Result<Self, CheckError> {
        Self::above(0, key, window, root, None)
    }

    /// The same for a chain of which everything is final up to `base`, `height` blocks above its root. `last_active` is the
    /// lane proof of the last block up to there that accepts something.
    pub fn above(
        height: u64,
        key: Digest,
        window: u64,
        base: &ChainRoot,
        last_active: Option<&[u8]>,
    ) -> Result<Self, CheckError> {
        let block = base.metadata;
        let last = || last_active.map(|proof| read(&block, proof)).transpose();
        let lane = match &base.lane_proof {
            Some(proof) => opening(&key, &block, proof)?.entry.or(last()?.and_then(|proof| proof.lane)),
            // Genesis: no lane has accepted anything, and a node proves none.
            None if block.parent_hash == BlockHash::default() => None,
            None => return Err(CheckError::NoProof { block: block.block_hash }),
        };
        let links = VecDeque::from([Link { block, lane }]);
        Ok(Self { key, window, base: height, links, opened: BTreeSet::new() })
    }

    /// The blue scores after which a network's lanes expire: its finality depth.
    pub fn window(network: NetworkId) -> u64 {
        Params::from(network.network_type()).finality_depth()
    }

    /// Checks a whole recording. Returns the track at its last event.
    pub fn over(recording: &Recording, window: u64) -> Result<Self, CheckError> {
        let mut track = Self::new(recording.lane.key, window, &recording.root)?;
        recording.events.iter().try_for_each(|event| track.apply(event))?;
        Ok(track)
    }

    /// The tip.
    pub fn tip(&self) -> &ChainBlockMetadata {
        &self.tip_link().block
    }

    /// The blocks in memory, the lowest first.
    pub fn blocks(&self) -> impl Iterator<Item = BlockHash> {
        self.links.iter().map(|link| link.block.block_hash)
    }

    /// The highest block in memory whose blue score is at most this, and the one above it.
    pub fn at_or_below(&self, blue_score: u64) -> Option<[&ChainBlockMetadata; 2]> {
        let above = self.links.partition_point(|link| link.block.blue_score <= blue_score);
        Some([&self.links.get(above.checked_sub(1)?)?.block, &self.links.get(above)?.block])
    }

    /// Whether this is the block that the chain is followed from, and that is the network's first.
    pub fn is_genesis(&self, block: &BlockHash) -> bool {
        let lowest = self.lowest();
        lowest.block_hash == *block && lowest.parent_hash == BlockHash::default()
    }

    /// Lane entries expire after another number of blue scores.
    pub fn set_window(&mut self, window: u64) {
        self.window = window;
    }

    /// The blue scores after which a lane's entry expires.
    pub fn expires_after(&self) -> u64 {
        self.window
    }

    /// For how many blue scores the lane has accepted nothing; `None` where no entry of it is known.
    pub fn silence(&self) -> Option<u64> {
        let Link { block, lane } = self.tip_link();
        lane.map(|entry| block.blue_score.saturating_sub(entry.blue_score))
    }

    /// The lowest block in memory.
    pub fn lowest(&self) -> &ChainBlockMetadata {
        &self.links[0].block
    }

    /// How many blocks lie above this one; `None` where it is not in memory.
    pub fn blocks_above(&self, block: &BlockHash) -> Option<u64> {
        let above = self.links.iter().rev().position(|link| link.block.block_hash == *block)?;
        Some(above as u64)
    }

    /// The lane's last entry once `removed` are gone; an error unless they are the last, tip first.
    pub fn lane_without(&self, removed: &[BlockHash]) -> Result<Option<LaneEntry>, CheckError> {
        self.without(removed)?;
        Ok(self.links[self.links.len() - 1 - removed.len()].lane)
    }

    /// Whether a lane entry of blue score `entry` has not expired in a block of blue score `block`.
    pub fn is_alive(&self, entry: u64, block: u64) -> bool {
        entry >= block.saturating_sub(self.window)
    }

    /// The height of the highest block above `done` and at most at `height` that came with a lane proof: a chain can be
    /// followed again from there.
    pub fn opened_below(&self, height: u64, done: u64) -> Option<u64> {
        self.opened.range(done + 1..=height.max(done + 1)).next_back().copied().filter(|it| *it <= height)
    }

    /// How many blocks lie above the root.
    pub fn height(&self) -> u64 {
        self.base + self.links.len() as u64 - 1
    }

    /// Drops the blocks below the one at `height`, which is final: no reorg removes them.
    pub fn drop_below(&mut self, height: u64) {
        while self.base < height && self.links.len() > 1 {
            self.links.pop_front();
            self.base += 1;
        }
    }

    /// Drops the record of which blocks up to `height` came with a lane proof.
    pub fn drop_opened(&mut self, height: u64) {
        self.opened = self.opened.split_off(&(height + 1));
    }

    /// The block that is the tip once `removed` are gone; an error unless they are the last, tip first.
    pub fn without(&self, removed: &[BlockHash]) -> Result<&ChainBlockMetadata, CheckError> {
        let mut links = self.links.iter().rev();
        for removed in removed {
            let tip = links.next().map_or(*removed, |link| link.block.block_hash);
            if tip != *removed {
                return Err(CheckError::NotTheTip { removed: *removed, tip });
            }
        }
        let lowest = self.links[0].block.block_hash;
        links.next().map(|link| &link.block).ok_or(match self.base {
            0 => CheckError::BelowRoot { root: lowest },
            _ => CheckError::Final { block: lowest },
        })
    }

    /// Checks an event and makes it part of the chain. An error leaves the chain as it was.
    pub fn apply(&mut self, event: &SourceEvent) -> Result<(), CheckError> {
        self.without(&event.removed)?;
        let kept = self.links.len() - event.removed.len();
        let (links, base) = (VecDeque::from([self.links[kept - 1].clone()]), self.base + kept as u64 - 1);
        let mut next = Self { links, base, opened: BTreeSet::new(), ..*self };
        event.added.iter().try_for_each(|block| next.add(block))?;
        if let Some(last) = event.added.last().filter(|last| last.lane_proof.is_none()) {
            return Err(CheckError::NoProof { block: last.metadata.block_hash });
        }
        self.links.truncate(kept - 1);
        self.links.append(&mut next.links);
        self.opened.split_off(&(base + 1));
        self.opened.append(&mut next.opened);
        Ok(())
    }

    fn tip_link(&self) -> &Link {
        // A track always has a link: `without` never removes the lowest one, and `drop_below` keeps the tip.
        &self.links[self.links.len() - 1]
    }

    fn add(&mut self, added: &ChainBlock) -> Result<(), CheckError> {
        let (tip, block) = (self.tip_link(), added.metadata);
        let hash = block.block_hash;
        if block.parent_hash != tip.block.block_hash {
            let (parent, tip) = (block.parent_hash, tip.block.block_hash);
            return Err(CheckError::NotOnTheTip { block: hash, parent, tip });
        }
        if block.parent_timestamp_ms != tip.block.timestamp_ms {
            let (parent, context) = (tip.block.timestamp_ms, block.parent_timestamp_ms);
            return Err(CheckError::Timestamp { block: hash, parent, context });
        }
        if !added.accepted.windows(2).all(|pair| pair[0].merge_index < pair[1].merge_index) {
            return Err(CheckError::Order { block: hash });
        }
        let lane = self.lane_after(added);
        match &added.lane_proof {
            Some(bytes) => {
                let proof = self.open(added, bytes)?;
                let alive = |entry: &LaneEntry| self.is_alive(entry.blue_score, block.blue_score);
                expect_lane(hash, lane.filter(alive), proof.lane)?;
                if proof.lane.is_none() {
                    let last = opening(&self.key, &block, bytes)?.entry;
                    expect_lane(hash, last.and(lane).or(last), last)?;
                }
                if let Some(reopening) = of_parent(bytes) {
                    let parent = self.tip_link();
                    let last = opening(&self.key, &parent.block, reopening)?.entry;
                    expect_lane(parent.block.block_hash, parent.lane.or(last), last)?;
                }
                self.opened.insert(self.height() + 1);
            }
            None if added.accepted.is_empty() && lane.is_some() => {}
            None => return Err(CheckError::NoProof { block: hash }),
        }
        self.links.push_back(Link { block, lane });
        Ok(())
    }

    /// Opens the commitment of a block on the tip by its lane proof.
    fn open(&self, added: &ChainBlock, bytes: &[u8]) -> Result<LaneProof, CheckError> {
        let block = added.metadata.block_hash;
        let proof = read(&added.metadata, bytes)?;
        let (proved, parent) = (proof.parent_commitment, self.tip().sequencing_commitment);
        if proved != parent {
            return Err(CheckError::ParentCommitment { block, proved, parent });
        }
        opened(&self.key, &added.metadata, proof)
    }

    /// The lane's last entry after a block on the tip, as its transactions give it.
    fn lane_after(&self, added: &ChainBlock) -> Option<LaneEntry> {
        let parent = self.tip_link();
        let alive = |entry: &LaneEntry| self.is_alive(entry.blue_score, added.metadata.blue_score);
        match added.accepted.as_slice() {
            [] => parent.lane,
            _ => {
                let before = parent.lane.filter(alive);
                let reference = before.map_or(parent.block.sequencing_commitment, |entry| entry.tip);
                Some(next_entry(&self.key, reference, added))
            }
        }
    }
}

fn read(block: &ChainBlockMetadata, bytes: &[u8]) -> Result<LaneProof, CheckError> {
    let unreadable = |e: io::Error| CheckError::Unreadable { block: block.block_hash, reason: e.to_string() };
    LaneProof::decode(bytes).map_err(unreadable)
}

/// A proof that opens the block's commitment.
fn opened(key: &Digest, block: &ChainBlockMetadata, proof: LaneProof) -> Result<LaneProof, CheckError> {
    let (block, header) = (block.block_hash, block.sequencing_commitment);
    let unreadable = |e: SmtProofError| CheckError::Unreadable { block, reason: e.to_string() };
    let opened = proof.commitment(key).map_err(unreadable)?;
    match opened == header {
        true => Ok(proof),
        false => Err(CheckError::Commitment { block, opened, header }),
    }
}

/// The lane as the proofs of a block open it, its own or those of the one after it.
fn opening(key: &Digest, block: &ChainBlockMetadata, bytes: &[u8]) -> Result<Opening, CheckError> {
    let (block, header) = (block.block_hash, block.sequencing_commitment);
    let opening = Opening::of(key, bytes)
        .map_err(|error| CheckError::Unreadable { block, reason: error.to_string() })?;
    match opening.commitment == header {
        true => Ok(opening),
        false => Err(CheckError::Commitment { block, opened: opening.commitment, header }),
    }
}

fn expect_lane(
    block: BlockHash,
    computed: Option<LaneEntry>,
    proved: Option<LaneEntry>,
) -> Result<(), CheckError> {
    let text = |entry: Option<LaneEntry>| entry.map_or("no entry".into(), |entry| entry.to_string());
    match computed == proved {
        true => Ok(()),
        false => Err(CheckError::Lane { block, computed: text(computed), proved: text(proved) }),
    }
}

/// The lane's entry after a block that accepts something: Kaspa's own fold over its transactions and context.
/// `reference` is the lane's tip before, or the parent's commitment where the lane had none.
pub fn next_entry(key: &Digest, reference: Digest, block: &ChainBlock) -> LaneEntry {
    let context = block.metadata.context();
    let mut activity = Activity::default();
    for transaction in &block.accepted {
        // Kaspa's tip names a transaction by its id, and takes no facts.
        tip::accept(&mut activity, &Accepted::named(transaction, Digest::ZERO));
    }
    LaneEntry { tip: tip::next(key, &reference, &context, &activity), blue_score: context.blue_score }
}
