//! The contract of the port, run by every implementation.

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{Digest, PinsDigest};
use reprise_model::journal::{Journal, SpanJournal, Transition};
use reprise_model::profile::SealKind;
use reprise_model::receipt::{Receipt, Verified};
use reprise_model::statement::{Claim, ClaimScheme, Kind};
use reprise_store::ReceiptStore;
use reprise_store::explanation::diverge;
use reprise_store::port::{
    CoordinateOutcome, Filter, Floor, Lookup, MissReason, Needed, NewEntry, StoreError,
};
use reprise_store::provenance::{Origin, Provenance};

use crate::world::*;

/// Runs each property over every implementation, on a store of its own.
macro_rules! contract {
    ($($name:ident)*) => {
        mod in_memory {
            $(#[test] fn $name() { super::$name(&crate::world::memory()); })*
        }
        mod on_disk {
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                super::$name(&crate::world::disk(dir.path()));
            })*
        }
        mod on_disk_reopened_before {
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                drop(crate::world::disk(dir.path()));
                super::$name(&crate::world::disk(dir.path()));
            })*
        }
        mod on_disk_without_memory {
            $(#[test] fn $name() {
                let dir = tempfile::tempdir().unwrap();
                let options = reprise_store::Options { memory_bytes_max: 0, ..Default::default() };
                super::$name(&reprise_store::Store::open(dir.path(), crate::world::hashed(), options).unwrap());
            })*
        }
        mod decorated {
            $(#[test] fn $name() {
                let store = reprise_store::faulty::FaultyStore::new(std::sync::Arc::new(crate::world::memory()));
                super::$name(&store);
            })*
        }
    };
}

contract! {
    what_was_never_put_is_a_counted_miss
    what_was_put_is_a_hit_with_the_same_receipt
    a_second_put_adds_coordinates_and_keeps_the_receipt
    a_receipt_answers_for_no_other_statement
    a_foreign_claim_is_an_error_and_the_receipt_stays
    a_submitted_entry_is_there_when_its_completion_is_called
    a_statement_can_be_placed_once_it_is_stored
    a_coordinate_of_another_kind_or_program_is_refused
    two_statements_at_one_coordinate_are_a_divergence_and_both_stay_visible
    two_divisions_of_a_block_into_batches_are_no_divergence
    a_divergence_is_seen_again_where_both_are_known
    what_an_archive_reports_of_a_place_is_no_divergence
    one_statement_on_two_forks_is_no_divergence
    pruning_touches_no_neighbour
    pruning_keeps_a_receipt_that_has_a_place_above_the_floor
    pruning_covers_every_fork_and_kind_below_the_floor
    an_aggregate_is_pruned_by_its_last_checkpoint
    pruning_twice_is_pruning_once_and_the_floor_never_sinks
    a_late_put_below_the_floor_stores_nothing
    a_late_put_with_one_place_above_the_floor_is_stored_there_only
    a_pin_keeps_a_receipt_through_pruning_until_it_is_removed
    a_pin_may_come_before_its_receipt
    a_removed_receipt_is_gone_with_its_coordinates
    a_revoked_profile_is_gone_and_others_stay
    a_list_passes_its_filter
    an_entry_is_shown_with_its_receipt_and_profile
    the_figures_add_up
    pruning_more_than_a_page_prunes_all
    eviction_spares_what_is_pinned_or_live
}

fn what_was_never_put_is_a_counted_miss(store: &dyn ReceiptStore) {
    assert_eq!(store.get(&statement(1), &claim(1)).unwrap(), Lookup::Miss(MissReason::Absent));
    assert!(!store.contains(&id(1)).unwrap());
    let stats = store.stats().unwrap();
    assert_eq!((stats.misses_absent, stats.hits(), stats.errors), (1, 0, 0));
}

fn what_was_put_is_a_hit_with_the_same_receipt(store: &dyn ReceiptStore) {
    let put = store.put(entry(1, &[at(5, 1)])).unwrap();
    assert!(put.new && put.stored);
    assert_eq!(put.coordinates, CoordinateOutcome { added: 1, ..CoordinateOutcome::default() });
    assert!(store.contains(&id(1)).unwrap());
    assert_eq!(store.get(&statement(1), &claim(1)).unwrap(), Lookup::Hit(receipt(1)));
    assert_eq!(store.at(&at(5, 1)).unwrap(), [id(1)]);
}

