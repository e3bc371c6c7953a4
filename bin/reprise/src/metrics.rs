//! Events as Prometheus metrics: `run --metrics ADDR` serves them at `http://ADDR/metrics`, and the node's health at
//! `http://ADDR/health`. `run --api ADDR` serves both too.
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
//! | `reprise_lane_silence`, `reprise_lane_silence_allowed` | | of a covenant's lane: for how many blocks, in the L1's own count, it has accepted nothing; after how many its entry on the L1 expires |
//! | `reprise_unsettled` | | 1 while a bundle waits to be settled, else 0 |
//! | `reprise_last_settlement_timestamp_seconds`, `reprise_last_lane_activity_timestamp_seconds` | | when the last block was mined that settled something; that accepted a transaction of the lane, since the Unix epoch |
//! | `reprise_fleet_reachable` | `part` | with a fleet: 1 while its `jobs` answer, and its shared `receipts`, else 0. What cannot be asked has none of the figures below |
//! | `reprise_fleet_jobs` | `kind`, `memory`, `device`, `profile`, `state` | the table of jobs, by class and state; `running` are those with a lease |
//! | `reprise_fleet_oldest_queued_seconds` | `kind`, `memory`, `device`, `profile` | how long ago the oldest queued job of a class was offered |
//! | `reprise_fleet_queued_work_seconds` | `kind`, `memory`, `device`, `profile` | how long one machine would take for what is queued of a class, by what the finished ones of it took |
//! | `reprise_fleet_workers` | `stand` | machines that were heard of in the last day: `working`, `resting`, `evicted`, `away` |
//! | `reprise_fleet_worker_jobs_total` | `worker`, `outcome` | what came of a machine's claims: `claimed`, `completed`, `confirmed`, `rejected`, `failed`, `lapsed`, `released`; of the 256 machines that were heard of last |
//! | `reprise_worker_jobs_total` | `outcome` | of the machine that is asked, since it started: `proved`, `found` shared, `failed`, `lost` its lease, `hung`, `released` |
//! | `reprise_worker_proving`, `reprise_worker_proving_ms_total` | the second: `kind` | proofs that run on it for its fleet; milliseconds of these, whatever came of them |
//! | `reprise_settlements_total`, `reprise_refusals_total` | | settlements observed; submissions refused, the second with the label `reason` |

use std::sync::Arc;
use std::time::Instant;

use metrics::{counter, gauge};
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

/// The observer that turns events into metrics.
pub(crate) struct Metered {
    store: Arc<dyn ReceiptStore>,
    statistics: Statistics,
}

impl Metered {
    /// Begins to count. Returns what renders the metrics, too.
    pub(crate) fn install(store: Arc<dyn ReceiptStore>) -> Result<(Self, PrometheusHandle), String> {
        let metrics = PrometheusBuilder::new().install_recorder().map_err(|e| e.to_string())?;
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
        let (page, code) = include_str!("metrics.rs").split_once("\nuse ").unwrap();
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
}
