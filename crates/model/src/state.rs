//! The authenticated state: resources in a sparse Merkle tree of fixed depth.
//!
//! ```text
//! slot     the low 63 bits of the first eight bytes of H(Slot, resource id), little-endian
//! value    H(Value, the value's cells); zero for a resource that is absent
//! leaf     H(Leaf, per resource in the slot: id | value); zero for an empty slot
//! ```
//!
//! A *slot* holds a list of resources, so two ids in one slot are two resources, and nobody can take the slot of another.
//! Whoever chooses ids to fill the slot of a given one searches 2⁶³ hashes for each entry, and makes its proofs longer by one hash.
//! The order of a list is a function of the chain: what is new is put last, and the last takes the place of what is
//! deleted. Depth 63 keeps a slot below the modulus of a 64-bit field.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::digest::{Digest, ResourceId};
use crate::hash::{Domain, Hasher};

/// The depth of the state tree, in bits of a slot.
pub const DEPTH: u8 = 63;

/// The slot of a resource.
pub fn slot(hasher: &dyn Hasher, resource: &ResourceId) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hasher.hash(Domain::Slot, &[cell::digest(resource.digest())]).0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h]) & (u64::MAX >> 1)
}

/// The digest of a value; zero where there is none.
pub fn value(hasher: &dyn Hasher, value: Option<&[Cell]>) -> Digest {
    value.map_or(Digest::ZERO, |cells| hasher.hash(Domain::Value, cells))
}

/// A resource in its slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Entry {
    /// The resource.
    pub resource: ResourceId,
    /// The digest of its value.
    pub value: Digest,
}

/// The leaf of a slot with these resources.
pub fn leaf(hasher: &dyn Hasher, entries: &[Entry]) -> Digest {
    if entries.is_empty() {
        return Digest::ZERO;
    }
    let cells = entries.iter().flat_map(|entry| [entry.resource.digest(), entry.value].map(cell::digest));
    hasher.hash(Domain::Leaf, &cells.collect::<Vec<_>>())
}

/// Puts the value `after` in the place of `before`, each zero for absence; `false` where `before` is not what the slot
/// holds of the resource.
#[must_use]
pub fn replace(entries: &mut Vec<Entry>, resource: ResourceId, before: Digest, after: Digest) -> bool {
    let at = entries.iter().position(|entry| entry.resource == resource);
    let held = at.map_or(Digest::ZERO, |at| entries[at].value);
    match at {
        Some(at) if after == Digest::ZERO => drop(entries.swap_remove(at)),
        Some(at) => entries[at].value = after,
        None if after != Digest::ZERO => entries.push(Entry { resource, value: after }),
        None => {}
    }
    held == before
}

/// The opening of one slot in a state root.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct StatePath {
    /// The slot.
    pub slot: u64,
    /// What it holds, in order.
    pub entries: Vec<Entry>,
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
        self.siblings.iter().fold((leaf(hasher, &self.entries), self.slot), step).0
    }
}

/// A slot on both sides of a change: its opening before, and what it holds after.
#[derive(Debug, Clone)]
pub struct Change<'p> {
    /// Its opening before.
    pub path: &'p StatePath,
    /// What it holds after.
    pub after: Vec<Entry>,
}

/// The state roots before and after `changes`, by ascending slot; `None` where they are not that, where a path
/// is not one of this tree's, or where there is none.
///
/// All paths open the *same* root, the one before: it depends on every leaf before. Where two of them meet,
/// each is the other's sibling, and what a witness says there does not count.
pub fn roots(hasher: &dyn Hasher, changes: &[Change<'_>]) -> Option<(Digest, Digest)> {
    let nodes = changes.iter().map(|Change { path: StatePath { slot, entries, siblings }, after }| Node {
        index: *slot,
        before: leaf(hasher, entries),
        after: (after != entries).then(|| leaf(hasher, after)),
        siblings,
    });
    let mut level: Vec<Node<'_>> = nodes.collect();
    let paths = level.iter().all(|n| n.siblings.len() == usize::from(DEPTH) && n.index >> DEPTH == 0);
    if !paths || !level.windows(2).all(|pair| pair[0].index < pair[1].index) {
        return None;
    }
    for height in 0..usize::from(DEPTH) {
        let mut at = 0;
        while let Some((node, rest)) = level.get_mut(at..).and_then(<[_]>::split_first_mut) {
            let met = rest.first().copied().filter(|right| right.index == node.index ^ 1);
            match met {
                None => node.climb(hasher, &node.siblings[height], None),
                Some(right) => {
                    node.climb(hasher, &right.before, right.after.as_ref());
                    level.remove(at + 1);
                }
            }
            at += 1;
        }
    }
    level.first().map(|root| (root.before, root.after.unwrap_or(root.before)))
}

/// A node above changed leaves, on both sides of the change.
#[derive(Clone, Copy)]
struct Node<'p> {
    index: u64,
    before: Digest,
    /// What is only read is climbed once.
    after: Option<Digest>,
    siblings: &'p [Digest],
}

impl Node<'_> {
    /// Becomes its own parent.
    fn climb(&mut self, hasher: &dyn Hasher, sibling: &Digest, sibling_after: Option<&Digest>) {
        let left = self.index & 1 == 0;
        let parent = |this: &Digest, other: &Digest| match left {
            true => hasher.merge(this, other),
            false => hasher.merge(other, this),
        };
        self.after = match (&self.after, sibling_after) {
            (None, None) => None,
            (after, other) => Some(parent(after.as_ref().unwrap_or(&self.before), other.unwrap_or(sibling))),
        };
        self.before = parent(&self.before, sibling);
        self.index >>= 1;
    }
}
