//! What is shared, and what is believed of it.

use std::sync::Arc;
use std::time::Duration;

use reprise_fleet::floors::Floors;
use reprise_fleet::housekeeping::{self, Household, Keeping, Sweep};
use reprise_fleet::input::Input;
use reprise_fleet::objects::{MemoryObjects, Objects, ObjectsError};
use reprise_fleet::shared::{Bounds, Fetched, Missing, Shared, receipt_key};
use reprise_jobs::job::{Class, Offer, Priority};
use reprise_jobs::{Queue, WorkerName};
use reprise_model::digest::{Digest, ProgramId};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, ClaimScheme, Kind, StatementId};
use reprise_store::envelope::Envelope;
use reprise_store::provenance::{Origin, Provenance};
use reprise_store::{Options, ReceiptStore, Store};

use crate::bench::{Fleet, id, mock, receipt, task, task_on};

fn found(fleet: &Fleet, number: u8) -> Fetched {
    fleet.shared(mock()).fetch(&id(&task(number))).unwrap()
}

#[test]
fn bytes_that_were_changed_anywhere_are_no_receipt() {
    let fleet = Fleet::new();
    let envelope = Envelope {
        kind: Kind::Transaction,
        receipt: receipt(1).into_inner(),
        provenance: Provenance::default(),
    };
    let (good, key) = (envelope.encode(), receipt_key(&id(&task(1))));
    fleet.objects.replace(&key, good.clone()).unwrap();
    assert!(matches!(found(&fleet, 1), Fetched::Receipt(_)));
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x20;
        fleet.objects.replace(&key, bad).unwrap();
        assert!(matches!(found(&fleet, 1), Fetched::Bad(_)), "byte {at}");
    }
    for len in 0..good.len() {
        fleet.objects.replace(&key, good[..len].to_vec()).unwrap();
        assert!(matches!(found(&fleet, 1), Fetched::Bad(_)), "{len} bytes");
    }
}

#[test]
fn the_kind_follows_from_the_program_whatever_the_envelope_says() {
    let fleet = Fleet::new();
    let envelope = Envelope {
        kind: Kind::Aggregate,
        receipt: receipt(1).into_inner(),
        provenance: Provenance::default(),
    };
    fleet.objects.replace(&receipt_key(&id(&task(1))), envelope.encode()).unwrap();
    let Fetched::Receipt(found) = found(&fleet, 1) else { panic!("it verifies") };
    assert_eq!(found.kind, Kind::Transaction);
}

#[test]
fn a_receipt_of_another_program_is_none() {
    let (fleet, backend) = (Fleet::new(), mock());
    // Its seal is good: that of the mock, for a program that is none of its three.
    let claim = Claim { program: ProgramId([9; 32]), ..task(1).claim };
    let statement = backend.statement(&claim);
    let seal = blake3::derive_key("reprise 2026-11 mock seal", &statement.claim.0).to_vec();
    let foreign = Receipt { statement, claim, seal_kind: SealKind::Fake, seal };
    assert!(Verified::check(foreign.clone(), backend.as_ref()).is_ok());
    let (id, kind) = (foreign.id(), Kind::Transaction);
    let envelope = Envelope { kind, receipt: foreign, provenance: Provenance::default() };
    fleet.objects.replace(&receipt_key(&id), envelope.encode()).unwrap();
    assert!(matches!(fleet.shared(backend).fetch(&id), Ok(Fetched::Bad(_))));
}

#[test]
fn what_others_say_of_a_proof_is_bounded_and_plain() {
    let fleet = Fleet::new();
    let provenance = Provenance {
        origin: Origin::Proved,
        prover: format!("\u{1b}]0;owned\u{7}{}", "x".repeat(100_000)),
        host: "a\nb".into(),
        took_ms: u64::MAX,
        cycles: u64::MAX,
        ..Provenance::default()
    };
    let envelope = Envelope { kind: Kind::Transaction, receipt: receipt(1).into_inner(), provenance };
    fleet.objects.replace(&receipt_key(&id(&task(1))), envelope.encode()).unwrap();
    let Fetched::Receipt(found) = found(&fleet, 1) else { panic!("it verifies") };
    let Provenance { origin, prover, host, took_ms, cycles, .. } = found.provenance;
    assert!(prover.len() <= 120 && !prover.chars().any(char::is_control), "{prover:?}");
    assert_eq!((origin, host.as_str()), (Origin::Imported, "a b"));
    assert!(took_ms < 1 << 32 && cycles < 1 << 49, "a sum of many fits: {took_ms} ms, {cycles} cycles");
}

#[test]
fn what_is_over_the_bounds_is_neither_read_nor_written() {
    let (objects, backend) = (MemoryObjects::default(), mock());
    let bounds = Bounds { receipt_bytes_max: 100, input_bytes_max: 10 };
    let shared = Shared::new(Arc::new(objects.clone()), backend, bounds);
    let statement = id(&task(1));
    let refused = shared.publish(&receipt(1), Kind::Transaction, &Provenance::default()).unwrap_err();
    assert!(matches!(refused, ObjectsError::TooLarge { bytes_max: 100, .. }), "{refused}");
    assert!(matches!(shared.put_input(&statement, &Input::of(&task(1))), Err(ObjectsError::TooLarge { .. })));
    objects.replace(&receipt_key(&statement), vec![0; 101]).unwrap();
    assert!(matches!(shared.fetch(&statement), Ok(Fetched::Bad(_))), "a flood is as good as nothing");
}

