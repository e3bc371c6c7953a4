//! Why a coordinate is a hit or a miss.

use std::sync::Arc;

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{PinsDigest, ProgramId};
use reprise_store::explanation::{CoordinateQuery, CoordinateQueryError, Explanation, explain};
use reprise_store::faulty::FaultyEngine;
use reprise_store::memory::MemoryEngine;
use reprise_store::port::Floor;
use reprise_store::{Options, ReceiptStore, Store};

use crate::world::*;

#[test]
fn a_coordinate_is_explained_by_the_first_field_that_differs() {
    let store = memory();
    assert_eq!(explain(&store, &at(5, 1)).unwrap(), Explanation::Nothing);
    store.put(entry(1, &[at(5, 1)])).unwrap();
    store.put(entry(2, &[at(5, 2)])).unwrap();
    assert_eq!(explain(&store, &at(5, 1)).unwrap(), Explanation::Used(vec![(id(1), true)]));
    let field = |coordinate: Coordinate| match explain(&store, &coordinate).unwrap() {
        Explanation::Differs { nearest, field, .. } => (nearest.block_hash.0[0], field),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(at(5, 3)).1, "block hash");
    assert_eq!(field(Coordinate { pins: PinsDigest([9; 32]), ..at(5, 2) }), (2, "pins"));
    assert_eq!(field(aggregate_at(1, 5, 1)), (1, "kind"));
    store.prune_below(&PINS, Floor::at(6)).unwrap();
    assert_eq!(explain(&store, &at(5, 1)).unwrap(), Explanation::Pruned { floor: Checkpoint(6) });
}

#[test]
fn a_place_at_whose_checkpoint_nothing_is_is_explained_without_reading_all_of_a_store() {
    let engine = Arc::new(FaultyEngine::new(Arc::new(MemoryEngine::default())));
    let store = Store::over(engine.clone(), hashed(), Options::default()).unwrap();
    let entries = 1000;
    for number in 0..entries {
        let place = Coordinate { position: Position::Transaction { merge_index: number }, ..at(9, 1) };
        store.put(entry(u64::from(number), &[place])).unwrap();
    }
    store.prune_below(&PINS, Floor::at(6)).unwrap();
    let before = engine.entries_read();
    let answer = |text: &str| {
        let sought: CoordinateQuery = text.parse().unwrap();
        explain(&store, &sought.complete(&store).unwrap()).unwrap()
    };
    assert_eq!(answer("5/ab/transaction/3"), Explanation::Pruned { floor: Checkpoint(6) });
    assert_eq!(answer("7/ab/batch"), Explanation::Nothing);
    let read = engine.entries_read() - before;
    assert!(read < u64::from(entries) / 2, "{read} of {entries}");
}

#[test]
fn a_coordinate_in_words_is_completed_from_the_nearest_place() {
    let store = memory();
    store.put(entry(1, &[at(5, 0xab)])).unwrap();
    store.put(entry(2, &[at(5, 0xac)])).unwrap();
    store.put(entry(3, &[aggregate_at(2, 5, 0xab)])).unwrap();
    let batch = |first| Coordinate { position: Position::Batch { first }, ..at(5, 0xad) };
    let join = Position::Join { start: Checkpoint(2), first: 0, last: 7, height: 1 };
    let join = Coordinate { position: join, ..at(5, 0xad) };
    for (n, coordinate) in [(4, batch(7)), (5, batch(3)), (6, join)] {
        store.put(entry(n, &[coordinate])).unwrap();
    }
    let sought = |text: &str| text.parse::<CoordinateQuery>().unwrap();
    let complete = |text: &str| sought(text).complete(&store).unwrap();
    assert_eq!(complete("5/ab/batch"), at(5, 0xab));
    assert_eq!(complete("5/blk:acac…/batch"), at(5, 0xac));
    assert_eq!(complete("5/ab/aggregate/2/ab"), aggregate_at(2, 5, 0xab));
    // Of a block in several batches, it is the first.
    assert_eq!(complete("5/ad/batch"), batch(3));
    assert_eq!(complete("5/ad/batch/7"), batch(7));
    assert_eq!(complete("5/ad/batch/4"), batch(4));
    assert_eq!(complete("5/ad/join/2/0/7/1"), join);
    let ambiguous = sought("5/a/batch").complete(&store);
    assert!(matches!(ambiguous, Err(CoordinateQueryError::Ambiguous { of: "blocks", .. })));

    let answer = |sought: &CoordinateQuery| explain(&store, &sought.complete(&store).unwrap()).unwrap();
    assert_eq!(answer(&sought("5/ab/aggregate/2/ab")), Explanation::Used(vec![(id(3), true)]));
    let field = |sought: &CoordinateQuery| match answer(sought) {
        Explanation::Differs { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(answer(&sought("5/ad/batch/7")), Explanation::Used(vec![(id(4), true)]));
    assert_eq!(answer(&sought("5/ad/join/2/0/7/1")), Explanation::Used(vec![(id(6), true)]));
    for other in
        ["5/ad/batch/4", "5/ad/join/1/0/7/1", "5/ad/join/2/1/7/1", "5/ad/join/2/0/6/1", "5/ad/join/2/0/7/2"]
    {
        assert_eq!(field(&sought(other)), "place", "{other}");
    }
    assert_eq!(field(&sought("5/ff/batch")), "block hash");
    assert_eq!(field(&sought("5/ac/transaction/3")), "kind");
    assert_eq!(field(&sought("5/ab/aggregate/3/ab")), "place");
    let other = Some(ProgramId([9; 32]));
    assert_eq!(field(&CoordinateQuery { program: other, ..sought("5/ab/batch") }), "program");
    assert_eq!(field(&CoordinateQuery { pins: Some(PinsDigest([9; 32])), ..sought("5/ab/batch") }), "pins");
    assert_eq!(answer(&sought("6/ab/batch")), Explanation::Nothing);

    for wrong in [
        "",
        "5",
        "5/ab",
        "x/ab/batch",
        "5/xy/batch",
        "5/ab/batch/x",
        "5/ab/batch/1/2",
        "5/ab/transaction",
        "5/ab/aggregate/1",
        "5/ab/join/1/2/3",
        "5/ab/join/1/2/3/256",
    ] {
        assert!(
            matches!(wrong.parse::<CoordinateQuery>(), Err(CoordinateQueryError::Unreadable { .. })),
            "{wrong}"
        );
    }
}
