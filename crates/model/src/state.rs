//! The authenticated state: resources in a sparse Merkle tree of fixed depth.
//!
//! A resource's *slot* is the low [`DEPTH`] bits of its id. The leaf commits to the value, and a workload's
//! value commits to its resource's id, so a slot that another resource holds reads as *taken*, never as
//! ours. An absent resource is the zero leaf. Depth 63 keeps a slot below the modulus of a 64-bit field.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::Cell;
use crate::digest::{Digest, ResourceId};
use crate::hash::{Domain, Hasher};

/// The depth of the state tree, in bits of a slot.
pub const DEPTH: u8 = 63;

/// The slot of a resource: the low 63 bits of the first eight bytes of its id, little-endian.
pub fn slot(resource: &ResourceId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = resource.0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) & (u64::MAX >> 1)
}

/// The leaf of a value; the zero digest where there is none.
pub fn leaf(hasher: &dyn Hasher, value: Option<&[Cell]>) -> Digest {
    value.map_or(Digest::ZERO, |cells| hasher.hash(Domain::Leaf, cells))
}

/// The opening of one slot in a state root.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StatePath {
    /// The slot.
    pub slot: u64,
    /// Its leaf; zero where it is empty.
    pub leaf: Digest,
    /// The siblings from the leaf up, [`DEPTH`] of them.
    pub siblings: Vec<Digest>,
}

impl StatePath {
    /// The root that this path opens.
    pub fn root(&self, hasher: &dyn Hasher) -> Digest {
        let step = |(node, slot): (Digest, u64), sibling: &Digest| {
            let parent = match slot & 1 {
                0 => hasher.merge(&node, sibling),
                _ => hasher.merge(sibling, &node),
            };
            (parent, slot >> 1)
        };
        self.siblings.iter().fold((self.leaf, self.slot), step).0
    }
}
