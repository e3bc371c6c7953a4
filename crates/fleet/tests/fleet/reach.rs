//! What one machine cannot reach: it keeps nothing from the others for longer than a lease, and drops no finished proof.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use reprise_fleet::attempt::Prover;
use reprise_fleet::claimed::{Claimed, Ended, Hold, Losses, Stage, Stepped, With};
use reprise_fleet::input::Input;
use reprise_fleet::objects::Objects;
use reprise_fleet::shared::{Fetched, Shared, input_key};
use reprise_fleet::worker::Event;
use reprise_jobs::job::{Capacity, Class, Offer, Priority, State, StateName};
use reprise_jobs::machine::{Answer, Beat};
use reprise_jobs::queue::Claims;
use reprise_jobs::table::Filter;
use reprise_jobs::{Job, Lease, WorkerName};
use reprise_model::digest::Digest;
use reprise_model::statement::{ClaimScheme, Kind};
use reprise_prover::backend::{Backend, Control};
use reprise_prover::mock::MockBackend;

use crate::bench::{Fleet, Machine, id, mock, policy, settings, task, until};

const SHORT: Duration = Duration::from_millis(1);

fn name(name: &str) -> WorkerName {
    WorkerName::new(name).unwrap()
}

fn offer(fleet: &Fleet) {
    offer_number(fleet, 0);
}

fn offer_number(fleet: &Fleet, number: u8) {
    let id = id(&task(number));
    let input = fleet.shared(mock()).put_input(&id, &Input::of(&task(number))).unwrap();
    offer_with(fleet, number, input);
}

fn offer_with(fleet: &Fleet, number: u8, input: Digest) {
    let class = Class { kind: Kind::Transaction, profile: mock().profile().id(), memory: 0, device: None };
    let priority = Priority(i64::from(number));
    fleet.queue().offer(&[Offer { id: id(&task(number)), class, priority, input }]).unwrap();
}

fn in_state(fleet: &Fleet, state: StateName) -> usize {
    fleet.queue().list(&Filter { state: Some(state), ..Filter::default() }).unwrap().len()
}

fn claim(fleet: &Fleet, worker: &str) -> Option<(Lease, Job)> {
    let profile = mock().profile().id();
    let capacity = Capacity { kinds: Kind::ALL.to_vec(), profile, memory: 0, devices: vec![] };
    match fleet.queue().claim(&name(worker), &capacity, 1).unwrap() {
        Claims::Jobs(claimed) => claimed.into_iter().next(),
        refused => panic!("{refused:?}"),
    }
}

fn stands(fleet: &Fleet) -> State {
    fleet.queue().find(&[id(&task(0))]).unwrap()[0].state
}

/// A machine whose device is driven by hand, and that says all the while that it works.
struct ByHand<'f> {
    fleet: &'f Fleet,
    shared: Arc<Shared>,
    backend: Arc<MockBackend>,
    claimed: Claimed,
    losses: Losses,
    control: Control,
}

impl<'f> ByHand<'f> {
    fn new(fleet: &'f Fleet, worker: &str) -> Self {
        offer(fleet);
        let (lease, job) = claim(fleet, worker).unwrap();
        let (backend, control) = (mock(), Control::default());
        let claimed = Claimed::new(Hold::new(lease, policy().lease * 1000), job);
        let losses = Losses::default();
        Self { fleet, shared: fleet.shared(backend.clone()), backend, claimed, losses, control }
    }

    fn step(&mut self, now: Duration) -> Stepped {
        let (queue, prover) = (self.fleet.queue(), Prover { host: "by hand".into(), clock: || 0 });
        let hold = self.claimed.hold().clone();
        let beats = queue.heartbeat(&hold.lease().worker, &[hold.lease()]).unwrap();
        if beats == [Beat::Lost] {
            hold.lose();
            self.control.cancel();
        }
        let with = With { queue: &queue, shared: &self.shared, prover: &prover, losses: &self.losses, now };
        self.claimed.step(&self.control, with)
    }

    /// Proves it, and cannot share it.
    fn prove_and_lose_the_store(&mut self) {
        while !matches!(self.claimed.stage(), Stage::Publish(_)) {
            assert!(matches!(self.step(Duration::ZERO), Stepped::On));
        }
        self.fleet.objects_cut.store(true, Ordering::Relaxed);
        assert!(matches!(self.step(Duration::ZERO), Stepped::Wait(_)));
    }
}

