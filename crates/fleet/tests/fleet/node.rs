//! What a node gets of its fleet, and what it does where it gets nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use reprise_fleet::bounded::Bounded;
use reprise_fleet::shared::Fetched;
use reprise_fleet::worker::Event;
use reprise_jobs::Priority;
use reprise_jobs::job::State;
use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, PinsDigest};
use reprise_model::statement::ClaimScheme as _;
use reprise_prover::backend::{Backend, Control, ProveError};
use reprise_prover::mock::MockConfig;

use crate::bench::{Fleet, id, mock, mock_with, receipt, task, task_on, until};

#[test]
fn a_worker_proves_what_a_node_asks_for_with_what_it_relies_on_and_the_node_confirms_it() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let machine = fleet.worker("far", &far);
    let task = task_on(2, 1);
    let proof = fleet.node(&own).prove(&task).unwrap();
    assert_eq!(proof.receipt.id(), id(&task));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    let job = fleet.queue().find(&[id(&task)]).unwrap().remove(0);
    assert_eq!(job.state, State::Done { confirmed: true });
    assert_eq!(machine.end().proved, 1);
    // What it was proved from is gone; what is left are the two receipts.
    let kept = reprise_fleet::objects::Objects::list(&fleet.objects, "", "", 100).unwrap();
    assert!(kept.iter().all(|listed| listed.key.starts_with("receipts/")), "{kept:?}");
    assert_eq!(kept.len(), 2);
}

#[test]
fn nodes_that_want_one_statement_share_one_proof() {
    let (fleet, far) = (Fleet::new(), mock());
    let owns: Vec<_> = (0..5).map(|_| mock()).collect();
    thread::scope(|scope| {
        for own in &owns {
            let node = fleet.node(own);
            scope.spawn(move || (0..8).for_each(|number| drop(node.prove(&task(number)).unwrap())));
        }
        let machines: Vec<_> = (0..3).map(|number| fleet.worker(&format!("w{number}"), &far)).collect();
        until(|| {
            let done = fleet.queue().list(&Default::default()).unwrap();
            done.len() == 8 && done.iter().all(|job| matches!(job.state, State::Done { confirmed: true }))
        });
        for machine in machines {
            machine.end();
        }
    });
    assert_eq!(far.prove_calls(), 8);
    assert_eq!(owns.iter().map(|own| own.prove_calls()).sum::<u64>(), 0);
}

#[test]
fn without_the_jobs_a_node_proves_itself_and_joins_again() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let node = fleet.node(&own);
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    node.prove(&task(1)).unwrap();
    assert_eq!(own.prove_calls(), 1);
    // What it proved is shared all the same, and answers for whoever asks next.
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
    fleet.jobs_cut.store(false, Ordering::Relaxed);
    let machine = fleet.worker("far", &far);
    node.prove(&task(2)).unwrap();
    assert_eq!((own.prove_calls(), far.prove_calls()), (1, 1));
    machine.end();
}

#[test]
fn a_proof_of_the_node_s_own_that_hangs_is_written_off_and_costs_no_device() {
    let fleet = Fleet::new();
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    let own = mock_with(MockConfig { hang_every: 2, ..MockConfig::default() });
    let devices: Arc<dyn Backend> = Arc::new(Bounded::new(own.clone(), 1));
    let node = fleet.node_over(devices, [Duration::from_millis(20); 3], [Duration::from_secs(600); 3]);
    node.prove(&task(1)).unwrap();
    let hung = node.prove(&task(2)).unwrap_err();
    assert!(matches!(hung, ProveError::TimedOut { statement, .. } if statement == id(&task(2))), "{hung}");
    node.prove(&task(3)).unwrap();
    assert_eq!(own.prove_calls(), 3);
}

#[test]
fn what_a_node_proves_itself_it_says_before_it_begins_and_of_nothing_else() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let (machine, node) = (fleet.worker("far", &far), fleet.node(&own));
    let begun = Arc::new(AtomicU64::new(0));
    let prove = |number| {
        let (begun, own) = (begun.clone(), own.clone());
        let begins = move || {
            begun.fetch_add(1 + own.prove_calls(), Ordering::Relaxed);
        };
        node.prove_under(&task(number), &Control::default().noted(Box::new(begins))).unwrap();
    };
    prove(1);
    assert_eq!((begun.load(Ordering::Relaxed), own.prove_calls()), (0, 0), "the fleet proved it");
    machine.end();
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    prove(2);
    assert_eq!((begun.load(Ordering::Relaxed), own.prove_calls()), (1, 1));
}

#[test]
fn an_outage_that_was_seen_while_somebody_waited_is_forgotten_once_nobody_does() {
    let fleet = Fleet::new();
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    let watch = reprise_fleet::watch::Watch::start(fleet.queue(), Duration::from_millis(5)).unwrap();
    let interest = watch.interest(id(&task(1)));
    until(|| watch.unreachable_since().is_some());
    drop(interest);
    assert_eq!(watch.unreachable_since(), None, "whoever waits next would prove by itself at once");
}

#[test]
fn jobs_that_are_lost_while_a_node_waits_are_no_reason_to_wait_for_ever() {
    let (fleet, own) = (Fleet::new(), mock());
    let node = fleet.node(&own);
    let waiting = thread::spawn(move || node.prove(&task(1)).map(|proof| proof.receipt.id()));
    until(|| !fleet.queue().list(&Default::default()).unwrap().is_empty());
    fleet.jobs_cut.store(true, Ordering::Relaxed);
    assert_eq!(waiting.join().unwrap(), Ok(id(&task(1))));
    assert_eq!(own.prove_calls(), 1);
}

