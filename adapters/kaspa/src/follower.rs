//! A node's answers, checked and turned into the events of a chain.
//!
//! One event is one answer of the node to "what changed since this block", so that events have the node's own pages,
//! reorgs and order. An answer is capped by the node: [`Follower::advance`] asks until nothing is new. The lane
//! proofs of the added blocks are asked for at once, because a node gives them only for blocks that are canonical;
//! where one is gone already, the answer is dropped and the question asked again.
//!
//! The added blocks may be those alone that lie deep enough below the node's tip ([`Follower::confirm`]). A reorg deeper
//! than that removes blocks at once, and adds theirs as they become deep enough: an event may remove and add nothing.
//!
//! Every header names the pruning point of its block, and hashes to the block; consensus demands that it is the right one
//! and on the block's own chain. No node ever reorganises below it, so it is final ([`Follower::newly_final`]).
//!
//! A node that does not know the tip (another one, or one that lost its data) is asked from the highest block of
//! ours that it knows.
//!
//! A header hashes to its block ([`FollowError::Header`]), and a lane transaction to its id ([`FollowError::Id`]); the
//! rest of the checks is the [track](crate::track)'s.

use std::sync::Arc;

use async_trait::async_trait;
use kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage;
use kaspa_consensus_core::header::Header;
use kaspa_consensus_core::tx::Transaction;
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{
    GetSeqCommitLaneProofResponse, GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer,
    RpcBlock, RpcChainBlockAcceptedTransactions, RpcDataVerbosityLevel, RpcError, RpcOptionalHeader,
    RpcOptionalTransaction,
};
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_model::block::{ChainBlock, ChainBlockMetadata, ChainRoot};
use reprise_model::digest::{BlockHash, Digest, TransactionId};
use reprise_model::transaction::LaneTransaction;

use crate::client::{Unanswered, unanswered};
use crate::covenant::Rules;
use crate::lane_proof::{LaneEntry, LaneProof};
use crate::settlement;
use crate::track::{CheckError, Track};
use crate::{RECORDER, block_hash, digest, kaspa_hash};

/// How often an answer that a reorg overtakes is asked for again.
const ATTEMPTS_MAX: usize = 10;

/// Why a node cannot be followed: as it was a moment ago where [`passes`](Self::passes) says so, else for good.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node's answers kept going stale.
    #[error("the chain changed {ATTEMPTS_MAX} times while it was asked for")]
    Unsteady,
    /// The node knows none of the chain.
    #[error(
        "the node knows neither the tip of the chain that is followed here nor {lowest}, the lowest block of it that \
         may still change: it is of another chain, or has pruned it; use another node, or another data directory"
    )]
    Forgotten {
        /// The lowest block that is remembered.
        lowest: BlockHash,
    },
    /// The block to start at is not canonical.
    #[error("{root} is not on the node's canonical chain: start at another block")]
    RootOffChain {
        /// The block.
        root: BlockHash,
    },
    /// The node is of another network.
    #[error("the node is on {found}, but the chain that is followed here is {expected}'s")]
    Network {
        /// The node's network.
        found: String,
        /// The chain's.
        expected: String,
    },
    /// The answer lacks a field.
    #[error("{block}: the node's answer has no {field} (Reprise needs kaspad 2.1 or newer)")]
    Missing {
        /// The block.
        block: BlockHash,
        /// The field.
        field: &'static str,
    },
    /// A field of the answer cannot be what it says.
    #[error("{block}: {field} of the node's answer is malformed: {reason}")]
    Malformed {
        /// The block.
        block: BlockHash,
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The answer contradicts itself.
    #[error("the node's answer contradicts itself: {reason}")]
    Contradiction {
        /// How.
        reason: String,
    },
    /// The header is not the block's.
    #[error("{block}: a field of its header is not what it was mined with: the header's hash is {computed}")]
    Header {
        /// The block.
        block: BlockHash,
        /// The hash of the header in the answer.
        computed: BlockHash,
    },
    /// The header does not name the tip as a parent.
    #[error("{block}: its header does not name {parent} among its parents")]
    Parent {
        /// The block.
        block: BlockHash,
        /// The parent expected.
        parent: BlockHash,
    },
    /// A lane transaction of another version.
    #[error("{block}: the lane transaction {id} has version {version}, but lanes carry version 1")]
    Version {
        /// The block.
        block: BlockHash,
        /// The transaction.
        id: TransactionId,
        /// Its version.
        version: u16,
    },
    /// The recomputed transaction id is not the node's.
    #[error("{block}: the node has {node} where rest and payload give {computed}")]
    Id {
        /// The block.
        block: BlockHash,
        /// The node's id.
        node: TransactionId,
        /// The recomputed id.
        computed: TransactionId,
    },
    /// The change does not fit the chain.
    #[error(transparent)]
    Check(#[from] CheckError),
}

impl FollowError {
    /// Whether the same question may well be answered a moment later.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Node(_) | Self::Unsteady)
    }
}

