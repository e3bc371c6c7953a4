//! Tell the L1: the next settlement, once, until the chain shows it.
//!
//! The settler assumes nothing. It submits the oldest unsettled bundle whose proof is durable, and knows that
//! it settled only when a chain event says so; then the next bundle is the oldest. A refusal stands until the
//! chain changes. A reorg that takes a settlement away makes its bundle the oldest again.
//!
//! Two ports, so that a fake seal cannot reach an L1: [`SettlementSink`] takes a
//! [`RealReceipt`], into which a fake one does not convert; [`UnprovenSink`] is implemented only by L1s that
//! are played, never by one that moves value.

use reprise_model::artifact::{AggregatorArtifact, SettlementArtifact};
use reprise_model::digest::BlockHash;
use reprise_model::receipt::{FakeSealError, RealReceipt, Receipt, Verified};
use reprise_model::statement::StatementId;

/// An L1 that settlements are submitted to.
pub trait SettlementSink: Send {
    /// Submits; that it was taken is not that it settled.
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<(), SettleError>;
}

/// A played L1, for pipelines whose proofs are mocked.
pub trait UnprovenSink: Send {
    /// Submits to the played covenant.
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<(), SettleError>;
}

/// Where settlements go.
pub enum Sink {
    /// To an L1.
    Real(Box<dyn SettlementSink>),
    /// To a played one.
    Unproven(Box<dyn UnprovenSink>),
}

/// Why a settlement was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// The L1 refuses it.
    #[error("{statement}: the L1 refused the settlement: {reason}")]
    Refused {
        /// The aggregate's statement.
        statement: StatementId,
        /// Its words.
        reason: String,
    },
    /// The seal is fake.
    #[error(transparent)]
    Fake(#[from] FakeSealError),
}

/// Submits settlements.
pub struct Settler {
    sink: Sink,
    /// What was last submitted, or refused, and the canonical tip it was judged under.
    last: Option<(StatementId, BlockHash)>,
}

impl Settler {
    /// A settler into `sink`.
    pub fn new(sink: Sink) -> Self {
        Self { sink, last: None }
    }

    /// Whether `statement` has yet to be submitted on the chain whose tip is `tip`.
    pub fn is_due(&self, statement: StatementId, tip: BlockHash) -> bool {
        self.last != Some((statement, tip))
    }

    /// Submits the oldest unsettled bundle's proof, once for each tip of the chain.
    pub fn settle(&mut self, artifact: AggregatorArtifact, tip: BlockHash) -> Result<(), SettleError> {
        let statement = artifact.receipt.id();
        self.last = Some((statement, tip));
        let (end_block, journal, exits) = (artifact.end.block_hash(), artifact.journal, artifact.exits);
        match &mut self.sink {
            Sink::Real(sink) => {
                let receipt = RealReceipt::try_from(artifact.receipt)?;
                sink.submit(SettlementArtifact { end_block, journal, exits, receipt })?;
            }
            Sink::Unproven(sink) => {
                let receipt = artifact.receipt;
                sink.submit_unproven(SettlementArtifact { end_block, journal, exits, receipt })?;
            }
        }
        Ok(())
    }
}
