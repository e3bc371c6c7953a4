//! The archive: receipts on their way from one store to another.
//!
//! ```text
//! magic, "RPRSARCH" | version, 2 bytes | record … | end
//! profile  1 | length, 4 bytes | profile in borsh
//! entry    2 | length, 8 bytes | envelope | count, 4 bytes | coordinate keys, 177 bytes each
//! end      0 | entries, 8 bytes | BLAKE3 over everything before
//! ```
//!
//! Numbers are little-endian. An import trusts nothing in an archive: it checks and verifies each entry in full, and
//! refuses an entry that fails, alone. From a torn archive it stores what came before the tear, and returns an error.

use std::io::{self, Read, Write};

use reprise_model::coordinate::Coordinate;
use reprise_model::profile::ProofProfile;
use reprise_model::receipt::{Verified, Verifier};
use reprise_model::statement::StatementId;

use crate::envelope::{self, Envelope};
use crate::port::{Filter, NO_RECORD, NewEntry, ReceiptStore, StoreError};

/// The first bytes of every archive.
pub const MAGIC: [u8; 8] = *b"RPRSARCH";
/// The version this code writes, and the only one it reads so far.
pub const VERSION: u16 = 2;

const END: u8 = 0;
const PROFILE: u8 = 1;
const ENTRY: u8 = 2;
/// How many of an entry's places an import takes: they are only reported, and each takes memory.
const PLACES_MAX: usize = 4_096;
/// The largest record that an import takes: a larger one is damage.
const RECORD_BYTES_MAX: u64 = 256 << 20;

/// Why an archive could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file could not be read or written.
    #[error("the archive could not be read or written: {0}")]
    Io(#[from] io::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It does not begin with [`MAGIC`].
    #[error("this is no archive of receipts")]
    Magic,
    /// It is of a format that this build does not read.
    #[error(
        "the archive has format {found}, and this build reads format {VERSION}: export it again with this build, or \
         import it with the build that wrote it"
    )]
    Version {
        /// The format it says it has.
        found: u16,
    },
    /// It ends early, or a record holds what no export writes. What came before is imported.
    #[error("the archive is torn or damaged after {entries} entries, which were imported: {what}")]
    Torn {
        /// Entries read before.
        entries: u64,
        /// What is wrong.
        what: &'static str,
    },
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Exported {
    /// Entries in the archive.
    pub entries: u64,
    /// Entries that are damaged, or that the disk cannot read, and why they are left out.
    pub left_out: Vec<(StatementId, String)>,
}

/// What was read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Receipts newly stored.
    pub new: u64,
    /// Receipts that were stored before.
    pub known: u64,
    /// Receipts whose coordinates are all below the prune floor here.
    pub below_floor: u64,
    /// Entries that failed their check: the statement, where it could be read, and the reason.
    pub refused: Vec<(Option<StatementId>, String)>,
}

