//! What each digest depends on: on every field, wherever it changes, and on nothing else.

use proptest::prelude::*;
use reprise_model::context::BlockContext;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{ClaimDigest, Digest, ProfileId, ResourceId};
use reprise_model::exit::{self, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{
    Access, AggregateJournal, Commitment, Journal, Span, SpanJournal, TransactionJournal, Transition,
    describe,
};
use reprise_model::lane::{self, Activity, LaneError, LaneScheme as _, OpenBlock, Own};
use reprise_model::profile::{ProofProfile, SealKind};
use reprise_model::statement::{Kind, Statement};
use reprise_model::transaction::Accepted;

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

fn accepted(n: u8, merge_index: u32) -> Accepted {
    let [rest, payload, digest] = [0, 0, n].map(kept::digest);
    Accepted { merge_index, version: 1, rest, payload, digest }
}

/// What the workload's own lane folds transactions into, by their digests and merge indices.
pub(crate) fn activity(transactions: &[(u8, u32)]) -> Digest {
    let mut activity = Activity::default();
    for (n, index) in transactions {
        Own.accept(&Blake3, &mut activity, &accepted(*n, *index));
    }
    assert_eq!(activity.count as usize, transactions.len());
    activity.nodes.last().copied().unwrap_or(Digest::ZERO)
}

proptest! {
    #[test]
    fn any_changed_bit_of_a_transition_changes_span_and_settlement(field in 0..6usize, bit in bit()) {
        let mut other = kept::transition();
        flip(field_of(&mut other, field), bit);
        let span = kept::span_journal();
        let changed = SpanJournal { transition: other, ..span };
        prop_assert_ne!(span.bytes(), changed.bytes());
        prop_assert_ne!(span.digest(&Blake3), changed.digest(&Blake3));
        let settlement = kept::aggregate_journal(Commitment::Unbound);
        let changed = AggregateJournal { transition: other, ..settlement };
        prop_assert_ne!(settlement.digest(&Blake3), changed.digest(&Blake3));
    }

    #[test]
    fn any_changed_bit_of_an_open_block_is_another_position(before: bool, bit in bit()) {
        let span = kept::span_journal();
        let mut changed = span;
        flip(if before { &mut changed.open_before.0 } else { &mut changed.open_after.0 }, bit);
        prop_assert_ne!(span.bytes(), changed.bytes());
        prop_assert_ne!(span.digest(&Blake3), changed.digest(&Blake3));
    }

    #[test]
    fn every_part_of_an_open_block_is_part_of_its_digest(field in 0..8usize, raise in 1u32..) {
        let open = kept::open_block();
        let mut other = open.clone();
        match field {
            0 => other.context.timestamp_ms ^= u64::from(raise) << 16,
            1 => other.context.daa_score ^= u64::from(raise) << 16,
            2 => other.context.blue_score ^= u64::from(raise) << 16,
            3 => other.last_index ^= raise,
            4 => other.activity.count ^= raise,
            5 => other.activity.nodes[raise as usize % 2].0[7] ^= 1,
            6 => other.activity.nodes.reverse(),
            _ => drop(other.activity.nodes.pop()),
        }
        prop_assert_ne!(open.digest(&Blake3), other.digest(&Blake3));
    }

    #[test]
    fn a_block_takes_transactions_whose_merge_indices_rise_and_no_others(
        indices in proptest::collection::vec(0u32..6, 1..6),
    ) {
        let mut open = OpenBlock::new(kept::context());
        let mut last = None;
        for index in indices {
            let before = open.clone();
            let taken = open.accept(&Blake3, &accepted(1, index));
            let rises = last.is_none_or(|last| index > last);
            prop_assert_eq!(taken, if rises { Ok(()) } else { Err(LaneError::Order { index }) });
            if !rises {
                prop_assert_eq!(open, before);
                break;
            }
            prop_assert_eq!((open.last_index, open.activity.count), (index, before.activity.count + 1));
            last = Some(index);
        }
    }

    #[test]
    fn any_changed_bit_of_a_pin_changes_the_pins_digest(field in 0..6usize, bit in bit()) {
        let mut other = kept::pins();
        let bytes = match field {
            0 => &mut other.lane.0,
            1 => &mut other.covenant.0,
            2 => &mut other.deposit.0,
            3 => &mut other.transaction_program.0,
            4 => &mut other.batch_program.0,
            _ => &mut other.aggregate_program.0,
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
        let kept = kept::coordinate(Position::Batch { first: 1 });
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
        mut key in proptest::collection::vec(any::<u8>(), Coordinate::KEY_LEN), tag in 0u8..5, zeroed in 0..41usize,
    ) {
        key[40] = tag;
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
        let base = activity(&accepted);
        let mut moved = accepted.clone();
        moved[at.index(accepted.len())].1 ^= raise;
        prop_assert_ne!(base, activity(&moved));
        let mut turned = accepted.clone();
        turned.reverse();
        prop_assert_eq!(turned == accepted, activity(&turned) == base);
        prop_assert_ne!(base, activity(&accepted[1..]));

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
    let exit = (0u32..4, small(), 0u64..2).prop_map(|(class, bytes, amount)| {
        let class = ScriptClass::of(class).unwrap();
        Exit { payee: Payee { class, bytes }, amount }
    });
    let accesses = proptest::collection::vec(access, 0..3);
    let exits = proptest::collection::vec(exit, 0..3);
    let context = proptest::option::of((0u64..2, 0u64..2, 0u64..2).prop_map(
        |(timestamp_ms, daa_score, blue_score)| BlockContext { timestamp_ms, daa_score, blue_score },
    ));
    (small(), 0u32..2, context, accesses, exits).prop_map(
        |(transaction, outcome, context, accesses, exits)| {
            let outcome = reprise_model::journal::Outcome(outcome);
            TransactionJournal { transaction, outcome, context, accesses, exits }
        },
    )
}

#[test]
fn bound_to_the_zero_commitment_is_not_unbound() {
    let bound = kept::aggregate_journal(Commitment::Bound(Digest::ZERO));
    assert_ne!(bound.bytes(), kept::aggregate_journal(Commitment::Unbound).bytes());
}

#[test]
fn a_coordinate_differs_by_checkpoint_index_start_height_and_commitment() {
    let at = |checkpoint: u64, position| {
        let mut coordinate = kept::coordinate(position);
        coordinate.checkpoint = Checkpoint(checkpoint);
        coordinate.key()
    };
    let settlement =
        |start, n| Position::Settlement { start: Checkpoint(start), commitment: kept::digest(n) };
    let join = |start, first, last, height| Position::Join { start: Checkpoint(start), first, last, height };
    let keys = [
        at(1, Position::Batch { first: 0 }),
        at(2, Position::Batch { first: 0 }),
        at(1, Position::Batch { first: 1 }),
        at(1, Position::Transaction { merge_index: 0 }),
        at(1, Position::Transaction { merge_index: 1 }),
        at(1, join(0, 1, 2, 1)),
        at(1, join(1, 1, 2, 1)),
        at(1, join(0, 2, 2, 1)),
        at(1, join(0, 1, 3, 1)),
        at(1, join(0, 1, 2, 2)),
        at(1, settlement(0, 1)),
        at(1, settlement(1, 1)),
        at(1, settlement(0, 2)),
    ];
    for (i, key) in keys.iter().enumerate() {
        assert!(!keys[..i].contains(key), "key {i}");
    }
}

/// A span from root to root, tip to tip, open block to open block, that withdraws this.
fn span(root: [u8; 2], tip: [u8; 2], open: [u8; 2], exits: &[u8]) -> Span {
    let position = |n: u8| if n == 0 { Digest::ZERO } else { kept::digest(n) };
    let ([root_before, root_after], [tip_before, tip_after]) = (root.map(position), tip.map(position));
    let [open_before, open_after] = open.map(position);
    let exits: Vec<Exit> = exits.iter().map(|n| kept::exit(*n)).collect();
    let root = exit::root(&Blake3, &exits);
    let transition =
        Transition { root_before, root_after, tip_before, tip_after, exits: root, ..kept::transition() };
    Span { journal: SpanJournal { transition, open_before, open_after }, exits }
}

/// Four in a row: a block, a block in two batches, a block.
fn run() -> [Span; 4] {
    [
        span([1, 2], [1, 2], [0, 0], &[1]),
        span([2, 3], [2, 2], [0, 7], &[]),
        span([3, 3], [2, 3], [7, 0], &[2, 3]),
        span([3, 4], [3, 4], [0, 0], &[]),
    ]
}

#[test]
fn spans_join_where_they_chain_in_root_tip_and_open_block_under_one_set_of_pins() {
    let join = |parts: &[Span]| Span::join(&Blake3, parts);
    let [a, b, c, d] = run();
    assert_eq!(join(&run()), Some(span([1, 4], [1, 4], [0, 0], &[1, 2, 3])));
    assert_eq!(join(&[a.clone(), b.clone()]), Some(span([1, 3], [1, 2], [0, 7], &[1])));
    assert_eq!(join(&[c.clone(), d.clone()]), Some(span([3, 4], [2, 4], [7, 0], &[2, 3])));
    assert_eq!(join(std::slice::from_ref(&b)), Some(b.clone()));

    assert_eq!(join(&[]), None, "nothing");
    assert_eq!(join(&[a.clone(), c.clone()]), None, "one left out");
    assert_eq!(join(&[c.clone(), b.clone()]), None, "turned round");
    assert_eq!(join(&[a.clone(), span([9, 3], [2, 2], [0, 7], &[])]), None, "another root");
    assert_eq!(join(&[b.clone(), span([3, 3], [9, 3], [7, 0], &[])]), None, "another tip");
    assert_eq!(join(&[b.clone(), span([3, 3], [2, 3], [8, 0], &[])]), None, "another open block");
    assert_eq!(join(&[b.clone(), span([3, 3], [2, 3], [0, 0], &[])]), None, "a block that was left open");
    assert_eq!(join(&[a.clone(), span([2, 3], [2, 2], [7, 0], &[])]), None, "a block that nobody opened");
    let mut pinned = b;
    pinned.journal.transition.pins.0[0] ^= 1;
    assert_eq!(join(&[a, pinned]), None, "other pins");
}

#[test]
fn a_settlement_begins_and_ends_between_blocks() {
    let over = |parts: &[Span]| AggregateJournal::over(&Blake3, parts, Commitment::Unbound);
    let parts = run();
    let whole = over(&parts).unwrap().transition;
    assert_eq!(whole, span([1, 4], [1, 4], [0, 0], &[1, 2, 3]).journal.transition);
    assert!(over(&parts[1..3]).is_some());
    assert_eq!(over(&parts[..2]), None, "it ends within a block");
    assert_eq!(over(&parts[2..]), None, "it begins within a block");
    assert_eq!(over(&parts[1..2]), None, "it ends within a block");
    assert_eq!(over(&[]), None, "nothing");
    assert_eq!(over(&[parts[0].clone(), parts[3].clone()]), None, "they do not chain");
}

#[test]
fn equal_spans_are_one_statement_however_they_are_joined() {
    let join = |parts: &[Span]| Span::join(&Blake3, parts).unwrap();
    let parts = run();
    let whole = join(&parts);
    for at in 1..parts.len() {
        let (before, after) = parts.split_at(at);
        assert_eq!(join(&[join(before), join(after)]), whole, "joined at {at}");
    }
    let [a, b, c, d] = parts;
    assert_eq!(join(&[a.clone(), join(&[b.clone(), c.clone()]), d.clone()]), whole);
    // As one batch would have it; and with other exits it is another.
    assert_eq!(span([1, 4], [1, 4], [0, 0], &[1, 2, 3]), whole);
    for exits in [&[1, 2][..], &[1, 3, 2], &[]] {
        assert_ne!(span([1, 4], [1, 4], [0, 0], exits).journal, whole.journal);
    }
}

#[test]
fn what_a_journal_says_is_listed_by_the_names_of_its_fields() {
    let names = |kind, bytes: &[u8]| -> Option<Vec<&'static str>> {
        Some(describe(kind, bytes)?.into_iter().map(|(name, _)| name).collect())
    };
    let endpoints =
        ["version", "pins", "root before", "root after", "lane tip before", "lane tip after", "exits"];
    let span = kept::span_journal().bytes();
    let open = [&endpoints[..], &["open block before", "open block after"]].concat();
    assert_eq!(names(Kind::Batch, &span), Some(open.clone()));
    assert_eq!(names(Kind::Aggregate, &span), Some(open));
    let settlement = kept::aggregate_journal(Commitment::Bound(kept::digest(0x70))).bytes();
    let bound = [&endpoints[..], &["sequencing commitment"]].concat();
    assert_eq!(names(Kind::Aggregate, &settlement), Some(bound));
    assert_eq!(names(Kind::Batch, &settlement), None, "a batch settles nothing");
    let fields = describe(Kind::Aggregate, &span).unwrap();
    assert_eq!(fields[7], ("open block before", kept::digest(0x16).to_hex()));
    let transaction = kept::transaction_journal().bytes();
    assert_eq!(names(Kind::Transaction, &transaction).map(|names| names.len()), Some(3 + 3 + 2 * 3 + 2));
    for (kind, bytes) in
        [(Kind::Batch, &span), (Kind::Aggregate, &settlement), (Kind::Transaction, &transaction)]
    {
        assert_eq!(names(kind, &bytes[..bytes.len() - 1]), None);
        assert_eq!(names(kind, &[&bytes[..], &[0; 32]].concat()).is_some(), kind == Kind::Aggregate);
    }
}

#[test]
fn a_settlements_journal_reads_back_and_no_other_bytes_do() {
    for commitment in [Commitment::Unbound, Commitment::Bound(kept::digest(0x70))] {
        let journal = kept::aggregate_journal(commitment);
        let bytes = journal.bytes();
        assert_eq!(AggregateJournal::decode(&bytes), Some(journal));
        for at in [0, 4, 8, 31] {
            let mut other = bytes.clone();
            other[at] ^= 2;
            assert_eq!(AggregateJournal::decode(&other), None, "byte {at}");
        }
        assert_eq!(AggregateJournal::decode(&bytes[..bytes.len() - 32]), None);
    }
    // A span is no settlement, though it begins and ends between blocks.
    for span in [kept::span_journal(), kept::whole_journal()] {
        assert_eq!(AggregateJournal::decode(&span.bytes()), None);
    }
}
