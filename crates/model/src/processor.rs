//! The port to a workload: the meaning of a rollup's transactions.
//!
//! One definition serves the node, a proof system whose guests are Rust, and the mock. It is `no_std`, and a function of its
//! arguments. A program in another language follows the same specification, and tests compare the two.
//!
//! # Context
//!
//! A transaction reads no block, so it is one statement on every fork. One whose meaning depends on time
//! [asks for the context](Processor::asks_context) of the block that accepts it: the DAA score, the blue score and the timestamp.
//! Its journal then holds the context, and the batch compares it with the block's. In a block of another context the transaction
//! is another statement, and is proved anew.
//!
//! # Bounds
//!
//! Native execution has the same bounds as the programs. They are all here, and each has an outcome:
//!
//! | bound | past it |
//! |---|---|
//! | [`BYTES_MAX`](crate::transaction::BYTES_MAX) of payload and of the rest | the transaction is [disposed of](declared) as [`Outcome::TOO_LONG`] |
//! | an empty message, no deposit: [another rollup's](crate::transaction#message), or nobody's | disposed of as [`Outcome::MALFORMED`] |
//! | [`ACCESSES_MAX`] declared resources, each once | disposed of as [`Outcome::OUT_OF_BOUNDS`] |
//! | [`EXITS_MAX`] exits, each of at least [`AMOUNT_MIN`], [`VALUE_CELLS_MAX`] cells in a value | fails as [`Outcome::OUT_OF_BOUNDS`] |
//! | no write to an undeclared resource | fails as [`Outcome::UNDECLARED_ACCESS`] |
//! | no panic | disposed of as [`Outcome::MALFORMED`] where `declare` panics; no context where `asks_context` does; fails as [`Outcome::PANICKED`] where `execute` does |
//!
//! A panic is caught where the crate has its feature `std`: in a node, and in the mock's programs. A guest of RISC Zero
//! cannot catch one, so the proof of a transaction on which the workload panics cannot be made there, and nothing that
//! follows it can be settled. **A workload must not panic, whatever bytes it reads.**

use alloc::vec::Vec;

use crate::cell::Cell;
use crate::context::BlockContext;
use crate::digest::ResourceId;
use crate::exit::AMOUNT_MIN;
use crate::journal::{Outcome, TransactionEffects};
use crate::transaction::{LaneTransaction, TransactionFacts, TransactionRead};

/// How many resources a transaction may declare.
pub const ACCESSES_MAX: usize = 8;
/// How many exits a transaction may make.
pub const EXITS_MAX: usize = 8;
/// How many cells a value may have.
pub const VALUE_CELLS_MAX: usize = 128;

/// The part that a rollup implements: the meaning of its transactions.
///
/// Execution is deterministic and reads nothing but its arguments. An implementation returns what its programs
/// commit. A difference is found when a program runs, as a divergence.
///
/// ```
/// use reprise_model::digest::ResourceId;
/// use reprise_model::journal::{Outcome, TransactionEffects};
/// use reprise_model::processor::{self, Processor, ResourceView};
/// use reprise_model::transaction::{Price, TransactionFacts};
///
/// /// Every account keeps the last word that it said.
/// struct Words;
///
/// impl Processor for Words {
///     fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>> {
///         (message.len() == 4).then(|| vec![facts.authority])
///     }
///
///     fn execute(&self, message: &[u8], facts: &TransactionFacts, _: &ResourceView<'_>) -> TransactionEffects {
///         // Only what `declare` took arrives here. Even so, no byte may make it panic.
///         let Ok(word) = message.try_into().map(u32::from_le_bytes) else {
///             return TransactionEffects::failure(Outcome::MALFORMED);
///         };
///         let writes = vec![(facts.authority, Some(vec![[word, 0, 0, 0, 0, 0, 0, 0]]))];
///         TransactionEffects { outcome: Outcome::SUCCESS, writes, exits: vec![] }
///     }
/// }
///
/// let facts = TransactionFacts { authority: ResourceId([1; 32]), deposit: 0, price: Price::FREE };
/// let declared = Words.declare(b"word", &facts).unwrap();
/// let effects = processor::execute(&Words, b"word", &facts, &[(declared[0], None)], None);
/// assert_eq!(effects.outcome, Outcome::SUCCESS);
/// assert_eq!(Words.declare(b"words", &facts), None);
/// ```
pub trait Processor: Send + Sync {
    /// The resources that a transaction with this message may touch, in the order in which its journal lists them; `None`
    /// where the message is not one of this workload. Two transactions that declare no common slot execute in parallel.
    fn declare(&self, message: &[u8], facts: &TransactionFacts) -> Option<Vec<ResourceId>>;

