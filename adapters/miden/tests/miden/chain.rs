//! Three proved blocks that tests share: proving is dear, so each proof is made once.

use std::sync::OnceLock;

use reprise_ledger::Action;
use reprise_model::journal::{Outcome, TransactionJournal};
use reprise_model::receipt::{Receipt, Verified};

use crate::world::{Block, World, account, pay, prove, transaction};

/// Alice pays Bob; a transfer fails, so that only the lane tip moves; Bob pays Alice and withdraws.
pub struct Chain {
    pub blocks: Vec<Block>,
    /// The receipts of each block's transactions.
    pub transactions: Vec<Vec<Verified<Receipt>>>,
}

impl Chain {
    pub fn get() -> &'static Self {
        static CHAIN: OnceLock<Chain> = OnceLock::new();
        CHAIN.get_or_init(Self::new)
    }

    fn new() -> Self {
        let (alice, bob) = (account("alice"), account("bob"));
        let mut world = Self::genesis();
        let blocks = vec![
            world.block(&[transaction(2, "alice", 0, pay(Action::Transfer, 0, 60, bob))]),
            world.block(&[transaction(1, "alice", 0, pay(Action::Transfer, 0, 1, bob))]),
            world.block(&[
                transaction(1, "bob", 0, pay(Action::Transfer, 0, 20, alice)),
                transaction(4, "bob", 0, pay(Action::Exit, 1, 30, account("out"))),
            ]),
        ];
        let outcomes = blocks.iter().flat_map(|block| &block.transactions).map(|done| &done.journal);
        let outcomes: Vec<_> = outcomes.map(|journal: &TransactionJournal| journal.outcome).collect();
        let failed = reprise_ledger::BAD_NONCE;
        assert_eq!(outcomes, [Outcome::SUCCESS, failed, Outcome::SUCCESS, Outcome::SUCCESS]);
        let receipts = |block: &Block| {
            block.transactions.iter().map(|done| prove(&done.claim(), &done.witness(), &[])).collect()
        };
        let transactions = blocks.iter().map(receipts).collect();
        Self { blocks, transactions }
    }

    pub fn genesis() -> World {
        World::with(&[("alice", 100, 0), ("bob", 7, 0)])
    }

    /// The last block, with its two transactions, and their receipts.
    pub fn last(&self) -> (&Block, &[Verified<Receipt>]) {
        (&self.blocks[2], &self.transactions[2])
    }

    /// The receipts of the three batches.
    pub fn batches(&self) -> &'static [Verified<Receipt>] {
        static BATCHES: OnceLock<Vec<Verified<Receipt>>> = OnceLock::new();
        BATCHES.get_or_init(|| {
            let blocks = self.blocks.iter().zip(&self.transactions);
            blocks.map(|(block, receipts)| prove(&block.claim(), &block.witness(), receipts)).collect()
        })
    }
}
