//! A tree that is made of its entries in ascending order of their slots, in one pass.
//!
//! Each node is hashed once. Only the nodes that wait for a right sibling are in memory, 63 at most, unless the tree itself is
//! wanted. So the root of a state of any size is computed in constant memory.
//!
//! Most of the work is to hash each leaf up to where it meets another one. How far that is follows from the slots on both sides, so
//! the leaves of a [run](Ascending::add_run) are hashed in parallel.

use std::sync::Arc;

use rayon::prelude::*;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::state::{self, DEPTH, Entry};

use super::{Held, Leaf, Node, Shape, Slot, StateTree, bit};

/// An entry that no tree has in this place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the entry of {resource} stands in the wrong place, or twice")]
pub struct OutOfOrder {
    /// The resource.
    pub resource: ResourceId,
}

/// See the [module](self).
pub struct Ascending {
    empty: StateTree,
    /// Whether the tree is made, and not its root alone.
    keeps: bool,
    /// The subtrees that wait for the one to their right, each with the height of the parent of both. The height falls from
    /// each to the next.
    waiting: Vec<(Subtree, u8)>,
    /// The last complete slot.
    last: Option<Subtree>,
    /// The slot that entries are added to.
    open: Option<Open>,
}

struct Open {
    slot: u64,
    holds: Slot,
    /// What is hashed already, where the slot has one resource.
    lone: Option<Lone>,
}

/// A leaf with one resource, and its ancestor at a height below which it meets no other.
struct Lone {
    height: u8,
    leaf: Digest,
    digest: Digest,
}

struct Subtree {
    slot: u64,
    height: u8,
    digest: Digest,
    /// `None` where only the root is wanted.
    node: Option<Arc<Node>>,
}

impl Ascending {
    /// For the root alone.
    pub fn root(hasher: Arc<dyn Hasher>) -> Self {
        Self::new(hasher, false)
    }

    /// For the whole tree.
    pub fn tree(hasher: Arc<dyn Hasher>) -> Self {
        Self::new(hasher, true)
    }

    fn new(hasher: Arc<dyn Hasher>, keeps: bool) -> Self {
        Self { empty: StateTree::empty(hasher), keeps, waiting: vec![], last: None, open: None }
    }

    /// Adds the next entry.
    pub fn add(&mut self, resource: ResourceId, value: Arc<[Cell]>) -> Result<(), OutOfOrder> {
        let hasher = self.empty.shape.hasher.clone();
        let entry = Entry { resource, value: state::value(hasher.as_ref(), Some(&value)) };
        self.put(self.empty.slot(&resource), Held { entry, value }, None)
    }

    /// Adds the next entries.
    pub fn add_run(&mut self, run: Vec<(ResourceId, Arc<[Cell]>)>) -> Result<(), OutOfOrder> {
        let (empty, before) = (&self.empty, self.open.as_ref().map(|open| open.slot));
        let slots: Vec<u64> = run.par_iter().map(|(resource, _)| empty.slot(resource)).collect();
        let hashed = |(at, (resource, value)): (usize, (ResourceId, Arc<[Cell]>))| {
            let (shape, slot) = (&empty.shape, slots[at]);
            let hasher = shape.hasher.as_ref();
            let entry = Entry { resource, value: state::value(hasher, Some(&value)) };
            let left = at.checked_sub(1).map(|at| slots[at]).or(before);
            let beside: Option<Vec<u64>> =
                slots.get(at + 1).map(|right| left.into_iter().chain([*right]).collect());
            let alone = beside.filter(|beside| !beside.contains(&slot));
            let lone = alone.map(|beside| {
                let heights = beside.iter().map(|other| common(*other, slot) - 1);
                let (height, leaf) = (heights.min().unwrap_or(0), state::leaf(hasher, &[entry]));
                Lone { height, leaf, digest: shape.lifted(0..height, slot, leaf) }
            });
            (slot, Held { entry, value }, lone)
        };
        let hashed: Vec<_> = run.into_par_iter().enumerate().map(hashed).collect();
        hashed.into_iter().try_for_each(|(slot, held, lone)| self.put(slot, held, lone))
    }

