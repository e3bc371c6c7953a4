//! The ledger's three programs, assembled once.

use std::sync::OnceLock;

use miden_core_lib::CoreLibrary;
use miden_vm::assembly::Linkage;
use miden_vm::{Assembler, Program};
use reprise_model::digest::ProgramId;
use reprise_model::statement::Kind;

use crate::hash;

const CELLS: &str = include_str!("../../../guests/ledger/cells.masm");
const TRANSACTION: &str = include_str!("../../../guests/ledger/transaction.masm");
const BATCH: &str = include_str!("../../../guests/ledger/batch.masm");
const AGGREGATE: &str = include_str!("../../../guests/ledger/aggregate.masm");

/// A program did not assemble.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} program does not assemble: {reason}")]
pub struct AssemblyError {
    /// Which of the three.
    pub kind: Kind,
    /// The assembler's words.
    pub reason: String,
}

/// The three programs of the ledger. A program's id is its MAST root: four field elements, 32 bytes.
#[derive(Debug)]
pub struct Programs {
    transaction: Program,
    batch: Program,
    aggregate: Program,
}

impl Programs {
    /// The programs, assembled on the first call.
    pub fn get() -> Result<&'static Self, AssemblyError> {
        static PROGRAMS: OnceLock<Result<Programs, AssemblyError>> = OnceLock::new();
        PROGRAMS.get_or_init(Self::assemble).as_ref().map_err(Clone::clone)
    }

    fn assemble() -> Result<Self, AssemblyError> {
        Ok(Self {
            transaction: assemble(Kind::Transaction, TRANSACTION)?,
            batch: assemble(Kind::Batch, BATCH)?,
            aggregate: assemble(Kind::Aggregate, AGGREGATE)?,
        })
    }

    /// The id of the program that proves a transaction.
    pub fn transaction(&self) -> ProgramId {
        id(&self.transaction)
    }

    /// The id of the program that proves a batch.
    pub fn batch(&self) -> ProgramId {
        id(&self.batch)
    }

    /// The id of the program that proves an aggregate.
    pub fn aggregate(&self) -> ProgramId {
        id(&self.aggregate)
    }

    pub(crate) fn of(&self, kind: Kind) -> &Program {
        match kind {
            Kind::Transaction => &self.transaction,
            Kind::Batch => &self.batch,
            Kind::Aggregate => &self.aggregate,
        }
    }
}

fn id(program: &Program) -> ProgramId {
    hash::digest(&program.hash()).into()
}

fn assemble(kind: Kind, source: &str) -> Result<Program, AssemblyError> {
    let because = |reason: String| AssemblyError { kind, reason };
    let report = |report: miden_vm::assembly::Report| because(format!("{report:?}"));
    let core = CoreLibrary::default();
    let mut assembler =
        Assembler::default().with_package(core.package(), Linkage::Dynamic).map_err(report)?;
    assembler.compile_and_statically_link(CELLS).map_err(report)?;
    let package = assembler.assemble_program(kind.to_string(), source).map_err(report)?;
    package.try_into_program().map_err(report)
}
