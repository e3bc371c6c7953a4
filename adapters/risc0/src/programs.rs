//! The ledger's three programs: the images that `guests/build` makes and this crate carries.

use std::sync::OnceLock;

use reprise_model::digest::ProgramId;
use reprise_model::statement::Kind;
use reprise_risc0_guests::hash;
use risc0_binfmt::ProgramBinary;
use risc0_zkos_v1compat::V1COMPAT_ELF;

const TRANSACTION: &[u8] = include_bytes!("../images/transaction.elf");
const BATCH: &[u8] = include_bytes!("../images/batch.elf");
const AGGREGATE: &[u8] = include_bytes!("../images/aggregate.elf");

/// An image is not a program's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} program's image cannot be loaded: {reason}; make it again with guests/build")]
pub struct ImageError {
    /// Which of the three.
    pub kind: Kind,
    /// What the loader said.
    pub reason: String,
}

/// The three programs of the ledger.
#[derive(Debug)]
pub struct Programs([Program; 3]);

impl Programs {
    /// The programs, loaded on the first call.
    pub fn get() -> Result<&'static Self, ImageError> {
        static PROGRAMS: OnceLock<Result<Programs, ImageError>> = OnceLock::new();
        PROGRAMS.get_or_init(Self::load).as_ref().map_err(Clone::clone)
    }

    fn load() -> Result<Self, ImageError> {
        Ok(Self([
            Program::load(Kind::Transaction, TRANSACTION)?,
            Program::load(Kind::Batch, BATCH)?,
            Program::load(Kind::Aggregate, AGGREGATE)?,
        ]))
    }

    /// The id of the program that proves a statement of this kind.
    pub fn id(&self, kind: Kind) -> ProgramId {
        self.of(kind).id
    }

    pub(crate) fn of(&self, kind: Kind) -> &Program {
        &self.0[kind as usize]
    }
}

/// A program: its image over the zkVM's kernel. The id is the digest of the memory that both begin with.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) binary: Vec<u8>,
    id: ProgramId,
}

impl Program {
    fn load(kind: Kind, image: &[u8]) -> Result<Self, ImageError> {
        let binary = ProgramBinary::new(image, V1COMPAT_ELF);
        let id = binary.compute_image_id();
        let id = id.map_err(|error| ImageError { kind, reason: format!("{error:#}") })?;
        Ok(Self { id: hash::digest(&id).into(), binary: binary.encode() })
    }
}
