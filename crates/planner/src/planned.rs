//! What is planned: orders, each with those that its proof assumes.

use std::sync::Arc;

use reprise_model::block::BatchMetadata;
use reprise_model::journal::Span;
use reprise_model::limits::Load;
use reprise_model::order::{BatchRef, Order, PartRef};

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
    pub(crate) accounted: Accounted,
    pub(crate) span: Span,
    pub(crate) batches: Vec<BatchRef>,
    /// The block and merge index of its first transaction.
    pub(crate) first: (BatchMetadata, u32),
    /// The same of the first transaction of its last batch.
    pub(crate) last: (BatchMetadata, u32),
}

/// How an aggregate accounts for a part.
#[derive(Debug, Clone)]
pub(crate) enum Accounted {
    /// By the proof of a batch.
    Batch(Arc<PlannedOrder>),
    /// By the proof of another aggregate.
    Joined(Arc<PlannedOrder>),
    /// It computes the batch: what that takes, and the transactions in it that are proved apart.
    Computed(Load, Vec<Arc<PlannedOrder>>),
}

impl PlannedPart {
    /// The orders whose receipts an aggregate over it assumes, in order.
    pub(crate) fn assumed(&self) -> &[Arc<PlannedOrder>] {
        match &self.accounted {
            Accounted::Batch(order) | Accounted::Joined(order) => std::slice::from_ref(order),
            Accounted::Computed(_, apart) => apart,
        }
    }

    /// What it takes of an aggregate's proof.
    pub(crate) fn load(&self) -> Load {
        match &self.accounted {
            Accounted::Batch(_) | Accounted::Joined(_) => Load::VERIFIED,
            Accounted::Computed(load, _) => *load,
        }
    }

    /// What an order names it by.
    pub(crate) fn reference(&self) -> PartRef {
        match (&self.accounted, self.batches.as_slice()) {
            (Accounted::Batch(_), [batch]) => PartRef::Batch(*batch),
            (Accounted::Computed(..), [batch]) => PartRef::Computed(*batch),
            (_, batches) => PartRef::Joined(batches.to_vec()),
        }
    }
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

    /// The outermost orders that its proof takes, whichever bundle it comes into.
    pub(crate) fn outermost(&self) -> Vec<Arc<PlannedOrder>> {
        self.batches.iter().flat_map(PlannedPart::assumed).cloned().collect()
    }
}
