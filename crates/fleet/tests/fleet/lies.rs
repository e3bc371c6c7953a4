//! Workers and stores that lie: they cost time, and never a wrong receipt.

use std::thread;
use std::time::Duration;

use reprise_fleet::objects::Objects;
use reprise_fleet::shared::{Fetched, Published, input_key, receipt_key};
use reprise_jobs::WorkerName;
use reprise_jobs::job::{Capacity, Lease, State};
use reprise_jobs::machine::{Answer, Beat};
use reprise_jobs::queue::Claims;
use reprise_model::receipt::Receipt;
use reprise_model::statement::{ClaimScheme, Kind};
use reprise_prover::backend::Backend;
use reprise_store::envelope::Envelope;
use reprise_store::provenance::Provenance;

use crate::bench::{Fleet, id, mock, policy, receipt, task, task_on, until};

fn envelope(receipt: &Receipt, kind: Kind) -> Vec<u8> {
    Envelope { kind, receipt: receipt.clone(), provenance: Provenance::default() }.encode()
}

fn forged(number: u8) -> Vec<u8> {
    let mut receipt = receipt(number).into_inner();
    receipt.seal[0] ^= 1;
    envelope(&receipt, Kind::Transaction)
}

/// Claims, as anybody may who has the rights of a worker.
fn steal(fleet: &Fleet, name: &str) -> Option<Lease> {
    let capacity =
        Capacity { kinds: Kind::ALL.to_vec(), profile: mock().profile().id(), memory: 0, devices: vec![] };
    match fleet.queue().claim(&WorkerName::new(name).unwrap(), &capacity, 1).unwrap() {
        Claims::Jobs(claimed) => claimed.into_iter().map(|(lease, _)| lease).next(),
        _ => None,
    }
}

/// A node asks; a liar claims first and does `lie`; an honest worker comes then. What the node gets is a receipt.
fn believed_in_spite_of(lie: impl Fn(&Fleet, &Lease)) -> (Fleet, u64) {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let node = fleet.node(&own);
    let asked = thread::spawn(move || node.prove(&task(1)).unwrap().receipt);
    let mut stolen = None;
    while stolen.is_none() {
        stolen = steal(&fleet, "liar");
    }
    lie(&fleet, &stolen.unwrap());
    let machine = fleet.worker("honest", &far);
    let found = asked.join().unwrap();
    assert_eq!(found, receipt(1).into_inner());
    machine.end();
    let calls = own.prove_calls() + far.prove_calls();
    (fleet, calls)
}

fn rejected(fleet: &Fleet) -> u64 {
    fleet.queue().standing(&WorkerName::new("liar").unwrap()).unwrap().worker.unwrap().tally.rejected
}

#[test]
fn a_completion_without_a_receipt_is_rejected_and_the_statement_proved() {
    let (fleet, calls) = believed_in_spite_of(|fleet, lease| {
        assert_eq!(fleet.queue().complete(lease).unwrap(), Answer::Taken);
    });
    assert_eq!((rejected(&fleet), calls), (1, 1));
}

#[test]
fn a_completion_with_a_forged_receipt_is_rejected_and_the_receipt_replaced() {
    let (fleet, calls) = believed_in_spite_of(|fleet, lease| {
        fleet.objects.replace(&receipt_key(&lease.id), forged(1)).unwrap();
        fleet.queue().complete(lease).unwrap();
    });
    assert_eq!((rejected(&fleet), calls), (1, 1));
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
}

#[test]
fn a_completion_with_the_receipt_of_another_statement_is_rejected() {
    let (fleet, calls) = believed_in_spite_of(|fleet, lease| {
        let replayed = envelope(&receipt(2), Kind::Transaction);
        fleet.objects.replace(&receipt_key(&lease.id), replayed).unwrap();
        fleet.queue().complete(lease).unwrap();
    });
    assert_eq!((rejected(&fleet), calls), (1, 1));
}

#[test]
fn a_worker_that_claims_and_sleeps_costs_its_lease() {
    // When it wakes, nothing that it says is heard over another's claim; see the suite of the jobs.
    let (fleet, calls) = believed_in_spite_of(|fleet, _| {
        fleet.pass(policy().lease);
        assert_eq!(fleet.queue().reap().unwrap(), 1);
    });
    assert_eq!(calls, 1);
    let liar = fleet.queue().standing(&WorkerName::new("liar").unwrap()).unwrap().worker.unwrap();
    assert_eq!((liar.tally.lapsed, liar.strikes), (1, 1));
}

