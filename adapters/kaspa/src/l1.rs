//! Kaspa as a node's L1: a followed node, and where there is a key a covenant to settle on.
//!
//! Without a key Reprise observes and proves, and settles nothing. It reads the settlements of others either way.

use std::fmt;
use std::sync::Arc;

use kaspa_consensus_core::network::{NetworkId, NetworkIdError};
use kaspa_txscript::script_builder::ScriptBuilderError;
use reprise_chain::overlay::Covenant;
use reprise_chain::recording::Lane;
use reprise_disk::data_dir::DataDir;
use reprise_model::anchor::AnchorDepth;
use reprise_model::block::{ChainRoot, ObservedSettlement};
use reprise_model::digest::{BlockHash, Digest};
use reprise_model::hash::Hasher;
use reprise_model::lane::LaneError;
use reprise_model::profile::SealKind;
use reprise_node::l1::{L1, L1Error, OpenL1};
use reprise_settler::Sink;

use crate::covenant::{NotOwnError, OwnNetwork, Proof, Rules, SealReader, State};
use crate::follower::{FirstState, StatementOf};
use crate::live::{LiveError, Options, Prepared, root_of_covenant};
use crate::names::UnknownNetworkError;
use crate::settlement::Settling;
pub use crate::sink::Payer;
use crate::sink::{self, KaspaSink, SinkConfig};
use crate::{claim, kaspa_hash, names};

/// Why there is no such L1.
#[derive(Debug, thiserror::Error)]
pub enum KaspaError {
    /// The node cannot be followed.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// A network that is unknown here.
    #[error("the network is unknown here: {0}")]
    Network(#[from] NetworkIdError),
    /// A network without known rules.
    #[error(transparent)]
    Unknown(#[from] UnknownNetworkError),
    /// A covenant without a proof on a public network.
    #[error(transparent)]
    NotOwn(#[from] NotOwnError),
    /// There is no covenant to settle on.
    #[error("a key is given, but no covenant (--covenant): found one with `reprise found-covenant`")]
    NoCovenant,
    /// The covenant's rules cannot be written as a script.
    #[error("the covenant's rules cannot be built: {0}")]
    Script(#[from] ScriptBuilderError),
    /// The lane tip at the root is unknown.
    #[error("the first block that is followed: {0}; follow the chain from a later block (--from)")]
    Lane(#[from] LaneError),
    /// The covenant never had the state of a snapshot.
    #[error(
        "the node's chain shows no settlement of the covenant that ends in the block {block} in the state of the snapshot: the \
         snapshot is not to be believed, or the node is not synced; get another snapshot, from somebody else"
    )]
    NotSettled {
        /// The snapshot's block.
        block: BlockHash,
    },
    /// The covenant's first state would name no lane tip.
    #[error(
        "the lane has no entry in the block that the covenant would be followed from, so that its first settlement could leave \
         out what the lane accepted before: follow it from the block that accepted its founding (without --from)"
    )]
    NoTip,
    /// The covenant demands another proof than the backend makes.
    #[error(
        "the covenant demands {demanded} proofs of RISC Zero, and this backend's seals are {made}: run with the \
         backend that makes them, or settle without a proof on a private network (--covenant-proof none)"
    )]
    Seal {
        /// The kind that the covenant demands.
        demanded: SealKind,
        /// The kind that the backend makes.
        made: SealKind,
    },
}

/// A Kaspa node, ready to be followed.
pub struct KaspaL1 {
    name: String,
    prepared: Prepared,
    config: Option<SinkConfig>,
}

impl fmt::Debug for KaspaL1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KaspaL1").field("name", &self.name).finish_non_exhaustive()
    }
}

