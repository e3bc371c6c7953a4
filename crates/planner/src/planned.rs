//! What is planned for a block: the orders of its transactions and of its batch.

use std::sync::Arc;

use reprise_model::block::BatchMetadata;
use reprise_model::journal::BatchJournal;
use reprise_model::order::Order;

use crate::bundle::Candidate;

/// A non-empty block of any fork, with its orders.
#[derive(Debug)]
pub(crate) struct PlannedBlock {
    pub(crate) metadata: BatchMetadata,
    pub(crate) transactions: Vec<Arc<Order>>,
    pub(crate) batch: Arc<Order>,
    pub(crate) journal: BatchJournal,
}

impl PlannedBlock {
    /// As the rule of bundles sees it.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { metadata: self.metadata, transactions: self.transactions.len() }
    }
}
