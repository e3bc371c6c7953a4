//! What every table keeps, for the tests of each: `conformance_tests!(make)` declares one test a sentence, where `make`
//! makes an empty table and what moves its time.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use reprise_model::digest::{Digest, ProfileId};
use reprise_model::statement::{Kind, StatementId};

use crate::job::{Capacity, Class, Device, Job, Lease, Offer, Priority, State, StateName};
use crate::machine::{Answer, Beat, Failure};
use crate::policy::Policy;
use crate::queue::{Claims, Queue};
use crate::table::{Filter, Table};
use crate::worker::WorkerName;

/// An empty table, and what lets its time pass.
pub struct Bench {
    /// The table.
    pub table: Arc<dyn Table>,
    /// Lets so much time pass.
    pub advance: Box<dyn Fn(Duration) + Send + Sync>,
    /// Sets its clock back by so much.
    pub set_back: Box<dyn Fn(Duration) + Send + Sync>,
}

impl Bench {
    /// A queue over it.
    pub fn queue(&self) -> Queue {
        Queue::new(self.table.clone(), policy())
    }
}

/// What the suite runs with.
pub fn policy() -> Policy {
    Policy { held_max: 100, strikes_max: 3, ..Policy::default() }
}

/// Declares the suite's tests. The argument makes a [`Bench`]; `ignore = "why"` after it has them run where they are asked
/// for.
#[macro_export]
macro_rules! conformance_tests {
    ($make:expr $(, ignore = $why:literal)?) => {
        $crate::conformance_tests!($make; [$(#[ignore = $why])?]
            any_number_of_offers_of_one_statement_are_one_job,
            what_is_offered_is_found_and_listed_as_it_was,
            a_job_goes_to_one_of_many_who_claim_at_once,
            the_most_urgent_job_is_claimed_first_and_a_new_priority_counts,
            a_worker_is_given_only_what_it_can_do,
            a_job_that_requires_a_device_goes_to_a_worker_that_has_it,
            a_lease_that_ran_out_is_given_to_another,
            a_completion_with_an_old_token_is_refused,
            a_completion_after_the_lease_ran_out_is_taken_while_nobody_else_has_claimed,
            a_completion_that_is_said_twice_is_known,
            what_many_say_at_a_time_is_answered_each_for_itself,
            a_forged_lease_is_stale,
            a_heartbeat_keeps_a_lease_and_says_when_it_is_lost,
            a_statement_that_fails_over_its_budget_is_quarantined_by_name_until_it_is_released,
            a_statement_that_ends_whoever_tries_it_is_quarantined,
            neither_a_cancel_nor_an_offer_releases_what_is_quarantined,
            one_claim_costs_one_attempt_whatever_its_holder_says_after,
            a_failed_job_waits_before_it_is_claimed_again,
            a_job_that_failed_goes_to_another_before_whoever_failed_has_it_again,
            one_machine_that_fails_fast_quarantines_nothing_beside_one_that_proves,
            a_fleet_of_one_that_fails_comes_to_quarantine_in_bounded_time,
            what_is_given_back_can_be_claimed_at_once_and_costs_no_attempt,
            cancelling_a_job_that_runs_is_a_request_and_takes_no_finished_work,
            a_cancelled_job_is_not_claimed_and_is_offered_again,
            a_rejected_completion_is_queued_again_and_its_token_is_dead,
            a_receipt_that_is_gone_after_it_was_confirmed_is_proved_again_and_speaks_against_nobody,
            whoever_confirms_its_own_lies_comes_to_quarantine,
            a_job_that_was_deleted_and_is_offered_again_takes_no_completion_of_its_earlier_life,
            a_worker_whose_receipts_are_none_rests_and_one_that_is_confirmed_does_not,
            a_worker_that_fails_rests_and_one_that_found_no_input_does_not,
            an_evicted_worker_is_given_nothing,
            what_a_worker_holds_goes_to_others_when_it_is_evicted,
            a_sign_of_life_of_an_evicted_worker_keeps_nothing,
            a_worker_holds_no_more_than_it_may,
            an_input_that_is_offered_again_is_the_newest,
            a_clock_that_steps_back_keeps_no_job_waiting,
            a_clock_that_steps_back_keeps_no_dead_workers_lease_and_takes_none_from_a_live_one,
            a_clock_that_steps_back_keeps_no_worker_resting,
            what_ended_long_ago_is_deleted_and_nothing_else,
            figures_count_by_class_and_state,
            what_a_job_took_is_counted_from_its_claim_to_its_completion,
            whoever_waits_is_woken_by_an_offer,
            a_reason_is_kept_without_what_a_terminal_would_act_on,
        );
    };
    ($make:expr; $ignored:tt $($sentence:ident),* $(,)?) => {
        $($crate::conformance_tests!(@ $make; $ignored $sentence);)*
    };
    (@ $make:expr; [$(#[$ignored:meta])?] $sentence:ident) => {
        #[test] $(#[$ignored])? fn $sentence() { $crate::conformance::$sentence(&$make()); }
    };
}

/// The profile of the suite's jobs.
pub const PROFILE: ProfileId = ProfileId([7; 32]);

/// A worker's name.
pub fn worker(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

/// What can do every job of the suite.
pub fn all() -> Capacity {
    Capacity { kinds: Kind::ALL.to_vec(), profile: PROFILE, memory: 100, devices: vec![] }
}

/// A statement by number.
pub fn statement(number: u64) -> StatementId {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    id[24..].copy_from_slice(&number.to_be_bytes());
    StatementId(id)
}

/// An offer by number, the lower the more urgent.
pub fn offer(number: u64) -> Offer {
    Offer {
        id: statement(number),
        class: Class { kind: Kind::Batch, profile: PROFILE, memory: 4, device: None },
        priority: Priority(number as i64),
        input: Digest([number as u8; 32]),
    }
}

/// What a worker was given.
pub fn claim(queue: &Queue, name: &str, most: usize) -> Vec<Lease> {
    claim_with(queue, name, &all(), most)
}

fn claim_with(queue: &Queue, name: &str, capacity: &Capacity, most: usize) -> Vec<Lease> {
    match queue.claim(&worker(name), capacity, most).unwrap() {
        Claims::Jobs(claimed) => claimed.into_iter().map(|(lease, _)| lease).collect(),
        refused => panic!("{name}: {refused:?}"),
    }
}

fn one(queue: &Queue, number: u64) -> Job {
    queue.find(&[statement(number)]).unwrap().pop().unwrap()
}

fn failure(reason: &str) -> Failure {
    Failure { reason: reason.into(), input_lost: false }
}

/// See the name.
pub fn any_number_of_offers_of_one_statement_are_one_job(bench: &Bench) {
    let nodes = 8;
    let barrier = Barrier::new(nodes);
    thread::scope(|scope| {
        for node in 0..nodes {
            let (queue, barrier) = (bench.queue(), &barrier);
            scope.spawn(move || {
                barrier.wait();
                let priority = Priority(100 - node as i64);
                let offers: Vec<_> = (0..5).map(|number| Offer { priority, ..offer(number) }).collect();
                assert_eq!(queue.offer(&offers).unwrap().len(), 5);
            });
        }
    });
    let queue = bench.queue();
    assert_eq!(queue.list(&Filter::default()).unwrap().len(), 5);
    assert_eq!(claim(&queue, "a", 100).len(), 5);
    assert_eq!(claim(&queue, "b", 100).len(), 0);
}

/// See the name.
pub fn what_is_offered_is_found_and_listed_as_it_was(bench: &Bench) {
    let queue = bench.queue();
    let offers: Vec<_> = (0..4).map(offer).collect();
    let stand = queue.offer(&offers).unwrap();
    let ids: Vec<_> = stand.iter().map(|job| job.id).collect();
    assert!(ids.is_sorted() && ids.len() == 4);
    assert_eq!(queue.find(&ids).unwrap(), stand);
    let job = one(&queue, 3);
    assert_eq!((job.class, job.priority, job.input), (offer(3).class, offer(3).priority, offer(3).input));
    assert_eq!((job.fence, job.failures, job.lapses, job.holder), (0, 0, 0, None));
    assert!(matches!(job.state, State::Queued { .. }));
    let listed = queue.list(&Filter { limit: Some(2), ..Filter::default() }).unwrap();
    assert_eq!(listed.iter().map(|job| job.priority).collect::<Vec<_>>(), [Priority(0), Priority(1)]);
    let last = listed.last().unwrap();
    let after = Filter { after: Some((last.priority, last.id)), ..Filter::default() };
    let rest: Vec<_> = queue.list(&Filter::default()).unwrap().into_iter().skip(2).collect();
    assert_eq!(queue.list(&after).unwrap(), rest, "the next page begins where the one before ended");
    let prefix = statement(2).0[..6].to_vec();
    assert_eq!(queue.list(&Filter { prefix, ..Filter::default() }).unwrap(), [one(&queue, 2)]);
    claim(&queue, "a", 1);
    let running = Filter { state: Some(StateName::Running), ..Filter::default() };
    assert_eq!(queue.list(&running).unwrap(), [one(&queue, 0)]);
    let of = |name| Filter { holder: Some(worker(name)), ..Filter::default() };
    assert_eq!(queue.list(&of("a")).unwrap().len(), 1);
    assert_eq!(queue.list(&of("b")).unwrap().len(), 0);
    assert_eq!(queue.find(&[statement(99)]).unwrap(), []);
}

/// See the name.
pub fn a_job_goes_to_one_of_many_who_claim_at_once(bench: &Bench) {
    let (jobs, workers) = (60, 6);
    let queue = bench.queue();
    queue.offer(&(0..jobs).map(offer).collect::<Vec<_>>()).unwrap();
    let barrier = Barrier::new(workers);
    let (claimed, leases) = mpsc::channel();
    thread::scope(|scope| {
        for number in 0..workers {
            let (queue, barrier, claimed) = (bench.queue(), &barrier, claimed.clone());
            scope.spawn(move || {
                barrier.wait();
                // One that finds nothing may have met only rows that others were at.
                while !queue.list(&queued()).unwrap().is_empty() {
                    claim(&queue, &format!("w{number}"), 3)
                        .into_iter()
                        .for_each(|lease| claimed.send(lease).unwrap());
                }
            });
        }
    });
    drop(claimed);
    let leases: Vec<_> = leases.iter().collect();
    let distinct: BTreeSet<_> = leases.iter().map(|lease| lease.id).collect();
    assert_eq!((leases.len() as u64, distinct.len() as u64), (jobs, jobs));
}

fn queued() -> Filter {
    Filter { state: Some(StateName::Queued), ..Filter::default() }
}

/// See the name.
pub fn the_most_urgent_job_is_claimed_first_and_a_new_priority_counts(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[5, 1, 3].map(offer)).unwrap();
    assert_eq!(claim(&queue, "a", 1)[0].id, statement(1));
    assert_eq!(queue.reprioritise(&[(statement(5), Priority(-1)), (statement(9), Priority(0))]).unwrap(), 1);
    assert_eq!(claim(&queue, "a", 1)[0].id, statement(5));
    // An offer raises a priority and never lowers it: another may want it sooner.
    queue.offer(&[Offer { priority: Priority(50), ..offer(3) }]).unwrap();
    assert_eq!(one(&queue, 3).priority, Priority(3));
    queue.offer(&[Offer { priority: Priority(2), ..offer(3) }]).unwrap();
    assert_eq!(one(&queue, 3).priority, Priority(2));
}

/// See the name.
pub fn a_worker_is_given_only_what_it_can_do(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let unable = [
        Capacity { kinds: vec![Kind::Transaction, Kind::Aggregate], ..all() },
        Capacity { profile: ProfileId([8; 32]), ..all() },
        Capacity { memory: 3, ..all() },
        Capacity { kinds: vec![], ..all() },
    ];
    for capacity in unable {
        assert_eq!(claim_with(&queue, "a", &capacity, 9).len(), 0, "{capacity:?}");
    }
    assert_eq!(claim_with(&queue, "a", &Capacity { memory: 4, ..all() }, 9).len(), 1);
}

/// See the name.
pub fn a_job_that_requires_a_device_goes_to_a_worker_that_has_it(bench: &Bench) {
    let queue = bench.queue();
    let [gpu, fpga] = ["gpu", "fpga"].map(|name| Device::new(name).unwrap());
    let requires = |number, device| {
        let of = offer(number);
        Offer { class: Class { device, ..of.class }, ..of }
    };
    queue.offer(&[requires(1, Some(gpu)), requires(2, Some(fpga)), requires(3, None)]).unwrap();
    assert_eq!([1, 2, 3].map(|number| one(&queue, number).class.device), [Some(gpu), Some(fpga), None]);
    let ids = |name: &str, devices: Vec<Device>| -> Vec<StatementId> {
        let leases = claim_with(&queue, name, &Capacity { devices, ..all() }, 9);
        leases.iter().map(|lease| lease.id).collect()
    };
    assert_eq!(ids("plain", vec![]), [statement(3)], "what requires nothing is anybody's");
    assert_eq!(ids("with-gpu", vec![gpu]), [statement(1)]);
    assert_eq!(ids("with-gpu", vec![gpu]), [], "and what requires another is not");
    assert_eq!(ids("with-both", vec![gpu, fpga]), [statement(2)]);
    let figures = queue.figures().unwrap();
    let devices: Vec<_> = figures.iter().map(|figure| (figure.class.device, figure.jobs)).collect();
    assert_eq!(devices.len(), 3, "{devices:?}");
    assert!(
        [None, Some(gpu), Some(fpga)].iter().all(|device| devices.contains(&(*device, 1))),
        "{devices:?}"
    );
}

/// See the name.
pub fn a_lease_that_ran_out_is_given_to_another(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let first = claim(&queue, "a", 1).remove(0);
    (bench.advance)(policy().lease - Duration::from_millis(1));
    assert_eq!(claim(&queue, "b", 1).len(), 0);
    (bench.advance)(Duration::from_millis(1));
    let second = claim(&queue, "b", 1).remove(0);
    assert_eq!(second.id, first.id);
    assert!(second.fence > first.fence);
    let job = one(&queue, 1);
    assert_eq!((job.lapses, job.failures, job.holder), (1, 0, Some(worker("b"))));
    let lapsed = |name| queue.standing(&worker(name)).unwrap().worker.unwrap().tally.lapsed;
    assert_eq!((lapsed("a"), lapsed("b")), (1, 0));
}

/// See the name.
pub fn a_completion_with_an_old_token_is_refused(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let old = claim(&queue, "a", 1).remove(0);
    (bench.advance)(policy().lease);
    let new = claim(&queue, "b", 1).remove(0);
    let before = one(&queue, 1);
    assert_eq!(queue.complete(&old).unwrap(), Answer::Stale);
    assert_eq!(queue.fail(&old, &failure("late")).unwrap(), Answer::Stale);
    queue.release(std::slice::from_ref(&old)).unwrap();
    assert_eq!(queue.heartbeat(&worker("a"), &[old]).unwrap(), [Beat::Lost]);
    assert_eq!(one(&queue, 1), before);
    assert_eq!(queue.complete(&new).unwrap(), Answer::Taken);
}

/// See the name.
pub fn a_completion_after_the_lease_ran_out_is_taken_while_nobody_else_has_claimed(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    (bench.advance)(policy().lease * 3);
    assert_eq!(queue.reap().unwrap(), 1);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
    assert_eq!(claim(&queue, "b", 1).len(), 0);
}

/// See the name.
pub fn a_completion_that_is_said_twice_is_known(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Known);
    assert_eq!(queue.confirm(&lease).unwrap(), Answer::Taken);
    assert_eq!(queue.confirm(&lease).unwrap(), Answer::Known);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Known);
    assert_eq!(one(&queue, 1).state, State::Done { confirmed: true });
    let tally = queue.standing(&worker("a")).unwrap().worker.unwrap().tally;
    assert_eq!((tally.claimed, tally.completed, tally.confirmed), (1, 1, 1));
}

/// See the name.
pub fn what_many_say_at_a_time_is_answered_each_for_itself(bench: &Bench) {
    let (queue, jobs) = (bench.queue(), 40);
    let barrier = Barrier::new(jobs);
    let ended = |number: u64, leases: &[Lease]| {
        let mine = leases.iter().find(|lease| lease.id == statement(number)).unwrap();
        // Every fourth has been given another token meanwhile, and every fourth is nobody's.
        let lease = match number % 4 {
            0 => Lease { fence: mine.fence + 1, ..mine.clone() },
            1 => Lease { worker: worker("thief"), ..mine.clone() },
            _ => mine.clone(),
        };
        let said = queue.complete(&lease).unwrap();
        assert_eq!(said, if number % 4 < 2 { Answer::Stale } else { Answer::Taken }, "{number}");
        let said = queue.confirm(&lease).unwrap();
        assert_eq!(said, if number % 4 < 2 { Answer::Stale } else { Answer::Taken }, "{number}");
    };
    thread::scope(|scope| {
        for number in 0..jobs as u64 {
            let (queue, barrier) = (&queue, &barrier);
            scope.spawn(move || {
                barrier.wait();
                // Two of each, of which one was there before the other.
                let offers = [offer(number), offer(number / 2)];
                let stand = queue.offer(&offers).unwrap();
                let ids: BTreeSet<_> = offers.iter().map(|offer| offer.id).collect();
                assert_eq!(stand.iter().map(|job| job.id).collect::<BTreeSet<_>>(), ids);
            });
        }
    });
    assert_eq!(queue.list(&Filter::default()).unwrap().len(), jobs);
    let leases = claim(&queue, "a", jobs);
    assert_eq!(leases.len(), jobs);
    thread::scope(|scope| {
        for number in 0..jobs as u64 {
            let (barrier, leases, ended) = (&barrier, &leases, &ended);
            scope.spawn(move || {
                barrier.wait();
                ended(number, leases);
            });
        }
    });
    for number in 0..jobs as u64 {
        let is_done = one(&queue, number).state == State::Done { confirmed: true };
        assert_eq!(is_done, number % 4 >= 2, "{number}");
    }
    let tally = queue.standing(&worker("a")).unwrap().worker.unwrap().tally;
    assert_eq!((tally.claimed, tally.completed, tally.confirmed), (40, 20, 20));
}

/// See the name.
pub fn a_forged_lease_is_stale(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let never = Lease { id: statement(1), worker: worker("thief"), fence: 0 };
    assert_eq!(queue.complete(&never).unwrap(), Answer::Stale);
    let lease = claim(&queue, "a", 1).remove(0);
    for forged in [
        Lease { worker: worker("thief"), ..lease.clone() },
        Lease { fence: lease.fence + 1, ..lease.clone() },
        Lease { id: statement(2), ..lease.clone() },
    ] {
        assert_eq!(queue.complete(&forged).unwrap(), Answer::Stale, "{forged:?}");
        assert_eq!(queue.fail(&forged, &failure("")).unwrap(), Answer::Stale);
        assert_eq!(queue.heartbeat(&worker("thief"), &[forged]).unwrap(), [Beat::Lost]);
    }
    assert!(matches!(one(&queue, 1).state, State::Running { .. }));
}

/// See the name.
pub fn a_heartbeat_keeps_a_lease_and_says_when_it_is_lost(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2].map(offer)).unwrap();
    let leases = claim(&queue, "a", 2);
    for _ in 0..5 {
        (bench.advance)(policy().lease / 2);
        assert_eq!(queue.heartbeat(&worker("a"), &leases).unwrap(), [Beat::Kept, Beat::Kept]);
        assert_eq!(claim(&queue, "b", 2).len(), 0);
    }
    queue.quarantine(&[leases[0].id], "by hand").unwrap();
    queue.cancel(&[leases[1].id]).unwrap();
    assert_eq!(queue.heartbeat(&worker("a"), &leases).unwrap(), [Beat::Lost, Beat::Cancel]);
    assert_eq!(queue.heartbeat(&worker("a"), &[]).unwrap(), []);
    assert!(queue.workers().unwrap().iter().any(|known| known.name == worker("a")));
}