/// What a follower asks a node, and all it ever asks one.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Network, version, scores.
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered>;

    /// The canonical tip.
    async fn tip(&self) -> Result<BlockHash, Unanswered>;

    /// A block's header and place, without its transactions.
    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered>;

    /// How the canonical chain differs from the one that ends in `tip`: one page. Of the blocks that joined it, those
    /// alone that lie more than `confirmations` blue scores below the node's tip.
    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered>;

    /// The proof of the lane `key` in `block`; `None` where the block is canonical no more.
    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered>;
}

#[async_trait]
impl Chain for Arc<dyn RpcApi> {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        self.get_server_info().await.map_err(unanswered("get_server_info"))
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        let sink = self.get_sink().await.map_err(unanswered("get_sink"))?;
        Ok(block_hash(sink.sink))
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.get_block(Hash::from_bytes(block.0), false).await.map_err(unanswered("get_block"))
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        let (tip, confirmations) = (Hash::from_bytes(tip.0), Some(confirmations).filter(|it| *it > 0));
        let verbosity = Some(RpcDataVerbosityLevel::Full);
        let answer = self.get_virtual_chain_from_block_v2(tip, verbosity, confirmations).await;
        answer.map_err(unanswered("get_virtual_chain_from_block_v2"))
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let asked = self.get_seq_commit_lane_proof(Hash::from_bytes(block.0), kaspa_hash(key)).await;
        let refused = match asked {
            Ok(answer) => return Ok(Some(told(answer))),
            Err(refused) => refused,
        };
        // Is the block off the chain, or is something else wrong?
        let data = self.block(block).await.ok().and_then(|block| block.verbose_data);
        match data {
            Some(data) if !data.is_chain_block => Ok(None),
            _ => Err(unanswered("get_seq_commit_lane_proof")(refused)),
        }
    }
}

/// A lane proof as the node tells it.
fn told(answer: GetSeqCommitLaneProofResponse) -> LaneProof {
    LaneProof {
        lane: answer.lane.map(|lane| LaneEntry { tip: digest(lane.tip), blue_score: lane.blue_score }),
        merkle_proof: answer.smt_proof,
        inactivity_shortcut: digest(answer.inactivity_shortcut),
        payload_and_context_digest: digest(answer.payload_and_ctx_digest),
        parent_commitment: digest(answer.parent_seq_commit),
    }
}

/// A node's canonical chain, as far as it is known here.
#[derive(Debug, Clone)]
pub struct Follower {
    head: Recording,
    track: Track,
    /// The covenant whose settlements are read, where there is one.
    covenant: Option<(Hash, Rules)>,
    /// How many blue scores a block must lie below the node's tip to be followed.
    confirmations: u64,
    /// The pruning point that the last header named, and whether that is news.
    pruning_point: Option<(BlockHash, bool)>,
}

