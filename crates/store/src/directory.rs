//! The directory of a store: who holds it, which format it has, and where its parts lie.
//!
//! ```text
//! DIR/
//!   LOCK        held by the process that has the store open; holds its pid
//!   FORMAT      "reprise receipt store 1", and a checksum of these words
//!   log/        the tables, see [`crate::disk`]
//!   quarantine/ what failed its check: NAME.receipt with its bytes, NAME.reason with the cause in words
//! ```
//!
//! One process has a store open at a time, and a second one is refused by the pid of the first. One that
//! only reads needs no lock: see [`crate::reading`].

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// The format of the directory that this code writes, and the only one it reads so far.
pub const FORMAT: u32 = 1;
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
        /// The process, as it wrote itself down.
        pid: String,
    },
    /// It is of a format this code does not read.
    #[error(
        "the receipt store in {} has format {found}, and this version reads format {FORMAT}: run the version \
         that wrote it, or export its receipts there and import them here",
        dir.display()
    )]
    ForeignFormat {
        /// The store's directory.
        dir: PathBuf,
        /// What it says of itself.
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
        "{} is damaged: it holds `{found}`; run `reprise receipts verify --data-dir DIR`, which writes it anew \
         and verifies every receipt",
        file.display()
    )]
    Damaged {
        /// The format file.
        file: PathBuf,
        /// What it holds.
        found: String,
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
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Makes the directory where there is none, locks it, and compares its format.
    pub(crate) fn lock(path: &Path) -> Result<Self, OpenError> {
        Self::lock_and(path, false)
    }

    /// The same for a directory that is to be mended: a format file that is missing or damaged is written
    /// anew, where there is a log beside it. One that names another format is refused still.
    pub(crate) fn lock_to_mend(path: &Path) -> Result<Self, OpenError> {
        Self::lock_and(path, path.join("log").is_dir())
    }

    /// Compares the format of a directory that is to be read only: it is neither made, locked nor written.
    pub(crate) fn compare_format(path: &Path) -> Result<(), OpenError> {
        let format = path.join("FORMAT");
        let text = match fs::read(&format) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(source) => return Err(OpenError::Io { doing: "read", path: format, source }),
        };
        match stated_version(&text) {
            Some(FORMAT) => Ok(()),
            Some(version) => Err(OpenError::ForeignFormat { dir: path.into(), found: version.to_string() }),
            None => Err(damaged(format, &text)),
        }
    }

    fn lock_and(path: &Path, mend: bool) -> Result<Self, OpenError> {
        let failed = |doing, path: &Path| {
            let path = path.to_path_buf();
            move |source| OpenError::Io { doing, path, source }
        };
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let format = path.join("FORMAT");
        let known = match fs::read_to_string(&format) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(String::new()),
            Err(error) => return Err(failed("read", &format)(error)),
        };
        if known.is_none() && !mend {
            if path.join("log").is_dir() {
                return Err(OpenError::Damaged { file: format, found: String::new() });
            }
            Self::refuse_foreign(path)?;
        }
        let lock = Self::take_lock(path)?;
        let stated = known.as_deref().map(stated_version);
        match stated {
            Some(Some(FORMAT)) => {}
            Some(Some(version)) => {
                return Err(OpenError::ForeignFormat { dir: path.into(), found: version.to_string() });
            }
            Some(None) if !mend => {
                return Err(damaged(format, &known.unwrap_or_default()));
            }
            Some(None) | None => {
                write_durably(&format, format_text(FORMAT).as_bytes()).map_err(failed("write", &format))?
            }
        }
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// A directory without a format file must be new.
    fn refuse_foreign(path: &Path) -> Result<(), OpenError> {
        let failed = |source| OpenError::Io { doing: "list", path: path.into(), source };
        for item in fs::read_dir(path).map_err(failed)? {
            let found = item.map_err(failed)?.file_name().to_string_lossy().into_owned();
            // A crash between the lock and the format leaves these.
            if found != "LOCK" && found != "FORMAT.new" {
                return Err(OpenError::NotAStore { dir: path.into(), found });
            }
        }
        Ok(())
    }

    fn take_lock(dir: &Path) -> Result<File, OpenError> {
        let path = dir.join("LOCK");
        let failed = |source| OpenError::Io { doing: "lock", path: path.clone(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // A pid that does not read is no reason to go on.
                let _ = file.read_to_string(&mut pid);
                let pid = if pid.trim().is_empty() { "(unknown)".into() } else { pid.trim().into() };
                return Err(OpenError::InUse { dir: dir.into(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        file.set_len(0).map_err(failed)?;
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        writeln!(file, "{}", std::process::id()).map_err(failed)?;
        Ok(file)
    }

    /// Where the tables live.
    pub(crate) fn log(&self) -> PathBuf {
        self.path.join("log")
    }

    /// Where what failed is kept.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }
}

/// The refusal of a format file that holds something else.
fn damaged(file: PathBuf, text: &str) -> OpenError {
    OpenError::Damaged { file, found: text.chars().filter(|c| !c.is_control()).take(40).collect() }
}

/// What a format file holds: a line for people, and a line that shows damage to it.
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

/// Writes a small file so that after a crash it is there whole, or not at all.
fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let fresh = path.with_extension("new");
    let mut file = File::create(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    match path.parent() {
        Some(dir) => File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}
