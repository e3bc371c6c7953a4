//! Events as Prometheus metrics: `run --metrics ADDR` serves them at `http://ADDR/metrics`, and the node's health at
//! `http://ADDR/health`.
//!
//! `GET /health` answers 200 while the health is green or degraded and 503 while it is red, with a body in JSON:
//! `{"health":"red","reasons":["waiting for the disk: …"]}`.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `reprise_proofs_total` | `kind`, `outcome` | attempts that ended: `proved` or `failed` |
//! | `reprise_proving_ms` | `kind`, `account` | milliseconds of proving, as the backend measures them: `spent`, `saved_by_hits`, `saved_by_merging`, `lost_to_reorgs`, `lost_to_failures` |
//! | `reprise_hits_total` | `kind` | needed statements that a look-up found stored |
//! | `reprise_reused_total` | | stored statements wanted at one more place |
//! | `reprise_merged_total` | `kind` | requests that shared a proof with another |
//! | `reprise_unwanted_total` | `kind` | proofs that were no longer wanted when they were stored |
//! | `reprise_device_failures_total` | `device` | attempts that failed, by device; `hung` for those written off |
//! | `reprise_devices_suspended` | | devices that are suspended because they failed several times in a row; each is tried again from time to time |
//! | `reprise_healthy` | | 0 while the health is red, else 1 |
//! | `reprise_condition` | `reason`, `level` | 1 while this reason holds at this level, `degraded` or `red`, else 0; every reason of `docs/operations.md` |
//! | `reprise_store_reads_total` | `tier`, `outcome` | reads of receipts by each tier of the store: `hit`, `miss`, or `error` |
//! | `reprise_stored_total` | `kind` | receipts made durable |
//! | `reprise_proving` | | proofs running now |
//! | `reprise_queued` | | statements waiting to be looked up or proved |
//! | `reprise_blocks_total`, `reprise_reorgs_total` | | blocks that joined the view; events that removed some |
//! | `reprise_tip_checkpoint`, `reprise_prune_floor` | | the checkpoint of the canonical tip; the prune floor |
//! | `reprise_l1_connected`, `reprise_l1_disconnected_seconds` | | of a live L1: 1 while there is a connection; for how long there is none |
//! | `reprise_l1_last_block_age_seconds`, `reprise_l1_pages_behind` | | how long ago its last block was mined; pages of blocks that wait to be followed |
//! | `reprise_l1_reached`, `reprise_l1_goal` | | how far it is followed, and how far it goes, in its own count of blocks |
//! | `reprise_settlements_total`, `reprise_refusals_total` | | settlements observed; submissions refused, the second with the label `reason` |

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use metrics::{counter, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reprise_model::order::Order;
use reprise_model::statement::Kind;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::health::{Health, Level, Reason};
use reprise_node::report::Seconds;
use reprise_node::statistics::Statistics;
use reprise_store::ReceiptStore;
use reprise_store::port::TierStats;
use serde_json::json;

/// The metrics and the health that are served.
struct Served {
    metrics: PrometheusHandle,
    health: Mutex<Health>,
}

impl Served {
    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let respond = |status: StatusCode, kind: &'static str, body: String| {
            let mut response = Response::new(Full::from(body));
            *response.status_mut() = status;
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
            response
        };
        const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
        match (method, path) {
            (&Method::GET, "/metrics") => respond(StatusCode::OK, TEXT, self.metrics.render()),
            (&Method::GET, "/health") => {
                let health = self.health();
                let (status, word) = match health.level() {
                    Level::Green => (StatusCode::OK, "green"),
                    Level::Degraded => (StatusCode::OK, "degraded"),
                    Level::Red => (StatusCode::SERVICE_UNAVAILABLE, "red"),
                };
                let reasons: Vec<String> = health.reasons().iter().map(ToString::to_string).collect();
                let body = json!({ "health": word, "reasons": reasons }).to_string();
                respond(status, "application/json", body)
            }
            (_, "/metrics" | "/health") => {
                let mut refused = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, "say GET\n".into());
                refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
                refused
            }
            _ => respond(StatusCode::NOT_FOUND, TEXT, "there is /metrics and /health\n".into()),
        }
    }
}

/// How long a client may take to send its request.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);