/// See the name.
pub fn a_statement_that_fails_over_its_budget_is_quarantined_by_name_until_it_is_released(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    for attempt in 1..=policy().failures_max {
        (bench.advance)(policy().backoff_max);
        let lease = claim(&queue, "a", 1).pop().unwrap_or_else(|| panic!("attempt {attempt}"));
        assert_eq!(queue.fail(&lease, &failure("no such witness")).unwrap(), Answer::Taken);
    }
    (bench.advance)(policy().backoff_max);
    assert_eq!(claim(&queue, "a", 1).len(), 0);
    let job = one(&queue, 1);
    assert_eq!((job.state, job.failures), (State::Quarantined, policy().failures_max));
    assert_eq!(job.reason.as_deref(), Some("no such witness"));
    assert_eq!(
        queue.offer(&[offer(1)]).unwrap()[0].state,
        State::Quarantined,
        "an offer does not release it"
    );
    assert_eq!(queue.retry(&[statement(1)]).unwrap(), 1);
    assert_eq!(one(&queue, 1).failures, 0);
    let lease = claim(&queue, "a", 1).remove(0);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
}

/// See the name.
pub fn a_statement_that_ends_whoever_tries_it_is_quarantined(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    for attempt in 0..policy().lapses_max {
        assert_eq!(claim(&queue, &format!("w{attempt}"), 1).len(), 1);
        (bench.advance)(policy().lease);
    }
    assert_eq!(claim(&queue, "last", 1).len(), 0);
    assert_eq!(one(&queue, 1).state, State::Quarantined);
}

