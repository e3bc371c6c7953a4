//! The wallet: the coins of the key that pays.
//!
//! Anybody can send dust to a key, and a node lists the outputs of an address in one answer, however many there are. So the wallet
//! lists them once over each connection, and from then on the node tells of changes. With them it lists what the node's mempool spends
//! of them: an earlier process may have sent that. It remembers since when transactions wait, whoever sent them, as far as it was asked
//! for them.

use std::collections::HashMap;
use std::time::Instant;

use async_channel::Receiver;
use kaspa_consensus_core::Hash;
use kaspa_consensus_core::config::params::Params;
use kaspa_consensus_core::tx::{Transaction, TransactionOutpoint, UtxoEntry};
use kaspa_rpc_core::api::rpc::RpcApi;
use kaspa_wrpc_client::prelude::{ChannelConnection, ChannelType, Notification, Scope, UtxosChangedScope};

use crate::client::unanswered;
use crate::coin::Coin;
use crate::conflict::{Conflict, FirstSeen};
use crate::draft;
use crate::in_flight::InFlight;
use crate::key::Key;
use crate::utxos::{self, Pending, UtxoError};

/// The coins of a key. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct Wallet {
    listed: Option<Listed>,
    in_flight: InFlight,
    first_seen: FirstSeen,
    listings: usize,
}

/// The coins as they were listed, and what changed since.
#[derive(Debug)]
struct Listed {
    coins: HashMap<TransactionOutpoint, UtxoEntry>,
    changes: Receiver<Notification>,
}

impl Listed {
    /// Subscribes, and then lists: a change in between is heard, and hearing of it twice changes nothing.
    async fn ask(rpc: &dyn RpcApi, params: &Params, key: &Key) -> Result<Self, UtxoError> {
        let (sender, changes) = async_channel::unbounded();
        let prefix = params.net.into();
        let listener = ChannelConnection::new("reprise wallet", sender, ChannelType::Closable);
        let listener = rpc.register_new_listener(listener);
        let scope = Scope::UtxosChanged(UtxosChangedScope::new(vec![key.address(prefix)]));
        rpc.start_notify(listener, scope).await.map_err(unanswered("start_notify"))?;
        let coins = utxos::unspent(rpc, &key.script(), prefix).await?;
        let coins = coins.into_iter().map(|coin| (coin.outpoint, coin.entry)).collect();
        Ok(Self { coins, changes })
    }

    fn coins(&self) -> impl Iterator<Item = Coin> {
        self.coins.iter().map(|(outpoint, entry)| Coin { outpoint: *outpoint, entry: entry.clone() })
    }

    /// Takes what the node told since.
    fn hear(&mut self) {
        while let Ok(notification) = self.changes.try_recv() {
            let Notification::UtxosChanged(changed) = notification else { continue };
            for removed in changed.removed.iter() {
                self.coins.remove(&removed.outpoint.into());
            }
            for added in changed.added.iter() {
                self.coins.insert(added.outpoint.into(), added.utxo_entry.clone().into());
            }
        }
    }
}

impl Wallet {
    /// The connection is another one: the coins are listed again when they are needed.
    pub fn forget(&mut self) {
        self.listed = None;
    }

    /// A transaction was sent.
    pub fn sent(&mut self, id: Hash, transaction: &Transaction) {
        self.in_flight.add(id, transaction);
    }

    /// Whether a transaction was in the node's mempool when that was looked at last.
    pub fn is_in_use(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// Since when a transaction waits in the node's mempool: since it was sent here, or else since it was seen first.
    pub(crate) fn since(&mut self, transaction: Hash) -> Instant {
        self.in_flight.since(transaction).unwrap_or_else(|| self.first_seen.of(transaction))
    }

    /// A transaction in the node's mempool, whoever sent it, as one that waits.
    pub(crate) fn conflict(&mut self, params: &Params, (transaction, fee): &Pending) -> Conflict {
        let (id, mass) = (transaction.id(), draft::mass(params, transaction));
        let spends = transaction.inputs.iter().map(|input| input.previous_outpoint).collect();
        Conflict { id, spends, feerate: *fee as f64 / mass as f64, since: self.since(id) }
    }

    /// The key's own of these transactions that wait in the node's mempool, as far as they are known.
    pub(crate) async fn own(
        &mut self,
        rpc: &dyn RpcApi,
        params: &Params,
        is_meant: impl Fn(&Transaction) -> bool,
    ) -> Vec<(Conflict, Transaction)> {
        let meant: Vec<Hash> =
            self.in_flight.transactions().filter(|it| is_meant(it)).map(Transaction::id).collect();
        let mut own = vec![];
        for id in meant {
            if let Some(pending) = utxos::waiting(rpc, id).await {
                own.push((self.conflict(params, &pending), pending.0));
            }
        }
        own
    }

    #[cfg(test)]
    pub(crate) fn wait_for_long(&mut self) {
        self.in_flight.wait_for_long();
        self.first_seen.wait_for_long();
    }

    /// How often the coins were listed.
    pub fn listings(&self) -> usize {
        self.listings
    }

    /// The coins that can pay: mature, of no covenant, and not in flight but for those of the transaction to be replaced. The
    /// largest first.
    pub async fn coins(
        &mut self,
        rpc: &dyn RpcApi,
        params: &Params,
        key: &Key,
        replaced: Option<Hash>,
    ) -> Result<Vec<Coin>, UtxoError> {
        let coins = self.listed(rpc, params, key).await?.coins().collect();
        self.in_flight.refresh(rpc).await;
        let mut coins = self.in_flight.spendable(utxos::paying(rpc, params, coins).await?, replaced);
        coins.sort_by_key(|coin| {
            let TransactionOutpoint { transaction_id, index } = coin.outpoint;
            (std::cmp::Reverse(coin.entry.amount), transaction_id, index)
        });
        Ok(coins)
    }

    /// The output of a covenant that the key holds, if it holds one.
    pub async fn of_covenant(
        &mut self,
        rpc: &dyn RpcApi,
        params: &Params,
        key: &Key,
        covenant: Hash,
    ) -> Result<Option<Coin>, UtxoError> {
        let mut coins = self.listed(rpc, params, key).await?.coins();
        Ok(coins.find(|coin| coin.entry.covenant_id == Some(covenant)))
    }

    /// The coins as they are now.
    async fn listed(&mut self, rpc: &dyn RpcApi, params: &Params, key: &Key) -> Result<&Listed, UtxoError> {
        let mut listed = match self.listed.take().filter(|listed| !listed.changes.is_closed()) {
            Some(listed) => listed,
            None => {
                self.listings += 1;
                let listed = Listed::ask(rpc, params, key).await?;
                for (transaction, _) in utxos::pending(rpc, &key.script(), params.net.into()).await? {
                    self.in_flight.add(transaction.id(), &transaction);
                }
                listed
            }
        };
        listed.hear();
        Ok(self.listed.insert(listed))
    }
}
