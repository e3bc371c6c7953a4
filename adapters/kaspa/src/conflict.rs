//! What waits in a node's mempool, and since when.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use kaspa_consensus_core::Hash;
use kaspa_consensus_core::tx::{Transaction, TransactionOutpoint};

/// How long a transaction waits in the node's mempool before it is outbid.
pub(crate) const BUMP_AFTER: Duration = Duration::from_secs(30);

/// How long it is remembered since when a transaction waits that nobody looks at.
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// A transaction in a node's mempool that spends what another is to spend.
#[derive(Debug, Clone)]
pub(crate) struct Conflict {
    /// The transaction.
    pub(crate) id: Hash,
    /// What it spends.
    pub(crate) spends: Vec<TransactionOutpoint>,
    /// What it pays, in sompi a gram.
    pub(crate) feerate: f64,
    /// Since when it waits, as far as that was seen here.
    pub(crate) since: Instant,
}

impl Conflict {
    /// Whether it may be in the next block: it has not waited for long.
    pub(crate) fn is_fresh(&self) -> bool {
        self.since.elapsed() < BUMP_AFTER
    }

    /// Whether it spends an output.
    pub(crate) fn spends(&self, outpoint: &TransactionOutpoint) -> bool {
        self.spends.contains(outpoint)
    }

    /// Whether a transaction spends what it spends.
    pub(crate) fn competes(&self, transaction: &Transaction) -> bool {
        transaction.inputs.iter().any(|input| self.spends(&input.previous_outpoint))
    }
}

/// Since when transactions wait that others sent.
#[derive(Debug, Default)]
pub(crate) struct FirstSeen(HashMap<Hash, [Instant; 2]>);

impl FirstSeen {
    /// When a transaction was seen first. It is seen now.
    pub(crate) fn of(&mut self, transaction: Hash) -> Instant {
        let now = Instant::now();
        self.0.retain(|_, [_, last]| last.elapsed() < FORGET_AFTER);
        let [first, last] = self.0.entry(transaction).or_insert([now; 2]);
        *last = now;
        *first
    }

    #[cfg(test)]
    pub(crate) fn wait_for_long(&mut self) {
        self.0.values_mut().for_each(|[first, _]| *first -= BUMP_AFTER);
    }
}
