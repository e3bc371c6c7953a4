//! The demand: the orders that are wanted now. The cost of an update is proportional to what changes.
//!
//! # What it is
//!
//! The demand is a function of the units of the view (closed bundles, then open blocks), of each statement's
//! [`ReceiptStatus`], and of a limit:
//!
//! ```text
//! demand   the first units, and no more of them than it takes until so many orders as the limit says are not stored
//! unit     the aggregate of a bundle, or the batches of an open block
//! order    itself; below that, if it is known to be missing, each order that its proof assumes
//! ```
//!
//! The search stops below an order that is stored, and below one that was not looked up yet. A unit is wanted
//! whole, so that an order's assumptions are never left out.
//!
//! # How it is kept
//!
//! Every wanted order is stored by its [`Rank`], with the status of its receipt. A change of the status adds or drops
//! the orders below it. A unit adds its orders when it is added, and drops them when it is dropped. The limit adds or
//! drops units at the end. `change` returns the net difference since its last call.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foldhash::HashMap;
use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::StatementId;
use reprise_model::order::{Order, Rank};

use crate::planned::PlannedOrder;

/// What is known of a statement's receipt. It decides which orders are wanted, and has no influence on bundles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// Not looked up yet.
    Unknown,
    /// Not stored.
    Missing,
    /// Stored, durably.
    Stored,
}

/// How the demand changed since the last call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// No longer wanted, the most urgent first.
    pub removed: Vec<Arc<Order>>,
    /// Wanted from now on, the most urgent first.
    pub added: Vec<Arc<Order>>,
    /// Statements that became dormant: of blocks off the view, no deeper than the grace. Their queued jobs are kept.
    pub dormant: Vec<StatementId>,
    /// Statements that are dormant no longer.
    pub no_longer_dormant: Vec<StatementId>,
}

/// An order that is wanted.
#[derive(Debug, Clone)]
struct WantedOrder {
    planned: Arc<PlannedOrder>,
    /// The status of its receipt, as of the last update.
    status: ReceiptStatus,
    /// The first checkpoint of its unit.
    unit: Checkpoint,
}

/// A unit that is wanted.
#[derive(Debug, Clone, Default)]
struct Unit {
    outermost: Vec<Rank>,
    /// How many of its orders are not stored.
    unstored: usize,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    wanted: BTreeMap<Rank, WantedOrder>,
    /// Where each statement is wanted, the most urgent first.
    ranks: HashMap<StatementId, Vec<Rank>>,
    /// The wanted orders that are not stored, by the checkpoints of their coordinates.
    unstored: BTreeSet<(Checkpoint, Rank)>,
    /// The wanted units, by their first checkpoints.
    units: BTreeMap<Checkpoint, Unit>,
    /// What was wanted at the last call of `change`, for the ranks that may have changed since.
    before: BTreeMap<Rank, Option<Arc<Order>>>,
}

type StatusOf<'a> = &'a dyn Fn(&StatementId) -> ReceiptStatus;