impl KaspaL1 {
    /// Reads the event log of an earlier run in `dir`, or else asks the node. `covenant` describes the settlements, and comes
    /// with the statements of their proofs.
    /// Without `proof` the covenant demands none, which only a private network allows. With a proof comes the reader of
    /// the backend's seals.
    pub fn connect(
        options: Options,
        payer: Option<Payer>,
        proof: Option<(Proof, SealReader)>,
        (covenant, statement_of): (&Covenant, StatementOf),
        dir: Option<&DataDir>,
    ) -> Result<Self, KaspaError> {
        // One event log per pins: another backend or another lane has other pins, and other settlements.
        let place = dir.map(|dir| dir.event_log(&covenant.pins));
        let kept = dir.map(|dir| [dir.exit_fees(&covenant.pins), dir.settlement_fees(&covenant.pins)]);
        let (url, name, id) = (options.url.clone(), format!("kaspa:{}", options.url), options.lane.covenant);
        let proof_on = |network: NetworkId| match &proof {
            Some(proof) => Ok(proof.clone()),
            None => {
                let unread: SealReader = |_| Err("the covenant demands no proof".into());
                OwnNetwork::try_from(network).map(|own| (Proof::None(own), unread))
            }
        };
        let snapshot = options.snapshot.as_ref().map(|snapshot| snapshot.state);
        let first = |proof: Option<&[u8]>| {
            if let Some(state) = snapshot {
                return Ok(state);
            }
            let hasher = covenant.hasher.as_ref();
            let tip = hasher.lane().at(hasher, &covenant.lane, None, proof)?;
            Ok(State { root: covenant.root, tip })
        };
        let mut options = options;
        let known = place.as_ref().is_some_and(|place| place.path().exists());
        if !known && id != Digest::ZERO && options.from.is_none() && snapshot.is_none() {
            let rules = |network| Rules::new(covenant.pins, &proof_on(network).ok()?.0).ok();
            options.from = root_of_covenant(&options, &rules, &first)?;
        }
        let mut prepared = Prepared::new(options, place)?;
        let network: NetworkId = prepared.head().network.parse()?;
        let proof = proof_on(network);
        let rules = match &proof {
            Ok((proof, _)) if id != Digest::ZERO => Some(Rules::new(covenant.pins, proof)?),
            _ => None,
        };
        // A snapshot's state is a later one: above it the covenant may still leave its founder's key, into its first.
        let first_state = match snapshot {
            Some(_) => FirstState::Past,
            None => first(prepared.head().root.lane_proof.as_deref())
                .map_or(FirstState::Unknown, FirstState::Known),
        };
        rules.iter().for_each(|rules| prepared.watch(rules.clone(), first_state, statement_of.clone()));
        let config = match (payer, rules) {
            (None, _) => None,
            (Some(_), None) => return Err(proof.err().map_or(KaspaError::NoCovenant, Into::into)),
            (Some(Payer { key, fee_max }), Some(rules)) => {
                let settling =
                    Settling { params: names::params(network)?, covenant: kaspa_hash(id), rules, key };
                let first = first(prepared.head().root.lane_proof.as_deref())?;
                if first.tip == Digest::ZERO {
                    return Err(KaspaError::NoTip);
                }
                let ((proof, seal), prefix) = (proof?, network.into());
                let lane = (prepared.head().lane.clone(), prepared.anchor_depth().0);
                let (exit_fees, settlement_fees) = (sink::EXIT_FEES, sink::SETTLEMENT_FEES);
                let first_at = prepared.head().root.metadata.daa_score;
                Some(SinkConfig {
                    url,
                    prefix,
                    settling,
                    proof,
                    seal,
                    first,
                    first_at,
                    fee_max,
                    exit_fees,
                    settlement_fees,
                    kept,
                    lane,
                })
            }
        };
        Ok(Self { name, prepared, config })
    }
}

impl KaspaL1 {
    /// Pays at most so much in fees for exits a day, in sompi.
    pub fn with_exit_fees(mut self, exit_fees: u64) -> Self {
        self.config.iter_mut().for_each(|config| config.exit_fees = exit_fees);
        self
    }

    /// Pays at most so much in fees for settlements a day, in sompi.
    pub fn with_settlement_fees(mut self, settlement_fees: u64) -> Self {
        self.config.iter_mut().for_each(|config| config.settlement_fees = settlement_fees);
        self
    }

    /// Asks the node whether its chain shows the settlement of the snapshot that it is followed from. Returns the block that
    /// carries it.
    pub fn check_settled(&self, settlement: &ObservedSettlement) -> Result<BlockHash, KaspaError> {
        let block = settlement.end_block;
        self.prepared.carrier_of(settlement)?.ok_or(KaspaError::NotSettled { block })
    }
}

impl L1 for KaspaL1 {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn root(&self) -> ChainRoot {
        self.prepared.head().root.clone()
    }

    fn lane(&self) -> Lane {
        self.prepared.head().lane.clone()
    }

    fn anchor_depth(&self) -> Option<AnchorDepth> {
        Some(self.prepared.anchor_depth())
    }

    fn network(&self) -> Option<String> {
        Some(self.prepared.head().network.clone())
    }

    fn claim_hasher(&self) -> Option<Arc<dyn Hasher>> {
        Some(claim::hasher())
    }

    fn open(self: Box<Self>, _: Covenant, seal: SealKind, _: Option<&DataDir>) -> Result<OpenL1, L1Error> {
        let other = |e: KaspaError| L1Error::Other(e.into());
        let sink = match self.config {
            None => None,
            Some(config) => {
                let own = match (&config.proof, config.proof.demands()) {
                    (Proof::None(own), _) if seal == SealKind::Fake => Some(*own),
                    (_, Some(demanded)) if seal != demanded => {
                        return Err(other(KaspaError::Seal { demanded, made: seal }));
                    }
                    _ => None,
                };
                let sink = KaspaSink::open(config).map_err(|e| other(LiveError::Thread(e).into()))?;
                Some(match own {
                    Some(own) => Sink::Unproven(Box::new(sink.into_unproven(own))),
                    None => Sink::Real(Box::new(sink)),
                })
            }
        };
        let source = self.prepared.start().map_err(|e| other(LiveError::Thread(e).into()))?;
        Ok(OpenL1 { source: Box::new(source), sink })
    }
}
