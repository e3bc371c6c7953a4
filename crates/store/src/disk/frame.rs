//! The frame: the bytes of one commit. The page of [`crate::disk`] draws it.
//!
//! A frame is a head, the changes and the values. The head's checksum binds the segment's number and the frame's
//! offset, so that a frame inside a value, or a frame that lies elsewhere than it was written, does not check.

use borsh::{BorshDeserialize, BorshSerialize};

use crate::engine::{Changes, Table};

/// The first bytes of every frame.
pub(super) const MAGIC: [u8; 8] = *b"RPRSFRM1";
/// The length of a frame's head.
pub(super) const HEAD_LEN: usize = 120;

/// One change as it is written.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Change {
    pub(super) table: u8,
    pub(super) key: Vec<u8>,
    pub(super) what: What,
}

/// What becomes of a key.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) enum What {
    Deleted,
    /// The value is among the changes.
    Inline(Vec<u8>),
    /// The value lies in the frame's values.
    Apart {
        position: u64,
        len: u64,
    },
}

impl Change {
    /// How many bytes stand before the first change of a frame: how many there are.
    pub(super) const ALL_BEGIN: u64 = 4;

    /// How many bytes of it stand before its value, where that is among the changes.
    pub(super) fn begin_of_value(&self) -> u64 {
        1 + 4 + self.key.len() as u64 + 1 + 4
    }

    /// How many bytes it has, as it is written.
    pub(super) fn len(&self) -> u64 {
        let begin = 1 + 4 + self.key.len() as u64 + 1;
        begin
            + match &self.what {
                What::Deleted => 0,
                What::Inline(value) => 4 + value.len() as u64,
                What::Apart { .. } => 16,
            }
    }

    /// Whether the value that it names lies within the values of its frame.
    pub(super) fn lies_within(&self, values_len: u64) -> bool {
        match &self.what {
            What::Apart { position, len } => position.checked_add(*len).is_some_and(|end| end <= values_len),
            What::Deleted | What::Inline(_) => true,
        }
    }
}

/// A commit on its way to the log.
pub(super) struct Frame {
    pub(super) changes: Vec<Change>,
    changes_bytes: Vec<u8>,
    values: Vec<u8>,
}

impl Frame {
    /// The frame that records these changes. Envelopes go among the values, everything else stands inline.
    pub(super) fn of(changes: Changes) -> Self {
        let mut values = Vec::new();
        let changes: Vec<_> = changes
            .into_iter()
            .map(|((table, key), value)| {
                let what = match value {
                    None => What::Deleted,
                    Some(value) if table == Table::Receipts => {
                        let position = values.len() as u64;
                        values.extend_from_slice(&value);
                        What::Apart { position, len: value.len() as u64 }
                    }
                    Some(value) => What::Inline(value),
                };
                Change { table: table as u8, key, what }
            })
            .collect();
        let changes_bytes = borsh::to_vec(&changes).unwrap_or_default();
        Self { changes, changes_bytes, values }
    }

    /// How long its values are.
    pub(super) fn values_len(&self) -> u64 {
        self.values.len() as u64
    }

    /// Its bytes at an offset of a segment.
    pub(super) fn bytes(&self, segment: u64, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.changes_bytes.len() + self.values.len());
        bytes.extend(MAGIC);
        bytes.extend((self.changes_bytes.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(&self.changes_bytes).as_bytes());
        bytes.extend(blake3::hash(&self.values).as_bytes());
        bytes.extend(head_check(&bytes, segment, offset));
        bytes.extend_from_slice(&self.changes_bytes);
        bytes.extend_from_slice(&self.values);
        bytes
    }
}

fn head_check(head: &[u8], segment: u64, offset: u64) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("reprise 2026-11 receipt log frame");
    hasher.update(head).update(&segment.to_le_bytes()).update(&offset.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The head of a frame that checks.
pub(super) struct Head {
    pub(super) changes_len: u64,
    pub(super) values_len: u64,
    pub(super) changes_hash: [u8; 32],
    pub(super) values_hash: [u8; 32],
}

impl Head {
    /// The head in these bytes, if it checks for this segment and offset.
    pub(super) fn read(bytes: &[u8; HEAD_LEN], segment: u64, offset: u64) -> Option<Self> {
        let (fields, check) = bytes.split_last_chunk::<32>()?;
        if !fields.starts_with(&MAGIC) || head_check(fields, segment, offset) != *check {
            return None;
        }
        Some(Self {
            changes_len: u64::from_le_bytes(*fields[8..].first_chunk()?),
            values_len: u64::from_le_bytes(*fields[16..].first_chunk()?),
            changes_hash: *fields[24..].first_chunk()?,
            values_hash: *fields[56..].first_chunk()?,
        })
    }

    /// The length of the whole frame, as the head says it.
    pub(super) fn len(&self) -> u64 {
        (HEAD_LEN as u64).saturating_add(self.changes_len).saturating_add(self.values_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_knows_where_its_value_stands_among_the_changes_of_its_frame() {
        let change = |what| Change { table: 3, key: vec![1, 2, 3], what };
        let apart = What::Apart { position: 1, len: 2 };
        let changes = vec![change(What::Deleted), change(apart), change(What::Inline(vec![7; 9]))];
        let bytes = borsh::to_vec(&changes).unwrap_or_default();
        let before: u64 = Change::ALL_BEGIN + changes[..2].iter().map(Change::len).sum::<u64>();
        assert_eq!(before + changes[2].len(), bytes.len() as u64);
        let at = (before + changes[2].begin_of_value()) as usize;
        assert_eq!(bytes[at..], [7; 9]);
    }
}
