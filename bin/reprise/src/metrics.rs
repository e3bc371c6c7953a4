//! What happens, as Prometheus metrics: `run --metrics ADDR` serves them at `http://ADDR/metrics`.
//!
//! | metric | labels | meaning |
//! |---|---|---|
//! | `reprise_proofs_total` | `kind`, `outcome` | attempts that ended: `proved` or `failed` |
//! | `reprise_proving_ms_total` | `kind` | milliseconds spent in them |
//! | `reprise_hits_total` | `kind` | needed statements that a look-up found stored |
//! | `reprise_reused_total` | | stored statements wanted at one more place |
//! | `reprise_saved_ms_total` | `kind` | milliseconds that found proofs took once |
//! | `reprise_stored_total` | `kind` | receipts made durable |
//! | `reprise_proving` | | proofs running now |
//! | `reprise_queued` | | statements waiting to be looked up or proved |
//! | `reprise_blocks_total`, `reprise_reorgs_total` | | blocks that joined the view; events that removed some |
//! | `reprise_tip_checkpoint` | | the canonical tip |
//! | `reprise_settlements_total`, `reprise_refusals_total` | | settlements observed; submissions refused |

use std::net::SocketAddr;

use metrics::{counter, gauge};
use metrics_exporter_prometheus::PrometheusBuilder;
use reprise_model::order::Order;
use reprise_node::happening::{Happening, Observer};

use crate::failure::Failure;

/// Serves metrics at `address`, and passes on what it hears.
pub(crate) struct Metered<'a>(&'a mut dyn Observer);

impl<'a> Metered<'a> {
    /// Starts serving.
    pub(crate) fn serve(address: SocketAddr, inner: &'a mut dyn Observer) -> Result<Self, Failure> {
        PrometheusBuilder::new()
            .with_http_listener(address)
            .install()
            .map_err(|e| Failure::usage(format!("--metrics {address}: cannot serve metrics there: {e}")))?;
        Ok(Self(inner))
    }
}

fn kind(order: &Order) -> String {
    order.kind().to_string()
}

impl Observer for Metered<'_> {
    fn hear(&mut self, happening: &Happening) {
        match happening {
            Happening::Chain { event, .. } => {
                counter!("reprise_blocks_total").increment(event.added.len() as u64);
                counter!("reprise_reorgs_total").increment(u64::from(!event.removed.is_empty()));
                if let Some(tip) = event.added.last() {
                    gauge!("reprise_tip_checkpoint").set(tip.metadata.checkpoint.0 as f64);
                }
            }
            Happening::Found { order, took } => {
                counter!("reprise_hits_total", "kind" => kind(order)).increment(1);
                counter!("reprise_saved_ms_total", "kind" => kind(order)).increment(took.as_millis() as u64);
            }
            Happening::Reused(_) => counter!("reprise_reused_total").increment(1),
            Happening::Proving(_) => gauge!("reprise_proving").increment(1.0),
            Happening::Proved { order, took, failure } => {
                let outcome = if failure.is_some() { "failed" } else { "proved" };
                gauge!("reprise_proving").decrement(1.0);
                counter!("reprise_proofs_total", "kind" => kind(order), "outcome" => outcome).increment(1);
                counter!("reprise_proving_ms_total", "kind" => kind(order))
                    .increment(took.as_millis() as u64);
            }
            Happening::Stored(order) => counter!("reprise_stored_total", "kind" => kind(order)).increment(1),
            Happening::Settled(_) => counter!("reprise_settlements_total").increment(1),
            Happening::Refused(..) => counter!("reprise_refusals_total").increment(1),
            Happening::Queue { queued, .. } => gauge!("reprise_queued").set(*queued as f64),
            Happening::Orphaned { .. }
            | Happening::Lost(_)
            | Happening::Diverged(_)
            | Happening::Published(_)
            | Happening::Submitted(_) => {}
        }
        self.0.hear(happening);
    }
}
