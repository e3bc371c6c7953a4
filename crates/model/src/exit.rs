//! Exits: what is withdrawn to the L1, and the tree by which a settlement commits to all of them.
//!
//! # Whom an exit pays
//!
//! An exit pays a standard script of the L1. It names the script's class and the 32 bytes in it, so the script follows from the
//! exit alone: whoever sees the exit can pay it.
//!
//! # The tree
//!
//! ```text
//! leaf   = H(Exit, payee's bytes | amount (u64) class 0 0 0 0 0)
//! node   = H(ExitNode, left | right)
//! ```
//!
//! The leaves are the exits in their order. A tree of several leaves has on its left as many as the largest power of two below
//! their number, as in RFC 6962. So the root does not depend on how transactions are divided into batches, and any exit is shown by
//! a path. The root of no exits is zero. A leaf whose exit is paid becomes zero, and so does a node over two zeros.

use alloc::vec::Vec;
use core::fmt;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::cell::{self, Cell};
use crate::digest::Digest;
use crate::hash::{Domain, Hasher};

/// The smallest exit, in sompi: 0.2 KAS. The storage mass of a smaller output (KIP-9) is out of proportion to what it holds.
pub const AMOUNT_MIN: u64 = 20_000_000;

/// The classes of standard scripts. The discriminants are those of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum ScriptClass {
    /// Pay to a Schnorr public key, 32 bytes.
    PublicKey = 0,
    /// Pay to an ECDSA public key whose first byte is 2. The 32 bytes are the others.
    EcdsaEven = 1,
    /// Pay to an ECDSA public key whose first byte is 3. The 32 bytes are the others.
    EcdsaOdd = 2,
    /// Pay to the BLAKE2b hash of a script, 32 bytes.
    ScriptHash = 3,
}

impl ScriptClass {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Self; 4] = [Self::PublicKey, Self::EcdsaEven, Self::EcdsaOdd, Self::ScriptHash];

    /// The class with this discriminant.
    pub fn of(discriminant: u32) -> Option<Self> {
        Self::ALL.get(usize::try_from(discriminant).ok()?).copied()
    }

    /// What a script of the class has before and after the 32 bytes.
    pub fn around(self) -> (&'static [u8], &'static [u8]) {
        match self {
            Self::PublicKey => (&[0x20], &[0xac]),
            Self::EcdsaEven => (&[0x21, 2], &[0xab]),
            Self::EcdsaOdd => (&[0x21, 3], &[0xab]),
            Self::ScriptHash => (&[0xaa, 0x20], &[0x87]),
        }
    }
}

/// Whom an exit pays.
///
/// ```
/// use reprise_model::digest::Digest;
/// use reprise_model::exit::{Payee, ScriptClass};
///
/// let payee = Payee { class: ScriptClass::PublicKey, bytes: Digest([7; 32]) };
/// assert_eq!(Payee::of_script(0, &payee.script()), Some(payee));
/// assert_eq!(Payee::of_script(0, b"no standard script"), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize)]
pub struct Payee {
    /// The class of the script.
    pub class: ScriptClass,
    /// The key or the hash in it.
    pub bytes: Digest,
}

impl Payee {
    /// The script, of version 0.
    pub fn script(&self) -> Vec<u8> {
        let (before, after) = self.class.around();
        [before, &self.bytes.0, after].concat()
    }

    /// The payee of a script; `None` where the script is not a standard one.
    pub fn of_script(version: u16, script: &[u8]) -> Option<Self> {
        ScriptClass::ALL.into_iter().filter(|_| version == 0).find_map(|class| {
            let (before, after) = class.around();
            let bytes = script.strip_prefix(before)?.strip_suffix(after)?.try_into().ok()?;
            Some(Self { class, bytes: Digest(bytes) })
        })
    }
}

impl fmt::Debug for Payee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.class, self.bytes.to_hex())
    }
}

