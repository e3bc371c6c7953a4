//! What a workload does past a bound, and what a transaction's proof says of it.

use reprise_model::cell::Cell;
use reprise_model::digest::{Digest, ResourceId};
use reprise_model::exit::{AMOUNT_MIN, Exit, Payee, ScriptClass};
use reprise_model::hash::Blake3;
use reprise_model::journal::{Access, Outcome, TransactionEffects};
use reprise_model::processor::{
    self, ACCESSES_MAX, EXITS_MAX, Processor, ResourceView, UndeclaredAccess, VALUE_CELLS_MAX,
};
use reprise_model::program::{self, Refusal};
use reprise_model::state;
use reprise_model::transaction::{
    self, BYTES_MAX, LaneTransaction, NOBODY, Price, TransactionFacts, TransactionRead,
};
use reprise_model::witness::TransactionWitness;

use crate::kept;

const FACTS: TransactionFacts = TransactionFacts { authority: NOBODY, deposit: 0, price: Price::FREE };

fn id(n: u8) -> ResourceId {
    ResourceId([n; 32])
}

/// Declares the resources that the message names, a byte each, and does as it was made to. An empty message is not its.
struct Made(TransactionEffects);

impl Processor for Made {
    fn declare(&self, message: &[u8], _: &TransactionFacts) -> Option<Vec<ResourceId>> {
        (!message.is_empty()).then(|| message.iter().map(|n| id(*n)).collect())
    }

    fn execute(&self, _: &[u8], _: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
        self.0.clone()
    }
}

fn made(writes: Vec<(ResourceId, Option<Vec<Cell>>)>, exits: usize) -> Made {
    let exits = vec![
        Exit {
            payee: Payee { class: ScriptClass::PublicKey, bytes: Digest([9; 32]) },
            amount: AMOUNT_MIN
        };
        exits
    ];
    Made(TransactionEffects { outcome: Outcome::SUCCESS, writes, exits })
}

fn of_message(message: &[u8]) -> LaneTransaction {
    let payload = transaction::payload(&[], &kept::digest(2), message).unwrap();
    LaneTransaction { payload, ..kept::lane_transaction() }
}

/// What is read of a transaction with this message and no facts.
fn read(message: &[u8]) -> TransactionRead {
    TransactionRead { facts: FACTS, message: message.to_vec() }
}

fn witness(message: &[u8], values: usize) -> TransactionWitness {
    TransactionWitness {
        transaction: of_message(message).cells(&read(message)),
        before: vec![None; values],
        context: None,
    }
}

/// The outcome, native and proved, of a transaction that declares two resources.
#[track_caller]
fn outcome(processor: &Made) -> Outcome {
    let effects = processor::execute(processor, &[1, 2], &FACTS, &[(id(1), None), (id(2), None)], None);
    let proved = program::transaction(&Blake3, processor, &witness(&[1, 2], 2)).unwrap();
    assert_eq!((proved.outcome, &proved.exits), (effects.outcome, &effects.exits));
    if !effects.outcome.is_success() {
        assert_eq!(effects, TransactionEffects::failure(effects.outcome));
        assert!(proved.accesses.iter().all(|access| access.before == access.after));
    }
    effects.outcome
}

#[test]
fn what_is_not_the_workloads_or_declares_past_a_bound_is_disposed_of() {
    let processor = made(vec![], 0);
    let declared = |transaction: &LaneTransaction| {
        let read = read(transaction.message(&kept::digest(2)));
        processor::declared(&processor, transaction, &read).map(|ids| ids.len())
    };
    let all: Vec<u8> = (0..).take(ACCESSES_MAX + 1).collect();
    assert_eq!(declared(&of_message(&[])), Err(Outcome::MALFORMED));
    assert_eq!(declared(&of_message(&all[..ACCESSES_MAX])), Ok(ACCESSES_MAX));
    assert_eq!(declared(&of_message(&all)), Err(Outcome::OUT_OF_BOUNDS));
    assert_eq!(declared(&of_message(&[1, 2, 1])), Err(Outcome::OUT_OF_BOUNDS));
    let sized = |rest, payload| LaneTransaction {
        rest: vec![0; rest],
        payload: [&[0, 0][..], &kept::bytes(2), &vec![5; payload - 34]].concat(),
        ..kept::lane_transaction()
    };
    assert_eq!(declared(&sized(BYTES_MAX, BYTES_MAX)), Err(Outcome::OUT_OF_BOUNDS));
    assert_eq!(declared(&sized(BYTES_MAX + 1, 35)), Err(Outcome::TOO_LONG));
    assert_eq!(declared(&sized(1, BYTES_MAX + 1)), Err(Outcome::TOO_LONG));
}

