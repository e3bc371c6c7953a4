//! The receipt store beside an engine that is used directly, in one run: `just benchmark`.
//!
//! The direct use is that of a store which trusts its engine: no checksums and no index of its own; a receipt's value says
//! where it is used, so that pruning reads every value. The engine is fjall: its durable put costs one flush, as RocksDB's
//! does, and it builds without C++. Wall times depend on the machine.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use reprise_store::port::{Floor, NewEntry};
use reprise_store::sample::{self, Accepting, PINS, SEAL_LEN};
use reprise_store::{Durability, Options, ReceiptStore, Store};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SMALL: usize = 2_000;

fn entry(n: u64, seal_len: usize) -> Outcome<NewEntry> {
    Ok(sample::entry(n, seal_len)?)
}

/// A store that is measured.
trait Side {
    fn put(&self, entry: &NewEntry) -> Outcome;
    fn get(&self, entry: &NewEntry) -> Outcome<bool>;
    /// Deletes the receipts that are used only below the checkpoint. Returns how many.
    fn prune(&self, below: u64) -> Outcome<u64>;
}

struct Ours(Store);

impl Ours {
    fn open(dir: &Path, durability: Durability, memory_bytes_max: u64) -> Outcome<Self> {
        let options = Options { durability, memory_bytes_max, ..Options::default() };
        Ok(Self(Store::open(dir, Arc::new(Accepting), options)?))
    }
}

impl Side for Ours {
    fn put(&self, entry: &NewEntry) -> Outcome {
        self.0.put(entry.clone())?;
        Ok(())
    }

    fn get(&self, entry: &NewEntry) -> Outcome<bool> {
        Ok(self.0.get(&entry.receipt.statement, &entry.receipt.claim)?.hit().is_some())
    }

    fn prune(&self, below: u64) -> Outcome<u64> {
        Ok(self.0.prune_below(&PINS, Floor::at(below))?.receipts)
    }
}

struct Plain {
    database: Database,
    receipts: Keyspace,
    mode: PersistMode,
}

impl Plain {
    fn open(dir: &Path, mode: PersistMode) -> Outcome<Self> {
        let database = Database::builder(dir).worker_threads(1).open()?;
        let apart = KvSeparationOptions::default().separation_threshold(4096);
        let options = || KeyspaceCreateOptions::default().with_kv_separation(Some(apart.clone()));
        let receipts = database.keyspace("receipts", options)?;
        Ok(Self { database, receipts, mode })
    }
}

impl Side for Plain {
    fn put(&self, entry: &NewEntry) -> Outcome {
        let checkpoint = entry.coordinates[0].checkpoint.0;
        let value = [&checkpoint.to_le_bytes(), &entry.receipt.seal[..]].concat();
        let mut batch = self.database.batch().durability(Some(self.mode));
        batch.insert(&self.receipts, entry.receipt.id().0, value);
        Ok(batch.commit()?)
    }

    fn get(&self, entry: &NewEntry) -> Outcome<bool> {
        let value = self.receipts.get(entry.receipt.id().0)?;
        // A copy, because a caller of the store gets an owned receipt too.
        Ok(value.map(|value| value[8..].to_vec()).is_some_and(|seal| seal.len() == entry.receipt.seal.len()))
    }

    fn prune(&self, below: u64) -> Outcome<u64> {
        let mut batch = self.database.batch().durability(Some(self.mode));
        let mut pruned = 0;
        for item in self.receipts.iter() {
            let (key, value) = item.into_inner()?;
            let checkpoint = value.first_chunk().map_or(u64::MAX, |bytes| u64::from_le_bytes(*bytes));
            if checkpoint < below {
                batch.remove(&self.receipts, key);
                pruned += 1;
            }
        }
        batch.commit()?;
        Ok(pruned)
    }
}

/// The median of the times.
fn median<T>(over: &[T], mut each: impl FnMut(&T) -> Outcome) -> Outcome<Duration> {
    let mut times = Vec::with_capacity(over.len());
    for one in over {
        let start = Instant::now();
        each(one)?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok(times[times.len() / 2])
}

fn sides(dir: &Path, memory: u64) -> Outcome<Vec<(&'static str, Box<dyn Side>)>> {
    Ok(vec![
        ("this store, group", Box::new(Ours::open(&dir.join("group"), Durability::Group, memory)?)),
        ("this store, none", Box::new(Ours::open(&dir.join("none"), Durability::None, memory)?)),
        ("plain, synced", Box::new(Plain::open(&dir.join("synced"), PersistMode::SyncAll)?)),
        ("plain, unsynced", Box::new(Plain::open(&dir.join("unsynced"), PersistMode::Buffer)?)),
    ])
}

fn main() -> Outcome {
    let dir = tempfile::tempdir()?;
    let large: Vec<_> = (0..64).map(|n| entry(n, SEAL_LEN)).collect::<Outcome<_>>()?;
    println!("217 KiB, medians of 64 puts and of 640 gets");
    for (name, side) in sides(&dir.path().join("large"), 0)? {
        let put = median(&large, |entry| side.put(entry))?;
        let many: Vec<_> = (0..640).map(|n| &large[n % 64]).collect();
        let get = median(&many, |entry| if side.get(entry)? { Ok(()) } else { Err("it is gone".into()) })?;
        println!("  {name:<20} put {put:>12?}   get {get:>12?}");
    }
    for count in [2_000, 20_000] {
        println!("2 KB, {count} receipts, of which 100 are pruned");
        let small: Vec<_> = (0..count).map(|n| entry(n, SMALL)).collect::<Outcome<_>>()?;
        for (name, side) in sides(&dir.path().join(count.to_string()), 0)? {
            if name.ends_with("group") || name.ends_with(", synced") {
                // Only the prune is measured here: the unsynced sides fill faster.
                continue;
            }
            for entry in &small {
                side.put(entry)?;
            }
            let start = Instant::now();
            let pruned = side.prune(100)?;
            let took = start.elapsed();
            assert_eq!(pruned, 100, "{name}");
            println!("  {name:<20} {took:>12?}");
        }
    }
    Ok(())
}
