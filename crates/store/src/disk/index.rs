//! The index: every key of every table in memory, and where its value is.
//!
//! Small values are in memory. Envelopes stay in their segment, and so do the entry records and marks, of which there is one for
//! each receipt; the index has their place.
//!
//! All tables are one [`Compact`] map. Those with a statement's id before everything else are sorted by that first, and then by
//! table, so that what belongs to one statement stands together and has its id once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::compact::{self, Compact};
use crate::disk::frame::{Change, What};
use crate::disk::segment::Segment;
use crate::engine::{self, Pair, Parts, SPLIT_WITHIN, Split, Table};
use crate::port::StoreError;
use crate::record;
use crate::revoked::{self, Revocations};

/// The key in the meta table under which the number of the log's first segment stands.
pub(super) const BEGINS_KEY: &[u8] = b"log begins";

/// Every key of every table, and where its value is.
#[derive(Default)]
pub(crate) struct Index {
    keys: Compact,
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    /// Bytes that its keys and values take in the log.
    pub(super) live_bytes: u64,
}

/// A value, and the segment that records it.
struct Held {
    segment: u64,
    value: Value,
}

/// A value, or where it is in its segment.
pub(super) enum Value {
    Inline(Vec<u8>),
    Apart { offset: u64, len: u64 },
}

impl Value {
    fn len(&self) -> u64 {
        match self {
            Self::Inline(value) => value.len() as u64,
            Self::Apart { len, .. } => *len,
        }
    }
}

impl Held {
    fn write(&self) -> Vec<u8> {
        let mut bytes = vec![];
        let Self { segment, value } = self;
        compact::number(&mut bytes, *segment);
        match value {
            Value::Inline(value) => {
                bytes.push(0);
                bytes.extend_from_slice(value);
            }
            Value::Apart { offset, len } => {
                bytes.push(1);
                compact::number(&mut bytes, *offset);
                compact::number(&mut bytes, *len);
            }
        }
        bytes
    }

    /// `None` for bytes that [`write`](Self::write) does not write.
    fn read(mut bytes: &[u8]) -> Option<Self> {
        let segment = compact::read_number(&mut bytes)?;
        let (kind, mut rest) = bytes.split_first()?;
        let value = match kind {
            0 => Value::Inline(rest.to_vec()),
            _ => {
                let offset = compact::read_number(&mut rest)?;
                Value::Apart { offset, len: compact::read_number(&mut rest)? }
            }
        };
        Some(Self { segment, value })
    }
}

/// The tables of which every statement has a row or some.
const BY_STATEMENT: [Table; 4] = [Table::Entries, Table::Receipts, Table::Marks, Table::Backrefs];

/// The tables whose small values stay in the log.
const APART: [Table; 2] = [Table::Entries, Table::Marks];

/// The length of a statement's id.
const ID_LEN: usize = 32;

/// The key among all tables' keys. It sorts as the key does within its table.
fn place(table: Table, key: &[u8]) -> Vec<u8> {
    if !BY_STATEMENT.contains(&table) {
        return [&[1 + table as u8], key].concat();
    }
    let (id, rest) = key.split_at(key.len().min(ID_LEN));
    let mut place = Vec::with_capacity(3 + ID_LEN + rest.len());
    place.push(0);
    place.extend_from_slice(id);
    place.resize(1 + ID_LEN, 0);
    place.extend([table as u8, id.len() as u8]);
    place.extend_from_slice(rest);
    place
}

/// The table and the key at a place.
fn at(place: &[u8]) -> Option<(Table, Vec<u8>)> {
    let (class, key) = place.split_first()?;
    let table = |number: u8| Table::ALL.get(usize::from(number)).copied();
    let Some(number) = class.checked_sub(1) else {
        let (id, rest) = key.split_at_checked(ID_LEN)?;
        let (number, rest) = rest.split_first()?;
        let (length, rest) = rest.split_first()?;
        return Some((table(*number)?, [id.get(..usize::from(*length))?, rest].concat()));
    };
    Some((table(number)?, key.to_vec()))
}

impl Index {
    /// Takes the changes of a frame of a segment, whose changes begin at `changes_at` and have so many bytes. The values follow,
    /// `values_len` bytes of them.
    pub(super) fn apply(&mut self, changes: Vec<Change>, segment: u64, changes_at: u64, values_len: u64) {
        let changes_len = Change::ALL_BEGIN + changes.iter().map(Change::len).sum::<u64>();
        let (mut here, values_at) = (changes_at + Change::ALL_BEGIN, changes_at + changes_len);
        let mut placed = Vec::with_capacity(changes.len());
        for change in changes {
            let (within, next) = (change.lies_within(values_len), here + change.len());
            let inline_at = here + change.begin_of_value();
            here = next;
            let Change { table, key, what } = change;
            let Some(table) = Table::ALL.get(usize::from(table)).copied().filter(|_| within) else {
                continue;
            };
            let value = match what {
                What::Deleted => None,
                What::Inline(value) if APART.contains(&table) => {
                    Some(Value::Apart { offset: inline_at, len: value.len() as u64 })
                }
                What::Inline(value) => Some(Value::Inline(value)),
                What::Apart { position, len } => Some(Value::Apart { offset: values_at + position, len }),
            };
            let size = value.as_ref().map_or(0, |value| size(key.len(), value));
            self.live_bytes += size;
            placed.push((place(table, &key), value.map(|value| Held { segment, value }.write())));
        }
        placed.sort_unstable();
        let mut gone = 0;
        self.keys.apply(&placed, &mut |place, before| {
            let before = at(place).zip(Held::read(before));
            gone += before.map_or(0, |((_, key), held)| size(key.len(), &held.value));
        });
        self.live_bytes = self.live_bytes.saturating_sub(gone);
    }

