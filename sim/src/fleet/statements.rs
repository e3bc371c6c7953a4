//! What a simulated fleet proves: statements of the ledger, some of which rely on an earlier one.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use reprise_ledger::Ledger;
use reprise_model::digest::{Digest, ProgramId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::Journal as _;
use reprise_model::program;
use reprise_model::statement::{Claim, ClaimScheme, StatementId};
use reprise_model::transaction::{self, LaneTransaction, Price, TransactionFacts, TransactionRead};
use reprise_model::witness::{TransactionWitness, Witness};
use reprise_node::rng::Rng;
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};

/// How many statements a drawn world has at most.
pub(crate) const STATEMENTS_MAX: usize = 96;

/// A mock of the ledger's programs.
pub fn mock(config: MockConfig) -> Arc<MockBackend> {
    Arc::new(MockBackend::new(config, Arc::new(Blake3), Arc::new(Ledger)))
}

/// One deposit, by number, under the ledger's transaction program: a task that relies on nothing. Nothing where the ledger
/// makes none of it.
pub fn task(number: u32, program: ProgramId) -> Option<Task> {
    let authority = ResourceId(blake3::derive_key("reprise simulated depositor", &number.to_le_bytes()));
    let facts = TransactionFacts { authority, deposit: u64::from(number) + 1, price: Price::FREE };
    let payload = transaction::payload(&[], &Digest::ZERO, &[])?;
    let transaction = LaneTransaction { merge_index: 1, version: 1, rest: vec![], payload };
    let witness = TransactionWitness {
        transaction: transaction.cells(&TransactionRead { facts, message: vec![] }),
        before: vec![None],
        context: None,
    };
    let journal = program::transaction(&Blake3, &Ledger, &witness).ok()?.bytes();
    Some(Task {
        claim: Claim { program, journal },
        witness: Witness::Transaction(witness),
        assumptions: vec![],
    })
}

/// The first so many tasks. They are the same in every world, and take a while to make.
fn tasks(count: usize) -> Cow<'static, [Task]> {
    static TASKS: OnceLock<Vec<Task>> = OnceLock::new();
    let make = |count: usize| -> Vec<Task> {
        let [program, ..] = mock(MockConfig::default()).programs();
        (0..count as u32).filter_map(|number| task(number, program)).collect()
    };
    match TASKS.get_or_init(|| make(STATEMENTS_MAX)).get(..count) {
        Some(first) => Cow::Borrowed(first),
        None => Cow::Owned(make(count)),
    }
}

/// A statement of a world.
#[derive(Debug, Clone)]
pub(crate) struct Statement {
    pub(crate) id: StatementId,
    /// Where it is used.
    pub(crate) checkpoint: u64,
    /// How long a worker of the usual speed proves it.
    pub(crate) cost_ms: u64,
    /// The statement that it relies on, used at the same checkpoint or at the one before.
    pub(crate) relies_on: Option<usize>,
    task: Task,
}

impl Statement {
    /// What it is proved from, but for the receipt that it relies on.
    pub(crate) fn task(&self) -> Task {
        self.task.clone()
    }
}

/// The same with everything that they rely on, in their order.
pub(crate) fn with_what_they_rely_on(statements: &[Statement], wants: &[usize]) -> Vec<usize> {
    let mut all: BTreeSet<usize> = BTreeSet::new();
    for want in wants {
        let mut next = Some(*want);
        while let Some(at) = next {
            all.insert(at);
            next = statements[at].relies_on;
        }
    }
    all.into_iter().collect()
}

/// Statements that are wanted at once, rely on nothing, and take as long as each other.
pub(crate) fn even(count: usize, cost_ms: u64) -> Vec<Statement> {
    let backend = mock(MockConfig::default());
    let of = |task: &Task| Statement {
        id: backend.statement(&task.claim).id(),
        checkpoint: 1,
        cost_ms,
        relies_on: None,
        task: task.clone(),
    };
    tasks(count).iter().map(of).collect()
}

/// The statements of a world, by where they are used.
pub(crate) fn draw(rng: &mut Rng, count: usize) -> Vec<Statement> {
    let backend = mock(MockConfig::default());
    let mut checkpoint = 1;
    let mut all: Vec<Statement> = vec![];
    for task in tasks(count).iter() {
        checkpoint += u64::from(rng.percent(60));
        let near = |other: &Statement| other.checkpoint + 1 >= checkpoint;
        let candidates: Vec<usize> = (0..all.len()).filter(|at| near(&all[*at])).collect();
        let relies_on = if rng.percent(50) { rng.pick(&candidates).copied() } else { None };
        let cost_ms = rng.among(500..40_000);
        let id = backend.statement(&task.claim).id();
        all.push(Statement { id, checkpoint, cost_ms, relies_on, task: task.clone() });
    }
    all
}