impl fmt::Display for Payee {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = match self.class {
            ScriptClass::PublicKey => "key",
            ScriptClass::EcdsaEven => "ecdsa key 02",
            ScriptClass::EcdsaOdd => "ecdsa key 03",
            ScriptClass::ScriptHash => "script hash",
        };
        write!(f, "{class} {}", self.bytes.to_hex())
    }
}

/// A withdrawal to the L1.
///
/// ```
/// use reprise_model::digest::Digest;
/// use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
///
/// let payee = Payee { class: ScriptClass::ScriptHash, bytes: Digest([7; 32]) };
/// // A processor puts it into the `exits` of its effects. A smaller one fails the transaction.
/// let exit = Exit { payee, amount: AMOUNT_MIN };
/// # let _ = exit;
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Exit {
    /// Whom to pay.
    pub payee: Payee,
    /// In sompi; at least [`AMOUNT_MIN`].
    pub amount: u64,
}

impl Exit {
    /// The encoding in a transaction's journal, two cells.
    pub fn cells(&self) -> [Cell; 2] {
        let [lo, hi] = cell::words(self.amount);
        [cell::digest(self.payee.bytes), [lo, hi, self.payee.class as u32, 0, 0, 0, 0, 0]]
    }

    /// The leaf of the exit.
    pub fn leaf(&self, hasher: &dyn Hasher) -> Digest {
        hasher.hash(Domain::Exit, &self.cells())
    }
}

fn parent(hasher: &dyn Hasher, left: &Digest, right: &Digest) -> Digest {
    match (*left, *right) {
        (Digest::ZERO, Digest::ZERO) => Digest::ZERO,
        (left, right) => hasher.hash(Domain::ExitNode, &[left, right].map(cell::digest)),
    }
}

/// The root over exits.
pub fn root(hasher: &dyn Hasher, exits: &[Exit]) -> Digest {
    Tree::of(hasher, exits).root()
}

/// The tree over exits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// The levels, from the leaves up. A node without a sibling is its own parent.
    levels: Vec<Vec<Digest>>,
}

/// A step of a path: a node's sibling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sibling {
    /// It is on the left.
    Left(Digest),
    /// It is on the right.
    Right(Digest),
}

impl Tree {
    /// The tree over exits of which none is paid.
    pub fn of(hasher: &dyn Hasher, exits: &[Exit]) -> Self {
        let mut levels = alloc::vec![exits.iter().map(|exit| exit.leaf(hasher)).collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let pairs = below.chunks(2).map(|pair| match pair {
                [left, right] => parent(hasher, left, right),
                alone => alone[0],
            });
            let level = pairs.collect();
            levels.push(level);
        }
        Self { levels }
    }

    /// The root.
    pub fn root(&self) -> Digest {
        self.levels.last().and_then(|level| level.first()).copied().unwrap_or_default()
    }

    /// Makes the leaf of a paid exit zero.
    pub fn pay(&mut self, hasher: &dyn Hasher, exit: usize) {
        let mut at = exit;
        let mut node = Digest::ZERO;
        for level in &mut self.levels {
            if at < level.len() {
                level[at] = node;
            }
            let left = at & !1;
            node = match (level.get(left), level.get(left + 1)) {
                (Some(left), Some(right)) => parent(hasher, left, right),
                (Some(alone), None) => *alone,
                (None, _) => Digest::ZERO,
            };
            at /= 2;
        }
    }

    /// Whether an exit is paid.
    pub fn is_paid(&self, exit: usize) -> bool {
        self.levels[0].get(exit).is_none_or(|leaf| *leaf == Digest::ZERO)
    }

    /// The siblings on the way from an exit's leaf up to the root.
    pub fn path(&self, exit: usize) -> Vec<Sibling> {
        let (mut at, mut path) = (exit, Vec::new());
        for level in &self.levels {
            match level.get(at ^ 1) {
                Some(sibling) if at % 2 == 1 => path.push(Sibling::Left(*sibling)),
                Some(sibling) => path.push(Sibling::Right(*sibling)),
                None => {}
            }
            at /= 2;
        }
        path
    }

