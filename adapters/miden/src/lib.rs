//! Real recursive proofs in seconds on two cores: the backend that proves a workload's three programs in Miden assembly.
//!
//! | module | noun |
//! |---|---|
//! | [`hash`] | Poseidon2: the hash of a workload whose proofs are Miden's |
//! | [`programs`] | the three programs, assembled from the sources that a workload brings |
//! | [`claim`] | what a proof makes public, and its digest |
//! | [`advice`] | witnesses as the programs read them |
//! | [`backend`] | runs, compares, proves, verifies |
//! | `port` | the backend as the pipeline's port |
//!
//! Programs are generic over the programs whose proofs they verify. The pins name these, and the journals commit
//! the digest of the pins.

pub mod advice;
pub mod backend;
pub mod claim;
pub mod hash;
mod port;
pub mod programs;

pub use backend::{MidenBackend, MidenError};
pub use claim::MidenScheme;
pub use hash::Poseidon2;
pub use programs::{Programs, Sources};
