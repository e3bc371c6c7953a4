//! The index: every key of every table in memory, and where its value is.
//!
//! Small values are in memory. Envelopes stay in their segment, and so do the entry records and marks, of which there is one for
//! each receipt; the index has their place.
//!
//! All tables are one [`Compact`] map. Those with a statement's id before everything else are sorted by that first, and then by
//! table, so that what belongs to one statement stands together and has its id once.
//!
//! A coordinate and its statement stand in two tables, which one commit writes and one deletes. Neither row holds all of the other's: the one
//! by coordinate has the beginning of the id, the one by statement has the checkpoint and the beginning of a hash of the coordinate. Each is
//! read in whole with the other's help. A row whose other is lost to damage is not there.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use reprise_model::coordinate::Coordinate;

use crate::disk::compact::{self, Compact};
use crate::disk::frame::{Change, Frame, What};
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

/// Changes of a log, on their way into an [`Index`].
#[derive(Default)]
pub(super) struct Pending {
    /// The places and the values, one after the other.
    bytes: Vec<u8>,
    rows: Vec<Row>,
    /// Bytes that the values among them take in the log.
    live_bytes: u64,
}

/// A change, by the lengths of its place and of its value.
struct Row {
    /// The first bytes of its place: two rows are hardly ever equal in them, so that sorting reads little else.
    begin: u64,
    at: usize,
    place: u32,
    value: Option<u32>,
}

impl Pending {
    /// Takes the changes of a frame of a segment, which begin at `changes_at`. The values follow, `values_len` bytes of them. Returns
    /// whether the bytes are changes.
    pub(super) fn take(&mut self, bytes: &[u8], segment: u64, changes_at: u64, values_len: u64) -> bool {
        let Some(changes) = Change::all_in(bytes) else { return false };
        let values_at = changes_at + bytes.len() as u64;
        for change in changes.into_iter().filter(|change| change.lies_within(values_len)) {
            let Change { table, key, what } = change;
            let Some(table) = Table::ALL.get(usize::from(table)).copied() else { continue };
            let value = match what {
                What::Deleted => None,
                What::Inline { value, at } if APART.contains(&table) => {
                    Some(Value::Apart { offset: changes_at + at, len: value.len() as u64 })
                }
                What::Inline { value, .. } => Some(Value::Inline(value.to_vec())),
                What::Apart { position, len } => Some(Value::Apart { offset: values_at + position, len }),
            };
            self.live_bytes += value.as_ref().map_or(0, |value| size(key.len(), value));
            let held = value.map(|value| Held { segment, value });
            self.push(table, key, held.as_ref());
        }
        true
    }

    fn push(&mut self, table: Table, key: &[u8], held: Option<&Held>) {
        let at = self.bytes.len();
        place(&mut self.bytes, table, key);
        let end = self.bytes.len();
        let value = held.map(|held| {
            held.write(&mut self.bytes);
            (self.bytes.len() - end) as u32
        });
        let mut begin = [0; 8];
        begin.iter_mut().zip(&self.bytes[at..end]).for_each(|(to, from)| *to = *from);
        self.rows.push(Row { begin: u64::from_be_bytes(begin), at, place: (end - at) as u32, value });
    }

    /// How many bytes it holds.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Sorts it, as it is entered.
    pub(super) fn sorted(mut self) -> Sorted {
        let Self { bytes, rows, .. } = &mut self;
        let place = |row: &Row| &bytes[row.at..][..row.place as usize];
        // Of several changes of one key the last one counts, so those of one key stay in their order.
        rows.sort_unstable_by(|a, b| {
            a.begin.cmp(&b.begin).then_with(|| place(a).cmp(place(b))).then(a.at.cmp(&b.at))
        });
        Sorted(self)
    }

    fn place(&self, row: &Row) -> &[u8] {
        &self.bytes[row.at..][..row.place as usize]
    }

    fn value(&self, row: &Row) -> Option<&[u8]> {
        row.value.map(|len| &self.bytes[row.at + row.place as usize..][..len as usize])
    }
}

/// The same, sorted by their places.
pub(super) struct Sorted(Pending);

