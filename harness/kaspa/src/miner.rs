//! Blocks made on a node, and copied to another.
//!
//! A simnet node takes a block without proof of work, so a template with a fixed timestamp and fixed transactions
//! is the same block on every run. Nodes that are not peers know of each other's blocks only those that are copied.

use kaspa_addresses::Address;
use kaspa_consensus_core::header::Header;
use kaspa_consensus_core::merkle::calc_hash_merkle_root;
use kaspa_consensus_core::tx::Transaction;
use kaspa_hashes::Hash;
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{RpcRawBlock, RpcTransaction, SubmitBlockReport};
use kaspa_txscript::opcodes::codes::OpFalse;
use kaspa_txscript::pay_to_address_script;

use reprise_kaspa::client::{Unanswered, unanswered};

/// Why there is no block.
#[derive(Debug, thiserror::Error)]
pub enum MineError {
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node rejected the block.
    #[error("the node rejected the block {block}: {report:?}")]
    Rejected {
        /// The block.
        block: Hash,
        /// Its report.
        report: SubmitBlockReport,
    },
}

/// Makes a block on the node's tip: `transactions` after the coinbase, which pays `miner`.
pub async fn mine(
    rpc: &dyn RpcApi,
    miner: &Address,
    transactions: &[Transaction],
    timestamp_ms: u64,
) -> Result<Hash, MineError> {
    mine_after(rpc, miner, |_| {}, transactions, timestamp_ms).await
}

/// The same, whose reward is paid to a script that is no standard one: consensus lets a miner demand that. It is no address's.
pub async fn mine_for_no_address(
    rpc: &dyn RpcApi,
    miner: &Address,
    transactions: &[Transaction],
    timestamp_ms: u64,
) -> Result<Hash, MineError> {
    let script = pay_to_address_script(miner);
    let unspendable = |coinbase: &mut RpcTransaction| {
        let at = coinbase.payload.windows(script.script().len()).position(|part| part == script.script());
        if let Some(last) = at.and_then(|at| coinbase.payload.get_mut(at + script.script().len() - 1)) {
            *last = OpFalse;
        }
    };
    mine_after(rpc, miner, unspendable, transactions, timestamp_ms).await
}

async fn mine_after(
    rpc: &dyn RpcApi,
    miner: &Address,
    coinbase: impl FnOnce(&mut RpcTransaction),
    transactions: &[Transaction],
    timestamp_ms: u64,
) -> Result<Hash, MineError> {
    let template =
        rpc.get_block_template(miner.clone(), vec![]).await.map_err(unanswered("get_block_template"))?;
    let mut block = template.block;
    block.transactions.first_mut().map(coinbase);
    block.transactions.extend(transactions.iter().map(RpcTransaction::from));
    let all: Result<Vec<Transaction>, _> =
        block.transactions.iter().cloned().map(Transaction::try_from).collect();
    block.header.hash_merkle_root =
        calc_hash_merkle_root(all.map_err(unanswered("get_block_template with a whole block"))?.iter());
    block.header.timestamp = timestamp_ms;
    submit(rpc, block).await
}

/// Copies blocks that exist on one node to another, parents first.
pub async fn copy(from: &dyn RpcApi, to: &dyn RpcApi, blocks: &[Hash]) -> Result<(), MineError> {
    for block in blocks {
        let block = from.get_block(*block, true).await.map_err(unanswered("get_block"))?;
        let header = Header::try_from(&block.header).map_err(unanswered("get_block with a whole header"))?;
        submit(to, RpcRawBlock { header: (&header).into(), transactions: block.transactions }).await?;
    }
    Ok(())
}

async fn submit(rpc: &dyn RpcApi, block: RpcRawBlock) -> Result<Hash, MineError> {
    let header = Header::try_from(&block.header).map_err(unanswered("get_block with a whole header"))?;
    let answer = rpc.submit_block(block, true).await.map_err(unanswered("submit_block"))?;
    match answer.report.is_success() {
        true => Ok(header.hash),
        false => Err(MineError::Rejected { block: header.hash, report: answer.report }),
    }
}
