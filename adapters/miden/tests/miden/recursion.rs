//! Aggregates of proved batches, and a whole real recursion.

use reprise_conformance::suite;
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::Digest;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_model::witness::{AggregateWitness, Witness};

use crate::chain::Chain;
use crate::world::{Block, aggregate, backend, pins, prove};

fn journal(blocks: &[&Block]) -> Option<AggregateJournal> {
    let journals: Vec<_> = blocks.iter().map(|block| block.journal).collect();
    AggregateJournal::over(&Poseidon2, &journals, Commitment::Unbound)
}

fn claim(blocks: &[&Block]) -> Claim {
    Claim { program: backend().programs().aggregate(), journal: journal(blocks).unwrap().bytes() }
}

fn run(witness: AggregateWitness) -> Result<Digest, MidenError> {
    backend().execute(&Witness::Aggregate(witness), Chain::get().batches())
}

#[track_caller]
fn assert_refused(result: Result<Digest, MidenError>, why: &str) {
    match result {
        Err(MidenError::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_span_commits_what_it_does_natively() {
    let [a, b, c] = Chain::get().blocks.as_slice() else { panic!() };
    for span in [vec![a], vec![b], vec![a, b], vec![b, c], vec![a, b, c]] {
        assert_eq!(run(aggregate(&span)).unwrap(), journal(&span).unwrap().digest(&Poseidon2));
    }
    assert_ne!(journal(&[a, b, c]).unwrap().transition.exits, Digest::ZERO);
    assert_eq!(journal(&[a, b]).unwrap().transition.exits, Digest::ZERO);
}

#[test]
fn a_batch_is_neither_omitted_nor_repeated_nor_reordered() {
    let [a, b, c] = Chain::get().blocks.as_slice() else { panic!() };
    // The middle one leaves the state as it is: only the lane tips tell that it is missing.
    assert_eq!(a.journal.0.root_after, c.journal.0.root_before);
    for span in [vec![a, c], vec![b, b], vec![a, b, b, c]] {
        assert_eq!(journal(&span), None);
        assert_refused(run(aggregate(&span)), "a batch does not begin at the lane tip before it");
    }
    for span in [vec![b, a], vec![c, b], vec![a, a]] {
        assert_eq!(journal(&span), None);
        assert_refused(run(aggregate(&span)), "a batch does not begin at the state root before it");
    }
    assert_refused(run(aggregate(&[])), "an aggregate without batches");
}

#[test]
fn pins_and_journals_are_bound() {
    let [a, b, _] = Chain::get().blocks.as_slice() else { panic!() };
    let with = |change: fn(&mut AggregateWitness)| {
        let mut witness = aggregate(&[a, b]);
        change(&mut witness);
        run(witness)
    };
    let other_pins = "a batch has other pins";
    assert_refused(with(|witness| witness.pins.lane = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.covenant = Digest([8; 32])), other_pins);
    let transaction_program =
        |witness: &mut AggregateWitness| witness.pins.transaction_program = pins().batch_program;
    assert_refused(with(transaction_program), other_pins);
    let no_proof = "not present in the advice map";
    let batch_program =
        |witness: &mut AggregateWitness| witness.pins.batch_program = pins().transaction_program;
    assert_refused(with(batch_program), no_proof);
    assert_refused(with(|witness| witness.batches[1].0.root_after = Digest::ZERO), no_proof);
    assert_refused(with(|witness| witness.batches[0].0.tip_before = Digest::ZERO), no_proof);
    assert_refused(with(|witness| witness.batches[0].0.exits = Digest([1; 32])), no_proof);
}

#[test]
fn a_recursive_proof_verifies_and_nothing_else_does() {
    let chain = Chain::get();
    let span = [&chain.blocks[1], &chain.blocks[2]];
    let witness = Witness::Aggregate(aggregate(&span));
    let receipt = prove(&claim(&span), &witness, &chain.batches()[1..]);
    assert_eq!(receipt.statement, backend().scheme().statement(&claim(&span)));

    let (transaction, batch) = (&chain.transactions[0][0], &chain.batches()[1]);
    for (receipt, other) in [(transaction, batch), (batch, &receipt), (&receipt, transaction)] {
        tamper(receipt, other);
    }

    // A divergence is found before proving.
    let expected = claim(&[&chain.blocks[1]]);
    let proved = backend().prove(&expected, &witness, &chain.batches()[1..]);
    assert!(matches!(proved, Err(MidenError::Divergence { .. })), "{proved:?}");
    let expected = chain.blocks[1].claim();
    let proved = backend().prove(&expected, &witness, &chain.batches()[1..]);
    assert!(matches!(proved, Err(MidenError::ForeignProgram { .. })), "{proved:?}");
    let mut expected = claim(&span);
    expected.journal.pop();
    let proved = backend().prove(&expected, &witness, &chain.batches()[1..]);
    assert!(matches!(proved, Err(MidenError::ForeignJournal { .. })), "{proved:?}");
}

fn tamper(receipt: &Receipt, other: &Receipt) {
    suite::nothing_else_verifies(backend(), receipt, other);

    let seal = &receipt.seal;
    let early = 0..160;
    let spread = (160..seal.len()).step_by(seal.len() / 200);
    for at in early.chain(spread).chain(seal.len() - 40..seal.len()) {
        for flip in [1, 0x80] {
            let mut receipt = receipt.clone();
            receipt.seal[at] ^= flip;
            assert!(matches!(backend().verify(&receipt), Err(VerifyError::BadSeal { .. })));
        }
    }
}
