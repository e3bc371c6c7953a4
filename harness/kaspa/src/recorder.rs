//! A node's answers, turned into the events of a recording.
//!
//! One event is one answer of the node to "what changed since this block", so a recording has the node's own
//! pages, reorgs and order. An answer is capped by the node; [`Recorder::advance`] asks until nothing is new.
//! The lane proofs of the added blocks are asked for at once, because a node gives them only for blocks that are
//! canonical; where one is gone already, the answer is dropped and the question asked again.
//!
//! What is taken over from a transaction is checked first: the id recomputed from rest and payload is the node's
//! ([`RecordError::Id`]); the rest of the checks is the [track](crate::track)'s.
//!
//! Settlements are not recognised: [`ChainBlock::settlements`] is always empty.

use kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage;
use kaspa_consensus_core::tx::Transaction;
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{
    GetVirtualChainFromBlockV2Response as Answer, RpcBlock, RpcChainBlockAcceptedTransactions,
    RpcDataVerbosityLevel, RpcOptionalTransaction,
};
use kaspa_seq_commit::hashing::lane_key;
use reprise_chain::event::SourceEvent;
use reprise_chain::recording::{Lane, Recording};
use reprise_model::block::{ChainBlock, ChainBlockMetadata};
use reprise_model::digest::{BlockHash, Digest, ResourceId, TransactionId};
use reprise_model::transaction::{LaneTransaction, script_bytes};

use crate::client::{Unanswered, unanswered};
use crate::lane_proof::LaneProof;
use crate::track::{CheckError, Known, Track};
use crate::{RECORDER, block_hash, digest, kaspa_hash};

/// How often an answer that a reorg overtakes is asked for again.
const ATTEMPTS_MAX: usize = 10;

/// Why recording stops.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node's answers kept going stale.
    #[error("the chain changed {ATTEMPTS_MAX} times while it was asked for")]
    Unsteady,
    /// The answer lacks a field.
    #[error("{block}: the node's answer has no {field} (Reprise needs kaspad 2.1 or newer)")]
    Missing {
        /// The block.
        block: BlockHash,
        /// The field.
        field: &'static str,
    },
    /// The answer contradicts itself.
    #[error("the node's answer contradicts itself: {reason}")]
    Contradiction {
        /// How.
        reason: String,
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

/// What a recorder asks a node again and again.
pub trait Chain {
    /// How the canonical chain differs from the one that ends in `tip`: one page.
    fn changes_since(&self, tip: BlockHash) -> impl Future<Output = Result<Answer, Unanswered>>;

    /// The proof of the lane `key` in `block`; `None` where the block is canonical no more.
    fn lane_proof(
        &self,
        block: BlockHash,
        key: Digest,
    ) -> impl Future<Output = Result<Option<LaneProof>, Unanswered>>;
}

impl Chain for dyn RpcApi + '_ {
    async fn changes_since(&self, tip: BlockHash) -> Result<Answer, Unanswered> {
        let tip = Hash::from_bytes(tip.0);
        let answer = self.get_virtual_chain_from_block_v2(tip, Some(RpcDataVerbosityLevel::Full), None).await;
        answer.map_err(unanswered("get_virtual_chain_from_block_v2"))
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let block = Hash::from_bytes(block.0);
        let refused = match self.get_seq_commit_lane_proof(block, kaspa_hash(key)).await {
            Ok(proof) => return Ok(Some(proof.into())),
            Err(refused) => refused,
        };
        // Is the block off the chain, or is something else wrong?
        let data = self.get_block(block, false).await.ok().and_then(|block| block.verbose_data);
        match data {
            Some(data) if !data.is_chain_block => Ok(None),
            _ => Err(unanswered("get_seq_commit_lane_proof")(refused)),
        }
    }
}

/// The lane of a subnetwork.
pub fn lane(subnetwork: [u8; 20], covenant: Digest, deposit: ResourceId) -> Lane {
    Lane { subnetwork, key: digest(lane_key(&subnetwork)), covenant, deposit }
}

/// A recording in the making.
#[derive(Debug, Clone)]
pub struct Recorder {
    recording: Recording,
    track: Track,
}

