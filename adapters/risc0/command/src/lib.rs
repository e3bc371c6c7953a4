//! The proof systems of RISC Zero for a program of Reprise: one a kind of seal.
//!
//! ```no_run
//! fn main() -> std::process::ExitCode {
//!     let images = reprise_risc0::LEDGER;
//!     reprise::main(reprise_risc0_command::systems(), vec![reprise::ledger().with_programs(images)])
//! }
//! ```

use std::sync::Arc;
use std::time::Duration;

use reprise::{ProofSystem, Workload};
use reprise_kaspa::covenant::{Proof, SealReader};
use reprise_model::digest::ProgramId;
use reprise_model::profile::SealKind;
use reprise_prover::backend::Backend;
use reprise_risc0::{Images, Risc0Backend, Sha256, kaspa, recursion};

/// How long a proof of a transaction, batch and aggregate may take: on two cores that do other work too, they need a
/// fraction of it.
const TIMEOUT: [Duration; 3] = [HOUR, HOUR.saturating_mul(4), HOUR.saturating_mul(2)];
const HOUR: Duration = Duration::from_secs(3600);

/// All of them. The first is what proves where no backend is named: one that this build can prove with.
pub fn systems() -> Vec<ProofSystem> {
    let system = |name, seal| {
        let open = move |images: &Images, _: &Workload, memory| open(seal, images, memory);
        ProofSystem { timeout: TIMEOUT, ..ProofSystem::new(name, Arc::new(Sha256), open) }
    };
    let mut systems = vec![
        ProofSystem {
            remark: Some(recursion::summary()),
            can_prove: || can_prove(SealKind::Succinct),
            settles: Some(|aggregate| settles(SealKind::Succinct, aggregate)),
            ..system("risc0-succinct", SealKind::Succinct)
        },
        system("risc0", SealKind::Composite),
        ProofSystem {
            can_prove: || can_prove(SealKind::Groth16),
            settles: Some(|aggregate| settles(SealKind::Groth16, aggregate)),
            ..system("risc0-groth16", SealKind::Groth16)
        },
        system("risc0-dev", SealKind::Fake),
    ];
    if recursion::can_make(SealKind::Succinct).is_err() {
        systems.swap(0, 1);
    }
    systems
}

fn open(seal: SealKind, images: &Images, memory: u64) -> Result<Arc<dyn Backend>, String> {
    let backend = Risc0Backend::new(seal, images).map_err(|error| error.to_string())?;
    Ok(Arc::new(backend.with_memory(memory)))
}

fn can_prove(seal: SealKind) -> Result<(), String> {
    recursion::can_make(seal).map_err(|missing| missing.to_string())
}

fn settles(seal: SealKind, aggregate: ProgramId) -> Result<(Proof, SealReader), String> {
    kaspa::settles(seal, aggregate).map_err(|error| error.to_string())
}
