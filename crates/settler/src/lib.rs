//! Settling: submits the next settlement until the chain shows it.
//!
//! The settler submits the oldest unsettled bundle whose proof is durable. A bundle counts as settled only when a chain
//! event shows its settlement; then the next bundle is the oldest. A reorg that removes a settlement makes its bundle the
//! oldest again.
//!
//! A refusal is a state ([`Refusal`]) with a [`Cause`], the time of its beginning and the time of the next try. It ends
//! when the L1 takes a settlement, the chain shows one, or nothing is wanted. A submission is repeated at every new tip,
//! and also when the next try is due. The settler has no clock: its caller passes the time ([`Moment`]).
//!
//! Two ports keep fake seals from an L1. [`SettlementSink`] takes a [`RealReceipt`], into which a fake receipt does not
//! convert. Only simulated L1s and private networks implement [`UnprovenSink`], never an L1 that moves value.

mod refusal;

use std::time::Duration;

use reprise_model::artifact::{AggregatorArtifact, SettlementArtifact};
use reprise_model::block::ObservedSettlement;
use reprise_model::digest::BlockHash;
use reprise_model::exit::{Exit, Tree};
use reprise_model::mutation::{self, Mutation};
use reprise_model::receipt::{FakeSealError, RealReceipt, Receipt, Verified};
use reprise_model::statement::StatementId;

pub use crate::refusal::{Cause, Moment, Refusal, SettleError, Urgency};

/// An L1 that settlements are submitted to.
pub trait SettlementSink: Send {
    /// Submits a settlement. An `Ok` means that it was taken, not that it settled.
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<Taken, SettleError>;

    /// Sets the unpaid exits of all settlements on the chain.
    fn set_unpaid(&mut self, _unpaid: &[&UnpaidExits]) {}

    /// Why exits are not being paid, where they should be.
    fn exits_error(&self) -> Option<String> {
        None
    }

    /// Why the covenant is still in its founder's key, where it should not be.
    fn entry_error(&self) -> Option<String> {
        None
    }
}

/// A simulated L1, for pipelines whose proofs are mocked.
pub trait UnprovenSink: Send {
    /// Submits to the simulated covenant.
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError>;

    /// As [`SettlementSink::set_unpaid`].
    fn set_unpaid(&mut self, _unpaid: &[&UnpaidExits]) {}

    /// As [`SettlementSink::exits_error`].
    fn exits_error(&self) -> Option<String> {
        None
    }

    /// As [`SettlementSink::entry_error`].
    fn entry_error(&self) -> Option<String> {
        None
    }
}

/// The exits of a settlement on the chain, not all of which are paid, whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnpaidExits {
    /// The settlement.
    pub settlement: ObservedSettlement,
    /// The block that carries it.
    pub carrier: BlockHash,
    /// Whether that block is final.
    pub is_final: bool,
    /// Its exits, in order.
    pub exits: Vec<Exit>,
    /// The tree over them. The leaves of those that are paid are zero.
    pub tree: Tree,
}

/// Where settlements go.
pub enum Sink {
    /// To an L1.
    Real(Box<dyn SettlementSink>),
    /// To a simulated one.
    Unproven(Box<dyn UnprovenSink>),
}

/// The outcome of a submission that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// The L1 has it.
    UnderWay,
    /// It is being sent: whether the L1 takes it is known at a later submission.
    Sending,
}

/// Submits settlements.
pub struct Settler {
    sink: Sink,
    /// The statement that was submitted last, taken or refused, and the canonical tip then.
    last: Option<(StatementId, BlockHash)>,
    refusal: Option<Refusal>,
}

impl Settler {
    /// A settler into `sink`.
    pub fn new(sink: Sink) -> Self {
        Self { sink, last: None, refusal: None }
    }

    /// Whether `statement` is to be submitted now, on the chain whose tip is `tip`.
    pub fn is_due(&self, statement: StatementId, tip: BlockHash, now: Duration) -> bool {
        self.last != Some((statement, tip)) || self.again_at().is_some_and(|at| at <= now)
    }

    /// When a refused settlement is submitted again, even without a new tip.
    pub fn again_at(&self) -> Option<Duration> {
        self.refusal.as_ref().map(|refusal| refusal.again_at)
    }

    /// The current refusal.
    pub fn refusal(&self) -> Option<&Refusal> {
        self.refusal.as_ref()
    }

    /// Ends a refusal: nothing is to be settled, or the chain shows a settlement.
    pub fn relieve(&mut self) {
        if !mutation::is(Mutation::RefusalForEver) {
            self.refusal = None;
        }
    }

    /// Sets the unpaid exits of all settlements on the chain.
    pub fn set_unpaid(&mut self, unpaid: &[&UnpaidExits]) {
        match &mut self.sink {
            Sink::Real(sink) => sink.set_unpaid(unpaid),
            Sink::Unproven(sink) => sink.set_unpaid(unpaid),
        }
    }

    /// Why exits are not being paid, where they should be.
    pub fn exits_error(&self) -> Option<String> {
        match &self.sink {
            Sink::Real(sink) => sink.exits_error(),
            Sink::Unproven(sink) => sink.exits_error(),
        }
    }

    /// Why the covenant is still in its founder's key, where it should not be.
    pub fn entry_error(&self) -> Option<String> {
        match &self.sink {
            Sink::Real(sink) => sink.entry_error(),
            Sink::Unproven(sink) => sink.entry_error(),
        }
    }

    /// Submits the oldest unsettled bundle's proof.
    pub fn settle(
        &mut self,
        artifact: AggregatorArtifact,
        tip: BlockHash,
        at: Moment,
    ) -> Result<Taken, SettleError> {
        self.last = Some((artifact.receipt.id(), tip));
        let answer = self.submit(artifact);
        match &answer {
            Ok(Taken::UnderWay) => self.relieve(),
            Ok(Taken::Sending) => {
                if let Some(refusal) = &mut self.refusal {
                    refusal.wait(at.now);
                }
            }
            Err(error) => self.refusal = Some(Refusal::after(self.refusal.take(), error, at)),
        }
        answer
    }

    fn submit(&mut self, artifact: AggregatorArtifact) -> Result<Taken, SettleError> {
        let statement = artifact.receipt.id();
        let (end_block, journal, exits) = (artifact.anchor.block_hash(), artifact.journal, artifact.exits);
        match &mut self.sink {
            Sink::Real(sink) => {
                let fake = |error: FakeSealError| SettleError {
                    statement,
                    cause: Cause::WrongSeal,
                    said: error.to_string(),
                };
                let receipt = RealReceipt::try_from(artifact.receipt).map_err(fake)?;
                sink.submit(SettlementArtifact { end_block, journal, exits, receipt })
            }
            Sink::Unproven(sink) => {
                let receipt = artifact.receipt;
                sink.submit_unproven(SettlementArtifact { end_block, journal, exits, receipt })
            }
        }
    }
}
