//! What every backend keeps, as one suite: what is known before proving is what is proved, and nothing else verifies.
//!
//! It makes every proof of its [`ProofCase`] once.

use std::slice;
use std::sync::Arc;

use reprise_ledger::{Action, Ledger};
use reprise_model::context::BlockContext;
use reprise_model::digest::{ProgramId, ResourceId};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::lane::WorkloadHasher;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, VerifiedMark, VerifyError};
use reprise_model::statement::Claim;
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, TransactionFacts};
use reprise_model::witness::{AggregateWitness, BatchWitness, Handling, TransactionWitness, Witness};
use reprise_prover::backend::{Backend, ProveError, Task};
use reprise_scheduler::execution::Division;

use crate::fixture::{
    EXIT, Fixture, LaneProver, account, computed, fund, list, pay, proved, transaction, turn,
};

/// What is to be proved, and from what.
pub type Provable = (Claim, Witness);

/// A block in two batches, which are joined, and settled; and settled by an aggregate that computes both. Six proofs, over every
/// way in which a program accounts for a transaction or for a part.
#[derive(Debug, Clone)]
pub struct ProofCase {
    /// The block's transaction that is proved apart: the second, which has a deadline.
    pub transaction: Provable,
    /// Its first batch: a transaction executed in it, one proved apart, one disposed of as malformed.
    pub first: Provable,
    /// Its second: a transaction executed in it, which withdraws, and one disposed of as too long.
    pub second: Provable,
    /// Both.
    pub join: Provable,
    /// Of what is joined.
    pub settlement: Provable,
    /// The same settlement, of an aggregate that computes both batches.
    pub computed: Provable,
}

impl ProofCase {
    /// How its block is divided.
    pub const DIVISION: Division =
        Division { limits: Limits { transactions: 3, ..Limits::NONE }, apart: ProveApart::Never };

    /// Of the ledger, over this hash and these programs, on an L1 with lane proofs where there is a prover of them.
    pub fn new(
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
    ) -> Self {
        let case = Self::of_workload(Arc::new(Ledger), Self::accepted(), hasher, programs, prover);
        let asks = matches!(&case.transaction.1, Witness::Transaction(it) if it.context.is_some());
        assert!(asks, "its transaction asks for the context of its block");
        case
    }

    /// Of any workload: `sent` has a transaction whose resources are all absent before it, and two others that succeed, each by
    /// somebody. If one of them withdraws, it is the last.
    pub fn made_of(sent: [LaneTransaction; 3]) -> Vec<LaneTransaction> {
        let at = |merge_index, transaction| LaneTransaction { merge_index, ..transaction };
        let [first, second, third] = sent;
        vec![
            at(1, first),
            at(2, second),
            transaction(4, "carol", 0, vec![7]),
            at(5, third),
            transaction(9, "carol", 0, vec![7; BYTES_MAX]),
        ]
    }

    /// The same over this hash and these programs.
    pub fn of_workload(
        processor: Arc<dyn Processor>,
        accepted: Vec<LaneTransaction>,
        hasher: Arc<dyn WorkloadHasher>,
        programs: [ProgramId; 3],
        prover: Option<LaneProver>,
    ) -> Self {
        let processor = Arc::new(Costless(processor));
        let mut fixture = Fixture::of(processor, hasher, programs, prover, Self::DIVISION);
        let block = fixture.block(accepted);
        let outcomes: Vec<_> = block.transactions.iter().map(|it| it.journal.outcome).collect();
        let (success, malformed) = (Outcome::SUCCESS, Outcome::MALFORMED);
        assert_eq!(outcomes, [success, success, malformed, success, Outcome::TOO_LONG]);
        Self::of(&fixture, 0)
    }

    /// What the ledger's block accepts.
    pub fn accepted() -> Vec<LaneTransaction> {
        let transfer = list(0, u64::MAX, &[(Action::Transfer, 3 * AMOUNT_MIN, account("bob"))]);
        let exit = pay(EXIT, 0, 2 * AMOUNT_MIN, account("carol"));
        Self::made_of([
            fund(1, account("alice"), 5 * AMOUNT_MIN),
            transaction(2, "alice", 0, transfer),
            transaction(5, "bob", 0, exit),
        ])
    }

