//! The checker: reads a stored receipt, checks it, and quarantines what fails.
//!
//! A look-up compares checksum, statement and claim always, and verifies as the policy says. What fails is looked at
//! again on the writer: a put may have replaced it, or a prune deleted it, between two reads of the look-up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use reprise_model::digest::Digest;
use reprise_model::mutation::{self, Mutation};
use reprise_model::receipt::{Receipt, Verified, VerifiedMark, Verifier, VerifyError};
use reprise_model::statement::{Claim, Kind, StatementId};

use crate::engine::{self, Table};
use crate::envelope::{self, Envelope, EnvelopeError, Unchecked};
use crate::metered::Counters;
use crate::operation;
use crate::policy::VerifyPolicy;
use crate::port::{Lookup, MissReason, QuarantineReason, StoreError};
use crate::provenance::Origin;
use crate::staging::Staging;
use crate::tables::Tables;
use crate::writer::Writer;

/// How often a look-up is repeated when writes keep coming between its reads.
const LOOK_UPS_MAX: usize = 8;

/// Reads and checks. See the [module documentation](self).
pub(crate) struct Checker {
    pub(crate) tables: Tables,
    pub(crate) writer: Arc<Writer>,
    pub(crate) verifier: Arc<dyn Verifier>,
    pub(crate) verify: VerifyPolicy,
    pub(crate) clock: fn() -> u64,
    pub(crate) counters: Arc<Counters>,
    /// How many hits a sampling policy has decided about.
    pub(crate) samples: AtomicU64,
    /// What fails is reported and left in place; no mark is renewed.
    pub(crate) read_only: bool,
}

/// What a look-up found, and what the counters count of it.
pub(crate) struct Found {
    pub(crate) lookup: Lookup,
    pub(crate) kind: Option<Kind>,
    /// What its proof took.
    pub(crate) took_ms: u64,
}

impl Found {
    /// Nothing is stored.
    fn absent() -> Self {
        Self { lookup: Lookup::Miss(MissReason::Absent), kind: None, took_ms: 0 }
    }
}

impl Checker {
    /// Reads an entry and checks it as far as `full` and the policy ask.
    pub(crate) fn look_up(
        &self,
        id: &StatementId,
        claim: Option<&Claim>,
        full: bool,
    ) -> Result<Found, StoreError> {
        // A put or a prune between two reads can look like damage. The writer, which nothing runs beside, then finds no
        // damage, and the look-up is repeated.
        for _ in 0..LOOK_UPS_MAX {
            if let Some(found) = self.look_once(id, claim, full)? {
                return Ok(found);
            }
        }
        Ok(Found::absent())
    }

    /// `None` where the writer found no damage.
    fn look_once(
        &self,
        id: &StatementId,
        claim: Option<&Claim>,
        full: bool,
    ) -> Result<Option<Found>, StoreError> {
        let read = match self.tables.engine.read_split(Table::Receipts, &id.0, &envelope::seal_at) {
            Err(StoreError::Damaged { reason, .. }) => {
                return self.condemn(id, QuarantineReason::Unreadable(reason));
            }
            read => read?,
        };
        match read.map(|(front, rest)| Unchecked::of_parts(&front, rest)) {
            Some(Ok(unchecked)) => self.check(id, claim, full, unchecked),
            Some(Err(damage)) => self.condemn(id, damage.into()),
            None if self.tables.has_entry(id)? => self.condemn(id, QuarantineReason::Missing),
            None => Ok(Some(Found::absent())),
        }
    }

    fn check(
        &self,
        id: &StatementId,
        claim: Option<&Claim>,
        full: bool,
        unchecked: Unchecked,
    ) -> Result<Option<Found>, StoreError> {
        let mark = if full { None } else { self.tables.mark(id)? };
        // With a mark, `recall` hashes the receipt and compares; so the checksum that the envelope binds may
        // be taken from the mark here, and the receipt's bytes are hashed once.
        let known =
            mark.filter(|mark| unchecked.matches(&mark.checksum) || mutation::is(Mutation::UncheckedRead));
        let checksum = known.map_or_else(|| unchecked.receipt().checksum(), |mark| mark.checksum);
        let envelope = match unchecked.check(&checksum) {
            Ok(envelope) => envelope,
            Err(damage) => return self.condemn(id, damage.into()),
        };
        let Envelope { kind, receipt, provenance } = envelope;
        if receipt.id() != *id {
            return self.condemn(id, QuarantineReason::ForeignStatement { found: receipt.id() });
        }
        if self.tables.is_revoked(id, &receipt.statement.profile)? {
            return Ok(Some(Found::absent()));
        }
        let foreign = claim.is_some_and(|claim| *claim != receipt.claim);
        let recalled = known.filter(|_| !foreign && !self.must_verify(id, provenance.origin));
        let verified = match recalled {
            Some(mark) => Verified::recall(receipt, &mark)
                .map_err(|_| QuarantineReason::Envelope(EnvelopeError::Checksum)),
            None => {
                self.counters.verified();
                match Verified::check(receipt, self.verifier.as_ref()) {
                    Err(reason @ VerifyError::ForeignProfile { .. }) => {
                        let lookup = Lookup::Miss(MissReason::Unverifiable(reason));
                        return Ok(Some(Found { lookup, kind: Some(kind), took_ms: 0 }));
                    }
                    checked => checked.map_err(QuarantineReason::Verification),
                }
            }
        };
        let receipt = match verified {
            Ok(receipt) => receipt,
            Err(reason) => return self.condemn(id, reason),
        };
        if foreign {
            return Err(StoreError::ForeignClaim { statement: *id });
        }
        if recalled.is_none() && known.is_none() && !self.read_only {
            self.renew(id, &checksum);
        }
        let lookup = Lookup::Hit(receipt);
        Ok(Some(Found { lookup, kind: Some(kind), took_ms: provenance.took_ms }))
    }

