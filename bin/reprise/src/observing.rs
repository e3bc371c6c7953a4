//! What a run serves of itself: the metrics, and the API with its page.

use std::sync::Arc;

use reprise_api::projection::{Projection, Window};
use reprise_api::publisher::{Publisher, now_ms};
use reprise_api::served::{Exposed, Facts, Metrics, Served};
use reprise_api::server::{self, Endpoint, Limits, Token};
use reprise_api::state::ReadAccount;
use reprise_api::view::Level;
use reprise_jobs::Queue;
use reprise_node::event::Observer;
use reprise_node::pulse::Pulse;
use reprise_store::ReceiptStore;

#[cfg(feature = "fleet")]
use metrics_exporter_prometheus::PrometheusBuilder;

use crate::failure::Failure;
use crate::metrics::{Metered, health_now};
use crate::settings::Settings;

/// The node that is observed.
pub(crate) struct Observed {
    /// The name of its L1.
    pub(crate) l1: String,
    /// The name of its backend.
    pub(crate) backend: String,
    /// Whether its thread goes on.
    pub(crate) pulse: Pulse,
    /// How its workload's accounts are read.
    pub(crate) accounts: Option<ReadAccount>,
    /// How many proofs run at a time.
    pub(crate) permits: usize,
    /// Its receipts.
    pub(crate) store: Arc<dyn ReceiptStore>,
    /// The jobs of its fleet, if it has one.
    pub(crate) jobs: Option<Queue>,
    /// How its fleet stands, for Prometheus.
    pub(crate) fleet_metrics: Metrics,
}

/// The token of the API, and whether it may be served where the settings say. Changes nothing.
pub(crate) fn check(settings: &Settings) -> Result<Option<Token>, Failure> {
    let token = settings.observing.token().map_err(|e| settings.refuse("api-token-file", e))?;
    if let Some(address) = settings.observing.api {
        server::check(address, token.as_ref()).map_err(|e| settings.refuse("api", e))?;
    }
    Ok(token)
}

/// Starts serving what the settings ask for. Returns the observers that it lives on.
pub(crate) fn serve(
    settings: &Settings,
    token: Option<Token>,
    observed: Observed,
) -> Result<Vec<Box<dyn Observer>>, Failure> {
    let observing = &settings.observing;
    if observing.metrics.is_none() && observing.api.is_none() {
        return Ok(vec![]);
    }
    let Observed { l1, backend, pulse, accounts, permits, store, jobs, fleet_metrics } = observed;
    let (metered, handle) = Metered::install(store.clone()).map_err(|e| settings.refuse("metrics", e))?;
    let price_per_hour = observing.price_per_hour;
    let publisher = Publisher::new(Projection::new(permits, Window::default(), price_per_hour));
    let started_ms = now_ms();
    let facts = Facts {
        version: env!("CARGO_PKG_VERSION").into(),
        run: format!("{started_ms:x}"),
        l1,
        backend,
        started_ms,
        price_per_hour,
        accounts,
        pulse: Some(pulse.clone()),
    };
    let limits = Limits::default();
    let views = publisher.views();
    let render = Box::new(move || {
        health_now(views.borrow().health.level == Level::Red, &pulse);
        handle.render() + &fleet_metrics()
    });
    let served = Served::new(facts, publisher.views(), render, store, jobs, limits.streams);
    let mut endpoints = vec![];
    if let Some(address) = observing.metrics {
        let endpoint = Endpoint::metrics(address, Exposed::of(&served), limits);
        let endpoint = endpoint.map_err(|e| settings.refuse("metrics", e))?;
        tell_metrics(&endpoint);
        endpoints.push(endpoint);
    }
    if let Some(address) = observing.api {
        let endpoint =
            Endpoint::api(address, served, token, limits).map_err(|e| settings.refuse("api", e))?;
        eprintln!("the node can be watched at http://{}/", endpoint.address());
        endpoints.push(endpoint);
    }
    server::serve(endpoints).map_err(|e| Failure::Other(e.to_string()))?;
    Ok(vec![Box::new(metered), Box::new(publisher)])
}

fn tell_metrics(endpoint: &Endpoint) {
    eprintln!("metrics are at http://{}/metrics", endpoint.address());
}

/// Serves the metrics and the health of a worker, where the settings ask for it. Call it before anything is counted.
#[cfg(feature = "fleet")]
pub(crate) fn serve_worker(
    settings: &Settings,
    sampler: crate::fleet_metrics::Sampler,
) -> Result<(), Failure> {
    let Some(address) = settings.observing.metrics else { return Ok(()) };
    let refused = |reason: String| settings.refuse("metrics", reason);
    let handle = PrometheusBuilder::new().install_recorder().map_err(|e| refused(e.to_string()))?;
    let sampled = sampler.clone();
    let render = move || {
        let healthy = sampler.health().level != Level::Red;
        metrics::gauge!("reprise_healthy").set(f64::from(u8::from(healthy)));
        handle.render() + &sampler.render()
    };
    let exposed = Exposed::new(Box::new(render), Box::new(move || sampled.health()));
    let endpoint = Endpoint::metrics(address, exposed, Limits::default());
    let endpoint = endpoint.map_err(|e| refused(e.to_string()))?;
    tell_metrics(&endpoint);
    server::serve(vec![endpoint]).map_err(|e| Failure::Other(e.to_string()))
}
