//! Transactions that ask for the context of their block: what they are proved in, and where that is one statement.

use std::sync::Arc;

use reprise_conformance::fixture::{Fixture, account, fund, list, pay, transaction};
use reprise_ledger::{Action, EXPIRED, Ledger};
use reprise_model::block::ChainBlock;
use reprise_model::digest::{BlockHash, ProgramId};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::hash::Blake3;
use reprise_model::journal::{Journal, Outcome, TransactionJournal};
use reprise_model::limits::{Limits, ProveApart};
use reprise_model::program::{self, Refusal};
use reprise_model::witness::{Handling, TransactionWitness};
use reprise_scheduler::execution::Division;

const PROGRAMS: [ProgramId; 3] = [ProgramId([1; 32]), ProgramId([2; 32]), ProgramId([3; 32])];

/// A chain whose first block funds Alice, before the one in which the tests act.
fn funded(apart: ProveApart) -> Fixture {
    let division = Division { limits: Limits::NONE, apart };
    let mut fixture = Fixture::proving(Arc::new(Blake3), PROGRAMS, None, division);
    fixture.block(vec![fund(1, account("alice"), 5 * AMOUNT_MIN)]);
    fixture
}

fn proved(witness: &TransactionWitness) -> Result<TransactionJournal, Refusal> {
    program::transaction(&Blake3, &Ledger, witness)
}

#[test]
fn a_transaction_is_proved_in_the_context_of_its_block_and_a_batch_refuses_it_in_any_other() {
    let mut fixture = funded(ProveApart::Always);
    let context = fixture.next_context();
    let late = list(0, context.daa_score - 1, &[(Action::Transfer, 1, account("bob"))]);
    let block = fixture.block(vec![transaction(1, "alice", 0, late)]).clone();
    let journal = &block.transactions[0].journal;
    assert_eq!((journal.outcome, journal.context), (EXPIRED, Some(context)));

    let honest = fixture.transaction_witness(1, 0);
    assert_eq!(proved(&honest).as_ref(), Ok(journal));
    let without = TransactionWitness { context: None, ..honest.clone() };
    assert_eq!(proved(&without), Err(Refusal::NoContext));
    // In an earlier block it would have taken effect. Its proof would be as true, and of another statement.
    let mut earlier = context;
    earlier.daa_score -= 1;
    let forged = proved(&TransactionWitness { context: Some(earlier), ..honest }).unwrap();
    assert_eq!((forged.outcome, forged.context), (Outcome::SUCCESS, Some(earlier)));
    assert_ne!(forged.digest(&Blake3), journal.digest(&Blake3));

    let batch = fixture.batch_witness(1);
    assert_eq!(program::batch(&Blake3, &Ledger, &batch), Ok(fixture.span(1).journal));
    let with = |journal: TransactionJournal| {
        let mut batch = batch.clone();
        batch.transactions[0].1 = Handling::Apart(journal);
        program::batch(&Blake3, &Ledger, &batch)
    };
    assert_eq!(with(forged), Err(Refusal::Context { index: 1 }));
    for field in 0..3 {
        let mut other = context;
        *[&mut other.timestamp_ms, &mut other.daa_score, &mut other.blue_score][field] += 1;
        let forged = TransactionJournal { context: Some(other), ..journal.clone() };
        assert_eq!(with(forged), Err(Refusal::Context { index: 1 }));
    }
    // The block's own context is what the lane tip binds.
    let mut other = batch.clone();
    other.block.context = earlier;
    assert_eq!(program::batch(&Blake3, &Ledger, &other), Err(Refusal::Context { index: 1 }));
    other.transactions[0].1 = Handling::Inline(fixture.transaction_witness(1, 0).before);
    let elsewhere = program::batch(&Blake3, &Ledger, &other).unwrap();
    assert_ne!(elsewhere.transition.tip_after, fixture.span(1).journal.transition.tip_after);
}

#[test]
fn a_transaction_that_asks_is_a_statement_in_each_context_and_one_that_does_not_is_one_in_all() {
    let mut fixture = funded(ProveApart::Always);
    fixture.block(vec![]);
    let fork = fixture.batches[0].metadata.block;
    let accepted = vec![
        transaction(1, "alice", 0, pay(Action::Transfer, 0, 1, account("bob"))),
        transaction(2, "alice", 0, list(1, u64::MAX, &[(Action::Transfer, 1, account("bob"))])),
    ];
    let mut on_fork = |salt: u8, delay: u64| {
        let mut metadata = fixture.batches[1].metadata.block;
        metadata.block_hash = BlockHash([salt; 32]);
        metadata.parent_hash = fork.block_hash;
        metadata.daa_score += delay;
        let (accepted, settlements, claims) = (accepted.clone(), vec![], vec![]);
        let block = ChainBlock { metadata, accepted, lane_proof: None, settlements, claims };
        let scheduled = fixture.accept(&block);
        scheduled.transactions.iter().map(|it| it.journal.clone()).collect::<Vec<_>>()
    };
    let [here, there, again] = [on_fork(1, 0), on_fork(2, 7), on_fork(3, 0)];
    for journals in [&here, &there, &again] {
        assert!(journals.iter().all(|journal| journal.outcome.is_success()));
    }
    assert_eq!((here[0].context, &here[0]), (None, &there[0]));
    assert_ne!(here[1].digest(&Blake3), there[1].digest(&Blake3));
    let free = |journal: &TransactionJournal| TransactionJournal { context: None, ..journal.clone() };
    assert_eq!(free(&here[1]), free(&there[1]), "only the context is another");
    // In siblings of one context it is one statement all the same.
    assert_eq!(here, again);
}
