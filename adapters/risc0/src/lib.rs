//! Workloads proved in RISC Zero: the backend that proves a workload's three programs, and the ledger's, in Rust.
//!
//! | module | noun |
//! |---|---|
//! | [`programs`] | the three programs' images, and their ids |
//! | [`claim`] | what a proof makes public, and its digest |
//! | [`backend`] | runs, compares, proves, verifies |
//! | [`recursion`] | which kinds of receipts this build can make |
//! | [`kaspa`] | how receipts settle on Kaspa |
//! | `segments` | the pieces that a run is cut into to be proved |
//! | `port` | the backend as the pipeline's port |
//!
//! The hash of a workload whose proofs are RISC Zero's is [`Sha256`]. It and the programs' sources are the
//! crate in `guests`, which is compiled for the zkVM too.
//!
//! # Seals
//!
//! One profile a kind of seal. A composite receipt is a proof a segment, with its assumptions' receipts inside. A succinct
//! receipt is one recursive proof, which Kaspa verifies; it needs the proof system's recursion programs.
//! [`recursion`] says what this build can make. A fake receipt is the proof system's own development mode. It is a
//! profile of its own, and what the environment says of development mode counts for nothing: no other profile
//! accepts it.

pub mod backend;
pub mod claim;
pub mod kaspa;
mod port;
pub mod programs;
pub mod recursion;
mod segments;

pub use backend::{Risc0Backend, Risc0Error};
pub use claim::Risc0Scheme;
pub use programs::{Images, LEDGER, Programs};
pub use reprise_risc0_guests::Sha256;
