//! The aggregate program over spans of blocks that are divided in several ways. The spans' proofs are of a program that
//! commits anything: what is asked here is what the aggregate makes of them.

use std::collections::BTreeMap;

use reprise_conformance::fixture::{EXIT, account, fund, pay, proved, transaction};
use reprise_conformance::generated::Random;
use reprise_ledger::Ledger;
use reprise_miden::{MidenError, Poseidon2};
use reprise_model::digest::Digest;
use reprise_model::exit::{AMOUNT_MIN, ScriptClass};
use reprise_model::journal::{Journal, Pins, Span, SpanJournal};
use reprise_model::program::{self, Refusal};
use reprise_model::transaction::LaneTransaction;
use reprise_model::witness::{AggregateEnd, AggregateWitness, Part, Witness};

use crate::anything;
use crate::world::{NO_PROOF, assert_refused, backend, chain_of, ids, pins};

const OTHER_BLOCK: &str = "a part does not begin at the open block before it";
const OTHER_TIP: &str = "a part does not begin at the lane tip before it";
const WITHIN: &str = "what is settled does not begin and end between blocks";
const OTHER_EXITS: &str = "a part's exits are not those in its journal";

const JOIN: AggregateEnd = AggregateEnd::Join;
const SETTLE: AggregateEnd = AggregateEnd::Settle { lane_proof: None };

fn anything_goes() -> Pins {
    Pins { batch_program: anything::id(), ..pins() }
}

fn witness(spans: &[Span], end: AggregateEnd) -> AggregateWitness {
    let parts = spans.iter().map(|span| Part::Batch(span.clone())).collect();
    AggregateWitness { pins: anything_goes(), parts, end }
}

/// Every part has a proof.
fn run(witness: &AggregateWitness) -> Result<Digest, MidenError> {
    let receipts: Vec<_> =
        witness.clone().parts.iter_mut().map(|part| anything::prove(&proved(part).journal)).collect();
    backend().execute(&Witness::Aggregate(witness.clone()), &receipts)
}

fn native(witness: &AggregateWitness) -> Result<Digest, Refusal> {
    let digest = |output| match output {
        program::AggregateOutput::Span(journal) => Journal::digest(&journal, &Poseidon2),
        program::AggregateOutput::Settlement(journal) => journal.digest(&Poseidon2),
    };
    program::aggregate(&Poseidon2, &Ledger, witness).map(digest)
}

/// The spans of a chain of these blocks, whose batches hold so many transactions.
fn divided(blocks: &[Vec<LaneTransaction>], transactions: usize) -> Vec<Span> {
    let [transaction, _, aggregate] = ids();
    let mut fixture = chain_of([transaction, anything::id(), aggregate], transactions);
    for block in blocks {
        fixture.block(block.clone());
    }
    let every: Vec<usize> = (0..blocks.len()).collect();
    fixture.parts(&every).iter().map(|part| fixture.part_span(part).unwrap()).collect()
}

/// Four transactions that are disposed of: state and lane tip are the same all along the block.
fn still() -> Vec<Vec<LaneTransaction>> {
    vec![(1..=4).map(|index| transaction(index, "m", 0, vec![1])).collect()]
}

#[test]
fn equal_spans_are_one_statement_however_they_are_divided() {
    let [one, two, three] = [1, 2, 3].map(|transactions| divided(&still(), transactions));
    let runs = [
        one.clone(),
        two.clone(),
        three.clone(),
        vec![two[0].clone(), one[2].clone(), one[3].clone()],
        vec![one[0].clone(), one[1].clone(), two[1].clone()],
    ];
    let whole = divided(&still(), 4);
    for end in [JOIN, SETTLE] {
        let expected = run(&witness(&whole, end.clone())).unwrap();
        assert_eq!(native(&witness(&whole, end.clone())), Ok(expected));
        for spans in &runs {
            assert_eq!(run(&witness(spans, end.clone())), Ok(expected));
        }
    }
    // Of one span, it is the span.
    assert_eq!(run(&witness(&one[1..2], JOIN)), Ok(one[1].journal.digest(&Poseidon2)));
}

