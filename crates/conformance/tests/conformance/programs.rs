//! The programs over forged witnesses of divided blocks: they refuse, or commit to what does not chain with the rest.

use std::sync::Arc;

use reprise_conformance::fixture::{EXIT, Fixture, account, fund, pay, proved, transaction};
use reprise_ledger::{Action, Ledger};
use reprise_model::digest::{Digest, ProgramId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{AggregateJournal, Commitment, Outcome, Span, SpanJournal};
use reprise_model::lane::LaneError;
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::program::{self, AggregateOutput, Refusal};
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, ShownBytes};
use reprise_model::witness::{AggregateEnd, AggregateWitness, BatchWitness, Handling};
use reprise_scheduler::execution::Division;

const DIVISION: Division =
    Division { limits: Limits { transactions: 3, ..Limits::NONE }, apart: ProveApart::Never };

const PROGRAMS: [ProgramId; 3] = [ProgramId([1; 32]), ProgramId([2; 32]), ProgramId([3; 32])];

/// Three blocks: accounts are made; two batches of three; one transaction.
fn blocks() -> [Vec<LaneTransaction>; 3] {
    let of = |action, nonce, amount, to: &str| pay(action, nonce, amount * AMOUNT_MIN, account(to));
    [
        vec![fund(1, account("alice"), 100 * AMOUNT_MIN), fund(2, account("bob"), 50 * AMOUNT_MIN)],
        vec![
            transaction(1, "alice", 0, of(Action::Transfer, 0, 10, "bob")),
            transaction(3, "carol", 0, vec![1]),
            transaction(4, "bob", 0, of(EXIT, 0, 55, "bob")),
            transaction(5, "alice", 0, of(Action::Transfer, 1, 20, "carol")),
            transaction(8, "carol", 0, vec![1; BYTES_MAX]),
            transaction(9, "alice", 0, of(EXIT, 2, 70, "bob")),
        ],
        vec![transaction(1, "carol", 0, of(EXIT, 0, 5, "carol"))],
    ]
}

fn divided(division: Division) -> Fixture {
    let mut fixture = Fixture::proving(Arc::new(Blake3), PROGRAMS, None, division);
    for block in blocks() {
        fixture.block(block);
    }
    fixture
}

fn chain() -> Fixture {
    divided(DIVISION)
}

fn batch(witness: &BatchWitness) -> Result<SpanJournal, Refusal> {
    program::batch(&Blake3, &Ledger, witness)
}

/// What comes of the batch at a place in the second block, once it is changed.
fn forge(
    fixture: &Fixture,
    index: usize,
    change: impl FnOnce(&mut BatchWitness),
) -> Result<SpanJournal, Refusal> {
    let mut witness = fixture.batch_witness_at(1, index);
    assert_eq!(batch(&witness), Ok(fixture.span_at(1, index).journal));
    change(&mut witness);
    batch(&witness)
}

/// Whether a chain with this in the place of a batch of the second block can be settled at the honest endpoints.
fn settles(fixture: &Fixture, index: usize, forged: SpanJournal) -> bool {
    let mut spans: Vec<Span> = (0..3)
        .flat_map(|block| (0..fixture.batches[block].batches.len()).map(move |index| (block, index)))
        .map(|(block, index)| fixture.span_at(block, index))
        .collect();
    let settle = |spans: &[Span]| AggregateJournal::over(&Blake3, spans, Commitment::Unbound);
    let honest = settle(&spans).unwrap();
    spans[1 + index].journal = forged;
    settle(&spans) == Some(honest)
}

#[track_caller]
fn assert_useless(fixture: &Fixture, index: usize, forged: Result<SpanJournal, Refusal>) {
    if let Ok(journal) = forged {
        assert!(!settles(fixture, index, journal), "{journal:?}");
    }
}

#[test]
fn the_chain_is_what_these_tests_say_of_it() {
    let fixture = chain();
    let block = &fixture.batches[1];
    let outcomes: Vec<_> = block.transactions.iter().map(|it| it.journal.outcome).collect();
    let (done, foreign, long) = (Outcome::SUCCESS, Outcome::MALFORMED, Outcome::TOO_LONG);
    assert_eq!(outcomes, [done, foreign, done, done, long, done]);
    assert_eq!(block.batches.len(), 2);
    for index in 0..2 {
        assert!(settles(&fixture, index, fixture.span_at(1, index).journal));
    }
}

