//! The words of Reprise, shared by the host, the guests and the tools: no I/O, no clock, no async, `no_std`.
//!
//! # What is here
//!
//! | module | noun |
//! |---|---|
//! | [`digest`] | 32-byte digests and the typed ids made of them, each with its own printed prefix |
//! | [`hash`] | [`Hasher`](hash::Hasher): the one hash of a workload's state, journals and lane tip |
//! | [`cell`] | the 32-byte unit in which everything a guest reads or commits is encoded |
//! | [`profile`] | [`ProofProfile`](profile::ProofProfile): how a claim is to be proved |
//! | [`statement`] | [`Claim`](statement::Claim), [`Statement`](statement::Statement), [`StatementId`](statement::StatementId): the identity of a receipt |
//! | [`receipt`] | [`Receipt`](receipt::Receipt) and [`Verified`](receipt::Verified), which only verification mints |
//! | [`coordinate`] | where a statement is used: an index, never an identity |
//! | [`block`] | chain blocks and their metadata |
//! | [`transaction`] | accepted lane transactions: their ids, authority and the bytes a program reads |
//! | [`lane`] | the lane tip: the running commitment to everything a lane accepted |
//! | [`scheduled`] | what execution and bundling said of the chain, before any proof |
//! | [`state`] | resources, their leaves and the opening of one in the state root |
//! | [`journal`] | the three journals, encoded once: what the guest commits is what the host expects |
//! | [`order`] | a statement that is wanted, where, and what it is made from |
//! | [`witness`] | what a proof is made from, beside its assumptions |
//! | [`limits`] | what one proof may hold, and what is proved apart |
//! | [`processor`] | the port to a workload, and the bounds of what it may do |
//! | [`program`] | the three programs, as functions of a witness |
//! | [`artifact`] | what leaves the pipeline |
//! | [`mutation`] | deliberate bugs, for the proof of the simulator's checkers |
//!
//! # Identity and place
//!
//! `StatementId = H(domain, key-format version, profile digest, claim digest)`. The claim digest is the
//! proof system's own over *all* that a proof makes public, so a key that forgets a pin cannot be written.
//! A [`Coordinate`](coordinate::Coordinate) says where a statement was used; it serves pruning and
//! diagnosis and never answers for a receipt.
#![no_std]

extern crate alloc;

pub mod anchor;
pub mod artifact;
pub mod block;
pub mod cell;
pub mod coordinate;
pub mod digest;
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
