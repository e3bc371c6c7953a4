//! The chain as a node tells it: the port of whatever follows or reads it, and Kaspa's RPC behind the port.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{
    GetSeqCommitLaneProofResponse, GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer,
    RpcBlock, RpcDataVerbosityLevel, RpcError,
};
use reprise_model::digest::{BlockHash, Digest};

use crate::client::{Unanswered, unanswered};
use crate::lane_proof::{LaneEntry, LaneProof};
use crate::{acceptance, block_hash, digest, kaspa_hash};

/// The requests of a follower to a node: all of them.
#[async_trait]
pub trait Chain: Send + Sync {
    /// Network, version, scores.
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered>;

    /// The canonical tip.
    async fn tip(&self) -> Result<BlockHash, Unanswered>;

    /// A block's header and place, without its transactions.
    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered>;

    /// The lowest canonical block whose descendants the node has: its pruning point.
    async fn lowest(&self) -> Result<BlockHash, Unanswered>;

    /// One page of the difference between the canonical chain and the chain that ends in `tip`. Added blocks are only
    /// those that lie more than `confirmations` blue scores below the node's tip.
    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered>;

    /// The hashes of the canonical blocks above a canonical `block`, the lowest first, as many as one answer holds.
    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered>;

    /// The proof of the lane `key` in `block`; `None` where the block is no longer canonical.
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

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        let dag = self.get_block_dag_info().await.map_err(unanswered("get_block_dag_info"))?;
        Ok(block_hash(dag.pruning_point_hash))
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        let (tip, confirmations) = (Hash::from_bytes(tip.0), Some(confirmations).filter(|it| *it > 0));
        let verbosity = Some(RpcDataVerbosityLevel::Full);
        let answer = self.get_virtual_chain_from_block_v2(tip, verbosity, confirmations).await;
        match answer.map_err(unanswered("get_virtual_chain_from_block_v2")) {
            Err(refused) if !refused.is_unknown_block() => {
                // Where that is not answered either, the first error tells more.
                acceptance::changes_since(self.as_ref(), tip, confirmations).await.map_err(|_| refused)
            }
            answer => answer,
        }
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        let answer = self.get_virtual_chain_from_block(Hash::from_bytes(block.0), false, None).await;
        let answer = answer.map_err(unanswered("get_virtual_chain_from_block"))?;
        Ok(answer.added_chain_block_hashes.iter().copied().map(block_hash).collect())
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let asked = self.get_seq_commit_lane_proof(Hash::from_bytes(block.0), kaspa_hash(key)).await;
        let refused = match asked {
            Ok(answer) => return Ok(Some(lane_proof_of(answer))),
            Err(refused) => refused,
        };
        // A block that left the chain is no error; anything else is.
        let data = self.block(block).await.ok().and_then(|block| block.verbose_data);
        match data {
            Some(data) if !data.is_chain_block => Ok(None),
            _ => Err(unanswered("get_seq_commit_lane_proof")(refused)),
        }
    }
}

/// A node with a limit on how long each answer may take.
pub struct WithTimeout<'c> {
    /// The node.
    pub chain: Box<dyn Chain + 'c>,
    /// The limit.
    pub timeout: Duration,
}

impl WithTimeout<'_> {
    async fn wait<T>(
        &self,
        asked: &'static str,
        answer: impl Future<Output = Result<T, Unanswered>>,
    ) -> Result<T, Unanswered> {
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => answer,
            Err(_) => {
                let silent = RpcError::General(format!("no answer within {:?}", self.timeout));
                Err(unanswered(asked)(silent))
            }
        }
    }
}

#[async_trait]
impl Chain for WithTimeout<'_> {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        self.wait("get_server_info", self.chain.server()).await
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        self.wait("get_sink", self.chain.tip()).await
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.wait("get_block", self.chain.block(block)).await
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        self.wait("get_block_dag_info", self.chain.lowest()).await
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        self.wait("get_virtual_chain_from_block_v2", self.chain.changes_since(tip, confirmations)).await
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        self.wait("get_virtual_chain_from_block", self.chain.hashes_above(block)).await
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        self.wait("get_seq_commit_lane_proof", self.chain.lane_proof(block, key)).await
    }
}

/// The lane proof in a node's answer.
fn lane_proof_of(answer: GetSeqCommitLaneProofResponse) -> LaneProof {
    LaneProof {
        lane: answer.lane.map(|lane| LaneEntry { tip: digest(lane.tip), blue_score: lane.blue_score }),
        merkle_proof: answer.smt_proof,
        inactivity_shortcut: digest(answer.inactivity_shortcut),
        payload_and_context_digest: digest(answer.payload_and_ctx_digest),
        parent_commitment: digest(answer.parent_seq_commit),
    }
}