#[test]
fn a_job_whose_input_is_out_of_reach_for_a_lease_is_given_back_however_well_its_worker_beats() {
    for refuses in [false, true] {
        let fleet = Fleet::new();
        let mut machine = ByHand::new(&fleet, "cut-off");
        let outage = if refuses { &fleet.objects_refused } else { &fleet.objects_cut };
        outage.store(true, Ordering::Relaxed);
        assert!(matches!(machine.step(SHORT), Stepped::Wait(_)));
        assert!(matches!(machine.step(policy().lease), Stepped::Wait(_)));
        assert!(matches!(stands(&fleet), State::Running { .. }));
        let ended = machine.step(policy().lease + SHORT);
        assert!(matches!(ended, Stepped::Ended(Ended::OutOfReach(_))), "{ended:?}");
        assert!(matches!(stands(&fleet), State::Queued { .. }));
        assert!(claim(&fleet, "other").is_some(), "another has it at once");
        let job = fleet.queue().find(&[id(&task(0))]).unwrap().remove(0);
        assert_eq!((job.failures, job.lapses), (0, 0), "it costs no attempt");
    }
}

#[test]
fn an_outage_that_ends_begins_anew() {
    let fleet = Fleet::new();
    let mut machine = ByHand::new(&fleet, "cut-off");
    fleet.objects_cut.store(true, Ordering::Relaxed);
    assert!(matches!(machine.step(SHORT), Stepped::Wait(_)));
    fleet.objects_cut.store(false, Ordering::Relaxed);
    assert!(matches!(machine.step(SHORT), Stepped::On));
    machine.prove_and_lose_the_store();
    assert!(matches!(machine.step(policy().lease - SHORT), Stepped::Wait(_)));
    assert!(matches!(stands(&fleet), State::Running { .. }));
}

#[test]
fn a_finished_receipt_that_cannot_be_shared_for_a_lease_frees_its_job_once_and_is_shared_when_it_can_be() {
    let fleet = Fleet::new();
    let mut machine = ByHand::new(&fleet, "cut-off");
    machine.prove_and_lose_the_store();
    assert!(matches!(machine.step(policy().lease), Stepped::GaveBack(_)));
    assert!(matches!(stands(&fleet), State::Queued { .. }));
    // Its signs of life are refused now, and it goes on trying.
    for later in 2..20 {
        assert!(matches!(machine.step(policy().lease * later), Stepped::Wait(_)), "{later}");
    }
    let tally = fleet.queue().standing(&name("cut-off")).unwrap().worker.unwrap().tally;
    assert_eq!(tally.released, 1);
    fleet.objects_cut.store(false, Ordering::Relaxed);
    assert!(matches!(machine.step(policy().lease * 20), Stepped::On));
    let ended = machine.step(policy().lease * 20);
    assert!(matches!(ended, Stepped::Ended(Ended::Completed(Some(_)))), "{ended:?}");
    assert!(matches!(stands(&fleet), State::Done { .. }));
    assert_eq!(machine.backend.prove_calls(), 1);
}

#[test]
fn a_finished_receipt_is_shared_also_where_another_has_claimed_its_job_meanwhile() {
    let fleet = Fleet::new();
    let mut machine = ByHand::new(&fleet, "cut-off");
    machine.prove_and_lose_the_store();
    assert!(matches!(machine.step(policy().lease), Stepped::GaveBack(_)));
    let (other, _) = claim(&fleet, "other").unwrap();
    assert!(matches!(machine.step(policy().lease * 9), Stepped::Wait(_)));
    fleet.objects_cut.store(false, Ordering::Relaxed);
    assert!(matches!(machine.step(policy().lease * 9), Stepped::On));
    assert!(matches!(machine.step(policy().lease * 9), Stepped::Ended(Ended::Lost)));
    assert!(matches!(stands(&fleet), State::Running { .. }), "the other's claim stands");
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(0))), Ok(Fetched::Receipt(_))));
    assert_eq!(fleet.queue().complete(&other).unwrap(), Answer::Taken, "it finds the receipt");
}

#[test]
fn a_job_that_is_given_again_to_whoever_has_its_receipt_is_freed_again_after_a_lease() {
    let fleet = Fleet::new();
    let mut machine = ByHand::new(&fleet, "cut-off");
    machine.prove_and_lose_the_store();
    assert!(matches!(machine.step(policy().lease), Stepped::GaveBack(_)));
    let (again, _) = claim(&fleet, "cut-off").unwrap();
    assert!(machine.claimed.hold().renew(again, policy().lease * 1000), "it still has the receipt");
    assert!(matches!(machine.step(policy().lease * 2 - SHORT), Stepped::Wait(_)));
    assert!(matches!(stands(&fleet), State::Running { .. }));
    assert!(matches!(machine.step(policy().lease * 2), Stepped::GaveBack(_)));
    assert!(matches!(stands(&fleet), State::Queued { .. }));
}

#[test]
fn a_finished_receipt_outlives_a_lease_that_somebody_decided_about() {
    let fleet = Fleet::new();
    let mut machine = ByHand::new(&fleet, "evicted");
    machine.prove_and_lose_the_store();
    fleet.queue().evict(&name("evicted"), true).unwrap();
    assert!(matches!(machine.step(SHORT), Stepped::Wait(_)));
    fleet.objects_cut.store(false, Ordering::Relaxed);
    assert!(matches!(machine.step(SHORT), Stepped::On));
    assert!(matches!(machine.step(SHORT), Stepped::Ended(Ended::Completed(Some(_)))));
}