    /// The root above a leaf with this path.
    pub fn climb(hasher: &dyn Hasher, leaf: Digest, path: &[Sibling]) -> Digest {
        path.iter().fold(leaf, |node, sibling| match sibling {
            Sibling::Left(left) => parent(hasher, left, &node),
            Sibling::Right(right) => parent(hasher, &node, right),
        })
    }
}

impl Sibling {
    /// Whether it is on the left.
    pub fn is_left(&self) -> bool {
        matches!(self, Self::Left(_))
    }
}

impl Tree {
    /// The exit to whose leaf these sides of siblings lead down, given from the leaf up: true where the sibling is on the left.
    pub fn find(&self, lefts: &[bool]) -> Option<usize> {
        let (mut at, mut lefts) = (0, lefts.iter().rev());
        for level in self.levels.iter().rev().skip(1) {
            at *= 2;
            if at + 1 < level.len() {
                at += usize::from(*lefts.next()?);
            }
        }
        lefts.next().is_none().then_some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Blake3;

    fn exits(count: usize) -> Vec<Exit> {
        let class = |at: usize| ScriptClass::ALL[at % 4];
        let exit = |at: usize| Exit {
            payee: Payee { class: class(at), bytes: Digest([at as u8 + 1; 32]) },
            amount: AMOUNT_MIN + at as u64,
        };
        (0..count).map(exit).collect()
    }

    #[test]
    fn every_exit_has_a_path_to_the_root_and_another_number_of_exits_has_another_root() {
        let mut roots = alloc::vec![Digest::ZERO];
        for count in 0..20 {
            let exits = exits(count);
            let tree = Tree::of(&Blake3, &exits);
            assert_eq!(tree.root(), root(&Blake3, &exits));
            for (at, exit) in exits.iter().enumerate() {
                let path = tree.path(at);
                assert_eq!(Tree::climb(&Blake3, exit.leaf(&Blake3), &path), tree.root());
                let mut lefts: Vec<bool> = path.iter().map(Sibling::is_left).collect();
                assert_eq!(tree.find(&lefts), Some(at));
                lefts.extend([false; 5]);
                assert_eq!(tree.find(&lefts), None, "longer than any path here");
                assert_eq!(tree.find(&[]).is_some(), count == 1, "too short");
            }
            assert_eq!(roots.contains(&tree.root()), count == 0, "{count}");
            roots.push(tree.root());
        }
    }

    #[test]
    fn exits_are_paid_in_any_order_until_the_root_is_zero() {
        for count in 1..12 {
            let exits = exits(count);
            for step in [1, 5, 7] {
                let mut tree = Tree::of(&Blake3, &exits);
                let mut left: Vec<usize> = (0..count).collect();
                while !left.is_empty() {
                    let at = left.remove(step % left.len());
                    let (path, before) = (tree.path(at), tree.root());
                    assert_eq!(Tree::climb(&Blake3, exits[at].leaf(&Blake3), &path), before);
                    assert!(!tree.is_paid(at));
                    tree.pay(&Blake3, at);
                    assert!(tree.is_paid(at));
                    assert_eq!(Tree::climb(&Blake3, Digest::ZERO, &path), tree.root());
                    assert_ne!(tree.root(), before);
                }
                assert_eq!(tree.root(), Digest::ZERO);
            }
        }
    }

    #[test]
    fn a_payee_is_the_standard_script_that_it_names() {
        for class in ScriptClass::ALL {
            let payee = Payee { class, bytes: Digest([7; 32]) };
            let script = payee.script();
            assert_eq!(Payee::of_script(0, &script), Some(payee));
            assert_eq!(Payee::of_script(1, &script), None);
            assert_eq!(Payee::of_script(0, &script[1..]), None);
            assert_eq!(ScriptClass::of(class as u32), Some(class));
        }
        assert_eq!(ScriptClass::of(4), None);
    }
}
