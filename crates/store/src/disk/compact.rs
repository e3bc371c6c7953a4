//! A sorted map from keys to short values, in little memory.
//!
//! Neighbours stand together in a *block*, which is one string of bytes, so that nothing is allocated for an entry. A key is
//! written as its difference from the *line*: what the keys before it in the block had last at each offset, a longer key's end
//! included. So of keys that begin alike, or whose ends are those of many others, little is left.
//!
//! ```text
//! an entry   length of the key, then until that is reached: equal bytes | other bytes, the bytes; then length of the value, the value
//! ```
//!
//! Numbers are of seven bits a byte, the least first. A change writes its block anew, which takes about a microsecond. Changes of
//! one block that come together write it once. A block is written in one place, and then copied to one of a few lengths: were each as
//! long as it is, those that are written later would not fit where others were, and a third of the memory would be holes.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A longer block is divided.
const BLOCK_BYTES_MAX: usize = 2048;

/// Fewer equal bytes than this between others are written with them.
const EQUAL_MIN: usize = 3;

/// The lengths of blocks are multiples of this, without what an allocator keeps beside each.
const STEP: usize = 128;
const BESIDE: usize = 8;

/// A change of a key.
pub(super) type Change<'c> = (&'c [u8], Option<&'c [u8]>);

/// See the [module](self).
#[derive(Default)]
pub(super) struct Compact {
    /// By a key that is above all of the block before, and not above any of the block's own. The first one's is empty.
    blocks: BTreeMap<Box<[u8]>, Vec<u8>>,
    /// Where blocks are written.
    writer: Writer,
}

/// A copy of a block, of a length that another one has too.
fn fitted(block: &[u8]) -> Vec<u8> {
    let mut copy = Vec::with_capacity((block.len() + BESIDE).next_multiple_of(STEP) - BESIDE);
    copy.extend_from_slice(block);
    copy
}

impl Compact {
    /// Applies changes in ascending order of their keys, each of another key. `replaced` is told the value before of each that had
    /// one.
    pub(super) fn apply(&mut self, changes: &[Change<'_>], replaced: &mut dyn FnMut(&[u8], &[u8])) {
        let mut rest = changes;
        while let Some((first, _)) = rest.first() {
            let bound = self.bound_of(first);
            let next = self.blocks.range::<[u8], _>((Bound::Excluded(&bound[..]), Bound::Unbounded)).next();
            let here = next.map_or(rest.len(), |(next, _)| rest.partition_point(|(key, _)| *key < &**next));
            let (these, later) = rest.split_at(here);
            rest = later;
            let before = self.blocks.remove(&bound).unwrap_or_default();
            let mut writer = std::mem::take(&mut self.writer);
            writer.clear();
            merge(&mut writer, &before, these, replaced);
            divide(bound, &writer.bytes, &mut |bound, block| {
                self.blocks.insert(bound, block);
            });
            self.writer = writer;
        }
    }

    /// The same for so many changes that most blocks have some: each is written anew in its turn, and none is looked for.
    pub(super) fn apply_many<'c>(
        &mut self,
        changes: impl Iterator<Item = Change<'c>>,
        replaced: &mut dyn FnMut(&[u8], &[u8]),
    ) {
        let (mut changes, mut these) = (changes.peekable(), vec![]);
        let mut blocks = std::mem::take(&mut self.blocks);
        blocks.entry(Box::default()).or_default();
        let mut written = Vec::with_capacity(blocks.len());
        let mut blocks = blocks.into_iter().peekable();
        while let Some((bound, before)) = blocks.next() {
            let next = blocks.peek().map(|(next, _)| &**next);
            these.clear();
            these.extend(std::iter::from_fn(|| {
                changes.next_if(|(key, _)| next.is_none_or(|next| *key < next))
            }));
            if these.is_empty() {
                written.push((bound, before));
                continue;
            }
            self.writer.clear();
            merge(&mut self.writer, &before, &these, replaced);
            // What comes is often as long, and then takes its place.
            drop(before);
            divide(bound, &self.writer.bytes, &mut |bound, block| written.push((bound, block)));
        }
        self.blocks = written.into_iter().collect();
        // It may have held a block that had most of the changes.
        self.writer = Writer::default();
    }

    /// How many blocks there are.
    pub(super) fn blocks(&self) -> usize {
        self.blocks.len()
    }

    /// The bound of the block that a key belongs to.
    fn bound_of(&self, key: &[u8]) -> Box<[u8]> {
        let below = self.blocks.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back();
        below.map_or_else(Box::default, |(bound, _)| bound.clone())
    }

    /// The value of a key.
    pub(super) fn get(&self, key: &[u8]) -> Option<&[u8]> {
        let (_, block) =
            self.blocks.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        let mut reader = Reader::over(block);
        while let Some(Entry { value, .. }) = reader.read() {
            if reader.key() >= key {
                return (reader.key() == key).then_some(value);
            }
        }
        None
    }

