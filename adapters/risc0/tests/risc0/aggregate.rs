//! The aggregate program over batches of the development mode.

use reprise_kaspa_lane::proof::LaneProof;
use reprise_model::digest::Digest;
use reprise_model::journal::{AggregateJournal, Commitment, Journal};
use reprise_model::witness::{AggregateWitness, Witness};
use reprise_risc0::Risc0Error;

use crate::chain::Chain;
use crate::fixture::development;
use crate::fixture::pins;

fn run(witness: AggregateWitness) -> Result<Vec<u8>, Risc0Error> {
    Ok(development().execute(&Witness::Aggregate(witness), &Chain::get().batches)?.journal)
}

#[track_caller]
fn assert_refused(result: Result<Vec<u8>, Risc0Error>, why: &str) {
    match result {
        Err(Risc0Error::Refused { reason, .. }) => assert!(reason.contains(why), "{reason}"),
        other => panic!("{other:?}"),
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
    assert_eq!(fixture.batch_journal(1).0.root_after, fixture.batch_journal(3).0.root_before);
    for span in [vec![1, 3], vec![2, 2], vec![1, 2, 2, 3], vec![2, 1], vec![3, 2], vec![1, 1], vec![]] {
        assert_eq!(fixture.aggregate_journal(&span), None);
        assert_refused(run(fixture.aggregate_witness(&span)), "the batches do not chain");
    }
}

#[test]
fn pins_and_journals_are_bound() {
    let with = |change: fn(&mut AggregateWitness)| {
        let mut witness = Chain::get().fixture.aggregate_witness(&[1, 2]);
        change(&mut witness);
        run(witness)
    };
    let other_pins = "a batch was proved under other pins";
    assert_refused(with(|witness| witness.pins.lane = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.covenant = Digest([8; 32])), other_pins);
    assert_refused(with(|witness| witness.pins.deposit.0[0] ^= 1), other_pins);
    assert_refused(with(|witness| witness.pins.transaction_program = pins().batch_program), other_pins);
    let no_proof = "no receipt found to resolve assumption";
    assert_refused(with(|witness| witness.pins.batch_program = pins().transaction_program), no_proof);
    assert_refused(with(|witness| witness.batches[1].0.root_after = Digest::ZERO), no_proof);
    assert_refused(with(|witness| witness.batches[0].0.tip_before = Digest::ZERO), no_proof);
    assert_refused(with(|witness| witness.batches[0].0.exits = Digest([1; 32])), no_proof);
}

#[test]
fn the_end_is_opened_in_the_l1_s_commitment() {
    let fixture = &Chain::get().fixture;
    let honest = fixture.aggregate_witness(&[1, 2]);
    let journal = fixture.aggregate_journal(&[1, 2]).unwrap();
    let commitment = fixture.batches[2].metadata.block.sequencing_commitment;
    assert_eq!(journal.commitment, Commitment::Bound(commitment));
    let with = |lane_proof: Option<Vec<u8>>| run(AggregateWitness { lane_proof, ..honest.clone() });
    assert_eq!(with(honest.lane_proof.clone()).unwrap(), journal.bytes());

    assert_refused(with(None), "the L1's lane proof is missing");
    assert_refused(with(Some(vec![])), "the lane proof cannot be read");
    assert_refused(with(fixture.aggregate_witness(&[1]).lane_proof), "the lane proof has the tip");
    assert_refused(with(fixture.batch_witness(0).parent_proof), "the lane proof has the tip");
    let changed = |change: fn(&mut LaneProof)| {
        let mut proof = LaneProof::decode(honest.lane_proof.as_ref().unwrap()).unwrap();
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