/// See the name.
pub fn neither_a_cancel_nor_an_offer_releases_what_is_quarantined(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2].map(offer)).unwrap();
    for _ in 0..policy().failures_max {
        (bench.advance)(policy().backoff_max);
        let leases = claim(&queue, "a", 2);
        let first = leases.iter().find(|lease| lease.id == statement(1)).unwrap();
        queue.fail(first, &failure("no such witness")).unwrap();
        leases.iter().filter(|lease| lease.id == statement(2)).for_each(|lease| {
            queue.release(std::slice::from_ref(lease)).unwrap();
        });
    }
    // The other one's last lease runs out while its end is asked for.
    for attempt in 0..policy().lapses_max {
        assert_eq!(claim(&queue, &format!("w{attempt}"), 2).len(), 1);
        queue.cancel(&[statement(2)]).unwrap();
        (bench.advance)(policy().lease);
        queue.reap().unwrap();
        queue.offer(&[offer(2)]).unwrap();
    }
    assert_eq!(queue.cancel(&[1, 2].map(statement)).unwrap(), 0);
    queue.offer(&[1, 2].map(offer)).unwrap();
    (bench.advance)(policy().backoff_max);
    assert_eq!(claim(&queue, "c", 2).len(), 0);
    assert_eq!((one(&queue, 1).state, one(&queue, 2).state), (State::Quarantined, State::Quarantined));
}

