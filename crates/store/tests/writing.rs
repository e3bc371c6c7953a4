//! The writer, the policies, and what a store does with entries that fail.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex};

use reprise_model::receipt::Verified;
use reprise_model::statement::Kind;
use reprise_store::disk::DiskEngine;
use reprise_store::engine::{Changes, Pair, StorageEngine, Table};
use reprise_store::faulty::{FaultyEngine, Unreadable};
use reprise_store::memory::MemoryEngine;
use reprise_store::port::{Filter, Floor, Lookup, MissReason, NewEntry, QuarantineReason, StoreError};
use reprise_store::provenance::Origin;
use reprise_store::{Durability, Options, ReceiptStore, Store, VerifyPolicy, WriterMode, archive};

use crate::world::*;

/// A store whose engine fails on request.
struct Bench {
    engine: Arc<FaultyEngine>,
    verifier: Arc<Hashed>,
    store: Store,
}

fn bench(options: Options) -> Bench {
    let engine = Arc::new(FaultyEngine::new(Arc::new(MemoryEngine::default())));
    let verifier = hashed();
    let store = Store::over(engine.clone(), verifier.clone(), options).unwrap();
    Bench { engine, verifier, store }
}

fn with_policy(verify: VerifyPolicy) -> Bench {
    bench(Options { verify, ..Options::default() })
}

fn invalid(n: u64) -> NewEntry {
    let mut invalid = entry(n, &[at(n, 1)]);
    let mut receipt = invalid.receipt.into_inner();
    receipt.seal[0] ^= 1;
    invalid.receipt = Verified::check(receipt, &AcceptsAll).unwrap();
    invalid
}

#[test]
fn every_durability_flushes_for_each_put() {
    let bench = bench(Options { durability: Durability::Every, ..Options::default() });
    let (done, outcomes) = mpsc::channel();
    for n in 0..16 {
        let done = done.clone();
        bench.store.submit(entry(n, &[at(n, 1)]), Box::new(move |put| done.send(put).unwrap()));
    }
    for _ in 0..16 {
        outcomes.recv().unwrap().unwrap();
    }
    assert_eq!(bench.store.stats().unwrap().flushes, 16);
}

#[test]
fn no_durability_flushes_never() {
    let bench = bench(Options { durability: Durability::None, ..Options::default() });
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    assert!(is_hit(&bench.store, 1));
    assert_eq!(bench.store.stats().unwrap().flushes, 0);
}

/// An engine whose commits block until they are released.
struct Gated {
    inner: Box<dyn StorageEngine>,
    entered: Mutex<mpsc::Sender<usize>>,
    gate: Barrier,
}

impl StorageEngine for Gated {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.read(table, key)
    }
    fn has(&self, table: Table, key: &[u8]) -> Result<bool, StoreError> {
        self.inner.has(table, key)
    }
    fn scan(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.inner.scan(table, from, to, limit)
    }
    fn commit(&self, changes: Changes, sync: bool) -> Result<(), StoreError> {
        let receipts = changes.keys().filter(|(table, _)| *table == Table::Receipts).count();
        self.entered.lock().unwrap().send(receipts).unwrap();
        self.gate.wait();
        self.inner.commit(changes, sync)
    }
    fn quarantine(&self, _: &str, _: &[u8], _: &str) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn nothing_is_acknowledged_or_visible_before_its_flush_and_a_group_gathers_meanwhile() {
    let (entered, commits) = mpsc::channel();
    let engine = Arc::new(Gated {
        inner: Box::<MemoryEngine>::default(),
        entered: Mutex::new(entered),
        gate: Barrier::new(2),
    });
    let store = Store::over(engine.clone(), hashed(), Options::default()).unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    let submit = |n: u64| {
        let acknowledged = acknowledged.clone();
        let done = move |put: Result<_, _>| {
            put.unwrap();
            acknowledged.fetch_add(1, Ordering::SeqCst);
        };
        store.submit(entry(n, &[at(n, 1)]), Box::new(done));
    };
    submit(0);
    assert_eq!(commits.recv().unwrap(), 1);
    // The first flush is under way: nothing is acknowledged or visible, and others queue without waiting.
    for n in 1..10 {
        submit(n);
    }
    assert_eq!(acknowledged.load(Ordering::SeqCst), 0);
    assert!(!is_hit(&store, 0));
    engine.gate.wait();
    assert_eq!(commits.recv().unwrap(), 9, "the rest is one group");
    assert_eq!(acknowledged.load(Ordering::SeqCst), 1);
    engine.gate.wait();
    drop(store);
    assert_eq!(acknowledged.load(Ordering::SeqCst), 10);
}

