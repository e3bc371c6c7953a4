//! The pruner: deletes what is final or revoked, a page at a time.
//!
//! A pass records first, durably, what it is about to delete: the floor, or the revocation. So a pass that was
//! interrupted is finished by the next one, and what damage brings back is deleted again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use reprise_model::coordinate::Checkpoint;
use reprise_model::digest::{PinsDigest, ProfileId};

use crate::operation;
use crate::port::{Floor, PruneOutcome, StoreError};
use crate::record;
use crate::tables::{PAGE_LEN, Tables};
use crate::writer::Writer;

/// Deletes in passes. See the [module documentation](self).
pub(crate) struct Pruner {
    tables: Tables,
    writer: Arc<Writer>,
    /// Per pins, the floor of the last finished pass since the store was opened.
    swept: Mutex<HashMap<PinsDigest, Checkpoint>>,
}

impl Pruner {
    pub(crate) fn new(tables: Tables, writer: Arc<Writer>) -> Self {
        Self { tables, writer, swept: Mutex::default() }
    }

    /// Deletes what is below a recorded floor or revoked: a crash or damage may have left it, or brought it back.
    pub(crate) fn delete_again(&self) -> Result<(), StoreError> {
        for (pins, floor) in self.tables.floors()? {
            if self.tables.has_below(&pins, floor)? {
                self.prune(&pins, floor)?;
            }
        }
        self.remove_revoked().map(drop)
    }

    /// Raises the floor of these pins, then deletes what lies below it.
    pub(crate) fn prune(&self, pins: &PinsDigest, floor: Floor) -> Result<PruneOutcome, StoreError> {
        let pins = *pins;
        // Durable before the first delete: what is put from now on drops its places below the floor.
        self.writer.wait(move |staging| operation::raise_floor(staging, &pins, floor))?;
        let mut outcome = PruneOutcome::default();
        let swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner).get(&pins).copied();
        // A finished pass left nothing of these pins below its floor, and no put adds to it: the next pass begins there.
        let mut from = Some(swept.map_or(Vec::new(), |below| record::floor_key(below).to_vec()));
        while let Some(start) = from {
            let (next, page) = self.writer.wait(move |staging| {
                let mut page = PruneOutcome::default();
                let next = operation::prune_page(staging, &pins, &start, PAGE_LEN, &mut page)?;
                Ok((next, page))
            })?;
            from = next;
            outcome.coordinates += page.coordinates;
            outcome.receipts += page.receipts;
            outcome.bytes += page.bytes;
            outcome.gone.extend(page.gone);
        }
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        let below = swept.entry(pins).or_default();
        *below = floor.below.max(*below);
        Ok(outcome)
    }

    /// Records a revocation, then deletes what it revokes. Returns how many receipts went.
    pub(crate) fn revoke(&self, profile: &ProfileId) -> Result<u64, StoreError> {
        let profile = *profile;
        // Durable before the first delete: from here on none of them is handed out, whatever is interrupted.
        self.writer.wait(move |staging| operation::revoke(staging, &profile))?;
        self.remove_revoked()
    }

    fn remove_revoked(&self) -> Result<u64, StoreError> {
        let mut removed = 0;
        for page in self.tables.revoked()?.chunks(PAGE_LEN) {
            let page = page.to_vec();
            removed += self.writer.wait(move |staging| operation::remove_revoked(staging, &page))?;
        }
        Ok(removed)
    }
}
