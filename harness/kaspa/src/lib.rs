//! Kaspa for Reprise: records a node's chain, and makes the recording that ships with the project.
//!
//! A workspace of its own, because it brings Kaspa's client crates. It talks to nodes over wRPC only; a node is
//! a program (`kaspad`), never a library.
//!
//! | module | noun |
//! |---|---|
//! | [`recorder`] | a node's answers, turned into the events of a recording |
//! | [`track`] | the chain so far, and what every added block is checked against |
//! | [`lane_proof`] | the lane in a block's sequencing commitment, as recordings carry it |
//! | [`live`] | a recorder kept on a node that comes and goes |
//! | [`client`] | a connection to a node |
//! | [`node`] | a simnet node as a child process |
//! | [`miner`] | blocks made on a node, and copied to another |
//! | [`wallet`] | keys, coins, and the lane transactions they pay for |
//! | [`scenario`] | the chain of the shipped recording: two forks, and a flip back |
//! | [`replay`] | a recording's transactions, executed by the ledger |
//! | [`listing`] | a recording as text, and its figures |

pub mod client;
pub mod lane_proof;
pub mod listing;
pub mod live;
pub mod miner;
pub mod node;
pub mod recorder;
pub mod replay;
pub mod scenario;
pub mod track;
pub mod wallet;

use kaspa_hashes::Hash;
use reprise_model::digest::{BlockHash, Digest};

/// Who records, as recordings name it.
pub const RECORDER: &str = concat!("reprise-kaspa ", env!("CARGO_PKG_VERSION"));

/// One of Kaspa's hashes as a digest of the house.
pub(crate) fn digest(hash: Hash) -> Digest {
    Digest(hash.as_bytes())
}

/// One of Kaspa's block hashes as ours.
pub(crate) fn block_hash(hash: Hash) -> BlockHash {
    BlockHash(hash.as_bytes())
}

/// A digest of the house as one of Kaspa's hashes.
pub(crate) fn kaspa_hash(digest: Digest) -> Hash {
    Hash::from_bytes(digest.0)
}