#[test]
fn a_store_without_a_thread_flushes_on_request_and_when_a_caller_waits() {
    let bench =
        bench(Options { writer_mode: WriterMode::ByCaller, queue_items_max: 4, ..Options::default() });
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let submit = |n: u64| {
        let acknowledged = acknowledged.clone();
        let done = move |put: Result<_, _>| acknowledged.lock().unwrap().push((n, put.is_ok()));
        bench.store.submit(entry(n, &[at(n, 1)]), Box::new(done));
    };
    let flushes = || bench.store.stats().unwrap().flushes;
    (0..3).for_each(submit);
    assert!(
        acknowledged.lock().unwrap().is_empty() && !is_hit(&bench.store, 0),
        "a submission is not flushed"
    );
    bench.store.flush();
    assert_eq!((acknowledged.lock().unwrap().len(), flushes()), (3, 1), "and the flush is one group");
    submit(3);
    assert!(bench.store.put(entry(4, &[at(4, 1)])).unwrap().new);
    assert_eq!(
        (acknowledged.lock().unwrap().len(), flushes()),
        (4, 2),
        "a caller that waits flushes the queue before it"
    );
    (5..10).for_each(submit);
    assert_eq!(
        (acknowledged.lock().unwrap().len(), flushes()),
        (8, 3),
        "a queue that is full makes room by a flush"
    );
    bench.engine.stop_after(0);
    bench.store.flush();
    assert_eq!(acknowledged.lock().unwrap().last(), Some(&(9, false)), "a failed flush is reported");
}

#[test]
fn sixty_four_puts_that_wait_together_share_one_flush() {
    let (entered, commits) = mpsc::channel();
    let dir = tempfile::tempdir().unwrap();
    let engine = Arc::new(Gated {
        inner: Box::new(DiskEngine::open(dir.path()).unwrap()),
        entered: Mutex::new(entered),
        gate: Barrier::new(2),
    });
    let store = Arc::new(Store::over(engine.clone(), hashed(), Options::default()).unwrap());
    let (done, outcomes) = mpsc::channel();
    for n in 0..65 {
        let done = done.clone();
        store.submit(entry(n, &[at(n, 1)]), Box::new(move |put| done.send(put).unwrap()));
        if n == 0 {
            commits.recv().unwrap();
        }
    }
    engine.gate.wait();
    assert_eq!(commits.recv().unwrap(), 64);
    engine.gate.wait();
    assert_eq!(outcomes.iter().take(65).filter(|put| put.as_ref().unwrap().new).count(), 65);
    assert_eq!(store.stats().unwrap().flushes, 2);
}

