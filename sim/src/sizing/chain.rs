//! Chains, as far as a cache feels them: which blocks carry lane transactions, and what is proved of these.

use std::sync::Arc;

/// The first 128 bits of a digest: names a statement, a place or a block.
pub type Name = u128;

/// The name of everything in `parts` together, for a purpose.
pub fn name(purpose: &str, parts: &[Name]) -> Name {
    let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 sizing");
    hasher.update(purpose.as_bytes());
    for part in parts {
        hasher.update(&part.to_be_bytes());
    }
    first(hasher.finalize().as_bytes())
}

/// The first 128 bits of a digest.
pub fn first(digest: &[u8; 32]) -> Name {
    digest.first_chunk().map_or(0, |bytes| Name::from_be_bytes(*bytes))
}

/// A lane transaction in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// What a proof of it attests: free of its block.
    pub statement: Name,
    /// Its position among all that its block accepted.
    pub merge_index: u32,
}

/// The lane transactions of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// The block.
    pub block: Name,
    /// Its height.
    pub height: u64,
    /// Its blue score.
    pub score: u64,
    /// Its sequencing commitment.
    pub commitment: Name,
    /// What a proof of the batch attests: everything the lane carried so far, and the block's context.
    pub statement: Name,
    /// In order; at least one.
    pub transactions: Vec<Transaction>,
}

/// A block of the followed chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// Which.
    pub id: Name,
    /// Its blue score.
    pub score: u64,
    /// What it carries of the lane; empty blocks carry nothing.
    pub batch: Option<Arc<Batch>>,
}

/// A change of the followed chain.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Event {
    /// How many blocks leave at its tip.
    pub removed: u64,
    /// What joins, oldest first.
    pub added: Vec<Block>,
    /// How many of these were on the chain before; the first ones.
    pub returning: usize,
}

/// One thing that happens to a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The chain changed.
    Chain(Event),
    /// The node restarts over what its disk holds.
    Restart,
}
