//! Caches: one key design and one cap, over the requests of a chain.
//!
//! What is asked for is what the planner asks for: the aggregates of unsettled bundles; the batches of a
//! missing aggregate, and those not bundled yet; the transactions of a missing batch. A request is a statement
//! at a place that was not wanted a moment ago. It is answered, or the statement is proved.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use reprise_model::statement::Kind;
use serde::Serialize;

use super::chain::{Batch, Name, name};
use super::follower::{Bundle, Follower};

/// The key of a receipt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// None: it is dropped when its block is settled or leaves the chain, or the node restarts.
    None,
    /// Where it is used: height, block, kind, and merge index, or span and sequencing commitment.
    Coordinate,
    /// What it proves.
    Statement,
}

impl Design {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::None, Self::Coordinate, Self::Statement];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "no cache",
            Self::Coordinate => "coordinate",
            Self::Statement => "statement",
        }
    }
}

/// The time of proofs, and the size of their receipts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Costs {
    /// Milliseconds to prove a transaction.
    pub transaction_ms: u64,
    /// Milliseconds to prove a batch or an aggregate, before its inner proofs.
    pub outer_ms: u64,
    /// Milliseconds more for each of these.
    pub inner_ms: u64,
    /// Bytes of a receipt, by kind.
    pub bytes: [u64; 3],
}

impl Default for Costs {
    /// Miden 0.36 on two cores.
    fn default() -> Self {
        Self { transaction_ms: 300, outer_ms: 2_200, inner_ms: 7_400, bytes: [66_000, 117_000, 117_000] }
    }
}

impl Costs {
    fn of(&self, kind: Kind, inner: usize) -> u64 {
        match kind {
            Kind::Transaction => self.transaction_ms,
            Kind::Batch | Kind::Aggregate => self.outer_ms + self.inner_ms * inner as u64,
        }
    }
}

/// The figures of a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Figures {
    /// Requests answered, by kind.
    pub hits: [u64; 3],
    /// Proofs, by kind.
    pub proved: [u64; 3],
    /// Of the answered batches, those that stayed wanted and were read again for their aggregate. They are no hits.
    pub reread: u64,
    /// Milliseconds of proving.
    pub spent_ms: u64,
    /// Bytes of receipts at most.
    pub peak_bytes: u64,
    /// Receipts evicted because the cache was full.
    pub evicted: u64,
}

impl Figures {
    /// Proofs, over all kinds.
    pub fn prove_calls(&self) -> u64 {
        self.proved.iter().sum()
    }

    /// Requests that were answered, in parts of one.
    pub fn hit_rate(&self) -> f64 {
        let hits: u64 = self.hits.iter().sum();
        hits as f64 / (hits + self.prove_calls()).max(1) as f64
    }
}

/// A stored receipt, in the order of eviction: as in [`reprise_store::gc`], the cheapest to prove again
/// per byte first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Worth {
    took_ms: u64,
    bytes: u64,
    key: Name,
}

impl Ord for Worth {
    fn cmp(&self, other: &Self) -> Ordering {
        let per_byte = |a: &Self, b: &Self| u128::from(a.took_ms) * u128::from(b.bytes);
        per_byte(self, other).cmp(&per_byte(other, self)).then(self.key.cmp(&other.key))
    }
}

impl PartialOrd for Worth {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    worth: Worth,
    /// The highest checkpoint at which it is used.
    last: u64,
}

/// A statement, wanted at a place.
#[derive(Debug, Clone, Copy)]
struct Request {
    kind: Kind,
    key: Name,
    height: u64,
    block: Name,
    /// How many proofs its own relies on.
    inner: usize,
}

/// A cache.
#[derive(Debug)]
pub struct Cache {
    design: Design,
    /// The cap in bytes. What an unsettled bundle may need stays beyond it.
    bytes_max: Option<u64>,
    costs: Costs,
    entries: HashMap<Name, Entry>,
    /// The keys by [`Entry::last`]; one that has another by now is out of date.
    by_last: BTreeMap<u64, Vec<Name>>,
    /// What may be evicted.
    free: BTreeSet<Worth>,
    /// Everything that is last used below this was put among the free.
    freed_below: u64,
    /// Without a cache: what was proved for a block, by its height and name.
    of_block: BTreeMap<(u64, Name), Vec<Name>>,
    /// The coordinates wanted after the last event.
    wanted: HashSet<Name>,
    bytes: u64,
    figures: Figures,
}