impl Recorder {
    /// Starts at `root`, a block of the node's canonical chain; without one, at the chain's tip.
    pub async fn start(rpc: &dyn RpcApi, lane: Lane, root: Option<BlockHash>) -> Result<Self, RecordError> {
        let info = rpc.get_server_info().await.map_err(unanswered("get_server_info"))?;
        let root = match root {
            Some(root) => Hash::from_bytes(root.0),
            None => rpc.get_sink().await.map_err(unanswered("get_sink"))?.sink,
        };
        let block = rpc.get_block(root, false).await.map_err(unanswered("get_block"))?;
        let parent = selected_parent(&block)?;
        let (parent_timestamp_ms, entry) = match parent {
            Some(parent) => {
                let parent = rpc.get_block(parent, false).await.map_err(unanswered("get_block"))?;
                let proof = rpc.get_seq_commit_lane_proof(root, kaspa_hash(lane.key)).await;
                let proof = proof.map_err(unanswered("get_seq_commit_lane_proof"))?;
                (parent.header.timestamp, LaneProof::from(proof).lane)
            }
            // Genesis: no lane has accepted anything, and the node proves none.
            None => (block.header.timestamp, None),
        };
        let root = ChainBlockMetadata {
            block_hash: block_hash(root),
            parent_hash: parent.map(block_hash).unwrap_or_default(),
            blue_score: block.header.blue_score,
            daa_score: block.header.daa_score,
            timestamp_ms: block.header.timestamp,
            parent_timestamp_ms,
            sequencing_commitment: digest(block.header.accepted_id_merkle_root),
        };
        let window = Track::window(info.network_id);
        let track = Track::new(lane.key, window, root, Known::Entry(entry));
        let recorder = format!("{RECORDER}, kaspad {}", info.server_version);
        let network = info.network_id.to_string();
        Ok(Self { recording: Recording { network, recorder, lane, root, events: vec![] }, track })
    }

    /// A recorder at the root of `recording`, whose events it does not take over. `lane` is the lane's entry at the
    /// root, and entries expire after `window` blue scores.
    pub fn at_root(recording: &Recording, window: u64, lane: Known) -> Self {
        let track = Track::new(recording.lane.key, window, recording.root, lane);
        Self { recording: Recording { events: vec![], ..recording.clone() }, track }
    }

    /// What is recorded.
    pub fn recording(&self) -> &Recording {
        &self.recording
    }

    /// What is recorded, for good.
    pub fn into_recording(self) -> Recording {
        self.recording
    }

    /// The chain so far.
    pub fn track(&self) -> &Track {
        &self.track
    }

    /// Asks until nothing is new, one event a page; how many events that gave.
    pub async fn advance<C: Chain + ?Sized>(&mut self, chain: &C) -> Result<usize, RecordError> {
        let before = self.recording.events.len();
        while self.advance_page(chain).await? {}
        Ok(self.recording.events.len() - before)
    }

    /// Asks once; whether there was anything new.
    pub async fn advance_page<C: Chain + ?Sized>(&mut self, chain: &C) -> Result<bool, RecordError> {
        for _ in 0..ATTEMPTS_MAX {
            let answer = chain.changes_since(self.track.tip().block_hash).await?;
            if answer.removed_chain_block_hashes.is_empty() && answer.added_chain_block_hashes.is_empty() {
                return Ok(false);
            }
            if let Some(proofs) = self.lane_proofs(chain, &answer).await? {
                self.accept(&answer, &proofs)?;
                return Ok(true);
            }
        }
        Err(RecordError::Unsteady)
    }

    /// The lane proofs of the added blocks; `None` where one of them is canonical no more.
    async fn lane_proofs<C: Chain + ?Sized>(
        &self,
        chain: &C,
        answer: &Answer,
    ) -> Result<Option<Vec<LaneProof>>, RecordError> {
        let mut proofs = Vec::with_capacity(answer.added_chain_block_hashes.len());
        for added in answer.added_chain_block_hashes.iter() {
            match chain.lane_proof(block_hash(*added), self.recording.lane.key).await? {
                Some(proof) => proofs.push(proof),
                None => return Ok(None),
            }
        }
        Ok(Some(proofs))
    }

    /// Takes one answer, checked, as the next event. An error leaves the recording as it was.
    pub fn accept(&mut self, answer: &Answer, proofs: &[LaneProof]) -> Result<(), RecordError> {
        let event = self.assemble(answer, proofs)?;
        self.track.apply(&event)?;
        self.recording.events.push(event);
        Ok(())
    }

