//! The queue over memory: the suite, and histories that nobody wrote down.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use reprise_jobs::conformance::{Bench, all, offer, policy, statement, worker};
use reprise_jobs::job::{Lease, Offer, Priority, State};
use reprise_jobs::machine::{Answer, Failure};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::queue::Claims;
use reprise_jobs::table::{Change, Figure, Filter, Horizon, JobsError, Rows, Standing, Table};
use reprise_jobs::{Job, Policy, Queue, Worker, WorkerName};
use reprise_model::statement::StatementId;

fn bench() -> Bench {
    let time = Arc::new(AtomicU64::new(1_000_000_000));
    let clock = time.clone();
    let table = MemoryTable::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    let back = time.clone();
    let set_back = move |by: Duration| {
        back.fetch_sub(by.as_millis() as u64, Ordering::Relaxed);
    };
    let advance = move |by: Duration| {
        time.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    };
    Bench { table: Arc::new(table), advance: Box::new(advance), set_back: Box::new(set_back) }
}

reprise_jobs::conformance_tests!(bench);

/// A table in memory that is away as soon as somebody looks for leases that ran out, if that is asked for; and of whatever is
/// written to it, whether it may be forgotten.
#[derive(Default)]
struct Watched {
    inner: MemoryTable,
    goes_away: bool,
    away: AtomicBool,
    forgettable: Mutex<Vec<bool>>,
}

impl Watched {
    fn reach(&self) -> Result<&MemoryTable, JobsError> {
        let gone = || JobsError::Unreachable { at: "here".into(), reason: "away".into() };
        if self.away.load(Ordering::Relaxed) { Err(gone()) } else { Ok(&self.inner) }
    }
}

impl Table for Watched {
    fn change(&self, rows: Rows<'_>, change: &mut Change<'_>) -> Result<(), JobsError> {
        if matches!(rows, Rows::Lapsed(..)) && self.goes_away {
            self.away.store(true, Ordering::Relaxed);
        }
        self.reach()?.change(rows, &mut |now_ms, rows| {
            let changes = change(now_ms, rows);
            if !changes.jobs.is_empty() || !changes.workers.is_empty() {
                self.forgettable.lock().unwrap().push(changes.forgettable);
            }
            changes
        })
    }
    fn find(&self, ids: &[StatementId]) -> Result<Vec<Job>, JobsError> {
        self.reach()?.find(ids)
    }
    fn list(&self, filter: &Filter) -> Result<Vec<Job>, JobsError> {
        self.reach()?.list(filter)
    }
    fn standing(&self, name: &WorkerName) -> Result<Standing, JobsError> {
        self.reach()?.standing(name)
    }
    fn workers(&self) -> Result<Vec<Worker>, JobsError> {
        self.reach()?.workers()
    }
    fn evict(&self, name: &WorkerName, evicted: bool) -> Result<(), JobsError> {
        self.reach()?.evict(name, evicted)
    }
    fn now_ms(&self) -> Result<u64, JobsError> {
        self.reach()?.now_ms()
    }
    fn figures(&self) -> Result<Vec<Figure>, JobsError> {
        self.reach()?.figures()
    }
    fn delete_ended(&self, horizon: &Horizon) -> Result<u64, JobsError> {
        self.reach()?.delete_ended(horizon)
    }
    fn turn(&self) -> u64 {
        self.inner.turn()
    }
    fn wait(&self, turn: u64, patience: Duration) {
        self.inner.wait(turn, patience);
    }
}