#[test]
fn how_a_transaction_is_accounted_for_does_not_show_in_the_journal() {
    let fixture = chain();
    for (index, at) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        let expected = fixture.span_at(1, index).journal;
        let journal = fixture.batches[1].transactions[3 * index + at].journal.clone();
        let apart = forge(&fixture, index, |w| w.transactions[at].1 = Handling::Apart(journal));
        assert_eq!(apart, Ok(expected));
    }
}

#[test]
fn a_run_that_skips_repeats_reorders_or_shares_a_transaction_is_refused_or_chains_with_nothing() {
    let fixture = chain();
    let order = |index| Err(Refusal::Lane(LaneError::Order { index }));
    for (index, merge_indices) in [[1, 3, 4], [5, 8, 9]].into_iter().enumerate() {
        for (at, merge_index) in merge_indices.into_iter().enumerate() {
            let skipped = forge(&fixture, index, |w| drop(w.transactions.remove(at)));
            assert_useless(&fixture, index, skipped);
            let repeated = forge(&fixture, index, |w| w.transactions.insert(at, w.transactions[at].clone()));
            assert_eq!(repeated, order(merge_index));
            let moved = forge(&fixture, index, |w| w.transactions[at].0.merge_index += 1);
            assert_useless(&fixture, index, moved);
            if at < 2 {
                let turned = forge(&fixture, index, |w| w.transactions.swap(at, at + 1));
                assert!(turned.is_err(), "{turned:?}");
            }
        }
    }
    // What is disposed of meets no value, so that nothing but its order is another.
    let turned = forge(&fixture, 0, |w| {
        w.transactions.drain(..1);
        w.transactions[1] = w.transactions[0].clone();
        w.transactions[0].0.merge_index = 4;
    });
    assert_eq!(turned, order(3));
    // The second run begins with what the first ended with.
    let first = fixture.batch_witness_at(1, 0);
    let shared = forge(&fixture, 1, |w| w.transactions.insert(0, first.transactions[2].clone()));
    assert_eq!(shared, order(4));
    // The first run ends with what the second begins with.
    let second = fixture.batch_witness_at(1, 1);
    let whole = divided(Division { limits: Limits::NONE, ..DIVISION }).batch_witness_at(1, 0);
    let shared = forge(&fixture, 0, |w| {
        w.transactions.push(second.transactions[0].clone());
        w.paths = whole.paths;
    });
    assert_useless(&fixture, 0, Ok(shared.unwrap()));
}

#[test]
fn a_run_that_continues_another_block_chains_with_nothing() {
    let fixture = chain();
    let changes: [fn(&mut BatchWitness); 8] = [
        |w| w.block.context.timestamp_ms += 1,
        |w| w.block.context.daa_score += 1,
        |w| w.block.context.blue_score += 1,
        |w| w.block.last_index -= 1,
        |w| w.block.activity.count -= 1,
        |w| w.block.activity.nodes[0].0[0] ^= 1,
        |w| w.block.activity.nodes.clear(),
        // As if nothing of it were proved.
        |w| w.block.activity.count = 0,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let forged = forge(&fixture, 1, change);
        let forged = forged.unwrap_or_else(|refusal| panic!("{at}: {refusal}"));
        assert_ne!(forged.open_before, fixture.span_at(1, 1).journal.open_before, "{at}");
        assert_useless(&fixture, 1, Ok(forged));
    }
    // The first run has a context and nothing else: what a witness says beside it does not count.
    let said = forge(&fixture, 0, |w| {
        w.block.last_index = 9;
        w.block.activity.nodes.push(Digest([1; 32]));
    });
    assert_eq!(said, Ok(fixture.span_at(1, 0).journal));
    assert_useless(&fixture, 0, forge(&fixture, 0, |w| w.block.context.daa_score += 1));
}

