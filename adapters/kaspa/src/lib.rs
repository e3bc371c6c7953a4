//! Kaspa as an L1: follows a live node through its reorgs, over wRPC, and believes nothing unchecked.
//!
//! A node is a program (`kaspad`), never a library: no RocksDB, no C++. Everything is asked through Kaspa's own
//! `RpcApi`, from the address given and never from a public resolver.
//!
//! | module | noun |
//! |---|---|
//! | [`l1`] | Kaspa as a node's L1 |
//! | [`live`] | a node as an L1: a thread that stays with it |
//! | [`wake`] | that something happened, however often |
//! | [`follower`] | a node's answers, checked and turned into events |
//! | [`track`] | the chain so far, and what every added block is checked against |
//! | [`lane_proof`] | the lane in a block's sequencing commitment |
//! | [`covenant`] | the covenant that settlements spend: state, rules, proofs |
//! | [`settlement`] | settlements as transactions: built and read |
//! | [`payload`] | the bytes of a settlement in its transaction |
//! | `script` | scripts in the making |
//! | [`sink`] | where settlements go |
//! | [`claim`] | how exits are paid where settlements are proved |
//! | [`exit_payer`] | who has exits paid where settlements are proved |
//! | [`vault`] | where deposits lie, and what exits are paid from |
//! | [`coin`] | unspent outputs, and what is paid for inclusion |
//! | [`wallet`] | unspent outputs and fees as a node tells them, and how a transaction is sent |
//! | [`key`] | the key that pays |
//! | [`opening`] | what shows whose output a lane transaction spends |
//! | [`names`] | what people call lanes and accounts by |
//! | [`client`] | a connection to a node |

pub mod claim;
pub mod client;
pub mod coin;
pub mod covenant;
pub mod exit_payer;
pub mod follower;
pub mod key;
pub mod l1;
pub mod live;
pub mod names;
pub mod opening;
pub mod payload;
mod script;
pub mod settlement;
pub mod sink;
pub mod track;
pub mod vault;
pub mod wake;
pub mod wallet;

use kaspa_hashes::Hash;
pub use reprise_kaspa_lane::digest;
pub(crate) use reprise_kaspa_lane::hash as kaspa_hash;
pub use reprise_kaspa_lane::proof as lane_proof;
use reprise_model::digest::BlockHash;

/// Who follows, as recordings name it.
pub const RECORDER: &str = concat!("reprise-kaspa ", env!("CARGO_PKG_VERSION"));

/// One of Kaspa's block hashes as ours.
pub fn block_hash(hash: Hash) -> BlockHash {
    BlockHash(hash.as_bytes())
}
