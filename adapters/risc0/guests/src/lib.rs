//! What the three programs of a workload for RISC Zero share with each other and with the host.
//!
//! | module | noun |
//! |---|---|
//! | [`hash`] | SHA-256: the hash of a workload whose proofs are RISC Zero's |
//! | [`wire`] | a witness as words: what the host writes and a program reads |
//! | [`guest`] | what a program reads, assumes and commits |
//! | [`program`] | the three programs of any workload: a reading, a function of the model, a commitment |
//!
//! The ledger's programs are `src/bin`.

pub mod guest;
pub mod hash;
pub mod program;
pub mod wire;

pub use hash::Sha256;