/// Serves on a thread of its own until the process ends.
fn serve(listener: TcpListener, served: Arc<Served>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let listen = async move {
        let listener = match tokio::net::TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return tracing::error!(%error, "metrics are not served"),
        };
        loop {
            let stream = match listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // For instance too many open files: the served requests end and close theirs.
                    tracing::warn!(%error, "a request for metrics is not answered");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let served = served.clone();
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = served.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let mut connection = http1::Builder::new();
            connection.timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
            let connection = connection.serve_connection(TokioIo::new(stream), answer);
            tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(%error, "a request for metrics ended early");
                }
            });
        }
    };
    std::thread::Builder::new().name("metrics".into()).spawn(move || runtime.block_on(listen))?;
    Ok(())
}

/// The observer that turns events into metrics, and serves them and the health.
pub(crate) struct Metered<'a> {
    inner: &'a mut dyn Observer,
    served: Arc<Served>,
    store: Arc<dyn ReceiptStore>,
    statistics: Statistics,
}

impl<'a> Metered<'a> {
    /// Starts serving.
    pub(crate) fn serve(
        address: SocketAddr,
        store: Arc<dyn ReceiptStore>,
        inner: &'a mut dyn Observer,
    ) -> Result<Self, String> {
        let refused =
            |reason: String| format!("cannot serve metrics there, choose another address and port: {reason}");
        let listener = TcpListener::bind(address).map_err(|e| refused(e.to_string()))?;
        let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| refused(e.to_string()))?;
        let served = Arc::new(Served { metrics, health: Mutex::default() });
        serve(listener, served.clone()).map_err(|e| refused(e.to_string()))?;
        gauge!("reprise_healthy").set(1.0);
        gauge!("reprise_devices_suspended").set(0.0);
        conditions(&Health::default());
        Ok(Self { inner, served, store, statistics: Statistics::default() })
    }
}

impl Metered<'_> {
    /// Updates the accounts of proving time.
    fn account(&mut self, event: &PipelineEvent) {
        self.statistics.on_event(event);
        if !matches!(
            event,
            PipelineEvent::Proved { .. } | PipelineEvent::Served { .. } | PipelineEvent::Reused(..)
        ) {
            return;
        }
        let Seconds { spent, saved_by_hits, saved_by_merging, lost_to_reorgs, lost_to_failures } =
            self.statistics.seconds();
        for (account, by) in [
            ("spent", spent),
            ("saved_by_hits", saved_by_hits),
            ("saved_by_merging", saved_by_merging),
            ("lost_to_reorgs", lost_to_reorgs),
            ("lost_to_failures", lost_to_failures),
        ] {
            let kinds = [by.transaction, by.batch, by.aggregate];
            for (kind, seconds) in Kind::ALL.into_iter().zip(kinds) {
                // A gauge, because time that counted as lost is no longer lost once its proof is used.
                gauge!("reprise_proving_ms", "kind" => kind.to_string(), "account" => account)
                    .set((seconds * 1000.0).round());
            }
        }
    }
}

/// Sets which reasons hold.
fn conditions(health: &Health) {
    for name in Reason::names() {
        for level in [Level::Degraded, Level::Red] {
            let stands = health.reasons().iter().any(|it| it.name() == name && it.level() == level);
            gauge!("reprise_condition", "reason" => name, "level" => level.to_string())
                .set(f64::from(u8::from(stands)));
        }
    }
}

fn kind(order: &Order) -> String {
    order.kind().to_string()
}