    /// Moves an entry that failed into quarantine. `None` where it does not fail when the writer looks: a put replaced
    /// it, or a prune deleted it, meanwhile. An error where its deletion cannot be made durable.
    fn condemn(&self, id: &StatementId, reason: QuarantineReason) -> Result<Option<Found>, StoreError> {
        let kind = engine::readable(self.tables.entry(id))?.map(|entry| entry.kind);
        let lookup = Lookup::Miss(MissReason::Quarantined(reason.clone()));
        if self.read_only {
            return Ok(Some(Found { lookup, kind, took_ms: 0 }));
        }
        let (id, now_ms) = (*id, (self.clock)());
        let (verifier, engine) = (self.verifier.clone(), self.tables.engine.clone());
        let counters = self.counters.clone();
        let step = move |staging: &mut Staging<'_>| {
            let Some(bytes) = failing(staging, &id, &reason, verifier.as_ref())? else {
                return Ok(false);
            };
            tracing::warn!(statement = %id, %reason, "a stored receipt failed its check: quarantined, to be proved again");
            counters.quarantined();
            let name = format!("{}-{now_ms}", id.digest());
            if let Err(error) = engine.quarantine(&name, &bytes, &format!("{id}: {reason}")) {
                tracing::warn!(statement = %id, %error, "the bytes of a quarantined receipt could not be kept");
            }
            operation::delete_entry(staging, &id);
            Ok(true)
        };
        let condemned = if self.writer.is_here() {
            // On the writer itself waiting would deadlock: the quarantine follows this write.
            self.writer.send_with(0, step, Box::new(|_| ()));
            true
        } else {
            // While the entry is not deleted it is no miss: a put would find it stored, and drop the new proof.
            self.writer.wait(step)?
        };
        Ok(condemned.then_some(Found { lookup, kind, took_ms: 0 }))
    }

    /// Records that an entry was verified just now. No caller waits for it: a lost mark costs one verification.
    fn renew(&self, id: &StatementId, checksum: &Digest) {
        let mark = VerifiedMark { checksum: *checksum, at_ms: (self.clock)() };
        let id = *id;
        self.writer.send_with(0, move |staging| operation::mark(staging, &id, &mark), Box::new(|_| ()));
    }

    /// Whether the policy demands a full verification of this hit although a mark covers it.
    fn must_verify(&self, id: &StatementId, origin: Origin) -> bool {
        match self.verify {
            VerifyPolicy::Once => false,
            VerifyPolicy::Imported => origin == Origin::Imported,
            VerifyPolicy::Always => true,
            VerifyPolicy::Sample(share) => {
                let hit = self.samples.fetch_add(1, Ordering::Relaxed);
                let draw = blake3::Hasher::new().update(&id.0).update(&hit.to_le_bytes()).finalize();
                let draw = draw.as_bytes().first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                f64::from(draw) < share * (f64::from(u32::MAX) + 1.0)
            }
        }
    }
}

/// The bytes of an entry that failed its check, if it still fails; empty where none can be read.
///
/// Read through the staging: a put earlier in the same group may have replaced the entry.
fn failing(
    staging: &Staging<'_>,
    id: &StatementId,
    reason: &QuarantineReason,
    verifier: &dyn Verifier,
) -> Result<Option<Vec<u8>>, StoreError> {
    let bytes = match staging.get(Table::Receipts, &id.0) {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(staging.has(Table::Entries, &id.0)?.then(Vec::new)),
        Err(StoreError::Damaged { .. }) => return Ok(Some(Vec::new())),
        Err(error) => return Err(error),
    };
    let Ok(envelope) = Envelope::decode(&bytes) else { return Ok(Some(bytes)) };
    let receipt: Receipt = envelope.receipt;
    let refused = matches!(reason, QuarantineReason::Verification(_))
        && !matches!(verifier.verify(&receipt), Ok(()) | Err(VerifyError::ForeignProfile { .. }));
    Ok((refused || receipt.id() != *id).then_some(bytes))
}
