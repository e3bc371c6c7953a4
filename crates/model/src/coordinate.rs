//! Coordinates: where a statement is used. They are an index for pruning, resuming and diagnosis, and never an identity.
//!
//! The key of a coordinate begins with its [`Prefix`], the checkpoint in big-endian. So one range of keys holds
//! all coordinates of the checkpoints below a floor, over all forks, kinds and programs.

use alloc::vec::Vec;

use borsh::{BorshDeserialize, BorshSerialize};

use crate::digest::{BlockHash, Digest, PinsDigest, ProfileId, ProgramId};
use crate::statement::Kind;

/// A batch's position: its block's height on the followed chain. Blocks of competing forks can have the same one.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, BorshSerialize, BorshDeserialize,
)]
pub struct Checkpoint(pub u64);

impl core::fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The first bytes of every coordinate: the checkpoint, big-endian, so that keys sort by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub [u8; 8]);

impl From<Checkpoint> for Prefix {
    fn from(checkpoint: Checkpoint) -> Self {
        Self(checkpoint.0.to_be_bytes())
    }
}

/// The place of a statement within the block of its coordinate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Position {
    /// A transaction, by its merge index in the block that accepted it.
    Transaction {
        /// The index counts all accepted transactions of the block, also those of other lanes.
        merge_index: u32,
    },
    /// A batch of the block, by the merge index of its first transaction.
    Batch {
        /// The merge index of its first transaction.
        first: u32,
    },
    /// Joined batches that are joined again, the last of them in the block.
    Join {
        /// The checkpoint of its first batch.
        start: Checkpoint,
        /// The merge index of the first transaction of its first batch.
        first: u32,
        /// The merge index of the first transaction of its last batch.
        last: u32,
        /// How deep joins are nested in it, this one included.
        height: u8,
    },
    /// An aggregate that is settled and ends with the block. Sibling blocks can share a commitment, so the block's hash
    /// is part of the key too.
    Settlement {
        /// Its first checkpoint.
        start: Checkpoint,
        /// The sequencing commitment of the block that it is [anchored](crate::anchor) in.
        commitment: Digest,
    },
}

impl Position {
    /// The kind of the statement that is used at this place.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Transaction { .. } => Kind::Transaction,
            Self::Batch { .. } => Kind::Batch,
            Self::Join { .. } | Self::Settlement { .. } => Kind::Aggregate,
        }
    }

    /// The byte that tells the kinds of place apart in a key.
    fn tag(&self) -> u8 {
        match self {
            Self::Transaction { .. } => 0,
            Self::Batch { .. } => 1,
            Self::Settlement { .. } => 2,
            Self::Join { .. } => 3,
        }
    }
}

/// Where a statement is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Coordinate {
    /// The batch's position; for an aggregate, the position of its last batch. Pruning goes by it.
    pub checkpoint: Checkpoint,
    /// The block; for an aggregate, its last block.
    pub block_hash: BlockHash,
    /// Where in the block.
    pub position: Position,
    /// The program that proves the statement.
    pub program: ProgramId,
    /// The profile that it is proved under.
    pub profile: ProfileId,
    /// The pins that it is proved under.
    pub pins: PinsDigest,
}

impl Coordinate {
    /// The length of every key, in bytes.
    pub const KEY_LEN: usize = 8 + 32 + 1 + 3 * 32 + 40;