    fn put(&mut self, slot: u64, held: Held, lone: Option<Lone>) -> Result<(), OutOfOrder> {
        let resource = held.entry.resource;
        match &mut self.open {
            Some(open) if open.slot == slot && open.holds.get(&resource).is_none() => {
                open.holds.push(held);
                open.lone = None;
                return Ok(());
            }
            Some(open) if open.slot >= slot => return Err(OutOfOrder { resource }),
            _ => {}
        }
        self.close();
        self.open = Some(Open { slot, holds: Slot::One(held), lone });
        Ok(())
    }

    /// The root, and the tree where it is wanted.
    pub fn finish(mut self) -> (Digest, Option<StateTree>) {
        self.close();
        let shape = self.empty.shape.clone();
        let Some(mut last) = self.last.take() else {
            return (self.empty.root(), self.keeps.then_some(self.empty));
        };
        while let Some((left, parent)) = self.waiting.pop() {
            last = left.join(&shape, last, parent);
        }
        last.climb(&shape, DEPTH);
        let tree = self.keeps.then(|| StateTree { root: last.node, shape });
        (last.digest, tree)
    }

    /// The open slot is complete.
    fn close(&mut self) {
        let Some(Open { slot, holds, lone }) = self.open.take() else { return };
        let shape = self.empty.shape.clone();
        let alone = || {
            let leaf = holds.digest(shape.hasher.as_ref());
            Lone { height: 0, leaf, digest: leaf }
        };
        let Lone { height, leaf, digest } = lone.unwrap_or_else(alone);
        let leaf = || Arc::new(Leaf { slot, holds, digest: leaf });
        let node = self.keeps.then(|| Arc::new(Node::Single { leaf: leaf(), digest }));
        let next = Subtree { slot, height, digest, node };
        let Some(mut left) = self.last.replace(next) else { return };
        let common = common(left.slot, slot);
        while let Some((lefter, parent)) = self.waiting.pop_if(|(_, parent)| *parent < common) {
            left = lefter.join(&shape, left, parent);
        }
        left.climb(&shape, common - 1);
        self.waiting.push((left, common));
    }
}

impl std::fmt::Debug for Ascending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ascending").field("keeps", &self.keeps).finish_non_exhaustive()
    }
}

/// The height of the lowest node above two slots.
fn common(one: u64, other: u64) -> u8 {
    (one ^ other).ilog2() as u8 + 1
}

impl Subtree {
    /// Becomes its ancestor at this height, where nothing else is below that.
    fn climb(&mut self, shape: &Shape, height: u8) {
        if self.height == height {
            return;
        }
        let (slot, levels) = (self.slot, self.height..height);
        let up = |node, level| match bit(slot, level) {
            false => shape.branch(level + 1, Some(node), None),
            true => shape.branch(level + 1, None, Some(node)),
        };
        self.height = height;
        match self.node.take() {
            Some(node) if matches!(*node, Node::Branch { .. }) => {
                let node = levels.fold(node, up);
                (self.digest, self.node) = (node.digest(), Some(node));
            }
            node => {
                self.digest = shape.lifted(levels, slot, self.digest);
                // A subtree with one leaf is one node.
                if let Some(Node::Single { leaf, .. }) = node.as_deref() {
                    let (leaf, digest) = (leaf.clone(), self.digest);
                    self.node = Some(Arc::new(Node::Single { leaf, digest }));
                }
            }
        }
    }

    /// The parent of this and of the one to its right, at this height.
    fn join(self, shape: &Shape, mut right: Self, height: u8) -> Self {
        right.climb(shape, height - 1);
        let digest = shape.hasher.merge(&self.digest, &right.digest);
        let node = match (self.node, right.node) {
            (Some(left), Some(right)) => {
                Some(Arc::new(Node::Branch { left: Some(left), right: Some(right), digest }))
            }
            _ => None,
        };
        Self { slot: right.slot, height, digest, node }
    }
}
