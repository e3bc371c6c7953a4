//! Events as Prometheus metrics: `run --metrics ADDR` serves them at `http://ADDR/metrics`, and the node's health at
//! `http://ADDR/health`. `run --api ADDR` serves both too.
//!
//! `GET /health` answers 200 while the health is green or degraded and 503 while it is red, with a body in JSON:
//! `{"health":"red","reasons":["waiting for the disk: …"]}`.
//!
#![doc = include_str!("metrics.md")]

use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, describe_gauge, gauge};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use reprise_chain::event::AddedBlock;
use reprise_model::order::Order;
use reprise_model::statement::Kind;
use reprise_node::event::{Observer, PipelineEvent};
use reprise_node::health::{Health, Level, Reason};
use reprise_node::pulse::Pulse;
use reprise_node::report::Seconds;
use reprise_node::statistics::Statistics;
use reprise_store::ReceiptStore;
use reprise_store::port::TierStats;

/// The metrics and what each means, as the table above says it.
pub(crate) fn meanings() -> impl Iterator<Item = (&'static str, String)> {
    let rows = include_str!("metrics.md").lines().skip(2);
    rows.flat_map(|row| {
        let mut cells = row.trim_matches('|').split(" | ");
        let names: Vec<_> = cells.next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
        let meaning = cells.last().unwrap_or_default().trim().trim_start_matches("| ").replace('`', "");
        let parts: Vec<_> = meaning.split("; ").collect();
        let apart = parts.len() == names.len();
        let of = |at: usize| if apart { parts[at].to_owned() } else { meaning.clone() };
        names.into_iter().enumerate().map(|(at, name)| (name, of(at))).collect::<Vec<_>>()
    })
}

/// The observer that turns events into metrics.
pub(crate) struct Metered {
    store: Arc<dyn ReceiptStore>,
    statistics: Statistics,
}

impl Metered {
    /// Begins to count. Returns what renders the metrics, too.
    pub(crate) fn install(store: Arc<dyn ReceiptStore>) -> Result<(Self, PrometheusHandle), String> {
        let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| e.to_string())?;
        meanings().for_each(|(name, meaning)| describe_gauge!(name, meaning));
        gauge!("reprise_healthy").set(1.0);
        gauge!("reprise_devices_suspended").set(0.0);
        conditions(&Health::default());
        Ok((Self { store, statistics: Statistics::default() }, metrics))
    }
}

impl Metered {
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

/// Sets how healthy the node is at the moment of a scrape: that its thread hangs is told by no event.
pub(crate) fn health_now(is_red: bool, pulse: &Pulse) {
    let stalled = pulse.stalled(Instant::now());
    gauge!("reprise_healthy").set(f64::from(u8::from(!is_red && stalled.is_none())));
    gauge!("reprise_condition", "reason" => "stalled", "level" => Level::Red.to_string())
        .set(f64::from(u8::from(stalled.is_some())));
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

impl Observer for Metered {
    fn on_event(&mut self, event: &PipelineEvent) {
        match event {
            PipelineEvent::Chain { event, .. } => {
                counter!("reprise_blocks_total").increment(event.added.len() as u64);
                counter!("reprise_reorgs_total").increment(u64::from(!event.removed.is_empty()));
                if let Some(tip) = event.added.last() {
                    gauge!("reprise_tip_checkpoint").set(tip.metadata.checkpoint.0 as f64);
                }
                let seconds = |block: &AddedBlock| block.metadata.block.timestamp_ms as f64 / 1000.0;
                if let Some(active) = event.added.iter().rfind(|added| !added.block.accepted.is_empty()) {
                    gauge!("reprise_last_lane_activity_timestamp_seconds").set(seconds(active));
                }
                if let Some(carrier) = event.added.iter().rfind(|added| !added.block.settlements.is_empty()) {
                    gauge!("reprise_last_settlement_timestamp_seconds").set(seconds(carrier));
                }
            }
            PipelineEvent::Found { order, .. } => {
                counter!("reprise_hits_total", "kind" => kind(order)).increment(1);
            }
            PipelineEvent::Reused(..) => counter!("reprise_reused_total").increment(1),
            PipelineEvent::Proving(..) => gauge!("reprise_proving").increment(1.0),
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
                if let Some(lane) = l1.lane {
                    gauge!("reprise_lane_silence").set(lane.lasting as f64);
                    gauge!("reprise_lane_silence_allowed").set(lane.allowed as f64);
                }
                if let Some(age) = l1.last_block_age_seconds {
                    gauge!("reprise_l1_last_block_age_seconds").set(age as f64);
                }
            }
            PipelineEvent::Health(health) => {
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
            PipelineEvent::Queue { queued, unsettled, .. } => {
                gauge!("reprise_unsettled").set(f64::from(u8::from(*unsettled)));
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
            | PipelineEvent::Wanted { .. }
            | PipelineEvent::Diverged(_)
            | PipelineEvent::Published(_)
            | PipelineEvent::States(_)
            | PipelineEvent::Debts(_)
            | PipelineEvent::Submitted(_) => {}
        }
        self.account(event);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_metric_is_in_the_table_of_this_module() {
        let (page, code) = (include_str!("metrics.md"), include_str!("metrics.rs"));
        let names = code.split("!(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let names: Vec<_> = names.filter(|name| name.starts_with("reprise_")).collect();
        assert!(names.len() > 20, "{names:?}");
        let of_fleet = include_str!("fleet_metrics.rs").split('"');
        let of_fleet: Vec<_> =
            of_fleet.filter(|text| text.starts_with("reprise_") && !text.contains(['{', ' '])).collect();
        assert!(of_fleet.len() > 8, "{of_fleet:?}");
        for name in names.into_iter().chain(of_fleet) {
            assert!(page.contains(&format!("`{name}`")), "the table lacks {name}");
        }
    }

    #[test]
    fn every_metric_has_a_meaning_and_two_of_a_row_have_each_its_own() {
        let of = |name| super::meanings().find(|(of, _)| *of == name).unwrap().1;
        assert_eq!(of("reprise_blocks_total"), "blocks that joined the view");
        assert_eq!(of("reprise_reorgs_total"), "events that removed some");
        assert_eq!(of("reprise_proving"), "proofs running now");
        assert!(super::meanings().all(|(_, meaning)| meaning.len() > 10));
    }
}
