//! A run's API and page, as a browser or a script reads them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use serde_json::Value;

use crate::command::{command, json, last_line, reprise};

/// A command that serves.
pub(crate) struct Served {
    child: Child,
    said: BufReader<ChildStderr>,
    pub(crate) address: String,
}

impl Served {
    /// A run.
    pub(crate) fn start(dir: &std::path::Path, args: &[&str]) -> Self {
        Self::of(dir, &[&["run", "--prove-apart", "always"], args].concat())
    }

    /// A command with these arguments, from the line on in which it says where it serves.
    pub(crate) fn of(dir: &std::path::Path, args: &[&str]) -> Self {
        let mut command = command(dir, &[args, &["--backend", "mock", "--api", "127.0.0.1:0"]].concat());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let (_, address) = line.trim().split_once("http://").unwrap_or_else(|| panic!("{line}"));
        let address = address.trim_end_matches('/').to_owned();
        Self { child, said, address }
    }

    /// Reads what it says up to a line that begins so.
    pub(crate) fn until(&mut self, beginning: &str) {
        let mut line = String::new();
        while !line.starts_with(beginning) {
            line.clear();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "it never said {beginning}");
        }
    }

    pub(crate) fn get(&self, path: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        connection.read_to_string(&mut page).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// The stream of changes, with its head.
    pub(crate) fn events(&self) -> BufReader<TcpStream> {
        let mut connection = TcpStream::connect(&self.address).unwrap();
        connection.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        BufReader::new(connection)
    }

    pub(crate) fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        serde_json::from_str(&body).unwrap()
    }

    /// Asks it to stop, and waits for its end.
    pub(crate) fn stop(self) -> std::process::Output {
        self.interrupt();
        self.wait()
    }

    /// Asks it to stop.
    pub(crate) fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    /// Waits for its end.
    pub(crate) fn wait(mut self) -> std::process::Output {
        std::io::copy(&mut self.said, &mut std::io::sink()).unwrap();
        self.child.wait_with_output().unwrap()
    }
}

#[test]
fn a_run_is_served_while_it_proves_and_after_its_end_until_it_is_stopped() {
    let dir = tempfile::tempdir().unwrap();
    let linger = ["--api-linger", "always", "--mock-cost", "30,30,30", "--price-per-hour", "3.6", "--json"];
    let mut run = Served::start(dir.path(), &linger);
    // By the second line the first proof is published.
    run.until("proved");
    run.until("proved");
    let during = run.json("/v1/status");
    assert_eq!(during["ended"], false);
    assert!(during["counts"]["proofs"].as_u64().unwrap() > 0);
    run.until("the run has ended");
    let status = run.json("/v1/status");
    assert_eq!(status["ended"], true);
    assert_eq!(status["l1"], "recording:shipped");
    let chain = run.json("/v1/chain");
    let blocks = chain["blocks"].as_array().unwrap();
    assert_eq!(blocks.len(), 42);
    assert_eq!(blocks.iter().filter(|block| block["flips"] == 1).count(), 5);
    for statement in run.json("/v1/statements?limit=500")["items"].as_array().unwrap() {
        assert!(statement["proofs"].as_u64().unwrap() <= 1, "{statement}");
    }
    let economics = run.json("/v1/economics");
    assert!(economics["total"]["saved_by_hits"]["money"].as_f64().unwrap() > 0.0, "{economics}");
    let (status, metrics) = run.get("/metrics");
    assert!(status == 200 && metrics.contains("reprise_settlements_total"), "{metrics}");
    assert_eq!(run.get("/health").0, 200);
    let (status, page) = run.get("/");
    assert!(status == 200 && page.contains("<h1>Reprise</h1>"));

    let output = run.stop();
    assert!(output.status.success());
    let report = last_line(&output);
    assert_eq!(report["proofs_after_flip"], 0);
    assert_eq!(report["violations"], 0);
    assert_eq!(report["prove_calls"], status_of(&chain, "proved"));
}