    /// Whether a transaction with this message reads the [context](self#context) of its block.
    fn asks_context(&self, message: &[u8], facts: &TransactionFacts) -> bool {
        let _ = (message, facts);
        false
    }

    /// Executes a transaction of the workload. A failure is an outcome without effects, never an error of the node.
    fn execute(
        &self,
        message: &[u8],
        facts: &TransactionFacts,
        view: &ResourceView<'_>,
    ) -> TransactionEffects;

    /// The cost of executing this message inside a batch's proof. The unit is a simple transaction: one that reads and
    /// writes two values of one cell. The cost decides whether the transaction is proved apart.
    fn cost(&self, message: &[u8]) -> u64 {
        let _ = message;
        1
    }
}

/// What a call of the workload returns; the other value where it panics.
#[cfg(feature = "std")]
macro_rules! caught {
    ($call:expr, $panicked:expr) => {
        std::panic::catch_unwind(core::panic::AssertUnwindSafe(|| $call)).unwrap_or_else(|_| $panicked)
    };
}

/// What a call of the workload returns. A panic ends a guest.
#[cfg(not(feature = "std"))]
macro_rules! caught {
    ($call:expr, $panicked:expr) => {
        $call
    };
}

/// What one transaction may read: the resources that it declares, with their values before it, and the context of its block where it
/// asks for that.
///
/// ```
/// use reprise_model::digest::ResourceId;
/// use reprise_model::processor::ResourceView;
///
/// let (here, absent, other) = (ResourceId([1; 32]), ResourceId([2; 32]), ResourceId([3; 32]));
/// let value = [[7, 0, 0, 0, 0, 0, 0, 0]];
/// let values = [(here, Some(&value[..])), (absent, None)];
/// let view = ResourceView::new(&values);
/// assert_eq!(view.read(&here), Ok(Some(&value[..])));
/// assert_eq!(view.read(&absent), Ok(None));
/// assert!(view.read(&other).is_err(), "it was not declared");
/// ```
#[derive(Debug, Clone, Copy)]
pub struct ResourceView<'v> {
    values: &'v [(ResourceId, Option<&'v [Cell]>)],
    context: Option<BlockContext>,
}

/// The transaction read a resource that it did not declare. A workload that meets it fails: it declared too little.
///
/// ```
/// use reprise_model::digest::ResourceId;
/// use reprise_model::journal::{Outcome, TransactionEffects};
/// use reprise_model::processor::{ResourceView, UndeclaredAccess};
///
/// fn execute(other: ResourceId, view: &ResourceView<'_>) -> TransactionEffects {
///     match view.read(&other) {
///         Ok(_) => TransactionEffects { outcome: Outcome::SUCCESS, writes: vec![], exits: vec![] },
///         Err(UndeclaredAccess { .. }) => TransactionEffects::failure(Outcome::UNDECLARED_ACCESS),
///     }
/// }
///
/// let effects = execute(ResourceId([1; 32]), &ResourceView::new(&[]));
/// assert_eq!(effects.outcome, Outcome::UNDECLARED_ACCESS);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{resource} was not declared by the transaction that reads it")]
pub struct UndeclaredAccess {
    /// The resource.
    pub resource: ResourceId,
}

