//! One block: parallel execution gives the same as sequential execution.

use std::sync::Arc;

use proptest::prelude::*;
use reprise_ledger::Action;
use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::processor::{Processor, ResourceView};
use reprise_model::scheduled::{ProvedBy, ScheduledBlock};
use reprise_model::state;
use reprise_model::transaction::{self, LaneTransaction, TransactionFacts};
use reprise_scheduler::execution::Division;
use reprise_scheduler::record::MemoryLog;
use reprise_scheduler::scheduler::SchedulerError;
use reprise_scheduler::tree::StateTree;

use crate::fixture::{self, Ask, ROOT};

/// Few accounts and mostly right nonces, so that transactions meet, succeed and fail.
pub(crate) fn asks() -> impl Strategy<Value = Vec<Ask>> {
    let action = prop_oneof![
        Just(Action::Transfer),
        Just(Action::Exit(ScriptClass::PublicKey)),
        Just(Action::Deposit)
    ];
    let ask = (0u8..5, action, 0u64..3, prop_oneof![0u64..50, AMOUNT_MIN..2 * AMOUNT_MIN], 0u8..5);
    let ask = ask.prop_map(|(by, action, nonce, amount, to)| Ask { by, action, nonce, amount, to });
    proptest::collection::vec(ask, 0..24)
}

pub(crate) fn accepted(asks: &[Ask]) -> Vec<LaneTransaction> {
    (1..).zip(asks).map(|(index, ask)| fixture::transaction(index * 2, *ask)).collect()
}

