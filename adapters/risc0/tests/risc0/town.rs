//! The towns that the programs are compared with, and the backend that runs them.

use std::sync::{Arc, OnceLock};

use reprise_model::journal::Pins;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;
use reprise_prover::backend::Backend;
use reprise_risc0::{Risc0Backend, Sha256};

pub use reprise_contract::town::{Town, account, fund, pay, transaction};

/// The backend in the proof system's development mode: it runs the programs, and proves nothing.
pub fn development() -> &'static Risc0Backend {
    static BACKEND: OnceLock<Risc0Backend> = OnceLock::new();
    BACKEND.get_or_init(|| Risc0Backend::new(SealKind::Fake).unwrap())
}

pub fn town() -> Town {
    Town::new(Arc::new(Sha256), Backend::programs(development()))
}

pub fn pins() -> Pins {
    reprise_contract::town::pins(Backend::programs(development()))
}

/// Proves by `backend`, and verifies.
pub fn prove(
    backend: &Risc0Backend,
    claim: &Claim,
    witness: Witness,
    assumptions: &[Verified<Receipt>],
) -> Verified<Receipt> {
    let (receipt, _) = backend.prove(claim, &witness, assumptions).unwrap();
    Verified::check(receipt, backend).unwrap()
}
