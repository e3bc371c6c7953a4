//! The jobs over a PostgreSQL that these tests start: the suite of every table, and what a server can do to them.
//! They are ignored unless asked for, because not every machine has PostgreSQL.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use reprise_jobs::conformance::{Bench, all, claim, offer, policy, statement, worker};
use reprise_jobs::job::{Class, Device, Lease, Offer, Priority, State, StateName};
use reprise_jobs::machine::{Answer, Beat, Failure};
use reprise_jobs::queue::Claims;
use reprise_jobs::table::{Filter, JobsError, Table};
use reprise_jobs::{Policy, Queue, explanation};
use reprise_model::digest::Digest;
use reprise_postgres::scratch::{Ending, Scratch};
use reprise_postgres::table::PostgresTable;

/// One server for all tests that need no other; it ends with the last of them.
fn shared() -> Arc<Scratch> {
    static SHARED: Mutex<Weak<Scratch>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.upgrade().unwrap_or_else(|| {
        let scratch = Arc::new(Scratch::start());
        *shared = Arc::downgrade(&scratch);
        scratch
    })
}

fn bench() -> Bench {
    let server = shared();
    let time = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = time.clone();
    let table = PostgresTable::connect(&server.database()).unwrap();
    let table = table.with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    let back = time.clone();
    let set_back = move |by: Duration| {
        back.fetch_sub(by.as_millis() as u64, Ordering::Relaxed);
    };
    let advance = move |by: Duration| {
        let _kept = &server;
        time.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    };
    Bench { table: Arc::new(table), advance: Box::new(advance), set_back: Box::new(set_back) }
}

reprise_jobs::conformance_tests!(
    bench,
    ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"
);