fn a_second_put_adds_coordinates_and_keeps_the_receipt(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1)])).unwrap();
    let put = store.put(entry(1, &[at(5, 1), at(5, 2)])).unwrap();
    assert!(!put.new && put.stored);
    assert_eq!((put.coordinates.added, put.coordinates.known), (1, 1));
    assert_eq!(store.stats().unwrap().count(), 1);
    assert_eq!(store.at(&at(5, 2)).unwrap(), [id(1)]);
}

fn a_receipt_answers_for_no_other_statement(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1)])).unwrap();
    assert_eq!(store.get(&statement(2), &claim(2)).unwrap(), Lookup::Miss(MissReason::Absent));
}

fn a_foreign_claim_is_an_error_and_the_receipt_stays(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1)])).unwrap();
    let asked = store.get(&statement(1), &claim(2));
    assert!(matches!(asked, Err(StoreError::ForeignClaim { statement }) if statement == id(1)));
    assert!(is_hit(store, 1));
    assert_eq!(store.stats().unwrap().quarantined, 0);
}

fn a_submitted_entry_is_there_when_its_completion_is_called(store: &dyn ReceiptStore) {
    let (done, outcomes) = crossbeam_channel::unbounded();
    for n in 0..20 {
        let done = done.clone();
        store.submit(entry(n, &[at(n, 1)]), Box::new(move |put| done.send((n, put)).unwrap()));
    }
    for _ in 0..20 {
        let (n, put) = outcomes.recv().unwrap();
        assert!(put.unwrap().new);
        assert!(is_hit(store, n));
    }
}

fn a_statement_can_be_placed_once_it_is_stored(store: &dyn ReceiptStore) {
    let early = store.add_coordinates(&[(at(6, 2), id(1))]).unwrap();
    assert_eq!((early.added, early.not_stored), (0, 1));
    store.put(entry(1, &[at(5, 1)])).unwrap();
    let placed = store.add_coordinates(&[(at(6, 2), id(1)), (at(5, 1), id(1))]).unwrap();
    assert_eq!((placed.added, placed.known, placed.diverged), (1, 1, 0));
    assert_eq!(store.at(&at(6, 2)).unwrap(), [id(1)]);
}

fn a_coordinate_of_another_kind_or_program_is_refused(store: &dyn ReceiptStore) {
    let mut foreign = entry(1, &[at(5, 1)]);
    foreign.coordinates.push(aggregate_at(4, 5, 1));
    assert!(matches!(store.put(foreign), Err(StoreError::ForeignCoordinate { .. })));
    assert!(!store.contains(&id(1)).unwrap());
    store.put(entry(1, &[at(5, 1)])).unwrap();
    let mut other = at(6, 1);
    other.program.0[0] ^= 1;
    let placed = store.add_coordinates(&[(at(6, 1), id(1)), (other, id(1))]);
    assert!(matches!(placed, Err(StoreError::ForeignCoordinate { .. })));
    assert_eq!(store.at(&at(6, 1)).unwrap(), [], "a refused placement leaves nothing");
}

fn two_statements_at_one_coordinate_are_a_divergence_and_both_stay_visible(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1)])).unwrap();
    assert_eq!(store.put(entry(2, &[at(5, 1)])).unwrap().coordinates.diverged, 1);
    let mut both = vec![id(1), id(2)];
    both.sort();
    assert_eq!(store.at(&at(5, 1)).unwrap(), both);
    assert_eq!(store.stats().unwrap().divergences, 1);
    store.put(entry(3, &[at(6, 1)])).unwrap();
    assert_eq!(store.add_coordinates(&[(at(6, 1), id(1))]).unwrap().diverged, 1);
    assert_eq!(store.stats().unwrap().divergences, 2);
    // What diverged is pruned like anything else.
    store.prune_below(&PINS, Floor::at(7)).unwrap();
    assert_eq!(store.stats().unwrap().count(), 0);
}

