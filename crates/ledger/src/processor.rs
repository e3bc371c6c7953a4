//! The ledger behind the scheduler's port.

use alloc::vec::Vec;

use reprise_model::digest::{ProgramId, ResourceId};
use reprise_model::journal::{Outcome, TransactionEffects};
use reprise_model::lane::BlockContext;
use reprise_model::transaction::{LaneTransaction, TransactionFacts};
use reprise_scheduler::processor::{Processor, ResourceView};

/// The ledger as a [`Processor`], proved by the programs of one backend.
#[derive(Debug, Clone, Copy)]
pub struct Ledger {
    /// Proves a transaction.
    pub transaction: ProgramId,
    /// Proves a batch.
    pub batch: ProgramId,
    /// Proves an aggregate.
    pub aggregate: ProgramId,
}

impl Processor for Ledger {
    fn tx_image_id(&self) -> ProgramId {
        self.transaction
    }

    fn batch_image_id(&self) -> ProgramId {
        self.batch
    }

    fn aggregator_image_id(&self) -> ProgramId {
        self.aggregate
    }

    fn declare(&self, transaction: &LaneTransaction, facts: &TransactionFacts) -> Vec<ResourceId> {
        crate::declare(transaction.message(), &facts.authority)
    }

    fn execute(
        &self,
        transaction: &LaneTransaction,
        facts: &TransactionFacts,
        _context: &BlockContext,
        view: &ResourceView,
    ) -> TransactionEffects {
        let read = |id: &ResourceId| view.read(id).map_err(|_| Outcome::UNDECLARED_ACCESS);
        crate::execute(transaction.message(), facts, read)
    }
}
