//! Generated blocks: what native execution says of each is what a proof system proves.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use reprise_conformance::few_slots::FewSlots;
use reprise_conformance::fixture::{Fixture, LaneProver, pins, transaction};
use reprise_model::digest::{Digest, ProgramId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Access, Journal, Outcome, TransactionEffects};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::PartRef;
use reprise_model::processor::{self, Processor};
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::scheduled::{ProvedBy, ScheduledBlock, ScheduledTransaction};
use reprise_model::state;
use reprise_model::statement::{Claim, Kind};
use reprise_model::transaction::{LaneTransaction, Rollup};
use reprise_model::witness::Witness;
use reprise_node::rng::Rng;
use reprise_node::traffic::{Draft, State, Traffic};
use reprise_node::workload::Workload;
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_scheduler::execution::Division;

/// So many blocks are settled together.
const SETTLED_TOGETHER: usize = 8;

/// How many slots there are where they are few.
const SLOTS: u32 = 16;

/// Generated blocks to execute and to prove.
///
/// Each block carries up to six transactions, drawn over the state that the ones before leave. Native execution (in parallel,
/// divided into batches) is compared with a plain one, and every transaction, batch and aggregate with what the programs commit.
/// All of it once more over few slots: whoever sends a message may choose ids that share one.
///
/// ```
/// use reprise_testing::Blocks;
/// # let workload = reprise_sim::ledger::workload();
///
/// let agreed = Blocks::of(&workload).count(16).check();
/// assert_eq!(agreed.blocks, 16);
/// ```
#[derive(Clone)]
pub struct Blocks<'w> {
    workload: &'w Workload,
    seed: u64,
    count: usize,
    provers: Vec<Prover<'w>>,
    lanes: Option<LaneProver>,
}

/// Runs a program without proving: the digest of the journal that it commits, or why it refuses.
///
/// ```
/// use std::sync::Arc;
/// use reprise_testing::Execute;
///
/// let nothing: Execute<'_> = Arc::new(|witness| Err(format!("there is no program for a {}", witness.kind())));
/// # let _ = nothing;
/// ```
pub type Execute<'w> = Arc<dyn Fn(&Witness) -> Result<Digest, String> + 'w>;

/// What blocks are compared with, over a hash.
#[derive(Clone)]
struct Prover<'w> {
    by: By<'w>,
    hasher: Arc<dyn WorkloadHasher>,
}

/// What a prover makes.
#[derive(Clone)]
enum By<'w> {
    /// Proofs of everything.
    Proofs(Arc<dyn Backend>),
    /// Executions of everything that needs no proof.
    Executions([ProgramId; 3], Execute<'w>),
}

impl By<'_> {
    fn programs(&self) -> [ProgramId; 3] {
        match self {
            Self::Proofs(backend) => backend.programs(),
            Self::Executions(programs, _) => *programs,
        }
    }
}

/// What was compared and agreed.
///
/// ```
/// use reprise_model::journal::Outcome;
/// # let workload = reprise_sim::ledger::workload();
///
/// let agreed = reprise_testing::Blocks::of(&workload).count(16).check();
/// // A test asks for the outcomes that its traffic should draw.
/// assert!(agreed.outcomes.contains_key(&Outcome::SUCCESS));
/// assert!(agreed.proofs.iter().all(|proofs| *proofs > 0), "transactions, batches and aggregates");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Agreement {
    /// Blocks executed.
    pub blocks: usize,
    /// Transactions in them.
    pub transactions: usize,
    /// Proofs made, by kind; executions of the programs, where nothing is proved.
    pub proofs: [usize; Kind::COUNT],
    /// How many transactions had each outcome.
    pub outcomes: BTreeMap<Outcome, usize>,
}

