//! Why a coordinate is a hit or a miss.

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProgramId};
use reprise_store::ReceiptStore;
use reprise_store::port::Floor;
use reprise_store::why::{Sought, SoughtError, Why, why};

use crate::world::*;

#[test]
fn a_coordinate_is_explained_by_the_first_field_that_differs() {
    let store = memory();
    assert_eq!(why(&store, &at(5, 1)).unwrap(), Why::Nothing);
    store.put(entry(1, &[at(5, 1)])).unwrap();
    store.put(entry(2, &[at(5, 2)])).unwrap();
    assert_eq!(why(&store, &at(5, 1)).unwrap(), Why::Used(vec![(id(1), true)]));
    let field = |coordinate: Coordinate| match why(&store, &coordinate).unwrap() {
        Why::Differs { nearest, field, .. } => (nearest.block_hash.0[0], field),
        other => panic!("{other:?}"),
    };
    assert_eq!(field(at(5, 3)).1, "block hash");
    assert_eq!(field(Coordinate { pins: PinsDigest([9; 32]), ..at(5, 2) }), (2, "pins"));
    assert_eq!(field(aggregate_at(1, 5, 1)), (1, "kind"));
    store.prune_below(&PINS, Floor::at(6)).unwrap();
    assert_eq!(why(&store, &at(5, 1)).unwrap(), Why::Pruned { floor: Checkpoint(6) });
}

#[test]
fn a_coordinate_in_words_is_completed_from_the_nearest_place() {
    let store = memory();
    store.put(entry(1, &[at(5, 0xab)])).unwrap();
    store.put(entry(2, &[at(5, 0xac)])).unwrap();
    store.put(entry(3, &[aggregate_at(2, 5, 0xab)])).unwrap();
    let sought = |text: &str| text.parse::<Sought>().unwrap();
    let complete = |text: &str| sought(text).complete(&store).unwrap();
    assert_eq!(complete("5/ab/batch"), at(5, 0xab));
    assert_eq!(complete("5/blk:acac…/batch"), at(5, 0xac));
    assert_eq!(complete("5/ab/aggregate/2/ab"), aggregate_at(2, 5, 0xab));
    let ambiguous = sought("5/a/batch").complete(&store);
    assert!(matches!(ambiguous, Err(SoughtError::Ambiguous { of: "blocks", .. })));

    let answer = |sought: &Sought| why(&store, &sought.complete(&store).unwrap()).unwrap();
    assert_eq!(answer(&sought("5/ab/aggregate/2/ab")), Why::Used(vec![(id(3), true)]));
    let field = |sought: &Sought| match answer(sought) {
        Why::Differs { field, .. } => field,
        other => panic!("{other:?}"),
    };
    assert_eq!(field(&sought("5/ff/batch")), "block hash");
    assert_eq!(field(&sought("5/ac/transaction/3")), "kind");
    assert_eq!(field(&sought("5/ab/aggregate/3/ab")), "place");
    let other = Some(ProgramId([9; 32]));
    assert_eq!(field(&Sought { program: other, ..sought("5/ab/batch") }), "program");
    assert_eq!(field(&Sought { pins: Some(PinsDigest([9; 32])), ..sought("5/ab/batch") }), "pins");
    assert_eq!(answer(&sought("6/ab/batch")), Why::Nothing);

    for wrong in
        ["", "5", "5/ab", "x/ab/batch", "5/xy/batch", "5/ab/batch/1", "5/ab/transaction", "5/ab/aggregate/1"]
    {
        assert!(matches!(wrong.parse::<Sought>(), Err(SoughtError::Unreadable { .. })), "{wrong}");
    }
}
