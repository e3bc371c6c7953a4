//! The medium: all operations on a file system that Reprise uses.
//!
//! Data directories, logs and the receipt store go through it, so that tests can simulate a full disk, a crash and a power
//! cut (`crate::simulated`).
//!
//! # What is assumed of it
//!
//! * A file's bytes and length survive a power cut once [`MediumFile::sync`] returned, and no earlier: until
//!   then any part of what was written may be there, in any order, or not.
//! * An entry of a directory, made, renamed or removed, survives once [`Medium::sync_directory`] of that
//!   directory returned. Syncing the file does not do it.
//! * A rename within a directory shows the old entry or the new one, nothing between.
//! * After a failed sync it is unknown what is durable. A later sync that succeeds does not change that.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To be read; it must be there.
    Read,
    /// To be read and written; it must be there.
    Write,
    /// To be read and written; it is made where it is not there.
    WriteOrMake,
    /// To be read and written; it must not be there.
    Make,
}

/// Files and directories.
pub trait Medium: Send + Sync {
    /// Opens a file.
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>>;

    /// Makes a directory in one that is there. One that is there already stays.
    fn make_directory(&self, path: &Path) -> io::Result<()>;

    /// Whether there is a directory at the path.
    fn is_directory(&self, path: &Path) -> io::Result<bool>;

    /// The names of what is in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Gives a file another name in the same directory, in place of what has that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Deletes a file. An open handle can still read it.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the entries of a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// How many bytes can be written in a directory before the disk is full.
    fn free(&self, directory: &Path) -> io::Result<u64>;

    /// Whether what is written to it stays, and others see it.
    fn is_kept(&self) -> bool {
        true
    }

    /// The process id that the holder of a lock writes into it.
    fn process(&self) -> u32 {
        std::process::id()
    }
}

/// An open file.
pub trait MediumFile: Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether it holds nothing.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Fills `bytes` from an offset on; an error of kind `UnexpectedEof` where the file ends before.
    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at an offset. After an error any part of them may be there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Cuts or extends it to a length.
    fn truncate(&self, len: u64) -> io::Result<()>;

    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;

    /// Locks it against every other open file of the same path, until this one is unlocked or closed. False where
    /// another holds the lock.
    fn try_lock(&self) -> io::Result<bool>;

    /// Unlocks it.
    fn unlock(&self) -> io::Result<()>;
}

/// Whether an error says that the disk is full: writes succeed again once there is room.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Whether an error says that the disk cannot read, or write, this place: another place of the file may do.
pub fn is_unreadable(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::IO.raw_os_error())
}

/// All bytes of a file.
pub fn read(medium: &dyn Medium, path: &Path) -> io::Result<Vec<u8>> {
    let file = medium.open(path, Opening::Read)?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// Makes a file hold these bytes, in place of what it held. Not durable.
pub fn write(medium: &dyn Medium, path: &Path, bytes: &[u8]) -> io::Result<Arc<dyn MediumFile>> {
    let file = medium.open(path, Opening::WriteOrMake)?;
    file.truncate(0)?;
    file.write_at(bytes, 0)?;
    Ok(file)
}

/// Makes a directory and the missing ones above it, and their entries durable. An error is the action, its path and the
/// cause.
///
/// Each is durable before the next is made in it, so that where a crash interrupts this, one entry at most is
/// there and not durable: that of the lowest directory, which is why its parent is synced first.
pub fn make_durably(medium: &dyn Medium, path: &Path) -> Result<(), (&'static str, PathBuf, io::Error)> {
    let failed = |action, path: &Path| {
        let path = path.to_path_buf();
        move |source| (action, path, source)
    };
    let sync = |directory: &Path| match medium.sync_directory(directory) {
        // This user may pass through the directory but not read it, so cannot sync it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(failed("sync", directory)),
    };
    let parent = |path| Path::parent(path).unwrap_or(Path::new(""));
    let mut missing = Vec::new();
    let mut there = path;
    while !there.as_os_str().is_empty() && !medium.is_directory(there).map_err(failed("read", there))? {
        missing.push(there);
        there = parent(there);
    }
    sync(parent(there))?;
    for directory in missing.into_iter().rev() {
        medium.make_directory(directory).map_err(failed("make", directory))?;
        sync(parent(directory))?;
    }
    Ok(())
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSystem;

impl Medium for FileSystem {
    fn open(&self, path: &Path, opening: Opening) -> io::Result<Arc<dyn MediumFile>> {
        let writes = opening != Opening::Read;
        let file = File::options()
            .read(true)
            .write(writes)
            .create(opening == Opening::WriteOrMake)
            .create_new(opening == Opening::Make)
            .open(path)?;
        Ok(Arc::new(file))
    }

    fn make_directory(&self, path: &Path) -> io::Result<()> {
        match fs::create_dir(path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            made => made,
        }
    }

    fn is_directory(&self, path: &Path) -> io::Result<bool> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(metadata.is_dir()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        fs::read_dir(directory)?.map(|item| Ok(item?.file_name().to_string_lossy().into_owned())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // A path without a directory before it is one in the current directory.
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        File::open(directory)?.sync_all()
    }

    fn free(&self, directory: &Path) -> io::Result<u64> {
        let found = rustix::fs::statvfs(directory)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    }
}

impl MediumFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(bytes, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn try_lock(&self) -> io::Result<bool> {
        match File::try_lock(self) {
            Ok(()) => Ok(true),
            Err(TryLockError::WouldBlock) => Ok(false),
            Err(TryLockError::Error(source)) => Err(source),
        }
    }

    fn unlock(&self) -> io::Result<()> {
        File::unlock(self)
    }
}
