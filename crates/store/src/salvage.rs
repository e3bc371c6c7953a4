//! Salvage: receipts that lie whole in parts of the log that do not check.
//!
//! A frame whose changes are damaged may hold whole envelopes: each begins with its magic bytes, states its length and
//! carries its checksum. When the store is opened, they are found without the frame, verified in full and put again.
//! Their coordinates are not salvaged: a coordinate comes back with the next hit or put there. Until then such an entry
//! has none, and is the first to be evicted.
//!
//! Each envelope is salvaged once. Its magic bytes are overwritten in the damaged part after it was put, so that a
//! receipt which is pruned or removed later does not come back at every opening.

use reprise_model::digest::ProfileId;
use reprise_model::receipt::{Verified, Verifier};

use crate::disk::Damage;
use crate::envelope::{self, Envelope};
use crate::port::{NewEntry, ReceiptStore, StoreError};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Salvaged {
    /// Receipts that were found whole, verified, and were not stored otherwise.
    pub receipts: u64,
    /// Envelopes that were found whole and do not verify here.
    pub refused: u64,
}

/// Whether a profile was ever revoked in this directory.
type WasRevoked<'a> = &'a dyn Fn(&ProfileId) -> Result<bool, StoreError>;

/// Searches the damaged parts and puts what is whole.
pub(crate) fn salvage(
    store: &dyn ReceiptStore,
    was_revoked: WasRevoked<'_>,
    verifier: &dyn Verifier,
    damage: &[Damage],
) -> Result<Salvaged, StoreError> {
    let mut salvaged = Salvaged::default();
    for part in damage {
        let mut done = Vec::new();
        for (at, envelope) in envelopes(&part.bytes()) {
            if put(store, was_revoked, verifier, envelope, &mut salvaged)? {
                done.push(at as u64);
            }
        }
        if let Err(error) = part.strike_out(&done) {
            tracing::warn!(path = %part.path().display(), %error, "salvaged receipts could not be struck out: they will be found there again");
        }
    }
    if !damage.is_empty() {
        let Salvaged { receipts, refused } = salvaged;
        tracing::warn!(
            parts = damage.len(),
            receipts,
            refused,
            "searched the damaged parts of the receipt log"
        );
    }
    Ok(salvaged)
}

/// The whole envelopes among bytes, and where each begins.
pub fn envelopes(bytes: &[u8]) -> Vec<(usize, Envelope)> {
    let mut found = Vec::new();
    let mut rest = bytes;
    while let Some(at) = envelope::find(rest) {
        rest = &rest[at..];
        let whole = envelope::length(rest).and_then(|len| rest.get(..len));
        match whole.and_then(|whole| Envelope::decode(whole).ok().map(|read| (whole.len(), read))) {
            Some((len, envelope)) => {
                found.push((bytes.len() - rest.len(), envelope));
                rest = &rest[len..];
            }
            None => rest = &rest[envelope::MAGIC.len()..],
        }
    }
    found
}

/// Stores a receipt, if it verifies. Returns whether it is settled: stored, or not to be stored.
fn put(
    store: &dyn ReceiptStore,
    was_revoked: WasRevoked<'_>,
    verifier: &dyn Verifier,
    envelope: Envelope,
    salvaged: &mut Salvaged,
) -> Result<bool, StoreError> {
    let Envelope { kind, receipt, provenance } = envelope;
    // One whose profile was revoked may have been stored before.
    if store.contains(&receipt.id())? || was_revoked(&receipt.statement.profile)? {
        return Ok(true);
    }
    match Verified::check(receipt, verifier) {
        Ok(receipt) => {
            let entry = NewEntry { receipt, kind, provenance, coordinates: Vec::new() };
            salvaged.receipts += u64::from(store.put(entry)?.new);
            Ok(true)
        }
        Err(error) => {
            tracing::warn!(%error, "a receipt in a damaged part does not verify here and is not stored");
            salvaged.refused += 1;
            Ok(false)
        }
    }
}
