//! The Grafana board, `ops/grafana.json`, generated from the list below; and what it and the alerts name, compared with the
//! table of metrics.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};

const OPS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../ops");

/// A graph: its title, its unit in Grafana, and its queries, each with the legend of its series.
type Graph = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

/// The rows of the board, each with its graphs.
const ROWS: [(&str, &[Graph]); 6] = [
    (
        "State",
        &[
            ("Health: reasons that hold", "none", &[("reprise_condition == 1", "{{reason}} ({{level}})")]),
            ("Healthy", "none", &[("reprise_healthy", "{{instance}}")]),
            (
                "Checkpoints",
                "none",
                &[("reprise_tip_checkpoint", "tip"), ("reprise_prune_floor", "final and settled")],
            ),
            (
                "Age of the last settlement and of the lane's last activity",
                "s",
                &[
                    ("time() - reprise_last_settlement_timestamp_seconds", "settlement"),
                    ("time() - reprise_last_lane_activity_timestamp_seconds", "lane"),
                    ("reprise_unsettled", "something is to be settled"),
                ],
            ),
        ],
    ),
    (
        "Proving",
        &[
            ("Running and waiting", "none", &[("reprise_proving", "running"), ("reprise_queued", "waiting")]),
            (
                "Proofs a minute",
                "none",
                &[("60 * sum by (kind, outcome) (rate(reprise_proofs_total[5m]))", "{{kind}} {{outcome}}")],
            ),
            ("Proving time", "ms", &[("sum by (account) (reprise_proving_ms)", "{{account}}")]),
            (
                "Failures by device",
                "none",
                &[
                    ("increase(reprise_device_failures_total[1h])", "device {{device}}"),
                    ("reprise_devices_suspended", "suspended"),
                ],
            ),
        ],
    ),
    (
        "Never proved twice",
        &[
            (
                "Answered without a proof, a minute",
                "none",
                &[
                    ("60 * sum by (kind) (rate(reprise_hits_total[5m]))", "{{kind}} found stored"),
                    ("60 * rate(reprise_reused_total[5m])", "stored, at one more place"),
                    ("60 * sum by (kind) (rate(reprise_merged_total[5m]))", "{{kind}} shared a proof"),
                ],
            ),
            (
                "Stored, and no longer wanted then, a minute",
                "none",
                &[
                    ("60 * sum by (kind) (rate(reprise_stored_total[5m]))", "{{kind}} stored"),
                    ("60 * sum by (kind) (rate(reprise_unwanted_total[5m]))", "{{kind}} unwanted"),
                ],
            ),
            (
                "Reads by tier of the store, a second",
                "none",
                &[("sum by (tier, outcome) (rate(reprise_store_reads_total[5m]))", "{{tier}} {{outcome}}")],
            ),
        ],
    ),
    (
        "Fleet",
        &[
            (
                "Queued work, in seconds of one machine, and the age of the oldest",
                "s",
                &[
                    (
                        "sum by (kind, memory, device) (reprise_fleet_queued_work_seconds)",
                        "work: {{kind}} of {{memory}} GB, device {{device}}",
                    ),
                    ("max by (kind) (reprise_fleet_oldest_queued_seconds)", "oldest {{kind}}"),
                ],
            ),
            (
                "Jobs and machines",
                "none",
                &[
                    ("sum by (kind, state) (reprise_fleet_jobs{state!=\"done\"})", "{{kind}} {{state}}"),
                    ("reprise_fleet_workers", "machines {{stand}}"),
                    ("reprise_fleet_reachable", "{{part}} can be reached"),
                ],
            ),
            (
                "What came of the machines' claims, an hour",
                "none",
                &[(
                    "increase(reprise_fleet_worker_jobs_total{outcome!=\"claimed\"}[1h])",
                    "{{worker}} {{outcome}}",
                )],
            ),
            (
                "This machine, for its fleet",
                "none",
                &[
                    ("60 * sum by (outcome) (rate(reprise_worker_jobs_total[5m]))", "{{outcome}} a minute"),
                    ("reprise_worker_proving", "running"),
                    (
                        "sum by (kind) (rate(reprise_worker_proving_ms_total[5m])) / 1000",
                        "busy with {{kind}}",
                    ),
                ],
            ),
        ],
    ),
    (
        "L1",
        &[
            (
                "Blocks and reorgs a minute",
                "none",
                &[
                    ("60 * rate(reprise_blocks_total[5m])", "blocks"),
                    ("60 * rate(reprise_reorgs_total[5m])", "reorgs"),
                ],
            ),
            (
                "How far it is followed",
                "none",
                &[("reprise_l1_reached", "followed"), ("reprise_l1_goal", "the L1's tip")],
            ),
            (
                "Silence of the lane, in blocks",
                "none",
                &[("reprise_lane_silence", "silent"), ("reprise_lane_silence_allowed", "the entry expires")],
            ),
            (
                "Connection",
                "s",
                &[
                    ("reprise_l1_last_block_age_seconds", "age of the last block"),
                    ("reprise_l1_disconnected_seconds", "without a connection"),
                    ("reprise_l1_connected", "connected"),
                    ("reprise_l1_pages_behind", "pages that wait"),
                ],
            ),
        ],
    ),
    (
        "Settlements",
        &[(
            "Settlements and refusals an hour",
            "none",
            &[
                ("increase(reprise_settlements_total[1h])", "settlements"),
                ("sum by (reason) (increase(reprise_refusals_total[1h]))", "refused: {{reason}}"),
            ],
        )],
    ),
];

