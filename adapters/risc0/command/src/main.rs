//! The program: the command line of Reprise with RISC Zero, one backend a kind of seal.

use std::process::ExitCode;
use std::sync::Arc;

use reprise::ProofSystem;
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_model::profile::SealKind;
use reprise_prover::backend::Backend;
use reprise_risc0::{Risc0Backend, Sha256, kaspa, recursion};

fn main() -> ExitCode {
    let system = |name, open| ProofSystem::new(name, Arc::new(Sha256), open);
    let said = recursion::programs().to_string();
    reprise::main(vec![
        ProofSystem { remark: Some(said), ..system("risc0", || open(SealKind::Composite)) },
        ProofSystem {
            settles: Some(|| settles(SealKind::Succinct)),
            ..system("risc0-succinct", || open(SealKind::Succinct))
        },
        ProofSystem {
            settles: Some(|| settles(SealKind::Groth16)),
            ..system("risc0-groth16", || open(SealKind::Groth16))
        },
        system("risc0-dev", || open(SealKind::Fake)),
    ])
}

fn open(seal: SealKind) -> Result<Arc<dyn Backend>, String> {
    let backend = Risc0Backend::new(seal).map_err(|error| error.to_string())?;
    Ok(Arc::new(backend))
}

fn settles(seal: SealKind) -> Result<(Proof, SealReader), String> {
    kaspa::settles(seal).map_err(|error| error.to_string())
}
