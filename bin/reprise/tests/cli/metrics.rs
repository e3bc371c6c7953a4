//! A run's metrics, as Prometheus would read them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Stdio;

use crate::command::command;

#[test]
fn a_run_serves_what_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let args = [
        "run",
        "--backend",
        "mock",
        "--prove-apart",
        "always",
        "--mock-cost",
        "300,300,300",
        "--metrics",
        "127.0.0.1:0",
    ];
    let mut child = command(dir.path(), &args).stderr(Stdio::piped()).spawn().unwrap();
    // Its first line says where it serves, the next that it has proved something.
    let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
    let served = said.next().unwrap().unwrap();
    let address = served.strip_prefix("metrics are at http://").and_then(|it| it.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{served}"));
    assert!(said.next().unwrap().unwrap().starts_with("proved"));

    let get = |path: &str| {
        let mut connection = TcpStream::connect(address).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).unwrap();
        let mut page = String::new();
        connection.read_to_string(&mut page).unwrap();
        page
    };
    let (page, health, nowhere) = (get("/metrics"), get("/health"), get("/v1/status"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(health.starts_with("HTTP/1.1 200 "), "{health}");
    assert!(health.ends_with("{\"health\":\"green\",\"reasons\":[]}"), "{health}");
    assert!(nowhere.starts_with("HTTP/1.1 404 ") && nowhere.contains("/metrics and /health"), "{nowhere}");
    for line in [
        "reprise_proofs_total{kind=\"transaction\",outcome=\"proved\"}",
        "reprise_blocks_total 11",
        "reprise_proving ",
        "reprise_queued ",
        "reprise_store_reads_total{tier=\"memory\",outcome=\"miss\"}",
        "reprise_store_reads_total{tier=\"disk\",outcome=\"error\"} 0",
    ] {
        assert!(page.contains(line), "no `{line}` in:\n{page}");
    }
}
