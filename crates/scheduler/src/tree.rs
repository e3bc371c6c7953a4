//! The state tree: a persistent sparse Merkle tree. A change makes a new version and leaves the old one as it was.
//!
//! It has the shape that [`state`] specifies: depth 63, keyed by slot, a list of resources for each slot, empty
//! subtrees hashed from zero leaves. Nodes are immutable and shared, so a version is one pointer, a snapshot is a
//! clone, and a rollback is the use of an older version. A subtree with one leaf is one node, so a tree of `n`
//! leaves has about `2n` nodes and an update makes about `log n`.
//!
//! The backend's VM must be able to open the tree natively, which fixes the depth and the two-to-one hash. No
//! published tree lets one choose both and share nodes between versions.
//!
//! [`entries`](StateTree::entries) lists what a version holds, and [`ascending`] makes the same version of that list.

pub mod ascending;

use std::cmp::Ordering;
use std::ops::Range;
use std::sync::Arc;

use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::hash::Hasher;
use reprise_model::mutation::{self, Mutation};
use reprise_model::state::{self, DEPTH, Entry, StatePath};

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

/// A resource in its slot, and its value.
#[derive(Clone)]
struct Held {
    entry: Entry,
    value: Arc<[Cell]>,
}

/// The content of a slot: its resources, in order. Nearly every slot that is not empty has one.
#[derive(Clone, Default)]
enum Slot {
    #[default]
    Empty,
    One(Held),
    More(Vec<Held>),
}

impl Slot {
    fn held(&self) -> &[Held] {
        match self {
            Self::Empty => &[],
            Self::One(held) => std::slice::from_ref(held),
            Self::More(held) => held,
        }
    }

    fn get(&self, resource: &ResourceId) -> Option<&Held> {
        self.held().iter().find(|held| held.entry.resource == *resource)
    }

    fn entries(&self) -> Vec<Entry> {
        self.held().iter().map(|held| held.entry).collect()
    }

    fn digest(&self, hasher: &dyn Hasher) -> Digest {
        match self {
            Self::One(held) => state::leaf(hasher, std::slice::from_ref(&held.entry)),
            Self::Empty | Self::More(_) => state::leaf(hasher, &self.entries()),
        }
    }

    fn push(&mut self, next: Held) {
        *self = match std::mem::take(self) {
            Self::Empty => Self::One(next),
            Self::One(first) => Self::More(vec![first, next]),
            Self::More(mut held) => {
                held.push(next);
                Self::More(held)
            }
        };
    }

    /// The same with a value set or deleted, as [`state::replace`] specifies.
    fn put(&self, hasher: &dyn Hasher, resource: &ResourceId, value: Option<&[Cell]>) -> Self {
        let mut held = self.held().to_vec();
        let at = held.iter().position(|held| held.entry.resource == *resource);
        let next = value.map(|cells| Held {
            entry: Entry { resource: *resource, value: state::value(hasher, Some(cells)) },
            value: cells.into(),
        });
        match (at, next) {
            (Some(at), Some(next)) => held[at] = next,
            (Some(at), None) => drop(held.swap_remove(at)),
            (None, _) if !held.is_empty() && mutation::is(Mutation::SlotHoldsOne) => {}
            (None, next) => held.extend(next),
        }
        match held.len() {
            0 | 1 => held.pop().map_or(Self::Empty, Self::One),
            _ => Self::More(held),
        }
    }
}

/// A leaf of the tree: a slot that is not empty.
struct Leaf {
    slot: u64,
    holds: Slot,
    digest: Digest,
}

/// A subtree that holds at least one leaf.
enum Node {
    /// Exactly one.
    Single { leaf: Arc<Leaf>, digest: Digest },
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

    fn single(&self, height: u8, leaf: Arc<Leaf>) -> Arc<Node> {
        let digest = self.lifted(0..height, leaf.slot, leaf.digest);
        Arc::new(Node::Single { leaf, digest })
    }

