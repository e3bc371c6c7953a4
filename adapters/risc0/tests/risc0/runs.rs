//! Runs of a block: transactions that are proved apart, executed in a batch or disposed of, in any division, without proving.

use std::sync::Arc;

use reprise_conformance::fixture::{proved, turn};
use reprise_conformance::generated::Compared;
use reprise_ledger::{Action, BAD_NONCE, Ledger, OVERDRAFT};
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::{Journal, Outcome, Span, SpanJournal};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::order::PartRef;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::state::{self, Entry};
use reprise_model::statement::{Claim, Kind};
use reprise_model::transaction::{BYTES_MAX, LaneTransaction, LongBytes, ShownBytes};
use reprise_model::witness::{AggregateEnd, AggregateWitness, BatchWitness, Handling, Part, Witness};
use reprise_prover::backend::Backend;
use reprise_risc0::{Risc0Error, Sha256};
use reprise_scheduler::execution::Division;
use reprise_scheduler::tree::StateTree;

use crate::aggregate::run_over;
use crate::batch::run;
use crate::fixture::{
    EXIT, Fixture, NO_PROOF, account, assert_refused, development, divided, fund, lanes, pay, prove, runs_of,
    transaction,
};

/// Two blocks. In the first accounts are made; in the second every action, failures, a deposit that asks for something else, what
/// is malformed, and 240 KB.
fn blocks() -> [Vec<LaneTransaction>; 2] {
    let of = |action, nonce, amount, to: &str| pay(action, nonce, amount * AMOUNT_MIN, account(to));
    [
        vec![fund(2, account("alice"), 1000 * AMOUNT_MIN), fund(7, account("bob"), 50 * AMOUNT_MIN)],
        vec![
            transaction(1, "alice", 0, of(Action::Transfer, 0, 60, "bob")),
            transaction(3, "mallory", 0, vec![1]),
            transaction(4, "bob", 0, of(EXIT, 0, 7, "out")),
            transaction(5, "bob", 0, of(EXIT, 0, 7, "out")),
            transaction(6, "carol", 40 * AMOUNT_MIN, of(EXIT, 0, 7, "out")),
            transaction(7, "mallory", 0, vec![7; 240_000]),
            transaction(8, "carol", 0, of(Action::Transfer, 0, 40, "dave")),
            transaction(11, "dave", 0, of(EXIT, 0, 41, "out")),
            transaction(12, "dave", 0, vec![]),
            transaction(13, "alice", 0, of(EXIT, 1, 940, "dave")),
        ],
    ]
}

fn chain(division: Division) -> Fixture {
    let mut fixture = divided(division);
    for block in blocks() {
        fixture.block(block);
    }
    fixture
}

/// Receipts of a block's transactions that have proofs of their own.
fn transactions(fixture: &Fixture, block: usize, wanted: impl Fn(usize) -> bool) -> Vec<Verified<Receipt>> {
    let indices = (0..fixture.batches[block].transactions.len()).filter(|index| wanted(*index));
    let proved = indices.map(|index| {
        let witness = Witness::Transaction(fixture.transaction_witness(block, index));
        prove(development(), &fixture.transaction_claim(block, index), witness, &[])
    });
    proved.collect()
}

fn is_disposed(handling: &Handling) -> bool {
    matches!(handling, Handling::Disposed)
}

#[test]
fn generated_blocks_commit_what_they_do_natively_however_they_are_divided() {
    let agrees = |witness: &Witness, expected: Option<&dyn Journal>| {
        let committed = development().execute(witness, &[]).map(|done| done.journal);
        assert_eq!(
            committed.as_ref().ok(),
            expected.map(|journal| journal.bytes()).as_ref(),
            "{committed:?}"
        );
    };
    let programs = Backend::programs(development());
    let compared = Compared { hasher: Arc::new(Sha256), programs, prover: Some(lanes), agrees: &agrees };
    for (seed, price) in [(1, 0), (2, 3)] {
        compared.check(seed, 12, price);
    }
}

