//! The three programs of a workload: their images, as `guests/build` makes them, and their ids.

use reprise_model::digest::ProgramId;
use reprise_model::statement::Kind;
use reprise_risc0_guests::hash;
use risc0_binfmt::{MemoryImage, ProgramBinary};
use risc0_zkos_v1compat::V1COMPAT_ELF;
use risc0_zkvm::SystemState;
use risc0_zkvm::sha::Digestible;

/// The images of a workload's three programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Images {
    /// The program that proves a transaction.
    pub transaction: &'static [u8],
    /// The program that proves a batch.
    pub batch: &'static [u8],
    /// The program that proves an aggregate.
    pub aggregate: &'static [u8],
}

/// The ledger's, which this crate carries.
pub const LEDGER: Images = Images {
    transaction: include_bytes!("../images/transaction.elf"),
    batch: include_bytes!("../images/batch.elf"),
    aggregate: include_bytes!("../images/aggregate.elf"),
};

/// An image is not a program's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} program's image cannot be loaded: {reason}; make it again with guests/build")]
pub struct ImageError {
    /// Which of the three.
    pub kind: Kind,
    /// What the loader said.
    pub reason: String,
}

/// The three programs of a workload.
#[derive(Debug)]
pub struct Programs([Program; 3]);

impl Programs {
    /// Loads the images.
    pub fn load(images: &Images) -> Result<Self, ImageError> {
        let Images { transaction, batch, aggregate } = images;
        Ok(Self([
            Program::load(Kind::Transaction, transaction)?,
            Program::load(Kind::Batch, batch)?,
            Program::load(Kind::Aggregate, aggregate)?,
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

/// A program: the memory that it and the zkVM's kernel begin with, and the id that follows from it. The memory's Merkle tree takes longer
/// than most runs of the program, so it is computed once.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) memory: MemoryImage,
    id: ProgramId,
}

impl Program {
    fn load(kind: Kind, image: &[u8]) -> Result<Self, ImageError> {
        let memory = ProgramBinary::new(image, V1COMPAT_ELF).to_image();
        let mut memory = memory.map_err(|error| ImageError { kind, reason: format!("{error:#}") })?;
        let begins = SystemState { pc: 0, merkle_root: memory.image_id() };
        Ok(Self { id: hash::digest(&begins.digest()).into(), memory })
    }
}
