//! The types of Reprise that the host, the guests and the tools share: no I/O, no clock, no async, `no_std`.
//!
//! # What is here
//!
//! | module | content |
//! |---|---|
//! | [`digest`] | 32-byte digests and the typed ids made of them, each with its own printed prefix |
//! | [`derivation`] | BLAKE3 in key-derivation mode, under contexts whose keys are known |
//! | [`hash`] | [`Hasher`](hash::Hasher): the one hash of a workload's state, journals and lane tip |
//! | [`cell`] | the 32-byte unit in which everything a guest reads or commits is encoded |
//! | [`profile`] | [`ProofProfile`](profile::ProofProfile): how a claim is to be proved |
//! | [`statement`] | [`Claim`](statement::Claim), [`Statement`](statement::Statement), [`StatementId`](statement::StatementId): the identity of a receipt |
//! | [`receipt`] | [`Receipt`](receipt::Receipt) and [`Verified`](receipt::Verified), which only a verification makes |
//! | [`coordinate`] | where a statement is used: an index, never an identity |
//! | [`block`] | chain blocks and their metadata |
//! | [`transaction`] | accepted lane transactions: their ids, authority and the bytes a program reads |
//! | [`context`] | where in time the L1 places a block |
//! | [`lane`] | the lane tip: the running commitment to everything that a lane accepted |
//! | [`scheduled`] | the results of execution and bundling, before any proof |
//! | [`state`] | resources, the leaves of the state tree, and the opening of a slot in the state root |
//! | [`journal`] | the three journals, in one encoding for guest and host |
//! | [`exit`] | what is withdrawn to the L1, and the tree over it |
//! | [`order`] | a statement to prove, where it is used, and what its witness is made from |
//! | [`witness`] | the input of a proof, beside the receipts that it assumes |
//! | [`limits`] | how much one proof may hold, and which transactions are proved apart |
//! | [`processor`] | the port to a workload, and the bounds on its transactions |
//! | [`program`] | the three programs, as functions of a witness |
//! | [`anchor`] | the block in whose sequencing commitment a settlement opens the lane |
//! | [`artifact`] | what the pipeline publishes |
//! | [`mutation`] | deliberate bugs, which test the simulator's checkers |
//!
//! # Identity and place
//!
//! `StatementId = H(domain, key-format version, profile digest, claim digest)`. The claim digest is the
//! proof system's own, over *everything* that a proof makes public, so no key can leave out a pin.
//! A [`Coordinate`](coordinate::Coordinate) says where a statement is used. It serves pruning, resuming and
//! diagnosis, and never identifies a receipt.
#![no_std]

extern crate alloc;
#[cfg(feature = "std")]
extern crate std;

pub mod anchor;
pub mod artifact;
pub mod block;
pub mod cell;
pub mod context;
pub mod coordinate;
pub mod derivation;
pub mod digest;
pub mod exit;
pub mod hash;
pub mod journal;
pub mod lane;
pub mod limits;
pub mod mutation;
pub mod order;
pub mod processor;
pub mod profile;
pub mod program;
pub mod receipt;
pub mod scheduled;
pub mod state;
pub mod statement;
pub mod transaction;
pub mod witness;
