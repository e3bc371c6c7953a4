//! What a worker does with what it claimed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reprise_fleet::bounded::Bounded;
use reprise_fleet::input::Input;
use reprise_fleet::shared::Fetched;
use reprise_fleet::worker::{Event, Settings, WorkerError};
use reprise_jobs::job::{Class, Offer, Priority, State, StateName};
use reprise_jobs::table::Filter;
use reprise_model::digest::Digest;
use reprise_model::statement::{ClaimScheme, Kind};
use reprise_prover::backend::{Backend, Control};
use reprise_prover::mock::MockConfig;
use reprise_prover::workers::HANGING_MAX;

use crate::bench::{Fleet, Gated, Machine, id, mock, mock_with, receipt, settings, task, until};

/// Offers tasks as a node would.
fn offer(fleet: &Fleet, numbers: impl IntoIterator<Item = u8>) {
    let shared = fleet.shared(mock());
    let class = Class { kind: Kind::Transaction, profile: mock().profile().id(), memory: 0, device: None };
    for number in numbers {
        let (task, priority) = (task(number), Priority(i64::from(number)));
        let input = shared.put_input(&id(&task), &Input::of(&task)).unwrap();
        fleet.queue().offer(&[Offer { id: id(&task), class, priority, input }]).unwrap();
    }
}

fn in_state(fleet: &Fleet, state: StateName) -> usize {
    fleet.queue().list(&Filter { state: Some(state), ..Filter::default() }).unwrap().len()
}

fn slow() -> MockConfig {
    MockConfig { cost: [Duration::from_secs(3600); 3], ..MockConfig::default() }
}

#[test]
fn a_worker_proves_as_much_at_a_time_as_it_has_devices() {
    let (fleet, far) = (Fleet::new(), mock_with(slow()));
    offer(&fleet, 0..7);
    let machine = fleet.worker_with(&far, Settings { devices: 3, drain: Duration::ZERO, ..settings("w") });
    until(|| far.prove_calls() == 3);
    assert_eq!(in_state(&fleet, StateName::Running), 3);
    assert_eq!(machine.end().released, 3);
    assert_eq!(in_state(&fleet, StateName::Queued), 7);
}

#[test]
fn a_worker_that_stops_finishes_what_it_can_and_takes_nothing_new() {
    let cost = [Duration::from_millis(300); 3];
    let (fleet, far) = (Fleet::new(), mock_with(MockConfig { cost, ..MockConfig::default() }));
    offer(&fleet, 0..3);
    let machine = fleet.worker("w", &far);
    machine.until(|event| matches!(event, Event::Proving(..)));
    let report = machine.end();
    assert_eq!((report.proved, report.released), (1, 0));
    assert_eq!((in_state(&fleet, StateName::Done), in_state(&fleet, StateName::Queued)), (1, 2));
}

#[test]
fn what_a_stopping_worker_cannot_finish_is_given_back_and_costs_no_attempt() {
    let (fleet, far) = (Fleet::new(), mock_with(slow()));
    offer(&fleet, 0..1);
    let machine = fleet.worker_with(&far, Settings { drain: Duration::ZERO, ..settings("w") });
    machine.until(|event| matches!(event, Event::Proving(..)));
    assert_eq!(machine.end().released, 1);
    let job = fleet.queue().find(&[id(&task(0))]).unwrap().remove(0);
    assert!(matches!(job.state, State::Queued { .. }));
    assert_eq!((job.failures, job.lapses), (0, 0));
}

#[test]
fn a_receipt_that_somebody_shared_meanwhile_is_taken_and_nothing_proved() {
    let (fleet, far) = (Fleet::new(), mock());
    offer(&fleet, 0..1);
    fleet.shared(mock()).publish(&receipt(0), Kind::Transaction, &Default::default()).unwrap();
    let machine = fleet.worker("w", &far);
    machine.until(|event| matches!(event, Event::Found(_)));
    assert_eq!((machine.end().found, far.prove_calls()), (1, 0));
    assert_eq!(in_state(&fleet, StateName::Done), 1);
}

#[test]
fn a_worker_that_lost_its_lease_ends_the_proof_and_takes_other_work() {
    let (fleet, far) = (Fleet::new(), mock_with(slow()));
    offer(&fleet, 0..1);
    let machine = fleet.worker_with(&far, Settings { drain: Duration::ZERO, ..settings("paused") });
    machine.until(|event| matches!(event, Event::Proving(..)));
    fleet.queue().quarantine(&[id(&task(0))], "decided about meanwhile").unwrap();
    machine.until(|event| matches!(event, Event::Lost(_)));
    offer(&fleet, 1..2);
    until(|| far.prove_calls() == 2);
    let report = machine.end();
    assert_eq!((report.lost, report.released), (1, 1));
    assert_eq!(in_state(&fleet, StateName::Quarantined), 1, "what it says of the old lease is not heard");
}