#[test]
fn a_block_is_closed_once_and_by_its_last_run() {
    let fixture = chain();
    let join = |spans: &[Span]| Span::join(&Blake3, spans);
    let [first, second] = [0, 1].map(|index| fixture.span_at(1, index));
    let next = fixture.span_at(2, 0);
    let with = |span: &Span, journal| Span { journal, ..span.clone() };

    let twice = with(&first, forge(&fixture, 0, |w| w.closes = true).unwrap());
    assert_eq!(twice.journal.open_after, Digest::ZERO);
    assert_ne!(twice.journal.transition.tip_after, first.journal.transition.tip_after);
    assert_eq!(
        join(&[twice.clone(), second.clone()]),
        None,
        "the second run goes on in a block that is closed"
    );
    let again = with(&second, forge(&fixture, 1, |w| w.block.activity.count = 0).unwrap());
    assert_useless(&fixture, 1, Ok(again.journal));
    assert_eq!(join(&[twice.clone(), again]), None, "a block that is closed begins again");
    // Over the tip of the first close it chains, and ends in a tip of two blocks, which the L1 never had.
    let again = forge(&fixture, 1, |w| {
        w.block.activity.count = 0;
        w.tip_before = twice.journal.transition.tip_after;
    });
    let parted = join(&[twice, with(&second, again.unwrap())]).unwrap().journal.transition;
    assert_ne!(parted.tip_after, second.journal.transition.tip_after);

    let never = with(&second, forge(&fixture, 1, |w| w.closes = false).unwrap());
    assert_ne!(never.journal.open_after, Digest::ZERO);
    assert_eq!(never.journal.transition.tip_after, second.journal.transition.tip_before);
    assert_eq!(join(&[never.clone(), next]), None, "the next block begins in one that is open");
    let parts = [first, never];
    assert_eq!(AggregateJournal::over(&Blake3, &parts, Commitment::Unbound), None);
}

#[test]
fn a_transaction_is_executed_over_the_values_of_the_state_and_over_no_others() {
    let fixture = chain();
    fn values(witness: &mut BatchWitness, at: usize) -> &mut Vec<Option<Vec<[u32; 8]>>> {
        match &mut witness.transactions[at].1 {
            Handling::Inline(values) => values,
            other => panic!("{other:?}"),
        }
    }
    for (index, at) in [(0, 0), (0, 2), (1, 0), (1, 2)] {
        let richer = forge(&fixture, index, |w| values(w, at)[0] = Some(vec![[1000, 0, 0, 0, 0, 0, 0, 0]]));
        assert!(matches!(richer, Err(Refusal::Stale { .. })), "{richer:?}");
        let absent = forge(&fixture, index, |w| values(w, at)[0] = None);
        assert!(matches!(absent, Err(Refusal::Stale { .. })), "{absent:?}");
        let declared = values(&mut fixture.batch_witness_at(1, index), at).len();
        let fewer = forge(&fixture, index, |w| drop(values(w, at).pop()));
        assert_eq!(fewer, Err(Refusal::Values { given: declared - 1, declared }));
        let more = forge(&fixture, index, |w| values(w, at).push(None));
        assert_eq!(more, Err(Refusal::Values { given: declared + 1, declared }));
    }
    // Bob withdraws what he has after Alice paid him: what he had before is not it.
    let before = values(&mut fixture.batch_witness_at(1, 0), 0)[1].clone();
    let stale = forge(&fixture, 0, |w| values(w, 2)[0] = before);
    assert!(matches!(stale, Err(Refusal::Stale { .. })), "{stale:?}");
}

#[test]
fn what_is_the_workloads_is_not_disposed_of_and_what_is_not_is_not_executed() {
    let fixture = chain();
    let disposed =
        |index: usize, at: usize| forge(&fixture, index, |w| w.transactions[at].1 = Handling::Disposed);
    assert_eq!(disposed(0, 0), Err(Refusal::Disposed { index: 1 }));
    assert_eq!(disposed(0, 2), Err(Refusal::Disposed { index: 4 }));
    assert_eq!(disposed(1, 2), Err(Refusal::Disposed { index: 9 }));
    let executed = |index: usize| forge(&fixture, index, |w| w.transactions[1].1 = Handling::Inline(vec![]));
    assert_eq!([executed(0), executed(1)], [Err(Refusal::Foreign), Err(Refusal::Foreign)]);
    // A journal of what is too long would be of nothing that a transaction's program commits.
    let long = fixture.batches[1].transactions[4].journal.clone();
    let apart = forge(&fixture, 1, |w| w.transactions[1].1 = Handling::Apart(long));
    assert_eq!(apart, Err(Refusal::Facts { index: 8 }));
    let other = fixture.batches[1].transactions[2].journal.clone();
    let apart = forge(&fixture, 0, |w| w.transactions[0].1 = Handling::Apart(other));
    assert_eq!(apart, Err(Refusal::Facts { index: 1 }));
}