#[test]
fn puts_of_one_statement_from_many_threads_store_it_once() {
    let store = Arc::new(memory());
    let new: usize = std::thread::scope(|scope| {
        let put = |fork| {
            let store = store.clone();
            scope.spawn(move || usize::from(store.put(entry(1, &[at(1, fork)])).unwrap().new))
        };
        let threads: Vec<_> = (0..16).map(put).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert_eq!(new, 1);
    assert_eq!(store.stats().unwrap().coordinates, 16);
}

#[test]
fn a_full_disk_is_an_error_for_the_whole_group_and_the_store_goes_on_when_it_passes() {
    let bench = bench(Options::default());
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    bench.engine.stop_after(0);
    let refused = bench.store.put(entry(2, &[at(2, 1)])).unwrap_err();
    assert!(refused.is_transient(), "{refused}");
    assert!(is_hit(&bench.store, 1), "reads go on");
    assert!(!bench.store.contains(&id(2)).unwrap(), "a refused put leaves nothing");
    assert_eq!(bench.store.stats().unwrap().misses_absent, 0, "an error is no miss");
    bench.engine.go_on();
    assert!(bench.store.put(entry(2, &[at(2, 1)])).unwrap().new);
    assert!(is_hit(&bench.store, 2));
}

#[test]
fn a_completion_that_panics_does_not_stop_the_writer() {
    let store = memory();
    store.submit(entry(1, &[at(1, 1)]), Box::new(|_| panic!("a careless caller")));
    store.put(entry(2, &[at(2, 1)])).unwrap();
    assert!(is_hit(&store, 1) && is_hit(&store, 2));
}

#[test]
fn a_completion_may_submit_but_waiting_in_it_is_refused() {
    let store = Arc::new(memory());
    let (done, outcomes) = mpsc::channel();
    let inner = store.clone();
    let chained = move |_: Result<_, _>| {
        let put = inner.put(entry(2, &[at(2, 1)]));
        assert!(matches!(put, Err(StoreError::Reentrant)));
        assert!(matches!(inner.remove(&id(1)), Err(StoreError::Reentrant)));
        inner.submit(entry(3, &[at(3, 1)]), Box::new(move |put| done.send(put).unwrap()));
    };
    store.submit(entry(1, &[at(1, 1)]), Box::new(chained));
    assert!(outcomes.recv().unwrap().unwrap().new);
    assert!(is_hit(store.as_ref(), 3));
}

#[test]
fn a_queue_with_no_room_waits_and_loses_nothing() {
    let options = Options { queue_items_max: 2, queue_bytes_max: 600, ..Options::default() };
    let bench = bench(options);
    let (done, outcomes) = mpsc::channel();
    for n in 0..50 {
        let done = done.clone();
        bench.store.submit(entry(n, &[at(n, 1)]), Box::new(move |put| done.send(put).unwrap()));
    }
    assert_eq!(outcomes.iter().take(50).filter(|put| put.as_ref().unwrap().new).count(), 50);
}

#[test]
fn an_entry_over_the_limit_is_refused() {
    let bench = bench(Options { entry_bytes_max: 400, ..Options::default() });
    let refused = bench.store.put(entry(1, &[at(1, 1)]));
    assert!(matches!(refused, Err(StoreError::TooLarge { bytes_max: 400, .. })));
}

#[test]
fn a_put_carries_its_verification_and_once_trusts_it() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    assert!(is_hit(&bench.store, 1) && is_hit(&bench.store, 1));
    assert_eq!(bench.verifier.calls(), 0);
}

#[test]
fn always_verifies_every_hit() {
    let bench = with_policy(VerifyPolicy::Always);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    assert!(is_hit(&bench.store, 1) && is_hit(&bench.store, 1));
    assert_eq!((bench.verifier.calls(), bench.store.stats().unwrap().verifications), (2, 2));
}

#[test]
fn imported_verifies_what_was_proved_elsewhere() {
    let bench = with_policy(VerifyPolicy::Imported);
    let mut imported = entry(1, &[at(1, 1)]);
    imported.provenance.origin = Origin::Imported;
    bench.store.put(imported).unwrap();
    bench.store.put(entry(2, &[at(2, 1)])).unwrap();
    assert!(is_hit(&bench.store, 1) && is_hit(&bench.store, 2));
    assert_eq!(bench.verifier.calls(), 1);
}

#[test]
fn a_sample_verifies_its_share_the_same_in_every_run() {
    let calls = || {
        let bench = with_policy(VerifyPolicy::Sample(0.25));
        bench.store.put(entry(1, &[at(1, 1)])).unwrap();
        assert!((0..400).all(|_| is_hit(&bench.store, 1)));
        bench.verifier.calls()
    };
    let first = calls();
    assert!((60..140).contains(&first), "{first}");
    assert_eq!(calls(), first);
}

#[test]
fn policies_read_back_from_what_they_print() {
    for text in ["once", "imported", "always", "sample:0.25"] {
        assert_eq!(text.parse::<VerifyPolicy>().unwrap().to_string(), text);
    }
    for text in ["every", "group", "none"] {
        assert_eq!(text.parse::<Durability>().unwrap().to_string(), text);
    }
    assert!("sample:2".parse::<VerifyPolicy>().is_err());
    assert!("sample:NaN".parse::<VerifyPolicy>().is_err());
    assert!("sometimes".parse::<Durability>().is_err());
}

#[test]
fn a_lost_mark_is_verified_again_once() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    for spoil in [|mark: &mut Vec<u8>| mark.clear(), |mark: &mut Vec<u8>| mark[0] ^= 1] {
        let before = bench.verifier.calls();
        bench.engine.tamper(Table::Marks, &id(1).0, spoil).unwrap();
        assert!(is_hit(&bench.store, 1));
        assert_eq!(bench.verifier.calls(), before + 1);
        // Behind the renewed mark in the queue.
        bench.store.pin(&id(1), "me").unwrap();
        assert!(is_hit(&bench.store, 1));
        assert_eq!(bench.verifier.calls(), before + 1);
    }
}

