//! What each digest depends on: on every field, wherever it changes, and on nothing else.

use proptest::prelude::*;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{ClaimDigest, Digest, ProfileId, ResourceId};
use reprise_model::hash::Blake3;
use reprise_model::journal::{
    Access, AggregateJournal, BatchJournal, Commitment, Exit, Journal, TransactionJournal, Transition,
};
use reprise_model::lane;
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::statement::Statement;

use crate::kept;

/// One bit of one of thirty-two bytes.
fn bit() -> impl Strategy<Value = (usize, u8)> {
    (0..32usize, 0..8u32).prop_map(|(byte, bit)| (byte, 1 << bit))
}

fn flip(bytes: &mut [u8; 32], (byte, mask): (usize, u8)) {
    bytes[byte] ^= mask;
}

/// The `field`th digest of a transition.
fn field_of(transition: &mut Transition, field: usize) -> &mut [u8; 32] {
    match field {
        0 => &mut transition.pins.0,
        1 => &mut transition.root_before.0,
        2 => &mut transition.root_after.0,
        3 => &mut transition.tip_before.0,
        4 => &mut transition.tip_after.0,
        _ => &mut transition.exits.0,
    }
}

proptest! {
    #[test]
    fn any_changed_bit_of_a_transition_changes_batch_and_aggregate(field in 0..6usize, bit in bit()) {
        let mut other = kept::transition();
        flip(field_of(&mut other, field), bit);
        let (batch, changed) = (kept::batch_journal(), BatchJournal(other));
        prop_assert_ne!(batch.bytes(), changed.bytes());
        prop_assert_ne!(batch.digest(&Blake3), changed.digest(&Blake3));
        let aggregate = kept::aggregate_journal(Commitment::Unbound);
        let changed = AggregateJournal { transition: other, ..aggregate };
        prop_assert_ne!(aggregate.digest(&Blake3), changed.digest(&Blake3));
    }

    #[test]
    fn any_changed_bit_of_a_pin_changes_the_pins_digest(field in 0..5usize, bit in bit()) {
        let mut other = kept::pins();
        let bytes = match field {
            0 => &mut other.lane.0,
            1 => &mut other.covenant.0,
            2 => &mut other.deposit.0,
            3 => &mut other.transaction_program.0,
            _ => &mut other.batch_program.0,
        };
        flip(bytes, bit);
        prop_assert_ne!(kept::pins().digest(&Blake3), other.digest(&Blake3));
    }

    #[test]
    fn any_changed_bit_of_profile_or_claim_is_another_statement(of_claim: bool, bit in bit()) {
        let kept = Statement { profile: ProfileId(kept::bytes(1)), claim: ClaimDigest(kept::bytes(2)) };
        let mut other = kept;
        flip(if of_claim { &mut other.claim.0 } else { &mut other.profile.0 }, bit);
        prop_assert_ne!(kept.id(), other.id());
        prop_assert_ne!(Statement { profile: ProfileId(kept.claim.0), claim: ClaimDigest(kept.profile.0) }.id(), kept.id());
    }

    #[test]
    fn two_profiles_share_an_id_only_when_they_are_one(a in profiles(), b in profiles()) {
        prop_assert_eq!(a == b, a.id() == b.id());
    }

    #[test]
    fn two_transaction_journals_share_their_bytes_only_when_they_are_one(
        a in transaction_journals(), b in transaction_journals(),
    ) {
        prop_assert_eq!(a == b, a.bytes() == b.bytes());
        prop_assert_eq!(a == b, a.digest(&Blake3) == b.digest(&Blake3));
    }

    #[test]
    fn any_changed_bit_of_a_coordinate_is_another_key(field in 0..4usize, bit in bit()) {
        let kept = kept::coordinate(Position::Batch);
        let mut other = kept;
        let bytes = match field {
            0 => &mut other.block_hash.0,
            1 => &mut other.program.0,
            2 => &mut other.profile.0,
            _ => &mut other.pins.0,
        };
        flip(bytes, bit);
        prop_assert_ne!(kept.key(), other.key());
    }

    #[test]
    fn a_key_of_any_bytes_reads_back_to_itself_or_not_at_all(
        mut key in proptest::collection::vec(any::<u8>(), Coordinate::KEY_LEN), kind in 0u8..4, zeroed in 0..41usize,
    ) {
        key[40] = kind;
        key[Coordinate::KEY_LEN - zeroed..].fill(0);
        if let Some(coordinate) = Coordinate::from_key(&key) {
            prop_assert_eq!(coordinate.key(), key);
        }
    }

    #[test]
    fn the_lane_tip_binds_order_indices_context_and_the_tip_before(
        accepted in proptest::collection::vec((any::<u8>(), any::<u32>()), 1..5),
        at: prop::sample::Index, raise in 1u32.., context in 0..3usize,
    ) {
        let digests = |accepted: &[(u8, u32)]| {
            let named: Vec<_> = accepted.iter().map(|(n, index)| (kept::digest(*n), *index)).collect();
            lane::activity(&Blake3, named)
        };
        let base = digests(&accepted);
        let mut moved = accepted.clone();
        moved[at.index(accepted.len())].1 ^= raise;
        prop_assert_ne!(base, digests(&moved));
        let mut turned = accepted.clone();
        turned.reverse();
        prop_assert_eq!(turned == accepted, digests(&turned) == base);
        prop_assert_ne!(base, digests(&accepted[1..]));

        let tip = lane::advance(&Blake3, &kept::digest(1), &kept::context(), &base);
        let mut other = kept::context();
        *[&mut other.timestamp_ms, &mut other.daa_score, &mut other.blue_score][context] ^= u64::from(raise) << 20;
        prop_assert_ne!(tip, lane::advance(&Blake3, &kept::digest(1), &other, &base));
        prop_assert_ne!(tip, lane::advance(&Blake3, &kept::digest(2), &kept::context(), &base));
    }
}

