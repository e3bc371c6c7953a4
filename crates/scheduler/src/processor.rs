//! The port to a workload: the semantics of one transaction over the resources it declares.

use std::collections::HashMap;

use reprise_model::cell::Cell;
use reprise_model::digest::{ProgramId, ResourceId};
use reprise_model::journal::TransactionEffects;
use reprise_model::lane::BlockContext;
use reprise_model::transaction::{LaneTransaction, TransactionFacts};

/// What a rollup brings: the meaning of its transactions, and the programs that prove it.
///
/// Execution is deterministic and touches nothing but the view. What an implementation returns is what
/// its transaction program commits; a difference shows when the program runs, as a divergence.
pub trait Processor: Send + Sync {
    /// The program that proves a transaction.
    fn tx_image_id(&self) -> ProgramId;

    /// The program that proves a batch.
    fn batch_image_id(&self) -> ProgramId;

    /// The program that proves an aggregate.
    fn aggregator_image_id(&self) -> ProgramId;

    /// The resources `transaction` may touch, in the order in which its journal lists them; no two share
    /// a slot. Two transactions that declare no common slot execute in parallel.
    fn declare(&self, transaction: &LaneTransaction, facts: &TransactionFacts) -> Vec<ResourceId>;

    /// Executes `transaction`. A failure is an outcome with no effects, never an error of the node.
    fn execute(
        &self,
        transaction: &LaneTransaction,
        facts: &TransactionFacts,
        context: &BlockContext,
        view: &ResourceView,
    ) -> TransactionEffects;
}

/// The declared resources of one transaction, as they are when it starts.
#[derive(Debug, Default)]
pub struct ResourceView {
    values: HashMap<ResourceId, Option<Vec<Cell>>>,
}

/// A resource was read that the transaction did not declare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{resource} was not declared by the transaction that reads it")]
pub struct UndeclaredAccess {
    /// The resource.
    pub resource: ResourceId,
}

impl ResourceView {
    /// A view of `values`, `None` where the resource's slot is empty. A slot that another resource holds
    /// shows that resource's value: the workload's values name their resource.
    pub fn new(values: impl IntoIterator<Item = (ResourceId, Option<Vec<Cell>>)>) -> Self {
        Self { values: values.into_iter().collect() }
    }

    /// What the slot of `resource` holds.
    pub fn read(&self, resource: &ResourceId) -> Result<Option<&[Cell]>, UndeclaredAccess> {
        match self.values.get(resource) {
            Some(value) => Ok(value.as_deref()),
            None => Err(UndeclaredAccess { resource: *resource }),
        }
    }

    /// Whether `resource` was declared.
    pub fn declares(&self, resource: &ResourceId) -> bool {
        self.values.contains_key(resource)
    }
}