    /// The digest of a node's ancestor over these levels, where nothing else is below that.
    fn lifted(&self, levels: Range<u8>, slot: u64, node: Digest) -> Digest {
        levels.fold(node, |node, level| {
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

    fn insert(&self, node: Option<&Arc<Node>>, height: u8, leaf: Arc<Leaf>) -> Arc<Node> {
        let (left, right) = match node.map(AsRef::as_ref) {
            None => return self.single(height, leaf),
            Some(Node::Single { leaf: held, .. }) if held.slot == leaf.slot => {
                return self.single(height, leaf);
            }
            Some(Node::Single { leaf: held, .. }) => {
                let lowered = Some(self.single(height - 1, held.clone()));
                match bit(held.slot, height - 1) {
                    false => (lowered, None),
                    true => (None, lowered),
                }
            }
            Some(Node::Branch { left, right, .. }) => (left.clone(), right.clone()),
        };
        match bit(leaf.slot, height - 1) {
            false => {
                let left = Some(self.insert(left.as_ref(), height - 1, leaf));
                self.branch(height, left, right)
            }
            true => {
                let right = Some(self.insert(right.as_ref(), height - 1, leaf));
                self.branch(height, left, right)
            }
        }
    }

    fn remove(&self, node: Option<&Arc<Node>>, height: u8, slot: u64) -> Option<Arc<Node>> {
        let (left, right) = match node?.as_ref() {
            Node::Single { leaf, .. } if leaf.slot == slot => return None,
            Node::Single { .. } => return node.cloned(),
            Node::Branch { left, right, .. } => match bit(slot, height - 1) {
                false => (self.remove(left.as_ref(), height - 1, slot), right.clone()),
                true => (left.clone(), self.remove(right.as_ref(), height - 1, slot)),
            },
        };
        // A subtree with one leaf is one node.
        match [left.as_deref(), right.as_deref()] {
            [None, None] => None,
            [Some(Node::Single { leaf, .. }), None] | [None, Some(Node::Single { leaf, .. })] => {
                Some(self.single(height, leaf.clone()))
            }
            _ => Some(self.branch(height, left, right)),
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

    /// The slot of a resource.
    pub fn slot(&self, resource: &ResourceId) -> u64 {
        state::slot(self.shape.hasher.as_ref(), resource)
    }

    /// The value of a resource.
    pub fn get(&self, resource: &ResourceId) -> Option<Arc<[Cell]>> {
        Some(self.leaf(self.slot(resource))?.holds.get(resource)?.value.clone())
    }

    /// Everything it holds: by ascending slot, and within a slot in the slot's order.
    pub fn entries(&self) -> Entries {
        Entries { above: self.root.iter().cloned().collect(), slot: None }
    }

    fn leaf(&self, slot: u64) -> Option<&Arc<Leaf>> {
        let (mut node, mut height) = (self.root.as_ref(), DEPTH);
        loop {
            match node?.as_ref() {
                Node::Single { leaf, .. } => return (leaf.slot == slot).then_some(leaf),
                Node::Branch { left, right, .. } => {
                    height -= 1;
                    node = if bit(slot, height) { right.as_ref() } else { left.as_ref() };
                }
            }
        }
    }

    /// The version in which a resource has this value, or is absent.
    #[must_use]
    pub fn with(&self, resource: &ResourceId, value: Option<&[Cell]>) -> Self {
        let (slot, hasher) = (self.slot(resource), self.shape.hasher.as_ref());
        let empty = Slot::Empty;
        let held = self.leaf(slot).map_or(&empty, |leaf| &leaf.holds);
        let root = match held.put(hasher, resource, value) {
            Slot::Empty => self.shape.remove(self.root.as_ref(), DEPTH, slot),
            holds => {
                let digest = holds.digest(hasher);
                let leaf = Arc::new(Leaf { slot, holds, digest });
                Some(self.shape.insert(self.root.as_ref(), DEPTH, leaf))
            }
        };
        Self { root, shape: self.shape.clone() }
    }

    /// The version after these writes.
    #[must_use]
    pub fn after<'w>(&self, writes: impl IntoIterator<Item = &'w (ResourceId, Option<Vec<Cell>>)>) -> Self {
        let write = |state: Self, (resource, value): &(ResourceId, Option<Vec<Cell>>)| {
            state.with(resource, value.as_deref())
        };
        writes.into_iter().fold(self.clone(), write)
    }

    /// The opening of `slot`, empty or not.
    pub fn path(&self, slot: u64) -> StatePath {
        let shape = &self.shape;
        // From the root down; reversed at the end.
        let mut siblings = Vec::with_capacity(usize::from(DEPTH));
        let (mut node, mut height) = (self.root.as_ref(), DEPTH);
        let entries = loop {
            match node.map(AsRef::as_ref) {
                None => break vec![],
                Some(Node::Single { leaf, .. }) if leaf.slot == slot => break leaf.holds.entries(),
                Some(Node::Single { leaf, .. }) => {
                    // The other leaf's subtree is the sibling at the level where the slots differ; all others are empty.
                    let parting = (leaf.slot ^ slot).ilog2() as u8;
                    for level in (0..height).rev() {
                        siblings.push(match level.cmp(&parting) {
                            Ordering::Equal => shape.lifted(0..level, leaf.slot, leaf.digest),
                            _ => shape.empty[usize::from(level)],
                        });
                    }
                    height = 0;
                    break vec![];
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
        StatePath { slot, entries, siblings }
    }
}

/// The entries of a version of the state. It keeps that version alive.
pub struct Entries {
    /// The subtrees that are still to be listed, the last first.
    above: Vec<Arc<Node>>,
    /// The slot that is being listed, and how much of it was.
    slot: Option<(Arc<Leaf>, usize)>,
}

impl Iterator for Entries {
    type Item = (ResourceId, Arc<[Cell]>);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some((leaf, listed)) = &mut self.slot
                && let Some(Held { entry, value }) = leaf.holds.held().get(*listed)
            {
                *listed += 1;
                return Some((entry.resource, value.clone()));
            }
            match self.above.pop()?.as_ref() {
                Node::Single { leaf, .. } => self.slot = Some((leaf.clone(), 0)),
                Node::Branch { left, right, .. } => self.above.extend(right.iter().chain(left).cloned()),
            }
        }
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").finish_non_exhaustive()
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
    use reprise_model::hash::{Blake3, Domain};
    use reprise_model::state::Change;

    use super::ascending::{Ascending, OutOfOrder};
    use super::*;

    /// BLAKE3, but for slots: they are the first eight bytes of the id, so that a test chooses them.
    struct ChosenSlots;

    impl Hasher for ChosenSlots {
        fn name(&self) -> &'static str {
            "chosen slots"
        }

        fn hash(&self, domain: Domain, cells: &[Cell]) -> Digest {
            match domain {
                Domain::Slot => reprise_model::cell::to_digest(&cells[0]),
                _ => Blake3.hash(domain, cells),
            }
        }

        fn merge(&self, left: &Digest, right: &Digest) -> Digest {
            Blake3.merge(left, right)
        }
    }

    fn empty() -> StateTree {
        StateTree::empty(Arc::new(ChosenSlots))
    }

    fn value(n: u32) -> Vec<Cell> {
        vec![[n; 8]]
    }

    fn resource(slot: u64, n: u8) -> ResourceId {
        let mut id = [n; 32];
        id[..8].copy_from_slice(&slot.to_le_bytes());
        ResourceId(id)
    }

    /// Resources whose slots collide in long prefixes, ones whose slots are equal, and ones that do not.
    fn resources() -> impl Strategy<Value = ResourceId> {
        let near = (0u64..8).prop_map(|low| 0x7000_0000_0000_0000 | low);
        let slots = prop_oneof![near, 0u64..8, (0u64..8).prop_map(|high| high << 60), any::<u64>()];
        (slots, 0u8..3).prop_map(|(slot, n)| resource(slot, n))
    }

    type Write = (ResourceId, Option<Vec<Cell>>);

    fn writes(max: usize) -> impl Strategy<Value = Vec<Write>> {
        let value = proptest::option::weighted(0.7, any::<u32>().prop_map(value));
        proptest::collection::vec((resources(), value), 0..max)
    }

    proptest! {
        #[test]
        fn every_slot_opens_in_the_root_and_holds_what_was_written_last(
            writes in writes(24), asked in proptest::collection::vec(resources(), 1..8),
        ) {
            let tree = empty().after(&writes);
            let last: BTreeMap<ResourceId, Option<Vec<Cell>>> = writes.iter().cloned().collect();
            for id in asked.iter().chain(last.keys()) {
                let path = tree.path(tree.slot(id));
                prop_assert_eq!(path.siblings.len(), usize::from(DEPTH));
                prop_assert_eq!(path.root(&ChosenSlots), tree.root());
                let held = last.get(id).cloned().flatten();
                prop_assert_eq!(tree.get(id), held.clone().map(Arc::from));
                let entry = path.entries.iter().find(|entry| entry.resource == *id);
                let digest = entry.map_or(Digest::ZERO, |entry| entry.value);
                prop_assert_eq!(digest, state::value(&ChosenSlots, held.as_deref()));
            }
        }

        #[test]
        fn what_is_written_and_deleted_again_leaves_the_root_as_it_was(writes in writes(12), id in resources()) {
            let tree = empty().after(&writes);
            prop_assume!(tree.get(&id).is_none());
            let again = tree.with(&id, Some(&value(1))).with(&id, None);
            prop_assert_eq!(again.root(), tree.root());
        }

        #[test]
        fn the_entries_of_a_tree_make_the_same_tree(writes in writes(48), more in writes(8), run in 1usize..20) {
            let tree = empty().after(&writes);
            let mut ascending = Ascending::tree(Arc::new(ChosenSlots));
            let mut folded = Ascending::root(Arc::new(ChosenSlots));
            for (id, value) in tree.entries() {
                prop_assert_eq!(ascending.add(id, value.clone()), Ok(()));
                prop_assert_eq!(folded.add(id, value), Ok(()));
            }
            prop_assert_eq!(folded.finish().0, tree.root());
            // In runs, of which parts are hashed at once.
            let mut runs = Ascending::tree(Arc::new(ChosenSlots));
            let all: Vec<_> = tree.entries().collect();
            for run in all.chunks(run) {
                prop_assert_eq!(runs.add_run(run.to_vec()), Ok(()));
            }
            let (root, made) = runs.finish();
            let made = made.unwrap();
            prop_assert_eq!((root, made.root()), (tree.root(), tree.root()));
            for (id, _) in writes.iter().chain(&more) {
                prop_assert_eq!(made.path(made.slot(id)), tree.path(tree.slot(id)));
            }
            let (root, made) = ascending.finish();
            let made = made.unwrap();
            prop_assert_eq!((root, made.root()), (tree.root(), tree.root()));
            prop_assert!(made.entries().eq(tree.entries()));
            // Its nodes are those that writes make: it goes on in the same way.
            let (tree, made) = (tree.after(&more), made.after(&more));
            prop_assert_eq!(made.root(), tree.root());
            for (id, _) in writes.iter().chain(&more) {
                prop_assert_eq!(made.path(made.slot(id)), tree.path(tree.slot(id)));
            }
        }

        #[test]
        fn changes_opened_in_one_root_give_the_roots_on_both_sides(
            before in writes(12), changes in writes(8),
        ) {
            let before = empty().after(&before);
            let after = before.after(&changes);
            let slots: std::collections::BTreeSet<u64> = changes.iter().map(|(id, _)| before.slot(id)).collect();
            let paths: Vec<_> = slots.iter().map(|slot| before.path(*slot)).collect();
            let mut opened: Vec<_> =
                paths.iter().map(|path| Change { path, after: path.entries.clone() }).collect();
            let mut held = before.clone();
            for (id, value) in &changes {
                let at = opened.iter().position(|change| change.path.slot == before.slot(id)).unwrap();
                let old = state::value(&ChosenSlots, held.get(id).as_deref());
                let new = state::value(&ChosenSlots, value.as_deref());
                prop_assert!(!state::replace(&mut opened[at].after.clone(), *id, Digest([7; 32]), new));
                prop_assert!(state::replace(&mut opened[at].after, *id, old, new));
                held = held.with(id, value.as_deref());
            }
            if opened.is_empty() {
                return Ok(());
            }
            prop_assert_eq!(state::roots(&ChosenSlots, &opened), Some((before.root(), after.root())));
            // Wrong entries give another root before. Changes out of order give no roots.
            let mut forged = opened.clone();
            let mut lying = forged[0].path.clone();
            lying.entries.push(Entry { resource: ResourceId([7; 32]), value: Digest([7; 32]) });
            forged[0].path = &lying;
            prop_assert_ne!(state::roots(&ChosenSlots, &forged).map(|(before, _)| before), Some(before.root()));
            let mut turned = opened.clone();
            turned.push(opened[0].clone());
            prop_assert_eq!(state::roots(&ChosenSlots, &turned), None);
        }
    }

    #[test]
    fn a_version_is_not_changed_by_the_ones_made_from_it() {
        let [five, seven] = [5, 7].map(|slot| resource(slot, 1));
        let first = empty().with(&five, Some(&value(1)));
        let root = first.root();
        let second = first.with(&five, Some(&value(2))).with(&seven, Some(&value(3))).with(&five, None);
        assert_eq!(first.root(), root);
        assert_ne!(second.root(), root);
        assert_eq!(first.get(&seven), None);
    }

    #[test]
    fn entries_out_of_order_or_twice_make_no_tree() {
        let [five, other, seven] = [resource(5, 1), resource(5, 2), resource(7, 1)];
        for (entries, refused) in [
            ([five, other, seven], None),
            ([other, five, seven], None),
            ([seven, five, other], Some(five)),
            ([five, other, five], Some(five)),
            ([five, five, seven], Some(five)),
        ] {
            let mut ascending = Ascending::root(Arc::new(ChosenSlots));
            let added: Result<(), OutOfOrder> =
                entries.into_iter().try_for_each(|id| ascending.add(id, value(1).into()));
            assert_eq!(added.err().map(|error| error.resource), refused);
            let run = entries.into_iter().map(|id| (id, value(1).into())).collect();
            let added = Ascending::root(Arc::new(ChosenSlots)).add_run(run);
            assert_eq!(added.err().map(|error| error.resource), refused);
        }
        assert_eq!(Ascending::root(Arc::new(ChosenSlots)).finish().0, empty().root());
    }

    #[test]
    fn nobody_can_take_the_slot_of_another() {
        let [victim, squatter] = [1, 2].map(|n| resource(5, n));
        let squatted = empty().with(&squatter, Some(&value(1)));
        assert_eq!(squatted.get(&victim), None);
        let both = squatted.with(&victim, Some(&value(2)));
        assert_eq!(both.get(&victim).as_deref(), Some(&value(2)[..]));
        assert_eq!(both.get(&squatter).as_deref(), Some(&value(1)[..]));
    }
}