fn queue(url: &str) -> Queue {
    Queue::new(Arc::new(PostgresTable::connect(url).unwrap()), policy())
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn the_time_is_the_servers_where_nobody_gives_another() {
    let server = shared();
    let queue = queue(&server.database());
    let before = reprise_jobs::memory::now_ms();
    queue.offer(&[offer(1)]).unwrap();
    let offered = queue.find(&[statement(1)]).unwrap()[0].offered_ms;
    assert!(
        offered + 1000 >= before && offered <= reprise_jobs::memory::now_ms() + 1000,
        "{offered} and {before}"
    );
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_newer_layout_is_refused_by_name_and_nothing_of_it_is_changed() {
    let server = shared();
    let url = server.database();
    drop(PostgresTable::connect(&url).unwrap());
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    server.sql(&database, "UPDATE reprise_layout SET layout = 7");
    let refused = PostgresTable::connect(&url).unwrap_err();
    assert!(matches!(&refused, JobsError::Layout { found: 7, known: 3, .. }), "{refused}");
    assert!(!refused.is_transient() && refused.to_string().contains("layout 7"), "{refused}");
    assert_eq!(server.sql(&database, "SELECT layout FROM reprise_layout"), "7");
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn an_older_layout_is_brought_to_this_builds_with_what_is_in_it() {
    let server = shared();
    let url = server.database();
    queue(&url).offer(&[offer(1)]).unwrap();
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    let earlier = "ALTER TABLE reprise_jobs DROP COLUMN device; UPDATE reprise_layout SET layout = 2";
    server.sql(&database, earlier);
    let gpu = Device::new("gpu").ok();
    let queue = queue(&url);
    queue.offer(&[Offer { class: Class { device: gpu, ..offer(2).class }, ..offer(2) }]).unwrap();
    let devices: Vec<_> =
        [1, 2].iter().map(|number| queue.find(&[statement(*number)]).unwrap()[0].class.device).collect();
    assert_eq!(devices, [None, gpu]);
    assert_eq!(server.sql(&database, "SELECT layout FROM reprise_layout"), "3");
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn many_who_prepare_the_tables_at_once_make_them_once() {
    let server = shared();
    let url = server.database();
    let queues: Vec<Queue> = thread::scope(|scope| {
        let made: Vec<_> = (0..6).map(|_| scope.spawn(|| queue(&url))).collect();
        made.into_iter().map(|made| made.join().unwrap()).collect()
    });
    queues[0].offer(&[offer(1)]).unwrap();
    assert!(queues.iter().all(|queue| queue.find(&[statement(1)]).unwrap().len() == 1));
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_role_that_may_only_read_and_write_rows_works_and_cannot_change_the_tables() {
    let server = shared();
    let url = server.database();
    drop(PostgresTable::connect(&url).unwrap());
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    // What the operator's page says, for a role of this test's own.
    let role = format!("worker_{database}");
    server.sql(&database, &format!("CREATE ROLE {role} LOGIN; {}", rights().replace("prover", &role)));
    queue(&url).offer(&[offer(1)]).unwrap();
    let as_worker = queue(&url.replace("reprise@", &format!("{role}@")));
    let lease = claim(&as_worker, "a", 1).remove(0);
    assert_eq!(as_worker.complete(&lease).unwrap(), Answer::Taken);
    queue(&url).offer(&[offer(3), offer(4)]).unwrap();
    let leases = claim(&as_worker, "a", 2);
    assert_eq!(as_worker.heartbeat(&worker("a"), &leases).unwrap(), [Beat::Kept, Beat::Kept]);
    as_worker.release(&leases[..1]).unwrap();
    let failure = Failure { reason: "none".into(), input_lost: false };
    assert_eq!(as_worker.fail(&leases[1], &failure).unwrap(), Answer::Taken);
    // It cannot make work up, say what is urgent, from what is to be proved, or that it is let in again.
    queue(&url).evict(&worker("a"), true).unwrap();
    assert_eq!(as_worker.claim(&worker("a"), &all(), 1).unwrap(), Claims::Evicted);
    let renewed = Offer { input: Digest([0xee; 32]), ..offer(3) };
    for refused in [
        as_worker.offer(&[offer(2)]).map(drop),
        as_worker.offer(&[renewed]).map(drop),
        as_worker.reprioritise(&[(statement(3), Priority(0))]).map(drop),
        as_worker.evict(&worker("a"), false),
        as_worker.delete_ended().map(drop),
    ] {
        let refused = refused.unwrap_err();
        assert!(
            matches!(&refused, JobsError::Refused { reason, .. } if reason.contains("42501")),
            "{refused}"
        );
    }
    assert_eq!(as_worker.find(&[statement(1)]).unwrap().len(), 1, "and goes on after that");
}

/// What the operator's page grants to a worker's role, which is called `prover` there.
fn rights() -> String {
    let page = include_str!("../../../docs/fleet.md");
    let (_, after) = page.split_once("```sql\n").unwrap();
    after.split_once("```").unwrap().0.to_owned()
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_row_that_nobody_writes_is_an_error_that_names_it() {
    let server = shared();
    let url = server.database();
    let queue = queue(&url);
    queue.offer(&[offer(1)]).unwrap();
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    server.sql(&database, "UPDATE reprise_jobs SET kind = 77");
    let refused = queue.find(&[statement(1)]).unwrap_err();
    let JobsError::Damaged { id, field: "kind", .. } = &refused else { panic!("{refused}") };
    assert_eq!(*id, statement(1).digest().to_hex());
    assert!(queue.claim(&worker("a"), &all(), 1).is_ok(), "what cannot be read is not given out");
}

/// A database of its own in the tests' server: its address, and its name for `sql`.
fn database(server: &Scratch) -> (String, String) {
    let url = server.database();
    let name = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    (url, name)
}

/// The row of a statement, for `sql`.
fn row(number: u64) -> String {
    format!("id = '\\x{}'", statement(number).digest().to_hex())
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_row_that_does_not_read_is_left_out_and_the_rest_is_served() {
    let server = shared();
    let (url, name) = database(&server);
    let queue = queue(&url);
    let jobs = 12u64;
    queue.offer(&(0..jobs).map(offer).collect::<Vec<_>>()).unwrap();
    // More of the most urgent than a worker asks for at a time.
    for number in 0..5 {
        server.sql(&name, &format!("UPDATE reprise_jobs SET failures = -1 WHERE {}", row(number)));
    }
    let claimed = claim(&queue, "a", 1);
    assert_eq!(claimed[0].id, statement(5));
    let leases = claim(&queue, "a", 100);
    assert_eq!(leases.len() as u64, jobs - 6, "each once, and no more than there are");
    let all_ids: Vec<_> = (0..jobs).map(statement).collect();
    assert_eq!(queue.find(&all_ids).unwrap().len() as u64, jobs - 5);
    assert_eq!(queue.list(&Filter::default()).unwrap().len() as u64, jobs - 5);
    let first = queue.list(&Filter { limit: Some(2), ..Filter::default() }).unwrap();
    assert_eq!(first.iter().map(|job| job.id).collect::<Vec<_>>(), [5, 6].map(statement), "a whole page");
    // Whoever asks for that one alone, or would put it there, is told.
    let damaged = |error: JobsError| matches!(error, JobsError::Damaged { field: "failures", .. });
    assert!(damaged(queue.find(&[statement(0)]).unwrap_err()));
    assert!(damaged(queue.offer(&[offer(0)]).unwrap_err()));
    let prefix = statement(0).0[..8].to_vec();
    assert!(damaged(queue.list(&Filter { prefix, ..Filter::default() }).unwrap_err()));
    // A worker that holds one that is spoilt has lost that one, and goes on with the others.
    server.sql(&name, &format!("UPDATE reprise_jobs SET holder = 'no name' WHERE {}", row(5)));
    let held = [claimed[0].clone(), leases[0].clone()];
    assert_eq!(queue.heartbeat(&worker("a"), &held).unwrap(), [Beat::Lost, Beat::Kept]);
    assert_eq!(queue.complete(&claimed[0]).unwrap(), Answer::Stale);
    // And leases that ran out are taken back past it.
    server.sql(&name, "UPDATE reprise_jobs SET at_ms = 1 WHERE state = 1");
    assert_eq!(queue.reap().unwrap() as u64, jobs - 6);
    server.sql(&name, &format!("DELETE FROM reprise_jobs WHERE {}", row(0)));
    assert_eq!(queue.offer(&[offer(0)]).unwrap().len(), 1);
    assert_eq!(claim(&queue, "b", 1)[0].id, statement(0), "deleted, it is offered again");
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn no_row_that_a_worker_may_write_keeps_others_from_work_or_from_being_shown() {
    let server = shared();
    let (url, name) = database(&server);
    let queue = queue(&url);
    queue.offer(&[1, 2].map(offer)).unwrap();
    claim(&queue, "a", 1);
    server.sql(&name, "UPDATE reprise_workers SET strikes = -1, claimed = -7");
    server.sql(&name, "INSERT INTO reprise_workers (name) VALUES (chr(27) || '[2Jnobody')");
    assert_eq!(claim(&queue, "a", 1).len(), 1);
    let workers: Vec<_> = queue.workers().unwrap().into_iter().map(|known| known.name).collect();
    assert_eq!(workers, [worker("a")]);
    // The largest numbers that there are.
    let counts = ["claimed", "completed", "confirmed", "rejected", "failed", "lapsed", "released", "strikes"];
    let largest = counts.map(|count| format!("{count} = 9223372036854775807")).join(", ");
    server.sql(&name, &format!("UPDATE reprise_workers SET {largest}"));
    server.sql(&name, "UPDATE reprise_jobs SET at_ms = 1 WHERE state = 1");
    assert_eq!(queue.reap().unwrap(), 2, "leases are taken back");
    assert_eq!(claim(&queue, "b", 2).len(), 2);
    let lapsed = queue.standing(&worker("a")).unwrap().worker.unwrap().tally.lapsed;
    assert_eq!(lapsed, i64::MAX as u64, "and no more is counted");
    server.sql(&name, &format!("UPDATE reprise_jobs SET kind = 77 WHERE {}", row(1)));
    assert_eq!(queue.figures().unwrap().iter().map(|figure| figure.jobs).sum::<u64>(), 1);
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn what_a_worker_writes_into_a_row_reaches_no_terminal_as_it_is() {
    let server = shared();
    let (url, name) = database(&server);
    let queue = queue(&url);
    queue.offer(&[1, 2].map(offer)).unwrap();
    let hostile = "chr(27) || ']0;owned' || chr(7) || chr(10) || chr(155) || '2J'";
    server.sql(&name, &format!("UPDATE reprise_jobs SET reason = {hostile} WHERE {}", row(1)));
    server.sql(&name, &format!("UPDATE reprise_jobs SET holder = {hostile} WHERE {}", row(2)));
    let job = queue.find(&[statement(1)]).unwrap().remove(0);
    let mut said = explanation::why(&job, &queue).unwrap();
    said.extend(job.reason);
    said.push(queue.find(&[statement(2)]).unwrap_err().to_string());
    said.extend(queue.list(&Filter::default()).unwrap().into_iter().filter_map(|job| job.reason));
    assert!(said.iter().any(|text| text.contains("owned")), "{said:?}");
    assert!(!said.iter().any(|text| text.chars().any(char::is_control)), "{said:?}");
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn nothing_of_a_session_outlives_a_request() {
    let server = shared();
    let url = server.database();
    let queue = queue(&format!("{url}&listen=off"));
    queue.offer(&[1, 2].map(offer)).unwrap();
    let leases = claim(&queue, "a", 2);
    queue.heartbeat(&worker("a"), &leases).unwrap();
    queue.complete(&leases[0]).unwrap();
    assert!(matches!(queue.claim(&worker("a"), &all(), 1), Ok(Claims::Jobs(none)) if none.is_empty()));
    let turn = queue.turn();
    queue.wait(turn, Duration::from_millis(1));
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    // Asked over the same connections that served the requests.
    let left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND \
                (state <> 'idle' OR backend_xid IS NOT NULL)";
    assert_eq!(server.sql(&database, left), "0");
    let locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
                 (SELECT oid FROM pg_database WHERE datname = current_database())";
    assert_eq!(server.sql(&database, locks), "0");
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn without_a_server_the_error_says_so_and_the_same_table_goes_on_when_it_is_back() {
    let server = Scratch::start();
    let queue = queue(&server.database());
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    for how in [Ending::Immediate, Ending::Fast] {
        server.end(how);
        let refused = queue.complete(&lease).unwrap_err();
        assert!(refused.is_transient(), "{refused}");
        let refused = queue.find(&[statement(1)]).unwrap_err();
        assert!(refused.is_transient() && refused.to_string().contains("cannot be reached"), "{refused}");
        server.resume();
        assert!(matches!(queue.find(&[statement(1)]).unwrap()[0].state, State::Running { .. }));
    }
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn connections_that_the_server_has_ended_meanwhile_are_replaced_and_nobody_notices() {
    let server = shared();
    let url = server.database();
    let queue = queue(&format!("{url}&listen=off"));
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    for number in 1..4 {
        queue.offer(&[offer(number)]).unwrap();
        // As after a failover.
        let ended = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity \
                     WHERE datname = current_database() AND pid <> pg_backend_pid()";
        assert_eq!(server.sql(&database, ended), "1");
        assert_eq!(queue.find(&[statement(number)]).unwrap().len(), 1);
    }
}

/// What the workers of a test were given, and what of it was taken.
#[derive(Default)]
struct Work {
    given: Mutex<Vec<Lease>>,
    taken: Mutex<Vec<Lease>>,
}

/// A worker of [`a_server_that_crashes_again_and_again_loses_no_job_and_gives_no_token_out_twice`].
fn work(url: &str, name: &str, stop: &AtomicBool, Work { given, taken }: &Work) {
    let queue = Queue::new(
        Arc::new(PostgresTable::open(url).unwrap()),
        Policy { lease: Duration::from_secs(2), lapses_max: 1000, strikes_max: 1000, ..policy() },
    );
    let mut held: Vec<Lease> = vec![];
    while !stop.load(Ordering::Relaxed) {
        let turn = queue.turn();
        if let Ok(Claims::Jobs(claimed)) = queue.claim(&worker(name), &all(), 3) {
            let leases = claimed.into_iter().map(|(lease, _)| lease);
            let before = held.len();
            held.extend(leases);
            given.lock().unwrap().extend_from_slice(&held[before..]);
        }
        held.retain(|lease| match queue.complete(lease) {
            Ok(Answer::Taken | Answer::Known) => {
                taken.lock().unwrap().push(lease.clone());
                false
            }
            Ok(Answer::Stale) => false,
            Err(error) => {
                assert!(error.is_transient(), "{error}");
                true
            }
        });
        if held.is_empty() {
            queue.wait(turn, Duration::from_millis(20));
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_server_that_crashes_again_and_again_loses_no_job_and_gives_no_token_out_twice() {
    let server = Scratch::start();
    let url = server.database();
    let jobs: u64 = 400;
    let node = queue(&url);
    let (stop, worked) = (AtomicBool::new(false), Work::default());
    thread::scope(|scope| {
        for number in 0..3 {
            let (url, stop, worked) = (&url, &stop, &worked);
            scope.spawn(move || work(url, &format!("w{number}"), stop, worked));
        }
        let mut crashes = 0;
        let mut offered = 0;
        let done = |queue: &Queue| {
            let filter = Filter { state: Some(StateName::Done), ..Filter::default() };
            queue.list(&filter).map(|done| done.len() as u64)
        };
        let began = Instant::now();
        loop {
            // Each part of the work meets a crash: after so many are done, the server is ended at once.
            let before = done(&node).unwrap_or(0);
            if before >= jobs {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(240), "{before} done after {crashes} crashes");
            // As nodes do, who find gone what a crash has lost: all of it again.
            let numbers: Vec<_> = (0..(offered + 20).min(jobs)).map(offer).collect();
            if node.offer(&numbers).is_ok() {
                offered = numbers.len() as u64;
            }
            if crashes < 20 && before / 20 > crashes {
                server.end(Ending::Immediate);
                server.resume();
                crashes += 1;
            }
        }
        stop.store(true, Ordering::Relaxed);
        assert!(crashes >= 15, "{crashes} crashes");
    });
    let (given, taken) = (worked.given.into_inner().unwrap(), worked.taken.into_inner().unwrap());
    let distinct: BTreeSet<_> = taken.iter().map(|lease| lease.id).collect();
    assert_eq!(distinct.len() as u64, jobs, "each is taken");
    // A completion that a crash has lost is said again by whoever claims next, under another token.
    let tokens =
        |leases: &[Lease]| leases.iter().map(|lease| (lease.id, lease.fence)).collect::<BTreeSet<_>>();
    assert_eq!(tokens(&given).len(), given.len(), "no token is given twice");
    assert_eq!(tokens(&taken).len(), taken.len(), "and none is taken twice");
    assert!(node.list(&Filter::default()).unwrap().iter().all(|job| matches!(job.state, State::Done { .. })));
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn a_database_that_is_read_only_for_a_while_is_waited_for_and_then_written_to() {
    let server = shared();
    let (url, name) = database(&server);
    let queue = queue(&url);
    queue.offer(&[offer(1)]).unwrap();
    server.sql("postgres", &format!("ALTER DATABASE {name} SET default_transaction_read_only = on"));
    let ends =
        format!("SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}'");
    server.sql("postgres", &ends);
    for _ in 0..3 {
        let refused = queue.offer(&[offer(2)]).unwrap_err();
        assert!(refused.is_transient(), "{refused}");
        assert_eq!(queue.find(&[statement(1)]).unwrap().len(), 1, "it is read all the while");
    }
    // Connections that are there stay read-only.
    server.sql("postgres", &format!("ALTER DATABASE {name} RESET default_transaction_read_only"));
    queue.offer(&[offer(2)]).or_else(|_| queue.offer(&[offer(2)])).unwrap();
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn what_is_given_up_here_is_given_up_by_the_server_too() {
    let server = shared();
    let (url, name) = database(&server);
    let table = PostgresTable::connect(&url).unwrap().answering_within(Duration::from_millis(400));
    let queue = Queue::new(Arc::new(table), policy());
    queue.offer(&[offer(1)]).unwrap();
    // Somebody holds a lock all the while.
    let mut holder =
        server.psql(&name, "BEGIN; LOCK TABLE reprise_jobs; SELECT pg_sleep(600)").spawn().unwrap();
    let holds = format!(
        "SELECT count(*) FROM pg_locks WHERE granted AND mode = 'AccessExclusiveLock' AND relation::regclass::text = \
         'reprise_jobs' AND database = (SELECT oid FROM pg_database WHERE datname = '{name}')"
    );
    while server.sql(&name, &holds) == "0" {}
    thread::scope(|scope| {
        for number in 0..8 {
            let queue = &queue;
            scope.spawn(move || {
                let refused = match number % 4 {
                    0 => queue.find(&[statement(1)]).map(drop),
                    1 => queue.figures().map(drop),
                    2 => queue.standing(&worker("a")).map(drop),
                    _ => queue.cancel(&[statement(1)]).map(drop),
                };
                let refused = refused.unwrap_err();
                assert!(refused.is_transient(), "{refused}");
            });
        }
    });
    let waiting = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}' AND wait_event_type = 'Lock'"
    );
    let began = Instant::now();
    while server.sql("postgres", &waiting) != "0" {
        assert!(began.elapsed() < Duration::from_secs(10), "they wait there all the same");
    }
    assert_eq!(server.sql(&name, &holds), "1", "the lock is held");
    let ends = format!(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' \
                        AND datname = '{name}' AND pid <> pg_backend_pid()"
    );
    server.sql("postgres", &ends);
    holder.wait().unwrap();
    assert_eq!(queue.cancel(&[statement(1)]).unwrap(), 1);
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn tables_that_are_lost_are_made_anew_by_whoever_offers() {
    let server = shared();
    let (url, name) = database(&server);
    let queue = queue(&url);
    queue.offer(&[offer(1)]).unwrap();
    server.sql(&name, "DROP TABLE reprise_jobs, reprise_workers, reprise_layout");
    assert!(queue.offer(&[offer(1)]).is_err());
    queue.offer(&[offer(1)]).unwrap();
    assert_eq!(claim(&queue, "a", 1).len(), 1);
}

#[test]
#[ignore = "needs PostgreSQL: `cargo test -p reprise-postgres -- --include-ignored`"]
fn only_what_may_be_forgotten_is_answered_before_it_is_durable() {
    let server = shared();
    let url = server.database();
    let queue = queue(&url);
    queue.offer(&[offer(1)]).unwrap();
    let database = url.split('/').next_back().unwrap().split('?').next().unwrap().to_owned();
    // A deferred trigger sees what is set when the transaction ends.
    let noted = "CREATE TABLE noted (number serial, setting text); \
                 CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO noted (setting) VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$; \
                 CREATE CONSTRAINT TRIGGER note AFTER INSERT OR UPDATE ON reprise_jobs DEFERRABLE INITIALLY DEFERRED \
                 FOR EACH ROW EXECUTE FUNCTION note()";
    server.sql(&database, noted);
    queue.offer(&[offer(2)]).unwrap();
    let leases = claim(&queue, "a", 2);
    queue.heartbeat(&worker("a"), &leases[..1]).unwrap();
    queue.complete(&leases[0]).unwrap();
    queue.confirm(&leases[0]).unwrap();
    queue.fail(&leases[1], &Failure { reason: "none".into(), input_lost: false }).unwrap();
    // The claim is of two rows.
    let said = server.sql(&database, "SELECT setting FROM noted ORDER BY number").replace('\n', " ");
    assert_eq!(said, "off on on on off off on");
}

/// How many claims and completions a second one server carries: `cargo test --release -p reprise-postgres --test
/// postgres -- --ignored --nocapture claims_and_completions`.
#[test]
#[ignore = "a figure, not a check of correctness"]
fn claims_and_completions_a_second() {
    let server = Scratch::start();
    let url = server.database();
    let (jobs, workers, batch) = (20_000u64, 8, 32);
    let node = queue(&url);
    for first in (0..jobs).step_by(1000) {
        node.offer(&(first..first + 1000).map(offer).collect::<Vec<_>>()).unwrap();
    }
    let began = Instant::now();
    thread::scope(|scope| {
        for number in 0..workers {
            let url = &url;
            scope.spawn(move || {
                let policy = Policy { held_max: 1000, ..policy() };
                let queue = Queue::new(Arc::new(PostgresTable::connect(url).unwrap()), policy);
                loop {
                    let leases = claim(&queue, &format!("w{number}"), batch);
                    if leases.is_empty() {
                        break;
                    }
                    thread::scope(|scope| {
                        for some in leases.chunks(batch / 4) {
                            let queue = &queue;
                            scope.spawn(move || {
                                some.iter().for_each(|lease| assert!(queue.complete(lease).is_ok()));
                            });
                        }
                    });
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let one = queue(&url);
    let mut waits: Vec<Duration> = (0..200u64)
        .map(|number| {
            let began = Instant::now();
            one.offer(&[offer(jobs + number)]).unwrap();
            let lease = claim(&one, "one", 1).remove(0);
            one.complete(&lease).unwrap();
            one.confirm(&lease).unwrap();
            began.elapsed()
        })
        .collect();
    waits.sort();
    println!("{:.0} claims and as many completions a second", jobs as f64 / seconds);
    println!(
        "offer, claim, completion and confirmation of one job: {:?} p50, {:?} p99",
        waits[100], waits[198]
    );
    let table: Arc<dyn Table> = Arc::new(PostgresTable::connect(&url).unwrap());
    assert_eq!(table.find(&[statement(0)]).unwrap()[0].state, State::Done { confirmed: false });
}
