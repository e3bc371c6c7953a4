//! What a fleet says of itself, and what it does when it is asked to.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::channel;

use crate::processes::{Ground, Process};

fn until(process: &Process, what: &str, told: &std::sync::mpsc::Receiver<()>) {
    while !process.said().iter().any(|line| line.contains(what)) {
        told.recv().unwrap();
    }
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn two_nodes_and_two_workers_share_every_proof_and_settle_the_same_root() {
    let ground = Ground::new();
    let (tell, _told) = channel();
    let workers: Vec<_> =
        (0..2).map(|number| ground.worker(&format!("w{number}"), "5,5,5", &[], &tell)).collect();
    let nodes: Vec<_> =
        ["a", "b"].iter().map(|name| ground.node(&ground.path(name), "5,5,5", &[], &tell)).collect();
    let ended: Vec<_> = nodes.into_iter().map(Process::ended).collect();
    for worker in &workers {
        worker.signal("-TERM");
    }
    let workers: Vec<_> = workers.into_iter().map(Process::ended).collect();
    let mut proving = std::collections::BTreeMap::new();
    for (status, report, said) in ended.iter().chain(&workers) {
        assert!(status.success(), "{report} {}", said.join("\n"));
        for line in said {
            if let Some(id) = crate::killed::begun(line) {
                *proving.entry(id.to_owned()).or_insert(0) += 1;
            }
        }
    }
    let reports = [&ended[0].1, &ended[1].1];
    assert_eq!(reports[0]["state_root"], reports[1]["state_root"]);
    assert!(reports.iter().all(|report| report["violations"] == 0));
    let wanted = reports[0]["wanted"].as_u64().unwrap();
    assert_eq!(proving.len() as u64, wanted, "each statement is proved");
    assert!(proving.values().all(|times| *times == 1), "and none twice: {proving:?}");
    let far: u64 = workers.iter().map(|(_, report, _)| report["prove_calls"].as_u64().unwrap()).sum();
    assert!(far > 0 && far <= wanted, "{far} of {wanted} by the workers");
    let jobs = ground.jobs(&["ls"]);
    assert!(
        jobs.as_array().unwrap().iter().all(|job| job["state"] == "done" && job["confirmed"] == true),
        "{jobs}"
    );
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn what_requires_a_device_is_proved_by_a_machine_that_has_it() {
    let ground = Ground::new();
    let (tell, _told) = channel();
    let plain = ground.worker("plain", "5,5,5", &[], &tell);
    let with_gpu = ground.worker("with-gpu", "5,5,5", &["--devices", "gpu,large"], &tell);
    let node = ground.node(&ground.path("a"), "5,5,5", &["--proof-device", "any,any,gpu"], &tell);
    let (status, report, said) = node.ended();
    assert!(status.success(), "{report} {}", said.join("\n"));
    let jobs = ground.jobs(&["ls"]);
    let aggregates: Vec<_> =
        jobs.as_array().unwrap().iter().filter(|job| job["kind"] == "aggregate").collect();
    assert!(!aggregates.is_empty(), "{jobs}");
    for job in aggregates {
        assert_eq!((&job["device"], &job["worker"]), (&"gpu".into(), &"with-gpu".into()), "{job}");
    }
    assert!(jobs.as_array().unwrap().iter().any(|job| job["device"].is_null()), "{jobs}");
    drop((plain, with_gpu));
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn a_worker_that_is_terminated_gives_back_what_it_cannot_finish_in_time() {
    let ground = Ground::new();
    let (tell, told) = channel();
    let slow = "3600000,3600000,3600000";
    // The node's own device is as slow: both begin something.
    let node = ground.node(&ground.path("a"), slow, &["--shutdown-grace", "0"], &tell);
    let worker = ground.worker("w", slow, &["--shutdown-grace", "0"], &tell);
    until(&worker, "proving ", &told);
    worker.signal("-TERM");
    let (status, report, said) = worker.ended();
    assert!(status.success(), "{}", said.join("\n"));
    assert_eq!((report["released"].as_u64(), report["proved"].as_u64()), (Some(1), Some(0)));
    let workers = ground.jobs(&["workers"]);
    let ours = workers.as_array().unwrap().iter().find(|known| known["name"] == "w").unwrap().clone();
    assert_eq!((ours["claimed"].as_u64(), ours["released"].as_u64()), (Some(1), Some(1)));
    let jobs = ground.jobs(&["ls", "--worker", "w"]);
    assert!(
        jobs.as_array().unwrap().iter().all(|job| job["state"] == "queued" || job["worker"] != "w"),
        "{jobs}"
    );
    drop(node);
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn a_person_looks_into_the_jobs_and_decides_about_them() {
    let ground = Ground::new();
    let (tell, told) = channel();
    let slow = "3600000,3600000,3600000";
    let worker = ground.worker("w", slow, &[], &tell);
    let node = ground.node(&ground.path("a"), slow, &[], &tell);
    until(&worker, "proving ", &told);
    let listed = ground.jobs(&["ls", "--state", "running", "--worker", "w"]);
    let id = listed[0]["id"].as_str().unwrap().to_owned();
    let short = &id[4..16];
    assert_eq!(ground.jobs(&["show", short])["worker"], "w");
    let why = ground.jobs(&["why", short])["why"].to_string();
    assert!(why.contains("w proves it"), "{why}");
    let quarantined = ground.jobs(&["quarantine", short, "--reason", "too large"]);
    assert_eq!(
        (&quarantined["changed"], &quarantined["jobs"][0]["state"]),
        (&1.into(), &"quarantined".into())
    );
    assert!(ground.jobs(&["why", &id])["why"].to_string().contains("too large"));
    assert_eq!(ground.jobs(&["release", short])["changed"], 1);
    let (status, said) = ground.say(&["release", short]);
    assert!(!status.success() && said.contains("nothing is released"), "{said}");
    let stats = ground.jobs(&["stats"]);
    assert!(stats.as_array().unwrap().iter().any(|figure| figure["jobs"].as_u64() > Some(0)), "{stats}");
    let workers = ground.jobs(&["workers", "--evict", "w"]);
    assert!(workers.as_array().unwrap().iter().any(|known| known["name"] == "w" && known["evicted"] == true));
    for wrong in [&["show", "zz"][..], &["ls", "--state", "odd"], &["workers", "--admit", "a b"]] {
        assert_eq!(ground.say(wrong).0.code(), Some(2), "{wrong:?}");
    }
    drop((node, worker));
}

/// What a server of metrics says.
fn get(address: &str, path: &str) -> String {
    let Ok(mut connection) = TcpStream::connect(address) else { return String::new() };
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).unwrap();
    let mut page = String::new();
    connection.read_to_string(&mut page).unwrap();
    page
}

/// Waits until a page has all of these.
fn until_page(address: &str, path: &str, all: &[&str]) -> String {
    loop {
        let page = get(address, path);
        if all.iter().all(|line| page.contains(line)) {
            return page;
        }
        std::thread::yield_now();
    }
}

fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise --no-default-features --features fleet -- --include-ignored`"]
fn a_node_and_a_worker_serve_how_the_fleet_stands() {
    let ground = Ground::new();
    let (tell, told) = channel();
    let (of_worker, of_node) = (free_address(), free_address());
    let slow = "3600000,3600000,3600000";
    let worker = ground.worker("w", slow, &["--metrics", &of_worker], &tell);
    let node = ground.node(&ground.path("a"), slow, &["--metrics", &of_node], &tell);
    until(&worker, "proving ", &told);
    until_page(
        &of_node,
        "/metrics",
        &[
            "reprise_fleet_reachable{part=\"jobs\"} 1",
            "reprise_fleet_reachable{part=\"receipts\"} 1",
            "state=\"running\"} ",
            "reprise_fleet_oldest_queued_seconds{kind=",
            "reprise_fleet_workers{stand=\"working\"} 2",
            "reprise_fleet_worker_jobs_total{worker=\"w\",outcome=\"claimed\"} 1",
        ],
    );
    let page = until_page(
        &of_worker,
        "/metrics",
        &["reprise_worker_proving 1", "reprise_fleet_worker_jobs_total{worker=\"w\",outcome=\"claimed\"} 1"],
    );
    assert!(!page.contains("reprise_fleet_jobs{"), "a worker does not count the table:\n{page}");
    assert!(page.contains("reprise_healthy 1"), "{page}");
    // Without the jobs it waits, and says so; when they are back it goes on by itself.
    ground.postgres.end(crate::scratch::Ending::Fast);
    let red = until_page(&of_worker, "/health", &["\"health\":\"red\"", "cannot be reached"]);
    assert!(red.starts_with("HTTP/1.1 503 "), "{red}");
    assert!(get(&of_worker, "/metrics").contains("reprise_fleet_reachable{part=\"jobs\"} 0"));
    ground.postgres.resume();
    until_page(&of_worker, "/health", &["HTTP/1.1 200 ", "\"health\":\"green\""]);
    drop((node, worker));
}