#[test]
fn a_transaction_of_a_block_is_neither_omitted_nor_repeated_nor_reordered() {
    let [one, two, three] = [1, 2, 3].map(|transactions| divided(&still(), transactions));
    let pick = |spans: &[&Span]| spans.iter().copied().cloned().collect::<Vec<_>>();
    let broken = [
        // The second is missing; the third is twice there; the halves are turned; the first is twice there.
        pick(&[&one[0], &two[1]]),
        pick(&[&three[0], &two[1]]),
        pick(&[&one[0], &one[1], &one[2], &two[1]]),
        pick(&[&one[1], &one[2], &one[0]]),
        pick(&[&one[1], &one[1]]),
        pick(&[&one[0], &one[2]]),
    ];
    for spans in broken {
        for end in [JOIN, SETTLE] {
            assert_eq!(native(&witness(&spans, end.clone())), Err(Refusal::Chain));
            assert_refused(run(&witness(&spans, end)), OTHER_BLOCK);
        }
    }
    // After the block's last nothing of it begins.
    for spans in [pick(&[&two[1], &two[0]]), pick(&[&one[3], &one[0]])] {
        assert_refused(run(&witness(&spans, JOIN)), OTHER_TIP);
    }
}

#[test]
fn a_block_is_settled_when_it_is_closed_once() {
    let spans = divided(&still(), 2);
    let [first, last] = &spans[..] else { panic!() };
    for within in [&spans[..1], &spans[1..]] {
        assert_eq!(native(&witness(within, SETTLE)), Err(Refusal::WithinBlock));
        assert_refused(run(&witness(within, SETTLE)), WITHIN);
        assert_eq!(run(&witness(within, JOIN)), Ok(within[0].journal.digest(&Poseidon2)));
    }
    // The first two transactions as if they were all: a block that the L1 did not accept. What follows has nowhere to begin.
    let short = divided(&[still()[0][..2].to_vec()], 2);
    assert_eq!(short[0].journal.transition.tip_before, first.journal.transition.tip_before);
    assert_ne!(short[0].journal.transition.tip_after, last.journal.transition.tip_after);
    for spans in [vec![short[0].clone(), last.clone()], vec![first.clone(), short[0].clone()]] {
        assert_eq!(native(&witness(&spans, SETTLE)), Err(Refusal::Chain));
        assert!(matches!(run(&witness(&spans, SETTLE)), Err(MidenError::Refused { .. })));
    }
    // Neither end may lie within a block.
    let ends = [(Digest::ZERO, true), (Digest([1; 32]), false)];
    for (open, settles) in ends {
        for (before, after) in [(open, Digest::ZERO), (Digest::ZERO, open)] {
            let journal = SpanJournal { open_before: before, open_after: after, ..short[0].journal };
            let spans = [Span { journal, exits: vec![] }];
            let settled = run(&witness(&spans, SETTLE));
            assert_eq!(settled.is_ok(), settles, "{settled:?}");
        }
    }
}

/// Withdrawals in both batches of a block.
fn withdrawing() -> Vec<Vec<LaneTransaction>> {
    let exit = |index, nonce, amount| {
        transaction(index, "alice", 0, pay(EXIT, nonce, amount * AMOUNT_MIN, account("out")))
    };
    vec![vec![fund(1, account("alice"), 100 * AMOUNT_MIN), exit(2, 0, 10), exit(3, 1, 20), exit(4, 2, 30)]]
}

