//! A receipt store that asks the shared one where it has nothing, keeps what verifies, and shares what is put.
//!
//! The own store stays the truth of this node: places, pins, floors and marks are its alone. The shared one is asked only
//! for what would have to be proved. Where it does not answer, that is proved; it is asked again after a while.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, Kind, Statement, StatementId};
use reprise_store::ReceiptStore;
use reprise_store::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, Needed, NewEntry, PruneOutcome,
    PutOutcome, Stats, StoreError, Summary, TierStats,
};
use reprise_store::provenance::{Origin, Provenance};

use crate::floors::Floors;
use crate::objects::ObjectsError;
use crate::shared::{Fetched, Shared, SharedReceipt};

/// How long the shared store is left alone after it did not answer, at first and at most.
const REST: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// How many receipts may wait to be shared. One more is not shared from here.
const SHARING_MAX: usize = 64;

struct Sharing {
    receipt: Verified<Receipt>,
    kind: Kind,
    provenance: Provenance,
}

/// What is written to the shared store by and by.
enum Told {
    Share(Sharing),
    Pruned { floors: Arc<Floors>, pins: PinsDigest, floor: Checkpoint, condemned: Vec<StatementId> },
}

impl Told {
    fn write(self, to: &Shared) {
        match self {
            Self::Share(Sharing { receipt, kind, provenance }) => {
                if let Err(error) = to.publish(&receipt, kind, &provenance) {
                    tracing::warn!(statement = %receipt.id(), %error, "a receipt is not shared");
                }
            }
            Self::Pruned { floors, pins, floor, condemned } => {
                let announced = floors.announce(&pins, floor);
                if let Err(error) = announced.and_then(|()| floors.condemn(&pins, floor, &condemned)) {
                    tracing::warn!(%floor, %error, "what was pruned here stays among the shared receipts");
                }
            }
        }
    }
}

/// Until when the shared store is left alone.
#[derive(Default)]
struct Breaker {
    until: Option<Instant>,
    rest: Duration,
}

#[derive(Default)]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    errors: AtomicU64,
}

/// See the [module](self).
pub struct SharedTier {
    own: Arc<dyn ReceiptStore>,
    shared: Arc<Shared>,
    breaker: Mutex<Breaker>,
    counts: Counts,
    sharing: Sender<Told>,
    floors: Option<Pruning>,
}

/// What is told of this node's floors.
struct Pruning {
    floors: Arc<Floors>,
    /// Whether what is pruned here is condemned.
    condemns: bool,
}

impl SharedTier {
    /// In front of a store of one's own. A thread shares what is put.
    pub fn new(own: Arc<dyn ReceiptStore>, shared: Arc<Shared>) -> std::io::Result<Self> {
        let (sharing, waiting) = bounded::<Told>(SHARING_MAX);
        let to = shared.clone();
        thread::Builder::new()
            .name("share-receipts".into())
            .spawn(move || waiting.into_iter().for_each(|told| told.write(&to)))?;
        Ok(Self { own, shared, breaker: Mutex::default(), counts: Counts::default(), sharing, floors: None })
    }

    /// The same for a node that announces its floors, and condemns what it prunes where it is to.
    #[must_use]
    pub fn with_floors(mut self, floors: Arc<Floors>, condemns: bool) -> Self {
        self.floors = Some(Pruning { floors, condemns });
        self
    }

    /// What the shared store has, as far as it answers.
    fn ask(&self, id: &StatementId) -> Option<SharedReceipt> {
        let mut breaker = self.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        if breaker.until.is_some_and(|until| until > Instant::now()) {
            self.counts.errors.fetch_add(1, Relaxed);
            return None;
        }
        // Held while it is asked: a node has one thread that looks things up.
        match self.shared.fetch(id) {
            Ok(fetched) => {
                *breaker = Breaker::default();
                let found = match fetched {
                    Fetched::Receipt(found) => Some(*found),
                    Fetched::Absent | Fetched::Bad(_) => None,
                };
                let count = if found.is_some() { &self.counts.hits } else { &self.counts.misses };
                count.fetch_add(1, Relaxed);
                found
            }
            Err(error) => {
                self.counts.errors.fetch_add(1, Relaxed);
                breaker.rest = (breaker.rest * 2).clamp(REST.0, REST.1);
                breaker.until = Some(Instant::now() + breaker.rest);
                self.told(&error, breaker.rest);
                None
            }
        }
    }

    fn told(&self, error: &ObjectsError, rest: Duration) {
        tracing::warn!(%error, again_in_s = rest.as_secs(), "going on without shared receipts");
    }
}