    /// Shows every key from `from` on and its value, in order, for as long as `visit` says that it wants more.
    pub(super) fn each(&self, from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        let bound = self.bound_of(from);
        for block in self.blocks.range::<[u8], _>((Bound::Included(&bound[..]), Bound::Unbounded)) {
            let mut reader = Reader::over(block.1);
            while let Some(Entry { value, .. }) = reader.read() {
                if reader.key() >= from && !visit(reader.key(), value) {
                    return;
                }
            }
        }
    }
}

/// The shortest key that is above `below`, and not above `above`.
fn separator(below: &[u8], above: &[u8]) -> Box<[u8]> {
    let equal = below.iter().zip(above).take_while(|(a, b)| a == b).count();
    above[..(equal + 1).min(above.len())].into()
}

/// Gives a block to `enter`, in parts where it is long.
fn divide(mut bound: Box<[u8]>, block: &[u8], enter: &mut dyn FnMut(Box<[u8]>, Vec<u8>)) {
    // An empty one leaves its keys to the block below.
    if block.is_empty() && !bound.is_empty() {
        return;
    }
    let parts = block.len().div_ceil(BLOCK_BYTES_MAX).max(1);
    if parts == 1 {
        return enter(bound, fitted(block));
    }
    let (mut reader, mut part) = (Reader::over(block), Writer::default());
    while let Some(Entry { value, .. }) = reader.read() {
        // One entry alone may be longer.
        if part.bytes.len() >= block.len().div_ceil(parts) {
            let next = separator(part.key(), reader.key());
            enter(std::mem::replace(&mut bound, next), fitted(&part.bytes));
            part.clear();
        }
        part.write(reader.key(), value);
    }
    enter(bound, fitted(&part.bytes));
}

/// Writes a block after these changes.
fn merge(out: &mut Writer, block: &[u8], changes: &[Change<'_>], replaced: &mut dyn FnMut(&[u8], &[u8])) {
    let (mut reader, mut changes) = (Reader::over(block), changes.iter().peekable());
    // Whether both lines are equal: then what is read next can be copied as it is.
    let mut in_step = true;
    while let Some(Entry { raw, value }) = reader.read() {
        while let Some((key, value)) = changes.next_if(|(key, _)| *key < reader.key()) {
            if let Some(value) = value {
                out.write(key, value);
                in_step = false;
            }
        }
        match changes.next_if(|(key, _)| *key == reader.key()) {
            Some((key, after)) => {
                replaced(key, value);
                match after {
                    Some(after) => out.write(key, after),
                    None => {
                        in_step = false;
                        continue;
                    }
                }
            }
            None if in_step => {
                out.copy(raw, reader.key());
                continue;
            }
            None => out.write(reader.key(), value),
        }
        // Up to the end of this key they are.
        in_step = out.line[reader.length..] == reader.line[reader.length..];
    }
    for (key, value) in changes {
        if let Some(value) = value {
            out.write(key, value);
        }
    }
}

/// An entry of a block.
struct Entry<'b> {
    /// All its bytes.
    raw: &'b [u8],
    value: &'b [u8],
}

/// The entries of a block, in order.
struct Reader<'b> {
    rest: &'b [u8],
    line: Vec<u8>,
    /// The length of the key of the entry that was read last: the line begins with it.
    length: usize,
}

impl<'b> Reader<'b> {
    fn over(block: &'b [u8]) -> Self {
        Self { rest: block, line: Vec::with_capacity(256), length: 0 }
    }

    /// The key of the entry that was read last.
    fn key(&self) -> &[u8] {
        &self.line[..self.length]
    }

    /// The next entry.
    fn read(&mut self) -> Option<Entry<'b>> {
        let from = self.rest;
        if from.is_empty() {
            return None;
        }
        let length = self.number();
        self.length = length;
        self.line.resize(self.line.len().max(length), 0);
        let mut at = 0;
        while at < length {
            at += self.number();
            let other = self.number();
            let bytes = self.take(other);
            self.line[at..at + other].copy_from_slice(bytes);
            at += other;
        }
        let value_len = self.number();
        let value = self.take(value_len);
        Some(Entry { raw: &from[..from.len() - self.rest.len()], value })
    }

    fn take(&mut self, count: usize) -> &'b [u8] {
        let (taken, rest) = self.rest.split_at(count);
        self.rest = rest;
        taken
    }

    fn number(&mut self) -> usize {
        read_number(&mut self.rest).unwrap_or(0) as usize
    }
}

/// Writes a block.
#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    line: Vec<u8>,
    /// The length of the key that was written last.
    length: usize,
}

impl Writer {
    /// Begins another block.
    fn clear(&mut self) {
        self.bytes.clear();
        self.line.clear();
        self.length = 0;
    }

    /// The key that was written last.
    fn key(&self) -> &[u8] {
        &self.line[..self.length]
    }