#[test]
fn what_is_claimed_is_handed_over_although_the_table_goes_away_before_the_claim_ends() {
    let table = Arc::new(Watched { goes_away: true, ..Watched::default() });
    let queue = Queue::new(table.clone(), policy());
    queue.offer(&[1, 2].map(offer)).unwrap();
    let Ok(Claims::Jobs(claimed)) = queue.claim(&worker("a"), &all(), 5) else {
        panic!("the leases of both are given, and nobody has them");
    };
    assert_eq!(claimed.len(), 2);
    assert!(table.away.load(Ordering::Relaxed), "it looked for leases that ran out");
    assert!(queue.claim(&worker("a"), &all(), 5).is_err(), "nothing is claimed where nothing is reached");
    table.away.store(false, Ordering::Relaxed);
    for (lease, _) in &claimed {
        assert_eq!(queue.complete(lease).unwrap(), Answer::Taken);
    }
}

#[test]
fn only_what_is_said_again_may_be_forgotten() {
    let table = Arc::new(Watched::default());
    let queue = Queue::new(table.clone(), Policy { lapses_max: 100, ..policy() });
    let claim = || reprise_jobs::conformance::claim(&queue, "a", 1).remove(0);
    let failure = Failure { reason: "none".into(), input_lost: false };
    let wrote = |what: &str, forgettable: bool| {
        let found = std::mem::take(&mut *table.forgettable.lock().unwrap());
        assert_eq!(found, [forgettable], "{what}");
    };
    let urgent = |number: u64, priority: i64| Offer { priority: Priority(priority), ..offer(number) };
    queue.offer(&[offer(1)]).unwrap();
    wrote("an offer", true);
    queue.offer(&[urgent(1, -9)]).unwrap();
    wrote("a more urgent offer", true);
    queue.reprioritise(&[(statement(1), Priority(7))]).unwrap();
    wrote("a priority", true);
    let lease = claim();
    wrote("a claim", false);
    queue.heartbeat(&worker("a"), std::slice::from_ref(&lease)).unwrap();
    wrote("a heartbeat", false);
    queue.cancel(&[statement(1)]).unwrap();
    wrote("a cancel", false);
    queue.offer(&[offer(1)]).unwrap();
    wrote("an offer that takes back the end of a proof", false);
    queue.release(&[lease]).unwrap();
    wrote("a release", false);
    let lease = claim();
    wrote("a claim", false);
    queue.fail(&lease, &failure).unwrap();
    wrote("a failure", false);
    queue.quarantine(&[statement(1)], "by hand").unwrap();
    wrote("a quarantine", false);
    queue.retry(&[statement(1)]).unwrap();
    wrote("a retry", false);
    let lease = claim();
    wrote("a claim", false);
    queue.complete(&lease).unwrap();
    wrote("a completion", true);
    queue.reject(&lease, "none").unwrap();
    wrote("a rejection", false);
    queue.retry(&[statement(1)]).unwrap();
    wrote("a retry", false);
    let lease = claim();
    wrote("a claim", false);
    queue.complete(&lease).unwrap();
    wrote("a completion", true);
    queue.confirm(&lease).unwrap();
    wrote("a confirmation", true);
    queue.offer(&[offer(2)]).unwrap();
    wrote("an offer", true);
    queue.settle(&[statement(2)]).unwrap();
    wrote("a receipt that was proved without a lease", true);
}

#[test]
fn a_lease_that_ran_out_is_taken_back_for_good() {
    let table =
        Arc::new(Watched { inner: MemoryTable::with_clock(Arc::new(|| 1_000)), ..Watched::default() });
    let queue = Queue::new(table.clone(), Policy { lease: Duration::ZERO, ..policy() });
    queue.offer(&[offer(1)]).unwrap();
    reprise_jobs::conformance::claim(&queue, "a", 1);
    table.forgettable.lock().unwrap().clear();
    assert_eq!(queue.reap().unwrap(), 1);
    assert_eq!(*table.forgettable.lock().unwrap(), [false]);
}

/// One thing that happens to a database that is copied, and from time to time replaced by its copy.
#[derive(Debug, Clone)]
enum Copying {
    Offer(u64),
    Claim(u8),
    Fail(usize),
    Release(usize),
    Cancel(u64),
    /// What is done or cancelled is deleted.
    Forget,
    Copy,
    FailOver,
    Pass(u64),
}

