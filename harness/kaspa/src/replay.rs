//! A recording's transactions, executed by the ledger: natively, one after another, following every reorg.
//!
//! There is no pipeline and no proof, only the ledger. A listing shows the outcomes, and the scenario's test checks them.

use std::collections::HashMap;

use reprise_chain::event::SourceEvent;
use reprise_ledger::{Account, Ledger};
use reprise_model::block::ChainBlock;
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::ResourceId;
use reprise_model::exit::Exit;
use reprise_model::journal::Outcome;
use reprise_model::processor;
use reprise_model::transaction::{LaneTransaction, Rollup};

/// The ledger's state after every block of the canonical chain.
#[derive(Debug, Clone)]
pub struct Replay {
    rollup: Rollup,
    states: Vec<HashMap<ResourceId, Vec<Cell>>>,
}

/// One transaction, executed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Executed {
    /// How it ended.
    pub outcome: Outcome,
    /// The resources it declares, each with its value before.
    pub before: Vec<(ResourceId, Option<Vec<Cell>>)>,
    /// What it withdraws.
    pub exits: Vec<Exit>,
}

impl Replay {
    /// An empty ledger of a rollup.
    pub fn new(rollup: Rollup) -> Self {
        Self { rollup, states: vec![HashMap::new()] }
    }

    /// How many blocks are executed.
    pub fn height(&self) -> usize {
        self.states.len() - 1
    }

    /// An account at the tip.
    pub fn account(&self, id: &ResourceId) -> Option<Account> {
        self.states.last().and_then(|state| state.get(id)).and_then(|cells| Account::from_cells(cells))
    }

    /// Takes an event: the outcomes of every added block's transactions.
    pub fn apply(&mut self, event: &SourceEvent) -> Vec<Vec<Executed>> {
        self.states.truncate(self.states.len().saturating_sub(event.removed.len()).max(1));
        event.added.iter().map(|block| self.execute(block)).collect()
    }

    fn execute(&mut self, block: &ChainBlock) -> Vec<Executed> {
        let mut state = self.states.last().cloned().unwrap_or_default();
        let context = block.metadata.context();
        let executed = block.accepted.iter().map(|tx| self.step(&mut state, context, tx)).collect();
        self.states.push(state);
        executed
    }

    fn step(
        &self,
        state: &mut HashMap<ResourceId, Vec<Cell>>,
        context: BlockContext,
        transaction: &LaneTransaction,
    ) -> Executed {
        let read = transaction.read(&self.rollup);
        let declared = match processor::declared(&Ledger, transaction, &read) {
            Ok(declared) => declared,
            Err(outcome) => return Executed { outcome, before: vec![], exits: vec![] },
        };
        let before: Vec<_> = declared.iter().map(|id| (*id, state.get(id).cloned())).collect();
        let values: Vec<_> = before.iter().map(|(id, value)| (*id, value.as_deref())).collect();
        let context = processor::asks_context(&Ledger, &read).then_some(context);
        let effects = processor::execute(&Ledger, &read.message, &read.facts, &values, context);
        for (id, value) in effects.writes {
            match value {
                Some(value) => drop(state.insert(id, value)),
                None => drop(state.remove(&id)),
            }
        }
        Executed { outcome: effects.outcome, before, exits: effects.exits }
    }
}
