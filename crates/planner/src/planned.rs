//! What is planned: orders, each with those that its proof assumes.

use std::sync::Arc;

use reprise_model::block::BatchMetadata;
use reprise_model::journal::Span;
use reprise_model::order::{BatchRef, Order};

use crate::bundle::Candidate;

/// An order, and the orders whose receipts its proof assumes.
#[derive(Debug)]
pub(crate) struct PlannedOrder {
    pub(crate) order: Arc<Order>,
    pub(crate) inner: Vec<Arc<PlannedOrder>>,
}

impl PlannedOrder {
    /// This order and all orders below it. The search stops at those for which `within` is false.
    pub(crate) fn orders(&self, within: fn(&Order) -> bool) -> Vec<Arc<Order>> {
        let mut orders = vec![];
        let mut rest = vec![self];
        while let Some(planned) = rest.pop() {
            if within(&planned.order) {
                orders.push(planned.order.clone());
                rest.extend(planned.inner.iter().map(AsRef::as_ref));
            }
        }
        orders
    }
}

/// A part of an aggregate: a batch, or batches joined.
#[derive(Debug, Clone)]
pub(crate) struct PlannedPart {
    pub(crate) planned: Arc<PlannedOrder>,
    pub(crate) joined: bool,
    pub(crate) span: Span,
    pub(crate) batches: Vec<BatchRef>,
    /// The block and merge index of its first transaction.
    pub(crate) first: (BatchMetadata, u32),
    /// The same of the first transaction of its last batch.
    pub(crate) last: (BatchMetadata, u32),
}

/// A non-empty block of any fork, with its batches.
#[derive(Debug)]
pub(crate) struct PlannedBlock {
    pub(crate) metadata: BatchMetadata,
    pub(crate) transactions: usize,
    pub(crate) batches: Vec<PlannedPart>,
}

impl PlannedBlock {
    /// The block, as a candidate for a bundle.
    pub(crate) fn candidate(&self) -> Candidate {
        Candidate { metadata: self.metadata, transactions: self.transactions }
    }

    /// The orders of its batches.
    pub(crate) fn outermost(&self) -> Vec<Arc<PlannedOrder>> {
        self.batches.iter().map(|batch| batch.planned.clone()).collect()
    }
}