/// A batch of a block at one place, or joined batches whose last one begins there: where it ends there, and the root that it leaves.
fn span(kind: Kind, end: u8, root: u8) -> NewEntry {
    let transition = Transition {
        pins: PINS,
        root_before: Digest::ZERO,
        root_after: Digest([root; 32]),
        tip_before: Digest::ZERO,
        tip_after: Digest::ZERO,
        exits: Digest::ZERO,
    };
    let journal = SpanJournal { transition, open_before: Digest::ZERO, open_after: Digest([end; 32]) };
    let claim = Claim { journal: journal.bytes(), ..claim(0) };
    let statement = hashed().statement(&claim);
    let receipt =
        Receipt { statement, seal: seal(&statement.claim, 300), claim, seal_kind: SealKind::Succinct };
    let receipt = Verified::check(receipt, &AcceptsAll).unwrap();
    NewEntry { receipt, kind, ..entry(1, &[span_at(kind)]) }
}

fn span_at(kind: Kind) -> Coordinate {
    let join = Position::Join { start: Checkpoint(4), first: 1, last: 2, height: 1 };
    Coordinate { position: if kind == Kind::Batch { at(5, 1).position } else { join }, ..at(5, 1) }
}

fn two_divisions_of_a_block_into_batches_are_no_divergence(store: &dyn ReceiptStore) {
    for (kind, root) in [(Kind::Batch, 1), (Kind::Aggregate, 11)] {
        let put = |end, root| store.put(span(kind, end, root)).unwrap().coordinates.diverged;
        let used = || store.at(&span_at(kind)).unwrap();
        assert_eq!((put(1, root), put(2, root + 1)), (0, 0), "it ends elsewhere");
        assert_eq!(used().len(), 2);
        assert!(!diverge(store, &used()).unwrap());
        assert_eq!(put(2, root + 2), 1, "it ends there, in another state");
        assert!(diverge(store, &used()).unwrap());
    }
    assert_eq!(store.stats().unwrap().divergences, 2);
}

fn a_divergence_is_seen_again_where_both_are_known(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1)])).unwrap();
    store.put(entry(2, &[at(5, 1)])).unwrap();
    let outcome = store.add_coordinates(&[(at(5, 1), id(1))]).unwrap();
    assert_eq!((outcome.known, outcome.diverged), (1, 1));
    let outcome = store.put(entry(2, &[at(5, 1)])).unwrap().coordinates;
    assert_eq!((outcome.known, outcome.diverged), (1, 1));
}

fn what_an_archive_reports_of_a_place_is_no_divergence(store: &dyn ReceiptStore) {
    let reported = |n| {
        let provenance = Provenance { origin: Origin::Imported, ..Provenance::default() };
        NewEntry { provenance, ..entry(n, &[at(5, 1)]) }
    };
    assert_eq!(store.put(reported(1)).unwrap().coordinates.added, 1);
    assert_eq!(store.put(reported(2)).unwrap().coordinates.diverged, 0, "two archives");
    assert_eq!(store.at(&at(5, 1)).unwrap().len(), 2);
    let used = store.put(entry(3, &[at(5, 1)])).unwrap().coordinates;
    assert_eq!((used.added, used.diverged), (1, 0), "an archive and this node");
    assert_eq!(store.at(&at(5, 1)).unwrap(), [id(3)]);
    assert_eq!(store.put(reported(4)).unwrap().coordinates.diverged, 0, "this node and an archive");
    assert_eq!(store.at(&at(5, 1)).unwrap(), [id(3)]);
    assert_eq!(store.stats().unwrap().divergences, 0);

    // What is used where an archive reported it is used.
    let confirmed = store.add_coordinates(&[(at(5, 1), id(1))]).unwrap();
    assert_eq!((confirmed.added, confirmed.diverged), (1, 1));
    assert_eq!(store.put(reported(3)).unwrap().coordinates.known, 1, "and stays so");
    let mut both = vec![id(1), id(3)];
    both.sort();
    assert_eq!(store.at(&at(5, 1)).unwrap(), both);
    assert_eq!(store.prune_below(&PINS, Floor::at(6)).unwrap().receipts, 4, "and all of it is pruned");
}

fn one_statement_on_two_forks_is_no_divergence(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(5, 1), at(5, 2)])).unwrap();
    store.put(entry(2, &[at(6, 1)])).unwrap();
    store.put(entry(3, &[at(6, 2)])).unwrap();
    assert_eq!(store.stats().unwrap().divergences, 0);
}