#[test]
fn exits_and_values_past_a_bound_are_the_transactions_failure() {
    let value = |cells| vec![(id(1), Some(vec![[1; 8]; cells]))];
    assert_eq!(outcome(&made(value(VALUE_CELLS_MAX), EXITS_MAX)), Outcome::SUCCESS);
    assert_eq!(outcome(&made(value(VALUE_CELLS_MAX + 1), 0)), Outcome::OUT_OF_BOUNDS);
    assert_eq!(outcome(&made(value(1), EXITS_MAX + 1)), Outcome::OUT_OF_BOUNDS);
    let mut small = made(value(1), 2);
    small.0.exits[1].amount -= 1;
    assert_eq!(outcome(&small), Outcome::OUT_OF_BOUNDS);
}

#[test]
fn a_write_or_a_deletion_of_what_was_not_declared_is_the_transactions_failure() {
    for value in [Some(vec![[1; 8]]), None] {
        let writes = vec![(id(1), Some(vec![[1; 8]])), (id(3), value)];
        assert_eq!(outcome(&made(writes, 0)), Outcome::UNDECLARED_ACCESS);
    }
    let view = [(id(1), None)];
    let read = ResourceView::new(&view).read(&id(3));
    assert_eq!(read, Err(UndeclaredAccess { resource: id(3) }));
}

#[test]
fn a_failure_that_brings_effects_keeps_none() {
    let mut failing = made(vec![(id(1), Some(vec![[1; 8]]))], 1);
    failing.0.outcome = Outcome(99);
    assert_eq!(outcome(&failing), Outcome(99));
}

#[test]
fn a_value_that_is_deleted_is_zero_after_and_what_is_written_last_stays() {
    let value = |n: u32| Some(vec![[n; 8]]);
    let processor = made(vec![(id(1), None), (id(2), value(1)), (id(2), value(2))], 0);
    let before = vec![value(7), None];
    let proved =
        program::transaction(&Blake3, &processor, &TransactionWitness { before, ..witness(&[1, 2], 2) });
    let digest = |n| state::value(&Blake3, value(n).as_deref());
    let expected = [
        Access { resource: id(1), before: digest(7), after: Digest::ZERO },
        Access { resource: id(2), before: Digest::ZERO, after: digest(2) },
    ];
    assert_eq!(proved.unwrap().accesses, expected);
}

#[test]
fn nothing_proves_apart_what_is_disposed_of_or_what_is_no_transaction() {
    let processor = made(vec![], 0);
    let prove = |witness: &TransactionWitness| program::transaction(&Blake3, &processor, witness);
    assert!(prove(&witness(&[1, 2], 2)).is_ok());
    assert_eq!(prove(&witness(&[], 0)), Err(Refusal::Foreign), "another rollup's");
    assert_eq!(prove(&witness(&[1, 1], 2)), Err(Refusal::Foreign));
    let long = kept::long_transaction();
    let cells = long.cells(&long.read(&kept::rollup()));
    let too_long = TransactionWitness { transaction: cells, before: vec![], context: None };
    assert_eq!(prove(&too_long), Err(Refusal::NotATransaction));
    for given in [0, 1, 3] {
        assert_eq!(prove(&witness(&[1, 2], given)), Err(Refusal::Values { given, declared: 2 }));
    }
}