/// So many at a time, where blocks are looked for.
const ENTERED_MAX: usize = 1024;

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
    fn write(&self, bytes: &mut Vec<u8>) {
        let Self { segment, value } = self;
        compact::number(bytes, *segment);
        match value {
            Value::Inline(value) => {
                bytes.push(0);
                bytes.extend_from_slice(value);
            }
            Value::Apart { offset, len } => {
                bytes.push(1);
                compact::number(bytes, *offset);
                compact::number(bytes, *len);
            }
        }
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

/// How much of an id stands in the row by coordinate.
const ID_SHORT: usize = 8;

/// What stands in the row by statement instead of the coordinate: the checkpoint, and the beginning of a hash.
const CHECKPOINT_LEN: usize = 8;
const HASH_SHORT: usize = 6;

/// The length of the keys of both tables of coordinates.
const PAIR_LEN: usize = Coordinate::KEY_LEN + ID_LEN;

/// Where a place by statement says its table, and how much of the id the key has: one more than all where the rest is short.
const TABLE_AT: usize = 1 + ID_LEN;
const LENGTH_AT: usize = TABLE_AT + 1;
const IS_SHORT: u8 = ID_LEN as u8 + 1;

/// Adds the key's place among all tables' keys. It sorts as the key does within its table, among those of one statement too, but for
/// the coordinates of one statement at one checkpoint.
fn place(out: &mut Vec<u8>, table: Table, key: &[u8]) {
    let is_pair = key.len() == PAIR_LEN;
    if !BY_STATEMENT.contains(&table) {
        out.push(1 + table as u8);
        out.extend_from_slice(match table {
            Table::Coordinates if is_pair => &key[..Coordinate::KEY_LEN + ID_SHORT],
            _ => key,
        });
        return;
    }
    let (id, rest) = key.split_at(key.len().min(ID_LEN));
    let begin = out.len();
    out.push(0);
    out.extend_from_slice(id);
    out.resize(begin + 1 + ID_LEN, 0);
    if table == Table::Backrefs && is_pair {
        out.extend([table as u8, IS_SHORT]);
        out.extend_from_slice(&short(rest));
        return;
    }
    out.extend([table as u8, id.len() as u8]);
    out.extend_from_slice(rest);
}

/// What stands for a coordinate in the row by statement.
fn short(coordinate: &[u8]) -> [u8; CHECKPOINT_LEN + HASH_SHORT] {
    let mut short = [0; CHECKPOINT_LEN + HASH_SHORT];
    short[..CHECKPOINT_LEN].copy_from_slice(&coordinate[..CHECKPOINT_LEN]);
    short[CHECKPOINT_LEN..].copy_from_slice(&blake3::hash(coordinate).as_bytes()[..HASH_SHORT]);
    short
}

/// The table of a place.
fn table_at(place: &[u8]) -> Option<Table> {
    let number = match place.first()? {
        0 => *place.get(TABLE_AT)?,
        class => class - 1,
    };
    Table::ALL.get(usize::from(number)).copied()
}

/// Whether a place stands for a key of which it has a part alone.
fn is_short(place: &[u8]) -> bool {
    match table_at(place) {
        Some(Table::Coordinates) => place.len() == 1 + Coordinate::KEY_LEN + ID_SHORT,
        Some(Table::Backrefs) => place.get(LENGTH_AT) == Some(&IS_SHORT),
        _ => false,
    }
}

/// How long the key at a place is.
fn key_len(place: &[u8]) -> usize {
    match place.first() {
        _ if is_short(place) => PAIR_LEN,
        Some(0) => place.len() - (LENGTH_AT + 1) + place.get(LENGTH_AT).map_or(0, |len| usize::from(*len)),
        _ => place.len().saturating_sub(1),
    }
}

impl Index {
    /// Enters the changes of a frame: see [`Pending::take`].
    pub(super) fn apply(&mut self, bytes: &[u8], segment: u64, changes_at: u64, values_len: u64) {
        let mut pending = Pending::default();
        pending.take(bytes, segment, changes_at, values_len);
        self.enter(&pending.sorted());
    }

    /// Enters changes. Those of a log are entered in its order.
    pub(super) fn enter(&mut self, Sorted(pending): &Sorted) {
        let gone = Cell::new(0);
        let replaced = |place: &[u8], before: &[u8]| {
            gone.set(gone.get() + Held::read(before).map_or(0, |held| size(key_len(place), &held.value)));
        };
        let rows = pending.rows.iter().enumerate();
        let mut changes = rows.filter_map(|(at, row)| {
            let change = (pending.place(row), pending.value(row));
            let is_last = pending.rows.get(at + 1).is_none_or(|next| pending.place(next) != change.0);
            if !is_last && let Some(before) = change.1 {
                replaced(change.0, before);
            }
            is_last.then_some(change)
        });
        let replaced = &mut |place: &[u8], before: &[u8]| replaced(place, before);
        if (pending.rows.len() / ENTERED_MAX..pending.rows.len()).contains(&self.keys.blocks()) {
            self.keys.apply_many(changes, replaced);
        } else {
            let mut next = || changes.by_ref().take(ENTERED_MAX).collect::<Vec<_>>();
            while let some = next()
                && !some.is_empty()
            {
                self.keys.apply(&some, replaced);
            }
        }
        self.live_bytes = (self.live_bytes + pending.live_bytes).saturating_sub(gone.get());
    }

    /// The key at a place.
    fn key_at(&self, place: &[u8]) -> Option<Vec<u8>> {
        if !is_short(place) {
            return match place.split_first()? {
                (0, key) => {
                    let (id, rest) = key.split_at_checked(ID_LEN)?;
                    let [_, length, rest @ ..] = rest else { return None };
                    Some([id.get(..usize::from(*length))?, rest].concat())
                }
                (_, key) => Some(key.to_vec()),
            };
        }
        let mut found = None;
        if place[0] == 0 {
            let (id, named) = (&place[1..TABLE_AT], &place[LENGTH_AT + 1..]);
            let from = [&[1 + Table::Coordinates as u8], &named[..CHECKPOINT_LEN]].concat();
            self.keys.each(&from, &mut |other, _| {
                let row = other.strip_prefix(&from[..]).filter(|_| is_short(other));
                if row.is_some_and(|row| row.ends_with(&id[..ID_SHORT])) {
                    let coordinate = &other[1..1 + Coordinate::KEY_LEN];
                    found = (short(coordinate) == *named).then(|| [id, coordinate].concat());
                }
                found.is_none() && other.starts_with(&from)
            });
            return found;
        }
        let (coordinate, begin) = place[1..].split_at(Coordinate::KEY_LEN);
        let (from, named) = ([&[0], begin].concat(), short(coordinate));
        self.keys.each(&from, &mut |other, _| {
            if table_at(other) == Some(Table::Backrefs) && is_short(other) && other.ends_with(&named) {
                found = other.get(1..TABLE_AT).map(|id| [coordinate, id].concat());
            }
            found.is_none() && other.starts_with(&from)
        });
        found
    }

    /// What has its value in this segment.
    pub(super) fn living_in(&self, segment: u64) -> Vec<(Table, Vec<u8>, Value)> {
        let mut living = vec![];
        self.keys.each(&[], &mut |place, held| {
            if let Some(held) = Held::read(held).filter(|held| held.segment == segment) {
                let key = table_at(place).zip(self.key_at(place));
                living.extend(key.map(|(table, key)| (table, key, held.value)));
            }
            true
        });
        living
    }

    /// Takes over revocations that the log lost, as long as this index lives.
    pub(crate) fn restore(&mut self, beside: &Revocations) {
        let lost = revoked::newer(beside, &self.revocations());
        self.apply(&Frame::of(revoked::changes(lost)).changes, 0, 0, 0);
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
        let mut place_of = Vec::with_capacity(1 + PAIR_LEN);
        place(&mut place_of, table, key);
        let held = Held::read(self.keys.get(&place_of)?)?;
        let is_it = !is_short(&place_of) || self.key_at(&place_of).is_some_and(|found| found == key);
        is_it.then_some(held)
    }

    /// The number of the segment that the log begins with, as the meta table says; 0 where it says none.
    pub(super) fn begins(&self) -> u64 {
        match self.find(Table::Meta, BEGINS_KEY) {
            Some(Held { value: Value::Inline(bytes), .. }) => record::read(&bytes).unwrap_or(0),
            _ => 0,
        }
    }

    pub(crate) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.find(table, key).is_some()
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
        let mut begin = vec![];
        place(&mut begin, table, from);
        let by_statement = BY_STATEMENT.contains(&table);
        // Up to here the place says only what comes before a table, and a short one no more of the key.
        begin.truncate(if by_statement { TABLE_AT } else { 1 + Coordinate::KEY_LEN + ID_SHORT });
        let class = begin[0];
        self.keys.each(&begin, &mut |place, held| {
            if place[0] != class {
                return false;
            }
            // Another table's key may stand before the first of this one, and behind its last.
            let has_id = by_statement && place.get(LENGTH_AT).is_some_and(|len| usize::from(*len) >= ID_LEN);
            if has_id && to.is_some_and(|to| place[1..TABLE_AT] > *to) {
                return false;
            }
            let Some(key) = Some(place)
                .filter(|place| table_at(place) == Some(table))
                .and_then(|place| self.key_at(place))
            else {
                return true;
            };
            if to.is_some_and(|to| *key >= *to) {
                return false;
            }
            if *key >= *from {
                page.extend(Held::read(held).and_then(|held| self.locate(held)).map(|held| (key, held)));
            }
            page.len() < limit
        });
        page
    }

    /// The same with the values. Envelopes are left out: scans look at keys, and an envelope is read by its key. A value that cannot be
    /// read is empty, which is no record.
    pub(crate) fn read_page(page: Vec<(Vec<u8>, Located)>, table: Table) -> Result<Vec<Pair>, StoreError> {
        let read = |(key, located): (Vec<u8>, Located)| match table {
            Table::Receipts => Ok((key, vec![])),
            _ => Ok((key, engine::readable(located.read())?)),
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
