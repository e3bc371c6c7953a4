//! A fleet over the API: what is read, and what only the token may decide.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use reprise_api::projection::{Projection, Window};
use reprise_api::publisher::Publisher;
use reprise_api::served::{Facts, Served};
use reprise_api::server::{self, Endpoint, Limits, Token};
use reprise_jobs::job::{Capacity, Class, Device, Offer, Priority};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::queue::Claims;
use reprise_jobs::table::{Change, Figure, Filter, Horizon, JobsError, Rows, Standing, Table};
use reprise_jobs::{Job, Lease, Policy, Queue, Worker, WorkerName};
use reprise_model::digest::{Digest, ProfileId};
use reprise_model::statement::{Kind, StatementId};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_store::{Options, Store};

use crate::client::{get, request};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const PROFILE: ProfileId = ProfileId([7; 32]);

/// A node that serves these jobs.
fn node(jobs: Option<Queue>, token: bool) -> SocketAddr {
    let views = Publisher::new(Projection::new(1, Window::default(), None)).views();
    let facts = Facts {
        version: "0".into(),
        run: "r1".into(),
        l1: "dev".into(),
        backend: "mock".into(),
        started_ms: 0,
        price_per_hour: None,
        accounts: None,
        pulse: None,
    };
    let backend = Arc::new(MockBackend::new(
        MockConfig::default(),
        Arc::new(reprise_model::hash::Blake3),
        Arc::new(reprise_ledger::Ledger),
    ));
    let store = Arc::new(Store::in_memory(backend, Options::default()).unwrap());
    let limits = Limits::default();
    let served = Served::new(facts, views, Box::new(String::new), store, jobs, limits.streams);
    let token = token.then(|| Token::read(TOKEN).unwrap());
    let endpoint = Endpoint::api("127.0.0.1:0".parse().unwrap(), served, token, limits).unwrap();
    let address = endpoint.address();
    server::serve(vec![endpoint]).unwrap();
    address
}

fn queue() -> Queue {
    Queue::new(Arc::new(MemoryTable::default()), Policy::default())
}

fn offer(number: u8) -> Offer {
    Offer {
        id: StatementId([number; 32]),
        class: Class { kind: Kind::Batch, profile: PROFILE, memory: 4, device: Device::new("gpu").ok() },
        priority: Priority(i64::from(number)),
        input: Digest([number; 32]),
    }
}

fn claim(queue: &Queue, name: &str) -> Lease {
    let devices = vec![Device::new("gpu").unwrap()];
    let capacity = Capacity { kinds: Kind::ALL.to_vec(), profile: PROFILE, memory: 8, devices };
    match queue.claim(&WorkerName::new(name).unwrap(), &capacity, 1).unwrap() {
        Claims::Jobs(mut jobs) => jobs.remove(0).0,
        other => panic!("{other:?}"),
    }
}

fn hex(number: u8) -> String {
    format!("{number:02x}").repeat(32)
}

fn post(address: SocketAddr, path: &str) -> crate::client::Answer {
    let bearer = format!("Authorization: Bearer {TOKEN}");
    request(address, &format!("POST {path}"), &[&bearer, "Content-Length: 0"])
}

fn read(address: SocketAddr, path: &str) -> serde_json::Value {
    let answer = request(address, &format!("GET {path}"), &[&format!("Authorization: Bearer {TOKEN}")]);
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    answer.json()
}

