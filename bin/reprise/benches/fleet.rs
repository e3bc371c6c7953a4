//! How a fleet scales, in real processes over a PostgreSQL of this bench's own, with mock proofs that sleep; and what a hit
//! among shared receipts costs: `cargo bench -p reprise --no-default-features --features fleet --bench fleet`.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a benchmark prints, and one that cannot go on has failed"
)]

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use reprise_fleet::input::Input;
use reprise_fleet::objects::Objects;
use reprise_fleet::shared::{Bounds, Shared, receipt_key};
use reprise_fleet::tier::SharedTier;
use reprise_jobs::job::{Class, Offer, Priority, StateName};
use reprise_jobs::{Policy, Queue, State};
use reprise_model::receipt::Verified;
use reprise_model::statement::{ClaimScheme, Kind, StatementId};
use reprise_objects::store::Store as Directory;
use reprise_postgres::table::PostgresTable;
use reprise_prover::backend::{Backend, Task};
use reprise_prover::mock::{MockBackend, MockConfig};
use reprise_sim::fleet::statements;
use reprise_store::envelope::Envelope;
use reprise_store::provenance::Provenance;
use reprise_store::{Options, ReceiptStore, Store};

#[path = "../../../adapters/postgres/src/scratch.rs"]
#[allow(dead_code, unreachable_pub, missing_docs, reason = "shared with the tests of the adapter")]
mod scratch;

/// How long a proof takes: so long that what else this machine does is of little account.
const COST_MS: u64 = 10_000;

/// How many jobs each worker has on the average.
const JOBS_EACH: u32 = 5;

fn backend() -> Arc<MockBackend> {
    statements::mock(MockConfig { workload: "ledger".into(), ..MockConfig::default() })
}

fn task(number: u32) -> Task {
    statements::task(number, backend().programs()[0]).unwrap()
}

fn id(task: &Task) -> StatementId {
    backend().statement(&task.claim).id()
}

/// Ended when it is dropped.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn worker(url: &str, receipts: &str, name: &str, cost_ms: u64) -> Process {
    let cost = format!("{cost_ms},{cost_ms},{cost_ms}");
    let mut command = Command::new(env!("CARGO_BIN_EXE_reprise"));
    command
        .args(["worker", "--backend", "mock", "--mock-cost", &cost, "--jobs", url, "--receipts", receipts])
        .args(["--name", name])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    Process(command.spawn().unwrap())
}

fn shared(receipts: &str) -> Shared {
    Shared::new(Arc::new(Directory::open(receipts).unwrap()), backend(), Bounds::default())
}

fn offer(shared: &Shared, number: u32) -> Offer {
    let task = task(number);
    let input = shared.put_input(&id(&task), &Input::of(&task)).unwrap();
    let class = Class { kind: Kind::Transaction, profile: backend().profile().id(), memory: 0, device: None };
    Offer { id: id(&task), class, priority: Priority(i64::from(number)), input }
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort();
    of[of.len() / 2]
}

/// How many proofs a second so many workers make.
fn scaling(server: &scratch::Scratch, workers: usize) -> f64 {
    let (url, dir) = (server.database(), tempfile::tempdir().unwrap());
    let receipts = dir.path().display().to_string();
    let queue = Queue::new(Arc::new(PostgresTable::connect(&url).unwrap()), Policy::default());
    let running: Vec<Process> =
        (0..workers).map(|number| worker(&url, &receipts, &format!("w{number}"), COST_MS)).collect();
    // Each says so when it is there.
    while queue.workers().unwrap().len() < workers {
        thread::sleep(Duration::from_millis(20));
    }
    let jobs = JOBS_EACH * workers as u32;
    let shared = shared(&receipts);
    let offers: Vec<Offer> = (0..jobs).map(|number| offer(&shared, number)).collect();
    let began = Instant::now();
    queue.offer(&offers).unwrap();
    loop {
        let turn = queue.turn();
        let figures = queue.figures().unwrap();
        if figures.iter().all(|figure| figure.state == StateName::Done) {
            break;
        }
        queue.wait(turn, Duration::from_millis(100));
    }
    let seconds = began.elapsed().as_secs_f64();
    drop(running);
    f64::from(jobs) / seconds
}

/// How many jobs the overhead is the median of.
const OVERHEADS: u32 = 200;

/// What a job costs beside its proof: from the offer to the verified receipt, one after another. The least, the median, and
/// milliseconds of CPU in the worker.
fn overhead(server: &scratch::Scratch) -> (Duration, Duration, f64) {
    let (url, dir) = (server.database(), tempfile::tempdir().unwrap());
    let receipts = dir.path().display().to_string();
    let queue = Queue::new(Arc::new(PostgresTable::connect(&url).unwrap()), Policy::default());
    let working = worker(&url, &receipts, "w", 0);
    while queue.workers().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    let shared = shared(&receipts);
    let took = (0..OVERHEADS).map(|number| {
        let began = Instant::now();
        let offer = offer(&shared, number);
        queue.offer(std::slice::from_ref(&offer)).unwrap();
        loop {
            let turn = queue.turn();
            let job = queue.find(&[offer.id]).unwrap().remove(0);
            if matches!(job.state, State::Done { .. }) {
                shared.fetch(&offer.id).unwrap();
                queue.confirm(&job.lease().unwrap()).unwrap();
                break;
            }
            queue.wait(turn, Duration::from_millis(500));
        }
        began.elapsed()
    });
    let (before, mut took) = (cpu(working.0.id()), took.collect::<Vec<_>>());
    took.sort();
    let spent = (cpu(working.0.id()) - before) / f64::from(OVERHEADS);
    (took[0], took[took.len() / 2], spent)
}