#[test]
fn a_proof_that_hangs_costs_its_lease_and_no_device() {
    let (fleet, far) = (Fleet::new(), mock_with(MockConfig { hang_every: 3, ..MockConfig::default() }));
    offer(&fleet, 0..3);
    // Hung attempts are looked for as often as the worker says that it lives.
    let machine = fleet.worker_with(&far, Settings { timeout: SHORT, ..settings("w") });
    machine.until(|event| matches!(event, Event::Hung(_)));
    offer(&fleet, 3..5);
    until(|| in_state(&fleet, StateName::Done) == 4);
    let hung =
        fleet.queue().list(&Filter::default()).unwrap().into_iter().find(|job| job.failures > 0).unwrap();
    assert!(hung.reason.unwrap().contains("hangs"));
    assert_eq!(machine.end().proved, 4);
}

#[test]
fn a_worker_of_which_as_many_threads_hang_as_may_ends_and_one_in_a_node_waits_for_them() {
    let fleet = Fleet::without_rests();
    let far = mock_with(MockConfig { hang_every: 1, ..MockConfig::default() });
    let hanging = HANGING_MAX as u8 + 1;
    offer(&fleet, 0..hanging);
    let machine = fleet.worker_with(&far, Settings { timeout: SHORT, ..settings("w") });
    let ended = machine.thread.join().unwrap();
    assert!(matches!(ended, Err(WorkerError::Hung { .. })), "{ended:?}");
    let failures: u32 = fleet.queue().list(&Filter::default()).unwrap().iter().map(|job| job.failures).sum();
    assert_eq!(failures, u32::from(hanging));

    offer(&fleet, hanging..2 * hanging);
    let far = mock_with(MockConfig { hang_every: 1, ..MockConfig::default() });
    let node = fleet.lasting_worker(&far, Settings { timeout: SHORT, ..settings("node") });
    until(|| {
        node.heard.lock().unwrap().iter().filter(|it| matches!(it, Event::Hung(_))).count()
            == usize::from(hanging)
    });
    assert_eq!(node.end().failed, u64::from(hanging), "it ends when it is asked to");
}

/// Waits until the worker has said several times that it lives, the later times further from its claim than a lease's part. Hung
/// attempts are looked for each time.
fn several_signs_of_life(fleet: &Fleet, machine: &Machine) {
    let until_ms = || match fleet.queue().find(&[id(&task(0))]).unwrap().remove(0).state {
        State::Running { until_ms, .. } => until_ms,
        _ => 0,
    };
    until(|| until_ms() > 0 || machine.thread.is_finished());
    for _ in 0..3 {
        let before = until_ms();
        fleet.pass(Duration::from_millis(1));
        until(|| until_ms() != before || machine.thread.is_finished());
    }
    assert!(!machine.thread.is_finished(), "it ended");
}

/// Less than the time between two signs of life.
const SHORT: [Duration; 3] = [Duration::from_millis(20); 3];

#[test]
fn whoever_waits_for_the_store_does_not_hang_however_long_that_lasts() {
    let (fleet, far) = (Fleet::new(), mock());
    offer(&fleet, 0..1);
    fleet.objects_cut.store(true, Ordering::Relaxed);
    let settings = Settings { timeout: SHORT, drain: Duration::ZERO, ..settings("w") };
    let machine = fleet.worker_with(&far, settings);
    several_signs_of_life(&fleet, &machine);
    let report = machine.end();
    // After a lease's time it is given back; what counts is that nothing hung.
    assert!(report.failed == 0 && report.released >= 1, "{report:?}");
    assert_eq!(fleet.queue().find(&[id(&task(0))]).unwrap().remove(0).failures, 0);
}

