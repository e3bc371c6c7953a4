//! Which receipts this build can make.
//!
//! | receipts | need |
//! |---|---|
//! | composite | nothing more |
//! | succinct | the recursion programs: lifts, joins, `resolve`. `prepare` brings them from crates.io |
//! | Groth16 | the recursion programs, and the proof system's Groth16 prover: its container (`docker`), or CUDA with its proving key of gigabytes |
//!
//! No Groth16 receipt has been made with this adapter: neither the container nor the key is on crates.io. Kaspa verifies
//! succinct receipts, so settling needs none. Verifying needs nothing of this table.

use std::fmt;
use std::sync::OnceLock;

use reprise_model::profile::SealKind;
use risc0_circuit_recursion::prove::zkr;

/// What is missing to make a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missing {
    /// The recursion programs.
    #[error("this build has no recursion programs; run ./prepare in adapters/risc0 and build again")]
    Programs,
    /// The proof system's Groth16 prover.
    #[error(
        "the step from a succinct receipt to a Groth16 one runs in RISC Zero's container, and there is no `docker` in PATH; \
         install it, or build with the feature `cuda` and install RISC Zero's component risc0-groth16"
    )]
    Groth16Prover,
}

/// The recursion programs of this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecursionPrograms {
    /// They are part of the build.
    Present {
        /// Where the build took them from.
        source: &'static str,
    },
    /// They are not.
    Absent,
}

/// What this build has, asked of the library that uses them.
pub fn programs() -> RecursionPrograms {
    static FOUND: OnceLock<RecursionPrograms> = OnceLock::new();
    *FOUND.get_or_init(|| match zkr::get_zkr("join.zkr", 18) {
        Ok(_) => RecursionPrograms::Present {
            source: option_env!("REPRISE_RECURSION_PROGRAMS").unwrap_or("an unknown source"),
        },
        Err(_) => RecursionPrograms::Absent,
    })
}

/// Whether receipts with such a seal can be made here; if not, what is missing.
pub fn can_make(seal: SealKind) -> Result<(), Missing> {
    let programs = match programs() {
        RecursionPrograms::Present { .. } => Ok(()),
        RecursionPrograms::Absent => Err(Missing::Programs),
    };
    match seal {
        SealKind::Fake | SealKind::Composite => Ok(()),
        SealKind::Succinct => programs,
        SealKind::Groth16 => {
            programs.and(if groth16_prover() { Ok(()) } else { Err(Missing::Groth16Prover) })
        }
    }
}

fn groth16_prover() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    cfg!(feature = "cuda") || std::env::split_paths(&path).any(|directory| directory.join("docker").is_file())
}

impl fmt::Display for RecursionPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Present { source } => write!(f, "recursion programs present, from {source}"),
            Self::Absent => f.write_str("recursion programs absent"),
        }
    }
}

/// What this build can make of each kind of receipt, and what is missing, in words.
pub fn summary() -> String {
    let kinds = [SealKind::Composite, SealKind::Succinct, SealKind::Groth16];
    let said = kinds.map(|seal| match can_make(seal) {
        Ok(()) => format!("{seal} receipts: yes"),
        Err(missing) => format!("{seal} receipts: no, {missing}"),
    });
    format!("{}; {}", programs(), said.join("; "))
}
