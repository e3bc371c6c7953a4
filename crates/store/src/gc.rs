//! Eviction: which receipts are deleted when the store is over its budget.
//!
//! The plan is a pure function of the entries and the budget, so that a dry run and a run choose the same. The plan
//! never evicts what is pinned, or what is used at a checkpoint where a reorg or an unsettled bundle may still need it.
//! Of the rest, entries without a coordinate go first, then the cheapest to prove again per byte.

use std::cmp::Ordering;

use reprise_model::coordinate::Checkpoint;
use reprise_model::statement::{Kind, StatementId};

use crate::port::{Filter, ReceiptStore, StoreError, Summary};

/// How much may stay, and what must.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of envelopes that may stay.
    pub bytes_max: u64,
    /// Per kind, in the order of [`Kind::ALL`]: what is used at this checkpoint or later stays. A transaction's
    /// receipt may go once its batch is stored and past the reorg depth; a batch's, once it is settled and
    /// final.
    pub live_from: [Checkpoint; Kind::COUNT],
}

impl Budget {
    /// The checkpoint from which on an entry of this kind stays.
    pub fn live_from(&self, kind: Kind) -> Checkpoint {
        match kind {
            Kind::Transaction => self.live_from[0],
            Kind::Batch => self.live_from[1],
            Kind::Aggregate => self.live_from[2],
        }
    }
}

/// Why an entry is evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// It is used nowhere that the store knows of.
    Unplaced,
    /// It is the cheapest to prove again per byte of those that may go.
    Cheapest,
}

/// One entry to evict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// Which.
    pub id: StatementId,
    /// Its kind.
    pub kind: Kind,
    /// The size of its envelope.
    pub bytes: u64,
    /// What it costs to prove again.
    pub took_ms: u64,
    /// Why.
    pub cause: Cause,
}

/// What is evicted, and what that leaves.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In the order of eviction.
    pub evictions: Vec<Eviction>,
    /// Bytes of envelopes now.
    pub bytes_before: u64,
    /// Bytes of envelopes after.
    pub bytes_after: u64,
}

/// What the plan looks at of an entry.
#[derive(Debug, Clone)]
pub(crate) struct Candidate {
    pub(crate) id: StatementId,
    pub(crate) kind: Kind,
    pub(crate) bytes: u64,
    pub(crate) took_ms: u64,
    pub(crate) pinned: bool,
    /// The last checkpoint it is used at.
    pub(crate) last_used: Option<Checkpoint>,
}

impl From<&Summary> for Candidate {
    fn from(entry: &Summary) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.provenance.took_ms,
            pinned: !entry.pins.is_empty(),
            last_used: entry.coordinates.iter().map(|coordinate| coordinate.checkpoint).max(),
        }
    }
}

/// Chooses what is evicted. The rest is within the budget, or may not be evicted.
pub fn plan(entries: &[Summary], budget: &Budget) -> Plan {
    choose(entries.iter().map(Candidate::from).collect(), budget)
}

/// [`plan`] over candidates.
pub(crate) fn choose(entries: Vec<Candidate>, budget: &Budget) -> Plan {
    let bytes_before = entries.iter().map(|entry| entry.bytes).sum();
    let mut plan = Plan { evictions: Vec::new(), bytes_before, bytes_after: bytes_before };
    if bytes_before <= budget.bytes_max {
        return plan;
    }
    let mut free: Vec<_> = entries.into_iter().filter(|entry| !is_live(entry, budget)).collect();
    free.sort_by(cheaper);
    for entry in free {
        if plan.bytes_after <= budget.bytes_max {
            break;
        }
        plan.bytes_after -= entry.bytes;
        plan.evictions.push(Eviction {
            id: entry.id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.took_ms,
            cause: if entry.last_used.is_none() { Cause::Unplaced } else { Cause::Cheapest },
        });
    }
    plan
}

fn is_live(entry: &Candidate, budget: &Budget) -> bool {
    entry.pinned || entry.last_used.is_some_and(|last| last >= budget.live_from(entry.kind))
}

/// The order of eviction: without a coordinate, then fewer milliseconds a byte, then by id.
fn cheaper(a: &Candidate, b: &Candidate) -> Ordering {
    let per_byte = |entry: &Candidate, other: &Candidate| u128::from(entry.took_ms) * u128::from(other.bytes);
    b.last_used
        .is_none()
        .cmp(&a.last_used.is_none())
        .then_with(|| per_byte(a, b).cmp(&per_byte(b, a)))
        .then_with(|| a.id.cmp(&b.id))
}

/// Plans over a store's entries and carries the plan out, unless `dry_run`. Returns what was evicted, or would be.
pub fn collect(store: &dyn ReceiptStore, budget: &Budget, dry_run: bool) -> Result<Plan, StoreError> {
    let mut plan = plan(&store.list(&Filter::default())?, budget);
    if dry_run {
        return Ok(plan);
    }
    let mut gone = Vec::with_capacity(plan.evictions.len());
    for eviction in plan.evictions {
        // PRUNE SAFETY: `evict` looks again, in the commit that deletes: what was pinned or placed at or
        // above `live_from` since the plan was made stays. What goes costs its proof again, nothing else.
        if store.evict(&eviction.id, budget.live_from(eviction.kind))? {
            gone.push(eviction);
        } else {
            plan.bytes_after += eviction.bytes;
        }
    }
    plan.evictions = gone;
    Ok(plan)
}