impl Demand {
    /// What is wanted, the most urgent first.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.wanted.values().map(|wanted| &wanted.planned.order)
    }

    /// How many of its orders are not stored.
    pub(crate) fn unstored(&self) -> usize {
        self.unstored.len()
    }

    /// The lowest checkpoint of an order that is not stored.
    pub(crate) fn first_unstored(&self) -> Option<Checkpoint> {
        self.unstored.first().map(|(checkpoint, _)| *checkpoint)
    }

    /// The last unit that is wanted, and how many of its orders are not stored.
    pub(crate) fn last(&self) -> Option<(Checkpoint, usize)> {
        self.units.last_key_value().map(|(first, unit)| (*first, unit.unstored))
    }

    /// Adds a unit, given its outermost orders.
    pub(crate) fn push(
        &mut self,
        unit: Checkpoint,
        outermost: &[Arc<PlannedOrder>],
        status_of: StatusOf<'_>,
    ) {
        let ranks = outermost.iter().map(|planned| planned.order.rank()).collect();
        self.units.insert(unit, Unit { outermost: ranks, unstored: 0 });
        outermost.iter().for_each(|planned| self.want(unit, planned, status_of));
    }

    /// Drops the units that begin below `from`, and those that begin at `to` or above.
    pub(crate) fn keep(&mut self, from: Checkpoint, to: Checkpoint) {
        while let Some((unit, _)) = self.units.first_key_value().filter(|(unit, _)| **unit < from) {
            self.drop_unit(*unit);
        }
        while let Some((unit, _)) = self.units.last_key_value().filter(|(unit, _)| **unit >= to) {
            self.drop_unit(*unit);
        }
    }

    /// Drops the unit that begins at a checkpoint.
    pub(crate) fn drop_unit(&mut self, unit: Checkpoint) {
        let outermost = self.units.get(&unit).map(|unit| unit.outermost.clone());
        outermost.into_iter().flatten().for_each(|rank| self.drop_order(rank));
        self.units.remove(&unit);
    }

    /// Updates the status of a statement's receipt.
    pub(crate) fn update_status(&mut self, id: StatementId, status_of: StatusOf<'_>) {
        let ranks = self.ranks.get(&id).cloned().unwrap_or_default();
        let status = status_of(&id);
        for rank in ranks {
            let Some(wanted) = self.wanted.get_mut(&rank).filter(|wanted| wanted.status != status) else {
                continue;
            };
            let before = std::mem::replace(&mut wanted.status, status);
            let wanted = wanted.clone();
            if before == ReceiptStatus::Missing {
                self.drop_inner(&wanted.planned);
            }
            self.count(&wanted, rank, before != ReceiptStatus::Stored, status != ReceiptStatus::Stored);
            if status == ReceiptStatus::Missing {
                self.want_inner(wanted.unit, &wanted.planned, status_of);
            }
        }
    }

    /// The net change since the last call.
    pub(crate) fn change(&mut self) -> Change {
        let mut change = Change::default();
        for (rank, before) in std::mem::take(&mut self.before) {
            let now = self.wanted.get(&rank).map(|wanted| &wanted.planned.order);
            let same = |a: &Arc<Order>, b: &Arc<Order>| (a.id, a.coordinate) == (b.id, b.coordinate);
            match (before, now) {
                (Some(before), Some(now)) if same(&before, now) => {}
                (before, now) => {
                    change.removed.extend(before);
                    change.added.extend(now.cloned());
                }
            }
        }
        change
    }

    fn want(&mut self, unit: Checkpoint, planned: &Arc<PlannedOrder>, status_of: StatusOf<'_>) {
        let order = &planned.order;
        let (rank, status) = (order.rank(), status_of(&order.id));
        let wanted = WantedOrder { planned: planned.clone(), status, unit };
        self.before.entry(rank).or_insert(None);
        let ranks = self.ranks.entry(order.id).or_default();
        if let Err(place) = ranks.binary_search(&rank) {
            ranks.insert(place, rank);
        }
        self.count(&wanted, rank, false, status != ReceiptStatus::Stored);
        if status == ReceiptStatus::Missing {
            self.want_inner(unit, planned, status_of);
        }
        self.wanted.insert(rank, wanted);
    }

    fn want_inner(&mut self, unit: Checkpoint, planned: &PlannedOrder, status_of: StatusOf<'_>) {
        planned.inner.iter().for_each(|inner| self.want(unit, inner, status_of));
    }

    fn drop_order(&mut self, rank: Rank) {
        let Some(wanted) = self.wanted.remove(&rank) else { return };
        let id = wanted.planned.order.id;
        if let Some(ranks) = self.ranks.get_mut(&id) {
            ranks.retain(|other| *other != rank);
            if ranks.is_empty() {
                self.ranks.remove(&id);
            }
        }
        self.count(&wanted, rank, wanted.status != ReceiptStatus::Stored, false);
        if wanted.status == ReceiptStatus::Missing {
            self.drop_inner(&wanted.planned);
        }
        self.before.entry(rank).or_insert(Some(wanted.planned.order.clone()));
    }

    fn drop_inner(&mut self, planned: &PlannedOrder) {
        planned.inner.iter().for_each(|inner| self.drop_order(inner.order.rank()));
    }

    fn count(&mut self, wanted: &WantedOrder, rank: Rank, before: bool, now: bool) {
        if before == now {
            return;
        }
        let key = (wanted.planned.order.coordinate.checkpoint, rank);
        let unit = &mut self.units.entry(wanted.unit).or_default().unstored;
        if now {
            self.unstored.insert(key);
            *unit += 1;
        } else {
            self.unstored.remove(&key);
            *unit -= 1;
        }
    }
}
