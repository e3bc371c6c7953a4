//! The covenant's output as a node shows it: what the light client checks an answer against.
//!
//! The output is found by the script that the answer's state gives: where the covenant is in another state, there is none. The
//! settlement is read from the transaction that made the output, in the block that the answer names; a block that is not on the
//! node's chain, or did not accept this transaction, is a lie.

use std::time::Duration;

use kaspa_consensus_core::network::NetworkId;
use kaspa_rpc_core::api::rpc::RpcApi;
use reprise_light::answer::{Answer, Lie};
use reprise_light::covenant::{Settlement, Shown};
use reprise_model::digest::{BlockHash, Digest, TransactionId};
use tokio::time::timeout;

use crate::client::{self, ClientError, Unanswered};
use crate::coin::Coin;
use crate::covenant::Rules;
use crate::follower::StatementOf;
use crate::node_chain::Chain;
use crate::utxos::{UtxoError, unspent};
use crate::{block_hash, kaspa_hash, payload};

const ANSWER_WITHIN: Duration = Duration::from_secs(30);

/// Why a node does not show the covenant's output.
#[derive(Debug, thiserror::Error)]
pub enum ShownError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// The node does not answer.
    #[error("the node at {url} did not answer within {ANSWER_WITHIN:?}: try again, or give another --l1")]
    Silent {
        /// The node.
        url: String,
    },
    /// The outputs cannot be listed.
    #[error(transparent)]
    Coins(#[from] UtxoError),
    /// There are no rules on its network.
    #[error(
        "there are no rules of a covenant without a proof on {network}: say which proof it demands (--covenant-proof)"
    )]
    Rules {
        /// The network.
        network: NetworkId,
    },
    /// The answer is a lie, or of a state that is not the last settled one.
    #[error(transparent)]
    Lie(#[from] Lie),
    /// The block that the answer names did not accept the settlement.
    #[error(
        "{block} is not on the node's chain, or did not accept {transaction}, which made the covenant's output: the answer \
         names another block than the one that carries the settlement"
    )]
    Carrier {
        /// The block that the answer names.
        block: BlockHash,
        /// The transaction that made the covenant's output.
        transaction: TransactionId,
    },
    /// No runtime.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// Which covenant a node is asked about.
pub struct Subject<'a> {
    /// The node's borsh wRPC server.
    pub url: &'a str,
    /// The covenant's id.
    pub covenant: Digest,
    /// Its rules on a network.
    pub rules: &'a dyn Fn(NetworkId) -> Option<Rules>,
    /// The state root before the first settlement.
    pub first_root: Digest,
    /// The statement that the proof of a settlement proves.
    pub statement_of: StatementOf,
}

/// What the node shows of the covenant in the answer's state, and the covenant's rules.
pub fn shown(subject: &Subject<'_>, answer: &Answer) -> Result<(Rules, Shown), ShownError> {
    let runtime = client::runtime()?;
    let silent = |_| ShownError::Silent { url: subject.url.into() };
    runtime.block_on(async { timeout(ANSWER_WITHIN, ask(subject, answer)).await.map_err(silent)? })
}

async fn ask(subject: &Subject<'_>, answer: &Answer) -> Result<(Rules, Shown), ShownError> {
    let (client, network) = client::connect_indexed(subject.url).await?;
    let rpc: &dyn RpcApi = client.as_ref();
    let rules = (subject.rules)(network).ok_or(ShownError::Rules { network })?;
    let script = rules.script(answer.state);
    let coins = unspent(rpc, &script, network.into()).await?;
    let id = Some(kaspa_hash(subject.covenant));
    let elsewhere = || Lie::OtherState { root: answer.state.root, tip: answer.state.tip };
    let Coin { outpoint, .. } =
        coins.into_iter().find(|coin| coin.entry.covenant_id == id).ok_or_else(elsewhere)?;
    let transaction = TransactionId(outpoint.transaction_id.as_bytes());
    let chain = client.rpc();
    let settlement = match answer.settlement {
        Some(named) => {
            let found = settlement_in(&chain, named.block, transaction, &subject.statement_of).await?;
            Some(found.ok_or(ShownError::Carrier { block: named.block, transaction })?)
        }
        // The first state is the only one that no settlement carries, and its root is known.
        None if answer.state.root != subject.first_root => {
            return Err(Lie::OtherSettlement { root: answer.state.root }.into());
        }
        None => None,
    };
    let (covenant, script) = (subject.covenant, script.script().to_vec());
    Ok((rules, Shown { covenant, script, transaction, settlement }))
}

/// The settlement that a transaction is, where this block of the node's chain accepted it.
pub async fn settlement_in(
    chain: &dyn Chain,
    block: BlockHash,
    transaction: TransactionId,
    statement_of: &StatementOf,
) -> Result<Option<Settlement>, Unanswered> {
    let Ok(found) = chain.block(block).await else { return Ok(None) };
    let parent = found.verbose_data.as_ref().map(|data| block_hash(data.selected_parent_hash));
    let Some(parent) = parent else { return Ok(None) };
    let page = chain.changes_since(parent, 0).await?;
    // The parent leaves nothing behind where it is canonical, and its child comes first.
    let on_chain = page.removed_chain_block_hashes.is_empty()
        && page.added_chain_block_hashes.first().copied().map(block_hash) == Some(block);
    let accepted = page.chain_block_accepted_transactions.first().filter(|_| on_chain);
    let accepted = accepted.into_iter().flat_map(|it| &it.accepted_transactions);
    let is_it = |id: Option<kaspa_consensus_core::Hash>| id.map(|id| id.as_bytes()) == Some(transaction.0);
    let mut of_id =
        accepted.filter(|it| is_it(it.verbose_data.as_ref().and_then(|data| data.transaction_id)));
    let settlement = of_id.next().and_then(|it| payload::parse(it.payload.as_ref()?));
    Ok(settlement.map(|(end_block, journal)| Settlement {
        statement: statement_of(&journal),
        end_block,
        block,
    }))
}