impl ReceiptStore for SharedTier {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        let own = self.own.get(statement, claim)?;
        if matches!(own, Lookup::Hit(_)) {
            return Ok(own);
        }
        let Some(SharedReceipt { receipt, kind, provenance }) = self.ask(&statement.id()) else {
            return Ok(own);
        };
        if receipt.claim != *claim {
            return Err(StoreError::ForeignClaim { statement: statement.id() });
        }
        // Where it is used, whoever asked says next.
        self.own.put(NewEntry { receipt: receipt.clone(), kind, provenance, coordinates: vec![] })?;
        Ok(Lookup::Hit(receipt))
    }

    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.own.contains(id)
    }

    fn put(&self, entry: NewEntry) -> Result<PutOutcome, StoreError> {
        let sharing = of(&entry);
        let outcome = self.own.put(entry)?;
        share(&self.sharing, sharing);
        Ok(outcome)
    }

    fn submit(&self, entry: NewEntry, done: Completion) {
        let (sharing, to) = (of(&entry), self.sharing.clone());
        let stored = Box::new(move |outcome: Result<PutOutcome, StoreError>| {
            if outcome.is_ok() {
                share(&to, sharing);
            }
            done(outcome);
        });
        self.own.submit(entry, stored);
    }

    fn add_coordinates(
        &self,
        coordinates: &[(Coordinate, StatementId)],
    ) -> Result<CoordinateOutcome, StoreError> {
        self.own.add_coordinates(coordinates)
    }

    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        self.own.at(coordinate)
    }

    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.own.show(id)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.own.list(filter)
    }

    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        self.own.verify(id)
    }

    fn pin(&self, id: &StatementId, owner: &str) -> Result<(), StoreError> {
        self.own.pin(id, owner)
    }

    fn unpin(&self, id: &StatementId, owner: &str) -> Result<bool, StoreError> {
        self.own.unpin(id, owner)
    }

    fn remove(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.own.remove(id)
    }

    fn evict(&self, id: &StatementId, needed: &Needed) -> Result<bool, StoreError> {
        self.own.evict(id, needed)
    }

    fn protect(&self, pins: &PinsDigest, needed_from: [Checkpoint; Kind::COUNT]) {
        self.own.protect(pins, needed_from);
    }

    fn prune_below(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        // PRUNE SAFETY: the own store's alone. What is shared may be another node's, whose floor is lower: it is condemned
        // at most, and `Floors::prune` says when that is carried out.
        let outcome = self.own.prune_below(pins, floor)?;
        if let Some(Pruning { floors, condemns }) = &self.floors {
            let condemned = if *condemns { outcome.gone.clone() } else { vec![] };
            let told = Told::Pruned { floors: floors.clone(), pins: *pins, floor: floor.below, condemned };
            if self.sharing.try_send(told).is_err() {
                tracing::debug!(floor = %floor.below, "too much waits to be shared: what was pruned stays there");
            }
        }
        Ok(outcome)
    }

    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.own.prune_floor(pins)
    }

    fn announce(&self, pins: &PinsDigest, floor: Floor) {
        if let Some(Pruning { floors, .. }) = &self.floors
            && let Err(error) = floors.announce(pins, floor.below)
        {
            tracing::warn!(%error, "this node's floor is not announced yet: what it needs may be pruned");
        }
    }

    fn describe(&self, profile: &ProofProfile) -> Result<(), StoreError> {
        self.own.describe(profile)
    }

    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        self.own.profiles()
    }

    fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        self.own.revoke(profile)
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        Ok(Stats { tiers: self.tiers(), ..self.own.stats()? })
    }

    fn tiers(&self) -> Vec<TierStats> {
        let Counts { hits, misses, errors } = &self.counts;
        let (hits, misses, errors) = (hits.load(Relaxed), misses.load(Relaxed), errors.load(Relaxed));
        let mut tiers = self.own.tiers();
        tiers.push(TierStats { name: "shared", hits, misses, errors, bytes: None });
        tiers
    }
}

/// What is to be shared of an entry: what was proved here.
fn of(entry: &NewEntry) -> Option<Sharing> {
    let NewEntry { receipt, kind, provenance, .. } = entry;
    let proved = provenance.origin == Origin::Proved;
    proved.then(|| Sharing { receipt: receipt.clone(), kind: *kind, provenance: provenance.clone() })
}

fn share(to: &Sender<Told>, sharing: Option<Sharing>) {
    let Some(sharing) = sharing else { return };
    let id = sharing.receipt.id();
    if to.try_send(Told::Share(sharing)).is_err() {
        tracing::debug!(statement = %id, "too many receipts wait to be shared: this one is not");
    }
}