impl Cache {
    /// An empty one.
    pub fn new(design: Design, bytes_max: Option<u64>, costs: Costs) -> Self {
        Self {
            design,
            bytes_max,
            costs,
            entries: HashMap::new(),
            by_last: BTreeMap::new(),
            free: BTreeSet::new(),
            freed_below: 0,
            of_block: BTreeMap::new(),
            wanted: HashSet::new(),
            bytes: 0,
            figures: Figures::default(),
        }
    }

    /// Its design and cap.
    pub fn kind(&self) -> (Design, Option<u64>) {
        (self.design, self.bytes_max)
    }

    /// Its figures so far.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    /// The node restarts.
    pub fn restart(&mut self) {
        self.wanted.clear();
        if self.design == Design::None {
            self.entries.clear();
            self.by_last.clear();
            self.of_block.clear();
            self.bytes = 0;
        }
    }

    /// Answers or proves everything that is wanted, after `left` left the chain.
    pub fn serve(&mut self, follower: &Follower, left: &[Arc<Batch>]) {
        self.prune(follower.floor());
        if self.design == Design::None {
            left.iter().for_each(|batch| self.drop_receipts(batch));
        }
        let before = std::mem::take(&mut self.wanted);
        for bundle in follower.bundles() {
            if !before.contains(&bundle.place) {
                self.aggregate(bundle, &before);
            }
            self.wanted.insert(bundle.place);
        }
        for batch in follower.open() {
            let place = batch.place;
            if !before.contains(&place) {
                self.batch(batch);
            }
            self.wanted.insert(place);
        }
        let without = self.design == Design::None;
        if !without {
            self.figures.peak_bytes = self.figures.peak_bytes.max(self.bytes);
        }
        if let Some(bytes_max) = if without { Some(0) } else { self.bytes_max } {
            let evicted = self.evict(bytes_max, follower.first_unsettled());
            self.figures.evicted += if without { 0 } else { evicted };
        }
    }

    fn aggregate(&mut self, bundle: &Bundle, before: &HashSet<Name>) {
        let key = if self.design == Design::Statement { bundle.statement } else { bundle.place };
        let block = bundle.batches.last().map_or(0, |last| last.block);
        let inner = bundle.batches.len();
        let request = Request { kind: Kind::Aggregate, key, height: bundle.end, block, inner };
        if self.finds(request) {
            return;
        }
        for batch in &bundle.batches {
            match before.contains(&batch.place) {
                true => self.figures.reread += 1,
                false => self.batch(batch),
            }
        }
        self.prove(request);
    }

    fn batch(&mut self, batch: &Batch) {
        let statement = self.design == Design::Statement;
        let key = if statement { batch.statement } else { batch.place };
        let (block, height, inner) = (batch.block, batch.height, batch.transactions.len());
        let request = Request { kind: Kind::Batch, key, height, block, inner };
        if self.finds(request) {
            return;
        }
        for transaction in &batch.transactions {
            let place = || name("place of a transaction", &[block, transaction.merge_index.into()]);
            let key = if statement { transaction.statement } else { place() };
            let request = Request { kind: Kind::Transaction, key, height, block, inner: 0 };
            if !self.finds(request) {
                self.prove(request);
            }
        }
        self.prove(request);
    }

    /// Whether the request is answered; then the receipt is used at one more place.
    fn finds(&mut self, request: Request) -> bool {
        let Some(entry) = self.entries.get_mut(&request.key) else { return false };
        self.figures.hits[request.kind as usize] += 1;
        if entry.last < request.height {
            entry.last = request.height;
            self.free.remove(&entry.worth);
            self.by_last.entry(request.height).or_default().push(request.key);
        }
        true
    }

    fn prove(&mut self, Request { kind, key, height, block, inner }: Request) {
        let (took_ms, bytes) = (self.costs.of(kind, inner), self.costs.bytes[kind as usize]);
        self.figures.proved[kind as usize] += 1;
        self.figures.spent_ms += took_ms;
        let entry = Entry { worth: Worth { took_ms, bytes, key }, last: height };
        if self.entries.insert(key, entry).is_none() {
            self.bytes += bytes;
        }
        self.by_last.entry(height).or_default().push(key);
        if height < self.freed_below {
            self.free.insert(entry.worth);
        }
        if self.design == Design::None {
            self.of_block.entry((height, block)).or_default().push(key);
        }
    }

