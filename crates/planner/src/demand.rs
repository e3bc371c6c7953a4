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

use crate::planner::Planned;

/// What is known of a statement's receipt. Facts only reduce demand; they never shape a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fact {
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
pub(crate) enum Inside {
    Batches(Arc<[Arc<Planned>]>),
    Transactions(Arc<Planned>),
    Nothing,
}

/// An order that is wanted.
#[derive(Debug, Clone)]
struct Wish {
    order: Arc<Order>,
    inside: Inside,
    /// What was known when it was last looked at.
    fact: Fact,
    /// The first checkpoint of the unit that it belongs to.
    unit: Checkpoint,
}

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Demand {
    wishes: BTreeMap<Rank, Wish>,
    places: BTreeSet<(StatementId, Rank)>,
    /// The wishes that are not stored, by the checkpoints of their coordinates.
    unstored: BTreeSet<(Checkpoint, Rank)>,
    /// The units that are wanted, by their first checkpoints: how many of their orders are not stored.
    units: BTreeMap<Checkpoint, usize>,
    /// What was wanted when it was last told, where that may have changed since.
    before: BTreeMap<Rank, Option<Arc<Order>>>,
}

type Facts<'a> = &'a dyn Fn(&StatementId) -> Fact;

impl Demand {
    /// What is wanted, the most urgent first.
    pub(crate) fn orders(&self) -> impl Iterator<Item = &Arc<Order>> {
        self.wishes.values().map(|wish| &wish.order)
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
    pub(crate) fn push(&mut self, unit: Checkpoint, order: &Arc<Order>, inside: Inside, facts: Facts<'_>) {
        self.units.insert(unit, 0);
        self.want(unit, order, inside, facts);
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
        let outermost = self.wishes.range(from..).next().map(|(rank, _)| *rank);
        outermost.into_iter().for_each(|rank| self.forgo(rank));
        self.units.remove(&unit);
    }

    /// Hears that another fact holds of a statement.
    pub(crate) fn learn(&mut self, id: StatementId, facts: Facts<'_>) {
        let places: Vec<Rank> =
            self.places.range((id, Rank::MIN)..=(id, Rank::MAX)).map(|(_, rank)| *rank).collect();
        let fact = facts(&id);
        for rank in places {
            let Some(wish) = self.wishes.get_mut(&rank).filter(|wish| wish.fact != fact) else { continue };
            let before = std::mem::replace(&mut wish.fact, fact);
            let wish = wish.clone();
            if before == Fact::Missing {
                self.forgo_inside(&wish.inside);
            }
            self.count(&wish, rank, before != Fact::Stored, fact != Fact::Stored);
            if fact == Fact::Missing {
                self.want_inside(wish.unit, &wish.inside, facts);
            }
        }
    }

    /// What changed since this was last asked, net.
    pub(crate) fn change(&mut self) -> Change {
        let mut change = Change::default();
        for (rank, before) in std::mem::take(&mut self.before) {
            let now = self.wishes.get(&rank).map(|wish| &wish.order);
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

    fn want(&mut self, unit: Checkpoint, order: &Arc<Order>, inside: Inside, facts: Facts<'_>) {
        let (rank, fact) = (order.rank(), facts(&order.id));
        let wish = Wish { order: order.clone(), inside, fact, unit };
        self.before.entry(rank).or_insert(None);
        self.places.insert((order.id, rank));
        self.count(&wish, rank, false, fact != Fact::Stored);
        if fact == Fact::Missing {
            self.want_inside(unit, &wish.inside, facts);
        }
        self.wishes.insert(rank, wish);
    }

    fn want_inside(&mut self, unit: Checkpoint, inside: &Inside, facts: Facts<'_>) {
        match inside {
            Inside::Batches(batches) => {
                for planned in batches.iter() {
                    self.want(unit, &planned.batch, Inside::Transactions(planned.clone()), facts);
                }
            }
            Inside::Transactions(planned) => {
                for order in &planned.transactions {
                    self.want(unit, order, Inside::Nothing, facts);
                }
            }
            Inside::Nothing => {}
        }
    }

    fn forgo(&mut self, rank: Rank) {
        let Some(wish) = self.wishes.remove(&rank) else { return };
        self.places.remove(&(wish.order.id, rank));
        self.count(&wish, rank, wish.fact != Fact::Stored, false);
        if wish.fact == Fact::Missing {
            self.forgo_inside(&wish.inside);
        }
        self.before.entry(rank).or_insert(Some(wish.order));
    }

    fn forgo_inside(&mut self, inside: &Inside) {
        match inside {
            Inside::Batches(batches) => batches.iter().for_each(|planned| self.forgo(planned.batch.rank())),
            Inside::Transactions(planned) => {
                planned.transactions.iter().for_each(|order| self.forgo(order.rank()));
            }
            Inside::Nothing => {}
        }
    }

    fn count(&mut self, wish: &Wish, rank: Rank, before: bool, now: bool) {
        if before == now {
            return;
        }
        let place = (wish.order.coordinate.checkpoint, rank);
        let unit = self.units.entry(wish.unit).or_default();
        if now {
            self.unstored.insert(place);
            *unit += 1;
        } else {
            self.unstored.remove(&place);
            *unit -= 1;
        }
    }
}
