//! What the tests share: the backend, native execution over values that no chain has, and refusals.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use reprise_conformance::fixture::{self, Fixture, account};
use reprise_ledger::{Account, Ledger};
use reprise_miden::{MidenBackend, MidenError, Poseidon2, Sources};
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::{Digest, ProgramId, ResourceId};
use reprise_model::journal::{Journal, Outcome, Pins, TransactionJournal};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::processor;
use reprise_model::receipt::{Receipt, Verified, VerifiedMark};
use reprise_model::statement::Claim;
use reprise_model::transaction::{LaneTransaction, TransactionRead};
use reprise_model::witness::{BatchWitness, TransactionWitness, Witness};
use reprise_prover::backend::Backend;
use reprise_scheduler::execution::Division;

/// The context of every transaction that is in no block.
pub const CONTEXT: BlockContext = BlockContext { timestamp_ms: 5, daa_score: 6, blue_score: 7 };

pub fn backend() -> &'static MidenBackend {
    static BACKEND: OnceLock<MidenBackend> = OnceLock::new();
    BACKEND.get_or_init(|| MidenBackend::new(&ledger(), Arc::new(Ledger)).unwrap())
}

/// The ledger's programs.
pub fn ledger() -> Sources {
    Sources::of(include_str!("../../../../guests/ledger/workload.masm"))
}

pub fn ids() -> [ProgramId; 3] {
    Backend::programs(backend())
}

pub fn pins() -> Pins {
    fixture::pins(ids())
}

/// A chain whose batches hold so many transactions and execute each of them.
pub fn chain_of(programs: [ProgramId; 3], transactions: usize) -> Fixture {
    let limits = Limits { transactions, ..Limits::NONE };
    let division = Division { limits, apart: ProveApart::Never };
    Fixture::proving(Arc::new(Poseidon2), programs, None, division)
}

pub fn run_batch(witness: &BatchWitness, receipts: &[Verified<Receipt>]) -> Result<Digest, MidenError> {
    backend().execute(&Witness::Batch(witness.clone()), receipts)
}

/// Proves and verifies.
pub fn prove(claim: &Claim, witness: &Witness, assumptions: &[Verified<Receipt>]) -> Verified<Receipt> {
    Verified::check(backend().prove(claim, witness, assumptions).unwrap(), backend()).unwrap()
}

/// Past a mark that says it was verified.
pub fn trusted(receipt: Receipt) -> Verified<Receipt> {
    let mark = VerifiedMark { checksum: receipt.checksum(), at_ms: 0 };
    Verified::recall(receipt, &mark).unwrap()
}

#[track_caller]
pub fn assert_refused(result: Result<Digest, MidenError>, why: &str) {
    match result {
        Err(MidenError::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

/// No receipt has the claim that a program verifies.
pub const NO_PROOF: &str = "not present in the advice map";
/// A transaction met another value.
pub const STALE: &str = "a value before is not the one in the state";

/// A transaction, executed.
#[derive(Clone)]
pub struct Executed {
    pub journal: TransactionJournal,
    pub witness: TransactionWitness,
}

impl Executed {
    pub fn claim(&self) -> Claim {
        Claim { program: backend().programs().transaction(), journal: self.journal.bytes() }
    }

    pub fn prove(&self) -> Verified<Receipt> {
        prove(&self.claim(), &Witness::Transaction(self.witness.clone()), &[])
    }
}

/// Values that no chain need have.
#[derive(Clone, Default)]
pub struct Values(pub HashMap<ResourceId, Vec<Cell>>);

impl Values {
    pub fn with(accounts: &[(&str, u64, u64)]) -> Self {
        let mut values = Self::default();
        for (name, balance, nonce) in accounts {
            values.put(name, Account::new(*balance, *nonce));
        }
        values
    }

    pub fn put(&mut self, name: &str, held: Account) {
        self.0.insert(account(name), held.cells());
    }

    pub fn account(&self, name: &str) -> Option<Account> {
        Account::from_cells(self.0.get(&account(name))?)
    }

    /// What native execution makes of a transaction, which takes effect; the outcome of one that is disposed of.
    pub fn execute(&mut self, tx: &LaneTransaction) -> Result<Executed, Outcome> {
        self.execute_as(tx, &tx.read(&pins().rollup()))
    }

    /// The same, of a transaction of which this is said to be read.
    pub fn execute_as(&mut self, tx: &LaneTransaction, read: &TransactionRead) -> Result<Executed, Outcome> {
        let declared = processor::declared(&Ledger, tx, read)?;
        let before: Vec<_> = declared.iter().map(|id| self.0.get(id).cloned()).collect();
        let view: Vec<_> = declared.iter().copied().zip(before.iter().map(Option::as_deref)).collect();
        let context = processor::asks_context(&Ledger, read).then_some(CONTEXT);
        let effects = processor::execute(&Ledger, &read.message, &read.facts, &view, context);
        let digest = tx.digest(&Poseidon2, read);
        let journal = TransactionJournal::of(&Poseidon2, digest, &view, context, &effects);
        for (resource, value) in effects.writes {
            self.0.insert(resource, value.unwrap());
        }
        let witness = TransactionWitness { transaction: tx.cells(read), before, context };
        Ok(Executed { journal, witness })
    }
}