impl Follower {
    /// Starts at `root`, a block of the node's canonical chain; without one, at the highest block that has so many
    /// `confirmations`, for which every further block waits too.
    pub async fn start(
        chain: &dyn Chain,
        lane: Lane,
        root: Option<BlockHash>,
        confirmations: u64,
    ) -> Result<Self, FollowError> {
        let info = chain.server().await?;
        let root = match root {
            Some(root) => root,
            None => confirmed(chain, confirmations).await?,
        };
        let block = chain.block(root).await?;
        let parent = selected_parent(&block)?;
        let (parent_timestamp_ms, lane_proof) = match parent {
            Some(parent) => {
                let parent = chain.block(block_hash(parent)).await?;
                let proof = chain.lane_proof(root, lane.key).await?;
                let proof = proof.ok_or(FollowError::RootOffChain { root })?;
                (parent.header.timestamp, Some(proof.encode()))
            }
            // Genesis: no lane has accepted anything, and the node proves none.
            None => (block.header.timestamp, None),
        };
        let metadata = ChainBlockMetadata {
            block_hash: root,
            parent_hash: parent.map(block_hash).unwrap_or_default(),
            blue_score: block.header.blue_score,
            daa_score: block.header.daa_score,
            timestamp_ms: block.header.timestamp,
            parent_timestamp_ms,
            sequencing_commitment: digest(block.header.accepted_id_merkle_root),
        };
        let window = Track::window(info.network_id);
        let root = ChainRoot { metadata, lane_proof };
        let track = Track::new(lane.key, window, &root)?;
        let recorder = format!("{RECORDER}, kaspad {}", info.server_version);
        let network = info.network_id.to_string();
        let head = Recording { network, recorder, lane, root, events: vec![] };
        Ok(Self { confirmations, ..Self::at(head, track) })
    }

    /// A follower of the chain that `head` names, whose events it does not take over, at the tip of `track`.
    pub fn at(head: Recording, track: Track) -> Self {
        let head = Recording { events: vec![], ..head };
        Self { head, track, covenant: None, confirmations: 0, pruning_point: None }
    }

    /// From now on follows a block only once it lies more than so many blue scores below the node's tip.
    pub fn confirm(&mut self, confirmations: u64) {
        self.confirmations = confirmations;
    }

    /// The block that the last event's headers newly name as their pruning point, where it is one of the chain's that
    /// are remembered: neither it nor any block below it is ever removed.
    pub fn newly_final(&mut self) -> Option<BlockHash> {
        let (block, news) = self.pruning_point.as_mut()?;
        let news = std::mem::take(news);
        let block = *block;
        (news && self.track.blocks().any(|link| link == block)).then_some(block)
    }

    /// Forgets the blocks below the one at `height`, which is final.
    pub fn forget_below(&mut self, height: u64) {
        self.track.forget_below(height);
    }

    /// Reads the settlements of the lane's covenant under these rules, from now on.
    pub fn watch(&mut self, rules: Rules) {
        self.covenant = Some((kaspa_hash(self.head.lane.covenant), rules));
    }

    /// What is followed, as a recording without events.
    pub fn head(&self) -> &Recording {
        &self.head
    }

    /// The chain so far.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Takes an event of an earlier life, checked like a new one.
    pub fn resume(&mut self, event: &SourceEvent) -> Result<(), FollowError> {
        Ok(self.track.apply(event)?)
    }

    /// Asks until nothing is new: one event a page.
    pub async fn advance(&mut self, chain: &dyn Chain) -> Result<Vec<SourceEvent>, FollowError> {
        let mut events = vec![];
        while let Some(event) = self.next_event(chain).await? {
            events.push(event);
        }
        Ok(events)
    }

    /// Asks once: what changed, if anything.
    pub async fn next_event(&mut self, chain: &dyn Chain) -> Result<Option<SourceEvent>, FollowError> {
        for _ in 0..ATTEMPTS_MAX {
            let answer = self.changes(chain).await?;
            if answer.removed_chain_block_hashes.is_empty() && answer.added_chain_block_hashes.is_empty() {
                return Ok(None);
            }
            // What cannot be is not asked after.
            headers(&answer)?;
            if let Some(proofs) = self.lane_proofs(chain, &answer).await? {
                return self.accept(&answer, &proofs).map(Some);
            }
        }
        Err(FollowError::Unsteady)
    }