    fn assemble(&self, answer: &Answer, proofs: &[LaneProof]) -> Result<SourceEvent, RecordError> {
        let (hashes, blocks) = (&answer.added_chain_block_hashes, &answer.chain_block_accepted_transactions);
        if hashes.len() != blocks.len() || hashes.len() != proofs.len() {
            let reason =
                format!("{} hashes, {} blocks, {} lane proofs", hashes.len(), blocks.len(), proofs.len());
            return Err(RecordError::Contradiction { reason });
        }
        let removed: Vec<_> = answer.removed_chain_block_hashes.iter().copied().map(block_hash).collect();
        let mut parent = *self.track.without(&removed)?;
        let mut added = Vec::with_capacity(hashes.len());
        for ((hash, block), proof) in hashes.iter().zip(blocks.iter()).zip(proofs) {
            let block = chain_block(block_hash(*hash), &parent, block, proof, &self.recording.lane)?;
            parent = block.metadata;
            added.push(block);
        }
        Ok(SourceEvent { removed, added })
    }
}

/// A block's selected parent; `None` for a genesis block.
fn selected_parent(block: &RpcBlock) -> Result<Option<Hash>, RecordError> {
    if block.header.parents_by_level.is_empty() {
        return Ok(None);
    }
    let missing = RecordError::Missing { block: block_hash(block.header.hash), field: "selected parent" };
    block.verbose_data.as_ref().map(|data| Some(data.selected_parent_hash)).ok_or(missing)
}

fn chain_block(
    hash: BlockHash,
    parent: &ChainBlockMetadata,
    block: &RpcChainBlockAcceptedTransactions,
    proof: &LaneProof,
    lane: &Lane,
) -> Result<ChainBlock, RecordError> {
    let missing = |field| RecordError::Missing { block: hash, field };
    let header = &block.chain_block_header;
    let stated = header.hash.map(block_hash).ok_or(missing("hash"))?;
    if stated != hash {
        let reason = format!("{hash} is added, but the header in its place is {stated}'s");
        return Err(RecordError::Contradiction { reason });
    }
    let parents = header.parents_by_level.as_ref().ok_or(missing("parents"))?;
    if !parents.get(0).is_some_and(|direct| direct.contains(&Hash::from_bytes(parent.block_hash.0))) {
        return Err(RecordError::Parent { block: hash, parent: parent.block_hash });
    }
    let metadata = ChainBlockMetadata {
        block_hash: hash,
        parent_hash: parent.block_hash,
        blue_score: header.blue_score.ok_or(missing("blue score"))?,
        daa_score: header.daa_score.ok_or(missing("DAA score"))?,
        timestamp_ms: header.timestamp.ok_or(missing("timestamp"))?,
        parent_timestamp_ms: parent.timestamp_ms,
        sequencing_commitment: header
            .accepted_id_merkle_root
            .map(digest)
            .ok_or(missing("sequencing commitment"))?,
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
) -> Result<LaneTransaction, RecordError> {
    let missing = |field| RecordError::Missing { block, field };
    let id = answer.verbose_data.as_ref().and_then(|data| data.transaction_id);
    let node = TransactionId(id.ok_or(missing("transaction id"))?.as_bytes());
    let input = answer.inputs.first().and_then(|input| input.verbose_data.as_ref());
    let spent = input.and_then(|data| data.utxo_entry.as_ref());
    let spent = spent.and_then(|entry| entry.script_public_key.as_ref()).ok_or(missing("spent script"))?;
    let transaction = Transaction::try_from(answer.clone())
        .map_err(unanswered("get_virtual_chain_from_block_v2 with whole transactions"))?;
    let version = transaction.version;
    if version != 1 {
        return Err(RecordError::Version { block, id: node, version });
    }
    let transaction = LaneTransaction {
        merge_index,
        version,
        rest: transaction_v1_rest_preimage(&transaction),
        payload: transaction.payload,
        spent_script: script_bytes(spent.version(), spent.script()),
    };
    match transaction.id() {
        computed if computed == node => Ok(transaction),
        computed => Err(RecordError::Id { block, node, computed }),
    }
}