/// Nodes of no bytes.
fn made_up(fill: u8) -> ShownBytes {
    let encoded = [&[1][..], &[fill; 5 * 64]].concat();
    borsh::from_slice(&encoded).unwrap()
}

#[test]
fn bytes_are_too_long_only_where_their_nodes_are_of_one_tree() {
    let fixture = chain();
    // Byte by byte, in each node of the long one.
    let shown = fixture.batch_witness_at(1, 1).transactions[1].0.payload.clone();
    let honest = borsh::to_vec(&shown).unwrap();
    assert_eq!(honest.len(), 1 + 5 * 64);
    for node in 0..5 {
        for side in 0..2 {
            let mut forged = honest.clone();
            forged[1 + 64 * node + 32 * side + 3] ^= 0x10;
            let payload: ShownBytes = borsh::from_slice(&forged).unwrap();
            let forged = forge(&fixture, 1, |w| w.transactions[1].0.payload = payload);
            match (node, side) {
                // Of other bytes, which the lane did not accept.
                (0, 1) => assert_useless(&fixture, 1, Ok(forged.unwrap())),
                _ => assert_eq!(forged, Err(Refusal::Shown { index: 8 })),
            }
        }
    }
    // What can be read is not shown as too long, to be disposed of.
    for fill in [0, 1] {
        for (index, at, merge_index) in [(0, 0, 1), (0, 2, 4), (1, 2, 9)] {
            let forged = forge(&fixture, index, |w| {
                w.transactions[at].0.payload = made_up(fill);
                w.transactions[at].1 = Handling::Disposed;
            });
            assert_eq!(forged, Err(Refusal::Shown { index: merge_index }));
        }
    }
    let repaid = forge(&fixture, 1, |w| {
        w.transactions[2].0.payload = w.transactions[1].0.payload.clone();
        w.transactions[2].1 = Handling::Disposed;
    });
    assert_useless(&fixture, 1, repaid);
}

#[test]
fn a_batch_opens_what_it_touches_in_the_root_before_it() {
    let fixture = chain();
    for index in 0..2 {
        let unopened = forge(&fixture, index, |w| drop(w.paths.pop()));
        assert!(matches!(unopened, Err(Refusal::Unopened { .. })), "{unopened:?}");
        let changes: [fn(&mut BatchWitness); 4] = [
            |w| w.paths[0].siblings[0].0[0] ^= 1,
            |w| w.root_before.0[0] ^= 1,
            |w| w.paths.push(w.paths[0].clone()),
            |w| w.paths[0].siblings.truncate(62),
        ];
        for change in changes {
            let forged = forge(&fixture, index, change);
            assert!(matches!(forged, Err(Refusal::Root | Refusal::Unopened { .. })), "{forged:?}");
        }
        assert_eq!(forge(&fixture, index, |w| w.transactions.clear()), Err(Refusal::EmptyBatch));
    }
}

fn aggregate(witness: &AggregateWitness) -> Result<AggregateOutput, Refusal> {
    program::aggregate(&Blake3, &Ledger, witness)
}

fn forge_aggregate(
    fixture: &Fixture,
    change: impl FnOnce(&mut AggregateWitness),
) -> Result<AggregateOutput, Refusal> {
    let mut witness = fixture.aggregate_witness(&[0, 1, 2]);
    let honest = aggregate(&witness).unwrap();
    assert_eq!(honest.bytes(), fixture.aggregate_claim(&[0, 1, 2]).journal);
    change(&mut witness);
    aggregate(&witness)
}