/// See the name.
pub fn one_claim_costs_one_attempt_whatever_its_holder_says_after(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    assert_eq!(queue.fail(&lease, &failure("none")).unwrap(), Answer::Taken);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Stale);
    assert_eq!(queue.reject(&lease, "there is no receipt").unwrap(), Answer::Stale);
    assert_eq!(one(&queue, 1).failures, 1);
}

/// See the name.
pub fn a_failed_job_waits_before_it_is_claimed_again(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    queue.fail(&lease, &Failure { reason: "gone".into(), input_lost: true }).unwrap();
    assert_eq!((one(&queue, 1).failures, one(&queue, 1).lapses), (0, 1), "nothing was tried");
    assert_eq!(claim(&queue, "b", 1).len(), 0);
    (bench.advance)(policy().backoff);
    assert_eq!(claim(&queue, "b", 1).len(), 1);
}

/// See the name.
pub fn a_job_that_failed_goes_to_another_before_whoever_failed_has_it_again(bench: &Bench) {
    let queue = bench.queue();
    for (number, input_lost) in [(1, false), (2, true)] {
        queue.offer(&[offer(number)]).unwrap();
        let failed = claim(&queue, "a", 1).remove(0);
        queue.fail(&failed, &Failure { reason: "none".into(), input_lost }).unwrap();
        (bench.advance)(policy().lease - Duration::from_millis(1));
        queue.offer(&[offer(number + 10)]).unwrap();
        let other = claim(&queue, "a", 9);
        let ids: Vec<_> = other.iter().map(|lease| lease.id).collect();
        assert_eq!(ids, [statement(number + 10)], "less urgent work is given it");
        queue.complete(&other[0]).unwrap();
        let again = claim(&queue, "b", 1);
        assert_eq!(again.len(), 1, "another has it meanwhile");
        queue.release(&again).unwrap();
        // What another gave back is nobody's failure.
        let again = claim(&queue, "a", 1).remove(0);
        queue.fail(&again, &Failure { reason: "none".into(), input_lost }).unwrap();
        (bench.advance)(policy().lease - Duration::from_millis(1));
        assert_eq!(claim(&queue, "a", 1).len(), 0);
        (bench.advance)(Duration::from_millis(1));
        let again = claim(&queue, "a", 1);
        assert_eq!(again.len(), 1, "nobody else wanted it");
        queue.complete(&again[0]).unwrap();
        queue.confirm(&again[0]).unwrap();
    }
}

