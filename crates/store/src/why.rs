//! Why a coordinate is a hit or a miss, for a person.

use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::statement::StatementId;

use crate::port::{Filter, ReceiptStore, StoreError};

/// What is to be said of a coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// Statements are used there; each with whether its receipt is stored. More than one is a divergence.
    Used(Vec<(StatementId, bool)>),
    /// It lies below the prune floor: whatever was there is final and gone.
    Pruned {
        /// The floor.
        floor: Checkpoint,
    },
    /// Nothing is used there; the nearest place at the same checkpoint differs first in a field.
    Differs {
        /// The nearest place.
        nearest: Box<Coordinate>,
        /// What is used there.
        statement: StatementId,
        /// The first field, in the order of the key, in which it differs.
        field: &'static str,
    },
    /// Nothing is used at its checkpoint at all.
    Nothing,
}

/// Looks into it.
pub fn why(store: &dyn ReceiptStore, coordinate: &Coordinate) -> Result<Why, StoreError> {
    let ids = store.at(coordinate)?;
    if !ids.is_empty() {
        let used = ids.into_iter().map(|id| Ok((id, store.contains(&id)?)));
        return Ok(Why::Used(used.collect::<Result<_, StoreError>>()?));
    }
    let floor = store.prune_floor()?;
    if coordinate.checkpoint < floor {
        return Ok(Why::Pruned { floor });
    }
    let filter = Filter { checkpoint: Some(coordinate.checkpoint), ..Filter::default() };
    let mut nearest: Option<(usize, Coordinate, StatementId)> = None;
    for entry in store.list(&filter)? {
        for other in entry.coordinates.iter().filter(|other| other.checkpoint == coordinate.checkpoint) {
            let agree = agreement(coordinate, other);
            if nearest.is_none_or(|(best, ..)| agree > best) {
                nearest = Some((agree, *other, entry.id));
            }
        }
    }
    Ok(match nearest {
        Some((agree, nearest, statement)) => {
            let field = FIELDS.get(agree).unwrap_or(&"place");
            Why::Differs { nearest: Box::new(nearest), statement, field }
        }
        None => Why::Nothing,
    })
}

const FIELDS: [&str; 6] = ["block hash", "kind", "program", "profile", "pins", "place"];

/// How many fields agree before the first that differs.
fn agreement(a: &Coordinate, b: &Coordinate) -> usize {
    [
        a.block_hash == b.block_hash,
        a.place.kind() == b.place.kind(),
        a.program == b.program,
        a.profile == b.profile,
        a.pins == b.pins,
        a.place == b.place,
    ]
    .iter()
    .take_while(|equal| **equal)
    .count()
}
