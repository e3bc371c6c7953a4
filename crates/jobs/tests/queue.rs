//! The queue over memory: the suite, and histories that nobody wrote down.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use reprise_jobs::conformance::{Bench, all, offer, policy, statement, worker};
use reprise_jobs::job::{Lease, State};
use reprise_jobs::machine::{Answer, Failure};
use reprise_jobs::memory::MemoryTable;
use reprise_jobs::queue::Claims;
use reprise_jobs::table::Filter;
use reprise_jobs::{Policy, Queue};

fn bench() -> Bench {
    let time = Arc::new(AtomicU64::new(1_000_000_000));
    let clock = time.clone();
    let table = MemoryTable::with_clock(Arc::new(move || clock.load(Ordering::Relaxed)));
    let advance = move |by: Duration| {
        time.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    };
    Bench { table: Arc::new(table), advance: Box::new(advance) }
}

reprise_jobs::conformance_tests!(bench);

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