/// See the name.
pub fn one_machine_that_fails_fast_quarantines_nothing_beside_one_that_proves(bench: &Bench) {
    let (queue, jobs) = (bench.queue(), 30);
    queue.offer(&(0..jobs).map(offer).collect::<Vec<_>>()).unwrap();
    let is_done = |job: &Job| matches!(job.state, State::Done { .. });
    let mut rounds = 0;
    while !queue.list(&Filter::default()).unwrap().iter().all(is_done) {
        rounds += 1;
        assert!(rounds < 200, "{:?}", queue.figures().unwrap());
        // It fails as fast as it is given something, and the other proves one at a time.
        while let Claims::Jobs(claimed) = queue.claim(&worker("broken"), &all(), 1).unwrap()
            && let Some((lease, _)) = claimed.first()
        {
            queue.fail(lease, &failure("no device")).unwrap();
        }
        for lease in claim(&queue, "sound", 1) {
            queue.complete(&lease).unwrap();
            queue.confirm(&lease).unwrap();
        }
        (bench.advance)(Duration::from_secs(10));
    }
    let quarantined = Filter { state: Some(StateName::Quarantined), ..Filter::default() };
    assert_eq!(queue.list(&quarantined).unwrap(), []);
}

/// See the name.
pub fn a_fleet_of_one_that_fails_comes_to_quarantine_in_bounded_time(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    // A lease after each failure, and a rest where other jobs of its failed too.
    for attempt in 1..=policy().failures_max {
        let lease = claim(&queue, "a", 1).pop().unwrap_or_else(|| panic!("attempt {attempt}"));
        queue.fail(&lease, &failure("no device")).unwrap();
        (bench.advance)(policy().lease);
    }
    assert_eq!(one(&queue, 1).state, State::Quarantined);
}

/// See the name.
pub fn what_is_given_back_can_be_claimed_at_once_and_costs_no_attempt(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    for round in 0..20 {
        let leases = claim(&queue, "a", 1);
        assert_eq!(leases.len(), 1, "{round}");
        queue.release(&leases).unwrap();
    }
    let job = one(&queue, 1);
    assert_eq!((job.failures, job.lapses), (0, 0));
    assert_eq!(queue.standing(&worker("a")).unwrap().worker.unwrap().tally.released, 20);
}

/// See the name.
pub fn cancelling_a_job_that_runs_is_a_request_and_takes_no_finished_work(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2, 3].map(offer)).unwrap();
    let leases = claim(&queue, "a", 3);
    assert_eq!(queue.cancel(&[1, 2, 3].map(statement)).unwrap(), 3);
    assert!(matches!(one(&queue, 1).state, State::Running { cancel: true, .. }));
    assert_eq!(queue.complete(&leases[0]).unwrap(), Answer::Taken);
    assert_eq!(queue.cancel(&[leases[0].id]).unwrap(), 0, "what is done stays done");
    queue.release(&leases[1..2]).unwrap();
    assert_eq!(one(&queue, 2).state, State::Cancelled);
    queue.offer(&[offer(3)]).unwrap();
    assert_eq!(queue.heartbeat(&worker("a"), &leases[2..]).unwrap(), [Beat::Kept], "it is wanted again");
}

/// See the name.
pub fn a_cancelled_job_is_not_claimed_and_is_offered_again(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    assert_eq!(queue.cancel(&[statement(1), statement(2)]).unwrap(), 1);
    assert_eq!(claim(&queue, "a", 1).len(), 0);
    queue.offer(&[offer(1)]).unwrap();
    assert_eq!(claim(&queue, "a", 1).len(), 1);
}