#[test]
fn a_mark_for_other_bytes_is_not_trusted() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(invalid(1)).unwrap();
    bench.store.put(entry(2, &[at(2, 1)])).unwrap();
    let other = bench.engine.read(Table::Marks, &id(2).0).unwrap();
    bench.engine.tamper(Table::Marks, &id(1).0, |mark| *mark = other.unwrap()).unwrap();
    let found = bench.store.get(&statement(1), &claim(1)).unwrap();
    assert!(matches!(found, Lookup::Miss(MissReason::Quarantined(QuarantineReason::Verification(_)))));
}

#[test]
fn every_bit_flip_of_a_stored_envelope_is_a_miss_until_the_next_put() {
    let bench = with_policy(VerifyPolicy::Once);
    let len = {
        bench.store.put(entry(1, &[at(1, 1)])).unwrap();
        bench.store.list(&Default::default()).unwrap()[0].bytes as usize
    };
    bench.store.put(entry(2, &[at(2, 1)])).unwrap();
    for bit in 0..len * 8 {
        bench.engine.tamper(Table::Receipts, &id(1).0, |bytes| bytes[bit / 8] ^= 1 << (bit % 8)).unwrap();
        let found = bench.store.get(&statement(1), &claim(1)).unwrap();
        assert!(matches!(found, Lookup::Miss(MissReason::Quarantined(_))), "bit {bit}: {found:?}");
        assert!(!bench.store.contains(&id(1)).unwrap(), "bit {bit}");
        assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new, "bit {bit}");
        if bit % 64 == 0 {
            assert!(is_hit(&bench.store, 1) && is_hit(&bench.store, 2), "bit {bit}");
        }
    }
    let stats = bench.store.stats().unwrap();
    assert_eq!(stats.quarantined, len as u64 * 8);
    assert_eq!(stats.of(Kind::Batch).misses_quarantined, len as u64 * 8);
    assert_eq!(stats.divergences, 0);
}

#[test]
fn a_put_that_replaces_a_damaged_entry_is_not_undone_by_a_reader_that_saw_the_damage() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    for round in 0..300 {
        bench.engine.tamper(Table::Receipts, &id(1).0, |bytes| bytes[200] ^= 1).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    // A reader that misses puts it again, as the prover does.
                    while !is_hit(&bench.store, 1) {
                        assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().stored, "{round}");
                    }
                });
            }
        });
        assert!(is_hit(&bench.store, 1), "{round}");
    }
    assert_eq!(bench.store.stats().unwrap().quarantined, 300, "once a damage");
}

#[test]
fn an_invalid_seal_is_quarantined_when_it_is_verified_and_proved_again_once() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(invalid(1)).unwrap();
    assert!(bench.store.verify(&id(1)).unwrap().hit().is_none());
    assert_eq!(bench.store.get(&statement(1), &claim(1)).unwrap(), Lookup::Miss(MissReason::Absent));
    assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new);
    assert!(bench.store.verify(&id(1)).unwrap().hit().is_some());
    assert!(is_hit(&bench.store, 1));
}

#[test]
fn an_entry_of_another_statement_is_quarantined() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    bench.store.put(entry(2, &[at(2, 1)])).unwrap();
    let other = bench.engine.read(Table::Receipts, &id(2).0).unwrap();
    bench.engine.tamper(Table::Receipts, &id(1).0, |bytes| *bytes = other.unwrap()).unwrap();
    let found = bench.store.get(&statement(1), &claim(1)).unwrap();
    let foreign = QuarantineReason::ForeignStatement { found: id(2) };
    assert_eq!(found, Lookup::Miss(MissReason::Quarantined(foreign)));
    assert!(is_hit(&bench.store, 2));
}

#[test]
fn a_receipt_without_a_verifier_is_a_miss_that_stays_stored() {
    let bench = with_policy(VerifyPolicy::Once);
    let mut other = entry(1, &[]);
    other.receipt = receipt_of(&hashed_at("2"), 1, 300);
    let id = other.receipt.id();
    bench.store.put(other).unwrap();
    let found = bench.store.verify(&id).unwrap();
    assert!(matches!(found, Lookup::Miss(MissReason::Unverifiable(_))), "{found:?}");
    assert!(bench.store.contains(&id).unwrap());
}

