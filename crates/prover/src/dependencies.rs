//! The dependencies of orders: the statements that each relies on, and how many of them are not stored.

use std::sync::Arc;

use foldhash::HashMap;
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
    dependencies: HashMap<StatementId, Dependent>,
    /// The orders that rely on each statement, by their ids.
    relied_on: HashMap<StatementId, Vec<StatementId>>,
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
            let outer = self.relied_on.entry(inner.id).or_default();
            if let Err(place) = outer.binary_search(&order.id) {
                outer.insert(place, order.id);
                missing += usize::from(!stored(&inner.id));
            }
        }
        self.dependencies.insert(order.id, Dependent { order: order.clone(), missing });
    }

    /// Stops tracking an order.
    pub(crate) fn untrack(&mut self, id: &StatementId) {
        let Some(need) = self.dependencies.remove(id) else { return };
        for inner in &need.order.assumptions {
            let Some(outer) = self.relied_on.get_mut(&inner.id) else { continue };
            outer.retain(|outer| outer != id);
            if outer.is_empty() {
                self.relied_on.remove(&inner.id);
            }
        }
    }

    /// Whether everything that a tracked order relies on is stored.
    pub(crate) fn are_stored(&self, id: &StatementId) -> bool {
        self.dependencies.get(id).is_some_and(|need| need.missing == 0)
    }

    /// The tracked orders that rely on a statement.
    pub(crate) fn dependents(&self, inner: &StatementId) -> Vec<StatementId> {
        self.relied_on.get(inner).cloned().unwrap_or_default()
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