    /// `prefix | block hash | tag | program | profile | pins | place`, of [`Self::KEY_LEN`] bytes.
    pub fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(Self::KEY_LEN);
        key.extend(Prefix::from(self.checkpoint).0);
        key.extend(self.block_hash.0);
        key.push(self.position.tag());
        key.extend(self.program.0);
        key.extend(self.profile.0);
        key.extend(self.pins.0);
        match self.position {
            Position::Transaction { merge_index } => key.extend(merge_index.to_be_bytes()),
            Position::Batch { first } => key.extend(first.to_be_bytes()),
            Position::Join { start, first, last, height } => {
                key.extend(start.0.to_be_bytes());
                key.extend(first.to_be_bytes());
                key.extend(last.to_be_bytes());
                key.push(height);
            }
            Position::Settlement { start, commitment } => {
                key.extend(start.0.to_be_bytes());
                key.extend(commitment.0);
            }
        }
        key.resize(Self::KEY_LEN, 0);
        key
    }

    /// Reads a key back; `None` where the bytes are not a key.
    pub fn from_key(key: &[u8]) -> Option<Self> {
        if key.len() != Self::KEY_LEN {
            return None;
        }
        let (checkpoint, rest) = key.split_first_chunk::<8>()?;
        let (block_hash, rest) = rest.split_first_chunk::<32>()?;
        let (&[tag], rest) = rest.split_first_chunk::<1>()?;
        let (program, rest) = rest.split_first_chunk::<32>()?;
        let (profile, rest) = rest.split_first_chunk::<32>()?;
        let (pins, rest) = rest.split_first_chunk::<32>()?;
        let position = match tag {
            0 => Position::Transaction { merge_index: u32::from_be_bytes(*rest.first_chunk()?) },
            1 => Position::Batch { first: u32::from_be_bytes(*rest.first_chunk()?) },
            3 => {
                let (start, rest) = rest.split_first_chunk::<8>()?;
                let (first, rest) = rest.split_first_chunk::<4>()?;
                let (last, rest) = rest.split_first_chunk::<4>()?;
                Position::Join {
                    start: Checkpoint(u64::from_be_bytes(*start)),
                    first: u32::from_be_bytes(*first),
                    last: u32::from_be_bytes(*last),
                    height: *rest.first()?,
                }
            }
            2 => {
                let (start, rest) = rest.split_first_chunk::<8>()?;
                Position::Settlement {
                    start: Checkpoint(u64::from_be_bytes(*start)),
                    commitment: Digest(*rest.first_chunk()?),
                }
            }
            _ => return None,
        };
        let read = Self {
            checkpoint: Checkpoint(u64::from_be_bytes(*checkpoint)),
            block_hash: BlockHash(*block_hash),
            position,
            program: ProgramId(*program),
            profile: ProfileId(*profile),
            pins: PinsDigest(*pins),
        };
        (read.key() == key).then_some(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn coordinates() -> Vec<Coordinate> {
        let mut all = vec![];
        for checkpoint in [0, 1, 255, 256, u64::MAX] {
            for block in [3, 4] {
                for position in [
                    Position::Transaction { merge_index: 0 },
                    Position::Transaction { merge_index: 9 },
                    Position::Batch { first: 0 },
                    Position::Batch { first: 1 },
                    Position::Join { start: Checkpoint(0), first: 1, last: 2, height: 1 },
                    Position::Join { start: Checkpoint(0), first: 1, last: 2, height: 2 },
                    Position::Settlement { start: Checkpoint(0), commitment: Digest([7; 32]) },
                    Position::Settlement { start: Checkpoint(1), commitment: Digest([7; 32]) },
                ] {
                    all.push(Coordinate {
                        checkpoint: Checkpoint(checkpoint),
                        block_hash: BlockHash([block; 32]),
                        position,
                        program: ProgramId([1; 32]),
                        profile: ProfileId([2; 32]),
                        pins: PinsDigest([3; 32]),
                    });
                }
            }
        }
        all
    }

    #[test]
    fn distinct_places_have_distinct_keys_that_read_back() {
        let all = coordinates();
        for (i, a) in all.iter().enumerate() {
            assert_eq!(Coordinate::from_key(&a.key()), Some(*a));
            for b in &all[..i] {
                assert_ne!(a.key(), b.key());
            }
        }
    }

    #[test]
    fn keys_sort_by_checkpoint_first() {
        let mut all = coordinates();
        all.sort_by_key(Coordinate::key);
        assert!(all.is_sorted_by_key(|c| c.checkpoint));
    }

    #[test]
    fn a_key_with_residue_is_not_a_key() {
        let mut key = coordinates()[2].key();
        key[Coordinate::KEY_LEN - 1] = 1;
        assert_eq!(Coordinate::from_key(&key), None);
    }
}