#[test]
fn every_division_of_a_block_commits_what_it_does_natively_and_settles_alike() {
    let (success, malformed) = (Outcome::SUCCESS, Outcome::MALFORMED);
    let expected = [
        success,
        malformed,
        success,
        BAD_NONCE,
        success,
        Outcome::TOO_LONG,
        success,
        OVERDRAFT,
        malformed,
        success,
    ];
    let whole = chain(runs_of(usize::MAX, ProveApart::Never)).aggregate_journal(&[0, 1]).unwrap();
    assert_ne!(whole.transition.exits, Digest::ZERO);
    for apart in [ProveApart::Never, ProveApart::Always] {
        for size in [1, 2, 3, 4, 7, 9, 10] {
            let fixture = chain(runs_of(size, apart));
            let outcomes: Vec<_> =
                fixture.batches[1].transactions.iter().map(|it| it.journal.outcome).collect();
            assert_eq!(outcomes, expected);
            assert_eq!(fixture.batches[1].batches.len(), 10usize.div_ceil(size));
            let mut batches = vec![];
            for block in 0..2 {
                let scheduled = &fixture.batches[block].transactions;
                let apart =
                    |index: usize| scheduled[index].proved_by == reprise_model::scheduled::ProvedBy::Itself;
                let receipts = transactions(&fixture, block, apart);
                for index in 0..fixture.batches[block].batches.len() {
                    let witness = fixture.batch_witness_at(block, index);
                    let claim = fixture.batch_claim_at(block, index);
                    assert_eq!(run(witness.clone(), &receipts).unwrap(), claim.journal);
                    batches.push(prove(development(), &claim, Witness::Batch(witness), &receipts));
                }
            }
            let parts = fixture.parts(&[0, 1]);
            let settled = run_over(fixture.settlement_witness(&parts), &batches).unwrap();
            assert_eq!(settled, whole.bytes(), "runs of {size}, {apart:?}");
        }
    }
}

#[test]
fn how_a_transaction_is_accounted_for_does_not_show() {
    let fixture = chain(runs_of(usize::MAX, ProveApart::Never));
    let inline = fixture.batch_witness(1);
    let well_formed: Vec<usize> = (0..10).filter(|at| !is_disposed(&inline.transactions[*at].1)).collect();
    assert_eq!(well_formed, [0, 2, 3, 4, 6, 7, 9]);
    let receipts = transactions(&fixture, 1, |index| well_formed.contains(&index));
    // Each alone, every other one, all.
    let alone = well_formed.iter().map(|at| vec![*at]);
    let every_other = well_formed.iter().copied().step_by(2).collect();
    for apart in alone.chain([every_other, well_formed.clone()]) {
        let mut witness = inline.clone();
        for at in &apart {
            let journal = fixture.batches[1].transactions[*at].journal.clone();
            witness.transactions[*at].1 = Handling::Apart(journal);
        }
        assert_eq!(run(witness.clone(), &receipts).unwrap(), fixture.batch_claim(1).journal);
        assert_refused(run(witness, &[]), NO_PROOF);
    }
}

#[test]
fn a_batch_of_nothing_but_what_is_disposed_of_moves_the_lane_tip_alone() {
    let mut fixture = divided(runs_of(usize::MAX, ProveApart::Never));
    fixture.block(vec![fund(1, account("alice"), 5)]);
    let [long, short] = [vec![7; 240_000], vec![7]].map(|message| transaction(1, "mallory", 0, message));
    for accepted in [
        vec![long.clone()],
        vec![short.clone()],
        vec![LaneTransaction { merge_index: 2, ..long }, LaneTransaction { merge_index: 9, ..short }],
    ] {
        fixture.block(accepted);
        let block = fixture.batches.len() - 1;
        let witness = fixture.batch_witness(block);
        assert!(witness.paths.is_empty() && witness.transactions.iter().all(|(_, how)| is_disposed(how)));
        assert_eq!(run(witness, &[]).unwrap(), fixture.batch_claim(block).journal);
        let transition = fixture.span(block).journal.transition;
        assert_eq!(transition.root_before, transition.root_after);
        assert_ne!(transition.tip_before, transition.tip_after);
    }
}