/// Why generated blocks are not passed. `block` counts from 1; the same seed draws the same block again.
///
/// ```
/// use reprise_testing::{Blocks, Disagreement, Workload};
///
/// let silent = Workload::new("silent", reprise_ledger::Ledger);
/// assert!(matches!(Blocks::of(&silent).run(), Err(Disagreement::NoTraffic { .. })));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Disagreement {
    /// The workload draws no transactions.
    #[error(
        "the workload {workload} brings no generated transactions: give it some with `Workload::with_traffic`"
    )]
    NoTraffic {
        /// Its name.
        workload: String,
    },
    /// The workload panicked.
    #[error(
        "the workload panicked on the message {message} (seed {seed}, block {block}): natively that is an outcome, but a \
         guest of RISC Zero ends with it, and nothing after the transaction could be settled"
    )]
    Panicked {
        /// The message, in hexadecimal.
        message: String,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// Two executions had different effects.
    #[error(
        "two executions of the message {message} over the same values differ (seed {seed}, block {block}): the workload reads \
         something else than its arguments"
    )]
    NotDeterministic {
        /// The message, in hexadecimal.
        message: String,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// A value of no cells was written.
    #[error(
        "the message {message} gives {resource} a value of no cells (seed {seed}, block {block}): no program of Miden could read it; \
         delete the resource, or write a cell"
    )]
    EmptyValue {
        /// The message, in hexadecimal.
        message: String,
        /// What has it.
        resource: ResourceId,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// The pipeline executes a transaction otherwise than a plain execution.
    #[error(
        "the message {message} ends as {found:?} in the pipeline and as {expected:?} alone (seed {seed}, block {block}): the \
         workload keeps something between its calls"
    )]
    NotPlain {
        /// The message, in hexadecimal.
        message: String,
        /// How it ended in a plain execution.
        expected: Outcome,
        /// How it ended in the pipeline.
        found: Outcome,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// The pipeline leaves another value than a plain execution.
    #[error(
        "{resource} has another value in the pipeline than alone after the message {message} (seed {seed}, block {block}): the \
         workload keeps something between its calls"
    )]
    OtherValue {
        /// The message, in hexadecimal.
        message: String,
        /// What has another value.
        resource: ResourceId,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// A program does not commit what native execution expects, or refuses.
    #[error(
        "the {kind} program disagrees with native execution (seed {seed}, block {block}): {reason}{}",
        natively(executed)
    )]
    NotProved {
        /// Of what.
        kind: Kind,
        /// What the backend said.
        reason: String,
        /// The transactions that the program was to execute; none where it verifies proofs alone.
        executed: Vec<Executed>,
        /// The seed.
        seed: u64,
        /// The block.
        block: usize,
    },
    /// Of all that was drawn, nothing succeeded.
    #[error(
        "no drawn transaction succeeded, so nothing was tested: draw transactions that succeed over the state (outcomes: \
         {outcomes:?})"
    )]
    NothingSucceeded {
        /// How many transactions had each outcome.
        outcomes: BTreeMap<Outcome, usize>,
    },
}

/// What native execution says of a transaction.
///
/// ```
/// use reprise_model::journal::Outcome;
/// use reprise_testing::Executed;
///
/// let executed = Executed { message: "4c444733".into(), outcome: Outcome::MALFORMED, accesses: vec![] };
/// assert_eq!(executed.to_string(), "4c444733 ends as Outcome(1) and changes nothing");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// Its message, in hexadecimal.
    pub message: String,
    /// How it ends.
    pub outcome: Outcome,
    /// The values that it declares, and their hashes before and after.
    pub accesses: Vec<Access>,
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { message, outcome, accesses } = self;
        let message = if message.is_empty() { "the empty message" } else { message };
        write!(f, "{message} ends as {outcome:?} and changes ")?;
        let mut changed = accesses.iter().filter(|access| access.before != access.after).peekable();
        if changed.peek().is_none() {
            return f.write_str("nothing");
        }
        let deleted = |access: &Access| if access.after == Digest::ZERO { " (deleted)" } else { "" };
        let changed = changed.map(|access| format!("{}{}", access.resource, deleted(access)));
        f.write_str(&changed.collect::<Vec<_>>().join(", "))
    }
}