#[test]
fn an_aggregate_refuses_exits_that_its_parts_journal_does_not_commit_to() {
    let fixture = chain();
    // Of the parts, all but the first withdraw once.
    let exits: Vec<_> =
        fixture.aggregate_witness(&[0, 1, 2]).parts.iter_mut().map(|part| proved(part).exits.len()).collect();
    assert_eq!(exits, [0, 1, 1, 1]);
    let exit =
        Exit { payee: Payee { class: ScriptClass::PublicKey, bytes: Digest([1; 32]) }, amount: AMOUNT_MIN };
    let refused = |part| Err(Refusal::Exits { part });
    assert_eq!(forge_aggregate(&fixture, |w| proved(&mut w.parts[1]).exits.clear()), refused(1));
    assert_eq!(forge_aggregate(&fixture, |w| proved(&mut w.parts[0]).exits.push(exit)), refused(0));
    assert_eq!(forge_aggregate(&fixture, |w| proved(&mut w.parts[3]).exits[0].amount += 1), refused(3));
    let class =
        |w: &mut AggregateWitness| proved(&mut w.parts[3]).exits[0].payee.class = ScriptClass::PublicKey;
    assert_eq!(forge_aggregate(&fixture, class), refused(3));
    let repeated = forge_aggregate(&fixture, |w| {
        let exits = &mut proved(&mut w.parts[2]).exits;
        exits.push(exits[0]);
    });
    assert_eq!(repeated, refused(2));
    let moved = forge_aggregate(&fixture, |w| {
        let exit = proved(&mut w.parts[2]).exits.pop().unwrap();
        proved(&mut w.parts[1]).exits.push(exit);
    });
    assert_eq!(moved, refused(1));
}

#[test]
fn an_aggregate_refuses_parts_that_do_not_chain_and_what_it_settles_ends_with_a_block() {
    let fixture = chain();
    for at in 0..4 {
        let repeated = forge_aggregate(&fixture, |w| w.parts.insert(at, w.parts[at].clone()));
        assert_eq!(repeated, Err(Refusal::Chain));
        if at < 3 {
            assert_eq!(forge_aggregate(&fixture, |w| w.parts.swap(at, at + 1)), Err(Refusal::Chain));
        }
        if (1..3).contains(&at) {
            assert_eq!(forge_aggregate(&fixture, |w| drop(w.parts.remove(at))), Err(Refusal::Chain));
        }
    }
    assert_eq!(forge_aggregate(&fixture, |w| w.parts.clear()), Err(Refusal::Chain));
    // Where a block is left open, it is gone on with, and no other.
    let opened = |w: &mut AggregateWitness| proved(&mut w.parts[2]).journal.open_before.0[0] ^= 1;
    assert_eq!(forge_aggregate(&fixture, opened), Err(Refusal::Chain));
    let closed = |w: &mut AggregateWitness| proved(&mut w.parts[1]).journal.open_after = Digest::ZERO;
    assert_eq!(forge_aggregate(&fixture, closed), Err(Refusal::Chain));
    assert_eq!(forge_aggregate(&fixture, |w| w.parts.truncate(2)), Err(Refusal::WithinBlock));
    assert_eq!(forge_aggregate(&fixture, |w| drop(w.parts.drain(..2))), Err(Refusal::WithinBlock));
    // To be joined again, it may end there.
    let joined = forge_aggregate(&fixture, |w| {
        w.parts.truncate(2);
        w.end = AggregateEnd::Join;
    });
    assert!(matches!(joined, Ok(AggregateOutput::Span(span)) if span.open_after != Digest::ZERO));
    for at in 0..4 {
        let pinned = |w: &mut AggregateWitness| proved(&mut w.parts[at]).journal.transition.pins.0[0] ^= 1;
        assert_eq!(forge_aggregate(&fixture, pinned), Err(Refusal::Pins));
    }
}

#[test]
fn equal_spans_are_one_statement_however_they_are_joined() {
    let fixture = chain();
    let parts = fixture.parts(&[0, 1, 2]);
    let expected = fixture.aggregate_claim(&[0, 1, 2]).journal;
    let settled = |parts: &[_]| aggregate(&fixture.settlement_witness(parts)).unwrap().bytes();
    let joined = |parts: &[_]| {
        let (claim, witness) = fixture.join(parts);
        assert_eq!(aggregate(&witness).unwrap().bytes(), claim.journal);
        Fixture::joined(parts)
    };
    let [a, b, c, d] = &parts[..] else { panic!("{} parts", parts.len()) };
    assert_eq!(settled(&parts), expected);
    for at in 1..4 {
        let (before, after) = parts.split_at(at);
        assert_eq!(settled(&[joined(before), joined(after)]), expected);
    }
    let inner = joined(&[b.clone(), c.clone()]);
    assert_eq!(settled(&[a.clone(), inner.clone(), d.clone()]), expected);
    let nested = joined(&[joined(&[a.clone(), inner]), d.clone()]);
    assert_eq!(settled(&[nested]), expected);
}