#[test]
fn without_shared_receipts_a_node_proves_itself() {
    let (fleet, own) = (Fleet::new(), mock());
    fleet.objects_cut.store(true, Ordering::Relaxed);
    fleet.node(&own).prove(&task(1)).unwrap();
    assert_eq!(own.prove_calls(), 1);
}

#[test]
fn what_is_shared_already_is_no_job() {
    let (fleet, own) = (Fleet::new(), mock());
    fleet
        .shared(mock())
        .publish(&receipt(1), reprise_model::statement::Kind::Transaction, &Default::default())
        .unwrap();
    fleet.node(&own).prove(&task(1)).unwrap();
    assert_eq!(own.prove_calls(), 0);
    assert!(fleet.queue().list(&Default::default()).unwrap().is_empty());
}

#[test]
fn what_the_fleet_quarantines_the_node_proves_itself_and_tells() {
    let (fleet, own) = (Fleet::new(), mock());
    let broken = mock_with(MockConfig { diverge_every: 1, ..MockConfig::default() });
    let machine = fleet.worker("broken", &broken);
    let proof = fleet.node(&own).prove(&task(1)).unwrap();
    assert_eq!(proof.receipt.id(), id(&task(1)));
    assert_eq!(own.prove_calls(), 1);
    assert_eq!(broken.prove_calls(), u64::from(crate::bench::policy().failures_max));
    let job = fleet.queue().find(&[id(&task(1))]).unwrap().remove(0);
    assert_eq!(job.state, State::Done { confirmed: true });
    machine.end();
}

#[test]
fn an_attempt_that_is_cancelled_leaves_its_job_to_the_fleet_after_everything_that_is_wanted() {
    let (fleet, own) = (Fleet::new(), mock());
    let (node, control) = (fleet.node(&own), Arc::new(Control::default()));
    let under = control.clone();
    let waiting = thread::spawn(move || node.prove_under(&task(1), &under).map(|proof| proof.receipt.id()));
    until(|| !fleet.queue().list(&Default::default()).unwrap().is_empty());
    control.cancel();
    assert_eq!(waiting.join().unwrap(), Err(ProveError::Cancelled { statement: id(&task(1)) }));
    let job = fleet.queue().find(&[id(&task(1))]).unwrap().remove(0);
    assert_eq!(job.priority, Priority::UNWANTED);
    assert!(matches!(job.state, State::Queued { .. }));
    assert_eq!(own.prove_calls(), 0);
}

/// A place by its checkpoint.
fn place(checkpoint: u64) -> Coordinate {
    Coordinate {
        checkpoint: Checkpoint(checkpoint),
        block_hash: BlockHash([1; 32]),
        position: Position::Transaction { merge_index: 1 },
        program: mock().programs()[0],
        profile: mock().profile().id(),
        pins: PinsDigest([1; 32]),
    }
}

#[test]
fn what_is_orphaned_while_it_waits_is_left_to_the_fleet_and_urgent_again_when_its_chain_returns() {
    let (fleet, own) = (Fleet::new(), mock());
    let priority = || fleet.queue().find(&[id(&task(1))]).unwrap()[0].priority;
    let ask = |control: &Arc<Control>| {
        let (node, under) = (fleet.node(&own), control.clone());
        thread::spawn(move || node.prove_under(&task(1), &under).map(|proof| proof.receipt.id()))
    };
    let control = Arc::new(Control::default().at(place(7)));
    let waiting = ask(&control);
    until(|| !fleet.queue().list(&Default::default()).unwrap().is_empty());
    assert_eq!(priority(), Priority::of(&place(7)));
    control.want(Some(place(3)));
    until(|| priority() == Priority::of(&place(3)));
    control.want(None);
    assert_eq!(waiting.join().unwrap(), Err(ProveError::Cancelled { statement: id(&task(1)) }));
    assert_eq!(priority(), Priority::UNWANTED);
    let waiting = ask(&Arc::new(Control::default().at(place(7))));
    until(|| priority() == Priority::of(&place(7)));
    let far = mock();
    let machine = fleet.worker("far", &far);
    assert_eq!(waiting.join().unwrap(), Ok(id(&task(1))));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    machine.end();
}

#[test]
fn what_is_orphaned_while_it_is_proved_is_waited_for() {
    let cost = [Duration::from_millis(300); 3];
    let (fleet, own, far) = (Fleet::new(), mock(), mock_with(MockConfig { cost, ..MockConfig::default() }));
    let control = Arc::new(Control::default().at(place(7)));
    let (node, under) = (fleet.node(&own), control.clone());
    let waiting = thread::spawn(move || node.prove_under(&task(1), &under).map(|proof| proof.receipt.id()));
    let machine = fleet.worker("far", &far);
    machine.until(|event| matches!(event, Event::Proving(..)));
    control.want(None);
    assert_eq!(waiting.join().unwrap(), Ok(id(&task(1))));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    assert_eq!(machine.end().proved, 1);
}

#[test]
fn a_job_that_somebody_cancelled_or_deleted_is_offered_again_while_it_is_wanted() {
    let (fleet, own, far) = (Fleet::new(), mock(), mock());
    let node = fleet.node(&own);
    let waiting = thread::spawn(move || node.prove(&task(1)).map(|proof| proof.receipt.id()));
    until(|| fleet.queue().cancel(&[id(&task(1))]).unwrap() == 1);
    let machine = fleet.worker("far", &far);
    assert_eq!(waiting.join().unwrap(), Ok(id(&task(1))));
    assert_eq!((own.prove_calls(), far.prove_calls()), (0, 1));
    machine.end();
}
