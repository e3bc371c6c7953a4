//! A tree that is made of its entries in ascending order of their slots, in one pass.
//!
//! Each node is hashed once. Only the nodes that wait for a right sibling are in memory, 63 at most, unless the tree itself is
//! wanted. So the root of a state of any size is computed in constant memory.

use std::sync::Arc;

use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::state::{self, DEPTH, Entry};

use super::{Leaf, Node, Shape, Slot, StateTree, bit};

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
    open: Option<(u64, Slot)>,
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
        let slot = self.empty.slot(&resource);
        let hasher = self.empty.shape.hasher.clone();
        let out_of_order = OutOfOrder { resource };
        if self.open.as_ref().is_some_and(|(open, _)| *open > slot) {
            return Err(out_of_order);
        }
        if self.open.as_ref().is_some_and(|(open, _)| *open < slot) {
            self.close();
        }
        let (_, holds) = self.open.get_or_insert_with(|| (slot, Slot::default()));
        if holds.at(&resource).is_some() {
            return Err(out_of_order);
        }
        let digest = state::value(hasher.as_ref(), Some(&value));
        holds.entries.push(Entry { resource, value: digest });
        if self.keeps {
            holds.values.push(value);
        }
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
        let Some((slot, holds)) = self.open.take() else { return };
        let shape = self.empty.shape.clone();
        let digest = state::leaf(shape.hasher.as_ref(), &holds.entries);
        let leaf = Leaf { slot, holds: Arc::new(holds), digest };
        let node = self.keeps.then(|| Arc::new(Node::Single { leaf, digest }));
        let next = Subtree { slot, height: 0, digest, node };
        let Some(mut left) = self.last.replace(next) else { return };
        // The height of the lowest node above both.
        let common = (left.slot ^ slot).ilog2() as u8 + 1;
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

impl Subtree {
    /// Becomes its ancestor at this height, where nothing else is below that.
    fn climb(&mut self, shape: &Shape, height: u8) {
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