const SHOWN: &str = "is shown by bytes that are not of one transaction";
const ORDER: &str = "does not rise above the one before it";
const CHAIN: &str = "the parts of the aggregate do not chain";

/// The bytes of the nodes, as a witness holds them.
fn nodes(of: &ShownBytes) -> Vec<u8> {
    match of {
        ShownBytes::Long(long) => borsh::to_vec(long).unwrap(),
        ShownBytes::Whole(bytes) => panic!("{} bytes", bytes.len()),
    }
}

fn shown_by(nodes: &[u8]) -> ShownBytes {
    ShownBytes::Long(borsh::from_slice::<LongBytes>(nodes).unwrap())
}

#[test]
fn a_payload_of_240_kilobytes_is_shown_by_five_nodes_and_forged_ones_are_refused() {
    let fixture = chain(runs_of(usize::MAX, ProveApart::Never));
    let honest = fixture.batch_witness(1);
    let long = nodes(&honest.transactions[5].0.payload);
    assert_eq!(long.len(), 5 * 2 * 32);
    let with = |forged: &[u8]| {
        let mut witness = honest.clone();
        witness.transactions[5].0.payload = shown_by(forged);
        run(witness, &[])
    };
    let expected = fixture.batch_claim(1).journal;
    assert_eq!(with(&long).unwrap(), expected);
    for (at, byte) in (0..long.len()).step_by(32).map(|at| (at, at + 9)) {
        let mut forged = long.clone();
        forged[byte] ^= 4;
        match at / 32 {
            // The right side of the root opens nothing: other bytes, and another lane tip.
            1 => assert_ne!(with(&forged).unwrap(), expected),
            _ => assert_refused(with(&forged), SHOWN),
        }
    }
    let turned: Vec<u8> = long.chunks(64).rev().flatten().copied().collect();
    assert_refused(with(&turned), SHOWN);
    // A payload's nodes are not a rest's.
    let mut witness = honest.clone();
    witness.transactions[5].0.rest = shown_by(&long);
    assert_refused(run(witness, &[]), SHOWN);
}

#[test]
fn bytes_that_can_be_read_are_not_shown_as_too_long() {
    // The most bytes that are read, 16 chunks: their tree is the left side of that over one byte more.
    let mut fixture = divided(runs_of(usize::MAX, ProveApart::Never));
    let shortest = transaction(1, "mallory", 0, vec![]).payload.len();
    let of = |message: usize| transaction(1, "mallory", 0, vec![7; message - shortest]);
    assert_eq!(of(BYTES_MAX).payload.len(), BYTES_MAX);
    fixture.block(vec![fund(1, account("alice"), 5)]);
    fixture.block(vec![of(BYTES_MAX)]);
    fixture.block(vec![of(BYTES_MAX + 1)]);
    let outcome = |block: usize| fixture.batches[block].transactions[0].journal.outcome;
    assert_eq!([1, 2].map(outcome), [Outcome::MALFORMED, Outcome::TOO_LONG]);
    let honest = fixture.batch_witness(1);
    let expected = run(honest.clone(), &[]).unwrap();
    assert_eq!(expected, fixture.batch_claim(1).journal);
    let longer = nodes(&fixture.batch_witness(2).transactions[0].0.payload);
    let with = |forged: &[u8]| {
        let mut witness = honest.clone();
        witness.transactions[0].0.payload = shown_by(forged);
        run(witness, &[])
    };
    let below = &longer[64..];
    for filler in [[0; 64], [7; 64]] {
        assert_refused(with(&[below, &filler].concat()), SHOWN);
    }
    assert_refused(with(&[&below[..64], below].concat()), SHOWN);
    assert_ne!(with(&longer).unwrap(), expected, "it is of other bytes");
    // Shown whole, what is longer is not read either.
    let mut witness = fixture.batch_witness(2);
    witness.transactions[0].0.payload = ShownBytes::Whole(of(BYTES_MAX + 1).payload);
    assert_eq!(run(witness, &[]).unwrap(), fixture.batch_claim(2).journal);
}

