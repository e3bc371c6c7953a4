//! Four executed blocks that tests share, with receipts of the development mode.

use std::sync::OnceLock;

use reprise_ledger::{Action, BAD_NONCE};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::Outcome;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::witness::Witness;

use crate::fixture::{EXIT, Fixture, account, development, fixture, fund, pay, prove, transaction};

/// Alice and Bob are funded; Alice pays Bob; a transfer fails, so that only the lane tip moves; Bob pays Alice
/// and withdraws.
pub struct Chain {
    pub fixture: Fixture,
    /// The receipts of each block's transactions.
    pub transactions: Vec<Vec<Verified<Receipt>>>,
    /// The receipts of the batches.
    pub batches: Vec<Verified<Receipt>>,
}

/// The last block.
pub const LAST: usize = 3;

impl Chain {
    pub fn get() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(Self::new)
    }

    fn new() -> Self {
        let (alice, bob) = (account("alice"), account("bob"));
        let mut fixture = fixture();
        fixture.block(vec![fund(1, alice, 100 * AMOUNT_MIN), fund(2, bob, 7 * AMOUNT_MIN)]);
        fixture.block(vec![transaction(2, "alice", 0, pay(Action::Transfer, 0, 60 * AMOUNT_MIN, bob))]);
        fixture.block(vec![transaction(1, "alice", 0, pay(Action::Transfer, 0, 1, bob))]);
        fixture.block(vec![
            transaction(1, "bob", 0, pay(Action::Transfer, 0, 20 * AMOUNT_MIN, alice)),
            transaction(4, "bob", 0, pay(EXIT, 1, 30 * AMOUNT_MIN, account("out"))),
        ]);
        let done = fixture.batches.iter().flat_map(|batch| &batch.transactions);
        let outcomes: Vec<_> = done.map(|tx| tx.journal.outcome).collect();
        let success = Outcome::SUCCESS;
        assert_eq!(outcomes, [success, success, success, BAD_NONCE, success, success]);

        let receipts = |block: usize| {
            let indices = 0..fixture.batches[block].transactions.len();
            let proved = indices.map(|index| {
                let witness = Witness::Transaction(fixture.transaction_witness(block, index));
                prove(development(), &fixture.transaction_claim(block, index), witness, &[])
            });
            proved.collect()
        };
        let transactions: Vec<Vec<_>> = (0..fixture.batches.len()).map(receipts).collect();
        let batch = |block: usize| {
            let witness = Witness::Batch(fixture.batch_witness(block));
            prove(development(), &fixture.batch_claim(block), witness, &transactions[block])
        };
        let batches = (0..fixture.batches.len()).map(batch).collect();
        Self { fixture, transactions, batches }
    }
}