#[test]
fn whoever_waits_for_a_device_that_others_use_does_not_hang_and_that_is_no_time_of_its_proof() {
    let (fleet, far) = (Fleet::new(), mock_with(slow()));
    offer(&fleet, 0..1);
    let shared: Arc<dyn Backend> = Arc::new(Bounded::new(far.clone(), 1));
    let (other, others) = (shared.clone(), Arc::new(Control::default()));
    let control = others.clone();
    let proves = std::thread::spawn(move || other.prove_under(&task(9), &control).is_err());
    until(|| far.prove_calls() == 1);
    let settings = Settings { timeout: SHORT, drain: Duration::ZERO, ..settings("w") };
    let machine = fleet.worker_over(shared.clone(), settings);
    machine.until(|event| matches!(event, Event::Proving(..)));
    several_signs_of_life(&fleet, &machine);
    let report = machine.end();
    assert_eq!((report.failed, report.released, far.prove_calls()), (0, 1, 1));
    others.cancel();
    assert!(proves.join().unwrap(), "it was cancelled");
}

#[test]
fn a_node_whose_jobs_were_refused_for_a_while_proves_for_its_fleet_again() {
    let (fleet, far) = (Fleet::new(), mock());
    offer(&fleet, 0..1);
    fleet.jobs_refused.store(true, Ordering::Relaxed);
    let machine = fleet.lasting_worker(&far, settings("w"));
    machine.until(|event| matches!(event, Event::Waiting(reason) if reason.contains("no rights")));
    assert_eq!(far.prove_calls(), 0);
    fleet.jobs_refused.store(false, Ordering::Relaxed);
    until(|| machine.thread.is_finished() || in_state(&fleet, StateName::Done) == 1);
    machine.end();
    assert_eq!((in_state(&fleet, StateName::Done), far.prove_calls()), (1, 1));
}

#[test]
fn a_worker_that_is_refused_in_the_middle_of_a_proof_shares_its_receipt_before_it_ends() {
    let (fleet, far) = (Fleet::new(), mock());
    let gated = Gated::new(&far);
    offer(&fleet, 0..1);
    // One device is free, and asks for work all the while.
    let machine = fleet.worker_over(gated.clone(), Settings { devices: 2, ..settings("w") });
    machine.until(|event| matches!(event, Event::Proving(..)));
    fleet.jobs_refused.store(true, Ordering::Relaxed);
    until(|| waits(&machine) || machine.thread.is_finished());
    gated.open.store(true, Ordering::Relaxed);
    let ended = machine.thread.join().unwrap();
    assert!(matches!(ended, Err(WorkerError::Jobs(_))), "{ended:?}");
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(0))), Ok(Fetched::Receipt(_))));
    assert_eq!(far.prove_calls(), 1);
}

#[test]
fn a_refusal_that_is_mended_while_a_proof_runs_ends_nothing() {
    let (fleet, far) = (Fleet::new(), mock());
    let gated = Gated::new(&far);
    offer(&fleet, 0..1);
    let machine = fleet.worker_over(gated.clone(), Settings { devices: 2, ..settings("w") });
    machine.until(|event| matches!(event, Event::Proving(..)));
    fleet.jobs_refused.store(true, Ordering::Relaxed);
    until(|| waits(&machine) || machine.thread.is_finished());
    fleet.jobs_refused.store(false, Ordering::Relaxed);
    offer(&fleet, 1..2);
    gated.open.store(true, Ordering::Relaxed);
    until(|| in_state(&fleet, StateName::Done) == 2 || machine.thread.is_finished());
    assert_eq!((machine.end().proved, far.prove_calls()), (2, 2));
}

/// Whether it has said that the jobs do not answer, or refuse.
fn waits(machine: &Machine) -> bool {
    machine.heard.lock().unwrap().iter().any(|event| matches!(event, Event::Waiting(_)))
}

#[test]
fn after_an_outage_that_is_longer_than_a_lease_whoever_lives_keeps_what_it_proves() {
    // Time passes for leases alone. The next sign of life is seconds away, and an idle worker asks again after one.
    let lease = Duration::from_secs(9);
    let (fleet, far, other) = (Fleet::with_lease(lease), mock(), mock());
    let gated = Gated::new(&far);
    offer(&fleet, 0..1);
    let busy = fleet.worker_over(gated.clone(), settings("busy"));
    busy.until(|event| matches!(event, Event::Proving(..)));
    let idle = fleet.worker("idle", &other);
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    until(|| waits(&busy) && waits(&idle));
    fleet.pass(lease * 2);
    fleet.jobs_cut.store(false, Ordering::Relaxed);
    let stands = || fleet.queue().find(&[id(&task(0))]).unwrap().remove(0);
    let now_ms = || fleet.queue().now_ms().unwrap();
    until(|| !matches!(stands().state, State::Running { until_ms, .. } if until_ms <= now_ms()));
    gated.open.store(true, Ordering::Relaxed);
    until(|| in_state(&fleet, StateName::Done) == 1);
    assert_eq!((far.prove_calls(), other.prove_calls(), stands().lapses), (1, 0, 0));
    let tally = fleet.queue().standing(&settings("busy").name).unwrap().worker.unwrap().tally;
    assert_eq!(tally.lapsed, 0);
    busy.end();
    idle.end();
}

