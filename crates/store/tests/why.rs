//! Why a coordinate is a hit or a miss.

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::PinsDigest;
use reprise_store::ReceiptStore;
use reprise_store::why::{Why, why};

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
    store.prune_below(Checkpoint(6)).unwrap();
    assert_eq!(why(&store, &at(5, 1)).unwrap(), Why::Pruned { floor: Checkpoint(6) });
}
