//! Real Kaspa nodes: makes the recording that ships with the project, and has the tests that need a node.
//!
//! It is a workspace of its own, because a node is a program (`kaspad`) that few machines have. The crate that follows a
//! node is `reprise-kaspa`.
//!
//! | module | noun |
//! |---|---|
//! | [`node`] | a simnet node as a child process |
//! | [`miner`] | blocks made on a node, and copied to another |
//! | [`wallet`] | keys, coins, and the lane transactions they pay for |
//! | [`scenario`] | the chain of the shipped recording: two forks, and a flip back |
//! | [`simnet`] | one node on which blocks are mined one by one, with coins for users and settlers |
//! | [`probe`] | a running Reprise node, and its progress |
//! | [`rollup`] | a rollup on a simnet: its user's transactions, and Reprise nodes that settle it |
//! | [`catch_up`] | how long it takes to catch up with a node that is far ahead and far away |
//! | [`altered`] | a node whose answers are altered on their way |
//! | [`proxy`] | a TCP proxy in front of nodes, whose connections can be cut and slowed down |
//! | [`replay`] | a recording's transactions, executed by the ledger |
//! | [`listing`] | a recording as text, and its figures |

pub mod altered;
pub mod catch_up;
pub mod listing;
pub mod miner;
pub mod node;
pub mod probe;
pub mod proxy;
pub mod replay;
pub mod rollup;
pub mod scenario;
pub mod simnet;
pub mod wallet;