fn natively(executed: &[Executed]) -> String {
    executed.iter().map(|executed| format!("\n  natively {executed}")).collect()
}

impl<'w> Blocks<'w> {
    /// Two hundred blocks, proved by the mock: it runs the programs that a guest of RISC Zero runs.
    pub fn of(workload: &'w Workload) -> Self {
        let mock = |hasher: Arc<dyn WorkloadHasher>| {
            let config = MockConfig { workload: workload.name().into(), ..MockConfig::default() };
            let backend = Arc::new(MockBackend::new(config, hasher.clone(), workload.processor()));
            Prover { by: By::Proofs(backend), hasher }
        };
        let provers = vec![mock(Arc::new(Blake3)), mock(Arc::new(FewSlots(SLOTS)))];
        Self { workload, seed: 1, count: 200, provers, lanes: None }
    }

    /// Blocks of another seed.
    #[must_use]
    pub fn seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// So many blocks.
    #[must_use]
    pub fn count(self, count: usize) -> Self {
        Self { count, ..self }
    }

    /// Blocks proved by another backend, over the hash that its programs use. An L1 without lane proofs carries them, but for
    /// [`on_lanes`](Self::on_lanes).
    #[must_use]
    pub fn proved_by(self, backend: Arc<dyn Backend>, hasher: Arc<dyn WorkloadHasher>) -> Self {
        Self { provers: vec![Prover { by: By::Proofs(backend), hasher }], ..self }
    }

    /// Blocks whose programs are run and not proved, for a proof system whose proofs cost more than a test may take. Each transaction is
    /// run apart, each batch with its transactions in it, and for each block an aggregate that computes its batches. What verifies proofs
    /// is left out.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// use reprise_model::digest::{Digest, ProgramId};
    /// use reprise_model::hash::Blake3;
    /// use reprise_testing::Blocks;
    /// # let workload = reprise_sim::ledger::workload();
    ///
    /// let programs = [1, 2, 3].map(|id| ProgramId([id; 32]));
    /// // A backend's `execute` stands here.
    /// let refused = Blocks::of(&workload).executed_by(programs, Arc::new(Blake3), Arc::new(|_| Ok(Digest::ZERO))).run();
    /// assert!(refused.unwrap_err().to_string().contains("disagrees with native execution"));
    /// ```
    #[must_use]
    pub fn executed_by(
        self,
        programs: [ProgramId; 3],
        hasher: Arc<dyn WorkloadHasher>,
        execute: Execute<'w>,
    ) -> Self {
        Self { provers: vec![Prover { by: By::Executions(programs, execute), hasher }], ..self }
    }

    /// Blocks of an L1 with lane proofs, which programs over its own lane tip open.
    #[must_use]
    pub fn on_lanes(self, prover: LaneProver) -> Self {
        Self { lanes: Some(prover), ..self }
    }

    /// Executes and proves them.
    pub fn run(&self) -> Result<Agreement, Disagreement> {
        let workload = self.workload.name().into();
        let traffic = self.workload.traffic().ok_or(Disagreement::NoTraffic { workload })?;
        let mut agreed = Agreement::default();
        for prover in &self.provers {
            // Both ways to prove a transaction, over the same blocks. Executions do both at once.
            let ways: &[_] = match prover.by {
                By::Proofs(_) => &[ProveApart::Never, ProveApart::Always],
                By::Executions(..) => &[ProveApart::Never],
            };
            for apart in ways.iter().copied() {
                agreed = Compared::new(self, prover, apart).all(traffic.as_ref())?;
            }
        }
        match agreed.outcomes.get(&Outcome::SUCCESS) {
            Some(_) => Ok(agreed),
            None => Err(Disagreement::NothingSucceeded { outcomes: agreed.outcomes }),
        }
    }

