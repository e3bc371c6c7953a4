//! The engine on disk, and the directory it lives in.
//!
//! ```text
//! DIR/
//!   LOCK        held by the process that has the store open; holds its pid
//!   FORMAT      one line, "reprise receipt store 1"
//!   engine/     the tables, in fjall
//!   quarantine/ what failed its check: NAME.receipt with its bytes, NAME.reason with the cause in words
//! ```
//!
//! One process has a store open at a time. A second one, a reader too, is refused by the pid of the first:
//! the tables of a live store change under a reader's feet, and a copy taken meanwhile would not be one
//! moment. A live node answers for its own store.
//!
//! Damage inside the engine is met four ways. What would make it ask for more memory than there is, is
//! refused before it looks (`preflight`). A value it cannot return is forgotten by the store above. A
//! panic of its code is caught here and becomes [`StoreError::Damaged`]. A directory it cannot open is
//! refused by [`OpenError::Damaged`], and [`rebuild`](crate::rebuild) salvages every whole receipt out of
//! its files.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::engine::{Changes, Engine, Pair, Table};
use crate::port::StoreError;
use crate::preflight;

/// The format of the directory that this code writes, and the only one it reads so far.
pub const FORMAT: u32 = 1;
const FORMAT_WORDS: &str = "reprise receipt store ";
/// How many quarantined entries keep their bytes. More are counted and logged, and leave only their reason
/// in the log.
const QUARANTINE_MAX: usize = 256;
/// Envelopes of this size and more live outside the sorted tables, so that compaction does not carry them.
const SEPARATED_BYTES_MIN: u32 = 4096;
/// What a table of receipts holds in memory before it goes to a file of its own. Its log is durable before.
const MEMTABLE_BYTES_MAX: u64 = 64 << 20;

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
    /// The engine cannot read its own files.
    #[error(
        "the receipt store in {} is damaged: {reason}; run `reprise receipts verify --data-dir DIR`, which \
         rebuilds it from every receipt that is still whole and keeps the rest in quarantine",
        dir.display()
    )]
    Damaged {
        /// The store's directory.
        dir: PathBuf,
        /// The engine's words.
        reason: String,
    },
    /// No thread could be started.
    #[error("could not start the writer of the receipt store: {source}")]
    Thread {
        /// The system's answer.
        source: io::Error,
    },
}

/// Tables in a directory.
pub struct DiskEngine {
    // Before the lock: fields are dropped in order, and the tables must be closed when the lock goes.
    open: RwLock<Option<Open>>,
    dir: Directory,
    memtable_bytes_max: u64,
    quarantined: AtomicUsize,
}

/// The tables, while they are open.
struct Open {
    database: Database,
    tables: Vec<Keyspace>,
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

    /// The same for a directory that is to be rebuilt: a format file that is missing or says nothing is
    /// written anew, where there is an engine beside it. One that names another format is refused still.
    pub(crate) fn lock_to_mend(path: &Path) -> Result<Self, OpenError> {
        Self::lock_and(path, path.join("engine").is_dir() || path.join("quarantine").is_dir())
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
        let known = known.filter(|text| !mend || stated_version(text).is_some());
        if known.is_none() && !mend {
            Self::refuse_foreign(path)?;
        }
        let lock = Self::take_lock(path)?;
        match known {
            Some(text) => {
                if stated_version(&text) != Some(FORMAT) {
                    let text = text.trim_end();
                    let found = text.strip_prefix(FORMAT_WORDS).unwrap_or(text).chars().take(40).collect();
                    return Err(OpenError::ForeignFormat { dir: path.into(), found });
                }
            }
            None => write_durably(&format, format!("{FORMAT_WORDS}{FORMAT}\n").as_bytes())
                .map_err(failed("write", &format))?,
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

    /// Where the engine lives.
    pub(crate) fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where what failed is kept.
    pub(crate) fn quarantine(&self) -> PathBuf {
        self.path.join("quarantine")
    }
}

impl DiskEngine {
    /// Opens the tables in a directory, or makes new ones there.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::within(Directory::lock(dir)?)
    }

    /// The same, where new tables go from memory to files of their own at `memtable_bytes_max`.
    pub fn open_with(dir: &Path, memtable_bytes_max: u64) -> Result<Self, OpenError> {
        Self::within_with(Directory::lock(dir)?, memtable_bytes_max)
    }

    pub(crate) fn within(dir: Directory) -> Result<Self, OpenError> {
        Self::within_with(dir, MEMTABLE_BYTES_MAX)
    }

    fn within_with(dir: Directory, memtable_bytes_max: u64) -> Result<Self, OpenError> {
        let open = Open::tables(&dir.engine(), memtable_bytes_max).map_err(|failure| match failure {
            Failure::Io(source) => OpenError::Io { doing: "open", path: dir.engine(), source },
            Failure::Damage(reason) | Failure::Stopped(reason) => {
                OpenError::Damaged { dir: dir.path.clone(), reason }
            }
        })?;
        let kept = fs::read_dir(dir.quarantine()).map_or(0, Iterator::count) / 2;
        let quarantined = AtomicUsize::new(kept);
        Ok(Self { open: RwLock::new(Some(open)), dir, memtable_bytes_max, quarantined })
    }

    /// Runs `act` on the open tables. No panic of the engine passes.
    fn with<R>(&self, act: impl FnOnce(&Open) -> fjall::Result<R>) -> Result<R, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let open = open.as_ref().ok_or_else(|| Failure::Stopped("its tables are closed".into()))?;
        caught(|| act(open))
    }

