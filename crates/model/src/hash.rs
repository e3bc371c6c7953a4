//! The one hash of a workload: of its state leaves and nodes, its journals, its pins and its lane tip.
//!
//! The backend chooses the hash, in one place: Poseidon2 for Miden, whose VM computes it natively, or BLAKE3
//! where nothing is proved. The programs' ids commit to the choice, and the pins to the programs' ids.

use crate::cell::{self, Cell};
use crate::derivation;
use crate::digest::Digest;

/// The kind of content that is hashed. The domain is part of the hash, so no two kinds share a digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Domain {
    /// A resource's value.
    Value = 1,
    /// An accepted lane transaction: its head and the digest of its message.
    Transaction = 2,
    /// One step of a block's fold over its lane transactions.
    Activity = 3,
    /// One step of the lane tip.
    LaneTip = 4,
    /// The first lane tip of a lane.
    LaneGenesis = 5,
    /// The pins.
    Pins = 6,
    /// A journal.
    Journal = 7,
    /// A leaf of the [tree](crate::exit#the-tree) of exits.
    Exit = 8,
    /// The message of a lane transaction.
    Message = 9,
    /// A resource's id, from which the place of its slot in the state tree follows.
    Slot = 10,
    /// The resources in one slot, as a leaf of the state tree.
    Leaf = 11,
    /// A block of which not every lane transaction is proved yet.
    OpenBlock = 12,
    /// A node of the tree of exits.
    ExitNode = 13,
}

/// A collision-resistant hash over cells, with a domain, and its two-to-one compression for trees.
pub trait Hasher: Send + Sync {
    /// The name of the hash, as a proof profile and the output give it.
    fn name(&self) -> &'static str;

    /// The digest of `cells` in `domain`. It costs one permutation a cell.
    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest;

    /// The parent of two tree nodes. An empty leaf is [`Digest::ZERO`]. An empty subtree is the merge of its two
    /// empty halves, at every height.
    fn merge(&self, left: &Digest, right: &Digest) -> Digest;
}

/// BLAKE3, for tests and for pipelines with mock proofs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Blake3;

impl Hasher for Blake3 {
    fn name(&self) -> &'static str {
        "blake3"
    }

    fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
        let mut hasher = derivation::CELLS.hasher();
        hasher.update(&(domain as u32).to_le_bytes());
        for cell in cells {
            hasher.update(&cell::to_digest(cell).0);
        }
        Digest(*hasher.finalize().as_bytes())
    }

    fn merge(&self, left: &Digest, right: &Digest) -> Digest {
        let mut pair = [0; 64];
        pair[..32].copy_from_slice(&left.0);
        pair[32..].copy_from_slice(&right.0);
        Digest(*derivation::NODE.hasher().update(&pair).finalize().as_bytes())
    }
}