/// See the name.
pub fn a_rejected_completion_is_queued_again_and_its_token_is_dead(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lie = claim(&queue, "liar", 1).remove(0);
    queue.complete(&lie).unwrap();
    assert_eq!(queue.reject(&lie, "there is no receipt").unwrap(), Answer::Taken);
    assert_eq!(queue.complete(&lie).unwrap(), Answer::Stale, "the same lie is not heard again");
    assert_eq!(queue.reject(&lie, "again").unwrap(), Answer::Stale, "two nodes reject it once");
    let job = one(&queue, 1);
    assert!(matches!(job.state, State::Queued { .. }) && job.failures == 1, "{job:?}");
    assert!(job.reason.unwrap().contains("liar"));
    (bench.advance)(policy().backoff_max);
    let lease = claim(&queue, "honest", 1).remove(0);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
    assert_eq!(queue.confirm(&lie).unwrap(), Answer::Stale);
    assert_eq!(queue.confirm(&lease).unwrap(), Answer::Taken);
}

/// See the name.
pub fn a_receipt_that_is_gone_after_it_was_confirmed_is_proved_again_and_speaks_against_nobody(
    bench: &Bench,
) {
    let queue = bench.queue();
    for number in 1..=u64::from(policy().strikes_max) {
        queue.offer(&[offer(number)]).unwrap();
        let earlier = claim(&queue, "honest", 1).remove(0);
        queue.complete(&earlier).unwrap();
        queue.confirm(&earlier).unwrap();
        assert_eq!(queue.reject(&earlier, "there is no receipt").unwrap(), Answer::Taken);
        assert_eq!(queue.reject(&earlier, "again").unwrap(), Answer::Stale, "two nodes say so once");
        assert_eq!(queue.complete(&earlier).unwrap(), Answer::Stale);
        let again = claim(&queue, "honest", 1).remove(0);
        assert_eq!((again.id, again.fence > earlier.fence), (statement(number), true), "at once");
        assert_eq!(one(&queue, number).failures, 0);
    }
    let known = queue.standing(&worker("honest")).unwrap().worker.unwrap();
    assert_eq!((known.strikes, known.tally.rejected), (0, 0));
}

/// See the name.
pub fn whoever_confirms_its_own_lies_comes_to_quarantine(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    for _ in 0..policy().lapses_max {
        let lie = claim(&queue, "liar", 1).remove(0);
        queue.complete(&lie).unwrap();
        queue.confirm(&lie).unwrap();
        queue.reject(&lie, "there is no receipt").unwrap();
    }
    assert_eq!(one(&queue, 1).state, State::Quarantined);
}

/// See the name.
pub fn a_job_that_was_deleted_and_is_offered_again_takes_no_completion_of_its_earlier_life(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let earlier = claim(&queue, "a", 1).remove(0);
    queue.cancel(&[statement(1)]).unwrap();
    queue.release(std::slice::from_ref(&earlier)).unwrap();
    (bench.advance)(policy().retention + Duration::from_secs(1));
    assert_eq!(queue.delete_ended().unwrap(), 1);
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    assert!(lease.fence > earlier.fence, "{lease:?} after {earlier:?}");
    assert_eq!(queue.complete(&earlier).unwrap(), Answer::Stale);
    assert_eq!(queue.complete(&lease).unwrap(), Answer::Taken);
}

/// See the name.
pub fn a_worker_whose_receipts_are_none_rests_and_one_that_is_confirmed_does_not(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&(0..9).map(offer).collect::<Vec<_>>()).unwrap();
    let lies = claim(&queue, "liar", 3);
    let work = claim(&queue, "honest", 4);
    for lease in lies.iter().chain(&work) {
        queue.complete(lease).unwrap();
    }
    for lease in lies.iter().chain(&work[..2]) {
        queue.reject(lease, "the seal does not verify").unwrap();
    }
    queue.confirm(&work[2]).unwrap();
    queue.reject(&work[3], "the seal does not verify").unwrap();
    let Claims::Resting(wait) = queue.claim(&worker("liar"), &all(), 1).unwrap() else {
        panic!("it does not rest")
    };
    assert!(wait > Duration::ZERO && wait <= policy().rest);
    assert_eq!(claim(&queue, "honest", 1).len(), 1);
    (bench.advance)(policy().rest);
    assert_eq!(claim(&queue, "liar", 1).len(), 1, "it is tried again");
}

/// See the name.
pub fn a_worker_that_fails_rests_and_one_that_found_no_input_does_not(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&(0..20).map(offer).collect::<Vec<_>>()).unwrap();
    for (name, input_lost) in [("broken", false), ("poor", true)] {
        for lease in claim(&queue, name, policy().strikes_max as usize) {
            queue.fail(&lease, &Failure { reason: "none".into(), input_lost }).unwrap();
        }
    }
    let Claims::Resting(wait) = queue.claim(&worker("broken"), &all(), 1).unwrap() else {
        panic!("it does not rest")
    };
    assert!(wait > Duration::ZERO && wait <= policy().rest);
    let work = claim(&queue, "poor", 1);
    assert_eq!(work.len(), 1);
    (bench.advance)(policy().rest);
    let tried = claim(&queue, "broken", 1);
    assert_eq!(tried.len(), 1, "it is tried again");
    queue.complete(&tried[0]).unwrap();
    queue.confirm(&tried[0]).unwrap();
    assert_eq!(queue.standing(&worker("broken")).unwrap().worker.unwrap().strikes, 0);
}

