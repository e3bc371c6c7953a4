//! The small records beside an envelope, and the keys of the tables.
//!
//! A record is its fields in borsh, then the first [`CHECK_LEN`] bytes of their BLAKE3. A record that does not read
//! counts as absent: the receipt is proved again.

use borsh::{BorshDeserialize, BorshSerialize};
use reprise_model::coordinate::{Checkpoint, Coordinate};
use reprise_model::digest::{PinsDigest, ProfileId, ProgramId};
use reprise_model::mutation::{self, Mutation};
use reprise_model::profile::SealKind;
use reprise_model::statement::{Kind, Statement, StatementId};

use crate::provenance::Provenance;

/// The length of a record's checksum.
pub(crate) const CHECK_LEN: usize = 8;
/// What the keys of prune floors in the meta table begin with.
pub(crate) const FLOOR_PREFIX: &[u8] = b"prune floor ";

/// The key of the prune floor of what is proved under these pins.
pub(crate) fn floor_of(pins: &PinsDigest) -> Vec<u8> {
    let pins = if mutation::is(Mutation::FloorShared) { &PinsDigest::default() } else { pins };
    [FLOOR_PREFIX, &pins.0].concat()
}

/// Reads the pins out of the key of a prune floor.
pub(crate) fn read_floor_of(key: &[u8]) -> Option<PinsDigest> {
    key.strip_prefix(FLOOR_PREFIX)?.try_into().ok().map(PinsDigest)
}

/// A revocation: receipts of the profile that were stored in an earlier epoch are not handed out. A revocation begins
/// an epoch; the first epoch is 0.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Revocation {
    pub(crate) profile: ProfileId,
    pub(crate) epoch: u64,
}

/// The small half of an entry.
#[derive(Debug, Clone, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct EntryRecord {
    /// Its kind.
    pub(crate) kind: Kind,
    /// Its statement.
    pub(crate) statement: Statement,
    /// The program of its claim.
    pub(crate) program: ProgramId,
    /// The kind of its seal.
    pub(crate) seal_kind: SealKind,
    /// The size of its envelope.
    pub(crate) bytes: u64,
    /// How it came to be.
    pub(crate) provenance: Provenance,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub(crate) stored_at_ms: u64,
}

impl EntryRecord {
    /// Whether a coordinate names the kind, program and profile of this entry.
    pub(crate) fn fits(&self, coordinate: &Coordinate) -> bool {
        coordinate.position.kind() == self.kind
            && coordinate.program == self.program
            && coordinate.profile == self.statement.profile
    }
}

/// The bytes of a record.
pub(crate) fn write<R: BorshSerialize>(record: &R) -> Vec<u8> {
    let mut bytes = borsh::to_vec(record).unwrap_or_default();
    let check = blake3::hash(&bytes);
    bytes.extend_from_slice(&check.as_bytes()[..CHECK_LEN]);
    bytes
}

/// The record in the bytes; `None` where they are damaged.
pub(crate) fn read<R: BorshDeserialize>(bytes: &[u8]) -> Option<R> {
    let (fields, check) = bytes.split_last_chunk::<CHECK_LEN>()?;
    if blake3::hash(fields).as_bytes()[..CHECK_LEN] != check[..] {
        return None;
    }
    borsh::from_slice(fields).ok()
}

/// Who says that a statement is used at a coordinate. The greater one is believed over the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Placed {
    /// An archive: its receipts are verified, where they were used is not.
    Reported,
    /// What uses it here.
    Used,
}

impl Placed {
    /// The value in the coordinates table.
    pub(crate) fn bytes(self) -> Vec<u8> {
        match self {
            Self::Used => vec![],
            Self::Reported => vec![1],
        }
    }

    pub(crate) fn read(value: &[u8]) -> Self {
        if value.is_empty() { Self::Used } else { Self::Reported }
    }
}

/// The key of a coordinate in the coordinates table.
pub(crate) fn place_key(coordinate: &Coordinate, id: &StatementId) -> Vec<u8> {
    let mut key = coordinate.key();
    key.extend(id.0);
    key
}

/// The key of the same coordinate in the backrefs table.
pub(crate) fn backref_key(coordinate: &Coordinate, id: &StatementId) -> Vec<u8> {
    let mut key = id.0.to_vec();
    key.extend(coordinate.key());
    key
}

/// The key of a pin.
pub(crate) fn pin_key(id: &StatementId, owner: &str) -> Vec<u8> {
    let mut key = id.0.to_vec();
    key.extend(owner.as_bytes());
    key
}

/// Reads a key of the coordinates table.
pub(crate) fn read_place_key(key: &[u8]) -> Option<(Coordinate, StatementId)> {
    let (coordinate, id) = key.split_last_chunk::<32>()?;
    Some((Coordinate::from_key(coordinate)?, StatementId(*id)))
}

/// Reads a key of the backrefs table.
pub(crate) fn read_backref_key(key: &[u8]) -> Option<(StatementId, Coordinate)> {
    let (id, coordinate) = key.split_first_chunk::<32>()?;
    Some((StatementId(*id), Coordinate::from_key(coordinate)?))
}

/// Reads the owner out of the key of a pin.
pub(crate) fn read_pin_key(key: &[u8]) -> Option<String> {
    let (_, owner) = key.split_first_chunk::<32>()?;
    String::from_utf8(owner.to_vec()).ok()
}

/// The end of the keys of the coordinates table that lie below a floor.
pub(crate) fn floor_key(floor: Checkpoint) -> [u8; 8] {
    floor.0.to_be_bytes()
}
