//! The directory of a store: who holds it, which format it has, and where its parts lie.
//!
//! ```text
//! DIR/
//!   LOCK        held by the process that has the store open; holds its pid
//!   FORMAT      "reprise receipt store 3", and a checksum of these words
//!   REVOKED     the revocations a second time, see `crate::revoked`
//!   log/        the tables, see [`crate::disk`]
//!   quarantine/ entries that failed their check: NAME.receipt with the bytes, NAME.reason with the cause in words
//! ```
//!
//! One process has a store open at a time. A second one is refused, with the pid of the first. A process that only
//! reads needs no lock: see [`crate::read_only`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reprise_disk::data_dir::{self, DirectoryLock, LockError};

use crate::medium::{self, Medium};

/// The format of the directory that this build writes, and the only one it reads.
pub const FORMAT: u32 = 3;
const FORMAT_WORDS: &str = "reprise receipt store ";

/// Why a store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The operating system refused.
    #[error("could not {doing} {}: {source}", path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// Another process has it open.
    #[error(
        "the receipt store in {} is open in process {pid}: stop that process, or give another --data-dir",
        dir.display()
    )]
    InUse {
        /// The store's directory.
        dir: PathBuf,
        /// The process id that the lock file holds.
        pid: String,
    },
    /// It is of a format that this build does not read.
    #[error(
        "the receipt store in {} has format {found}, and this build reads format {FORMAT}: use another data \
         directory; what that build proved, this build states otherwise",
        dir.display()
    )]
    ForeignFormat {
        /// The store's directory.
        dir: PathBuf,
        /// The format that it states.
        found: String,
    },
    /// The directory holds something else.
    #[error("{} is not a receipt store and not empty: it holds `{found}`; give another --data-dir", dir.display())]
    NotAStore {
        /// The directory.
        dir: PathBuf,
        /// Something that is in it.
        found: String,
    },
    /// The format file is damaged.
    #[error(
        "{} is damaged: it holds `{found}`; `reprise receipts verify` with the same --data-dir writes it anew and \
         verifies every receipt",
        file.display()
    )]
    Damaged {
        /// The format file.
        file: PathBuf,
        /// What it holds.
        found: String,
    },
    /// There is a log of receipts, and no format file beside it.
    #[error(
        "{} is missing beside a log of receipts; `reprise receipts verify` with the same --data-dir writes it anew and \
         verifies every receipt",
        file.display()
    )]
    Missing {
        /// The format file.
        file: PathBuf,
    },
    /// No thread could be started.
    #[error("could not start the writer of the receipt store: {source}")]
    Thread {
        /// The system's answer.
        source: io::Error,
    },
}

/// A directory that this process holds.
pub(crate) struct Directory {
    medium: Arc<dyn Medium>,
    path: PathBuf,
    _lock: DirectoryLock,
}

impl Directory {
    /// Makes the directory where there is none, locks it, and compares its format.
    pub(crate) fn lock(medium: Arc<dyn Medium>, path: &Path) -> Result<Self, OpenError> {
        Self::lock_and(medium, path, false)
    }

    /// The same for a directory to repair: a missing or damaged format file is written again, where there is a log
    /// beside it. A file that names another format is still refused.
    pub(crate) fn lock_to_repair(medium: Arc<dyn Medium>, path: &Path) -> Result<Self, OpenError> {
        let log = path.join("log");
        let repair = medium.is_directory(&log).map_err(failed("read", &log))?;
        Self::lock_and(medium, path, repair)
    }

