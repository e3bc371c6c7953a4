//! Why a coordinate is a hit or a miss, explained to a person.
//!
//! A person names a coordinate as a [`CoordinateQuery`]: checkpoint, block and position, and the rest only where it
//! matters. The nearest stored coordinate supplies what is left out.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::str::FromStr;

use reprise_model::coordinate::{Checkpoint, Coordinate, Position};
use reprise_model::digest::{BlockHash, Digest, PinsDigest, ProfileId, ProgramId};
use reprise_model::journal;
use reprise_model::statement::{Kind, StatementId};

use crate::beginning::{Beginning, Fitting};
use crate::port::{EntryDetails, Filter, ReceiptStore, StoreError};

/// The explanation of a coordinate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// Statements are used there; each with whether its receipt is stored. More than one may be a [divergence](diverge).
    Used(Vec<(StatementId, bool)>),
    /// It lies below the prune floor: whatever was there is final and pruned.
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

/// A coordinate as a [`CoordinateQuery`] reads it: a place, in one word.
pub fn place_of(at: &Coordinate) -> String {
    let Coordinate { checkpoint, block_hash, position, .. } = at;
    let block = block_hash.digest();
    match position {
        Position::Transaction { merge_index } => format!("{checkpoint}/{block}/transaction/{merge_index}"),
        Position::Batch { first } => format!("{checkpoint}/{block}/batch/{first}"),
        Position::Join { start, first, last, height } => {
            format!("{checkpoint}/{block}/join/{start}/{first}/{last}/{height}")
        }
        Position::Settlement { start, commitment } => {
            format!("{checkpoint}/{block}/aggregate/{start}/{commitment}")
        }
    }
}

/// Whether some of the statements that are used at one place [contradict](journal::contradict) each other.
pub fn diverge(store: &dyn ReceiptStore, ids: &[StatementId]) -> Result<bool, StoreError> {
    let mut journals: Vec<Vec<u8>> = vec![];
    for id in ids.iter().filter(|_| ids.len() > 1) {
        let Some(EntryDetails { receipt: Ok(receipt), .. }) = store.show(id)? else {
            return Ok(true);
        };
        journals.push(receipt.claim.journal);
    }
    let pairs = journals
        .iter()
        .enumerate()
        .flat_map(|(at, one)| journals[at + 1..].iter().map(move |other| (one, other)));
    Ok(pairs.into_iter().any(|(one, other)| journal::contradict(one, other)))
}

/// Explains a coordinate.
pub fn explain(store: &dyn ReceiptStore, coordinate: &Coordinate) -> Result<Explanation, StoreError> {
    let ids = store.at(coordinate)?;
    if !ids.is_empty() {
        let used = ids.into_iter().map(|id| Ok((id, store.contains(&id)?)));
        return Ok(Explanation::Used(used.collect::<Result<_, StoreError>>()?));
    }
    let floor = store.prune_floor(&coordinate.pins)?.below;
    if coordinate.checkpoint < floor {
        return Ok(Explanation::Pruned { floor });
    }
    let filter = Filter { checkpoint: Some(coordinate.checkpoint), ..Filter::default() };
    let entries = store.list(&filter)?;
    let coordinates =
        entries.iter().flat_map(|entry| entry.coordinates.iter().map(|other| (*other, entry.id)));
    let here = coordinates.filter(|(other, _)| other.checkpoint == coordinate.checkpoint);
    // Of two that differ first in the same field, the one that agrees in more of the rest is nearer. The key decides
    // between equals, so that the answer does not depend on the order of ids.
    let nearest = here.max_by_key(|(other, _)| {
        let fields = agreement(coordinate, other);
        let agreeing = fields.iter().filter(|equal| **equal).count();
        (first_difference(&fields), agreeing, Reverse(other.key()))
    });
    Ok(match nearest {
        Some((nearest, statement)) => {
            let field = FIELDS.get(first_difference(&agreement(coordinate, &nearest))).unwrap_or(&"place");
            Explanation::Differs { nearest: Box::new(nearest), statement, field }
        }
        None => Explanation::Nothing,
    })
}