    /// What changed since the tip; where the node does not know the tip, since the highest block of ours that it
    /// knows, with the blocks above it removed.
    async fn changes(&self, chain: &dyn Chain) -> Result<Answer, FollowError> {
        let tip = self.track.tip().block_hash;
        let refused = match chain.changes_since(tip, self.confirmations).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        // Is the tip unknown, or is something else wrong?
        if chain.server().await.is_err() || chain.block(tip).await.is_ok() {
            return Err(refused.into());
        }
        // A node that knows a block knows those below it, down to where it has pruned: so from the tip, in steps that
        // grow, and then between the last two.
        let blocks: Vec<BlockHash> = self.track.blocks().collect();
        let (mut unknown, mut step) = (blocks.len() - 1, 1);
        let mut known = loop {
            if unknown == 0 {
                return Err(FollowError::Forgotten { lowest: blocks[0] });
            }
            let below = unknown.saturating_sub(step);
            if chain.block(blocks[below]).await.is_ok() {
                break below;
            }
            (unknown, step) = (below, step * 2);
        };
        while known + 1 < unknown {
            let middle = known.midpoint(unknown);
            match chain.block(blocks[middle]).await {
                Ok(_) => known = middle,
                Err(_) => unknown = middle,
            }
        }
        let mut answer = chain.changes_since(blocks[known], self.confirmations).await?;
        let gone = blocks[known + 1..].iter().rev().map(|block| Hash::from_bytes(block.0));
        let removed = gone.chain(answer.removed_chain_block_hashes.iter().copied()).collect();
        answer.removed_chain_block_hashes = Arc::new(removed);
        Ok(answer)
    }

    /// The lane proofs of the added blocks; `None` where one of them is canonical no more.
    async fn lane_proofs(
        &self,
        chain: &dyn Chain,
        answer: &Answer,
    ) -> Result<Option<Vec<LaneProof>>, FollowError> {
        let mut proofs = Vec::with_capacity(answer.added_chain_block_hashes.len());
        for added in answer.added_chain_block_hashes.iter() {
            match chain.lane_proof(block_hash(*added), self.head.lane.key).await? {
                Some(proof) => proofs.push(proof),
                None => return Ok(None),
            }
        }
        Ok(Some(proofs))
    }

    /// Takes one answer, checked: the event it is. An error leaves the chain as it was.
    pub fn accept(&mut self, answer: &Answer, proofs: &[LaneProof]) -> Result<SourceEvent, FollowError> {
        let headers = headers(answer)?;
        let event = self.assemble(answer, &headers, proofs)?;
        self.track.apply(&event)?;
        if let Some(named) = headers.last().map(|header| block_hash(header.pruning_point)) {
            let news = self.pruning_point.is_none_or(|(before, unsaid)| unsaid || before != named);
            self.pruning_point = Some((named, news));
        }
        Ok(event)
    }

    fn assemble(
        &self,
        answer: &Answer,
        headers: &[Header],
        proofs: &[LaneProof],
    ) -> Result<SourceEvent, FollowError> {
        if headers.len() != proofs.len() {
            let reason = format!("{} blocks, {} lane proofs", headers.len(), proofs.len());
            return Err(FollowError::Contradiction { reason });
        }
        let removed: Vec<_> = answer.removed_chain_block_hashes.iter().copied().map(block_hash).collect();
        let mut parent = *self.track.without(&removed)?;
        let mut added = Vec::with_capacity(headers.len());
        let blocks = answer.chain_block_accepted_transactions.iter();
        for ((header, answered), proof) in headers.iter().zip(blocks).zip(proofs) {
            let mut block = chain_block(header, &parent, answered, proof, &self.head.lane)?;
            if let Some((covenant, rules)) = &self.covenant {
                let accepted = answered.accepted_transactions.iter();
                block.settlements =
                    accepted.filter_map(|it| settlement::observed(it, *covenant, rules)).collect();
            }
            parent = block.metadata;
            added.push(block);
        }
        Ok(SourceEvent { removed, added })
    }
}

/// The highest block of the canonical chain that lies more than `confirmations` blue scores below its tip; genesis where
/// the chain is shorter than that.
async fn confirmed(chain: &dyn Chain, confirmations: u64) -> Result<BlockHash, FollowError> {
    let mut hash = chain.tip().await?;
    if confirmations == 0 {
        return Ok(hash);
    }
    let mut block = chain.block(hash).await?;
    let tip = block.header.blue_score;
    while tip.saturating_sub(block.header.blue_score) <= confirmations {
        let Some(parent) = selected_parent(&block)? else { break };
        hash = block_hash(parent);
        block = chain.block(hash).await?;
    }
    Ok(hash)
}

