//! A user of the lane: messages as transactions, built, sent, and waited for.
//!
//! A lane transaction acts for the script whose output its first input spends, where its payload
//! [shows](reprise_model::transaction#authority) the transaction that made this output. A node does not tell a transaction by
//! its id. So a message is sent by two transactions:
//!
//! | | spends | pays |
//! |---|---|---|
//! | the *gathering* one, of no lane | coins of the key | all they hold, to the key, in one output |
//! | the *acting* one, of the lane | this output, first and alone, and shows the gathering one | what the message asks for; the rest to the key |
//!
//! Nothing has to be kept or searched for, whatever coins the key has. Where only the first is accepted, nothing is lost: its output
//! is a coin of the key.
//!
//! Coins that a transaction in the node's mempool spends are left alone. Such a transaction of the lane may raise the account's
//! nonce before this one: [`pending`] gives them. A block may hold its transactions in any order, so the gathering one spends what
//! the last of these leaves to the key: then this message comes after it, whoever mines.

use std::collections::HashSet;
use std::time::Duration;

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::constants::UNACCEPTED_DAA_SCORE;
use kaspa_consensus_core::hashing::tx::transaction_v1_rest_preimage;
use kaspa_consensus_core::network::NetworkId;
use kaspa_consensus_core::subnets::{SUBNETWORK_ID_NATIVE, SubnetworkId};
use kaspa_consensus_core::tx::{
    ScriptPublicKey, Transaction, TransactionOutpoint, TransactionOutput, UtxoEntry,
};
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_rpc_core::{RpcError, RpcTransaction};
use reprise_model::digest::Digest;
use reprise_model::transaction::{self, LaneTransaction};
use tokio::runtime::Runtime;

use crate::client::{self, Client, ClientError, Unanswered, unanswered};
use crate::coin::{Coin, Fees, Funding};
use crate::draft::{BuildError, CHANGE_MIN, Completed, Draft};
use crate::key::Key;
use crate::names::{self, UnknownNetworkError};
use crate::opening::opening;
use crate::utxos::{FeePriority, UtxoError, coins, feerate, send, unspent};
use crate::{digest, kaspa_hash};

/// How often the node is asked whether a transaction is accepted.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// How often a transaction may be in no mempool and refused when it is sent again, until it counts as lost.
const MISSED_MAX: u32 = 60;

/// Why a message is not sent.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// There is no connection.
    #[error(transparent)]
    Connect(#[from] ClientError),
    /// The node did not answer, or refused.
    #[error(transparent)]
    Node(#[from] Unanswered),
    /// A network without known rules.
    #[error(transparent)]
    Network(#[from] UnknownNetworkError),
    /// The coins cannot be listed.
    #[error(transparent)]
    Coins(#[from] UtxoError),
    /// The transactions cannot be built.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The gathering transaction spends too many coins to be shown.
    #[error(
        "the coins needed are so many that the transaction which gathers them has {bytes} bytes, more than a payload can show: \
         gather the coins of the key first, by a payment of them to its own address"
    )]
    TooMany {
        /// Its length.
        bytes: usize,
    },
    /// Nobody would read the acting transaction, and what it pays the vault would be nobody's.
    #[error(
        "the transaction would be longer than the rollup reads, and what it pays would be lost: nothing is sent; pay fewer outputs"
    )]
    TooLong,
    /// The acting transaction was refused.
    #[error(
        "the node took {gathering}, which gathers coins of the key, and refused the one that acts: {source}; nothing is lost: try again"
    )]
    Half {
        /// The gathering transaction.
        gathering: Hash,
        /// Why the acting one was refused.
        source: Unanswered,
    },
    /// Whether the node took the acting transaction is not known.
    #[error(
        "the node did not say whether it took {acting}, which acts ({source}): it may have been sent, and a second one would act again; look \
         at the account, or for that transaction, before sending again"
    )]
    Unsure {
        /// The acting transaction.
        acting: Hash,
        /// What came in place of an answer.
        source: Unanswered,
    },
    /// The acting transaction is neither waiting nor accepted.
    #[error(
        "{transaction} is in no block's accepted transactions and in no mempool, and the node takes it no more: another \
         transaction spent its coins; look at the account before sending again"
    )]
    Lost {
        /// The transaction.
        transaction: Hash,
    },
    /// No runtime.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
}

/// The two transactions of a message.
#[derive(Debug, Clone)]
pub struct Pair {
    /// The one that gathers coins.
    pub gathering: Completed,
    /// The one that acts.
    pub acting: Completed,
}

