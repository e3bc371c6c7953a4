//! A PostgreSQL of a test's own: in a temporary directory, reached over a socket in it, ended when it is dropped.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tempfile::TempDir;

/// The variable that names the directory of the server's programs.
const BIN: &str = "REPRISE_TEST_POSTGRES_BIN";

/// Whom a server runs as where the tests run as root, which PostgreSQL refuses.
const OWNER: &str = "postgres";

/// A server.
pub struct Scratch {
    dir: TempDir,
    bin: PathBuf,
    as_owner: bool,
    running: Mutex<Option<Child>>,
    databases: AtomicU64,
}

/// How a server is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connections are closed, everything is written.
    Fast,
    /// At once, as a crash would be: the log is read again at the next start.
    Immediate,
}

/// The directory of the server's programs: named by a variable, or where Debian has them, or where the path leads.
fn programs() -> PathBuf {
    if let Some(named) = std::env::var_os(BIN) {
        return named.into();
    }
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path().join("bin")).collect())
        .unwrap_or_default();
    found.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    found.splice(0..0, std::env::split_paths(&path));
    let found = found.into_iter().rev().find(|dir| dir.join("initdb").exists());
    found.unwrap_or_else(|| panic!("no PostgreSQL is installed: install Debian's `postgresql`, or set {BIN}"))
}

/// A number that `id` says.
fn id(of: &str) -> u32 {
    let said = Command::new("id").args([of, OWNER]).output().unwrap();
    assert!(said.status.success(), "as root the server runs as the user `{OWNER}`, who is not there");
    String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
}

impl Scratch {
    /// A new one, running.
    pub fn start() -> Self {
        let dir = TempDir::with_prefix("reprise-pg-").unwrap();
        let as_owner =
            fs::metadata("/proc/self").map(|own| std::os::unix::fs::MetadataExt::uid(&own)).unwrap_or(0) == 0;
        if as_owner {
            chown(dir.path(), Some(id("-u")), Some(id("-g"))).unwrap();
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let scratch =
            Self { dir, bin: programs(), as_owner, running: Mutex::new(None), databases: AtomicU64::new(0) };
        let made = scratch
            .program("initdb")
            .args(["--auth=trust", "--username=reprise", "--no-sync", "--encoding=UTF8", "--locale=C", "-D"])
            .arg(scratch.data())
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        scratch.resume();
        scratch
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        self.command(&self.bin.join(name))
    }

    /// A program as the user that the server runs as, in its directory.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = if self.as_owner {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", OWNER, "--regid", OWNER, "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.env("LC_ALL", "C").current_dir(self.dir.path());
        command
    }

    /// Starts it again; it answers when this returns.
    pub fn resume(&self) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(running.is_none(), "it runs");
        let set = |name: &str, value: &OsStr| {
            let mut set = std::ffi::OsString::from(format!("{name}="));
            set.push(value);
            set
        };
        let mut child = self
            .program("postgres")
            .arg("-D")
            .arg(self.data())
            .arg("-c")
            .arg(set("unix_socket_directories", self.dir.path().as_os_str()))
            .args(["-c", "listen_addresses=", "-c", "max_connections=200", "-c", "logging_collector=off"])
            .args(["-c", "log_min_messages=log", "-c", "log_statement=none", "-c", "lc_messages=C"])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = vec![];
        loop {
            match said.next() {
                Some(Ok(line)) if line.contains("database system is ready to accept connections") => break,
                Some(Ok(line)) => before.push(line),
                _ => panic!("PostgreSQL did not start: {}", before.join("\n")),
            }
        }
        // Read on, so that it never waits for somebody to.
        thread::spawn(move || said.for_each(drop));
        *running = Some(child);
    }

    /// Ends it; it is gone when this returns.
    pub fn end(&self, how: Ending) {
        let Some(mut child) = self.running.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        let signal = match how {
            Ending::Fast => "-INT",
            Ending::Immediate => "-QUIT",
        };
        let sent = Command::new("kill").arg(signal).arg(child.id().to_string()).status().unwrap();
        assert!(sent.success(), "the server was gone");
        child.wait().unwrap();
    }

    /// A new database: its address.
    pub fn database(&self) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.address(&name)
    }

    /// The address of a database.
    pub fn address(&self, database: &str) -> String {
        let socket = self.dir.path().display().to_string().replace('/', "%2F");
        format!("postgres://reprise@{socket}/{database}?sslmode=disable")
    }

    /// Where its socket is.
    pub fn socket(&self) -> &Path {
        self.dir.path()
    }

    /// What has a statement answered.
    pub fn psql(&self, database: &str, statement: &str) -> Command {
        let mut psql = self.program("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", "reprise", "-d", database, "-h"])
            .arg(self.dir.path())
            .args(["-c", statement]);
        psql
    }

    /// What a statement answers, as text, a line a row.
    pub fn sql(&self, database: &str, statement: &str) -> String {
        let said = self.psql(database, statement).output().unwrap();
        assert!(said.status.success(), "{statement}: {}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8_lossy(&said.stdout).trim().to_owned()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.end(Ending::Immediate);
    }
}