    /// The same, as a test.
    ///
    /// # Panics
    ///
    /// Where something disagrees, with the message, the seed and the block.
    #[track_caller]
    #[expect(clippy::panic, reason = "a test fails by a panic")]
    pub fn check(&self) -> Agreement {
        match self.run() {
            Ok(agreed) => agreed,
            Err(disagreed) => panic!("{disagreed}"),
        }
    }
}

/// A part of an aggregate, and its receipt.
type ProvedPart = (PartRef, Verified<Receipt>);

/// One pass over the blocks.
struct Compared<'b, 'w> {
    blocks: &'b Blocks<'w>,
    prover: &'b Prover<'w>,
    processor: Arc<dyn Processor>,
    rollup: Rollup,
    fixture: Fixture,
    state: State,
    agreed: Agreement,
    /// The transactions of the block that is compared.
    executed: Vec<Executed>,
    /// The batches that are proved and not settled yet.
    unsettled: Vec<(usize, Vec<ProvedPart>)>,
}

impl<'b, 'w> Compared<'b, 'w> {
    fn new(blocks: &'b Blocks<'w>, prover: &'b Prover<'w>, apart: ProveApart) -> Self {
        let (processor, programs) = (blocks.workload.processor(), prover.by.programs());
        let limits = match &prover.by {
            By::Proofs(backend) => backend.limits(),
            By::Executions(..) => Limits::NONE,
        };
        let limits = Limits { transactions: 3, ..limits };
        let division = Division { limits, apart };
        let fixture = Fixture::of(processor.clone(), prover.hasher.clone(), programs, blocks.lanes, division);
        Self {
            blocks,
            prover,
            processor,
            rollup: pins(programs).rollup(),
            fixture,
            state: State::default(),
            agreed: Agreement::default(),
            executed: vec![],
            unsettled: vec![],
        }
    }

    fn all(mut self, traffic: &dyn Traffic) -> Result<Agreement, Disagreement> {
        let mut rng = Rng::of(self.blocks.seed, "generated blocks");
        for block in 0..self.blocks.count {
            let (mut accepted, mut outcomes) = (vec![], vec![]);
            for merge_index in 1..=rng.among(0..7) as u32 {
                let Draft { by, message, deposit } = traffic.draw(&mut rng, &self.state);
                let transaction = transaction(merge_index, &by, deposit, message);
                outcomes.push(self.plainly(block, &transaction)?);
                accepted.push(transaction);
            }
            self.agreed.blocks += 1;
            self.agreed.transactions += accepted.len();
            self.proved(block, &accepted, &outcomes)?;
        }
        Ok(self.agreed)
    }

    /// Executes a transaction alone, twice, over the state so far, which it then changes. Returns how it ended.
    fn plainly(&mut self, block: usize, transaction: &LaneTransaction) -> Result<Outcome, Disagreement> {
        let read = transaction.read(&self.rollup);
        let (message, seed, block) = (hex(&read.message), self.blocks.seed, block + 1);
        let processor = self.processor.as_ref();
        let declare = || processor.declare(&read.message, &read.facts);
        let Ok(declares) = catch_unwind(AssertUnwindSafe(|| (declare(), declare()))) else {
            return Err(Disagreement::Panicked { message, seed, block });
        };
        let declared = processor::declared(processor, transaction, &read).unwrap_or_default();
        let context = self.fixture.next_context();
        let given = processor::asks_context(processor, &read).then_some(context);
        let execute = || -> TransactionEffects {
            let before: Vec<_> = declared.iter().map(|id| (*id, self.state.read(id))).collect();
            processor::execute(processor, &read.message, &read.facts, &before, given)
        };
        let effects = (!declared.is_empty()).then(|| (execute(), execute()));
        if declares.0 != declares.1 || effects.as_ref().is_some_and(|(once, again)| once != again) {
            return Err(Disagreement::NotDeterministic { message, seed, block });
        }
        let writes = effects.map(|(effects, _)| effects.writes).unwrap_or_default();
        if let Some((resource, _)) =
            writes.iter().find(|(_, value)| value.as_ref().is_some_and(Vec::is_empty))
        {
            return Err(Disagreement::EmptyValue { message, resource: *resource, seed, block });
        }
        let outcome = self.state.apply(processor, &self.rollup, context, transaction);
        if outcome == Outcome::PANICKED {
            return Err(Disagreement::Panicked { message, seed, block });
        }
        *self.agreed.outcomes.entry(outcome).or_default() += 1;
        Ok(outcome)
    }

