//! What the ledger's three programs for RISC Zero share with each other and with the host.
//!
//! | module | noun |
//! |---|---|
//! | [`hash`] | SHA-256: the hash of a workload whose proofs are RISC Zero's |
//! | [`wire`] | a witness as words: what the host writes and a program reads |
//! | [`guest`] | what a program reads, assumes and commits |
//!
//! The programs themselves are `src/bin`: a reading, a function of the model or the ledger, a commitment.

pub mod guest;
pub mod hash;
pub mod wire;

pub use hash::Sha256;
