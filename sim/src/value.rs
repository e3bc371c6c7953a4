//! The checker of values: compares a node with the L1's own [`Books`](crate::vault::Books) at the node's tip, after every step.
//!
//! ```text
//! coins in = paid out + the balances of the node's state + exits that are not settled + what the node owes + lost
//! ```

use std::sync::Arc;

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::exit::Exit;
use reprise_model::hash::Hasher;
use reprise_node::debts::Debt;
use reprise_node::event::PipelineEvent;
use reprise_scheduler::snapshot::Unpaid;
use reprise_scheduler::tree::StateTree;
use reprise_settler::UnpaidExits;

use crate::l1::L1;
use crate::vault::{CONSERVED, Named, coins, root_of};

/// Compares a node with the books of its tip. See the [module](self).
#[derive(Default)]
pub struct ValueChecker {
    /// Whether the workload's values hold coins: the ledger's do.
    holds_coins: bool,
    /// The tip of the node, and the state there; `None` before a process has said so.
    tip: Option<(BlockHash, StateTree)>,
    /// What the state of a root holds: a tip mostly has the state of the one before.
    balances: (Digest, u64),
    /// What the node owes, by its own word, and how much it is.
    owed: (Vec<Named>, u64),
    /// From which height on it owes what the chain owes. Who begins with a snapshot knows before that the settlements up to this
    /// height.
    knows_from: Checkpoint,
    /// The exits of blocks that were executed since the last judgement.
    executed: Vec<(BlockHash, Vec<Exit>)>,
    /// Whether something was said since the last judgement.
    is_new: bool,
}

impl ValueChecker {
    /// One of a workload whose values hold coins, or do not.
    pub fn new(holds_coins: bool) -> Self {
        Self { holds_coins, ..Self::default() }
    }

    /// A process begins, on a chain that owes this, which it knows from a height on.
    pub fn begins(&mut self, hasher: &dyn Hasher, unpaid: &[Unpaid], knows_from: Checkpoint) {
        let is_paid = |unpaid: &Unpaid, at: usize| unpaid.paid.contains(&(at as u32));
        let root = |unpaid: &Unpaid| root_of(hasher, &unpaid.exits, |at| is_paid(unpaid, at));
        let named = unpaid.iter().map(|it| (it.settlement.statement, it.carrier, root(it)));
        let left = unpaid
            .iter()
            .flat_map(|unpaid| unpaid.exits.iter().enumerate().filter(|(at, _)| !is_paid(unpaid, *at)));
        let left = left.map(|(_, exit)| exit.amount).sum();
        self.owed = (named.filter(|(.., root)| *root != Digest::ZERO).collect(), left);
        (self.tip, self.knows_from, self.is_new) = (None, knows_from, true);
        self.executed.clear();
    }

    /// The node says something.
    pub fn hears(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { blocks, .. } => {
                let executed = blocks.iter().filter(|block| !block.batches.is_empty());
                let exits = executed.map(|block| (block.metadata.block_hash(), block.exits().collect()));
                self.executed.extend(exits);
            }
            PipelineEvent::States(states) => {
                self.tip = Some((states.tip.block.metadata.block_hash, states.tip.state.clone()));
                self.is_new = true;
            }
            PipelineEvent::Debts(all) => {
                let unpaid = || all.iter().filter(|debt| debt.unpaid.tree.root() != Digest::ZERO);
                let named = |debt: &Arc<Debt>| {
                    let UnpaidExits { settlement, carrier, tree, .. } = &debt.unpaid;
                    (settlement.statement, *carrier, tree.root())
                };
                let left = unpaid().flat_map(|debt| {
                    let exits = debt.unpaid.exits.iter().enumerate();
                    exits.filter(|(at, _)| !debt.unpaid.tree.is_paid(*at)).map(|(_, exit)| exit.amount)
                });
                self.owed = (unpaid().map(named).collect(), left.sum());
                self.is_new = true;
            }
            _ => {}
        }
    }

    /// Judges what was said since the last time. `told` is what its payer was told last.
    pub fn judge(&mut self, l1: &L1, told: &[UnpaidExits]) -> Result<(), (&'static str, String)> {
        if !std::mem::take(&mut self.is_new) {
            return Ok(());
        }
        for (block, exits) in std::mem::take(&mut self.executed) {
            if l1.exits(&block) != exits {
                return Err(("the exits of a block are those of a plain execution", format!("{block:?}")));
            }
        }
        let (named, owed) = &self.owed;
        let told: Vec<Named> =
            told.iter().map(|it| (it.settlement.statement, it.carrier, it.tree.root())).collect();
        if told != *named {
            let by = format!("it was told {told:?}, and is to pay {named:?}");
            return Err(("the payer is told what is owed, at once", by));
        }
        let Some((tip, state)) = &self.tip else { return Ok(()) };
        let Some(books) = l1.books(tip) else { return Ok(()) };
        if self.holds_coins && self.balances.0 != state.root() {
            self.balances = (state.root(), state.entries().map(|(_, value)| coins(&value)).sum());
        }
        let balances = if self.holds_coins { self.balances.1 } else { books.balances };
        let differs =
            |what, found: u64, expected: u64| format!("{what}: {found}, not {expected}, at {tip:?}");
        if balances != books.balances {
            return Err((CONSERVED, differs("balances", balances, books.balances)));
        }
        if l1.height(tip).is_none_or(|height| height < self.knows_from.0) {
            return Ok(());
        }
        if *named != books.named() {
            let by = format!("{named:?}, not {:?}, at {tip:?}", books.named());
            return Err(("what is owed is what is settled and not paid", by));
        }
        match books.excess(balances, *owed) {
            0 => Ok(()),
            _ if !self.holds_coins => Ok(()),
            excess => Err((CONSERVED, format!("{excess} sompi too many, at {tip:?}"))),
        }
    }
}