#[test]
fn a_value_that_the_engine_cannot_read_is_a_miss_until_the_next_put() {
    for table in [Table::Receipts, Table::Entries, Table::Marks] {
        let bench = with_policy(VerifyPolicy::Once);
        bench.store.put(entry(1, &[at(1, 1)])).unwrap();
        bench.engine.make_unreadable(table, &id(1).0, Unreadable::Damaged);
        if bench.store.get(&statement(1), &claim(1)).unwrap().hit().is_none() {
            assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new, "{}", table.name());
        }
        assert!(is_hit(&bench.store, 1), "{}", table.name());
    }
}

#[test]
fn a_place_that_the_disk_cannot_read_costs_its_own_entry_until_that_is_removed() {
    for table in [Table::Receipts, Table::Entries, Table::Marks] {
        let bench = bench(Options { bytes_max: Some(1), ..Options::default() });
        for n in 1..3 {
            bench.store.put(entry(n, &[at(n, 1)])).unwrap();
        }
        bench.engine.make_unreadable(table, &id(1).0, Unreadable::BadPlace);
        match bench.store.get(&statement(1), &claim(1)) {
            Err(error) => {
                assert!(error.is_unreadable() && error.is_transient(), "{error}");
                assert_eq!(table, Table::Receipts, "a receipt is checked without its record and its mark");
            }
            found => assert!(found.unwrap().hit().is_some(), "{}", table.name()),
        }
        assert!(is_hit(&bench.store, 2));
        assert!(bench.store.put(entry(3, &[at(3, 1)])).unwrap().new, "also under a cap, which counts all");
        let is_listed = bench.store.list(&Default::default()).unwrap().iter().any(|it| it.id == id(1));
        let unreadable = bench.store.stats().unwrap().unreadable;
        assert_eq!((is_listed, unreadable.is_empty()), (table != Table::Entries, table != Table::Entries));
        let exported = archive::export(&bench.store, &Filter::default(), &mut Vec::new()).unwrap();
        let left_out: Vec<_> = exported.left_out.iter().map(|(id, _)| *id).collect();
        let expected = if table == Table::Marks { vec![] } else { vec![id(1)] };
        assert_eq!((exported.entries, left_out), (3 - expected.len() as u64, expected), "{}", table.name());
        assert!(bench.store.remove(&id(1)).unwrap(), "{}", table.name());
        assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new);
        assert!(is_hit(&bench.store, 1));
    }
}

#[test]
fn an_entry_whose_record_the_disk_cannot_read_is_pruned_and_revoked_as_any_other() {
    let bench = bench(Options::default());
    for n in 0..4 {
        bench.store.put(entry(n, &[at(n, 1)])).unwrap();
        bench.engine.make_unreadable(Table::Entries, &id(n).0, Unreadable::BadPlace);
    }
    let pruned = bench.store.prune_below(&PINS, Floor::at(2)).unwrap();
    assert_eq!((pruned.receipts, pruned.gone.len()), (2, 2));
    bench.store.revoke(&profile("1").id()).unwrap();
    assert!((0..4).all(|n| !is_hit(&bench.store, n)));
}

#[test]
fn damage_that_cannot_be_recorded_is_an_error_and_no_miss_until_the_disk_can_be_written() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    bench.engine.tamper(Table::Receipts, &id(1).0, |bytes| bytes[200] ^= 1).unwrap();
    bench.engine.stop_after(0);
    let refused = bench.store.get(&statement(1), &claim(1));
    assert!(
        matches!(&refused, Err(error) if error.is_transient()),
        "a put would be taken for known: {refused:?}"
    );
    bench.engine.go_on();
    let found = bench.store.get(&statement(1), &claim(1)).unwrap();
    assert!(matches!(found, Lookup::Miss(MissReason::Quarantined(_))), "{found:?}");
    assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new);
    assert!(is_hit(&bench.store, 1));
}

#[test]
fn an_entry_without_its_receipt_is_a_miss_until_the_next_put() {
    let bench = with_policy(VerifyPolicy::Once);
    bench.store.put(entry(1, &[at(1, 1)])).unwrap();
    let gone = [((Table::Receipts, id(1).0.to_vec()), None)];
    bench.engine.commit(gone.into(), true).unwrap();
    let found = bench.store.get(&statement(1), &claim(1)).unwrap();
    assert_eq!(found, Lookup::Miss(MissReason::Quarantined(QuarantineReason::Missing)));
    assert!(bench.store.put(entry(1, &[at(1, 1)])).unwrap().new);
    assert!(is_hit(&bench.store, 1));
}