/// Writes the entries that pass `filter`.
pub fn export(
    store: &dyn ReceiptStore,
    filter: &Filter,
    out: &mut dyn Write,
) -> Result<Exported, ArchiveError> {
    let mut out = Hashed { inner: out, hasher: blake3::Hasher::new() };
    out.write_all(&MAGIC)?;
    out.write_all(&VERSION.to_le_bytes())?;
    for profile in store.profiles()? {
        let bytes = borsh::to_vec(&profile)?;
        out.write_all(&[PROFILE])?;
        out.write_all(&(bytes.len() as u32).to_le_bytes())?;
        out.write_all(&bytes)?;
    }
    let mut exported = Exported::default();
    for summary in store.list(filter)? {
        let read = match store.show(&summary.id) {
            Ok(Some(shown)) => shown.receipt.map_err(|damage| damage.to_string()),
            Ok(None) => continue,
            Err(error) if error.is_unreadable() => Err(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        let receipt = match read {
            Ok(receipt) => receipt,
            Err(why) => {
                exported.left_out.push((summary.id, why));
                continue;
            }
        };
        let bytes = envelope::encode(summary.kind, &receipt, &summary.provenance, &receipt.checksum());
        out.write_all(&[ENTRY])?;
        out.write_all(&(bytes.len() as u64).to_le_bytes())?;
        out.write_all(&bytes)?;
        out.write_all(&(summary.coordinates.len() as u32).to_le_bytes())?;
        for coordinate in &summary.coordinates {
            out.write_all(&coordinate.key())?;
        }
        exported.entries += 1;
    }
    let of = |id| (id, NO_RECORD.into());
    exported.left_out.extend(store.stats()?.unreadable.into_iter().map(of));
    out.write_all(&[END])?;
    out.write_all(&exported.entries.to_le_bytes())?;
    let digest = out.hasher.finalize();
    out.inner.write_all(digest.as_bytes())?;
    out.inner.flush()?;
    Ok(exported)
}

/// Reads an archive into a store, verifying every entry.
pub fn import(
    store: &dyn ReceiptStore,
    verifier: &dyn Verifier,
    input: &mut dyn Read,
) -> Result<Imported, ArchiveError> {
    let mut reader = Reader { inner: input, hasher: blake3::Hasher::new(), entries: 0 };
    if reader
        .array::<8>()
        .map_err(|error| if reader.is_torn(&error) { ArchiveError::Magic } else { error })?
        != MAGIC
    {
        return Err(ArchiveError::Magic);
    }
    let version = u16::from_le_bytes(reader.array()?);
    if version != VERSION {
        return Err(ArchiveError::Version { found: version });
    }
    let mut imported = Imported::default();
    loop {
        match reader.array::<1>()? {
            [PROFILE] => {
                let len = u64::from(u32::from_le_bytes(reader.array()?));
                let bytes = reader.bytes(len)?;
                match borsh::from_slice::<ProofProfile>(&bytes) {
                    Ok(profile) => store.describe(&profile)?,
                    Err(_) => return Err(reader.torn("a profile does not read")),
                }
            }
            [ENTRY] => {
                let len = u64::from_le_bytes(reader.array()?);
                let bytes = reader.bytes(len)?;
                let count = u64::from(u32::from_le_bytes(reader.array()?));
                let keys = reader.bytes(count * Coordinate::KEY_LEN as u64)?;
                reader.entries += 1;
                take(store, verifier, &bytes, &keys, &mut imported)?;
            }
            [END] => break,
            _ => return Err(reader.torn("a record is of no known kind")),
        }
    }
    if u64::from_le_bytes(reader.array()?) != reader.entries {
        return Err(reader.torn("its count of entries is wrong"));
    }
    let digest = *reader.hasher.finalize().as_bytes();
    if reader.array()? != digest {
        return Err(reader.torn("its checksum does not match"));
    }
    Ok(imported)
}

/// Checks one entry and stores it, or records why not.
fn take(
    store: &dyn ReceiptStore,
    verifier: &dyn Verifier,
    bytes: &[u8],
    keys: &[u8],
    imported: &mut Imported,
) -> Result<(), ArchiveError> {
    let Envelope { kind, receipt, provenance } = match Envelope::decode(bytes) {
        Ok(envelope) => envelope,
        Err(damage) => {
            imported.refused.push((None, damage.to_string()));
            return Ok(());
        }
    };
    let id = receipt.id();
    let keys = keys.chunks(Coordinate::KEY_LEN).take(PLACES_MAX);
    let coordinates: Option<Vec<_>> = keys.map(Coordinate::from_key).collect();
    let Some(coordinates) = coordinates else {
        imported.refused.push((Some(id), "a coordinate does not read".into()));
        return Ok(());
    };
    let receipt = match Verified::check(receipt, verifier) {
        Ok(receipt) => receipt,
        Err(error) => {
            imported.refused.push((Some(id), error.to_string()));
            return Ok(());
        }
    };
    let provenance = provenance.reported();
    match store.put(NewEntry { receipt, kind, provenance, coordinates }) {
        Ok(put) if put.new => imported.new += 1,
        Ok(put) if put.stored => imported.known += 1,
        Ok(_) => imported.below_floor += 1,
        Err(error @ (StoreError::ForeignCoordinate { .. } | StoreError::TooLarge { .. })) => {
            imported.refused.push((Some(id), error.to_string()));
        }
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

/// A writer that hashes what passes.
struct Hashed<'a> {
    inner: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl Hashed<'_> {
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.inner.write_all(bytes)
    }
}

/// A reader that hashes what passes.
struct Reader<'a> {
    inner: &'a mut dyn Read,
    hasher: blake3::Hasher,
    entries: u64,
}

impl Reader<'_> {
    fn torn(&self, what: &'static str) -> ArchiveError {
        ArchiveError::Torn { entries: self.entries, what }
    }

    fn is_torn(&self, error: &ArchiveError) -> bool {
        matches!(error, ArchiveError::Torn { .. })
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, ArchiveError> {
        if len > RECORD_BYTES_MAX {
            return Err(self.torn("a record is too long to be one"));
        }
        let mut bytes = Vec::new();
        (&mut *self.inner).take(len).read_to_end(&mut bytes)?;
        if bytes.len() as u64 != len {
            return Err(self.torn("it ends early"));
        }
        self.hasher.update(&bytes);
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], ArchiveError> {
        let bytes = self.bytes(N as u64)?;
        bytes.try_into().map_err(|_| self.torn("it ends early"))
    }
}