#[test]
fn what_is_well_formed_is_not_disposed_of_and_what_is_not_is_not_executed() {
    let fixture = chain(runs_of(usize::MAX, ProveApart::Never));
    let honest = fixture.batch_witness(1);
    for at in 0..10 {
        let mut witness = honest.clone();
        let index = witness.transactions[at].0.merge_index;
        let journal = fixture.batches[1].transactions[at].journal.clone();
        match is_disposed(&witness.transactions[at].1) {
            true => {
                witness.transactions[at].1 = Handling::Inline(vec![]);
                assert_refused(run(witness.clone(), &[]), "the transaction is none of the workload's");
                witness.transactions[at].1 = Handling::Apart(journal);
                assert_refused(run(witness, &[]), NO_PROOF);
            }
            false => {
                witness.transactions[at].1 = Handling::Disposed;
                assert_refused(
                    run(witness, &[]),
                    &format!("transaction {index} is the workload's, and is disposed of"),
                );
            }
        }
    }
}

#[test]
fn nothing_is_executed_over_values_that_the_state_does_not_hold() {
    let fixture = chain(runs_of(usize::MAX, ProveApart::Never));
    let stale = "does not hold the value that a transaction was executed over";
    type Values = Vec<Option<Vec<[u32; 8]>>>;
    let with = |at: usize, change: fn(&mut Values)| {
        let mut witness = fixture.batch_witness(1);
        match &mut witness.transactions[at].1 {
            Handling::Inline(before) => change(before),
            other => panic!("{other:?}"),
        }
        run(witness, &[])
    };
    for at in [0, 2, 3, 4, 6, 7, 9] {
        assert_refused(with(at, |before| before[0] = Some(vec![[1; 8]])), stale);
        assert_refused(with(at, |before| before.push(None)), "values, and the transaction declares");
        assert_refused(with(at, |before| drop(before.pop())), "values, and the transaction declares");
    }
    // Alice's.
    assert_refused(with(0, |before| before[0] = None), stale);
    assert_refused(with(0, |before| before.swap(0, 1)), stale);
    assert_refused(with(0, |before| before[0].as_mut().unwrap().push([0; 8])), stale);
}

/// A slot with these resources in it, beside nothing else.
fn crowded(slot: u64, entries: Vec<Entry>) -> state::StatePath {
    state::StatePath { slot, entries, ..StateTree::empty(Arc::new(Sha256)).path(slot) }
}

#[test]
fn a_slot_holds_a_list_and_nobody_is_kept_out_of_it() {
    // As if two others were in Alice's slot before her, and one behind.
    let fixture = chain(runs_of(usize::MAX, ProveApart::Never));
    let mut witness = fixture.batch_witness(0);
    let mut paths = vec![];
    for id in [account("alice"), account("bob")] {
        let slot = state::slot(&Sha256, &id);
        let entry = |n: u8| Entry { resource: ResourceId([n; 32]), value: Digest([n; 32]) };
        paths.push(crowded(slot, vec![entry(1), entry(2)]));
    }
    // One of them alone, so that its siblings are those of an empty tree.
    witness.paths = vec![paths.remove(0)];
    witness.root_before = witness.paths[0].root(&Sha256);
    witness.transactions.truncate(1);
    let committed = run(witness.clone(), &[]).unwrap();
    let mut after = witness.paths[0].clone();
    let value = reprise_ledger::Account::new(1000 * AMOUNT_MIN, 0).cells();
    let value = state::value(&Sha256, Some(&value));
    after.entries.push(Entry { resource: account("alice"), value });
    let root_after = after.root(&Sha256);
    assert_eq!(committed[4 * 8 * 3..4 * 8 * 4], root_after.0);
    // An order is part of a root.
    after.entries.swap(0, 2);
    assert_ne!(after.root(&Sha256), root_after);
    witness.paths[0].entries.swap(0, 1);
    assert_refused(run(witness, &[]), "the openings are not of the state root before");
}

