//! The program: the command line of Reprise with RISC Zero, one backend a kind of seal.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use reprise::ProofSystem;
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_model::profile::SealKind;
use reprise_prover::backend::Backend;
use reprise_risc0::{Risc0Backend, Sha256, kaspa, recursion};

/// How long a proof of a transaction, batch and aggregate may take. On two shared cores a batch of three takes an hour at
/// most.
const TIMEOUT: [Duration; 3] = [1, 4, 2].map(|hours| Duration::from_secs(3600 * hours));

fn main() -> ExitCode {
    let system =
        |name, open| ProofSystem { timeout: TIMEOUT, ..ProofSystem::new(name, Arc::new(Sha256), open) };
    let mut systems = vec![
        ProofSystem {
            remark: Some(recursion::summary()),
            can_prove: || can_prove(SealKind::Succinct),
            settles: Some(|| settles(SealKind::Succinct)),
            ..system("risc0-succinct", || open(SealKind::Succinct))
        },
        system("risc0", || open(SealKind::Composite)),
        ProofSystem {
            can_prove: || can_prove(SealKind::Groth16),
            settles: Some(|| settles(SealKind::Groth16)),
            ..system("risc0-groth16", || open(SealKind::Groth16))
        },
        system("risc0-dev", || open(SealKind::Fake)),
    ];
    // The first is what proves where no backend is named: one that this build can prove with.
    if recursion::can_make(SealKind::Succinct).is_err() {
        systems.swap(0, 1);
    }
    reprise::main(systems)
}

fn open(seal: SealKind) -> Result<Arc<dyn Backend>, String> {
    let backend = Risc0Backend::new(seal).map_err(|error| error.to_string())?;
    Ok(Arc::new(backend))
}

fn can_prove(seal: SealKind) -> Result<(), String> {
    recursion::can_make(seal).map_err(|missing| missing.to_string())
}

fn settles(seal: SealKind) -> Result<(Proof, SealReader), String> {
    kaspa::settles(seal).map_err(|error| error.to_string())
}
