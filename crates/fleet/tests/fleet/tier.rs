//! The store of a node, with the shared one behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use reprise_fleet::objects::Objects;
use reprise_fleet::shared::{Fetched, receipt_key};
use reprise_fleet::tier::SharedTier;
use reprise_model::statement::Kind;
use reprise_store::port::{Lookup, NewEntry};
use reprise_store::provenance::{Origin, Provenance};
use reprise_store::{Options, ReceiptStore, Store};

use crate::bench::{Fleet, id, mock, receipt, task, until};

fn tier(fleet: &Fleet) -> SharedTier {
    let own = Arc::new(Store::in_memory(mock(), Options::default()).unwrap());
    SharedTier::new(own, fleet.shared(mock())).unwrap()
}

fn get(tier: &SharedTier, number: u8) -> Lookup {
    let receipt = receipt(number);
    tier.get(&receipt.statement, &receipt.claim).unwrap()
}

fn entry(number: u8) -> NewEntry {
    let (receipt, kind) = (receipt(number), Kind::Transaction);
    NewEntry { receipt, kind, provenance: Provenance::default(), coordinates: vec![] }
}

#[test]
fn what_one_node_stores_another_finds_and_keeps() {
    let fleet = Fleet::new();
    let (here, there) = (tier(&fleet), tier(&fleet));
    here.put(entry(1)).unwrap();
    until(|| matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
    assert_eq!(get(&there, 1), Lookup::Hit(receipt(1)));
    assert!(there.contains(&id(&task(1))).unwrap());
    assert_eq!(there.show(&id(&task(1))).unwrap().unwrap().summary.provenance.origin, Origin::Imported);
    // From then on it needs nobody.
    fleet.objects.delete(&receipt_key(&id(&task(1)))).unwrap();
    assert_eq!(get(&there, 1), Lookup::Hit(receipt(1)));
    let shared = there.tiers().pop().unwrap();
    assert_eq!((shared.name, shared.hits, shared.misses, shared.errors), ("shared", 1, 0, 0));
}

#[test]
fn what_was_submitted_is_shared_after_it_is_durable() {
    let fleet = Fleet::new();
    let here = tier(&fleet);
    let (done, told) = std::sync::mpsc::channel();
    here.submit(entry(1), Box::new(move |outcome| done.send(outcome.unwrap().new).unwrap()));
    assert!(told.recv().unwrap());
    until(|| matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
}

#[test]
fn a_forged_receipt_is_a_miss_and_is_not_kept() {
    let fleet = Fleet::new();
    let there = tier(&fleet);
    fleet.objects.replace(&receipt_key(&id(&task(1))), b"forged".to_vec()).unwrap();
    assert!(matches!(get(&there, 1), Lookup::Miss(_)));
    assert!(!there.contains(&id(&task(1))).unwrap());
}

#[test]
fn a_shared_store_that_does_not_answer_is_a_miss_and_is_left_alone_for_a_while() {
    let fleet = Fleet::new();
    let there = tier(&fleet);
    fleet.objects_cut.store(true, Ordering::Relaxed);
    assert!(matches!(get(&there, 1), Lookup::Miss(_)));
    assert!(matches!(get(&there, 2), Lookup::Miss(_)));
    let shared = there.tiers().pop().unwrap();
    assert_eq!((shared.misses, shared.errors), (0, 2), "an error is no miss");
    // What is its own is answered all the same.
    there.put(entry(3)).unwrap();
    assert_eq!(get(&there, 3), Lookup::Hit(receipt(3)));
}

#[test]
fn pruning_and_removing_are_of_the_own_store_alone() {
    let fleet = Fleet::new();
    let here = tier(&fleet);
    here.put(entry(1)).unwrap();
    until(|| matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
    assert!(here.remove(&id(&task(1))).unwrap());
    assert!(!here.contains(&id(&task(1))).unwrap());
    assert!(matches!(fleet.shared(mock()).fetch(&id(&task(1))), Ok(Fetched::Receipt(_))));
}