fn pruning_touches_no_neighbour(store: &dyn ReceiptStore) {
    for n in 0..10 {
        store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    let pruned = store.prune_below(&PINS, Floor::at(5)).unwrap();
    assert_eq!((pruned.coordinates, pruned.receipts), (5, 5));
    assert!(pruned.bytes > 5 * 300);
    for n in 0..10 {
        assert_eq!(is_hit(store, n), n >= 5, "{n}");
        assert_eq!(store.at(&at(n, 1)).unwrap().len(), usize::from(n >= 5), "{n}");
    }
}

fn pruning_keeps_a_receipt_that_has_a_place_above_the_floor(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1), at(5, 2)])).unwrap();
    let pruned = store.prune_below(&PINS, Floor::at(5)).unwrap();
    assert_eq!((pruned.coordinates, pruned.receipts), (1, 0));
    assert!(is_hit(store, 1));
    assert_eq!(store.prune_below(&PINS, Floor::at(6)).unwrap().receipts, 1);
    assert!(!is_hit(store, 1));
}

fn pruning_covers_every_fork_and_kind_below_the_floor(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 0), at(4, 1), at(4, 255)])).unwrap();
    store.put(entry(2, &[aggregate_at(1, 4, 3)])).unwrap();
    store.put(entry(3, &[at(0, 1)])).unwrap();
    store.put(entry(4, &[at(5, 0)])).unwrap();
    let pruned = store.prune_below(&PINS, Floor::at(5)).unwrap();
    assert_eq!((pruned.coordinates, pruned.receipts), (5, 3));
    assert!(is_hit(store, 4));
}

fn an_aggregate_is_pruned_by_its_last_checkpoint(store: &dyn ReceiptStore) {
    store.put(entry(1, &[aggregate_at(1, 9, 1)])).unwrap();
    store.prune_below(&PINS, Floor::at(9)).unwrap();
    assert!(is_hit(store, 1));
    store.prune_below(&PINS, Floor::at(10)).unwrap();
    assert!(!is_hit(store, 1));
}

fn pruning_twice_is_pruning_once_and_the_floor_never_sinks(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.put(entry(2, &[at(8, 1)])).unwrap();
    assert_eq!(store.prune_below(&PINS, Floor::at(5)).unwrap().receipts, 1);
    assert_eq!(store.prune_below(&PINS, Floor::at(5)).unwrap().coordinates, 0);
    assert_eq!(store.prune_below(&PINS, Floor::at(3)).unwrap().coordinates, 0);
    assert_eq!(store.prune_floor(&PINS).unwrap().below, Checkpoint(5));
    assert!(is_hit(store, 2));
}

fn a_late_put_below_the_floor_stores_nothing(store: &dyn ReceiptStore) {
    store.prune_below(&PINS, Floor::at(5)).unwrap();
    let put = store.put(entry(1, &[at(4, 1), at(3, 2)])).unwrap();
    assert!(!put.new && !put.stored);
    assert_eq!(put.coordinates.below_floor, 2);
    assert!(!store.contains(&id(1)).unwrap());
    let stats = store.stats().unwrap();
    assert_eq!((stats.count(), stats.coordinates), (0, 0));
}

fn a_late_put_with_one_place_above_the_floor_is_stored_there_only(store: &dyn ReceiptStore) {
    store.prune_below(&PINS, Floor::at(5)).unwrap();
    let put = store.put(entry(1, &[at(4, 1), at(5, 1)])).unwrap();
    assert!(put.stored);
    assert_eq!((put.coordinates.added, put.coordinates.below_floor), (1, 1));
    assert_eq!(store.at(&at(4, 1)).unwrap(), []);
    let placed = store.add_coordinates(&[(at(2, 1), id(1))]).unwrap();
    assert_eq!(placed.below_floor, 1);
    assert_eq!(store.prune_below(&PINS, Floor::at(6)).unwrap().receipts, 1);
}