/// How many milliseconds of CPU a process has used.
fn cpu(process: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let (_, after) = stat.rsplit_once(") ").unwrap();
    let ticks: Vec<f64> = after.split(' ').skip(11).take(2).map(|ticks| ticks.parse().unwrap()).collect();
    // A hundred a second, on every Linux.
    ticks.iter().sum::<f64>() * 10.0
}

/// What a machine costs the database that waits for work: transactions a second, and bytes written a second.
fn idle(server: &scratch::Scratch) -> (f64, f64) {
    let (url, dir) = (server.database(), tempfile::tempdir().unwrap());
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    let queue = Queue::new(Arc::new(PostgresTable::connect(&url).unwrap()), Policy::default());
    let _worker = worker(&url, &dir.path().display().to_string(), "w", COST_MS);
    while queue.workers().unwrap().is_empty() {
        thread::sleep(Duration::from_millis(20));
    }
    let counted = || -> (f64, f64) {
        let number = |of: &str| server.sql(&database, of).parse::<f64>().unwrap();
        let transactions =
            format!("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{database}'");
        (number(&transactions), number("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn"))
    };
    let (before, began) = (counted(), Instant::now());
    thread::sleep(Duration::from_secs(30));
    let (after, seconds) = (counted(), began.elapsed().as_secs_f64());
    ((after.0 - before.0) / seconds, (after.1 - before.1) / seconds)
}

/// A hit among shared receipts beside what it cannot do without: reading the object, and verifying the receipt.
fn hits() {
    let dir = tempfile::tempdir().unwrap();
    let receipts = dir.path().display().to_string();
    let (objects, backend) = (Directory::open(&receipts).unwrap(), backend());
    let sharing = shared(&receipts);
    let count = 2_000;
    let all: Vec<_> = (0..count)
        .map(|number| {
            let proof = backend.prove(&task(number)).unwrap();
            Verified::check(proof.receipt, backend.as_ref()).unwrap()
        })
        .collect();
    for receipt in &all {
        sharing.publish(receipt, Kind::Transaction, &Provenance::default()).unwrap();
    }
    let time = |each: &dyn Fn(usize)| {
        median(
            (0..all.len())
                .map(|at| {
                    let began = Instant::now();
                    each(at);
                    began.elapsed()
                })
                .collect(),
        )
    };
    let raw = time(&|at| {
        let bytes = objects.read(&receipt_key(&all[at].id()), 1 << 20).unwrap().unwrap();
        let envelope = Envelope::decode(&bytes).unwrap();
        Verified::check(envelope.receipt, backend.as_ref()).unwrap();
    });
    let fetch = time(&|at| drop(sharing.fetch(&all[at].id()).unwrap()));
    let own = Arc::new(Store::in_memory(backend.clone(), Options::default()).unwrap());
    let tier = SharedTier::new(own, Arc::new(shared(&receipts))).unwrap();
    let first = time(&|at| drop(tier.get(&all[at].statement, &all[at].claim).unwrap()));
    let again = time(&|at| drop(tier.get(&all[at].statement, &all[at].claim).unwrap()));
    let ratio = fetch.as_secs_f64() / raw.as_secs_f64();
    println!(
        "a receipt of {} bytes in a directory, p50 of {count}:",
        all[0].seal.len() + all[0].claim.journal.len()
    );
    println!("  object read and verification    {raw:>10.1?}");
    println!("  a hit among shared receipts     {fetch:>10.1?}   {ratio:.2} of that");
    println!("  the same, kept in the own store {first:>10.1?}   the first time; {again:.1?} from then on");
}

fn main() {
    hits();
    let server = scratch::Scratch::start();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap();
    println!("load when this began: {load}");
    let (least, median, spent) = overhead(&server);
    println!("a job that costs nothing to prove, from its offer to its confirmation, of {OVERHEADS}:");
    println!("  the least {least:.1?}, p50 {median:.1?}; {spent:.1} ms of CPU in the worker");
    let (transactions, bytes) = idle(&server);
    println!("a worker that waits: {transactions:.1} transactions and {bytes:.0} bytes of log a second");
    let mut one = 0.0;
    println!("workers  proofs/s  of N times one   ({COST_MS} ms a proof, {JOBS_EACH} proofs a worker)");
    for workers in [1, 2, 4, 8, 16] {
        let rate = scaling(&server, workers);
        if workers == 1 {
            one = rate;
        }
        println!("{workers:>7}  {rate:>8.1}  {:>14.2}", rate / (one * workers as f64));
    }
}