/// The second block in runs of four, which `chain` divides into three.
struct Divided {
    fixture: Fixture,
    /// Receipts of all batches.
    batches: Vec<Verified<Receipt>>,
}

impl Divided {
    fn new() -> Self {
        let fixture = chain(runs_of(4, ProveApart::Never));
        let at = [(0, 0), (1, 0), (1, 1), (1, 2)];
        let batches = at.map(|(block, index)| {
            let witness = Witness::Batch(fixture.batch_witness_at(block, index));
            prove(development(), &fixture.batch_claim_at(block, index), witness, &[])
        });
        Self { fixture, batches: batches.into() }
    }

    /// A batch of the second block, changed, and proved as what it is then.
    fn forged(&self, index: usize, change: impl FnOnce(&mut BatchWitness)) -> (Part, Verified<Receipt>) {
        let mut witness = self.fixture.batch_witness_at(1, index);
        change(&mut witness);
        let journal: SpanJournal = reprise_model::program::batch(&Sha256, &Ledger, &witness).unwrap();
        assert_ne!(journal, self.fixture.span_at(1, index).journal);
        let claim = Claim { program: development().programs().id(Kind::Batch), journal: journal.bytes() };
        let proof = prove(development(), &claim, Witness::Batch(witness), &[]);
        let span = Span { journal, ..self.fixture.span_at(1, index) };
        (Part::Batch(span), proof)
    }

    fn part(&self, block: usize, index: usize) -> Part {
        Part::Batch(self.fixture.span_at(block, index))
    }

    /// What comes of settling parts, of which some may be forged.
    fn settle(&self, parts: &[Part], forged: &[Verified<Receipt>]) -> Result<Vec<u8>, Risc0Error> {
        let witness = AggregateWitness { parts: parts.to_vec(), ..self.fixture.aggregate_witness(&[1]) };
        run_over(witness, &[&self.batches[..], forged].concat())
    }

    fn join(&self, parts: &[Part], forged: &[Verified<Receipt>]) -> Result<Vec<u8>, Risc0Error> {
        let pins = self.fixture.batch_witness(0).pins;
        let witness = AggregateWitness { pins, parts: parts.to_vec(), end: AggregateEnd::Join };
        run_over(witness, &[&self.batches[..], forged].concat())
    }
}

fn span(part: &Part) -> Span {
    proved(&mut part.clone()).clone()
}

#[test]
fn a_run_that_continues_another_block_chains_with_nothing() {
    let divided = Divided::new();
    let [first, second, third] = [0, 1, 2].map(|index| divided.part(1, index));
    let expected = divided.fixture.aggregate_claim(&[1]).journal;
    assert_eq!(divided.settle(&[first.clone(), second, third.clone()], &[]).unwrap(), expected);
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
    for change in changes {
        let (forged, proof) = divided.forged(1, change);
        let forged = [first.clone(), forged, third.clone()];
        assert_refused(divided.settle(&forged, std::slice::from_ref(&proof)), CHAIN);
        assert_refused(divided.join(&forged[..2], &[proof]), CHAIN);
    }
    let merge_index = |w: &mut BatchWitness| w.block.last_index = w.transactions[0].0.merge_index;
    let mut again = divided.fixture.batch_witness_at(1, 1);
    merge_index(&mut again);
    assert_refused(run(again, &[]), ORDER);
    // Runs left out, turned round, twice.
    let [second, rest] = [divided.part(1, 1), divided.part(1, 2)];
    for parts in [
        vec![first.clone(), rest.clone()],
        vec![second.clone(), first.clone(), rest.clone()],
        vec![first.clone(), first, second, rest],
    ] {
        assert_refused(divided.settle(&parts, &[]), CHAIN);
    }
}

