//! Transactions in flight: sent with the key and not accepted yet, with the coins that they spend.
//!
//! A node lists an output as unspent until a block spends it. A second transaction that spends it is refused, or replaces
//! the first.

use std::time::Instant;

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::Transaction;
use kaspa_rpc_core::api::rpc::RpcApi;

use crate::coin::Coin;

/// The transactions in flight. See the [module documentation](self).
#[derive(Debug, Default)]
pub struct InFlight(Vec<Flight>);

#[derive(Debug)]
struct Flight {
    id: Hash,
    transaction: Transaction,
    since: Instant,
}

impl InFlight {
    /// Adds a transaction that was sent. One that is there already stays.
    pub fn add(&mut self, id: Hash, transaction: &Transaction) {
        if self.since(id).is_none() {
            self.0.push(Flight { id, transaction: transaction.clone(), since: Instant::now() });
        }
    }

    /// Since when a transaction is in flight, if it is.
    pub fn since(&self, id: Hash) -> Option<Instant> {
        self.0.iter().find(|flight| flight.id == id).map(|flight| flight.since)
    }

    /// The transactions.
    pub fn transactions(&self) -> impl Iterator<Item = &Transaction> {
        self.0.iter().map(|flight| &flight.transaction)
    }

    #[cfg(test)]
    pub(crate) fn wait_for_long(&mut self) {
        self.0.iter_mut().for_each(|flight| flight.since -= crate::conflict::BUMP_AFTER);
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Drops the transactions that have left the node's mempool: accepted, replaced or evicted.
    pub async fn refresh(&mut self, rpc: &dyn RpcApi) {
        let mut flying = vec![];
        for flight in self.0.drain(..) {
            if rpc.get_mempool_entry(flight.id, true, false).await.is_ok() {
                flying.push(flight);
            }
        }
        self.0 = flying;
    }

    /// The coins that no transaction in flight spends, except the one to be replaced.
    pub fn spendable(&self, mut coins: Vec<Coin>, replaced: Option<Hash>) -> Vec<Coin> {
        let spent = |coin: &Coin| {
            let others = self.0.iter().filter(|flight| Some(flight.id) != replaced);
            let inputs = others.flat_map(|flight| &flight.transaction.inputs);
            inputs.map(|input| input.previous_outpoint).any(|spent| spent == coin.outpoint)
        };
        coins.retain(|coin| !spent(coin));
        coins
    }
}

#[cfg(test)]
mod tests {
    use kaspa_consensus_core::subnets::SUBNETWORK_ID_NATIVE;
    use kaspa_consensus_core::tx::{ScriptPublicKey, TransactionInput, TransactionOutpoint, UtxoEntry};

    use super::*;

    fn coin(number: u32) -> Coin {
        let entry = UtxoEntry::new(1_000, ScriptPublicKey::from_vec(0, vec![]), 1, false, None);
        Coin { outpoint: TransactionOutpoint::new(Hash::from_bytes([5; 32]), number), entry }
    }

    #[test]
    fn only_the_replacement_of_a_transaction_in_flight_spends_its_coins() {
        let input = TransactionInput::new(coin(1).outpoint, vec![], 0, 1);
        let transaction = Transaction::new(0, vec![input], vec![], 0, SUBNETWORK_ID_NATIVE, 0, vec![]);
        let mut in_flight = InFlight::default();
        in_flight.add(transaction.id(), &transaction);
        let coins = vec![coin(0), coin(1), coin(2)];
        assert_eq!(in_flight.spendable(coins.clone(), None), [coin(0), coin(2)]);
        assert_eq!(in_flight.spendable(coins.clone(), Some(transaction.id())), coins);
    }
}
