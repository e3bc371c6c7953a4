//! A medium whose writes stay in memory: it reads a directory that another process may hold, and changes nothing.
//!
//! A file is read whole when it is first opened, and from then on it is what it was at that moment. What its owner appends
//! later is not seen; what its owner was just appending is an unfinished write, as after a crash. So whoever opens a log mends,
//! cuts and locks its own copy, and needs no other way to read than the owner has.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::medium::{self, FileSystem, Medium, MediumFile, Opening};

/// See the [module](self).
#[derive(Default)]
pub struct Detached {
    /// The files that were opened, by path; `None` where one was removed.
    files: Mutex<HashMap<PathBuf, Option<Arc<Copy>>>>,
}

/// A file's bytes.
struct Copy(Mutex<Vec<u8>>);

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Detached {
    /// The copy of a file, read where it was not opened before.
    fn copy(&self, path: &Path) -> io::Result<Option<Arc<Copy>>> {
        let mut files = locked(&self.files);
        if let Some(known) = files.get(path) {
            return Ok(known.clone());
        }
        let read = match medium::read(&FileSystem, path) {
            Ok(bytes) => Some(Arc::new(Copy(Mutex::new(bytes)))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        files.insert(path.into(), read.clone());
        Ok(read)
    }
}

impl Medium for Detached {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        // The owner's lock is not ours to look at.
        let found = if path.ends_with("LOCK") { None } else { self.copy(path)? };
        match (found, opening) {
            (Some(_), Opening::Make) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(file),
            (None, Opening::Read | Opening::Write) => Err(io::ErrorKind::NotFound.into()),
            (None, Opening::Make | Opening::WriteOrMake) => {
                let made = Arc::new(Copy(Mutex::default()));
                locked(&self.files).insert(path.into(), Some(made.clone()));
                Ok(made)
            }
        }
    }

    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        FileSystem.is_directory(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        FileSystem.list(directory)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let file = self.copy(from)?.ok_or(io::ErrorKind::NotFound)?;
        let mut files = locked(&self.files);
        files.insert(from.into(), None);
        files.insert(to.into(), Some(file));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match locked(&self.files).insert(path.into(), None) {
            Some(None) => Err(io::ErrorKind::NotFound.into()),
            _ => Ok(()),
        }
    }

    fn sync_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn is_kept(&self) -> bool {
        false
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl MediumFile for Copy {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.0).len() as u64)
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        let held = locked(&self.0);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let part = held.get(from..).and_then(|rest| rest.get(..bytes.len()));
        bytes.copy_from_slice(part.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut held = locked(&self.0);
        let from = usize::try_from(offset).map_err(io::Error::other)?;
        let to = from + bytes.len();
        if held.len() < to {
            held.resize(to, 0);
        }
        held[from..to].copy_from_slice(bytes);
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        locked(&self.0).resize(usize::try_from(len).map_err(io::Error::other)?, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn try_lock(&self) -> io::Result<bool> {
        Ok(true)
    }

    fn unlock(&self) -> io::Result<()> {
        Ok(())
    }
}