#[test]
fn an_input_reads_back_and_one_of_another_format_is_refused_by_name() {
    let fleet = Fleet::new();
    let shared = fleet.shared(mock());
    let (statement, input) = (id(&task(1)), Input::of(&task_on(1, 2)));
    let digest = shared.put_input(&statement, &input).unwrap();
    assert_eq!(shared.fetch_input(&statement, &digest), Ok(input.clone()));
    let mut newer = input.encode();
    newer[0] = 9;
    let digest = reprise_fleet::input::digest(&newer);
    fleet.objects.replace(&reprise_fleet::shared::input_key(&statement, &digest), newer).unwrap();
    let refused = shared.fetch_input(&statement, &digest).unwrap_err();
    assert!(refused.to_string().contains("format 9"), "{refused}");
    let absent = shared.fetch_input(&id(&task(3)), &digest).unwrap_err();
    assert!(matches!(absent, Missing::Absent { .. }));
}

/// A node's, and the node's own store.
fn household(shared: Arc<Shared>, queue: Queue) -> (Household, Arc<dyn ReceiptStore>) {
    let floors = Arc::new(Floors::new(shared.clone(), WorkerName::new("node").unwrap()));
    let own: Arc<dyn ReceiptStore> = Arc::new(Store::in_memory(mock(), Options::default()).unwrap());
    let (inputs, receipts) = (Sweep::of(2), Sweep::of(2));
    (Household { queue: Some(queue), shared, floors, own: Arc::downgrade(&own), inputs, receipts }, own)
}

#[test]
fn a_round_deletes_all_jobs_that_ended_long_ago_however_many() {
    let (fleet, jobs) = (Fleet::new(), 2500u32);
    let (shared, queue) = (fleet.shared(mock()), fleet.queue());
    let class = Class { kind: Kind::Transaction, profile: mock().profile().id(), memory: 0, device: None };
    let id = |number: u32| StatementId(*blake3::hash(&number.to_be_bytes()).as_bytes());
    let (ids, input): (Vec<StatementId>, _) = ((0..jobs).map(id).collect(), Digest::ZERO);
    let offer = |id: &StatementId| Offer { id: *id, class, priority: Priority(0), input };
    queue.offer(&ids.iter().map(offer).collect::<Vec<_>>()).unwrap();
    assert_eq!(queue.settle(&ids).unwrap(), ids.len());
    let (house, _own) = household(shared, queue.clone());
    let keeping = Keeping { input_grace: Duration::ZERO, receipts: None, floor_grace: None };
    assert_eq!(housekeeping::keep(&house, &keeping).unwrap().jobs, 0, "they have just ended");
    fleet.pass(queue.policy().retention + Duration::from_secs(1));
    assert_eq!(housekeeping::keep(&house, &keeping).unwrap().jobs, u64::from(jobs));
}

#[test]
fn inputs_of_jobs_that_will_not_be_proved_are_collected_and_receipts_are_kept_for_their_time() {
    let fleet = Fleet::new();
    let (shared, queue) = (fleet.shared(mock()), fleet.queue());
    let offer = |number: u8| {
        let input = shared.put_input(&id(&task(number)), &Input::of(&task(number))).unwrap();
        let class =
            Class { kind: Kind::Transaction, profile: mock().profile().id(), memory: 0, device: None };
        Offer { id: id(&task(number)), class, priority: Priority(0), input }
    };
    queue.offer(&[1, 2, 3].map(offer)).unwrap();
    offer(4);
    queue.settle(&[id(&task(1))]).unwrap();
    queue.quarantine(&[id(&task(2))], "by hand").unwrap();
    shared.publish(&receipt(1), Kind::Transaction, &Provenance::default()).unwrap();
    let (house, _own) = household(shared, queue);
    let keeping = |grace| Keeping { input_grace: grace, receipts: Some(Duration::ZERO), floor_grace: None };
    let kept = housekeeping::keep(&house, &keeping(Duration::from_secs(3600))).unwrap();
    assert_eq!(kept.inputs, 0, "somebody may be about to offer them");
    // Two objects a round: what is kept keeps nothing behind it from being found.
    let rounds = (0..3).map(|_| housekeeping::keep(&house, &keeping(Duration::ZERO)).unwrap());
    let kept =
        rounds.fold((0, 0), |(inputs, receipts), kept| (inputs + kept.inputs, receipts + kept.receipts));
    assert_eq!(kept, (2, 0), "of the settled job and of none; no receipt is that old");
    assert_eq!(fleet.objects.list("inputs/", "", 9).unwrap().len(), 2);
    assert!(matches!(found(&fleet, 1), Fetched::Receipt(_)));
}