const FIELDS: [&str; 6] = ["block hash", "kind", "program", "profile", "pins", "place"];

/// Which fields agree, in the order of [`FIELDS`].
fn agreement(a: &Coordinate, b: &Coordinate) -> [bool; 6] {
    [
        a.block_hash == b.block_hash,
        a.position.kind() == b.position.kind(),
        a.program == b.program,
        a.profile == b.profile,
        a.pins == b.pins,
        a.position == b.position,
    ]
}

/// How many fields agree before the first that differs.
fn first_difference(fields: &[bool; 6]) -> usize {
    fields.iter().take_while(|equal| **equal).count()
}

/// A coordinate as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoordinateQuery {
    /// The checkpoint.
    pub checkpoint: Checkpoint,
    /// How the block's hash begins, in hexadecimal.
    pub block: Beginning,
    /// Where in the block.
    pub position: PositionQuery,
    /// The program, where the query names one.
    pub program: Option<ProgramId>,
    /// The proof profile, where the query names one.
    pub profile: Option<ProfileId>,
    /// The pins, where the query names them.
    pub pins: Option<PinsDigest>,
}

/// A place within its block as a person names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PositionQuery {
    /// A transaction, by its merge index.
    Transaction(u32),
    /// A batch, by the merge index of its first transaction; without it, the first there is.
    Batch(Option<u32>),
    /// Batches joined, to be joined again: the first checkpoint, the first merge index there, the merge index at which the last
    /// batch begins, and how many joins lie inside each other.
    Join(Checkpoint, u32, u32, u8),
    /// An aggregate that settles, by its first checkpoint and how its commitment begins, in hexadecimal.
    Aggregate(Checkpoint, Beginning),
}

/// Why a query names no coordinate.
#[derive(Debug, thiserror::Error)]
pub enum CoordinateQueryError {
    /// It is not written like one.
    #[error(
        "`{text}` is no coordinate: say CHECKPOINT/BLOCK/transaction/MERGE_INDEX, CHECKPOINT/BLOCK/batch[/MERGE_INDEX], \
         CHECKPOINT/BLOCK/join/START/FIRST/LAST/HEIGHT or CHECKPOINT/BLOCK/aggregate/START/COMMITMENT, with a block and a \
         commitment in hexadecimal, of which a unique beginning is enough"
    )]
    Unreadable {
        /// What was said.
        text: String,
    },
    /// It fits several.
    #[error("several {of} at this position begin with `{beginning}`: say more of it")]
    Ambiguous {
        /// What there are several of.
        of: &'static str,
        /// How they begin.
        beginning: String,
    },
    /// The store could not tell.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl FromStr for CoordinateQuery {
    type Err = CoordinateQueryError;

    fn from_str(text: &str) -> Result<Self, CoordinateQueryError> {
        let wrong = || CoordinateQueryError::Unreadable { text: text.into() };
        let hex = |part: &str, prefix: &str| Beginning::parse(prefix, part).ok_or_else(wrong);
        let number = |part: &str| part.parse().map(Checkpoint).map_err(|_| wrong());
        let parts: Vec<&str> = text.split('/').collect();
        let (checkpoint, block, position) = match parts[..] {
            [checkpoint, block, "transaction", index] => {
                (checkpoint, block, PositionQuery::Transaction(index.parse().map_err(|_| wrong())?))
            }
            [checkpoint, block, "batch"] => (checkpoint, block, PositionQuery::Batch(None)),
            [checkpoint, block, "batch", first] => {
                (checkpoint, block, PositionQuery::Batch(Some(first.parse().map_err(|_| wrong())?)))
            }
            [checkpoint, block, "join", start, first, last, height] => {
                let (first, last) = (first.parse().map_err(|_| wrong())?, last.parse().map_err(|_| wrong())?);
                let height = height.parse().map_err(|_| wrong())?;
                (checkpoint, block, PositionQuery::Join(number(start)?, first, last, height))
            }
            [checkpoint, block, "aggregate", start, commitment] => {
                (checkpoint, block, PositionQuery::Aggregate(number(start)?, hex(commitment, "")?))
            }
            _ => return Err(wrong()),
        };
        let (checkpoint, block) = (number(checkpoint)?, hex(block, "blk:")?);
        Ok(Self { checkpoint, block, position, program: None, profile: None, pins: None })
    }
}

