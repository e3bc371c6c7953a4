//! Why a coordinate is a hit or a miss.

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProgramId};
use reprise_store::ReceiptStore;
use reprise_store::explanation::{CoordinateQuery, CoordinateQueryError, Explanation, explain};
use reprise_store::port::Floor;

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
fn a_coordinate_in_words_is_completed_from_the_nearest_place() {
    let store = memory();
    store.put(entry(1, &[at(5, 0xab)])).unwrap();
    store.put(entry(2, &[at(5, 0xac)])).unwrap();
    store.put(entry(3, &[aggregate_at(2, 5, 0xab)])).unwrap();
    let sought = |text: &str| text.parse::<CoordinateQuery>().unwrap();
    let complete = |text: &str| sought(text).complete(&store).unwrap();
    assert_eq!(complete("5/ab/batch"), at(5, 0xab));
    assert_eq!(complete("5/blk:acac…/batch"), at(5, 0xac));
    assert_eq!(complete("5/ab/aggregate/2/ab"), aggregate_at(2, 5, 0xab));
    let ambiguous = sought("5/a/batch").complete(&store);
    assert!(matches!(ambiguous, Err(CoordinateQueryError::Ambiguous { of: "blocks", .. })));

    let answer = |sought: &CoordinateQuery| explain(&store, &sought.complete(&store).unwrap()).unwrap();
    assert_eq!(answer(&sought("5/ab/aggregate/2/ab")), Explanation::Used(vec![(id(3), true)]));
    let field = |sought: &CoordinateQuery| match answer(sought) {
        Explanation::Differs { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&sought("5/ff/batch")), "block hash");
    assert_eq!(field(&sought("5/ac/transaction/3")), "kind");
    assert_eq!(field(&sought("5/ab/aggregate/3/ab")), "place");
    let other = Some(ProgramId([9; 32]));
    assert_eq!(field(&CoordinateQuery { program: other, ..sought("5/ab/batch") }), "program");
    assert_eq!(field(&CoordinateQuery { pins: Some(PinsDigest([9; 32])), ..sought("5/ab/batch") }), "pins");
    assert_eq!(answer(&sought("6/ab/batch")), Explanation::Nothing);

    for wrong in
        ["", "5", "5/ab", "x/ab/batch", "5/xy/batch", "5/ab/batch/1", "5/ab/transaction", "5/ab/aggregate/1"]
    {
        assert!(
            matches!(wrong.parse::<CoordinateQuery>(), Err(CoordinateQueryError::Unreadable { .. })),
            "{wrong}"
        );
    }
}
