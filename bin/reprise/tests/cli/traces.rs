//! Traces, as a collector in this process takes them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use serde_json::Value;

use crate::command::command;

/// A collector: what is sent to it, request by request, until its address is no longer used.
fn collector() -> (String, mpsc::Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sent, received) = mpsc::channel();
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let (mut connection, sent) = (BufReader::new(connection.unwrap()), sent.clone());
            std::thread::spawn(move || {
                loop {
                    let (mut head, mut length, mut line) = (String::new(), 0, String::new());
                    while line != "\r\n" {
                        line.clear();
                        if connection.read_line(&mut line).unwrap_or(0) == 0 {
                            return;
                        }
                        if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                            length = value.trim().parse().unwrap();
                        }
                        head.push_str(&line);
                    }
                    assert!(head.starts_with("POST /v1/traces "), "{head}");
                    let mut body = vec![0; length];
                    connection.read_exact(&mut body).unwrap();
                    sent.send(serde_json::from_slice(&body).unwrap()).unwrap();
                    let answer =
                        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
                    connection.get_mut().write_all(answer.as_bytes()).unwrap();
                }
            });
        }
    });
    (url, received)
}

fn spans(received: &mpsc::Receiver<Value>) -> Vec<Value> {
    let list = |it: &Value, name: &str| it[name].as_array().cloned().unwrap_or_default();
    let of =
        |sent: Value| list(&sent, "resourceSpans").into_iter().flat_map(move |it| list(&it, "scopeSpans"));
    received.try_iter().flat_map(of).flat_map(|scope| list(&scope, "spans")).collect()
}

#[test]
fn a_block_has_one_trace_from_its_acceptance_over_its_proofs_to_its_settlement() {
    let (url, received) = collector();
    let dir = tempfile::tempdir().unwrap();
    let args = ["run", "--backend", "mock", "--prove-apart", "always", "--mock-cost", "2,2,2"];
    let output = command(dir.path(), &args).env("OTEL_EXPORTER_OTLP_ENDPOINT", &url).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let spans = spans(&received);
    let mut traces = BTreeMap::<&str, Vec<&Value>>::new();
    for span in &spans {
        traces.entry(span["traceId"].as_str().unwrap()).or_default().push(span);
    }
    // The recording has eight blocks with lane transactions, on both forks.
    assert_eq!(traces.len(), 8, "{traces:#?}");
    let number = |span: &Value, name: &str| -> u64 { span[name].as_str().unwrap().parse().unwrap() };
    let mut settled = 0;
    for trace in traces.values() {
        let roots: Vec<_> = trace.iter().filter(|span| span["name"] == "block").collect();
        assert_eq!(roots.len(), 1, "{trace:#?}");
        let root = roots[0];
        let (begin, end) = (number(root, "startTimeUnixNano"), number(root, "endTimeUnixNano"));
        let names = |name: &str| trace.iter().filter(|span| span["name"] == name).count();
        assert_eq!(names("execute"), 1);
        let events = root["events"].as_array().cloned().unwrap_or_default();
        let has = |name: &str| events.iter().any(|event| event["name"] == name);
        // A block may find everything stored that it wants.
        assert!(names("prove") > 0 || has("reused"), "{trace:#?}");
        assert_eq!(names("store"), names("prove"), "{trace:#?}");
        for span in trace.iter().filter(|span| span["name"] != "block") {
            assert_eq!(span["parentSpanId"], root["spanId"]);
            assert!(
                number(span, "startTimeUnixNano") >= begin && number(span, "endTimeUnixNano") <= end,
                "{span}"
            );
        }
        settled += usize::from(has("settled"));
    }
    // Those of the fork that did not return are not settled.
    assert!((5..8).contains(&settled), "{settled}");
    assert!(spans.iter().filter(|span| span["name"] == "prove").count() > 15);
    assert!(spans.iter().any(|span| span["name"] == "settle"));
}

#[test]
fn a_collector_that_is_away_costs_the_run_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = command(dir.path(), &["run", "--backend", "mock"]);
    let output = command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("0 violations; health green"));
}
