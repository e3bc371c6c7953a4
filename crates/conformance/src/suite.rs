//! What every backend keeps, as one suite: what is known before proving is what is proved, and nothing else verifies.
//!
//! It makes every proof of its [`ProofCase`] once.

use std::slice;

use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified, VerifiedMark, VerifyError};
use reprise_model::statement::Claim;
use reprise_model::witness::Witness;
use reprise_prover::backend::{Backend, ProveError, Task};

use crate::fixture::Fixture;

/// What is to be proved, and from what.
pub type Provable = (Claim, Witness);

/// A block of at least two transactions, and an aggregate of it alone.
#[derive(Debug, Clone)]
pub struct ProofCase {
    /// The block's transactions.
    pub transactions: Vec<Provable>,
    /// The block.
    pub batch: Provable,
    /// The aggregate.
    pub aggregate: Provable,
}

impl ProofCase {
    /// A block of a fixture.
    pub fn of(fixture: &Fixture, block: usize) -> Self {
        let transaction = |index| {
            let witness = Witness::Transaction(fixture.transaction_witness(block, index));
            (fixture.transaction_claim(block, index), witness)
        };
        Self {
            transactions: (0..fixture.batches[block].transactions.len()).map(transaction).collect(),
            batch: (fixture.batch_claim(block), Witness::Batch(fixture.batch_witness(block))),
            aggregate: (
                fixture.aggregate_claim(&[block]),
                Witness::Aggregate(fixture.aggregate_witness(&[block])),
            ),
        }
    }
}

/// The whole suite.
pub fn check(backend: &dyn Backend, subject: &ProofCase) {
    let ProofCase { transactions, batch, aggregate } = subject;
    let calls = backend.prove_calls();
    let transactions: Vec<_> =
        transactions.iter().map(|it| what_is_expected_is_proved(backend, it, &[])).collect();
    let block = what_is_expected_is_proved(backend, batch, &transactions);
    let whole = what_is_expected_is_proved(backend, aggregate, slice::from_ref(&block));
    assert_eq!(backend.prove_calls() - calls, transactions.len() as u64 + 2);

    nothing_is_proved_without_its_assumptions(backend, batch, &transactions);
    nothing_is_proved_without_its_assumptions(backend, aggregate, slice::from_ref(&block));
    nothing_else_is_proved(backend, &subject.transactions[0], &[]);
    nothing_else_is_proved(backend, batch, &transactions);
    nothing_else_is_proved(backend, aggregate, slice::from_ref(&block));
    a_forged_assumption_is_refused(backend, batch, &transactions);

    let proved = [&transactions[0], &transactions[1], &block, &whole];
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
        // What execution expects of a transaction is the mock's only source: it has no semantics of its own.
        let semantics = backend.profile().system != "mock" || !matches!(witness, Witness::Transaction(_));
        if semantics {
            assert_diverges(attempt(backend, other, witness, assumptions));
        }
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
    let refused = attempt(backend, claim.clone(), witness, &assumptions);
    assert!(
        matches!(refused, Err(ProveError::Divergence { .. } | ProveError::Unprovable { .. })),
        "{refused:?}"
    );
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