#[test]
fn an_account_that_the_api_answers_is_the_one_in_the_directory_and_a_server_that_is_none_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Served::start(dir.path(), &["--api-linger", "always"]);
    run.until("the run has ended");
    let bob = "603049bbdded37b8cf741ebef1a39c8bd1935efe6689553ceddfa76dad853fcb";
    let url = format!("http://{}", run.address);
    let elsewhere = tempfile::tempdir().unwrap();
    let by_api = json(elsewhere.path(), &["account", bob, "--backend", "mock", "--api", &url]);
    assert_eq!(by_api["balance"], 1_164_000_000);
    assert_eq!(by_api, json(dir.path(), &["account", bob, "--backend", "mock"]));
    let account = run.json(&format!("/v1/accounts/{bob}"));
    for field in ["balance", "nonce", "exists", "checkpoint", "proof"] {
        assert_eq!(account[field], by_api[field], "{field}");
    }
    let at_tip = json(elsewhere.path(), &["account", bob, "--backend", "mock", "--api", &url, "--tip"]);
    assert_eq!((&at_tip["settled"], &at_tip["proof"]["settlement"]), (&Value::Bool(false), &Value::Null));
    assert!(run.stop().status.success());
    // Nobody answers there any more.
    let gone = reprise(elsewhere.path(), &["account", bob, "--backend", "mock", "--api", &url]);
    assert_eq!(gone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&gone.stderr).contains(&url));
}

/// How often a statement came to a state.
fn status_of(chain: &Value, state: &str) -> u64 {
    let placed =
        chain["blocks"].as_array().unwrap().iter().flat_map(|block| block["statements"].as_array().unwrap());
    let steps = placed.flat_map(|placed| placed["history"].as_array().unwrap());
    steps.filter(|step| step["state"] == state).count() as u64
}

#[test]
fn without_a_terminal_a_run_ends_with_its_chain() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Served::start(dir.path(), &[]);
    std::io::copy(&mut run.said, &mut std::io::sink()).unwrap();
    assert!(run.child.wait().unwrap().success());
}

#[test]
fn what_others_could_reach_is_refused_without_a_token_before_anything_begins() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let refused = |args: &[&str]| {
        let args = [&["run", "--backend", "mock"], args].concat();
        let output = reprise(&data, &args);
        assert!(!data.exists(), "nothing was begun");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    let open = refused(&["--api", "0.0.0.0:0"]);
    assert!(open.contains("--api-token-file") && open.contains("0.0.0.0"), "{open}");
    let file = dir.path().join("token");
    let path = file.to_str().unwrap();
    let missing = refused(&["--api", "127.0.0.1:0", "--api-token-file", path]);
    assert!(missing.contains("--api-token-file") && missing.contains(path), "{missing}");
    std::fs::write(&file, "secret").unwrap();
    let short = refused(&["--api", "127.0.0.1:0", "--api-token-file", path]);
    assert!(short.contains("16 characters"), "{short}");
    assert!(!short.contains("secret"), "{short}");
    assert!(refused(&["--api", "here"]).contains("IP:PORT"));
    assert!(refused(&["--price-per-hour", "cheap"]).contains("--price-per-hour"));
    assert!(refused(&["--api-linger", "maybe"]).contains("always, never or auto"));
}

#[test]
fn clients_that_hang_ask_too_much_and_never_read_change_nothing_about_a_run() {
    let (alone, beset) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let quiet = json(alone.path(), &["run", "--backend", "mock", "--prove-apart", "always"]);
    let mut run = Served::start(beset.path(), &["--mock-cost", "20,20,20", "--json"]);
    // As many as there may be, and more: idle, half a request, and answers that nobody reads.
    let mut clients = vec![];
    for number in 0..200 {
        let Ok(mut client) = TcpStream::connect(&run.address) else { continue };
        client.set_nonblocking(true).unwrap();
        let text = match number % 3 {
            0 => String::new(),
            1 => "GET /v1/chain HTTP/1.1\r\nHost: loc".to_owned(),
            _ => "GET /v1/chain HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(200),
        };
        let _ = client.write(text.as_bytes());
        clients.push(client);
    }
    std::io::copy(&mut run.said, &mut std::io::sink()).unwrap();
    let output = run.child.wait_with_output().unwrap();
    assert!(output.status.success());
    let report = last_line(&output);
    for field in [
        "prove_calls",
        "wanted",
        "settlements",
        "state_root",
        "violations",
        "hits",
        "merged",
        "proofs_after_flip",
    ] {
        assert_eq!(report[field], quiet[field], "{field}");
    }
    drop(clients);
}