fn profiles() -> impl Strategy<Value = ProofProfile> {
    // Few values and texts that run into each other, so that equal ones and near misses both occur.
    let text = || prop_oneof![Just(""), Just("a"), Just("ab"), Just("b")].prop_map(String::from);
    let seal = prop_oneof![Just(SealKind::Fake), Just(SealKind::Succinct)];
    (text(), text(), seal, text(), 0u16..2, text()).prop_map(
        |(system, version, seal, hash, security_bits, parameters)| ProofProfile {
            system,
            version,
            seal,
            hash,
            security_bits,
            parameters,
        },
    )
}

fn transaction_journals() -> impl Strategy<Value = TransactionJournal> {
    let small = || (0u8..2).prop_map(|n| Digest([n; 32]));
    let access = (small(), small(), small()).prop_map(|(resource, before, after)| Access {
        resource: ResourceId(resource.0),
        before,
        after,
    });
    let exit = (small(), 0u64..2)
        .prop_map(|(destination, amount)| Exit { destination: ResourceId(destination.0), amount });
    let accesses = proptest::collection::vec(access, 0..3);
    let exits = proptest::collection::vec(exit, 0..3);
    (small(), 0u32..2, accesses, exits).prop_map(|(transaction, outcome, accesses, exits)| {
        let outcome = reprise_model::journal::Outcome(outcome);
        TransactionJournal { transaction, outcome, accesses, exits }
    })
}

#[test]
fn bound_to_the_zero_commitment_is_not_unbound() {
    let bound = kept::aggregate_journal(Commitment::Bound(Digest::ZERO));
    assert_ne!(bound.bytes(), kept::aggregate_journal(Commitment::Unbound).bytes());
}

#[test]
fn a_coordinate_differs_by_checkpoint_index_start_and_commitment() {
    let at = |checkpoint: u64, position| {
        let mut coordinate = kept::coordinate(position);
        coordinate.checkpoint = Checkpoint(checkpoint);
        coordinate.key()
    };
    let aggregate = |start, n| Position::Aggregate { start: Checkpoint(start), commitment: kept::digest(n) };
    let keys = [
        at(1, Position::Batch),
        at(2, Position::Batch),
        at(1, Position::Transaction { merge_index: 0 }),
        at(1, Position::Transaction { merge_index: 1 }),
        at(1, aggregate(0, 1)),
        at(1, aggregate(1, 1)),
        at(1, aggregate(0, 2)),
    ];
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "key {i}");
    }
}

fn batch(root: (u8, u8), tip: (u8, u8)) -> BatchJournal {
    let (root_before, root_after) = (kept::digest(root.0), kept::digest(root.1));
    let (tip_before, tip_after) = (kept::digest(tip.0), kept::digest(tip.1));
    BatchJournal(Transition { root_before, root_after, tip_before, tip_after, ..kept::transition() })
}

#[test]
fn an_aggregate_is_only_of_batches_that_chain_root_to_root_and_tip_to_tip_under_one_pin() {
    let over = |batches: &[BatchJournal]| AggregateJournal::over(&Blake3, batches, Commitment::Unbound);
    let (a, b, c) = (batch((1, 2), (1, 2)), batch((2, 3), (2, 3)), batch((3, 4), (3, 4)));
    let whole = over(&[a, b, c]).unwrap().transition;
    assert_eq!((whole.root_before, whole.root_after), (kept::digest(1), kept::digest(4)));
    assert_eq!((whole.tip_before, whole.tip_after), (kept::digest(1), kept::digest(4)));

    assert_eq!(over(&[]), None, "nothing");
    assert_eq!(over(&[a, c]), None, "one left out");
    assert_eq!(over(&[b, a]), None, "turned round");
    assert_eq!(over(&[a, batch((9, 3), (2, 3))]), None, "another root");
    assert_eq!(over(&[a, batch((2, 3), (9, 3))]), None, "another tip");
    let mut pinned = b;
    pinned.0.pins.0[0] ^= 1;
    assert_eq!(over(&[a, pinned]), None, "other pins");
}

#[test]
fn equal_spans_are_one_aggregate_unless_their_exits_differ() {
    let over = |batches: &[BatchJournal]| AggregateJournal::over(&Blake3, batches, Commitment::Unbound);
    let quiet = |mut batch: BatchJournal| {
        batch.0.exits = Digest::ZERO;
        batch
    };
    let (one, two) = (quiet(batch((1, 2), (1, 2))), quiet(batch((2, 3), (2, 3))));
    let whole = quiet(batch((1, 3), (1, 3)));
    assert_eq!(over(&[one, two]), over(&[whole]));
    assert_ne!(over(&[one, batch((2, 3), (2, 3))]), over(&[whole]));
}
