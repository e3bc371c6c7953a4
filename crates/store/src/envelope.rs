//! The envelope: the bytes of one stored receipt. Drawn to the byte in the crate's `DESIGN.md`.
//!
//! ```text
//! offset  length  field
//!      0       8  magic, "RPRSRCPT"
//!      8       2  format version, little-endian like every number here
//!     10       1  kind: 0 transaction, 1 batch, 2 aggregate
//!     11       1  seal kind: 0 fake, 1 composite, 2 succinct, 3 groth16
//!     12      32  statement id
//!     44      32  profile id
//!     76      32  claim digest
//!    108      32  program id
//!    140       4  J, length of the journal
//!    144       8  S, length of the seal
//!    152       4  P, length of the provenance
//!    156       J  journal
//!  156+J       S  seal
//!      …       P  provenance, in borsh
//!      …      32  checksum
//! ```
//!
//! The checksum is BLAKE3 (key derivation, [`CONTEXT`]) over `bytes 0..156 ‖ provenance ‖ receipt checksum`,
//! and [`Receipt::checksum`] is BLAKE3 over statement, program, journal, seal kind and seal. So every byte
//! is under the checksum, and a hit on a receipt with a verified-at mark hashes its large part once: the
//! mark is bound to the same receipt checksum. The length is exact: a byte more or less is refused.

use reprise_model::digest::{ClaimDigest, Digest, ProfileId, ProgramId};
use reprise_model::mutation::{self, Mutation};
use reprise_model::profile::SealKind;
use reprise_model::receipt::Receipt;
use reprise_model::statement::{Claim, Kind, Statement, StatementId};

use crate::provenance::Provenance;

/// The first bytes of every envelope.
pub const MAGIC: [u8; 8] = *b"RPRSRCPT";
/// The version that this build writes, and the only one it reads.
pub const VERSION: u16 = 1;
/// The key-derivation context of the checksum.
pub const CONTEXT: &str = "reprise 2026-11 receipt envelope";
/// The length of everything before the journal.
pub const HEAD_LEN: usize = 156;
/// The length of the checksum at the end.
pub const CHECKSUM_LEN: usize = 32;

/// Why bytes are not an envelope.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// The length is not what the head says.
    #[error("the envelope has {found} bytes where {expected} belong")]
    Length {
        /// The length there is.
        found: u64,
        /// The length there should be.
        expected: u64,
    },
    /// It does not begin with [`MAGIC`].
    #[error("the envelope does not begin with the magic bytes")]
    Magic,
    /// It is of a format that this build does not read.
    #[error("the envelope has format {found}, and this build reads format {VERSION}")]
    Version {
        /// The format it says it has.
        found: u16,
    },
    /// A field holds a value that is never written.
    #[error("the envelope's {field} cannot be read")]
    Field {
        /// Which.
        field: &'static str,
    },
    /// The checksum does not match.
    #[error("the envelope's checksum does not match")]
    Checksum,
}

/// An envelope whose fields are read, and not yet checked.
#[derive(Debug)]
pub struct Unchecked {
    kind: Kind,
    receipt: Receipt,
    provenance: Provenance,
    id: StatementId,
    bound: blake3::Hasher,
    checksum: [u8; CHECKSUM_LEN],
}

/// A whole envelope. Its receipt is the one that was stored; whether it verifies is another question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The kind of the statement.
    pub kind: Kind,
    /// The receipt.
    pub receipt: Receipt,
    /// How it came to be.
    pub provenance: Provenance,
}

impl Envelope {
    /// Reads and checks.
    pub fn decode(bytes: &[u8]) -> Result<Self, EnvelopeError> {
        let unchecked = Unchecked::decode(bytes.to_vec())?;
        let checksum = unchecked.receipt().checksum();
        unchecked.check(&checksum)
    }

