//! Generated transactions: what the users of a workload do, for the dev L1, simulated worlds and tests.

use std::collections::BTreeMap;
use std::sync::Arc;

use reprise_chain::dev::script;
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::ResourceId;
use reprise_model::exit::Exit;
use reprise_model::journal::Outcome;
use reprise_model::processor::{self, Processor};
use reprise_model::transaction::{LaneTransaction, Rollup, account_of};

use crate::rng::Rng;

/// Draws the transactions that users of a workload send.
///
/// A draw is a function of its arguments, so that a seed is the same chain everywhere. It sees the state after the
/// transactions before it, so it can draw what succeeds. It should also draw what fails, what is malformed and what
/// meets a limit: what is never drawn is never tested.
///
/// ```
/// use reprise_node::rng::Rng;
/// use reprise_node::traffic::{Draft, State, Traffic, account};
///
/// /// Everybody says hello, and some say it wrong.
/// struct Greetings;
///
/// impl Traffic for Greetings {
///     fn draw(&self, rng: &mut Rng, state: &State) -> Draft {
///         let by = *rng.pick(&["alice", "bob"]).unwrap_or(&"alice");
///         let greeted_before = state.read(&account(by)).is_some();
///         let message = if greeted_before && rng.percent(10) { b"what?".to_vec() } else { b"hello".to_vec() };
///         Draft { by: by.into(), message, deposit: 0 }
///     }
/// }
///
/// let draft = Greetings.draw(&mut Rng::of(1, "an example"), &State::default());
/// assert_eq!(draft.message, b"hello");
/// ```
pub trait Traffic: Send + Sync {
    /// The next transaction over this state.
    fn draw(&self, rng: &mut Rng, state: &State) -> Draft;
}

/// A transaction to send.
///
/// ```
/// use reprise_node::traffic::Draft;
///
/// // Alice deposits 500 sompi, and says nothing.
/// let draft = Draft { by: "alice".into(), message: vec![], deposit: 500 };
/// assert_ne!(draft, Draft::default());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Who signs it: a name, whose [`account`] is the transaction's authority.
    pub by: String,
    /// What the workload reads.
    pub message: Vec<u8>,
    /// What it pays to the deposit script, in sompi.
    pub deposit: u64,
}

/// The account that transactions signed by this name act for.
///
/// ```
/// use reprise_node::traffic::account;
///
/// assert_eq!(account("alice"), account("alice"));
/// assert_ne!(account("alice"), account("bob"));
/// ```
pub fn account(name: &str) -> ResourceId {
    account_of(&script(name))
}

/// The values of all resources at one moment, by plain execution.
///
/// ```
/// use reprise_chain::dev::DevChain;
/// use reprise_ledger::{Account, Ledger};
/// use reprise_node::traffic::{State, account};
///
/// let (chain, mut state) = (DevChain::default(), State::default());
/// let deposit = chain.transaction("alice", b"", 500);
/// let context = chain.context_on(&chain.root());
/// assert!(state.apply(&Ledger, &chain.rollup(), context, &deposit).is_success());
/// let alice = state.read(&account("alice")).and_then(Account::from_cells);
/// assert_eq!(alice, Some(Account::new(500, 0)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct State(Arc<BTreeMap<ResourceId, Vec<Cell>>>);

impl State {
    /// The value of a resource; `None` where it is absent.
    pub fn read(&self, resource: &ResourceId) -> Option<&[Cell]> {
        self.0.get(resource).map(Vec::as_slice)
    }

    /// Every resource that is present, and its value, in the order of the ids.
    pub fn iter(&self) -> impl Iterator<Item = (&ResourceId, &[Cell])> {
        self.0.iter().map(|(id, value)| (id, value.as_slice()))
    }

    /// Executes a transaction of a rollup, in a block of this context. Returns how it ended.
    pub fn apply(
        &mut self,
        processor: &dyn Processor,
        rollup: &Rollup,
        context: BlockContext,
        transaction: &LaneTransaction,
    ) -> Outcome {
        self.effects(processor, rollup, context, transaction).0
    }

    /// The same. Returns also the exits that it makes.
    pub fn effects(
        &mut self,
        processor: &dyn Processor,
        rollup: &Rollup,
        context: BlockContext,
        transaction: &LaneTransaction,
    ) -> (Outcome, Vec<Exit>) {
        let read = transaction.read(rollup);
        let declared = match processor::declared(processor, transaction, &read) {
            Ok(declared) => declared,
            Err(outcome) => return (outcome, vec![]),
        };
        let before: Vec<_> = declared.iter().map(|id| (*id, self.read(id))).collect();
        let context = processor::asks_context(processor, &read).then_some(context);
        let effects = processor::execute(processor, &read.message, &read.facts, &before, context);
        if !effects.writes.is_empty() {
            let values = Arc::make_mut(&mut self.0);
            for (id, value) in effects.writes {
                match value {
                    Some(cells) => values.insert(id, cells),
                    None => values.remove(&id),
                };
            }
        }
        (effects.outcome, effects.exits)
    }
}
