//! A store that another process may write, read as it was at one moment ([`crate::read_only`]), and read anew when somebody asks for that.
//!
//! What a pipeline would write into it is taken and dropped, so a pipeline can be driven over a directory that belongs to another
//! process, or to nobody: nothing of that directory changes.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId};
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::Verifier;
use reprise_model::statement::{Claim, Kind, Statement, StatementId};

use crate::directory::OpenError;
use crate::options::Options;
use crate::port::{
    Completion, CoordinateOutcome, EntryDetails, Filter, Floor, Lookup, Needed, NewEntry, PruneOutcome,
    PutOutcome, ReceiptStore, Stats, StoreError, Summary, TierStats,
};
use crate::store::Store;

/// See the [module](self).
pub struct Beside {
    dir: PathBuf,
    verifier: Arc<dyn Verifier>,
    options: Options,
    at: RwLock<Arc<Store>>,
}

impl std::fmt::Debug for Beside {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Beside").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl Beside {
    /// The store in a directory, as it is at this moment.
    pub fn open(dir: &Path, verifier: Arc<dyn Verifier>, options: Options) -> Result<Self, OpenError> {
        let at = Store::open_read_only(dir, verifier.clone(), options.clone())?;
        Ok(Self { dir: dir.into(), verifier, options, at: RwLock::new(Arc::new(at)) })
    }

    /// Reads it anew, as it is now. What was read before stays for whoever is reading it.
    pub fn renew(&self) -> Result<(), OpenError> {
        let now = Arc::new(Store::open_read_only(&self.dir, self.verifier.clone(), self.options.clone())?);
        *self.at.write().unwrap_or_else(PoisonError::into_inner) = now;
        Ok(())
    }

    fn now(&self) -> Arc<Store> {
        self.at.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn read_only<T>(&self) -> Result<T, StoreError> {
        Err(StoreError::ReadOnly { path: self.dir.clone() })
    }
}

impl ReceiptStore for Beside {
    fn get(&self, statement: &Statement, claim: &Claim) -> Result<Lookup, StoreError> {
        self.now().get(statement, claim)
    }

    fn contains(&self, id: &StatementId) -> Result<bool, StoreError> {
        self.now().contains(id)
    }

    /// Nothing is proved over it, so there is nothing to put: a put is a mistake of the caller's.
    fn put(&self, _: NewEntry) -> Result<PutOutcome, StoreError> {
        self.read_only()
    }

    fn submit(&self, _: NewEntry, done: Completion) {
        done(self.read_only());
    }

    fn add_coordinates(
        &self,
        coordinates: &[(Coordinate, StatementId)],
    ) -> Result<CoordinateOutcome, StoreError> {
        let (store, mut outcome) = (self.now(), CoordinateOutcome::default());
        for (_, id) in coordinates {
            match store.contains(id)? {
                true => outcome.known += 1,
                false => outcome.not_stored += 1,
            }
        }
        Ok(outcome)
    }

    fn at(&self, coordinate: &Coordinate) -> Result<Vec<StatementId>, StoreError> {
        self.now().at(coordinate)
    }

    fn show(&self, id: &StatementId) -> Result<Option<EntryDetails>, StoreError> {
        self.now().show(id)
    }

    fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.now().list(filter)
    }

    fn verify(&self, id: &StatementId) -> Result<Lookup, StoreError> {
        self.now().verify(id)
    }

    fn pin(&self, _: &StatementId, _: &str) -> Result<(), StoreError> {
        self.read_only()
    }

    fn unpin(&self, _: &StatementId, _: &str) -> Result<bool, StoreError> {
        self.read_only()
    }

    fn remove(&self, _: &StatementId) -> Result<bool, StoreError> {
        self.read_only()
    }

    fn evict(&self, _: &StatementId, _: &Needed) -> Result<bool, StoreError> {
        self.read_only()
    }

    fn protect(&self, _: &PinsDigest, _: [Checkpoint; Kind::COUNT]) {}

    fn prune_below(&self, _: &PinsDigest, _: Floor) -> Result<PruneOutcome, StoreError> {
        Ok(PruneOutcome::default())
    }

    fn prune_floor(&self, pins: &PinsDigest) -> Result<Floor, StoreError> {
        self.now().prune_floor(pins)
    }

    /// It wants nothing.
    fn announce(&self, _: &PinsDigest, _: Floor) {}

    fn describe(&self, _: &ProofProfile) -> Result<(), StoreError> {
        Ok(())
    }

    fn profiles(&self) -> Result<Vec<ProofProfile>, StoreError> {
        self.now().profiles()
    }

    fn revoke(&self, _: &ProfileId) -> Result<u64, StoreError> {
        self.read_only()
    }

    fn stats(&self) -> Result<Stats, StoreError> {
        self.now().stats()
    }

    fn tiers(&self) -> Vec<TierStats> {
        self.now().tiers()
    }
}
