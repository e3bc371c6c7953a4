//! The frame: the bytes of one commit. The page of [`crate::disk`] draws it.
//!
//! A frame is a head, the changes and the values. The head's checksum binds the segment's number and the frame's
//! offset, so that a frame inside a value, or a frame that lies elsewhere than it was written, does not check.

use crate::engine::{Changes, Table};

/// The first bytes of every frame.
pub(super) const MAGIC: [u8; 8] = *b"RPRSFRM1";
/// The length of a frame's head.
pub(super) const HEAD_LEN: usize = 120;

/// One change, as a frame has it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Change<'f> {
    pub(super) table: u8,
    pub(super) key: &'f [u8],
    pub(super) what: What<'f>,
}

/// What becomes of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum What<'f> {
    Deleted,
    /// The value, and where it is among the changes.
    Inline {
        value: &'f [u8],
        at: u64,
    },
    /// The value lies in the frame's values.
    Apart {
        position: u64,
        len: u64,
    },
}

impl<'f> Change<'f> {
    /// The changes of a frame, in borsh; `None` for bytes that are none.
    pub(super) fn all_in(bytes: &'f [u8]) -> Option<Vec<Self>> {
        let (mut rest, count) = (Rest { bytes, at: 0 }, u32::from_le_bytes(*bytes.first_chunk()?));
        rest.at += 4;
        // No count is believed: a change has six bytes at least.
        let mut changes = Vec::with_capacity((count as usize).min(bytes.len() / 6));
        for _ in 0..count {
            let [table] = rest.take()?;
            let key = rest.string()?;
            let what = match rest.take()? {
                [0] => What::Deleted,
                [1] => What::Inline { at: rest.at as u64 + 4, value: rest.string()? },
                [2] => What::Apart {
                    position: u64::from_le_bytes(rest.take()?),
                    len: u64::from_le_bytes(rest.take()?),
                },
                _ => return None,
            };
            changes.push(Self { table, key, what });
        }
        (rest.at == bytes.len()).then_some(changes)
    }

    /// Whether the value that it names lies within the values of its frame.
    pub(super) fn lies_within(&self, values_len: u64) -> bool {
        match &self.what {
            What::Apart { position, len } => position.checked_add(*len).is_some_and(|end| end <= values_len),
            What::Deleted | What::Inline { .. } => true,
        }
    }
}

/// Bytes that are read from one place on.
struct Rest<'f> {
    bytes: &'f [u8],
    at: usize,
}

impl<'f> Rest<'f> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let taken = *self.bytes.get(self.at..)?.first_chunk()?;
        self.at += N;
        Some(taken)
    }

    /// Bytes after their length.
    fn string(&mut self) -> Option<&'f [u8]> {
        let len = u32::from_le_bytes(self.take()?) as usize;
        let string = self.bytes.get(self.at..)?.get(..len)?;
        self.at += len;
        Some(string)
    }
}

/// A commit on its way to the log.
pub(super) struct Frame {
    /// The [changes](Change::all_in).
    pub(super) changes: Vec<u8>,
    values: Vec<u8>,
}

impl Frame {
    /// The frame that records these changes. Envelopes go among the values, everything else stands inline.
    pub(super) fn of(changes: Changes) -> Self {
        let mut frame = Self { changes: (changes.len() as u32).to_le_bytes().into(), values: Vec::new() };
        for ((table, key), value) in changes {
            let Self { changes, values } = &mut frame;
            changes.push(table as u8);
            changes.extend((key.len() as u32).to_le_bytes());
            changes.extend(key);
            match value {
                None => changes.push(0),
                Some(value) if table == Table::Receipts => {
                    changes.push(2);
                    changes.extend((values.len() as u64).to_le_bytes());
                    changes.extend((value.len() as u64).to_le_bytes());
                    values.extend(value);
                }
                Some(value) => {
                    changes.push(1);
                    changes.extend((value.len() as u32).to_le_bytes());
                    changes.extend(value);
                }
            }
        }
        frame
    }

    /// How long its values are.
    pub(super) fn values_len(&self) -> u64 {
        self.values.len() as u64
    }

    /// Its bytes at an offset of a segment.
    pub(super) fn bytes(&self, segment: u64, offset: u64) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_LEN + self.changes.len() + self.values.len());
        bytes.extend(MAGIC);
        bytes.extend((self.changes.len() as u64).to_le_bytes());
        bytes.extend((self.values.len() as u64).to_le_bytes());
        bytes.extend(blake3::hash(&self.changes).as_bytes());
        bytes.extend(blake3::hash(&self.values).as_bytes());
        bytes.extend(head_check(&bytes, segment, offset));
        bytes.extend_from_slice(&self.changes);
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

    fn frame() -> Frame {
        Frame::of(Changes::from([
            ((Table::Entries, vec![1, 2, 3]), None),
            ((Table::Receipts, vec![4]), Some(vec![5; 20])),
            ((Table::Receipts, vec![6]), Some(vec![7])),
            ((Table::Meta, vec![]), Some(vec![8; 9])),
        ]))
    }

    #[test]
    fn the_changes_of_a_frame_are_read_as_they_were_written() {
        let frame = frame();
        let mut read = Change::all_in(&frame.changes).unwrap_or_default();
        read.sort_by_key(|change| change.table);
        let at = frame.changes.len() as u64 - 9;
        let by_table = |table: Table, key, what| Change { table: table as u8, key, what };
        let mut expected = [
            by_table(Table::Entries, &[1, 2, 3], What::Deleted),
            by_table(Table::Receipts, &[4], What::Apart { position: 0, len: 20 }),
            by_table(Table::Receipts, &[6], What::Apart { position: 20, len: 1 }),
            by_table(Table::Meta, &[], What::Inline { value: &[8; 9], at }),
        ];
        expected.sort_by_key(|change| change.table);
        assert_eq!(read, expected);
        assert_eq!(frame.changes[at as usize..], [8; 9], "the meta table is the last");
    }

    #[test]
    fn changes_that_are_cut_short_or_go_on_or_say_that_they_are_many_are_none() {
        let bytes = frame().changes;
        assert!((0..bytes.len()).all(|len| Change::all_in(&bytes[..len]).is_none()));
        assert!(Change::all_in(&[&bytes[..], &[0]].concat()).is_none());
        assert!(Change::all_in(&[&[255; 4], &bytes[4..]].concat()).is_none());
    }
}