/// See the name.
pub fn what_a_worker_holds_goes_to_others_when_it_is_evicted(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2].map(offer)).unwrap();
    let held = claim(&queue, "liar", 2);
    assert_eq!(queue.heartbeat(&worker("liar"), &held).unwrap(), [Beat::Kept, Beat::Kept]);
    queue.evict(&worker("liar"), true).unwrap();
    let taken = claim(&queue, "honest", 2);
    assert_eq!(taken.len(), 2);
    assert_eq!(queue.heartbeat(&worker("liar"), &held).unwrap(), [Beat::Lost, Beat::Lost]);
    assert_eq!(queue.heartbeat(&worker("honest"), &taken).unwrap(), [Beat::Kept, Beat::Kept]);
    assert_eq!((one(&queue, 1).failures, one(&queue, 1).lapses), (0, 0), "it costs no attempt");
}

/// See the name.
pub fn a_sign_of_life_of_an_evicted_worker_keeps_nothing(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2].map(offer)).unwrap();
    let held = claim(&queue, "liar", 1);
    // As one that claims while it is evicted.
    bench.table.evict(&worker("liar"), true).unwrap();
    assert_eq!(queue.heartbeat(&worker("liar"), &held).unwrap(), [Beat::Lost]);
    assert_eq!(claim(&queue, "honest", 2).len(), 2);
    // What it finished all the same counts while nobody else has claimed it.
    queue.evict(&worker("liar"), false).unwrap();
    queue.offer(&[offer(3)]).unwrap();
    let held = claim(&queue, "liar", 1).remove(0);
    queue.evict(&worker("liar"), true).unwrap();
    assert_eq!(queue.complete(&held).unwrap(), Answer::Taken);
}

/// See the name.
pub fn an_evicted_worker_is_given_nothing(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    queue.evict(&worker("a"), true).unwrap();
    assert_eq!(queue.claim(&worker("a"), &all(), 1).unwrap(), Claims::Evicted);
    queue.evict(&worker("a"), false).unwrap();
    assert_eq!(claim(&queue, "a", 1).len(), 1);
}

/// See the name.
pub fn a_worker_holds_no_more_than_it_may(bench: &Bench) {
    let queue = Queue::new(bench.table.clone(), Policy { held_max: 3, ..policy() });
    queue.offer(&(0..9).map(offer).collect::<Vec<_>>()).unwrap();
    assert_eq!(claim(&queue, "greedy", 2).len(), 2);
    let more = claim(&queue, "greedy", 9);
    assert_eq!(more.len(), 1);
    assert_eq!(claim(&queue, "greedy", 9).len(), 0);
    queue.complete(&more[0]).unwrap();
    assert_eq!(claim(&queue, "greedy", 9).len(), 1);
    assert_eq!(claim(&queue, "other", 9).len(), 3);
}

/// See the name.
pub fn an_input_that_is_offered_again_is_the_newest(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let renewed = Offer { input: Digest([0xee; 32]), ..offer(1) };
    queue.offer(std::slice::from_ref(&renewed)).unwrap();
    assert_eq!(one(&queue, 1).input, renewed.input);
    claim(&queue, "a", 1);
    queue.offer(&[offer(1)]).unwrap();
    assert_eq!(one(&queue, 1).input, renewed.input, "what is being proved from stays");
}

const HOUR: Duration = Duration::from_secs(3600);

/// See the name.
pub fn a_clock_that_steps_back_keeps_no_job_waiting(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2, 3, 4, 5].map(offer)).unwrap();
    let leases = claim(&queue, "a", 3);
    queue.fail(&leases[0], &failure("none")).unwrap();
    queue.release(&leases[1..2]).unwrap();
    queue.complete(&leases[2]).unwrap();
    queue.reject(&leases[2], "there is no receipt").unwrap();
    queue.cancel(&[statement(4)]).unwrap();
    queue.offer(&[offer(4)]).unwrap();
    (bench.set_back)(HOUR);
    assert_eq!(claim(&queue, "a", 5).len(), 5);
    // Also where it steps back by less than a failed job may wait.
    queue.offer(&[6, 7].map(offer)).unwrap();
    let lease = claim(&queue, "b", 1);
    queue.release(&lease).unwrap();
    (bench.set_back)(policy().backoff_max / 2);
    assert_eq!(claim(&queue, "c", 2).len(), 2);
}

/// See the name.
pub fn a_clock_that_steps_back_keeps_no_dead_workers_lease_and_takes_none_from_a_live_one(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2].map(offer)).unwrap();
    let dead = claim(&queue, "dead", 1);
    let live = claim(&queue, "live", 1);
    (bench.set_back)(HOUR);
    assert_eq!(claim(&queue, "other", 2).len(), 0);
    for _ in 0..3 {
        assert_eq!(queue.heartbeat(&worker("live"), &live).unwrap(), [Beat::Kept]);
        (bench.advance)(policy().lease / 3);
    }
    let taken: Vec<_> = claim(&queue, "other", 2).into_iter().map(|lease| lease.id).collect();
    assert_eq!(taken, [dead[0].id]);
    assert_eq!(queue.heartbeat(&worker("live"), &live).unwrap(), [Beat::Kept]);
    // From then on its lease is as long as any.
    (bench.advance)(policy().lease);
    assert_eq!(claim(&queue, "another", 1).len(), 1);
}

/// See the name.
pub fn a_clock_that_steps_back_keeps_no_worker_resting(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&(0..9).map(offer).collect::<Vec<_>>()).unwrap();
    for lease in claim(&queue, "a", policy().strikes_max as usize) {
        queue.fail(&lease, &failure("none")).unwrap();
    }
    assert!(matches!(queue.claim(&worker("a"), &all(), 1).unwrap(), Claims::Resting(_)));
    (bench.set_back)(HOUR);
    let lease = claim(&queue, "a", 1).remove(0);
    queue.fail(&lease, &failure("none")).unwrap();
    let rests = queue.claim(&worker("a"), &all(), 1).unwrap();
    assert!(matches!(rests, Claims::Resting(wait) if wait <= policy().rest * 2), "{rests:?}");
}

