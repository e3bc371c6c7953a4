//! [`Store`]: the port of `reprise-fleet`, over the crate `object_store`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use reprise_fleet::objects::{Created, Listed, Objects, ObjectsError};
use tokio::runtime::{Builder, Runtime};

use crate::address::{self, Place};

/// Objects in a place.
pub struct Store {
    place: Place,
    /// Whether the store has said that it cannot create where there is nothing.
    cannot_create: AtomicBool,
    /// Taken when this is dropped.
    runtime: Option<Runtime>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("at", &self.place.shown).finish_non_exhaustive()
    }
}

impl Store {
    /// At `s3://BUCKET/PREFIX` or in a directory, which is made where it is missing.
    pub fn open(url: &str) -> Result<Self, ObjectsError> {
        let variables = std::env::vars_os();
        let variables =
            variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::open_with(url, variables)
    }

    /// The same, with these variables instead of the process's.
    pub fn open_with(
        url: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ObjectsError> {
        Self::in_place(address::open(url, variables)?)
    }

    /// In a store of the caller's.
    pub fn over(store: Arc<dyn ObjectStore>) -> Result<Self, ObjectsError> {
        let shown = store.to_string();
        Self::in_place(Place { store, prefix: Path::default(), shown, is_ordered: false })
    }

    fn in_place(place: Place) -> Result<Self, ObjectsError> {
        let runtime =
            Builder::new_multi_thread().worker_threads(1).thread_name("objects").enable_all().build();
        let refused = |error: std::io::Error| ObjectsError::Refused {
            at: place.shown.clone(),
            reason: format!("no thread for its connections: {error}"),
        };
        let runtime = Some(runtime.map_err(refused)?);
        Ok(Self { place, cannot_create: AtomicBool::new(false), runtime })
    }

    fn path(&self, key: &str) -> Result<Path, ObjectsError> {
        let whole = format!("{}/{key}", self.place.prefix);
        Path::parse(whole.trim_matches('/')).map_err(|error| self.refused(error.to_string()))
    }

    fn wait<R>(&self, what: impl Future<Output = Result<R, Error>>) -> Result<R, Error> {
        match &self.runtime {
            Some(runtime) => runtime.block_on(what),
            None => Err(Error::NotImplemented {
                operation: "a request".into(),
                implementer: "a closed store".into(),
            }),
        }
    }

    fn refused(&self, reason: String) -> ObjectsError {
        ObjectsError::Refused { at: self.place.shown.clone(), reason }
    }

    fn tell(&self, error: &Error) -> ObjectsError {
        let (at, reason) = (self.place.shown.clone(), error.to_string());
        match error {
            // A server that does not answer, a disk that is full: what passes looks like this.
            Error::Generic { .. } | Error::JoinError { .. } => ObjectsError::Unreachable { at, reason },
            _ => ObjectsError::Refused { at, reason },
        }
    }

    fn put(&self, path: &Path, bytes: Vec<u8>, mode: PutMode) -> Result<(), Error> {
        let options = PutOptions { mode, ..PutOptions::default() };
        self.wait(self.place.store.put_opts(path, bytes.into(), options)).map(drop)
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Objects for Store {
    fn read(&self, key: &str, bytes_max: u64) -> Result<Option<Vec<u8>>, ObjectsError> {
        let path = self.path(key)?;
        let too_large = |bytes| ObjectsError::TooLarge {
            at: self.place.shown.clone(),
            key: key.into(),
            bytes,
            bytes_max,
        };
        let found = match self.wait(self.place.store.get(&path)) {
            Ok(found) => found,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(self.tell(&error)),
        };
        // Before anything of it is read.
        if found.meta.size > bytes_max {
            return Err(too_large(found.meta.size));
        }
        let read = self.wait(async {
            let (mut bytes, mut parts) = (Vec::new(), found.into_stream());
            while let Some(part) = parts.try_next().await? {
                bytes.extend_from_slice(&part);
                if bytes.len() as u64 > bytes_max {
                    break;
                }
            }
            Ok(bytes)
        });
        match read {
            Ok(bytes) if bytes.len() as u64 > bytes_max => Err(too_large(bytes.len() as u64)),
            Ok(bytes) => Ok(Some(bytes)),
            // Deleted while it was read.
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(self.tell(&error)),
        }
    }

    fn create(&self, key: &str, bytes: Vec<u8>) -> Result<Created, ObjectsError> {
        let path = self.path(key)?;
        if !self.cannot_create.load(Ordering::Relaxed) {
            match self.put(&path, bytes.clone(), PutMode::Create) {
                Ok(()) => return Ok(Created::New),
                Err(Error::AlreadyExists { .. } | Error::Precondition { .. }) => return Ok(Created::Existed),
                Err(Error::NotImplemented { .. } | Error::NotSupported { .. }) => {
                    self.cannot_create.store(true, Ordering::Relaxed);
                }
                Err(error) => return Err(self.tell(&error)),
            }
        }
        match self.wait(self.place.store.head(&path)) {
            Ok(_) => Ok(Created::Existed),
            Err(Error::NotFound { .. }) => {
                self.put(&path, bytes, PutMode::Overwrite).map_err(|error| self.tell(&error))?;
                Ok(Created::New)
            }
            Err(error) => Err(self.tell(&error)),
        }
    }

    fn replace(&self, key: &str, bytes: Vec<u8>) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        self.put(&path, bytes, PutMode::Overwrite).map_err(|error| self.tell(&error))
    }

    fn delete(&self, key: &str) -> Result<(), ObjectsError> {
        let path = self.path(key)?;
        match self.wait(self.place.store.delete(&path)) {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(self.tell(&error)),
        }
    }

    fn list(&self, prefix: &str, after: &str, limit: usize) -> Result<Vec<Listed>, ObjectsError> {
        let path = self.path(prefix.trim_end_matches('/'))?;
        let listed = match after {
            "" => self.place.store.list(Some(&path)),
            after => self.place.store.list_with_offset(Some(&path), &self.path(after)?),
        };
        let all = if self.place.is_ordered { limit } else { usize::MAX };
        let listed = self.wait(listed.take(all).try_collect::<Vec<_>>());
        let mut listed = listed.map_err(|error| self.tell(&error))?;
        listed.sort_by(|a, b| a.location.cmp(&b.location));
        listed.truncate(limit);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let within = format!("{}/", self.place.prefix);
        let age = |written_ms: i64| {
            now.saturating_sub(Duration::from_millis(u64::try_from(written_ms).unwrap_or(0)))
        };
        let key = |whole: &str| whole.strip_prefix(&within).unwrap_or(whole).to_owned();
        Ok(listed
            .into_iter()
            .map(|meta| Listed {
                key: key(meta.location.as_ref()),
                age: age(meta.last_modified.timestamp_millis()),
            })
            .collect())
    }

    fn place(&self) -> String {
        self.place.shown.clone()
    }
}
