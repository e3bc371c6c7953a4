//! A simnet node as a child process: the real `kaspad`, alone, on loopback, gone when dropped.
//!
//! The program is found by the environment variable [`KASPAD_VARIABLE`], else in `PATH`.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use kaspa_consensus_core::config::params::{OverrideParams, Params};
use tempfile::TempDir;

use reprise_kaspa::client::{self, Client};

/// The environment variable that names the node's program.
pub const KASPAD_VARIABLE: &str = "REPRISE_TEST_KASPAD";

/// The version the shipped recording is made with.
pub const KASPAD_VERSION: &str = "2.1.0";

/// Keeps an index of unspent outputs.
const INDEX: &str = "--utxoindex";

const STARTS_MAX: usize = 3;
const READY_WITHIN: Duration = Duration::from_secs(60);

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No program.
    #[error(
        "no kaspad: {tried}. Install it with `cargo install kaspad --locked --version {KASPAD_VERSION}` (it needs \
         clang, libclang and protoc) and put it in PATH, or name it with {KASPAD_VARIABLE}"
    )]
    NotFound {
        /// Where it was looked for.
        tried: String,
    },
    /// The operating system refused.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It did not come up.
    #[error(
        "kaspad did not come up within {READY_WITHIN:?} and {STARTS_MAX} starts; the end of its log:\n{log}"
    )]
    NotReady {
        /// The end of its log.
        log: String,
    },
}

/// A running node.
#[derive(Debug)]
pub struct Node {
    child: Child,
    program: PathBuf,
    arguments: Vec<String>,
    url: String,
    // Removed after the child has ended.
    directory: TempDir,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Node {
    /// Starts a node under `params` and connects to it.
    pub async fn start(params: &Params) -> Result<(Self, Client), NodeError> {
        Self::start_on(params, None).await
    }

    /// The same; its borsh wRPC server listens on `port`, or on one that is free.
    pub async fn start_on(params: &Params, port: Option<u16>) -> Result<(Self, Client), NodeError> {
        let program = program()?;
        let mut log = String::new();
        for _ in 0..STARTS_MAX {
            let mut node = Self::spawn(&program, params, port)?;
            match node.connect().await {
                Some(client) => return Ok((node, client)),
                // Another process may have taken one of its ports: the next start has others.
                None => log = node.log_end(),
            }
        }
        Err(NodeError::NotReady { log })
    }

    /// The address of its borsh wRPC server.
    pub fn url(&self) -> &str {
        &self.url
    }

    fn spawn(program: &Path, params: &Params, port: Option<u16>) -> Result<Self, NodeError> {
        let io = |action| move |source| NodeError::Io { action, source };
        let directory = tempfile::Builder::new().prefix("reprise-kaspad-").tempdir();
        let directory = directory.map_err(io("make a directory for the node"))?;
        let overrides = directory.path().join("params.json");
        let json = serde_json::to_string(&OverrideParams::from(params.clone())).map_err(io::Error::other);
        fs::write(&overrides, json.map_err(io("write the node's parameters"))?)
            .map_err(io("write the node's parameters"))?;
        let [p2p, grpc, borsh, json] = free_ports().map_err(io("find free ports"))?;
        let borsh = port.unwrap_or(borsh);
        let mut arguments: Vec<String> =
            ["--simnet", INDEX, "--enable-unsynced-mining", "--unsaferpc", "--yes", "--nologfiles"]
                .into_iter()
                .chain(["--disable-upnp", "--nodnsseed", "--outpeers=0", "--ram-scale=0.3"])
                .map(Into::into)
                .collect();
        arguments.push(format!("--appdir={}", directory.path().display()));
        arguments.push(format!("--override-params-file={}", overrides.display()));
        let servers =
            [("listen", p2p), ("rpclisten", grpc), ("rpclisten-borsh", borsh), ("rpclisten-json", json)];
        arguments.extend(servers.map(|(server, port)| format!("--{server}=127.0.0.1:{port}")));
        let child = launch(program, &arguments, &directory)?;
        let url = format!("ws://127.0.0.1:{borsh}");
        Ok(Self { child, program: program.into(), arguments, url, directory })
    }

    /// Kills the process. Its data stay.
    pub fn stop(&mut self) {
        // The child may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it again where [`stop`](Self::stop) left it: same data, same ports.
    pub async fn start_again(&mut self) -> Result<Client, NodeError> {
        self.stop();
        self.child = launch(&self.program, &self.arguments, &self.directory)?;
        self.connect().await.ok_or_else(|| NodeError::NotReady { log: self.log_end() })
    }

    /// The same, with an index of unspent outputs or without.
    pub async fn start_again_with(&mut self, index: bool) -> Result<Client, NodeError> {
        self.arguments.retain(|argument| argument != INDEX);
        self.arguments.extend(index.then(|| INDEX.to_owned()));
        self.start_again().await
    }

    /// Connects as soon as the node listens; `None` where it exits or does not listen in time.
    async fn connect(&mut self) -> Option<Client> {
        let started = Instant::now();
        while started.elapsed() < READY_WITHIN && matches!(self.child.try_wait(), Ok(None)) {
            if let Ok(client) = client::connect(&self.url).await {
                return Some(client);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        None
    }

    fn log_end(&self) -> String {
        let log = fs::read_to_string(log_path(&self.directory)).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(10)..].join("\n")
    }
}

fn launch(program: &Path, arguments: &[String], directory: &TempDir) -> Result<Child, NodeError> {
    let io = |action| move |source| NodeError::Io { action, source };
    let log = File::create(log_path(directory)).map_err(io("make the node's log"))?;
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::from(log.try_clone().map_err(io("make the node's log"))?))
        .stderr(Stdio::from(log))
        .spawn()
        .map_err(io("start kaspad"))
}

fn log_path(directory: &TempDir) -> PathBuf {
    directory.path().join("kaspad.log")
}

/// The node's program.
pub fn program() -> Result<PathBuf, NodeError> {
    if let Some(named) = std::env::var_os(KASPAD_VARIABLE) {
        let named = PathBuf::from(named);
        let tried = || format!("{KASPAD_VARIABLE} names {}, which is no file", named.display());
        return if named.is_file() { Ok(named) } else { Err(NodeError::NotFound { tried: tried() }) };
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&path).map(|directory| directory.join("kaspad")).find(|it| it.is_file());
    found.ok_or_else(|| NodeError::NotFound { tried: "none in PATH".into() })
}

/// Four ports of loopback that were free a moment ago.
fn free_ports() -> io::Result<[u16; 4]> {
    // Held together, so that they differ.
    let listeners: Vec<_> = (0..4).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<_>>()?;
    let mut ports = [0; 4];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}