    /// Checks what the pipeline says of a block against the plain execution of it.
    fn agrees(
        &self,
        block: usize,
        accepted: &[LaneTransaction],
        outcomes: &[Outcome],
        scheduled: &ScheduledBlock,
    ) -> Result<(), Disagreement> {
        let (seed, block) = (self.blocks.seed, block + 1);
        let mut last = BTreeMap::new();
        for ((transaction, expected), scheduled) in accepted.iter().zip(outcomes).zip(&scheduled.transactions)
        {
            let (expected, found) = (*expected, scheduled.journal.outcome);
            if expected != found {
                let message = hex(transaction.message(&self.rollup.covenant));
                return Err(Disagreement::NotPlain { message, expected, found, seed, block });
            }
            last.extend(scheduled.journal.accesses.iter().map(|it| (it.resource, (it.after, transaction))));
        }
        let hasher = self.prover.hasher.as_ref();
        let other = |(resource, (after, _)): &(&ResourceId, &(Digest, &LaneTransaction))| {
            state::value(hasher, self.state.read(resource)) != *after
        };
        match last.iter().find(other) {
            None => Ok(()),
            Some((resource, (_, transaction))) => {
                let (message, resource) = (hex(transaction.message(&self.rollup.covenant)), *resource);
                Err(Disagreement::OtherValue { message, resource, seed, block })
            }
        }
    }

    /// Executes a block in the pipeline's way, and proves its batches.
    fn proved(
        &mut self,
        block: usize,
        accepted: &[LaneTransaction],
        outcomes: &[Outcome],
    ) -> Result<(), Disagreement> {
        let scheduled = self.fixture.block(accepted.to_vec()).clone();
        self.agrees(block, accepted, outcomes, &scheduled)?;
        let executed = |(transaction, scheduled): (&LaneTransaction, &ScheduledTransaction)| Executed {
            message: hex(transaction.message(&self.rollup.covenant)),
            outcome: scheduled.journal.outcome,
            accesses: scheduled.journal.accesses.clone(),
        };
        self.executed = accepted.iter().zip(&scheduled.transactions).map(executed).collect();
        let backend = match &self.prover.by {
            By::Proofs(backend) => backend.clone(),
            By::Executions(_, execute) => return self.executed(block, &scheduled, &execute.clone()),
        };
        let mut parts = vec![];
        for (index, part) in self.fixture.parts(&[block]).into_iter().enumerate() {
            let batch = &scheduled.batches[index];
            let mut assumptions = vec![];
            for at in batch.range() {
                if scheduled.transactions[at].proved_by == ProvedBy::Itself {
                    let witness = Witness::Transaction(self.fixture.transaction_witness(block, at));
                    let claim = self.fixture.transaction_claim(block, at);
                    assumptions.push(self.prove(&backend, block, claim, witness, vec![], at..at + 1)?);
                }
            }
            let witness = Witness::Batch(self.fixture.batch_witness_at(block, index));
            let claim = self.fixture.batch_claim_at(block, index);
            let executes = batch.range();
            parts.push((part, self.prove(&backend, block, claim, witness, assumptions, executes)?));
        }
        if !parts.is_empty() {
            self.unsettled.push((block, parts));
        }
        if self.unsettled.len() == SETTLED_TOGETHER {
            self.settle(&backend, block)?;
        }
        Ok(())
    }

