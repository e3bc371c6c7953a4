//! Plain execution, one transaction after another: for tests of what a transaction means.

use std::sync::Arc;

use reprise_chain::dev::DevChain;
use reprise_model::cell::Cell;
use reprise_model::context::BlockContext;
use reprise_model::digest::ResourceId;
use reprise_model::journal::Outcome;
use reprise_model::processor::Processor;
use reprise_node::traffic::State;

/// A state, and a processor whose transactions change it: no chain, no proof.
///
/// ```
/// use reprise_testing::Sandbox;
/// use reprise_model::journal::Outcome;
/// use reprise_node::traffic::account;
///
/// let mut sandbox = Sandbox::of(reprise_ledger::Ledger);
/// // Whatever pays the deposit script is credited.
/// assert_eq!(sandbox.send("alice", b"", 100), Outcome::SUCCESS);
/// assert!(sandbox.read(&account("alice")).is_some());
/// assert_eq!(sandbox.send("bob", b"no message", 0), Outcome::MALFORMED);
/// ```
pub struct Sandbox {
    processor: Arc<dyn Processor>,
    chain: DevChain,
    context: BlockContext,
    state: State,
}

impl Sandbox {
    /// An empty state.
    pub fn of(processor: impl Processor + 'static) -> Self {
        let chain = DevChain::default();
        let context = chain.context_on(&chain.root());
        Self { processor: Arc::new(processor), chain, context, state: State::default() }
    }

    /// The context of the block that accepts the next transactions. It is the caller's to change.
    pub fn context(&mut self) -> &mut BlockContext {
        &mut self.context
    }

    /// Executes a transaction that `by` signs and that pays `deposit` to the deposit script. Returns how it ended.
    ///
    /// # Panics
    ///
    /// Where the workload panics: a guest of RISC Zero could not prove it.
    #[track_caller]
    pub fn send(&mut self, by: &str, message: &[u8], deposit: u64) -> Outcome {
        let transaction = self.chain.transaction(by, message, deposit);
        let (processor, rollup) = (self.processor.as_ref(), self.chain.rollup());
        let outcome = self.state.apply(processor, &rollup, self.context, &transaction);
        assert_ne!(outcome, Outcome::PANICKED, "the workload panicked on a message of {by}");
        outcome
    }

    /// The value of a resource; `None` where it is absent.
    pub fn read(&self, resource: &ResourceId) -> Option<&[Cell]> {
        self.state.read(resource)
    }
}
