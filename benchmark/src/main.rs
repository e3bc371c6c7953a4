//! The receipt store beside an engine that is used plainly, in one run: `just benchmark`.
//!
//! The plain use is that of a store which trusts its engine: no checksum of its own, no index; a receipt's value
//! says where it is used, so that pruning reads every value. The engine is fjall, whose durable put costs one
//! flush, as RocksDB's does, and which builds without C++. Wall times are of the machine they ran on.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, ClaimDigest, PinsDigest, ProfileId, ProgramId};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, Statement};
use reprise_store::port::{Floor, NewEntry};
use reprise_store::provenance::Provenance;
use reprise_store::{Durability, Options, ReceiptStore, Store};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// A RISC Zero receipt of one segment.
const LARGE: usize = 217 << 10;
const SMALL: usize = 2_000;

struct Accepting;

impl Verifier for Accepting {
    fn verify(&self, _: &Receipt) -> Result<(), VerifyError> {
        Ok(())
    }
}

fn entry(n: u64, seal_len: usize) -> Outcome<NewEntry> {
    let claim = Claim { program: ProgramId([1; 32]), journal: n.to_le_bytes().to_vec() };
    let digest = ClaimDigest(*blake3::hash(&claim.journal).as_bytes());
    let statement = Statement { profile: ProfileId([2; 32]), claim: digest };
    let mut seal = vec![0; seal_len];
    blake3::Hasher::new_keyed(&digest.0).finalize_xof().fill(&mut seal);
    let coordinate = Coordinate {
        checkpoint: Checkpoint(n),
        block_hash: BlockHash(digest.0),
        position: Position::Batch { first: 0 },
        program: claim.program,
        profile: statement.profile,
        pins: PinsDigest([3; 32]),
    };
    let receipt = Receipt { statement, claim, seal_kind: SealKind::Succinct, seal };
    Ok(NewEntry {
        receipt: Verified::check(receipt, &Accepting)?,
        kind: Kind::Batch,
        provenance: Provenance::default(),
        coordinates: vec![coordinate],
    })
}

/// What is measured.
trait Side {
    fn put(&self, entry: &NewEntry) -> Outcome;
    fn get(&self, entry: &NewEntry) -> Outcome<bool>;
    /// Deletes what is used below the checkpoint only; how many.
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
        Ok(self.0.prune_below(&PinsDigest([3; 32]), Floor::at(below))?.receipts)
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
        // A receipt of one's own, as a caller wants it.
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

/// The median of what each takes.
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
    let large: Vec<_> = (0..64).map(|n| entry(n, LARGE)).collect::<Outcome<_>>()?;
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
                // Filling it is not what is measured.
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