    /// The bytes to store.
    pub fn encode(&self) -> Vec<u8> {
        encode(self.kind, &self.receipt, &self.provenance, &self.receipt.checksum())
    }
}

/// The bytes to store for a receipt whose [`Receipt::checksum`] is known.
pub fn encode(kind: Kind, receipt: &Receipt, provenance: &Provenance, checksum: &Digest) -> Vec<u8> {
    let provenance = provenance_bytes(provenance);
    let journal = &receipt.claim.journal;
    let len = HEAD_LEN + journal.len() + receipt.seal.len() + provenance.len() + CHECKSUM_LEN;
    let mut out = Vec::with_capacity(len);
    out.extend(MAGIC);
    out.extend(VERSION.to_le_bytes());
    out.push(kind as u8);
    out.push(receipt.seal_kind as u8);
    out.extend(receipt.id().0);
    out.extend(receipt.statement.profile.0);
    out.extend(receipt.statement.claim.0);
    out.extend(receipt.claim.program.0);
    out.extend((journal.len() as u32).to_le_bytes());
    out.extend((receipt.seal.len() as u64).to_le_bytes());
    out.extend((provenance.len() as u32).to_le_bytes());
    let bound = bound(&out, &provenance);
    out.extend_from_slice(journal);
    out.extend_from_slice(&receipt.seal);
    out.extend_from_slice(&provenance);
    out.extend(seal_with(bound, checksum));
    out
}

/// The size [`encode`] will give.
pub fn encoded_len(receipt: &Receipt, provenance: &Provenance) -> u64 {
    let variable = receipt.claim.journal.len() + receipt.seal.len() + provenance_bytes(provenance).len();
    (HEAD_LEN + variable + CHECKSUM_LEN) as u64
}

/// Where the next envelope may begin.
pub fn find(bytes: &[u8]) -> Option<usize> {
    bytes.windows(MAGIC.len()).position(|window| window == MAGIC)
}

/// How long the envelope at the front of `bytes` says it is.
pub fn length(bytes: &[u8]) -> Option<usize> {
    let mut fields = Fields { rest: bytes.get(140..HEAD_LEN)? };
    let journal_len = u64::from(u32::from_le_bytes(fields.take()));
    let seal_len = u64::from_le_bytes(fields.take());
    let provenance_len = u64::from(u32::from_le_bytes(fields.take()));
    let fixed = (HEAD_LEN + CHECKSUM_LEN) as u64;
    (fixed + journal_len + provenance_len).checked_add(seal_len)?.try_into().ok()
}

/// Where the seal of an envelope begins, by its first bytes.
pub fn seal_at(front: &[u8]) -> usize {
    let journal_len =
        front.get(140..144).and_then(|bytes| bytes.first_chunk()).map(|len| u32::from_le_bytes(*len));
    HEAD_LEN.saturating_add(journal_len.unwrap_or(0) as usize)
}

impl Unchecked {
    /// Splits the bytes into fields. Every length is checked before it is used.
    pub fn decode(mut bytes: Vec<u8>) -> Result<Self, EnvelopeError> {
        let rest = bytes.split_off(seal_at(&bytes).min(bytes.len()));
        Self::of_parts(&bytes, rest)
    }