#[test]
fn a_worker_that_is_woken_often_while_it_looks_looks_once_more() {
    let (fleet, far) = (Fleet::new(), mock());
    let gated = Gated::new(&far);
    offer(&fleet, 0..1);
    let settings = Settings { devices: 2, poll: Duration::from_secs(3600), ..settings("w") };
    let machine = fleet.worker_over(gated.clone(), settings);
    machine.until(|event| matches!(event, Event::Proving(..)));
    let turns = || fleet.jobs_asked.turns.load(Ordering::Relaxed);
    until(|| turns() > 0);
    let claims = || fleet.jobs_asked.claims.load(Ordering::Relaxed);
    // An offer of what this machine cannot do wakes it.
    let ring = |number: u8| {
        let before = turns();
        let class =
            Class { kind: Kind::Transaction, profile: mock().profile().id(), memory: 9, device: None };
        let (id, input) = (id(&task(number)), Digest::ZERO);
        fleet.queue().offer(&[Offer { id, class, priority: Priority(0), input }]).unwrap();
        until(|| turns() > before);
    };
    fleet.jobs_asked.claims_wait.store(true, Ordering::Relaxed);
    let before = claims();
    ring(1);
    until(|| claims() > before);
    (2..102).for_each(ring);
    // What the device says comes after all of that.
    gated.open.store(true, Ordering::Relaxed);
    until(|| in_state(&fleet, StateName::Done) == 1);
    fleet.jobs_asked.claims_wait.store(false, Ordering::Relaxed);
    machine.until(|event| matches!(event, Event::Proved(..)));
    let looked = claims() - before;
    assert!(looked <= 4, "{looked} times");
    machine.end();
}

#[test]
fn a_panic_in_the_prover_fails_the_job_and_not_the_worker() {
    let (fleet, far) = (Fleet::new(), mock_with(MockConfig { panic_every: 2, ..MockConfig::default() }));
    offer(&fleet, 0..3);
    let machine = fleet.worker("w", &far);
    until(|| in_state(&fleet, StateName::Done) == 3);
    let report = machine.end();
    assert_eq!((report.proved, report.failed > 0), (3, true));
}

#[test]
fn a_proof_that_does_not_verify_is_not_shared() {
    let (fleet, far) = (Fleet::new(), mock_with(MockConfig { invalid_every: 1, ..MockConfig::default() }));
    offer(&fleet, 0..1);
    let machine = fleet.worker("w", &far);
    until(|| in_state(&fleet, StateName::Quarantined) == 1);
    machine.end();
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(0))), Ok(Fetched::Absent)));
}

#[test]
fn a_finished_receipt_waits_for_the_store_and_its_completion_for_the_jobs() {
    let (fleet, far) = (
        Fleet::new(),
        mock_with(MockConfig { cost: [Duration::from_millis(200); 3], ..MockConfig::default() }),
    );
    offer(&fleet, 0..1);
    let machine = fleet.worker("w", &far);
    machine.until(|event| matches!(event, Event::Proving(..)));
    fleet.objects_cut.store(true, Ordering::Relaxed);
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    // It says so the next time that it claims or beats.
    until(|| far.spent(Kind::Transaction) > Duration::ZERO);
    fleet.objects_cut.store(false, Ordering::Relaxed);
    until(|| matches!(fleet.shared(mock()).fetch(&id(&task(0))), Ok(Fetched::Receipt(_))));
    fleet.jobs_cut.store(false, Ordering::Relaxed);
    machine.until(|event| matches!(event, Event::Proved(..)));
    assert_eq!((machine.end().proved, far.prove_calls()), (1, 1));
}

#[test]
fn an_evicted_worker_says_so_and_works_again_when_it_is_let_in() {
    let (fleet, far) = (Fleet::new(), mock());
    let name = settings("w").name;
    fleet.queue().evict(&name, true).unwrap();
    offer(&fleet, 0..1);
    let machine = fleet.worker("w", &far);
    machine.until(|event| matches!(event, Event::Evicted));
    assert_eq!(far.prove_calls(), 0);
    machine.end();
    fleet.queue().evict(&name, false).unwrap();
    let machine = fleet.worker("w", &far);
    machine.until(|event| matches!(event, Event::Proved(..)));
    machine.end();
}
