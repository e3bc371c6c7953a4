//! Eviction: which receipts are deleted when the store is over its budget.
//!
//! The plan is a pure function of the entries and the budget, so that a dry run and a run choose the same. The plan
//! never evicts what is pinned, or what is used where a reorg, an unsettled bundle or another rollup may still need it.
//! Of the rest, entries without a coordinate go first, then the cheapest to prove again per byte.

use std::cmp::Ordering;

use reprise_model::statement::{Kind, StatementId};

use crate::port::{Filter, Needed, ReceiptStore, StoreError, Summary};

/// How much may stay, and what must.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of envelopes that may stay.
    pub bytes_max: u64,
    /// What is used where it is needed stays. A transaction's receipt may go once its batch is stored and past the reorg
    /// depth; a batch's, once it is settled and final.
    pub needed: Needed,
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
    /// It is used somewhere.
    pub(crate) is_placed: bool,
    /// It is pinned, or used where it may be needed.
    pub(crate) is_live: bool,
}

impl Candidate {
    fn of(entry: &Summary, needed: &Needed) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.provenance.took_ms,
            is_placed: !entry.coordinates.is_empty(),
            is_live: !entry.pins.is_empty() || entry.coordinates.iter().any(|place| needed.at(place)),
        }
    }
}

/// Chooses what is evicted. The rest is within the budget, or may not be evicted.
pub fn plan(entries: &[Summary], budget: &Budget) -> Plan {
    choose(entries.iter().map(|entry| Candidate::of(entry, &budget.needed)).collect(), budget.bytes_max)
}

/// [`plan`] over candidates.
pub(crate) fn choose(entries: Vec<Candidate>, bytes_max: u64) -> Plan {
    let bytes_before = entries.iter().map(|entry| entry.bytes).sum();
    let mut plan = Plan { evictions: Vec::new(), bytes_before, bytes_after: bytes_before };
    if bytes_before <= bytes_max {
        return plan;
    }
    let mut free: Vec<_> = entries.into_iter().filter(|entry| !entry.is_live).collect();
    free.sort_by(cheaper);
    for entry in free {
        if plan.bytes_after <= bytes_max {
            break;
        }
        plan.bytes_after -= entry.bytes;
        plan.evictions.push(Eviction {
            id: entry.id,
            kind: entry.kind,
            bytes: entry.bytes,
            took_ms: entry.took_ms,
            cause: if entry.is_placed { Cause::Cheapest } else { Cause::Unplaced },
        });
    }
    plan
}

/// The order of eviction: without a coordinate, then fewer milliseconds a byte, then by id.
fn cheaper(a: &Candidate, b: &Candidate) -> Ordering {
    let per_byte = |entry: &Candidate, other: &Candidate| u128::from(entry.took_ms) * u128::from(other.bytes);
    a.is_placed
        .cmp(&b.is_placed)
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
        // PRUNE SAFETY: `evict` looks again, in the commit that deletes: what was pinned, or placed where it is
        // needed, since the plan was made stays. What goes costs its proof again, nothing else.
        if store.evict(&eviction.id, &budget.needed)? {
            gone.push(eviction);
        } else {
            plan.bytes_after += eviction.bytes;
        }
    }
    plan.evictions = gone;
    Ok(plan)
}
