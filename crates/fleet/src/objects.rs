//! The port: bytes by name, shared by everybody who is given the same place. An object store decides nothing; what its
//! bytes are worth is [`shared`](crate::shared)'s to say.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reprise_jobs::memory::{Clock, now_ms};

/// What an attempt to create an object found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Created {
    /// It is there now, by us. A store that cannot tell has replaced what was there.
    New,
    /// Something was there, and is still.
    Existed,
}

/// An object, as a listing has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub key: String,
    /// How long ago it was written.
    pub age: Duration,
}

/// Bytes by name.
pub trait Objects: Send + Sync {
    /// The bytes under a name; an error where they are more than that.
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError>;

    /// Writes an object unless there is one.
    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError>;

    /// Writes an object, whatever is there.
    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError>;

    /// Deletes an object, if it is there.
    fn delete(&self, key: &str) -> Result<(), ObjectsError>;

    /// The objects whose names begin so, in the order of their names, those that come after a name, at most so many. One that was
    /// written just now may be missing.
    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError>;

    /// Where they are, for people.
    fn place(&self) -> String;
}

/// Why an object store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ObjectsError {
    /// It does not answer, or says that it cannot now. Asking again is safe.
    #[error("{at}: the shared receipts cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        at: String,
        /// In whose words.
        reason: String,
    },
    /// It answered, and refused.
    #[error("{at}: the shared receipts cannot be read or written: {reason}")]
    Refused {
        /// Where.
        at: String,
        /// In its words.
        reason: String,
    },
    /// There is more under the name than was asked for.
    #[error("{at}: {key} has {bytes} bytes, over the limit of {bytes_max}")]
    TooLarge {
        /// Where.
        at: String,
        /// Under which name.
        key: String,
        /// Its size.
        bytes: u64,
        /// The limit.
        bytes_max: u64,
    },
    /// What it was given is no address of an object store.
    #[error("{at}: no address of shared receipts: {reason}")]
    Address {
        /// What was given.
        at: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ObjectsError {
    /// Whether the same request can succeed later without anyone mending something.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }
}

type Kept = BTreeMap<String, (Vec<u8>, u64)>;

/// Objects in memory; for tests, and for a node and workers in one process. Clones share them.
#[derive(Clone)]
pub struct MemoryObjects {
    kept: Arc<Mutex<Kept>>,
    clock: Clock,
}

impl Default for MemoryObjects {
    fn default() -> Self {
        Self::with_clock(Arc::new(now_ms))
    }
}

impl MemoryObjects {
    /// Over a clock of the caller's.
    pub fn with_clock(clock: Clock) -> Self {
        Self { kept: Arc::default(), clock }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Objects for MemoryObjects {
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        let found = self.kept().get(key).map(|(bytes, _)| bytes.clone());
        match found {
            Some(found) if found.len() as u64 > bytes_max => {
                let bytes = found.len() as u64;
                Err(ObjectsError::TooLarge { at: self.place(), key: key.into(), bytes, bytes_max })
            }
            found => Ok(found),
        }
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError> {
        let mut kept = self.kept();
        if kept.contains_key(key) {
            return Ok(Created::Existed);
        }
        kept.insert(key.into(), (bytes, (self.clock)()));
        Ok(Created::New)
    }

    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        self.kept().insert(key.into(), (bytes, (self.clock)()));
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        self.kept().remove(key);
        Ok(())
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError> {
        let now_ms = (self.clock)();
        let kept = self.kept();
        let sought = |key: &str| key.starts_with(prefix) && key > after;
        let found = kept.iter().filter(|(key, _)| sought(key)).take(limit);
        let listed = |(key, (_, at_ms)): (&String, &(Vec<u8>, u64))| Listed {
            key: key.clone(),
            age: Duration::from_millis(now_ms.saturating_sub(*at_ms)),
        };
        Ok(found.map(listed).collect())
    }

    fn place(&self) -> String {
        "memory".into()
    }
}
