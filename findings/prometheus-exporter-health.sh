#!/usr/bin/env bash
# metrics-exporter-prometheus: its listener answers every path, and /health says OK whatever the program is doing.
#
# Version:      metrics-exporter-prometheus 0.18.3 (crates.io), feature http-listener
# One guesses:  the listener serves /metrics and answers 404 to the rest; a health check against it fails.
# It does:      /health is 200 with the body OK; any other path is 200 with the metrics.
# It matters:   a load balancer or an orchestrator that is pointed at /health, /healthz or /readyz of the metrics port
#               always sees a healthy program.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/src"
cat >"$work/Cargo.toml" <<'TOML'
[package]
name = "finding"
edition = "2024"
[dependencies]
metrics = "0.24"
metrics-exporter-prometheus = { version = "=0.18.3", default-features = false, features = ["http-listener"] }
tokio = { version = "1", features = ["io-util", "macros", "net", "rt-multi-thread"] }
[workspace]
TOML
cat >"$work/src/main.rs" <<'RUST'
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[tokio::main]
async fn main() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
    let (recorder, exporter) = builder.with_http_listener(([127, 0, 0, 1], port)).build().unwrap();
    metrics::set_global_recorder(recorder).unwrap();
    metrics::counter!("blocks").increment(1);
    tokio::spawn(exporter);
    for path in ["/metrics", "/health", "/healthz", "/no/such/path"] {
        let mut stream = loop {
            match tokio::net::TcpStream::connect(("127.0.0.1", port)).await {
                Ok(stream) => break stream,
                Err(_) => tokio::task::yield_now().await,
            }
        };
        let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap();
        let what = if answer.contains("blocks 1") { "the metrics" } else { answer.rsplit("\r\n").next().unwrap() };
        println!("{path}: {status}, {what}");
    }
}
RUST
found=$(cargo run --quiet --manifest-path "$work/Cargo.toml")
echo "$found"
expected="/metrics: 200, the metrics
/health: 200, OK
/healthz: 200, the metrics
/no/such/path: 200, the metrics"
[ "$found" = "$expected" ] || { echo "this has changed; it was:"; echo "$expected"; exit 1; }