    /// The same, from the bytes before the seal and the rest. The seal keeps the allocation of the rest, because it is
    /// most of it.
    pub fn of_parts(front: &[u8], mut rest: Vec<u8>) -> Result<Self, EnvelopeError> {
        let found = (front.len() + rest.len()) as u64;
        let Some((head, journal)) = front.split_first_chunk::<HEAD_LEN>() else {
            return Err(EnvelopeError::Length { found, expected: (HEAD_LEN + CHECKSUM_LEN) as u64 });
        };
        let mut fields = Fields { rest: head };
        if fields.take::<8>() != MAGIC {
            return Err(EnvelopeError::Magic);
        }
        let version = u16::from_le_bytes(fields.take());
        if version != VERSION {
            return Err(EnvelopeError::Version { found: version });
        }
        let [kind] = fields.take();
        let kind = kind_of(kind).ok_or(EnvelopeError::Field { field: "kind" })?;
        let [seal_kind] = fields.take();
        let seal_kind = seal_kind_of(seal_kind).ok_or(EnvelopeError::Field { field: "seal kind" })?;
        let id = StatementId(fields.take());
        let statement = Statement { profile: ProfileId(fields.take()), claim: ClaimDigest(fields.take()) };
        let program = ProgramId(fields.take());
        let journal_len = u64::from(u32::from_le_bytes(fields.take()));
        let seal_len = u64::from_le_bytes(fields.take());
        let provenance_len = u64::from(u32::from_le_bytes(fields.take()));

        let expected =
            (HEAD_LEN as u64 + CHECKSUM_LEN as u64 + journal_len + provenance_len).saturating_add(seal_len);
        if expected != found || journal.len() as u64 != journal_len {
            return Err(EnvelopeError::Length { found, expected });
        }
        // The sum equals the length of both slices, so each part fits a usize and lies within `rest`.
        let (_, small) = rest.split_at(seal_len as usize);
        let (provenance, checksum) = small.split_at(provenance_len as usize);

        let journal = journal.to_vec();
        let bound = bound(head, provenance);
        let checksum = checksum.try_into().map_err(|_| EnvelopeError::Checksum)?;
        let provenance =
            borsh::from_slice(provenance).map_err(|_| EnvelopeError::Field { field: "provenance" })?;
        rest.truncate(seal_len as usize);
        let claim = Claim { program, journal };
        let receipt = Receipt { statement, claim, seal_kind, seal: rest };
        Ok(Self { kind, receipt, provenance, id, bound, checksum })
    }

    /// The receipt as it was read. Damage may still be in it.
    pub fn receipt(&self) -> &Receipt {
        &self.receipt
    }

    /// Whether the envelope binds this receipt checksum.
    pub fn matches(&self, receipt_checksum: &Digest) -> bool {
        seal_with(self.bound.clone(), receipt_checksum) == self.checksum
    }

    /// Compares the checksum, given [`Receipt::checksum`] of [`Self::receipt`], and the id.
    pub fn check(self, receipt_checksum: &Digest) -> Result<Envelope, EnvelopeError> {
        if !self.matches(receipt_checksum) && !mutation::is(Mutation::UncheckedRead) {
            return Err(EnvelopeError::Checksum);
        }
        if self.id != self.receipt.id() {
            return Err(EnvelopeError::Field { field: "statement id" });
        }
        Ok(Envelope { kind: self.kind, receipt: self.receipt, provenance: self.provenance })
    }
}

/// The part of the checksum that the receipt's own does not cover.
fn bound(head: &[u8], provenance: &[u8]) -> blake3::Hasher {
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    hasher.update(head).update(provenance);
    hasher
}

fn seal_with(mut bound: blake3::Hasher, receipt_checksum: &Digest) -> [u8; CHECKSUM_LEN] {
    *bound.update(&receipt_checksum.0).finalize().as_bytes()
}

fn provenance_bytes(provenance: &Provenance) -> Vec<u8> {
    borsh::to_vec(provenance).unwrap_or_default()
}

pub(crate) fn kind_of(byte: u8) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| *kind as u8 == byte)
}

fn seal_kind_of(byte: u8) -> Option<SealKind> {
    [SealKind::Fake, SealKind::Composite, SealKind::Succinct, SealKind::Groth16]
        .into_iter()
        .find(|kind| *kind as u8 == byte)
}

/// Reads fixed fields off the front of a head that is long enough for them.
struct Fields<'a> {
    rest: &'a [u8],
}

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.rest.split_first_chunk::<N>() {
            Some((field, rest)) => {
                self.rest = rest;
                *field
            }
            None => [0; N],
        }
    }
}
