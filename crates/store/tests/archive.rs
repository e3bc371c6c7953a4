//! Receipts on their way from one store to another.

use reprise_model::receipt::Verified;
use reprise_store::ReceiptStore;
use reprise_store::archive::{ArchiveError, Exported, export, import};
use reprise_store::port::{Filter, Floor, NewEntry};
use reprise_store::provenance::{Origin, Provenance};

use crate::world::*;

fn archive(of: &dyn ReceiptStore) -> (Vec<u8>, Exported) {
    let mut bytes = Vec::new();
    let exported = export(of, &Filter::default(), &mut bytes).unwrap();
    (bytes, exported)
}

fn some() -> reprise_store::Store {
    let store = memory();
    store.put(entry(1, &[at(4, 1), at(5, 1)])).unwrap();
    store.put(entry(2, &[aggregate_at(1, 5, 1)])).unwrap();
    store.describe(&profile("1")).unwrap();
    store
}

#[test]
fn what_is_exported_is_imported_verified_with_its_places_and_profiles() {
    let (bytes, exported) = archive(&some());
    assert_eq!(exported, Exported { entries: 2, left_out: vec![] });
    let (to, verifier) = (memory(), hashed());
    let imported = import(&to, verifier.as_ref(), &mut &bytes[..]).unwrap();
    assert_eq!((imported.new, imported.known, imported.refused.len()), (2, 0, 0));
    assert_eq!(verifier.calls(), 2);
    assert!(is_hit(&to, 1) && is_hit(&to, 2));
    assert_eq!(to.at(&at(5, 1)).unwrap(), [id(1)]);
    assert_eq!(to.profiles().unwrap(), [profile("1")]);
    let origin = to.show(&id(1)).unwrap().unwrap().summary.provenance.origin;
    assert_eq!(origin, Origin::Imported);
    let again = import(&to, verifier.as_ref(), &mut &bytes[..]).unwrap();
    assert_eq!((again.new, again.known), (0, 2));
}

#[test]
fn what_an_archive_says_beside_its_receipts_raises_no_alarm_and_is_bounded() {
    let from = memory();
    let said = Provenance {
        prover: format!("\u{1b}]0;owned\u{7}{}", "x".repeat(10_000)),
        took_ms: u64::MAX,
        cycles: u64::MAX,
        ..provenance()
    };
    // A genuine receipt, said to be used where another is, and at ten thousand places more.
    let places: Vec<_> = (5..10_000).map(|n| at(n, 1)).collect();
    from.put(NewEntry { provenance: said, ..entry(1, &places) }).unwrap();
    let to = memory();
    to.put(entry(2, &[at(5, 1)])).unwrap();
    import(&to, hashed().as_ref(), &mut &archive(&from).0[..]).unwrap();
    to.put(entry(3, &[at(6, 1)])).unwrap();
    assert_eq!(to.stats().unwrap().divergences, 0);
    assert_eq!((to.at(&at(5, 1)).unwrap(), to.at(&at(6, 1)).unwrap()), (vec![id(2)], vec![id(3)]));
    let kept = to.show(&id(1)).unwrap().unwrap().summary;
    assert!(kept.coordinates.len() < 5_000, "{}", kept.coordinates.len());
    let Provenance { prover, took_ms, cycles, .. } = kept.provenance;
    assert!(prover.len() < 200 && !prover.chars().any(char::is_control), "{prover:?}");
    assert!(took_ms < 1 << 32 && cycles < 1 << 49, "a sum of many fits: {took_ms} ms, {cycles} cycles");
}

#[test]
fn an_import_of_what_is_final_here_stores_nothing() {
    let (bytes, _) = archive(&some());
    let to = memory();
    to.prune_below(&PINS, Floor::at(9)).unwrap();
    let imported = import(&to, hashed().as_ref(), &mut &bytes[..]).unwrap();
    assert_eq!((imported.new, imported.below_floor), (0, 2));
    assert_eq!(to.stats().unwrap().count(), 0);
}

#[test]
fn an_entry_that_does_not_verify_is_refused_alone() {
    let from = some();
    let mut invalid = entry(3, &[at(6, 1)]);
    let mut receipt = invalid.receipt.into_inner();
    receipt.seal[0] ^= 1;
    invalid.receipt = Verified::check(receipt, &AcceptsAll).unwrap();
    from.put(invalid).unwrap();
    let to = memory();
    let imported = import(&to, hashed().as_ref(), &mut &archive(&from).0[..]).unwrap();
    assert_eq!((imported.new, imported.refused.len()), (2, 1));
    assert_eq!(imported.refused[0].0, Some(id(3)));
    assert!(!to.contains(&id(3)).unwrap());
}

#[test]
fn every_truncation_and_every_flip_is_noticed_and_stores_nothing_invalid() {
    let (bytes, _) = archive(&some());
    let holds_only_truth = |to: &dyn ReceiptStore| {
        for entry in to.list(&Filter::default()).unwrap() {
            let n = if entry.id == id(1) { 1 } else { 2 };
            assert!(is_hit(to, n));
        }
    };
    for len in 0..bytes.len() {
        let to = memory();
        let torn = import(&to, hashed().as_ref(), &mut &bytes[..len]);
        assert!(matches!(torn, Err(ArchiveError::Torn { .. } | ArchiveError::Magic)), "{len}");
        holds_only_truth(&to);
    }
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1 << (at % 8);
        let to = memory();
        assert!(import(&to, hashed().as_ref(), &mut &flipped[..]).is_err(), "{at}");
        holds_only_truth(&to);
    }
}

proptest::proptest! {
    #[test]
    fn no_bytes_crash_an_import(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), keep in 0..900usize) {
        let (whole, _) = archive(&some());
        let mixed = [&whole[..keep.min(whole.len())], &bytes[..]].concat();
        // An error is fine, a panic is not.
        let _ = import(&memory(), hashed().as_ref(), &mut &mixed[..]);
    }
}
