//! Aggregates of proved batches, and a whole real recursion: transactions in a batch, batches in a join, the join in a
//! settlement.

use reprise_conformance::fixture::{Fixture, proved, turn};
use reprise_conformance::suite;
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::Digest;
use reprise_model::journal::{AggregateJournal, Commitment, Journal, Span};
use reprise_model::order::PartRef;
use reprise_model::receipt::{Receipt, Verifier, VerifyError};
use reprise_model::statement::{Claim, ClaimScheme};
use reprise_model::witness::{AggregateEnd, AggregateWitness, Part, Witness};

use crate::chain::{Chain, LAST};
use crate::world::{NO_PROOF, assert_refused, backend, ids, pins, prove};

fn spans(parts: &[PartRef]) -> Option<Vec<Span>> {
    parts.iter().map(|part| Chain::get().fixture.part_span(part)).collect()
}

fn journal(parts: &[PartRef]) -> Option<AggregateJournal> {
    AggregateJournal::over(&Poseidon2, &spans(parts)?, Commitment::Unbound)
}

fn claim(parts: &[PartRef]) -> Claim {
    Claim { program: backend().programs().aggregate(), journal: journal(parts).unwrap().bytes() }
}

fn settlement(parts: &[PartRef]) -> AggregateWitness {
    Chain::get().fixture.settlement_witness(parts)
}

fn run(witness: AggregateWitness) -> Result<Digest, MidenError> {
    let chain = Chain::get();
    let mut receipts = chain.batches().to_vec();
    if witness.parts.iter().any(|part| matches!(part, Part::Joined(_))) {
        receipts.push(chain.joined().1.clone());
    }
    backend().execute(&Witness::Aggregate(witness), &receipts)
}

#[test]
fn every_run_of_parts_commits_what_it_does_natively() {
    let chain = Chain::get();
    let [a, b, c1, c2] = <[_; 4]>::try_from(chain.parts()).unwrap();
    let c = chain.joined().0.clone();
    let pick = |parts: &[&PartRef]| parts.iter().copied().cloned().collect::<Vec<_>>();
    let settled = [pick(&[&a]), pick(&[&a, &b]), pick(&[&c]), pick(&[&a, &b, &c1, &c2]), pick(&[&a, &b, &c])];
    for parts in &settled {
        assert_eq!(run(settlement(parts)), Ok(journal(parts).unwrap().digest(&Poseidon2)));
    }
    // However its parts were joined, a run has one claim.
    assert_eq!(claim(&settled[3]), claim(&settled[4]));
    assert_ne!(journal(&settled[4]).unwrap().transition.exits, Digest::ZERO);
    assert_eq!(journal(&settled[1]).unwrap().transition.exits, Digest::ZERO);

    let [flat, nested] = [pick(&[&b, &c1, &c2]), pick(&[&b, &c])].map(|parts| chain.fixture.join(&parts));
    assert_eq!(flat.0, nested.0);
    let digest = chain.fixture.part_span(&Fixture::joined(&chain.parts()[1..])).unwrap();
    for (_, witness) in [flat, nested] {
        assert_eq!(run(witness), Ok(digest.journal.digest(&Poseidon2)));
    }
    // What begins or ends within a block can be joined, and not be settled.
    for parts in [pick(&[&a, &b, &c1]), pick(&[&c2])] {
        let (claim, witness) = chain.fixture.join(&parts);
        let expected = chain.fixture.part_span(&Fixture::joined(&parts)).unwrap().journal;
        assert_eq!(claim.journal, expected.bytes());
        assert_eq!(run(witness), Ok(expected.digest(&Poseidon2)));
        assert_eq!(journal(&parts), None);
        let within = "what is settled does not begin and end between blocks";
        assert_refused(run(settlement(&parts)), within);
    }
}