    fn error(&self, failure: Failure) -> StoreError {
        let path = self.dir.engine();
        match failure {
            Failure::Io(source) => StoreError::Io { doing: "use", path, source: Arc::new(source) },
            Failure::Damage(reason) => StoreError::Damaged { path, reason },
            Failure::Stopped(reason) => StoreError::Engine { path, reason },
        }
    }

    /// Closes the tables and opens them again. The engine refuses every write after one that failed, since
    /// it cannot know what the disk has; what it reads back from the disk, it knows.
    fn reopen(&self) -> Result<(), Failure> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        *open = None;
        *open = Some(Open::tables(&self.dir.engine(), self.memtable_bytes_max)?);
        tracing::info!(path = %self.dir.path.display(), "the receipt store was opened again after a failed write");
        Ok(())
    }
}

/// What went wrong inside the engine.
enum Failure {
    Io(io::Error),
    Damage(String),
    Stopped(String),
}

impl From<fjall::Error> for Failure {
    fn from(error: fjall::Error) -> Self {
        use fjall::{Error, LsmError};
        match error {
            // These are what a decoder meets in damaged files, not what a disk answers.
            Error::Io(source) | Error::Storage(LsmError::Io(source)) => match source.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::InvalidData
                | io::ErrorKind::InvalidInput
                | io::ErrorKind::NotFound
                | io::ErrorKind::Other => Self::Damage(source.to_string()),
                _ => Self::Io(source),
            },
            Error::Poisoned => Self::Stopped("a write failed before, and no other is taken".into()),
            Error::KeyspaceDeleted => Self::Stopped("a table was deleted".into()),
            Error::Locked => Self::Stopped("its tables are open elsewhere".into()),
            damage => Self::Damage(format!("{damage:?}")),
        }
    }
}

fn caught<R>(act: impl FnOnce() -> fjall::Result<R>) -> Result<R, Failure> {
    match catch_unwind(AssertUnwindSafe(act)) {
        Ok(result) => result.map_err(Failure::from),
        Err(panic) => {
            let words = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|words| (*words).to_owned()))
                .unwrap_or_default();
            Err(Failure::Damage(format!("the engine panicked: {words}")))
        }
    }
}

impl Open {
    fn tables(path: &Path, memtable_bytes_max: u64) -> Result<Self, Failure> {
        match preflight::look(path) {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => return Err(Failure::Damage(wrong)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fjall::Error::Io(error).into()),
        }
        caught(|| {
            let database = Database::builder(path).worker_threads(1).open()?;
            let mut tables = Vec::with_capacity(Table::ALL.len());
            for table in Table::ALL {
                tables.push(database.keyspace(table.name(), || options(table, memtable_bytes_max))?);
            }
            Ok(Self { database, tables })
        })
    }

    fn table(&self, table: Table) -> &Keyspace {
        &self.tables[table as usize]
    }
}

fn options(table: Table, memtable_bytes_max: u64) -> KeyspaceCreateOptions {
    let options = KeyspaceCreateOptions::default();
    match table {
        Table::Receipts => {
            let apart = KvSeparationOptions::default().separation_threshold(SEPARATED_BYTES_MIN);
            options.max_memtable_size(memtable_bytes_max).with_kv_separation(Some(apart))
        }
        _ => options.max_memtable_size(memtable_bytes_max / 8),
    }
}

impl Engine for DiskEngine {
    fn read(&self, table: Table, key: &[u8], with: &mut dyn FnMut(&[u8])) -> Result<bool, StoreError> {
        let value = self.with(|open| open.table(table).get(key)).map_err(|failure| self.error(failure))?;
        if let Some(value) = &value {
            with(value);
        }
        Ok(value.is_some())
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.with(|open| open.table(table).contains_key(key)).map_err(|failure| self.error(failure))
    }

    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        if to.is_some_and(|to| to <= from) {
            return Ok(Vec::new());
        }
        let page = self.with(|open| {
            let table = open.table(table);
            let range = match to {
                Some(to) => table.range(from..to),
                None => table.range(from..),
            };
            range
                .take(limit)
                .map(|item| item.into_inner().map(|(key, value)| (key.to_vec(), value.to_vec())))
                .collect()
        });
        page.map_err(|failure| self.error(failure))
    }

    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let write = |open: &Open| {
            let mode = if sync { PersistMode::SyncAll } else { PersistMode::Buffer };
            let mut batch = open.database.batch().durability(Some(mode));
            for ((table, key), change) in &changes {
                match change {
                    Some(value) => batch.insert(open.table(*table), &key[..], &value[..]),
                    None => batch.remove(open.table(*table), &key[..]),
                }
            }
            batch.commit()
        };
        let written = match self.with(write) {
            Err(Failure::Stopped(_)) => self.reopen().and_then(|()| self.with(write)),
            written => written,
        };
        written.map_err(|failure| self.error(failure))
    }

    fn quarantine(&self, name: &str, bytes: &[u8], reason: &str) -> Result<(), StoreError> {
        if self.quarantined.fetch_add(1, Ordering::Relaxed) >= QUARANTINE_MAX {
            return Ok(());
        }
        let dir = self.dir.quarantine();
        let keep = |ending: &str, bytes: &[u8]| {
            let path = dir.join(format!("{name}.{ending}"));
            fs::write(&path, bytes).map_err(|source| StoreError::Io {
                doing: "write",
                path,
                source: Arc::new(source),
            })
        };
        fs::create_dir_all(&dir).map_err(|source| StoreError::Io {
            doing: "make",
            path: dir.clone(),
            source: Arc::new(source),
        })?;
        keep("receipt", bytes)?;
        keep("reason", format!("{reason}\n").as_bytes())
    }
}

/// The format that a format file states.
fn stated_version(text: &str) -> Option<u32> {
    text.trim_end().strip_prefix(FORMAT_WORDS)?.parse().ok()
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
