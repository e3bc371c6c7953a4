//! The aggregate program over batches of the development mode.

use reprise_conformance::fixture::{proved, turn};
use reprise_kaspa_lane::proof::LaneProof;
use reprise_ledger::Ledger;
use reprise_model::digest::Digest;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::program;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::witness::{AggregateEnd, AggregateWitness, Witness};
use reprise_risc0::{Risc0Error, Sha256};

use crate::chain::Chain;
use crate::fixture::{Fixture, NO_PROOF, assert_refused, development, pins, prove};

/// What the program commits over these receipts. It refuses what the same function refuses natively, in its words or because a proof
/// is missing, and commits nothing else.
pub fn run_over(witness: AggregateWitness, receipts: &[Verified<Receipt>]) -> Result<Vec<u8>, Risc0Error> {
    let native = program::aggregate(&Sha256, &Ledger, &witness);
    let result = development().execute(&Witness::Aggregate(witness), receipts).map(|done| done.journal);
    match (&native, &result) {
        (Ok(native), Ok(committed)) => assert_eq!(*committed, native.bytes()),
        (_, Err(Risc0Error::Refused { reason, .. })) if reason.contains(NO_PROOF) => {}
        (Err(refusal), Err(Risc0Error::Refused { reason, .. })) => {
            assert!(reason.contains(&refusal.to_string()), "{reason}, and natively {refusal}");
        }
        _ => panic!("natively {native:?}, and the program {result:?}"),
    }
    result
}

fn run(witness: AggregateWitness) -> Result<Vec<u8>, Risc0Error> {
    run_over(witness, &Chain::get().batches)
}

fn lane_proof(witness: &AggregateWitness) -> &Option<Vec<u8>> {
    match &witness.end {
        AggregateEnd::Settle { lane_proof } => lane_proof,
        AggregateEnd::Join => panic!("it settles nothing"),
    }
}

#[test]
fn every_span_commits_what_it_does_natively() {
    let fixture = &Chain::get().fixture;
    for span in [vec![0], vec![3], vec![1, 2], vec![2, 3], vec![0, 1, 2, 3]] {
        let journal = fixture.aggregate_journal(&span).unwrap();
        assert_eq!(run(fixture.aggregate_witness(&span)).unwrap(), journal.bytes());
    }
    assert_ne!(fixture.aggregate_journal(&[1, 2, 3]).unwrap().transition.exits, Digest::ZERO);
    assert_eq!(fixture.aggregate_journal(&[1, 2]).unwrap().transition.exits, Digest::ZERO);
}

#[test]
fn a_batch_is_neither_omitted_nor_repeated_nor_reordered() {
    let fixture = &Chain::get().fixture;
    // The third leaves the state as it is: only the lane tips tell that it is missing.
    let [before, after] = [1, 3].map(|block| fixture.span(block).journal.transition);
    assert_eq!(before.root_after, after.root_before);
    for span in [vec![1, 3], vec![2, 2], vec![1, 2, 2, 3], vec![2, 1], vec![3, 2], vec![1, 1], vec![]] {
        assert_eq!(fixture.aggregate_journal(&span), None);
        assert_refused(run(fixture.aggregate_witness(&span)), "the parts of the aggregate do not chain");
    }
}

#[test]
fn joined_batches_settle_as_the_batches_do() {
    let Chain { fixture, batches, .. } = Chain::get();
    let parts = fixture.parts(&[0, 1, 2, 3]);
    let expected = fixture.aggregate_journal(&[0, 1, 2, 3]).unwrap().bytes();
    let join = |parts: &[_], receipts: &[_]| {
        let (claim, witness) = fixture.join(parts);
        (Fixture::joined(parts), prove(development(), &claim, Witness::Aggregate(witness), receipts))
    };
    let (first, first_proof) = join(&parts[..2], &batches[..2]);
    let (inner, inner_proof) = join(&parts[1..3], &batches[1..3]);
    let (deep, deep_proof) =
        join(&[parts[0].clone(), inner.clone()], &[batches[0].clone(), inner_proof.clone()]);
    let (one, one_proof) = join(&parts[..1], &batches[..1]);
    let settled = [
        (vec![first, parts[2].clone(), parts[3].clone()], vec![first_proof]),
        (vec![parts[0].clone(), inner.clone(), parts[3].clone()], vec![inner_proof.clone()]),
        (vec![deep, parts[3].clone()], vec![deep_proof]),
        (vec![one, inner, parts[3].clone()], vec![one_proof, inner_proof]),
    ];
    for (parts, joined) in settled {
        let witness = fixture.settlement_witness(&parts);
        let receipts = [&joined[..], &batches[..]].concat();
        assert_eq!(run_over(witness.clone(), &receipts).unwrap(), expected);
        // The proof of what is joined is not left out.
        assert_refused(run_over(witness, batches), NO_PROOF);
    }
}