#[test]
fn a_worker_that_claims_and_says_for_ever_that_it_works_costs_the_time_that_a_statement_may_run() {
    let (fleet, own) = (Fleet::new(), mock());
    let node = fleet.node_that_waits(&own, Duration::from_millis(50));
    let asked = thread::spawn(move || node.prove(&task(1)).unwrap().receipt);
    let mut stolen = None;
    while stolen.is_none() {
        stolen = steal(&fleet, "liar");
    }
    let held = stolen.into_iter().collect::<Vec<Lease>>();
    let liar = WorkerName::new("liar").unwrap();
    while !asked.is_finished() {
        fleet.pass(policy().lease / 10);
        fleet.queue().heartbeat(&liar, &held).unwrap();
        assert_eq!(fleet.queue().reap().unwrap(), 0, "its lease never runs out");
    }
    assert_eq!(asked.join().unwrap(), receipt(1).into_inner());
    assert_eq!(own.prove_calls(), 1);
    assert_eq!(fleet.queue().heartbeat(&liar, &held).unwrap(), [Beat::Lost], "what is settled is nobody's");
}

#[test]
fn a_liar_that_is_evicted_gives_its_jobs_back_however_it_beats() {
    let (fleet, calls) = believed_in_spite_of(|fleet, lease| {
        let held = std::slice::from_ref(lease);
        assert_eq!(fleet.queue().heartbeat(&lease.worker, held).unwrap(), [Beat::Kept]);
        fleet.queue().evict(&lease.worker, true).unwrap();
        assert_eq!(fleet.queue().heartbeat(&lease.worker, held).unwrap(), [Beat::Lost]);
    });
    assert_eq!(calls, 1);
    assert_eq!(fleet.queue().list(&Default::default()).unwrap()[0].lapses, 0);
}

#[test]
fn a_worker_that_always_lies_rests_and_what_it_spoilt_is_proved() {
    let (fleet, own) = (Fleet::new(), mock());
    let node = fleet.node(&own);
    let asked = thread::spawn(move || {
        (0..4).map(|number| node.prove(&task(number)).unwrap().receipt.id()).collect::<Vec<_>>()
    });
    let mut lies = 0;
    while !asked.is_finished() {
        if let Some(lease) = steal(&fleet, "liar") {
            fleet.queue().complete(&lease).unwrap();
            lies += 1;
        }
        // Once it rests, nobody is left but the node itself: it may not wait for a fleet of liars.
        if lies >= u64::from(policy().strikes_max) {
            let waiting = fleet.queue().list(&Default::default()).unwrap();
            let open = waiting.iter().filter(|job| matches!(job.state, State::Queued { .. }));
            fleet.queue().quarantine(&open.map(|job| job.id).collect::<Vec<_>>(), "nobody is left").unwrap();
        }
    }
    assert_eq!(asked.join().unwrap(), (0..4).map(|number| id(&task(number))).collect::<Vec<_>>());
    let liar = fleet.queue().standing(&WorkerName::new("liar").unwrap()).unwrap();
    let rejected = liar.worker.unwrap().tally.rejected;
    let most = u64::from(policy().strikes_max);
    // One more where it asked just before the last rejection.
    assert!(rejected == most || rejected == most + 1, "then it was given nothing: {rejected}");
}

#[test]
fn a_receipt_that_is_overwritten_after_it_was_believed_is_proved_again_and_never_believed() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let machine = fleet.worker("far", &far);
    fleet.node(&own).prove(&task(1)).unwrap();
    fleet.objects.replace(&receipt_key(&id(&task(1))), forged(1)).unwrap();
    let found = fleet.node(&own).prove(&task(1)).unwrap();
    assert_eq!(found.receipt, receipt(1).into_inner());
    assert_eq!(far.prove_calls() + own.prove_calls(), 2);
    machine.end();
}