fn copying() -> impl Strategy<Value = Copying> {
    prop_oneof![
        3 => (0..3u64).prop_map(Copying::Offer),
        4 => (0..2u8).prop_map(Copying::Claim),
        1 => (0..64usize).prop_map(Copying::Fail),
        1 => (0..64usize).prop_map(Copying::Release),
        1 => (0..3u64).prop_map(Copying::Cancel),
        1 => Just(Copying::Forget),
        1 => Just(Copying::Copy),
        1 => Just(Copying::FailOver),
        2 => (0..40_000u64).prop_map(Copying::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_token_is_given_twice_by_a_copy_that_lags_or_for_a_row_that_was_deleted(
        steps in proptest::collection::vec(copying(), 1..120)
    ) {
        let time = Arc::new(AtomicU64::new(1_000_000_000));
        let clock = time.clone();
        let table = Arc::new(MemoryTable::with_clock(Arc::new(move || clock.load(Ordering::Relaxed))));
        let queue = Queue::new(table.clone(), Policy { strikes_max: u32::MAX, ..policy() });
        let (mut copied, mut leases): (_, Vec<Lease>) = (table.copied(), vec![]);
        let mut given: BTreeSet<(_, u64)> = BTreeSet::new();
        let failure = Failure { reason: "so".into(), input_lost: false };
        for step in steps {
            let lease = |at: usize| (!leases.is_empty()).then(|| leases[at % leases.len()].clone());
            match step {
                Copying::Offer(number) => drop(queue.offer(&[offer(number)]).unwrap()),
                Copying::Claim(name) => {
                    let Claims::Jobs(claimed) = queue.claim(&worker(&format!("w{name}")), &all(), 2).unwrap() else {
                        panic!("nobody rests here");
                    };
                    for (lease, _) in claimed {
                        prop_assert!(given.insert((lease.id, lease.fence)), "a token was given twice: {lease:?}");
                        leases.push(lease);
                    }
                }
                Copying::Fail(at) => if let Some(lease) = lease(at) { queue.fail(&lease, &failure).unwrap(); },
                Copying::Release(at) => if let Some(lease) = lease(at) { queue.release(&[lease]).unwrap() },
                Copying::Cancel(number) => drop(queue.cancel(&[statement(number)]).unwrap()),
                Copying::Forget => {
                    time.fetch_add(policy().retention_max.as_millis() as u64 + 1, Ordering::Relaxed);
                    queue.delete_ended().unwrap();
                }
                Copying::Copy => copied = table.copied(),
                // No database takes another's place within a millisecond.
                Copying::FailOver => {
                    time.fetch_add(1, Ordering::Relaxed);
                    table.restore(copied.clone());
                }
                Copying::Pass(ms) => drop(time.fetch_add(ms, Ordering::Relaxed)),
            }
        }
    }
}

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    Offer(u64),
    Claim(u8, usize),
    /// Of a lease that was given once, whether it is still valid or not.
    Complete(usize),
    Fail(usize),
    Release(usize),
    Reject(usize),
    Confirm(usize),
    Heartbeat(usize),
    Cancel(u64),
    Retry(u64),
    Quarantine(u64),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let lease = 0..64usize;
    prop_oneof![
        3 => (0..6u64).prop_map(Step::Offer),
        4 => (0..3u8, 1..4usize).prop_map(|(name, most)| Step::Claim(name, most)),
        3 => lease.clone().prop_map(Step::Complete),
        1 => lease.clone().prop_map(Step::Fail),
        1 => lease.clone().prop_map(Step::Release),
        1 => lease.clone().prop_map(Step::Reject),
        1 => lease.clone().prop_map(Step::Confirm),
        1 => lease.prop_map(Step::Heartbeat),
        1 => (0..6u64).prop_map(Step::Cancel),
        1 => (0..6u64).prop_map(Step::Retry),
        1 => (0..6u64).prop_map(Step::Quarantine),
        3 => (0..40_000u64).prop_map(Step::Pass),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_no_history_are_two_leases_valid_or_is_a_token_given_twice_or_finished_work_lost(
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let bench = bench();
        let queue = Queue::new(bench.table.clone(), Policy { strikes_max: u32::MAX, ..policy() });
        let mut leases: Vec<Lease> = vec![];
        let mut fences: BTreeSet<(_, u64)> = BTreeSet::new();
        let mut done: BTreeMap<_, bool> = BTreeMap::new();
        let failure = Failure { reason: "so".into(), input_lost: false };
        for step in steps {
            let lease = |at: usize| (!leases.is_empty()).then(|| leases[at % leases.len()].clone());
            match step {
                Step::Offer(number) => drop(queue.offer(&[offer(number)]).unwrap()),
                Step::Claim(name, most) => {
                    let Claims::Jobs(claimed) = queue.claim(&worker(&format!("w{name}")), &all(), most).unwrap() else {
                        panic!("nobody rests here");
                    };
                    for (lease, job) in claimed {
                        prop_assert!(fences.insert((lease.id, lease.fence)), "a token was given twice: {lease:?}");
                        prop_assert!(!done.contains_key(&lease.id), "what is done was given out: {job:?}");
                        leases.push(lease);
                    }
                }
                Step::Complete(at) => if let Some(lease) = lease(at) {
                    let newest = leases.iter().filter(|other| other.id == lease.id).map(|other| other.fence).max();
                    let answer = queue.complete(&lease).unwrap();
                    if answer == Answer::Taken {
                        prop_assert_eq!(newest, Some(lease.fence), "an old token was taken");
                        done.insert(lease.id, false);
                    }
                },
                Step::Fail(at) => if let Some(lease) = lease(at) { queue.fail(&lease, &failure).unwrap(); },
                Step::Release(at) => if let Some(lease) = lease(at) { queue.release(&[lease]).unwrap() },
                Step::Reject(at) => if let Some(lease) = lease(at)
                    && queue.reject(&lease, "none").unwrap() == Answer::Taken
                {
                    prop_assert!(done.remove(&lease.id).is_some());
                },
                Step::Confirm(at) => if let Some(lease) = lease(at)
                    && queue.confirm(&lease).unwrap() == Answer::Taken
                {
                    prop_assert!(done.insert(lease.id, true) == Some(false));
                },
                Step::Heartbeat(at) => if let Some(lease) = lease(at) {
                    queue.heartbeat(&lease.worker, std::slice::from_ref(&lease)).unwrap();
                },
                Step::Cancel(number) => drop(queue.cancel(&[statement(number)]).unwrap()),
                Step::Retry(number) => drop(queue.retry(&[statement(number)]).unwrap()),
                Step::Quarantine(number) => drop(queue.quarantine(&[statement(number)], "by hand").unwrap()),
                Step::Pass(ms) => (bench.advance)(Duration::from_millis(ms)),
            }
            for job in queue.list(&Filter::default()).unwrap() {
                let is_done = matches!(job.state, State::Done { .. });
                prop_assert_eq!(done.contains_key(&job.id), is_done, "finished work: {:?}", job);
                prop_assert!(job.failures <= policy().failures_max && job.lapses <= policy().lapses_max, "{:?}", job);
                let exhausted = job.failures == policy().failures_max || job.lapses == policy().lapses_max;
                let tried = matches!(job.state, State::Queued { .. } | State::Running { .. });
                prop_assert!(!(exhausted && tried), "over its budget and tried again: {:?}", job);
                if matches!(job.state, State::Running { .. }) {
                    let valid = leases.iter().filter(|lease| job.is_held_by(lease)).count();
                    prop_assert_eq!(valid, 1, "{:?}", job);
                }
            }
        }
    }
}