impl Pair {
    /// Both fees, in sompi.
    pub fn fee(&self) -> u64 {
        self.gathering.fee + self.acting.fee
    }

    /// The acting transaction as the lane accepts it.
    pub fn accepted(&self) -> LaneTransaction {
        lane_transaction(&self.acting.transaction)
    }

    /// The last output of the acting transaction: what is left, to the key.
    fn change(&self) -> TransactionOutpoint {
        last_output(&self.acting.transaction)
    }
}

/// An output that pays a script so many sompi.
pub fn pays(script: ScriptPublicKey, sompi: u64) -> TransactionOutput {
    TransactionOutput::new(sompi, script)
}

/// A transaction as the lane has it, at no place in a block.
fn lane_transaction(transaction: &Transaction) -> LaneTransaction {
    LaneTransaction {
        merge_index: 0,
        version: transaction.version,
        rest: transaction_v1_rest_preimage(transaction),
        payload: transaction.payload.clone(),
    }
}

/// A key on a lane.
#[derive(Debug, Clone)]
pub struct User {
    /// The network's parameters.
    pub params: Params,
    /// The key: whom the messages act for, and who pays.
    pub key: Key,
    /// The lane.
    pub lane: SubnetworkId,
    /// The covenant of the rollup that messages are for.
    pub covenant: Digest,
}