/// At how many entries it is looked for program, profile and pins of a place at whose checkpoint nothing is.
const LOOK: usize = 64;

impl CoordinateQuery {
    /// The coordinate that is meant. A beginning that nothing stored has is filled up with zeros: the place
    /// is not there, and [`explain`] says what is.
    pub fn complete(&self, store: &dyn ReceiptStore) -> Result<Coordinate, CoordinateQueryError> {
        let here = Filter { checkpoint: Some(self.checkpoint), ..Filter::default() };
        let coordinates = |filter: &Filter| -> Result<Vec<Coordinate>, StoreError> {
            Ok(store.list(filter)?.into_iter().flat_map(|entry| entry.coordinates).collect())
        };
        let mut known = coordinates(&here)?;
        known.retain(|other| other.checkpoint == self.checkpoint);
        let blocks = known.iter().map(|other| other.block_hash.digest());
        let block_hash = BlockHash(whole(&self.block, blocks, "blocks")?.0);
        let position = match &self.position {
            PositionQuery::Transaction(merge_index) => Position::Transaction { merge_index: *merge_index },
            PositionQuery::Batch(first) => {
                let batch = |other: &&Coordinate| match other.position {
                    Position::Batch { first } => Some((other.block_hash != block_hash, first)),
                    _ => None,
                };
                // The block's first batch; of a block that has none, the first at its checkpoint.
                let nearest = known.iter().filter_map(|other| batch(&other)).min();
                Position::Batch { first: first.or(nearest.map(|(_, first)| first)).unwrap_or_default() }
            }
            PositionQuery::Join(start, first, last, height) => {
                Position::Join { start: *start, first: *first, last: *last, height: *height }
            }
            PositionQuery::Aggregate(start, beginning) => {
                let there = known.iter().filter(|other| other.block_hash == block_hash);
                let commitments = there.filter_map(|other| match other.position {
                    Position::Settlement { start: other, commitment } if other == *start => Some(commitment),
                    _ => None,
                });
                let commitment = whole(beginning, commitments, "commitments")?;
                Position::Settlement { start: *start, commitment }
            }
        };
        if known.is_empty() {
            // Of some, wherever they are used: all of a store may be much to read.
            known = coordinates(&Filter { limit: Some(LOOK), ..Filter::default() })?;
        }
        let nearest = known.iter().max_by_key(|other| {
            (
                other.block_hash == block_hash,
                other.position.kind() == self.kind(),
                other.position == position,
                self.program.is_none_or(|program| program == other.program),
                self.profile.is_none_or(|profile| profile == other.profile),
                self.pins.is_none_or(|pins| pins == other.pins),
            )
        });
        Ok(Coordinate {
            checkpoint: self.checkpoint,
            block_hash,
            position,
            program: self.program.or(nearest.map(|other| other.program)).unwrap_or_default(),
            profile: self.profile.or(nearest.map(|other| other.profile)).unwrap_or_default(),
            pins: self.pins.or(nearest.map(|other| other.pins)).unwrap_or_default(),
        })
    }

    fn kind(&self) -> Kind {
        match self.position {
            PositionQuery::Transaction(_) => Kind::Transaction,
            PositionQuery::Batch(_) => Kind::Batch,
            PositionQuery::Join(..) | PositionQuery::Aggregate(..) => Kind::Aggregate,
        }
    }
}

/// The one digest that begins so, or the beginning and zeros where none does.
fn whole(
    beginning: &Beginning,
    known: impl Iterator<Item = Digest>,
    of: &'static str,
) -> Result<Digest, CoordinateQueryError> {
    match beginning.of(known.collect::<BTreeSet<_>>(), |digest| *digest) {
        Fitting::One(digest) => Ok(digest),
        Fitting::None => Ok(*beginning.range().start()),
        Fitting::Several => Err(CoordinateQueryError::Ambiguous { of, beginning: beginning.hex().into() }),
    }
}