#[test]
fn a_part_is_neither_omitted_nor_repeated_nor_reordered() {
    let chain = Chain::get();
    let [a, b, c1, c2] = <[_; 4]>::try_from(chain.parts()).unwrap();
    let c = chain.joined().0.clone();
    let refused = |parts: &[&PartRef], why: &str| {
        let parts: Vec<PartRef> = parts.iter().copied().cloned().collect();
        assert_eq!(journal(&parts), None);
        assert_refused(run(settlement(&parts)), why);
        let join = AggregateWitness { end: AggregateEnd::Join, ..settlement(&parts) };
        assert_refused(run(join), why);
    };
    // The second leaves the state as it is: only the lane tips tell that it is missing.
    let transition = |part: &PartRef| chain.fixture.part_span(part).unwrap().journal.transition;
    assert_eq!(transition(&a).root_after, transition(&c).root_before);
    let other_tip = "a part does not begin at the lane tip before it";
    refused(&[&a, &c], other_tip);
    refused(&[&a, &c1, &c2], other_tip);
    refused(&[&b, &b], other_tip);
    refused(&[&a, &b, &b, &c], other_tip);
    let other_root = "a part does not begin at the state root before it";
    refused(&[&b, &a], other_root);
    refused(&[&c, &b], other_root);
    refused(&[&a, &a], other_root);
    refused(&[&a, &b, &c2], other_root);
    refused(&[&a, &b, &c1, &c], other_root);
    refused(&[&c2, &c1], other_root);

    let none = AggregateWitness { parts: vec![], ..settlement(&[a]) };
    assert_refused(run(none), "an aggregate without parts");
}

#[test]
fn pins_and_journals_are_bound() {
    let chain = Chain::get();
    let parts = [chain.parts()[1].clone(), chain.joined().0.clone()];
    let with = |change: fn(&mut AggregateWitness)| {
        let mut witness = settlement(&parts);
        change(&mut witness);
        run(witness)
    };
    let other_pins = "a part has other pins";
    assert_refused(with(|witness| witness.pins.lane = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.covenant = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.transaction_program = pins().batch_program), other_pins);
    assert_refused(with(|witness| witness.pins.batch_program = pins().transaction_program), NO_PROOF);
    let other_join = |witness: &mut AggregateWitness| {
        witness.parts.remove(0);
        witness.pins.aggregate_program = pins().batch_program;
    };
    assert_refused(with(other_join), NO_PROOF);
    assert_refused(with(|witness| turn(&mut witness.parts[0])), NO_PROOF);
    assert_refused(with(|witness| turn(&mut witness.parts[1])), NO_PROOF);
    let changes: [fn(&mut Span); 5] = [
        |span| span.journal.transition.root_after = Digest::ZERO,
        |span| span.journal.transition.tip_before = Digest::ZERO,
        |span| span.journal.transition.exits = Digest([1; 32]),
        |span| span.journal.open_before = Digest([1; 32]),
        |span| span.journal.open_after = Digest([1; 32]),
    ];
    for part in [0, 1] {
        for change in changes {
            let mut witness = settlement(&parts);
            change(proved(&mut witness.parts[part]));
            assert_refused(run(witness), NO_PROOF);
        }
    }
}

#[test]
fn a_recursive_proof_verifies_and_nothing_else_does() {
    let chain = Chain::get();
    let (joined, join) = chain.joined();
    let parts = [chain.parts()[1].clone(), joined.clone()];
    let assumptions = [chain.batches()[1].clone(), join.clone()];
    let witness = Witness::Aggregate(settlement(&parts));
    let receipt = prove(&claim(&parts), &witness, &assumptions);
    assert_eq!(receipt.statement, backend().scheme().statement(&claim(&parts)));

    let (transaction, batch) = (&chain.apart[0], &chain.batches()[2]);
    for (receipt, other) in [(transaction, batch), (batch, join), (join, &receipt), (&receipt, transaction)] {
        tamper(receipt, other);
    }

    // A settlement is the end: no program verifies it.
    let again = backend().execute(&witness, &[assumptions[0].clone(), assumptions[1].clone(), receipt]);
    assert!(matches!(again, Err(MidenError::Assumption { .. })), "{again:?}");

    // A divergence is found before proving.
    let refused = |expected: &Claim| backend().prove(expected, &witness, &assumptions);
    let other = refused(&claim(&parts[..1]));
    assert!(matches!(other, Err(MidenError::Divergence { .. })), "{other:?}");
    let span = refused(&chain.fixture.join(&parts).0);
    assert!(matches!(span, Err(MidenError::Divergence { .. })), "{span:?}");
    let foreign = refused(&chain.fixture.batch_claim_at(LAST, 0));
    assert!(matches!(foreign, Err(MidenError::ForeignProgram { .. })), "{foreign:?}");
    let mut short = claim(&parts);
    short.journal.pop();
    let short = refused(&short);
    assert!(matches!(short, Err(MidenError::ForeignJournal { .. })), "{short:?}");
    assert_eq!(backend().programs().aggregate(), ids()[2]);
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
