//! The counters of a store: every hit, miss and error, by kind and reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use reprise_model::statement::Kind;

use crate::port::{CoordinateOutcome, KindStats, Lookup, MissReason, Stats, StoreError};

/// What happened since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kinds: [KindCounters; 3],
    absent: AtomicU64,
    quarantined: AtomicU64,
    divergences: AtomicU64,
    errors: AtomicU64,
    verifications: AtomicU64,
}

#[derive(Debug, Default)]
struct KindCounters {
    hits: AtomicU64,
    saved_ms: AtomicU64,
    misses_quarantined: AtomicU64,
    misses_unverifiable: AtomicU64,
}

impl Counters {
    /// Counts a look-up that answered.
    pub(crate) fn looked_up(&self, lookup: &Lookup, kind: Option<Kind>, took_ms: u64) {
        // An entry whose kind cannot be read counts as a transaction, the cheapest kind.
        let of = &self.kinds[kind.unwrap_or(Kind::Transaction) as usize];
        match lookup {
            Lookup::Hit(_) => {
                of.hits.fetch_add(1, Relaxed);
                of.saved_ms.fetch_add(took_ms, Relaxed);
            }
            Lookup::Miss(MissReason::Absent) => {
                self.absent.fetch_add(1, Relaxed);
            }
            Lookup::Miss(MissReason::Quarantined(_)) => {
                of.misses_quarantined.fetch_add(1, Relaxed);
            }
            Lookup::Miss(MissReason::Unverifiable(_)) => {
                of.misses_unverifiable.fetch_add(1, Relaxed);
            }
        }
    }

    /// Counts an operation that could not answer.
    pub(crate) fn tally<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if result.is_err() {
            self.failed();
        }
        result
    }

    /// Counts an error.
    pub(crate) fn failed(&self) {
        self.errors.fetch_add(1, Relaxed);
    }

    /// Counts an entry that goes to quarantine.
    pub(crate) fn quarantined(&self) {
        self.quarantined.fetch_add(1, Relaxed);
    }

    /// Counts a cryptographic verification.
    pub(crate) fn verified(&self) {
        self.verifications.fetch_add(1, Relaxed);
    }

    /// Counts the divergences of coordinates that were added, or added again.
    pub(crate) fn coordinates_added(&self, coordinates: &CoordinateOutcome) {
        self.divergences.fetch_add(coordinates.diverged, Relaxed);
    }

    /// The figures, without those that are counted from the tables.
    pub(crate) fn stats(&self) -> Stats {
        let kind = |of: &KindCounters| KindStats {
            hits: of.hits.load(Relaxed),
            saved_ms: of.saved_ms.load(Relaxed),
            misses_quarantined: of.misses_quarantined.load(Relaxed),
            misses_unverifiable: of.misses_unverifiable.load(Relaxed),
            ..KindStats::default()
        };
        Stats {
            kinds: [kind(&self.kinds[0]), kind(&self.kinds[1]), kind(&self.kinds[2])],
            quarantined: self.quarantined.load(Relaxed),
            divergences: self.divergences.load(Relaxed),
            errors: self.errors.load(Relaxed),
            misses_absent: self.absent.load(Relaxed),
            verifications: self.verifications.load(Relaxed),
            ..Stats::default()
        }
    }
}
