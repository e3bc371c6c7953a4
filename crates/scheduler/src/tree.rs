//! The state tree: a sparse Merkle tree that never forgets a version.
//!
//! It has the shape that [`state`] specifies: depth 63, keyed by slot, empty subtrees
//! merged from zero leaves. Nodes are immutable and shared, so a version is one pointer, taking a snapshot is
//! a clone, and rolling back is using an older one. A subtree with one leaf is one node, so a tree of `n`
//! leaves has about `2n` nodes and an update makes about `log n`.
//!
//! Why our own: the depth and the two-to-one hash must be those that the backend's VM opens natively, which
//! no published tree lets one choose together with shared versions.

use std::cmp::Ordering;
use std::sync::Arc;

use reprise_model::cell::Cell;
use reprise_model::digest::Digest;
use reprise_model::hash::Hasher;
use reprise_model::state::{self, DEPTH, StatePath};

/// One version of the state.
#[derive(Clone)]
pub struct StateTree {
    root: Option<Arc<Node>>,
    shape: Arc<Shape>,
}

struct Shape {
    hasher: Arc<dyn Hasher>,
    /// The digest of an empty subtree, by height.
    empty: Vec<Digest>,
}

/// A subtree that holds at least one leaf.
enum Node {
    /// Exactly one.
    Single { slot: u64, leaf: Digest, value: Arc<[Cell]>, digest: Digest },
    /// More than one.
    Branch { left: Option<Arc<Node>>, right: Option<Arc<Node>>, digest: Digest },
}

impl Node {
    fn digest(&self) -> Digest {
        match self {
            Self::Single { digest, .. } | Self::Branch { digest, .. } => *digest,
        }
    }
}

impl Shape {
    fn digest(&self, node: Option<&Arc<Node>>, height: u8) -> Digest {
        node.map_or(self.empty[usize::from(height)], |node| node.digest())
    }

    fn single(&self, height: u8, slot: u64, leaf: Digest, value: Arc<[Cell]>) -> Arc<Node> {
        Arc::new(Node::Single { slot, leaf, value, digest: self.lifted(height, slot, leaf) })
    }

    /// The digest of a subtree of `height` with `leaf` alone in it.
    fn lifted(&self, height: u8, slot: u64, leaf: Digest) -> Digest {
        (0..height).fold(leaf, |node, level| {
            let empty = &self.empty[usize::from(level)];
            match bit(slot, level) {
                false => self.hasher.merge(&node, empty),
                true => self.hasher.merge(empty, &node),
            }
        })
    }

    fn branch(&self, height: u8, left: Option<Arc<Node>>, right: Option<Arc<Node>>) -> Arc<Node> {
        let (l, r) = (self.digest(left.as_ref(), height - 1), self.digest(right.as_ref(), height - 1));
        Arc::new(Node::Branch { left, right, digest: self.hasher.merge(&l, &r) })
    }

    fn insert(
        &self,
        node: Option<&Arc<Node>>,
        height: u8,
        slot: u64,
        leaf: Digest,
        value: &Arc<[Cell]>,
    ) -> Arc<Node> {
        let (left, right) = match node.map(AsRef::as_ref) {
            None => return self.single(height, slot, leaf, value.clone()),
            Some(Node::Single { slot: held, .. }) if *held == slot => {
                return self.single(height, slot, leaf, value.clone());
            }
            Some(Node::Single { slot: held, leaf, value, .. }) => {
                let lowered = Some(self.single(height - 1, *held, *leaf, value.clone()));
                match bit(*held, height - 1) {
                    false => (lowered, None),
                    true => (None, lowered),
                }
            }
            Some(Node::Branch { left, right, .. }) => (left.clone(), right.clone()),
        };
        match bit(slot, height - 1) {
            false => {
                let left = Some(self.insert(left.as_ref(), height - 1, slot, leaf, value));
                self.branch(height, left, right)
            }
            true => {
                let right = Some(self.insert(right.as_ref(), height - 1, slot, leaf, value));
                self.branch(height, left, right)
            }
        }
    }
}

fn bit(slot: u64, level: u8) -> bool {
    slot >> level & 1 == 1
}

impl StateTree {
    /// The tree that holds nothing.
    pub fn empty(hasher: Arc<dyn Hasher>) -> Self {
        let mut empty = vec![Digest::ZERO];
        for height in 0..usize::from(DEPTH) {
            empty.push(hasher.merge(&empty[height], &empty[height]));
        }
        Self { root: None, shape: Arc::new(Shape { hasher, empty }) }
    }

    /// The state root.
    pub fn root(&self) -> Digest {
        self.shape.digest(self.root.as_ref(), DEPTH)
    }

    /// What a slot holds.
    pub fn get(&self, slot: u64) -> Option<Arc<[Cell]>> {
        let (mut node, mut height) = (self.root.as_ref(), DEPTH);
        loop {
            match node?.as_ref() {
                Node::Single { slot: held, value, .. } => return (*held == slot).then(|| value.clone()),
                Node::Branch { left, right, .. } => {
                    height -= 1;
                    node = if bit(slot, height) { right.as_ref() } else { left.as_ref() };
                }
            }
        }
    }

    /// The version with `value` in `slot`.
    #[must_use]
    pub fn with(&self, slot: u64, value: &[Cell]) -> Self {
        let leaf = state::leaf(self.shape.hasher.as_ref(), Some(value));
        let root = self.shape.insert(self.root.as_ref(), DEPTH, slot, leaf, &value.into());
        Self { root: Some(root), shape: self.shape.clone() }
    }