    fn remove(&mut self, key: Name) {
        if let Some(entry) = self.entries.remove(&key) {
            self.bytes -= entry.worth.bytes;
            self.free.remove(&entry.worth);
        }
    }

    /// Without a cache: the block left the chain.
    fn drop_receipts(&mut self, batch: &Batch) {
        for key in self.of_block.remove(&(batch.height, batch.block)).unwrap_or_default() {
            self.remove(key);
        }
    }

    /// Prunes what is used only below the floor.
    fn prune(&mut self, floor: u64) {
        while let Some(lowest) = self.of_block.first_entry().filter(|lowest| lowest.key().0 < floor) {
            lowest.remove();
        }
        while let Some(lowest) = self.by_last.first_entry().filter(|lowest| *lowest.key() < floor) {
            let (height, keys) = lowest.remove_entry();
            for key in keys {
                if self.entries.get(&key).is_some_and(|entry| entry.last == height) {
                    self.remove(key);
                }
            }
        }
    }

    /// Evicts until what is left fits, or is all live: used at a height that is not settled, or above it. How many.
    fn evict(&mut self, bytes_max: u64, live_from: u64) -> u64 {
        let mut evicted = 0;
        if live_from < self.freed_below {
            // A reorg undid settlements. What is among the free by mistake is found out when its turn comes.
            self.freed_below = live_from;
        }
        for (height, keys) in self.by_last.range(self.freed_below..live_from) {
            let entries = keys.iter().filter_map(|key| self.entries.get(key));
            self.free.extend(entries.filter(|entry| entry.last == *height).map(|entry| entry.worth));
        }
        self.freed_below = live_from;
        while self.bytes > bytes_max
            && let Some(worth) = self.free.pop_first()
        {
            let last = self.entries.get(&worth.key).map(|entry| entry.last);
            if last.is_some_and(|last| last < live_from) {
                self.remove(worth.key);
                evicted += 1;
            }
        }
        evicted
    }
}

#[cfg(test)]
mod tests {
    use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
    use reprise_model::digest::{BlockHash, ClaimDigest, PinsDigest, ProfileId, ProgramId, StatementId};
    use reprise_model::profile::SealKind;
    use reprise_model::statement::Statement;
    use reprise_store::gc::{self, Budget};
    use reprise_store::port::{Needed, Summary};
    use reprise_store::provenance::{Origin, Provenance};

    use super::*;
    use reprise_node::rng::Rng;

    fn summary(worth: &Worth) -> Summary {
        let (profile, program) = (ProfileId([0; 32]), ProgramId([0; 32]));
        let mut id = [0; 32];
        id[..16].copy_from_slice(&worth.key.to_be_bytes());
        let coordinate = Coordinate {
            checkpoint: Checkpoint(1),
            block_hash: BlockHash([0; 32]),
            position: Position::Batch { first: 0 },
            program,
            profile,
            pins: PinsDigest([0; 32]),
        };
        Summary {
            id: StatementId(id),
            kind: Kind::Batch,
            statement: Statement { profile, claim: ClaimDigest([0; 32]) },
            program,
            seal_kind: SealKind::Fake,
            bytes: worth.bytes,
            provenance: Provenance {
                origin: Origin::Proved,
                took_ms: worth.took_ms,
                ..Provenance::default()
            },
            stored_at_ms: 0,
            verified_at_ms: None,
            coordinates: vec![coordinate],
            pins: vec![],
        }
    }

    #[test]
    fn what_goes_first_is_what_the_store_evicts_first() {
        let mut rng = Rng::of(1, "eviction");
        // Few values, so that many are worth the same.
        let worths = (0..500).map(|number| Worth {
            took_ms: 100 * rng.among(0..6),
            bytes: 1_000 * (1 + rng.among(0..4)),
            key: name("key", &[number]),
        });
        let worths: BTreeSet<Worth> = worths.collect();
        let summaries: Vec<Summary> = worths.iter().map(summary).collect();
        let needed = Needed::from(PinsDigest([0; 32]), [Checkpoint(2); 3]);
        let budget = Budget { bytes_max: 0, needed };
        let planned = gc::plan(&summaries, &budget).evictions;
        let keys: Vec<StatementId> = summaries.iter().map(|summary| summary.id).collect();
        assert_eq!(planned.iter().map(|eviction| eviction.id).collect::<Vec<_>>(), keys);
    }
}