const WIDTH: usize = 24;
const HEIGHT: usize = 8;

fn board() -> Value {
    let (mut panels, mut y, mut id) = (vec![], 0, 0);
    let mut number = || {
        id += 1;
        id
    };
    for (row, graphs) in ROWS {
        let at = json!({ "x": 0, "y": y, "w": WIDTH, "h": 1 });
        panels.push(json!({ "id": number(), "type": "row", "title": row, "gridPos": at }));
        y += 1;
        let width = WIDTH / graphs.len().max(2);
        for (column, (title, unit, queries)) in graphs.iter().enumerate() {
            let target = |(at, (expr, legend)): (usize, &(&str, &str))| {
                let expr = in_instance(expr);
                json!({ "refId": char::from(b'A' + at as u8), "expr": expr, "legendFormat": legend })
            };
            let targets: Vec<Value> = queries.iter().enumerate().map(target).collect();
            panels.push(json!({
                "id": number(), "type": "timeseries", "title": title,
                "gridPos": { "x": column * width, "y": y, "w": width, "h": HEIGHT },
                "datasource": { "type": "prometheus", "uid": "${source}" },
                "fieldConfig": { "defaults": { "unit": unit, "min": 0 }, "overrides": [] },
                "targets": targets,
            }));
        }
        y += HEIGHT;
    }
    json!({
        "title": "Reprise", "uid": "reprise", "schemaVersion": 39, "refresh": "10s", "editable": true,
        "time": { "from": "now-6h", "to": "now" },
        "templating": { "list": [
            { "name": "source", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
            {
                "name": "instance", "label": "Node", "type": "query", "includeAll": true, "multi": true,
                "datasource": { "type": "prometheus", "uid": "${source}" },
                "query": "label_values(reprise_healthy, instance)",
            },
        ] },
        "panels": panels,
    })
}

/// A query, of the chosen nodes alone.
fn in_instance(expr: &str) -> String {
    let mut out = String::new();
    let mut rest = expr;
    while let Some(at) = rest.find("reprise_") {
        let end = rest[at..]
            .find(|c: char| c != '_' && !c.is_ascii_alphanumeric())
            .map_or(rest.len(), |len| at + len);
        out += &rest[..end];
        rest = &rest[end..];
        out += "{instance=~\"$instance\"";
        match rest.strip_prefix('{') {
            Some(labels) => {
                out += ",";
                rest = labels;
            }
            None => out += "}",
        }
    }
    out + rest
}

/// The metrics that a text names.
fn named(text: &str) -> BTreeSet<&str> {
    let word = |c: char| c != '_' && !c.is_ascii_alphanumeric();
    let words = text.split(word).filter(|word| word.starts_with("reprise_"));
    // The crates of the project are no metrics.
    words.filter(|word| !["reprise_kaspa", "reprise_node"].contains(word)).collect()
}

/// The metrics of the table.
fn table() -> BTreeSet<&'static str> {
    let lines = include_str!("metrics.md").lines().filter_map(|line| line.strip_prefix("| "));
    lines.flat_map(|line| named(line.split(" | ").next().unwrap_or_default())).collect()
}

#[test]
fn the_board_is_what_the_list_gives_and_shows_every_metric() {
    let (path, now) = (format!("{OPS}/grafana.json"), format!("{:#}\n", board()));
    if std::env::var_os("BLESS").is_some() {
        fs::write(&path, &now).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap();
    assert!(found == now, "{path} is out of date: `just board` writes it anew");
    assert_eq!(
        named(&found).difference(&table()).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "not in the table"
    );
    assert_eq!(
        table().difference(&named(&found)).collect::<Vec<_>>(),
        Vec::<&&str>::new(),
        "not on the board"
    );
}

#[test]
fn the_alerts_name_only_metrics_that_there_are() {
    for file in ["alerts.yml", "alerts.test.yml"] {
        let text = fs::read_to_string(format!("{OPS}/{file}")).unwrap();
        assert_eq!(named(&text).difference(&table()).collect::<Vec<_>>(), Vec::<&&str>::new(), "{file}");
    }
}
