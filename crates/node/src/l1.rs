//! The port to an L1 as a whole, and the L1s that come with Reprise: a recording or the dev chain, each with
//! an overlay to settle into.

use std::sync::{Arc, Mutex, PoisonError};

use reprise_chain::overlay::{Covenant, Overlay, OverlayError, Rejection};
use reprise_chain::recorded::RecordedL1;
use reprise_chain::recording::{Lane, Recording};
use reprise_chain::source::{ChainSource, Pace};
use reprise_disk::data_dir::DataDir;
use reprise_model::anchor::AnchorDepth;
use reprise_model::artifact::SettlementArtifact;
use reprise_model::block::ChainRoot;
use reprise_model::hash::Hasher;
use reprise_model::profile::SealKind;
use reprise_model::receipt::{RealReceipt, Receipt, Verified};
use reprise_model::statement::StatementId;
use reprise_settler::{Cause, SettleError, SettlementSink, Sink, Taken, UnprovenSink};

/// What a node follows, and settles on.
pub trait L1 {
    /// Its name in reports.
    fn name(&self) -> String;

    /// The block that the chain is followed from.
    fn root(&self) -> ChainRoot;

    /// The lane that is followed.
    fn lane(&self) -> Lane;

    /// How deep a block may lie for a settlement to be anchored in it; `None` if any depth will do.
    fn anchor_depth(&self) -> Option<AnchorDepth> {
        None
    }

    /// The network that others follow too; `None` where the L1 is this data directory's alone, so that nobody can follow it from
    /// a snapshot.
    fn network(&self) -> Option<String> {
        None
    }

    /// The hash of the trees that claims to exits are to, where it is the L1's own and not the workload's.
    fn claim_hasher(&self) -> Option<Arc<dyn Hasher>> {
        None
    }

    /// Opens it for a pipeline whose settlements `covenant` describes and whose proofs have seals of this
    /// kind. Its own state is stored in `dir`, or in memory if there is none.
    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error>;
}

/// An L1 in use.
pub struct OpenL1 {
    /// Its events.
    pub source: Box<dyn ChainSource>,
    /// Where settlements are sent; none if nothing is settled.
    pub sink: Option<Sink>,
}

/// Why an L1 cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum L1Error {
    /// The overlay cannot be opened.
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    /// An error of the L1's own.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// A recorded or dev chain.
#[derive(Debug, Clone)]
pub struct RecordedChain {
    /// Its name in reports.
    pub name: String,
    /// What was recorded.
    pub recording: Recording,
    /// The pace of its events.
    pub pace: Pace,
}

impl L1 for RecordedChain {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn root(&self) -> ChainRoot {
        self.recording.root.clone()
    }

    fn lane(&self) -> Lane {
        self.recording.lane.clone()
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        // Programs of another backend, or another lane, have other pins. Each has an overlay of its own.
        let place = dir.map(|dir| dir.overlay(&covenant.pins));
        let overlay = Overlay::open(place, self.recording.root.clone(), covenant)?;
        let overlay = Arc::new(Mutex::new(overlay));
        let sink = OverlaySink(overlay.clone());
        let sink = match seal {
            SealKind::Fake => Sink::Unproven(Box::new(sink)),
            SealKind::Composite | SealKind::Succinct | SealKind::Groth16 => Sink::Real(Box::new(sink)),
        };
        let source = Box::new(RecordedL1::new(self.recording, self.pace, overlay));
        Ok(OpenL1 { source, sink: Some(sink) })
    }
}

/// An L1 whose source is wrapped, so that it can be observed or held back.
pub struct WrappedL1<F> {
    /// The L1.
    pub l1: Box<dyn L1>,
    /// Wraps its source, once it is open.
    pub through: F,
}

impl<F: FnOnce(Box<dyn ChainSource>) -> Box<dyn ChainSource>> L1 for WrappedL1<F> {
    fn name(&self) -> String {
        self.l1.name()
    }

    fn root(&self) -> ChainRoot {
        self.l1.root()
    }

    fn lane(&self) -> Lane {
        self.l1.lane()
    }

    fn anchor_depth(&self) -> Option<AnchorDepth> {
        self.l1.anchor_depth()
    }

    fn network(&self) -> Option<String> {
        self.l1.network()
    }

    fn claim_hasher(&self) -> Option<Arc<dyn Hasher>> {
        self.l1.claim_hasher()
    }

    fn open(
        self: Box<Self>,
        covenant: Covenant,
        seal: SealKind,
        dir: Option<&DataDir>,
    ) -> Result<OpenL1, L1Error> {
        let OpenL1 { source, sink } = self.l1.open(covenant, seal, dir)?;
        Ok(OpenL1 { source: (self.through)(source), sink })
    }
}

fn cause(why: &Rejection) -> Cause {
    match why {
        Rejection::Replay { .. } | Rejection::Gap { .. } | Rejection::WrongRoot { .. } => Cause::Elsewhere,
        Rejection::Orphaned { .. } => Cause::Orphaned,
        Rejection::TooDeep { .. } => Cause::TooDeep,
        Rejection::WrongPins { .. } | Rejection::WrongClaim => Cause::ScriptRefused,
        Rejection::BadProof { .. } => Cause::WrongSeal,
    }
}

/// The overlay as a sink.
#[derive(Debug, Clone)]
pub struct OverlaySink(pub Arc<Mutex<Overlay>>);

impl OverlaySink {
    fn take(&self, settlement: SettlementArtifact<&Receipt>) -> Result<Taken, SettleError> {
        let statement: StatementId = settlement.receipt.id();
        let refused = |why: Rejection| SettleError { statement, cause: cause(&why), said: why.to_string() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).submit(settlement).map_err(refused)?;
        Ok(Taken::UnderWay)
    }
}

impl SettlementSink for OverlaySink {
    fn submit(&mut self, settlement: SettlementArtifact<RealReceipt>) -> Result<Taken, SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = settlement;
        self.take(SettlementArtifact { end_block, journal, exits, receipt: &receipt })
    }
}

impl UnprovenSink for OverlaySink {
    fn submit_unproven(
        &mut self,
        settlement: SettlementArtifact<Verified<Receipt>>,
    ) -> Result<Taken, SettleError> {
        let SettlementArtifact { end_block, journal, exits, receipt } = settlement;
        self.take(SettlementArtifact { end_block, journal, exits, receipt: &receipt })
    }
}