#[test]
fn a_block_is_closed_once_and_before_it_is_settled() {
    let divided = Divided::new();
    let within = "what is settled does not begin and end between blocks";
    let [first, second, third] = [0, 1, 2].map(|index| divided.part(1, index));
    // Twice: what goes on after is in no block that is open.
    let (twice, proof) = divided.forged(1, |w| w.closes = true);
    assert_eq!(span(&twice).journal.open_after, Digest::ZERO);
    let parts = [first.clone(), twice.clone(), third.clone()];
    assert_refused(divided.settle(&parts, std::slice::from_ref(&proof)), CHAIN);
    // Over the tip that it leaves, as if nothing of the block were proved: it ends in a tip that the L1 never had.
    let tip = span(&twice).journal.transition.tip_after;
    let (again, other) = divided.forged(2, |w| {
        w.block.activity.count = 0;
        w.tip_before = tip;
    });
    let parts = [first.clone(), twice, again];
    assert_refused(divided.settle(&parts, &[proof, other]), "the lane proof has the tip");
    // Never.
    let (never, proof) = divided.forged(2, |w| w.closes = false);
    assert_ne!(span(&never).journal.open_after, Digest::ZERO);
    let parts = [first.clone(), second.clone(), never];
    assert_refused(divided.settle(&parts, &[proof]), within);
    // Part of a block is joined, and not settled.
    for parts in [vec![first.clone()], vec![first, second.clone()], vec![second, third.clone()], vec![third]]
    {
        assert_refused(divided.settle(&parts, &[]), within);
        let joined = Span::join(&Sha256, &parts.iter().map(span).collect::<Vec<_>>());
        assert_eq!(divided.join(&parts, &[]).unwrap(), joined.unwrap().journal.bytes());
    }
}

#[test]
fn joins_over_parts_of_blocks_settle_as_the_blocks_do() {
    let Divided { fixture, batches } = Divided::new();
    let parts = fixture.parts(&[0, 1]);
    let expected = fixture.aggregate_claim(&[0, 1]).journal;
    let join = |parts: &[PartRef], receipts: &[Verified<Receipt>]| {
        let (claim, witness) = fixture.join(parts);
        (Fixture::joined(parts), prove(development(), &claim, Witness::Aggregate(witness), receipts))
    };
    // Across the border of two blocks, and to the end of one.
    let (across, across_proof) = join(&parts[..2], &batches);
    let (rest, rest_proof) = join(&parts[2..], &batches);
    let receipts = [across_proof, rest_proof];
    let witness = fixture.settlement_witness(&[across.clone(), rest.clone()]);
    assert_eq!(run_over(witness.clone(), &receipts).unwrap(), expected);
    let (all, proof) = join(&[across, rest], &receipts);
    let settled = fixture.settlement_witness(&[all]);
    assert_eq!(run_over(settled.clone(), std::slice::from_ref(&proof)).unwrap(), expected);
    // A settlement is no part, and a part no settlement: their journals are of other lengths.
    let settlement = prove(
        development(),
        &fixture.aggregate_claim(&[0, 1]),
        Witness::Aggregate(settled.clone()),
        &[proof],
    );
    assert_refused(run_over(settled, &[settlement]), NO_PROOF);
    let mut as_batch = witness;
    turn(&mut as_batch.parts[0]);
    assert_refused(run_over(as_batch, &receipts), NO_PROOF);
}

#[test]
fn blocks_are_divided_by_the_backend_s_own_limits() {
    let limits: Limits = Backend::limits(development());
    let mut fixture = divided(Division { limits, apart: ProveApart::Auto });
    let (alice, count) = (account("alice"), 2 * limits.transactions as u32 + 1);
    fixture.block(vec![fund(1, alice, 100)]);
    let transfer = |at: u32| transaction(at, "alice", 0, pay(Action::Transfer, at.into(), 1, account("bob")));
    let block = fixture.block((0..count).map(transfer).collect());
    assert_eq!(block.batches.len(), 3);
    for index in 0..3 {
        let witness = fixture.batch_witness_at(1, index);
        assert_eq!(witness.apart().count(), 0);
        assert_eq!(run(witness, &[]).unwrap(), fixture.batch_claim_at(1, index).journal);
    }
}
