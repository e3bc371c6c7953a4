//! Whether this build holds the recursion programs, without which no succinct or Groth16 receipt can be made.
//!
//! They are 60 MB that the proof system publishes beside its crates. A build takes them from the file that
//! `RECURSION_SRC_PATH` names, checked by its digest, and goes without them where it names none. Verifying such
//! receipts needs none of this.

use std::fmt;
use std::sync::OnceLock;

use reprise_model::profile::SealKind;
use risc0_circuit_recursion::prove::zkr;

/// The recursion programs of this build.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecursionPrograms {
    /// They are here.
    Present,
    /// They are not: composite receipts only.
    Absent,
}

/// What this build has, asked of the library that would use them.
pub fn programs() -> RecursionPrograms {
    static FOUND: OnceLock<RecursionPrograms> = OnceLock::new();
    *FOUND.get_or_init(|| match zkr::get_zkr("join.zkr", 18) {
        Ok(_) => RecursionPrograms::Present,
        Err(_) => RecursionPrograms::Absent,
    })
}

impl RecursionPrograms {
    /// Whether receipts with such a seal can be made. A Groth16 receipt needs the proof system's container too,
    /// or CUDA; whether that is there shows when the first is made.
    pub fn make(self, seal: SealKind) -> bool {
        match seal {
            SealKind::Fake | SealKind::Composite => true,
            SealKind::Succinct | SealKind::Groth16 => self == Self::Present,
        }
    }
}

impl fmt::Display for RecursionPrograms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Present => "recursion programs present: composite, succinct and Groth16 receipts",
            Self::Absent => {
                "recursion programs absent: composite receipts only; for the others name the proof system's \
                 recursion_zkr.zip in RECURSION_SRC_PATH and build again"
            }
        })
    }
}
