//! The L1s that come with the house: a recording or the dev chain, each with an overlay to settle into.

use std::sync::{Arc, Mutex, PoisonError};

use reprise_chain::overlay::{Overlay, Rejection};
use reprise_model::artifact::SettlementArtifact;
use reprise_model::receipt::{RealReceipt, Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_settler::{RehearsalSink, SettleError, SettlementSink};

/// The overlay as a sink.
#[derive(Debug, Clone)]
pub struct OverlaySink(pub Arc<Mutex<Overlay>>);

impl OverlaySink {
    fn take(&self, settlement: SettlementArtifact<&Receipt>) -> Result<(), SettleError> {
        let statement: StatementId = settlement.receipt.id();
        let refused = |why: Rejection| SettleError::Refused { statement, reason: why.to_string() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).submit(settlement).map_err(refused)
    }
}

impl SettlementSink for OverlaySink {
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<(), SettleError> {
        let SettlementArtifact { end_block, journal, receipt } = &settlement;
        self.take(SettlementArtifact { end_block: *end_block, journal: *journal, receipt })
    }
}

impl RehearsalSink for OverlaySink {
    fn rehearse(&mut self, settlement: SettlementArtifact<Verified<Receipt>>) -> Result<(), SettleError> {
        let SettlementArtifact { end_block, journal, receipt } = &settlement;
        self.take(SettlementArtifact { end_block: *end_block, journal: *journal, receipt })
    }
}
