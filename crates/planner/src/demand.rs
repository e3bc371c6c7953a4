//! The demand: what is wanted now, kept up to date at the cost of what changes.
//!
//! # What it is
//!
//! A function of the units of the view (closed bundles, then open batches), of what is known of each
//! statement, and of a limit:
//!
//! ```text
//! demand   the first units, and no more of them than it takes until so many orders as the limit says are not stored
//! bundle   its aggregate; below that, if it is known to be missing, each of its batches
//! batch    its order; below that, if it is known to be missing, each of its transactions
//! ```
//!
//! A stored order ends the search below it, and so does one that nobody has looked for yet. A unit that is
//! begun is finished, so that what an order waits for is never left out.
//!
//! # How it is kept
//!
//! Every order that is wanted is held by its [`Rank`], with the fact that it was wanted under. Another fact
//! wants or drops what is below; a unit that comes or goes wants or drops what is in it; the limit moves the
//! end by units. `change` tells what came of it since it last told, net.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::StatementId;
use reprise_model::order::{Order, Rank};

use crate::planned::PlannedBlock;

/// What is known of a statement's receipt. Facts only reduce demand; they never shape a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptStatus {
    /// Nobody has looked yet.
    Unknown,
    /// Not stored.
    Missing,
    /// Stored, durably.
    Stored,
}

/// How the demand differs from what it was when it was last told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// Wanted no more, in order of urgency.
    pub removed: Vec<Arc<Order>>,
    /// Wanted from now on, in order of urgency.
    pub added: Vec<Arc<Order>>,
    /// Statements of blocks that came to lie off the view, no deeper than the grace: their jobs may sleep.
    pub asleep: Vec<StatementId>,
    /// Statements of which there are no such blocks any more.
    pub awake: Vec<StatementId>,
}

/// What is inside an order: wanted with it where it is missing.
#[derive(Debug, Clone)]
pub(crate) enum Children {
    Batches(Arc<[Arc<PlannedBlock>]>),
    Transactions(Arc<PlannedBlock>),
    Nothing,
}

/// An order that is wanted.
#[derive(Debug, Clone)]
struct WantedOrder {
    order: Arc<Order>,
    children: Children,
    /// What was known when it was last looked at.
    status: ReceiptStatus,
    /// The first checkpoint of the unit that it belongs to.
    unit: Checkpoint,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    wanted: BTreeMap<Rank, WantedOrder>,
    ranks: BTreeSet<(StatementId, Rank)>,
    /// The wishes that are not stored, by the checkpoints of their coordinates.
    unstored: BTreeSet<(Checkpoint, Rank)>,
    /// The units that are wanted, by their first checkpoints: how many of their orders are not stored.
    units: BTreeMap<Checkpoint, usize>,
    /// What was wanted when it was last told, where that may have changed since.
    before: BTreeMap<Rank, Option<Arc<Order>>>,
}

type StatusOf<'a> = &'a dyn Fn(&StatementId) -> ReceiptStatus;

impl Demand {
    /// What is wanted, the most urgent first.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.wanted.values().map(|wanted| &wanted.order)
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
        self.units.last_key_value().map(|(unit, unstored)| (*unit, *unstored))
    }

    /// Wants a unit, by its outermost order.
    pub(crate) fn push(
        &mut self,
        unit: Checkpoint,
        order: &Arc<Order>,
        children: Children,
        status_of: StatusOf<'_>,
    ) {
        self.units.insert(unit, 0);
        self.want(unit, order, children, status_of);
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
        // The outermost order of a unit is its first, and everything else is inside it.
        let from = Rank::first_of(unit);
        let outermost = self.wanted.range(from..).next().map(|(rank, _)| *rank);
        outermost.into_iter().for_each(|rank| self.drop_order(rank));
        self.units.remove(&unit);
    }

    /// Hears that another fact holds of a statement.
    pub(crate) fn learn(&mut self, id: StatementId, status_of: StatusOf<'_>) {
        let ranks: Vec<Rank> =
            self.ranks.range((id, Rank::MIN)..=(id, Rank::MAX)).map(|(_, rank)| *rank).collect();
        let status = status_of(&id);
        for rank in ranks {
            let Some(wanted) = self.wanted.get_mut(&rank).filter(|wanted| wanted.status != status) else {
                continue;
            };
            let before = std::mem::replace(&mut wanted.status, status);
            let wanted = wanted.clone();
            if before == ReceiptStatus::Missing {
                self.drop_children(&wanted.children);
            }
            self.count(&wanted, rank, before != ReceiptStatus::Stored, status != ReceiptStatus::Stored);
            if status == ReceiptStatus::Missing {
                self.want_children(wanted.unit, &wanted.children, status_of);
            }
        }
    }

    /// What changed since this was last asked, net.
    pub(crate) fn change(&mut self) -> Change {
        let mut change = Change::default();
        for (rank, before) in std::mem::take(&mut self.before) {
            let now = self.wanted.get(&rank).map(|wanted| &wanted.order);
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

    fn want(&mut self, unit: Checkpoint, order: &Arc<Order>, children: Children, status_of: StatusOf<'_>) {
        let (rank, status) = (order.rank(), status_of(&order.id));
        let wanted = WantedOrder { order: order.clone(), children, status, unit };
        self.before.entry(rank).or_insert(None);
        self.ranks.insert((order.id, rank));
        self.count(&wanted, rank, false, status != ReceiptStatus::Stored);
        if status == ReceiptStatus::Missing {
            self.want_children(unit, &wanted.children, status_of);
        }
        self.wanted.insert(rank, wanted);
    }

    fn want_children(&mut self, unit: Checkpoint, children: &Children, status_of: StatusOf<'_>) {
        match children {
            Children::Batches(batches) => {
                for planned in batches.iter() {
                    self.want(unit, &planned.batch, Children::Transactions(planned.clone()), status_of);
                }
            }
            Children::Transactions(planned) => {
                for order in &planned.transactions {
                    self.want(unit, order, Children::Nothing, status_of);
                }
            }
            Children::Nothing => {}
        }
    }

    fn drop_order(&mut self, rank: Rank) {
        let Some(wanted) = self.wanted.remove(&rank) else { return };
        self.ranks.remove(&(wanted.order.id, rank));
        self.count(&wanted, rank, wanted.status != ReceiptStatus::Stored, false);
        if wanted.status == ReceiptStatus::Missing {
            self.drop_children(&wanted.children);
        }
        self.before.entry(rank).or_insert(Some(wanted.order));
    }

    fn drop_children(&mut self, children: &Children) {
        match children {
            Children::Batches(batches) => {
                batches.iter().for_each(|planned| self.drop_order(planned.batch.rank()))
            }
            Children::Transactions(planned) => {
                planned.transactions.iter().for_each(|order| self.drop_order(order.rank()));
            }
            Children::Nothing => {}
        }
    }

    fn count(&mut self, wanted: &WantedOrder, rank: Rank, before: bool, now: bool) {
        if before == now {
            return;
        }
        let key = (wanted.order.coordinate.checkpoint, rank);
        let unit = self.units.entry(wanted.unit).or_default();
        if now {
            self.unstored.insert(key);
            *unit += 1;
        } else {
            self.unstored.remove(&key);
            *unit -= 1;
        }
    }
}
