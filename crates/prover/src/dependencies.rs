//! The dependencies of orders: the statements that each relies on, and how many of them are not stored.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reprise_model::digest::StatementId;
use reprise_model::order::Order;

/// An order, by what it relies on.
#[derive(Debug, Clone)]
struct Dependent {
    order: Arc<Order>,
    /// How many distinct statements that it relies on are not stored.
    missing: usize,
}

/// The dependencies. See the [module documentation](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Dependencies {
    dependencies: BTreeMap<StatementId, Dependent>,
    /// The orders that rely on each statement.
    relied_on: BTreeSet<(StatementId, StatementId)>,
}

impl Dependencies {
    /// Tracks what an order relies on, from now on.
    pub(crate) fn track(&mut self, order: &Arc<Order>, stored: impl Fn(&StatementId) -> bool) {
        if self.dependencies.get(&order.id).is_some_and(|need| Arc::ptr_eq(&need.order, order)) {
            return;
        }
        self.untrack(&order.id);
        let mut missing = 0;
        for inner in &order.assumptions {
            let new = self.relied_on.insert((inner.id, order.id));
            missing += usize::from(new && !stored(&inner.id));
        }
        self.dependencies.insert(order.id, Dependent { order: order.clone(), missing });
    }

    /// Stops tracking an order.
    pub(crate) fn untrack(&mut self, id: &StatementId) {
        let Some(need) = self.dependencies.remove(id) else { return };
        for inner in &need.order.assumptions {
            self.relied_on.remove(&(inner.id, *id));
        }
    }

    /// Whether everything that a tracked order relies on is stored.
    pub(crate) fn are_stored(&self, id: &StatementId) -> bool {
        self.dependencies.get(id).is_some_and(|need| need.missing == 0)
    }

    /// The tracked orders that rely on a statement.
    pub(crate) fn dependents(&self, inner: &StatementId) -> Vec<StatementId> {
        let all = (*inner, StatementId([0; 32]))..=(*inner, StatementId([0xFF; 32]));
        self.relied_on.range(all).map(|(_, outer)| *outer).collect()
    }

    /// Records that a statement is stored, or no longer is. Returns the orders whose dependencies are complete now, or no
    /// longer are.
    pub(crate) fn set_stored(&mut self, inner: &StatementId, stored: bool) -> Vec<StatementId> {
        let mut turned = self.dependents(inner);
        turned.retain(|outer| {
            let Some(need) = self.dependencies.get_mut(outer) else { return false };
            need.missing = if stored { need.missing - 1 } else { need.missing + 1 };
            need.missing == usize::from(!stored)
        });
        turned
    }
}