    /// A block of [these transactions](Self::accepted) in a fixture of [that division](Self::DIVISION).
    pub fn of(fixture: &Fixture, block: usize) -> Self {
        let mut first = fixture.batch_witness_at(block, 0);
        // The journal does not show which is proved apart.
        let apart = Handling::Apart(fixture.batches[block].transactions[1].journal.clone());
        first.transactions[1].1 = apart.clone();
        let second = fixture.batch_witness_at(block, 1);
        let parts = fixture.parts(&[block]);
        let (claim, join) = fixture.join(&parts);
        let settlement = fixture.settlement_witness(&[Fixture::joined(&parts)]);
        let mut whole = fixture.settlement_witness(&Fixture::computed(&parts));
        computed(&mut whole.parts[0]).transactions[1].1 = apart;
        Self {
            transaction: (
                fixture.transaction_claim(block, 1),
                Witness::Transaction(fixture.transaction_witness(block, 1)),
            ),
            first: (fixture.batch_claim_at(block, 0), Witness::Batch(first)),
            second: (fixture.batch_claim_at(block, 1), Witness::Batch(second)),
            join: (claim, Witness::Aggregate(join)),
            settlement: (fixture.aggregate_claim(&[block]), Witness::Aggregate(settlement)),
            computed: (fixture.aggregate_claim(&[block]), Witness::Aggregate(whole)),
        }
    }
}

/// A workload as it is, but for what its transactions cost: so that the block is divided by their number.
struct Costless(Arc<dyn Processor>);

impl Processor for Costless {
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
        self.0.declare(message, facts)
    }

    fn asks_context(&self, message: &[u8], facts: &TransactionFacts) -> bool {
        self.0.asks_context(message, facts)
    }

    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects {
        self.0.execute(message, facts, view)
    }

    fn cost(&self, _: &[u8]) -> u64 {
        0
    }
}

/// The whole suite.
pub fn check(backend: &dyn Backend, subject: &ProofCase) {
    let ProofCase { transaction, first, second, join, settlement, computed } = subject;
    let calls = backend.prove_calls();
    let apart = [what_is_expected_is_proved(backend, transaction, &[])];
    let batches = [
        what_is_expected_is_proved(backend, first, &apart),
        what_is_expected_is_proved(backend, second, &[]),
    ];
    let joined = [what_is_expected_is_proved(backend, join, &batches)];
    let settled = what_is_expected_is_proved(backend, settlement, &joined);
    let whole = what_is_expected_is_proved(backend, computed, &apart);
    assert_eq!(whole.statement, settled.statement, "the journal does not show what was computed");
    assert_eq!(backend.prove_calls() - calls, 6);

    let assuming: [(&Provable, &[Verified<Receipt>]); 4] =
        [(first, &apart), (join, &batches), (settlement, &joined), (computed, &apart)];
    for (provable, assumptions) in assuming {
        nothing_is_proved_without_its_assumptions(backend, provable, assumptions);
        nothing_else_is_proved(backend, provable, assumptions);
    }
    nothing_else_is_proved(backend, transaction, &[]);
    nothing_else_is_proved(backend, second, &[]);
    a_forged_assumption_is_refused(backend, join, &batches);
    a_part_is_proved_by_the_program_it_says(backend, join, &batches);
    a_part_is_proved_by_the_program_it_says(backend, settlement, &joined);
    nothing_is_executed_over_other_values(backend, first, &apart);
    nothing_is_executed_in_another_context(backend, transaction);
    what_is_well_formed_is_not_disposed_of(backend, first, &apart);
    exits_are_those_of_the_journal(backend, join, &batches);
    what_is_computed_is_the_whole_run_in_order_under_its_pins(backend, computed, &apart);

    let proved = [&apart[0], &batches[0], &joined[0], &settled];
    for (receipt, other) in proved.iter().zip(proved.iter().cycle().skip(1)) {
        nothing_else_verifies(backend, receipt, other);
    }
}

fn attempt(
    backend: &dyn Backend,
    claim: Claim,
    witness: &Witness,
    assumptions: &[Verified<Receipt>],
) -> Result<Receipt, ProveError> {
    let task = Task { claim, witness: witness.clone(), assumptions: assumptions.to_vec() };
    backend.prove(&task).map(|proof| proof.receipt)
}

fn what_is_expected_is_proved(
    backend: &dyn Backend,
    (claim, witness): &Provable,
    assumptions: &[Verified<Receipt>],
) -> Verified<Receipt> {
    assert_eq!(claim.program, backend.programs()[witness.kind() as usize]);
    let receipt = attempt(backend, claim.clone(), witness, assumptions).unwrap();
    assert_eq!((&receipt.claim, receipt.statement), (claim, backend.statement(claim)));
    let receipt = Verified::check(receipt, backend).unwrap();
    let real = backend.profile().seal != SealKind::Fake;
    assert_eq!(RealReceipt::try_from(receipt.clone()).is_ok(), real, "only a fake receipt is not real");
    receipt
}

#[track_caller]
fn assert_diverges(attempt: Result<Receipt, ProveError>) {
    assert!(matches!(attempt, Err(ProveError::Divergence { .. })), "{attempt:?}");
}