    /// Compares the format of a directory that is only read: it is neither made, locked nor written.
    pub(crate) fn compare_format(medium: &dyn Medium, path: &Path) -> Result<(), OpenError> {
        let format = path.join("FORMAT");
        let bytes = medium::read(medium, &format).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound if medium.is_directory(&path.join("log")).unwrap_or(false) => {
                OpenError::Missing { file: format.clone() }
            }
            _ => failed("read", &format)(error),
        })?;
        let text = String::from_utf8_lossy(&bytes);
        match stated_version(&text) {
            Some(FORMAT) => Ok(()),
            Some(version) => Err(OpenError::ForeignFormat { dir: path.into(), found: version.to_string() }),
            None => Err(damaged(format, &text)),
        }
    }

    fn lock_and(medium: Arc<dyn Medium>, path: &Path, repair: bool) -> Result<Self, OpenError> {
        let on = medium.as_ref();
        make_durably(on, path)?;
        let format = path.join("FORMAT");
        let known = match medium::read(on, &format) {
            Ok(bytes) => Some(String::from_utf8_lossy(&bytes).into_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("read", &format)(error)),
        };
        if known.is_none() && !repair {
            let log = path.join("log");
            if on.is_directory(&log).map_err(failed("read", &log))? {
                return Err(OpenError::Missing { file: format });
            }
            Self::refuse_foreign(on, path)?;
        }
        let lock = data_dir::lock(on, path).map_err(refused)?;
        let stated = known.as_deref().map(stated_version);
        match stated {
            Some(Some(FORMAT)) => {}
            Some(Some(version)) => {
                return Err(OpenError::ForeignFormat { dir: path.into(), found: version.to_string() });
            }
            Some(None) if !repair => {
                return Err(damaged(format, &known.unwrap_or_default()));
            }
            Some(None) | None => {
                write_whole(on, &format, format_text(FORMAT).as_bytes()).map_err(failed("write", &format))?
            }
        }
        // The order matters after a crash: a log without a format file is refused, so the file is durable first.
        sync(on, path)?;
        make_durably(on, &path.join("log"))?;
        Ok(Self { medium, path: path.into(), _lock: lock })
    }

    /// A directory without a format file must be new.
    fn refuse_foreign(medium: &dyn Medium, path: &Path) -> Result<(), OpenError> {
        // A crash between the lock and the format file leaves these.
        let ours = |name: &String| name == "LOCK" || name == "FORMAT.new";
        let names = medium.list(path).map_err(failed("list", path))?;
        match names.into_iter().find(|name| !ours(name)) {
            Some(found) => Err(OpenError::NotAStore { dir: path.into(), found }),
            None => Ok(()),
        }
    }

    /// The medium that it is on.
    pub(crate) fn medium(&self) -> &dyn Medium {
        self.medium.as_ref()
    }

    /// The same, to be kept.
    pub(crate) fn shared_medium(&self) -> Arc<dyn Medium> {
        self.medium.clone()
    }

    /// The folder of the log.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// The file with the copy of the revocations.
    pub(crate) fn revoked(&self) -> PathBuf {
        revoked_in(&self.path)
    }

    /// Writes a small file of the directory durably. After a crash it is there whole, old or new.
    pub(crate) fn write_durably(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        write_whole(self.medium(), path, bytes)?;
        self.medium.sync_directory(&self.path)
    }

    /// The folder of entries that failed their check.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }
}

/// The file with the copy of the revocations.
pub(crate) fn revoked_in(dir: &Path) -> PathBuf {
    dir.join("REVOKED")
}

/// The refusal of a format file that holds something else.
fn damaged(file: PathBuf, text: &str) -> OpenError {
    OpenError::Damaged { file, found: text.chars().filter(|c| !c.is_control()).take(40).collect() }
}

/// What a format file holds: a line for people, and a line with its checksum.
fn format_text(version: u32) -> String {
    let line = format!("{FORMAT_WORDS}{version}");
    let check = blake3::hash(line.as_bytes()).to_hex();
    format!("{line}\ncheck {}\n", &check[..16])
}

/// The format that a format file states, if the file is whole.
fn stated_version(text: &str) -> Option<u32> {
    let version = text.lines().next()?.strip_prefix(FORMAT_WORDS)?.parse().ok()?;
    (format_text(version) == text).then_some(version)
}

/// Writes a small file so that after a crash it is there whole, or not at all. It is durable once its directory
/// is synced.
fn write_whole(medium: &dyn Medium, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    medium::write(medium, &fresh, bytes)?.sync()?;
    medium.rename(&fresh, path)
}

fn make_durably(medium: &dyn Medium, path: &Path) -> Result<(), OpenError> {
    data_dir::make(medium, path).map_err(refused)
}

/// Why a directory cannot be locked, as an error of the store.
fn refused(error: LockError) -> OpenError {
    match error {
        LockError::Io { action: doing, path, source } => OpenError::Io { doing, path, source },
        LockError::InUse { dir, pid } => OpenError::InUse { dir, pid },
    }
}

fn sync(medium: &dyn Medium, directory: &Path) -> Result<(), OpenError> {
    match medium.sync_directory(directory) {
        // This user may pass through the directory but not read it, so cannot sync it.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.map_err(failed("sync", directory)),
    }
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> OpenError + use<> {
    let path = path.to_path_buf();
    move |source| OpenError::Io { doing, path, source }
}