    /// Runs the programs of a block, and compares what each commits.
    fn executed(
        &mut self,
        block: usize,
        scheduled: &ScheduledBlock,
        execute: &Execute<'_>,
    ) -> Result<(), Disagreement> {
        let (seed, hasher) = (self.blocks.seed, self.prover.hasher.clone());
        let mut compare = |witness: Witness, expected: Digest, executes: Range<usize>| {
            let kind = witness.kind();
            self.agreed.proofs[kind as usize] += 1;
            let reason = match execute(&witness) {
                Ok(committed) if committed == expected => return Ok(()),
                Ok(committed) => format!("it commits {committed}, and {expected} is expected"),
                Err(refused) => refused,
            };
            let executed = self.executed[executes].to_vec();
            Err(Disagreement::NotProved { kind, reason, executed, seed, block: block + 1 })
        };
        for (at, transaction) in scheduled.transactions.iter().enumerate() {
            if transaction.proved_by != ProvedBy::Disposal {
                let witness = Witness::Transaction(self.fixture.transaction_witness(block, at));
                compare(witness, transaction.journal.digest(hasher.as_ref()), at..at + 1)?;
            }
        }
        for (at, batch) in scheduled.batches.iter().enumerate() {
            let witness = Witness::Batch(self.fixture.batch_witness_at(block, at));
            compare(witness, self.fixture.span_at(block, at).journal.digest(hasher.as_ref()), batch.range())?;
        }
        let parts = Fixture::computed(&self.fixture.parts(&[block]));
        if let Some(settled) = self.fixture.aggregate_journal(&[block]).filter(|_| !parts.is_empty()) {
            let witness = Witness::Aggregate(self.fixture.settlement_witness(&parts));
            compare(witness, settled.digest(hasher.as_ref()), 0..scheduled.transactions.len())?;
        }
        Ok(())
    }

    /// Joins what is proved, as far as one proof can, and settles it.
    fn settle(&mut self, backend: &Arc<dyn Backend>, block: usize) -> Result<(), Disagreement> {
        let (blocks, parts): (Vec<_>, Vec<_>) = std::mem::take(&mut self.unsettled).into_iter().unzip();
        let mut parts: Vec<_> = parts.into_iter().flatten().collect();
        let proofs = backend.limits().proofs.clamp(2, 4);
        while parts.len() > proofs {
            let mut joined = vec![];
            for some in parts.chunks(proofs) {
                let (some, receipts): (Vec<_>, Vec<_>) = some.iter().cloned().unzip();
                let (claim, witness) = self.fixture.join(&some);
                let witness = Witness::Aggregate(witness);
                let receipt = self.prove(backend, block, claim, witness, receipts, 0..0)?;
                joined.push((Fixture::joined(&some), receipt));
            }
            parts = joined;
        }
        let (parts, receipts): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
        let claim = self.fixture.aggregate_claim(&blocks);
        let witness = Witness::Aggregate(self.fixture.settlement_witness(&parts));
        self.prove(backend, block, claim, witness, receipts, 0..0)?;
        Ok(())
    }

    fn prove(
        &mut self,
        backend: &Arc<dyn Backend>,
        block: usize,
        claim: Claim,
        witness: Witness,
        assumptions: Vec<Verified<Receipt>>,
        executes: Range<usize>,
    ) -> Result<Verified<Receipt>, Disagreement> {
        let (kind, backend) = (witness.kind(), backend.as_ref());
        let (seed, block) = (self.blocks.seed, block + 1);
        let executed = &self.executed;
        let failed = |reason| {
            let executed = executed[executes.clone()].to_vec();
            Disagreement::NotProved { kind, reason, executed, seed, block }
        };
        let proof = backend.prove(&Task { claim, witness, assumptions });
        let receipt = proof.map_err(|error| failed(error.to_string()))?.receipt;
        let receipt = Verified::check(receipt, backend).map_err(|error| failed(error.to_string()))?;
        self.agreed.proofs[kind as usize] += 1;
        Ok(receipt)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
