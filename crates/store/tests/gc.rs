//! What is evicted when the store is over its budget.

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::PinsDigest;
use reprise_store::gc::{Budget, Cause, collect};
use reprise_store::port::{Needed, NewEntry};
use reprise_store::{Options, ReceiptStore, Store};

use crate::world::*;

/// What is needed from a checkpoint on.
fn from(checkpoint: u64) -> Needed {
    Needed::from(PINS, [Checkpoint(checkpoint); 3])
}

fn filled() -> Store {
    let store = memory();
    for n in 0..10 {
        let mut entry = entry(n, &[at(n, 1)]);
        entry.provenance.took_ms = 1000 - n * 10;
        store.put(entry).unwrap();
    }
    let mut unplaced = entry(20, &[]);
    unplaced.provenance.took_ms = 1_000_000;
    store.put(unplaced).unwrap();
    store.pin(&id(4), "me").unwrap();
    store
}

#[test]
fn a_dry_run_lists_what_the_run_evicts_and_evicts_nothing() {
    let store = filled();
    let bytes = store.stats().unwrap().bytes();
    let budget = Budget { bytes_max: bytes / 2, needed: from(8) };
    let dry = collect(&store, &budget, true).unwrap();
    assert_eq!(store.stats().unwrap().bytes(), bytes);
    let run = collect(&store, &budget, false).unwrap();
    assert_eq!(dry, run);
    assert_eq!(store.stats().unwrap().bytes(), run.bytes_after);
    assert!(run.bytes_after <= bytes / 2);
    // Without a place first, then the cheapest; 8 and 9 are live, 4 is pinned.
    let order: Vec<_> = run.evictions.iter().map(|eviction| eviction.id).collect();
    assert_eq!(order, [id(20), id(7), id(6), id(5), id(3), id(2)]);
    assert_eq!(run.evictions[0].cause, Cause::Unplaced);
}

#[test]
fn a_kind_that_is_subsumed_goes_before_one_that_is_not() {
    let store = memory();
    store.put(entry(1, &[at(5, 1)])).unwrap();
    store.put(entry(2, &[aggregate_at(1, 5, 1)])).unwrap();
    let needed = Needed::from(PINS, [Checkpoint(9), Checkpoint(6), Checkpoint(5)]);
    collect(&store, &Budget { bytes_max: 0, needed }, false).unwrap();
    assert!(!is_hit(&store, 1) && is_hit(&store, 2));
}

#[test]
fn what_is_live_or_pinned_survives_any_budget() {
    let store = filled();
    collect(&store, &Budget { bytes_max: 0, needed: from(8) }, false).unwrap();
    let left: Vec<_> = (0..30).filter(|n| is_hit(&store, *n)).collect();
    assert_eq!(left, [4, 8, 9]);
}

#[test]
fn a_long_run_with_a_cap_stays_within_the_cap_and_one_value_and_keeps_what_is_needed() {
    const CAP: u64 = 60_000;
    const KEPT: u64 = 20;
    let options = Options { bytes_max: Some(CAP), ..Options::default() };
    let store = Store::in_memory(hashed(), options).unwrap();
    let mut seeded = Seeded(3);
    let largest = 4_000 + 1_000;
    for n in 0..2_000u64 {
        let len = seeded.below(4_000) as usize;
        let receipt = receipt_of(&hashed(), n, len);
        store.put(NewEntry { receipt, ..entry(n, &[at(n, 1)]) }).unwrap();
        store.protect(&PINS, [Checkpoint((n + 1).saturating_sub(KEPT)); 3]);
        if n == 100 {
            store.pin(&id(n), "me").unwrap();
        }
        let bytes = store.stats().unwrap().bytes();
        assert!(bytes <= CAP + largest, "{n}: {bytes}");
        if n % 100 == 99 {
            for needed in n - 10..=n {
                assert!(store.contains(&id(needed)).unwrap(), "{n}: {needed} is needed");
            }
        }
    }
    assert!(store.contains(&id(100)).unwrap(), "it is pinned");
    let stats = store.stats().unwrap();
    assert!(stats.bytes() > CAP / 2 && stats.evicted > 1_500, "{stats:?}");
}

#[test]
fn a_store_over_its_cap_grows_while_everything_is_needed_and_shrinks_afterwards() {
    let options = Options { bytes_max: Some(5_000), ..Options::default() };
    let store = Store::in_memory(hashed(), options).unwrap();
    for n in 0..40 {
        assert!(store.put(entry(n, &[at(n, 1)])).unwrap().new);
    }
    assert_eq!(store.stats().unwrap().count(), 40, "no proof is refused, and nobody said what may go");
    store.protect(&PINS, [Checkpoint(38); 3]);
    store.put(entry(40, &[at(40, 1)])).unwrap();
    assert!(store.stats().unwrap().bytes() <= 5_000);
    assert!((38..=40).all(|n| is_hit(&store, n)));
}

#[test]
fn what_is_used_under_other_pins_is_evicted_neither_by_the_cap_nor_by_a_command() {
    let options = Options { bytes_max: Some(5_000), ..Options::default() };
    let store = Store::in_memory(hashed(), options).unwrap();
    let elsewhere = Coordinate { pins: PinsDigest([2; 32]), ..at(1, 1) };
    for n in 0..10 {
        store.put(entry(n, &[elsewhere])).unwrap();
    }
    // One that both use.
    store.put(entry(10, &[at(1, 1), elsewhere])).unwrap();
    for n in 11..40 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    store.protect(&PINS, [Checkpoint(38); 3]);
    store.put(entry(40, &[at(40, 1)])).unwrap();
    let left: Vec<_> = (0..41).filter(|n| is_hit(&store, *n)).collect();
    assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 38, 39, 40], "all of the other one's");
    collect(&store, &Budget { bytes_max: 0, needed: from(50) }, false).unwrap();
    let left: Vec<_> = (0..41).filter(|n| is_hit(&store, *n)).collect();
    assert_eq!(left, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
}
