//! Kaspa as an L1: follows a live node through its reorgs, over wRPC, and checks its answers.
//!
//! The node is a separate program (`kaspad`): this crate links neither RocksDB nor C++. It asks through Kaspa's own
//! `RpcApi`, at the given address and never through a public resolver.
//!
//! | module | noun |
//! |---|---|
//! | [`l1`] | Kaspa as a node's L1 |
//! | [`live`] | a live node as a chain source: a thread that follows it |
//! | [`wake`] | a notification without content: at most one is pending |
//! | [`follower`] | a node's answers, checked and turned into chain events |
//! | `acceptance` | what blocks accepted, put together where a node refuses to tell it |
//! | [`root`] | the block that a covenant is followed from |
//! | [`track`] | the chain so far, and the checks of every added block |
//! | [`lane_proof`] | the lane in a block's sequencing commitment |
//! | [`covenant`] | the covenant that settlements spend: state, rules, proofs |
//! | [`shown`] | the covenant's output as a node shows it, for the light client |
//! | [`draft`] | transactions that are paid for, measured and signed |
//! | [`settlement`] | settlements as transactions: built and read |
//! | [`payload`] | the bytes of a settlement in its transaction |
//! | `script` | builds scripts |
//! | [`sink`] | sends settlements |
//! | [`claim`] | how exits are paid; the vault |
//! | [`founding`] | the founding of a covenant |
//! | [`exit_payer`] | pays the exits of settlements |
//! | [`claims`] | the claims that a command pays |
//! | [`allowance`] | what may be paid in a day |
//! | `bid` | replaces what waits in the node's mempool for too little |
//! | `conflict` | what waits there, and since when |
//! | [`keep_alive`] | a transaction of the lane, before its entry expires |
//! | [`in_flight`] | coins that transactions in flight spend |
//! | [`wallet`] | the coins of the key that pays, listed once and told of afterwards |
//! | [`doctor`] | the state of a node, a lane, a covenant and a key |
//! | [`coin`] | unspent outputs, and fees |
//! | [`utxos`] | unspent outputs and fees as a node reports them, and how a transaction is sent |
//! | [`user`] | a user of the lane: messages as transactions |
//! | [`key`] | the key that pays |
//! | [`opening`] | shows whose output a lane transaction spends |
//! | [`node_chain`] | the chain as a node tells it |
//! | [`names`] | names of networks, lanes and accounts |
//! | [`client`] | a connection to a node |

mod acceptance;
pub mod allowance;
mod bid;
pub mod claim;
pub mod claims;
pub mod client;
pub mod coin;
mod conflict;
pub mod covenant;
pub mod doctor;
pub mod draft;
pub mod exit_payer;
#[cfg(test)]
mod fake_node;
pub mod follower;
pub mod founding;
pub mod in_flight;
pub mod keep_alive;
pub mod key;
pub mod l1;
pub mod live;
pub mod names;
pub mod node_chain;
pub mod opening;
pub mod payload;
pub mod root;
mod script;
pub mod settlement;
pub mod shown;
pub mod sink;
pub mod track;
pub mod user;
pub mod utxos;
pub mod wake;
pub mod wallet;

use kaspa_hashes::Hash;
pub use reprise_kaspa_lane::digest;
pub(crate) use reprise_kaspa_lane::hash as kaspa_hash;
pub use reprise_kaspa_lane::proof as lane_proof;
use reprise_model::digest::BlockHash;

/// The recorder that recordings name.
pub const RECORDER: &str = concat!("reprise-kaspa ", env!("CARGO_PKG_VERSION"));

/// One of Kaspa's block hashes as ours.
pub fn block_hash(hash: Hash) -> BlockHash {
    BlockHash(hash.as_bytes())
}