impl Observer for Metered<'_> {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, .. } => {
                counter!("reprise_blocks_total").increment(event.added.len() as u64);
                counter!("reprise_reorgs_total").increment(u64::from(!event.removed.is_empty()));
                if let Some(tip) = event.added.last() {
                    gauge!("reprise_tip_checkpoint").set(tip.metadata.checkpoint.0 as f64);
                }
            }
            PipelineEvent::Found { order, .. } => {
                counter!("reprise_hits_total", "kind" => kind(order)).increment(1);
            }
            PipelineEvent::Reused(..) => counter!("reprise_reused_total").increment(1),
            PipelineEvent::Proving(_) => gauge!("reprise_proving").increment(1.0),
            PipelineEvent::Proved { order, failure, device, .. } => {
                let outcome = if failure.is_some() { "failed" } else { "proved" };
                gauge!("reprise_proving").decrement(1.0);
                counter!("reprise_proofs_total", "kind" => kind(order), "outcome" => outcome).increment(1);
                if failure.is_some() {
                    let device = device.map_or("hung".to_owned(), |device| device.to_string());
                    counter!("reprise_device_failures_total", "device" => device).increment(1);
                }
            }
            PipelineEvent::Served { order, requests, wanted } => {
                counter!("reprise_merged_total", "kind" => kind(order)).increment(requests.saturating_sub(1));
                counter!("reprise_unwanted_total", "kind" => kind(order)).increment(u64::from(!wanted));
            }
            PipelineEvent::Connection(l1) => {
                gauge!("reprise_l1_connected").set(f64::from(u8::from(l1.connected)));
                gauge!("reprise_l1_disconnected_seconds").set(l1.disconnected_seconds as f64);
                gauge!("reprise_l1_pages_behind").set(l1.pages_behind as f64);
                if l1.goal > 0 {
                    gauge!("reprise_l1_reached").set(l1.reached as f64);
                    gauge!("reprise_l1_goal").set(l1.goal as f64);
                }
                if let Some(age) = l1.last_block_age_seconds {
                    gauge!("reprise_l1_last_block_age_seconds").set(age as f64);
                }
            }
            PipelineEvent::Health(health) => {
                self.served.health().clone_from(health);
                gauge!("reprise_healthy").set(f64::from(u8::from(!health.is_red())));
                conditions(health);
                let is_device = |reason: &&Reason| matches!(reason, Reason::Device { .. });
                let suspended = health.reasons().iter().filter(is_device).count();
                gauge!("reprise_devices_suspended").set(suspended as f64);
            }
            PipelineEvent::Stored(order) => {
                counter!("reprise_stored_total", "kind" => kind(order)).increment(1)
            }
            PipelineEvent::Settled(_) => counter!("reprise_settlements_total").increment(1),
            PipelineEvent::Refused(refused) => {
                counter!("reprise_refusals_total", "reason" => refused.cause.name()).increment(1);
            }
            PipelineEvent::Pruned(floor) => gauge!("reprise_prune_floor").set(floor.0 as f64),
            PipelineEvent::Queue { queued, .. } => {
                gauge!("reprise_queued").set(*queued as f64);
                for TierStats { name, hits, misses, errors, .. } in self.store.tiers() {
                    for (outcome, reads) in [("hit", hits), ("miss", misses), ("error", errors)] {
                        counter!("reprise_store_reads_total", "tier" => name, "outcome" => outcome)
                            .absolute(reads);
                    }
                }
            }
            PipelineEvent::Orphaned { .. }
            | PipelineEvent::Lost(_)
            | PipelineEvent::Missed(_)
            | PipelineEvent::Diverged(_)
            | PipelineEvent::Published(_)
            | PipelineEvent::States(_)
            | PipelineEvent::Submitted(_) => {}
        }
        self.account(event);
        self.inner.on_event(event);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;

    /// The status and the body of the answer.
    fn said(address: SocketAddr, request: &str) -> (u16, String) {
        let mut connection = TcpStream::connect(address).unwrap();
        let head = format!("{request} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        let mut page = String::new();
        connection.read_to_string(&mut page).unwrap();
        let (head, body) = page.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    #[test]
    fn every_metric_is_in_the_table_of_this_module() {
        let (page, code) = include_str!("metrics.rs").split_once("\nuse ").unwrap();
        let names = code.split("!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let names: Vec<_> = names.filter(|name| name.starts_with("reprise_")).collect();
        assert!(names.len() > 20, "{names:?}");
        for name in names {
            assert!(page.contains(&format!("`{name}`")), "the table lacks {name}");
        }
    }

    #[test]
    fn health_is_200_while_green_and_503_with_its_reasons_while_red() {
        let metrics = PrometheusBuilder::new().build_recorder().handle();
        let served = Arc::new(Served { metrics, health: Mutex::default() });
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        serve(listener, served.clone()).unwrap();
        let green = (200, json!({ "health": "green", "reasons": [] }).to_string());
        assert_eq!(said(address, "GET /health"), green);
        let full = Reason::Disk { error: "No space left on device".into() };
        *served.health() = Health::from(vec![full.clone()]);
        let red = json!({ "health": "red", "reasons": [full.to_string()] }).to_string();
        assert_eq!(said(address, "GET /health"), (503, red));
        *served.health() = Health::default();
        assert_eq!(said(address, "GET /health"), green);
        assert_eq!(said(address, "GET /metrics").0, 200);
        assert_eq!(said(address, "GET /").0, 404);
        assert_eq!(said(address, "POST /health").0, 405);
    }
}