fn nothing_is_proved_without_its_assumptions(
    backend: &dyn Backend,
    (claim, witness): &Provable,
    assumptions: &[Verified<Receipt>],
) {
    for dropped in 0..assumptions.len() {
        let mut fewer = assumptions.to_vec();
        fewer.remove(dropped);
        assert_diverges(attempt(backend, claim.clone(), witness, &fewer));
    }
}

/// A journal that the program does not commit is a divergence.
fn nothing_else_is_proved(
    backend: &dyn Backend,
    (claim, witness): &Provable,
    assumptions: &[Verified<Receipt>],
) {
    for at in [4, claim.journal.len() - 32] {
        let mut other = claim.clone();
        other.journal[at] ^= 1;
        assert_diverges(attempt(backend, other, witness, assumptions));
    }
}

/// A receipt with another's seal, past a mark that says it was verified.
fn a_forged_assumption_is_refused(
    backend: &dyn Backend,
    (claim, witness): &Provable,
    assumptions: &[Verified<Receipt>],
) {
    let mut forged = assumptions[0].clone().into_inner();
    forged.seal.clone_from(&assumptions[1].seal);
    let mark = VerifiedMark { checksum: forged.checksum(), at_ms: 0 };
    let forged = Verified::recall(forged, &mark).unwrap();
    let assumptions = [slice::from_ref(&forged), &assumptions[1..]].concat();
    assert_refused(attempt(backend, claim.clone(), witness, &assumptions));
}

#[track_caller]
fn assert_refused(attempt: Result<Receipt, ProveError>) {
    let refused = matches!(attempt, Err(ProveError::Divergence { .. } | ProveError::Unprovable { .. }));
    assert!(refused, "{attempt:?}");
}

fn batch_of((_, witness): &Provable) -> BatchWitness {
    match witness {
        Witness::Batch(witness) => witness.clone(),
        other => panic!("{other:?}"),
    }
}

fn aggregate_of((_, witness): &Provable) -> AggregateWitness {
    match witness {
        Witness::Aggregate(witness) => witness.clone(),
        other => panic!("{other:?}"),
    }
}

/// An aggregate's proof where a batch's is wanted, and the other way round.
fn a_part_is_proved_by_the_program_it_says(
    backend: &dyn Backend,
    provable: &Provable,
    assumptions: &[Verified<Receipt>],
) {
    for part in 0..assumptions.len() {
        let mut witness = aggregate_of(provable);
        turn(&mut witness.parts[part]);
        assert_refused(attempt(backend, provable.0.clone(), &Witness::Aggregate(witness), assumptions));
    }
}

fn nothing_is_executed_over_other_values(
    backend: &dyn Backend,
    provable: &Provable,
    assumptions: &[Verified<Receipt>],
) {
    let mut witness = batch_of(provable);
    let Handling::Inline(values) = &mut witness.transactions[0].1 else { panic!("{witness:?}") };
    assert!(values.iter().all(Option::is_none), "nothing was there");
    values[0] = Some(vec![[1, 0, 0, 0, 0, 0, 0, 0]]);
    assert_refused(attempt(backend, provable.0.clone(), &Witness::Batch(witness), assumptions));
}

fn nothing_is_executed_in_another_context(backend: &dyn Backend, (claim, witness): &Provable) {
    let Witness::Transaction(witness) = witness else { panic!("{witness:?}") };
    // Of a workload whose transaction asks for none there is nothing to try.
    let Some(context) = witness.context else { return };
    let other = BlockContext { blue_score: context.blue_score + 1, ..context };
    for context in [Some(other), None] {
        let witness = Witness::Transaction(TransactionWitness { context, ..witness.clone() });
        assert_refused(attempt(backend, claim.clone(), &witness, &[]));
    }
}

fn what_is_well_formed_is_not_disposed_of(
    backend: &dyn Backend,
    provable: &Provable,
    assumptions: &[Verified<Receipt>],
) {
    for (at, assumptions) in [(0, assumptions), (1, &[])] {
        let mut witness = batch_of(provable);
        witness.transactions[at].1 = Handling::Disposed;
        assert_refused(attempt(backend, provable.0.clone(), &Witness::Batch(witness), assumptions));
    }
}