#[test]
fn pruning_and_revoking_read_no_receipt() {
    let bench = bench(Options::default());
    for n in 0..100 {
        bench.store.put(entry(n, &[at(n, 1)])).unwrap();
    }
    bench.store.prune_below(&PINS, Floor::at(50)).unwrap();
    bench.store.list(&Default::default()).unwrap();
    bench.store.revoke(&profile("1").id()).unwrap();
    assert_eq!(bench.engine.receipts_read(), 0);
    assert_eq!(bench.store.stats().unwrap().count(), 0);
}

#[test]
fn a_prune_that_is_cut_off_at_any_commit_resumes_and_loses_no_more_than_it_may() {
    for commits in 0..6 {
        let bench = bench(Options::default());
        for n in 0..30 {
            let many: Vec<_> = (0..100).map(|fork| at(n, fork)).collect();
            bench.store.put(entry(n, &many)).unwrap();
        }
        bench.engine.stop_after(commits);
        let cut = bench.store.prune_below(&PINS, Floor::at(25)).is_err();
        assert_eq!(cut, commits < 4, "a floor and three pages");
        for n in 0..30 {
            // Whole or gone, never a receipt without places or places without a receipt.
            let places = (0..100).filter(|fork| !bench.store.at(&at(n, *fork)).unwrap().is_empty()).count();
            assert_eq!(is_hit(&bench.store, n), places > 0, "{commits} {n}");
            assert!(n < 25 || places == 100, "{commits} {n}");
        }
        bench.engine.go_on();
        bench.store.prune_below(&PINS, Floor::at(25)).unwrap();
        let stats = bench.store.stats().unwrap();
        assert_eq!((stats.count(), stats.coordinates), (5, 500), "{commits}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Compared with a model: lists of coordinates, pins and receipts.
    #[test]
    fn any_history_keeps_what_has_a_place_or_a_pin_and_nothing_else(
        steps in proptest::collection::vec((0..6u8, 0..5u64, 0..8u64, 0..3u8), 1..60),
    ) {
        use std::collections::{BTreeMap, BTreeSet};
        let store = memory();
        let mut places: BTreeMap<u64, BTreeSet<(u64, u8)>> = BTreeMap::new();
        let mut pins: BTreeSet<u64> = BTreeSet::new();
        let mut stored: BTreeSet<u64> = BTreeSet::new();
        let mut floor = 0;
        for (step, n, checkpoint, fork) in steps {
            match step {
                0 | 1 => {
                    store.put(entry(n, &[at(checkpoint, fork)])).unwrap();
                    let alive = checkpoint >= floor;
                    if alive || pins.contains(&n) || stored.contains(&n) {
                        stored.insert(n);
                    }
                    if alive {
                        places.entry(n).or_default().insert((checkpoint, fork));
                    }
                }
                2 => {
                    store.add_coordinates(&[(at(checkpoint, fork), id(n))]).unwrap();
                    if stored.contains(&n) && checkpoint >= floor {
                        places.entry(n).or_default().insert((checkpoint, fork));
                    }
                }
                3 => {
                    store.pin(&id(n), "me").unwrap();
                    pins.insert(n);
                }
                4 => {
                    store.unpin(&id(n), "me").unwrap();
                    if pins.remove(&n) && places.get(&n).is_none_or(BTreeSet::is_empty) {
                        stored.remove(&n);
                    }
                }
                _ => {
                    store.prune_below(&PINS, Floor::at(checkpoint)).unwrap();
                    floor = floor.max(checkpoint);
                    for (n, places) in &mut places {
                        let before = places.len();
                        places.retain(|(checkpoint, _)| *checkpoint >= floor);
                        if before > 0 && places.is_empty() && !pins.contains(n) {
                            stored.remove(n);
                        }
                    }
                }
            }
            for n in 0..5 {
                proptest::prop_assert_eq!(is_hit(&store, n), stored.contains(&n), "{}", n);
            }
            let count: usize = places.values().map(BTreeSet::len).sum();
            proptest::prop_assert_eq!(store.stats().unwrap().coordinates, count as u64);
        }
    }
}