#[test]
fn a_receipt_that_is_pruned_after_it_was_believed_is_proved_again_and_speaks_against_nobody() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let machine = fleet.worker("far", &far);
    for _ in 0..policy().strikes_max {
        fleet.node(&own).prove(&task(1)).unwrap();
        fleet.objects.delete(&receipt_key(&id(&task(1)))).unwrap();
    }
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, u64::from(policy().strikes_max)));
    let known = fleet.queue().standing(&WorkerName::new("far").unwrap()).unwrap().worker.unwrap();
    assert_eq!((known.strikes, known.tally.rejected), (0, 0));
    assert_eq!(fleet.queue().find(&[id(&task(1))]).unwrap()[0].failures, 0);
    machine.end();
}

#[test]
fn an_input_that_is_overwritten_is_noticed_and_shared_again() {
    let backoff = Duration::from_secs(1);
    let (fleet, own, far) = (Fleet::with_backoff(backoff), mock(), mock());
    let node = fleet.node(&own);
    let asked = thread::spawn(move || node.prove(&task_on(1, 2)).unwrap().receipt.id());
    until(|| !fleet.queue().list(&Default::default()).unwrap().is_empty());
    let job = fleet.queue().list(&Default::default()).unwrap().remove(0);
    let key = input_key(&job.id, &job.input);
    let good = fleet.objects.read(&key, u64::MAX).unwrap();
    for spoilt in [b"nonsense".to_vec(), vec![], reprise_fleet::input::Input::of(&task(9)).encode()] {
        fleet.objects.replace(&key, spoilt).unwrap();
    }
    let machine = fleet.worker("far", &far);
    until(|| fleet.objects.read(&key, u64::MAX).unwrap() == good);
    fleet.pass(backoff);
    assert_eq!(asked.join().unwrap(), id(&task(1)));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    let job = fleet.queue().find(&[job.id]).unwrap().remove(0);
    assert_eq!((job.failures, job.lapses), (0, 1), "nothing was tried with it");
    assert_eq!(machine.end().failed, 1);
}

#[test]
fn an_input_of_another_statement_is_not_proved() {
    let (fleet, far) = (Fleet::new(), mock());
    let shared = fleet.shared(far.clone());
    let input = shared.put_input(&id(&task(1)), &reprise_fleet::input::Input::of(&task(9))).unwrap();
    let class = reprise_jobs::Class {
        kind: Kind::Transaction,
        profile: mock().profile().id(),
        memory: 0,
        device: None,
    };
    let offer =
        reprise_jobs::job::Offer { id: id(&task(1)), class, priority: reprise_jobs::Priority(0), input };
    fleet.queue().offer(&[offer]).unwrap();
    let machine = fleet.worker("far", &far);
    until(|| fleet.queue().find(&[id(&task(1))]).unwrap()[0].state == State::Quarantined);
    machine.end();
    assert_eq!(far.prove_calls(), 0);
    assert!(matches!(shared.fetch(&id(&task(1))), Ok(Fetched::Absent)));
}

#[test]
fn a_receipt_that_a_proof_relies_on_and_that_was_forged_is_shared_again() {
    let backoff = Duration::from_secs(1);
    let (fleet, own, far) = (Fleet::with_backoff(backoff), mock(), mock());
    let node = fleet.node(&own);
    let asked = thread::spawn(move || node.prove(&task_on(1, 2)).unwrap().receipt.id());
    until(|| !fleet.queue().list(&Default::default()).unwrap().is_empty());
    fleet.objects.replace(&receipt_key(&id(&task(2))), forged(2)).unwrap();
    let machine = fleet.worker("far", &far);
    until(|| matches!(fleet.shared(mock()).fetch(&id(&task(2))), Ok(Fetched::Receipt(_))));
    fleet.pass(backoff);
    assert_eq!(asked.join().unwrap(), id(&task(1)));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    machine.end();
}

#[test]
fn a_forged_receipt_is_replaced_by_whoever_has_a_good_one_and_a_good_one_is_left() {
    let fleet = Fleet::new();
    let key = receipt_key(&receipt(1).id());
    fleet.objects.replace(&key, forged(1)).unwrap();
    let publish =
        || fleet.shared(mock()).publish(&receipt(1), Kind::Transaction, &Provenance::default()).unwrap();
    assert_eq!(publish(), Published::Mended);
    let good = fleet.objects.read(&key, 1 << 20).unwrap();
    assert_eq!(publish(), Published::Known);
    assert_eq!(fleet.objects.read(&key, 1 << 20).unwrap(), good);
    assert!(Duration::ZERO < policy().lease);
}
