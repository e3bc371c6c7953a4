//! The three programs of a workload, assembled from their sources.

use std::borrow::Cow;

use miden_core_lib::CoreLibrary;
use miden_vm::assembly::package::debug_info::PackageDebugInfo;
use miden_vm::assembly::{Linkage, Report};
use miden_vm::{Assembler, DefaultHost, ExecutionError, ExecutionWitness, FastProcessor};
use reprise_model::digest::ProgramId;
use reprise_model::statement::Kind;

use crate::hash;

/// The sources of a workload's three programs, in Miden assembly.
///
/// ```
/// use reprise_miden::Sources;
///
/// let counters = Sources::of(include_str!("../../../guests/counters/workload.masm"));
/// // It is what `Workload::with_programs` takes.
/// assert!(counters.modules.iter().any(|module| module.contains("namespace reprise::workload")));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The modules that the programs share, each with its `namespace`; one may use those before it.
    pub modules: Vec<Cow<'static, str>>,
    /// The program that proves a transaction.
    pub transaction: Cow<'static, str>,
    /// The program that proves a batch.
    pub batch: Cow<'static, str>,
    /// The program that proves an aggregate.
    pub aggregate: Cow<'static, str>,
}

impl Sources {
    /// The programs of a workload that is one module, `reprise::workload`: it exports `run`, which reads a transaction, executes
    /// it and leaves its journal in memory. All three programs execute it. Everything else is the library's, `guests/library`.
    pub fn of(workload: impl Into<Cow<'static, str>>) -> Self {
        Self {
            modules: vec![
                include_str!("../../../guests/library/cells.masm").into(),
                include_str!("../../../guests/library/exits.masm").into(),
                include_str!("../../../guests/library/frame.masm").into(),
                workload.into(),
                include_str!("../../../guests/library/run.masm").into(),
            ],
            transaction: include_str!("../../../guests/library/transaction.masm").into(),
            batch: include_str!("../../../guests/library/batch.masm").into(),
            aggregate: include_str!("../../../guests/library/aggregate.masm").into(),
        }
    }
}

/// A program did not assemble.
///
/// ```
/// use reprise_miden::{Programs, Sources};
///
/// let wrong = Programs::assemble(&Sources::of("namespace reprise::workload\n\npub proc run no_such_word end"));
/// assert!(wrong.unwrap_err().to_string().contains("does not assemble"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the {kind} program does not assemble: {reason}")]
pub struct AssemblyError {
    /// Which of the three.
    pub kind: Kind,
    /// The message of the assembler.
    pub reason: String,
}

/// The three programs of a workload. A program's id is its MAST root: four field elements, 32 bytes.
///
/// ```
/// use reprise_miden::{Programs, Sources};
///
/// let assembled = |module: &'static str| Programs::assemble(&Sources::of(module)).unwrap();
/// let counters = assembled(include_str!("../../../guests/counters/workload.masm"));
/// let ledger = assembled(include_str!("../../../guests/ledger/workload.masm"));
/// assert_ne!(counters.batch(), ledger.batch());
/// assert_ne!(counters.aggregate(), ledger.aggregate(), "an aggregate may compute a batch");
/// ```
#[derive(Debug)]
pub struct Programs {
    transaction: Program,
    batch: Program,
    aggregate: Program,
}

impl Programs {
    /// Assembles the programs.
    pub fn assemble(sources: &Sources) -> Result<Self, AssemblyError> {
        let assemble = |kind, source| Program::assemble(kind, &sources.modules, source);
        Ok(Self {
            transaction: assemble(Kind::Transaction, &sources.transaction)?,
            batch: assemble(Kind::Batch, &sources.batch)?,
            aggregate: assemble(Kind::Aggregate, &sources.aggregate)?,
        })
    }

    /// The id of the program that proves a transaction.
    pub fn transaction(&self) -> ProgramId {
        self.transaction.id()
    }

    /// The id of the program that proves a batch.
    pub fn batch(&self) -> ProgramId {
        self.batch.id()
    }

    /// The id of the program that proves an aggregate.
    pub fn aggregate(&self) -> ProgramId {
        self.aggregate.id()
    }

    pub(crate) fn of(&self, kind: Kind) -> &Program {
        match kind {
            Kind::Transaction => &self.transaction,
            Kind::Batch => &self.batch,
            Kind::Aggregate => &self.aggregate,
        }
    }
}

/// A program, with the messages of its assertions.
#[derive(Debug)]
pub(crate) struct Program {
    executable: miden_vm::Program,
    debug: Option<PackageDebugInfo>,
}

impl Program {
    fn assemble(kind: Kind, modules: &[Cow<'static, str>], source: &str) -> Result<Self, AssemblyError> {
        let because = |reason: String| AssemblyError { kind, reason };
        let report = |report: Report| because(format!("{report:?}"));
        let mut assembler = Assembler::default()
            .with_warnings_as_errors(true)
            .with_package(CoreLibrary::default().package(), Linkage::Dynamic)
            .map_err(report)?;
        for module in modules {
            assembler.compile_and_statically_link(module.as_ref()).map_err(report)?;
        }
        let package = assembler.assemble_program(kind.to_string(), source).map_err(report)?;
        Ok(Self {
            executable: package.try_into_program().map_err(report)?,
            debug: package.debug_info().map_err(|error| because(error.to_string()))?,
        })
    }

    pub(crate) fn id(&self) -> ProgramId {
        hash::digest(&self.executable.hash()).into()
    }

    pub(crate) fn execute(
        &self,
        processor: FastProcessor,
        host: &mut DefaultHost,
    ) -> Result<ExecutionWitness, ExecutionError> {
        let Self { executable, debug } = self;
        match debug {
            Some(debug) => {
                processor.execute_for_proving_with_package_debug_info_sync(executable, debug, host)
            }
            None => processor.execute_for_proving_sync(executable, host),
        }
    }
}
