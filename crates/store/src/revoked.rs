//! The copy of the revocations beside the log.
//!
//! A revocation must survive any single fault: if the frame that recorded it is damaged, the revoked receipts would be
//! handed out again. So it is recorded in two places, the log and the file `REVOKED`. When the store is opened, each
//! gets back what it lost from the other.
//!
//! ```text
//! REVOKED     a revocation a line: its record in hexadecimal, which carries its own checksum
//! ```
//!
//! The file is written first, whole, by write, sync, rename and sync of the directory. A line that does not read
//! is left out.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use crate::directory::Directory;
use crate::engine::{Changes, Table};
use crate::medium::{self, Medium};
use crate::record::{self, Revocation};

/// Revocations by the key of their table.
pub(crate) type Revocations = BTreeMap<Vec<u8>, Revocation>;

/// The revocations of the first that the second lacks.
pub(crate) fn newer(these: &Revocations, than: &Revocations) -> Revocations {
    let known = |key: &Vec<u8>| than.get(key).map_or(0, |known| known.epoch);
    these
        .iter()
        .filter(|(key, it)| it.epoch > known(key))
        .map(|(key, it)| (key.clone(), it.clone()))
        .collect()
}

/// The revocations among changes.
pub(crate) fn among(changes: &Changes) -> Revocations {
    let of = changes.iter().filter(|((table, _), _)| *table == Table::Revocations);
    of.filter_map(|((_, key), value)| Some((key.clone(), record::read(value.as_ref()?)?))).collect()
}

/// As changes to the table.
pub(crate) fn changes(revocations: Revocations) -> Changes {
    let change = |(key, it)| ((Table::Revocations, key), Some(record::write::<Revocation>(&it)));
    revocations.into_iter().map(change).collect()
}

/// Reads the file; no file holds none.
pub(crate) fn read(medium: &dyn Medium, path: &Path) -> io::Result<Revocations> {
    let bytes = match medium::read(medium, path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Revocations::new()),
        bytes => bytes?,
    };
    let mut revocations = Revocations::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match from_hex(line).and_then(|bytes| record::read::<Revocation>(&bytes)) {
            Some(revocation) => drop(revocations.insert(revocation.profile.0.to_vec(), revocation)),
            None => {
                tracing::warn!(path = %path.display(), "a line of the file does not read as a revocation and is ignored")
            }
        }
    }
    Ok(revocations)
}

/// Writes the file, durably.
pub(crate) fn write(dir: &Directory, revocations: &Revocations) -> io::Result<()> {
    let mut text = String::new();
    for revocation in revocations.values() {
        text.extend(record::write(revocation).iter().map(|byte| format!("{byte:02x}")));
        text.push('\n');
    }
    dir.write_durably(&dir.revoked(), text.as_bytes())
}

fn from_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |c: &u8| char::from(*c).to_digit(16).map(|digit| digit as u8);
    let (pairs, rest) = text.as_chunks::<2>();
    let byte = |[high, low]: &[u8; 2]| Some(digit(high)? << 4 | digit(low)?);
    rest.is_empty().then(|| pairs.iter().map(byte).collect())?
}