#[test]
fn a_worker_that_cannot_load_its_job_gives_it_back_waits_and_goes_on_when_it_can() {
    let (fleet, far) = (Fleet::new(), mock());
    offer(&fleet);
    fleet.objects_refused.store(true, Ordering::Relaxed);
    let machine = fleet.worker_with(&far, settings("w"));
    machine.until(|event| matches!(event, Event::Waiting(reason) if reason.contains("no rights")));
    machine.until(|event| matches!(event, Event::Released(_)));
    fleet.objects_refused.store(false, Ordering::Relaxed);
    machine.until(|event| matches!(event, Event::Proved(..)));
    machine.until(|event| matches!(event, Event::Reached));
    let said = machine.heard.lock().unwrap().iter().filter(|it| matches!(it, Event::Waiting(_))).count();
    assert_eq!(said, 1, "once, however often it tried");
    let report = machine.end();
    assert_eq!((report.proved, report.failed), (1, 0));
    assert!(report.released >= 1);
}

#[test]
fn machines_that_look_in_the_wrong_place_quarantine_nothing_beside_one_that_proves() {
    let backoff = Duration::from_secs(1);
    let (fleet, far, jobs) = (Fleet::with_backoff(backoff), mock(), 12);
    (0..jobs).for_each(|number| offer_number(&fleet, number));
    let blind = ["blind-1", "blind-2"].map(|name| fleet.blind_worker(name));
    let all = usize::from(jobs);
    let waits = |event: &Event| matches!(event, Event::Waiting(reason) if reason.contains("is not among"));
    let all_wait = || blind.iter().all(|it| it.heard.lock().unwrap().iter().any(waits));
    // Whatever was found gone waits for a moment; then they would have it again.
    until(|| {
        fleet.pass(backoff);
        all_wait() || in_state(&fleet, StateName::Quarantined) == all
    });
    let sound = fleet.worker("sound", &far);
    until(|| {
        fleet.pass(backoff);
        in_state(&fleet, StateName::Done) + in_state(&fleet, StateName::Quarantined) == all
    });
    assert_eq!((in_state(&fleet, StateName::Quarantined), far.prove_calls()), (0, u64::from(jobs)));
    let lapses: u32 = fleet.queue().list(&Filter::default()).unwrap().iter().map(|job| job.lapses).sum();
    assert!(lapses < 2 * u32::from(jobs), "{lapses}");
    let _ = blind.map(Machine::end);
    sound.end();
}

#[test]
fn what_this_build_cannot_read_is_given_back_at_once_and_costs_no_attempt() {
    let (fleet, far) = (Fleet::new(), mock());
    let mut newer = Input::of(&task(0)).encode();
    newer[0] += 1;
    let digest = reprise_fleet::input::digest(&newer);
    fleet.objects.replace(&input_key(&id(&task(0)), &digest), newer).unwrap();
    offer_with(&fleet, 0, digest);
    let machine = fleet.worker("older", &far);
    machine.until(|event| matches!(event, Event::Waiting(_) | Event::Failed(..)));
    machine.until(|event| matches!(event, Event::Released(_) | Event::Failed(..)));
    // What it can read it proves once it looks again.
    offer_number(&fleet, 1);
    fleet.queue().cancel(&[id(&task(0))]).unwrap();
    machine.until(|event| matches!(event, Event::Proved(..)));
    let report = machine.end();
    assert_eq!((report.proved, report.failed), (1, 0));
    assert_eq!(fleet.queue().find(&[id(&task(0))]).unwrap()[0].lapses, 0);
}

#[test]
fn what_is_gone_counts_against_its_job_as_long_as_the_machine_finds_others() {
    let fleet = Fleet::with_backoff(SHORT);
    let mut machine = ByHand::new(&fleet, "w");
    for number in 1..9 {
        offer_with(&fleet, number, Digest([number; 32]));
        let (lease, job) = claim(&fleet, "w").unwrap();
        let gone = Claimed::new(Hold::new(lease, policy().lease * 1000), job);
        let found = std::mem::replace(&mut machine.claimed, gone);
        assert!(matches!(machine.step(SHORT), Stepped::Ended(Ended::InputLost(_))), "{number}");
        machine.claimed = found;
        assert!(matches!(machine.step(SHORT), Stepped::On), "it is loaded");
        machine.claimed = Claimed::new(machine.claimed.hold().clone(), machine.claimed.job().clone());
    }
    assert!(fleet.queue().list(&Filter::default()).unwrap().iter().skip(1).all(|job| job.lapses == 1));
}