/// What one proof may hold, mostly less than a block has.
pub(crate) fn divisions() -> impl Strategy<Value = Division> {
    let apart = prop_oneof![
        1 => Just(ProveApart::Always),
        1 => Just(ProveApart::Never),
        3 => Just(ProveApart::Auto),
    ];
    let bytes = prop_oneof![Just(usize::MAX), 300usize..3000];
    (1usize..8, 2usize..5, bytes, 0u64..3, apart).prop_map(
        |(transactions, proofs, bytes, recursion, apart)| Division {
            limits: Limits { transactions, proofs, bytes, recursion },
            apart,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn side_by_side_gives_what_one_after_another_gives(asks in asks()) {
        let funds: Vec<_> = (0..5).map(|to| fixture::deposit(to, 3 * AMOUNT_MIN)).collect();
        let (first, funding) = fixture::block(ROOT, 1, 0, accepted(&funds));
        let mut whole = fixture::open(fixture::ledger(), Box::new(MemoryLog::default())).unwrap();
        let start = whole.schedule([(first, &funding)]).unwrap().remove(0).root_after;

        // All in one block; and each in a block of its own, which leaves no room for parallelism.
        let transactions = accepted(&asks);
        let (metadata, block) = fixture::block(first.block_hash(), 2, 0, transactions.clone());
        let batch = whole.schedule([(metadata, &block)]).unwrap().remove(0);
        let mut single = fixture::open(fixture::ledger(), Box::new(MemoryLog::default())).unwrap();
        single.schedule([(first, &funding)]).unwrap();
        let (mut parent, mut root, mut journals) = (first, start, vec![]);
        for transaction in transactions {
            let height = parent.checkpoint.0 + 1;
            let (metadata, block) = fixture::block(parent.block_hash(), height, 0, vec![transaction]);
            let one = single.schedule([(metadata, &block)]).unwrap().remove(0);
            journals.extend(one.transactions.into_iter().map(|tx| tx.journal));
            (parent, root) = (metadata, one.root_after);
        }
        prop_assert_eq!(batch.root_after, root);
        let together: Vec<_> = batch.transactions.iter().map(|tx| tx.journal.clone()).collect();
        prop_assert_eq!(together, journals);
        let indices: Vec<_> = batch.transactions.iter().map(|tx| tx.merge_index).collect();
        prop_assert_eq!(indices, block.accepted.iter().map(|tx| tx.merge_index).collect::<Vec<_>>());
        match &batch.batches[..] {
            [] => prop_assert!(asks.is_empty() && batch.root_after == start),
            [whole] => {
                let transition = whole.journal.transition;
                prop_assert_eq!(whole.range(), 0..asks.len());
                prop_assert_eq!((transition.root_before, transition.root_after), (start, root));
            }
            more => prop_assert!(false, "{} batches", more.len()),
        }
    }
}

type Deed = fn(&ResourceView<'_>) -> TransactionEffects;

/// A workload that declares two resources and executes what its test sets.
struct Told(Deed);

const MINE: ResourceId = ResourceId([1; 32]);
const YOURS: ResourceId = ResourceId([2; 32]);
const NOBODYS: ResourceId = ResourceId([3; 32]);

fn value(n: u32) -> Option<Vec<Cell>> {
    Some(vec![[n; 8]])
}

impl Processor for Told {
    fn declare(&self, message: &[u8], _: &TransactionFacts) -> Option<Vec<ResourceId>> {
        assert_ne!(message, b"declare and panic", "a defect in declare");
        (message != b"foreign").then(|| vec![MINE, YOURS])
    }

    fn execute(&self, _: &[u8], _: &TransactionFacts, view: &ResourceView<'_>) -> TransactionEffects {
        (self.0)(view)
    }
}

/// A block with these messages, each told the same.
fn all_told(deed: Deed, messages: &[&[u8]]) -> Result<ScheduledBlock, SchedulerError> {
    let mut scheduler = fixture::open(Arc::new(Told(deed)), Box::new(MemoryLog::default())).unwrap();
    let transaction = |(merge_index, message): (u32, &&[u8])| LaneTransaction {
        merge_index,
        version: 1,
        rest: vec![],
        payload: transaction::payload(&[], &fixture::COVENANT, message).unwrap(),
    };
    let accepted = (7..).zip(messages).map(transaction).collect();
    let (metadata, block) = fixture::block(ROOT, 1, 0, accepted);
    Ok(scheduler.schedule([(metadata, &block)])?.remove(0))
}

fn told(deed: Deed, message: &[u8]) -> Result<ScheduledBlock, SchedulerError> {
    all_told(deed, &[message])
}

fn wrote(writes: Vec<(ResourceId, Option<Vec<Cell>>)>) -> TransactionEffects {
    TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
}

#[test]
fn a_write_that_was_not_declared_is_the_transactions_failure_and_nothing_of_it_stays() {
    let batch = told(|_| wrote(vec![(MINE, value(1)), (NOBODYS, value(2))]), b"x").unwrap();
    let journal = &batch.transactions[0].journal;
    assert_eq!(journal.outcome, Outcome::UNDECLARED_ACCESS);
    assert!(journal.accesses.iter().all(|access| access.before == access.after));
    assert_eq!(batch.root_after, StateTree::empty(Arc::new(Blake3)).root());
}

#[test]
fn a_read_that_was_not_declared_is_an_error_of_the_read() {
    let deed: Deed = |view| match view.read(&NOBODYS) {
        Ok(_) => wrote(vec![]),
        Err(_) => TransactionEffects::failure(Outcome::UNDECLARED_ACCESS),
    };
    assert_eq!(told(deed, b"x").unwrap().transactions[0].journal.outcome, Outcome::UNDECLARED_ACCESS);
}

#[test]
fn a_failure_that_brings_effects_keeps_none() {
    let deed: Deed = |_| TransactionEffects {
        outcome: Outcome(99),
        writes: vec![(MINE, value(1))],
        exits: vec![Exit {
            payee: Payee { class: ScriptClass::PublicKey, bytes: MINE.digest() },
            amount: AMOUNT_MIN,
        }],
    };
    let batch = told(deed, b"x").unwrap();
    let journal = &batch.transactions[0].journal;
    assert_eq!((journal.outcome, journal.exits.len()), (Outcome(99), 0));
    assert_eq!(batch.root_after, StateTree::empty(Arc::new(Blake3)).root());
}

#[test]
fn of_two_writes_to_one_resource_the_journal_names_the_one_that_stays() {
    let batch = told(|_| wrote(vec![(MINE, value(1)), (MINE, value(2))]), b"x").unwrap();
    let journal = &batch.transactions[0].journal;
    assert_eq!(journal.accesses[0].after, state::value(&Blake3, value(2).as_deref()));
    let expected = StateTree::empty(Arc::new(Blake3)).with(&MINE, value(2).as_deref()).root();
    assert_eq!(batch.root_after, expected);
}

#[test]
fn what_a_transaction_deletes_the_next_one_meets_absent() {
    let deed: Deed = |view| match view.read(&MINE) {
        Ok(Some(_)) => wrote(vec![(MINE, None)]),
        Ok(None) => wrote(vec![(MINE, value(1))]),
        Err(_) => TransactionEffects::failure(Outcome::UNDECLARED_ACCESS),
    };
    let held = state::value(&Blake3, value(1).as_deref());
    let empty = StateTree::empty(Arc::new(Blake3)).root();
    for transactions in 1..5 {
        let block = all_told(deed, &vec![&b"x"[..]; transactions]).unwrap();
        let met: Vec<_> = block.transactions.iter().map(|it| it.journal.accesses[0]).collect();
        for (at, access) in met.iter().enumerate() {
            let expected = if at % 2 == 0 { (Digest::ZERO, held) } else { (held, Digest::ZERO) };
            assert_eq!((access.before, access.after), expected);
        }
        assert_eq!(block.root_after == empty, transactions % 2 == 0);
    }
}

#[test]
fn what_is_disposed_of_is_never_executed_and_has_no_effect() {
    let block = all_told(|_| wrote(vec![(MINE, value(1))]), &[b"foreign", b"x"]).unwrap();
    let [disposed, executed] = &block.transactions[..] else { panic!("{}", block.transactions.len()) };
    assert_eq!((disposed.proved_by, disposed.journal.outcome), (ProvedBy::Disposal, Outcome::MALFORMED));
    assert!(disposed.journal.accesses.is_empty() && disposed.journal.exits.is_empty());
    assert_eq!((executed.proved_by, executed.journal.outcome), (ProvedBy::Itself, Outcome::SUCCESS));
    let alone = told(|_| panic!("it is executed"), b"foreign").unwrap();
    assert_eq!(alone.root_after, StateTree::empty(Arc::new(Blake3)).root());
    assert_eq!(alone.batches.len(), 1, "the lane tip moves all the same");
}

#[test]
fn a_transaction_on_which_the_workload_panics_has_no_effect_and_the_block_goes_on() {
    let declaring = all_told(|_| wrote(vec![(MINE, value(1))]), &[b"x", b"declare and panic", b"x"]).unwrap();
    let outcomes: Vec<_> = declaring.transactions.iter().map(|it| it.journal.outcome).collect();
    assert_eq!(outcomes, [Outcome::SUCCESS, Outcome::MALFORMED, Outcome::SUCCESS]);
    let executing = told(|_| panic!("a defect in execute"), b"x").unwrap();
    let journal = &executing.transactions[0].journal;
    assert_eq!((journal.outcome, journal.exits.len()), (Outcome::PANICKED, 0));
    assert!(journal.accesses.iter().all(|access| access.before == access.after));
    assert_eq!(executing.root_after, StateTree::empty(Arc::new(Blake3)).root());
}

#[test]
fn what_does_not_pay_is_never_proved_apart() {
    let batch = told(|_| TransactionEffects::failure(Outcome::UNDERPAID), b"x").unwrap();
    assert_eq!(batch.transactions[0].proved_by, ProvedBy::Batch);
    let batch = told(|_| wrote(vec![]), b"x").unwrap();
    assert_eq!(batch.transactions[0].proved_by, ProvedBy::Itself, "where everything else is");
}
