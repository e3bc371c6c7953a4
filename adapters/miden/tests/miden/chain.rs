//! Blocks that tests share: proving is dear, so each proof is made once.

use std::sync::OnceLock;

use reprise_conformance::fixture::{EXIT, Fixture, account, fund, pay, transaction};
use reprise_ledger::{Action, BAD_NONCE};
use reprise_model::exit::AMOUNT_MIN;
use reprise_model::journal::Outcome;
use reprise_model::order::PartRef;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::Claim;
use reprise_model::witness::{BatchWitness, Handling, Witness};

use crate::world::{chain_of, ids, prove};

/// The genesis, then: Alice pays Bob; a transfer fails, so that only the lane tip moves; Bob pays Alice and withdraws,
/// and in the same block's second batch withdraws again.
pub struct Chain {
    pub fixture: Fixture,
    /// The receipts of the last block's first two transactions.
    pub apart: Vec<Verified<Receipt>>,
}

/// The block of two batches.
pub const LAST: usize = 3;

impl Chain {
    pub fn get() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(Self::new)
    }

    fn new() -> Self {
        let (alice, bob, out) = (account("alice"), account("bob"), account("out"));
        let mut fixture = chain_of(ids(), 2);
        fixture.block(vec![fund(1, alice, 100 * AMOUNT_MIN), fund(3, bob, 7 * AMOUNT_MIN)]);
        fixture.block(vec![transaction(2, "alice", 0, pay(Action::Transfer, 0, 60 * AMOUNT_MIN, bob))]);
        fixture.block(vec![transaction(1, "alice", 0, pay(Action::Transfer, 0, 1, bob))]);
        fixture.block(vec![
            transaction(1, "bob", 0, pay(Action::Transfer, 0, 20 * AMOUNT_MIN, alice)),
            transaction(4, "bob", 0, pay(EXIT, 1, 30 * AMOUNT_MIN, out)),
            transaction(5, "carol", 0, vec![7; 40]),
            transaction(6, "bob", 0, pay(EXIT, 2, 5 * AMOUNT_MIN, out)),
        ]);
        let outcomes = fixture.batches[1..].iter().flat_map(|block| &block.transactions);
        let outcomes: Vec<_> = outcomes.map(|scheduled| scheduled.journal.outcome).collect();
        let (done, foreign) = (Outcome::SUCCESS, Outcome::MALFORMED);
        assert_eq!(outcomes, [done, BAD_NONCE, done, done, foreign, done]);
        let apart = [0, 1].map(|index| {
            let witness = Witness::Transaction(fixture.transaction_witness(LAST, index));
            prove(&fixture.transaction_claim(LAST, index), &witness, &[])
        });
        Self { fixture, apart: apart.into() }
    }

    /// The last block's first batch, over its two proofs.
    pub fn proved_apart(&self) -> BatchWitness {
        let mut witness = self.fixture.batch_witness_at(LAST, 0);
        let executed = &self.fixture.batches[LAST].transactions;
        for ((_, handling), scheduled) in witness.transactions.iter_mut().zip(executed) {
            *handling = Handling::Apart(scheduled.journal.clone());
        }
        witness
    }

    /// The four batches after the genesis.
    pub fn parts(&self) -> Vec<PartRef> {
        self.fixture.parts(&[1, 2, LAST])
    }

    /// Their receipts.
    pub fn batches(&self) -> &'static [Verified<Receipt>] {
        static BATCHES: OnceLock<Vec<Verified<Receipt>>> = OnceLock::new();
        BATCHES.get_or_init(|| {
            let proved = |block, index| {
                let witness = match (block, index) {
                    (LAST, 0) => self.proved_apart(),
                    _ => self.fixture.batch_witness_at(block, index),
                };
                let assumptions = if (block, index) == (LAST, 0) { &self.apart[..] } else { &[] };
                prove(&self.fixture.batch_claim_at(block, index), &Witness::Batch(witness), assumptions)
            };
            vec![proved(1, 0), proved(2, 0), proved(LAST, 0), proved(LAST, 1)]
        })
    }

    /// The last block's two batches as one, and the receipt of that.
    pub fn joined(&self) -> &'static (PartRef, Verified<Receipt>) {
        static JOINED: OnceLock<(PartRef, Verified<Receipt>)> = OnceLock::new();
        JOINED.get_or_init(|| {
            let parts = self.fixture.parts(&[LAST]);
            let (claim, witness): (Claim, _) = self.fixture.join(&parts);
            let receipt = prove(&claim, &Witness::Aggregate(witness), &self.batches()[2..]);
            (Fixture::joined(&parts), receipt)
        })
    }
}
