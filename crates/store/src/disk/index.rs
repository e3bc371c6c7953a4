//! The index: every key of every table in memory, and where its value is.
//!
//! Small values are in memory. Envelopes stay in their segment, and the index has their place.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::disk::frame::{Change, What};
use crate::disk::segment::Segment;
use crate::engine::{Pair, Parts, SPLIT_WITHIN, Split, Table};
use crate::port::StoreError;
use crate::record;
use crate::revoked::{self, Revocations};

/// The key in the meta table under which the number of the log's first segment stands.
pub(super) const BEGINS_KEY: &[u8] = b"log begins";

/// Every key of every table, and where its value is.
#[derive(Default)]
pub(crate) struct Index {
    tables: [BTreeMap<Vec<u8>, Held>; Table::ALL.len()],
    pub(super) segments: BTreeMap<u64, Arc<Segment>>,
    /// Bytes that its keys and values take in the log.
    pub(super) live_bytes: u64,
}

/// A value, and the segment that records it.
#[derive(Clone)]
struct Held {
    segment: u64,
    value: Value,
}

/// A value, or where it is in its segment.
#[derive(Clone)]
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

impl Index {
    fn table(&mut self, table: u8) -> Option<&mut BTreeMap<Vec<u8>, Held>> {
        self.tables.get_mut(usize::from(table))
    }

    /// Takes a change of a frame whose values begin at `values_at`.
    pub(super) fn apply(&mut self, change: Change, segment: u64, values_at: u64) {
        let Change { table, key, what } = change;
        let value = match what {
            What::Deleted => None,
            What::Inline(value) => Some(Value::Inline(value)),
            What::Apart { position, len } => Some(Value::Apart { offset: values_at + position, len }),
        };
        let key_len = key.len() as u64;
        let Some(keys) = self.table(table) else { return };
        let (before, after) = match value {
            Some(value) => {
                let after = value.len();
                (keys.insert(key, Held { segment, value }), Some(after))
            }
            None => (keys.remove(&key), None),
        };
        let size = |value_len: u64| key_len + value_len + 16;
        self.live_bytes += after.map_or(0, size);
        self.live_bytes = self.live_bytes.saturating_sub(before.map_or(0, |held| size(held.value.len())));
    }

    /// What has its value in this segment.
    pub(super) fn living_in(&self, segment: u64) -> Vec<(Table, Vec<u8>, Value)> {
        let of = |(keys, table): (&BTreeMap<Vec<u8>, Held>, Table)| {
            let here = keys.iter().filter(move |(_, held)| held.segment == segment);
            here.map(move |(key, held)| (table, key.clone(), held.value.clone())).collect::<Vec<_>>()
        };
        self.tables.iter().zip(Table::ALL).flat_map(of).collect()
    }

    /// Takes over revocations that the log lost, as long as this index lives.
    pub(crate) fn restore(&mut self, beside: &Revocations) {
        for (key, revocation) in revoked::newer(beside, &self.revocations()) {
            let what = What::Inline(record::write(&revocation));
            self.apply(Change { table: Table::Revocations as u8, key, what }, 0, 0);
        }
    }

    /// The revocations that stand in the tables.
    pub(super) fn revocations(&self) -> Revocations {
        let pairs = self.page(Table::Revocations, &[], None, usize::MAX);
        pairs.into_iter().filter_map(|(key, bytes)| Some((key, record::read(&bytes)?))).collect()
    }

    fn find(&self, table: Table, key: &[u8]) -> Option<&Held> {
        self.tables[table as usize].get(key)
    }

    /// The number of the segment that the log begins with, as the meta table says; 0 where it says none.
    pub(super) fn begins(&self) -> u64 {
        match self.find(Table::Meta, BEGINS_KEY) {
            Some(Held { value: Value::Inline(bytes), .. }) => record::read(bytes).unwrap_or(0),
            _ => 0,
        }
    }

    pub(crate) fn has(&self, table: Table, key: &[u8]) -> bool {
        self.find(table, key).is_some()
    }

    /// The value of a key, or where to read it.
    pub(crate) fn look_up(&self, table: Table, key: &[u8]) -> Option<Located> {
        let Held { segment, value } = self.find(table, key)?;
        match value {
            Value::Inline(value) => Some(Located::Here(value.clone())),
            Value::Apart { offset, len } => {
                let segment = self.segments.get(segment)?.clone();
                Some(Located::There { segment, offset: *offset, len: *len })
            }
        }
    }

    pub(crate) fn page(&self, table: Table, from: &[u8], to: Option<&[u8]>, limit: usize) -> Vec<Pair> {
        if to.is_some_and(|to| to <= from) {
            return Vec::new();
        }
        let end = to.map_or(Bound::Unbounded, Bound::Excluded);
        let keys = self.tables[table as usize].range::<[u8], _>((Bound::Included(from), end));
        let pair = |(key, held): (&Vec<u8>, &Held)| match &held.value {
            Value::Inline(value) => (key.clone(), value.clone()),
            // Scans look at keys; an envelope is read by its key.
            Value::Apart { .. } => (key.clone(), Vec::new()),
        };
        keys.take(limit).map(pair).collect()
    }
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
