//! The authenticated state: resources in a sparse Merkle tree of fixed depth.
//!
//! ```text
//! slot     the low 63 bits of the first eight bytes of H(Slot, resource id), little-endian
//! value    H(Value, the value's cells); zero for a resource that is absent
//! leaf     H(Leaf, per resource in the slot: id | value); zero for an empty slot
//! ```
//!
//! A *slot* is a place among the tree's leaves. It holds a list of resources, so two ids in one slot are two resources, and no
//! resource can displace another. An attacker who chooses ids to fill the slot of a given one searches 2⁶³ hashes for each
//! entry, which makes the proofs of this slot longer by one hash. The order of a list is a function of the chain: a new
//! resource is put last, and the last takes the place of a deleted one. Depth 63 keeps a slot below the modulus of a
//! 64-bit field.

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

/// Replaces the resource's value `before` by `after`, each zero for absence; `false` where the slot does not hold `before`
/// for the resource.
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
    /// The resources in the slot, in order.
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

/// A change of a slot: its opening before, and the resources in it after.
#[derive(Debug, Clone)]
pub struct Change<'p> {
    /// The opening of the slot before.
    pub path: &'p StatePath,
    /// The resources in it after.
    pub after: Vec<Entry>,
}

/// The state roots before and after `changes`; `None` where the slots do not ascend, where a path is not one of this
/// tree, or where there is no change.
///
/// All paths open the *same* root, the one before, which depends on every leaf before. Where two paths meet, each is the
/// sibling of the other, and the sibling that the witness gives there is not used.
pub fn roots(hasher: &dyn Hasher, changes: &[Change<'_>]) -> Option<(Digest, Digest)> {
    let open = |Change { path: StatePath { slot, siblings, .. }, .. }: &Change<'_>| {
        siblings.len() == usize::from(DEPTH) && slot >> DEPTH == 0
    };
    if !changes.iter().all(open) || !changes.array_windows().all(|[a, b]| a.path.slot < b.path.slot) {
        return None;
    }
    // Nodes that wait for the node to their right, each with the height of the parent of both. The height falls from each
    // node to the next.
    let mut waiting: Vec<(Node<'_>, usize)> = Vec::new();
    for (at, change) in changes.iter().enumerate() {
        let right = changes.get(at + 1).map(|next| common(change.path.slot, next.path.slot));
        let mut node = Node::leaf(hasher, change);
        loop {
            let left = waiting.last().map(|(_, height)| *height);
            match (left, right) {
                (Some(left), right) if right.is_none_or(|right| left < right) => {
                    node.climb(hasher, left - 1);
                    let (other, _) = waiting.pop()?;
                    node = other.join(hasher, &node);
                }
                (_, Some(right)) => {
                    node.climb(hasher, right - 1);
                    waiting.push((node, right));
                    break;
                }
                (_, None) => {
                    node.climb(hasher, usize::from(DEPTH));
                    return Some((node.before, node.after.unwrap_or(node.before)));
                }
            }
        }
    }
    None
}

/// The height of the lowest node that is above both slots.
fn common(a: u64, b: u64) -> usize {
    (u64::BITS - (a ^ b).leading_zeros()) as usize
}

/// A node above changed leaves, before and after the change.
struct Node<'p> {
    slot: u64,
    height: usize,
    before: Digest,
    /// `None` where no leaf below changes: a path that is only read is hashed once.
    after: Option<Digest>,
    siblings: &'p [Digest],
}

impl<'p> Node<'p> {
    fn leaf(hasher: &dyn Hasher, Change { path, after }: &Change<'p>) -> Self {
        Self {
            slot: path.slot,
            height: 0,
            before: leaf(hasher, &path.entries),
            after: (*after != path.entries).then(|| leaf(hasher, after)),
            siblings: &path.siblings,
        }
    }

    /// Becomes its ancestor at this height, where no other changed leaf is below that.
    fn climb(&mut self, hasher: &dyn Hasher, height: usize) {
        let climb = |node: &mut Digest| {
            let mut slot = self.slot >> self.height;
            for sibling in &self.siblings[self.height..height] {
                *node = match slot & 1 {
                    0 => hasher.merge(node, sibling),
                    _ => hasher.merge(sibling, node),
                };
                slot >>= 1;
            }
        };
        climb(&mut self.before);
        self.after.iter_mut().for_each(climb);
        self.height = height;
    }

    /// The parent of this node and the one to its right.
    fn join(&self, hasher: &dyn Hasher, right: &Self) -> Self {
        let after = match (&self.after, &right.after) {
            (None, None) => None,
            (left, other) => Some(
                hasher.merge(left.as_ref().unwrap_or(&self.before), other.as_ref().unwrap_or(&right.before)),
            ),
        };
        Self { height: self.height + 1, before: hasher.merge(&self.before, &right.before), after, ..*self }
    }
}