fn a_pin_keeps_a_receipt_through_pruning_until_it_is_removed(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.pin(&id(1), "bundle 7").unwrap();
    store.pin(&id(1), "bundle 8").unwrap();
    assert_eq!(store.prune_below(&PINS, Floor::at(5)).unwrap().receipts, 0);
    assert!(is_hit(store, 1));
    assert!(store.unpin(&id(1), "bundle 7").unwrap());
    assert!(!store.unpin(&id(1), "bundle 7").unwrap());
    assert!(is_hit(store, 1));
    assert!(store.unpin(&id(1), "bundle 8").unwrap());
    assert!(!is_hit(store, 1));
    assert_eq!(store.stats().unwrap().count(), 0);
}

fn a_pin_may_come_before_its_receipt(store: &dyn ReceiptStore) {
    store.pin(&id(1), "bundle 7").unwrap();
    store.prune_below(&PINS, Floor::at(5)).unwrap();
    assert!(store.put(entry(1, &[at(4, 1)])).unwrap().stored);
    assert!(is_hit(store, 1));
    store.unpin(&id(1), "bundle 7").unwrap();
    assert!(!is_hit(store, 1));
}

fn a_removed_receipt_is_gone_with_its_coordinates(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1), at(5, 1)])).unwrap();
    store.put(entry(2, &[at(4, 2)])).unwrap();
    assert!(store.remove(&id(1)).unwrap());
    assert!(!store.remove(&id(1)).unwrap());
    assert!(!is_hit(store, 1));
    assert_eq!(store.at(&at(4, 1)).unwrap(), []);
    assert!(is_hit(store, 2));
    assert!(store.put(entry(1, &[at(4, 1)])).unwrap().new);
}

fn a_revoked_profile_is_gone_and_others_stay(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1)])).unwrap();
    let mut other = entry(2, &[]);
    other.receipt = receipt_of(&hashed_at("2"), 2, 300);
    let other_id = other.receipt.id();
    store.put(other).unwrap();
    assert_eq!(store.revoke(&profile("2").id()).unwrap(), 1);
    assert!(!store.contains(&other_id).unwrap());
    assert!(is_hit(store, 1));
    assert_eq!(store.revoke(&profile("1").id()).unwrap(), 1);
    assert_eq!(store.stats().unwrap().coordinates, 0);
}

fn a_list_passes_its_filter(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1), at(5, 1)])).unwrap();
    store.put(entry(2, &[at(4, 2)])).unwrap();
    store.put(entry(3, &[aggregate_at(1, 5, 1)])).unwrap();
    let count = |filter: Filter| store.list(&filter).unwrap().len();
    assert_eq!(count(Filter::default()), 3);
    assert_eq!(count(Filter { kind: Some(Kind::Aggregate), ..Filter::default() }), 1);
    assert_eq!(count(Filter { checkpoint: Some(Checkpoint(4)), ..Filter::default() }), 2);
    assert_eq!(count(Filter { block: Some(at(0, 1).block_hash), ..Filter::default() }), 2);
    let both =
        Filter { checkpoint: Some(Checkpoint(4)), block: Some(at(0, 1).block_hash), ..Filter::default() };
    assert_eq!(store.list(&both).unwrap()[0].id, id(1));
    assert_eq!(count(Filter { profile: Some(profile("2").id()), ..Filter::default() }), 0);
    assert_eq!(count(Filter { program: Some(claim(1).program), ..Filter::default() }), 3);
    assert_eq!(count(Filter { limit: Some(2), ..Filter::default() }), 2);
    assert!(store.list(&Filter::default()).unwrap().is_sorted_by_key(|summary| summary.id));
}

fn an_entry_is_shown_with_its_receipt_and_profile(store: &dyn ReceiptStore) {
    assert!(store.show(&id(1)).unwrap().is_none());
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.describe(&profile("1")).unwrap();
    store.pin(&id(1), "me").unwrap();
    let shown = store.show(&id(1)).unwrap().unwrap();
    assert_eq!(shown.receipt, Ok((*receipt(1)).clone()));
    assert_eq!(shown.profile, Some(profile("1")));
    assert_eq!(store.profiles().unwrap(), [profile("1")]);
    assert_eq!(shown.summary.provenance, provenance());
    assert_eq!(shown.summary.coordinates, [at(4, 1)]);
    assert_eq!(shown.summary.pins, ["me"]);
    assert!(shown.summary.verified_at_ms.is_some());
}