/// See the name.
pub fn what_ended_long_ago_is_deleted_and_nothing_else(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&(0..6).map(offer).collect::<Vec<_>>()).unwrap();
    let leases = claim(&queue, "a", 3);
    queue.complete(&leases[0]).unwrap();
    queue.confirm(&leases[0]).unwrap();
    queue.complete(&leases[1]).unwrap();
    queue.cancel(&[statement(3)]).unwrap();
    queue.quarantine(&[statement(4)], "by hand").unwrap();
    queue.evict(&worker("shut-out"), true).unwrap();
    (bench.advance)(policy().retention - Duration::from_millis(1));
    assert_eq!(queue.delete_ended().unwrap(), 0);
    (bench.advance)(Duration::from_secs(1));
    assert_eq!(queue.delete_ended().unwrap(), 2, "the confirmed and the cancelled one");
    (bench.advance)(policy().retention_max);
    assert_eq!(queue.delete_ended().unwrap(), 2, "the unconfirmed and the quarantined one");
    let mut left: Vec<_> = queue.list(&Filter::default()).unwrap().into_iter().map(|job| job.id).collect();
    left.sort();
    let mut kept = [statement(2), statement(5)];
    kept.sort();
    assert_eq!(left, kept, "what runs and what waits");
    let workers: Vec<_> = queue.workers().unwrap().into_iter().map(|known| known.name).collect();
    assert_eq!(workers, [worker("shut-out")]);
}

/// See the name.
pub fn figures_count_by_class_and_state(bench: &Bench) {
    let queue = bench.queue();
    assert_eq!(queue.figures().unwrap(), []);
    let other = Class { kind: Kind::Transaction, ..offer(9).class };
    queue.offer(&[1, 2, 3].map(offer)).unwrap();
    (bench.advance)(Duration::from_secs(2));
    queue.offer(&[Offer { class: other, ..offer(9) }]).unwrap();
    claim(&queue, "a", 1);
    let figures = queue.figures().unwrap();
    let of =
        |class: Class, state| figures.iter().find(|figure| figure.class == class && figure.state == state);
    assert_eq!(of(offer(1).class, StateName::Queued).map(|figure| figure.jobs), Some(2));
    assert_eq!(of(offer(1).class, StateName::Running).map(|figure| figure.jobs), Some(1));
    assert_eq!(of(other, StateName::Queued).map(|figure| figure.jobs), Some(1));
    assert!(of(offer(1).class, StateName::Queued).unwrap().oldest_ms >= 2000);
    assert!(of(other, StateName::Queued).unwrap().oldest_ms < 2000);
}

/// See the name.
pub fn what_a_job_took_is_counted_from_its_claim_to_its_completion(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[1, 2, 3].map(offer)).unwrap();
    (bench.advance)(Duration::from_secs(1));
    let leases = claim(&queue, "a", 2);
    (bench.advance)(Duration::from_secs(2));
    queue.heartbeat(&worker("a"), &leases).unwrap();
    queue.complete(&leases[0]).unwrap();
    (bench.advance)(Duration::from_secs(2));
    queue.complete(&leases[1]).unwrap();
    // One that a node proved without a lease says nothing of how long a worker takes.
    queue.settle(&[statement(3)]).unwrap();
    let took = |number| queue.find(&[statement(number)]).unwrap()[0].took_ms;
    let held = [took(1), took(2)].map(Option::unwrap);
    assert!(held[0] >= 2000 && held[0] < 4000 && held[1] >= 4000 && held[1] < 6000, "{held:?}");
    assert_eq!(took(3), None);
    let figures = queue.figures().unwrap();
    let mean = figures.iter().find(|figure| figure.state == StateName::Done).unwrap().mean_ms.unwrap();
    // An average in a database is rounded.
    assert!(mean.abs_diff(held.iter().sum::<u64>() / 2) <= 1, "{mean} of {held:?}");
    // What did not verify is proved again, and what it took then counts.
    queue.reject(&queue.find(&[statement(1)]).unwrap()[0].lease().unwrap(), "bad").unwrap();
    (bench.advance)(Duration::from_secs(60));
    claim(&queue, "b", 1);
    assert_eq!(took(1), None);
}

/// See the name.
pub fn whoever_waits_is_woken_by_an_offer(bench: &Bench) {
    let (queue, waiting) = (bench.queue(), bench.queue());
    let (looked, has_looked) = mpsc::channel();
    let (patience, began) = (Duration::from_secs(60), Instant::now());
    let woken = thread::spawn(move || {
        let turn = waiting.turn();
        assert_eq!(claim(&waiting, "a", 1).len(), 0);
        looked.send(()).unwrap();
        waiting.wait(turn, patience);
        claim(&waiting, "a", 1).len()
    });
    // It has looked and may not wait yet: that the offer comes now is not missed.
    has_looked.recv().unwrap();
    queue.offer(&[offer(1)]).unwrap();
    assert_eq!(woken.join().unwrap(), 1);
    assert!(began.elapsed() < patience, "nobody woke it");
}

/// See the name.
pub fn a_reason_is_kept_without_what_a_terminal_would_act_on(bench: &Bench) {
    let queue = bench.queue();
    queue.offer(&[offer(1)]).unwrap();
    let lease = claim(&queue, "a", 1).remove(0);
    let hostile = format!("\u{1b}[2J\0'; drop table jobs; -- é{}", "x".repeat(100_000));
    queue.fail(&lease, &failure(&hostile)).unwrap();
    let reason = one(&queue, 1).reason.unwrap();
    assert!(
        reason.len() <= crate::machine::REASON_LEN_MAX && !reason.chars().any(char::is_control),
        "{reason:?}"
    );
    assert!(reason.contains("'; drop table jobs; -- é"));
}