#[test]
fn jobs_and_workers_are_read_page_by_page() {
    let jobs = queue();
    jobs.offer(&(1..=5).map(offer).collect::<Vec<_>>()).unwrap();
    let lease = claim(&jobs, "gpu-1");
    let address = node(Some(jobs.clone()), true);
    let (mut seen, mut path) = (vec![], "/v1/jobs?limit=2".to_owned());
    loop {
        let page = read(address, &path);
        seen.extend(
            page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/jobs?limit=2&after={next}");
    }
    assert_eq!(seen, (1..=5).map(|number| format!("stm:{}", hex(number))).collect::<Vec<_>>());
    let running = read(address, "/v1/jobs?state=running&worker=gpu-1");
    assert_eq!(running["items"].as_array().unwrap().len(), 1);
    let job = read(address, &format!("/v1/jobs/{}", hex(1)));
    assert_eq!(
        (&job["state"], &job["worker"], &job["fence"]),
        (&"running".into(), &"gpu-1".into(), &lease.fence.into())
    );
    assert!(job["lease_until_ms"].as_u64().is_some() && job["confirmed"].is_null());
    let why = read(address, &format!("/v1/jobs/{}/why", hex(3)))["why"].to_string();
    assert!(
        why.contains("1 queued statements are more urgent") && why.contains("1 machines are there"),
        "{why}"
    );
    assert!(why.contains("--devices gpu"), "{why}");
    assert_eq!(job["device"], "gpu");
    jobs.complete(&lease).unwrap();
    let fleet = read(address, "/v1/fleet");
    let class = &fleet["classes"][0];
    assert_eq!((&class["queued"], &class["done"], &class["memory"]), (&4.into(), &1.into(), &4.into()));
    assert_eq!(class["device"], "gpu");
    assert!(class["queued_work_ms"].is_u64());
    assert_eq!(fleet["workers"]["working"], 1);
    let workers = read(address, "/v1/workers")["items"].clone();
    assert_eq!((&workers[0]["name"], &workers[0]["stand"]), (&"gpu-1".into(), &"working".into()));
    for (path, status) in [
        ("/v1/jobs?after=x", 400),
        ("/v1/jobs?state=odd", 400),
        ("/v1/jobs?worker=a%20b", 400),
        ("/v1/jobs?limit=0", 400),
        ("/v1/jobs/zz", 400),
    ] {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        assert_eq!(request(address, &format!("GET {path}"), &[&bearer]).problem().0, status, "{path}");
    }
    let absent =
        request(address, &format!("GET /v1/jobs/{}", hex(9)), &[&format!("Authorization: Bearer {TOKEN}")]);
    assert_eq!(absent.problem(), (404, "urn:reprise:not-found".into()));
}

#[test]
fn what_is_decided_over_the_api_is_what_the_jobs_then_say() {
    let jobs = queue();
    jobs.offer(&[1, 2, 3].map(offer)).unwrap();
    claim(&jobs, "gpu-1");
    let address = node(Some(jobs.clone()), true);
    let state = |number| jobs.find(&[StatementId([number; 32])]).unwrap()[0].state.name().to_string();
    let decide = |number, what: &str| post(address, &format!("/v1/jobs/{}/{what}", hex(number)));
    assert_eq!(decide(2, "cancel").json()["state"], "cancelled");
    assert_eq!(decide(2, "cancel").problem(), (409, "urn:reprise:conflict".into()), "nothing changes");
    assert_eq!(decide(2, "release").problem().0, 409, "it is not in quarantine");
    assert_eq!(decide(2, "retry").json()["state"], "queued");
    let quarantined = post(address, &format!("/v1/jobs/{}/quarantine?reason=too%20large", hex(3))).json();
    assert_eq!((&quarantined["state"], &quarantined["reason"]), (&"quarantined".into(), &"too large".into()));
    assert_eq!(decide(3, "release").json()["state"], "queued");
    assert_eq!(decide(1, "cancel").json()["cancel"], true, "of one that runs the end is asked for");
    assert_eq!([1, 2, 3].map(state), ["running", "queued", "queued"]);
    assert_eq!(decide(9, "cancel").problem().0, 404);
    assert_eq!(post(address, "/v1/workers/gpu-1/evict").json()["stand"], "evicted");
    assert!(jobs.workers().unwrap()[0].evicted);
    assert_eq!(post(address, "/v1/workers/gpu-1/admit").json()["evicted"], false);
    assert_eq!(post(address, "/v1/workers/nobody/evict").problem().0, 404, "a typing error makes no worker");
    assert_eq!(jobs.workers().unwrap().len(), 1);
}

#[test]
fn nobody_decides_without_the_token_not_even_on_this_machine() {
    let paths =
        ["cancel", "retry", "release", "quarantine"].map(|what| format!("/v1/jobs/{}/{what}", hex(1)));
    let paths = paths.into_iter().chain(["evict", "admit"].map(|what| format!("/v1/workers/gpu-1/{what}")));
    let paths: Vec<String> = paths.collect();
    for has_token in [false, true] {
        let jobs = queue();
        jobs.offer(&[offer(1)]).unwrap();
        claim(&jobs, "gpu-1");
        let before = (jobs.list(&Filter::default()).unwrap(), jobs.workers().unwrap());
        let address = node(Some(jobs.clone()), has_token);
        for path in &paths {
            for header in ["X: y", "Authorization: Bearer wrong-wrong-wrong-wrong", "Authorization: Basic x"]
            {
                let refused = request(address, &format!("POST {path}"), &[header]);
                let expected = if has_token { 401 } else { 403 };
                assert_eq!(refused.problem().0, expected, "{path} {header}");
            }
            assert_eq!(get(address, path).status, if has_token { 401 } else { 405 }, "a GET decides nothing");
        }
        assert_eq!((jobs.list(&Filter::default()).unwrap(), jobs.workers().unwrap()), before);
    }
    // What is read is read without one.
    let address = node(Some(queue()), false);
    assert_eq!(get(address, "/v1/jobs").json()["items"].as_array().unwrap().len(), 0);
}

#[test]
fn a_node_without_a_fleet_says_so() {
    let address = node(None, true);
    for path in ["/v1/fleet", "/v1/jobs", "/v1/workers"] {
        let answer = request(address, &format!("GET {path}"), &[&format!("Authorization: Bearer {TOKEN}")]);
        assert_eq!(answer.problem(), (404, "urn:reprise:not-found".into()));
        assert!(answer.body.contains("--jobs"), "{}", answer.body);
    }
    assert_eq!(post(address, &format!("/v1/jobs/{}/cancel", hex(1))).problem().0, 404);
}

/// Jobs that do not answer before they are let; how many ask.
struct Silent(Arc<Barrier>, Arc<AtomicUsize>);

fn away() -> JobsError {
    JobsError::Unreachable { at: "postgres://db:5432/x".into(), reason: "no answer".into() }
}

impl Table for Silent {
    fn change(&self, _: Rows<'_>, _: &mut Change<'_>) -> Result<(), JobsError> {
        Err(away())
    }
    fn find(&self, _: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.wait();
        Err(away())
    }
    fn list(&self, _: &Filter) -> Result<Vec<Job>, JobsError> {
        Err(away())
    }
    fn standing(&self, _: &WorkerName) -> Result<Standing, JobsError> {
        Err(away())
    }
    fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        Err(away())
    }
    fn evict(&self, _: &WorkerName, _: bool) -> Result<(), JobsError> {
        Err(away())
    }
    fn now_ms(&self) -> Result<u64, JobsError> {
        Err(away())
    }
    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        Err(away())
    }
    fn delete_ended(&self, _: &Horizon) -> Result<u64, JobsError> {
        Err(away())
    }
    fn turn(&self) -> u64 {
        0
    }
    fn wait(&self, _: u64, _: Duration) {}
}

#[test]
fn jobs_that_do_not_answer_are_a_503_and_hold_up_nobody_else() {
    let (barrier, asking) = (Arc::new(Barrier::new(5)), Arc::new(AtomicUsize::new(0)));
    let silent = Silent(barrier.clone(), asking.clone());
    let address = node(Some(Queue::new(Arc::new(silent), Policy::default())), false);
    assert_eq!(get(address, "/v1/jobs").problem(), (503, "urn:reprise:unavailable".into()));
    // Four wait for the jobs, as many as may; the next is refused at once, and everything else is answered.
    let path = format!("/v1/jobs/{}", hex(1));
    let ask = || {
        let path = path.clone();
        thread::spawn(move || get(address, &path))
    };
    let waiting: Vec<_> = (0..4).map(|_| ask()).collect();
    while asking.load(Ordering::SeqCst) < 4 {
        thread::yield_now();
    }
    assert_eq!(get(address, "/v1/jobs").problem(), (429, "urn:reprise:too-many".into()));
    assert_eq!(get(address, "/v1/status").status, 200);
    barrier.wait();
    for waited in waiting {
        assert_eq!(waited.join().unwrap().problem().0, 503);
    }
}