/// The second part withdraws something, and the first nothing. A workload that lets nobody withdraw has no exits.
fn exits_are_those_of_the_journal(
    backend: &dyn Backend,
    provable: &Provable,
    assumptions: &[Verified<Receipt>],
) {
    let mut moved = aggregate_of(provable);
    match [0, 1].map(|part: usize| proved(&mut moved.parts[part]).exits.len()) {
        [0, 0] => return,
        exits => assert_eq!(exits, [0, 1]),
    }
    let mut left_out = moved.clone();
    proved(&mut left_out.parts[1]).exits.clear();
    let exits = std::mem::take(&mut proved(&mut moved.parts[1]).exits);
    proved(&mut moved.parts[0]).exits = exits;
    for witness in [left_out, moved] {
        assert_refused(attempt(backend, provable.0.clone(), &Witness::Aggregate(witness), assumptions));
    }
}

/// An aggregate that computes its batches is bound to them as their own proofs would be.
fn what_is_computed_is_the_whole_run_in_order_under_its_pins(
    backend: &dyn Backend,
    provable: &Provable,
    assumptions: &[Verified<Receipt>],
) {
    let other = |witness: &mut AggregateWitness| computed(&mut witness.parts[1]).pins.covenant.0[0] ^= 1;
    let values = |witness: &mut AggregateWitness| {
        let batch = computed(&mut witness.parts[0]);
        let Handling::Inline(values) = &mut batch.transactions[0].1 else { panic!("{batch:?}") };
        values[0] = Some(vec![[1, 0, 0, 0, 0, 0, 0, 0]]);
    };
    let disposed = |witness: &mut AggregateWitness| {
        computed(&mut witness.parts[0]).transactions[0].1 = Handling::Disposed;
    };
    let skipped =
        |witness: &mut AggregateWitness| drop(computed(&mut witness.parts[0]).transactions.remove(2));
    let open = |witness: &mut AggregateWitness| computed(&mut witness.parts[1]).closes = false;
    let changes: [&dyn Fn(&mut AggregateWitness); 9] = [
        &other,
        &values,
        &disposed,
        &skipped,
        &open,
        &|witness| drop(witness.parts.remove(0)),
        &|witness| drop(witness.parts.remove(1)),
        &|witness| witness.parts.swap(0, 1),
        &|witness| witness.parts.insert(1, witness.parts[1].clone()),
    ];
    for change in changes {
        let mut witness = aggregate_of(provable);
        change(&mut witness);
        let has_apart = !witness.assumed().is_empty();
        let assumptions = if has_apart { assumptions } else { &[] };
        assert_refused(attempt(backend, provable.0.clone(), &Witness::Aggregate(witness), assumptions));
    }
}

/// Whatever is changed in a receipt, it is refused, and never with a panic. `other` proves another claim.
pub fn nothing_else_verifies(backend: &dyn Backend, honest: &Receipt, other: &Receipt) {
    let verify = |receipt: &Receipt| backend.verify(receipt);
    assert_eq!(verify(honest), Ok(()));

    // Another claim, under the statement it had and under its own.
    let claims: [fn(&mut Claim); 6] = [
        |claim| claim.journal[4] ^= 1,
        |claim| claim.journal[40] ^= 0x80,
        |claim| claim.journal.truncate(claim.journal.len() - 32),
        |claim| claim.journal.truncate(claim.journal.len() - 1),
        |claim| claim.journal.clear(),
        |claim| claim.program.0[0] ^= 1,
    ];
    for change in claims {
        let mut receipt = honest.clone();
        change(&mut receipt.claim);
        assert!(matches!(verify(&receipt), Err(VerifyError::ClaimMismatch { .. })));
        receipt.statement = backend.statement(&receipt.claim);
        assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
    }

    // Another profile.
    let mut receipt = honest.clone();
    receipt.statement.profile.0[0] ^= 1;
    assert!(matches!(verify(&receipt), Err(VerifyError::ForeignProfile { .. })));
    let kinds = [SealKind::Fake, SealKind::Composite, SealKind::Succinct, SealKind::Groth16];
    for seal_kind in kinds.into_iter().filter(|kind| *kind != honest.seal_kind) {
        let receipt = Receipt { seal_kind, ..honest.clone() };
        assert!(matches!(verify(&receipt), Err(VerifyError::ForeignProfile { .. })));
    }

    // Any bytes for a seal.
    let bad = |seal: Vec<u8>| {
        let receipt = Receipt { seal, ..honest.clone() };
        assert!(matches!(verify(&receipt), Err(VerifyError::BadSeal { .. })));
    };
    let seal = &honest.seal;
    let lengths = [0, 1, 2, 33, 66, 100, 1000, seal.len() / 2, seal.len() - 1];
    for length in lengths.into_iter().filter(|length| *length < seal.len()) {
        bad(seal[..length].to_vec());
    }
    bad([&seal[..], &[0]].concat());
    bad(vec![0; seal.len()]);
    bad(vec![255; seal.len()]);
    bad(other.seal.clone());
}