#[test]
fn exits_are_those_of_the_journals_in_their_order() {
    let spans = divided(&withdrawing(), 2);
    assert_eq!(spans.iter().map(|span| span.exits.len()).collect::<Vec<_>>(), [1, 2]);
    let honest = witness(&spans, SETTLE);
    assert_eq!(run(&honest).unwrap(), native(&honest).unwrap());
    let whole = witness(&divided(&withdrawing(), 4), SETTLE);
    assert_eq!(run(&honest), run(&whole));
    let changes: [fn(&mut [Span]); 7] = [
        |spans| spans[0].exits.truncate(0),
        |spans| spans[1].exits.truncate(1),
        |spans| spans[1].exits.swap(0, 1),
        |spans| {
            let again = spans[0].exits[0];
            spans[0].exits.push(again);
        },
        |spans| {
            let moved = spans[1].exits.remove(0);
            spans[0].exits.push(moved);
        },
        |spans| spans[1].exits[0] = spans[0].exits[0],
        |spans| spans[1].exits[0].payee.class = ScriptClass::PublicKey,
    ];
    for (at, change) in changes.into_iter().enumerate() {
        let mut spans = spans.clone();
        change(&mut spans);
        let part = usize::from(![0, 3, 4].contains(&at));
        assert_eq!(native(&witness(&spans, SETTLE)), Err(Refusal::Exits { part }), "{at}");
        assert_refused(run(&witness(&spans, SETTLE)), OTHER_EXITS);
    }
}

#[test]
fn any_number_of_exits_has_the_native_root() {
    for exits in 0..12 {
        let fund = fund(1, account("alice"), 100 * AMOUNT_MIN);
        let exit = |at: u32| {
            let message = pay(EXIT, at.into(), AMOUNT_MIN, account(&format!("{at}")));
            transaction(at + 2, "alice", 0, message)
        };
        let block: Vec<_> = std::iter::once(fund).chain((0..exits).map(exit)).collect();
        let whole = witness(&divided(std::slice::from_ref(&block), 20), SETTLE);
        assert_eq!(run(&whole).unwrap(), native(&whole).unwrap(), "{exits} exits");
        let spans = witness(&divided(&[block], 3), SETTLE);
        assert_eq!(run(&spans), run(&whole), "{exits} exits");
    }
}

#[test]
fn a_part_is_proved_by_the_program_it_is_said_to_be() {
    let spans = divided(&still(), 2);
    let honest = witness(&spans, JOIN);
    for part in [0, 1] {
        let mut forged = honest.clone();
        forged.parts[part] = Part::Joined(spans[part].clone());
        assert_refused(run(&forged), NO_PROOF);
    }
    // Pinned as both, either is.
    let both = Pins { aggregate_program: anything::id(), ..anything_goes() };
    let digest = both.digest(&Poseidon2);
    let mut spans = spans;
    for span in &mut spans {
        span.journal.transition.pins = digest;
    }
    let mut forged = AggregateWitness { pins: both, ..witness(&spans, JOIN) };
    let expected = run(&forged).unwrap();
    forged.parts[1] = Part::Joined(spans[1].clone());
    assert_eq!(run(&forged), Ok(expected));
}

#[test]
fn whatever_parts_are_put_together_the_program_says_what_is_said_natively() {
    let blocks = [withdrawing(), still()].concat();
    let pool: Vec<Span> = [1, 2, 3].into_iter().flat_map(|size| divided(&blocks, size)).collect();
    let mut random = Random(7);
    let mut seen = BTreeMap::new();
    for _ in 0..60 {
        // Most next parts begin where the one before ended.
        let mut spans = vec![pool[random.place(pool.len())].clone()];
        for _ in 0..random.below(4) {
            let end = spans[spans.len() - 1].journal;
            let fits = |span: &&Span| {
                (span.journal.open_before, span.journal.transition.tip_before)
                    == (end.open_after, end.transition.tip_after)
            };
            let fitting: Vec<&Span> = pool.iter().filter(fits).collect();
            let next = match fitting.is_empty() || random.one_in(5) {
                true => &pool[random.place(pool.len())],
                false => fitting[random.place(fitting.len())],
            };
            spans.push(next.clone());
        }
        let end = if random.one_in(2) { JOIN } else { SETTLE };
        let witness = witness(&spans, end);
        let (native, committed) = (native(&witness), run(&witness));
        match (&native, &committed) {
            (Ok(native), Ok(committed)) => assert_eq!(native, committed),
            (Err(_), Err(MidenError::Refused { .. })) => (),
            other => panic!("{other:?}"),
        }
        *seen.entry(format!("{:?}", native.err())).or_insert(0) += 1;
    }
    assert!(seen.len() >= 3, "{seen:?}");
}