impl User {
    /// The transactions that carry `message` and pay `outputs`, out of these coins. They come after the transaction that leaves
    /// the key the coin `after`.
    pub fn build(
        &self,
        message: &[u8],
        outputs: &[TransactionOutput],
        funding: Funding<'_>,
        after: Option<&Coin>,
    ) -> Result<Pair, UserError> {
        let Self { params, key, lane, covenant } = self;
        let paid = outputs.iter().fold(0u64, |sum, output| sum.saturating_add(output.value));
        let mut change_min = paid.saturating_add(CHANGE_MIN);
        // How much the first must leave depends on the second's fee, and that on the bytes of the first.
        for _ in 0..8 {
            let first = after.map(|coin| (coin.clone(), None));
            let draft = Draft { first, change_min, ..Draft::of(SUBNETWORK_ID_NATIVE) };
            let alone = Funding { coins: &[], ..funding };
            let gathering = match after.map(|_| draft.complete(params, key, alone, None)) {
                Some(Ok(gathering)) => gathering,
                Some(Err(BuildError::InsufficientFunds { .. })) | None => {
                    draft.complete(params, key, funding, None)?
                }
                Some(Err(error)) => return Err(error.into()),
            };
            let Transaction { outputs: gathered, .. } = &gathering.transaction;
            let value = gathered.last().map_or(0, |output| output.value);
            let outpoint = TransactionOutpoint::new(gathering.transaction.id(), 0);
            let first = Coin { outpoint, entry: UtxoEntry::new(value, key.script(), 0, false, None) };
            let opening = opening(&gathering.transaction);
            let payload = transaction::payload(&opening, covenant, message)
                .filter(|payload| payload.len() <= transaction::BYTES_MAX)
                .ok_or(UserError::TooMany { bytes: opening.len() })?;
            let outputs = outputs.to_vec();
            let draft = Draft { first: Some((first, None)), outputs, payload, ..Draft::of(*lane) };
            match draft.complete(params, key, Funding { coins: &[], ..funding }, None) {
                Ok(acting) => {
                    let pair = Pair { gathering, acting };
                    return if pair.accepted().is_too_long() { Err(UserError::TooLong) } else { Ok(pair) };
                }
                Err(BuildError::InsufficientFunds { needed, .. }) => {
                    // More than it left: where it spends all coins, that is refused.
                    change_min = value.saturating_add(needed.max(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(BuildError::Mass.into())
    }
}

/// Where the last output of a transaction is.
fn last_output(transaction: &Transaction) -> TransactionOutpoint {
    TransactionOutpoint::new(transaction.id(), transaction.outputs.len().saturating_sub(1) as u32)
}

/// The last output of a transaction that is not accepted yet, if it is the key's.
fn change_of(transaction: &Transaction, key: &Key) -> Option<Coin> {
    let last = transaction.outputs.last().filter(|last| last.script_public_key == key.script())?;
    let entry = UtxoEntry::new(last.value, key.script(), UNACCEPTED_DAA_SCORE, false, None);
    Some(Coin { outpoint: last_output(transaction), entry })
}

/// What the node's mempool holds of a key.
#[derive(Debug, Clone, Default)]
pub struct Pending {
    /// The outputs that transactions there spend.
    pub spent: HashSet<TransactionOutpoint>,
    /// Those of the lane that have a message for the rollup.
    pub acting: Vec<LaneTransaction>,
    /// What one of these leaves to the key, if nothing there spends it: the last, where each spends what the one before it leaves.
    pub last: Option<Coin>,
}

/// What the node's mempool holds of a user.
pub async fn pending(rpc: &dyn RpcApi, user: &User, network: NetworkId) -> Result<Pending, Unanswered> {
    let asked = "get_mempool_entries_by_addresses";
    let address = user.key.address(network.into());
    let listed = rpc.get_mempool_entries_by_addresses(vec![address], true, false).await;
    let (mut pending, mut left) = (Pending::default(), vec![]);
    for entry in listed.map_err(unanswered(asked))?.into_iter().flat_map(|it| it.sending) {
        let read = |transaction: RpcTransaction| Transaction::try_from(transaction);
        let transaction = read(entry.transaction).map_err(|e: RpcError| unanswered(asked)(e))?;
        pending.spent.extend(transaction.inputs.iter().map(|input| input.previous_outpoint));
        let lane = lane_transaction(&transaction);
        if transaction.subnetwork_id == user.lane && !lane.message(&user.covenant).is_empty() {
            pending.acting.push(lane);
            left.extend(change_of(&transaction, &user.key));
        }
    }
    pending.last = left.into_iter().rfind(|coin| !pending.spent.contains(&coin.outpoint));
    Ok(pending)
}

/// The coins that the key can pay with, but for those that the mempool spends.
pub async fn spendable(
    rpc: &dyn RpcApi,
    user: &User,
    network: NetworkId,
    pending: &Pending,
) -> Result<Vec<Coin>, UtxoError> {
    let mut coins = coins(rpc, &user.params, &user.key, network.into()).await?;
    coins.retain(|coin| !pending.spent.contains(&coin.outpoint));
    Ok(coins)
}

/// Sends both transactions. What the mempool has already counts as sent.
pub async fn send_pair(rpc: &dyn RpcApi, pair: &Pair) -> Result<(), UserError> {
    let gathering = send(rpc, &pair.gathering.transaction).await?;
    match send(rpc, &pair.acting.transaction).await {
        Ok(_) => Ok(()),
        Err(source) if source.is_refusal() => Err(UserError::Half { gathering, source }),
        Err(source) => Err(UserError::Unsure { acting: pair.acting.transaction.id(), source }),
    }
}

/// The tips of a lane in the canonical blocks from a moment on.
#[derive(Debug, Default)]
pub struct LaneTips {
    /// The last block that was looked at.
    last: Option<Hash>,
    tips: HashSet<Digest>,
    /// The lane has no entry: it accepted nothing for as long as one lasts.
    is_silent: bool,
}

impl LaneTips {
    /// Whether a state that was executed up to this tip of the lane has all that the lane had accepted when it was looked at first.
    pub fn has(&self, tip: &Digest) -> bool {
        self.is_silent || self.tips.contains(tip)
    }

    /// Looks at the canonical blocks that have come since it looked last; at first at the tip.
    async fn follow(&mut self, rpc: &dyn RpcApi, lane: Digest) -> Result<(), Unanswered> {
        let blocks = match self.last {
            None => vec![rpc.get_sink().await.map_err(unanswered("get_sink"))?.sink],
            Some(last) => {
                let page = rpc.get_virtual_chain_from_block(last, false, None).await;
                page.map_err(unanswered("get_virtual_chain_from_block"))?.added_chain_block_hashes
            }
        };
        for block in blocks {
            self.last = Some(block);
            let proof = rpc.get_seq_commit_lane_proof(block, kaspa_hash(lane)).await;
            match proof.map_err(unanswered("get_seq_commit_lane_proof")) {
                Ok(answer) => match answer.lane {
                    Some(entry) => drop(self.tips.insert(digest(entry.tip))),
                    None => self.is_silent = true,
                },
                // It has left the chain meanwhile.
                Err(refused) if refused.is_refusal() => {}
                Err(silent) => return Err(silent),
            }
        }
        Ok(())
    }
}

/// How the wait for a block that accepts a message ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waited {
    /// A block of this DAA score accepted it.
    Accepted(u64),
    /// None did, and the next block's DAA score is above the message's deadline.
    Expired,
    /// Whoever waits had enough.
    Stopped,
}

/// What is waited for.
struct Wait<'a> {
    user: &'a User,
    network: NetworkId,
    pair: &'a Pair,
    /// A DAA score, after which the message does nothing.
    deadline: Option<u64>,
    /// The block up to which the chain was looked at.
    from: Option<Hash>,
    missed: u32,
}

impl Wait<'_> {
    /// Looks once.
    async fn look(&mut self, rpc: &dyn RpcApi) -> Result<Option<Waited>, UserError> {
        let id = self.pair.acting.transaction.id();
        let mut from = match self.from {
            Some(from) => from,
            None => rpc.get_sink().await.map_err(unanswered("get_sink"))?.sink,
        };
        self.from = Some(from);
        if let Some(daa_score) = accepted_at(rpc, &self.user.key, self.network, self.pair).await? {
            return Ok(Some(Waited::Accepted(daa_score)));
        }
        // What it leaves to the key may be spent already, by the next message.
        let accepted = accepted_since(rpc, &mut from, id).await?;
        self.from = Some(from);
        if let Some(daa_score) = accepted {
            return Ok(Some(Waited::Accepted(daa_score)));
        }
        if let Some(deadline) = self.deadline {
            let info = rpc.get_server_info().await.map_err(unanswered("get_server_info"))?;
            if info.virtual_daa_score > deadline {
                return Ok(Some(Waited::Expired));
            }
        }
        // A transaction that is in a block leaves the mempool before a later block accepts it. Sent again then, it is refused.
        match rpc.get_mempool_entry(id, true, false).await.map_err(unanswered("get_mempool_entry")) {
            Ok(_) => {}
            Err(missing) if missing.is_refusal() => {
                self.missed += 1;
                match send_pair(rpc, self.pair).await {
                    Err(UserError::Half { .. }) | Err(UserError::Node(_)) if self.missed > MISSED_MAX => {
                        return Err(UserError::Lost { transaction: id });
                    }
                    _ => {}
                }
            }
            Err(silent) => return Err(silent.into()),
        }
        Ok(None)
    }
}

/// The DAA score of the block that accepted the acting transaction; `None` where none has.
pub async fn accepted_at(
    rpc: &dyn RpcApi,
    key: &Key,
    network: NetworkId,
    pair: &Pair,
) -> Result<Option<u64>, UtxoError> {
    let change = pair.change();
    let coins = unspent(rpc, &key.script(), network.into()).await?;
    Ok(coins.iter().find(|coin| coin.outpoint == change).map(|coin| coin.entry.block_daa_score))
}

/// The DAA score of the block that accepted a transaction, if that is among the chain's blocks above `from`, which moves on to the
/// chain's tip.
async fn accepted_since(rpc: &dyn RpcApi, from: &mut Hash, id: Hash) -> Result<Option<u64>, Unanswered> {
    let asked = "get_virtual_chain_from_block";
    let page = rpc.get_virtual_chain_from_block(*from, true, None).await.map_err(unanswered(asked))?;
    *from = page.added_chain_block_hashes.last().copied().unwrap_or(*from);
    let mut by_block = page.accepted_transaction_ids.iter();
    let Some(accepted) = by_block.find(|block| block.accepted_transaction_ids.contains(&id)) else {
        return Ok(None);
    };
    let block = rpc.get_block(accepted.accepting_block_hash, false).await.map_err(unanswered("get_block"))?;
    Ok(Some(block.header.daa_score))
}

/// A connection of a user to a node that lists unspent outputs.
pub struct Session {
    url: String,
    runtime: Runtime,
    client: Client,
    /// The node's network.
    pub network: NetworkId,
}

impl Session {
    /// Connects.
    pub fn connect(url: &str) -> Result<Self, UserError> {
        let runtime = client::runtime()?;
        let (client, network) = runtime.block_on(client::connect_indexed(url))?;
        Ok(Self { url: url.into(), runtime, client, network })
    }

    fn rpc(&self) -> &dyn RpcApi {
        self.client.as_ref()
    }

    /// The user of this key, of a rollup on a lane.
    pub fn user(&self, key: Key, lane: [u8; 20], covenant: Digest) -> Result<User, UserError> {
        Ok(User { params: names::params(self.network)?, key, lane: SubnetworkId::from_bytes(lane), covenant })
    }

    /// The DAA score that the next block has.
    pub fn daa_score(&self) -> Result<u64, UserError> {
        let info = self.runtime.block_on(self.client.get_server_info());
        Ok(info.map_err(unanswered("get_server_info"))?.virtual_daa_score)
    }

    /// Looks at the tips of a lane in the blocks that have come.
    pub fn follow_tips(&self, lane: Digest, tips: &mut LaneTips) -> Result<(), UserError> {
        Ok(self.runtime.block_on(tips.follow(self.rpc(), lane))?)
    }

    /// What the node's mempool holds of the user.
    pub fn pending(&self, user: &User) -> Result<Pending, UserError> {
        Ok(self.runtime.block_on(pending(self.rpc(), user, self.network))?)
    }

    /// The transactions that carry a message, with the node's fee rate.
    pub fn build(
        &self,
        user: &User,
        message: &[u8],
        outputs: &[TransactionOutput],
        (pending, fee_max): (&Pending, u64),
    ) -> Result<Pair, UserError> {
        let (coins, feerate) = self.runtime.block_on(async {
            let coins = spendable(self.rpc(), user, self.network, pending).await?;
            Ok::<_, UserError>((coins, feerate(self.rpc(), FeePriority::Normal).await?))
        })?;
        let funding = Funding { coins: &coins, fees: Fees { feerate, fee_max } };
        user.build(message, outputs, funding, pending.last.as_ref())
    }

    /// Sends both transactions.
    pub fn send(&self, pair: &Pair) -> Result<(), UserError> {
        self.runtime.block_on(send_pair(self.rpc(), pair))
    }

    /// Waits until a block accepted the acting transaction, until none can in time, or until `stop` says so. What left the mempool
    /// without that is sent again. A node that does not answer is asked again, also after the connection was lost.
    pub fn wait(
        &self,
        (user, pair, deadline): (&User, &Pair, Option<u64>),
        stop: &dyn Fn() -> bool,
    ) -> Result<Waited, UserError> {
        self.runtime.block_on(async {
            let mut wait = Wait { user, network: self.network, pair, deadline, from: None, missed: 0 };
            let (mut client, mut is_silent) = (self.client.clone(), false);
            loop {
                match wait.look(client.as_ref()).await {
                    Ok(Some(waited)) => return Ok(waited),
                    Ok(None) => is_silent = false,
                    Err(lost @ UserError::Lost { .. }) => return Err(lost),
                    Err(error) => {
                        if !std::mem::replace(&mut is_silent, true) {
                            tracing::warn!("{error}; it is asked again until it answers");
                        }
                        if !client.is_connected()
                            && let Ok(again) = client::connect(&self.url).await
                        {
                            client = again;
                        }
                    }
                }
                if stop() {
                    return Ok(Waited::Stopped);
                }
                tokio::time::sleep(ASK_EVERY).await;
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use kaspa_consensus_core::config::params::SIMNET_PARAMS;

    use super::*;
    use crate::coin::FEERATE_MIN;
    use crate::fake_node::FakeNode;

    #[tokio::test]
    async fn a_message_whose_submission_is_not_answered_is_not_called_refused() {
        let (params, key) = (SIMNET_PARAMS, Key::parse(&"07".repeat(32), "a test").unwrap());
        let lane = SubnetworkId::from_bytes([7; 20]);
        let user = User { params: params.clone(), key, lane, covenant: Digest([4; 32]) };
        let pair = |node: &FakeNode| {
            let coins = node.coins(&user.key.script());
            let fees = Fees { feerate: FEERATE_MIN, fee_max: 100_000_000 };
            user.build(&[1], &[], Funding { coins: &coins, fees }, None).unwrap()
        };
        let node = || {
            let node = FakeNode::new(params.clone(), vec![], Digest([9; 32]));
            node.give(&user.key.script(), &[1_000_000_000]);
            node
        };
        let answers = node();
        send_pair(&answers, &pair(&answers)).await.unwrap();
        assert_eq!(answers.mempool().len(), 2);

        let breaks = node();
        breaks.lose_connection_at(2);
        let sent = pair(&breaks);
        let unsure = send_pair(&breaks, &sent).await.unwrap_err();
        let UserError::Unsure { acting, .. } = &unsure else { panic!("{unsure}") };
        assert_eq!(*acting, sent.acting.transaction.id());
        assert!(breaks.mempool().iter().any(|it| it.id() == *acting), "it was taken");
        assert!(!unsure.to_string().contains("try again"), "{unsure}");

        // What the acting one spends is spent already: that is a refusal.
        let refuses = node();
        let sent = pair(&refuses);
        let mut other = sent.acting.transaction.clone();
        other.payload.push(1);
        other.finalize();
        send(&refuses, &other).await.unwrap();
        let half = send_pair(&refuses, &sent).await.unwrap_err();
        assert!(matches!(half, UserError::Half { .. }), "{half}");
    }
}
