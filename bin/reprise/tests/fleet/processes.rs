//! Processes of the program, each with what it said so far.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use serde_json::Value;
use tempfile::TempDir;

use crate::moto::Moto;
use crate::scratch::Scratch;

/// What a fleet of one test shares.
pub(crate) struct Ground {
    pub(crate) postgres: Scratch,
    /// Where receipts are shared; in a directory where there is none.
    pub(crate) moto: Option<Moto>,
    dir: TempDir,
    url: String,
    backend: String,
}

impl Ground {
    pub(crate) fn new() -> Self {
        let (postgres, dir) = (Scratch::start(), tempfile::tempdir().unwrap());
        let url = postgres.database();
        Self { postgres, moto: None, dir, url, backend: "mock".into() }
    }

    /// One that shares receipts in an S3 server, and proves with this backend.
    pub(crate) fn with_s3(backend: &str) -> Self {
        Self { moto: Some(Moto::start()), backend: backend.into(), ..Self::new() }
    }

    /// Another fleet on the same servers.
    pub(crate) fn anew(self) -> Self {
        let url = self.postgres.database();
        Self { dir: tempfile::tempdir().unwrap(), url, ..self }
    }

    fn receipts(&self) -> String {
        match &self.moto {
            Some(_) => format!("s3://bucket/{}", self.dir.path().file_name().unwrap().display()),
            None => self.path("receipts").display().to_string(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("REPRISE_")) {
            command.env_remove(name);
        }
        command.envs(self.moto.iter().flat_map(Moto::variables));
        command.env("NO_COLOR", "1").args(args).args(["--jobs", &self.url, "--lease", LEASE]);
        command
    }

    /// What `reprise jobs ARGS --json` says.
    pub(crate) fn jobs(&self, args: &[&str]) -> Value {
        let said = self.command(&[&["jobs"], args].concat()).arg("--json").output().unwrap();
        assert!(said.status.success(), "{args:?}: {}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// What `reprise jobs ARGS` says and how it ended.
    pub(crate) fn say(&self, args: &[&str]) -> (ExitStatus, String) {
        let said = self.command(&[&["jobs"], args].concat()).output().unwrap();
        (said.status, String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned())
    }

    pub(crate) fn worker(&self, name: &str, cost: &str, more: &[&str], told: &Sender<()>) -> Process {
        let receipts = self.receipts();
        let args = [
            "worker",
            "--backend",
            &self.backend,
            "--mock-cost",
            cost,
            "--receipts",
            &receipts,
            "--name",
            name,
            "--json",
        ];
        Process::start(self.command(&[&args, more].concat()), told)
    }

    pub(crate) fn node(&self, dir: &Path, cost: &str, more: &[&str], told: &Sender<()>) -> Process {
        let receipts = self.receipts();
        let args =
            ["run", "--backend", &self.backend, "--mock-cost", cost, "--receipts", &receipts, "--json"];
        let mut command = self.command(&[&args, more].concat());
        // A database that is started again is waited for, however slow this machine is: going on alone is another test's.
        command.args(["--fleet-patience", "240", "--log", "warn,reprise=info", "--data-dir"]).arg(dir);
        Process::start(command, told)
    }
}

/// Seconds until the jobs of a worker that was killed are another's.
const LEASE: &str = "6";

/// A process, ended when it is dropped.
pub(crate) struct Process {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
    reading: Option<JoinHandle<()>>,
    result: Option<JoinHandle<String>>,
}

impl Process {
    fn start(mut command: Command, told: &Sender<()>) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (said, told) = (Arc::new(Mutex::new(vec![])), told.clone());
        let (lines, kept) = (BufReader::new(child.stderr.take().unwrap()).lines(), said.clone());
        let reading = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                kept.lock().unwrap().push(line);
                let _ = told.send(());
            }
        });
        let mut out = child.stdout.take().unwrap();
        let result = thread::spawn(move || {
            let mut text = String::new();
            out.read_to_string(&mut text).unwrap();
            text
        });
        Self { child, said, reading: Some(reading), result: Some(result) }
    }

    pub(crate) fn is_over(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: &str) {
        Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
    }

    /// Ends it as the power would; what it had said.
    pub(crate) fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines()
    }

    /// What it has said, once it is over.
    fn lines(&mut self) -> Vec<String> {
        if let Some(reading) = self.reading.take() {
            reading.join().unwrap();
        }
        self.said.lock().unwrap().clone()
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().unwrap().clone()
    }

    /// How it ended, its last line as JSON, and what it said.
    pub(crate) fn ended(mut self) -> (ExitStatus, Value, Vec<String>) {
        let status = self.child.wait().unwrap();
        let out = self.result.take().unwrap().join().unwrap();
        let result =
            out.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or(Value::Null);
        (status, result, self.lines())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