/// A block's selected parent; `None` for a genesis block.
fn selected_parent(block: &RpcBlock) -> Result<Option<Hash>, FollowError> {
    if block.header.parents_by_level.is_empty() {
        return Ok(None);
    }
    let missing = FollowError::Missing { block: block_hash(block.header.hash), field: "selected parent" };
    block.verbose_data.as_ref().map(|data| Some(data.selected_parent_hash)).ok_or(missing)
}

/// The headers of the added blocks, each of which hashes to its block.
fn headers(answer: &Answer) -> Result<Vec<Header>, FollowError> {
    let (hashes, blocks) = (&answer.added_chain_block_hashes, &answer.chain_block_accepted_transactions);
    if hashes.len() != blocks.len() {
        let reason = format!("{} hashes, {} blocks", hashes.len(), blocks.len());
        return Err(FollowError::Contradiction { reason });
    }
    let pairs = hashes.iter().copied().map(block_hash).zip(blocks.iter());
    pairs.map(|(hash, block)| header(hash, &block.chain_block_header)).collect()
}

fn header(block: BlockHash, answer: &RpcOptionalHeader) -> Result<Header, FollowError> {
    let stated = answer.hash.map(block_hash).ok_or(FollowError::Missing { block, field: "hash" })?;
    if stated != block {
        let reason = format!("{block} is added, but the header in its place is {stated}'s");
        return Err(FollowError::Contradiction { reason });
    }
    let malformed = |e: RpcError| FollowError::Malformed { block, field: "header", reason: e.to_string() };
    let mut header = Header::try_from(answer).map_err(malformed)?;
    header.finalize();
    match block_hash(header.hash) {
        computed if computed == block => Ok(header),
        computed => Err(FollowError::Header { block, computed }),
    }
}

fn chain_block(
    header: &Header,
    parent: &ChainBlockMetadata,
    block: &RpcChainBlockAcceptedTransactions,
    proof: &LaneProof,
    lane: &Lane,
) -> Result<ChainBlock, FollowError> {
    let hash = block_hash(header.hash);
    let missing = |field| FollowError::Missing { block: hash, field };
    let parent_hash = Hash::from_bytes(parent.block_hash.0);
    if !header.parents_by_level.get(0).is_some_and(|direct| direct.contains(&parent_hash)) {
        return Err(FollowError::Parent { block: hash, parent: parent.block_hash });
    }
    let metadata = ChainBlockMetadata {
        block_hash: hash,
        parent_hash: parent.block_hash,
        blue_score: header.blue_score,
        daa_score: header.daa_score,
        timestamp_ms: header.timestamp,
        parent_timestamp_ms: parent.timestamp_ms,
        sequencing_commitment: digest(header.accepted_id_merkle_root),
    };
    let mut accepted = vec![];
    for (merge_index, transaction) in (0..).zip(&block.accepted_transactions) {
        let subnetwork = transaction.subnetwork_id.as_ref().ok_or(missing("subnetwork"))?;
        if *subnetwork.as_bytes() == lane.subnetwork {
            accepted.push(lane_transaction(hash, merge_index, transaction)?);
        }
    }
    Ok(ChainBlock { metadata, accepted, lane_proof: Some(proof.encode()), settlements: vec![] })
}

fn lane_transaction(
    block: BlockHash,
    merge_index: u32,
    answer: &RpcOptionalTransaction,
) -> Result<LaneTransaction, FollowError> {
    let missing = |field| FollowError::Missing { block, field };
    let id = answer.verbose_data.as_ref().and_then(|data| data.transaction_id);
    let node = TransactionId(id.ok_or(missing("transaction id"))?.as_bytes());
    let malformed =
        |e: RpcError| FollowError::Malformed { block, field: "transaction", reason: e.to_string() };
    let transaction = Transaction::try_from(answer.clone()).map_err(malformed)?;
    let version = transaction.version;
    if version != 1 {
        return Err(FollowError::Version { block, id: node, version });
    }
    let transaction = LaneTransaction {
        merge_index,
        version,
        rest: transaction_v1_rest_preimage(&transaction),
        payload: transaction.payload,
    };
    match transaction.id() {
        computed if computed == node => Ok(transaction),
        computed => Err(FollowError::Id { block, node, computed }),
    }
}
