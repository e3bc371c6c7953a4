//! Memory in front of an engine: recently written or read envelopes, bounded in bytes.
//!
//! A decorator of [`StorageEngine`], below the checks of the store: bytes from memory are checked like bytes from the
//! disk, and every verification policy means the same. Only envelopes are cached; the small tables are in memory
//! already.
//!
//! * **Single flight.** Of concurrent readers of one envelope, one reads it and the others wait for it.
//! * **Never older than a commit.** A commit goes to the engine first, and then replaces or drops the cached values of
//!   its keys. A read that overlaps a commit returns what it read and caches nothing.
//! * **Errors are not misses.** They have a counter of their own, and are not cached.
//!
//! A *shared* tier, between installations, does not belong here: a receipt from elsewhere must be verified first. It is a
//! [`ReceiptStore`](crate::ReceiptStore) in front of this one, `reprise_fleet::tier`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::sync::{Cache, DefaultLifecycle, GuardResult};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::engine::{Changes, Pair, Parts, Split, StorageEngine, Table};
use crate::port::{StoreError, TierStats};

/// The bytes of an entry beside its value: its key and the cache's own structures.
const OVERHEAD: u64 = 128;

type Kept = Cache<Vec<u8>, Arc<Vec<u8>>, Bytes>;

#[derive(Clone)]
struct Bytes;

impl Weighter<Vec<u8>, Arc<Vec<u8>>> for Bytes {
    fn weight(&self, _key: &Vec<u8>, value: &Arc<Vec<u8>>) -> u64 {
        value.len() as u64 + OVERHEAD
    }
}

/// An engine with memory in front.
pub struct Tiered {
    inner: Arc<dyn StorageEngine>,
    kept: Kept,
    memory: Counts,
    below: Counts,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

impl Counts {
    fn stats(&self, name: &'static str, bytes: Option<u64>) -> TierStats {
        let Self { hits, misses, errors } = self;
        TierStats {
            name,
            hits: hits.load(Relaxed),
            misses: misses.load(Relaxed),
            errors: errors.load(Relaxed),
            bytes,
        }
    }
}

impl Tiered {
    /// Keeps up to `bytes_max` bytes of envelopes in memory.
    pub fn new(inner: Arc<dyn StorageEngine>, bytes_max: u64) -> Self {
        let shape = |options: &mut OptionsBuilder| {
            // One shard: a share of a small bound would hold no envelope of a few hundred kilobytes.
            options.shards(1).estimated_items_capacity(256).weight_capacity(bytes_max).build()
        };
        let kept = match shape(&mut OptionsBuilder::new()) {
            Ok(options) => Cache::with_options(
                options,
                Bytes,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(256, bytes_max, Bytes),
        };
        Self { inner, kept, memory: Counts::default(), below: Counts::default() }
    }

    /// An envelope, from memory or from below.
    fn envelope(&self, key: &[u8]) -> Result<Option<Arc<Vec<u8>>>, StoreError> {
        match self.kept.get_value_or_guard(key, None) {
            GuardResult::Value(value) => {
                self.memory.hits.fetch_add(1, Relaxed);
                Ok(Some(value))
            }
            GuardResult::Guard(guard) => {
                self.memory.misses.fetch_add(1, Relaxed);
                let read = self.read_below(key)?.map(Arc::new);
                if let Some(value) = &read {
                    // Refused where a commit touched the key meanwhile: the value read is old then.
                    let _ = guard.insert(value.clone());
                }
                Ok(read)
            }
            GuardResult::Timeout => Ok(self.read_below(key)?.map(Arc::new)),
        }
    }

    fn read_below(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let read = self.inner.read(Table::Receipts, key);
        let count = match &read {
            Ok(Some(_)) => &self.below.hits,
            Ok(None) => &self.below.misses,
            Err(_) => &self.below.errors,
        };
        count.fetch_add(1, Relaxed);
        read
    }
}

impl StorageEngine for Tiered {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if table != Table::Receipts {
            return self.inner.read(table, key);
        }
        Ok(self.envelope(key)?.map(|value| value.to_vec()))
    }

    fn read_split(&self, table: Table, key: &[u8], split: Split<'_>) -> Result<Option<Parts>, StoreError> {
        if table != Table::Receipts {
            return self.inner.read_split(table, key, split);
        }
        Ok(self.envelope(key)?.map(|value| {
            let (first, rest) = value.split_at(split(&value).min(value.len()));
            (first.to_vec(), rest.to_vec())
        }))
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.inner.has(table, key)
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(table, from, to, limit)
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let of_receipts = changes.iter().filter(|((table, _), _)| *table == Table::Receipts);
        let touched: Vec<_> =
            of_receipts.map(|((_, key), value)| (key.clone(), value.clone().map(Arc::new))).collect();
        let outcome = self.inner.commit(changes, sync);
        for (key, value) in touched {
            match value {
                Some(value) if outcome.is_ok() => self.kept.insert(key, value),
                // Only the engine knows what a failed commit left.
                _ => drop(self.kept.remove(&key)),
            }
        }
        outcome
    }

    fn quarantine(&self, name: &str, bytes: &[u8], reason: &str) -> Result<(), StoreError> {
        self.inner.quarantine(name, bytes, reason)
    }

    fn damaged_bytes(&self) -> u64 {
        self.inner.damaged_bytes()
    }

    fn tiers(&self) -> Vec<TierStats> {
        let mut tiers = vec![self.memory.stats("memory", Some(self.kept.weight()))];
        let below = self.inner.tiers();
        // An engine without tiers is the disk, whose reads are counted here.
        match below.is_empty() {
            true => tiers.push(self.below.stats("disk", None)),
            false => tiers.extend(below),
        }
        tiers
    }
}