fn the_figures_add_up(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.put(entry(2, &[aggregate_at(1, 4, 1)])).unwrap();
    assert!(is_hit(store, 1) && is_hit(store, 1) && is_hit(store, 2));
    assert!(!is_hit(store, 3));
    let stats = store.stats().unwrap();
    assert_eq!((stats.count(), stats.coordinates, stats.hits()), (2, 2, 3));
    assert_eq!(stats.of(Kind::Batch).saved_ms, 500);
    assert_eq!(stats.of(Kind::Aggregate).proving_ms, 250);
    let listed: u64 = store.list(&Filter::default()).unwrap().iter().map(|s| s.bytes).sum();
    assert_eq!(stats.bytes(), listed);
    assert_eq!(stats.flushes, 2);
    assert_eq!(stats.verifications, 0, "a put carries its verification");
}

fn pruning_more_than_a_page_prunes_all(store: &dyn ReceiptStore) {
    let many: Vec<_> = (0..3000).map(|checkpoint| at(checkpoint, 1)).collect();
    store.put(entry(1, &many)).unwrap();
    store.put(entry(2, &[at(2999, 2)])).unwrap();
    let pruned = store.prune_below(&PINS, Floor::at(2999)).unwrap();
    assert_eq!((pruned.coordinates, pruned.receipts), (2999, 0));
    let pruned = store.prune_below(&PINS, Floor::at(3000)).unwrap();
    assert_eq!((pruned.coordinates, pruned.receipts), (2, 2));
}

fn eviction_spares_what_is_pinned_or_live(store: &dyn ReceiptStore) {
    store.put(entry(1, &[at(4, 1)])).unwrap();
    store.put(entry(2, &[at(4, 1), at(9, 1)])).unwrap();
    store.put(entry(3, &[at(4, 2)])).unwrap();
    store.pin(&id(3), "me").unwrap();
    let evicted = |n| store.evict(&id(n), &Needed::from(PINS, [Checkpoint(9); 3])).unwrap();
    assert_eq!([evicted(1), evicted(2), evicted(3), evicted(4)], [true, false, false, false]);
    assert_eq!(store.at(&at(4, 1)).unwrap(), [id(2)]);
    assert!(is_hit(store, 2) && is_hit(store, 3));
}

#[test]
fn a_floor_prunes_and_drops_late_puts_of_its_own_pins_alone() {
    let other = PinsDigest([9; 32]);
    let under = |checkpoint, pins| Coordinate { pins, ..at(checkpoint, 1) };
    let dir = tempfile::tempdir().unwrap();
    for (mut store, reopened) in [(memory(), false), (disk(dir.path()), true)] {
        for n in 0..6 {
            store.put(entry(n, &[under(n, PINS)])).unwrap();
            store.put(entry(10 + n, &[under(n, other)])).unwrap();
            store.put(entry(20 + n, &[under(n, PINS), under(n, other)])).unwrap();
        }
        let floor = Floor { below: Checkpoint(4), seen: Checkpoint(40) };
        let pruned = store.prune_below(&PINS, floor).unwrap();
        assert_eq!((pruned.coordinates, pruned.receipts), (8, 4));
        if reopened {
            drop(store);
            store = disk(dir.path());
        }
        assert_eq!(store.prune_floor(&PINS).unwrap(), floor);
        assert_eq!(store.prune_floor(&other).unwrap(), Floor::default());
        for n in 0..6 {
            assert_eq!(is_hit(&store, n), n >= 4);
            assert!(is_hit(&store, 10 + n) && is_hit(&store, 20 + n), "what another lane uses stays");
        }
        // What another lane proves late is kept, and so is found and not proved again.
        assert!(store.put(entry(30, &[under(0, other)])).unwrap().stored);
        assert!(!store.put(entry(31, &[under(0, PINS)])).unwrap().stored);
        // The second pass begins where the first one ended.
        assert_eq!(store.prune_below(&PINS, Floor::at(6)).unwrap().coordinates, 4);
        assert_eq!(store.prune_below(&other, Floor::at(6)).unwrap().coordinates, 13);
        let stats = store.stats().unwrap();
        assert_eq!(stats.prune_floors.len(), 2);
        assert_eq!((stats.coordinates, stats.kinds.iter().map(|kind| kind.count).sum::<u64>()), (0, 0));
    }
}
