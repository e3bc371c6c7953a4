//! A node whose answers are altered on their way to the follower.

use std::sync::Arc;

use async_trait::async_trait;
use kaspa_rpc_core::{GetServerInfoResponse, GetVirtualChainFromBlockV2Response as Answer, RpcBlock};
use reprise_kaspa::client::Unanswered;
use reprise_kaspa::lane_proof::LaneProof;
use reprise_kaspa::live::ChainWrapper;
use reprise_kaspa::node_chain::Chain;
use reprise_model::digest::{BlockHash, Digest};

/// What is done to answers; by default nothing.
pub trait Alter: Send + Sync {
    /// To the node's word about itself.
    fn server(&self, _: &mut GetServerInfoResponse) {}

    /// To a page of the chain.
    fn page(&self, _: &mut Answer) {}

    /// To a lane proof.
    fn proof(&self, _: &mut Option<LaneProof>) {}
}

/// A node whose answers are altered.
pub struct Altered<A> {
    /// The node.
    pub chain: Box<dyn Chain>,
    /// What is done to its answers.
    pub alter: Arc<A>,
}

impl<A: Alter + 'static> Altered<A> {
    /// For [`Options::through`](reprise_kaspa::live::Options::through).
    pub fn wrapper(alter: Arc<A>) -> ChainWrapper {
        Arc::new(move |chain| Box::new(Self { chain, alter: alter.clone() }) as Box<dyn Chain>)
    }
}

#[async_trait]
impl<A: Alter> Chain for Altered<A> {
    async fn server(&self) -> Result<GetServerInfoResponse, Unanswered> {
        let mut info = self.chain.server().await?;
        self.alter.server(&mut info);
        Ok(info)
    }

    async fn tip(&self) -> Result<BlockHash, Unanswered> {
        self.chain.tip().await
    }

    async fn block(&self, block: BlockHash) -> Result<RpcBlock, Unanswered> {
        self.chain.block(block).await
    }

    async fn lowest(&self) -> Result<BlockHash, Unanswered> {
        self.chain.lowest().await
    }

    async fn changes_since(&self, tip: BlockHash, confirmations: u64) -> Result<Answer, Unanswered> {
        let mut answer = self.chain.changes_since(tip, confirmations).await?;
        self.alter.page(&mut answer);
        Ok(answer)
    }

    async fn hashes_above(&self, block: BlockHash) -> Result<Vec<BlockHash>, Unanswered> {
        self.chain.hashes_above(block).await
    }

    async fn lane_proof(&self, block: BlockHash, key: Digest) -> Result<Option<LaneProof>, Unanswered> {
        let mut proof = self.chain.lane_proof(block, key).await?;
        self.alter.proof(&mut proof);
        Ok(proof)
    }
}
