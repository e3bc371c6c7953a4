//! What goes when the store is fuller than it may be.

use reprise_model::coordinate::Checkpoint;
use reprise_store::ReceiptStore;
use reprise_store::gc::{Budget, Cause, collect};

use crate::world::*;

fn filled() -> reprise_store::Store {
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
fn a_dry_run_says_what_the_run_does_and_does_nothing() {
    let store = filled();
    let bytes = store.stats().unwrap().bytes();
    let budget = Budget { bytes_max: bytes / 2, live_from: [Checkpoint(8); 3] };
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
    let live_from = [Checkpoint(9), Checkpoint(6), Checkpoint(5)];
    collect(&store, &Budget { bytes_max: 0, live_from }, false).unwrap();
    assert!(!is_hit(&store, 1) && is_hit(&store, 2));
}

#[test]
fn what_is_live_or_pinned_survives_any_budget() {
    let store = filled();
    collect(&store, &Budget { bytes_max: 0, live_from: [Checkpoint(8); 3] }, false).unwrap();
    let left: Vec<_> = (0..30).filter(|n| is_hit(&store, *n)).collect();
    assert_eq!(left, [4, 8, 9]);
}