    /// The opening of `slot`, present or absent.
    pub fn path(&self, slot: u64) -> StatePath {
        let shape = &self.shape;
        // From the root down; turned round at the end.
        let mut siblings = Vec::with_capacity(usize::from(DEPTH));
        let (mut node, mut height) = (self.root.as_ref(), DEPTH);
        let leaf = loop {
            match node.map(AsRef::as_ref) {
                None => break Digest::ZERO,
                Some(Node::Single { slot: held, leaf, .. }) if *held == slot => break *leaf,
                Some(Node::Single { slot: held, leaf, .. }) => {
                    // The other leaf's subtree is the sibling where the two slots part; all else is empty.
                    let parting = (held ^ slot).ilog2() as u8;
                    for level in (0..height).rev() {
                        siblings.push(match level.cmp(&parting) {
                            Ordering::Equal => shape.lifted(level, *held, *leaf),
                            _ => shape.empty[usize::from(level)],
                        });
                    }
                    height = 0;
                    break Digest::ZERO;
                }
                Some(Node::Branch { left, right, .. }) => {
                    height -= 1;
                    let (next, sibling) = if bit(slot, height) { (right, left) } else { (left, right) };
                    siblings.push(shape.digest(sibling.as_ref(), height));
                    node = next.as_ref();
                }
            }
        };
        siblings.extend((0..height).rev().map(|level| shape.empty[usize::from(level)]));
        siblings.reverse();
        StatePath { slot, leaf, siblings }
    }
}

impl std::fmt::Debug for StateTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "StateTree({:?})", self.root())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use reprise_model::hash::Blake3;
    use reprise_model::state::Change;

    use super::*;

    fn value(n: u32) -> Vec<Cell> {
        vec![[n; 8]]
    }

    /// Slots that collide in long prefixes as well as ones that do not.
    fn slots() -> impl Strategy<Value = u64> {
        let near = (0u64..8).prop_map(|low| 0x7000_0000_0000_0000 | low);
        prop_oneof![near, 0u64..8, (0u64..8).prop_map(|high| high << 60), any::<u64>()]
            .prop_map(|slot| slot & (u64::MAX >> 1))
    }

    proptest! {
        #[test]
        fn every_slot_opens_in_the_root_and_the_order_of_writes_does_not_show(
            writes in proptest::collection::vec((slots(), any::<u32>()), 0..24),
            asked in proptest::collection::vec(slots(), 1..8),
        ) {
            let empty = StateTree::empty(Arc::new(Blake3));
            let last: BTreeMap<u64, u32> = writes.iter().copied().collect();
            let forward = writes.iter().fold(empty.clone(), |tree, (slot, n)| tree.with(*slot, &value(*n)));
            let sorted = last.iter().rev().fold(empty, |tree, (slot, n)| tree.with(*slot, &value(*n)));
            prop_assert_eq!(forward.root(), sorted.root());
            for slot in asked.iter().chain(last.keys()) {
                let path = forward.path(*slot);
                prop_assert_eq!(path.siblings.len(), usize::from(DEPTH));
                prop_assert_eq!(path.root(&Blake3), forward.root());
                let held = last.get(slot).map(|n| value(*n));
                prop_assert_eq!(forward.get(*slot), held.clone().map(Arc::from));
                prop_assert_eq!(path.leaf, state::leaf(&Blake3, held.as_deref()));
            }
        }

        #[test]
        fn changes_opened_in_one_root_give_the_roots_on_both_sides(
            writes in proptest::collection::vec((slots(), any::<u32>()), 0..12),
            changes in proptest::collection::btree_map(slots(), proptest::option::of(any::<u32>()), 1..8),
        ) {
            let empty = StateTree::empty(Arc::new(Blake3));
            let before = writes.iter().fold(empty, |tree, (slot, n)| tree.with(*slot, &value(*n)));
            let written = changes.iter().filter_map(|(slot, n)| Some((slot, (*n)?)));
            let after = written.fold(before.clone(), |tree, (slot, n)| tree.with(*slot, &value(n)));
            let paths: Vec<_> = changes.keys().map(|slot| before.path(*slot)).collect();
            let leaf = |path: &StatePath| changes[&path.slot].map(|n| state::leaf(&Blake3, Some(&value(n))));
            let change = |path| Change { path, after: leaf(path).unwrap_or(path.leaf) };
            let opened: Vec<_> = paths.iter().map(change).collect();
            prop_assert_eq!(state::roots(&Blake3, &opened), Some((before.root(), after.root())));
            // A false pre-image is another root before; what is out of order is none.
            let mut forged = opened.clone();
            let lying = StatePath { leaf: Digest([7; 32]), ..forged[0].path.clone() };
            forged[0].path = &lying;
            prop_assert_ne!(state::roots(&Blake3, &forged).map(|(before, _)| before), Some(before.root()));
            let mut turned = opened.clone();
            turned.push(opened[0].clone());
            prop_assert_eq!(state::roots(&Blake3, &turned), None);
        }

        #[test]
        fn a_path_stays_true_for_the_root_after_writing_its_slot(
            writes in proptest::collection::vec((slots(), any::<u32>()), 0..12), slot in slots(), n: u32,
        ) {
            let empty = StateTree::empty(Arc::new(Blake3));
            let tree = writes.iter().fold(empty, |tree, (slot, n)| tree.with(*slot, &value(*n)));
            let mut path = tree.path(slot);
            path.leaf = state::leaf(&Blake3, Some(&value(n)));
            prop_assert_eq!(path.root(&Blake3), tree.with(slot, &value(n)).root());
        }
    }

    #[test]
    fn a_version_is_not_changed_by_the_ones_made_from_it() {
        let first = StateTree::empty(Arc::new(Blake3)).with(5, &value(1));
        let root = first.root();
        let second = first.with(5, &value(2)).with(7, &value(3));
        assert_eq!(first.root(), root);
        assert_ne!(second.root(), root);
        assert_eq!(first.get(7), None);
    }
}