    /// What has its value in this segment.
    pub(super) fn living_in(&self, segment: u64) -> Vec<(Table, Vec<u8>, Value)> {
        let mut living = vec![];
        self.keys.each(&[], &mut |place, held| {
            let held = Held::read(held).filter(|held| held.segment == segment);
            living.extend(at(place).zip(held).map(|((table, key), held)| (table, key, held.value)));
            true
        });
        living
    }

    /// Takes over revocations that the log lost, as long as this index lives.
    pub(crate) fn restore(&mut self, beside: &Revocations) {
        for (key, revocation) in revoked::newer(beside, &self.revocations()) {
            let what = What::Inline(record::write(&revocation));
            self.apply(vec![Change { table: Table::Revocations as u8, key, what }], 0, 0, 0);
        }
    }

    /// The revocations that stand in the tables.
    pub(super) fn revocations(&self) -> Revocations {
        let found = self.page(Table::Revocations, &[], None, usize::MAX).into_iter();
        let read = |(key, located)| match located {
            Located::Here(bytes) => Some((key, record::read(&bytes)?)),
            Located::There { .. } => None,
        };
        found.filter_map(read).collect()
    }

    fn find(&self, table: Table, key: &[u8]) -> Option<Held> {
        Held::read(self.keys.get(&place(table, key))?)
    }

    /// The number of the segment that the log begins with, as the meta table says; 0 where it says none.
    pub(super) fn begins(&self) -> u64 {
        match self.find(Table::Meta, BEGINS_KEY) {
            Some(Held { value: Value::Inline(bytes), .. }) => record::read(&bytes).unwrap_or(0),
            _ => 0,
        }
    }

    pub(crate) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.keys.get(&place(table, key)).is_some()
    }

    /// The value of a key, or where to read it.
    pub(crate) fn look_up(&self, table: Table, key: &[u8]) -> Option<Located> {
        self.locate(self.find(table, key)?)
    }

    fn locate(&self, Held { segment, value }: Held) -> Option<Located> {
        Some(match value {
            Value::Inline(value) => Located::Here(value),
            Value::Apart { offset, len } => {
                Located::There { segment: self.segments.get(&segment)?.clone(), offset, len }
            }
        })
    }

    /// The first keys of a table from one on, and below another.
    pub(crate) fn page(
        &self,
        table: Table,
        from: &[u8],
        to: Option<&[u8]>,
        limit: usize,
    ) -> Vec<(Vec<u8>, Located)> {
        let mut page = vec![];
        if limit == 0 || to.is_some_and(|to| to <= from) {
            return page;
        }
        // Up to here the place says only what comes before a table.
        let mut begin = place(table, from);
        if BY_STATEMENT.contains(&table) {
            begin.truncate(1 + ID_LEN);
        }
        let class = begin[0];
        self.keys.each(&begin, &mut |place, held| {
            let Some((found, key)) = at(place).filter(|_| place[0] == class) else { return false };
            // Another table's key may stand before the first of this one, and behind its last.
            let is_over = to.is_some_and(|to| *key >= *to) && found == table;
            let is_past = to.is_some_and(|to| key.get(..ID_LEN).is_some_and(|id| *id > *to));
            if is_over || is_past {
                return false;
            }
            if found == table && *key >= *from {
                page.extend(Held::read(held).and_then(|held| self.locate(held)).map(|held| (key, held)));
            }
            page.len() < limit
        });
        page
    }

    /// The same with the values. Envelopes are left out: scans look at keys, and an envelope is read by its key.
    pub(crate) fn read_page(page: Vec<(Vec<u8>, Located)>, table: Table) -> Result<Vec<Pair>, StoreError> {
        let read = |(key, located): (Vec<u8>, Located)| match table {
            Table::Receipts => Ok((key, vec![])),
            _ => Ok((key, engine::undamaged(located.read())?)),
        };
        page.into_iter().map(read).collect()
    }
}

/// Bytes of the log that a key and its value are counted for.
fn size(key_len: usize, value: &Value) -> u64 {
    key_len as u64 + value.len() + 16
}

/// A value, or the place to read it at, which needs no lock on the index.
pub(crate) enum Located {
    Here(Vec<u8>),
    There { segment: Arc<Segment>, offset: u64, len: u64 },
}

impl Located {
    pub(crate) fn read(self) -> Result<Vec<u8>, StoreError> {
        match self {
            Self::Here(value) => Ok(value),
            Self::There { segment, offset, len } => segment.read_value(offset, len),
        }
    }

    pub(crate) fn read_split(self, split: Split<'_>) -> Result<Parts, StoreError> {
        let (segment, offset, len) = match self {
            Self::Here(mut value) => {
                let rest = value.split_off(split(&value).min(value.len()));
                return Ok((value, rest));
            }
            Self::There { segment, offset, len } => (segment, offset, len),
        };
        let mut first = segment.read_value(offset, len.min(SPLIT_WITHIN))?;
        let at = (split(&first) as u64).min(len);
        if at <= first.len() as u64 {
            first.truncate(at as usize);
        } else {
            first = segment.read_value(offset, at)?;
        }
        Ok((first, segment.read_value(offset + at, len - at)?))
    }
}
