//! The jobs through a real PgBouncer in transaction mode: every transaction may run on another connection of few, and
//! nothing of a session is there for the next. They are ignored unless asked for, because not every machine has both.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::Duration;

use reprise_jobs::Queue;
use reprise_jobs::conformance::{Bench, all, claim, offer, policy, statement, worker};
use reprise_jobs::job::{Lease, State};
use reprise_jobs::machine::Answer;
use reprise_jobs::queue::Claims;
use reprise_jobs::table::Filter;
use reprise_postgres::scratch::Scratch;
use reprise_postgres::table::PostgresTable;

/// Connections to the server that all clients of a database share.
const SHARED_MAX: usize = 3;

/// The port in the name of the pooler's socket.
const PORT: u16 = 6432;

/// A server behind a pooler.
struct Pooled {
    server: Scratch,
    pooler: Mutex<Option<Child>>,
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).chain(["/usr/sbin".into()]).map(|dir| dir.join("pgbouncer"));
    found.into_iter().find(|program| program.exists()).unwrap_or_else(|| {
        panic!("no PgBouncer is installed: install Debian's `pgbouncer`");
    })
}

impl Pooled {
    fn start() -> Self {
        let pooled = Self { server: Scratch::start(), pooler: Mutex::new(None) };
        let dir = pooled.dir().display().to_string();
        let settings = format!(
            "[databases]\n* = host={dir} user=reprise\n[pgbouncer]\npool_mode = transaction\nauth_type = any\n\
             listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {dir}\ndefault_pool_size = {SHARED_MAX}\n\
             max_client_conn = 500\nlogfile =\npidfile =\n"
        );
        fs::write(pooled.dir().join("pgbouncer.ini"), settings).unwrap();
        pooled.resume();
        pooled
    }

    fn dir(&self) -> &Path {
        self.server.socket()
    }

    /// Starts the pooler; it answers when this returns.
    fn resume(&self) {
        let mut command = self.server.command(&program());
        let mut child = command
            .arg(self.dir().join("pgbouncer.ini"))
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = vec![];
        loop {
            match said.next() {
                Some(Ok(line)) if line.contains("process up") => break,
                Some(Ok(line)) => before.push(line),
                _ => panic!("PgBouncer did not start: {}", before.join("\n")),
            }
        }
        thread::spawn(move || said.for_each(drop));
        *self.pooler.lock().unwrap() = Some(child);
    }

    /// Ends the pooler as a crash would.
    fn kill(&self) {
        if let Some(mut child) = self.pooler.lock().unwrap_or_else(PoisonError::into_inner).take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// A new database, through the pooler: its address and its name.
    fn database(&self) -> (String, String) {
        let url = self.server.database();
        let name = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
        let socket = self.dir().display().to_string().replace('/', "%2F");
        (format!("postgres://reprise@{socket}:{PORT}/{name}?sslmode=disable"), name)
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One for all tests that need no other; it ends with the last of them.
fn shared() -> Arc<Pooled> {
    static SHARED: Mutex<Weak<Pooled>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let pooled = Arc::new(Pooled::start());
        *shared = Arc::downgrade(&pooled);
        pooled
    })
}

fn bench() -> Bench {
    let pooled = shared();
    let time = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = time.clone();
    let table = PostgresTable::connect(&format!("{}&listen=off", pooled.database().0)).unwrap();
    let table = table.with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    let back = time.clone();
    let set_back = move |by: Duration| {
        back.fetch_sub(by.as_millis() as u64, Ordering::Relaxed);
    };
    let advance = move |by: Duration| {
        let _kept = &pooled;
        time.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    };
    Bench { table: Arc::new(table), advance: Box::new(advance), set_back: Box::new(set_back) }
}

reprise_jobs::conformance_tests!(
    bench,
    ignore = "needs PostgreSQL and PgBouncer: `cargo test -p reprise-postgres -- --include-ignored`"
);

fn queue(url: &str) -> Queue {
    Queue::new(Arc::new(PostgresTable::connect(url).unwrap()), policy())
}

/// Claims and completes whatever there is, until so many are done; what was taken.
fn work(url: &str, name: &str, jobs: usize) -> Vec<Lease> {
    let queue = queue(url);
    let mut taken = vec![];
    loop {
        let turn = queue.turn();
        let Claims::Jobs(claimed) = queue.claim(&worker(name), &all(), 2).unwrap() else { panic!("rests") };
        for (lease, _) in &claimed {
            queue.heartbeat(&worker(name), std::slice::from_ref(lease)).unwrap();
            assert_eq!(queue.complete(lease).unwrap(), Answer::Taken);
            taken.push(lease.clone());
        }
        let done = |jobs: &[reprise_jobs::Job]| {
            jobs.iter().filter(|job| matches!(job.state, State::Done { .. })).count()
        };
        if done(&queue.list(&Filter::default()).unwrap()) == jobs {
            return taken;
        }
        if claimed.is_empty() {
            queue.wait(turn, Duration::from_millis(20));
        }
    }
}

/// Twelve clients, each with connections of its own, over few of the server.
fn many(parameters: &str) {
    let pooled = Pooled::start();
    let (url, database) = pooled.database();
    let (url, jobs) = (format!("{url}{parameters}"), 240);
    let node = queue(&url);
    let taken: Vec<Lease> = thread::scope(|scope| {
        let workers: Vec<_> = (0..12)
            .map(|number| {
                let url = &url;
                scope.spawn(move || work(url, &format!("w{number}"), jobs))
            })
            .collect();
        for first in (0..jobs as u64).step_by(8) {
            node.offer(&(first..first + 8).map(offer).collect::<Vec<_>>()).unwrap();
            let connections = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                               pid <> pg_backend_pid()";
            let connections: usize = pooled.server.sql(&database, connections).parse().unwrap();
            assert!(connections <= SHARED_MAX, "{connections} connections of the server");
        }
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect()
    });
    let distinct: BTreeSet<_> = taken.iter().map(|lease| lease.id).collect();
    assert_eq!((taken.len(), distinct.len()), (jobs, jobs), "each is given to one");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'";
    assert_eq!(pooled.server.sql(&database, locks), "0");
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: `cargo test -p reprise-postgres -- --include-ignored`"]
fn many_clients_over_few_connections_are_given_each_job_once() {
    many("&listen=off");
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: `cargo test -p reprise-postgres -- --include-ignored`"]
fn whoever_forgets_to_say_that_notifications_do_not_come_is_served_all_the_same() {
    many("");
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_pooler_that_crashes_is_waited_for_and_loses_nothing() {
    let pooled = Pooled::start();
    let (url, _) = pooled.database();
    let queue = queue(&format!("{url}&listen=off"));
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    pooled.kill();
    let refused = queue.complete(&lease).unwrap_err();
    assert!(refused.is_transient() && refused.to_string().contains("cannot be reached"), "{refused}");
    pooled.resume();
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
    assert_eq!(queue.find(&[statement(1)]).unwrap()[0].state, State::Done { confirmed: false });
}