#[test]
fn the_exits_of_a_part_are_those_of_its_journal() {
    let fixture = &Chain::get().fixture;
    let with = |change: fn(&mut AggregateWitness)| {
        let mut witness = fixture.aggregate_witness(&[2, 3]);
        assert_eq!([0, 1].map(|part: usize| proved(&mut witness.parts[part]).exits.len()), [0, 1]);
        change(&mut witness);
        run(witness)
    };
    let of_part = |part: usize| format!("the exits of the aggregate's part {part} are not those");
    let left_out: fn(&mut AggregateWitness) = |witness| proved(&mut witness.parts[1]).exits.clear();
    assert_refused(with(left_out), &of_part(1));
    let moved = with(|witness| {
        let exits = std::mem::take(&mut proved(&mut witness.parts[1]).exits);
        proved(&mut witness.parts[0]).exits = exits;
    });
    assert_refused(moved, &of_part(0));
    assert_refused(with(|witness| proved(&mut witness.parts[1]).exits[0].amount ^= 1), &of_part(1));
    let twice = with(|witness| {
        let again = proved(&mut witness.parts[1]).exits[0];
        proved(&mut witness.parts[1]).exits.push(again);
    });
    assert_refused(twice, &of_part(1));
}

#[test]
fn pins_and_journals_are_bound() {
    let with = |change: fn(&mut AggregateWitness)| {
        let mut witness = Chain::get().fixture.aggregate_witness(&[1, 2]);
        change(&mut witness);
        run(witness)
    };
    let other_pins = "a part of the aggregate was proved under other pins";
    assert_refused(with(|witness| witness.pins.lane = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.covenant = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.deposit.0[0] ^= 1), other_pins);
    assert_refused(with(|witness| witness.pins.transaction_program = pins().batch_program), other_pins);
    assert_refused(with(|witness| witness.pins.aggregate_program = pins().batch_program), other_pins);
    assert_refused(with(|witness| witness.pins.batch_program = pins().transaction_program), NO_PROOF);
    assert_refused(with(|witness| turn(&mut witness.parts[1])), NO_PROOF);
    let parts: [fn(&mut AggregateWitness); 5] = [
        |witness| proved(&mut witness.parts[1]).journal.transition.root_after = Digest::ZERO,
        |witness| proved(&mut witness.parts[0]).journal.transition.tip_before = Digest::ZERO,
        |witness| proved(&mut witness.parts[0]).journal.transition.exits = Digest([1; 32]),
        |witness| proved(&mut witness.parts[0]).journal.open_before = Digest([1; 32]),
        |witness| proved(&mut witness.parts[1]).journal.open_after = Digest([1; 32]),
    ];
    for change in parts {
        assert_refused(with(change), NO_PROOF);
    }
}

#[test]
fn the_end_is_opened_in_the_l1_s_commitment() {
    let fixture = &Chain::get().fixture;
    let honest = fixture.aggregate_witness(&[1, 2]);
    let journal = fixture.aggregate_journal(&[1, 2]).unwrap();
    let commitment = fixture.batches[2].metadata.block.sequencing_commitment;
    assert_eq!(journal.commitment, Commitment::Bound(commitment));
    let with = |lane_proof: Option<Vec<u8>>| {
        run(AggregateWitness { end: AggregateEnd::Settle { lane_proof }, ..honest.clone() })
    };
    assert_eq!(with(lane_proof(&honest).clone()).unwrap(), journal.bytes());

    assert_refused(with(None), "the L1's lane proof is missing");
    assert_refused(with(Some(vec![])), "the lane proof cannot be read");
    assert_refused(with(lane_proof(&fixture.aggregate_witness(&[1])).clone()), "the lane proof has the tip");
    assert_refused(with(fixture.batch_witness(0).reopening), "the lane proof has the tip");
    let changed = |change: fn(&mut LaneProof)| {
        let mut proof = LaneProof::decode(lane_proof(&honest).as_ref().unwrap()).unwrap();
        change(&mut proof);
        with(Some(proof.encode()))
    };
    assert_refused(changed(|proof| proof.lane = None), "the lane proof has the tip");
    assert_refused(changed(|proof| proof.merkle_proof.truncate(60)), "the lane proof cannot be read");
    // Any other path opens another commitment, which no block of the L1 has.
    let other: [fn(&mut LaneProof); 5] = [
        |proof| proof.lane.as_mut().unwrap().blue_score += 1,
        |proof| *proof.merkle_proof.last_mut().unwrap() ^= 1,
        |proof| proof.inactivity_shortcut.0[0] ^= 1,
        |proof| proof.payload_and_context_digest.0[0] ^= 1,
        |proof| proof.parent_commitment.0[0] ^= 1,
    ];
    for change in other {
        let opened = AggregateJournal::decode(&changed(change).unwrap()).unwrap();
        assert_eq!(opened.transition, journal.transition);
        assert_ne!(opened.commitment, journal.commitment);
        assert!(matches!(opened.commitment, Commitment::Bound(_)));
    }
}