impl<'v> ResourceView<'v> {
    /// A view of values, `None` for a resource that is absent.
    pub fn new(values: &'v [(ResourceId, Option<&'v [Cell]>)]) -> Self {
        Self { values, context: None }
    }

    /// The same, in a block of this context.
    pub fn within(self, context: Option<BlockContext>) -> Self {
        Self { context, ..self }
    }

    /// The context of the block that accepts the transaction; `None` where the transaction does not ask for it.
    pub fn context(&self) -> Option<BlockContext> {
        self.context
    }

    /// The value of `resource`.
    pub fn read(&self, resource: &ResourceId) -> Result<Option<&'v [Cell]>, UndeclaredAccess> {
        let declared = self.values.iter().find(|(declared, _)| declared == resource);
        declared.map(|(_, value)| *value).ok_or(UndeclaredAccess { resource: *resource })
    }

    /// Whether `resource` was declared.
    pub fn declares(&self, resource: &ResourceId) -> bool {
        self.read(resource).is_ok()
    }
}

/// The resources that a lane transaction declares, or the outcome with which it is *disposed of*. A transaction is disposed of
/// if it is not one of the workload or is past a bound. It has no proof of its own and no effect, and the batch proves the
/// reason from a bounded part of it.
pub fn declared(
    processor: &dyn Processor,
    transaction: &LaneTransaction,
    read: &TransactionRead,
) -> Result<Vec<ResourceId>, Outcome> {
    if transaction.is_too_long() {
        return Err(Outcome::TOO_LONG);
    }
    bounded(processor, read)
}

/// [`declared`] of a transaction that is not too long.
pub(crate) fn bounded(
    processor: &dyn Processor,
    TransactionRead { facts, message }: &TransactionRead,
) -> Result<Vec<ResourceId>, Outcome> {
    if message.is_empty() && facts.deposit == 0 {
        return Err(Outcome::MALFORMED);
    }
    let declared = caught!(processor.declare(message, facts), None).ok_or(Outcome::MALFORMED)?;
    let again = |(at, resource)| declared[..at].contains(resource);
    if declared.len() > ACCESSES_MAX || declared.iter().enumerate().any(again) {
        return Err(Outcome::OUT_OF_BOUNDS);
    }
    Ok(declared)
}

/// The [cost](Processor::cost) of a message.
pub fn cost(processor: &dyn Processor, message: &[u8]) -> u64 {
    caught!(processor.cost(message), 1)
}

/// Whether a transaction of the workload [asks for the context](Processor::asks_context) of its block.
pub fn asks_context(processor: &dyn Processor, TransactionRead { facts, message }: &TransactionRead) -> bool {
    caught!(processor.asks_context(message, facts), false)
}

/// The effects of a transaction on the resources that it declares, within the [bounds](self#bounds). Of a transaction that [asks for
/// it](asks_context), `context` is its block's; of any other, none.
pub fn execute(
    processor: &dyn Processor,
    message: &[u8],
    facts: &TransactionFacts,
    before: &[(ResourceId, Option<&[Cell]>)],
    context: Option<BlockContext>,
) -> TransactionEffects {
    let view = ResourceView::new(before).within(context);
    let effects =
        caught!(processor.execute(message, facts, &view), TransactionEffects::failure(Outcome::PANICKED));
    let TransactionEffects { outcome, writes, exits } = &effects;
    let within = |(_, value): &(ResourceId, Option<Vec<Cell>>)| {
        value.as_ref().is_none_or(|cells| cells.len() <= VALUE_CELLS_MAX)
    };
    if !outcome.is_success() {
        return TransactionEffects::failure(*outcome);
    }
    if !writes.iter().all(|(resource, _)| view.declares(resource)) {
        return TransactionEffects::failure(Outcome::UNDECLARED_ACCESS);
    }
    if exits.len() > EXITS_MAX
        || exits.iter().any(|exit| exit.amount < AMOUNT_MIN)
        || !writes.iter().all(within)
    {
        return TransactionEffects::failure(Outcome::OUT_OF_BOUNDS);
    }
    effects
}
