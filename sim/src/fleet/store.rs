//! An object store that fails as object stores do: it is away, its answer is lost after the write, half of an upload is
//! there, a listing does not show yet what is new.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reprise_fleet::objects::{Created, Listed, MemoryObjects, Objects, ObjectsError};
use reprise_node::rng::Rng;

use crate::fleet::database::Time;

/// The largest object that anybody reads here.
const BYTES_MAX: u64 = 1 << 20;

struct Troubles {
    rng: Rng,
    away_until: u64,
    tears_until: u64,
    cut_until: BTreeMap<usize, u64>,
    /// When a name was used first.
    since: BTreeMap<String, u64>,
    /// What was deleted, and by whom, since that was looked at.
    deleted: Vec<(String, usize)>,
}

/// The store.
pub(crate) struct ObjectServer {
    kept: MemoryObjects,
    time: Time,
    lag_ms: u64,
    troubles: Mutex<Troubles>,
}

impl ObjectServer {
    pub(crate) fn new(seed: u64, time: Time, lag_ms: u64) -> Arc<Self> {
        let clock = time.clone();
        let kept = MemoryObjects::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
        let troubles = Troubles {
            rng: Rng::of(seed, "objects"),
            away_until: 0,
            tears_until: 0,
            cut_until: BTreeMap::new(),
            since: BTreeMap::new(),
            deleted: vec![],
        };
        Arc::new(Self { kept, time, lag_ms, troubles: Mutex::new(troubles) })
    }

    fn troubles(&self) -> MutexGuard<'_, Troubles> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        self.time.load(Ordering::Relaxed)
    }

    /// As a client sees it.
    pub(crate) fn link(self: &Arc<Self>, client: usize) -> Arc<dyn Objects> {
        Arc::new(Link { server: self.clone(), client })
    }

    pub(crate) fn away_until(&self, until: u64) {
        self.troubles().away_until = until;
    }

    /// Uploads may end half way until then.
    pub(crate) fn tears_until(&self, until: u64) {
        self.troubles().tears_until = until;
    }

    pub(crate) fn cut_until(&self, client: usize, until: u64) {
        self.troubles().cut_until.insert(client, until);
    }

    /// Whether a client's requests may fail now.
    pub(crate) fn troubles_now(&self, client: usize) -> bool {
        let (now, troubles) = (self.now(), self.troubles());
        let cut = troubles.cut_until.get(&client).is_some_and(|until| *until > now);
        troubles.away_until > now || troubles.tears_until > now || cut
    }

    /// What is under a name, whoever can reach it.
    pub(crate) fn peek(&self, key: &str) -> Option<Vec<u8>> {
        self.kept.read(key, BYTES_MAX).ok()?
    }

    /// What was deleted since this was asked last, and by which client.
    pub(crate) fn deleted(&self) -> Vec<(String, usize)> {
        std::mem::take(&mut self.troubles().deleted)
    }
}

/// The store, as one client sees it.
struct Link {
    server: Arc<ObjectServer>,
    client: usize,
}

impl Link {
    fn gone(&self, reason: &str) -> ObjectsError {
        ObjectsError::Unreachable { at: self.place(), reason: reason.into() }
    }

    fn reach(&self) -> Result<&MemoryObjects, ObjectsError> {
        let (now, troubles) = (self.server.now(), self.server.troubles());
        if troubles.away_until > now {
            return Err(self.gone("away"));
        }
        match troubles.cut_until.get(&self.client) {
            Some(until) if *until > now => Err(self.gone("cut off")),
            _ => Ok(&self.server.kept),
        }
    }

    /// Writes what gets through, and says whether that is all.
    fn upload<R>(
        &self,
        key: &str,
        bytes: Vec<u8>,
        write: impl Fn(&MemoryObjects, Vec<u8>) -> Result<R, ObjectsError>,
    ) -> Result<R, ObjectsError> {
        let kept = self.reach()?;
        let now = self.server.now();
        let (tears, half) = {
            let mut troubles = self.server.troubles();
            troubles.since.entry(key.into()).or_insert(now);
            let tears = troubles.tears_until > now && troubles.rng.percent(40);
            (tears, troubles.rng.percent(50))
        };
        match (tears, half) {
            (false, _) => write(kept, bytes),
            // All of it is there, and nobody hears of that.
            (true, false) => write(kept, bytes).and(Err(self.gone("the answer was lost"))),
            (true, true) => {
                let some = bytes.len() / 2;
                write(kept, bytes.into_iter().take(some).collect())
                    .and(Err(self.gone("the upload broke off")))
            }
        }
    }
}

impl Objects for Link {
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        self.reach()?.read(key, bytes_max)
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError> {
        self.upload(key, bytes, |kept, bytes| kept.create(key, bytes))
    }

    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        self.upload(key, bytes, |kept, bytes| kept.replace(key, bytes))
    }

    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        self.reach()?.delete(key)?;
        self.server.troubles().deleted.push((key.into(), self.client));
        Ok(())
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError> {
        let mut listed = self.reach()?.list(prefix, after, limit)?;
        let (now, troubles) = (self.server.now(), self.server.troubles());
        let shown = |key: &str| troubles.since.get(key).is_none_or(|since| since + self.server.lag_ms <= now);
        listed.retain(|listed| shown(&listed.key));
        Ok(listed)
    }

    fn place(&self) -> String {
        "simulated".into()
    }
}