    fn write(&mut self, key: &[u8], value: &[u8]) {
        self.number(key.len());
        // A key that is longer differs there.
        let before = std::mem::take(&mut self.line);
        let common = before.len().min(key.len());
        let mut at = 0;
        while at < key.len() {
            let equal =
                before[at.min(common)..common].iter().zip(&key[at..]).take_while(|(a, b)| a == b).count();
            let from = at + equal;
            // Up to where enough bytes are equal again, or all that are left.
            let (mut to, mut run) = (from, 0);
            while to + run < key.len() && run < EQUAL_MIN {
                if to + run < common && before[to + run] == key[to + run] {
                    run += 1;
                } else {
                    to += run + 1;
                    run = 0;
                }
            }
            self.number(from - at);
            self.number(to - from);
            self.bytes.extend_from_slice(&key[from..to]);
            at = to;
        }
        self.number(value.len());
        self.bytes.extend_from_slice(value);
        self.line = before;
        self.keep(key);
    }

    /// Writes an entry as another block has it, after the same line.
    fn copy(&mut self, raw: &[u8], key: &[u8]) {
        self.bytes.extend_from_slice(raw);
        self.keep(key);
    }

    fn keep(&mut self, key: &[u8]) {
        self.length = key.len();
        self.line.resize(self.line.len().max(key.len()), 0);
        self.line[..key.len()].copy_from_slice(key);
    }

    fn number(&mut self, value: usize) {
        number(&mut self.bytes, value as u64);
    }
}

/// Writes a number.
pub(super) fn number(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push((value as u8 & 0x7F) | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

/// Reads a number; `None` where the bytes end within it.
#[inline]
pub(super) fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    // Nearly all are short.
    if let Some((byte, rest)) = bytes.split_first().filter(|(byte, _)| **byte < 0x80) {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    let (mut number, mut shift) = (0, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7F).checked_shl(shift)?;
        shift += 7;
        if *byte < 0x80 {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Keys that begin alike, end alike, are the beginnings of others, and are nothing of the kind.
    fn keys() -> impl Strategy<Value = Vec<u8>> {
        let tail = prop_oneof![Just(vec![7; 96]), proptest::collection::vec(0u8..3, 0..6)];
        let head = prop_oneof![
            proptest::collection::vec(0u8..3, 0..5),
            any::<[u8; 4]>().prop_map(|head| head.to_vec()),
            (0u8..4).prop_map(|n| vec![n; 300]),
        ];
        (head, tail).prop_map(|(head, tail)| [head, tail].concat())
    }

    fn changes() -> impl Strategy<Value = Vec<BTreeMap<Vec<u8>, Option<Vec<u8>>>>> {
        let value = proptest::option::weighted(0.7, proptest::collection::vec(any::<u8>(), 0..200));
        proptest::collection::vec(proptest::collection::btree_map(keys(), value, 1..40), 1..20)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn it_holds_what_a_plain_map_holds(
            changes in changes(), asked in proptest::collection::vec(keys(), 8), many: bool,
        ) {
            let (mut compact, mut plain) = (Compact::default(), BTreeMap::new());
            for changes in changes {
                let (mut replaced, mut expected) = (vec![], vec![]);
                for (key, value) in &changes {
                    let before = match value {
                        Some(value) => plain.insert(key.clone(), value.clone()),
                        None => plain.remove(key),
                    };
                    expected.extend(before.map(|before| (key.clone(), before)));
                }
                let changes: Vec<Change<'_>> =
                    changes.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
                let told = &mut |key: &[u8], before: &[u8]| replaced.push((key.to_vec(), before.to_vec()));
                match many {
                    true => compact.apply_many(changes.into_iter(), told),
                    false => compact.apply(&changes, told),
                }
                prop_assert_eq!(replaced, expected);
                for key in asked.iter().chain(plain.keys()) {
                    prop_assert_eq!(compact.get(key), plain.get(key).map(Vec::as_slice));
                }
                for from in &asked {
                    let mut listed = vec![];
                    compact.each(from, &mut |key, value| {
                        listed.push((key.to_vec(), value.to_vec()));
                        true
                    });
                    let expected: Vec<_> =
                        plain.range(from.clone()..).map(|(key, value)| (key.clone(), value.clone())).collect();
                    prop_assert_eq!(listed, expected);
                }
            }
        }
    }

    #[test]
    fn what_keys_have_in_common_at_the_same_offsets_takes_no_room_whatever_stands_between_them() {
        let mut compact = Compact::default();
        let mut bytes = 0;
        for n in 0..1_000u32 {
            let key = [&n.to_be_bytes()[..], blake3::hash(&n.to_le_bytes()).as_bytes(), &[9; 96]].concat();
            bytes += key.len();
            compact.apply(&[(&key[..36], Some(&[])), (&key[..], Some(&[]))], &mut |_, _| ());
        }
        let held: usize = compact.blocks.iter().map(|(bound, block)| bound.len() + block.len()).sum();
        assert!(held < 50_000 && bytes > 130_000, "{held} of {bytes}");
    }
}
